//! `assay quantize IN OUT`: a new file with some tensors held in a scheme.

use crate::failure::{Exit, Failure, Outcome};
use crate::json::finite_f64;
use crate::model::Model;
use crate::output::{Output, to_stderr};
use crate::progress::Progress;
use crate::table::{self, Align};
use lab::file_rewrite::{self, FileCarrier, Request, RewriteError, Rewritten, RewrittenTensor};
use lab::tensor_values::ValuesError;
use lab::{Apply, LayerSet, SchemeFiles};
use numerics::BlockCodec;
use serde::Serialize;
use std::path::{Path, PathBuf};
use words::{Lines, bytes, count, decibels, deviation, escape_terminal, of, plural};

/// Arguments of `assay quantize`.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("what").required(true).multiple(true))]
pub struct QuantizeArgs {
    /// The GGUF file to read; of a split model, any shard
    input: PathBuf,
    /// The GGUF file to write
    output: PathBuf,
    /// Which tensors: a role such as ffn_norm, a name, or re:/REGEX/ (see `assay selectors FILE`)
    #[arg(long, value_name = "SEL", requires = "scheme", group = "what")]
    target: Option<String>,
    /// What they are held in, such as bf16, int8@row or q4_0; identity leaves values alone
    #[arg(long, value_name = "SCHEME", requires = "target")]
    scheme: Option<String>,
    /// Target and scheme in one, such as ffn_norm=bf16 (may be repeated)
    #[arg(long, value_name = "SEL=SCHEME", group = "what")]
    apply: Vec<String>,
    /// Only these layers, such as 0,3-5 or -1; narrows every selector
    #[arg(long, value_name = "LAYERS", allow_hyphen_values = true)]
    layers: Option<String>,
    /// The type that stores the values: f32 holds every scheme exactly, keep takes each tensor's own, any other ggml type
    /// such as q4_0 stores for real
    #[arg(long, value_name = "f32|keep|TYPE", default_value = "f32")]
    carrier: FileCarrier,
    /// Where rows are not whole blocks of a type, take the type that llama-quantize falls back to
    #[arg(long)]
    allow_fallback: bool,
    /// Write several files of at most this size, such as 2G (K, M and G are powers of 1024)
    #[arg(long, value_name = "SIZE", value_parser = size)]
    split_max_size: Option<u64>,
    /// Replace the output if it exists
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
    let applies = applies(args)?;
    let model = Model::open(&args.input)?;
    let request = Request {
        applies: &applies,
        carrier: args.carrier,
        allow_fallback: args.allow_fallback,
        split_max_bytes: args.split_max_size,
        version: env!("CARGO_PKG_VERSION"),
    };
    let plan = file_rewrite::plan(&model.file, &request, codec).map_err(|error| in_file(&model, error))?;
    if let Some(largest) = plan.held_whole().first().filter(|_| !output.quiet()) {
        // Nothing is wrong; but memory is what such a scheme costs, and nothing else tells.
        to_stderr(&format!(
            "note: {} must hold all values of {} that share something at once: about {} of memory\n",
            largest.scheme,
            escape_terminal(&largest.tensor),
            bytes(largest.bytes)
        ));
    }
    let mut progress = Progress::new("quantize", output.quiet());
    let mut at = |done: u64, total: u64| progress.at((done >> 20) as usize, (total >> 20) as usize);
    let written = plan.write(&args.output, args.force, codec, &mut at).map_err(|error| in_file(&model, error))?;
    drop(progress);
    let answer = Answer::of(&model, args, &applies, &written, &plan.skipped);
    output.answer(&answer, || answer.text())?;
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
    let mut files = SchemeFiles::default();
    let mut applies = applies.iter().map(|apply| files.resolve(apply)).collect::<Result<Vec<_>, _>>()?;
    if let Some(layers) = &args.layers {
        let layers = LayerSet::parse(layers)?;
        applies = applies.iter().map(|apply| apply.narrowed(&layers)).collect();
    }
    Ok(applies)
}

/// The error with the input's name in front, where it does not name a file itself.
fn in_file(model: &Model, error: RewriteError) -> Failure {
    match error {
        RewriteError::Output(_) | RewriteError::Values(ValuesError::Gguf(_)) => error.into(),
        other => model.refuses(other),
    }
}

/// The answer in JSON.
#[derive(Serialize)]
struct Answer {
    input: String,
    output: String,
    apply: Vec<String>,
    carrier: String,
    /// The output is the input, byte for byte.
    verbatim: bool,
    changed: Vec<Row>,
    /// Integer tensors, which hold no weights.
    skipped: Vec<String>,
    files: Vec<FileRow>,
    out_bytes: u64,
    /// Of the first file; `files` has all of them.
    out_sha256: String,
}

#[derive(Serialize)]
struct Row {
    name: String,
    type_source: &'static str,
    type_requested: &'static str,
    type_realised: &'static str,
    scheme_requested: String,
    scheme_realised: String,
    /// A type or a scheme is not the one asked for.
    fallback: bool,
    changed: u64,
    n: u64,
    zero_sign: u64,
    zeroed: u64,
    overflowed: u64,
    /// Values that the carrier could not hold as the scheme left them.
    carrier_rounded: u64,
    #[serde(serialize_with = "finite_f64")]
    max_abs: f64,
    #[serde(serialize_with = "finite_f64")]
    rmse: f64,
    #[serde(serialize_with = "finite_f64")]
    rel_rmse: f64,
    #[serde(serialize_with = "finite_f64")]
    sqnr_db: f64,
}

#[derive(Serialize)]
struct FileRow {
    file: String,
    bytes: u64,
    sha256: String,
}

impl Row {
    fn of(tensor: &RewrittenTensor) -> Self {
        let d = &tensor.difference;
        Row {
            name: tensor.name.clone(),
            type_source: tensor.type_source,
            type_requested: tensor.type_requested,
            type_realised: tensor.type_realised,
            scheme_requested: tensor.scheme_requested.clone(),
            scheme_realised: tensor.scheme_realised.clone(),
            fallback: tensor.type_requested != tensor.type_realised
                || tensor.scheme_requested != tensor.scheme_realised,
            changed: d.changed,
            n: d.n,
            zero_sign: d.zero_sign,
            zeroed: d.zeroed,
            overflowed: d.overflowed,
            carrier_rounded: tensor.carrier_rounded,
            max_abs: d.max_abs,
            rmse: d.rmse,
            rel_rmse: d.rel_rmse,
            sqnr_db: d.sqnr_db,
        }
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

impl Answer {
    fn of(model: &Model, args: &QuantizeArgs, applies: &[Apply], written: &Rewritten, skipped: &[String]) -> Self {
        let of_file = |file: &file_rewrite::WrittenFile| FileRow {
            file: file_name(&file.path),
            bytes: file.bytes,
            sha256: file.sha256.clone(),
        };
        let files: Vec<FileRow> = written.files.iter().map(of_file).collect();
        Answer {
            input: model.name(),
            output: file_name(&args.output),
            apply: applies.iter().map(Apply::to_string).collect(),
            carrier: args.carrier.to_string(),
            verbatim: written.verbatim,
            changed: written.tensors.iter().map(Row::of).collect(),
            skipped: skipped.to_vec(),
            out_bytes: files.iter().map(|file| file.bytes).sum(),
            out_sha256: files.first().map_or_else(String::new, |file| file.sha256.clone()),
            files,
        }
    }

    fn text(&self) -> String {
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
        let rows = self.changed.iter().map(|row| {
            vec![
                escape_terminal(&row.name),
                row.type_source.to_owned(),
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
        for row in self.changed.iter().filter(|row| row.fallback) {
            out.line(format_args!(
                "fallback: {} is {} in {}, not {} in {}",
                escape_terminal(&row.name),
                row.scheme_realised,
                row.type_realised,
                row.scheme_requested,
                row.type_requested
            ));
        }
        let (changed, n): (u64, u64) = self.changed.iter().fold((0, 0), |(c, n), row| (c + row.changed, n + row.n));
        out.line(format_args!(
            "{}, {} values changed{}",
            plural(self.changed.len(), "tensor"),
            of(changed, n),
            if self.verbatim { "; the output is the input, byte for byte" } else { "" }
        ));
        let overflowed: u64 = self.changed.iter().map(|row| row.overflowed).sum();
        if overflowed > 0 {
            out.line(format_args!(
                "warning: {} {} infinite or NaN: the errors above leave them out (NaN where nothing is left), and a model \
                 with such weights answers nothing",
                count(overflowed),
                if overflowed == 1 { "value became" } else { "values became" }
            ));
        }
        if !self.skipped.is_empty() {
            let tensors = plural(self.skipped.len(), "tensor");
            out.line(format_args!("skipped: {tensors} of integers or f64, which hold no weights"));
        }
        for file in &self.files {
            let (name, size, exactly) = (escape_terminal(&file.file), bytes(file.bytes), count(file.bytes));
            out.line(format_args!("{name}: {size} ({exactly} bytes), sha256 {}", file.sha256));
        }
        out.into_string()
    }
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
