//! `assay quantize IN OUT`: a new file with some tensors quantized in a scheme.

use crate::advice;
use crate::failure::{Exit, Failure, Outcome};
use crate::output::{Output, to_stderr};
use crate::progress::Progress;
use crate::table::{self, Align};
use files::rewrite::FileCarrier;
use lab::ask::{self, QuantizeEvent, QuantizeRequest};
use numerics::BlockCodec;
use record::answer::QuantizeAnswer;
use select::{Apply, LayerSet};
use std::path::PathBuf;
use words::{Lines, bytes, count, decibels, deviation, escape_terminal, of, plural};

/// Arguments of `assay quantize`.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("what").required(true).multiple(true))]
pub struct QuantizeArgs {
    /// The GGUF file to read; of a split model, any shard
    input: PathBuf,
    /// The GGUF file to write
    output: PathBuf,
    /// Quantize tensors in a scheme, such as ffn_norm=bf16 (may be repeated)
    #[arg(long, value_name = "SEL=SCHEME", group = "what")]
    apply: Vec<String>,
    /// Quantize these tensors: a role such as ffn_norm, a name, or re:/REGEX/ (see `assay selectors FILE`)
    #[arg(long, value_name = "SEL", requires = "scheme", group = "what")]
    target: Option<String>,
    /// The scheme of --target, such as bf16, int8@row or q4_0; identity leaves values as they are
    #[arg(long, value_name = "SCHEME", requires = "target")]
    scheme: Option<String>,
    /// Narrow every selector to these layers, such as 0,3-5 or -1
    #[arg(long, value_name = "LAYERS", allow_hyphen_values = true)]
    layers: Option<String>,
    /// The type that stores the quantized values: f32 is exact for every scheme, keep is each tensor's own type, and another
    /// ggml type such as q4_0 makes the file smaller
    #[arg(long, value_name = "f32|keep|TYPE", default_value = "f32", value_parser = advice::parsed::<FileCarrier>)]
    carrier: FileCarrier,
    /// Where rows are not whole blocks of a type, use the type that llama-quantize falls back to
    #[arg(long)]
    allow_fallback: bool,
    /// Write several files of at most this size, such as 2G (K, M and G are powers of 1024)
    #[arg(long, value_name = "SIZE", value_parser = size)]
    split_max_size: Option<u64>,
    /// Replace the output file if it exists
    #[arg(long)]
    force: bool,
}

/// `500M`, `2G`, `1000000`.
fn size(text: &str) -> Result<u64, String> {
    let (digits, unit) = match text.find(|c: char| !c.is_ascii_digit()) {
        Some(at) => text.split_at(at),
        None => (text, ""),
    };
    let unit = match unit {
        "" => Some(1),
        "K" | "k" => Some(1 << 10),
        "M" | "m" => Some(1 << 20),
        "G" | "g" => Some(1u64 << 30),
        _ => None,
    };
    let n = digits.parse::<u64>().ok().zip(unit).and_then(|(n, unit)| n.checked_mul(unit));
    n.filter(|&n| n > 0).ok_or_else(|| "wanted a number of bytes, such as 2G, 500M or 1000000".into())
}

/// Runs `assay quantize`.
pub fn run(args: &QuantizeArgs, codec: &dyn BlockCodec, output: &Output) -> Outcome {
    let request = QuantizeRequest {
        input: args.input.clone(),
        output: args.output.clone(),
        applies: applies(args)?,
        layers: args.layers.as_deref().map(LayerSet::parse).transpose()?,
        carrier: args.carrier,
        allow_fallback: args.allow_fallback,
        split_max_bytes: args.split_max_size,
        replace: args.force,
    };
    let mut progress = Progress::new("quantize", output.quiet());
    let mut hear = |event: QuantizeEvent<'_>| match event {
        // Nothing is wrong; but memory is what such a scheme costs, and nothing else tells.
        QuantizeEvent::HeldWhole(largest) if !output.quiet() => to_stderr(&format!(
            "note: {} must hold all values of {} that share something at once: about {} of memory\n",
            largest.scheme,
            escape_terminal(&largest.tensor),
            bytes(largest.bytes)
        )),
        QuantizeEvent::HeldWhole(_) => {}
        QuantizeEvent::Progress { done, total } => progress.at((done >> 20) as usize, (total >> 20) as usize),
    };
    let answer = ask::quantize(&request, codec, &mut hear)?;
    drop(progress);
    output.answer(&answer, || text(&answer))?;
    Ok(Exit::Done)
}

fn applies(args: &QuantizeArgs) -> Result<Vec<Apply>, Failure> {
    let mut applies = Vec::new();
    if let (Some(target), Some(scheme)) = (&args.target, &args.scheme) {
        applies.push(Apply { selector: target.parse()?, scheme: scheme.parse()? });
    }
    for text in &args.apply {
        applies.push(text.parse()?);
    }
    Ok(applies)
}

fn text(answer: &QuantizeAnswer) -> String {
    let columns = [
        ("name", Align::Left),
        ("was", Align::Left),
        ("requested", Align::Left),
        ("realised", Align::Left),
        ("changed", Align::Right),
        ("of", Align::Right),
        ("overflowed", Align::Right),
        ("rel. RMSE", Align::Right),
        ("SQNR dB", Align::Right),
        ("rounded by carrier", Align::Right),
    ];
    let rows = answer.changed.iter().map(|row| {
        vec![
            escape_terminal(&row.name),
            row.type_source.clone(),
            format!("{} in {}", row.scheme_requested, row.type_requested),
            format!("{} in {}", row.scheme_realised, row.type_realised),
            count(row.changed),
            count(row.n),
            count(row.overflowed),
            deviation(row.rel_rmse),
            decibels(row.sqnr_db),
            count(row.carrier_rounded),
        ]
    });
    let mut out = Lines::new();
    out.text(&table::render(&columns, rows));
    out.line("");
    for row in answer.changed.iter().filter(|row| row.fallback) {
        out.line(format_args!(
            "fallback: {} is {} in {}, not {} in {}",
            escape_terminal(&row.name),
            row.scheme_realised,
            row.type_realised,
            row.scheme_requested,
            row.type_requested
        ));
    }
    let (changed, n): (u64, u64) = answer.changed.iter().fold((0, 0), |(c, n), row| (c + row.changed, n + row.n));
    out.line(format_args!(
        "{}, {} values changed{}",
        plural(answer.changed.len(), "tensor"),
        of(changed, n),
        if answer.verbatim { "; the output is the input, byte for byte" } else { "" }
    ));
    let overflowed: u64 = answer.changed.iter().map(|row| row.overflowed).sum();
    if overflowed > 0 {
        out.line(format_args!(
            "warning: {} {} infinite or NaN: the errors above leave them out (NaN where nothing is left), and a model \
             with such weights gives NaN for every token",
            count(overflowed),
            if overflowed == 1 { "value became" } else { "values became" }
        ));
    }
    if !answer.skipped.is_empty() {
        let tensors = plural(answer.skipped.len(), "tensor");
        out.line(format_args!("skipped: {tensors} of integers or f64, which hold no weights"));
    }
    for file in &answer.out {
        let (name, size, exactly) = (escape_terminal(&file.name), bytes(file.bytes), count(file.bytes));
        out.line(format_args!("{name}: {size} ({exactly} bytes), sha256 {}", file.sha256));
    }
    out.into_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_bytes_with_a_binary_unit() {
        assert_eq!(size("1000000"), Ok(1_000_000));
        assert_eq!((size("500M"), size("2G"), size("1k")), (Ok(500 << 20), Ok(2 << 30), Ok(1024)));
        for wrong in ["", "0", "G", "1.5G", "-1", "1T", "99999999999G"] {
            assert!(size(wrong).is_err(), "{wrong:?} was accepted");
        }
    }
}
