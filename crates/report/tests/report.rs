//! Reports of a run that a reader would meet: what is said, what is held back, and what stays inert.

mod fixture;

use record::RunRecord;
use report::{content, csv, html, markdown};
use std::collections::BTreeMap;
use std::path::Path;
use words::Advice;

fn page(record: &RunRecord) -> String {
    html::render(&content::document(record)).expect("the template renders")
}

fn text(record: &RunRecord) -> String {
    markdown::render(&content::document(record))
}

/// Every file under `dir` by relative path.
fn files(dir: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut todo = vec![dir.to_path_buf()];
    while let Some(next) = todo.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                todo.push(path);
            } else {
                let name = path.strip_prefix(dir).unwrap().to_str().unwrap().to_string();
                found.insert(name, std::fs::read_to_string(&path).unwrap());
            }
        }
    }
    found
}

#[test]
fn the_markdown_of_two_models_reads_as_it_did() {
    insta::assert_snapshot!(text(&fixture::two_models()));
}

#[test]
fn the_markdown_of_a_withheld_run_reads_as_it_did() {
    insta::assert_snapshot!(text(&fixture::withheld()));
}

#[test]
fn a_withheld_run_shows_its_failed_control_and_no_result() {
    // The record's own summary is not trusted over its controls.
    for summary in [true, false] {
        let mut record = fixture::withheld();
        record.controls_ok = summary;
        record.models.remove(0);
        for out in [text(&record), page(&record)] {
            assert!(out.contains("withheld"));
            assert!(out.contains("12 of 2,040 scored positions differ"));
            for result in ["2.31e-5", "0.00637", "native arm: **", "REAL and tiny", "<circle"] {
                assert!(!out.contains(result), "{result} is a result");
            }
        }
        let table = csv::render(&record);
        let variant = table.lines().find(|l| l.contains(",variant,")).expect("rows stay");
        assert!(variant.contains(",true,,,"), "no verdict in {variant}");
        assert!(!table.contains("2.314e-5"));
    }
}

#[test]
fn a_withheld_model_leaves_the_results_of_the_others() {
    let record = fixture::withheld();
    let (shown, withheld) = (&record.models[0].name, &record.models[1].name);
    for out in [text(&record), page(&record)] {
        assert!(out.contains("12 of 2,040 scored positions differ"));
        assert!(out.contains("NO-OP: all 3"), "the other model's answer is there");
        assert!(out.contains("Not decided, in 1 of 2 models: "), "the answer for both says which is not decided");
        for result in ["0.00637", "REAL and tiny"] {
            assert!(!out.contains(result), "{result} is a result of the withheld model");
        }
    }
    let notice =
        format!("**Results are withheld for 1 model: a control failed.** What was measured on `{withheld}` cannot");
    assert!(text(&record).contains(&notice));
    let table = csv::render(&record);
    let rows = |model: &str| {
        let of = |line: &&str| line.starts_with(model) && line.contains(",variant,");
        table.lines().filter(of).map(|line| line.contains(",true,,,")).collect::<Vec<_>>()
    };
    assert!(!rows(shown).is_empty() && rows(shown).iter().all(|withheld| !withheld), "{table}");
    assert!(!rows(withheld).is_empty() && rows(withheld).iter().all(|withheld| *withheld), "{table}");

    // A summary that no control explains is not believed either way.
    let mut record = fixture::two_models();
    record.controls_ok = false;
    assert!(!text(&record).contains("NO-OP: all 3"));
}

#[test]
fn the_first_screen_holds_question_answers_figure_and_controls_in_this_order() {
    let out = text(&fixture::two_models());
    let at = |what: &str| out.find(what).unwrap_or_else(|| panic!("{what} is missing"));
    let order = [
        at("Does it matter"),
        at("Hypothesis"),
        at("NO-OP: all 3"),
        at("REAL and tiny"),
        at("figures/effects.svg"),
        at("*Controls"),
        at("\n## "),
    ];
    assert!(order.is_sorted(), "{order:?}");
}

#[test]
fn predicted_and_measured_never_share_a_column() {
    for block in content::document(&fixture::two_models()).blocks {
        if let report::document::Block::Table(table) = block {
            for column in table.columns {
                let head = column.head.to_lowercase();
                assert!(!(head.contains("predicted") && head.contains("measured")), "{head}");
            }
        }
    }
}

#[test]
fn a_failed_cell_is_shown_with_its_reason() {
    let out = text(&fixture::two_models());
    assert!(out.contains("`worker ended by signal 6; last words: GGML_ASSERT(x < y) failed`"));
    assert!(page(&fixture::two_models()).contains("GGML_ASSERT(x &#60; y)"));
}

#[test]
fn a_zero_in_a_changed_model_is_not_called_bit_identical() {
    let mut record = fixture::two_models();
    for judged in &mut record.models[0].cells {
        if let Some(m) = &mut judged.cell.measured {
            m.set("logits_changed", 1.0);
        }
    }
    record.models.truncate(1);
    let out = text(&record);
    assert!(out.contains("0 (logits differ)") && !out.contains("0 (bit-identical)"));
}

#[test]
fn the_page_refers_to_nothing_outside_itself() {
    let out = page(&fixture::two_models());
    // The namespace of SVG is a name, not an address.
    let out = out.replace("http://www.w3.org/2000/svg", "");
    for outside in ["http:", "https:", "src=", "href=", "url(", "@import", "<script", "<link", "<iframe"] {
        assert!(!out.contains(outside), "{outside}");
    }
    assert_eq!(out.matches("<svg").count(), 5, "effects, the layers of one model, the precision of both");
}

#[test]
fn the_precision_of_every_tensor_is_a_square_and_old_records_have_none() {
    let record = fixture::two_models();
    let out = page(&record);
    let tensors: usize = record.models.iter().map(|model| model.precision.len()).sum();
    assert!(tensors > 10 && out.matches(" bits a value, ").count() >= tensors, "{tensors}");
    assert!(out.contains("<title>blk.0.ffn_norm.weight: 16.0 bits a value, f32, effectively BF16</title>"));
    let text = text(&record);
    assert!(text.contains("Effective bits by layer and role") && text.contains("figures/precision-"), "{text}");
    let mut old = record;
    old.models.iter_mut().for_each(|model| model.precision.clear());
    assert!(!page(&old).contains("Effective bits by layer"));
}

#[test]
fn figures_are_well_formed_and_mark_every_layer() {
    let dir = tempfile::tempdir().unwrap();
    report::write(&fixture::two_models(), dir.path()).unwrap();
    let files = files(dir.path());
    let layers = &files["figures/layers-2-exact.svg"];
    // Three layers: two measured, one failed; and for the other model three exact zeros.
    assert_eq!(layers.matches(r#"class="dot""#).count(), 2);
    assert_eq!(layers.matches(r#"class="failed""#).count(), 1);
    assert_eq!(files["figures/layers-1-exact.svg"].matches(r#"class="zero""#).count(), 3);
    for (name, svg) in files.iter().filter(|(name, _)| name.ends_with(".svg")) {
        let open = svg.matches("<text").count();
        assert_eq!(open, svg.matches("</text>").count(), "{name}");
        assert!(svg.starts_with("<svg xmlns=") && svg.ends_with("</svg>\n"), "{name}");
        assert!(!svg.contains("NaN") && !svg.contains("inf\""), "{name}");
    }
}

#[test]
fn equal_records_give_equal_bytes_and_nothing_else_is_left_behind() {
    let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let record = fixture::two_models();
    let paths = report::write(&record, a.path()).unwrap();
    let mut elsewhere = record.clone();
    // Threads belong to the host, not to the result.
    elsewhere.models.iter_mut().for_each(|m| m.engine.n_threads = 64);
    report::write(&elsewhere, b.path()).unwrap();
    // Twice into the same folder replaces what is there.
    report::write(&record, a.path()).unwrap();
    assert_eq!(files(a.path()), files(b.path()));
    let mut written: Vec<String> =
        paths.iter().map(|p| p.strip_prefix(a.path()).unwrap().to_str().unwrap().to_string()).collect();
    assert_eq!(written[..3], ["report.md", "report.html", "cells.csv"]);
    written.sort();
    assert_eq!(written, files(a.path()).into_keys().collect::<Vec<_>>());
}

#[test]
fn hostile_names_are_inert_everywhere() {
    let evil = "=cmd|'/c calc'!A1\n| x |<script>alert(1)</script>`![x](http://e.x/a.png)`\u{202e}../../etc/passwd,\"";
    let record = named(evil);
    let dir = tempfile::tempdir().unwrap();
    report::write(&record, dir.path()).unwrap();
    for (name, out) in files(dir.path()) {
        assert!(!name.contains("passwd"), "{name}");
        assert!(!out.contains('\u{202e}'), "{name}");
        if !name.ends_with(".csv") && !name.ends_with(".md") {
            assert!(!out.contains("<script"), "{name}");
        }
    }
    let tidy = text(&record);
    let plain = text(&named("plain"));
    assert_eq!(tidy.lines().count(), plain.lines().count(), "no name breaks a line");
    let mut fenced = false;
    for line in tidy.lines() {
        fenced ^= line.starts_with("```");
        if fenced {
            continue;
        }
        // Outside code, no image and no tag of theirs.
        let outside: String = outside_code(line);
        assert!(!outside.contains("![x]") && !outside.contains("<script"), "{line}");
    }
    for row in csv::render(&record).split("\r\n").skip(1).filter(|row| !row.is_empty()) {
        assert!(row.starts_with("\"'=cmd") || row.starts_with("gemma"), "{row}");
    }
}

/// A tensor name that the terminal shows as harmless was once invisible in `report.html`: two tables had drifted apart.
#[test]
fn no_report_shows_a_character_that_nobody_sees_or_that_reorders_others() {
    let every: String = words::invisible::dangerous().collect();
    for evil in ["blk.0.\u{3164}\u{34f}\u{fdd0}\u{fe0f}\u{2800}.weight".to_owned(), format!("a{every}b")] {
        let dir = tempfile::tempdir().unwrap();
        report::write(&named(&evil), dir.path()).unwrap();
        for (name, out) in files(dir.path()) {
            // Line ends are the report's own.
            let raw = out.chars().find(|c| words::invisible::is_dangerous(*c) && !matches!(c, '\n' | '\r'));
            assert!(raw.is_none(), "{name} has {raw:?}");
            assert!(name.starts_with("figures/") || out.contains("u{3164}"), "{name} does not tell of it");
        }
    }
}

/// A run in which everything that comes from files says `words`.
fn named(words: &str) -> RunRecord {
    let mut record = fixture::two_models();
    let model = &mut record.models[0];
    model.name = words.into();
    model.arch = words.into();
    model.sentence = Some(words.into());
    model.census_summary = Some(words.into());
    model.engine.build = words.into();
    model.census[0].name = words.into();
    model.census[0].note = words.into();
    model.controls[0].found = words.into();
    model.cells[0].cell.failure = Some(words.into());
    model.cells[0].cell.target = words.into();
    record.corpus.name = words.into();
    record.reproduce = format!("assay run {words}```");
    record.question.name = words.into();
    record
}

/// The part of a Markdown line that is not in a code span.
fn outside_code(line: &str) -> String {
    let mut out = String::new();
    let mut rest = line;
    while let Some(start) = rest.find('`') {
        // An escaped backtick opens nothing.
        if rest[..start].ends_with('\\') {
            out.push_str(&rest[..=start]);
            rest = &rest[start + 1..];
            continue;
        }
        out.push_str(&rest[..start]);
        let fence = rest[start..].len() - rest[start..].trim_start_matches('`').len();
        let after = &rest[start + fence..];
        let mut from = 0;
        let end = loop {
            let Some(at) = after[from..].find('`') else { break None };
            let run = after[from + at..].len() - after[from + at..].trim_start_matches('`').len();
            if run == fence {
                break Some(from + at + run);
            }
            from += at + run;
        };
        match end {
            Some(end) => rest = &after[end..],
            None => {
                out.push_str(after);
                rest = "";
            }
        }
    }
    out.push_str(rest);
    out
}

#[test]
fn every_csv_row_has_as_many_fields_as_the_header() {
    let table = csv::render(&fixture::two_models());
    let fields = |line: &str| {
        let mut quoted = false;
        1 + line
            .chars()
            .filter(|&c| {
                quoted ^= c == '"';
                c == ',' && !quoted
            })
            .count()
    };
    let mut lines = table.split("\r\n").filter(|l| !l.is_empty());
    let header = fields(lines.next().unwrap());
    assert!(lines.all(|line| fields(line) == header));
}

#[test]
fn odd_numbers_and_empty_models_do_not_break_a_report() {
    let mut record = fixture::two_models();
    for judged in &mut record.models[1].cells {
        if let Some(m) = &mut judged.cell.measured {
            let bad = [("kld_mean", f64::NAN), ("kld_se", f64::INFINITY), ("ppl", f64::INFINITY), ("dlnppl", f64::NAN)];
            bad.into_iter().for_each(|(key, value)| m.set(key, value));
        }
    }
    let empty = &mut record.models[0];
    (empty.cells, empty.census, empty.verdicts, empty.controls) = Default::default();
    let dir = tempfile::tempdir().unwrap();
    report::write(&record, dir.path()).unwrap();
    let files = files(dir.path());
    assert!(files["report.md"].contains("NaN"));
    assert!(files.iter().filter(|(n, _)| n.ends_with(".svg")).all(|(_, svg)| !svg.contains("=\"NaN")));

    record.models.clear();
    report::write(&record, dir.path()).unwrap();
}

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("taken");
    std::fs::write(&file, "").unwrap();
    let error = report::write(&fixture::two_models(), &file).unwrap_err();
    assert!(error.to_string().contains("taken") && error.hint().is_some(), "{error}");
}
