//! Quotes words for a POSIX shell.

/// A word as a POSIX shell takes it: unchanged where that is safe, otherwise in single quotes.
///
/// The crate `shlex` quotes a comma and writes an apostrophe in double quotes. With it, commands in stored records
/// would change, so this function stays.
///
/// ```
/// assert_eq!(words::quoted("model.Q4_1.gguf"), "model.Q4_1.gguf");
/// assert_eq!(words::quoted("ffn_norm=bf16"), "'ffn_norm=bf16'");
/// assert_eq!(words::quoted("it's"), r"'it'\''s'");
/// ```
pub fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./+:@,".contains(c);
    if !word.is_empty() && word.chars().all(plain) { word.into() } else { format!("'{}'", word.replace('\'', "'\\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_reads_every_word_back_as_it_was() {
        for word in
            ["", " ", "a b", "$HOME", "`id`", "a\"b", "it's", "'", "\\", "*", "a;b", "größe", "-x", "a,b", "#", "~"]
        {
            let script = format!("printf %s {}", quoted(word));
            let run = std::process::Command::new("sh").args(["-c", &script]).output().expect("there is a shell");
            assert_eq!(String::from_utf8_lossy(&run.stdout), word, "{script}");
        }
    }

    #[test]
    fn ordinary_names_stay_bare() {
        for word in ["ffn-norm-bf16", "SmolLM2-135M-Instruct.Q4_1.gguf", "a/b+c:d@e,f"] {
            assert_eq!(quoted(word), word);
        }
    }
}
