//! What a run and its worker process say to each other: jobs go in, events come out, one JSON
//! object a line. Everything here is plain data; the loop that serves it is [`crate::serve`](mod@crate::serve).

use eval::{ChatMessage, HeadShift};
use files::SchemeFilePath;
use record::{
    Base, Edit, EngineInfo, EngineSettings, MemoryPlan, ReferenceSample, Sample, Sampling, TensorEvidence, Token,
};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use words::Hint;

/// One variant to be measured: the reference's weights with these edits on top.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CellSpec {
    /// The cell's key; names it in every event.
    pub key: String,
    /// The first layer that the edits can act in, as `select::first_layer` tells: a pass may start there.
    pub first_layer: usize,
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
        #[serde(with = "files::path_bytes")]
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

impl Job {
    /// Whether an event can be part of the answer to this job.
    pub fn asks_for(&self, event: &Event) -> bool {
        let has_cell = |cells: &[CellSpec], key: &str| cells.iter().any(|cell| cell.key == key);
        match (self, event) {
            (_, Event::Failed { .. }) => false,
            (Job::Open { .. }, event) => matches!(event, Event::Opened { .. }),
            (Job::SchemeFiles { .. }, event) => matches!(event, Event::SchemeFilesRead),
            (Job::Corpus { .. }, event) => matches!(event, Event::Tokenized { .. }),
            (_, Event::Memory(_) | Event::Note { .. } | Event::Started { .. } | Event::Measured { .. }) => true,
            (Job::Measure { chunks, .. }, Event::Reference(sample)) => chunks.iter().any(|w| w.chunk == sample.chunk),
            (Job::Measure { cells, chunks, .. }, Event::Sample(sample)) => {
                let place = cells.iter().position(|cell| cell.key == sample.cell);
                let is_asked = |work: &ChunkWork, place| work.chunk == sample.chunk && work.cells.contains(&place);
                place.is_some_and(|place| chunks.iter().any(|work| is_asked(work, place)))
            }
            (
                Job::Measure { cells, .. } | Job::Choose { cells, .. },
                Event::Applied { cell, .. } | Event::CellFailed { cell, .. },
            ) => has_cell(cells, cell),
            (Job::Choose { cells, tasks, .. }, Event::Choice(choice)) => {
                choice.task < tasks.len() && choice.cell.as_ref().is_none_or(|cell| has_cell(cells, cell))
            }
            (Job::Chat { chats, .. }, Event::Answered(answer)) => answer.chat < chats.len(),
            (Job::Attention { chunks, .. }, Event::Attention(sample)) => chunks.contains(&sample.chunk),
            _ => false,
        }
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
        /// The key of the cell.
        cell: String,
        /// The reason in one line.
        why: String,
        /// What to do about it.
        hint: Option<Hint>,
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
        /// The reason in one line.
        why: String,
        /// What to do about it.
        hint: Option<Hint>,
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
}
