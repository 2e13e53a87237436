//! `assay sweep MODEL`: every layer singly in a scheme, ranked by KL divergence; with `--race` only for as long as it is open
//! which are the worst.

use crate::corpus;
use crate::failure::{Exit, Failure, Outcome};
use crate::model::Model;
use crate::output::Output;
use crate::progress::Progress;
use crate::settings::SettingsArgs;
use crate::table::{Align, render};
use crate::variant::ArmArg;
use crate::{session, worker};
use ::eval::EngineSettings;
use ::worker::{Session, SessionRequest};
use anyhow::anyhow;
use lab::cell::Cell;
use lab::protocol::{Arm, Base, Edit, Place};
use lab::record::{Extent, Role, StageName};
use lab::sweep::{Sweep, SweepError, SweepEvent, SweptCell, sweep};
use lab::{Apply, LayerSet, SchemeFiles, scheme_files};
use serde::Serialize;
use stats::RaceRule;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use words::{Lines, difference, divergence, escape_terminal, plural, share, standard_error};

/// Arguments of `assay sweep`.
#[derive(Debug, clap::Args)]
pub struct SweepArgs {
    /// A GGUF file
    model: PathBuf,
    /// What every layer is held in, one at a time, such as weights=int4@block32 (may be repeated)
    #[arg(long, value_name = "SEL=SCHEME", required = true)]
    apply: Vec<String>,
    /// Only these layers, such as 0,3-5 or -1
    #[arg(long, value_name = "LAYERS", allow_hyphen_values = true)]
    layers: Option<String>,
    /// Kernels: exact holds every weight in F32, native runs the model as shipped
    #[arg(long, value_enum, default_value_t = ArmArg::Exact)]
    arm: ArmArg,
    /// Only find the K worst layers (5 if left out): settled layers stop being measured
    #[arg(long, value_name = "K", num_args = 0..=1, default_missing_value = "5", value_parser = clap::value_parser!(u32).range(1..))]
    race: Option<u32>,
    /// With --race: a layer is good enough when its KL divergence is at least 1 - E of the Kth worst
    #[arg(long, value_name = "E", requires = "race", default_value_t = 0.1, value_parser = share_of_one)]
    epsilon: f64,
    /// With --race: chance of any wrong decision in the whole race
    #[arg(long, value_name = "A", requires = "race", default_value_t = 0.05, value_parser = share_of_one)]
    alpha: f64,
    /// With --race: layers below this mean KL divergence (nats) have no effect worth ranking
    #[arg(long, value_name = "NATS", requires = "race", value_parser = share_of_one)]
    null: Option<f64>,
    /// Decides the order of the windows
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    settings: SettingsArgs,
}

/// A number above 0 and below 1.
fn share_of_one(text: &str) -> Result<f64, String> {
    text.parse::<f64>().ok().filter(|x| *x > 0.0 && *x < 1.0).ok_or_else(|| "wanted a number between 0 and 1".into())
}

/// Runs `assay sweep`.
pub fn run(args: &SweepArgs, output: &Output) -> Outcome {
    let request = Request::from_args(args)?;
    let mut progress = Progress::new(&plural(request.cells.len(), "layer"), output.quiet());
    progress.say(&request.words());
    let wanted = SessionRequest {
        model: request.model.clone(),
        name: request.name.clone(),
        settings: request.settings.clone(),
        n_threads: args.settings.threads as usize,
        max_memory_bytes: args.settings.max_memory_bytes(),
        files: scheme_files::paths(request.applies.iter().map(|apply| &apply.scheme)),
    };
    let mut session = session::open(&wanted)?;
    let windows = session::cut(&mut session, &request.corpus)?.window_blake3.len();
    let chunks = windows.min(args.settings.chunks as usize);
    if chunks < args.settings.chunks as usize {
        progress.say(&format!(
            "the text has {}, {} were asked for; all of it is used",
            plural(chunks, "window"),
            args.settings.chunks
        ));
    }
    let order = stats::rng::permutation(chunks, args.seed);
    let rule = args.race.map(|top| RaceRule {
        epsilon: args.epsilon,
        alpha: args.alpha,
        null_below: args.null,
        ..RaceRule::new(top as usize, chunks)
    });
    let workers = worker::workers()?;
    let mut again = || {
        let mut session = Session::open(&workers, &wanted)?;
        session.cut(&request.corpus.name, &request.corpus.text)?;
        Ok(session)
    };
    let mut memory_told = false;
    let mut hear = |event: SweepEvent<'_>| match event {
        SweepEvent::Progress { done, at_most } => progress.at(done, at_most),
        SweepEvent::Memory(_) if memory_told => {}
        SweepEvent::Memory(plan) => {
            memory_told = true;
            progress.say(&format!("memory {}", plan.words()));
        }
        SweepEvent::Died(died) => progress.say(&format!("{}; another one goes on", escape_terminal(died.to_string()))),
    };
    let (base, cells) = (&request.base, &request.cells);
    let swept = sweep(&mut session, &mut again, base, cells, &order, rule.as_ref(), &mut hear)
        .map_err(|error| request.failed(error))?;
    drop(progress);
    let answer = Answer::of(&request, args, &session, &swept, chunks);
    output.answer(&answer, || answer.text())?;
    Ok(if answer.layers.iter().any(|row| row.failure.is_some()) { Exit::Engine } else { Exit::Done })
}

/// What is to be measured, checked.
struct Request {
    model: PathBuf,
    name: String,
    corpus: lab::Corpus,
    settings: EngineSettings,
    base: Base,
    applies: Vec<Apply>,
    /// One per layer, ascending.
    cells: Vec<Cell>,
}

impl Request {
    fn from_args(args: &SweepArgs) -> Result<Self, Failure> {
        let layers = args.layers.as_deref().map(LayerSet::parse).transpose()?;
        let applies = args.apply.iter().map(|text| text.parse()).collect::<Result<Vec<Apply>, _>>()?;
        let mut files = SchemeFiles::default();
        let mut applies = applies.iter().map(|apply| files.resolve(apply)).collect::<Result<Vec<_>, _>>()?;
        if let Some(layers) = &layers {
            applies = applies.iter().map(|apply| apply.narrowed(layers)).collect();
        }
        let corpus = corpus::read(args.settings.text.as_deref())?;
        let model = Model::open(&args.model)?;
        model.require_scorable()?;
        let edits = lab::apply::edits(&applies, &model.ids).map_err(|error| model.refuses(error))?;
        let mut by_layer: BTreeMap<u32, Vec<Edit>> = BTreeMap::new();
        let mut carried = BTreeSet::new();
        for edit in edits {
            let layer = match (edit.place, model.ids.iter().find(|id| id.name == edit.tensor)) {
                (Place::Activation, _) => lab::select::layer_of(&edit),
                (_, Some(id)) => {
                    // As in `assay eval`: the native reference holds in F32 what a variant does.
                    if args.arm.arm() == Arm::Native && id.ty != "f32" && id.layer().is_some() {
                        carried.insert(id.name.as_str());
                    }
                    id.layer()
                }
                (_, None) => None,
            };
            if let Some(layer) = layer {
                by_layer.entry(layer).or_default().push(edit);
            }
        }
        if by_layer.is_empty() {
            let hint = "a sweep goes through the layers; `assay eval` measures tensors outside them";
            return Err(anyhow!("{}: none of the tensors is in a layer\nhint: {hint}", model.shown()).into());
        }
        let carried = carried.into_iter().map(|name| (name, Place::Weight));
        let base = Base { arm: args.arm.arm(), ..Base::native(carried) };
        let cells = by_layer
            .into_iter()
            .map(|(layer, edits)| Cell {
                key: format!("layer {layer}"),
                stage: StageName::of("each_layer"),
                extent: Extent::Layer,
                role: Role::Variant,
                target: applies.iter().map(|apply| apply.selector.to_string()).collect::<Vec<_>>().join(" "),
                scheme: applies.iter().map(|apply| apply.scheme.to_string()).collect::<Vec<_>>().join(" "),
                layers: vec![layer],
                base: base.clone(),
                edits,
                chunks: Vec::new(),
            })
            .collect();
        Ok(Request {
            model: model.file.path().to_owned(),
            name: model.name(),
            corpus,
            settings: args.settings.engine(),
            base,
            applies,
            cells,
        })
    }

    fn applied(&self) -> String {
        self.applies.iter().map(Apply::to_string).collect::<Vec<_>>().join(" ")
    }

    fn words(&self) -> String {
        let (name, text) = (escape_terminal(&self.name), escape_terminal(&self.corpus.name));
        let (arm, layers) = (self.base.arm.name(), plural(self.cells.len(), "layer"));
        format!("{name}: {} on each of {layers} singly, {arm} arm, text {text}", escape_terminal(self.applied()))
    }

    fn failed(&self, error: SweepError) -> Failure {
        let exit = match error {
            // Says which model.
            SweepError::Session(error) => return session::failed(error),
            SweepError::Evidence { .. } | SweepError::Race(_) => Exit::Engine,
        };
        Failure { exit, error: anyhow::Error::new(error).context(escape_terminal(&self.name)) }
    }
}

/// The answer in JSON.
#[derive(Serialize)]
struct Answer {
    /// By layer.
    layers: Vec<Row>,
    /// Layers, largest mean KL divergence first: all, or the answer of the race.
    ranking: Vec<u32>,
    /// Pairs (in the answer, not in it) that the text cannot tell apart; of a race only.
    ties: Vec<[u32; 2]>,
    /// Windows of layers that were measured, and those of the whole sweep.
    measured_chunks: usize,
    all_chunks: usize,
    race: Option<RaceSettings>,
    settings: Settings,
}

#[derive(Serialize)]
struct Row {
    layer: u32,
    kld_mean: Option<f64>,
    kld_se: Option<f64>,
    kld_se_iid: Option<f64>,
    kld_max: Option<f64>,
    same_top: Option<f64>,
    dlnppl: Option<f64>,
    dlnppl_se: Option<f64>,
    n_chunks: usize,
    standing: Option<&'static str>,
    /// Values that the scheme changed, of `n`.
    changed: u64,
    n: u64,
    failure: Option<String>,
}

#[derive(Serialize)]
struct RaceSettings {
    top: u32,
    epsilon: f64,
    alpha: f64,
    null_nats: Option<f64>,
    seed: u64,
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
    n_chunks: usize,
    n_threads: usize,
    build: String,
    assay_version: &'static str,
}

impl Answer {
    fn of(request: &Request, args: &SweepArgs, session: &Session, swept: &Sweep, chunks: usize) -> Answer {
        let layer = |index: usize| request.cells[index].layers.first().copied().unwrap_or_default();
        let layers =
            swept.cells.iter().enumerate().map(|(index, cell)| Row::of(layer(index), cell)).collect::<Vec<_>>();
        Answer {
            measured_chunks: layers.iter().map(|row| row.n_chunks).sum(),
            all_chunks: layers.len() * chunks,
            layers,
            ranking: swept.ranking.iter().map(|&index| layer(index)).collect(),
            ties: swept.ties.iter().map(|&(i, j)| [layer(i), layer(j)]).collect(),
            race: args.race.map(|top| RaceSettings {
                top,
                epsilon: args.epsilon,
                alpha: args.alpha,
                null_nats: args.null,
                seed: args.seed,
            }),
            settings: Settings {
                model: request.name.clone(),
                arch: session.info.arch.clone(),
                arm: request.base.arm,
                apply: request.applies.iter().map(Apply::to_string).collect(),
                text: request.corpus.name.clone(),
                text_bytes: request.corpus.text.len(),
                engine: request.settings.clone(),
                n_chunks: chunks,
                n_threads: session.info.n_threads,
                build: session.info.build.clone(),
                assay_version: env!("CARGO_PKG_VERSION"),
            },
        }
    }

    fn text(&self) -> String {
        let mut out = Lines::new();
        let columns = [
            ("layer", Align::Right),
            ("KLD mean", Align::Right),
            ("± se", Align::Right),
            ("same top", Align::Right),
            ("Δ ln PPL", Align::Right),
            ("windows", Align::Right),
            (if self.race.is_some() { "race" } else { "" }, Align::Left),
        ];
        let mut rows: Vec<&Row> = self.layers.iter().collect();
        let place = |row: &Row| self.ranking.iter().position(|layer| *layer == row.layer).unwrap_or(usize::MAX);
        let kld = |row: &Row| row.kld_mean.unwrap_or(-1.0);
        rows.sort_by(|a, b| place(a).cmp(&place(b)).then(kld(b).total_cmp(&kld(a))).then(a.layer.cmp(&b.layer)));
        out.text(&render(&columns, rows.iter().map(|row| row.columns())));
        for row in self.layers.iter() {
            if let Some(why) = &row.failure {
                out.line(format_args!("layer {} was not measured: {}", row.layer, escape_terminal(why)));
            }
        }
        if let Some(race) = &self.race {
            let n = self.settings.n_chunks;
            out.line(format_args!(
                "race: {} of {} windows of layers measured; what is ranked above is within {} of the {} worst that all {n} \
                 windows would show; the chances that a decision is wrong add up to {} at most",
                self.measured_chunks,
                self.all_chunks,
                share(race.epsilon),
                race.top,
                share(race.alpha),
            ));
            for [inside, outside] in &self.ties {
                out.line(format_args!(
                    "tie: on another text of this kind, layer {outside} might lie above layer {inside}"
                ));
            }
        }
        out.into_string()
    }
}

impl Row {
    fn of(layer: u32, cell: &SweptCell) -> Row {
        let measured = cell.measured.as_ref();
        let tensors = cell.samples.applied.iter().flatten();
        let (changed, n) = tensors.fold((0, 0), |(changed, n), tensor| (changed + tensor.changed, n + tensor.n));
        Row {
            layer,
            kld_mean: measured.map(|m| m.kld.mean),
            kld_se: measured.and_then(|m| m.kld.se),
            kld_se_iid: measured.map(|m| m.kld.se_iid),
            kld_max: measured.map(|m| m.kld_max),
            same_top: measured.map(|m| m.same_top),
            dlnppl: measured.map(|m| m.dlnppl.mean),
            dlnppl_se: measured.and_then(|m| m.dlnppl.se),
            n_chunks: cell.samples.by_chunk.len(),
            standing: cell.standing.map(stats::Standing::name),
            changed,
            n,
            failure: cell.failure.clone(),
        }
    }

    fn columns(&self) -> Vec<String> {
        vec![
            self.layer.to_string(),
            self.kld_mean.map_or("-".into(), divergence),
            self.kld_se.map_or("-".into(), standard_error),
            self.same_top.map_or("-".into(), share),
            self.dlnppl.map_or("-".into(), difference),
            self.n_chunks.to_string(),
            self.standing.unwrap_or_default().to_owned(),
        ]
    }
}
