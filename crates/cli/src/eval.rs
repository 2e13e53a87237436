//! `assay eval MODEL`: perplexity, and with `--apply` the distance from the untouched model.

use crate::ask;
use crate::failure::{Exit, Outcome};
use crate::output::Output;
use crate::progress::Progress;
use crate::question::QuestionArgs;
use crate::settings::{MachineArgs, SpecialArgs, TextArgs};
use crate::worker;
use lab::ask::EvalRequest;
use llama::GgmlCodec;
use record::answer::{ChangedTarget, EvalAnswer, HeadAttention, LayerResidual, LayerRouting};
use record::{Arm, EditPlace};
use std::path::PathBuf;
use words::{
    Lines, bits, count, deviation, difference, divergence, entropy, escape_terminal, of, perplexity, plural,
    plus_minus, share, standard_error,
};

/// Arguments of `assay eval`.
#[derive(Debug, clap::Args)]
pub struct EvalArgs {
    /// The GGUF file to measure
    model: PathBuf,
    #[command(flatten)]
    question: QuestionArgs,
    /// For each layer, print how far its output is from the untouched model's (slower)
    #[arg(long)]
    trace: bool,
    /// Compare what each attention head looks at; runs both models without flash attention
    #[arg(long)]
    attention: bool,
    #[command(flatten)]
    text: TextArgs,
    #[command(flatten)]
    special: SpecialArgs,
    #[command(flatten)]
    machine: MachineArgs,
}

/// Runs `assay eval`.
pub fn run(args: &EvalArgs, output: &Output) -> Outcome {
    let request = EvalRequest {
        variant: args.question.about(&args.model)?,
        conditions: args.machine.conditions(),
        corpus: args.special.corpus(&args.text)?,
        windows: args.text.windows(),
        trace: args.trace,
        attention: args.attention,
    };
    let mut progress = Progress::new("starting", output.quiet());
    let (arm, text_name) = (request.variant.arm.name(), escape_terminal(&request.corpus.name));
    let n_ctx = count(request.conditions.n_ctx.into());
    let begun = |model: &str, n| {
        let windows = plural(n, "window");
        let line = format!("{model}: {arm} arm, text {text_name}, up to {windows} of {n_ctx} tokens");
        (windows, line)
    };
    let mut hear = |event: lab::ask::AskEvent<'_>| ask::show(&mut progress, event, begun);
    let answer = lab::ask::eval(&request, &worker::workers()?, &GgmlCodec, &mut hear)?;
    drop(progress);
    output.answer(&answer, || text(&answer))?;
    Ok(Exit::Done)
}

fn text(answer: &EvalAnswer) -> String {
    let mut out = Lines::new();
    let (n, n_ctx) = (plural(answer.n_chunks, "window"), count(answer.settings.engine.n_ctx.into()));
    let (ppl, error, scored) = (perplexity(number(answer, "ppl")), error(answer), count(answer.n_tokens as u64));
    out.line(format_args!("PPL {ppl} {error}, {n} of {n_ctx} tokens, {scored} scored"));
    let per_byte =
        answer.metrics.get("bits_per_byte").map_or(String::new(), |x| format!(", {} bits per byte", bits(x)));
    out.line(format_args!("NLL {} nats a token{per_byte}", perplexity(number(answer, "nll_nats"))));
    compared(answer, &mut out);
    out.into_string()
}

/// A number that was measured.
fn number(answer: &EvalAnswer, key: &str) -> f64 {
    answer.metrics.get(key).unwrap_or(f64::NAN)
}

fn error(answer: &EvalAnswer) -> String {
    match answer.metrics.get("ppl_se") {
        Some(se) => format!("± {} (by window)", standard_error(se)),
        None => format!("± {} (i.i.d.; too few windows for more)", standard_error(number(answer, "ppl_se_iid"))),
    }
}

/// The variant beside its reference; nothing without a variant.
fn compared(answer: &EvalAnswer, out: &mut Lines) {
    let metric = |key| answer.metrics.get(key);
    let (Some(ppl_ref), Some(dlnppl)) = (metric("ppl_ref"), metric("dlnppl")) else { return };
    let (Some(kld_mean), Some(same_top)) = (metric("kld_mean"), metric("same_top")) else { return };
    let values: u64 = answer.changed.iter().map(|target| target.n).sum();
    let changed: u64 = answer.changed.iter().map(|target| target.changed).sum();
    let applied = escape_terminal(answer.settings.apply.join(" "));
    let is_node = |target: &&ChangedTarget| target.place == EditPlace::Activation;
    let nodes = answer.changed.iter().filter(is_node).count();
    let unused = answer.changed.iter().filter(|target| target.unused).count();
    let places = [(answer.changed.len() - nodes - unused, "tensor"), (nodes, "graph node")];
    let places = places.iter().filter(|(n, _)| *n > 0).map(|(n, what)| plural(*n, what));
    let (places, changed) = (places.collect::<Vec<_>>().join(" and "), of(changed, values));
    let signs = answer.changed.iter().fold((0, 0), |sum, target| (sum.0 + target.zero_sign, sum.1 + target.minus_zero));
    if answer.dead {
        out.line(format_args!(
            "{applied}: DEAD, the engine's graph uses none of the target, so its values cannot matter"
        ));
    } else {
        out.line(format_args!("{applied}: {changed} values changed in {places}{}", ask::signs(signs)));
    }
    let rounded: u64 = answer.changed.iter().map(|target| target.carrier_rounded).sum();
    if rounded > 0 {
        let rounded = of(rounded, values);
        out.line(format_args!("what stores them rounds {rounded} values away from what the scheme asked for"));
    }
    ask::fallbacks(&answer.settings.fallbacks).iter().for_each(|line| out.line(line));
    if unused > 0 && !answer.dead {
        out.line(format_args!(
            "the engine's graph does not use {}, which stay as they are; --json names them all as `unused`",
            plural(unused, "tensor")
        ));
    }
    let (ppl_ref, change) = (perplexity(ppl_ref), difference(dlnppl) + &plus_minus(metric("dlnppl_se")));
    out.line(format_args!("reference PPL {ppl_ref}, Δ ln PPL {change}"));
    out.line(format_args!(
        "KLD mean {}{}, median {}, p99 {}, max {} nats",
        divergence(kld_mean),
        plus_minus(metric("kld_se")),
        divergence(number(answer, "kld_median")),
        divergence(number(answer, "kld_p99")),
        divergence(number(answer, "kld_max")),
    ));
    if let (Some(reverse), Some(tv)) = (metric("kld_reverse"), metric("tv")) {
        let (reverse_se, tv_se) = (plus_minus(metric("kld_reverse_se")), plus_minus(metric("tv_se")));
        let (reverse, tv) = (divergence(reverse) + &reverse_se, divergence(tv) + &tv_se);
        out.line(format_args!("reverse KLD {reverse} nats, total variation {tv}"));
    }
    let scored = count(answer.n_tokens as u64);
    let logits = match metric("logits_changed").map(|n| n as u64) {
        Some(0) => ", all logits bit-equal".to_owned(),
        Some(n) => format!(", logits differ at {} of {scored} positions", count(n)),
        None => String::new(),
    };
    let deeper = ["same_top_2", "same_top_3", "same_top_4", "same_top_5"].map(|key| metric(key).map(share));
    let deeper: Vec<String> = deeper.into_iter().flatten().collect();
    let deeper = if deeper.is_empty() { String::new() } else { format!(" (2 … 5: {})", deeper.join(", ")) };
    out.line(format_args!("same top {}{deeper}{logits}", share(same_top)));
    if let Some(layers) = &answer.routing {
        routing(answer, layers, out);
    }
    if let Some(layers) = &answer.residual {
        residual(layers, out);
    }
    if let Some(heads) = &answer.attention {
        attention(heads, out);
    }
    if answer.settings.arm == Arm::Native {
        out.line("the native arm has a perturbation floor; `assay run` measures it");
    }
}

/// What a variant does to the choices of routers: over all of them, then layer by layer.
fn routing(answer: &EvalAnswer, layers: &[LayerRouting], out: &mut Lines) {
    let mean = |key: &str, se: &str| {
        let error = answer.metrics.get(se).map_or(String::new(), |se| format!(" ± {}", share(se)));
        share(number(answer, key)) + &error
    };
    let flips = mean("routing_flips", "routing_flips_se");
    let changed = mean("experts_changed", "experts_changed_se");
    let routers = plural(layers.len(), "router");
    out.line(format_args!(
        "routing: {routers}, other experts for {flips} of token-layer pairs, {changed} of chosen experts changed"
    ));
    if layers.iter().all(|layer| layer.routing_flips == 0.0) {
        return;
    }
    out.line("routing flips of each layer, share of tokens:");
    for six in layers.chunks(6) {
        let cells = six.iter().map(|layer| format!("{:>4} {:<9}", layer.layer, share(layer.routing_flips)));
        out.line(cells.collect::<Vec<_>>().join(" ").trim_end());
    }
}

fn residual(layers: &[LayerResidual], out: &mut Lines) {
    out.line("residual stream after each layer, relative error:");
    for six in layers.chunks(6) {
        let cells = six.iter().map(|layer| format!("{:>4} {:<9}", layer.layer, deviation(layer.rel_rmse)));
        out.line(cells.collect::<Vec<_>>().join(" ").trim_end());
    }
}

fn attention(heads: &[HeadAttention], out: &mut Lines) {
    let heads_in_all = plural(heads.len(), "head");
    out.line(format_args!("attention of {heads_in_all}, flash attention off; most shifted:"));
    let mut most: Vec<&HeadAttention> = heads.iter().collect();
    most.sort_by(|a, b| b.jsd_nats.total_cmp(&a.jsd_nats));
    for head in most.iter().take(5) {
        out.line(format_args!(
            "  layer {:>2} head {:>2}: JSD {} nats, entropy {} → {}, first position {} → {}",
            head.layer,
            head.head,
            divergence(head.jsd_nats),
            entropy(head.entropy_ref_nats),
            entropy(head.entropy_var_nats),
            share(head.sink_ref),
            share(head.sink_var),
        ));
    }
}
