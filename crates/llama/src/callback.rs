//! What happens at each graph node. Each context has one [`Visitor`], which answers llama.cpp's eval callback. At one node, in
//! this order: another tensor is put in the place of a weight (virtual untying), the recorded prefix is skipped, values are
//! replaced (hooks), hidden states are compared or recorded, choices of experts are read, watched activations are hashed, and values that are not finite
//! are searched for.

use crate::held::bytes_of;
use crate::nodes::{NodePlace, Nodes, cache_written, n_per_row, name_of, put_values, values_of};
use crate::routing::{Choices, layer_routed};
use crate::weights::{Addresses, UseSwap, Weights, use_of};
use eval::{LayerError, Prefix, Replace, RoutedLayer};
use llama_cpp_sys_2 as sys;
use std::collections::HashMap;
use std::sync::Arc;

/// The hidden states that left each layer; `None` where none was seen.
type HiddenStates = Vec<Option<Vec<f32>>>;

/// What a context does at each node of the next pass. It stays at a fixed address for as long as the context lives.
pub(crate) enum Visitor {
    /// The weights are not known yet, and the pass finds them.
    Discover(Box<(Weights, Nodes)>),
    /// The weights are known, and the pass does what it was asked to do.
    Work(Box<Pass>),
}

/// A hook of the pass in hand.
#[derive(Clone)]
pub(crate) struct ActiveHook {
    place: NodePlace,
    /// The hook's function; valid for as long as the context has its orders.
    replace: *const Replace<'static>,
    /// The node at which it was met in this part of the pass.
    met: Option<*mut sys::ggml_tensor>,
}

impl ActiveHook {
    pub(crate) fn new(place: NodePlace, replace: *const Replace<'static>) -> Self {
        ActiveHook { place, replace, met: None }
    }
}

/// What a pass is to do beside computing.
#[derive(Clone, Default)]
pub(crate) struct Orders {
    /// Tensors that stand in for weights in one use.
    pub(crate) uses: Vec<UseSwap>,
    pub(crate) hooks: Vec<ActiveHook>,
    /// Indices of the weights whose readers' outputs are hashed.
    pub(crate) watch: Vec<usize>,
    /// Whether the hidden state that leaves each layer is compared with the recorded one.
    pub(crate) is_traced: bool,
    /// Whether the choices of the routers are read.
    pub(crate) is_routed: bool,
    /// Whether every node is searched for a value that is not finite; the first one ends the pass.
    pub(crate) is_hunt: bool,
}

/// The first node whose values are not all finite.
pub(crate) struct Found {
    pub(crate) node: String,
    /// The token's place in the sequence.
    pub(crate) token: usize,
    /// Indices of the weights that the node reads.
    pub(crate) weights: Vec<usize>,
}

/// What a pass over one sequence saw beside its logits.
#[derive(Default)]
pub(crate) struct PassSeen {
    /// Hashes in the order of [`Orders::watch`].
    pub(crate) hashes: Vec<String>,
    /// Distances from the recorded states, layer by layer.
    pub(crate) errors: Vec<LayerError>,
    /// The choices of the routers, layer by layer.
    pub(crate) routed: Vec<RoutedLayer>,
    pub(crate) found: Option<Found>,
}

/// State of one pass over a sequence, which is one graph for each part of the sequence.
#[derive(Default)]
pub(crate) struct Pass {
    addresses: Arc<Addresses>,
    orders: Orders,
    /// A hasher for each weight of [`Orders::watch`].
    hashers: Vec<blake3::Hasher>,
    /// Whether the nodes of each of [`Orders::uses`] were met.
    met_uses: Vec<bool>,
    /// The sequence's number within the pass, which hooks are told.
    slot: usize,
    prefix: Prefix,
    skip: Skip,
    part: usize,
    /// Number of tokens of the sequence before this part.
    from: usize,
    n_tokens: usize,
    n_outputs: usize,
    /// Hidden states recorded by the last [`Prefix::Record`] pass, for each part.
    states: Vec<HiddenStates>,
    errors: Vec<LayerError>,
    choices: Choices,
    /// Number of nodes met of each name, in this part.
    counts: HashMap<Vec<u8>, usize>,
    found: Option<Found>,
    failure: Option<String>,
    /// A buffer for the values of the node in hand.
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

/// The number of the layer whose output a node is (`l_out-11`), in every architecture that names it so.
///
/// # Safety
/// `node` is live.
unsafe fn layer_left(node: *const sys::ggml_tensor) -> Option<usize> {
    // SAFETY: passed on.
    let name = unsafe { name_of(node) };
    name.to_bytes().strip_prefix(b"l_out-").and_then(|n| std::str::from_utf8(n).ok()?.parse().ok())
}

/// Whether this pass computes a node. One in a branch for another kind of input keeps whatever was there before.
///
/// # Safety
/// `node` is live.
unsafe fn is_computed(node: *const sys::ggml_tensor) -> bool {
    // SAFETY: live by contract.
    unsafe { (*node).flags & sys::GGML_TENSOR_FLAG_COMPUTE as i32 != 0 }
}

/// Whether a node computes nothing of its own, or is meant to have infinities.
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

    /// Sets what the next passes do, until other orders are given.
    pub(crate) fn give(&mut self, orders: Orders) {
        self.met_uses = vec![false; orders.uses.len()];
        self.hashers = vec![blake3::Hasher::new(); orders.watch.len()];
        self.orders = orders;
    }

    /// What the last pass saw; it is handed over, not copied.
    pub(crate) fn seen(&mut self) -> PassSeen {
        PassSeen {
            hashes: self.hashers.iter().map(|hasher| hasher.finalize().to_hex().to_string()).collect(),
            errors: std::mem::take(&mut self.errors),
            routed: self.choices.take(),
            found: self.found.take(),
        }
    }

    /// Whether a value that is not finite ended the pass.
    pub(crate) fn has_found(&self) -> bool {
        self.found.is_some()
    }

    /// Begins the pass over sequence number `slot` and forgets the previous one.
    pub(crate) fn begin(&mut self, slot: usize, prefix: Prefix) {
        self.slot = slot;
        for hasher in &mut self.hashers {
            hasher.reset();
        }
        self.prefix = if prefix == Prefix::Reuse(0) { Prefix::Full } else { prefix };
        if self.prefix == Prefix::Record {
            self.states.clear();
        }
        self.errors.clear();
        self.choices.clear();
        self.found = None;
        self.failure = None;
    }

    /// Begins a part: the graph for the next tokens of the sequence is about to be computed. False when it should start from
    /// a state that was never recorded.
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

    /// Decides before a node is computed whether to see it afterwards.
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
            if (self.prefix == Prefix::Record || self.orders.is_traced) && layer_left(node).is_some() {
                return true;
            }
            if self.orders.is_routed && layer_routed(node).is_some() {
                return true;
            }
            !self.hashers.is_empty() && (*node).src.iter().any(|&source| self.watched(source).is_some())
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

    /// Which of the watched weights a source of a node is, or stands in for.
    ///
    /// # Safety
    /// `source` is null or live.
    unsafe fn watched(&self, source: *mut sys::ggml_tensor) -> Option<usize> {
        let stand_in = self.orders.uses.iter().find(|swap| swap.tensor == source).map(|swap| swap.index);
        // SAFETY: passed on.
        let index = stand_in.or_else(|| unsafe { self.addresses.index_of(source) })?;
        self.orders.watch.iter().position(|&watched| watched == index)
    }

    /// Does the work at a computed node that `ask` wanted to see. False stops the pass.
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

    /// Puts the recorded state in the place of the node where the prefix ends, and does the work at any other node.
    ///
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
            if self.orders.is_routed
                && let Some(layer) = layer_routed(node)
            {
                self.choices.read(node, layer, self.part, self.n_tokens, self.n_outputs);
            }
            if (*node).type_ != sys::GGML_TYPE_F32 && !self.orders.hooks.iter().any(|hook| hook.met == Some(node)) {
                if !self.hashers.is_empty() {
                    self.hash(node, &bytes_of(node));
                }
                return Ok(());
            }
            let mut values = std::mem::take(&mut self.values);
            let done = self.work(node, &mut values);
            self.values = values;
            done
        }
    }

    /// Replaces, compares or records, hashes and searches the values of a node.
    ///
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
                    (*hook.replace)(self.slot, values, n_per_row)?;
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

    /// Adds a node's output to the hashes of the watched weights that it reads.
    ///
    /// # Safety
    /// `node` is live.
    unsafe fn hash(&mut self, node: *const sys::ggml_tensor, bytes: &[u8]) {
        if self.hashers.is_empty() {
            return;
        }
        // SAFETY: live by contract; sources are null or live.
        for source in unsafe { (*node).src } {
            // SAFETY: null or live.
            if let Some(at) = unsafe { self.watched(source) } {
                self.hashers[at].update(bytes);
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
        } else if self.orders.is_traced
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

    /// Takes note of the first value that is not finite.
    ///
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
            self.found.get_or_insert(Found { node: node_name, token, weights });
        }
    }
}

/// The function that llama.cpp calls. A pass that it stops leaves stale logits behind and still reports success, so it
/// stops a pass only where [`Pass::failure`] or [`Pass::has_found`] says why.
///
/// # Safety
/// `user` is the `Visitor` that the context was made with and is not otherwise borrowed during a decode; `node` is live.
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
