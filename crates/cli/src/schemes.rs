//! `assay schemes` lists every number format of the grammar, from its table.

use crate::failure::{Exit, Outcome};
use crate::output::Output;
use crate::table::{self, Align};
use numerics::formats::{FORMATS, FormatInfo, Granularities};
use numerics::ggml::{GGML_FORMATS, GgmlFormat};
use serde::Serialize;
use words::bits;

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
    bits: String,
    /// The scheme whose bits per weight are stated, for a tensor of 4096 rows of 4096.
    example: &'static str,
    bits_per_weight: Option<f64>,
    parameters: String,
    granularity: &'static str,
    options: &'static [&'static str],
    rounding: &'static str,
    overflow: &'static str,
    source: &'static str,
}

#[derive(Serialize)]
struct GgmlRow {
    name: &'static str,
    scheme: String,
    blck_size: usize,
    type_size: usize,
    bits_per_weight: f64,
    /// Whether the type takes an importance matrix: `none`, `optional` or `required`.
    imatrix: &'static str,
}

impl SchemeRow {
    fn of(format: &FormatInfo) -> Self {
        SchemeRow {
            name: format.name,
            family: format.family().name(),
            bits: format.bits(),
            example: format.example,
            bits_per_weight: format.example_bits(),
            parameters: format.parameters(),
            granularity: match format.granularity() {
                Granularities::None => "none",
                Granularities::Default | Granularities::Optional => "optional",
                Granularities::Required => "required",
            },
            options: format.options(),
            rounding: format.rounding(),
            overflow: format.overflow(),
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
            imatrix: format.imatrix.name(),
        }
    }
}

impl Schemes {
    fn text(&self) -> String {
        let columns = [
            ("format", Align::Left),
            ("family", Align::Left),
            ("bits", Align::Left),
            ("of a weight", Align::Right),
            ("@granularity", Align::Left),
            (":options", Align::Left),
            ("rounding", Align::Left),
            ("overflow", Align::Left),
        ];
        let rows = self.schemes.iter().map(|row| {
            let of_a_weight = row.bits_per_weight.map_or(String::new(), bits);
            let options = row.options.join(", ");
            [row.name, row.family, &row.bits, &of_a_weight, row.granularity, &options, row.rounding, row.overflow]
                .map(str::to_owned)
                .to_vec()
        });
        let mut out = String::from(
            "A scheme is FORMAT[@GRANULARITY][:OPTION…]: bf16, bf16:trunc, int8@row, int4@block32:asym, mxfp4, q4_k.\n",
        );
        out.push_str(
            "Granularities: @tensor, @row (output channel), @col (input channel), @blockN along the contiguous dimension,\n\
             @NxM (N rows by M contiguous values).\n\
             FORMAT of a scale: f32, f16, bf16, e8m0, pow2, f16hier. RANGE of clip: absmax, mse, pQ (a percentile).\n\
             FILE of imatrix: an importance matrix of llama-imatrix; of table: a text with the entries. A file's hash stands for it\n\
             wherever a scheme is stored.\n\
             Bits of a weight count scales, for a tensor of 4096 rows of 4096.\n\n",
        );
        out.push_str(&table::render(&columns, rows));
        out.push_str("\nWhat they are, and where they are defined:\n");
        let columns = [("format", Align::Left), ("parameters", Align::Left), ("source", Align::Left)];
        let rows = self.schemes.iter().map(|row| [row.name, &row.parameters, row.source].map(str::to_owned).to_vec());
        out.push_str(&table::render(&columns, rows));
        out.push_str("\nggml's types, through ggml's own functions:\n");
        let columns = [
            ("scheme", Align::Left),
            ("values per block", Align::Right),
            ("bytes", Align::Right),
            ("bits", Align::Right),
            ("imatrix", Align::Left),
        ];
        let rows = self.ggml.iter().map(|row| {
            vec![
                row.scheme.clone(),
                row.blck_size.to_string(),
                row.type_size.to_string(),
                bits(row.bits_per_weight),
                row.imatrix.to_owned(),
            ]
        });
        out.push_str(&table::render(&columns, rows));
        out
    }
}
