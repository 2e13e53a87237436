//! What happens at each graph node. One [`Visitor`] a context answers llama.cpp's eval callback. In this order: another
//! tensor in the place of a weight (virtual untying), skip the recorded prefix, replace values (hooks), compare or record
//! hidden states, hash watched activations, look for values that are not finite.

use crate::held::bytes_of;
use crate::nodes::{Nodes, Place, cache_written, n_per_row, name_of, put_values, values_of};
use crate::weights::{Addresses, UseSwap, Weights, use_of};
use eval::{LayerError, NonFiniteNode, Prefix, Replace};
use llama_cpp_sys_2 as sys;
use std::collections::HashMap;
use std::sync::Arc;

/// Hidden states that left each layer; `None` where none was seen.
type HiddenStates = Vec<Option<Vec<f32>>>;

/// What a context does at each node of the next pass. Lives at a fixed address for as long as the context does.
pub(crate) enum Visitor {
    /// Before the weights are known: find them.
    Discover(Box<(Weights, Nodes)>),
    /// Afterwards.
    Work(Box<Pass>),
}

/// A hook as one pass works it.
pub(crate) struct ActiveHook {
    pub(crate) place: Place,
    /// Valid while the pass runs: it is set before and cleared after by who lent it.
    pub(crate) replace: *const Replace<'static>,
    /// Where it was met in this part of the pass.
    met: Option<*mut sys::ggml_tensor>,
}

impl ActiveHook {
    pub(crate) fn new(place: Place, replace: *const Replace<'static>) -> Self {
        ActiveHook { place, replace, met: None }
    }
}

/// What a pass is to do beside computing.
#[derive(Default)]
pub(crate) struct Orders {
    pub(crate) slot: usize,
    pub(crate) uses: Vec<UseSwap>,
    pub(crate) hooks: Vec<ActiveHook>,
    /// Look at every node for values that are not finite.
    pub(crate) is_hunt: bool,
}

/// State of one pass, which is one graph for each part of a window.
#[derive(Default)]
pub(crate) struct Pass {
    addresses: Arc<Addresses>,
    /// Indices of the watched weights, and a hasher each.
    watched: Vec<(usize, blake3::Hasher)>,
    orders: Orders,
    /// Uses whose nodes were met.
    met_uses: Vec<bool>,
    prefix: Prefix,
    skip: Skip,
    part: usize,
    /// Tokens of the window before this part.
    from: usize,
    n_tokens: usize,
    n_outputs: usize,
    /// Recorded by the last [`Prefix::Record`] pass, for each part.
    states: Vec<HiddenStates>,
    is_traced: bool,
    errors: Vec<LayerError>,
    /// Nodes met of each name, in this part.
    counts: HashMap<Vec<u8>, usize>,
    found: Option<(NonFiniteNode, Vec<usize>)>,
    failure: Option<String>,
    values: Vec<f32>,
}

/// Where a pass stands that starts from a recorded state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Skip {
    /// Every node is computed.
    #[default]
    No,
    /// Nodes are skipped until the one that leaves layer `last`, which is overwritten with its recorded state.
    Until { last: usize },
}

/// Number of the layer that a node leaves (`l_out-11`), for every architecture that names it so.
///
/// # Safety
/// `node` is live.
unsafe fn layer_left(node: *const sys::ggml_tensor) -> Option<usize> {
    // SAFETY: passed on.
    let name = unsafe { name_of(node) };
    name.to_bytes().strip_prefix(b"l_out-").and_then(|n| std::str::from_utf8(n).ok()?.parse().ok())
}

/// A node of a branch of the graph that this pass does not take (other kinds of input) holds whatever was there before.
///
/// # Safety
/// `node` is live.
unsafe fn is_computed(node: *const sys::ggml_tensor) -> bool {
    // SAFETY: live by contract.
    unsafe { (*node).flags & sys::GGML_TENSOR_FLAG_COMPUTE as i32 != 0 }
}

/// A node that computes nothing of its own, or that is meant to hold infinities.
///
/// # Safety
/// `node` is live.
unsafe fn is_no_evidence(node: *const sys::ggml_tensor) -> bool {
    // SAFETY: live by contract.
    let (op, ty, name) = unsafe { ((*node).op, (*node).type_, name_of(node)) };
    let moves = [
        sys::GGML_OP_NONE,
        sys::GGML_OP_VIEW,
        sys::GGML_OP_RESHAPE,
        sys::GGML_OP_PERMUTE,
        sys::GGML_OP_TRANSPOSE,
        sys::GGML_OP_SET_ROWS,
    ];
    // Masks and the scores of experts that may not be chosen are minus infinity on purpose.
    ty != sys::GGML_TYPE_F32 || moves.contains(&op) || name.to_bytes().windows(4).any(|part| part == b"mask")
}

impl Pass {
    pub(crate) fn new(addresses: Arc<Addresses>) -> Self {
        Pass { addresses, ..Pass::default() }
    }

    pub(crate) fn watch(&mut self, weights: &[usize]) {
        self.watched = weights.iter().map(|&index| (index, blake3::Hasher::new())).collect();
    }

    /// Hashes of the last pass, in the order of [`watch`](Pass::watch).
    pub(crate) fn hashes(&self) -> impl Iterator<Item = String> {
        self.watched.iter().map(|(_, hasher)| hasher.finalize().to_hex().to_string())
    }

    pub(crate) fn trace(&mut self, on: bool) {
        self.is_traced = on;
        self.errors.clear();
    }

    /// Of the last pass, layer by layer.
    pub(crate) fn traced(&self) -> &[LayerError] {
        &self.errors
    }

    pub(crate) fn give(&mut self, orders: Orders) {
        self.met_uses = vec![false; orders.uses.len()];
        self.orders = orders;
    }

    /// What the last pass found with [`Orders::is_hunt`]; the indices are the weights that the node reads.
    pub(crate) fn found(&mut self) -> Option<(NonFiniteNode, Vec<usize>)> {
        self.found.take()
    }

    /// A value that is not finite ended the pass.
    pub(crate) fn has_found(&self) -> bool {
        self.found.is_some()
    }

    /// Forgets the previous pass.
    pub(crate) fn begin(&mut self, prefix: Prefix) {
        for (_, hasher) in &mut self.watched {
            hasher.reset();
        }
        self.prefix = if prefix == Prefix::Reuse(0) { Prefix::Full } else { prefix };
        if self.prefix == Prefix::Record {
            self.states.clear();
        }
        self.errors.clear();
        self.found = None;
        self.failure = None;
    }

    /// The graph for the next tokens of the window is about to be computed. False when it should start from a state
    /// that was never recorded.
    pub(crate) fn begin_part(&mut self, part: usize, from: usize, n_tokens: usize, n_outputs: usize) -> bool {
        (self.part, self.from, self.n_tokens, self.n_outputs) = (part, from, n_tokens, n_outputs);
        self.counts.clear();
        self.met_uses.fill(false);
        self.orders.hooks.iter_mut().for_each(|hook| hook.met = None);
        self.skip = Skip::No;
        match self.prefix {
            Prefix::Full => {}
            Prefix::Record => self.states.push(HiddenStates::new()),
            Prefix::Reuse(layer) => {
                let last = layer - 1;
                if !self.states.get(part).is_some_and(|states| matches!(states.get(last), Some(Some(_)))) {
                    return false;
                }
                self.skip = Skip::Until { last };
            }
        }
        true
    }

    /// Why this part of the pass did not do what it was asked to.
    pub(crate) fn failure(&self) -> Option<String> {
        if let Some(why) = &self.failure {
            return Some(why.clone());
        }
        if let Skip::Until { last } = self.skip {
            return Some(format!("the graph has no node l_out-{last} to continue from"));
        }
        let missed = self.orders.hooks.iter().find(|hook| hook.met.is_none());
        if let Some(hook) = missed {
            return Some(format!("graph node {} was not computed in this pass", hook.place.name));
        }
        let used = self.met_uses.iter().all(|&met| met);
        (!used).then(|| "no node of this pass uses the weight in that way".into())
    }

    /// Before a node is computed: true asks to see it afterwards.
    ///
    /// # Safety
    /// `node` is a live node of the graph being computed.
    unsafe fn ask(&mut self, node: *mut sys::ggml_tensor) -> bool {
        // SAFETY: the node is live, and its sources are null or live.
        unsafe {
            if !is_computed(node) {
                return false;
            }
            let is_hooked = !self.orders.hooks.is_empty() && self.meet(node);
            let is_untied = !self.orders.uses.is_empty() && self.untie(node);
            if let Skip::Until { last } = self.skip {
                if is_hooked || is_untied {
                    self.failure = Some("what is to be changed lies in the part that is skipped".into());
                }
                // Graphs are built anew for every pass (graph reuse is off), so the flag need not be put back.
                (*node).flags &= !(sys::GGML_TENSOR_FLAG_COMPUTE as i32);
                return layer_left(node) == Some(last);
            }
            if is_hooked || (self.orders.is_hunt && !is_no_evidence(node)) {
                return true;
            }
            if (self.prefix == Prefix::Record || self.is_traced) && layer_left(node).is_some() {
                return true;
            }
            !self.watched.is_empty() && (*node).src.iter().any(|&source| self.slot(source).is_some())
        }
    }

    /// Counts a node; true when it is one that a hook wants.
    ///
    /// # Safety
    /// `node` is live.
    unsafe fn meet(&mut self, node: *mut sys::ggml_tensor) -> bool {
        // SAFETY: passed on.
        let (name, cache) = unsafe { (name_of(node).to_bytes(), cache_written(node)) };
        let count = match self.counts.get_mut(name) {
            Some(count) => count,
            None => self.counts.entry(name.to_vec()).or_insert(0),
        };
        let before = *count;
        *count += 1;
        let mut is_hooked = false;
        for hook in &mut self.orders.hooks {
            if hook.place.before == before && hook.place.name.as_bytes() == name {
                hook.met = Some(node);
                is_hooked = true;
            }
            // SAFETY: the node is live.
            let source = unsafe { (*node).src[0] };
            if cache.is_some() && hook.place.cache == cache && hook.met != Some(source) {
                self.failure = Some(format!(
                    "{} is written from another node than in the first pass",
                    cache.as_deref().unwrap_or_default()
                ));
            }
        }
        is_hooked
    }

    /// Puts other tensors in the place of weights that are swapped for this use only; true when the node reads one.
    ///
    /// # Safety
    /// `node` is live, and so are its sources.
    unsafe fn untie(&mut self, node: *mut sys::ggml_tensor) -> bool {
        let mut is_untied = false;
        for (at, swap) in self.orders.uses.iter().enumerate() {
            // SAFETY: live by contract.
            unsafe {
                for source in &mut (*node).src {
                    let is_it = use_of(node) == swap.used_as && self.addresses.is(*source, swap.index);
                    if is_it {
                        *source = swap.tensor;
                        self.met_uses[at] = true;
                        is_untied = true;
                    }
                }
            }
        }
        is_untied
    }

    /// # Safety
    /// `source` is null or live.
    unsafe fn slot(&self, source: *mut sys::ggml_tensor) -> Option<usize> {
        let stand_in = self.orders.uses.iter().find(|swap| swap.tensor == source).map(|swap| swap.index);
        // SAFETY: passed on.
        let index = stand_in.or_else(|| unsafe { self.addresses.index_of(source) })?;
        self.watched.iter().position(|(watched, _)| *watched == index)
    }

    /// After a node was computed that `ask` wanted to see. False stops the pass.
    ///
    /// # Safety
    /// `node` is live and computed.
    unsafe fn see(&mut self, node: *mut sys::ggml_tensor) -> bool {
        // SAFETY: passed on.
        let done = unsafe { self.look(node) };
        if let Err(why) = done {
            // SAFETY: passed on.
            let name = unsafe { name_of(node) }.to_string_lossy();
            self.failure.get_or_insert(format!("graph node {name}: {why}"));
        }
        self.failure.is_none() && self.found.is_none()
    }

    /// # Safety
    /// `node` is live and computed.
    unsafe fn look(&mut self, node: *mut sys::ggml_tensor) -> Result<(), String> {
        // SAFETY: the node is live, so its size is known and its data lies in its buffer; every buffer that is read
        // into or written from has just that size.
        unsafe {
            if let Skip::Until { last } = self.skip {
                let state = self.states[self.part][last].as_deref().unwrap_or_default();
                let n = usize::try_from(sys::ggml_nelements(node)).unwrap_or(0);
                if state.len() != n {
                    return Err(format!("{} values were recorded, {n} wanted", state.len()));
                }
                put_values(node, state)?;
                self.skip = Skip::No;
                return Ok(());
            }
            if (*node).type_ != sys::GGML_TYPE_F32 && !self.orders.hooks.iter().any(|hook| hook.met == Some(node)) {
                self.hash(node, &bytes_of(node));
                return Ok(());
            }
            let mut values = std::mem::take(&mut self.values);
            let done = self.work(node, &mut values);
            self.values = values;
            done
        }
    }

    /// # Safety
    /// `node` is live and computed.
    unsafe fn work(&mut self, node: *mut sys::ggml_tensor, values: &mut Vec<f32>) -> Result<(), String> {
        // SAFETY: live by contract.
        unsafe { values_of(node, values) }?;
        for hook in self.orders.hooks.iter().filter(|hook| hook.met == Some(node)) {
            let is_cached = hook.place.cache.is_some();
            // SAFETY: the node is live and computed; who gave the hook keeps it alive until the pass has ended.
            unsafe {
                let n_per_row = n_per_row(node, is_cached, self.n_tokens, self.n_outputs);
                if !values.is_empty() {
                    (*hook.replace)(self.orders.slot, values, n_per_row)?;
                    put_values(node, values)?;
                }
            }
        }
        // SAFETY: live by contract.
        let layer = unsafe { layer_left(node) };
        if let Some(layer) = layer {
            self.at_layer(layer, values);
        }
        // SAFETY: live by contract.
        unsafe { self.hash(node, bytemuck::cast_slice(values)) };
        // SAFETY: live by contract.
        unsafe {
            if self.orders.is_hunt && !is_no_evidence(node) {
                self.hunt(node, values);
            }
        }
        Ok(())
    }

    /// # Safety
    /// `node` is live.
    unsafe fn hash(&mut self, node: *const sys::ggml_tensor, bytes: &[u8]) {
        if self.watched.is_empty() {
            return;
        }
        // SAFETY: live by contract; sources are null or live.
        for source in unsafe { (*node).src } {
            // SAFETY: null or live.
            if let Some(slot) = unsafe { self.slot(source) } {
                self.watched[slot].1.update(bytes);
            }
        }
    }

    /// Records the hidden state that leaves a layer, or compares it with the recorded one.
    fn at_layer(&mut self, layer: usize, values: &[f32]) {
        if self.prefix == Prefix::Record {
            let states = &mut self.states[self.part];
            if states.len() <= layer {
                states.resize(layer + 1, None);
            }
            states[layer] = Some(values.to_vec());
        } else if self.is_traced
            && let Some(Some(state)) = self.states.get(self.part).and_then(|states| states.get(layer))
        {
            if self.errors.len() <= layer {
                self.errors.resize(layer + 1, LayerError::default());
            }
            let error = &mut self.errors[layer];
            for (&value, &reference) in values.iter().zip(state) {
                let (value, reference) = (f64::from(value), f64::from(reference));
                let difference = value - reference;
                error.squared_error += difference * difference;
                error.squared_reference += reference * reference;
            }
        }
    }

    /// # Safety
    /// `node` is live.
    unsafe fn hunt(&mut self, node: *mut sys::ggml_tensor, values: &[f32]) {
        let Some(bad) = values.iter().position(|value| !value.is_finite()) else { return };
        // SAFETY: live by contract, and so are the sources.
        unsafe {
            let n_per_row = n_per_row(node, false, self.n_tokens, self.n_outputs).max(1);
            let node_name = name_of(node).to_string_lossy().into_owned();
            let weights = (*node).src.iter().filter_map(|&source| self.addresses.index_of(source)).collect();
            // Behind the last attention there is a row for each output only.
            let is_output = values.len() / n_per_row == self.n_outputs && self.n_outputs != self.n_tokens;
            let skipped = if is_output { self.n_tokens - self.n_outputs } else { 0 };
            let token = self.from + skipped + bad / n_per_row;
            self.found.get_or_insert((NonFiniteNode { node: node_name, token, weights: Vec::new() }, weights));
        }
    }
}

/// The function that llama.cpp calls. A pass that it stops leaves stale logits behind and still reports success, so it
/// is stopped only where [`Pass::failure`] or [`Pass::found`] says why.
///
/// # Safety
/// `user` is the `Visitor` that the context was made with, not otherwise borrowed during a decode; `node` is live.
pub(crate) unsafe extern "C" fn eval_callback(
    node: *mut sys::ggml_tensor,
    ask: bool,
    user: *mut std::ffi::c_void,
) -> bool {
    // SAFETY: by contract.
    unsafe {
        match (&mut *user.cast::<Visitor>(), ask) {
            (Visitor::Discover(found), true) => {
                if is_computed(node) {
                    found.0.discover(node);
                    found.1.discover(node);
                }
                false
            }
            (Visitor::Work(pass), true) => pass.ask(node),
            (Visitor::Work(pass), false) => pass.see(node),
            (Visitor::Discover(_), false) => true,
        }
    }
}
