//! Checks of a measurement as a whole.

use super::{ModelUnderTest, Pick, check};
use crate::check::Check;
use crate::session::{TextSession, references, samples};
use crate::tap::Pass;
use files::rewrite::{self, FileCarrier, Request};
use lab::plan::cells::spec_of;
use numerics::{Scheme, TensorContext};
use record::{Arm, Base, Carrier, Edit, EditPlace, Sample, TensorEvidence};
use select::{Apply, Selector};
use worker::protocol::{CellSpec, Event};

impl ModelUnderTest<'_> {
    /// The native arm's reference, which has the picks in F32.
    pub(super) fn native_base(&self) -> Base {
        let not_f32 = self.picks.iter().filter(|pick| pick.ty != "f32");
        Base::native(not_f32.map(|pick| (pick.name.as_str(), EditPlace::Weight)))
    }
}

/// The reference of the exact arm, and the native arm's.
fn bases(subject: &ModelUnderTest<'_>) -> [Base; 2] {
    [Base { arm: Arm::Exact, carried: Vec::new() }, subject.native_base()]
}

/// The scheme of a pick.
fn as_picked(pick: &Pick) -> String {
    pick.scheme.into()
}

/// Cells that write something back unchanged other than a whole weight: each use of the token embedding, and activations
/// of the middle layer.
fn identities(subject: &ModelUnderTest<'_>) -> Result<Vec<CellSpec>, String> {
    let engine = subject.engine()?;
    let identity = |name: &str, place| Edit { place, ..Edit::of_weight(name, "identity", Carrier::Keep) };
    let is_lookup = |name: &str| engine.weights().iter().any(|weight| weight.name == name && weight.lookups > 0);
    let is_head =
        |name: &str| engine.weights().iter().any(|weight| weight.name == name && weight.consumers > weight.lookups);
    let (table, heads) = ("token_embd.weight", ["output.weight", "token_embd.weight"]);
    let lookup = is_lookup(table).then(|| identity(table, EditPlace::Lookup));
    let head = heads.into_iter().find(|name| is_head(name)).map(|name| identity(name, EditPlace::Head));
    let layer = subject.middle;
    let nodes = [
        format!("attn_norm-{layer}"),
        format!("cache_k_l{layer}"),
        format!("cache_v_l{layer}"),
        format!("ffn_norm-{layer}"),
        format!("l_out-{layer}"),
    ];
    let is_there = |node: &&String| engine.nodes().iter().any(|info| info.name == **node);
    let activations = nodes.iter().filter(is_there).map(|node| identity(node, EditPlace::Activation)).collect();
    let cells = [
        ("identity of the lookup", lookup.into_iter().collect()),
        ("identity of the head", head.into_iter().collect()),
        ("identity of activations", activations),
    ];
    let cells = cells.into_iter().filter(|(_, edits): &(&str, Vec<Edit>)| !edits.is_empty());
    Ok(cells.map(|(key, edits)| spec_of(key, edits)).collect())
}

/// Checks that what is written back unchanged changes no bit: in either arm and either carrier, as a whole weight, in one
/// use of it, and at nodes.
pub(super) fn identity_changes_nothing(subject: &ModelUnderTest<'_>) -> Check {
    check("identity is bit-equal", &["identity", "untouched"], |tally| {
        let mut session = subject.session(1)?;
        let untouched = Base { arm: Arm::Native, carried: Vec::new() };
        let [exact, native] = bases(subject);
        for (base, carrier) in [(exact, Carrier::F32), (native, Carrier::F32), (untouched, Carrier::Keep)] {
            let mut cells = vec![spec_of("A/A", Vec::new()), subject.cell("identity", |_| "identity".into(), carrier)];
            if carrier == Carrier::Keep {
                cells.extend(identities(subject)?);
            }
            let events = session.measure(&base, &cells, subject.chunks)?;
            let references = references(&events);
            for CellSpec { key, .. } in &cells {
                let samples = samples(&events, key);
                tally.hold(samples.len() == subject.chunks, || format!("{key}: {} samples", samples.len()));
                for sample in samples {
                    let equal = sample.n_changed() == 0 && sample.kld().iter().all(|&kld| kld == 0.0);
                    let its_reference = references.iter().find(|reference| reference.chunk == sample.chunk);
                    tally.hold(equal && its_reference.is_some_and(|its| its.nll() == sample.nll()), || {
                        let (n, of) = (sample.n_changed(), sample.kld().len());
                        format!(
                            "{key}, {} arm, window {}: logits of {n} of {of} positions differ",
                            base.arm.name(),
                            sample.chunk
                        )
                    });
                    for router in &sample.routers {
                        let rerouted = router.changed.iter().filter(|&&changed| changed > 0).count();
                        tally.hold(rerouted == 0, || {
                            let (layer, of) = (router.layer, router.changed.len());
                            let window = sample.chunk;
                            format!(
                                "{key}, window {window}, layer {layer}: {rerouted} of {of} tokens go to other experts"
                            )
                        });
                    }
                }
            }
        }
        Ok(())
    })
}

/// What the worker says that the edits of a cell did.
pub(super) fn applied<'e>(events: &'e [Event], key: &str) -> Option<&'e [TensorEvidence]> {
    let of_cell = |event: &'e Event| match event {
        Event::Applied { cell, tensors } if cell == key => Some(tensors.as_slice()),
        _ => None,
    };
    events.iter().find_map(of_cell)
}

/// The number of values that became another value. Numbers that compare as equal are the same, such as both zeros.
pub(super) fn n_changed(before: &[f32], after: &[f32]) -> u64 {
    let same = |a: f32, b: f32| a == b || a.to_bits() == b.to_bits();
    before.iter().zip(after).filter(|(a, b)| !same(**a, **b)).count() as u64
}

/// Checks that the worker's evidence is what the file's own values and the schemes say that it must be.
pub(super) fn evidence_is_the_files(subject: &ModelUnderTest<'_>) -> Check {
    check("the evidence of a cell is the file's", &["worker", "file and schemes"], |tally| {
        let mut session = subject.session(1)?;
        let [exact, _] = bases(subject);
        let cells =
            [subject.cell("schemes", as_picked, Carrier::F32), subject.cell("bf16", |_| "bf16".into(), Carrier::Keep)];
        let events = session.measure(&exact, &cells, 1)?;
        for cell in &cells {
            let tensors = applied(&events, &cell.key).ok_or("the worker did not report what the edits did")?;
            let (asked, done): (Vec<&str>, Vec<&str>) = (
                cell.edits.iter().map(|edit| edit.tensor.as_str()).collect(),
                tensors.iter().map(|tensor| tensor.tensor.as_str()).collect(),
            );
            tally.hold(asked == done, || {
                format!("{}: the edits asked for were {asked:?}, those made {done:?}", cell.key)
            });
            for (edit, tensor) in cell.edits.iter().zip(tensors) {
                let before = subject.effective_values(&edit.tensor)?;
                let mut after = before.clone();
                let n_per_row = subject.file.tensor(&edit.tensor).map_or(1, |tensor| tensor.n_per_row() as usize);
                let ctx = TensorContext { name: &edit.tensor, n_per_row };
                let scheme: Scheme = edit.scheme.parse().map_err(|error| format!("{error}"))?;
                let (quantizer, codec) = (subject.pipeline.quantizer(), subject.pipeline.codec());
                quantizer.hold(&scheme, &mut after, &ctx, codec).map_err(|error| error.to_string())?;
                let changed = n_changed(&before, &after);
                tally.hold(tensor.n == before.len() as u64 && tensor.changed == changed, || {
                    format!(
                        "{} in {}: {} of {} values changed, by the file {changed} of {}",
                        edit.tensor,
                        edit.scheme,
                        tensor.changed,
                        tensor.n,
                        before.len()
                    )
                });
                tally.hold(tensor.read_back, || format!("{}: the bytes read back are not those written", edit.tensor));
                tally.hold(tensor.consumers > 0, || format!("no node reads {}", edit.tensor));
            }
            let sample = samples(&events, &cell.key).first().copied().ok_or("no sample")?;
            let watched = sample.activations.as_ref().ok_or("nothing was watched")?;
            let any = tensors.iter().any(|tensor| tensor.changed > tensor.carrier_rounded);
            tally.hold(!any || (watched.changed > 0 && sample.n_changed() > 0), || {
                let (activations, logits) = (watched.changed, sample.n_changed());
                format!("{}: values changed, but {activations} activations and {logits} positions did", cell.key)
            });
        }
        Ok(())
    })
}

/// Checks that after a measurement every touched weight has its hash again and the reference its logits.
pub(super) fn weights_are_restored(subject: &ModelUnderTest<'_>) -> Check {
    check("weights are restored after a measurement", &["before", "after"], |tally| {
        let mut session = subject.session(1)?;
        let cells =
            [subject.cell("schemes", as_picked, Carrier::F32), subject.cell("zero", |_| "zero".into(), Carrier::F32)];
        let mut first: Option<Vec<String>> = None;
        for base in bases(subject).iter().cycle().take(4) {
            let events = session.measure(base, &cells, 1)?;
            if let Some(Event::Measured { weights_before, weights_after }) = events.last() {
                tally.hold(weights_before == weights_after, || {
                    format!("hash {weights_before} before, {weights_after} after")
                });
            }
            if base.arm == Arm::Exact {
                let logits: Vec<String> =
                    references(&events).iter().map(|sample| sample.logits_blake3.clone()).collect();
                match &first {
                    None => first = Some(logits),
                    Some(first) => {
                        tally.hold(*first == logits, || "the logits of the reference differ afterwards".into())
                    }
                }
            }
        }
        Ok(())
    })
}

/// Checks that two workers, and one with two contexts, give the same results bit for bit.
pub(super) fn measurements_repeat(subject: &ModelUnderTest<'_>) -> Check {
    check("two measurements give the same bytes", &["once", "again", "two threads"], |tally| {
        let [exact, _] = bases(subject);
        let cells = [
            subject.cell("schemes", as_picked, Carrier::F32),
            subject.cell("jitter", |_| "jitter".into(), Carrier::F32),
        ];
        let said = |n_threads| -> Result<Vec<String>, String> {
            let mut session = subject.session(n_threads)?;
            let hashes = session.chunk_blake3.join(" ");
            let mut events = session.measure(&exact, &cells, subject.chunks)?;
            // Contexts side by side need more memory and finish a round together; what is measured must not differ.
            let is_result = |event: &Event| {
                matches!(event, Event::Reference(_) | Event::Applied { .. } | Event::Sample(_) | Event::Measured { .. })
            };
            events.retain(is_result);
            let lines = events.iter().map(serde_json::to_string).collect::<Result<Vec<_>, _>>();
            let mut lines = lines.map_err(|error| error.to_string())?;
            lines.push(hashes);
            lines.sort();
            Ok(lines)
        };
        let once = said(1)?;
        for (what, again) in [("again", said(1)?), ("with two threads", said(2)?)] {
            let differs = once.iter().zip(&again).find(|(a, b)| a != b);
            tally.hold(once == again, || {
                let (a, b) = differs.map_or((String::new(), String::new()), |(a, b)| (cut(a), cut(b)));
                format!("{what}: {a} became {b}")
            });
        }
        Ok(())
    })
}

/// Checks that a cell's samples are those of a worker of its own, whatever was measured before in the same worker.
pub(super) fn cells_do_not_touch_each_other(subject: &ModelUnderTest<'_>) -> Check {
    check("a cell among others is measured as if alone", &["among others", "alone"], |tally| {
        let [exact, native] = bases(subject);
        let mut cells = vec![
            subject.cell("schemes", as_picked, Carrier::F32),
            spec_of("A/A", Vec::new()),
            subject.cell("bf16", |_| "bf16".into(), Carrier::F32),
        ];
        let node = format!("l_out-{}", subject.middle);
        if subject.engine()?.nodes().iter().any(|info| info.name == node) {
            let edit = Edit { place: EditPlace::Activation, ..Edit::of_weight(node, "int8@row", Carrier::F32) };
            cells.insert(1, spec_of("hook", vec![edit]));
        }
        let mut session = subject.session(1)?;
        session.measure(&exact, &cells, subject.chunks)?;
        let together = session.measure(&native, &cells, subject.chunks)?;
        for cell in &cells {
            let alone = subject.session(1)?.measure(&native, std::slice::from_ref(cell), subject.chunks)?;
            let (one, other): (Vec<&Sample>, Vec<&Sample>) =
                (samples(&alone, &cell.key), samples(&together, &cell.key));
            tally.hold(!one.is_empty() && one == other, || {
                format!("{}: the samples differ when other cells are measured too", cell.key)
            });
        }
        Ok(())
    })
}

/// The beginning of a line.
fn cut(line: &str) -> String {
    line.chars().take(160).collect()
}

/// The passes of a measurement of one window: the reference's first, and with a cell the cell's last.
fn passes(
    subject: &ModelUnderTest<'_>,
    session: &mut TextSession,
    base: &Base,
    with_cell: bool,
) -> Result<Vec<Pass>, String> {
    let cells = [subject.cell("schemes", as_picked, Carrier::F32)];
    subject.pipeline.tap().listen();
    let events = session.measure(base, if with_cell { &cells } else { &[] }, 1);
    let passes = subject.pipeline.tap().take();
    events.map(|_| passes)
}

/// Checks that tensors swapped in memory give the logits of a file that `assay quantize` wrote and the engine loaded, bit
/// for bit.
pub(super) fn swapped_equals_written(subject: &ModelUnderTest<'_>) -> Check {
    check("a swapped tensor equals a written file", &["swapped in memory", "assay quantize, loaded"], |tally| {
        let [_, native] = bases(subject);
        let swapped = passes(subject, &mut subject.session(1)?, &native, true)?;

        let applies = subject.picks.iter().map(|pick| {
            let selector: Selector = pick.name.parse().map_err(|error| format!("{error}"))?;
            let scheme: Scheme = pick.scheme.parse().map_err(|error| format!("{error}"))?;
            Ok(Apply { selector, scheme })
        });
        let applies = applies.collect::<Result<Vec<_>, String>>()?;
        let request = Request {
            applies: &applies,
            type_file: None,
            base: None,
            carrier: FileCarrier::F32,
            force_tensors: false,
            force_carrier: false,
            allow_fallback: false,
            split_max_bytes: None,
            version: env!("CARGO_PKG_VERSION"),
        };
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let path = folder.path().join("written.gguf");
        let rewrite =
            rewrite::plan(&subject.file, &request, subject.pipeline.codec()).map_err(|error| error.to_string())?;
        subject.pipeline.write_file(&rewrite, &path)?;
        let mut session = TextSession::open(subject.pipeline.workers(), &path, &subject.settings, 1, subject.text)?;
        let untouched = Base { arm: Arm::Native, carried: Vec::new() };
        let written = passes(subject, &mut session, &untouched, false)?;

        let (Some(swapped), Some(written)) = (swapped.last(), written.first()) else {
            return Err("nothing reached the engine".into());
        };
        tally.hold(swapped.tokens == written.tokens, || "the tokens differ with the written file".into());
        let bits = |logits: &[f32]| logits.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        let differing = bits(&swapped.logits).iter().zip(bits(&written.logits)).filter(|(a, b)| **a != *b).count();
        tally.hold(differing == 0 && swapped.logits.len() == written.logits.len(), || {
            format!("{differing} of {} logits differ", written.logits.len())
        });
        tally.agree(written.logits.len() as u64);
        Ok(())
    })
}
