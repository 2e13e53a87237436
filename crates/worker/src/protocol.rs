//! The messages between a run and its worker process: jobs go in and events come out, one JSON object a line.
//! Everything here is plain data. The loop that serves it is [`crate::serve`](mod@crate::serve).

use eval::{ChatMessage, HeadShift};
use files::SchemeFilePath;
use record::{
    Base, Edit, EngineInfo, EngineSettings, MemoryPlan, Note, ReferenceSample, Sample, Sampling, TensorEvidence, Token,
};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use words::Hint;

/// This build: the version, and a hash of the sources that messages are made of.
pub const BUILD: &str = concat!("assay ", env!("CARGO_PKG_VERSION"), ", build ", env!("ASSAY_SOURCES"));

/// The part of a first job that every build can read.
#[derive(Deserialize)]
struct Head {
    #[serde(default)]
    build: Option<String>,
}

/// The build that a line which is not a job of this build was written by; `None` where the line does not say.
pub(crate) fn build_of(line: &str) -> Option<String> {
    serde_json::from_str(line).ok().and_then(|head: Head| head.build)
}

/// One variant to be measured: the weights of the reference with these edits.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CellSpec {
    /// The key of the cell, which names it in every event.
    pub key: String,
    /// The first layer in which the edits can act, as `select::first_layer` computes it. A pass may start there.
    pub first_layer: usize,
    /// The edits. The list is empty for the A/A control, which is the reference again.
    pub edits: Vec<Edit>,
}

/// One window of tokens and the cells to measure on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChunkWork {
    /// The index of the window in the tokenized text.
    pub chunk: usize,
    /// Indices into [`Job::Measure::cells`]. If there are none, only the reference is measured.
    pub cells: Vec<usize>,
}

/// What a worker is asked to do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "job", rename_all = "snake_case", deny_unknown_fields)]
pub enum Job {
    /// Loads a model. The worker answers with [`Event::Opened`].
    Open {
        /// The [`BUILD`] of the program that asks. A worker of another build refuses it.
        build: String,
        /// The path of a GGUF file.
        #[serde(with = "files::path_bytes")]
        model: PathBuf,
        /// The pinned settings of the engine.
        settings: EngineSettings,
        /// The number of threads; 0 means one per core.
        n_threads: usize,
        /// The main memory that the worker may use, in bytes. `None` means that there is no limit.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        max_memory_bytes: Option<u64>,
    },
    /// Reads the files that schemes name, before any cell needs them. The worker answers with
    /// [`Event::SchemeFilesRead`].
    SchemeFiles {
        /// The place and the identity of each file.
        files: Vec<SchemeFilePath>,
    },
    /// Tokenizes a text and cuts it into windows. The worker answers with [`Event::Tokenized`].
    Corpus {
        /// The text itself, not its path.
        text: String,
        /// Whether special tokens that are spelled in the text are read as those tokens.
        special: bool,
    },
    /// Lets the reference and a variant of it answer conversations. The worker sends [`Event::Prompted`] for each
    /// conversation, then [`Event::Answered`] for each answer, those of the reference first, and [`Event::Measured`]
    /// last.
    Chat {
        /// The weights of the reference.
        base: Base,
        /// The edits that make the variant. If there are none, only the reference answers.
        edits: Vec<Edit>,
        /// The name of the chat template among several; `None` for the default one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        template: Option<String>,
        /// The conversations, each up to the place where the assistant answers.
        chats: Vec<Vec<ChatMessage>>,
        /// The length of the longest answer, in tokens.
        max_tokens: usize,
        /// How the tokens of the answer are chosen.
        sampling: Sampling,
    },
    /// Compares the attention probabilities of a variant with the reference's. This works only with flash attention
    /// off. The worker sends [`Event::Attention`] for each window and [`Event::Measured`] last.
    Attention {
        /// The weights of the reference.
        base: Base,
        /// The edits that make the variant.
        edits: Vec<Edit>,
        /// The indices of the windows to measure.
        chunks: Vec<usize>,
    },
    /// Scores multiple-choice tasks with the weights of the reference, then with those of each cell. The worker sends
    /// an [`Event::Choice`] for each task and cell, and [`Event::Measured`] last.
    Choose {
        /// The weights of the reference.
        base: Base,
        /// The cells to measure.
        cells: Vec<CellSpec>,
        /// The texts of the choices of each task, with the context in each.
        tasks: Vec<Vec<String>>,
    },
    /// Measures cells against one reference, window by window. The worker sends many events, and [`Event::Measured`]
    /// last.
    Measure {
        /// The weights of the reference.
        base: Base,
        /// The cells to measure.
        cells: Vec<CellSpec>,
        /// The windows, in the order in which they are measured.
        chunks: Vec<ChunkWork>,
        /// Whether to compare the hidden state that leaves each layer with the reference's ([`Sample::residual`]).
        /// Every pass is then a full one.
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
            (Job::Measure { cells, chunks, .. }, Event::Sample(Sample { cell, chunk, .. })) => {
                let place = cells.iter().position(|spec| spec.key == *cell);
                let is_asked = |work: &ChunkWork, place| work.chunk == *chunk && work.cells.contains(&place);
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
            (Job::Chat { chats, .. }, Event::Prompted(prompt)) => prompt.chat < chats.len(),
            (Job::Attention { chunks, .. }, Event::Attention(sample)) => chunks.contains(&sample.chunk),
            _ => false,
        }
    }
}

/// A message from a worker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case", deny_unknown_fields)]
pub enum Event {
    /// The model is loaded.
    Opened {
        /// What the engine is, and the model that it has loaded.
        info: EngineInfo,
    },
    /// The files of schemes are read, and their contents are as expected.
    SchemeFilesRead,
    /// The text is tokenized.
    Tokenized {
        /// The number of tokens of the text, BOS included.
        n_tokens: usize,
        /// The number of whole windows of `n_ctx` tokens in the text.
        n_chunks: usize,
        /// The blake3 of the token ids of each window (little-endian i32, with BOS in place), which identifies what was
        /// measured.
        chunk_blake3: Vec<String>,
    },
    /// The main memory that a measure job needs, sent before it begins.
    Memory(MemoryPlan),
    /// A remark that changes no number but that the user should know.
    Note {
        /// The remark as a value.
        note: Note,
    },
    /// Work on a cell begins. If the worker falls silent, the last of these events names the cell at fault.
    Started {
        /// The key of the cell. `None` for the reference.
        cell: Option<String>,
        /// The index of the window, or of the conversation or task where the job has those.
        chunk: usize,
    },
    /// The scores of the reference on one window.
    Reference(ReferenceSample),
    /// The edits of a cell are in place for the first time. The event says what they did, as read back from the engine.
    Applied {
        /// The key of the cell.
        cell: String,
        /// The evidence, one entry for each edit.
        tensors: Vec<TensorEvidence>,
    },
    /// The scores of a cell on one window.
    Sample(Sample),
    /// The attention of a variant compared with the reference's, on one window.
    Attention(AttentionSample),
    /// A conversation as the chat template has written it.
    Prompted(Prompt),
    /// One answer to a conversation.
    Answered(GeneratedAnswer),
    /// The likelihood of the choices of one task.
    Choice(ChoiceSample),
    /// One cell cannot be measured. The other cells go on.
    CellFailed {
        /// The key of the cell.
        cell: String,
        /// The reason in one line.
        why: String,
        /// What the user can do about it. `None` when there is no advice.
        hint: Option<Hint>,
        /// Whether the cell's logits are not finite, which is what it does to the model and not a failure of the machine.
        nonfinite: bool,
    },
    /// A measure job is done and the original weights are back in place.
    Measured {
        /// The blake3 over all weights that the job touched, before the job.
        weights_before: String,
        /// The same hash after the job. It must equal `weights_before`.
        weights_after: String,
    },
    /// The job cannot be done at all.
    Failed {
        /// The reason in one line.
        why: String,
        /// What the user can do about it. `None` when there is no advice.
        hint: Option<Hint>,
        /// Whether the user's input is at fault (exit 2) rather than the engine (exit 4).
        input: bool,
    },
}

/// The attention of a variant compared with its reference's, on one window.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttentionSample {
    /// The index of the window.
    pub chunk: usize,
    /// The layers that have attention, each with its heads.
    pub layers: Vec<(usize, Vec<HeadShift>)>,
}

/// A conversation as the model reads it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prompt {
    /// The index of the conversation.
    pub chat: usize,
    /// The text that the chat template wrote.
    pub text: String,
    /// The number of its tokens.
    pub n_tokens: usize,
}

/// One answer to a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GeneratedAnswer {
    /// The index of the conversation.
    pub chat: usize,
    /// Whether the variant answered, rather than the reference.
    pub is_variant: bool,
    /// The tokens of the answer, without the token that ended it.
    pub tokens: Vec<Token>,
    /// The text of the tokens. Bytes that are not UTF-8 are replaced.
    pub text: String,
    /// Whether the model ended the answer. Otherwise it was cut at the longest length allowed.
    pub ended: bool,
}

/// The likelihood of the choices of a task, counted after the tokens that all choices share.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChoiceSample {
    /// The key of the cell. `None` for the reference.
    pub cell: Option<String>,
    /// The index of the task in the job.
    pub task: usize,
    /// Σ ln p over the tokens of each ending, in nats.
    pub ln_p: Vec<f64>,
    /// The number of tokens of each ending.
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
            let (build, settings) = (BUILD.to_owned(), EngineSettings::pinned(512));
            let job = Job::Open { build, model, settings, n_threads: 0, max_memory_bytes: None };
            let line = serde_json::to_string(&job).expect("JSON");
            assert_eq!(serde_json::from_str::<Job>(&line).expect("a job"), job, "{line}");
        }
    }
}
