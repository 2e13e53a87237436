//! The names that a mistyped one may have meant.

/// The Levenshtein distance in bytes: insertions, deletions and substitutions from one text to the other.
///
/// ```
/// assert_eq!(words::edit_distance("kitten", "sitting"), 3);
/// ```
pub fn edit_distance(a: &str, b: &str) -> usize {
    strsim::generic_levenshtein(&Bytes(a), &Bytes(b))
}

/// The bytes of a text, which can be iterated repeatedly.
struct Bytes<'a>(&'a str);

impl<'a> IntoIterator for &Bytes<'a> {
    type Item = u8;
    type IntoIter = std::str::Bytes<'a>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.bytes()
    }
}

/// The names within `tolerance` edits of `wanted`, each once, the nearest first. Equally near names are in alphabetical
/// order.
///
/// ```
/// let roles = ["ffn_norm", "ffn_gate", "attn_norm", "attn_q"];
/// assert_eq!(words::nearest("fn_norm", roles, 4), ["ffn_norm", "attn_norm"]);
/// ```
pub fn nearest<'a>(wanted: &str, names: impl IntoIterator<Item = &'a str>, tolerance: usize) -> Vec<&'a str> {
    let mut near: Vec<(usize, &str)> = names
        .into_iter()
        // The difference in length is a lower bound of the edits, and far cheaper to compute.
        .filter(|name| name.len().abs_diff(wanted.len()) <= tolerance)
        .map(|name| (edit_distance(wanted, name), name))
        .filter(|(distance, _)| *distance <= tolerance)
        .collect();
    near.sort();
    near.dedup();
    near.into_iter().map(|(_, name)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn edit_distance_counts_insertions_deletions_and_substitutions() {
        for (a, b, distance) in [("", "abc", 3), ("kitten", "sitting", 3), ("ffn_norm", "fn_norm", 1), ("a", "a", 0)] {
            assert_eq!(edit_distance(a, b), distance, "{a} → {b}");
            assert_eq!(edit_distance(b, a), distance, "{b} → {a}");
        }
        // The distance is in bytes, and an ß has two.
        assert_eq!(edit_distance("größe", "grösse"), 2);
    }

    #[test]
    fn equally_near_names_come_by_the_alphabet_and_once() {
        assert_eq!(nearest("b", ["d", "c", "abcd", "c"], 1), ["c", "d"]);
        assert!(nearest("ffn_norm", ["output", "rope"], 2).is_empty());
    }

    proptest! {
        #[test]
        fn the_distance_is_that_of_the_definition(a in "[abc]{0,6}", b in "[abc]{0,6}") {
            fn defined(a: &[u8], b: &[u8]) -> usize {
                match (a, b) {
                    ([], rest) | (rest, []) => rest.len(),
                    ([x, a @ ..], [y, b @ ..]) if x == y => defined(a, b),
                    ([_, short_a @ ..], [_, short_b @ ..]) => {
                        1 + defined(short_a, short_b).min(defined(short_a, b)).min(defined(a, short_b))
                    }
                }
            }
            prop_assert_eq!(edit_distance(&a, &b), defined(a.as_bytes(), b.as_bytes()));
        }
    }
}
