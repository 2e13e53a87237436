//! What a run and its worker process say to each other: jobs go in, events come out, one JSON
//! object a line. Everything here is plain data; the loop that serves it is [`crate::worker`].

use eval::{EngineInfo, EngineSettings};
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

/// One tensor to be held in one scheme.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Edit {
    /// GGUF tensor name.
    pub tensor: String,
    /// Scheme in canonical form.
    pub scheme: String,
    /// What holds the result.
    pub carrier: Carrier,
}

/// What a group of cells is compared with: the reference's weights.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Base {
    /// Exact: all weights in F32. Native: as stored.
    pub arm: Arm,
    /// Tensors that the reference holds as `identity` in F32: the carrier control of the native arm. Empty in the exact arm.
    pub carried: Vec<String>,
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
    },
    /// Tokenize a text and cut it into windows. Answered by [`Event::Tokenized`].
    Corpus {
        /// The text itself.
        text: String,
    },
    /// Measure cells against one reference, chunk by chunk. Answered by many events, [`Event::Measured`] last.
    Measure {
        /// The reference.
        base: Base,
        /// The cells.
        cells: Vec<CellSpec>,
        /// The windows, in the order to be worked.
        chunks: Vec<ChunkWork>,
    },
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

/// What one edit did, as seen by the worker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TensorEvidence {
    /// GGUF tensor name.
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
    /// Graph nodes that read the tensor.
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
            let job = Job::Open { model, settings: EngineSettings::pinned(512), n_threads: 0 };
            let line = serde_json::to_string(&job).expect("JSON");
            assert_eq!(serde_json::from_str::<Job>(&line).expect("a job"), job, "{line}");
        }
    }
}
