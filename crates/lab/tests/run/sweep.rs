//! Tests of sweeps through a worker without an engine that dies.

use crate::bench::{Faults, Norms, Room, Workers};
use eval::EngineSettings;
use lab::sweep::{Sweep, SweepError, SweepEvent, sweep};
use record::Cell;
use record::{Arm, Base, Carrier, Edit};
use record::{CellExtent, Role, StageName};
use worker::{Session, SessionError, SessionRequest};

const WINDOWS: usize = 4;
const SCHEMES: [&str; 3] = ["bf16:trunc", "int4@row", "int8@row"];

fn swept(workers: &Workers) -> (Result<Sweep, SweepError>, usize) {
    let room = Room::new();
    drop(room.plan(Norms::OnePlus));
    let model = room.run_dir("model.gguf");
    let request = SessionRequest {
        model,
        name: "model".into(),
        settings: EngineSettings::pinned(64),
        n_threads: 1,
        max_memory_bytes: None,
        files: Vec::new(),
    };
    let mut open = || -> Result<Session, SessionError> {
        let mut session = Session::open(workers, &request)?;
        session.cut("text", &"0123456789".repeat(WINDOWS), false)?;
        Ok(session)
    };
    let base = Base { arm: Arm::Exact, carried: Vec::new() };
    let cell = |(layer, scheme): (usize, &&str)| Cell {
        key: format!("layer {layer}"),
        stage: StageName::of("each_layer"),
        extent: CellExtent::Layer,
        role: Role::Variant,
        target: "ffn_norm".into(),
        scheme: (*scheme).into(),
        layers: vec![layer as u32],
        base: base.clone(),
        edits: vec![Edit::of_weight(format!("blk.{layer}.ffn_norm.weight"), *scheme, Carrier::F32)],
        chunks: Vec::new(),
    };
    let cells: Vec<Cell> = SCHEMES.iter().enumerate().map(cell).collect();
    let mut deaths = 0;
    let mut hear = |event: SweepEvent<'_>| deaths += usize::from(matches!(event, SweepEvent::Died(_)));
    let mut session = open().expect("a worker");
    let found = sweep(&mut session, &mut open, &base, &cells, &[2, 0, 3, 1], None, &mut hear);
    (found, deaths)
}

fn dying(scheme: Option<&'static str>, often: usize) -> Workers {
    Workers::new(Faults { dies: Some((scheme, often)), ..Faults::default() })
}

fn means(sweep: &Sweep) -> Vec<Option<f64>> {
    sweep.cells.iter().map(|cell| cell.measured.as_ref().map(|measured| measured.kld().mean)).collect()
}

#[test]
fn a_worker_that_dies_once_costs_nothing_but_time() {
    let (whole, deaths) = swept(&Workers::new(Faults::default()));
    let whole = whole.expect("measured");
    assert_eq!(deaths, 0);
    let workers = dying(Some("int4@row"), 1);
    let (found, deaths) = swept(&workers);
    let found = found.expect("measured");
    assert_eq!((deaths, workers.started.get()), (1, 2));
    assert_eq!(means(&found), means(&whole));
    assert!(found.cells.iter().all(|cell| cell.failure.is_none()));
    // What was measured before is not measured again.
    assert!(workers.measured.borrow().values().all(|&times| times == 1), "{:?}", workers.measured.borrow());
}

#[test]
fn a_cell_that_kills_every_worker_fails_alone() {
    let (whole, _) = swept(&Workers::new(Faults::default()));
    let whole = means(&whole.expect("measured"));
    let (found, deaths) = swept(&dying(Some("int4@row"), usize::MAX));
    let found = found.expect("the others go on");
    assert_eq!(deaths, 2);
    let why = found.cells[1].failure.as_deref().expect("it failed");
    assert!(why.contains("crashed twice") && why.contains("GGML_ASSERT(planted)"), "{why}");
    assert_eq!(means(&found), [whole[0], None, whole[2]]);
    assert_eq!(found.ranking.len(), 2);
}

#[test]
fn a_reference_that_kills_every_worker_ends_the_sweep() {
    let (found, _) = swept(&dying(None, usize::MAX));
    assert!(
        matches!(found, Err(SweepError::Session(SessionError::Died { died, .. })) if died.last_words.contains("planted"))
    );
}
