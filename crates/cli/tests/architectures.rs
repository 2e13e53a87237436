//! Every kind of architecture through the real engine and a real worker process, on small models made from a seed.

mod support;

use eval::{Ask, EngineSettings, Hook, Passes, RoutedLayer, Sequence, Token, Weights, routing};
use gguf::{GgmlType, GgufFile};
use llama::{GgmlCodec, LlamaEngine};
use record::RouterSample;
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use support::{assay, json, refused, stdout, text};
use synth::{Architecture, SmallModel, Vocabulary};

const SMALL: [&str; 6] = ["--text", "text.txt", "--ctx", "32", "--chunks", "8"];

fn room() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(folder.path().join("text.txt"), text(600)).expect("a file");
    folder
}

fn write(model: SmallModel, vocabulary: &Vocabulary, folder: &Path, name: &str) -> PathBuf {
    let path = folder.join(name);
    model.recipe(vocabulary).write(&path, &GgmlCodec, |_| {}).expect("written");
    path
}

fn eval(folder: &Path, args: &[&str]) -> Value {
    json(folder, &[&["eval", "--json", "--quiet"], args, &SMALL].concat())
}

fn number(answer: &Value, key: &str) -> f64 {
    answer[key].as_f64().unwrap_or_else(|| panic!("{key} is no number: {answer}"))
}

#[test]
fn every_tensor_of_the_file_is_found_in_the_graph() {
    let room = room();
    for architecture in Architecture::CAUSAL {
        let model = SmallModel { matrices: GgmlType::Q4_0, ..SmallModel::new(architecture) };
        let path = write(model, &Vocabulary::bytes(true), room.path(), "m.gguf");
        let file = GgufFile::open(&path).expect("a sound file");
        let wanted: BTreeSet<(String, String)> =
            file.tensors().iter().map(|t| (t.name.clone(), t.ty.name().to_owned())).collect();
        let engine = LlamaEngine::open(&path, &EngineSettings::pinned(64), 1).expect("loads");
        let found: BTreeSet<(String, String)> =
            engine.weights().iter().map(|w| (w.name.clone(), w.ty.clone())).collect();
        assert_eq!(found, wanted, "{architecture:?}");
    }
}

#[test]
fn weights_swapped_in_memory_score_as_the_file_that_quantize_writes() {
    let room = room();
    for architecture in Architecture::CAUSAL {
        let model = SmallModel { matrices: GgmlType::Q8_0, ..SmallModel::new(architecture) };
        write(model, &Vocabulary::bytes(true), room.path(), "m.gguf");
        let scheme = ["--apply", "weights=int4@block32", "--apply", "norms=bf16"];
        stdout(room.path(), &[&["--quiet", "quantize", "m.gguf", "q.gguf", "--force"], &scheme[..]].concat());
        let swapped = eval(room.path(), &[&["m.gguf"], &scheme[..]].concat());
        let written = eval(room.path(), &["q.gguf"]);
        assert_eq!(swapped["nll_nats"], written["nll_nats"], "{architecture:?}");
        assert_eq!(swapped["ppl_ref"], eval(room.path(), &["m.gguf"])["ppl"], "{architecture:?}");
        assert!(number(&swapped, "kld_mean") > 1e-4, "{architecture:?}: {swapped}");
    }
}

#[test]
fn identity_leaves_every_logit_alone_in_either_arm() {
    let room = room();
    for architecture in Architecture::CAUSAL {
        let model = SmallModel { matrices: GgmlType::Q4_1, ..SmallModel::new(architecture) };
        write(model, &Vocabulary::bytes(true), room.path(), "m.gguf");
        for arm in ["exact", "native"] {
            let answer = eval(room.path(), &["m.gguf", "--apply", "all=identity", "--arm", arm]);
            let found = (&answer["kld_mean"], &answer["logits_changed"]);
            assert_eq!(found, (&0.0.into(), &0.into()), "{architecture:?}, {arm}");
            assert_eq!(answer["ppl"], answer["ppl_ref"], "{architecture:?}, {arm}");
        }
    }
}

/// A model whose matrices of attention and FFN have factors in tensors of their own, as NVFP4 files have them.
fn write_with_factors(model: SmallModel, mean: f32, folder: &Path, name: &str) {
    let mut recipe = model.recipe(&Vocabulary::bytes(true));
    recipe.add_factors(mean, |weight| match weight {
        _ if weight.contains("norm") || weight.contains("gate_inp") || !weight.starts_with("blk.") => None,
        _ if weight.contains("_exps") => Some(4),
        _ => Some(1),
    });
    recipe.write(&folder.join(name), &GgmlCodec, |_| {}).expect("written");
}

const WITH_FACTORS: [(Architecture, GgmlType); 4] = [
    (Architecture::Llama, GgmlType::NVFP4),
    (Architecture::Llama, GgmlType::F32),
    (Architecture::LlamaExperts, GgmlType::NVFP4),
    (Architecture::LlamaExperts, GgmlType::F16),
];

#[test]
fn a_weight_and_its_factors_are_one_matrix_in_the_engine_and_in_written_files() {
    let room = room();
    for (architecture, matrices) in WITH_FACTORS {
        let model = SmallModel { matrices, ..SmallModel::new(architecture) };
        write_with_factors(model, 2e-4, room.path(), "m.gguf");
        let case = format!("{architecture:?} in {matrices:?}");
        // In F32 the weights are products and the factors ones, in the native arm they are as stored.
        let native = number(&eval(room.path(), &["m.gguf", "--arm", "native"]), "nll_nats");
        let exact = number(&eval(room.path(), &["m.gguf"]), "nll_nats");
        assert!((native - exact).abs() < 0.1 * exact, "{case}: {native} and {exact}");
        for arm in ["exact", "native"] {
            let answer = eval(room.path(), &["m.gguf", "--apply", "all=identity", "--arm", arm]);
            assert_eq!((&answer["kld_mean"], &answer["logits_changed"]), (&0.0.into(), &0.into()), "{case}, {arm}");
        }
        let scheme = ["--apply", "weights=int4@block32"];
        stdout(room.path(), &[&["--quiet", "quantize", "m.gguf", "q.gguf", "--force"], &scheme[..]].concat());
        let swapped = eval(room.path(), &[&["m.gguf"], &scheme[..]].concat());
        let written = eval(room.path(), &["q.gguf"]);
        assert_eq!(swapped["nll_nats"], written["nll_nats"], "{case}");
        assert!(number(&swapped, "kld_mean") > 1e-6, "{case}: {swapped}");
        let file = GgufFile::open(room.path().join("q.gguf")).expect("a sound file");
        assert!(file.tensors().iter().all(|tensor| !tensor.name.ends_with(".scale")), "{case}");
        // An integer grid has so many steps that the relative error of a bell of values stays far below one.
        let diff = json(room.path(), &["diff", "--json", "--quiet", "m.gguf", "q.gguf"]);
        assert!(number(&diff["total"], "rel_rmse") < 0.2, "{case}: {}", diff["total"]);
        assert_eq!((&diff["only_a"], &diff["only_b"]), (&Value::Array(vec![]), &Value::Array(vec![])), "{case}");
        let same = ["--quiet", "quantize", "m.gguf", "q.gguf", "--force", "--apply", "all=identity"];
        stdout(room.path(), &same);
        let diff = json(room.path(), &["diff", "--json", "--quiet", "m.gguf", "q.gguf"]);
        let changed = diff["tensors"].as_array().expect("rows").iter().map(|row| number(row, "changed")).sum::<f64>();
        assert_eq!(changed, 0.0, "{case}");
        assert_eq!(eval(room.path(), &["q.gguf"])["nll_nats"], exact, "{case}");
    }
}

#[test]
fn the_carrier_keep_stores_values_beside_their_factors() {
    let room = room();
    for (architecture, matrices) in WITH_FACTORS {
        let model = SmallModel { matrices, ..SmallModel::new(architecture) };
        write_with_factors(model, 2e-4, room.path(), "m.gguf");
        let scheme = ["--apply", "weights=int4@row", "--carrier", "keep", "--force-carrier"];
        stdout(room.path(), &[&["--quiet", "quantize", "m.gguf", "q.gguf", "--force"], &scheme[..]].concat());
        let diff = json(room.path(), &["diff", "--json", "--quiet", "m.gguf", "q.gguf"]);
        assert!(number(&diff["total"], "rel_rmse") < 0.3, "{architecture:?} in {matrices:?}: {}", diff["total"]);
        let file = GgufFile::open(room.path().join("q.gguf")).expect("a sound file");
        let has_factors = file.tensors().iter().any(|tensor| tensor.name.ends_with(".scale"));
        assert_eq!(has_factors, matrices != GgmlType::F32, "{matrices:?}");
        eval(room.path(), &["q.gguf", "--arm", "native"]);
    }
}

#[test]
fn a_run_on_weights_with_factors_holds_its_controls_and_the_census_predicts_what_changes() {
    let room = room();
    let model = SmallModel { matrices: GgmlType::NVFP4, ..SmallModel::new(Architecture::LlamaExperts) };
    write_with_factors(model, 2e-4, room.path(), "m.gguf");
    assert_eq!(verdict(room.path(), "attention-int8", "m.gguf"), "REAL");
    let census = ["census", "m.gguf", "--target", "attn", "--against", "fp8_e4m3", "--json", "--quiet"];
    let census = json(room.path(), &census);
    let rows = census["tensors"].as_array().expect("rows");
    assert!(rows.iter().all(|row| row["name"].as_str().expect("a name").ends_with(".weight")), "{census}");
    assert!(rows.iter().all(|row| row["factors"].is_string()), "{census}");
    // Stored values go up to 2,688; weights do not.
    assert_eq!(census["predictions"][0]["saturated"], 0, "{census}");
    assert!(rows.iter().all(|row| number(&row["distribution"], "absmax") < 2.0), "{census}");
    let said = stdout(room.path(), &["--quiet", "census", "m.gguf"]);
    assert!(said.contains("with factors in a tensor of their own"), "{said}");
}

#[test]
fn factors_that_cannot_be_factors_are_refused_by_name_wherever_weights_count() {
    let room = room();
    write_with_factors(SmallModel::new(Architecture::Llama), -2e-4, room.path(), "m.gguf");
    for args in [
        &["eval", "m.gguf", "--text", "text.txt"][..],
        &["quantize", "m.gguf", "q.gguf", "--apply", "attn=bf16"],
        &["run", "ffn-norm-bf16", "m.gguf", "--text", "text.txt"],
    ] {
        let said = refused(room.path(), args);
        assert!(said.contains("blk.0.attn_q.scale\": factor 0 is -0.000"), "{args:?}: {said}");
    }
    // What only looks at the file says so of this weight and goes on with the others.
    for args in [&["census", "m.gguf"][..], &["diff", "m.gguf", "m.gguf"]] {
        let said = stdout(room.path(), args);
        assert!(said.contains("blk.0.attn_q.scale") && said.contains("factor 0 is -0.000"), "{args:?}: {said}");
    }
}

#[test]
fn special_tokens_and_a_byte_order_mark_in_a_text_are_said_wherever_it_is_measured_on() {
    let room = room();
    write(SmallModel::new(Architecture::Llama), &Vocabulary::bytes(true), room.path(), "m.gguf");
    let marked = "<s>an assay weighs a metal</s>\n".repeat(30);
    std::fs::write(room.path().join("marked.txt"), format!("\u{feff}{marked}")).expect("a file");
    std::fs::write(room.path().join("plain.txt"), &marked).expect("a file");
    let on = |text: &str, more: &[&str]| {
        let args = ["eval", "m.gguf", "--json", "--quiet", "--ctx", "32", "--chunks", "8", "--text", text];
        json(room.path(), &[&args[..], more].concat())
    };
    let notes = |answer: &Value| -> Vec<String> {
        answer["notes"].as_array().expect("a list").iter().map(|note| note.as_str().expect("text").into()).collect()
    };
    let (with_bom, without) = (on("marked.txt", &[]), on("plain.txt", &[]));
    assert_eq!(with_bom["nll_nats"], without["nll_nats"], "a byte order mark is not text");
    assert!(notes(&with_bom)[0].contains("marked.txt begins with a byte order mark"), "{with_bom}");
    let said = "plain.txt spells 60 special tokens (</s> 30 ×, <s> 30 ×), read as plain text";
    assert!(notes(&without)[0].contains(said), "{without}");
    let special = on("plain.txt", &["--special"]);
    assert!(notes(&special)[0].contains("read as these tokens"), "{special}");
    assert_ne!(special["nll_nats"], without["nll_nats"]);
    assert_eq!((&special["settings"]["special"], &without["settings"]["special"]), (&true.into(), &false.into()));
    assert_eq!(notes(&on("text.txt", &[])), Vec::<String>::new());
    let sweep = ["sweep", "--apply", "ffn_norm=bf16", "m.gguf", "--json", "--quiet", "--text", "plain.txt"];
    let sweep = json(room.path(), &[&sweep[..], &["--ctx", "32", "--chunks", "4"]].concat());
    assert_eq!(notes(&sweep), notes(&without));

    // Two runs that read the text differently are two runs, and each says how it read it.
    let run = |out: &str, more: &[&str]| {
        let args = ["run", "ffn-norm-bf16", "m.gguf", "--json", "--quiet", "--ctx", "32", "--chunks", "4"];
        json(room.path(), &[&args[..], &["--text", "plain.txt", "--out", out], more].concat())
    };
    let (plain, special) = (run("plain", &[]), run("special", &["--special"]));
    assert_ne!(plain["id"], special["id"]);
    assert_eq!(notes(&plain["answers"][0]), notes(&without));
    let report = std::fs::read_to_string(room.path().join("special/report/report.md")).expect("a report");
    assert!(report.contains("read as these tokens") && report.contains("--special"), "{report}");
}

#[test]
fn windows_longer_than_the_model_was_trained_for_are_said_in_answers_and_in_the_report() {
    let room = room();
    std::fs::write(room.path().join("long.txt"), text(4000)).expect("a file");
    write(SmallModel::new(Architecture::Llama), &Vocabulary::bytes(true), room.path(), "m.gguf");
    let settings = ["--json", "--quiet", "--ctx", "600", "--chunks", "2", "--text", "long.txt"];
    let said = "windows of 600 tokens are longer than the 512 that the model was trained for";
    let answer = json(room.path(), &[&["eval", "m.gguf"], &settings[..]].concat());
    assert_eq!(answer["notes"][0], said, "{answer}");
    let args = [&["run", "ffn-norm-bf16", "m.gguf", "--out", "out"], &settings[..]].concat();
    let answer = json(room.path(), &args);
    assert_eq!(answer["answers"][0]["notes"][0], said, "{answer}");
    let report = std::fs::read_to_string(room.path().join("out/report/report.md")).expect("a report");
    assert!(report.contains(said), "{report}");
}

/// The verdict on the whole target in the exact arm, after all controls held.
fn verdict(folder: &Path, preset: &str, model: &str) -> String {
    let out = format!("{model}-{preset}");
    let answer = json(folder, &[&["run", preset, model, "--out", &out, "--json", "--quiet"], &SMALL[..]].concat());
    let controls = answer["controls"].as_array().expect("rows");
    assert!(controls.iter().all(|control| control["ok"] == true), "{preset} on {model}: {answer}");
    let rows = answer["verdicts"].as_array().expect("rows");
    let whole = rows.iter().find(|row| row["stage"] == "all_layers" && row["arm"] == "exact");
    whole.expect("a verdict on the whole target")["verdict"].as_str().expect("a word").to_owned()
}

#[test]
fn presets_come_to_a_verdict_wherever_the_architecture_has_their_target() {
    let room = room();
    for architecture in Architecture::CAUSAL {
        let name = format!("{architecture:?}.gguf");
        write(SmallModel::new(architecture), &Vocabulary::bytes(true), room.path(), &name);
        let missing = match architecture {
            Architecture::Mamba => ["ffn_norm", "attn_q"],
            Architecture::Gpt2 => ["", "attn_q"],
            _ => ["", ""],
        };
        for (preset, missing) in ["ffn-norm-bf16", "attention-int8"].into_iter().zip(missing) {
            if missing.is_empty() {
                assert_eq!(verdict(room.path(), preset, &name), "REAL", "{preset} on {architecture:?}");
            } else {
                let said = refused(room.path(), &[&["run", preset, &name], &SMALL[..]].concat());
                assert!(said.contains(&format!("selector \"{missing}\" matches none")), "{said}");
            }
        }
    }
}

#[test]
fn a_tokenizer_taken_from_a_real_model_serves_every_architecture() {
    let Some(path) = support::real_model("SmolLM2-135M-Instruct.Q4_1.gguf") else { return };
    let vocabulary = Vocabulary::of(&GgufFile::open(path).expect("a sound file")).expect("a tokenizer");
    let room = room();
    for architecture in Architecture::CAUSAL {
        let model = SmallModel { n_layer: 1, matrices: GgmlType::F16, ..SmallModel::new(architecture) };
        write(model, &vocabulary, room.path(), "m.gguf");
        let answer = json(
            room.path(),
            &["eval", "m.gguf", "--json", "--quiet", "--ctx", "64", "--chunks", "1", "--apply", "all=bf16"],
        );
        // Untrained: worse than guessing among 49,152 tokens, most so where the head repeats a large embedding.
        assert!((1e4..1e9).contains(&number(&answer, "ppl_ref")), "{architecture:?}: {answer}");
        assert!(number(&answer, "kld_mean") > 0.0, "{architecture:?}: {answer}");
    }
}

#[test]
fn a_split_model_is_measured_as_the_whole_one_is() {
    let room = room();
    write(SmallModel::new(Architecture::Llama), &Vocabulary::bytes(true), room.path(), "m.gguf");
    stdout(
        room.path(),
        &["--quiet", "quantize", "m.gguf", "s.gguf", "--apply", "all=identity", "--split-max-size", "120K"],
    );
    let shards: Vec<String> =
        support::names_in(room.path()).into_iter().filter(|name| name.starts_with("s-")).collect();
    assert!(shards.len() > 2, "{shards:?}");
    let scheme = ["--apply", "attn_q=int4@block32"];
    let whole = eval(room.path(), &[&["m.gguf"], &scheme[..]].concat());
    for shard in &shards {
        let split = eval(room.path(), &[&[shard.as_str()], &scheme[..]].concat());
        assert_eq!((&split["nll_nats"], &split["kld_mean"]), (&whole["nll_nats"], &whole["kld_mean"]), "{shard}");
    }
    // A run on any shard is the whole model's run too, number by number.
    let run = |name: &str| {
        let answer = json(room.path(), &[&["run", "ffn-norm-bf16", name, "--json", "--quiet"], &SMALL[..]].concat());
        let effects = answer["verdicts"].as_array().expect("verdicts").iter();
        effects.map(|verdict| (verdict["verdict"].clone(), verdict["effects"].clone())).collect::<Vec<_>>()
    };
    let whole = run("m.gguf");
    assert!(whole.iter().all(|(verdict, effects)| verdict == "REAL" && effects.is_object()), "{whole:?}");
    assert_eq!(run(&shards[1]), whole);
    std::fs::remove_file(room.path().join(&shards[2])).expect("it is there");
    for command in [&["eval", &shards[0]][..], &["run", "ffn-norm-bf16", &shards[0]]] {
        let said = refused(room.path(), &[command, &SMALL].concat());
        assert!(said.contains(&shards[2]), "{said}");
    }
}

#[test]
fn what_predicts_no_next_token_is_refused_by_name_before_anything_runs() {
    let room = room();
    write(SmallModel::new(Architecture::Bert), &Vocabulary::bytes(true), room.path(), "bert.gguf");
    write(SmallModel::new(Architecture::Projector), &Vocabulary::bytes(true), room.path(), "mmproj.gguf");
    let mut recipe = SmallModel::new(Architecture::Llama).recipe(&Vocabulary::bytes(true));
    recipe.tensors.clear();
    recipe.write(&room.path().join("vocab.gguf"), &GgmlCodec, |_| {}).expect("written");
    for (name, said) in [
        ("bert.gguf", "an embedding model"),
        ("mmproj.gguf", "a multimodal projector"),
        ("vocab.gguf", "a vocabulary without a model"),
    ] {
        for command in [&["eval", name][..], &["run", "ffn-norm-bf16", name]] {
            let found = refused(room.path(), &[command, &SMALL].concat());
            assert!(found.contains(name) && found.contains(said), "{command:?}: {found}");
        }
        // Their files can be looked at all the same.
        assert!(assay(room.path(), &["inspect", name]).status.success(), "{name}");
    }
}

#[test]
fn activations_of_every_architecture_can_be_held_in_a_scheme_and_left_alone_they_change_no_bit() {
    let room = room();
    for architecture in Architecture::CAUSAL {
        write(SmallModel::new(architecture), &Vocabulary::bytes(true), room.path(), "m.gguf");
        let said = refused(
            room.path(),
            &[&["eval", "m.gguf", "--apply", "nowhere[where=activation]=bf16"], &SMALL[..]].concat(),
        );
        assert!(said.contains("no node named \"nowhere\""), "{said}");
        let is_recurrent = architecture == Architecture::Mamba;
        for selector in [
            "token_embd[where=activation]",
            "residual",
            "kv",
            "attn_norm[where=activation]",
            "output_norm[where=activation]",
        ] {
            if selector == "kv" && is_recurrent {
                let args = [&["eval", "m.gguf", "--apply", "kv=int8@row"], &SMALL[..]].concat();
                let said = refused(room.path(), &args);
                assert!(said.contains("no layer of this model has keys and values"), "{said}");
                continue;
            }
            let answer = |scheme: &str| eval(room.path(), &["m.gguf", "--apply", &format!("{selector}={scheme}")]);
            assert_eq!(answer("identity")["logits_changed"], 0, "{architecture:?}: {selector}");
            let coarse = answer("int4@row");
            assert!(number(&coarse, "kld_mean") > 0.0, "{architecture:?}: {selector}: {coarse}");
            let rows = coarse["changed"].as_array().expect("rows");
            assert!(rows.iter().all(|row| row["changed"].as_u64() > Some(0)), "{architecture:?}: {coarse}");
        }
        let traced = eval(room.path(), &["m.gguf", "--apply", "norms[layers=1]=int4@row", "--trace"]);
        let residual = traced["residual"].as_array().expect("rows");
        assert_eq!(residual[0]["rel_rmse"], 0.0, "{architecture:?}: {traced}");
        assert!(number(&residual[1], "rel_rmse") > 0.0, "{architecture:?}: {traced}");
    }
}

#[test]
fn the_native_reference_holds_in_f32_the_use_that_is_edited_and_leaves_the_other_as_shipped() {
    let room = room();
    let small = SmallModel { matrices: gguf::GgmlType::Q8_0, ..SmallModel::new(Architecture::Gemma3) };
    write(small, &Vocabulary::bytes(true), room.path(), "tied.gguf");
    let native = |more: &[&str]| eval(room.path(), &[&["tied.gguf", "--arm", "native"], more].concat());
    let shipped = number(&native(&[]), "ppl");
    // A row that is looked up has the same values in either type; a head multiplies by other kernels.
    assert_eq!(number(&native(&["--apply", "token_embd[use=lookup]=int4@row"]), "ppl_ref"), shipped);
    assert_ne!(number(&native(&["--apply", "output[use=head]=int4@row"]), "ppl_ref"), shipped);
}

/// The experts that each router chooses in a pass, and its scores of all experts: rows of the positions that have logits.
fn choices(engine: &mut LlamaEngine, sequence: Sequence<'_>) -> (Vec<RoutedLayer>, Vec<Vec<[f32; 4]>>) {
    let n_rows = sequence.tokens.len() - sequence.first_output;
    let scores: [Mutex<Vec<f32>>; 3] = Default::default();
    let looks = [0, 1, 2].map(|layer: usize| {
        let scores = &scores;
        move |_: usize, values: &mut [f32], n_expert: usize| {
            assert_eq!(n_expert, 4);
            scores[layer].lock().expect("no panic").extend_from_slice(values);
            Ok(())
        }
    });
    let nodes = [0, 1, 2].map(|layer| format!("ffn_moe_logits-{layer}"));
    let hooks: Vec<Hook<'_>> = nodes.iter().zip(&looks).map(|(node, replace)| Hook { node, replace }).collect();
    let sequences = [sequence];
    let ask = Ask { hooks: &hooks, routing: true, ..Ask::of(&sequences) };
    let seen = engine.pass(&ask, &|_, _| {}).expect("decodes").remove(0);
    // Behind the last attention only the positions that have logits are there.
    let rows = |of: &Mutex<Vec<f32>>| -> Vec<[f32; 4]> {
        let values = of.lock().expect("no panic");
        values[values.len() - 4 * n_rows..].chunks_exact(4).map(|row| row.try_into().expect("four")).collect()
    };
    (seen.routed, scores.iter().map(rows).collect())
}

#[test]
fn routers_choose_the_experts_of_the_highest_scores_and_exchanged_rows_flip_what_they_should() {
    let room = room();
    let path = write(SmallModel::new(Architecture::LlamaExperts), &Vocabulary::bytes(true), room.path(), "m.gguf");
    let mut engine = LlamaEngine::open(&path, &EngineSettings::pinned(1024), 2).expect("loads");
    // More tokens than are computed at once, with logits in both parts.
    let tokens: Vec<Token> = std::iter::once(1).chain((0..699).map(|i| 3 + (i * 37 + 11) % 256)).collect();
    let sequence = Sequence { tokens: &tokens, first_output: 300 };
    let (before, scores) = choices(&mut engine, sequence);
    assert_eq!(before.len(), 3);
    let top = |row: &[f32; 4]| -> BTreeSet<i32> {
        let mut experts = [0, 1, 2, 3];
        experts.sort_by(|&a, &b| row[b as usize].total_cmp(&row[a as usize]));
        experts[..2].iter().copied().collect()
    };
    let sets = |routed: &RoutedLayer| -> Vec<BTreeSet<i32>> {
        routed.experts.chunks_exact(2).map(|row| row.iter().copied().collect()).collect()
    };
    for (layer, (routed, scores)) in before.iter().zip(&scores).enumerate() {
        assert_eq!((routed.layer, routed.n_used, routed.experts.len()), (layer, 2, 2 * 400));
        assert_eq!(sets(routed), scores.iter().map(top).collect::<Vec<_>>(), "layer {layer}");
    }
    let seen = engine.pass(&Ask::of(&[sequence]), &|_, _| {}).expect("decodes");
    assert!(seen[0].routed.is_empty(), "nobody asked");

    // Where exactly one of the first two experts is chosen, the exchange puts the other one in its place.
    let router = "blk.0.ffn_gate_inp.weight";
    let (ty, mut bytes) = engine.read_weight(router, None).expect("reads");
    let n_row = bytes.len() / 4;
    let (first, rest) = bytes.split_at_mut(n_row);
    first.swap_with_slice(&mut rest[..n_row]);
    engine.swap_weight(router, None, &ty, Arc::new(bytes)).expect("swaps");
    let (after, _) = choices(&mut engine, sequence);
    // The last position has logits, but no token to predict.
    let sets = sets(&before[0]);
    let wanted: Vec<u32> = sets[..399].iter().map(|set| u32::from(set.contains(&0) != set.contains(&1))).collect();
    let found = routing::compare(&before, &after, 399, 0).expect("comparable");
    assert_eq!(found[0].changed, wanted);
    let rerouted = |router: &RouterSample| router.changed.iter().any(|&changed| changed > 0);
    assert!(rerouted(&found[0]) && rerouted(&found[2]), "{found:?}");
}

#[test]
fn routing_flips_are_none_for_an_identity_and_begin_at_the_touched_layer_in_either_arm() {
    let room = room();
    write(SmallModel::new(Architecture::LlamaExperts), &Vocabulary::bytes(true), room.path(), "m.gguf");
    write(SmallModel::new(Architecture::Llama), &Vocabulary::bytes(true), room.path(), "dense.gguf");
    let of_layers = |answer: &Value, key: &str| -> Vec<f64> {
        let layers = answer["routing"].as_array().unwrap_or_else(|| panic!("no routers: {answer}"));
        assert!(layers.iter().all(|layer| layer["n"] == 8 * 15 && layer["n_used"] == 2), "{answer}");
        layers.iter().map(|layer| number(layer, key)).collect()
    };
    for arm in ["exact", "native"] {
        let flips = |apply: &str| {
            let answer = eval(room.path(), &["m.gguf", "--arm", arm, "--apply", apply]);
            for key in ["routing_flips", "experts_changed"] {
                let by_layer = of_layers(&answer, key);
                let mean = by_layer.iter().sum::<f64>() / 3.0;
                assert!((number(&answer, key) - mean).abs() < 1e-12, "{apply}: {answer}");
            }
            of_layers(&answer, "routing_flips")
        };
        assert_eq!(flips("weights=identity"), [0.0; 3], "{arm}");
        // A router that finds all experts equal chooses the same ones for every token.
        assert!(flips("router=zero").iter().all(|&share| share > 0.3), "{arm}");
        let late = flips("router[layers=1]=noise(0)");
        assert!(late[0] == 0.0 && late[1] > 0.2 && late[2] > 0.0, "{arm}: {late:?}");
        let head = flips("output=int4@block32");
        assert_eq!(head, [0.0; 3], "{arm}: the head is behind every router");
    }
    let args =
        |model: &'static str, apply: &'static str| [&["eval", model, "--quiet", "--apply", apply], &SMALL[..]].concat();
    let said = stdout(room.path(), &args("m.gguf", "router=zero"));
    assert!(said.contains("routing: 3 routers, other experts for "), "{said}");
    assert!(said.contains("routing flips of each layer, share of tokens:\n   0 "), "{said}");
    let said = stdout(room.path(), &args("m.gguf", "router=identity"));
    let same = "other experts for 0 % ± 0 % of token-layer pairs, 0 % ± 0 % of chosen experts changed\n";
    assert!(said.contains(same) && !said.contains("each layer"), "{said}");
    let dense = eval(room.path(), &["dense.gguf", "--apply", "ffn=int4@block32"]);
    assert!(dense["routing_flips"].is_null() && dense.get("routing").is_none(), "{dense}");
    assert!(!stdout(room.path(), &args("dense.gguf", "ffn=int4@block32")).contains("routing"));
}
