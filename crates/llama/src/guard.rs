//! Calls into llama.cpp that may throw a C++ exception. `guard.cpp` catches it, and it becomes an error with its reason.

use eval::EngineError;
use std::ffi::{CStr, c_char, c_void};

/// The functions of llama.cpp that are called through [`caught`]. Unlike in the bindings, they may unwind.
pub(crate) mod throwing {
    use llama_cpp_sys_2::{
        llama_batch, llama_context, llama_context_params, llama_model, llama_model_params, llama_token, llama_vocab,
    };
    use std::ffi::c_char;

    unsafe extern "C-unwind" {
        pub(crate) fn llama_model_load_from_file(path: *const c_char, params: llama_model_params) -> *mut llama_model;
        pub(crate) fn llama_init_from_model(
            model: *mut llama_model,
            params: llama_context_params,
        ) -> *mut llama_context;
        pub(crate) fn llama_decode(context: *mut llama_context, batch: llama_batch) -> i32;
        pub(crate) fn llama_synchronize(context: *mut llama_context);
        pub(crate) fn llama_tokenize(
            vocab: *const llama_vocab,
            text: *const c_char,
            text_len: i32,
            tokens: *mut llama_token,
            n_tokens_max: i32,
            add_special: bool,
            parse_special: bool,
        ) -> i32;
        pub(crate) fn llama_token_to_piece(
            vocab: *const llama_vocab,
            token: llama_token,
            buf: *mut c_char,
            length: i32,
            lstrip: i32,
            special: bool,
        ) -> i32;
    }
}

unsafe extern "C" {
    fn assay_caught(
        call: unsafe extern "C-unwind" fn(*mut c_void),
        argument: *mut c_void,
        what: *mut c_char,
        n: usize,
    ) -> bool;
}

/// A call and what it returned.
struct Called<F, R> {
    call: Option<F>,
    returned: Option<R>,
}

/// Makes the call.
///
/// # Safety
/// `argument` points at a `Called<F, R>` that nobody else uses.
unsafe extern "C-unwind" fn make<F: FnOnce() -> R, R>(argument: *mut c_void) {
    // SAFETY: by contract.
    let called = unsafe { &mut *argument.cast::<Called<F, R>>() };
    if let Some(call) = called.call.take() {
        called.returned = Some(call());
    }
}

/// Makes a call into C++ and catches what it throws. `doing` says what was being done, such as `load the model`.
///
/// The call must own nothing that has to be dropped and must not panic: an exception passes through it.
///
/// # Errors
/// When C++ throws; the error has the type and the reason of the exception.
pub(crate) fn caught<R>(doing: &str, call: impl FnOnce() -> R) -> Result<R, EngineError> {
    fn through<F: FnOnce() -> R, R>(doing: &str, call: F) -> Result<R, EngineError> {
        let mut called = Called { call: Some(call), returned: None };
        let mut what = [0u8; 512];
        // SAFETY: `make` gets the very type that it is made for, which outlives the call, and `what` has the length that
        // is passed.
        let returned = unsafe {
            let argument = std::ptr::from_mut(&mut called).cast();
            assay_caught(make::<F, R>, argument, what.as_mut_ptr().cast(), what.len())
        };
        match called.returned {
            Some(value) if returned => Ok(value),
            _ => {
                let what = CStr::from_bytes_until_nul(&what).map_or("".into(), CStr::to_string_lossy);
                Err(crate::log::failure(format!("llama.cpp could not {doing}: it threw {what}")))
            }
        }
    }
    through(doing, call)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_that_returns_gives_its_value() {
        assert_eq!(caught("count", || 7).expect("it returns"), 7);
    }

    #[test]
    fn what_a_library_throws_is_an_error_with_its_type_and_reason() {
        unsafe extern "C-unwind" {
            /// `std::__throw_out_of_range(const char *)` of libstdc++.
            #[link_name = "_ZSt20__throw_out_of_rangePKc"]
            fn throw_out_of_range(what: *const c_char) -> !;
        }
        // SAFETY: the text is a C string.
        let thrown = caught("count", || unsafe { throw_out_of_range(c"no such token".as_ptr()) });
        let why = thrown.expect_err("it throws").to_string();
        assert_eq!(why, "engine: llama.cpp could not count: it threw std::out_of_range: no such token");
    }
}
