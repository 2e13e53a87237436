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

/// The first and the last character of a range, and what its characters are.
pub type Range = (char, char, &'static str);

/// Every range of invisible characters, in ascending order, without the two noncharacters at the end of each plane.
///
/// They include the empty glyphs of [`BLANKS`].
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

/// The members of [`INVISIBLE`] that Unicode puts among letters, marks and symbols, although their glyphs are empty.
///
/// U+2800 is the Braille pattern without a dot, U+16FE4 a filler without a shape, U+1D159 a notehead that is not drawn.
pub const BLANKS: [char; 3] = ['\u{2800}', '\u{16fe4}', '\u{1d159}'];

/// Whether the character is in the table or is one of the two noncharacters at the end of a plane.
///
/// ```
/// assert!(words::invisible::is_invisible('\u{202e}'));
/// assert!(!words::invisible::is_invisible('é'));
/// ```
pub fn is_invisible(c: char) -> bool {
    // Most text is below the table.
    if c < INVISIBLE[0].0 {
        return false;
    }
    let at = INVISIBLE.partition_point(|(first, ..)| *first <= c);
    c <= INVISIBLE[at - 1].1 || u32::from(c) & 0xfffe == 0xfffe
}

/// Whether the character must never be shown as it is: a control character, or a member of the table.
///
/// ```
/// assert!(words::invisible::is_dangerous('\u{1b}'));
/// assert!(words::invisible::is_dangerous('\u{feff}'));
/// ```
pub fn is_dangerous(c: char) -> bool {
    c.is_control() || is_invisible(c)
}

/// Whether a variation selector between these two characters is drawn. It then chooses between the plain and the
/// coloured form of the character before it, and it neither hides nor changes anything else. Elsewhere a selector is
/// invisible.
///
/// # Source
/// Unicode Technical Standard 51, version 16: emoji that are plain by default (`Emoji` without `Emoji_Presentation`), each
/// of which emoji-variation-sequences.txt lists with U+FE0E and U+FE0F; and keycaps, such as 1 U+FE0F U+20E3.
///
/// ```
/// assert!(words::invisible::selects_form('❤', '\u{fe0f}', None));
/// assert!(!words::invisible::selects_form('a', '\u{fe0f}', Some('b')));
/// ```
pub fn selects_form(before: char, selector: char, after: Option<char>) -> bool {
    match (before, selector) {
        ('0'..='9' | '#' | '*', '\u{fe0f}') => after == Some('\u{20e3}'),
        (before, '\u{fe0e}' | '\u{fe0f}') => is_plain_emoji(before),
        _ => false,
    }
}

/// Whether a character is an emoji that is plain by default, and not a digit, `#` or `*`.
fn is_plain_emoji(c: char) -> bool {
    matches!(
        c,
            '\u{a9}' | '\u{ae}' | '\u{203c}' | '\u{2049}' | '\u{2122}' | '\u{2139}' | '\u{2194}'..='\u{2199}'
            | '\u{21a9}'..='\u{21aa}' | '\u{2328}' | '\u{23cf}' | '\u{23ed}'..='\u{23ef}' | '\u{23f1}'..='\u{23f2}'
            | '\u{23f8}'..='\u{23fa}' | '\u{24c2}' | '\u{25aa}'..='\u{25ab}' | '\u{25b6}' | '\u{25c0}'
            | '\u{25fb}'..='\u{25fc}' | '\u{2600}'..='\u{2604}' | '\u{260e}' | '\u{2611}' | '\u{2618}' | '\u{261d}'
            | '\u{2620}' | '\u{2622}'..='\u{2623}' | '\u{2626}' | '\u{262a}' | '\u{262e}'..='\u{262f}'
            | '\u{2638}'..='\u{263a}' | '\u{2640}' | '\u{2642}' | '\u{265f}'..='\u{2660}' | '\u{2663}'
            | '\u{2665}'..='\u{2666}' | '\u{2668}' | '\u{267b}' | '\u{267e}' | '\u{2692}' | '\u{2694}'..='\u{2697}'
            | '\u{2699}' | '\u{269b}'..='\u{269c}' | '\u{26a0}' | '\u{26a7}' | '\u{26b0}'..='\u{26b1}' | '\u{26c8}'
            | '\u{26cf}' | '\u{26d1}' | '\u{26d3}' | '\u{26e9}' | '\u{26f0}'..='\u{26f1}' | '\u{26f4}'
            | '\u{26f7}'..='\u{26f9}' | '\u{2702}' | '\u{2708}'..='\u{2709}' | '\u{270c}'..='\u{270d}' | '\u{270f}'
            | '\u{2712}' | '\u{2714}' | '\u{2716}' | '\u{271d}' | '\u{2721}' | '\u{2733}'..='\u{2734}' | '\u{2744}'
            | '\u{2747}' | '\u{2763}'..='\u{2764}' | '\u{27a1}' | '\u{2934}'..='\u{2935}' | '\u{2b05}'..='\u{2b07}'
            | '\u{3030}' | '\u{303d}' | '\u{3297}' | '\u{3299}' | '\u{1f170}'..='\u{1f171}'
            | '\u{1f17e}'..='\u{1f17f}' | '\u{1f202}' | '\u{1f237}' | '\u{1f321}' | '\u{1f324}'..='\u{1f32c}'
            | '\u{1f336}' | '\u{1f37d}' | '\u{1f396}'..='\u{1f397}' | '\u{1f399}'..='\u{1f39b}'
            | '\u{1f39e}'..='\u{1f39f}' | '\u{1f3cb}'..='\u{1f3ce}' | '\u{1f3d4}'..='\u{1f3df}' | '\u{1f3f3}'
            | '\u{1f3f5}' | '\u{1f3f7}' | '\u{1f43f}' | '\u{1f441}' | '\u{1f4fd}' | '\u{1f549}'..='\u{1f54a}'
            | '\u{1f56f}'..='\u{1f570}' | '\u{1f573}'..='\u{1f579}' | '\u{1f587}' | '\u{1f58a}'..='\u{1f58d}'
            | '\u{1f590}' | '\u{1f5a5}' | '\u{1f5a8}' | '\u{1f5b1}'..='\u{1f5b2}' | '\u{1f5bc}'
            | '\u{1f5c2}'..='\u{1f5c4}' | '\u{1f5d1}'..='\u{1f5d3}' | '\u{1f5dc}'..='\u{1f5de}' | '\u{1f5e1}'
            | '\u{1f5e3}' | '\u{1f5e8}' | '\u{1f5ef}' | '\u{1f5f3}' | '\u{1f5fa}' | '\u{1f6cb}'
            | '\u{1f6cd}'..='\u{1f6cf}' | '\u{1f6e0}'..='\u{1f6e5}' | '\u{1f6e9}' | '\u{1f6f0}' | '\u{1f6f3}'
    )
}

/// All characters that [`is_dangerous`] finds, in ascending order, for tests that go through them.
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
    fn the_emoji_that_a_selector_applies_to_are_those_of_unicode() {
        let unicode = Regex::new(r"^[\p{Emoji}--\p{Emoji_Presentation}--\p{ASCII}]$").expect("the properties exist");
        for c in '\0'..=char::MAX {
            assert_eq!(is_plain_emoji(c), unicode.is_match(c.encode_utf8(&mut [0; 4])), "U+{:04X}", u32::from(c));
        }
    }

    #[test]
    fn a_selector_is_drawn_behind_what_it_applies_to_and_nowhere_else() {
        for (before, after) in [('❤', None), ('☀', Some('x')), ('1', Some('\u{20e3}')), ('#', Some('\u{20e3}'))] {
            assert!(selects_form(before, '\u{fe0f}', after), "{before}");
        }
        // The characters are a letter, a digit without a keycap, an emoji that is always coloured, a blank and another
        // selector.
        for before in ['a', '1', '😀', ' ', '\u{fe0f}'] {
            assert!(!selects_form(before, '\u{fe0f}', Some('.')), "{before}");
        }
        assert!(!selects_form('1', '\u{fe0e}', Some('\u{20e3}')));
        assert!(!selects_form('❤', '\u{200d}', None) && !selects_form('❤', '\u{fe00}', None));
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
