//! `assay sweep MODEL`: one layer at a time is quantized, and the layers are ranked by KL divergence; with `--race` only
//! for as long as it is open which are the worst.

use crate::advice;
use crate::ask;
use crate::failure::{Exit, Outcome};
use crate::output::Output;
use crate::progress::Progress;
use crate::question::QuestionArgs;
use crate::settings::{MachineArgs, SeedArgs, SpecialArgs, TextArgs};
use crate::table::{Align, render};
use crate::worker;
use lab::ask::{RaceRequest, SweepRequest};
use llama::GgmlCodec;
use record::answer::{LayerStanding, RaceTerms, SweepAnswer, SweptLayer};
use select::Apply;
use std::collections::BTreeSet;
use std::path::PathBuf;
use words::{Lines, count, difference, divergence, escape_terminal, of, plural, share, standard_error};

/// Arguments of `assay sweep`.
#[derive(Debug, clap::Args)]
#[command(mut_arg("apply", |apply| apply.required(true)), mut_arg("seed", |seed| seed.requires("race")))]
pub struct SweepArgs {
    /// The GGUF file whose layers are ranked
    model: PathBuf,
    #[command(flatten)]
    question: QuestionArgs,
    /// Stop measuring a layer once it is clear whether it is among the K worst [default of K: 5]
    #[arg(long, value_name = "K", num_args = 0..=1, default_missing_value = "5", value_parser = clap::value_parser!(u32).range(1..))]
    race: Option<u32>,
    /// With --race: accept a layer among the K worst if its KL divergence is at least (1 - E) times that of the Kth worst
    #[arg(long, value_name = "E", requires = "race", default_value_t = 0.1, value_parser = share_of_one)]
    epsilon: f64,
    /// With --race: highest chance of any wrong decision, assuming that windows are alike
    #[arg(long, value_name = "A", requires = "race", default_value_t = 0.05, value_parser = share_of_one)]
    alpha: f64,
    /// With --race: do not rank layers whose mean KL divergence is below this
    #[arg(long, value_name = "NATS", requires = "race", value_parser = share_of_one)]
    null: Option<f64>,
    #[command(flatten)]
    seed: SeedArgs,
    #[command(flatten)]
    text: TextArgs,
    #[command(flatten)]
    special: SpecialArgs,
    #[command(flatten)]
    machine: MachineArgs,
}

/// A number above 0 and below 1.
fn share_of_one(text: &str) -> Result<f64, String> {
    text.parse::<f64>().ok().filter(|x| *x > 0.0 && *x < 1.0).ok_or_else(|| "wanted a number between 0 and 1".into())
}

/// Runs `assay sweep`.
pub fn run(args: &SweepArgs, output: &Output) -> Outcome {
    let request = SweepRequest {
        variant: args.question.about(&args.model)?,
        conditions: args.machine.conditions(),
        corpus: args.special.corpus(&args.text)?,
        windows: args.text.windows(),
        seed: args.seed.seed,
        race: args.race.map(|top| RaceRequest {
            top: top as usize,
            epsilon: args.epsilon,
            alpha: args.alpha,
            null_nats: args.null,
        }),
    };
    let mut progress = Progress::new("starting", output.quiet());
    let applies = request.variant.applies.iter().map(Apply::to_string).collect::<Vec<_>>().join(" ");
    let (applied, text_name) = (escape_terminal(applies), escape_terminal(&request.corpus.name));
    let arm = request.variant.arm.name();
    let begun = |model: &str, n| {
        let layers = plural(n, "layer");
        let line = format!("{model}: {applied} on each of {layers} singly, {arm} arm, text {text_name}");
        (layers, line)
    };
    let mut hear = |event: lab::ask::AskEvent<'_>| ask::show(&mut progress, event, begun);
    let answer = lab::ask::sweep(&request, &worker::workers()?, &GgmlCodec, &mut hear)?;
    drop(progress);
    output.answer(&answer, || text(&answer))?;
    Ok(if answer.layers.iter().any(|layer| layer.failure.is_some()) { Exit::Engine } else { Exit::Done })
}

fn text(answer: &SweepAnswer) -> String {
    let mut out = Lines::new();
    // Models without routers have no such metric.
    let has_routers = answer.layers.iter().any(|layer| layer.metrics.get(ROUTING_FLIPS).is_some());
    let mut columns = vec![
        ("layer", Align::Right),
        ("KLD mean", Align::Right),
        ("± se", Align::Right),
        ("same top", Align::Right),
        ("Δ ln PPL", Align::Right),
        ("windows", Align::Right),
        (if answer.race.is_some() { "race" } else { "" }, Align::Left),
    ];
    if has_routers {
        columns.insert(FLIPS_COLUMN, ("routing flips", Align::Right));
    }
    let mut layers: Vec<&SweptLayer> = answer.layers.iter().collect();
    let place =
        |layer: &SweptLayer| answer.ranking.iter().position(|ranked| *ranked == layer.layer).unwrap_or(usize::MAX);
    let kld = |layer: &SweptLayer| layer.metrics.get("kld_mean").unwrap_or(-1.0);
    layers.sort_by(|a, b| place(a).cmp(&place(b)).then(kld(b).total_cmp(&kld(a))).then(a.layer.cmp(&b.layer)));
    out.text(&render(&columns, layers.iter().map(|layer| cells(layer, has_routers))));
    ask::fallbacks(&answer.settings.fallbacks).iter().for_each(|line| out.line(line));
    for layer in &answer.layers {
        if let Some(why) = &layer.failure {
            out.line(format_args!("layer {} was not measured: {}", layer.layer, escape_terminal(why)));
        }
    }
    for layer in answer.layers.iter().filter(|layer| layer.n_unused > 0) {
        let what = match layer.dead {
            true => "DEAD: the engine's graph uses none of the target there".to_owned(),
            false => {
                format!("the engine's graph does not use {}, which stay as they are", plural(layer.n_unused, "tensor"))
            }
        };
        out.line(format_args!("layer {}: {what}", layer.layer));
    }
    // Layers that fail together have the same advice.
    let advice: BTreeSet<String> =
        answer.layers.iter().filter_map(|layer| layer.advice.as_ref()).map(advice::words).collect();
    for hint in advice {
        out.line(format_args!("hint: {}", escape_terminal(hint)));
    }
    if let Some(race) = &answer.race {
        raced(answer, race, &mut out);
    }
    out.into_string()
}

/// The metric of models with routers.
const ROUTING_FLIPS: &str = "routing_flips";
/// The column of routing flips, where a model has routers.
const FLIPS_COLUMN: usize = 5;

fn cells(layer: &SweptLayer, has_routers: bool) -> Vec<String> {
    let mut cells = vec![
        layer.layer.to_string(),
        layer.metrics.get("kld_mean").map_or("-".into(), divergence),
        layer.metrics.get("kld_se").map_or("-".into(), standard_error),
        layer.metrics.get("same_top").map_or("-".into(), share),
        layer.metrics.get("dlnppl").map_or("-".into(), difference),
        layer.n_chunks.to_string(),
        layer.standing.map(LayerStanding::name).unwrap_or_default().to_owned(),
    ];
    if has_routers {
        cells.insert(FLIPS_COLUMN, layer.metrics.get(ROUTING_FLIPS).map_or("-".into(), share));
    }
    cells
}

fn raced(answer: &SweepAnswer, race: &RaceTerms, out: &mut Lines) {
    let n = count(answer.settings.n_chunks as u64);
    out.line(format_args!(
        "race: measured {} windows, counted over all layers",
        of(answer.measured_chunks as u64, answer.all_chunks as u64)
    ));
    let below = share(race.epsilon);
    match race.top {
        1 => out.line(format_args!(
            "The ranked layer is the worst over all {n} windows, or its KLD is at most {below} below the worst one's."
        )),
        top => out.line(format_args!(
            "Each ranked layer is one of the {top} worst over all {n} windows, or its KLD is at most {below} below the last of them."
        )),
    }
    if answer.layers.iter().any(|layer| layer.n_chunks < answer.settings.n_chunks) {
        out.line(format_args!(
            "Where windows are alike, the chance that any decision is wrong is at most {}; a rare kind of window that was not \
             measured can overturn them.",
            share(race.alpha)
        ));
        out.line(
            "Each mean is over as many windows as its row says, so means over different windows do not rank layers.",
        );
    }
    for [inside, outside] in &answer.ties {
        out.line(format_args!("tie: on another text of this kind, layer {outside} might lie above layer {inside}"));
    }
}
