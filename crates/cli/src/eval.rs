//! `assay eval MODEL`: perplexity, and with `--apply` the distance from the untouched model.

mod hellaswag;

use crate::corpus;
use crate::failure::{Exit, Failure, Outcome};
use crate::model::Model;
use crate::output::Output;
use crate::progress::Progress;
use crate::session;
use crate::settings::SettingsArgs;
use crate::variant::{BOTH_USES, Variant, VariantArgs};
use ::eval::{EngineInfo, EngineSettings, HeadShift, LayerError};
use anyhow::anyhow;
use lab::cell::Cell;
use lab::evidence;
use lab::protocol::{Arm, AttentionSample, ChunkWork, Event, Job, Place, ReferenceSample, Sample};
use lab::record::{CellRecord, Extent, Role, StageName};
use lab::store::CellSamples;
use lab::{Apply, Corpus, SchemeFiles};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::PathBuf;
use words::{
    Lines, bits, count, deviation, difference, divergence, entropy, escape_terminal, of, perplexity, plural,
    plus_minus, share, standard_error,
};
use worker::SessionRequest;

/// Arguments of `assay eval`.
#[derive(Debug, clap::Args)]
pub struct EvalArgs {
    /// A GGUF file
    model: PathBuf,
    #[command(flatten)]
    variant: VariantArgs,
    /// Show how far the residual stream is from the reference's after each layer; every pass is a full one then
    #[arg(long, requires = "apply")]
    trace: bool,
    /// Compare what each attention head looks at; flash attention is off for reference and variant then
    #[arg(long, requires = "apply")]
    attention: bool,
    /// Score the HellaSwag tasks of a file (six lines a task, as llama-perplexity --hellaswag reads them) instead of a text
    #[arg(long, value_name = "FILE", conflicts_with_all = ["text", "trace", "attention"])]
    hellaswag: Option<PathBuf>,
    /// With --hellaswag: tasks to score, at most, in the order that llama-perplexity takes them in
    #[arg(long, value_name = "N", requires = "hellaswag", default_value_t = 400, value_parser = clap::value_parser!(u32).range(1..))]
    tasks: u32,
    #[command(flatten)]
    settings: SettingsArgs,
}

/// What is to be measured, checked.
struct Request {
    model: PathBuf,
    name: String,
    corpus: Corpus,
    settings: EngineSettings,
    chunks: usize,
    n_threads: usize,
    variant: Variant,
    max_memory_bytes: Option<u64>,
    trace: bool,
    attention: bool,
}

/// Runs `assay eval`.
pub fn run(args: &EvalArgs, output: &Output) -> Outcome {
    if let Some(path) = &args.hellaswag {
        return hellaswag::run(args, path, output);
    }
    let request = Request::from_args(args)?;
    let mut progress = Progress::new(&plural(request.chunks, "window"), output.quiet());
    progress.say(&request.words());
    if request.variant.both_uses {
        progress.say(BOTH_USES);
    }
    let measured = measure(&request, &mut progress)?;
    drop(progress);
    let answer = measured.answer(&request)?;
    output.answer(&answer, || answer.text())?;
    Ok(Exit::Done)
}

impl Request {
    fn from_args(args: &EvalArgs) -> Result<Self, Failure> {
        let mut files = SchemeFiles::default();
        let applies = args.variant.applies(&mut files)?;
        let corpus = corpus::read(args.settings.text.as_deref())?;
        let model = Model::open(&args.model)?;
        model.require_scorable()?;
        let variant = Variant::in_model(applies, &files, args.variant.arm, &model)?;
        Ok(Request {
            // Of a split model the first shard, whichever was named: the engine opens no other.
            model: model.file.path().to_owned(),
            name: model.name(),
            corpus,
            settings: EngineSettings { flash_attn: !args.attention, ..args.settings.engine() },
            chunks: args.settings.chunks as usize,
            n_threads: args.settings.threads as usize,
            max_memory_bytes: args.settings.max_memory_bytes(),
            variant,
            trace: args.trace,
            attention: args.attention,
        })
    }

    /// The one variant; without edits there is none.
    fn cell(&self, chunks: usize) -> Option<Cell> {
        let joined = |words: Vec<String>| words.join(" ");
        (!self.variant.edits.is_empty()).then(|| Cell {
            key: "variant".into(),
            stage: StageName::of("all_layers"),
            extent: Extent::Whole,
            role: Role::Variant,
            target: joined(self.variant.applies.iter().map(|apply| apply.selector.to_string()).collect()),
            scheme: joined(self.variant.applies.iter().map(|apply| apply.scheme.to_string()).collect()),
            layers: Vec::new(),
            base: self.variant.base.clone(),
            edits: self.variant.edits.clone(),
            chunks: (0..chunks).collect(),
        })
    }

    /// What is printed of them.
    fn settings_of(&self, info: &EngineInfo) -> Settings {
        Settings {
            model: self.name.clone(),
            arch: info.arch.clone(),
            arm: self.variant.base.arm,
            apply: self.variant.applies.iter().map(Apply::to_string).collect(),
            text: self.corpus.name.clone(),
            text_bytes: self.corpus.text.len(),
            engine: self.settings.clone(),
            n_threads: info.n_threads,
            build: info.build.clone(),
            assay_version: env!("CARGO_PKG_VERSION"),
        }
    }

    fn words(&self) -> String {
        let arm = self.variant.base.arm.name();
        let (n, n_ctx) = (plural(self.chunks, "window"), self.settings.n_ctx);
        let text = escape_terminal(&self.corpus.name);
        format!("{}: {arm} arm, text {text}, up to {n} of {n_ctx} tokens", escape_terminal(&self.name))
    }
}

/// What the worker said.
struct Measurement {
    info: EngineInfo,
    chunks: usize,
    /// Bytes of text that the scored tokens stand for.
    scored_bytes: u64,
    reference: Vec<ReferenceSample>,
    samples: CellSamples,
    attention: Vec<AttentionSample>,
}

fn measure(request: &Request, progress: &mut Progress) -> Result<Measurement, Failure> {
    let mut session = session::open(&SessionRequest {
        model: request.model.clone(),
        name: request.name.clone(),
        settings: request.settings.clone(),
        n_threads: request.n_threads,
        max_memory_bytes: request.max_memory_bytes,
        files: request.variant.files.clone(),
    })?;
    let bytes_by_chunk = session::cut(&mut session, &request.corpus)?.window_scored_bytes;
    let chunks = bytes_by_chunk.len().min(request.chunks);
    if chunks < request.chunks {
        let there = plural(chunks, "window");
        progress.say(&format!("the text has {there}, {} were asked for; all of it is used", request.chunks));
    }

    let cells: Vec<_> = request.cell(chunks).iter().map(lab::cell::spec).collect();
    let work = (0..chunks).map(|chunk| ChunkWork { chunk, cells: (0..cells.len()).collect() }).collect();
    let units = chunks * (1 + cells.len());
    let (base, trace) = (request.variant.base.clone(), request.trace);
    let job = Job::Measure { base, cells, chunks: work, trace };
    let mut measured = Measurement {
        info: session.info.clone(),
        chunks,
        scored_bytes: bytes_by_chunk[..chunks].iter().sum(),
        reference: Vec::new(),
        samples: CellSamples::default(),
        attention: Vec::new(),
    };
    session::hear(&mut session, &job, &mut |event| {
        match event {
            Event::Memory(plan) => progress.say(&format!("memory {}", plan.words())),
            Event::Note { text } => progress.say(&text),
            Event::Reference(sample) => measured.reference.push(sample),
            Event::Applied { tensors, .. } => measured.samples.applied = Some(tensors),
            Event::Sample(sample) => {
                measured.samples.by_chunk.insert(sample.chunk, sample);
            }
            Event::CellFailed { why, .. } => {
                let error = anyhow!("{}: the variant cannot be measured: {why}", request.name);
                return Err(Failure { exit: Exit::Engine, error });
            }
            _ => {}
        }
        progress.at(measured.reference.len() + measured.samples.by_chunk.len(), units);
        Ok(())
    })?;
    measured.reference.sort_by_key(|sample| sample.chunk);
    if request.attention {
        let (base, edits) = (request.variant.base.clone(), request.variant.edits.clone());
        progress.say("comparing attention");
        let job = Job::Attention { base, edits, chunks: (0..chunks).collect() };
        session::hear(&mut session, &job, &mut |event| {
            if let Event::Attention(sample) = event {
                measured.attention.push(sample);
                progress.at(measured.attention.len(), chunks);
            }
            Ok(())
        })?;
    }
    Ok(measured)
}

/// The answer in JSON. Without `--apply` everything about a reference is `null`.
#[derive(Serialize)]
struct Answer {
    ppl: f64,
    /// Clustered by window; `null` below 8 windows.
    ppl_se: Option<f64>,
    ppl_se_iid: f64,
    nll_nats: f64,
    bits_per_byte: Option<f64>,
    n_tokens: usize,
    n_chunks: usize,
    ppl_ref: Option<f64>,
    kld_mean: Option<f64>,
    kld_se: Option<f64>,
    kld_se_iid: Option<f64>,
    kld_median: Option<f64>,
    kld_p99: Option<f64>,
    kld_max: Option<f64>,
    same_top: Option<f64>,
    dlnppl: Option<f64>,
    dlnppl_se: Option<f64>,
    dlnppl_se_iid: Option<f64>,
    logits_changed: Option<usize>,
    changed: Vec<ChangedRow>,
    /// With `--trace`: after each layer, √(Σ (variant − reference)² / Σ reference²) of the residual stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    residual: Option<Vec<ResidualRow>>,
    /// With `--attention`: means over query positions of all windows.
    #[serde(skip_serializing_if = "Option::is_none")]
    attention: Option<Vec<HeadRow>>,
    settings: Settings,
}

/// What one attention head looks at.
#[derive(Serialize)]
struct HeadRow {
    layer: usize,
    head: usize,
    n: u64,
    jsd_nats: f64,
    entropy_ref_nats: f64,
    entropy_var_nats: f64,
    sink_ref: f64,
    sink_var: f64,
}

/// The residual stream as it leaves a layer.
#[derive(Serialize)]
struct ResidualRow {
    layer: usize,
    rel_rmse: f64,
}

/// What `--apply` did to a tensor, as read back from the engine, or to a node's values in the first window.
#[derive(Serialize)]
struct ChangedRow {
    name: String,
    place: Place,
    scheme: String,
    n: u64,
    changed: u64,
    /// Values that are not held as the scheme left them: the KV cache rounds to its own type.
    carrier_rounded: u64,
    rel_rmse: f64,
}

#[derive(Serialize)]
struct Settings {
    model: String,
    arch: String,
    arm: Arm,
    apply: Vec<String>,
    text: String,
    text_bytes: usize,
    #[serde(flatten)]
    engine: EngineSettings,
    n_threads: usize,
    build: String,
    assay_version: &'static str,
}

impl Measurement {
    fn answer(&self, request: &Request) -> Result<Answer, Failure> {
        let variant = request.cell(self.chunks).map(|cell| evidence::derive(&cell, &self.samples, None)).transpose()?;
        let nll: Vec<&[f64]> = match &variant {
            Some(_) => self.samples.by_chunk.values().map(|sample: &Sample| sample.nll.as_slice()).collect(),
            None => self.reference.iter().map(|sample| sample.nll.as_slice()).collect(),
        };
        let mean = stats::mean(&nll)?;
        let ppl = mean.mean.exp();
        let bits = mean.mean * mean.n as f64 / std::f64::consts::LN_2;
        let measured = variant.as_ref().and_then(|record: &CellRecord| record.measured.as_ref());
        let about = |f: fn(&lab::record::Measured) -> f64| measured.map(f);
        Ok(Answer {
            ppl,
            // The exponential's derivative is itself.
            ppl_se: mean.se.map(|se| ppl * se),
            ppl_se_iid: ppl * mean.se_iid,
            nll_nats: mean.mean,
            bits_per_byte: (self.scored_bytes > 0).then(|| bits / self.scored_bytes as f64),
            n_tokens: mean.n,
            n_chunks: mean.n_chunks,
            ppl_ref: about(|m| m.ppl_ref),
            kld_mean: about(|m| m.kld.mean),
            kld_se: measured.and_then(|m| m.kld.se),
            kld_se_iid: about(|m| m.kld.se_iid),
            kld_median: about(|m| m.kld_median),
            kld_p99: about(|m| m.kld_p99),
            kld_max: about(|m| m.kld_max),
            same_top: about(|m| m.same_top),
            dlnppl: about(|m| m.dlnppl.mean),
            dlnppl_se: measured.and_then(|m| m.dlnppl.se),
            dlnppl_se_iid: about(|m| m.dlnppl.se_iid),
            logits_changed: measured.map(|m| m.logits_changed),
            changed: variant.as_ref().map(|record| changed(record, request)).unwrap_or_default(),
            attention: request.attention.then(|| self.heads()),
            residual: if request.trace { Some(self.residual(request)?) } else { None },
            settings: request.settings_of(&self.info),
        })
    }
}

impl Measurement {
    /// Means over query positions, windows in order.
    fn heads(&self) -> Vec<HeadRow> {
        let mut sums: BTreeMap<(usize, usize), HeadShift> = BTreeMap::new();
        for (layer, heads) in self.attention.iter().flat_map(|sample| &sample.layers) {
            for (head, shift) in heads.iter().enumerate() {
                sums.entry((*layer, head)).or_default().join(shift);
            }
        }
        let row = |((layer, head), sum): ((usize, usize), HeadShift)| {
            let n = sum.n as f64;
            HeadRow {
                layer,
                head,
                n: sum.n,
                jsd_nats: sum.jsd / n,
                entropy_ref_nats: sum.entropy_ref / n,
                entropy_var_nats: sum.entropy_var / n,
                sink_ref: sum.sink_ref / n,
                sink_var: sum.sink_var / n,
            }
        };
        sums.into_iter().map(row).collect()
    }

    /// Over all windows. What lies before the first layer that was touched must be the reference's, bit for bit.
    fn residual(&self, request: &Request) -> Result<Vec<ResidualRow>, Failure> {
        let windows: Vec<&[LayerError]> =
            self.samples.by_chunk.values().map(|sample| sample.residual.as_slice()).collect();
        let n_layer = windows.iter().map(|layers| layers.len()).max().unwrap_or(0);
        if n_layer == 0 {
            let error = anyhow!(
                "{}: the graph of {} names no layers, so there is nothing to trace\nhint: leave --trace out",
                request.name,
                self.info.arch
            );
            return Err(Failure { exit: Exit::BadInput, error });
        }
        let first = lab::select::first_layer(&request.variant.edits);
        let rows = (0..n_layer).map(|layer| {
            let mut sum = LayerError::default();
            for error in windows.iter().filter_map(|layers| layers.get(layer)) {
                sum.squared_error += error.squared_error;
                sum.squared_reference += error.squared_reference;
            }
            ResidualRow { layer, rel_rmse: sum.relative().min(f64::MAX) }
        });
        let rows: Vec<ResidualRow> = rows.collect();
        match rows.iter().find(|row| row.layer < first && row.rel_rmse != 0.0) {
            None => Ok(rows),
            Some(row) => {
                let error = anyhow!(
                    "{}: the residual stream differs after layer {} ({}), before anything was touched; results are withheld\nhint: this is a fault of assay; please report it",
                    request.name,
                    row.layer,
                    deviation(row.rel_rmse)
                );
                Err(Failure { exit: Exit::ControlFailed, error })
            }
        }
    }
}

fn changed(record: &CellRecord, request: &Request) -> Vec<ChangedRow> {
    // The evidence comes in the order of the edits.
    let edits = request.variant.edits.iter().zip(&record.evidence.tensors);
    edits
        .map(|(edit, found)| ChangedRow {
            name: found.tensor.clone(),
            place: edit.place,
            scheme: edit.scheme.clone(),
            n: found.n,
            changed: found.changed,
            carrier_rounded: found.carrier_rounded,
            rel_rmse: found.rel_rmse,
        })
        .collect()
}

impl Answer {
    fn text(&self) -> String {
        let mut out = Lines::new();
        let (n, n_ctx) = (plural(self.n_chunks, "window"), self.settings.engine.n_ctx);
        let scored = count(self.n_tokens as u64);
        let (ppl, error) = (perplexity(self.ppl), self.error());
        out.line(format_args!("PPL {ppl} {error}, {n} of {n_ctx} tokens, {scored} scored"));
        let per_byte = self.bits_per_byte.map_or(String::new(), |x| format!(", {} bits per byte", bits(x)));
        out.line(format_args!("NLL {} nats a token{per_byte}", perplexity(self.nll_nats)));
        let compared = self.ppl_ref.zip(self.kld_mean).zip(self.same_top).zip(self.dlnppl);
        if let Some((((ppl_ref, kld_mean), same_top), dlnppl)) = compared {
            let values: u64 = self.changed.iter().map(|row| row.n).sum();
            let changed: u64 = self.changed.iter().map(|row| row.changed).sum();
            let applied = escape_terminal(self.settings.apply.join(" "));
            let is_node = |row: &&ChangedRow| row.place == Place::Activation;
            let nodes = self.changed.iter().filter(is_node).count();
            let places = [(self.changed.len() - nodes, "tensor"), (nodes, "graph node")];
            let places = places.iter().filter(|(n, _)| *n > 0).map(|(n, what)| plural(*n, what));
            let (places, changed) = (places.collect::<Vec<_>>().join(" and "), of(changed, values));
            out.line(format_args!("{applied}: {changed} values changed in {places}"));
            let (ppl_ref, change) = (perplexity(ppl_ref), difference(dlnppl) + &plus_minus(self.dlnppl_se));
            out.line(format_args!("reference PPL {ppl_ref}, Δ ln PPL {change}"));
            out.line(format_args!(
                "KLD mean {}{}, median {}, p99 {}, max {} nats",
                divergence(kld_mean),
                plus_minus(self.kld_se),
                divergence(self.kld_median.unwrap_or_default()),
                divergence(self.kld_p99.unwrap_or_default()),
                divergence(self.kld_max.unwrap_or_default()),
            ));
            let logits = match self.logits_changed {
                Some(0) => ", all logits bit-equal".to_owned(),
                Some(n) => format!(", logits differ at {n} of {scored} positions"),
                None => String::new(),
            };
            out.line(format_args!("same top {}{logits}", share(same_top)));
            if let Some(residual) = &self.residual {
                out.line("residual stream after each layer, relative error:");
                for rows in residual.chunks(6) {
                    let cells = rows.iter().map(|row| format!("{:>4} {:<9}", row.layer, deviation(row.rel_rmse)));
                    out.line(cells.collect::<Vec<_>>().join(" ").trim_end());
                }
            }
            if let Some(heads) = &self.attention {
                let heads_in_all = plural(heads.len(), "head");
                out.line(format_args!("attention of {heads_in_all}, flash attention off; most shifted:"));
                let mut most: Vec<&HeadRow> = heads.iter().collect();
                most.sort_by(|a, b| b.jsd_nats.total_cmp(&a.jsd_nats));
                for row in most.iter().take(5) {
                    out.line(format_args!(
                        "  layer {:>2} head {:>2}: JSD {} nats, entropy {} → {}, first position {} → {}",
                        row.layer,
                        row.head,
                        divergence(row.jsd_nats),
                        entropy(row.entropy_ref_nats),
                        entropy(row.entropy_var_nats),
                        share(row.sink_ref),
                        share(row.sink_var),
                    ));
                }
            }
            if matches!(self.settings.arm, Arm::Native) {
                out.line("the native arm has a perturbation floor; `assay run` measures it");
            }
        }
        out.into_string()
    }

    fn error(&self) -> String {
        match self.ppl_se {
            Some(se) => format!("± {} (by window)", standard_error(se)),
            None => format!("± {} (i.i.d.; too few windows for more)", standard_error(self.ppl_se_iid)),
        }
    }
}
