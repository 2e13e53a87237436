//! `assay schemes`: every number format of the grammar, from its table.

use crate::failure::{Exit, Outcome};
use crate::output::Output;
use crate::table::{self, Align};
use record::answer::SchemesAnswer;
use words::bits;

/// Runs `assay schemes`.
pub fn run(output: &Output) -> Outcome {
    let answer = lab::ask::schemes();
    output.answer(&answer, || text(&answer))?;
    Ok(Exit::Done)
}

fn text(answer: &SchemesAnswer) -> String {
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
    let rows = answer.schemes.iter().map(|row| {
        let of_a_weight = row.bits_per_weight.map_or(String::new(), bits);
        let options = row.options.join(", ");
        [&row.name, &row.family, &row.bits, &of_a_weight, &row.granularity, &options, &row.rounding, &row.overflow]
            .map(String::clone)
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
    let rows = answer.schemes.iter().map(|row| [&row.name, &row.parameters, &row.source].map(String::clone).to_vec());
    out.push_str(&table::render(&columns, rows));
    out.push_str("\nggml's types, through ggml's own functions:\n");
    let columns = [
        ("scheme", Align::Left),
        ("values per block", Align::Right),
        ("bytes", Align::Right),
        ("bits", Align::Right),
        ("imatrix", Align::Left),
    ];
    let rows = answer.ggml.iter().map(|row| {
        vec![
            row.scheme.clone(),
            row.blck_size.to_string(),
            row.type_size.to_string(),
            bits(row.bits_per_weight),
            row.imatrix.clone(),
        ]
    });
    out.push_str(&table::render(&columns, rows));
    out
}
