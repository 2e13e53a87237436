//! The sentences of notes and gates.

use record::{Found, GateReason, LeftOut, Note, SpelledToken};

#[test]
fn every_note_has_its_sentence() {
    let token = |token: &str, n| SpelledToken { token: token.into(), n };
    let few = vec![token("<s>", 1)];
    let many: Vec<SpelledToken> = ["a", "b", "c", "d", "e"].iter().map(|name| token(name, 2)).collect();
    let left_out = |role: &str, n| LeftOut { role: role.into(), similar: format!("post_{role}"), n };
    let text = || "a\u{1b}.txt".to_owned();
    let names = ["a", "b", "c", "d", "e", "f", "g"].map(String::from).to_vec();
    for (note, wanted) in [
        (
            Note::ByteOrderMark { text: text() },
            "a\\u{1b}.txt begins with a byte order mark, which is not text; all at its head are left out",
        ),
        (
            Note::SpecialTokens { text: text(), tokens: few, parsed: true },
            "a\\u{1b}.txt spells 1 special token (<s> 1 ×), read as these tokens, as requested",
        ),
        (
            Note::SpecialTokens { text: text(), tokens: many, parsed: false },
            "a\\u{1b}.txt spells 10 special tokens (a 2 ×, b 2 ×, c 2 ×, d 2 ×, …), read as plain text, as \
             llama-perplexity reads them unless special tokens are parsed",
        ),
        (
            Note::LongWindows { n_ctx: 4096, n_ctx_train: 512 },
            "windows of 4,096 tokens are longer than the 512 that the model was trained for",
        ),
        (
            Note::LongConversation { n_tokens: 600, n_ctx_train: 512 },
            "a conversation of 600 tokens is longer than the 512 that the model was trained for",
        ),
        (
            Note::RuleWithoutEffect { rule: "attn_q=q4_0".into() },
            "attn_q=q4_0 is applied to no tensor, because later rules are applied to all of its tensors",
        ),
        (
            Note::NoImportances { tensor: "output.weight".into(), scheme: "q4_K".into() },
            "output.weight: q4_K has no importances for it, so it is quantized without, as llama-quantize does",
        ),
        (
            Note::UnusedTensors { tensors: names },
            "the engine's graph does not use 7 tensors of the target, which stay as they are: a, b, c, d, e, f and 1 more",
        ),
        (
            Note::SimilarLeftOut { left_out: vec![left_out("ffn_norm", 2), left_out("attn_norm", 1)] },
            "ffn_norm does not include post_ffn_norm (2 tensors); attn_norm does not include post_attn_norm (1 tensor)",
        ),
        (
            Note::MoreThreadsThanCores { asked: 1000, cores: 2 },
            "1,000 threads were asked for, and there are 2 cores: no more threads than cores are used",
        ),
        (
            Note::EveryPassFull,
            "starting from a recorded prefix does not give the bits of a full pass on this model; every pass computes all layers",
        ),
        (Note::from("as stated".to_owned()), "as stated"),
    ] {
        assert_eq!(note.to_string(), wanted);
        let json = serde_json::to_string(&note).expect("prints");
        assert_eq!(serde_json::from_str::<Note>(&json).expect("reads"), note, "{json}");
    }
}

#[test]
fn every_reason_of_a_gate_has_its_sentence() {
    let (control, found) = ("A/A".to_owned(), Found::Chains { broken: 0, n: 3, first: None });
    for (reason, wanted) in [
        (GateReason::ControlsHold { decided: 9 }, "all 9 control checks that can be decided so far hold"),
        (
            GateReason::ControlFailed { control: control.clone(), found: found.clone() },
            "A/A failed: 3 of 3 hold; results are withheld",
        ),
        (GateReason::ControlNotMeasured { control, found }, "A/A was not measured: 3 of 3 hold; results are withheld"),
    ] {
        assert_eq!(reason.to_string(), wanted);
    }
}
