//! Checks of a whole run on a model: its own controls, its folder, and the keys of its cells.

use crate::check::{Area, Check, Tally};
use crate::pipeline::Pipeline;
use crate::session::TextSession;
use eval::EngineSettings;
use lab::plan::cells::ModelKey;
use lab::{Corpus, Plan};
use record::RunRecord;
use record::{Arm, Base, Carried, Carrier, Edit};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// The target of the run: a norm and a matrix in every layer.
const TARGET: &str = r"re:/blk\.[0-9]+\.(ffn_norm|attn_q)\.weight/";
const SCHEME: &str = "int8@row";

/// The plan of a small run.
fn plan(model: &Path, text: &str, n_ctx: u32) -> Result<Plan, String> {
    let corpus = Corpus::new("seeded", text);
    let mut plan = Plan::preset("attention-int8", vec![model.into()], corpus).map_err(|error| error.to_string())?;
    plan.name = "verify".into();
    plan.target = TARGET.parse().map_err(|error| format!("{error}"))?;
    plan.scheme = SCHEME.parse().map_err(|error| format!("{error}"))?;
    plan.settings = EngineSettings::pinned(n_ctx);
    (plan.chunks, plan.layer_chunks, plan.n_threads) = (2, 1, 1);
    Ok(plan)
}

/// The files of a run folder by name that must have the same bytes after equal work.
fn results(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut results = BTreeMap::new();
    for folder in ["", "cells", "samples"] {
        let entries = std::fs::read_dir(dir.join(folder)).into_iter().flatten().flatten();
        for entry in entries.filter(|entry| entry.path().is_file()) {
            let name = format!("{folder}/{}", entry.file_name().to_string_lossy());
            // Times and hosts are the journal's, and stderr is the worker's own.
            if !name.contains("journal") && !name.contains("stderr") && !name.ends_with(".lock") {
                results.insert(name, std::fs::read(entry.path()).unwrap_or_default());
            }
        }
    }
    results
}

/// Makes a check of a run.
fn check(name: &str, compared: &[&str], tally: Tally) -> Check {
    tally.check(Area::Run, name, compared)
}

/// Makes all checks of a run on `model`, in a fixed order. There is one for each control that the run has.
pub fn checks(pipeline: &dyn Pipeline, model: &Path, text: &str, n_ctx: u32, put: &mut dyn FnMut(Check)) {
    put(keys_follow_everything(pipeline));
    put(another_text_has_other_windows(pipeline, model, text, n_ctx));
    let mut ends = Tally::default();
    let (mut again, mut twice) = (Tally::default(), Tally::default());
    match whole_runs(pipeline, model, text, n_ctx, &mut again, &mut twice) {
        Err(why) => ends.could_not(why),
        Ok(record) => {
            for judged in record.models.iter().flat_map(|model| &model.cells) {
                ends.hold(judged.cell.failure.is_none(), || {
                    format!("{} {}: {}", judged.cell.target, judged.cell.scheme, judged.why)
                });
            }
            let mut controls: BTreeMap<String, Tally> = BTreeMap::new();
            for control in record.models.iter().flat_map(|model| &model.controls) {
                let name = format!("run control: {}", control.name);
                controls.entry(name).or_default().hold(control.ok, || control.found.to_string());
            }
            for (name, tally) in controls {
                put(check(&name, &["found", "expected"], tally));
            }
        }
    }
    put(check("a run measures every cell", &["cells", "plan"], ends));
    put(check("a finished run is read again as it was", &["again", "at first"], again));
    put(check("two runs give the same bytes", &["one folder", "another"], twice));
}

/// Runs one plan in two folders and once more in the first, and compares what the folders and the records say.
fn whole_runs(
    pipeline: &dyn Pipeline,
    model: &Path,
    text: &str,
    n_ctx: u32,
    again: &mut Tally,
    twice: &mut Tally,
) -> Result<RunRecord, String> {
    let plan = plan(model, text, n_ctx)?;
    // The engine is asked for its build alone, which the plan's lock records.
    let engine = pipeline.open_engine(model, &plan.settings, 1).map_err(|error| error.to_string())?;
    let build = engine.info().build.clone();
    drop(engine);
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let (one, other) = (folder.path().join("one"), folder.path().join("other"));
    let first = pipeline.run(&plan, &build, &one).map_err(|error| error.to_string());
    let second = pipeline.run(&plan, &build, &other);
    let in_other = results(&other);
    twice.hold(second.is_ok() == first.is_ok(), || "one of two equal runs failed".into());
    for (name, bytes) in results(&one) {
        twice.hold(in_other.get(&name) == Some(&bytes), || format!("the bytes of {name} differ in another folder"));
    }
    let first = first?;
    match pipeline.run(&plan, &build, &one) {
        Ok(record) => again.hold(record == first, || "the record differs".into()),
        Err(error) => again.could_not(error),
    }
    Ok(first)
}

/// Checks that a cell's key changes with each of the things that determine its numbers.
fn keys_follow_everything(pipeline: &dyn Pipeline) -> Check {
    let settings = EngineSettings::pinned(64);
    let other_settings = EngineSettings { flash_attn: false, ..settings.clone() };
    let chunks = |text: &str| vec![format!("{text} 0"), format!("{text} 1")];
    let (text, other_text) = (chunks("text"), chunks("other"));
    let model = ModelKey { file_blake3: "file", engine_build: "build", settings: &settings, chunk_blake3: &text };
    let base = Base { arm: Arm::Exact, carried: Vec::new() };
    let edit = Edit::of_weight("blk.0.ffn_norm.weight", "bf16", Carrier::F32);
    let edits = |edit: Edit| vec![edit];
    let key = |model: &ModelKey<'_>, base: &Base, edits: &[Edit], n: usize| {
        pipeline.cell_key(model, base, edits, &(0..n).collect::<Vec<_>>())
    };
    let this = edits(edit.clone());
    let first = key(&model, &base, &this, 2);
    let native = Base { arm: Arm::Native, carried: Vec::new() };
    let carried = Base { arm: Arm::Exact, carried: vec![Carried::Whole("output.weight".into())] };
    let others = [
        ("the file", key(&ModelKey { file_blake3: "other", ..model }, &base, &this, 2)),
        ("the engine", key(&ModelKey { engine_build: "other", ..model }, &base, &this, 2)),
        ("the settings", key(&ModelKey { settings: &other_settings, ..model }, &base, &this, 2)),
        ("the text", key(&ModelKey { chunk_blake3: &other_text, ..model }, &base, &this, 2)),
        ("the arm", key(&model, &native, &this, 2)),
        ("what the reference carries", key(&model, &carried, &this, 2)),
        ("the scheme", key(&model, &base, &edits(Edit { scheme: "f16".into(), ..edit.clone() }), 2)),
        ("the tensor", key(&model, &base, &edits(Edit { tensor: "output_norm.weight".into(), ..edit.clone() }), 2)),
        ("the carrier", key(&model, &base, &edits(Edit { carrier: Carrier::Keep, ..edit.clone() }), 2)),
        ("the windows", key(&model, &base, &this, 1)),
    ];
    let mut tally = Tally::default();
    tally.hold(key(&model, &base, &this, 2) == first, || "the same cell has two keys".into());
    let mut seen = BTreeSet::from([first]);
    for (what, key) in others {
        tally.hold(seen.insert(key), || format!("{what} changed, but the key did not"));
    }
    check("a key follows everything that determines a number", &["keys", "what was changed"], tally)
}

/// Checks that the hashes that name the windows of a text in keys and locks differ for another text.
fn another_text_has_other_windows(pipeline: &dyn Pipeline, model: &Path, text: &str, n_ctx: u32) -> Check {
    let mut tally = Tally::default();
    let other: String = text.chars().rev().collect();
    let settings = EngineSettings::pinned(n_ctx);
    let windows = |text: &str| {
        TextSession::open(pipeline.workers(), model, &settings, 1, text).map(|session| session.chunk_blake3)
    };
    match (windows(text), windows(&other)) {
        (Ok(one), Ok(two)) => {
            let one: BTreeSet<String> = one.into_iter().collect();
            tally.hold(!one.is_empty() && two.iter().all(|hash| !one.contains(hash)), || {
                "windows of two texts have the same hash".into()
            });
        }
        (Err(why), _) | (_, Err(why)) => tally.could_not(why),
    }
    check("windows of another text have other hashes", &["one text", "another"], tally)
}
