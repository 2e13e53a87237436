//! Checks of the memory budget: what is announced before a measurement against what takes memory by the file.

use super::{ModelUnderTest, check};
use crate::check::{Check, Tally};
use crate::session::{TextSession, samples};
use gguf::Value;
use record::MemoryPlan;
use record::{Arm, Base, Carrier};
use worker::protocol::Event;

const F32_BYTES: u64 = size_of::<f32>() as u64;

/// Checks that every part of the announced memory is what the file's own shapes say, and that a budget of one byte less
/// costs speed and changes no bit.
pub(super) fn memory_is_planned_from_what_there_is(subject: &ModelUnderTest<'_>) -> Check {
    check("the memory announced is what the weights and contexts need", &["worker", "shapes in the file"], |tally| {
        let base = Base { arm: Arm::Exact, carried: Vec::new() };
        let cells = [subject.cell("schemes", |pick| pick.scheme.into(), Carrier::F32)];
        let events = subject.session(1)?.measure(&base, &cells, subject.chunks)?;
        let plan = announced(&events)?;
        parts_are_the_files(subject, &plan, tally)?;

        let within = |max: u64| {
            TextSession::open_within(
                subject.pipeline.workers(),
                subject.file.path(),
                &subject.settings,
                1,
                Some(max),
                subject.text,
            )
        };
        let less = plan.total_bytes - 1;
        let squeezed = within(less)?.measure(&base, &cells, subject.chunks)?;
        let total = announced(&squeezed)?.total_bytes;
        tally.hold(total <= less, || format!("{total} bytes are announced, {less} are allowed"));
        tally.hold(samples(&squeezed, "schemes") == samples(&events, "schemes"), || {
            format!("the scores differ within {less} bytes")
        });
        let least = plan.needs.model_bytes + plan.needs.held_in_f32_bytes;
        let refused = within(least)?.measure(&base, &cells, subject.chunks);
        tally.hold(refused.is_err(), || format!("{least} bytes are for the weights alone, but were enough"));
        Ok(())
    })
}

/// The memory that was announced.
fn announced(events: &[Event]) -> Result<MemoryPlan, String> {
    let plan = events.iter().find_map(|event| if let Event::Memory(plan) = event { Some(*plan) } else { None });
    plan.ok_or_else(|| "no memory was announced".into())
}

/// Compares the parts of the announced memory with sums over the file's shapes.
fn parts_are_the_files(subject: &ModelUnderTest<'_>, plan: &MemoryPlan, tally: &mut Tally) -> Result<(), String> {
    let engine = subject.engine()?;
    let (n_ctx, n_vocab, n_layer) =
        (u64::from(subject.settings.n_ctx), engine.info().n_vocab as u64, engine.info().n_layer as u64);
    let used = engine.weights().iter().filter_map(|weight| subject.file.tensor(&weight.name));
    let (mut stored, mut in_f32) = (0, 0);
    for tensor in used {
        stored += tensor.ty.bytes_of(tensor.n_elements()).unwrap_or(0);
        // The exact arm has these a second time, in F32; integers are indices.
        if !matches!(tensor.ty.name(), "f32" | "f64" | "i8" | "i16" | "i32" | "i64") {
            in_f32 += tensor.n_elements() * F32_BYTES;
        }
    }
    let arch = &engine.info().arch;
    let n_embd = subject.file.get(&format!("{arch}.embedding_length")).and_then(Value::as_u64).unwrap_or(0);
    let picks = subject.picks.iter().filter_map(|pick| subject.file.tensor(&pick.name));
    let picks: Vec<u64> = picks.map(|tensor| tensor.n_elements() * F32_BYTES).collect();
    let edited: u64 = picks.iter().sum();
    let n_scored = n_ctx - 1 - n_ctx / 2;
    let needs = &plan.needs;
    for (what, announced, counted) in [
        ("weights stored in F32", needs.held_in_f32_bytes, in_f32),
        ("the reference's logits", needs.reference_bytes, n_scored * n_vocab * F32_BYTES),
        ("recorded hidden states", needs.prefix_bytes, n_layer * n_ctx * n_embd * F32_BYTES),
        ("weights of the cell", needs.cell_bytes, edited),
        ("copies while they are computed", needs.scratch_bytes, 2 * picks.iter().copied().max().unwrap_or(0)),
        ("edits", needs.edits_bytes, edited),
    ] {
        tally.hold(announced == counted, || format!("{what}: {announced} bytes announced, {counted} by the file"));
    }
    tally.hold(needs.model_bytes >= stored, || {
        format!("the model: {} bytes announced, its weights alone are {stored}", needs.model_bytes)
    });
    // llama.cpp decides about its buffers; logits of the scored half and one hidden state are the least of them.
    let context = (n_ctx - n_ctx / 2) * n_vocab * F32_BYTES + n_ctx * n_embd * F32_BYTES;
    tally.hold(needs.context_bytes >= context, || {
        format!("a context: {} bytes announced, logits and one hidden state are {context}", needs.context_bytes)
    });
    let each = needs.context_bytes + needs.reference_bytes + if plan.keeps_prefix { needs.prefix_bytes } else { 0 };
    let total = needs.model_bytes
        + needs.held_in_f32_bytes
        + needs.cell_bytes
        + needs.scratch_bytes
        + plan.kept_edits_bytes
        + each * plan.n_contexts as u64;
    tally.hold(plan.total_bytes == total, || format!("{} bytes announced, the parts are {total}", plan.total_bytes));
    Ok(())
}
