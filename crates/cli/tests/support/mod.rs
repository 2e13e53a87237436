//! What the tests of the program share: running it, and models made on the spot.

#![allow(dead_code, reason = "each test file uses its part")]

#[path = "../../../gguf/tests/support/mod.rs"]
pub mod bytes;
pub mod keys;
pub mod quantized;
#[path = "../../../gguf/tests/support/skip.rs"]
pub mod skip;
pub mod snapshot;

use assert_cmd::Command;
use bytes::{ARRAY, Bytes, F32, F32_VALUE, STRING, U32};
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

/// A program that hangs on its input is a failed test, not a hung one.
const TIMEOUT: Duration = Duration::from_secs(120);

/// Runs `assay ARGS…` in `folder`.
pub fn assay(folder: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_assay"));
    // The width of help texts.
    command.env_remove("COLUMNS");
    command.current_dir(folder).args(args).timeout(TIMEOUT).output().expect("assay starts")
}

/// Standard output of a run that ended well.
pub fn stdout(folder: &Path, args: &[&str]) -> String {
    let output = assay(folder, args);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {:?}\n{stderr}", output.status);
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// The names of the subcommands, in the order of the program's help.
pub fn subcommands() -> Vec<String> {
    let help = stdout(&std::env::temp_dir(), &["-h"]);
    let lines = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    // The rest of a long line is further to the right.
    let names = lines.filter_map(|line| line.strip_prefix("  ").filter(|line| !line.starts_with(' ')));
    let names = names.filter_map(|line| line.split_whitespace().next());
    names.filter(|name| *name != "help").map(str::to_owned).collect()
}

/// The standard output of a command, parsed as JSON.
pub fn json(folder: &Path, args: &[&str]) -> serde_json::Value {
    serde_json::from_str(&stdout(folder, args)).expect("JSON")
}

/// Everything in a folder, by name.
pub fn names_in(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("a folder");
    let mut names: Vec<String> =
        entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// The ids of the processes that this process started and that are still there.
pub fn children_of(parent: u32) -> Vec<u32> {
    let parent_of = |id: u32| -> Option<u32> {
        let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
        stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
    };
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let ids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    ids.filter(|&id| parent_of(id) == Some(parent)).collect()
}

/// Sends a signal to a process by system call: a machine need not have the program `kill`. A process that is gone already
/// is left alone.
pub fn send(signal: rustix::process::Signal, id: u32) {
    let id = i32::try_from(id).ok().and_then(rustix::process::Pid::from_raw).expect("the id of a process");
    match rustix::process::kill_process(id, signal) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => {}
        Err(error) => panic!("{signal:?}: {error}"),
    }
}

/// `assay ARGS…` is refused as bad input: exit 2, one error line, a hint line, nothing on standard
/// output, nothing written. Returns what was said.
pub fn refused(folder: &Path, args: &[&str]) -> String {
    let before = names_in(folder);
    let output = assay(folder, args);
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{args:?}: {stderr}");
    assert!(output.stdout.is_empty(), "{args:?} has an answer: {}", String::from_utf8_lossy(&output.stdout));
    assert_eq!(stderr.lines().filter(|line| line.starts_with("error: ")).count(), 1, "{args:?}: {stderr}");
    assert!(stderr.lines().any(|line| line.starts_with("hint: ")), "{args:?} gives no hint: {stderr}");
    assert!(!stderr.contains("panicked"), "{args:?}: {stderr}");
    assert_eq!(names_in(folder), before, "{args:?} wrote something");
    stderr
}

/// A model that `scripts/fetch-models.sh` fetches, or `None` with a word about it.
pub fn real_model(name: &str) -> Option<PathBuf> {
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    let folder = std::env::var_os("ASSAY_MODELS").map(PathBuf::from).or_else(|| {
        let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(home);
        cache.map(|cache| cache.join("assay/models"))
    });
    let path = folder?.join(name);
    if !path.is_file() {
        skip::skipped(&format!("{name} is not there; scripts/fetch-models.sh fetches it"));
        return None;
    }
    Some(path)
}

/// A pseudo-random number from −1 to 1 (Knuth's 64-bit linear congruential generator).
struct Draw(u64);

impl Draw {
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }
}

/// A llama of two layers, 32 wide, whose tokens are bytes: small enough to be run in every test.
pub struct TinyModel {
    /// The norms in front of the FFN are BF16 values.
    pub ffn_norm_is_bf16: bool,
    /// The file carries its tokenizer.
    pub tokenizer: bool,
}

impl TinyModel {
    pub const N_LAYER: usize = 2;
    pub const N_EMBD: usize = 32;
    const N_FF: usize = 64;
    /// `<unk>`, `<s>`, `</s>` and the bytes.
    const N_VOCAB: usize = 3 + 256;

    /// Writes `name` into `folder`.
    pub fn write(&self, folder: &Path, name: &str) -> PathBuf {
        let (mut tensors, mut draw) = (Vec::new(), Draw(1));
        let mut add = |name: String, ne: &[u64], scale: f32, around: f32, bf16: bool| {
            let n: u64 = ne.iter().product();
            let values = (0..n).map(|_| {
                let value = around + scale * draw.next();
                if bf16 { f32::from_bits(value.to_bits() & 0xffff_0000) } else { value }
            });
            tensors.push((name, ne.to_vec(), values.collect::<Vec<f32>>()));
        };
        let (n_embd, n_ff, n_vocab) = (Self::N_EMBD as u64, Self::N_FF as u64, Self::N_VOCAB as u64);
        add("token_embd.weight".into(), &[n_embd, n_vocab], 1.0, 0.0, false);
        for i in 0..Self::N_LAYER {
            let mut layer = |stem: &str, ne: &[u64], scale, around, bf16| {
                add(format!("blk.{i}.{stem}.weight"), ne, scale, around, bf16);
            };
            layer("attn_norm", &[n_embd], 0.3, 1.0, false);
            for stem in ["attn_q", "attn_k", "attn_v", "attn_output"] {
                layer(stem, &[n_embd, n_embd], 0.3, 0.0, false);
            }
            layer("ffn_norm", &[n_embd], 0.3, 1.0, self.ffn_norm_is_bf16);
            layer("ffn_gate", &[n_embd, n_ff], 0.3, 0.0, false);
            layer("ffn_up", &[n_embd, n_ff], 0.3, 0.0, false);
            layer("ffn_down", &[n_ff, n_embd], 0.3, 0.0, false);
        }
        add("output_norm.weight".into(), &[n_embd], 0.3, 1.0, false);

        let mut bytes = self.metadata(tensors.len() as u64);
        let mut offset = 0;
        for (name, ne, values) in &tensors {
            bytes = bytes.tensor(name, ne, F32, offset);
            offset += (values.len() * 4).next_multiple_of(32) as u64;
        }
        for (_, _, values) in &tensors {
            bytes = bytes.data(32, 0);
            values.iter().for_each(|value| bytes.0.extend_from_slice(&value.to_le_bytes()));
        }
        let path = folder.join(name);
        std::fs::write(&path, bytes.data(32, 0).0).expect("a temporary file");
        path
    }

    fn metadata(&self, n_tensors: u64) -> Bytes {
        let n_kv = if self.tokenizer { 9 + 6 } else { 9 };
        let bytes = Bytes::header(n_tensors, n_kv)
            .key("general.architecture", STRING)
            .string("llama")
            .kv_u32("llama.block_count", Self::N_LAYER as u32)
            .kv_u32("llama.context_length", 512)
            .kv_u32("llama.embedding_length", Self::N_EMBD as u32)
            .kv_u32("llama.feed_forward_length", Self::N_FF as u32)
            .kv_u32("llama.attention.head_count", 2)
            .kv_u32("llama.vocab_size", Self::N_VOCAB as u32)
            .kv_u32("llama.rope.dimension_count", (Self::N_EMBD / 2) as u32)
            .key("llama.attention.layer_norm_rms_epsilon", F32_VALUE)
            .raw(&1e-5f32.to_le_bytes());
        if !self.tokenizer {
            return bytes;
        }
        let list = |bytes: Bytes, key: &str, ty: u32| bytes.key(key, ARRAY).u32(ty).u64(Self::N_VOCAB as u64);
        let mut bytes =
            list(bytes.key("tokenizer.ggml.model", STRING).string("llama"), "tokenizer.ggml.tokens", STRING);
        for token in ["<unk>", "<s>", "</s>"] {
            bytes = bytes.string(token);
        }
        for byte in 0..=255u8 {
            bytes = bytes.string(format!("<0x{byte:02X}>"));
        }
        bytes = list(bytes, "tokenizer.ggml.scores", F32_VALUE);
        for _ in 0..Self::N_VOCAB {
            bytes = bytes.raw(&0f32.to_le_bytes());
        }
        // Unknown, control twice, bytes.
        bytes = list(bytes, "tokenizer.ggml.token_type", 5).u32(2).u32(3).u32(3);
        for _ in 0..256 {
            bytes = bytes.u32(6);
        }
        bytes.key("tokenizer.ggml.bos_token_id", U32).u32(1).key("tokenizer.ggml.eos_token_id", U32).u32(2)
    }
}

/// A text of about `n` bytes.
pub fn text(n: usize) -> String {
    let words = ["assay", "weighs", "a", "metal", "to", "find", "what", "it", "is", "made", "of;"];
    let mut draw = Draw(7);
    let mut out = String::new();
    while out.len() < n {
        let word = ((draw.next() + 1.0) / 2.0 * words.len() as f32) as usize;
        out.push_str(words[word.min(words.len() - 1)]);
        out.push(' ');
    }
    out
}
