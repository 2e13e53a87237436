//! The numbers of a measurement, by the keys of the table of metrics.

use crate::metric::{sum_of, sums};
use schemars::JsonSchema;
use serde::de::{Deserialize, Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

/// Numbers by the keys of the table. In JSON they have the order of the table, and absent ones are left out.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MetricValues(BTreeMap<&'static str, f64>);

impl MetricValues {
    /// The number under a key; `None` where it was not measured.
    pub fn get(&self, key: &str) -> Option<f64> {
        self.0.get(key).copied()
    }

    /// Puts a number under a key of the table. A key that is not in the table is ignored.
    pub fn set(&mut self, key: &str, value: f64) {
        if let Some((_, sum)) = sum_of(key) {
            self.0.insert(sum.key, value);
        }
    }

    /// The first missing number without which no verdict can rest on these values.
    pub fn lacks(&self) -> Option<&'static str> {
        let core = sums().filter(|(metric, sum)| metric.is_core && !sum.how.may_be_absent());
        core.map(|(_, sum)| sum.key).find(|key| !self.0.contains_key(key) && !SINCE_FORMAT_2.contains(key))
    }

    fn serialize_into<M: SerializeMap>(&self, map: &mut M, with_absent: bool) -> Result<(), M::Error> {
        for (_, sum) in sums() {
            match self.get(sum.key) {
                Some(value) if sum.how.is_whole() => map.serialize_entry(sum.key, &(value as u64))?,
                Some(value) => map.serialize_entry(sum.key, &value)?,
                None if with_absent => map.serialize_entry(sum.key, &())?,
                None => {}
            }
        }
        Ok(())
    }
}

impl<const N: usize> From<[(&str, f64); N]> for MetricValues {
    fn from(numbers: [(&str, f64); N]) -> Self {
        let mut values = MetricValues::default();
        numbers.into_iter().for_each(|(key, value)| values.set(key, value));
        values
    }
}

/// The numbers of core metrics that records of format 1 do not have.
const SINCE_FORMAT_2: [&str; 2] = ["ppl_se_iid", "nll_nats"];

impl Serialize for MetricValues {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        self.serialize_into(&mut map, false)?;
        map.end()
    }
}

/// Reads the keys of the table and ignores all others, because the map may be part of a larger one.
impl<'de> Deserialize<'de> for MetricValues {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keys;
        impl<'de> Visitor<'de> for Keys {
            type Value = MetricValues;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("numbers by the keys of the metrics")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<MetricValues, A::Error> {
                let mut values = MetricValues::default();
                while let Some(key) = map.next_key::<String>()? {
                    if sum_of(&key).is_none() {
                        map.next_value::<IgnoredAny>()?;
                    } else if let Some(value) = map.next_value::<Option<f64>>()? {
                        if !value.is_finite() {
                            return Err(A::Error::custom(format!("{key} is not finite")));
                        }
                        values.set(&key, value);
                    }
                }
                Ok(values)
            }
        }
        deserializer.deserialize_map(Keys)
    }
}

/// The JSON Schema of the table's keys. Where `null` stands for absent numbers, every key is required.
fn schema(with_absent: bool) -> schemars::Schema {
    let mut properties = serde_json::Map::new();
    let mut required = Vec::new();
    for (_, sum) in sums() {
        let kind = if sum.how.is_whole() { "integer" } else { "number" };
        let of = if with_absent { serde_json::json!([kind, "null"]) } else { serde_json::json!(kind) };
        properties.insert(sum.key.into(), serde_json::json!({ "description": sum.doc, "type": of }));
        if with_absent {
            required.push(sum.key);
        }
    }
    let mut schema = serde_json::json!({ "type": "object", "properties": properties });
    if with_absent {
        schema["required"] = serde_json::json!(required);
    }
    schema.try_into().unwrap_or_default()
}

impl JsonSchema for MetricValues {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "MetricValues".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schema(false)
    }
}

/// The [`MetricValues`] as the answers of commands write them, with `null` for absent numbers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AllMetricValues(pub MetricValues);

impl AllMetricValues {
    /// The number under a key; `None` where it was not measured.
    pub fn get(&self, key: &str) -> Option<f64> {
        self.0.get(key)
    }
}

impl Serialize for AllMetricValues {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        self.0.serialize_into(&mut map, true)?;
        map.end()
    }
}

impl<'de> Deserialize<'de> for AllMetricValues {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        MetricValues::deserialize(deserializer).map(AllMetricValues)
    }
}

impl JsonSchema for AllMetricValues {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "AllMetricValues".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schema(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_stand_in_the_tables_order_and_what_is_absent_is_left_out_or_null() {
        let values = MetricValues::from([("logits_changed", 12.0), ("kld_mean", 0.5), ("ppl", 2.0), ("unknown", 1.0)]);
        let json = serde_json::to_string(&values).expect("prints");
        assert_eq!(json, r#"{"ppl":2.0,"kld_mean":0.5,"logits_changed":12}"#);
        assert_eq!(serde_json::from_str::<MetricValues>(&json).expect("reads"), values);
        let all = serde_json::to_value(AllMetricValues(values)).expect("prints");
        assert_eq!(all.as_object().map(serde_json::Map::len), Some(sums().count()));
        assert!(all["kld_se"].is_null());
    }
}
