//! `assay quantize MODEL OUT`: a new file with some tensors quantized in a scheme.

use crate::advice;
use crate::ask;
use crate::failure::{Exit, Failure, Outcome};
use crate::output::{Output, to_stderr};
use crate::progress::Progress;
use crate::question::ApplyArgs;
use crate::table::{self, Align};
use crate::worker;
use files::rewrite::{FileCarrier, weight_type};
use gguf::{Former, GgmlType};
use lab::ask::{AskError, QuantizeEvent, QuantizeRequest};
use numerics::BlockCodec;
use record::answer::{QuantizeAnswer, QuantizedTensor, TensorsSize};
use select::Apply;
use std::path::{Path, PathBuf};
use words::{Lines, bits, bytes, count, decibels, deviation, escape_terminal, of, plural, printable, quoted};

/// Arguments of `assay quantize`.
#[derive(Debug, clap::Args)]
#[command(override_usage = "assay quantize [OPTIONS] <--apply|--target|--tensor-type-file|--base> <MODEL> <OUT>")]
#[command(group = clap::ArgGroup::new("what").required(true).multiple(true).args(["apply", "target", "tensor_type_file", "base"]))]
pub struct QuantizeArgs {
    /// The GGUF file to read, which is not changed; for a split model, any of its shards
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
    /// The type that stores the quantized values: f32 (exact for every scheme), keep (each tensor's own type), own (each
    /// scheme's own ggml type), or one ggml type for all, such as q4_0
    #[arg(long, value_name = "f32|keep|own|TYPE", default_value = "f32", value_parser = advice::parsed::<FileCarrier>)]
    carrier: FileCarrier,
    /// Ggml type for all other matrices that llama-quantize would quantize
    #[arg(long, value_name = "TYPE", value_parser = base_type)]
    base: Option<GgmlType>,
    /// Store tensors in the types that this file gives, as `llama-quantize --tensor-type-file` does; --apply takes precedence
    #[arg(long, value_name = "FILE")]
    tensor_type_file: Option<PathBuf>,
    /// Also store tensors that llama.cpp's quantizer never touches, such as routers and convolutions, in the type asked for
    #[arg(long)]
    force_tensors: bool,
    /// Accept a carrier that rounds quantized values a second time
    #[arg(long)]
    force_carrier: bool,
    /// Skip the test that the engine can open the finished file
    #[arg(long)]
    no_check: bool,
    /// Split the output into files of at most this size, such as 2G or 500M
    #[arg(long, value_name = "SIZE", value_parser = words::parse_size)]
    split_max_size: Option<u64>,
    /// Replace the output file if it exists
    #[arg(long)]
    force: bool,
}

/// Parses the value of `--base`.
fn base_type(name: &str) -> Result<GgmlType, String> {
    weight_type(name)
        .map_err(|_| format!("found {name:?}, wanted a ggml type that stores weights, such as q4_K or f16"))
}

/// Runs `assay quantize`.
pub fn run(args: &QuantizeArgs, codec: &dyn BlockCodec, output: &Output) -> Outcome {
    let request = QuantizeRequest {
        input: args.model.clone(),
        output: args.output.clone(),
        applies: applies(args)?,
        layers: args.what.layers()?,
        type_file: args.tensor_type_file.clone(),
        base: args.base,
        carrier: args.carrier,
        force_tensors: args.force_tensors,
        force_carrier: args.force_carrier,
        check: !args.no_check,
        allow_fallback: args.what.allow_fallback,
        split_max_bytes: args.split_max_size,
        replace: args.force,
    };
    let mut progress = Progress::new("quantize", output.quiet());
    let say = |line: &str| {
        if !output.quiet() {
            to_stderr(line);
        }
    };
    let mut hear = |event: QuantizeEvent<'_>| match event {
        // Nothing is wrong; but memory is what such a scheme costs, and nothing else tells.
        QuantizeEvent::HeldWhole(largest) => say(&format!(
            "note: {} must hold all values of {} that share something at once: about {} of memory\n",
            largest.scheme,
            escape_terminal(&largest.tensor),
            bytes(largest.bytes)
        )),
        QuantizeEvent::WithoutEffect(rule) => {
            say(&format!("note: no tensor gets the rule {}\n", escape_terminal(rule)));
        }
        QuantizeEvent::WithoutImportance(tensor) => say(&format!(
            "note: {} has no importances in the file, so it is quantized without, as llama-quantize does\n",
            escape_terminal(tensor)
        )),
        QuantizeEvent::SetAside(former) => say(&set_aside(former)),
        QuantizeEvent::Grows { before, after, have_own_types } => {
            let how = match (args.carrier, have_own_types) {
                (FileCarrier::Own, _) | (_, None) => "",
                (_, Some(true)) => "; --carrier own stores each scheme in its own type",
                (_, Some(false)) => "; not every scheme has a ggml type that would store it in fewer bits",
            };
            let stored = match args.carrier {
                FileCarrier::In(ty) if have_own_types.is_some() => {
                    format!(", because {ty} stores the quantized values")
                }
                _ => String::new(),
            };
            say(&format!("note: the tensors grow from {} to {}{stored}{how}\n", bytes(before), bytes(after)));
        }
        QuantizeEvent::Opening => {
            progress.label("opening the file in the engine");
            progress.at(0, 1);
        }
        QuantizeEvent::Progress { done, total } => progress.at((done >> 20) as usize, (total >> 20) as usize),
    };
    let answer = lab::ask::quantize(&request, codec, &worker::workers()?, &mut hear).map_err(|e| failed(&e))?;
    drop(progress);
    output.answer(&answer, || text(&answer))?;
    Ok(Exit::Done)
}

/// What became of a file that an earlier `--force` had set aside when it was killed.
fn set_aside(former: &Former) -> String {
    let shown = |file: &Path| printable(&file.to_string_lossy());
    match former {
        Former::Removed(file) => format!(
            "note: removed {}, which an earlier --force set aside before it was killed; all files that replace it are there\n",
            shown(file)
        ),
        Former::PutBack(file) => format!(
            "note: {} is the former file again; an earlier --force was killed before it had replaced the whole set\n",
            shown(file)
        ),
        Former::Kept(file) => format!(
            "note: {} is a file that an earlier --force was replacing when it was killed; rename it to keep it, or remove it\n",
            shown(file)
        ),
    }
}

/// The failure of a question. Where values would be rounded twice, the advice is the command that stores them as they are.
fn failed(error: &AskError) -> Failure {
    let failure = ask::failed(error);
    let AskError::RoundsTwice { have_own_types, .. } = error else { return failure };
    let (carrier, stores) = match have_own_types {
        true => ("own", "each scheme in its own type"),
        false => ("f32", "every scheme exactly"),
    };
    let words: Vec<String> = std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    let command = with_carrier(&words, carrier);
    let hint = format!("`{command}` stores {stores}; --force-carrier rounds the values twice");
    Failure { hint: Some(hint), ..failure }
}

/// The command of these words, with another `--carrier`.
fn with_carrier(words: &[String], carrier: &str) -> String {
    let mut command = vec!["assay".to_owned()];
    let mut words = words.iter();
    while let Some(word) = words.next() {
        if word == "--carrier" {
            words.next();
        } else if !word.starts_with("--carrier=") {
            command.push(quoted(word));
        }
    }
    command.extend(["--carrier".into(), carrier.into()]);
    command.join(" ")
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
        ("rule", Align::Left),
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
            escape_terminal(&row.rule),
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
    if !answer.kept.is_empty() {
        let n = plural(answer.kept.len(), "tensor");
        out.line(format_args!(
            "kept: {n} that llama.cpp's quantizer never touches (--force-tensors stores them all the same)"
        ));
        for kept in &answer.kept {
            let (name, rule) = (escape_terminal(&kept.name), escape_terminal(&kept.rule));
            out.line(format_args!("  {name} stays {}, not {} ({rule})", kept.ty, kept.type_requested));
        }
    }
    rounded_twice(&mut out, &answer.changed);
    let folded: Vec<&str> = answer.changed.iter().filter_map(|row| row.folded.as_deref()).collect();
    if let Some(first) = folded.first() {
        let n = match folded.len() {
            1 => "1 tensor of factors was".to_owned(),
            n => format!("{} tensors of factors were", count(n as u64)),
        };
        let first = escape_terminal(first);
        out.line(format_args!("{n} multiplied into the weights and left out of the output, such as {first}"));
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
    if !answer.without_importance.is_empty() {
        let names: Vec<String> = answer.without_importance.iter().map(escape_terminal).collect();
        out.line(format_args!("without importances, which the file does not have: {}", names.join(", ")));
    }
    let (before, after) = (&answer.size_before, &answer.size_after);
    out.line(format_args!(
        "{}: {} ({} bits per weight), before {} ({})",
        plural(after.types.iter().map(|ty| ty.tensors).sum::<usize>(), "tensor"),
        bytes(after.bytes),
        bits(after.bpw),
        bytes(before.bytes),
        bits(before.bpw)
    ));
    out.line(format_args!("types: {} (before: {})", types(after), types(before)));
    match &answer.unchecked {
        None => out.line("checked: the engine opens the file"),
        Some(why) => out.line(format_args!("the engine did not open the file: {}", escape_terminal(why))),
    }
    for file in &answer.out {
        let (name, size, exactly) = (escape_terminal(&file.name), bytes(file.bytes), plural(file.bytes, "byte"));
        out.line(format_args!("{name}: {size} ({exactly}), sha256 {}", file.sha256));
    }
    out.into_string()
}

/// A warning for the tensors whose quantized values the carrier rounded once more.
fn rounded_twice(out: &mut Lines, rows: &[QuantizedTensor]) {
    let twice: Vec<&QuantizedTensor> = rows.iter().filter(|row| row.rounded_twice).collect();
    if twice.is_empty() {
        return;
    }
    let n: u64 = twice.iter().map(|row| row.carrier_rounded).sum();
    out.line(format_args!(
        "warning: {} of {} were rounded twice, as --force-carrier asks: what is stored is not what the scheme gives",
        plural(n, "value"),
        plural(twice.len(), "tensor")
    ));
    for row in twice {
        let (name, n) = (escape_terminal(&row.name), count(row.carrier_rounded));
        out.line(format_args!(
            "  {name}: {} and then {} ({n} of {})",
            row.scheme_realised,
            row.type_realised,
            count(row.n)
        ));
    }
}

/// The types of a file with the number of their tensors, such as `20 q4_0, 5 f32`.
fn types(size: &TensorsSize) -> String {
    let types: Vec<String> = size.types.iter().map(|ty| format!("{} {}", ty.tensors, ty.ty)).collect();
    types.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_that_is_advised_has_another_carrier_and_is_the_same_otherwise() {
        let command = |line: &str| with_carrier(&line.split(' ').map(str::to_owned).collect::<Vec<_>>(), "own");
        let wanted = "assay quantize m.gguf o.gguf --apply 'attn=q4_0' --carrier own";
        assert_eq!(command("quantize m.gguf o.gguf --apply attn=q4_0 --carrier q4_0"), wanted);
        assert_eq!(command("quantize m.gguf o.gguf --carrier=q4_0 --apply attn=q4_0"), wanted);
        assert_eq!(command("quantize --apply re:/a(b)/=q4_0"), "assay quantize --apply 're:/a(b)/=q4_0' --carrier own");
    }
}
