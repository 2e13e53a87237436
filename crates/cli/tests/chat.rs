//! `assay chat` on a tiny model: chat templates, what they render and what is refused.

mod support;

use llama::GgmlCodec;
use std::path::Path;
use support::{TinyModel, json, stdout};
use synth::{Architecture, SmallModel, Vocabulary};

fn room() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    TinyModel { ffn_norm_is_bf16: true, tokenizer: true }.write(folder.path(), "on.gguf");
    folder
}

#[test]
fn a_model_without_a_chat_template_is_refused_before_anything_is_answered() {
    let room = room();
    let said = support::refused(room.path(), &["chat", "on.gguf"]);
    assert!(said.contains("tokenizer.chat_template is missing"), "{said}");
    for wrong in [["--temperature", "-1"], ["--temperature", "x"], ["--tokens", "0"]] {
        support::refused(room.path(), &["chat", "on.gguf", wrong[0], wrong[1]]);
    }
}

/// Writes a model with chat templates, each with its key.
fn with_templates(folder: &Path, name: &str, templates: &[(&str, &str)]) {
    let mut recipe = SmallModel::new(Architecture::Llama).recipe(&Vocabulary::bytes(true));
    let value = |text: &str| gguf::Value::String(text.into());
    recipe.metadata.extend(templates.iter().map(|&(key, template)| (key.into(), value(template))));
    recipe.write(&folder.join(name), &GgmlCodec, |_| {}).expect("written");
}

const TEMPLATE: &str = "tokenizer.chat_template";

#[test]
fn the_rendered_prompt_is_shown_and_a_lost_question_is_said() {
    let room = room();
    let dated = "{% for m in messages %}<{{ m.role }}>{% generation %}{{ m.content }}{% endgeneration %}{% endfor %} \
                 {{- strftime_now('%Y-%m-%d') }}";
    with_templates(room.path(), "dated.gguf", &[(TEMPLATE, dated)]);
    let asked = ["chat", "dated.gguf", "--prompt", "hi <b>", "--tokens", "2"];
    let answer = json(room.path(), &[&asked[..], &["--json"]].concat());
    let chat = &answer["chats"][0];
    assert_eq!(chat["rendered"], "<user>hi <b>2026-01-01", "{answer}");
    assert_eq!(answer["template_date"], "2026-01-01");
    assert_eq!(chat["contains_prompt"], true, "{answer}");
    // The vocabulary has a token for each byte, and the tokenizer adds a beginning.
    let n = chat["rendered_tokens"].as_u64().expect("a number");
    assert!((23..40).contains(&n), "{answer}");
    let shown = stdout(room.path(), &[&asked[..], &["--verbose"]].concat());
    assert!(shown.contains(&format!("rendered prompt ({n} tokens):\n<user>hi <b>2026-01-01\n")), "{shown}");
    assert!(!shown.contains("note:"), "{shown}");
    with_templates(room.path(), "deaf.gguf", &[(TEMPLATE, "{% for m in messages %}<{{ m.role }}>{% endfor %}")]);
    let said = stdout(room.path(), &["chat", "deaf.gguf", "--prompt", "hi", "--tokens", "2"]);
    assert!(
        said.contains("note: the chat template leaves this prompt out of what the model reads; --verbose"),
        "{said}"
    );
}

#[test]
fn a_conversation_and_not_its_context_is_compared_with_what_the_model_was_trained_for() {
    let room = room();
    // The model was trained for 512 tokens, and the context has 1,024.
    with_templates(room.path(), "m.gguf", &[(TEMPLATE, "{{ messages[0].content }}")]);
    let said = |prompt: &str| {
        let output = support::assay(room.path(), &["chat", "m.gguf", "--prompt", prompt, "--tokens", "2"]);
        assert!(output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    assert!(!said("hi").contains("longer than"), "{}", said("hi"));
    let long = said(&"a".repeat(560));
    assert!(long.contains("a conversation of ") && long.contains(" is longer than the 512 that"), "{long}");
}

#[test]
fn one_of_several_chat_templates_is_asked_for_by_name() {
    let room = room();
    let named =
        [("tokenizer.chat_template.tool_use", "T{{ messages[0].content }}"), ("tokenizer.chat_template.rag", "R")];
    with_templates(room.path(), "named.gguf", &named);
    with_templates(room.path(), "both.gguf", &[&[(TEMPLATE, "D{{ messages[0].content }}")], &named[..]].concat());
    let rendered = |more: &[&str]| {
        let asked = ["chat", "both.gguf", "--prompt", "hi", "--tokens", "1", "--json"];
        json(room.path(), &[&asked[..], more].concat())["chats"][0]["rendered"].clone()
    };
    assert_eq!([rendered(&[]), rendered(&["--template", "default"])], ["Dhi", "Dhi"]);
    assert_eq!(rendered(&["--template", "tool_use"]), "Thi");
    let unknown = support::refused(room.path(), &["chat", "both.gguf", "--template", "x"]);
    assert!(
        unknown.contains("no chat template named \"x\"; the templates of the model: default, rag, tool_use"),
        "{unknown}"
    );
    let none = support::refused(room.path(), &["chat", "named.gguf"]);
    assert!(none.contains("no default chat template") && none.contains("rag, tool_use"), "{none}");
}

#[test]
fn a_chat_template_without_bounds_is_refused_at_once_with_the_limit() {
    let room = room();
    let refused = |template: &str| {
        with_templates(room.path(), "m.gguf", &[(TEMPLATE, template)]);
        // A program that does not answer is stopped by `support`, and refuses nothing.
        let said = support::refused(room.path(), &["chat", "m.gguf", "--prompt", "hi"]);
        assert!(said.contains("m.gguf"), "{said}");
        said
    };
    let deep = refused(&format!("{{{{ {}true }}}}", "not ".repeat(200_000)));
    assert!(deep.contains("tokenizer.chat_template nests 200,000 deep, and 1,000 are allowed"), "{deep}");
    let writes = |bytes: usize| {
        let line = "0123456789".repeat(10);
        refused(&format!("{{% for i in range({}) %}}{line}{{% endfor %}}", bytes / 100))
    };
    let fits = writes(1_000_000);
    assert!(fits.contains("found a prompt of 1,000,000 bytes, where a token has at most 6"), "{fits}");
    assert!(writes(2_000_000).contains("tokenizer.chat_template writes more than 1,048,576 bytes"));
    let endless = "{% for i in range(10000) %}{% for j in range(10000) %}{% endfor %}{% endfor %}";
    assert!(refused(endless).contains("tokenizer.chat_template takes more than 1,000,000 steps"));
    let own = refused("{{ raise_exception('users must speak first') }}");
    assert!(own.contains("tokenizer.chat_template refuses the conversation: \"users must speak first\""), "{own}");
}
