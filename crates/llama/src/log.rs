//! What llama.cpp and ggml say: debug chatter is dropped, the rest goes to standard error, and errors are remembered so
//! that a refusal can give its reason.

use eval::EngineError;
use llama_cpp_sys_2 as sys;
use std::ffi::{CStr, c_char, c_void};
use std::io::Write;
use std::sync::{Mutex, Once, PoisonError};

/// The number of error lines that are kept. A load that fails prints two or three.
const KEPT_ERRORS: usize = 8;

/// The name and the value of the variable that keeps ggml from running a debugger when the process ends by an uncaught
/// exception. ggml looks for it when its library is loaded, so whoever starts the process sets it.
pub(crate) const NO_DEBUGGER: (&str, &str) = ("GGML_NO_BACKTRACE", "1");

/// The lines of the log that are still wanted.
#[derive(Default)]
struct Heard {
    /// The level of the line that continuations belong to.
    level: sys::ggml_log_level,
    errors: Vec<String>,
    /// The names of the tensors that the loader asked for since [`forget_errors`].
    asked: Vec<String>,
    /// The sum of the sizes of the buffers announced since [`forget_buffers`].
    buffer_bytes: u64,
}

static HEARD: Mutex<Heard> =
    Mutex::new(Heard { level: sys::GGML_LOG_LEVEL_INFO, errors: Vec::new(), asked: Vec::new(), buffer_bytes: 0 });

/// Redirects llama.cpp's log to this module. One call in each process is enough.
pub(crate) fn listen() {
    static READY: Once = Once::new();
    // SAFETY: the callbacks are plain functions and live as long as the process.
    READY.call_once(|| unsafe {
        sys::llama_log_set(Some(hear), std::ptr::null_mut());
        sys::ggml_set_abort_callback(Some(last_words));
    });
}

/// Says in one line why ggml aborts. Without this, ggml runs a debugger to print its stack.
///
/// # Safety
/// `text` is null or NUL-terminated.
unsafe extern "C" fn last_words(text: *const c_char) {
    if text.is_null() {
        return;
    }
    // SAFETY: not null, and NUL-terminated by contract.
    let text = unsafe { CStr::from_ptr(text) }.to_string_lossy();
    // A log that cannot be written must not change how the process ends.
    drop(writeln!(std::io::stderr(), "{}", without_folders(&text)));
}

/// The message of an assertion without the folders of the machine on which ggml was built: `ggml.c:12: GGML_ASSERT(…)`.
fn without_folders(text: &str) -> &str {
    let place = text.split_once(": ").map_or(text, |(place, _)| place);
    place.rfind('/').map_or(text, |at| &text[at + 1..])
}

/// Forgets the errors and the names of tensors heard so far.
pub(crate) fn forget_errors() {
    let mut heard = HEARD.lock().unwrap_or_else(PoisonError::into_inner);
    heard.errors.clear();
    heard.asked.clear();
}

/// The names of the tensors that the loader asked for since [`forget_errors`].
pub(crate) fn asked_tensors() -> Vec<String> {
    HEARD.lock().unwrap_or_else(PoisonError::into_inner).asked.clone()
}

/// The name in a line in which the loader says that it asks for a tensor: `create_tensor: loading tensor NAME`.
fn asked_tensor(line: &str) -> Option<&str> {
    line.split_once(": loading tensor ").map(|(_, name)| name.trim_end())
}

/// Forgets the buffers announced so far.
pub(crate) fn forget_buffers() {
    HEARD.lock().unwrap_or_else(PoisonError::into_inner).buffer_bytes = 0;
}

/// The bytes of the KV cache, recurrent states and compute buffers announced since [`forget_buffers`]. llama.cpp has no
/// public call that gives them.
pub(crate) fn buffer_bytes() -> u64 {
    HEARD.lock().unwrap_or_else(PoisonError::into_inner).buffer_bytes
}

/// The bytes that a line announces: `llama_kv_cache:        CPU KV buffer size =    11.25 MiB`. The output buffer is left out:
/// it grows with the first pass, after it was announced.
fn announced_bytes(line: &str) -> Option<u64> {
    let (what, size) = line.trim().split_once(" buffer size = ")?;
    let mib: f64 = size.trim().strip_suffix("MiB")?.trim().parse().ok()?;
    (!what.ends_with("output")).then_some((mib * f64::from(1 << 20)) as u64)
}

/// Why something failed, in one line: the first error heard since [`forget_errors`], without the name of the C++ function
/// that said it. It is empty when nothing was said.
pub(crate) fn first_error() -> String {
    let heard = HEARD.lock().unwrap_or_else(PoisonError::into_inner);
    heard.errors.first().map_or(String::new(), |line| reason(line).to_string())
}

/// Whether a reason says that memory ran out, in the words of `ggml_aligned_malloc` and the allocators of buffers (ggml.c,
/// ggml-alloc.c, llama-model.cpp) and of C++.
pub(crate) fn is_out_of_memory(why: &str) -> bool {
    ["insufficient memory", "attempted to allocate", "failed to allocate", "unable to allocate", "bad_alloc"]
        .iter()
        .any(|words| why.contains(words))
}

/// The error for something that llama.cpp did not do, with the reason that it gave.
pub(crate) fn failure(what: String) -> EngineError {
    if is_out_of_memory(&what) { EngineError::OutOfMemory(what) } else { EngineError::Failed(what) }
}

/// The reason in a line: `missing tensor 'x'` of `llama_model_load: error loading model: missing tensor 'x'`.
fn reason(line: &str) -> &str {
    let line = line.trim();
    let after_function = match line.split_once(": ") {
        Some((function, rest)) if !function.contains(' ') => rest,
        _ => line,
    };
    after_function.strip_prefix("error loading model: ").unwrap_or(after_function)
}

/// Takes a line, or a part of one, of llama.cpp's log.
///
/// # Safety
/// `text` is null or NUL-terminated.
unsafe extern "C" fn hear(level: sys::ggml_log_level, text: *const c_char, _user: *mut c_void) {
    if text.is_null() {
        return;
    }
    // SAFETY: not null, and NUL-terminated by contract.
    let text = unsafe { CStr::from_ptr(text) }.to_string_lossy();
    let mut heard = HEARD.lock().unwrap_or_else(PoisonError::into_inner);
    let continues = level == sys::GGML_LOG_LEVEL_CONT;
    if !continues {
        heard.level = level;
    }
    if heard.level == sys::GGML_LOG_LEVEL_DEBUG {
        heard.asked.extend(asked_tensor(&text).map(str::to_owned));
        return;
    }
    heard.buffer_bytes += announced_bytes(&text).unwrap_or(0);
    if heard.level == sys::GGML_LOG_LEVEL_ERROR {
        let room = heard.errors.len() < KEPT_ERRORS;
        match heard.errors.last_mut() {
            Some(line) if continues => line.push_str(&text),
            _ if room => heard.errors.push(text.clone().into_owned()),
            _ => {}
        }
    }
    // A log that cannot be written must not end the work it tells about.
    drop(std::io::stderr().write_all(text.as_bytes()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_is_what_remains_without_the_function_that_gave_it() {
        assert_eq!(reason("llama_model_load: error loading model: missing tensor 'x'\n"), "missing tensor 'x'");
        assert_eq!(reason("gguf_init_from_file: failed to open"), "failed to open");
        assert_eq!(reason("just words: and more"), "just words: and more");
    }

    #[test]
    fn an_assertion_names_the_file_without_its_folders() {
        assert_eq!(
            without_folders("/a/b/ggml.c:12: GGML_ASSERT(a / b) failed"),
            "ggml.c:12: GGML_ASSERT(a / b) failed"
        );
        assert_eq!(without_folders("ggml.c:12: fatal"), "ggml.c:12: fatal");
    }

    #[test]
    fn announced_buffers_are_read_in_bytes_and_other_lines_are_not() {
        assert_eq!(announced_bytes("llama_kv_cache:        CPU KV buffer size =    11.25 MiB\n"), Some(11_796_480));
        assert_eq!(announced_bytes("sched_reserve:        CPU compute buffer size =     1.00 MiB\n"), Some(1 << 20));
        assert_eq!(announced_bytes("llama_context:        CPU  output buffer size =     0.19 MiB\n"), None);
        assert_eq!(announced_bytes("load: buffer size = much"), None);
    }

    #[test]
    fn errors_are_kept_whole_and_debug_chatter_is_not() {
        forget_errors();
        let say = |level, text: &CStr| {
            // SAFETY: a C string literal.
            unsafe { hear(level, text.as_ptr(), std::ptr::null_mut()) }
        };
        say(sys::GGML_LOG_LEVEL_DEBUG, c"load: a detail\n");
        say(sys::GGML_LOG_LEVEL_ERROR, c"load: bad ");
        say(sys::GGML_LOG_LEVEL_CONT, c"tensor\n");
        say(sys::GGML_LOG_LEVEL_ERROR, c"load: failed\n");
        assert_eq!(first_error(), "bad tensor");
        assert!(asked_tensors().is_empty());
        say(sys::GGML_LOG_LEVEL_DEBUG, c"create_tensor: loading tensor blk.0.attn_q.weight\n");
        assert_eq!(asked_tensors(), ["blk.0.attn_q.weight"]);
        forget_errors();
        assert_eq!((first_error(), asked_tensors().len()), (String::new(), 0));
    }
}
