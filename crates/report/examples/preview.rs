//! Writes the reports of the tests' example run into a folder, for looking at:
//! `cargo run -p assay-report --example preview -- DIR`.

#[path = "../tests/fixture/mod.rs"]
mod fixture;

use std::path::PathBuf;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = PathBuf::from(std::env::args_os().nth(1).ok_or("which folder?\nhint: preview DIR")?);
    let large = fixture::record(vec![
        fixture::no_op("SmolLM2-135M-Instruct.Q4_1.gguf", 30),
        fixture::below_floor("gemma-3-270m-q4_k_m.gguf", 18),
    ]);
    for (name, record) in [("small", fixture::two_models()), ("large", large), ("withheld", fixture::withheld())] {
        report::write(&record, &dir.join(name))?;
    }
    Ok(())
}
