//! The reasons of verdicts and the findings of controls, as facts in fields. The module [`sentence`](crate::sentence)
//! words them, so rewording a sentence changes no stored record.

use schemars::JsonSchema;
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize};

/// The rule that gave a cell its verdict, with the numbers that the rule was applied to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "rule", rename_all = "snake_case", deny_unknown_fields)]
pub enum Reason {
    /// The cell was not measured.
    NotMeasured {
        /// What the worker said; `None` if it said nothing.
        failure: Option<String>,
    },
    /// A control does not hold, so no variant keeps its class.
    Withheld {
        /// The name of the control.
        control: String,
        /// The outcome of the control.
        outcome: ControlOutcome,
    },
    /// A link of the chain of evidence contradicts another.
    ChainBroken {
        /// The first link that contradicts another.
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
        /// The number of values that went from +0 to −0.
        #[serde(default)]
        minus_zero: u64,
        /// The number of scored positions.
        n_scored: u64,
    },
    /// The values were written back unchanged, and no logit differs.
    WrittenBack {
        /// The number of values.
        n: u64,
        /// Whether the values are weights or activations.
        subject: TargetValues,
        /// The number of scored positions.
        n_scored: u64,
    },
    /// All values already lie on the grid of the scheme, and no logit differs.
    OnGrid {
        /// The number of values.
        n: u64,
        /// The number of tensors or graph nodes.
        n_targets: usize,
        /// Whether the values are weights or activations.
        subject: TargetValues,
        /// The scheme in canonical form.
        scheme: String,
        /// The number of scored positions.
        n_scored: u64,
    },
    /// The graph uses none of the targets.
    Unused {
        /// The number of tensors or graph nodes.
        n_targets: usize,
        /// Whether the values are weights or activations.
        subject: TargetValues,
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
    /// Values change, but no logit does.
    NoLogitDiffers {
        /// How many values change.
        changes: Changes,
    },
    /// The effect is less than twice the floor.
    NearFloor {
        /// How many values change.
        changes: Changes,
        /// The mean KL divergence, nats a token.
        kld_mean: f64,
        /// The floor that the effect is compared with.
        floor: FloorFacts,
    },
    /// The effect and its floor are both zero.
    ZeroLikeFloor {
        /// How many values change.
        changes: Changes,
        /// The floor that the effect is compared with.
        floor: FloorFacts,
    },
    /// The effect is at least twice the floor, or the floor is zero and the effect is not.
    AboveFloor {
        /// How many values change.
        changes: Changes,
        /// The headline numbers of the effect.
        effect: EffectFacts,
        /// The floor that the effect is compared with.
        floor: FloorFacts,
    },
    /// The control has an effect, which is not compared with a floor.
    Seen {
        /// How many values change.
        changes: Changes,
        /// The headline numbers of the effect.
        effect: EffectFacts,
    },
    /// The reason is a sentence, as in records of format 1.
    Stated {
        /// The sentence of that record.
        sentence: String,
    },
}

/// Whether the values of a target are weights or activations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TargetValues {
    /// The values of tensors.
    Weights,
    /// The values of graph nodes, in all windows; in the first window alone in records from before format 4.
    Activations,
}

/// How many values a scheme changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Changes {
    /// The number of values that became another value.
    pub changed: u64,
    /// The number of values that went from −0 to +0.
    pub zero_sign: u64,
    /// The number of values that went from +0 to −0.
    #[serde(default)]
    pub minus_zero: u64,
    /// The number of values.
    pub n: u64,
    /// Whether the values are weights or activations.
    pub subject: TargetValues,
}

/// The headline numbers of an effect.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EffectFacts {
    /// The mean KL divergence, nats a token.
    pub kld_mean: f64,
    /// The standard error of `kld_mean`, clustered by window; `None` below 8 windows.
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
    /// The selector that was jittered instead of the cell's own target; `None` for a floor of its own.
    pub borrowed_from: Option<String>,
}

/// A link of the chain of evidence that contradicts another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "link", rename_all = "snake_case", deny_unknown_fields)]
pub enum BrokenLink {
    /// Not every edit was reported.
    Reported {
        /// The number of edits that were asked for.
        asked: usize,
        /// The number of edits that were reported.
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
        /// The name of the tensor.
        tensor: String,
    },
    /// Other values changed than were predicted.
    Prediction {
        /// The number of values that were predicted to change.
        predicted: u64,
        /// The number of values that were predicted to go from −0 to +0.
        predicted_zero_sign: u64,
        /// The number of values that were predicted to go from +0 to −0.
        #[serde(default)]
        predicted_minus_zero: u64,
        /// The number of values that changed.
        changed: u64,
        /// The number of values that went from −0 to +0.
        zero_sign: u64,
        /// The number of values that went from +0 to −0.
        #[serde(default)]
        minus_zero: u64,
    },
    /// The file and the engine have different numbers of values.
    Size {
        /// The number of values in the file.
        file: u64,
        /// The number of values in the engine.
        engine: u64,
    },
    /// No value changes, but bytes do.
    BytesWithoutValues {
        /// The number of bytes that change.
        bytes: u64,
    },
    /// Values change, but no byte does.
    ValuesWithoutBytes {
        /// The number of values that change.
        values: u64,
    },
    /// No byte changes, but activations or logits do.
    EffectWithoutBytes {
        /// The number of activations that change.
        activations: usize,
        /// The number of positions whose logits differ.
        logits_changed: u64,
        /// The number of scored positions.
        n_scored: u64,
    },
    /// The graph uses none of the tensors, but logits differ.
    EffectWithoutUse,
    /// No activation behind the tensors changes, but logits differ.
    LogitsWithoutActivations,
    /// All logits are bit-identical, but a metric is not zero.
    MetricWithoutLogits,
}

/// The outcome of a control.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ControlOutcome {
    /// The control holds.
    Held,
    /// The control was measured and does not hold.
    Failed,
    /// The control could not be measured.
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
        /// The smallest acceptable mean KL divergence, in nats a token.
        kld_mean: f64,
        /// The smallest acceptable ratio of the effect to the floor.
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
    /// The demand is words, as in records of format 1.
    Stated {
        /// The words of that record.
        sentence: String,
    },
}

/// What a control found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "found", rename_all = "snake_case", deny_unknown_fields)]
pub enum Found {
    /// The reason for the verdict of the control's cell.
    Cell {
        /// The reason for that verdict.
        reason: Reason,
    },
    /// The effect that the runtime alone has.
    RuntimePart {
        /// The headline numbers of the effect.
        effect: EffectFacts,
    },
    /// The graph does not use the destroyed target, so there can be no effect.
    NothingToSee {
        /// The reason for the cell's verdict.
        reason: Reason,
    },
    /// The logits of the destroyed target are not finite, which is more than any effect that is asked for.
    NonFiniteLogits {
        /// Where they first appear.
        place: String,
    },
    /// No cell was measured, so there is nothing that could have been checked.
    NothingMeasured,
    /// The floor was not measured.
    NoFloor,
    /// The effect and its floor.
    Effect {
        /// The headline numbers of the effect.
        effect: EffectFacts,
        /// The mean KL divergence of the largest jitter seed, nats a token.
        floor_kld_mean_max: f64,
    },
    /// The result of each jitter seed.
    Seeds {
        /// One entry for each seed.
        seeds: Vec<SeedFound>,
    },
    /// The control found what was wanted.
    AsWanted,
    /// What went wrong during measurements.
    Faults {
        /// Every fault, in the order of time.
        faults: Vec<FaultFound>,
    },
    /// The number of chains of evidence whose links agree, as all of them should.
    Chains {
        /// The number of chains in which two links contradict each other.
        broken: u64,
        /// The number of all chains.
        n: u64,
        /// The first contradiction; `None` where there is none.
        first: Option<BrokenLink>,
    },
    /// The finding is words, as in records of format 1.
    Stated {
        /// The words of that record.
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
    /// The seed of the jitter.
    pub seed: u64,
    /// The mean KL divergence, nats a token; `None` where it was not measured.
    pub kld_mean: Option<f64>,
    /// Why the seed was not measured; `None` where it was or the reason is not known.
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

/// Reads a field that is a value today and was a sentence in format 1.
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
        let changes =
            Changes { changed: 2_990, zero_sign: 0, minus_zero: 0, n: u64::MAX, subject: TargetValues::Weights };
        let effect = EffectFacts { kld_mean: 0.1 + 0.2, kld_se: None, same_top: 1.0 };
        let floor = FloorFacts { kld_mean_max: 5e-324, ratio: Some(1e300), borrowed_from: Some("ffn_norm".into()) };
        comes_back(
            &Reason::AboveFloor { changes, effect, floor },
            r#"{"rule":"above_floor","changes":{"changed":2990,"zero_sign":0,"minus_zero":0,"n":18446744073709551615,"subject":"weights"},"effect":{"kld_mean":0.30000000000000004,"kld_se":null,"same_top":1.0},"floor":{"kld_mean_max":5e-324,"ratio":1e+300,"borrowed_from":"ffn_norm"}}"#,
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
