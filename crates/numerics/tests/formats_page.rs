//! docs/formats.md is what the tables say, and every row of the table is a scheme that can be used.

use numerics::formats::{self, FORMATS};
use numerics::{CodebookTable, FileContents, Format, PlainCodec, Scheme, TensorContext};
use std::sync::Arc;

#[test]
fn the_page_on_formats_is_current() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/formats.md");
    let page = formats::page();
    if std::env::var_os("ASSAY_UPDATE_DOCS").is_some() {
        std::fs::write(path, &page).unwrap();
    }
    let found = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        found == page,
        "docs/formats.md is not what the tables say: ASSAY_UPDATE_DOCS=1 cargo test -p assay-numerics --test formats_page"
    );
}

#[test]
fn every_rows_example_parses_prints_back_and_quantizes_and_each_of_its_options_is_read() {
    for f in FORMATS {
        let scheme: Scheme = f.example.parse().unwrap_or_else(|e| panic!("{}: {e}", f.name));
        assert_eq!(scheme.to_string(), f.example);
        let from_a_file = f.example.ends_with("=FILE");
        assert!(from_a_file || f.example_bits().is_some_and(|bits| (0.0..=32.0).contains(&bits)), "{}", f.name);
        let contents = || FileContents::Table(Arc::new(CodebookTable::parse("-1 -0.3 0 0.3 1").unwrap()));
        let scheme = if from_a_file { scheme.with_contents("00", contents()) } else { scheme };
        if scheme.ggml_format().is_none() {
            let mut values: Vec<f32> = (0..96).map(|i| (i as f32 * 0.7).sin()).collect();
            let ctx = TensorContext { name: "t", n_per_row: 48 };
            scheme.fake_quantize(&mut values, &ctx, &PlainCodec).unwrap();
            let unchanged = matches!(scheme.format(), Format::Identity);
            assert!(unchanged || values[1] != 0.7f32.sin(), "{}: nothing happened", f.name);
        }
        for option in f.options() {
            let given = option
                .replace("SEED", "2")
                .replace("bias=N", "bias=4")
                .replace("=N", "=2")
                .replace("FORMAT", "f16")
                .replace("RANGE", "mse");
            let example = f.example.strip_suffix(&format!(":{given}")).unwrap_or(f.example);
            let with = |granularity: &str| format!("{example}{granularity}:{given}").parse::<Scheme>();
            assert!(with("").or_else(|_| with("@row")).is_ok(), "{}: {given}", f.name);
        }
    }
}
