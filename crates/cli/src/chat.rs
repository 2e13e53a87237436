//! `assay chat MODEL`: what the model answers, and with `--apply` what the variant answers to the same.

use crate::failure::{Exit, Failure, Outcome};
use crate::model::Model;
use crate::output::Output;
use crate::progress::Progress;
use crate::session;
use crate::settings;
use crate::variant::{BOTH_USES, Variant, VariantArgs};
use eval::{ChatMessage, EngineSettings, Sampling, first_divergence};
use lab::protocol::{Answer, Arm, Event, Job, SchemeFilePath};
use lab::{Apply, SchemeFiles};
use serde::Serialize;
use std::path::PathBuf;
use words::{Lines, escape_terminal, plural};
use worker::SessionRequest;

/// Asked when nothing else is.
const PROMPTS: [&str; 4] = [
    "Why is the sky blue? Answer in one sentence.",
    "What is 17 + 25? Answer with the number only.",
    "Name three fruits as a JSON array.",
    "Write one sentence about the sea in French.",
];

/// Arguments of `assay chat`.
#[derive(Debug, clap::Args)]
pub struct ChatArgs {
    /// A GGUF file with a chat template
    model: PathBuf,
    /// What to ask (may be repeated, each a conversation of its own); four short questions if left out
    #[arg(long, value_name = "TEXT")]
    prompt: Vec<String>,
    /// A system message in front of each
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,
    #[command(flatten)]
    variant: VariantArgs,
    /// Longest answer
    #[arg(long, value_name = "N", allow_negative_numbers = true, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=1 << 16))]
    tokens: u32,
    /// 0 takes the most probable token each time; more draws from the model's distribution at that temperature
    #[arg(long, value_name = "T", allow_negative_numbers = true, default_value_t = 0.0, value_parser = temperature)]
    temperature: f64,
    /// Seed of the draws
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Longest conversation in tokens
    #[arg(long, value_name = "N", allow_negative_numbers = true, default_value_t = 1024, value_parser = clap::value_parser!(u32).range(8..=1 << 20))]
    ctx: u32,
    /// Threads, 0 for one per core; answers do not depend on it
    #[arg(long, value_name = "N", allow_negative_numbers = true, default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=4096))]
    threads: u32,
    /// Main memory to use at most, such as 8G or 800M; what is available if left out
    #[arg(long, value_name = "SIZE", value_parser = words::parse_size)]
    max_memory: Option<u64>,
}

fn temperature(text: &str) -> Result<f64, String> {
    let wanted = || "wanted a number from 0 to 100".to_string();
    text.parse().ok().filter(|t| (0.0..=100.0).contains(t)).ok_or_else(wanted)
}

/// Runs `assay chat`.
pub fn run(args: &ChatArgs, output: &Output) -> Outcome {
    let mut files = SchemeFiles::default();
    let applies = args.variant.applies(&mut files)?;
    let model = Model::open(&args.model)?;
    model.require_scorable()?;
    let variant = Variant::in_model(applies, &files, args.variant.arm, &model)?;
    let prompts: Vec<String> =
        if args.prompt.is_empty() { PROMPTS.map(str::to_owned).to_vec() } else { args.prompt.clone() };
    let sampling = match args.temperature {
        0.0 => Sampling::Greedy,
        temperature => Sampling::Seeded { temperature, seed: args.seed },
    };
    let message = |role: &str, content: &str| ChatMessage { role: role.into(), content: content.into() };
    let chat = |prompt: &String| {
        args.system.iter().map(|text| message("system", text)).chain([message("user", prompt)]).collect()
    };
    let job = Job::Chat {
        base: variant.base.clone(),
        edits: variant.edits.clone(),
        chats: prompts.iter().map(chat).collect(),
        max_tokens: args.tokens as usize,
        sampling,
    };

    let mut progress = Progress::new(&plural(prompts.len(), "conversation"), output.quiet());
    let arm = variant.base.arm.name();
    progress.say(&format!("{}: {arm} arm, {}", escape_terminal(model.name()), plural(prompts.len(), "conversation")));
    if variant.both_uses {
        progress.say(BOTH_USES);
    }
    let answers = answers(args, &model, &variant.files, &job, variant.edits.is_empty(), prompts.len(), &mut progress)?;
    drop(progress);
    let document = Document {
        model: model.name(),
        arm: variant.base.arm,
        apply: variant.applies.iter().map(Apply::to_string).collect(),
        sampling,
        max_tokens: args.tokens,
        n_ctx: args.ctx,
        chats: chats(&prompts, answers),
    };
    output.answer(&document, || document.text())?;
    Ok(Exit::Done)
}

/// Lets a worker do the job.
fn answers(
    args: &ChatArgs,
    model: &Model,
    files: &[SchemeFilePath],
    job: &Job,
    alone: bool,
    n_chats: usize,
    progress: &mut Progress,
) -> Result<Vec<Answer>, Failure> {
    let mut session = session::open(&SessionRequest {
        model: model.file.path().to_owned(),
        name: model.name(),
        settings: EngineSettings::pinned(args.ctx),
        n_threads: args.threads as usize,
        max_memory_bytes: args.max_memory.or_else(settings::available_memory),
        files: files.to_vec(),
    })?;
    let units = if alone { n_chats } else { 2 * n_chats };
    let mut answers = Vec::new();
    session::hear(&mut session, job, &mut |event| {
        match event {
            Event::Memory(plan) => progress.say(&format!("memory {}", plan.words())),
            Event::Note { text } => progress.say(&text),
            Event::Answered(answer) => {
                answers.push(answer);
                progress.at(answers.len(), units);
            }
            _ => {}
        }
        Ok(())
    })?;
    Ok(answers)
}

/// The answer in JSON.
#[derive(Serialize)]
struct Document {
    model: String,
    arm: Arm,
    apply: Vec<String>,
    sampling: Sampling,
    max_tokens: u32,
    n_ctx: u32,
    chats: Vec<Chat>,
}

#[derive(Serialize)]
struct Chat {
    prompt: String,
    reference: Option<Said>,
    /// `null` without `--apply`.
    variant: Option<Said>,
    /// Position of the first token that differs; `null` when none does, or without `--apply`.
    first_divergence: Option<usize>,
}

#[derive(Serialize)]
struct Said {
    text: String,
    tokens: Vec<i32>,
    /// The model ended it; otherwise it was cut at the longest allowed.
    ended: bool,
}

fn chats(prompts: &[String], answers: Vec<Answer>) -> Vec<Chat> {
    let mut chats: Vec<Chat> = prompts
        .iter()
        .map(|prompt| Chat { prompt: prompt.clone(), reference: None, variant: None, first_divergence: None })
        .collect();
    for answer in answers {
        if let Some(chat) = chats.get_mut(answer.chat) {
            let said = Said { text: answer.text, tokens: answer.tokens, ended: answer.ended };
            *(if answer.is_variant { &mut chat.variant } else { &mut chat.reference }) = Some(said);
        }
    }
    for chat in &mut chats {
        if let (Some(reference), Some(variant)) = (&chat.reference, &chat.variant) {
            chat.first_divergence = first_divergence(&reference.tokens, &variant.tokens);
        }
    }
    chats
}

impl Document {
    fn text(&self) -> String {
        let mut out = Lines::new();
        for (i, chat) in self.chats.iter().enumerate() {
            if i > 0 {
                out.line("");
            }
            out.line(format_args!("> {}", escape_terminal(&chat.prompt)));
            for (who, said) in [("reference", &chat.reference), ("variant", &chat.variant)] {
                let Some(said) = said else { continue };
                let end = if said.ended { "" } else { ", cut" };
                let n = plural(said.tokens.len(), "token");
                out.line(format_args!("{who} ({n}{end}): {}", escape_terminal(said.text.trim())));
            }
            if chat.variant.is_some() {
                match chat.first_divergence {
                    Some(token) => out.line(format_args!("they differ from token {token} on")),
                    None => out.line("the same, token for token"),
                }
            }
        }
        out.into_string()
    }
}
