//! `assay quantize MODEL OUT`: a new file with some tensors quantized in a scheme.

use crate::advice;
use crate::failure::{Exit, Failure, Outcome};
use crate::output::{Output, to_stderr};
use crate::progress::Progress;
use crate::question::ApplyArgs;
use crate::table::{self, Align};
use files::rewrite::FileCarrier;
use lab::ask::{self, QuantizeEvent, QuantizeRequest};
use numerics::BlockCodec;
use record::answer::QuantizeAnswer;
use select::Apply;
use std::path::PathBuf;
use words::{Lines, bytes, count, decibels, deviation, escape_terminal, of, plural};

/// Arguments of `assay quantize`.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("what").required(true).multiple(true).args(["apply", "target"]))]
pub struct QuantizeArgs {
    /// The GGUF file to read, which is not changed; of a split model, any shard
    model: PathBuf,
    /// The GGUF file to write
    #[arg(value_name = "OUT")]
    output: PathBuf,
    #[command(flatten)]
    what: ApplyArgs,
    /// Quantize these tensors: a role such as ffn_norm, a name, or re:/REGEX/ (see `assay selectors MODEL`)
    #[arg(long, value_name = "SEL", requires = "scheme")]
    target: Option<String>,
    /// The scheme of --target, such as bf16, int8@row or q4_0; identity leaves values as they are
    #[arg(long, value_name = "SCHEME", requires = "target")]
    scheme: Option<String>,
    /// The type that stores the quantized values: f32 is exact for every scheme, keep is each tensor's own type, and another
    /// ggml type such as q4_0 makes the file smaller
    #[arg(long, value_name = "f32|keep|TYPE", default_value = "f32", value_parser = advice::parsed::<FileCarrier>)]
    carrier: FileCarrier,
    /// Split the output into files of at most this size, such as 2G or 500M
    #[arg(long, value_name = "SIZE", value_parser = words::parse_size)]
    split_max_size: Option<u64>,
    /// Replace the output file if it exists
    #[arg(long)]
    force: bool,
}

/// Runs `assay quantize`.
pub fn run(args: &QuantizeArgs, codec: &dyn BlockCodec, output: &Output) -> Outcome {
    let request = QuantizeRequest {
        input: args.model.clone(),
        output: args.output.clone(),
        applies: applies(args)?,
        layers: args.what.layers()?,
        carrier: args.carrier,
        allow_fallback: args.what.allow_fallback,
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
    applies.extend(args.what.applies()?);
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
    let folded: Vec<&str> = answer.changed.iter().filter_map(|row| row.folded.as_deref()).collect();
    if let Some(first) = folded.first() {
        out.line(format_args!(
            "{} multiplied into the weights and no tensor of the output: {}{}",
            if folded.len() == 1 {
                "1 tensor of factors is".into()
            } else {
                format!("{} tensors of factors are", folded.len())
            },
            escape_terminal(first),
            if folded.len() == 1 { "" } else { " and so on" }
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
        let (name, size, exactly) = (escape_terminal(&file.name), bytes(file.bytes), plural(file.bytes, "byte"));
        out.line(format_args!("{name}: {size} ({exactly}), sha256 {}", file.sha256));
    }
    out.into_string()
}
