//! Tensors whose type the pinned ggml does not know. Their values cannot be read, and the rest of the file can.

/// Names of types that forks of llama.cpp write under ids of their own.
///
/// # Source
/// `enum ggml_type` in `ggml/include/ggml.h` of ikawrakow/ik_llama.cpp, and of microsoft/BitNet for id 36, which upstream
/// once used for a repacked type.
const OF_FORKS: [(u32, &str, &str); 22] = [
    (36, "i2_s", "bitnet.cpp or ik_llama.cpp"),
    (133, "q6_0", "ik_llama.cpp"),
    (134, "iq1_bn", "ik_llama.cpp"),
    (135, "iq2_bn", "ik_llama.cpp"),
    (137, "iq2_k", "ik_llama.cpp"),
    (138, "iq3_k", "ik_llama.cpp"),
    (139, "iq4_k", "ik_llama.cpp"),
    (140, "iq5_k", "ik_llama.cpp"),
    (141, "iq6_k", "ik_llama.cpp"),
    (144, "iq4_ks", "ik_llama.cpp"),
    (145, "iq2_ks", "ik_llama.cpp"),
    (146, "iq4_kss", "ik_llama.cpp"),
    (151, "q8_KV", "ik_llama.cpp"),
    (152, "iq5_ks", "ik_llama.cpp"),
    (153, "iq2_kt", "ik_llama.cpp"),
    (154, "iq3_kt", "ik_llama.cpp"),
    (155, "iq4_kt", "ik_llama.cpp"),
    (156, "iq3_ks", "ik_llama.cpp"),
    (157, "iq2_kl", "ik_llama.cpp"),
    (158, "iq1_kt", "ik_llama.cpp"),
    (230, "iq4_ks_r4", "ik_llama.cpp"),
    (337, "iq2_k_r4", "ik_llama.cpp"),
];

/// A tensor of a type that the pinned ggml does not know. How many bytes it takes is not known either.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForeignTensor {
    /// The name in the file.
    pub name: String,
    /// The id of the type in the file.
    pub type_id: u32,
    /// The extents; `ne[0]` is the contiguous dimension.
    pub shape: Vec<u64>,
    /// The offset of the first byte from the start of the data section of its shard.
    pub offset: u64,
    /// The number of the shard, counted from 0.
    pub shard: usize,
}

impl ForeignTensor {
    /// What is known of the type, such as `type 156 (iq3_ks of ik_llama.cpp)`.
    pub fn type_in_words(&self) -> String {
        match fork_type(self.type_id) {
            Some(known) => format!("type {} ({known})", self.type_id),
            None => format!("type {}", self.type_id),
        }
    }
}

/// The type that forks write under this id, as `NAME of FORK`. `None` for ids that no known fork uses.
pub fn fork_type(id: u32) -> Option<String> {
    OF_FORKS.iter().find(|(known, _, _)| *known == id).map(|(_, name, fork)| format!("{name} of {fork}"))
}
