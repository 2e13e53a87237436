//! The keys of JSON documents in their order, with the types of their values: `tensors[].n: number`.

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use std::collections::BTreeSet;
use std::fmt;

/// Values that depend on the machine, with every type that they can have.
const VARIES: [(&str, &str, &str); 2] =
    [("doctor", "checks[].hint", "null|string"), ("verify", "checks[].not_compared[]", "string")];

/// The keys of documents of one kind.
#[derive(Default)]
pub struct Keys {
    /// Paths in the order of the documents, and the types that were seen there.
    seen: Vec<(String, BTreeSet<&'static str>)>,
    /// Where the last path stands.
    at: usize,
}

impl Keys {
    /// Reads a document.
    pub fn read(&mut self, json: &str) {
        self.at = 0;
        self.walk("", &serde_json::from_str(json).expect("JSON"));
    }

    fn walk(&mut self, path: &str, value: &Ordered) {
        match value {
            Ordered::Scalar(ty) => self.note(path, ty),
            Ordered::Array(items) => items.iter().for_each(|item| self.walk(&format!("{path}[]"), item)),
            Ordered::Object(entries) => {
                for (key, value) in entries {
                    let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                    match value {
                        Ordered::Array(_) => self.note(&path, "array"),
                        Ordered::Object(_) => self.note(&path, "object"),
                        Ordered::Scalar(_) => {}
                    }
                    self.walk(&path, value);
                }
            }
        }
    }

    /// What only some documents have comes behind what it follows there.
    fn note(&mut self, path: &str, ty: &'static str) {
        match self.seen.iter().position(|(seen, _)| seen == path) {
            Some(at) => self.at = at + 1,
            None => {
                self.seen.insert(self.at, (path.to_owned(), BTreeSet::new()));
                self.at += 1;
            }
        }
        self.seen[self.at - 1].1.insert(ty);
    }

    /// One line for each path; `name` is the kind of the documents.
    pub fn text(&self, name: &str) -> String {
        let mut lines: Vec<String> = Vec::new();
        for (path, types) in &self.seen {
            let varies = VARIES.iter().find(|(of, at, _)| (*of, *at) == (name, path));
            let types = types.iter().copied().collect::<Vec<_>>().join("|");
            lines.push(format!("{path}: {}\n", varies.map_or(types.as_str(), |(_, _, types)| types)));
        }
        lines.concat()
    }
}

/// A JSON value whose keys stay in order.
enum Ordered {
    Scalar(&'static str),
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
        Ok(Ordered::Scalar("null"))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Ordered, E> {
        Ok(Ordered::Scalar("boolean"))
    }

    fn visit_u64<E>(self, _: u64) -> Result<Ordered, E> {
        Ok(Ordered::Scalar("number"))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Ordered, E> {
        Ok(Ordered::Scalar("number"))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Ordered, E> {
        Ok(Ordered::Scalar("number"))
    }

    fn visit_str<E>(self, _: &str) -> Result<Ordered, E> {
        Ok(Ordered::Scalar("string"))
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
