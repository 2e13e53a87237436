//! Why a verdict is what it is, and what a control found: facts in fields. The sentences are made in
//! [`sentence`](crate::sentence), so rewording one changes no stored record.

use schemars::JsonSchema;
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize};

/// The rule by which a cell has its verdict, with the numbers that it was applied to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "rule", rename_all = "snake_case", deny_unknown_fields)]
pub enum Reason {
    /// The cell was not measured.
    NotMeasured {
        /// What the worker said, if it said anything.
        failure: Option<String>,
    },
    /// A control does not hold, so no variant keeps its class.
    Withheld {
        /// The name of the control.
        control: String,
        /// What became of it.
        outcome: ControlOutcome,
    },
    /// A link of the chain of evidence contradicts another.
    ChainBroken {
        /// The first such link.
        link: BrokenLink,
    },
    /// Nothing was edited, and no logit differs.
    NothingEdited {
        /// The number of scored positions.
        n_scored: u64,
    },
    /// Only zeros change their sign, and no logit differs.
    SignOfZeros {
        /// The number of values.
        n: u64,
        /// The number of values that went from −0 to +0.
        zero_sign: u64,
        /// The number of scored positions.
        n_scored: u64,
    },
    /// The values were written back as they were, and no logit differs.
    WrittenBack {
        /// The number of values.
        n: u64,
        /// What the values are.
        subject: Subject,
        /// The number of scored positions.
        n_scored: u64,
    },
    /// All values lie on the grid of the scheme already, and no logit differs.
    OnGrid {
        /// The number of values.
        n: u64,
        /// The number of tensors or graph nodes.
        n_targets: usize,
        /// What the values are.
        subject: Subject,
        /// The scheme in canonical form.
        scheme: String,
        /// The number of scored positions.
        n_scored: u64,
    },
    /// The graph uses none of the targets.
    Unused {
        /// The number of tensors or graph nodes.
        n_targets: usize,
        /// What the values are.
        subject: Subject,
    },
    /// The carrier did not store what the scheme asked for.
    CarrierRounded {
        /// The number of values that the carrier rounded.
        carrier_rounded: u64,
        /// The number of values.
        n: u64,
        /// The scheme in canonical form.
        scheme: String,
    },
    /// The perturbation floor that the effect would be compared with was not measured.
    NoFloor,
    /// Values change and no logit does.
    NoLogitDiffers {
        /// The values that change.
        changes: Changes,
    },
    /// The effect is less than twice the floor.
    NearFloor {
        /// The values that change.
        changes: Changes,
        /// The mean KL divergence, nats a token.
        kld_mean: f64,
        /// What it is compared with.
        floor: FloorFacts,
    },
    /// The effect and its floor are both zero.
    ZeroLikeFloor {
        /// The values that change.
        changes: Changes,
        /// What it is compared with.
        floor: FloorFacts,
    },
    /// The effect is at least twice the floor, or the floor is zero and the effect is not.
    AboveFloor {
        /// The values that change.
        changes: Changes,
        /// The effect.
        effect: EffectFacts,
        /// What it is compared with.
        floor: FloorFacts,
    },
    /// The effect of a control, which is compared with no floor.
    Seen {
        /// The values that change.
        changes: Changes,
        /// The effect.
        effect: EffectFacts,
    },
    /// A record of format 1 has a sentence only.
    Stated {
        /// That sentence.
        sentence: String,
    },
}

/// What the values of a target are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    /// The values of tensors.
    Weights,
    /// The values of graph nodes, in the first window.
    Activations,
}

/// How many values a scheme changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Changes {
    /// The number of values that changed, −0 to +0 excepted.
    pub changed: u64,
    /// The number of values that went from −0 to +0.
    pub zero_sign: u64,
    /// The number of values.
    pub n: u64,
    /// What the values are.
    pub subject: Subject,
}

/// The headline numbers of an effect.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EffectFacts {
    /// The mean KL divergence, nats a token.
    pub kld_mean: f64,
    /// Its standard error, clustered by window; `None` below 8 windows.
    pub kld_se: Option<f64>,
    /// The share of positions with the same most probable token.
    pub same_top: f64,
}

/// The floor that an effect was compared with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FloorFacts {
    /// The mean KL divergence of the largest jitter seed, nats a token.
    pub kld_mean_max: f64,
    /// The effect over `kld_mean_max`; `None` where the floor is zero.
    pub ratio: Option<f64>,
    /// What was jittered, where it is not the cell's own target; `None` for a floor of its own.
    pub borrowed_from: Option<String>,
}

/// A link of the chain of evidence that contradicts another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "link", rename_all = "snake_case", deny_unknown_fields)]
pub enum BrokenLink {
    /// Not every edit was reported.
    Reported {
        /// The number of edits.
        asked: usize,
        /// The number of reports.
        reported: usize,
    },
    /// Another tensor was reported.
    OtherTensor {
        /// The tensor that was asked for.
        asked: String,
        /// The tensor that was reported.
        reported: String,
    },
    /// What was read back is not what was written.
    ReadBack {
        /// The tensor.
        tensor: String,
    },
    /// Other values changed than were predicted.
    Prediction {
        /// The number of values that were predicted to change.
        predicted: u64,
        /// The number of values that were predicted to go from −0 to +0.
        predicted_zero_sign: u64,
        /// The number of values that changed.
        changed: u64,
        /// The number of values that went from −0 to +0.
        zero_sign: u64,
    },
    /// File and engine have different numbers of values.
    Size {
        /// The number of values in the file.
        file: u64,
        /// The number of values in the engine.
        engine: u64,
    },
    /// No value changes, yet bytes do.
    BytesWithoutValues {
        /// The number of bytes.
        bytes: u64,
    },
    /// Values change, yet no byte does.
    ValuesWithoutBytes {
        /// The number of values.
        values: u64,
    },
    /// No byte changes, yet activations or logits do.
    EffectWithoutBytes {
        /// The number of activations.
        activations: usize,
        /// The number of positions whose logits differ.
        logits_changed: u64,
        /// The number of scored positions.
        n_scored: u64,
    },
    /// The graph uses none of the tensors, yet logits differ.
    EffectWithoutUse,
    /// No activation behind the tensors changes, yet logits differ.
    LogitsWithoutActivations,
    /// All logits are bit-identical, yet a metric is not zero.
    MetricWithoutLogits,
}

/// What became of a control.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ControlOutcome {
    /// It holds.
    Held,
    /// It was measured and does not hold.
    Failed,
    /// It could not be measured.
    NotMeasured,
}

/// What a control asks for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "wanted", rename_all = "snake_case", deny_unknown_fields)]
pub enum Wanted {
    /// The logits are bit-identical.
    SameLogits,
    /// Bytes and logits are bit-identical.
    SameBytesAndLogits,
    /// The effect is large enough to be seen.
    Effect {
        /// The least mean KL divergence, nats a token.
        kld_mean: f64,
        /// The least multiple of the floor.
        floor_ratio: f64,
    },
    /// No value changes, and the effect is measured.
    SameValues,
    /// Every seed is measured, on the variant's own windows.
    EverySeed,
    /// Every touched weight hashes the same before and after each measurement.
    WeightsRestored,
    /// The reference's logits hash the same whenever a window is measured.
    ReferenceRepeats,
    /// The model file hashes the same before and after the run.
    FileUnchanged,
    /// The links of every cell's chain of evidence agree.
    ChainsHold,
    /// A record of format 1 has words only.
    Stated {
        /// Those words.
        sentence: String,
    },
}

/// What a control found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "found", rename_all = "snake_case", deny_unknown_fields)]
pub enum Found {
    /// What the cell's own verdict rests on.
    Cell {
        /// The reason of that verdict.
        reason: Reason,
    },
    /// The effect of the runtime alone.
    RuntimePart {
        /// The effect.
        effect: EffectFacts,
    },
    /// The destroyed target is not used, so there is nothing to be seen.
    NothingToSee {
        /// The reason of the cell's verdict.
        reason: Reason,
    },
    /// The floor was not measured.
    NoFloor,
    /// The effect beside its floor.
    Effect {
        /// The effect.
        effect: EffectFacts,
        /// The mean KL divergence of the largest jitter seed, nats a token.
        floor_kld_mean_max: f64,
    },
    /// What each seed gave.
    Seeds {
        /// One entry for each seed.
        seeds: Vec<SeedFound>,
    },
    /// Nothing else than was wanted.
    AsWanted,
    /// What went wrong while something was measured.
    Faults {
        /// Every fault, in the order of time.
        faults: Vec<FaultFound>,
    },
    /// How many chains of evidence hold.
    Chains {
        /// The number of chains that do not.
        broken: u64,
        /// The number of chains.
        n: u64,
        /// The first that does not.
        first: Option<BrokenLink>,
    },
    /// A record of format 1 has words only.
    Stated {
        /// Those words.
        sentence: String,
    },
}

/// What went wrong while something was measured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "fault", rename_all = "snake_case", deny_unknown_fields)]
pub enum FaultFound {
    /// The touched weights hash to something else after a measurement.
    WeightsChanged {
        /// The hash before the measurement.
        before: String,
        /// The hash after it.
        after: String,
    },
    /// The reference's logits of a window hash to something else than at first.
    ReferenceChanged {
        /// The number of the window.
        window: usize,
        /// The hash at first.
        before: String,
        /// The hash when the window was measured again.
        after: String,
    },
    /// The model file hashes to something else after the run.
    FileChanged {
        /// blake3 of the file before the run.
        before: String,
        /// blake3 of the file after it.
        after: String,
    },
}

/// What a jitter seed gave.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SeedFound {
    /// The seed.
    pub seed: u64,
    /// The mean KL divergence, nats a token; `None` where it was not measured.
    pub kld_mean: Option<f64>,
    /// Why it was not measured, if that is known.
    pub failure: Option<String>,
}

macro_rules! stated {
    ($($name:ident)*) => {$(
        impl From<String> for $name {
            fn from(sentence: String) -> Self {
                $name::Stated { sentence }
            }
        }

        impl From<&str> for $name {
            fn from(sentence: &str) -> Self {
                $name::from(sentence.to_owned())
            }
        }
    )*};
}

stated!(Reason Wanted Found);

/// Reads what is a value today and was a sentence in format 1.
pub(crate) fn value_or_sentence<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: DeserializeOwned + From<String>,
{
    match serde_json::Value::deserialize(deserializer)? {
        serde_json::Value::String(sentence) => Ok(T::from(sentence)),
        value => serde_json::from_value(value).map_err(D::Error::custom),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Debug;

    /// A field of a record.
    #[derive(Deserialize)]
    struct Field<T: DeserializeOwned + From<String>> {
        #[serde(deserialize_with = "value_or_sentence")]
        of: T,
    }

    #[track_caller]
    fn comes_back<T: Serialize + DeserializeOwned + From<String> + PartialEq + Debug>(value: &T, json: &str) {
        assert_eq!(serde_json::to_string(value).expect("prints"), json);
        let read = |of: &str| serde_json::from_str::<Field<T>>(&format!("{{\"of\":{of}}}")).map(|field| field.of);
        assert_eq!(read(json).expect("reads"), *value);
        assert_eq!(read("\"as it was\"").expect("reads"), T::from("as it was".into()));
        let added = json.replacen('{', "{\"added\":true,", 1);
        for wrong in [added.as_str(), r#"{"rule":"of another program"}"#, "{}", "1"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_reason_is_kept_in_full_precision_and_a_sentence_is_read_in_its_place() {
        let changes = Changes { changed: 2_990, zero_sign: 0, n: u64::MAX, subject: Subject::Weights };
        let effect = EffectFacts { kld_mean: 0.1 + 0.2, kld_se: None, same_top: 1.0 };
        let floor = FloorFacts { kld_mean_max: 5e-324, ratio: Some(1e300), borrowed_from: Some("ffn_norm".into()) };
        comes_back(
            &Reason::AboveFloor { changes, effect, floor },
            r#"{"rule":"above_floor","changes":{"changed":2990,"zero_sign":0,"n":18446744073709551615,"subject":"weights"},"effect":{"kld_mean":0.30000000000000004,"kld_se":null,"same_top":1.0},"floor":{"kld_mean_max":5e-324,"ratio":1e+300,"borrowed_from":"ffn_norm"}}"#,
        );
        let link = BrokenLink::ReadBack { tensor: "a.weight".into() };
        comes_back(
            &Reason::ChainBroken { link },
            r#"{"rule":"chain_broken","link":{"link":"read_back","tensor":"a.weight"}}"#,
        );
        comes_back(
            &Wanted::Effect { kld_mean: 0.01, floor_ratio: 10.0 },
            r#"{"wanted":"effect","kld_mean":0.01,"floor_ratio":10.0}"#,
        );
        let faults = vec![FaultFound::FileChanged { before: "aa".into(), after: "bb".into() }];
        comes_back(
            &Found::Faults { faults },
            r#"{"found":"faults","faults":[{"fault":"file_changed","before":"aa","after":"bb"}]}"#,
        );
        comes_back(
            &Found::Seeds { seeds: vec![SeedFound { seed: 1, kld_mean: None, failure: None }] },
            r#"{"found":"seeds","seeds":[{"seed":1,"kld_mean":null,"failure":null}]}"#,
        );
    }
}
