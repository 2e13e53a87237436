//! The graph's named nodes, found by the first pass, and how a later pass knows them again.
//!
//! Several nodes may share a name (`Kcur-3` before and after RoPE), and pointers differ from pass to pass. But the same code
//! builds the graph each time, so a node is known by its name and by how many nodes before it had that name. What goes into
//! the KV cache is known by the cache that it is written to (`cache_k_l3`), since its own name differs between architectures.

use crate::weights::{leaf, type_name};
use eval::{EngineError, NodeInfo};
use llama_cpp_sys_2 as sys;
use std::collections::HashMap;
use std::ffi::CStr;

/// The number of names that are suggested for one that the graph lacks.
const MAX_NEAR: usize = 24;

/// Usual names of nodes, with the name that some of llama.cpp's model files give them: Gemma scales its embedded tokens.
const ALSO_CALLED: [(&str, &str); 1] = [("embd", "inp_scaled")];

/// The place of a node in the graph: its name, and which of the nodes of that name it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NodePlace {
    pub(crate) name: String,
    /// The number of nodes of that name before this one.
    pub(crate) before: usize,
    /// The cache that the node is written to, when it was asked for by that name.
    pub(crate) cache: Option<String>,
}

/// The named nodes of the graph.
#[derive(Default)]
pub(crate) struct Nodes {
    infos: Vec<NodeInfo>,
    places: HashMap<String, NodePlace>,
    index_of: HashMap<String, usize>,
    /// The name of each node and the number of nodes of that name before it, by the node's address in the first pass.
    met: HashMap<usize, (String, usize)>,
}

/// A node's name. llama.cpp names most nodes, and ggml numbers the rest.
///
/// # Safety
/// `node` is live.
pub(crate) unsafe fn name_of<'a>(node: *const sys::ggml_tensor) -> &'a CStr {
    // SAFETY: `name` is a NUL-terminated array inside a live tensor.
    unsafe { CStr::from_ptr((*node).name.as_ptr()) }
}

/// The name of the KV cache that a node writes to, if it writes to one.
///
/// # Safety
/// `node` is live.
pub(crate) unsafe fn cache_written(node: *mut sys::ggml_tensor) -> Option<String> {
    // SAFETY: live by contract, and so is what it is a view of.
    unsafe {
        if (*node).op != sys::GGML_OP_SET_ROWS {
            return None;
        }
        let cache = name_of(leaf(node)).to_string_lossy();
        (cache.starts_with("cache_k_l") || cache.starts_with("cache_v_l")).then(|| cache.into_owned())
    }
}

impl Nodes {
    /// Takes note of a node of the first pass.
    ///
    /// # Safety
    /// `node` is live.
    pub(crate) unsafe fn discover(&mut self, node: *mut sys::ggml_tensor) {
        // SAFETY: live by contract; the name of an operation is a static string.
        let (name, op, ty, cache, source) = unsafe {
            let op = CStr::from_ptr(sys::ggml_op_name((*node).op)).to_string_lossy().into_owned();
            let name = name_of(node).to_string_lossy().into_owned();
            (name, op, (*node).type_, cache_written(node), (*node).src[0])
        };
        if let Some(cache) = cache
            && let Some((source_name, before)) = self.met.get(&source.addr()).cloned()
        {
            // SAFETY: it was met in this pass, so it is live.
            let ty = type_name(unsafe { (*source).type_ });
            self.add(NodeInfo { name: cache.clone(), op: op.clone(), ty });
            self.places.insert(cache.clone(), NodePlace { name: source_name, before, cache: Some(cache) });
        }
        let before = self.places.get(&name).filter(|place| place.cache.is_none()).map_or(0, |place| place.before + 1);
        self.met.insert(node.addr(), (name.clone(), before));
        self.places.insert(name.clone(), NodePlace { name: name.clone(), before, cache: None });
        // ggml numbers the nodes that nobody named.
        if !name.is_empty() && !name.starts_with("node_") {
            self.add(NodeInfo { name, op, ty: type_name(ty) });
        }
    }

    fn add(&mut self, info: NodeInfo) {
        match self.index_of.get(&info.name) {
            Some(&index) => self.infos[index] = info,
            None => {
                self.index_of.insert(info.name.clone(), self.infos.len());
                self.infos.push(info);
            }
        }
    }

    /// Ends the first pass: its addresses mean nothing any more.
    pub(crate) fn settle(&mut self) {
        self.met = HashMap::new();
    }

    pub(crate) fn infos(&self) -> &[NodeInfo] {
        &self.infos
    }

    /// The place in the graph of the node with that name.
    pub(crate) fn place(&self, name: &str) -> Result<NodePlace, EngineError> {
        let there = |name: &str| self.index_of.contains_key(name).then(|| self.places.get(name)).flatten();
        let also = || ALSO_CALLED.iter().find(|(usual, _)| *usual == name).and_then(|(_, also)| there(also));
        match there(name).or_else(also) {
            Some(place) => Ok(place.clone()),
            None => Err(EngineError::NoSuchNode { name: name.into(), near: self.near(name) }),
        }
    }

    /// Names of nodes of the layer that a name speaks of, or of the ends of the graph; where there are none, of layer 0.
    fn near(&self, name: &str) -> Vec<String> {
        let layer = |name: &str| -> Option<u32> { name.rsplit(['-', 'l']).next()?.parse().ok() };
        let wanted = layer(name);
        let plain = |name: &str| !name.contains(" (");
        let of = |wanted: Option<u32>| -> Vec<String> {
            let names = self.infos.iter().map(|info| info.name.as_str());
            names.filter(|name| plain(name) && layer(name) == wanted).take(MAX_NEAR).map(str::to_string).collect()
        };
        let near = of(wanted);
        if near.is_empty() { of(Some(0)) } else { near }
    }
}

/// The number of values in a row, which is one token's. `n_tokens` and `n_outputs` are what the graph was built for.
///
/// # Safety
/// `node` is live.
pub(crate) unsafe fn n_per_row(
    node: *const sys::ggml_tensor,
    is_cached: bool,
    n_tokens: usize,
    n_outputs: usize,
) -> usize {
    // SAFETY: live by contract.
    let (ne, n) = unsafe { ((*node).ne.map(|n| n.max(0) as usize), sys::ggml_nelements(node).max(0) as usize) };
    // Without flash attention the values of V are written one by one; a token's lie together all the same.
    if is_cached && n_tokens > 0 && n % n_tokens == 0 {
        return n / n_tokens;
    }
    // Heads of one token lie together: [n_embd_head, n_head, n_tokens]. Attention scores are [n_kv, n_tokens, n_head].
    // SAFETY: live by contract.
    let is_scores = unsafe { name_of(node) }.to_bytes().starts_with(b"kq");
    if ne[3] == 1 && ne[2] > 1 && (ne[2] == n_tokens || ne[2] == n_outputs) && !is_scores {
        ne[0] * ne[1]
    } else {
        ne[0]
    }
}

/// Reads the values of an F32 node, in memory order; a view's values may lie apart. The error says why they cannot be read.
///
/// # Safety
/// `node` is live and computed.
pub(crate) unsafe fn values_of(node: *const sys::ggml_tensor, values: &mut Vec<f32>) -> Result<(), String> {
    // SAFETY: passed on; each run is as long as what is asked for.
    unsafe {
        let n = usize::try_from(sys::ggml_nelements(node)).unwrap_or(0);
        values.resize(n, 0.0);
        let mut at = 0;
        for_each_run(node, |offset, n_run| {
            let room = values[at..at + n_run].as_mut_ptr();
            sys::ggml_backend_tensor_get(node, room.cast(), offset, n_run * size_of::<f32>());
            at += n_run;
        })
    }
}

/// Replaces the values of a node, in the order of [`values_of`].
///
/// # Safety
/// `node` is live and computed, and nothing reads it at the moment.
pub(crate) unsafe fn put_values(node: *mut sys::ggml_tensor, values: &[f32]) -> Result<(), String> {
    let mut at = 0;
    // SAFETY: as in `values_of`.
    unsafe {
        for_each_run(node, |offset, n_run| {
            let run = values[at..at + n_run].as_ptr();
            sys::ggml_backend_tensor_set(node, run.cast(), offset, n_run * size_of::<f32>());
            at += n_run;
        })
    }
}

/// Calls `run(offset in bytes, number of values)` for every stretch of values that lie side by side.
///
/// # Safety
/// `node` is live.
unsafe fn for_each_run(node: *const sys::ggml_tensor, mut run: impl FnMut(usize, usize)) -> Result<(), String> {
    // SAFETY: live by contract.
    let (ty, ne, nb, contiguous) =
        unsafe { ((*node).type_, (*node).ne.map(|n| n.max(0) as usize), (*node).nb, sys::ggml_is_contiguous(node)) };
    if ty != sys::GGML_TYPE_F32 {
        return Err(format!("its values are stored in {}, wanted f32", type_name(ty)));
    }
    let n: usize = ne.iter().product();
    if n == 0 {
        return Ok(());
    }
    if contiguous {
        run(0, n);
        return Ok(());
    }
    if nb[0] != size_of::<f32>() {
        return Err("its values do not lie side by side".into());
    }
    for i3 in 0..ne[3] {
        for i2 in 0..ne[2] {
            for i1 in 0..ne[1] {
                run(i1 * nb[1] + i2 * nb[2] + i3 * nb[3], ne[0]);
            }
        }
    }
    Ok(())
}
