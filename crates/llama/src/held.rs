//! Replacement bytes for a weight, stored where the weight's back end can read them.

use eval::EngineError;
use llama_cpp_sys_2 as sys;
use std::ptr::NonNull;
use std::sync::Arc;

/// How swapped bytes reach the kernels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Writes {
    /// Kernels read the bytes by pointer where the weight lies in host memory. Elsewhere the back end copies them.
    #[default]
    Direct,
    /// The back end copies the bytes to its own buffers everywhere. A device needs that, and on the CPU the bits are the same.
    ThroughBackend,
}

/// The type, strides and place of a tensor's values.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TensorLayout {
    ty: sys::ggml_type,
    nb: [usize; 4],
    data: *mut std::ffi::c_void,
    buffer: *mut sys::ggml_backend_buffer,
}

impl TensorLayout {
    /// The layout that a tensor has now.
    ///
    /// # Safety
    /// `tensor` is live.
    pub(crate) unsafe fn of(tensor: *const sys::ggml_tensor) -> Self {
        // SAFETY: live by contract.
        unsafe {
            TensorLayout { ty: (*tensor).type_, nb: (*tensor).nb, data: (*tensor).data, buffer: (*tensor).buffer }
        }
    }

    /// Points a tensor at these values.
    ///
    /// # Safety
    /// `tensor` is live, no graph that reads it is being computed, and what the layout points to lives for as long as
    /// it is in place.
    pub(crate) unsafe fn put(&self, tensor: *mut sys::ggml_tensor) {
        // SAFETY: live by contract.
        unsafe {
            (*tensor).type_ = self.ty;
            (*tensor).nb = self.nb;
            (*tensor).data = self.data;
            (*tensor).buffer = self.buffer;
        }
    }

    pub(crate) fn ty(&self) -> sys::ggml_type {
        self.ty
    }
}

/// A buffer of a back end; freed on drop.
struct BackendBuffer(NonNull<sys::ggml_backend_buffer>);

impl Drop for BackendBuffer {
    fn drop(&mut self) {
        // SAFETY: we own the buffer, and nothing in it is read any more: frames are restored before they are dropped.
        unsafe { sys::ggml_backend_buffer_free(self.0.as_ptr()) }
    }
}

/// Bytes that are kept alive while a tensor points at them.
pub(crate) struct WeightBytes {
    layout: TensorLayout,
    _keeps: Keeps,
}

/// The memory that has the bytes.
enum Keeps {
    Host { _bytes: Arc<Vec<u8>> },
    Backend { _buffer: BackendBuffer },
}

impl WeightBytes {
    /// Puts `bytes` of type `ty`, as values of `tensor`'s extents, where `tensor`'s back end can read them.
    ///
    /// # Safety
    /// `tensor` is a live weight.
    pub(crate) unsafe fn new(
        tensor: *const sys::ggml_tensor,
        ty: sys::ggml_type,
        bytes: Arc<Vec<u8>>,
        writes: Writes,
    ) -> Result<WeightBytes, EngineError> {
        // SAFETY: live by contract; the type is valid.
        let (ne, own, is_host, blck, size) = unsafe {
            (
                (*tensor).ne,
                TensorLayout::of(tensor),
                sys::ggml_backend_buffer_is_host((*tensor).buffer),
                sys::ggml_blck_size(ty),
                sys::ggml_type_size(ty),
            )
        };
        let failed = |what: String| Err(EngineError::Failed(what));
        if blck <= 0 || ne[0] % blck != 0 {
            return failed(format!("rows of {} values are not whole blocks of {blck}", ne[0]));
        }
        let row = size * (ne[0] / blck) as usize;
        let nb = [size, row, row * ne[1] as usize, row * (ne[1] * ne[2]) as usize];
        let wanted = nb[3] * ne[3] as usize;
        if bytes.len() != wanted {
            return failed(format!("{} bytes given, {wanted} wanted", bytes.len()));
        }
        if is_host && writes == Writes::Direct {
            let data = bytes.as_ptr().cast_mut().cast();
            let layout = TensorLayout { ty, nb, data, buffer: own.buffer };
            return Ok(WeightBytes { layout, _keeps: Keeps::Host { _bytes: bytes } });
        }
        // SAFETY: the weight's buffer is live, so it has a type; the clone is only measured and written through.
        unsafe {
            let kind = sys::ggml_backend_buffer_get_type(own.buffer);
            let mut stand_in = *tensor;
            (stand_in.type_, stand_in.nb) = (ty, nb);
            let n = sys::ggml_backend_buft_get_alloc_size(kind, &raw const stand_in);
            let Some(buffer) = NonNull::new(sys::ggml_backend_buft_alloc_buffer(kind, n)).map(BackendBuffer) else {
                return failed(format!("the back end has no room for {n} bytes"));
            };
            sys::ggml_backend_buffer_set_usage(buffer.0.as_ptr(), sys::GGML_BACKEND_BUFFER_USAGE_WEIGHTS);
            let data = sys::ggml_backend_buffer_get_base(buffer.0.as_ptr());
            (stand_in.buffer, stand_in.data) = (buffer.0.as_ptr(), data);
            sys::ggml_backend_tensor_set(&raw mut stand_in, bytes.as_ptr().cast(), 0, wanted);
            let layout = TensorLayout { ty, nb, data, buffer: buffer.0.as_ptr() };
            Ok(WeightBytes { layout, _keeps: Keeps::Backend { _buffer: buffer } })
        }
    }

    /// The layout to be put in the tensor.
    pub(crate) fn layout(&self) -> TensorLayout {
        self.layout
    }
}

/// The bytes of a tensor, wherever they lie.
///
/// # Safety
/// `tensor` is live, and its values are in place.
pub(crate) unsafe fn bytes_of(tensor: *const sys::ggml_tensor) -> Vec<u8> {
    // SAFETY: `bytes` has the tensor's size; host memory is read where it lies, as swapped bytes need not lie within
    // the buffer that the tensor names.
    unsafe {
        let n = sys::ggml_nbytes(tensor);
        let mut bytes = vec![0u8; n];
        if sys::ggml_backend_buffer_is_host((*tensor).buffer) {
            std::ptr::copy_nonoverlapping((*tensor).data.cast::<u8>(), bytes.as_mut_ptr(), n);
        } else {
            sys::ggml_backend_tensor_get(tensor, bytes.as_mut_ptr().cast(), 0, n);
        }
        bytes
    }
}
