//! Any text is a selection of tensors, with a scheme or without, or refused; what is taken prints what parses to it again.

#![no_main]

use lab::{Apply, LayerSet, Selector, TensorId};
use libfuzzer_sys::fuzz_target;
use std::fmt::{Debug, Display};
use std::str::FromStr;

fn tensors() -> Vec<TensorId> {
    let names = [
        "token_embd.weight",
        "blk.0.attn_norm.weight",
        "blk.0.attn_q.weight",
        "blk.0.attn_q.bias",
        "blk.0.ffn_gate_exps.weight",
        "blk.1.attn_qkv.weight",
        "blk.1.ffn_norm.weight",
        "blk.1.ffn_down.weight",
        "blk.2.post_ffw_norm.weight",
        "v.blk.0.attn_q.weight",
        "mm.0.weight",
        "a.position_embd.weight",
        "rope_freqs.weight",
        "output_norm.weight",
        "output.weight",
        "table",
    ];
    let id = |name: &&str| TensorId {
        name: name.to_string(),
        ty: if *name == "table" { "i32" } else { "f16" }.into(),
        ne: if name.contains("norm") { vec![64] } else { vec![64, 8] },
    };
    names.iter().map(id).collect()
}

fn parsed<T: FromStr<Err: Display> + Display + Debug>(text: &str) -> Option<T> {
    match text.parse::<T>() {
        Ok(parsed) => {
            let printed = parsed.to_string();
            let again: T = printed.parse().unwrap_or_else(|e| panic!("{text:?} prints {printed:?}: {e}"));
            assert_eq!(format!("{again:?}"), format!("{parsed:?}"), "{text:?} prints {printed:?}");
            assert_eq!(again.to_string(), printed, "{text:?}");
            Some(parsed)
        }
        Err(error) => {
            is_fit_to_show(&error.to_string());
            None
        }
    }
}

fn is_fit_to_show(said: &str) {
    assert!(!said.chars().any(|c| c.is_control() && c != '\n'), "{said:?}");
}

fuzz_target!(|text: &str| {
    let selector = parsed::<Selector>(text);
    let apply = parsed::<Apply>(text);
    let layers = LayerSet::parse(text).map_err(|e| is_fit_to_show(&e.to_string())).ok();
    let tensors = tensors();
    for selector in selector.iter().chain(apply.iter().map(|apply| &apply.selector)) {
        let narrowed = layers.as_ref().map(|layers| selector.narrowed(layers));
        for selector in [Some(selector), narrowed.as_ref()].into_iter().flatten() {
            match selector.select(&tensors) {
                Ok(chosen) => {
                    assert!(chosen.tensors.iter().chain(&chosen.skipped).all(|&i| i < tensors.len()));
                    assert!(chosen.tensors.is_sorted() && chosen.skipped.is_sorted());
                    assert!(!chosen.tensors.is_empty() || !chosen.skipped.is_empty(), "{text:?} matches nothing");
                }
                Err(error) => is_fit_to_show(&error.to_string()),
            }
        }
    }
});
