//! The name of a stage of the method, and how much of the target one of its cells covers.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::fmt;

/// The longest name of a stage, in bytes.
const MAX_NAME_BYTES: usize = 64;

/// The name of a stage, as it stands in plan files, cells and events: `each_layer`.
///
/// A name has lower-case ASCII letters, digits, `_` and `-`, so it is harmless wherever it is printed. Names have no
/// order: the plan orders the stages.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct StageName(Cow<'static, str>);

/// A text that cannot be the name of a stage.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} cannot name a stage, wanted 1 to {MAX_NAME_BYTES} lower-case ASCII letters, digits, '_' or '-'")]
pub struct BadStageName(pub String);

impl StageName {
    /// The name of a stage that is a constant in the source.
    ///
    /// # Panics
    /// When the text cannot be the name of a stage. In a constant, the compiler reports this.
    pub const fn of(name: &'static str) -> StageName {
        assert!(is_name(name), "not the name of a stage");
        StageName(Cow::Borrowed(name))
    }

    /// The name as stored, such as `each_layer`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name for readers, such as `each layer`.
    pub fn words(&self) -> String {
        self.0.replace('_', " ")
    }
}

const fn is_name(name: &str) -> bool {
    let bytes = name.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        if !matches!(bytes[at], b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-') {
            return false;
        }
        at += 1;
    }
    !bytes.is_empty() && bytes.len() <= MAX_NAME_BYTES
}

impl TryFrom<String> for StageName {
    type Error = BadStageName;

    fn try_from(name: String) -> Result<Self, BadStageName> {
        if is_name(&name) { Ok(StageName(Cow::Owned(name))) } else { Err(BadStageName(name)) }
    }
}

impl From<StageName> for String {
    fn from(name: StageName) -> String {
        name.0.into_owned()
    }
}

impl fmt::Display for StageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How much of the target a cell covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum CellExtent {
    /// The whole target at once.
    Whole,
    /// One layer of the target.
    Layer,
    /// One of the parts that the question names: a matrix as lookup table, a matrix as head.
    Part,
}

impl CellExtent {
    /// The extent that the name of a stage implies. Records whose stages have the names of the presets do not state
    /// another.
    pub fn implied_by(stage: &StageName) -> CellExtent {
        match stage.as_str() {
            "one_layer" | "each_layer" => CellExtent::Layer,
            "each_part" => CellExtent::Part,
            _ => CellExtent::Whole,
        }
    }

    /// The extent that a cell's record must state; `None` where the stage's name implies it.
    pub fn unless_implied_by(self, stage: &StageName) -> Option<CellExtent> {
        (self != CellExtent::implied_by(stage)).then_some(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_stored_as_it_is_typed_and_read_as_words() {
        const EACH_LAYER: StageName = StageName::of("each_layer");
        assert_eq!(serde_json::to_string(&EACH_LAYER).expect("prints"), "\"each_layer\"");
        assert_eq!(serde_json::from_str::<StageName>("\"each_layer\"").expect("reads"), EACH_LAYER);
        assert_eq!((EACH_LAYER.to_string().as_str(), EACH_LAYER.words().as_str()), ("each_layer", "each layer"));
    }

    #[test]
    fn a_name_that_could_harm_a_terminal_or_a_table_is_refused() {
        for name in ["", "Each", "a b", "a,b", "a\n", "\u{1b}[31m", "ä", "=1", &"a".repeat(65)] {
            let error = StageName::try_from(name.to_owned()).expect_err(name).to_string();
            assert!(error.contains("cannot name a stage, wanted 1 to 64"), "{error}");
            assert!(serde_json::from_value::<StageName>(name.into()).is_err(), "{name}");
        }
        assert!(StageName::try_from("a".repeat(64)).is_ok());
    }

    #[test]
    fn an_extent_is_stated_only_where_the_name_of_the_stage_says_another() {
        for (stage, extent) in [
            ("controls", CellExtent::Whole),
            ("one_layer", CellExtent::Layer),
            ("each_layer", CellExtent::Layer),
            ("each_part", CellExtent::Part),
            ("all_layers", CellExtent::Whole),
            ("deep", CellExtent::Whole),
        ] {
            let stage = StageName::of(stage);
            assert_eq!(CellExtent::implied_by(&stage), extent);
            for other in [CellExtent::Whole, CellExtent::Layer, CellExtent::Part] {
                assert_eq!(other.unless_implied_by(&stage), (other != extent).then_some(other));
            }
        }
    }
}
