//! The help texts, word for word: whoever changes an option sees what users will read.

#![cfg(feature = "mutate")]

mod support;

use support::{snapshot, stdout, subcommands};

#[test]
fn every_help_text_is_its_snapshot() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut texts = vec![("assay".to_owned(), stdout(folder.path(), &["--help"]))];
    for name in subcommands() {
        let text = stdout(folder.path(), &[&name, "--help"]);
        // Nothing but what a terminal shows in 100 columns, whatever terminal the test has.
        let wide = text.lines().find(|line| line.chars().count() > 100);
        assert_eq!(wide, None, "{name}");
        texts.push((name, text));
    }
    snapshot::compare("help", &texts);
}

#[test]
fn help_says_window_and_uses_one_word_for_a_model() {
    let folder = tempfile::tempdir().expect("a folder");
    for name in subcommands() {
        let text = stdout(folder.path(), &[&name, "--help"]);
        let words = text.replace("--chunks", "").replace("--layer-chunks", "");
        assert!(!words.contains("chunk"), "{name}: {text}");
        for other in ["<INPUT>", "<GGUF>", "<PATH>...", "selectors FILE"] {
            assert!(!text.contains(other), "{name}: {other}");
        }
    }
}

#[test]
fn one_option_has_one_meaning_wherever_it_is() {
    let folder = tempfile::tempdir().expect("a folder");
    // What an option says in each command, and the commands that say something else, with the reason.
    let differs = |option: &str, name: &str| match (option, name) {
        // A preset asks by itself, and both arms are measured.
        ("--apply" | "--arm", "run") => true,
        // These commands have defaults of their own.
        ("--ctx", "chat" | "verify") | ("--chunks", "verify") => true,
        _ => false,
    };
    let options = [
        "--apply",
        "--layers",
        "--allow-fallback",
        "--arm",
        "--text",
        "--chunks",
        "--ctx",
        "--threads",
        "--gpu-layers",
        "--max-memory",
        "--seed",
    ];
    for option in options {
        let mut said: Vec<(String, String)> = Vec::new();
        for name in subcommands() {
            let text = stdout(folder.path(), &[&name, "--help"]);
            if let Some(help) = help_of(&text, option).filter(|_| !differs(option, &name)) {
                said.push((name, help));
            }
        }
        let (first, help) = said.first().expect(option);
        assert!(said.len() > 1, "{option}");
        for (name, other) in &said {
            assert_eq!(other, help, "{option} of {name} and {first}");
        }
    }
    for name in ["eval", "sweep", "chat", "task", "run"] {
        let text = stdout(folder.path(), &[name, "--help"]);
        for option in ["--apply", "--layers", "--allow-fallback", "--arm", "--ctx", "--threads", "--max-memory"] {
            assert!(help_of(&text, option).is_some(), "{name} has no {option}");
        }
    }
}

/// The words of an option in a help text, in one line.
fn help_of(text: &str, option: &str) -> Option<String> {
    let begins = |line: &&str| line.trim_start().starts_with('-');
    let mut lines = text
        .lines()
        .skip_while(|line| line.trim_start().strip_prefix(option).is_none_or(|rest| !rest.starts_with([' ', '['])));
    let first = lines.next()?;
    let rest = lines.take_while(|line| !begins(line) && !line.is_empty());
    let words = std::iter::once(first).chain(rest).flat_map(str::split_whitespace);
    Some(words.collect::<Vec<_>>().join(" "))
}
