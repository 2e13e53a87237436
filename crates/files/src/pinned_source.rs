//! The source text of the pinned engine, for tests that compare tables with it.
//!
//! Cargo has it at hand, because the engine is built from it. A test that does not find it fails.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

/// The text of a file of llama.cpp, as the pinned crate vendors it. `path` begins in llama.cpp's own folder.
pub(crate) fn pinned_source(path: &str) -> String {
    let file = llama_cpp().join(path);
    std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// The text of a function of the pinned engine, from `signature` to the brace that closes it at the start of a line.
pub(crate) fn pinned_function(path: &str, signature: &str) -> String {
    let source = pinned_source(path);
    let start = source.find(signature).unwrap_or_else(|| panic!("{path} has no {signature}"));
    let end = source[start..].find("\n}").unwrap_or_else(|| panic!("{signature} has no end"));
    source[start..start + end + 2].to_owned()
}

fn llama_cpp() -> &'static PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let output = Command::new(cargo)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .args(["metadata", "--format-version", "1", "--locked", "--offline"])
            // Packages of other systems need not be there.
            .args(["--filter-platform", &format!("{}-unknown-linux-gnu", std::env::consts::ARCH)])
            .output()
            .expect("cargo starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON of cargo");
        let packages = metadata["packages"].as_array().expect("packages");
        let pinned = packages.iter().find(|package| package["name"] == "llama-cpp-sys-2").expect("the pinned engine");
        let manifest = PathBuf::from(pinned["manifest_path"].as_str().expect("a path"));
        manifest.parent().expect("a folder").join("llama.cpp")
    })
}
