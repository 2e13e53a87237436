//! Faults inside a pass of an engine: hooks, single uses of a weight, skipped layers and the trace; and in the memory that
//! it says it needs.

use crate::{Fault, FaultPlace, Parts};
use eval::{
    Ask, Engine, EngineError, EngineMemory, Hook, LayerError, Memory, Passes, Prefix, Replace, Seen, TakeLogits, Token,
    WeightInfo, WeightUse, Weights,
};
use proof::forward_engine;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// What a faulty engine does in place of what it was asked. [`WHOLE`] does what it was asked.
#[derive(Clone, Copy)]
struct Deeds {
    /// The node of a hook; `None` leaves the hook out.
    node: fn(&str) -> Option<String>,
    /// Calls a hook's function.
    replace: fn(&Replace<'_>, usize, &mut [f32], usize) -> Result<(), String>,
    /// The use that is swapped; `None` swaps nothing and says that it did.
    used_as: fn(WeightUse) -> Option<WeightUse>,
    /// Whether a use is swapped by swapping the whole weight.
    swaps_whole: bool,
    /// Whether undoing a swap of one use does anything.
    restores_use: bool,
    /// The use that is made of hidden states.
    prefix: fn(Prefix, &States) -> Prefix,
    /// Changes the trace of a pass.
    traced: fn(Vec<LayerError>, Traces<'_>) -> Vec<LayerError>,
    /// Changes the memory that is announced.
    memory: fn(EngineMemory) -> EngineMemory,
}

/// What a fault knows of hidden states.
struct States {
    n_layer: usize,
    /// The number of passes that recorded them.
    n_recorded: usize,
}

/// What a fault knows of a pass's layers.
struct Traces<'a> {
    /// The sum of squares of each layer's output in this pass.
    squares: &'a BTreeMap<usize, f64>,
    /// The first trace of all.
    first: &'a [LayerError],
}

const WHOLE: Deeds = Deeds {
    node: |node| Some(node.to_owned()),
    replace: |replace, slot, values, n_per_row| replace(slot, values, n_per_row),
    used_as: Some,
    swaps_whole: false,
    restores_use: true,
    prefix: |prefix, _| prefix,
    traced: |errors, _| errors,
    memory: |memory| memory,
};

/// An engine that does other things than it is asked.
struct Faulty {
    engine: Box<dyn Engine>,
    deeds: Deeds,
    /// The uses that were to be swapped, with the type and the bytes that were to be put there.
    asked: Vec<(String, WeightUse, String, Arc<Vec<u8>>)>,
    n_recorded: usize,
    first_trace: Vec<LayerError>,
}

forward_engine!(Faulty: Tokens, Graph);

/// The faults are in single uses of weights; whole ones are as they should be.
impl Weights for Faulty {
    fn weights(&self) -> &[WeightInfo] {
        self.engine.weights()
    }

    fn read_weight(&self, name: &str, used_as: Option<WeightUse>) -> Result<(String, Vec<u8>), EngineError> {
        // The read gives what was to be put there, as if the write had worked.
        let asked = self.asked.iter().rev().find(|(of, as_what, ..)| of == name && Some(*as_what) == used_as);
        match asked {
            Some((_, _, ty, bytes)) => Ok((ty.clone(), bytes.to_vec())),
            None => self.engine.read_weight(name, used_as),
        }
    }

    fn swap_weight(
        &mut self,
        name: &str,
        used_as: Option<WeightUse>,
        ty: &str,
        bytes: Arc<Vec<u8>>,
    ) -> Result<(), EngineError> {
        let Some(used_as) = used_as else { return self.engine.swap_weight(name, None, ty, bytes) };
        self.asked.push((name.into(), used_as, ty.into(), bytes.clone()));
        match (self.deeds.used_as)(used_as) {
            _ if self.deeds.swaps_whole => self.engine.swap_weight(name, None, ty, bytes),
            Some(used_as) => self.engine.swap_weight(name, Some(used_as), ty, bytes),
            None => Ok(()),
        }
    }

    fn restore_weight(&mut self, name: &str, used_as: Option<WeightUse>) -> Result<(), EngineError> {
        let Some(used_as) = used_as else { return self.engine.restore_weight(name, None) };
        let last = self.asked.iter().rposition(|(of, as_what, ..)| of == name && *as_what == used_as);
        last.map(|last| self.asked.remove(last));
        match (self.deeds.used_as)(used_as).filter(|_| self.deeds.restores_use) {
            Some(_) if self.deeds.swaps_whole => self.engine.restore_weight(name, None),
            Some(used_as) => self.engine.restore_weight(name, Some(used_as)),
            None => Ok(()),
        }
    }
}

impl Memory for Faulty {
    fn memory(&mut self) -> Result<EngineMemory, EngineError> {
        Ok((self.deeds.memory)(self.engine.memory()?))
    }

    fn free_contexts(&mut self, n_kept: usize) {
        self.engine.free_contexts(n_kept);
    }
}

impl Passes for Faulty {
    fn n_parallel(&self) -> usize {
        self.engine.n_parallel()
    }

    fn pass(&mut self, ask: &Ask<'_>, score: &TakeLogits<'_>) -> Result<Vec<Seen>, EngineError> {
        let deeds = self.deeds;
        let n_layer = self.engine.info().n_layer;
        let squares: Mutex<BTreeMap<usize, f64>> = Mutex::default();
        let nodes: Vec<(String, &Hook<'_>)> =
            ask.hooks.iter().filter_map(|hook| Some(((deeds.node)(hook.node)?, hook))).collect();
        let closures: Vec<_> = nodes
            .iter()
            .map(|(_, hook)| {
                let replace = hook.replace;
                move |slot: usize, values: &mut [f32], n_per_row: usize| {
                    (deeds.replace)(replace, slot, values, n_per_row)
                }
            })
            .collect();
        let outputs: Vec<String> = match ask.trace {
            true => (0..n_layer).map(|layer| format!("l_out-{layer}")).collect(),
            false => Vec::new(),
        };
        let looks: Vec<_> = (0..outputs.len())
            .map(|layer| {
                let squares = &squares;
                move |_: usize, values: &mut [f32], _: usize| {
                    let sum: f64 = values.iter().map(|x| f64::from(*x).powi(2)).sum();
                    *squares.lock().unwrap_or_else(PoisonError::into_inner).entry(layer).or_default() += sum;
                    Ok(())
                }
            })
            .collect();
        let given =
            nodes.iter().zip(&closures).map(|((node, _), replace)| Hook { node, replace: replace as &Replace<'_> });
        let looked = outputs.iter().zip(&looks).map(|(node, replace)| Hook { node, replace: replace as &Replace<'_> });
        let hooks: Vec<Hook<'_>> = given.chain(looked).collect();
        let states = States { n_layer, n_recorded: self.n_recorded };
        self.n_recorded += usize::from(ask.prefix == Prefix::Record);
        let prefix = (deeds.prefix)(ask.prefix, &states);
        let mut seen = self.engine.pass(&Ask { prefix, hooks: &hooks, ..*ask }, score)?;
        if ask.trace {
            if self.first_trace.is_empty() {
                self.first_trace = seen.first().map_or_else(Vec::new, |seen| seen.traced.clone());
            }
            let squares = squares.lock().unwrap_or_else(PoisonError::into_inner);
            for seen in &mut seen {
                let traces = Traces { squares: &squares, first: &self.first_trace };
                seen.traced = (deeds.traced)(std::mem::take(&mut seen.traced), traces);
            }
        }
        Ok(seen)
    }

    fn generate(
        &mut self,
        prompt: &[Token],
        hooks: &[Hook<'_>],
        next: &mut dyn FnMut(&[f32]) -> Option<Token>,
    ) -> Result<(), EngineError> {
        self.engine.generate(prompt, hooks, next)
    }
}

fn plant(parts: &mut Parts, deeds: Deeds) {
    let open = parts.open.clone();
    parts.open = Arc::new(move |path, settings, n_threads| {
        let engine = open(path, settings, n_threads)?;
        Ok(Box::new(Faulty { engine, deeds, asked: Vec::new(), n_recorded: 0, first_trace: Vec::new() }))
    });
}

const fn fault(name: &'static str, plant: fn(&mut Parts)) -> Fault {
    Fault { name, place: FaultPlace::Engine, plant }
}

pub(super) const FAULTS: &[Fault] = &[
    fault("hook left out", |parts| plant(parts, Deeds { node: |_| None, ..WHOLE })),
    fault("hook's values thrown away, evidence as if kept", |parts| {
        plant(parts, Deeds { replace: |replace, slot, values, n| replace(slot, &mut values.to_vec(), n), ..WHOLE })
    }),
    fault("hook at the wrong node", |parts| plant(parts, Deeds { node: wrong_node, ..WHOLE })),
    fault("hook in the wrong layer", |parts| plant(parts, Deeds { node: next_layer, ..WHOLE })),
    fault("hook at K but not at V", |parts| {
        plant(parts, Deeds { node: |node| (!node.starts_with("cache_v")).then(|| node.to_owned()), ..WHOLE })
    }),
    fault("hook applied twice", |parts| {
        plant(
            parts,
            Deeds {
                replace: |replace, slot, values, n| {
                    replace(slot, values, n)?;
                    replace(slot, values, n)
                },
                ..WHOLE
            },
        )
    }),
    fault("hook rounds what it leaves alone", |parts| {
        plant(
            parts,
            Deeds {
                replace: |replace, slot, values, n| {
                    replace(slot, values, n)?;
                    values.iter_mut().for_each(|x| *x = f32::from_bits(x.to_bits() & 0xffff_0000));
                    Ok(())
                },
                ..WHOLE
            },
        )
    }),
    fault("hook's blocks begin one value late", |parts| {
        plant(
            parts,
            Deeds {
                replace: |replace, slot, values, n| {
                    values.rotate_left(1);
                    let done = replace(slot, values, n);
                    values.rotate_right(1);
                    done
                },
                ..WHOLE
            },
        )
    }),
    fault("hook takes a window for one row", |parts| {
        plant(parts, Deeds { replace: |replace, slot, values, _| replace(slot, values, values.len()), ..WHOLE })
    }),
    fault("hook at the first half of the tokens alone", |parts| {
        plant(
            parts,
            Deeds {
                replace: |replace, slot, values, n| {
                    let half = values.len() / n / 2 * n;
                    replace(slot, &mut values[..half.max(n)], n)
                },
                ..WHOLE
            },
        )
    }),
    fault("head changed for lookup and lookup for head", |parts| {
        plant(
            parts,
            Deeds {
                used_as: |used_as| {
                    Some(match used_as {
                        WeightUse::Lookup => WeightUse::Head,
                        WeightUse::Head => WeightUse::Lookup,
                    })
                },
                ..WHOLE
            },
        )
    }),
    fault("a use left as it was, reads lie", |parts| plant(parts, Deeds { used_as: |_| None, ..WHOLE })),
    fault("both uses changed for one", |parts| plant(parts, Deeds { swaps_whole: true, ..WHOLE })),
    fault("a use not restored, reads lie", |parts| plant(parts, Deeds { restores_use: false, ..WHOLE })),
    fault("layers skipped though one before was changed", |parts| {
        plant(
            parts,
            Deeds {
                prefix: |prefix, states| match prefix {
                    Prefix::Full if states.n_recorded > 0 => Prefix::Reuse(states.n_layer - 1),
                    other => other,
                },
                ..WHOLE
            },
        )
    }),
    fault("prefix of another reference reused", |parts| {
        plant(
            parts,
            Deeds {
                // One window is recorded again and again, each time for another reference.
                prefix: |prefix, states| match prefix {
                    Prefix::Record if states.n_recorded > 0 => Prefix::Full,
                    other => other,
                },
                ..WHOLE
            },
        )
    }),
    fault("trace one layer late", |parts| {
        plant(
            parts,
            Deeds {
                traced: |mut errors, _| {
                    errors.rotate_right(1);
                    errors
                },
                ..WHOLE
            },
        )
    }),
    fault("trace relative to the variant", |parts| {
        plant(
            parts,
            Deeds {
                traced: |mut errors, traces| {
                    for (layer, error) in errors.iter_mut().enumerate() {
                        error.squared_reference = traces.squares.get(&layer).copied().unwrap_or_default();
                    }
                    errors
                },
                ..WHOLE
            },
        )
    }),
    fault("trace of the first window for all", |parts| {
        plant(parts, Deeds { traced: |_, traces| traces.first.to_vec(), ..WHOLE })
    }),
    fault("context left out of the memory budget", |parts| {
        plant(parts, Deeds { memory: |memory| EngineMemory { context_bytes: 0, ..memory }, ..WHOLE })
    }),
    fault("hidden states left out of the memory budget", |parts| {
        plant(parts, Deeds { memory: |memory| EngineMemory { prefix_bytes: 0, ..memory }, ..WHOLE })
    }),
];

/// The name with the other norm of its layer in place of the one, or with V in place of K.
fn wrong_node(node: &str) -> Option<String> {
    for (one, other) in [("ffn_norm-", "attn_norm-"), ("cache_k_", "cache_v_")] {
        if node.starts_with(one) {
            return Some(node.replacen(one, other, 1));
        }
        if node.starts_with(other) {
            return Some(node.replacen(other, one, 1));
        }
    }
    Some(node.to_owned())
}

/// The same node of layer 2 for one of layer 1.
fn next_layer(node: &str) -> Option<String> {
    let is_first = |stem: &&str| stem.ends_with('-') || stem.ends_with("_l");
    Some(node.strip_suffix('1').filter(is_first).map_or(node.to_owned(), |stem| format!("{stem}2")))
}
