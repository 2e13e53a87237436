//! Layers named by number: `0,3-5`, `-1` for the last layer, `8--1` from layer 8 to the last.

use crate::selector::SelectorError;
use std::fmt;

/// The largest number of ranges. It is more than any model needs, and it keeps matching linear.
const MAX_RANGES: usize = 256;

/// A set of layers. Some may be counted from the end, so the model decides which layers these are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerSet {
    /// Inclusive ranges: first those counted from the front, ascending and disjoint, then those counted from the end.
    ranges: Vec<(i64, i64)>,
}

impl LayerSet {
    /// The set of one layer.
    pub fn one(layer: u32) -> Self {
        LayerSet { ranges: vec![(layer.into(), layer.into())] }
    }

    /// Reads a list of layers such as `0,3-5,-1`.
    ///
    /// # Errors
    /// When the text is not a list of layer numbers and ascending ranges.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        let malformed = |item: &str| SelectorError::Syntax {
            found: format!("layer {item:?} in {text:?}"),
            wanted: "layer numbers and ranges".into(),
            hint: "write layers=0,3-5 or layers=-1 for the last one".into(),
        };
        let mut ranges = Vec::new();
        for item in text.split(',').map(str::trim) {
            // A leading minus means that the number counts from the end. The next minus separates the ends of the
            // range.
            let dash = item.char_indices().skip(1).find(|(_, c)| *c == '-').map(|(at, _)| at);
            let (first, last) = dash.map_or((item, item), |at| (&item[..at], &item[at + 1..]));
            let number = |digits: &str| -> Option<i64> {
                let unsigned = digits.strip_prefix('-').unwrap_or(digits);
                (!unsigned.is_empty() && unsigned.len() <= 9 && unsigned.bytes().all(|b| b.is_ascii_digit()))
                    .then(|| digits.parse().ok())?
            };
            let (Some(first), Some(last)) = (number(first), number(last)) else { return Err(malformed(item)) };
            let same_end = (first < 0) == (last < 0);
            if (same_end && first > last) || (first < 0 && last >= 0) {
                return Err(malformed(item));
            }
            ranges.push((first, last));
        }
        if ranges.len() > MAX_RANGES {
            return Err(SelectorError::Syntax {
                found: format!("{} layer ranges", ranges.len()),
                wanted: format!("at most {MAX_RANGES}"),
                hint: "join neighbouring layers into ranges such as 3-5".into(),
            });
        }
        Ok(Self::canonical(ranges))
    }

    fn canonical(mut ranges: Vec<(i64, i64)>) -> Self {
        let from_front = |range: &(i64, i64)| range.0 >= 0 && range.1 >= 0;
        ranges.sort_by_key(|range| (!from_front(range), *range));
        ranges.dedup();
        let mut merged: Vec<(i64, i64)> = Vec::new();
        for range in ranges {
            match merged.last_mut() {
                Some(last) if from_front(last) && from_front(&range) && range.0 <= last.1 + 1 => {
                    last.1 = last.1.max(range.1);
                }
                _ => merged.push(range),
            }
        }
        LayerSet { ranges: merged }
    }

    /// The ranges as layer numbers, for a model with `n_layer` layers.
    ///
    /// # Errors
    /// When a range names a layer that the model does not have.
    pub(crate) fn resolve(&self, n_layer: u32) -> Result<Vec<(u32, u32)>, SelectorError> {
        let place = |layer: i64| {
            let counted = if layer < 0 { layer + i64::from(n_layer) } else { layer };
            u32::try_from(counted)
                .ok()
                .filter(|&counted| counted < n_layer)
                .ok_or(SelectorError::NoSuchLayer { layer, n_layer })
        };
        self.ranges
            .iter()
            .map(|&(first, last)| {
                let range = (place(first)?, place(last)?);
                if range.0 > range.1 { Err(SelectorError::NoSuchLayer { layer: first, n_layer }) } else { Ok(range) }
            })
            .collect()
    }
}

impl fmt::Display for LayerSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, &(first, last)) in self.ranges.iter().enumerate() {
            let comma = if i == 0 { "" } else { "," };
            if first == last { write!(f, "{comma}{first}")? } else { write!(f, "{comma}{first}-{last}")? }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layer_lists_print_in_canonical_form() {
        for (text, canonical) in [
            ("5,3-4,0", "0,3-5"),
            ("-1", "-1"),
            ("-1, 2", "2,-1"),
            ("-3--1", "-3--1"),
            ("8--1", "8--1"),
            ("1,1,1-2", "1-2"),
            ("0-4000,3", "0-4000"),
        ] {
            let set = LayerSet::parse(text).expect(text);
            assert_eq!(set.to_string(), canonical, "{text}");
            assert_eq!(LayerSet::parse(canonical).expect(canonical), set, "{canonical} parses to the same set");
        }
    }

    #[test]
    fn malformed_layer_lists_are_refused() {
        for text in ["", "a", "1-", "-", "--1", "5-3", "-1-3", "1,,2", "1.5", "99999999999", "+1", "1-2-3"] {
            assert!(LayerSet::parse(text).is_err(), "{text:?} was accepted");
        }
    }

    #[test]
    fn negative_layers_count_from_the_end() {
        let resolve = |text: &str, n| LayerSet::parse(text).expect(text).resolve(n);
        assert_eq!(resolve("-1", 30).expect("there"), [(29, 29)]);
        assert_eq!(resolve("8--1", 30).expect("there"), [(8, 29)]);
        assert!(matches!(resolve("30", 30), Err(SelectorError::NoSuchLayer { layer: 30, n_layer: 30 })));
        assert!(resolve("-31", 30).is_err());
        assert!(resolve("8--1", 5).is_err());
    }
}
