//! Tests of `lab::ask` through a worker without an engine.

use crate::bench::{BUILD, Faults, N_LAYER, Norms, Room, Workers};
use lab::Corpus;
use lab::ask::{
    AskError, AskErrorKind, AskEvent, ChatRequest, Conditions, EvalRequest, NeedsVariant, Ran, RunHeard, RunOutcome,
    RunQuestion, RunRequest, SweepRequest, TaskFile, TaskKind, TaskRequest, VariantRequest,
};
use numerics::PlainCodec;
use record::answer::{
    CHAT_FORMAT, ChatAnswer, EVAL_FORMAT, EvalAnswer, SWEEP_FORMAT, SweepAnswer, TASK_FORMAT, TaskAnswer,
};
use record::{Arm, EditPlace, Sampling};
use select::LayerSet;

const WINDOWS: usize = 4;
/// The number of windows to ask for, which is more than the text has.
const ASKED: usize = 6;

struct Asked<T> {
    answer: Result<T, AskError>,
    /// The names of the events in their order. Consecutive events of one kind count once.
    events: Vec<String>,
    /// The last progress that was heard.
    progress: Option<(usize, usize)>,
    workers: usize,
}

/// Asks a question about the mock's model with these faults.
fn asked<T>(
    faults: Faults,
    applies: &[&str],
    ask: impl FnOnce(VariantRequest, &Workers, &mut lab::ask::Hear<'_>) -> Result<T, AskError>,
) -> Asked<T> {
    let room = Room::new();
    drop(room.plan(Norms::OnePlus));
    let applies = applies.iter().map(|text| text.parse().expect(text)).collect();
    let variant = VariantRequest {
        model: room.run_dir("model.gguf"),
        applies,
        layers: None,
        allow_fallback: false,
        arm: Arm::Exact,
    };
    let workers = Workers::new(faults);
    let (mut events, mut progress) = (Vec::new(), None);
    let mut hear = |event: AskEvent<'_>| {
        let words = format!("{event:?}");
        let name = words.split([' ', '(']).next().unwrap_or_default().to_owned();
        if events.last() != Some(&name) {
            events.push(name);
        }
        if let AskEvent::Progress { done, total } = event {
            progress = Some((done, total));
        }
    };
    let answer = ask(variant, &workers, &mut hear);
    Asked { answer, events, progress, workers: workers.started.get() }
}

fn conditions() -> Conditions {
    Conditions { n_ctx: 64, n_gpu_layers: 0, n_threads: 1, max_memory_bytes: None }
}

fn text() -> Corpus {
    Corpus::new("text", "0123456789".repeat(WINDOWS))
}

fn eval_with(faults: Faults, applies: &[&str], change: impl FnOnce(&mut EvalRequest)) -> Asked<EvalAnswer> {
    asked(faults, applies, |variant, workers, hear| {
        let mut request = EvalRequest {
            variant,
            conditions: conditions(),
            corpus: text(),
            windows: ASKED,
            trace: false,
            attention: false,
        };
        change(&mut request);
        lab::ask::eval(&request, workers, &PlainCodec, hear)
    })
}

fn eval(faults: Faults, applies: &[&str]) -> Asked<EvalAnswer> {
    eval_with(faults, applies, |_| {})
}

fn sweep(faults: Faults, applies: &[&str]) -> Asked<SweepAnswer> {
    asked(faults, applies, |variant, workers, hear| {
        let request =
            SweepRequest { variant, conditions: conditions(), corpus: text(), windows: ASKED, seed: 1, race: None };
        lab::ask::sweep(&request, workers, &PlainCodec, hear)
    })
}

fn chat(applies: &[&str]) -> Asked<ChatAnswer> {
    asked(Faults::default(), applies, |variant, workers, hear| {
        let request = ChatRequest {
            variant,
            conditions: conditions(),
            prompts: vec!["one".into(), "two".into()],
            system: None,
            template: None,
            max_tokens: 8,
            sampling: Sampling::Greedy,
        };
        lab::ask::chat(&request, workers, &PlainCodec, hear)
    })
}

/// Asks about a file of two tasks and one of one task. The right ending is the first, then the last.
fn task(applies: &[&str], second: &str) -> Asked<TaskAnswer> {
    asked(Faults::default(), applies, |variant, workers, hear| {
        let file = |name: &str, text: &str| TaskFile { kind: TaskKind::Hellaswag, source: Corpus::new(name, text) };
        let files = vec![file("a.txt", "c\n0\n1\n2\n3\n4\nc\n3\n1\n2\n3\n4\n"), file("b.txt", second)];
        lab::ask::task(&TaskRequest { variant, conditions: conditions(), files, limit: 9 }, workers, &PlainCodec, hear)
    })
}

fn kind<T>(asked: &Asked<T>) -> Option<AskErrorKind> {
    asked.answer.as_ref().err().map(AskError::kind)
}

/// A number that was measured.
fn number(answer: &record::answer::EvalAnswer, key: &str) -> f64 {
    answer.metrics.get(key).unwrap_or_else(|| panic!("no {key}"))
}

#[test]
fn a_model_alone_has_a_perplexity_and_no_reference() {
    let asked = eval(Faults::default(), &[]);
    let answer = asked.answer.expect("measured");
    assert_eq!((answer.format, answer.n_chunks, answer.n_tokens), (EVAL_FORMAT, WINDOWS, WINDOWS * 8));
    assert!(
        (number(&answer, "nll_nats").exp() - number(&answer, "ppl")).abs() < 1e-12
            && answer.metrics.get("ppl_se").is_none()
    );
    // Each token stands for two bytes.
    let bits = number(&answer, "nll_nats") / std::f64::consts::LN_2 / 2.0;
    assert!((number(&answer, "bits_per_byte") - bits).abs() < 1e-12);
    assert_eq!((answer.metrics.get("ppl_ref"), answer.metrics.get("kld_mean"), answer.changed.len()), (None, None, 0));
    assert_eq!(asked.events, ["Begun", "FewerWindows", "Progress"]);
    assert_eq!(asked.progress, Some((WINDOWS, WINDOWS)));
}

#[test]
fn a_variant_is_measured_beside_its_reference_and_says_what_was_applied() {
    let applies = ["ffn_norm[layers=0]=bf16", "ffn_norm[layers=1-2]=int8@row"];
    let asked = eval(Faults::default(), &applies);
    let answer = asked.answer.expect("measured");
    assert!(
        answer.metrics.get("kld_mean").is_some_and(|kld| kld > 0.0)
            && number(&answer, "ppl") > number(&answer, "ppl_ref")
    );
    assert_eq!(answer.settings.apply, applies);
    assert_eq!(answer.changed.len(), N_LAYER);
    let first = &answer.changed[0];
    assert_eq!((first.name.as_str(), first.place), ("blk.0.ffn_norm.weight", EditPlace::Weight));
    assert_eq!(first.scheme, "bf16");
    assert!(first.changed > 0 && first.n == 32);
    assert_eq!(asked.progress, Some((2 * WINDOWS, 2 * WINDOWS)));
    let printed = serde_json::to_string(&answer).expect("prints");
    assert!(printed.starts_with(&format!("{{\"format\":{EVAL_FORMAT},\"ppl\":")), "{printed}");
    assert_eq!(serde_json::from_str::<EvalAnswer>(&printed).expect("is read back"), answer);
}

#[test]
fn a_trace_begins_at_the_layer_that_is_touched_and_is_withheld_where_it_begins_before() {
    let traced = |faults| eval_with(faults, &["ffn_norm[layers=1]=bf16"], |request| request.trace = true);
    let answer = traced(Faults::default()).answer.expect("measured");
    let residual = answer.residual.expect("a trace");
    assert_eq!(residual.iter().map(|layer| layer.rel_rmse).collect::<Vec<_>>(), [0.0, 0.5, 0.5]);
    let early = traced(Faults { early: true, ..Faults::default() });
    assert_eq!(kind(&early), Some(AskErrorKind::Withheld));
    assert!(matches!(early.answer, Err(AskError::TouchedEarly { layer: 0, .. })), "{:?}", early.answer);
}

#[test]
fn routing_is_said_overall_and_by_layer_where_a_model_has_routers_and_a_variant() {
    let routers = Faults { routers: true, ..Faults::default() };
    let answer = eval(routers.clone(), &["ffn_norm[layers=2]=bf16"]).answer.expect("measured");
    assert_eq!((number(&answer, "routing_flips"), number(&answer, "experts_changed")), (0.25, 0.125));
    let layers = answer.routing.clone().expect("routers");
    let shares = layers.iter().map(|of| (of.layer, of.n, of.n_used, of.routing_flips, of.experts_changed));
    let n = 8 * WINDOWS as u64;
    assert_eq!(shares.collect::<Vec<_>>(), [(1, n, 2, 0.0, 0.0), (2, n, 2, 0.5, 0.25)]);
    let printed = serde_json::to_string(&answer).expect("prints");
    assert_eq!(serde_json::from_str::<EvalAnswer>(&printed).expect("is read back"), answer);
    let swept = sweep(routers.clone(), &["ffn_norm=bf16"]).answer.expect("measured");
    let mut flips: Vec<_> =
        swept.layers.iter().map(|layer| (layer.layer, layer.metrics.get("routing_flips"))).collect();
    flips.sort_by_key(|(layer, _)| *layer);
    assert_eq!(flips, [(0, Some(0.5)), (1, Some(0.5)), (2, Some(0.25))]);

    for without in [eval(routers, &[]), eval(Faults::default(), &["ffn_norm=bf16"])] {
        let answer = without.answer.expect("measured");
        assert_eq!((answer.metrics.get("routing_flips"), answer.routing), (None, None));
    }
}

#[test]
fn an_error_knows_whose_fault_it_is() {
    let apply = ["ffn_norm=bf16"];
    let leaks = eval(Faults { leaks: true, ..Faults::default() }, &apply);
    assert_eq!(kind(&leaks), Some(AskErrorKind::Withheld));
    let refuses = eval(Faults { refuses: true, ..Faults::default() }, &apply);
    assert_eq!(kind(&refuses), Some(AskErrorKind::Input));
    let dies = eval(Faults { dies: Some((Some("bf16"), 1)), ..Faults::default() }, &apply);
    assert_eq!(kind(&dies), Some(AskErrorKind::Engine));
    let leaks = sweep(Faults { leaks: true, ..Faults::default() }, &apply);
    assert_eq!(kind(&leaks), Some(AskErrorKind::Withheld));
}

#[test]
fn what_cannot_be_asked_is_refused_before_a_worker_is_started() {
    let refused = |asked: Asked<EvalAnswer>| {
        assert_eq!((kind(&asked), asked.workers, asked.events.len()), (Some(AskErrorKind::Input), 0, 0));
        asked.answer.expect_err("refused")
    };
    let error = refused(eval(Faults::default(), &["ffn_nrom=bf16"]));
    assert!(matches!(&error, AskError::Selection { model, .. } if model.ends_with("model.gguf")), "{error}");
    let error = refused(eval(Faults::default(), &["ffn_norm=ggml:q8_0"]));
    assert!(matches!(error, AskError::Unfit { .. }), "{error}");
    let layers = |request: &mut EvalRequest| request.variant.layers = Some(LayerSet::one(1));
    let error = refused(eval_with(Faults::default(), &[], layers));
    assert!(matches!(error, AskError::NothingApplied(NeedsVariant::Layers)), "{error}");
    assert_eq!(error.to_string(), "a choice of layers needs a scheme to apply, and none is given");
    for (what, change) in [
        (NeedsVariant::Trace, (|request| request.trace = true) as fn(&mut EvalRequest)),
        (NeedsVariant::Attention, |request| request.attention = true),
    ] {
        let error = refused(eval_with(Faults::default(), &[], change));
        assert!(matches!(error, AskError::NothingApplied(found) if found == what), "{error}");
    }
    let error = refused(eval_with(Faults::default(), &[], |request| request.variant.model = "absent.gguf".into()));
    assert!(matches!(error, AskError::Open(_)), "{error}");
    let nothing = sweep(Faults::default(), &[]);
    assert!(matches!(nothing.answer, Err(AskError::NothingApplied(NeedsVariant::Sweep))), "{:?}", nothing.answer);
}

#[test]
fn a_sweep_ranks_the_layers_and_a_layer_that_kills_its_worker_is_part_of_the_answer() {
    let asked = sweep(Faults::default(), &["ffn_norm=bf16"]);
    let answer = asked.answer.expect("measured");
    assert_eq!((answer.format, answer.layers.len(), answer.ranking.len()), (SWEEP_FORMAT, N_LAYER, N_LAYER));
    let kld = |layer: u32| answer.layers[layer as usize].metrics.get("kld_mean").expect("measured");
    assert!(answer.ranking.is_sorted_by(|&a, &b| kld(a) >= kld(b)), "{answer:?}");
    assert_eq!((answer.measured_chunks, answer.all_chunks), (N_LAYER * WINDOWS, N_LAYER * WINDOWS));
    assert_eq!(asked.events, ["Begun", "FewerWindows", "Progress"]);
    let printed = serde_json::to_string(&answer).expect("prints");
    assert_eq!(serde_json::from_str::<SweepAnswer>(&printed).expect("is read back"), answer);

    let two = ["ffn_norm[layers=0]=bf16", "ffn_norm[layers=1]=int4@row"];
    let asked = sweep(Faults { dies: Some((Some("int4@row"), usize::MAX)), ..Faults::default() }, &two);
    let answer = asked.answer.expect("the other layer goes on");
    assert!(asked.events.contains(&"WorkerDied".to_owned()), "{:?}", asked.events);
    assert_eq!(answer.ranking, [0]);
    assert!(answer.layers[1].failure.as_deref().is_some_and(|why| why.contains("crashed twice")), "{answer:?}");
}

#[test]
fn replies_stand_beside_their_prompts() {
    let alone = chat(&[]).answer.expect("replies");
    assert!(alone.chats.iter().all(|chat| chat.variant.is_none() && chat.first_divergence.is_none()));
    let asked = chat(&["ffn_norm=bf16"]);
    let answer = asked.answer.expect("replies");
    assert_eq!((answer.format, asked.progress), (CHAT_FORMAT, Some((4, 4))));
    for (chat, prompt) in answer.chats.iter().zip(["one", "two"]) {
        let (reference, variant) = (chat.reference.as_ref().expect("it"), chat.variant.as_ref().expect("it"));
        assert_eq!((chat.prompt.as_str(), chat.first_divergence), (prompt, Some(1)));
        let holds_it = prompt == "one";
        assert_eq!((chat.rendered.as_str(), chat.rendered_tokens, chat.contains_prompt), ("<one>", 5, holds_it));
        assert_eq!((&reference.tokens[..], reference.ended), (&[1, 2, 3][..], true));
        assert_eq!((&variant.tokens[..], variant.ended), (&[1, 9][..], false));
    }
    let printed = serde_json::to_string(&answer).expect("prints");
    assert_eq!(serde_json::from_str::<ChatAnswer>(&printed).expect("is read back"), answer);
}

#[test]
fn tasks_of_several_files_are_scored_in_one_session() {
    let asked = task(&["ffn_norm=bf16"], "c\n0\n1\n2\n3\n4");
    let answer = asked.answer.expect("scores");
    assert_eq!((answer.format, asked.workers, asked.progress), (TASK_FORMAT, 1, Some((6, 6))));
    assert_eq!(asked.events, ["Begun", "TasksTaken", "Progress"]);
    let [a, b] = &answer.tasks[..] else { panic!("two files: {answer:?}") };
    assert_eq!((a.name.as_str(), a.file.as_str(), a.n, a.chance), ("hellaswag", "a.txt", 2, 0.25));
    // The reference prefers the first ending and the variant the last, so each wins one task.
    assert_eq!((a.acc_norm_ref, a.acc_norm, a.gained, a.lost), (Some(0.5), 0.5, Some(1), Some(1)));
    // The margin shifts by one nat a token, up on one task and down on the other.
    assert_eq!(a.margin_shift, Some(0.0));
    assert_eq!((b.file.as_str(), b.acc_norm_ref, b.acc_norm, b.margin_shift), ("b.txt", Some(1.0), 0.0, Some(-2.0)));
    let printed = serde_json::to_string(&answer).expect("prints");
    assert_eq!(serde_json::from_str::<TaskAnswer>(&printed).expect("is read back"), answer);

    let broken = task(&[], "c\n0\n");
    assert_eq!((kind(&broken), broken.workers), (Some(AskErrorKind::Input), 0));
    assert!(broken.answer.expect_err("not whole").to_string().starts_with("b.txt: found 2 lines"));
}

fn run_request(question: RunQuestion) -> RunRequest {
    RunRequest {
        question,
        models: vec!["m.gguf".into()],
        corpus: text(),
        layers: Some(LayerSet::parse("0,3").expect("layers")),
        allow_fallback: true,
        arm: Some(Arm::Native),
        conditions: Conditions { n_threads: 3, max_memory_bytes: Some(1 << 30), ..conditions() },
        windows: 9,
        layer_windows: 4,
        seed: 7,
        dir: None,
    }
}

#[test]
fn the_plan_of_a_run_has_everything_that_was_asked_for() {
    let apply = "attn_q=int8@row".parse().expect("an application");
    for question in [RunQuestion::Preset("attention-int8".into()), RunQuestion::Apply(apply)] {
        let request = run_request(question);
        let plan = request.plan().expect("a plan");
        assert!(plan.target.to_string().starts_with("attn_q[layers=0,3]"), "{}", plan.target);
        assert_eq!((plan.chunks, plan.layer_chunks, plan.n_threads), (9, 4, 3));
        assert_eq!((&plan.settings, plan.max_memory_bytes), (&request.conditions.settings(), Some(1 << 30)));
        assert_eq!((plan.jitter_seeds, plan.arms, plan.allow_fallback), (vec![7, 8, 9], vec![Arm::Native], true));
    }
    let unknown = run_request(RunQuestion::Preset("attention-int9".into())).plan().expect_err("no such preset");
    assert_eq!(unknown.kind(), AskErrorKind::Input);
}

/// Asks a run about the mock's model, in a folder of this name, with these faults.
fn ran(room: &Room, faults: Faults, dir: &str) -> Result<Ran, AskError> {
    drop(room.plan(Norms::OnePlus));
    let request = RunRequest {
        models: vec![room.run_dir("model.gguf")],
        layers: None,
        allow_fallback: false,
        arm: None,
        conditions: conditions(),
        windows: 4,
        layer_windows: 2,
        dir: Some(room.run_dir(dir)),
        ..run_request(RunQuestion::Preset("ffn-norm-bf16".into()))
    };
    let mut heard = 0;
    let mut hear = |_: RunHeard<'_>| heard += 1;
    let ran = lab::ask::run(&request, BUILD, &Workers::new(faults), &PlainCodec, &|_, _, _| "again".into(), &mut hear);
    assert!(heard > 0 || ran.is_err());
    ran
}

#[test]
fn a_run_ends_with_an_outcome_whatever_the_front() {
    let room = Room::new();
    let done = ran(&room, Faults::default(), "run").expect("a run");
    assert_eq!((done.outcome, done.dir.as_path()), (RunOutcome::Answered, room.run_dir("run").as_path()));
    assert!(done.answer(&done.dir.join("report.md")).controls_ok);
    let mut record = done.record;
    record.models[0].controls[0].ok = false;
    assert_eq!(RunOutcome::of(&record), RunOutcome::ControlFailed);
    record.models[0].controls[0].measured = false;
    record.controls_ok = false;
    assert_eq!(RunOutcome::of(&record), RunOutcome::NotMeasured);

    let error = ran(&room, Faults::default(), "model.gguf").expect_err("a file");
    assert!(matches!(error, AskError::FileForAFolder { .. }) && error.kind() == AskErrorKind::Input, "{error}");
}

#[test]
fn reports_go_to_the_runs_own_folder_or_outside_of_the_run() {
    let room = Room::new();
    let run = room.run_dir("");
    let own = lab::ask::report_folder(&run, None).expect("the run's own");
    assert_eq!(own, run.join("report"));
    assert_eq!(lab::ask::report_folder(&run, Some(&own)).expect("the same"), own);
    let outside = tempfile::tempdir().expect("a folder");
    assert!(lab::ask::report_folder(&run, Some(&outside.path().join("new"))).is_ok());
    for inside in [run.join("cells"), run.join("report/deeper"), run.clone()] {
        let error = lab::ask::report_folder(&run, Some(&inside)).expect_err("inside");
        assert!(matches!(error, AskError::InsideTheRun { .. }), "{error}");
    }
}
