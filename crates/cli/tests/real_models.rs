//! The first question on the two models of the demo, at a small size; and the perplexities of llama-perplexity.
//!
//! `make test` fetches the models. Where they are missing, a test says so and passes.

mod support;

use assert_cmd::Command;
use serde_json::Value;
use std::time::Duration;
use support::real_model;

/// A run that hangs is a failed test; a busy machine is not.
const TIMEOUT: Duration = Duration::from_secs(1200);

const SMOLLM2: &str = "SmolLM2-135M-Instruct.Q4_1.gguf";
const GEMMA: &str = "gemma-3-270m-q4_k_m.gguf";

fn json(args: &[&str]) -> Value {
    let mut command = Command::new(env!("CARGO_BIN_EXE_assay"));
    let output = command.args(args).timeout(TIMEOUT).output().expect("assay starts");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {:?}\n{stderr}", output.status);
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// Made with `llama-perplexity -f crates/lab/assets/demo.txt -c 512 -b 512 --chunks 2 --no-repack` of llama.cpp of October
/// 2026 (scripts/build-peer.sh), which prints four decimals. Without `-b 512` it puts two sequences into one ubatch of 512
/// tokens where only two or three windows are asked for, and 256 or fewer rows a sequence have other bits.
#[test]
fn perplexity_on_real_models_is_llama_perplexitys_to_four_decimals() {
    for (name, wanted) in [(SMOLLM2, "32.0579"), (GEMMA, "31.5271")] {
        let Some(path) = real_model(name) else { continue };
        let path = path.to_str().expect("UTF-8");
        let answer = json(&["eval", path, "--arm", "native", "--ctx", "512", "--chunks", "2", "--json", "--quiet"]);
        let ppl = answer["ppl"].as_f64().expect("a number");
        assert_eq!(format!("{ppl:.4}"), wanted, "{name}");
    }
}

#[test]
fn bf16_norms_are_a_no_op_on_one_model_and_a_tiny_real_effect_on_the_other() {
    let (Some(smollm2), Some(gemma)) = (real_model(SMOLLM2), real_model(GEMMA)) else { return };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let out = folder.path().join("run");
    let (smollm2, gemma) = (smollm2.to_str().expect("UTF-8"), gemma.to_str().expect("UTF-8"));
    let out = out.to_str().expect("UTF-8");
    let size = ["--ctx", "64", "--chunks", "2", "--layer-chunks", "1"];
    let args = [&["run", "ffn-norm-bf16", smollm2, gemma, "--out", out, "--json", "--quiet"], &size[..]].concat();
    let answer = json(&args);

    let whole = |model: &str, arm: &str| -> Value {
        let rows = answer["verdicts"].as_array().expect("rows");
        let found = rows.iter().find(|row| row["model"] == model && row["arm"] == arm && row["stage"] == "all_layers");
        found.unwrap_or_else(|| panic!("no verdict for {model}, {arm}: {answer}")).clone()
    };
    for arm in ["exact", "native"] {
        let row = whole(SMOLLM2, arm);
        assert_eq!(row["verdict"], "NO-OP", "{row}");
        assert_eq!(row["effects"]["kld_mean"].as_f64(), Some(0.0), "{row}");
    }
    let exact = whole(GEMMA, "exact");
    assert_eq!(exact["verdict"], "REAL", "{exact}");
    assert!(exact["why"].as_str().is_some_and(|why| why.contains("2,990 of 11,520 values change")), "{exact}");
    let kld = |row: &Value| row["effects"]["kld_mean"].as_f64().expect("a number");
    // Measured at 512 tokens: 2.6e-5 exact, 0.0063 native. The order of magnitude is what a small size can show.
    assert!((1e-6..1e-3).contains(&kld(&exact)), "{exact}");
    assert!(kld(&whole(GEMMA, "native")) > 20.0 * kld(&exact), "{answer}");
    let controls = answer["controls"].as_array().expect("rows");
    assert!(controls.len() >= 20 && controls.iter().all(|control| control["ok"] == true), "{answer}");
}

#[test]
fn a_chat_goes_through_the_models_own_template_and_repeats_itself() {
    let Some(path) = real_model(SMOLLM2) else { return };
    let path = path.to_str().expect("UTF-8");
    let chat = |more: &[&str]| {
        let common = ["chat", path, "--prompt", "hi", "--tokens", "12", "--json", "--quiet"];
        json(&[&common[..], more].concat())
    };
    let identity = chat(&["--apply", "ffn_norm=identity", "--apply", "residual=identity", "--arm", "native"]);
    let said = &identity["chats"][0];
    assert_eq!((&said["reference"], &said["first_divergence"]), (&said["variant"], &Value::Null), "{identity}");
    // Greedy, through the template: a base text would go on with more questions.
    let text = said["reference"]["text"].as_str().expect("text");
    assert!(text.contains("Hello"), "{text}");
    // The template has a system message of its own, where none is given.
    let own = "You are a helpful AI assistant named SmolLM, trained by Hugging Face";
    assert_eq!(chat(&["--system", own, "--arm", "native"])["chats"][0]["reference"], said["reference"]);
    let model = tempfile::tempdir().expect("a folder");
    let said_of = support::refused(model.path(), &["chat", path, "--prompt", "hi", "--ctx", "8"]);
    assert!(said_of.contains("wanted 1 to 8") && said_of.contains("raise --ctx"), "{said_of}");
    let destroyed = chat(&["--apply", "ffn_down=zero", "--arm", "native"]);
    assert_eq!(
        destroyed["chats"][0]["reference"], said["reference"],
        "the reference is the same whatever is beside it"
    );
    assert!(destroyed["chats"][0]["first_divergence"].as_u64() < Some(12), "{destroyed}");
    let drawn = |seed: &str| {
        chat(&["--arm", "native", "--temperature", "1.5", "--seed", seed])["chats"][0]["reference"]["tokens"].clone()
    };
    assert_eq!(drawn("7"), drawn("7"));
    assert_ne!(drawn("7"), drawn("8"));
}
