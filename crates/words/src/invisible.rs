//! The one table of characters that are not shown, or that change how the characters around them are shown.
//!
//! # Source
//! Unicode Character Database, version 16: the general categories Cf (format), Zl and Zp (line and paragraph separator);
//! the properties `Default_Ignorable_Code_Point` (which covers every `Variation_Selector`, the tags and the fillers of
//! Hangul) and `Noncharacter_Code_Point`. [`BLANKS`] adds what Unicode counts as visible although its glyph is empty.
//! Control characters (category Cc) are not in the table, since [`char::is_control`] knows them; [`is_dangerous`] takes
//! both together. The background is in Unicode Technical Reports 36 and 39.
//!
//! Spaces (category Zs) are not in the table: they take up room, and Chinese, Japanese and French text is full of them.

/// Characters from the first to the last, and what they are.
pub type Range = (char, char, &'static str);

/// Every range of invisible characters, in ascending order, without the two noncharacters at the end of each plane.
///
/// The empty glyphs of [`BLANKS`] are among them.
pub const INVISIBLE: [Range; 30] = [
    ('\u{ad}', '\u{ad}', "soft hyphen"),
    ('\u{34f}', '\u{34f}', "combining grapheme joiner"),
    ('\u{600}', '\u{605}', "Arabic signs around numbers"),
    ('\u{61c}', '\u{61c}', "Arabic letter mark, a bidirectional control"),
    ('\u{6dd}', '\u{6dd}', "Arabic end of ayah"),
    ('\u{70f}', '\u{70f}', "Syriac abbreviation mark"),
    ('\u{890}', '\u{891}', "Arabic marks above currencies"),
    ('\u{8e2}', '\u{8e2}', "Arabic disputed end of ayah"),
    ('\u{115f}', '\u{1160}', "Hangul fillers of leading consonants and vowels"),
    ('\u{17b4}', '\u{17b5}', "Khmer inherent vowels"),
    ('\u{180b}', '\u{180f}', "Mongolian variation selectors and vowel separator"),
    ('\u{200b}', '\u{200f}', "zero-width space and joiners, left-to-right and right-to-left marks"),
    ('\u{2028}', '\u{202e}', "line and paragraph separators, bidirectional embeddings and overrides"),
    ('\u{2060}', '\u{206f}', "word joiner, invisible operators, bidirectional isolates, deprecated controls"),
    ('\u{2800}', '\u{2800}', "blank Braille pattern"),
    ('\u{3164}', '\u{3164}', "Hangul filler"),
    ('\u{fdd0}', '\u{fdef}', "noncharacters"),
    ('\u{fe00}', '\u{fe0f}', "variation selectors"),
    ('\u{feff}', '\u{feff}', "zero-width no-break space, the byte order mark"),
    ('\u{ffa0}', '\u{ffa0}', "halfwidth Hangul filler"),
    ('\u{fff0}', '\u{fffb}', "reserved ignorable characters, interlinear annotations"),
    ('\u{110bd}', '\u{110bd}', "Kaithi number sign"),
    ('\u{110cd}', '\u{110cd}', "Kaithi number sign above"),
    ('\u{13430}', '\u{1343f}', "Egyptian hieroglyph format controls"),
    ('\u{16fe4}', '\u{16fe4}', "Khitan small script filler"),
    ('\u{1bca0}', '\u{1bca3}', "shorthand format controls"),
    ('\u{1d159}', '\u{1d159}', "musical null notehead"),
    ('\u{1d173}', '\u{1d17a}', "musical format controls"),
    ('\u{e0000}', '\u{e007f}', "tags and reserved ignorable characters"),
    ('\u{e0080}', '\u{e0fff}', "further variation selectors and reserved ignorable characters"),
];

/// The members of [`INVISIBLE`] that Unicode puts among letters, marks and symbols, and whose glyph is empty.
///
/// U+2800 is the Braille pattern without a dot, U+16FE4 a filler without a shape, U+1D159 a notehead that is not drawn.
pub const BLANKS: [char; 3] = ['\u{2800}', '\u{16fe4}', '\u{1d159}'];

/// Whether the character is in the table, or is one of the two noncharacters at the end of a plane.
///
/// ```
/// assert!(words::invisible::is_invisible('\u{202e}'));
/// assert!(!words::invisible::is_invisible('é'));
/// ```
pub fn is_invisible(c: char) -> bool {
    // Most text lies below the table.
    if c < INVISIBLE[0].0 {
        return false;
    }
    let at = INVISIBLE.partition_point(|(first, ..)| *first <= c);
    c <= INVISIBLE[at - 1].1 || u32::from(c) & 0xfffe == 0xfffe
}

/// Whether the character must never be shown as it is: a control character, or one of the table.
///
/// ```
/// assert!(words::invisible::is_dangerous('\u{1b}'));
/// assert!(words::invisible::is_dangerous('\u{feff}'));
/// ```
pub fn is_dangerous(c: char) -> bool {
    c.is_control() || is_invisible(c)
}

/// All characters that [`is_dangerous`] finds, in ascending order: for tests that walk them.
pub fn dangerous() -> impl Iterator<Item = char> {
    ('\0'..=char::MAX).filter(|c| is_dangerous(*c))
}

#[cfg(test)]
mod tests {
    use super::*;
    use regex::Regex;

    /// The regular expressions of the crate `regex` know Unicode from its database, not from this table.
    #[test]
    fn the_table_is_what_unicode_calls_invisible_and_the_named_blanks() {
        let unicode = Regex::new(
            r"^[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}\p{Variation_Selector}\p{Noncharacter_Code_Point}]$",
        )
        .expect("the properties exist");
        for c in '\0'..=char::MAX {
            let wanted = unicode.is_match(c.encode_utf8(&mut [0; 4])) || BLANKS.contains(&c);
            assert_eq!(is_dangerous(c), wanted, "U+{:04X}", u32::from(c));
        }
    }

    #[test]
    fn the_ranges_ascend_and_do_not_touch_one_another_by_mistake() {
        for pair in INVISIBLE.windows(2) {
            assert!(pair[0].1 < pair[1].0, "{} and {}", pair[0].2, pair[1].2);
        }
        assert!(INVISIBLE.iter().all(|(first, last, what)| first <= last && !what.is_empty()));
    }

    #[test]
    fn names_of_models_in_many_scripts_are_not_in_the_table() {
        for text in ["blk.0.attn_q.weight", "naïve Größe", "日本語　モデル", "▁the", "😀", "⠓⠊", "한국어", "مرحبا"]
        {
            assert!(!text.chars().any(is_dangerous), "{text}");
        }
    }
}
