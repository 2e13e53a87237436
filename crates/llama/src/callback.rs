//! What happens at each graph node. One [`Visitor`] a context answers llama.cpp's eval callback and composes, in this
//! order: skip the recorded prefix, record hidden states, hash watched activations.

use crate::weights::{Addresses, Weights};
use eval::Prefix;
use llama_cpp_sys_2 as sys;
use std::ffi::CStr;
use std::sync::Arc;

/// Hidden states that left each layer: `states[il]` as bytes.
pub(crate) type HiddenStates = Vec<Vec<u8>>;

/// What a context does at each node of the next pass. Lives at a fixed address for as long as the context does.
pub(crate) enum Visitor {
    /// Before the weights are known: find them.
    Discover(Weights),
    /// Afterwards.
    Work(Pass),
}

/// State of one pass.
#[derive(Default)]
pub(crate) struct Pass {
    addresses: Arc<Addresses>,
    /// Indices of the watched weights, and a hasher each.
    watched: Vec<(usize, blake3::Hasher)>,
    prefix: Option<PrefixWork>,
    /// Recorded by the last [`Prefix::Record`] pass.
    pub(crate) states: HiddenStates,
    scratch: Vec<u8>,
}

enum PrefixWork {
    Record,
    /// Nodes are skipped until the one that leaves layer `last`, which is overwritten with its recorded state.
    Skip {
        last: usize,
    },
    /// The recorded state is in place.
    Skipped,
    /// The node in question has another size than was recorded.
    Failed,
}

/// Number of the layer that a node leaves (`l_out-11`), for every architecture that names it so.
///
/// # Safety
/// `node` is live.
unsafe fn layer_left(node: *const sys::ggml_tensor) -> Option<usize> {
    // SAFETY: `name` is a NUL-terminated array inside a live tensor.
    let name = unsafe { CStr::from_ptr((*node).name.as_ptr()) };
    name.to_bytes().strip_prefix(b"l_out-").and_then(|n| std::str::from_utf8(n).ok()?.parse().ok())
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

    /// Forgets the previous pass. False when nothing is recorded that a reuse could start from.
    pub(crate) fn begin(&mut self, prefix: Prefix) -> bool {
        for (_, hasher) in &mut self.watched {
            hasher.reset();
        }
        self.prefix = match prefix {
            Prefix::Full | Prefix::Reuse(0) => None,
            Prefix::Record => {
                self.states.clear();
                Some(PrefixWork::Record)
            }
            Prefix::Reuse(layer) => {
                if self.states.get(layer - 1).is_none_or(Vec::is_empty) {
                    return false;
                }
                Some(PrefixWork::Skip { last: layer - 1 })
            }
        };
        true
    }

    /// Whether the pass did what [`begin`](Pass::begin) was asked for.
    pub(crate) fn completed(&self) -> bool {
        !matches!(self.prefix, Some(PrefixWork::Skip { .. } | PrefixWork::Failed))
    }

    /// Before a node is computed: true asks to see it afterwards.
    ///
    /// # Safety
    /// `node` is a live node of the graph being computed.
    unsafe fn ask(&mut self, node: *mut sys::ggml_tensor) -> bool {
        // SAFETY: the node is live, and its sources are null or live.
        unsafe {
            match self.prefix {
                Some(PrefixWork::Skip { last }) => {
                    // Graphs are built anew for every pass (graph reuse is off), so the flag need not be put back.
                    (*node).flags &= !(sys::GGML_TENSOR_FLAG_COMPUTE as i32);
                    return layer_left(node) == Some(last);
                }
                Some(PrefixWork::Record) if layer_left(node).is_some() => return true,
                _ => {}
            }
            !self.watched.is_empty() && (*node).src.iter().any(|&source| self.slot(source).is_some())
        }
    }

    /// # Safety
    /// `source` is null or live.
    unsafe fn slot(&self, source: *mut sys::ggml_tensor) -> Option<usize> {
        // SAFETY: passed on.
        let index = unsafe { self.addresses.index_of(source) }?;
        self.watched.iter().position(|(watched, _)| *watched == index)
    }

    /// After a node was computed that `ask` wanted to see.
    ///
    /// # Safety
    /// `node` is live and computed.
    unsafe fn see(&mut self, node: *mut sys::ggml_tensor) {
        // SAFETY: the node is live, so its size is known and its data lies in its buffer; every buffer that is read
        // into or written from has just that size.
        unsafe {
            let n = sys::ggml_nbytes(node);
            if let Some(PrefixWork::Skip { last }) = self.prefix {
                let state = &self.states[last];
                self.prefix = Some(if state.len() == n {
                    sys::ggml_backend_tensor_set(node, state.as_ptr().cast(), 0, n);
                    PrefixWork::Skipped
                } else {
                    PrefixWork::Failed
                });
                return;
            }
            self.scratch.resize(n, 0);
            sys::ggml_backend_tensor_get(node, self.scratch.as_mut_ptr().cast(), 0, n);
            if let (Some(PrefixWork::Record), Some(layer)) = (&self.prefix, layer_left(node)) {
                if self.states.len() <= layer {
                    self.states.resize(layer + 1, Vec::new());
                }
                self.states[layer].clone_from(&self.scratch);
            }
            for &source in &(*node).src {
                if let Some(slot) = self.slot(source) {
                    self.watched[slot].1.update(&self.scratch);
                }
            }
        }
    }
}

/// The function that llama.cpp calls. Always goes on: a pass that is stopped leaves stale logits behind and still
/// reports success.
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
            (Visitor::Discover(weights), true) => {
                weights.discover(node);
                false
            }
            (Visitor::Work(pass), true) => pass.ask(node),
            (Visitor::Work(pass), false) => {
                pass.see(node);
                true
            }
            (Visitor::Discover(_), false) => true,
        }
    }
}
