//! The command line as clap reads it.

use crate::failure::{Exit, Failure};
use crate::output;
use crate::{census, chat, diff, eval, inspect, quantize, report, run, selectors, status, sweep, task, verify};
use clap::error::{ContextKind, ErrorKind};
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

/// A laboratory for quantization experiments on GGUF models.
///
/// What happens to a model if these weights are quantized in that format? assay finds out how precise the
/// weights really are, quantizes the ones you name in memory, and compares the result with the untouched model.
/// No command changes a model file; `quantize` alone writes a new one.
#[derive(Debug, Parser)]
#[command(name = "assay", version, arg_required_else_help = true, infer_subcommands = false)]
pub struct Args {
    /// The options that every subcommand takes.
    #[command(flatten)]
    pub output: OutputArgs,
    /// The subcommand and its options.
    #[command(subcommand)]
    pub command: Command,
}

/// The place in help texts of options that every subcommand takes: behind its own.
const LAST: usize = 900;

/// Options that every subcommand takes.
#[derive(Debug, clap::Args)]
pub struct OutputArgs {
    /// Print one JSON document instead of text
    #[arg(long, global = true, display_order = LAST)]
    pub json: bool,
    /// Print only errors on standard error
    #[arg(long, short, global = true, conflicts_with = "verbose", display_order = LAST)]
    pub quiet: bool,
    /// Print more detail
    #[arg(long, short, global = true, display_order = LAST)]
    pub verbose: bool,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show the metadata and tensors of a GGUF file
    Inspect(inspect::InspectArgs),
    /// Find out how precise the weights of a file really are, and predict what schemes would change
    Census(census::CensusArgs),
    /// Write a new GGUF file with some tensors quantized
    Quantize(quantize::QuantizeArgs),
    /// Compare two GGUF files: metadata key by key, tensors value by value
    Diff(diff::DiffArgs),
    /// Measure perplexity and, with --apply, how far a quantized variant is from the untouched model
    Eval(eval::EvalArgs),
    /// Score multiple-choice tasks with the model and, with --apply, with a quantized variant
    Task(task::TaskArgs),
    /// Show chat answers of the model and, with --apply, of a quantized variant beside them
    Chat(chat::ChatArgs),
    /// Quantize one layer at a time and rank layers by KL divergence
    Sweep(sweep::SweepArgs),
    /// Run a controlled experiment on one or more models and write a report
    Run(run::RunArgs),
    /// Show the progress of a run
    Status(status::StatusArgs),
    /// Regenerate the reports of a finished run
    Report(report::ReportArgs),
    /// List the number formats that a scheme can name
    Schemes,
    /// Show what each selector matches in a model
    Selectors(selectors::SelectorsArgs),
    /// Check the environment: build, CPU, engine, memory, disk, known answers
    Doctor,
    /// Check that this build computes correctly on this machine
    Verify(verify::VerifyArgs),
    /// Serve the jobs of a measurement
    #[command(hide = true)]
    Worker,
}

/// The parsed command line, or the exit code after help, version or an error has been printed.
pub fn parse() -> Result<Args, Exit> {
    let command = Args::command().mut_subcommands(numbers_may_be_negative);
    let parsed = command.try_get_matches().and_then(|mut matches| Args::from_arg_matches_mut(&mut matches));
    parsed.map_err(|error| match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => match output::to_stdout(&error.render().to_string()) {
            Ok(()) => Exit::Done,
            Err(failure) => {
                output::to_stderr(&failure.render());
                failure.exit
            }
        },
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            output::to_stderr(&error.render().to_string());
            Exit::BadInput
        }
        ErrorKind::MissingSubcommand => {
            output::to_stderr(&Args::command().render_help().to_string());
            Exit::BadInput
        }
        _ => {
            let rendered = with_hints(&error.render().to_string());
            output::to_stderr(&option_of_llama_cpp(&error).map_or(rendered, |refused| refused.render()));
            Exit::BadInput
        }
    })
}

/// Lets every option take a negative number as its value, so that the option itself says what it wants instead. Without
/// this, clap takes the number for an option that does not exist.
fn numbers_may_be_negative(command: clap::Command) -> clap::Command {
    command.mut_args(|arg| match arg.get_long().is_some() && arg.get_action().takes_values() {
        true if !arg.is_allow_hyphen_values_set() => arg.allow_negative_numbers(true),
        _ => arg,
    })
}

/// The refusal of an option that users know from llama.cpp and that assay does not have. `None` for other errors.
fn option_of_llama_cpp(error: &clap::Error) -> Option<Failure> {
    let option = error.get(ContextKind::InvalidArg).filter(|_| error.kind() == ErrorKind::UnknownArgument)?.to_string();
    ["--lora", "--lora-scaled"].contains(&option.as_str()).then(|| {
        let hint =
            "llama.cpp's llama-export-lora merges an adapter into a model file, which assay then takes like any other";
        Failure::input(format!("{option}: assay does not apply adapters to a model"), hint)
    })
}

/// clap's words for a usage error, with its tips as hint lines like everybody else's. Advice to read the help is left out
/// where there is better advice, and so is advice to pass an unknown option as a value.
fn with_hints(rendered: &str) -> String {
    let mut out = String::new();
    let mut has_tip = false;
    for line in rendered.lines().filter(|line| !line.trim().is_empty()) {
        let line = match line.trim_start() {
            tip if tip.starts_with("tip: to pass '--") => continue,
            tip if tip.starts_with("tip: ") => {
                has_tip = true;
                format!("hint: {}", &tip["tip: ".len()..])
            }
            // A value that cannot be read brings its own advice.
            advice if advice.starts_with("hint: ") => {
                has_tip = true;
                line.to_owned()
            }
            more if more.starts_with("For more information, ") && has_tip => continue,
            more if more.starts_with("For more information, ") => {
                format!("hint: {}", &more["For more information, ".len()..])
            }
            _ => line.to_owned(),
        };
        out.push_str(&line);
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn an_adapter_is_refused_with_the_way_to_measure_it() {
        let error = Args::try_parse_from(["assay", "eval", "m.gguf", "--lora", "a.gguf"]).expect_err("no such option");
        let text = option_of_llama_cpp(&error).expect("it is known").render();
        assert!(text.starts_with("error: --lora: assay does not apply adapters") && text.contains("llama-export-lora"));
        let error = Args::try_parse_from(["assay", "eval", "m.gguf", "--lorry"]).expect_err("no such option");
        assert!(option_of_llama_cpp(&error).is_none());
    }

    #[test]
    fn a_usage_error_ends_in_a_hint_line() {
        let error = Args::try_parse_from(["assay", "inspect"]).expect_err("a file is required");
        let text = with_hints(&error.render().to_string());
        assert!(text.starts_with("error: "), "{text}");
        assert!(text.lines().last().is_some_and(|line| line.starts_with("hint: try ")), "{text}");
    }
}
