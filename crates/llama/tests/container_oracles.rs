//! What is accepted, and what refused, by three readers of the container: ours, llama.cpp's, and the crate gguf-rs-lib's.
//!
//! Each of the other two reads each file in a process of its own, which may abort or hang. docs/container-oracles.md lists
//! where the three do not agree; it is written by
//! `ASSAY_UPDATE_DOCS=1 cargo test --release --workspace --test container_oracles`.

#[path = "../../gguf/tests/malformed/cases.rs"]
#[allow(dead_code, reason = "what is said about each is the reader's own test")]
mod cases;
#[path = "../../gguf/tests/malformed/sound.rs"]
mod sound;
#[path = "../../gguf/tests/support/mod.rs"]
mod support;

use gguf::GgufFile;
use llama_cpp_sys_2 as sys;
use std::collections::BTreeSet;
use std::ffi::CString;
use std::fmt::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A file that takes longer hangs; the others take a hundredth of it.
const TIMEOUT: Duration = Duration::from_secs(20);
/// Which reader a child is, and of which file.
const READER: &str = "ASSAY_ORACLE_READER";
const FILE: &str = "ASSAY_ORACLE_FILE";
/// Exit codes of a child that no other way of ending has.
const ACCEPTED: i32 = 40;
const REFUSED: i32 = 41;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Accepted,
    Refused,
    Crashed,
    Hung,
}

impl Outcome {
    fn of<T, E>(result: &Result<T, E>) -> Outcome {
        if result.is_ok() { Outcome::Accepted } else { Outcome::Refused }
    }

    fn word(self) -> &'static str {
        match self {
            Outcome::Accepted => "accepted",
            Outcome::Refused => "refused",
            Outcome::Crashed => "**crashed**",
            Outcome::Hung => "**hung**",
        }
    }
}

/// Files that we open and llama.cpp's reader does not, each with the reason. Nothing else may be added without one.
const OPENED_BY_US_ALONE: &[(&str, &str)] = &[
    (
        "no padding behind the last tensor",
        "nothing is missing but padding, which the specification asks for and other writers leave out. llama.cpp misses it \
         only when it reads the data along with the header; its model loader does not",
    ),
    ("a gap between two tensors", GAPS),
    ("a gap before the first tensor", GAPS),
    ("data in another order than the infos", GAPS),
    (
        "a tensor of no values, and nothing behind the header",
        "as above: what llama.cpp misses is padding in front of no data",
    ),
    ("an array of arrays", "the specification allows them; they are shown, and kept byte for byte"),
];

const GAPS: &str = "every offset is aligned, in the file and of bytes that are no other tensor's, which is all that the \
    specification asks for. Such a file can be inspected, counted, compared and written again, which closes the gaps; to run \
    it, write it again first";

/// Header and tensor data through llama.cpp's reader.
fn read_by_llama_cpp(path: &Path) -> bool {
    let Ok(path) = CString::new(path.as_os_str().as_bytes()) else { return false };
    let mut context = std::ptr::null_mut();
    let params = sys::gguf_init_params { no_alloc: false, ctx: &raw mut context };
    // SAFETY: `path` is a C string and `context` outlives the call; both results are freed by the end of this process.
    let file = unsafe { sys::gguf_init_from_file(path.as_ptr(), params) };
    !file.is_null()
}

/// Header and tensor data through gguf-rs-lib.
fn read_by_gguf_rs_lib(path: &Path) -> bool {
    let read = || -> Result<(), Box<dyn std::error::Error>> {
        let mut reader = gguf_rs_lib::reader::file_reader::open_gguf_file(path)?;
        reader.load_all_tensor_data()?;
        Ok(())
    };
    read().is_ok()
}

/// Not a test: what the others do, each time in a process of its own.
#[test]
fn one_file_in_a_process_of_its_own() {
    let (Some(reader), Some(path)) = (std::env::var_os(READER), std::env::var_os(FILE)) else { return };
    let accepted = match reader.to_str() {
        Some("llama.cpp") => read_by_llama_cpp(path.as_ref()),
        _ => read_by_gguf_rs_lib(path.as_ref()),
    };
    std::process::exit(if accepted { ACCEPTED } else { REFUSED });
}

fn in_a_child(reader: &str, path: &Path) -> Outcome {
    let this = std::env::current_exe().expect("this program");
    let mut child = Command::new(this)
        .args(["--exact", "one_file_in_a_process_of_its_own"])
        .envs([(READER, reader.as_ref()), (FILE, path.as_os_str())])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("this program again");
    let begun = Instant::now();
    loop {
        match child.try_wait().expect("a child") {
            Some(status) => {
                return match status.code() {
                    Some(ACCEPTED) => Outcome::Accepted,
                    Some(REFUSED) => Outcome::Refused,
                    _ => Outcome::Crashed,
                };
            }
            None if begun.elapsed() > TIMEOUT => {
                child.kill().expect("a child");
                child.wait().expect("a child");
                return Outcome::Hung;
            }
            None => std::thread::sleep(Duration::from_millis(2)),
        }
    }
}

struct Row {
    name: String,
    ours: Outcome,
    llama_cpp: Outcome,
    gguf_rs_lib: Outcome,
}

fn rows() -> Vec<Row> {
    let malformed = cases::malformed().into_iter().map(|case| (case.name, case.bytes));
    let sound = sound::sound().into_iter().map(|(name, bytes)| (name, bytes.0));
    let row = |(name, bytes): (String, Vec<u8>)| {
        let (_folder, path) = support::file(&bytes);
        Row {
            name,
            ours: Outcome::of(&GgufFile::open(&path)),
            llama_cpp: in_a_child("llama.cpp", &path),
            gguf_rs_lib: in_a_child("gguf-rs-lib", &path),
        }
    };
    malformed.chain(sound).map(row).collect()
}

fn page(rows: &[Row]) -> String {
    let mut out = String::from(
        "# What other readers make of the same files\n\n\
         Written by `ASSAY_UPDATE_DOCS=1 cargo test --release --workspace --test container_oracles`, which also checks it.\n\n\
         The files are those of the two tables in `crates/gguf/tests/malformed`: damaged ones, which assay must refuse, and\n\
         unusual ones, which it must open. llama.cpp is its C API (`gguf_init_from_file` with the tensor data), gguf-rs-lib the\n\
         crate of that name; each reads each file in a process of its own.\n\n\
         | reader | accepted | refused | crashed | hung |\n|---|--:|--:|--:|--:|\n",
    );
    type Column = (&'static str, fn(&Row) -> Outcome);
    let columns: [Column; 3] =
        [("assay", |row| row.ours), ("llama.cpp", |row| row.llama_cpp), ("gguf-rs-lib", |row| row.gguf_rs_lib)];
    // Writing to a String cannot fail.
    for (name, of) in columns {
        let count = |outcome| rows.iter().filter(|row| of(row) == outcome).count();
        let counts = [Outcome::Accepted, Outcome::Refused, Outcome::Crashed, Outcome::Hung].map(count);
        let [accepted, refused, crashed, hung] = counts;
        let _ = writeln!(out, "| {name} | {accepted} | {refused} | {crashed} | {hung} |");
    }
    out.push_str("\n## Opened by assay, refused by llama.cpp\n\n");
    for (name, why) in OPENED_BY_US_ALONE {
        let _ = writeln!(out, "- {name}: {why}");
    }
    out.push_str("\n## Every file on which one of the others differs from assay\n\n");
    out.push_str("| file | assay | llama.cpp | gguf-rs-lib |\n|---|---|---|---|\n");
    for row in rows.iter().filter(|row| row.ours != row.llama_cpp || row.ours != row.gguf_rs_lib) {
        let words = [row.ours, row.llama_cpp, row.gguf_rs_lib].map(Outcome::word).join(" | ");
        let _ = writeln!(out, "| {} | {words} |", row.name);
    }
    out
}

#[test]
fn what_we_open_llama_cpp_opens_too_but_for_a_list_with_reasons() {
    let rows = rows();
    let names: BTreeSet<&str> = rows.iter().map(|row| row.name.as_str()).collect();
    assert_eq!(names.len(), rows.len(), "two files of one name");
    let alone: Vec<&str> = rows
        .iter()
        .filter(|row| row.ours == Outcome::Accepted && row.llama_cpp != Outcome::Accepted)
        .map(|row| row.name.as_str())
        .collect();
    let page = page(&rows);
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/container-oracles.md");
    if std::env::var_os("ASSAY_UPDATE_DOCS").is_some() {
        std::fs::write(path, &page).expect("the page");
    }
    let known: Vec<&str> = OPENED_BY_US_ALONE.iter().map(|(name, _)| *name).collect();
    assert_eq!(alone, known, "opened by us alone, and what is known of it");
    let found = std::fs::read_to_string(path).unwrap_or_default();
    assert!(found == page, "docs/container-oracles.md is not what was found: see the head of this file");
}
