//! Checks of what happens inside a pass: values of nodes are replaced, a matrix is changed in one of its uses, hidden
//! states are compared.

use super::engine::{bits_agree, hooked_logits, logits, words};
use super::worker::{applied, n_changed};
use super::{ModelUnderTest, check};
use crate::check::{Area, Check};
use crate::session::samples;
use eval::{Engine, Hook, LayerError, Prefix, Token, WeightInfo, WeightUse};
use lab::plan::cells::spec_of;
use numerics::{Scheme, TensorContext};
use record::{Arm, Base, Carrier, Edit, EditPlace};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use worker::protocol::CellSpec;

const TOKEN_EMBD: &str = "token_embd.weight";
const OUTPUT: &str = "output.weight";
/// The node of embedded tokens, as they enter the first layer.
const EMBD: &str = "embd";

/// A node whose values are a multiple of some weights.
struct Twin {
    node: String,
    weights: Vec<String>,
    /// The factor. It is a power of two or zero, so that every product with it is exact.
    factor: f32,
}

/// The norms of the middle layer, the last norm, K and V, as far as this graph has them.
fn twins(subject: &ModelUnderTest<'_>, engine: &dyn Engine) -> Vec<Twin> {
    let layer = subject.middle;
    let of_layer = |stem: &str| format!("blk.{layer}.{stem}");
    let candidates = [
        (format!("attn_norm-{layer}"), of_layer("attn_norm"), 2.0),
        (format!("ffn_norm-{layer}"), of_layer("ffn_norm"), 2.0),
        ("result_norm".into(), "output_norm".into(), 2.0),
        // Norms of K and V would undo a factor; of zeros they make zeros.
        (format!("cache_k_l{layer}"), of_layer("attn_k"), 0.0),
        (format!("cache_v_l{layer}"), of_layer("attn_v"), 0.0),
    ];
    let twin = |(node, stem, factor): (String, String, f32)| {
        let has_node = engine.nodes().iter().any(|info| info.name == node);
        let weights = ["weight", "bias"].map(|part| format!("{stem}.{part}"));
        let weights: Vec<String> = weights.into_iter().filter(|name| find(engine, name).is_some()).collect();
        (has_node && !weights.is_empty()).then_some(Twin { node, weights, factor })
    };
    candidates.into_iter().filter_map(twin).collect()
}

/// The weight of that name.
fn find<'e>(engine: &'e dyn Engine, name: &str) -> Option<&'e WeightInfo> {
    engine.weights().iter().find(|weight| weight.name == name)
}

/// Checks that doubling a norm's output equals doubling its weights, and that K and V set to zero equal weights of zero.
pub(super) fn a_hook_acts_on_its_node(subject: &ModelUnderTest<'_>) -> Check {
    const NAME: &str = "a hook at a node equals the same change of its weights";
    let mut has_twins = true;
    let result = check(NAME, &["hook", "weights"], |tally| {
        let mut engine = subject.engine()?;
        let window = subject.windows(&*engine)?.remove(0);
        let first = subject.first_scored();
        let before = logits(&mut *engine, &window, first, Prefix::Full).map_err(words)?;
        let twins = twins(subject, &*engine);
        has_twins = !twins.is_empty();
        for Twin { node, weights, factor } in twins {
            let times =
                |values: &mut [f32]| values.iter_mut().for_each(|x| *x = if factor == 0.0 { 0.0 } else { *x * factor });
            let swap = |engine: &mut dyn Engine, is_changed: bool| -> Result<(), String> {
                for name in &weights {
                    let mut values = subject.values(name)?;
                    if is_changed {
                        times(&mut values);
                    }
                    let bytes = values.iter().flat_map(|x| x.to_le_bytes()).collect();
                    engine.swap_weight(name, None, "f32", Arc::new(bytes)).map_err(words)?;
                }
                Ok(())
            };
            // Both sides have their weights in F32, so that both run through the same kernels.
            swap(&mut *engine, false)?;
            let replace = |_: usize, values: &mut [f32], _: usize| {
                times(values);
                Ok(())
            };
            let hooks = [Hook { node: &node, replace: &replace }];
            let hooked = hooked_logits(&mut *engine, &window, first, Prefix::Full, &hooks).map_err(words)?;
            swap(&mut *engine, true)?;
            let swapped = logits(&mut *engine, &window, first, Prefix::Full).map_err(words)?;
            for name in weights.iter().chain(&weights) {
                engine.restore_weight(name, None).map_err(words)?;
            }
            let what = format!("{node} times {factor}, against {} times {factor}", weights.join(" and "));
            bits_agree(tally, &what, &hooked, &swapped);
            tally.hold(hooked != before, || format!("{node} was replaced, but no logit changed"));
        }
        let after = logits(&mut *engine, &window, first, Prefix::Full).map_err(words)?;
        bits_agree(tally, "after the hooks", &after, &before);
        Ok(())
    });
    if has_twins {
        result
    } else {
        Check::skipped(Area::Model, NAME, "the graph does not name norms, K and V as other models do")
    }
}

/// Checks that tokens looked up in a table that a scheme quantized row by row equal embedded tokens quantized in that
/// scheme.
pub(super) fn embedded_tokens_are_rows_of_the_table(subject: &ModelUnderTest<'_>) -> Check {
    const NAME: &str = "a hook at embedded tokens equals their table in that scheme";
    const SCHEMES: [&str; 2] = ["int8@row", "int4@block32"];
    let mut is_there = true;
    let result = check(NAME, &["hook", "table", "file and schemes"], |tally| {
        let engine = subject.engine()?;
        is_there = engine.nodes().iter().any(|node| node.name == EMBD)
            && find(&*engine, TOKEN_EMBD).is_some_and(|table| table.lookups > 0);
        if !is_there {
            return Ok(());
        }
        let window = subject.windows(&*engine)?.remove(0);
        drop(engine);
        let cell = |how: &str, scheme: &str, tensor: &str, place| {
            let edit = Edit { place, ..Edit::of_weight(tensor, scheme, Carrier::F32) };
            spec_of(format!("{how} {scheme}"), vec![edit])
        };
        let cells: Vec<CellSpec> = SCHEMES
            .iter()
            .flat_map(|scheme| {
                [
                    cell("hook", scheme, EMBD, EditPlace::Activation),
                    cell("table", scheme, TOKEN_EMBD, EditPlace::Lookup),
                ]
            })
            .collect();
        let events = subject.session(1)?.measure(&untouched(), &cells, subject.chunks)?;
        let n_embd = subject.file.tensor(TOKEN_EMBD).map_or(1, |tensor| tensor.n_per_row() as usize);
        let rows = embedded(subject, &window, n_embd)?;
        for scheme in SCHEMES {
            let (hook, table) =
                (samples(&events, &format!("hook {scheme}")), samples(&events, &format!("table {scheme}")));
            tally.hold(hook.len() == subject.chunks && table.len() == subject.chunks, || {
                format!("{scheme}: {} and {} samples of {} windows", hook.len(), table.len(), subject.chunks)
            });
            for (hook, table) in hook.iter().zip(&table) {
                let same = hook.columns == table.columns;
                tally.hold(same, || {
                    format!("{scheme}: the scores of window {} differ between hook and table", hook.chunk)
                });
                tally.hold(hook.n_changed() > 0, || format!("{scheme}: window {} did not change", hook.chunk));
            }
            let found = applied(&events, &format!("hook {scheme}")).and_then(<[_]>::first);
            let found = found.ok_or("the worker did not report what the hook did")?;
            let mut held = rows.clone();
            let parsed: Scheme = scheme.parse().map_err(|error| format!("{error}"))?;
            let context = TensorContext { name: EMBD, n_per_row: n_embd };
            let pipeline = subject.pipeline;
            let done = pipeline.quantizer().hold(&parsed, &mut held, &context, pipeline.codec());
            done.map_err(|error| error.to_string())?;
            let wanted = (rows.len() as u64, n_changed(&rows, &held), true);
            tally.hold((found.n, found.changed, found.read_back) == wanted, || {
                format!(
                    "{scheme}: {} of {} values changed, by the file {} of {}",
                    found.changed, found.n, wanted.1, wanted.0
                )
            });
        }
        Ok(())
    });
    if is_there {
        result
    } else {
        Check::skipped(
            Area::Model,
            NAME,
            "the graph does not take tokens from token_embd.weight as they are (it may scale them)",
        )
    }
}

/// The native arm's reference with nothing in F32.
fn untouched() -> Base {
    Base { arm: Arm::Native, carried: Vec::new() }
}

/// The rows of the file's table that a window's tokens stand for.
fn embedded(subject: &ModelUnderTest<'_>, window: &[Token], n_embd: usize) -> Result<Vec<f32>, String> {
    let table = subject.values(TOKEN_EMBD)?;
    let row = |&token: &Token| table.get(token as usize * n_embd..(token as usize + 1) * n_embd);
    let rows: Option<Vec<&[f32]>> = window.iter().map(row).collect();
    Ok(rows.ok_or("a token has no row in the table")?.concat())
}

/// Checks that each use of the token embedding follows its own bytes. A table turned by one row looks up the next token. A
/// head turned by one row gives the next token's logit. Both together equal the whole matrix turned.
pub(super) fn a_use_is_changed_alone(subject: &ModelUnderTest<'_>) -> Check {
    const NAME: &str = "a matrix is changed in one use alone, and restored";
    let mut refused = None;
    let result = check(NAME, &["one use", "tokens and logits turned", "whole matrix"], |tally| {
        let mut engine = subject.engine()?;
        let n_vocab = engine.info().n_vocab;
        let head = if find(&*engine, OUTPUT).is_some() { OUTPUT } else { TOKEN_EMBD };
        let by_token = |weight: &&WeightInfo| weight.lookups > 0 && weight.ne[1] == n_vocab as u64;
        let mut tables = engine.weights().iter().filter(by_token);
        let is_plain = tables.next().is_some_and(|table| table.name == TOKEN_EMBD)
            && tables.next().is_none()
            && find(&*engine, head).is_some_and(|head| head.ne[1] == n_vocab as u64)
            && find(&*engine, "output.bias").is_none();
        if !is_plain {
            refused = Some("this model has further tables by token, or a head that is not a plain matrix");
            return Ok(());
        }
        let window = subject.windows(&*engine)?.remove(0);
        let next: Vec<Token> = window.iter().map(|&token| (token + 1) % n_vocab as Token).collect();
        let first = subject.first_scored();
        let run =
            |engine: &mut dyn Engine, window: &[Token]| logits(engine, window, first, Prefix::Full).map_err(words);
        let before = run(&mut *engine, &window)?;
        let looked_up = run(&mut *engine, &next)?;
        let rows = before.chunks_exact(n_vocab);
        let given: Vec<f32> = rows.flat_map(|row| [&row[1..], &row[..1]].concat()).collect();
        for (name, used_as, wanted) in [(TOKEN_EMBD, WeightUse::Lookup, &looked_up), (head, WeightUse::Head, &given)] {
            let (ty, bytes) = engine.read_weight(name, None).map_err(words)?;
            let turned = turned_by_a_row(&bytes, n_vocab);
            engine.swap_weight(name, Some(used_as), &ty, turned.clone()).map_err(words)?;
            let reads = engine.read_weight(name, Some(used_as)).map_err(words)?.1 == *turned;
            tally.hold(reads, || format!("{name} as {used_as:?}: the bytes read back are not those written"));
            let whole = engine.read_weight(name, None).map_err(words)?.1 == bytes;
            tally.hold(whole, || format!("{name} was changed as {used_as:?} alone, but is changed as a whole"));
            let found = run(&mut *engine, &window)?;
            bits_agree(tally, &format!("{name} turned as {used_as:?}"), &found, wanted);
            engine.restore_weight(name, Some(used_as)).map_err(words)?;
            let reads = engine.read_weight(name, Some(used_as)).map_err(words)?.1 == bytes;
            tally.hold(reads, || format!("{name} was restored as {used_as:?}, but its bytes differ from before"));
            let after = run(&mut *engine, &window)?;
            bits_agree(tally, &format!("after {name} was restored as {used_as:?}"), &after, &before);
        }
        if head == TOKEN_EMBD {
            let (ty, bytes) = engine.read_weight(head, None).map_err(words)?;
            let turned = turned_by_a_row(&bytes, n_vocab);
            for used_as in [WeightUse::Lookup, WeightUse::Head] {
                engine.swap_weight(head, Some(used_as), &ty, turned.clone()).map_err(words)?;
            }
            let both = run(&mut *engine, &window)?;
            for used_as in [WeightUse::Lookup, WeightUse::Head] {
                engine.restore_weight(head, Some(used_as)).map_err(words)?;
            }
            engine.swap_weight(head, None, &ty, turned).map_err(words)?;
            let whole = run(&mut *engine, &window)?;
            engine.restore_weight(head, None).map_err(words)?;
            bits_agree(tally, "both uses turned, against the whole matrix", &both, &whole);
        }
        Ok(())
    });
    refused.map_or(result, |why| Check::skipped(Area::Model, NAME, why))
}

/// A matrix of `n_rows` rows whose first row has become its last.
fn turned_by_a_row(bytes: &[u8], n_rows: usize) -> Arc<Vec<u8>> {
    let mut turned = bytes.to_vec();
    turned.rotate_left(bytes.len() / n_rows.max(1));
    Arc::new(turned)
}

/// Checks that the trace says of each layer's output what hooks there see, and that nothing changed before the first touched
/// layer.
pub(super) fn the_trace_is_what_hooks_see(subject: &ModelUnderTest<'_>) -> Check {
    const NAME: &str = "the trace is what hooks at each layer see";
    /// The relative difference of two sums in F64 over the same values in the same order.
    const TOLERANCE: f64 = 1e-12;
    let mut is_there = true;
    let result = check(NAME, &["trace", "hidden states in two passes"], |tally| {
        let mut engine = subject.engine()?;
        let n_layer = engine.info().n_layer;
        is_there = (0..n_layer).all(|layer| engine.nodes().iter().any(|node| node.name == format!("l_out-{layer}")));
        if !is_there {
            return Ok(());
        }
        let cell = subject.cell("schemes", |pick| pick.scheme.into(), Carrier::F32);
        let base = subject.native_base();
        let events = subject.session(1)?.trace(&base, &[cell], subject.chunks)?;
        let found = samples(&events, "schemes");
        let windows = subject.windows(&*engine)?;
        tally.hold(found.len() == windows.len(), || format!("{} samples of {} windows", found.len(), windows.len()));
        for (window, sample) in windows.iter().zip(found) {
            // Every pick in F32 on both sides, as in the worker's native reference.
            swap_picks(subject, &mut *engine, false)?;
            let reference = hidden_states(&mut *engine, window, subject.first_scored())?;
            swap_picks(subject, &mut *engine, true)?;
            let variant = hidden_states(&mut *engine, window, subject.first_scored())?;
            for pick in subject.picks.iter().chain(&subject.picks) {
                engine.restore_weight(&pick.name, None).map_err(words)?;
            }
            tally.hold(sample.residual.len() == n_layer, || {
                format!("window {}: {} layers of {n_layer} are traced", sample.chunk, sample.residual.len())
            });
            for (layer, traced) in sample.residual.iter().enumerate() {
                let wanted = distance(&reference[&layer], &variant[&layer]);
                let near = |a: f64, b: f64| (a - b).abs() <= TOLERANCE * b.abs();
                let agrees = near(traced.squared_error, wanted.squared_error)
                    && near(traced.squared_reference, wanted.squared_reference);
                tally.hold(agrees, || {
                    let (traced, wanted) = (traced.relative(), wanted.relative());
                    format!("window {}, layer {layer}: relative error {traced:e}, by hooks {wanted:e}", sample.chunk)
                });
                let before = layer < subject.middle;
                tally.hold(!before || traced.squared_error == 0.0, || {
                    format!("window {}: layer {layer} moved, but nothing up to it was changed", sample.chunk)
                });
            }
        }
        Ok(())
    });
    if is_there {
        result
    } else {
        Check::skipped(Area::Model, NAME, "the graph does not name the outputs of its layers l_out-N")
    }
}

/// Swaps the picks in F32 into the engine, as the model has them or quantized in their schemes. Factors that they have
/// are multiplied in, and ones stand in their place.
fn swap_picks(subject: &ModelUnderTest<'_>, engine: &mut dyn Engine, is_held: bool) -> Result<(), String> {
    for pick in &subject.picks {
        let mut values = subject.effective_values(&pick.name)?;
        if is_held {
            let scheme: Scheme = pick.scheme.parse().map_err(|error| format!("{error}"))?;
            let n_per_row = subject.file.tensor(&pick.name).map_or(1, |tensor| tensor.n_per_row() as usize);
            let context = TensorContext { name: &pick.name, n_per_row };
            let pipeline = subject.pipeline;
            let done = pipeline.quantizer().hold(&scheme, &mut values, &context, pipeline.codec());
            done.map_err(|error| error.to_string())?;
        }
        let bytes = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        engine.swap_weight(&pick.name, None, "f32", Arc::new(bytes)).map_err(words)?;
        if let Some((companion, factors)) = subject.factors(&pick.name)? {
            let ones = factors.iter().flat_map(|_| 1f32.to_le_bytes()).collect();
            engine.swap_weight(&companion, None, "f32", Arc::new(ones)).map_err(words)?;
        }
    }
    Ok(())
}

/// The output of each layer in a full pass.
fn hidden_states(
    engine: &mut dyn Engine,
    window: &[Token],
    first_output: usize,
) -> Result<BTreeMap<usize, Vec<f32>>, String> {
    let n_layer = engine.info().n_layer;
    let seen: Mutex<BTreeMap<usize, Vec<f32>>> = Mutex::new((0..n_layer).map(|layer| (layer, Vec::new())).collect());
    let nodes: Vec<String> = (0..n_layer).map(|layer| format!("l_out-{layer}")).collect();
    let look = |layer: usize| {
        let seen = &seen;
        move |_: usize, values: &mut [f32], _: usize| {
            seen.lock().unwrap_or_else(PoisonError::into_inner).entry(layer).or_default().extend_from_slice(values);
            Ok(())
        }
    };
    let looks: Vec<_> = (0..n_layer).map(look).collect();
    let hooks: Vec<Hook<'_>> = nodes.iter().zip(&looks).map(|(node, replace)| Hook { node, replace }).collect();
    hooked_logits(engine, window, first_output, Prefix::Full, &hooks).map_err(words)?;
    drop(hooks);
    drop(looks);
    Ok(seen.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// The sums that the trace reports, of one layer's output.
fn distance(reference: &[f32], variant: &[f32]) -> LayerError {
    let mut error = LayerError::default();
    for (&a, &b) in reference.iter().zip(variant) {
        error.squared_error += (f64::from(b) - f64::from(a)).powi(2);
        error.squared_reference += f64::from(a).powi(2);
    }
    error
}
