//! The answers of `assay doctor` and `assay verify`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use words::Hint;

/// The version of [`DoctorAnswer`].
pub const DOCTOR_FORMAT: u32 = 1;

/// Whether this machine and this build can do what assay does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DoctorAnswer {
    /// The version of this document.
    #[schemars(extend("const" = DOCTOR_FORMAT))]
    pub format: u32,
    /// Whether every check passed.
    pub ok: bool,
    /// The checks in a fixed order.
    pub checks: Vec<DoctorCheck>,
}

/// One check of the environment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DoctorCheck {
    /// The name of what was checked.
    pub name: String,
    /// Whether the check passed.
    pub ok: bool,
    /// What the check found.
    pub detail: String,
    /// What the user should do, or what is not available where the check is optional, in the words of the front.
    pub hint: Option<String>,
    /// The same as a value, which the front words; JSON does not have it.
    #[serde(skip)]
    pub advice: Option<Hint>,
}

/// The version of [`VerifyAnswer`].
pub const VERIFY_FORMAT: u32 = 2;

/// Whether this build computes on this machine what it claims to compute.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct VerifyAnswer {
    /// The version of this document.
    #[schemars(extend("const" = VERIFY_FORMAT))]
    pub format: u32,
    /// The number of checks in which everything agrees.
    pub passed: usize,
    /// The number of checks in which something disagrees.
    pub failed: usize,
    /// The number of checks in which nothing could be compared.
    pub skipped: usize,
    /// The number of checks for which the system denied what they need, such as memory.
    #[serde(default)]
    pub not_checked: usize,
    /// The checks in the order in which they were made.
    pub checks: Vec<VerifyCheck>,
    /// The planted faults; empty unless the user asked for them.
    pub mutants: Vec<VerifyMutant>,
}

/// One check and its outcome.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct VerifyCheck {
    /// The claim in few words.
    pub name: String,
    /// The subject of the claim: `formats`, `ggml`, `machine`, `metrics`, `model` or `run`.
    pub area: String,
    /// The outcome of the check.
    pub status: VerifyStatus,
    /// The implementations that were compared with each other.
    pub compared: Vec<String>,
    /// The implementations that could not be compared, each with the reason.
    pub not_compared: Vec<String>,
    /// The number of comparisons that were made.
    pub n: u64,
    /// The first disagreement, or what was found where everything agrees.
    pub detail: String,
}

/// The outcome of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum VerifyStatus {
    /// Everything that was compared agrees.
    Passed,
    /// Something disagrees.
    Failed,
    /// Nothing could be compared; the detail says why.
    Skipped,
    /// The system denied something that the check needs; the detail says what.
    #[serde(rename = "not_checked")]
    NotChecked,
}

/// A fault that was planted to see whether the checks catch it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct VerifyMutant {
    /// The name of the fault.
    pub name: String,
    /// The boundary in the code at which the fault was planted.
    pub place: String,
    /// The names of the checks that failed; empty where no check caught the fault.
    pub caught_by: Vec<String>,
    /// The first disagreement that the first of these checks found.
    pub evidence: String,
}
