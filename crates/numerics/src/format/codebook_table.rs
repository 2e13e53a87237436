//! A codebook from a text file: numbers with blanks, commas or line ends between them; `#` begins a comment.

use words::{Advice, Hint};

/// The entries of a codebook, in ascending order, each once.
#[derive(Clone, Debug, PartialEq)]
pub struct CodebookTable {
    entries: Vec<f32>,
}

/// The most entries of a table: as many as a code of eight bits can name.
pub const MAX_ENTRIES: usize = 256;

/// The range that the greatest magnitude must be in. Scales are relative to it: with a smaller one a scale could
/// overflow, with a much larger one it would be subnormal.
const MAGNITUDES: std::ops::RangeInclusive<f32> = 1.0..=65_504.0;

/// Why a text is not a codebook.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum CodebookTableError {
    /// A word is not a number that F32 can represent.
    #[error("line {line}: found {found:?}, wanted a finite number")]
    Number {
        /// The line of the text, counted from 1.
        line: usize,
        /// The word as written, shortened.
        found: String,
    },
    /// A value occurs twice.
    #[error("line {line}: {value} occurs twice, wanted each entry once")]
    Repeated {
        /// The line of the second occurrence, counted from 1.
        line: usize,
        /// The value, rounded to F32.
        value: f32,
    },
    /// There are too few or too many entries.
    #[error("found {found} entries, wanted 2 to {MAX_ENTRIES}")]
    Count {
        /// The number of entries; counting stops at one more than the most.
        found: usize,
    },
    /// All entries are too small, or one is too large.
    #[error("the greatest magnitude is {}, wanted 1 to 65504", words::exact_f32(*.found))]
    Magnitude {
        /// The greatest magnitude of the entries.
        found: f32,
    },
}

impl Advice for CodebookTableError {
    fn hint(&self) -> Option<Hint> {
        Some(Hint::words(match self {
            CodebookTableError::Number { .. } => {
                "numbers are separated by blanks, commas or line ends; # begins a comment"
            }
            CodebookTableError::Repeated { .. } => "numbers that round to the same F32 are one entry",
            CodebookTableError::Count { .. } => "a code has at most eight bits",
            CodebookTableError::Magnitude { .. } => {
                "multiply all entries by the same power of two; scales are relative to the greatest"
            }
        }))
    }
}

impl CodebookTable {
    /// Reads a text; the entries may be in any order.
    ///
    /// # Errors
    /// When a word is not a finite number, a value occurs twice, there are too few or too many entries, or the greatest
    /// magnitude is out of range.
    pub fn parse(text: &str) -> Result<CodebookTable, CodebookTableError> {
        let mut found: Vec<(f32, usize)> = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let line_number = index + 1;
            let numbers = line.split('#').next().unwrap_or_default();
            for word in numbers.split([',', ' ', '\t', '\r']).filter(|word| !word.is_empty()) {
                let value = word.parse::<f32>().ok().filter(|value| value.is_finite()).ok_or_else(|| {
                    CodebookTableError::Number { line: line_number, found: word.chars().take(40).collect() }
                })?;
                // −0 becomes 0.
                found.push((value + 0.0, line_number));
                if found.len() > MAX_ENTRIES {
                    return Err(CodebookTableError::Count { found: found.len() });
                }
            }
        }
        if found.len() < 2 {
            return Err(CodebookTableError::Count { found: found.len() });
        }
        found.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        if let Some(pair) = found.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(CodebookTableError::Repeated { line: pair[1].1, value: pair[1].0 });
        }
        let entries: Vec<f32> = found.into_iter().map(|(value, _)| value).collect();
        let greatest = entries.iter().fold(0.0f32, |m, e| m.max(e.abs()));
        if !MAGNITUDES.contains(&greatest) {
            return Err(CodebookTableError::Magnitude { found: greatest });
        }
        Ok(CodebookTable { entries })
    }

    /// The entries in ascending order.
    pub fn entries(&self) -> &[f32] {
        &self.entries
    }

    /// The number of bits of a code.
    pub fn bits(&self) -> u32 {
        self.entries.len().next_power_of_two().trailing_zeros()
    }
}
