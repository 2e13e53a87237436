//! `assay chat MODEL`: what the model replies to prompts, and with `--apply` what the variant replies to the same.

use crate::ask;
use crate::failure::{Exit, Outcome};
use crate::output::Output;
use crate::progress::Progress;
use crate::question::QuestionArgs;
use crate::settings::{MachineArgs, SeedArgs};
use crate::worker;
use lab::ask::ChatRequest;
use lab::ask::chat::PROMPTS;
use llama::GgmlCodec;
use record::Sampling;
use record::answer::ChatAnswer;
use std::path::PathBuf;
use words::{Lines, escape_terminal, plural};

/// Arguments of `assay chat`.
#[derive(Debug, clap::Args)]
#[command(mut_arg("ctx", |ctx| ctx.default_value("1024")), mut_arg("seed", |seed| seed.requires("temperature")))]
pub struct ChatArgs {
    /// The GGUF file to talk to; it must have a chat template
    model: PathBuf,
    /// Prompt to answer (may be repeated, each is a conversation of its own) [default: four short prompts]
    #[arg(long, value_name = "TEXT")]
    prompt: Vec<String>,
    /// System message to put in front of each prompt
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,
    /// Chat template to use where the file has several (tokenizer.chat_template.NAME) [default: tokenizer.chat_template]
    #[arg(long, value_name = "NAME")]
    template: Option<String>,
    #[command(flatten)]
    question: QuestionArgs,
    /// Longest answer, in tokens
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=1 << 16))]
    tokens: u32,
    /// Temperature at which tokens are drawn; at 0 the most probable one is always taken
    #[arg(long, value_name = "T", default_value_t = 0.0, value_parser = temperature)]
    temperature: f64,
    #[command(flatten)]
    seed: SeedArgs,
    #[command(flatten)]
    machine: MachineArgs,
}

fn temperature(text: &str) -> Result<f64, String> {
    let wanted = || "wanted a number from 0 to 100".to_string();
    text.parse().ok().filter(|t| (0.0..=100.0).contains(t)).ok_or_else(wanted)
}

/// Runs `assay chat`.
pub fn run(args: &ChatArgs, output: &Output) -> Outcome {
    let request = ChatRequest {
        variant: args.question.about(&args.model)?,
        conditions: args.machine.conditions(),
        prompts: if args.prompt.is_empty() { PROMPTS.map(str::to_owned).to_vec() } else { args.prompt.clone() },
        system: args.system.clone(),
        template: args.template.clone(),
        max_tokens: args.tokens as usize,
        sampling: match args.temperature {
            0.0 => Sampling::Greedy,
            temperature => Sampling::Seeded { temperature, seed: args.seed.seed },
        },
    };
    let mut progress = Progress::new("starting", output.quiet());
    let arm = request.variant.arm.name();
    let begun = |model: &str, n| {
        let conversations = plural(n, "conversation");
        (conversations.clone(), format!("{model}: {arm} arm, {conversations}"))
    };
    let mut hear = |event: lab::ask::AskEvent<'_>| ask::show(&mut progress, event, begun);
    let answer = lab::ask::chat(&request, &worker::workers()?, &GgmlCodec, &mut hear)?;
    drop(progress);
    output.answer(&answer, || text(&answer, output.verbose()))?;
    Ok(Exit::Done)
}

/// The answer as text; `verbose` adds what the model read.
fn text(answer: &ChatAnswer, verbose: bool) -> String {
    let mut out = Lines::new();
    for (i, chat) in answer.chats.iter().enumerate() {
        if i > 0 {
            out.line("");
        }
        out.line(format_args!("> {}", escape_terminal(&chat.prompt)));
        if verbose {
            let n = plural(chat.rendered_tokens, "token");
            out.line(format_args!("rendered prompt ({n}):"));
            out.line(escape_terminal(&chat.rendered));
        }
        if !chat.contains_prompt {
            let see = if verbose { "" } else { "; --verbose shows it" };
            out.line(format_args!("note: the chat template leaves this prompt out of what the model reads{see}"));
        }
        for (who, reply) in [("reference", &chat.reference), ("variant", &chat.variant)] {
            let Some(reply) = reply else { continue };
            let end = if reply.ended { "" } else { ", cut" };
            let n = plural(reply.tokens.len(), "token");
            out.line(format_args!("{who} ({n}{end}): {}", escape_terminal(reply.text.trim())));
        }
        if chat.variant.is_some() {
            match chat.first_divergence {
                Some(token) => out.line(format_args!("they differ from token {token} on")),
                None => out.line("the same, token for token"),
            }
        }
    }
    ask::fallbacks(&answer.fallbacks).iter().for_each(|line| out.line(line));
    out.into_string()
}
