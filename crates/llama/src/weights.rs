//! The model's weights as the graph uses them: found by walking the graph, swapped by pointer and type.
//!
//! llama.cpp has no public list of a model's tensors, but it hands every graph node to the eval callback. A weight is a
//! leaf (`op == NONE`) in a buffer of usage WEIGHTS that some node reads. Swapping sets `type`, `nb` and `data` of the
//! `ggml_tensor`; the model's own bytes are never written, so restoring is exact.

use eval::{EngineError, WeightInfo};
use llama_cpp_sys_2 as sys;
use std::collections::HashMap;
use std::ffi::CStr;
use std::sync::Arc;

/// What a swap replaced.
struct Frame {
    ty: sys::ggml_type,
    nb: [usize; 4],
    data: *mut std::ffi::c_void,
    /// Keeps the bytes that are in place alive for as long as they are.
    _bytes: Arc<Vec<u8>>,
}

struct Weight {
    tensor: *mut sys::ggml_tensor,
    frames: Vec<Frame>,
}

/// Which weight a graph node's source is: index by address. Addresses are compared, never followed, so contexts on
/// other threads may share it.
#[derive(Default)]
pub(crate) struct Addresses(HashMap<usize, usize>);

impl Addresses {
    /// Index of the weight behind a source of a graph node, if it is one.
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
fn type_name(ty: sys::ggml_type) -> String {
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
unsafe fn leaf(mut tensor: *mut sys::ggml_tensor) -> *mut sys::ggml_tensor {
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
                    self.note(tensor);
                }
            }
        }
    }

    /// # Safety
    /// `tensor` is a live weight of the model.
    unsafe fn note(&mut self, tensor: *mut sys::ggml_tensor) {
        if let Some(&index) = self.addresses.0.get(&tensor.addr()) {
            self.infos[index].consumers += 1;
            return;
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
            consumers: 1,
        });
        self.weights.push(Weight { tensor, frames: Vec::new() });
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

    /// Type and bytes now in place.
    pub(crate) fn read(&self, name: &str) -> Result<(String, Vec<u8>), EngineError> {
        let index = self.index(name)?;
        let weight = &self.weights[index];
        // SAFETY: the tensor lives as long as the model, which owns `self` through the engine.
        let n = unsafe { sys::ggml_nbytes(weight.tensor) };
        let mut bytes = vec![0u8; n];
        if weight.frames.is_empty() {
            // SAFETY: `bytes` holds `n` bytes, and the tensor is allocated in its buffer.
            unsafe { sys::ggml_backend_tensor_get(weight.tensor, bytes.as_mut_ptr().cast(), 0, n) };
        } else {
            // SAFETY: swapped data is host memory of exactly `n` bytes, kept alive by the frame.
            unsafe { std::ptr::copy_nonoverlapping((*weight.tensor).data.cast::<u8>(), bytes.as_mut_ptr(), n) };
        }
        Ok((self.infos[index].ty.clone(), bytes))
    }

    pub(crate) fn swap(&mut self, name: &str, ty: &str, bytes: Arc<Vec<u8>>) -> Result<(), EngineError> {
        let index = self.index(name)?;
        let tensor = self.weights[index].tensor;
        let ggml_type =
            type_by_name(ty).ok_or_else(|| EngineError::Failed(format!("{name}: no ggml type is called {ty:?}")))?;
        // SAFETY: the tensor is live.
        let (old, ne) = unsafe {
            let host = sys::ggml_backend_buffer_is_host((*tensor).buffer);
            if !host {
                return Err(EngineError::Failed(format!("{name}: swapping weights on this back end is not supported")));
            }
            (((*tensor).type_, (*tensor).nb, (*tensor).data), (*tensor).ne)
        };
        // SAFETY: `ggml_type` is a valid type.
        let (blck, size) = unsafe { (sys::ggml_blck_size(ggml_type), sys::ggml_type_size(ggml_type)) };
        if blck <= 0 || ne[0] % blck != 0 {
            return Err(EngineError::Failed(format!(
                "{name}: rows of {} values are no multiple of {ty}'s {blck}",
                ne[0]
            )));
        }
        let row = size * (ne[0] / blck) as usize;
        let nb = [size, row, row * ne[1] as usize, row * (ne[1] * ne[2]) as usize];
        let wanted = nb[3] * ne[3] as usize;
        if bytes.len() != wanted {
            return Err(EngineError::Failed(format!("{name}: {} bytes given, {wanted} wanted for {ty}", bytes.len())));
        }
        let frame = Frame { ty: old.0, nb: old.1, data: old.2, _bytes: bytes.clone() };
        // SAFETY: the tensor is live and no graph is being computed. `bytes` has the length that type and extents ask
        // for, and the frame keeps it alive until it is restored. ggml only ever reads weights.
        unsafe {
            (*tensor).type_ = ggml_type;
            (*tensor).nb = nb;
            (*tensor).data = bytes.as_ptr().cast_mut().cast();
        }
        self.infos[index].ty = type_name(ggml_type);
        self.weights[index].frames.push(frame);
        Ok(())
    }

    pub(crate) fn restore(&mut self, name: &str) -> Result<(), EngineError> {
        let index = self.index(name)?;
        let weight = &mut self.weights[index];
        let frame = weight
            .frames
            .pop()
            .ok_or_else(|| EngineError::Failed(format!("{name}: restored more often than swapped")))?;
        // SAFETY: the tensor is live, and what the frame recorded is what was in place before the swap.
        unsafe {
            (*weight.tensor).type_ = frame.ty;
            (*weight.tensor).nb = frame.nb;
            (*weight.tensor).data = frame.data;
        }
        self.infos[index].ty = type_name(frame.ty);
        Ok(())
    }
}
