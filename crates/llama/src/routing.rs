//! Reads which experts the router of each layer chooses. llama.cpp names the node of these choices `ffn_moe_topk-N` in
//! every architecture (`llm_graph_context::build_moe_ffn`): I32 numbers `[n_expert_used, n_tokens]`, a view of the sorted
//! scores.

use crate::held::bytes_of;
use crate::nodes::name_of;
use eval::RoutedLayer;
use llama_cpp_sys_2 as sys;

/// The choices that a pass has met so far.
#[derive(Default)]
pub(crate) struct Choices(Vec<Router>);

/// The choices of the router of one layer.
struct Router {
    routed: RoutedLayer,
    /// The part of the sequence that was read last. A second router of the layer has the same name and is not read.
    part: usize,
    /// Whether each node so far had one row for each token.
    is_whole: bool,
}

/// The number of the layer whose router chooses in a node.
///
/// # Safety
/// `node` is live.
pub(crate) unsafe fn layer_routed(node: *const sys::ggml_tensor) -> Option<usize> {
    // SAFETY: passed on.
    let name = unsafe { name_of(node) };
    name.to_bytes().strip_prefix(b"ffn_moe_topk-").and_then(|n| std::str::from_utf8(n).ok()?.parse().ok())
}

impl Choices {
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// Keeps the choices in a node for the last `n_outputs` of the part's `n_tokens` tokens, which have logits. Behind the
    /// last attention a graph has rows for these tokens only.
    ///
    /// # Safety
    /// `node` is live and computed.
    pub(crate) unsafe fn read(
        &mut self,
        node: *const sys::ggml_tensor,
        layer: usize,
        part: usize,
        n_tokens: usize,
        n_outputs: usize,
    ) {
        // SAFETY: live by contract.
        let (ty, ne, nb) = unsafe { ((*node).type_, (*node).ne.map(|n| n.max(0) as usize), (*node).nb) };
        let (n_used, n_rows) = (ne[0], ne[1]);
        let router = match self.0.iter().position(|router| router.routed.layer == layer) {
            Some(index) if self.0[index].part == part => return,
            Some(index) => &mut self.0[index],
            None => {
                let routed = RoutedLayer { layer, n_used, experts: Vec::new() };
                self.0.push(Router { routed, part, is_whole: true });
                let last = self.0.len() - 1;
                &mut self.0[last]
            }
        };
        router.part = part;
        let is_plain = ty == sys::GGML_TYPE_I32 && nb[0] == size_of::<i32>() && ne[2] * ne[3] == 1;
        let is_by_token = n_used == router.routed.n_used && (n_rows == n_tokens || n_rows == n_outputs);
        router.is_whole &= is_plain && is_by_token;
        if !router.is_whole || n_outputs == 0 {
            return;
        }
        // SAFETY: passed on.
        let bytes = unsafe { bytes_of(node) };
        let starts = (n_rows - n_outputs..n_rows).flat_map(|row| (0..n_used).map(move |i| row * nb[1] + i * nb[0]));
        let experts = starts.filter_map(|at| Some(i32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?)));
        router.routed.experts.extend(experts);
    }

    /// The choices of the routers whose nodes had one row for each token, by ascending layer.
    pub(crate) fn take(&mut self) -> Vec<RoutedLayer> {
        let routers = std::mem::take(&mut self.0).into_iter();
        let mut routed: Vec<RoutedLayer> =
            routers.filter(|router| router.is_whole).map(|router| router.routed).collect();
        routed.sort_by_key(|routed| routed.layer);
        routed
    }
}
