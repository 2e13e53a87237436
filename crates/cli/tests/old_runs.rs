//! Run folders of earlier programs: `status` and `report` read them, and `run` does not go on with them.
//!
//! `old-run-1`, `old-run-3` and `old-run-4` were written by programs of these formats of the folder, with
//! `run embedding-4bit MODEL --ctx 32 --chunks 2`. The last one's model is a mixture of experts.

mod support;

use numerics::PlainCodec;
use std::path::{Path, PathBuf};
use support::{json, names_in, refused, stdout, text};
use synth::{Architecture, SmallModel, Vocabulary};

const FORMATS: [u32; 3] = [1, 3, 4];

/// A folder with a copy of the old run of that format in `run`.
fn copied(format: u32) -> tempfile::TempDir {
    fn copy(from: &Path, to: &Path) {
        std::fs::create_dir_all(to).expect("a folder");
        for name in names_in(from) {
            let (from, to) = (from.join(&name), to.join(&name));
            match from.is_dir() {
                true => copy(&from, &to),
                false => drop(std::fs::copy(&from, &to).expect("copies")),
            }
        }
    }
    let tests: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../record/tests");
    let folder = tempfile::tempdir().expect("a temporary folder");
    copy(&tests.join(format!("old-run-{format}")), &folder.path().join("run"));
    folder
}

#[test]
fn an_old_run_has_a_status_and_a_report() {
    for format in FORMATS {
        let room = copied(format);
        let status = json(room.path(), &["status", "run", "--json"]);
        assert_eq!((&status["finished"], &status["controls_ok"]), (&true.into(), &true.into()), "format {format}");
        assert_eq!(status["failed"].as_array().map(Vec::len), Some(0), "format {format}: {status}");
        let said = stdout(room.path(), &["report", "run"]);
        assert!(said.contains("report.md"), "format {format}: {said}");
        let report = std::fs::read_to_string(room.path().join("run/report/report.md")).expect("a report");
        assert!(report.contains("embedding-4bit"), "format {format}");
    }
}

#[test]
fn an_old_run_is_called_older_before_anything_is_said_of_its_question() {
    for format in FORMATS {
        let room = copied(format);
        let model = SmallModel::new(Architecture::Llama);
        let recipe = model.recipe(&Vocabulary::bytes(true));
        recipe.write(&room.path().join("m.gguf"), &PlainCodec, |_| {}).expect("a file");
        std::fs::write(room.path().join("t.txt"), text(600)).expect("a file");
        let args =
            ["run", "embedding-4bit", "m.gguf", "--text", "t.txt", "--ctx", "32", "--chunks", "2", "--out", "run"];
        let said = refused(room.path(), &args);
        assert!(said.contains(&format!("written by an older assay: format {format}, this program needs")), "{said}");
    }
}

#[test]
fn an_old_run_with_a_changed_digit_is_refused_where_its_lines_have_hashes() {
    for format in [3, 4] {
        let room = copied(format);
        let samples = room.path().join("run/samples");
        let name = names_in(&samples).remove(0);
        let text = std::fs::read_to_string(samples.join(&name)).expect("text");
        let changed = text.replacen("0.0", "0.5", 1);
        assert_ne!(changed, text);
        std::fs::write(samples.join(&name), changed).expect("writes");
        let said = refused(room.path(), &["report", "run"]);
        assert!(said.contains(&format!("samples/{name}: line ")), "format {format}: {said}");
        let status = json(room.path(), &["status", "run", "--json"]);
        assert_eq!(status["failed"].as_array().map(Vec::len), Some(1), "format {format}: {status}");
    }
}
