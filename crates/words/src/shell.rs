//! Quotes words for a POSIX shell.

use crate::invisible::is_dangerous;

/// A word as a POSIX shell takes it: unchanged where that is safe, otherwise in single quotes.
///
/// A word with characters that cannot be shown is written as a call of `printf`, in which their bytes are octal numbers.
/// The command then stays readable, and can be copied. A shell drops line feeds at the end of such a call, so a word that
/// ends with one is put in quotes as it is.
///
/// The crate `shlex` quotes a comma and writes an apostrophe in double quotes. With it, commands in stored records
/// would change, so this function stays.
///
/// ```
/// assert_eq!(words::quoted("model.Q4_1.gguf"), "model.Q4_1.gguf");
/// assert_eq!(words::quoted("ffn_norm=bf16"), "'ffn_norm=bf16'");
/// assert_eq!(words::quoted("it's"), r"'it'\''s'");
/// assert_eq!(words::quoted("a\u{200b}b"), r#""$(printf 'a\342\200\213b')""#);
/// ```
pub fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./+:@,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.into();
    }
    // No argument of a command can hold a zero byte.
    if !word.contains(is_dangerous) || word.ends_with('\n') || word.contains('\0') {
        return single_quoted(word);
    }
    let mut format = String::new();
    for c in word.chars() {
        match c {
            '%' => format.push_str("%%"),
            '\\' => format.push_str("\\\\"),
            c if is_dangerous(c) => {
                format.extend(c.encode_utf8(&mut [0; 4]).bytes().map(|byte| format!("\\{byte:03o}")));
            }
            c => format.push(c),
        }
    }
    // A format that begins with a hyphen would be an option.
    let end_of_options = if word.starts_with('-') { "-- " } else { "" };
    format!("\"$(printf {end_of_options}{})\"", single_quoted(&format))
}

/// A word in single quotes, within which a shell takes every character but the quote as it is.
fn single_quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_reads_every_word_back_as_it_was() {
        for word in
            ["", " ", "a b", "$HOME", "`id`", "a\"b", "it's", "'", "\\", "*", "a;b", "größe", "-x", "a,b", "#", "~"]
                .into_iter()
                .chain(["a\u{200b}b", "\u{1b}[31m", "-\u{202e}", "100%\tof\\n", "it's\r", "two\nlines", "ends\n"])
        {
            let script = format!("printf %s {}", quoted(word));
            let run = std::process::Command::new("sh").args(["-c", &script]).output().expect("there is a shell");
            assert_eq!(String::from_utf8_lossy(&run.stdout), word, "{script}");
        }
    }

    #[test]
    fn what_cannot_be_shown_is_not_in_the_command() {
        for c in crate::invisible::dangerous().filter(|c| *c != '\0') {
            let word = format!("a{c}b");
            assert!(!quoted(&word).contains(c), "U+{:04X}", u32::from(c));
        }
    }

    #[test]
    fn ordinary_names_stay_bare() {
        for word in ["ffn-norm-bf16", "SmolLM2-135M-Instruct.Q4_1.gguf", "a/b+c:d@e,f"] {
            assert_eq!(quoted(word), word);
        }
    }
}
