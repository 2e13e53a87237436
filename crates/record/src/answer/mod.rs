//! The answers of commands: one plain type for each command, which `--json` prints as it is.
//!
//! Each answer begins with the number of its format. The number grows when a key is added, renamed or given another
//! meaning. docs/schemas has a JSON Schema of each answer. Numbers are finite, except where a schema says that a string
//! may replace one ([`float`]).

mod census;
mod chat;
mod checks;
mod diff;
mod eval;
mod fallback;
pub mod float;
mod inspect;
mod listings;
mod quantize;
mod run;
mod sweep;
mod task;

pub use census::{
    CENSUS_FORMAT, CensusAnswer, CensusBlock, CensusBlocks, CensusCoverage, CensusPrediction, CensusSpread,
    CensusTensor, CensusTransform, PredictedFrom, RefusedTensor, RescaledNorms, TensorPrediction,
};
pub use chat::{CHAT_FORMAT, ChatAnswer, ChatExchange, ChatReply};
pub use checks::{
    DOCTOR_FORMAT, DoctorAnswer, DoctorCheck, VERIFY_FORMAT, VerifyAnswer, VerifyCheck, VerifyMutant, VerifyStatus,
};
pub use diff::{
    DIFF_FORMAT, DiffAnswer, ExtraRows, GroupDifference, IncomparableTensor, MetadataDifference, MetadataEffect,
    MetadataSide, PaddedTensor, TensorCopy, TensorDifference, TensorRelation, ValueDifference, WeightFactors,
};
pub use eval::{ChangedTarget, EVAL_FORMAT, EvalAnswer, EvalSettings, HeadAttention, LayerResidual, LayerRouting};
pub use fallback::SchemeFallback;
pub use inspect::{
    INSPECT_FORMAT, InspectAnswer, InspectedForeignTensor, InspectedTensor, MetadataEntry, StatedFileType, StoredType,
};
pub use listings::{
    ActivationMatches, GgmlScheme, SCHEMES_FORMAT, SELECTORS_FORMAT, SchemeFormat, SchemesAnswer, SelectorMatches,
    SelectorsAnswer,
};
pub use quantize::{KeptTensor, QUANTIZE_FORMAT, QuantizeAnswer, QuantizedTensor, TensorsSize, TypeSize, WrittenFile};
pub use run::{
    ControlAnswer, Effects, FailedCell, LastEvent, ModelAnswer, REPORT_FORMAT, RUN_FORMAT, ReportAnswer, RunAnswer,
    STATUS_FORMAT, StatusAnswer, VariantVerdict, samples_file,
};
pub use sweep::{LayerStanding, RaceTerms, SWEEP_FORMAT, SweepAnswer, SweepSettings, SweptLayer};
pub use task::{TASK_FORMAT, TaskAnswer, TaskScores, TaskSettings};
