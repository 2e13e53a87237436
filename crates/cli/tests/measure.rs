//! `assay eval` and `assay run` on a tiny model through the real engine and a real worker process.

mod support;

use serde_json::Value;
use std::path::Path;
use support::{TinyModel, assay, json, stdout, text};

const SMALL: [&str; 6] = ["--text", "text.txt", "--ctx", "32", "--chunks", "8"];

fn room() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(folder.path().join("text.txt"), text(600)).expect("a file");
    TinyModel { ffn_norm_is_bf16: true, tokenizer: true }.write(folder.path(), "on.gguf");
    TinyModel { ffn_norm_is_bf16: false, tokenizer: true }.write(folder.path(), "off.gguf");
    folder
}

fn eval(folder: &Path, args: &[&str]) -> Value {
    json(folder, &[&["eval", "--json"], args, &SMALL].concat())
}

#[test]
fn perplexity_alone_has_no_reference_and_prints_its_settings() {
    let room = room();
    let answer = eval(room.path(), &["off.gguf"]);
    let ppl = answer["ppl"].as_f64().expect("a number");
    assert!(ppl > 1.0 && ppl.is_finite(), "{ppl}");
    assert!((answer["nll_nats"].as_f64().expect("a number").exp() - ppl).abs() < 1e-9 * ppl);
    // Positions 16 to 30 of each window are scored.
    assert_eq!((&answer["n_chunks"], &answer["n_tokens"]), (&8.into(), &(8 * 15).into()));
    assert!(answer["ppl_ref"].is_null() && answer["kld_mean"].is_null());
    let settings = &answer["settings"];
    assert_eq!(
        (&settings["arm"], &settings["n_ctx"], &settings["text"]),
        (&"exact".into(), &32.into(), &"text.txt".into())
    );
    assert_eq!(eval(room.path(), &["off.gguf"]), answer, "equal input, other output");
}

#[test]
fn a_scheme_that_changes_nothing_leaves_every_logit_alone_and_another_one_does_not() {
    let room = room();
    let on = eval(room.path(), &["on.gguf", "--apply", "ffn_norm=bf16"]);
    assert_eq!((&on["kld_mean"], &on["logits_changed"], &on["same_top"]), (&0.0.into(), &0.into(), &1.0.into()));
    assert_eq!(on["ppl"], on["ppl_ref"]);

    let off = eval(room.path(), &["off.gguf", "--apply", "ffn_norm=bf16"]);
    let kld = |answer: &Value| answer["kld_mean"].as_f64().expect("a number");
    assert!(kld(&off) > 0.0 && kld(&off) < 0.01, "{off}");
    assert!(off["logits_changed"].as_u64().is_some_and(|n| n > 0), "{off}");
    let zero = eval(room.path(), &["off.gguf", "--apply", "ffn_norm=zero"]);
    assert!(kld(&zero) > 100.0 * kld(&off), "{zero}");
    let one = eval(room.path(), &["off.gguf", "--apply", "ffn_norm=bf16", "--layers", "-1"]);
    assert_eq!(one["changed"].as_array().map(Vec::len), Some(1));
    assert!(kld(&one) > 0.0 && kld(&one) != kld(&off), "{one}");
    let native = eval(room.path(), &["off.gguf", "--apply", "ffn_norm=bf16", "--arm", "native"]);
    assert_eq!(kld(&native), kld(&off), "without quantized weights both arms are one");
}

#[test]
fn a_run_answers_for_both_models_and_a_second_one_only_reads() {
    let room = room();
    let args = [&["run", "ffn-norm-bf16", "on.gguf", "off.gguf", "--out", "out", "--json"], &SMALL[..]].concat();
    let answer = json(room.path(), &args);
    let verdict = |model: &str| -> Vec<&str> {
        let rows = answer["verdicts"].as_array().expect("rows").iter();
        rows.filter(|row| row["model"] == model && row["stage"] == "all_layers")
            .filter_map(|row| row["verdict"].as_str())
            .collect()
    };
    assert_eq!(verdict("on.gguf"), ["NO-OP", "NO-OP"], "{answer}");
    assert_eq!(verdict("off.gguf"), ["REAL", "REAL"], "{answer}");
    assert!(answer["controls"].as_array().expect("rows").iter().all(|control| control["ok"] == true), "{answer}");
    let report =
        std::fs::read_to_string(room.path().join(answer["report"].as_str().expect("a path"))).expect("a report");
    assert!(report.contains("on.gguf") && report.contains("NO-OP"), "{report}");

    let cells = || -> Vec<(String, Vec<u8>)> {
        let folder = room.path().join("out/cells");
        let names = support::names_in(&folder);
        names.into_iter().map(|name| (name.clone(), std::fs::read(folder.join(name)).expect("a cell"))).collect()
    };
    let before = cells();
    assert!(!before.is_empty());
    assert_eq!(json(room.path(), &args), answer);
    assert_eq!(cells(), before);
    let again = assay(room.path(), &args);
    let said = String::from_utf8_lossy(&again.stderr).into_owned();
    assert!(said.contains("resuming: 32 of 32 cells there already"), "{said}");
    assert!(!said.contains("all layers"), "something was measured again: {said}");

    let status = json(room.path(), &["status", "out", "--json"]);
    assert_eq!((&status["finished"], &status["controls_ok"]), (&true.into(), &true.into()), "{status}");
    assert_eq!((&status["cells_finished"], &status["cells"]), (&32.into(), &32.into()), "{status}");
    std::fs::remove_dir_all(room.path().join("out/report")).expect("the report goes");
    stdout(room.path(), &["report", "out"]);
    let rewritten = std::fs::read_to_string(room.path().join("out/report/report.md")).expect("a report");
    assert_eq!(rewritten, report);
}

#[test]
fn another_question_in_the_same_folder_is_refused() {
    let room = room();
    let small = |model: &str| {
        assay(room.path(), &[&["--quiet", "run", "ffn-norm-bf16", model, "--out", "out"], &SMALL[..]].concat())
    };
    assert_eq!(small("on.gguf").status.code(), Some(0));
    let other = small("off.gguf");
    let said = String::from_utf8_lossy(&other.stderr);
    assert_eq!(other.status.code(), Some(2), "{said}");
    assert!(said.contains("contains another run") && said.contains("\nhint: "), "{said}");
}

#[test]
fn quiet_runs_say_nothing_but_the_answer() {
    let room = room();
    let output = assay(room.path(), &[&["--quiet", "eval", "on.gguf"], &SMALL[..]].concat());
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert!(String::from_utf8_lossy(&output.stdout).starts_with("PPL "));
}

#[test]
fn models_of_one_file_name_keep_their_own_verdicts() {
    let room = room();
    for folder in ["a", "b"] {
        std::fs::create_dir(room.path().join(folder)).expect("a folder");
    }
    std::fs::rename(room.path().join("on.gguf"), room.path().join("a/m.gguf")).expect("moves");
    std::fs::rename(room.path().join("off.gguf"), room.path().join("b/m.gguf")).expect("moves");
    let run = |models: [&str; 2]| {
        assay(room.path(), &[&["run", "ffn-norm-bf16", models[0], models[1], "--out", "out"], &SMALL[..]].concat())
    };
    let answer = String::from_utf8(run(["a/m.gguf", "b/m.gguf"]).stdout).expect("UTF-8");
    let lines: Vec<&str> = answer.lines().filter(|line| line.contains("m.gguf (") || line.starts_with("  ")).collect();
    let starts =
        ["Yes, in 1 of 2 models: m.gguf (", "m.gguf (", "  NO-OP ", "  NO-OP ", "m.gguf (", "  REAL ", "  REAL "];
    assert_eq!(lines.len(), starts.len(), "{answer}");
    assert!(lines.iter().zip(starts).all(|(line, start)| line.starts_with(start)), "{answer}");

    let twice = run(["a/m.gguf", "a/m.gguf"]);
    let said = String::from_utf8_lossy(&twice.stderr);
    assert_eq!(twice.status.code(), Some(2), "{said}");
    assert!(said.contains("the same file") && said.contains("\nhint: "), "{said}");
}

#[test]
fn scores_that_are_not_finite_are_not_measured_rather_than_a_failed_control() {
    let room = room();
    let path = room.path().join("off.gguf");
    let mut bytes = std::fs::read(&path).expect("a model");
    // The file ends in output_norm.
    let end = bytes.len();
    bytes[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    std::fs::write(&path, bytes).expect("writes");
    let output = assay(room.path(), &[&["run", "ffn-norm-bf16", "off.gguf", "--out", "out"], &SMALL[..]].concat());
    let (said, answer) = (String::from_utf8_lossy(&output.stderr), String::from_utf8_lossy(&output.stdout));
    assert_eq!(output.status.code(), Some(4), "{said}{answer}");
    assert!(answer.contains(" are withheld. The control \"A/A\" was not measured"), "{answer}");
    assert!(answer.contains("  NOT MEASURED A/A on off.gguf") && !answer.contains("FAILED "), "{answer}");
}

#[test]
fn a_run_off_a_terminal_says_its_stages_and_no_progress() {
    let room = room();
    let output = assay(room.path(), &[&["run", "ffn-norm-bf16", "on.gguf", "--out", "out"], &SMALL[..]].concat());
    let said = String::from_utf8_lossy(&output.stderr);
    for line in [
        "method: ffn_norm = bf16 on 8 windows of 32 tokens (2 per single layer)",
        "run folder: out\n16 cells to measure\n",
        "on.gguf: all layers, 8 cells\n",
    ] {
        assert!(said.contains(line), "{line:?} is not said: {said}");
    }
    assert!(!said.contains(" left") && !said.contains('\r'), "{said}");
}

#[test]
fn activations_left_alone_change_no_bit_and_coarser_ones_cost_more() {
    let room = room();
    for selector in ["ffn_norm[where=activation,layers=0-1]", "attn_norm[where=activation]", "residual", "kv"] {
        let with = |scheme: &str| eval(room.path(), &["off.gguf", "--apply", &format!("{selector}={scheme}")]);
        let identity = with("identity");
        assert_eq!((&identity["logits_changed"], &identity["kld_max"]), (&0.into(), &0.0.into()), "{selector}");
        let kld = |scheme: &str| with(scheme)["kld_mean"].as_f64().expect("a number");
        let (int8, int4, tensor) = (kld("int8@row"), kld("int4@row"), kld("int4@tensor"));
        assert!(0.0 < int8 && int8 < int4 / 4.0, "{selector}: {int8} {int4}");
        assert!(tensor > int8 && tensor != int4, "{selector}: per tensor is not per token: {tensor} {int4}");
        let blocks = with("ggml:q8_0");
        let rows = blocks["changed"].as_array().expect("rows");
        assert!(!rows.is_empty() && rows.iter().all(|row| row["place"] == "activation"), "{blocks}");
        assert!(rows.iter().all(|row| row["changed"].as_u64() > Some(0)), "{blocks}");
    }
}

#[test]
fn a_run_on_activations_has_every_control_and_stage_and_says_that_nothing_was_predicted() {
    let room = room();
    for (out, question) in [("ffn", "ffn_norm[where=activation]=int4@row"), ("kv", "kv=int4@row")] {
        let args = [&["run", "--apply", question, "off.gguf", "--out", out, "--json", "--quiet"], &SMALL[..]].concat();
        let answer = json(room.path(), &args);
        let rows = |key: &str| answer[key].as_array().expect("rows").clone();
        let names: Vec<Value> = rows("controls").iter().map(|control| control["name"].clone()).collect();
        for name in ["A/A", "identity write-back (F32)", "positive control (zero)", "jitter floor", "evidence chains"] {
            assert!(names.iter().any(|found| found == name), "{question}: {name} is not among {names:?}");
        }
        assert!(rows("controls").iter().all(|control| control["ok"] == true), "{question}: {answer}");
        for verdict in rows("verdicts") {
            assert_eq!(verdict["verdict"], "REAL", "{question}: {verdict}");
            assert!(verdict["why"].as_str().is_some_and(|why| why.contains("values of activations")), "{verdict}");
        }
        let stages: Vec<Value> = rows("verdicts").iter().map(|verdict| verdict["stage"].clone()).collect();
        for (stage, n) in [("one_layer", 1), ("each_layer", 2), ("all_layers", 2)] {
            assert_eq!(stages.iter().filter(|found| *found == stage).count(), n, "{question}: {stage}");
        }
        let report = std::fs::read_to_string(room.path().join(out).join("report/report.md")).expect("a report");
        assert!(report.contains("is known only when they are") && report.contains("not known beforehand"), "{report}");
        // The same folder again only reads, and another one comes to the same bytes with one thread.
        assert_eq!(json(room.path(), &args)["verdicts"], answer["verdicts"], "{question}");
        let again = format!("{out} again");
        let args = ["run", "--apply", question, "off.gguf", "--out", &again, "--quiet", "--threads", "1"];
        stdout(room.path(), &[&args[..], &SMALL].concat());
        for name in support::names_in(&room.path().join(out).join("cells")) {
            let of = |run: &str| std::fs::read(room.path().join(run).join("cells").join(&name)).expect("a cell");
            assert_eq!(of(out), of(&again), "{question}: {name}");
        }
    }
}

#[test]
fn the_cache_rounds_what_enters_it_and_says_how_much() {
    let room = room();
    let answer = eval(room.path(), &["off.gguf", "--apply", "kv[layers=1]=int8@row"]);
    let rows = answer["changed"].as_array().expect("rows");
    let names: Vec<&str> = rows.iter().filter_map(|row| row["name"].as_str()).collect();
    assert_eq!(names, ["cache_k_l1", "cache_v_l1"]);
    assert!(rows.iter().all(|row| row["carrier_rounded"].as_u64() > Some(0)), "F16 holds no INT8 scales: {answer}");
    let f16 = eval(room.path(), &["off.gguf", "--apply", "kv=f16"]);
    assert_eq!(f16["logits_changed"], 0, "the cache is F16 already: {f16}");
    assert_eq!((&f16["changed"][0]["changed"], &f16["changed"][0]["carrier_rounded"]), (&0.into(), &0.into()), "{f16}");
}

#[test]
fn a_run_on_the_cache_knows_what_the_cache_itself_rounds() {
    let room = room();
    // The first two leave the F16 values as they are; the third asks for more than F16 stores; the last changes them.
    for (scheme, verdict) in [("f16", "NO-OP"), ("tf32", "NO-OP"), ("e8m14", "SUBSTITUTED"), ("int4@row", "REAL")] {
        let args = ["run", "--apply", &format!("kv={scheme}"), "off.gguf", "--out", scheme, "--json", "--quiet"];
        let answer = json(room.path(), &[&args[..], &SMALL].concat());
        let rows = answer["verdicts"].as_array().expect("rows");
        assert!(rows.iter().all(|row| row["verdict"] == verdict), "{scheme}: {rows:?}");
        // One ulp of what the cache stores moves logits under every seed, which one of F32 did not.
        let record = std::fs::read_to_string(room.path().join(scheme).join("run.json")).expect("a record");
        let record: Value = serde_json::from_str(&record).expect("JSON");
        for judged in record["models"][0]["cells"].as_array().expect("cells") {
            if judged["cell"]["role"].get("jitter").is_some() && judged["cell"]["arm"] == "exact" {
                let tensor = &judged["cell"]["evidence"]["tensors"][0];
                assert_eq!(tensor["changed"], tensor["n"], "{tensor}");
            }
        }
    }
}

#[test]
fn the_shared_embedding_is_lookup_head_or_both() {
    let room = room();
    let with = |applies: &[&str]| {
        let applies: Vec<&str> = applies.iter().flat_map(|apply| ["--apply", apply]).collect();
        eval(room.path(), &[&["off.gguf"][..], &applies].concat())
    };
    for selector in ["token_embd[use=lookup]", "output[use=head]", "token_embd"] {
        let identity = with(&[&format!("{selector}=identity")]);
        assert_eq!((&identity["kld_max"], &identity["logits_changed"]), (&0.0.into(), &0.into()), "{selector}");
    }
    let kld = |applies: &[&str]| with(applies)["kld_mean"].as_f64().expect("a number");
    let (lookup, head) = (kld(&["token_embd[use=lookup]=int4@block32"]), kld(&["output[use=head]=int4@block32"]));
    let both = kld(&["token_embd=int4@block32"]);
    assert!(lookup > 0.0 && head > 0.0 && lookup != head && both > lookup.min(head), "{lookup} {head} {both}");
    assert_eq!(kld(&["token_embd[use=lookup]=int4@block32", "output[use=head]=int4@block32"]), both);
    assert!(kld(&["token_embd[use=lookup]=int8@row", "output[use=head]=int4@block32"]) < both);
}

#[test]
fn the_trace_is_zero_before_the_first_touched_layer_and_the_same_run_without_it() {
    let room = room();
    let apply = ["off.gguf", "--apply", "ffn_up[layers=1]=int4@row"];
    let plain = eval(room.path(), &apply);
    let traced = eval(room.path(), &[&apply[..], &["--trace"]].concat());
    assert_eq!(plain["kld_mean"], traced["kld_mean"]);
    assert!(plain.get("residual").is_none());
    let rows: Vec<f64> = traced["residual"]
        .as_array()
        .expect("rows")
        .iter()
        .map(|row| row["rel_rmse"].as_f64().expect("a number"))
        .collect();
    assert_eq!((rows.len(), rows[0]), (TinyModel::N_LAYER, 0.0));
    assert!(rows[1] > 0.0 && rows[1] < 1.0, "{rows:?}");
}

#[test]
fn one_and_two_threads_give_the_same_answer_whatever_is_edited() {
    let room = room();
    let with = |threads: &str| {
        let applies = [
            "--apply",
            "ffn_down[layers=1]=int4@row",
            "--apply",
            "kv=int8@row",
            "--apply",
            "output[use=head]=int4@row",
        ];
        let mut answer = eval(room.path(), &[&["off.gguf", "--trace", "--threads", threads][..], &applies].concat());
        answer["settings"]["n_threads"].take();
        answer
    };
    assert_eq!(with("1"), with("2"));
}

#[test]
fn a_budget_is_printed_and_one_that_is_too_small_is_refused_with_what_is_needed() {
    let room = room();
    let said = |args: &[&str]| {
        let output = assay(room.path(), &[&["eval", "off.gguf"], args, &SMALL].concat());
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, words) = said(&["--apply", "ffn_norm=bf16", "--max-memory", "2G"]);
    assert_eq!(code, Some(0), "{words}");
    for part in ["memory ", " of 2.0 GiB: model ", "contexts ", "reference logits ", "hidden states ", "kept edits "] {
        assert!(words.contains(part), "{part:?} is not in {words}");
    }
    let (code, words) = said(&["--apply", "ffn_norm=bf16", "--max-memory", "1K"]);
    assert_eq!(code, Some(2), "{words}");
    assert!(words.contains(" needed at least (model ") && words.contains("1.0 KiB allowed"), "{words}");
    assert!(words.contains("\nhint: "), "{words}");
}

#[test]
fn a_variant_that_goes_bad_names_chunk_token_node_and_weight() {
    let room = room();
    let output = assay(
        room.path(),
        &[&["eval", "off.gguf", "--apply", "ffn_down[layers=1]=e4m3:ieee:bias=40"], &SMALL[..]].concat(),
    );
    let words = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(4), "{words}");
    let found = "window 0: non-finite logits at scored position 0 of the window; the first value that is not finite is in \
                 graph node ffn_out-1 at token 16, which reads blk.1.ffn_down.weight";
    assert!(words.contains(found), "{words}");
}

#[test]
fn the_embedding_preset_measures_both_uses_singly_and_together() {
    let room = room();
    let args = [&["run", "embedding-4bit", "off.gguf", "--out", "out", "--json"], &SMALL[..]].concat();
    let answer = json(room.path(), &args);
    assert!(answer["controls"].as_array().expect("rows").iter().all(|control| control["ok"] == true), "{answer}");
    let rows: Vec<(&str, &str, &str)> = answer["verdicts"]
        .as_array()
        .expect("rows")
        .iter()
        .map(|row| (row["stage"].as_str().unwrap(), row["target"].as_str().unwrap(), row["arm"].as_str().unwrap()))
        .collect();
    let both = "token_embd[use=lookup],output[use=head]";
    for arm in ["exact", "native"] {
        for expected in [
            ("each_part", "token_embd[use=lookup]", arm),
            ("each_part", "output[use=head]", arm),
            ("all_layers", both, arm),
        ] {
            assert!(rows.contains(&expected), "{expected:?} is not among {rows:?}");
        }
    }
    let sentence = answer["answers"][0]["sentence"].as_str().expect("a sentence");
    assert!(sentence.contains(" Singly: token_embd[use=lookup] KLD "), "{sentence}");
    let text = stdout(room.path(), &[&["run", "embedding-4bit", "off.gguf", "--out", "out"], &SMALL[..]].concat());
    assert!(text.contains("exact arm, 8 windows, output[use=head] alone: KLD "), "{text}");
    let report = std::fs::read_to_string(room.path().join("out/report/report.md")).expect("a report");
    assert!(
        report.contains("variant, token_embd\\[use=lookup\\] alone") || report.contains("use=lookup] alone"),
        "{report}"
    );
}

#[test]
fn layers_on_a_gpu_are_refused_by_a_build_without_one() {
    let room = room();
    let output = assay(room.path(), &[&["eval", "on.gguf", "--gpu-layers", "1"], &SMALL[..]].concat());
    let words = String::from_utf8_lossy(&output.stderr);
    if cfg!(any(feature = "cuda", feature = "metal", feature = "vulkan")) {
        return;
    }
    assert_eq!(output.status.code(), Some(2), "{words}");
    assert!(words.contains("computes on the CPU only") && words.contains("\nhint: build with --features"), "{words}");
}

#[test]
fn a_worker_killed_from_outside_costs_nothing_and_leaves_its_words_behind() {
    let room = room();
    std::fs::write(room.path().join("long.txt"), text(60_000)).expect("a file");
    let long = ["--text", "long.txt", "--ctx", "256", "--chunks", "48", "--threads", "1"];
    let program = env!("CARGO_BIN_EXE_assay");
    let mut run = std::process::Command::new(program)
        .current_dir(room.path())
        .args([&["run", "ffn-norm-bf16", "off.gguf", "--out", "out"], &long[..]].concat())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("assay starts");
    let samples = room.path().join("out/samples");
    let mut killed = false;
    while run.try_wait().expect("a child").is_none() {
        // Once something is being measured, the worker goes.
        let has_begun = std::fs::read_dir(&samples).is_ok_and(|entries| entries.count() > 2);
        if has_begun && !killed {
            for id in support::children_of(run.id()) {
                support::send(rustix::process::Signal::KILL, id);
                killed = true;
            }
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    assert!(killed, "the run ended before its worker could be killed");
    assert_eq!(run.wait().expect("a child").code(), Some(0));
    let journal = std::fs::read_to_string(room.path().join("out/journal.jsonl")).expect("a journal");
    assert!(journal.contains("worker_died") && journal.contains("signal: 9"), "{journal}");
    let said = std::fs::read_to_string(room.path().join("out/worker-0.stderr")).expect("a log");
    assert!(said.matches("llama_model_loader: loaded meta data").count() >= 2, "both workers' words are kept: {said}");
    // A run that nobody disturbed has the same cells.
    stdout(room.path(), &[&["run", "ffn-norm-bf16", "off.gguf", "--out", "calm"], &long[..]].concat());
    for name in support::names_in(&room.path().join("calm/cells")) {
        let of = |run: &str| std::fs::read(room.path().join(run).join("cells").join(&name)).expect("a cell");
        assert_eq!(of("out"), of("calm"), "{name}");
    }
}

#[test]
fn attention_shifts_behind_the_touched_layer_only_and_not_at_all_for_an_identity() {
    let room = room();
    let heads = |apply: &str| {
        let answer = eval(room.path(), &["off.gguf", "--apply", apply, "--attention"]);
        assert_eq!(answer["settings"]["flash_attn"], false, "{answer}");
        let rows = answer["attention"].as_array().expect("rows").clone();
        // Two layers of two heads, every query position of eight windows.
        assert_eq!(rows.len(), 4, "{answer}");
        assert!(rows.iter().all(|row| row["n"] == 8 * 32), "{answer}");
        rows
    };
    let of = |rows: &[Value], key: &str| -> Vec<f64> {
        rows.iter().map(|row| row[key].as_f64().expect("a number")).collect()
    };
    let identity = heads("attn_q=identity");
    assert_eq!(of(&identity, "jsd_nats"), [0.0; 4]);
    assert_eq!(of(&identity, "entropy_ref_nats"), of(&identity, "entropy_var_nats"));
    assert!(of(&identity, "entropy_ref_nats").iter().all(|&h| h > 0.0 && h < 32f64.ln()));
    let late = of(&heads("attn_q[layers=1]=int4@row"), "jsd_nats");
    assert_eq!(late[..2], [0.0, 0.0]);
    assert!(late[2] > 0.0 && late[3] > 0.0 && late[3] < std::f64::consts::LN_2, "{late:?}");
    // Nothing to look at: without queries every position before is as good as any other.
    let blind = heads("attn_q=zero");
    let entropy: f64 = (1..=32).map(|n| f64::from(n).ln()).sum::<f64>() / 32.0;
    assert!(of(&blind, "entropy_var_nats").iter().all(|h| (h - entropy).abs() < 1e-5), "{blind:?}");
    let edited = heads("kq_soft_max-1[where=activation]=zero");
    assert_eq!(of(&edited, "sink_var")[2..], [0.0, 0.0], "an edit of the probabilities themselves is seen");
}

#[test]
fn a_run_whose_weights_do_not_fit_is_refused_before_a_folder_is_made() {
    let room = room();
    let args = [&["run", "ffn-norm-bf16", "off.gguf", "--out", "out", "--max-memory", "100K"], &SMALL[..]].concat();
    let said = support::refused(room.path(), &args);
    assert!(said.contains("off.gguf: memory: ") && said.contains("needed at least (model "), "{said}");
}

#[test]
fn a_scheme_that_stands_in_for_another_gives_what_it_gives_itself_and_is_named() {
    let room = room();
    // Rows of 32 values are not whole blocks of 256.
    let asked = ["--apply", "attn_q=q4_k", "--allow-fallback"];
    let eval = |args: &[&str]| json(room.path(), &[&["eval", "on.gguf", "--json"], args, &SMALL[..]].concat());
    let (fallback, itself) = (eval(&asked), eval(&["--apply", "attn_q=q5_0"]));
    for key in ["ppl", "kld_mean", "changed"] {
        assert_eq!(fallback[key], itself[key], "{key}");
    }
    let rows = fallback["settings"]["fallbacks"].as_array().expect("rows");
    assert_eq!(rows.len(), fallback["changed"].as_array().expect("rows").len());
    assert_eq!((&rows[0]["scheme_requested"], &rows[0]["scheme_realised"]), (&"q4_k".into(), &"q5_0".into()));
    assert!(itself["settings"].get("fallbacks").is_none(), "{itself}");

    let census =
        |args: &[&str]| json(room.path(), &[&["census", "on.gguf", "--target", "attn_q", "--json"], args].concat());
    let (fallback, itself) = (census(&["--against", "q4_k", "--allow-fallback"]), census(&["--against", "q5_0"]));
    assert_eq!(fallback["predictions"][0]["changed"], itself["predictions"][0]["changed"]);
    assert_eq!(fallback["fallbacks"][0]["scheme_realised"], "q5_0");
    let said = support::refused(room.path(), &["census", "on.gguf", "--target", "attn_q", "--against", "q4_k"]);
    assert!(said.contains("hint: --allow-fallback takes q5_0 for such tensors"), "{said}");

    let run = |out: &str, args: &[&str]| {
        json(room.path(), &[&["run", "on.gguf", "--out", out, "--json"], args, &SMALL[..]].concat())
    };
    let (fallback, itself) = (run("fallback", &asked), run("itself", &["--apply", "attn_q=q5_0"]));
    let census = fallback["answers"][0]["census"].as_str().expect("a sentence");
    assert!(census.ends_with("; q5_0 stands in for q4_k in 2 tensors"), "{census}");
    for (a, b) in
        fallback["verdicts"].as_array().expect("rows").iter().zip(itself["verdicts"].as_array().expect("rows"))
    {
        assert_eq!((&a["effects"], &a["scheme"], &b["scheme"]), (&b["effects"], &"q4_k".into(), &"q5_0".into()));
    }
    let cells = |run: &str| support::names_in(&room.path().join(run).join("cells"));
    assert_eq!(cells("fallback"), cells("itself"), "equal edits have equal keys");
}

#[test]
fn a_run_is_narrowed_to_an_arm_layers_and_seeds_and_its_command_repeats_it() {
    let room = room();
    let narrow = ["--arm", "exact", "--layers", "1", "--seed", "5"];
    let run = |out: &str, args: &[&str]| {
        json(room.path(), &[&["run", "ffn-norm-bf16", "on.gguf", "--out", out, "--json"], args, &SMALL[..]].concat())
    };
    let answer = run("out", &narrow);
    let verdicts = answer["verdicts"].as_array().expect("rows");
    assert!(verdicts.iter().all(|row| row["arm"] == "exact" && row["layers"] == serde_json::json!([1])), "{answer}");
    let lock: serde_json::Value =
        serde_json::from_slice(&std::fs::read(room.path().join("out/plan.lock.json")).expect("a lock")).expect("JSON");
    let identity = &lock["identity"];
    assert_eq!(
        (&identity["arms"], &identity["jitter_seeds"]),
        (&serde_json::json!(["exact"]), &serde_json::json!([5, 6, 7]))
    );
    assert_eq!(identity["question"]["target"], "ffn_norm[layers=1]");
    let report = std::fs::read_to_string(room.path().join("out/report/report.md")).expect("a report");
    assert!(report.contains("assay run ffn-norm-bf16 --layers 1 --arm exact --seed 5 on.gguf "), "{report}");
    // The reports can be written elsewhere, but not among the files of the run.
    support::stdout(room.path(), &["report", "out", "--out", "elsewhere"]);
    let elsewhere = std::fs::read_to_string(room.path().join("elsewhere/report.md")).expect("a report");
    assert_eq!(elsewhere, report);
    support::stdout(room.path(), &["report", "out", "--out", "./out/report/"]);
    for inside in ["out", "out/samples", "out/new/folder"] {
        let said = support::refused(room.path(), &["report", "out", "--out", inside]);
        assert!(said.contains("lies in the folder of the run"), "{inside}: {said}");
    }
    // Another answer to the same question is another run.
    let said =
        support::refused(room.path(), &[&["run", "ffn-norm-bf16", "on.gguf", "--out", "out"], &SMALL[..]].concat());
    assert!(said.contains("its arms is [\"exact\"], now asked for is"), "{said}");
}
