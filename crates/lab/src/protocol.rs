//! What a run and its worker process say to each other: jobs go in, events come out, one JSON
//! object a line. Everything here is plain data; the loop that serves it is [`crate::worker`].

use crate::activation_role::layer_of_node;
use crate::memory::MemoryPlan;
use eval::{ChatMessage, EngineInfo, EngineSettings, HeadShift, LayerError, Sampling, Token};
use numerics::FileOption;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Which kernels the model runs through (DESIGN §6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Arm {
    /// Every quantized or half-precision weight held in F32: the effect of the scheme alone.
    Exact,
    /// The model as shipped, only the targets changed.
    Native,
}

impl Arm {
    /// As typed and printed.
    pub fn name(self) -> &'static str {
        match self {
            Arm::Exact => "exact",
            Arm::Native => "native",
        }
    }
}

/// The ggml type that holds fake-quantized values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Carrier {
    /// F32: exact for every scheme.
    #[default]
    F32,
    /// The tensor's own stored type, which may round.
    Keep,
}

/// What of a model an edit acts on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Place {
    /// A weight, wherever the graph uses it.
    #[default]
    Weight,
    /// A weight where its rows are looked up by token, and there only (virtual untying).
    Lookup,
    /// A weight where it is multiplied with hidden states, and there only.
    Head,
    /// The values of a graph node, as they are computed.
    Activation,
}

impl Place {
    fn is_weight(&self) -> bool {
        *self == Place::Weight
    }
}

/// One tensor, or one node of the graph, to be held in one scheme.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Edit {
    /// GGUF tensor name, or the engine's name of a graph node (`ffn_norm-7`).
    pub tensor: String,
    /// Scheme in canonical form.
    pub scheme: String,
    /// What holds the result. Activations are F32, and the KV cache rounds to its own type whatever enters it.
    pub carrier: Carrier,
    /// Where it acts.
    #[serde(default, skip_serializing_if = "Place::is_weight")]
    pub place: Place,
}

impl Edit {
    /// A weight held in a scheme, wherever the graph uses it.
    pub fn of_weight(tensor: impl Into<String>, scheme: impl Into<String>, carrier: Carrier) -> Self {
        Edit { tensor: tensor.into(), scheme: scheme.into(), carrier, place: Place::Weight }
    }

    /// Layer of the node that it acts on, where its name tells one.
    pub fn layer_of_node(&self) -> Option<u32> {
        layer_of_node(&self.tensor)
    }

    /// First layer that it can act in, as far as names tell: its own, or 0 where the name tells none. The head and its
    /// norm come after every layer, and every model has fewer than `usize::MAX`.
    pub fn first_layer(&self) -> usize {
        let name = self.tensor.as_str();
        let after_all = match self.place {
            Place::Weight => name.starts_with("output.") || name.starts_with("output_norm."),
            Place::Lookup => false,
            Place::Head => true,
            Place::Activation => name == "result_norm" || name == "result_output",
        };
        if after_all {
            return usize::MAX;
        }
        match self.place {
            Place::Activation => layer_of_node(name).map(|layer| layer as usize),
            _ => name.strip_prefix("blk.").and_then(|rest| rest.split('.').next()?.parse().ok()),
        }
        .unwrap_or(0)
    }
}

/// What a group of cells is compared with: the reference's weights.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Base {
    /// Exact: all weights in F32. Native: as stored.
    pub arm: Arm,
    /// What the reference holds as `identity` in F32: the carrier control of the native arm. Empty in the exact arm.
    pub carried: Vec<Carried>,
}

/// A weight that the native arm's reference holds in F32.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Carried {
    /// Wherever it is used: its name.
    Whole(String),
    /// Where it is used in one way; elsewhere it stays as it is stored.
    Use {
        /// GGUF tensor name.
        tensor: String,
        /// `Lookup` or `Head`.
        place: Place,
    },
}

impl Carried {
    /// GGUF tensor name.
    pub fn tensor(&self) -> &str {
        match self {
            Carried::Whole(tensor) | Carried::Use { tensor, .. } => tensor,
        }
    }

    /// Where it is held in F32.
    pub fn place(&self) -> Place {
        match self {
            Carried::Whole(_) => Place::Weight,
            Carried::Use { place, .. } => *place,
        }
    }

    /// Whether what is read in `place` of a tensor is held in F32.
    pub fn covers(&self, tensor: &str, place: Place) -> bool {
        self.tensor() == tensor && (self.place() == Place::Weight || self.place() == place)
    }
}

impl Base {
    /// The native arm's reference for variants that hold weights in F32 in these places, in this order: both uses of a weight
    /// are the whole of it.
    pub fn native<'a>(places: impl IntoIterator<Item = (&'a str, Place)>) -> Base {
        let mut carried: Vec<Carried> = Vec::new();
        for (tensor, place) in places.into_iter().filter(|(_, place)| *place != Place::Activation) {
            let one = match place {
                Place::Lookup | Place::Head => Carried::Use { tensor: tensor.into(), place },
                Place::Weight | Place::Activation => Carried::Whole(tensor.into()),
            };
            match carried.iter_mut().find(|known| known.tensor() == tensor) {
                None => carried.push(one),
                Some(known) if *known == one => {}
                Some(known) => *known = Carried::Whole(tensor.into()),
            }
        }
        Base { arm: Arm::Native, carried }
    }
}

/// One variant to be measured: the reference's weights with these edits on top.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CellSpec {
    /// The cell's key; names it in every event.
    pub key: String,
    /// Empty for the A/A control: the reference once more.
    pub edits: Vec<Edit>,
}

/// One window of tokens and the cells to measure on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChunkWork {
    /// Index of the window in the tokenized text.
    pub chunk: usize,
    /// Indices into [`Job::Measure::cells`]. Empty measures the reference alone.
    pub cells: Vec<usize>,
}

/// What a worker is asked to do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "job", rename_all = "snake_case", deny_unknown_fields)]
pub enum Job {
    /// Load a model. Answered by [`Event::Opened`].
    Open {
        /// A GGUF file.
        #[serde(with = "path_bytes")]
        model: PathBuf,
        /// Pinned settings.
        settings: EngineSettings,
        /// Threads; 0 for one per core.
        n_threads: usize,
        /// Main memory that may be used, bytes; without it there is no limit.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        max_memory_bytes: Option<u64>,
    },
    /// Read the files that schemes name, before any cell needs them. Answered by [`Event::SchemeFilesRead`].
    SchemeFiles {
        /// One for each file.
        files: Vec<SchemeFilePath>,
    },
    /// Tokenize a text and cut it into windows. Answered by [`Event::Tokenized`].
    Corpus {
        /// The text itself.
        text: String,
    },
    /// Let the reference and a variant of it answer conversations. Answered by [`Event::Answered`] for each, the
    /// reference's first, [`Event::Measured`] last.
    Chat {
        /// The reference.
        base: Base,
        /// The variant; none lets the reference answer alone.
        edits: Vec<Edit>,
        /// Conversations up to where the assistant answers.
        chats: Vec<Vec<ChatMessage>>,
        /// Longest answer, tokens.
        max_tokens: usize,
        /// How tokens are chosen.
        sampling: Sampling,
    },
    /// Compare the attention probabilities of a variant with the reference's; only with flash attention off. Answered by
    /// [`Event::Attention`] for each window, [`Event::Measured`] last.
    Attention {
        /// The reference.
        base: Base,
        /// The variant.
        edits: Vec<Edit>,
        /// Windows.
        chunks: Vec<usize>,
    },
    /// Score multiple-choice tasks with the reference's weights, then with each cell's. Answered by an [`Event::Choice`] for each
    /// task and cell, [`Event::Measured`] last.
    Choose {
        /// The reference.
        base: Base,
        /// The cells.
        cells: Vec<CellSpec>,
        /// Texts of the choices of each task, context and all.
        tasks: Vec<Vec<String>>,
    },
    /// Measure cells against one reference, chunk by chunk. Answered by many events, [`Event::Measured`] last.
    Measure {
        /// The reference.
        base: Base,
        /// The cells.
        cells: Vec<CellSpec>,
        /// The windows, in the order to be worked.
        chunks: Vec<ChunkWork>,
        /// Compare the hidden state that leaves each layer with the reference's ([`Sample::residual`]). Every pass is a
        /// full one then.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        trace: bool,
    },
}

/// Where a file that schemes name lies, and what must be in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SchemeFilePath {
    /// What it is.
    pub option: FileOption,
    /// Where.
    #[serde(with = "path_bytes")]
    pub path: PathBuf,
    /// As schemes are printed with it: `blake3-…`.
    pub identity: String,
}

/// A path as text, or as its bytes where it is no UTF-8: JSON must not decide which files can be measured.
mod path_bytes {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    use std::path::{Path, PathBuf};

    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Form {
        Text(String),
        Bytes(Vec<u8>),
    }

    pub(super) fn serialize<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
        match path.to_str() {
            Some(text) => text.serialize(serializer),
            None => path.as_os_str().as_bytes().serialize(serializer),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PathBuf, D::Error> {
        Ok(match Form::deserialize(deserializer)? {
            Form::Text(text) => text.into(),
            Form::Bytes(bytes) => OsStr::from_bytes(&bytes).into(),
        })
    }
}

/// What a worker says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case", deny_unknown_fields)]
pub enum Event {
    /// The model is loaded.
    Opened {
        /// Engine and model.
        info: EngineInfo,
    },
    /// The files of schemes are read, and they are what they should be.
    SchemeFilesRead,
    /// The text is tokenized.
    Tokenized {
        /// Tokens, BOS included.
        n_tokens: usize,
        /// Whole windows of `n_ctx` tokens in them.
        n_chunks: usize,
        /// blake3 of each window's token ids (little-endian i32, BOS in place): what was measured on.
        chunk_blake3: Vec<String>,
        /// Bytes of UTF-8 text that each window's scored tokens stand for (for bits per byte).
        chunk_scored_bytes: Vec<u64>,
    },
    /// What a measure job needs of main memory, before it begins.
    Memory(MemoryPlan),
    /// Something that changes no number but should be known.
    Note {
        /// In one line.
        text: String,
    },
    /// Work on a cell begins. The last one before silence names the culprit.
    Started {
        /// Cell key; `None` for the reference.
        cell: Option<String>,
        /// Window.
        chunk: usize,
    },
    /// The reference's scores on one window.
    Reference(ReferenceSample),
    /// A cell's edits are in place for the first time: what they did, as read back from the engine.
    Applied {
        /// Cell key.
        cell: String,
        /// One entry per edit.
        tensors: Vec<TensorEvidence>,
    },
    /// A cell's scores on one window.
    Sample(Sample),
    /// What attention looks at in one window.
    Attention(AttentionSample),
    /// One answer.
    Answered(Answer),
    /// How likely the choices of a task are.
    Choice(ChoiceSample),
    /// One cell cannot be measured; the others go on.
    CellFailed {
        /// Cell key.
        cell: String,
        /// Why, in one line.
        why: String,
    },
    /// A measure job is done and the weights are back in place.
    Measured {
        /// blake3 over all weights that the job touched, before and after.
        weights_before: String,
        /// Must equal `weights_before`.
        weights_after: String,
    },
    /// The job cannot be done at all.
    Failed {
        /// Why, in one line.
        why: String,
        /// What to do about it.
        hint: String,
        /// The user's input is at fault (exit 2) rather than the engine (exit 4).
        input: bool,
    },
}

/// Attention of a variant beside its reference's on one window.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttentionSample {
    /// Window.
    pub chunk: usize,
    /// Layers that have attention, each with its heads.
    pub layers: Vec<(usize, Vec<HeadShift>)>,
}

/// What was said in one conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    /// Index of the conversation.
    pub chat: usize,
    /// The variant's, not the reference's.
    pub is_variant: bool,
    /// Tokens, without the one that ended it.
    pub tokens: Vec<Token>,
    /// Their text; bytes that are no UTF-8 are replaced.
    pub text: String,
    /// The model ended it; otherwise it was cut at the longest allowed.
    pub ended: bool,
}

/// The reference's scores on one window.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReferenceSample {
    /// Window.
    pub chunk: usize,
    /// Negative log-likelihood of each scored token, in nats.
    pub nll: Vec<f64>,
    /// blake3 of the logits' bytes.
    pub logits_blake3: String,
}

/// A cell's scores on one window, beside its reference's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sample {
    /// Cell key.
    pub cell: String,
    /// Window.
    pub chunk: usize,
    /// Negative log-likelihood of each scored token, in nats.
    pub nll: Vec<f64>,
    /// The reference's, of the same tokens.
    pub nll_ref: Vec<f64>,
    /// Σ p_ref (ln p_ref − ln p_var) at each scored position, in nats.
    pub kld: Vec<f64>,
    /// Scored positions at which both have the same most probable token.
    pub same_top: usize,
    /// Scored positions whose logits differ in any bit.
    pub logits_changed: usize,
    /// Watched activations whose bits differ from the reference's, of those watched; on a cell's first window only.
    pub activations: Option<ActivationEvidence>,
    /// How far the hidden state that leaves each layer is from the reference's; empty unless asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub residual: Vec<LayerError>,
}

/// How likely the choices of a task are, beyond the tokens that all of them share.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChoiceSample {
    /// Cell key; `None` for the reference.
    pub cell: Option<String>,
    /// Index among the tasks of the job.
    pub task: usize,
    /// Σ ln p over the tokens of each ending, nats.
    pub ln_p: Vec<f64>,
    /// Tokens of each ending.
    pub n_tokens: Vec<usize>,
}

/// How many of the watched activations moved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ActivationEvidence {
    /// Touched tensors whose consumers were watched.
    pub watched: usize,
    /// Of those, how many had an output that differs in any bit.
    pub changed: usize,
}

/// What one edit did, as seen by the worker; of an activation, on the cell's first window.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TensorEvidence {
    /// GGUF tensor name, or that of a graph node.
    pub tensor: String,
    /// Type the reference holds it in.
    pub type_base: String,
    /// Type the variant holds it in.
    pub type_variant: String,
    /// Values.
    pub n: u64,
    /// Values whose bits the scheme changed, −0 → +0 excepted.
    pub changed: u64,
    /// −0 → +0, counted apart.
    pub zero_sign: u64,
    /// Values that the carrier rounded away from what the scheme asked for.
    pub carrier_rounded: u64,
    /// Relative RMS error of what the engine now holds against the reference's values; `f64::MAX` against zeros.
    pub rel_rmse: f64,
    /// Bytes in the engine that differ from the reference's (both as F32 when the types differ).
    pub changed_bytes: u64,
    /// The bytes read back from the engine are the bytes that were meant.
    pub read_back: bool,
    /// Graph nodes that read the tensor in the way that was edited; 1 for a node's own values.
    pub consumers: usize,
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    #[test]
    fn any_path_survives_the_way_to_the_worker() {
        for name in [&b"plain.gguf"[..], b"\xff\xfe.gguf", "gr\u{fc}n.gguf".as_bytes()] {
            let model = PathBuf::from(OsStr::from_bytes(name));
            let job = Job::Open { model, settings: EngineSettings::pinned(512), n_threads: 0, max_memory_bytes: None };
            let line = serde_json::to_string(&job).expect("JSON");
            assert_eq!(serde_json::from_str::<Job>(&line).expect("a job"), job, "{line}");
        }
    }

    #[test]
    fn the_native_reference_carries_the_uses_that_are_edited_and_no_more() {
        let carried = |places: &[(&str, Place)]| Base::native(places.iter().copied()).carried;
        let lookup = Carried::Use { tensor: "token_embd.weight".into(), place: Place::Lookup };
        assert_eq!(carried(&[("token_embd.weight", Place::Lookup)]), std::slice::from_ref(&lookup));
        assert!(lookup.covers("token_embd.weight", Place::Lookup) && !lookup.covers("token_embd.weight", Place::Head));
        let whole = Carried::Whole("token_embd.weight".into());
        assert_eq!(
            carried(&[("token_embd.weight", Place::Lookup), ("token_embd.weight", Place::Head)]),
            std::slice::from_ref(&whole)
        );
        assert!(whole.covers("token_embd.weight", Place::Head));
        assert_eq!(carried(&[("l_out-1", Place::Activation), ("a", Place::Weight), ("a", Place::Weight)]).len(), 1);
        // A whole weight is its name alone, as keys of cells have had it.
        assert_eq!(serde_json::to_string(&whole).expect("prints"), "\"token_embd.weight\"");
        let printed = serde_json::to_string(&lookup).expect("prints");
        assert_eq!(serde_json::from_str::<Carried>(&printed).expect("parses"), lookup);
    }

    #[test]
    fn the_first_layer_touched_is_read_from_the_name_and_the_place() {
        let first = |tensor: &str, place| Edit { place, ..Edit::of_weight(tensor, "bf16", Carrier::F32) }.first_layer();
        for (name, layer) in [
            ("blk.7.ffn_norm.weight", 7),
            ("token_embd.weight", 0),
            ("output.weight", usize::MAX),
            ("output_norm.weight", usize::MAX),
        ] {
            assert_eq!(first(name, Place::Weight), layer, "{name}");
        }
        assert_eq!(first("token_embd.weight", Place::Lookup), 0);
        assert_eq!(first("token_embd.weight", Place::Head), usize::MAX);
        for (name, layer) in
            [("ffn_norm-7", 7), ("cache_k_l12", 12), ("cache_v_l0", 0), ("embd", 0), ("result_norm", usize::MAX)]
        {
            assert_eq!(first(name, Place::Activation), layer, "{name}");
        }
    }
}
