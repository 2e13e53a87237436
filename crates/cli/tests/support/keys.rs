//! The keys of JSON documents in their order, with the types that the schema has for them: `tensors[].n: number`.
//!
//! Which keys there are is read from documents. Which types their values can have is not: whether a value is null may depend
//! on the machine.

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fmt;

/// The keys of documents of one kind.
#[derive(Default)]
pub struct Keys {
    /// Paths in the order of the documents.
    seen: Vec<String>,
    /// The number of paths up to the last one that was read.
    at: usize,
}

impl Keys {
    /// Reads the keys of a JSON document, after those of earlier documents.
    pub fn read(&mut self, json: &str) {
        self.at = 0;
        self.walk("", &serde_json::from_str(json).expect("JSON"));
    }

    fn walk(&mut self, path: &str, value: &Ordered) {
        match value {
            Ordered::Scalar => {}
            Ordered::Array(items) => items.iter().for_each(|item| self.walk(&format!("{path}[]"), item)),
            Ordered::Object(entries) => {
                for (key, value) in entries {
                    let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                    self.note(&path);
                    self.walk(&path, value);
                }
            }
        }
    }

    /// Keeps a path. What only some documents have comes behind what it follows there, and what lies below that.
    fn note(&mut self, path: &str) {
        if let Some(at) = self.seen.iter().position(|seen| seen == path) {
            self.at = at + 1;
            return;
        }
        if let Some(before) = self.at.checked_sub(1).map(|at| self.seen[at].clone()) {
            let is_below = |path: &String| path.strip_prefix(&before).is_some_and(|rest| rest.starts_with(['.', '[']));
            self.at += self.seen[self.at..].iter().take_while(|path| is_below(path)).count();
        }
        self.seen.insert(self.at, path.to_owned());
        self.at += 1;
    }

    /// One line for each path.
    pub fn text(&self, schema: &Value) -> String {
        let line = |path: &String| format!("{path}: {}\n", types(&places(schema, path), schema));
        self.seen.iter().map(line).collect()
    }
}

/// The parts of a schema that a path leads to.
fn places<'a>(schema: &'a Value, path: &str) -> Vec<&'a Value> {
    let mut places = vec![schema];
    for step in path.split('.') {
        let (key, items) = step.split_once("[]").map_or((step, 0), |(key, rest)| (key, 1 + rest.len() / 2));
        let of_key = |place: &'a Value| place["properties"].get(key).or_else(|| place.get("additionalProperties"));
        places = choices(&places, schema).into_iter().filter_map(of_key).collect();
        for _ in 0..items {
            places = items_of(&choices(&places, schema));
        }
    }
    assert!(!places.is_empty(), "the schema has no {path}");
    places
}

fn items_of<'a>(places: &[&'a Value]) -> Vec<&'a Value> {
    let tuple = |place: &'a Value| place["prefixItems"].as_array().into_iter().flatten();
    places.iter().flat_map(|place| place.get("items").into_iter().chain(tuple(place))).collect()
}

/// What a schema can be, references and alternatives resolved.
fn choices<'a>(places: &[&'a Value], schema: &'a Value) -> Vec<&'a Value> {
    let mut all = Vec::new();
    for place in places {
        all.push(*place);
        let named = place["$ref"].as_str().and_then(|name| schema.pointer(name.trim_start_matches('#')));
        let others = ["anyOf", "oneOf", "allOf"].into_iter().filter_map(|key| place[key].as_array()).flatten();
        let next: Vec<&Value> = named.into_iter().chain(others).collect();
        all.extend(choices(&next, schema));
    }
    all
}

/// The types of values there: `null|number`, `array of string`.
fn types(places: &[&Value], schema: &Value) -> String {
    let places = choices(places, schema);
    let mut types: BTreeSet<String> = BTreeSet::new();
    for place in &places {
        let named = match &place["type"] {
            Value::Array(names) => names.iter().filter_map(Value::as_str).collect(),
            name => name.as_str().into_iter().collect::<Vec<_>>(),
        };
        types.extend(named.into_iter().map(|name| match name {
            "array" => format!("array of {}", self::types(&items_of(&[place]), schema)),
            "integer" => "number".to_owned(),
            name => name.to_owned(),
        }));
    }
    if types.is_empty() { "any".into() } else { types.into_iter().collect::<Vec<_>>().join("|") }
}

/// A JSON value whose keys stay in order.
enum Ordered {
    Scalar,
    Array(Vec<Ordered>),
    Object(Vec<(String, Ordered)>),
}

impl<'de> Deserialize<'de> for Ordered {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OrderedVisitor)
    }
}

struct OrderedVisitor;

impl<'de> Visitor<'de> for OrderedVisitor {
    type Value = Ordered;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Ordered, E> {
        Ok(Ordered::Scalar)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Ordered, E> {
        Ok(Ordered::Scalar)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Ordered, E> {
        Ok(Ordered::Scalar)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Ordered, E> {
        Ok(Ordered::Scalar)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Ordered, E> {
        Ok(Ordered::Scalar)
    }

    fn visit_str<E>(self, _: &str) -> Result<Ordered, E> {
        Ok(Ordered::Scalar)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Ordered, A::Error> {
        let mut all = Vec::new();
        while let Some(item) = items.next_element()? {
            all.push(item);
        }
        Ok(Ordered::Array(all))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Ordered, A::Error> {
        let mut all = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            all.push(entry);
        }
        Ok(Ordered::Object(all))
    }
}
