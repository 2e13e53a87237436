//! The model's weights as the graph uses them: found by walking the graph, swapped by pointer and type.
//!
//! llama.cpp has no public list of a model's tensors, but it hands every graph node to the eval callback. A weight is a
//! leaf (`op == NONE`) in a buffer of usage WEIGHTS that some node reads. A swap sets `type`, `nb`, `data` and `buffer` of
//! the `ggml_tensor`. The model's own bytes are never written, so restoring is exact. A swap for one use alone (virtual
//! untying) makes a tensor of its own; the callback puts it in the place of the weight in the nodes that use it so.

use crate::held::{TensorLayout, WeightBytes, Writes, bytes_of};
use eval::{EngineError, WeightInfo, WeightUse};
use llama_cpp_sys_2 as sys;
use std::collections::HashMap;
use std::ffi::CStr;
use std::sync::Arc;

/// What a swap replaced, and what it put there.
struct Frame {
    before: TensorLayout,
    /// The bytes that are in place, kept alive for as long as they are there.
    _held: WeightBytes,
}

/// A weight under another address, for the nodes that use it in one way.
struct UseFrame {
    /// The tensor that stands in for the weight; boxed, since nodes of the graph point at it.
    tensor: Box<sys::ggml_tensor>,
    _held: WeightBytes,
}

/// A weight of the model, with its three stacks of replacements.
struct Weight {
    tensor: *mut sys::ggml_tensor,
    frames: Vec<Frame>,
    lookup: Vec<UseFrame>,
    head: Vec<UseFrame>,
}

impl Weight {
    fn uses(&self, used_as: WeightUse) -> &Vec<UseFrame> {
        match used_as {
            WeightUse::Lookup => &self.lookup,
            WeightUse::Head => &self.head,
        }
    }

    fn uses_mut(&mut self, used_as: WeightUse) -> &mut Vec<UseFrame> {
        match used_as {
            WeightUse::Lookup => &mut self.lookup,
            WeightUse::Head => &mut self.head,
        }
    }
}

/// The tensor that the nodes which use a weight in one way read instead of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct UseSwap {
    pub(crate) index: usize,
    pub(crate) used_as: WeightUse,
    pub(crate) tensor: *mut sys::ggml_tensor,
}

/// How a node uses the weights that it reads.
///
/// # Safety
/// `node` is live.
pub(crate) unsafe fn use_of(node: *const sys::ggml_tensor) -> WeightUse {
    // SAFETY: live by contract.
    if unsafe { (*node).op } == sys::GGML_OP_GET_ROWS { WeightUse::Lookup } else { WeightUse::Head }
}

/// The index of each weight by its address, to tell which weight a graph node's source is. Addresses are compared and never
/// followed, so contexts on other threads may share the table.
#[derive(Default)]
pub(crate) struct Addresses(HashMap<usize, usize>);

impl Addresses {
    /// Whether a source of a graph node is that very weight, not a view of it.
    pub(crate) fn is(&self, source: *mut sys::ggml_tensor, index: usize) -> bool {
        self.0.get(&source.addr()) == Some(&index)
    }

    /// The index of the weight behind a source of a graph node, if there is one.
    ///
    /// # Safety
    /// `source` is null or a live tensor.
    pub(crate) unsafe fn index_of(&self, source: *mut sys::ggml_tensor) -> Option<usize> {
        if source.is_null() {
            return None;
        }
        // SAFETY: non-null, so live by contract.
        self.0.get(&unsafe { leaf(source) }.addr()).copied()
    }
}

/// All weights that the graph reads, in graph order.
#[derive(Default)]
pub(crate) struct Weights {
    infos: Vec<WeightInfo>,
    weights: Vec<Weight>,
    addresses: Addresses,
    by_name: HashMap<String, usize>,
}

/// The ggml type's name in upstream spelling.
pub(crate) fn type_name(ty: sys::ggml_type) -> String {
    // SAFETY: `ty` comes from a live tensor or from `type_by_name`, so it indexes ggml's table; the name is static.
    unsafe { CStr::from_ptr(sys::ggml_type_name(ty)) }.to_string_lossy().into_owned()
}

/// The ggml type of that name, in any case of letters.
pub(crate) fn type_by_name(name: &str) -> Option<sys::ggml_type> {
    (0..sys::GGML_TYPE_COUNT).find(|&ty| {
        // SAFETY: `ty` is below GGML_TYPE_COUNT; types that were removed have a null name.
        let raw = unsafe { sys::ggml_type_name(ty) };
        // SAFETY: non-null names are static C strings.
        !raw.is_null() && unsafe { CStr::from_ptr(raw) }.to_str().is_ok_and(|n| n.eq_ignore_ascii_case(name))
    })
}

/// The leaf behind a source: views of a weight read the weight.
///
/// # Safety
/// `tensor` is a live tensor of the graph being computed.
pub(crate) unsafe fn leaf(mut tensor: *mut sys::ggml_tensor) -> *mut sys::ggml_tensor {
    // SAFETY: `view_src` of a live tensor is null or live.
    unsafe {
        while !(*tensor).view_src.is_null() {
            tensor = (*tensor).view_src;
        }
    }
    tensor
}

/// Whether a leaf is a weight of the model.
///
/// # Safety
/// `tensor` is live.
unsafe fn is_weight(tensor: *const sys::ggml_tensor) -> bool {
    // SAFETY: the buffer of a live tensor is null or live.
    unsafe {
        (*tensor).op == sys::GGML_OP_NONE
            && !(*tensor).buffer.is_null()
            && sys::ggml_backend_buffer_get_usage((*tensor).buffer) == sys::GGML_BACKEND_BUFFER_USAGE_WEIGHTS
    }
}

impl Weights {
    /// Takes note of the weights that a node reads.
    ///
    /// # Safety
    /// `node` is a live node of the graph being computed.
    pub(crate) unsafe fn discover(&mut self, node: *const sys::ggml_tensor) {
        // SAFETY: sources of a live node are null or live.
        unsafe {
            for &source in (*node).src.iter().filter(|s| !s.is_null()) {
                let tensor = leaf(source);
                if is_weight(tensor) {
                    let index = self.note(tensor);
                    self.infos[index].consumers += 1;
                    self.infos[index].lookups += usize::from(use_of(node) == WeightUse::Lookup);
                }
            }
        }
    }

    /// The index of a weight, which is added to the table when it is met for the first time.
    ///
    /// # Safety
    /// `tensor` is a live weight of the model.
    unsafe fn note(&mut self, tensor: *mut sys::ggml_tensor) -> usize {
        if let Some(&index) = self.addresses.0.get(&tensor.addr()) {
            return index;
        }
        // SAFETY: `tensor` is live, and `name` is a NUL-terminated array inside it.
        let (name, ty, ne) =
            unsafe { (CStr::from_ptr((*tensor).name.as_ptr()).to_string_lossy(), (*tensor).type_, (*tensor).ne) };
        let index = self.infos.len();
        self.addresses.0.insert(tensor.addr(), index);
        self.by_name.insert(name.clone().into_owned(), index);
        self.infos.push(WeightInfo {
            name: name.into_owned(),
            ty: type_name(ty),
            ne: ne.map(|n| n as u64),
            consumers: 0,
            lookups: 0,
        });
        self.weights.push(Weight { tensor, frames: Vec::new(), lookup: Vec::new(), head: Vec::new() });
        index
    }

    pub(crate) fn infos(&self) -> &[WeightInfo] {
        &self.infos
    }

    /// The table for the callbacks; discovering ends with it.
    pub(crate) fn take_addresses(&mut self) -> Addresses {
        std::mem::take(&mut self.addresses)
    }

    pub(crate) fn index(&self, name: &str) -> Result<usize, EngineError> {
        self.by_name.get(name).copied().ok_or_else(|| EngineError::NoSuchWeight(name.to_string()))
    }

    /// The name of the weight with that index.
    pub(crate) fn name(&self, index: usize) -> &str {
        &self.infos[index].name
    }

    /// The type and bytes of a weight that are in place now.
    pub(crate) fn read(&self, name: &str) -> Result<(String, Vec<u8>), EngineError> {
        let index = self.index(name)?;
        // SAFETY: the tensor lives as long as the model, which owns `self` through the engine.
        let bytes = unsafe { bytes_of(self.weights[index].tensor) };
        Ok((self.infos[index].ty.clone(), bytes))
    }

    pub(crate) fn swap(
        &mut self,
        name: &str,
        ty: &str,
        bytes: Arc<Vec<u8>>,
        writes: Writes,
    ) -> Result<(), EngineError> {
        let index = self.index(name)?;
        let tensor = self.weights[index].tensor;
        let held = hold(tensor, name, ty, bytes, writes)?;
        // SAFETY: the tensor is live and no graph is being computed; the frame keeps the bytes alive until they are
        // restored. ggml only ever reads weights.
        let before = unsafe {
            let before = TensorLayout::of(tensor);
            held.layout().put(tensor);
            before
        };
        self.infos[index].ty = type_name(held.layout().ty());
        self.weights[index].frames.push(Frame { before, _held: held });
        Ok(())
    }

    pub(crate) fn restore(&mut self, name: &str) -> Result<(), EngineError> {
        let index = self.index(name)?;
        let weight = &mut self.weights[index];
        let frame = weight.frames.pop().ok_or_else(|| restored_too_often(name))?;
        // SAFETY: the tensor is live, and what the frame recorded is what was in place before the swap.
        unsafe { frame.before.put(weight.tensor) };
        self.infos[index].ty = type_name(frame.before.ty());
        Ok(())
    }

    /// The index of a weight that some node uses so.
    fn used(&self, name: &str, used_as: WeightUse) -> Result<usize, EngineError> {
        let index = self.index(name)?;
        let info = &self.infos[index];
        let n = match used_as {
            WeightUse::Lookup => info.lookups,
            WeightUse::Head => info.consumers - info.lookups,
        };
        if n == 0 { Err(EngineError::NotUsedSo { name: name.into(), used_as }) } else { Ok(index) }
    }

    pub(crate) fn swap_use(
        &mut self,
        name: &str,
        used_as: WeightUse,
        ty: &str,
        bytes: Arc<Vec<u8>>,
        writes: Writes,
    ) -> Result<(), EngineError> {
        let index = self.used(name, used_as)?;
        let weight = &mut self.weights[index];
        let held = hold(weight.tensor, name, ty, bytes, writes)?;
        // SAFETY: the weight is live, so it can be copied; the copy is pointed at bytes that its frame keeps alive.
        let tensor = unsafe {
            let mut tensor = Box::new(*weight.tensor);
            held.layout().put(tensor.as_mut());
            tensor
        };
        weight.uses_mut(used_as).push(UseFrame { tensor, _held: held });
        Ok(())
    }

    pub(crate) fn read_use(&self, name: &str, used_as: WeightUse) -> Result<(String, Vec<u8>), EngineError> {
        let index = self.used(name, used_as)?;
        match self.weights[index].uses(used_as).last() {
            // SAFETY: the frame keeps what its tensor points at alive.
            Some(frame) => Ok((type_name(frame.tensor.type_), unsafe { bytes_of(frame.tensor.as_ref()) })),
            None => self.read(name),
        }
    }

    pub(crate) fn restore_use(&mut self, name: &str, used_as: WeightUse) -> Result<(), EngineError> {
        let index = self.used(name, used_as)?;
        self.weights[index].uses_mut(used_as).pop().map(|_| ()).ok_or_else(|| restored_too_often(name))
    }

    /// What is in place for single uses now; valid until the next swap or restore.
    pub(crate) fn use_swaps(&mut self) -> Vec<UseSwap> {
        let mut swaps = Vec::new();
        for (index, weight) in self.weights.iter_mut().enumerate() {
            for used_as in [WeightUse::Lookup, WeightUse::Head] {
                if let Some(frame) = weight.uses_mut(used_as).last_mut() {
                    swaps.push(UseSwap { index, used_as, tensor: frame.tensor.as_mut() });
                }
            }
        }
        swaps
    }
}

fn restored_too_often(name: &str) -> EngineError {
    EngineError::Failed(format!("{name}: restored more often than swapped"))
}

/// Puts bytes of the type named `ty` where they can stand in for a weight's own.
fn hold(
    tensor: *const sys::ggml_tensor,
    name: &str,
    ty: &str,
    bytes: Arc<Vec<u8>>,
    writes: Writes,
) -> Result<WeightBytes, EngineError> {
    let ggml_type =
        type_by_name(ty).ok_or_else(|| EngineError::Failed(format!("{name}: no ggml type is called {ty:?}")))?;
    // SAFETY: the tensor is a live weight: it comes from the table.
    unsafe { WeightBytes::new(tensor, ggml_type, bytes, writes) }.map_err(|error| match error {
        EngineError::Failed(why) => EngineError::Failed(format!("{name}: as {ty}: {why}")),
        other => other,
    })
}
