//! `assay verify` through the binary.

mod support;

use llama::GgmlCodec;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::Duration;
use support::{TinyModel, assay, json, names_in, refused, text};
use synth::{Architecture, SmallModel, Vocabulary};

/// The name of a file that appears when something of the current folder was run.
const MARKER: &str = "was-run";

/// The output of `assay` with arguments that keep one core busy for half a minute: more time than other commands get.
fn patiently(folder: &Path, command: &mut assert_cmd::Command, arguments: &[&str]) -> std::process::Output {
    let command = command.current_dir(folder).args(arguments).timeout(Duration::from_secs(900));
    command.output().expect("assay starts")
}

fn program() -> assert_cmd::Command {
    assert_cmd::Command::new(env!("CARGO_BIN_EXE_assay"))
}

/// What `assay verify` found, and the names of the files that then were there, in a folder whose own Python and packages
/// leave [`MARKER`], with the folder in PATH.
static KNOWN_ANSWERS: LazyLock<(Value, Vec<String>)> = LazyLock::new(|| {
    let folder = tempfile::tempdir().expect("a folder");
    let trap = |name: &str, text: &str| {
        let file = folder.path().join(name);
        std::fs::create_dir_all(file.parent().expect("a folder")).expect("a folder");
        std::fs::write(&file, text).expect("a file");
        std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("its mode");
    };
    for program in [".tools/bin/python", ".tools/bin/python3", "python", "python3"] {
        trap(program, &format!("#!/bin/sh\n: > '{}'\n", folder.path().join(MARKER).display()));
    }
    for module in ["numpy", "ml_dtypes", "gguf", "sitecustomize"] {
        trap(&format!("{module}.py"), &format!("open({MARKER:?}, 'w')\n"));
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let relative = ["", ".", ".tools/bin"].map(PathBuf::from);
    let path = std::env::join_paths(relative.into_iter().chain(std::env::split_paths(&path))).expect("a PATH");
    let output = patiently(folder.path(), program().env("PATH", path).env("PYTHONPATH", "."), &["verify", "--json"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    (serde_json::from_slice(&output.stdout).expect("JSON"), names_in(folder.path()))
});

#[test]
fn this_build_computes_what_it_says_on_this_machine() {
    let (report, _) = &*KNOWN_ANSWERS;
    let checks = report["checks"].as_array().expect("a list");
    let names = |status: &str| -> Vec<&str> {
        let of_status = checks.iter().filter(|check| check["status"] == status);
        of_status.filter_map(|check| check["name"].as_str()).collect()
    };
    assert_eq!(names("failed"), Vec::<&str>::new());
    // Nothing but gguf-py has the grids of these types a second time.
    let of_gguf_py = |check: &Value| check["compared"].to_string().contains("\"gguf ");
    let wanted: Vec<String> = match checks.iter().any(of_gguf_py) {
        true => Vec::new(),
        false => {
            let types = numerics::ggml::GGML_FORMATS.iter().map(|format| format.name);
            let grids = types.filter(|ty| ["iq1_", "iq2_", "iq3_"].iter().any(|family| ty.starts_with(family)));
            grids.map(|ty| format!("ggml {ty}: restored")).collect()
        }
    };
    assert_eq!(names("skipped"), wanted);
    let n = |status: &str| report[status].as_u64().map(|n| n as usize);
    assert_eq!((n("passed"), n("failed"), n("skipped")), (Some(names("passed").len()), Some(0), Some(wanted.len())));
    assert_eq!(checks.len(), names("passed").len() + wanted.len());
    let canary =
        checks.iter().find(|check| check["name"] == "canary: ggml's quantizers, fused or not").expect("a canary");
    assert!(
        canary["detail"]
            .as_str()
            .is_some_and(|detail| detail.starts_with("rounded twice") || detail.starts_with("fused"))
    );
    for check in checks {
        let compared =
            check["compared"].as_array().map_or(0, Vec::len) + check["not_compared"].as_array().map_or(0, Vec::len);
        assert!(compared >= 2, "{check}");
    }
}

#[test]
fn nothing_of_the_current_folder_runs_unasked() {
    let (_, files) = &*KNOWN_ANSWERS;
    assert!(files.iter().any(|name| name == "numpy.py") && !files.iter().any(|name| name == MARKER), "{files:?}");
}

#[test]
fn the_engines_process_sees_to_its_own_environment() {
    let folder = tempfile::tempdir().expect("a folder");
    TinyModel { ffn_norm_is_bf16: false, tokenizer: true }.write(folder.path(), "tiny.gguf");
    std::fs::write(folder.path().join("text.txt"), text(400)).expect("a text");
    let (name, value) = llama::GRAPHS_BUILT_ANEW;
    let said = |variable: Option<&str>, arguments: &[&str]| {
        let mut command = program();
        match variable {
            Some(variable) => command.env(name, variable),
            None => command.env_remove(name),
        };
        let output = patiently(folder.path(), &mut command, arguments);
        assert!(output.status.success(), "{variable:?}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice::<Value>(&output.stdout).expect("JSON")
    };
    let eval = ["eval", "tiny.gguf", "--text", "text.txt", "--ctx", "64", "--chunks", "2", "--json", "--apply"];
    let eval = [&eval[..], &["weights=int4@block32"]].concat();
    let as_asked = said(Some(value), &eval);
    assert!(as_asked["kld_mean"].as_f64().is_some_and(|kld| kld > 0.0), "{as_asked}");
    for other in [None, Some("0")] {
        assert_eq!(said(other, &eval), as_asked, "{other:?}");
    }
    let report = said(None, &["verify", "tiny.gguf", "--text", "text.txt", "--ctx", "64", "--json"]);
    assert_eq!(report["failed"].as_u64(), Some(0), "{report}");
}

#[test]
fn what_the_system_denies_is_said_and_nothing_is_called_wrong() {
    let folder = tempfile::tempdir().expect("a folder");
    TinyModel { ffn_norm_is_bf16: false, tokenizer: true }.write(folder.path(), "tiny.gguf");
    let under = |limit: &str| {
        let script = format!("ulimit {limit}; exec '{}' verify tiny.gguf --ctx 64", env!("CARGO_BIN_EXE_assay"));
        let mut command = assert_cmd::Command::new("sh");
        let output = patiently(folder.path(), &mut command, &["-c", &script]);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let (code, said, error) = under("-n 8");
    assert_eq!(code, Some(4), "{said}{error}");
    assert!(error.contains("the system denies what the work needs: Too many open files"), "{error}");
    assert!(error.contains("hint: raise the limit on open files (ulimit -n)"), "{error}");
    // With too little memory, threads and contexts are refused, or the engine aborts; nothing disagrees.
    let (code, said, error) = under("-v 60000");
    assert_eq!(code, Some(4), "{said}{error}");
    assert!(!said.contains("FAIL") && !said.contains("disagree"), "{said}");
    assert!(said.contains("not checked") || !error.is_empty(), "{said}");
}

#[test]
fn a_python_that_cannot_answer_is_refused_and_a_stranger_is_no_argument() {
    let folder = tempfile::tempdir().expect("a folder");
    let said = refused(folder.path(), &["verify", "--python", "/bin/true"]);
    assert!(said.contains("--python: /bin/true is not a Python with numpy, ml_dtypes and gguf"), "{said}");
    assert_eq!(assay(folder.path(), &["verify", "--pithon", "x"]).status.code(), Some(2));
}

#[test]
fn a_model_with_weights_that_are_not_finite_is_refused_and_no_check_is_called_failed() {
    let folder = tempfile::tempdir().expect("a folder");
    TinyModel { ffn_norm_is_bf16: false, tokenizer: true }.write(folder.path(), "nan.gguf");
    let path = folder.path().join("nan.gguf");
    let mut bytes = std::fs::read(&path).expect("a model");
    // The file ends in the values of its last norm.
    let end = bytes.len();
    bytes[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    std::fs::write(&path, bytes).expect("writes");
    let said = refused(folder.path(), &["verify", "nan.gguf"]);
    assert!(said.contains("is NaN, wanted finite values") && said.contains("hint: `assay census FILE`"), "{said}");
}

#[test]
fn a_models_own_tensors_and_measurements_hold_by_every_implementation() {
    let folder = tempfile::tempdir().expect("a folder");
    TinyModel { ffn_norm_is_bf16: false, tokenizer: true }.write(folder.path(), "tiny.gguf");
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.tools/bin/python");
    let python = proof::Python::start(&python).is_ok().then(|| python.to_str().expect("UTF-8").to_owned());
    let mut arguments = vec!["verify", "tiny.gguf", "--ctx", "64", "--json"];
    arguments.extend(python.iter().flat_map(|python| ["--python", python]));
    let report = json(folder.path(), &arguments);
    assert_eq!(report["failed"].as_u64(), Some(0), "{report}");
    // Embedding, norms and seven matrices of a layer, the last norm.
    let own = |name: &str| {
        let checks = report["checks"].as_array().expect("a list");
        checks.iter().find(|check| check["name"] == format!("tiny.gguf: own values {name}")).expect(name)
    };
    for (name, third) in [
        ("in int8@row", "ml_dtypes"),
        ("in int4@block32", "ml_dtypes"),
        ("in fp8_e4m3@row", "ml_dtypes"),
        ("quantized to q4_0", "gguf"),
        ("quantized to q8_0", "gguf"),
        ("quantized to mxfp4", "gguf"),
    ] {
        let (check, compared) = (own(name), own(name)["compared"].to_string());
        let tensors = check["detail"].as_str().and_then(|detail| detail.split(' ').next()?.parse::<usize>().ok());
        assert!(check["status"] == "passed" && tensors.is_some_and(|n| n >= 10), "{check}");
        assert_eq!(compared.contains(&format!("\"{third} ")), python.is_some(), "{check}");
    }
    assert!(!own("in nf4")["compared"].to_string().contains("ml_dtypes"));
    let names: Vec<&str> =
        report["checks"].as_array().expect("a list").iter().filter_map(|check| check["name"].as_str()).collect();
    for name in
        ["a swapped tensor equals a written file", "scores equal brute force over the logits", "identity is bit-equal"]
    {
        assert!(names.contains(&format!("tiny.gguf: {name}").as_str()), "{names:?}");
    }
    TinyModel { ffn_norm_is_bf16: false, tokenizer: false }.write(folder.path(), "dumb.gguf");
    refused(folder.path(), &["verify", "dumb.gguf"]);
}

#[test]
fn the_checks_hold_on_every_kind_of_architecture() {
    let folder = tempfile::tempdir().expect("a folder");
    // Two of them share the engine's name.
    let file = |architecture: Architecture| format!("{architecture:?}.gguf").to_lowercase();
    for architecture in Architecture::CAUSAL {
        let small = SmallModel { matrices: gguf::GgmlType::Q8_0, ..SmallModel::new(architecture) };
        let recipe = small.recipe(&Vocabulary::bytes(true));
        recipe.write(&folder.path().join(file(architecture)), &GgmlCodec, |_| {}).expect("written");
    }
    let models = Architecture::CAUSAL.map(file);
    let models: Vec<&str> = models.iter().map(String::as_str).collect();
    let arguments = [&["verify", "--ctx", "64", "--json"], &models[..]].concat();
    let output = patiently(folder.path(), &mut program(), &arguments);
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let failed = |check: &&Value| check["status"] == "failed";
    assert_eq!(report["checks"].as_array().expect("a list").iter().find(failed), None);
    let skipped = |check: &&Value| check["status"] == "skipped";
    let checks = report["checks"].as_array().expect("a list");
    let skipped: Vec<&str> = checks.iter().filter(skipped).filter_map(|check| check["name"].as_str()).collect();
    // Gemma scales what it embeds, and a state space is more than its hidden states.
    let wanted = [
        "gemma3.gguf: a hook at embedded tokens equals their table in that scheme",
        "mamba.gguf: a reused prefix gives the bits of a full pass",
    ];
    assert_eq!(skipped, wanted);
}

#[cfg(feature = "mutate")]
#[test]
fn every_planted_fault_is_caught_by_a_named_check_and_the_page_has_the_table() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = patiently(folder.path(), &mut program(), &["verify", "--mutate", "--json"]);
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((report["passed"].as_u64(), report["failed"].as_u64()), (Some(1), Some(0)), "{}", report["checks"]);
    let mutants: Vec<proof_mutate::Mutant> = serde_json::from_value(report["mutants"].clone()).expect("mutants");
    assert!(mutants.len() >= 30 && mutants.iter().all(|mutant| !mutant.caught_by.is_empty()));
    let written = include_str!("../../../docs/verify.md");
    let table = proof_mutate::page(&mutants);
    assert!(written.ends_with(&table), "docs/verify.md has another catch table; this is the one:\n{table}");
}

#[cfg(not(feature = "mutate"))]
#[test]
fn a_build_without_planted_faults_says_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let said = refused(folder.path(), &["verify", "--mutate"]);
    assert!(said.contains("this build of assay has no planted faults"), "{said}");
    let help = support::stdout(folder.path(), &["verify", "--help"]);
    assert!(!help.contains("--mutate"), "{help}");
}

#[test]
#[cfg(all(target_os = "linux", feature = "mutate"))]
fn the_process_with_the_engine_ends_with_the_one_that_started_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut assay = std::process::Command::new(env!("CARGO_BIN_EXE_assay"))
        .current_dir(folder.path())
        // Work for more than a minute.
        .args(["verify", "--mutate", "--quiet"])
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("assay starts");
    let patience = std::time::Instant::now() + Duration::from_secs(60);
    let nap = || std::thread::sleep(Duration::from_millis(50));
    let child = loop {
        assert!(std::time::Instant::now() < patience, "no process with an engine was started");
        match support::children_of(assay.id()).first() {
            Some(child) => break *child,
            None => nap(),
        }
    };
    // Time to begin with an engine.
    std::thread::sleep(Duration::from_secs(1));
    assay.kill().expect("it is there");
    assay.wait().expect("it ended");
    // A process that has ended and that nobody waits for is a zombie where no init reaps it.
    let lives = || {
        let stat = std::fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
        stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with(['Z', 'X']))
    };
    let patience = std::time::Instant::now() + Duration::from_secs(10);
    while lives() {
        assert!(std::time::Instant::now() < patience, "the process with the engine outlives its parent");
        nap();
    }
}
