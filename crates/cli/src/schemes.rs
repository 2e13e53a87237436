//! `assay schemes`: every number format of the grammar, and which of them can be used.

use crate::failure::{Exit, Outcome};
use crate::output::Output;
use crate::table::{self, Align};
use numerics::formats::{FORMATS, Family, FormatInfo, Granularities};
use numerics::ggml::{GGML_FORMATS, GgmlFormat};
use serde::Serialize;

/// Runs `assay schemes`.
pub fn run(output: &Output) -> Outcome {
    let answer = Schemes {
        schemes: FORMATS.iter().map(SchemeRow::of).collect(),
        ggml: GGML_FORMATS.iter().map(GgmlRow::of).collect(),
    };
    output.answer(&answer, || answer.text())?;
    Ok(Exit::Done)
}

#[derive(Serialize)]
struct Schemes {
    schemes: Vec<SchemeRow>,
    ggml: Vec<GgmlRow>,
}

#[derive(Serialize)]
struct SchemeRow {
    name: &'static str,
    family: &'static str,
    built: bool,
    bits: &'static str,
    granularity: &'static str,
    options: &'static [&'static str],
    rounding: &'static str,
    source: &'static str,
}

#[derive(Serialize)]
struct GgmlRow {
    name: &'static str,
    scheme: String,
    blck_size: usize,
    type_size: usize,
    bits_per_weight: f64,
}

impl SchemeRow {
    fn of(format: &FormatInfo) -> Self {
        SchemeRow {
            name: format.name,
            family: match format.family {
                Family::Minifloat => "minifloat",
                Family::Integer => "integer",
                Family::Codebook => "codebook",
                Family::Block => "block",
                Family::Ggml => "ggml",
                Family::Control => "control",
            },
            built: format.built,
            bits: format.bits,
            granularity: if format.granularity == Granularities::Required {
                "required"
            } else if format.granularity == Granularities::None {
                "none"
            } else {
                "optional"
            },
            options: format.options,
            rounding: format.rounding,
            source: format.source,
        }
    }
}

impl GgmlRow {
    fn of(format: &GgmlFormat) -> Self {
        let name = format.name.to_ascii_lowercase();
        GgmlRow {
            name: format.name,
            scheme: if format.bare { name } else { format!("ggml:{name}") },
            blck_size: format.blck_size,
            type_size: format.type_size,
            bits_per_weight: format.bits_per_weight(),
        }
    }
}

impl Schemes {
    fn text(&self) -> String {
        let columns = [
            ("format", Align::Left),
            ("family", Align::Left),
            ("bits", Align::Left),
            ("@granularity", Align::Left),
            (":options", Align::Left),
            ("rounding", Align::Left),
        ];
        let rows = self.schemes.iter().filter(|row| row.built).map(|row| {
            [row.name, row.family, row.bits, row.granularity, &row.options.join(", "), row.rounding]
                .map(str::to_owned)
                .to_vec()
        });
        let mut out = String::from(
            "A scheme is FORMAT[@GRANULARITY][:OPTION…]: bf16, bf16:trunc, int8@row, int4@block32:asym, q4_k.\n",
        );
        out.push_str("Granularities: @tensor, @row (output channel), @blockN along the contiguous dimension.\n\n");
        out.push_str(&table::render(&columns, rows));
        out.push_str("\nggml's types, through ggml's own functions:\n");
        let columns = [
            ("scheme", Align::Left),
            ("values per block", Align::Right),
            ("bytes", Align::Right),
            ("bits", Align::Right),
        ];
        let rows = self.ggml.iter().map(|row| {
            vec![
                row.scheme.clone(),
                row.blck_size.to_string(),
                row.type_size.to_string(),
                format!("{:.4}", row.bits_per_weight),
            ]
        });
        out.push_str(&table::render(&columns, rows));
        let later: Vec<&str> = self.schemes.iter().filter(|row| !row.built).map(|row| row.name).collect();
        if !later.is_empty() {
            out.push_str(&format!("\nIn the grammar, not built yet: {}.\n", later.join(", ")));
        }
        out
    }
}
