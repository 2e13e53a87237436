//! Checks of the way from text to scores: tokens, windows and the sums over the vocabulary, each done again the plain way.

use super::{ModelUnderTest, check};
use crate::check::{Area, Check};
use crate::oracle::scores::brute_force;
use crate::session::{TextSession, references, samples};
use crate::tap::Pass;
use eval::Token;
use gguf::{Array, GgufFile, Value};
use lab::plan::cells::spec_of;
use record::{Arm, Base, Carrier, Column, Columns, Edit};
use worker::protocol::CellSpec;

/// The difference that another order of sums makes, relative to 1 + the sum. Both are in F64.
const TOLERANCE: f64 = 1e-9;

impl ModelUnderTest<'_> {
    /// A cell that edits every pick, each in the scheme that `scheme` says.
    pub(super) fn cell(&self, key: &str, scheme: impl Fn(&super::Pick) -> String, carrier: Carrier) -> CellSpec {
        let edit = |pick: &super::Pick| Edit::of_weight(&pick.name, scheme(pick), carrier);
        spec_of(key, self.picks.iter().map(edit).collect())
    }

    /// Opens a worker with the model and the text.
    pub(super) fn session(&self, n_threads: usize) -> Result<TextSession, String> {
        TextSession::open(self.pipeline.workers(), self.file.path(), &self.settings, n_threads, self.text)
    }
}

/// Checks that the engine's tokens, put together by the file's own vocabulary, are the text.
pub(super) fn tokens_spell_the_text(subject: &ModelUnderTest<'_>) -> Check {
    const NAME: &str = "tokens spell the text";
    let text = subject.text.strip_suffix('\n').unwrap_or(subject.text);
    let Some(vocabulary) = Vocabulary::of(&subject.file) else {
        return Check::skipped(Area::Model, NAME, "the tokenizer is neither of the kind `llama` nor `gpt2`");
    };
    check(NAME, &["engine's tokenizer", "file's vocabulary"], |tally| {
        let engine = subject.engine()?;
        let tokens = engine.tokenize(text, false).map_err(|error| error.to_string())?;
        let spelled = vocabulary.spell(&tokens);
        // The kind `llama` may put a blank in front.
        let is_text = spelled == text.as_bytes() || spelled.strip_prefix(b" ") == Some(text.as_bytes());
        let differs = spelled.iter().zip(text.as_bytes()).position(|(a, b)| a != b).unwrap_or(0);
        tally.hold(is_text, || {
            format!("{} bytes spell {} of text; about byte {differs} they part", text.len(), spelled.len())
        });
        let bos = subject.file.get("tokenizer.ggml.bos_token_id").and_then(Value::as_u64);
        let same = engine.info().bos.is_none_or(|token| bos.is_none_or(|bos| bos == token as u64));
        tally.hold(same, || format!("BOS is {:?} in the engine and {bos:?} in the file", engine.info().bos));
        Ok(())
    })
}

/// The vocabulary of the file: pieces of text by token.
struct Vocabulary<'f> {
    tokens: &'f gguf::StringArray,
    kinds: Vec<i32>,
    /// Whether a piece is written in printable characters that stand for bytes, as in the kind `gpt2`.
    by_character: bool,
}

impl<'f> Vocabulary<'f> {
    /// The vocabulary of the file, if its kind is `llama` or `gpt2`.
    fn of(file: &'f GgufFile) -> Option<Self> {
        let by_character = match file.get("tokenizer.ggml.model").and_then(Value::as_str)? {
            "llama" => false,
            "gpt2" => true,
            _ => return None,
        };
        let tokens = file.get("tokenizer.ggml.tokens").and_then(Value::as_array)?.as_strings()?;
        let kinds = match file.get("tokenizer.ggml.token_type").and_then(Value::as_array)? {
            Array::I32(kinds) => kinds.clone(),
            _ => return None,
        };
        Some(Vocabulary { tokens, kinds, by_character })
    }

    /// The bytes of one token.
    fn piece(&self, token: Token) -> Vec<u8> {
        const CONTROL: i32 = 3;
        const BYTE: i32 = 6;
        let index = token as usize;
        let piece = String::from_utf8_lossy(self.tokens.get(index).unwrap_or_default()).into_owned();
        match self.kinds.get(index) {
            Some(&CONTROL) => Vec::new(),
            Some(&BYTE) => {
                let digits = piece.trim_start_matches("<0x").trim_end_matches('>');
                u8::from_str_radix(digits, 16).map_or(Vec::new(), |byte| vec![byte])
            }
            _ if self.by_character => piece.chars().filter_map(byte_of).collect(),
            _ => piece.into_bytes(),
        }
    }

    /// The text of these tokens. Where U+2581 stands for a blank, its three bytes may be a token each.
    fn spell(&self, tokens: &[Token]) -> Vec<u8> {
        let bytes: Vec<u8> = tokens.iter().flat_map(|&token| self.piece(token)).collect();
        if self.by_character {
            return bytes;
        }
        let mut spelled = Vec::with_capacity(bytes.len());
        let mut rest = bytes.as_slice();
        while let Some((&first, after)) = rest.split_first() {
            rest = match rest.strip_prefix("\u{2581}".as_bytes()) {
                Some(after) => {
                    spelled.push(b' ');
                    after
                }
                None => {
                    spelled.push(first);
                    after
                }
            };
        }
        spelled
    }
}

/// The byte that a character of a `gpt2` vocabulary stands for. Printable Latin-1 stands for itself; the other bytes have
/// the characters from U+0100 on, in order.
///
/// # Source
/// `bytes_to_unicode` of OpenAI's GPT-2.
fn byte_of(c: char) -> Option<u8> {
    let printable = |byte: u8| matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
    match u32::from(c) {
        code @ 0..0x100 => u8::try_from(code).ok().filter(|&byte| printable(byte)),
        code => (0..=255u8).filter(|&byte| !printable(byte)).nth((code - 0x100) as usize),
    }
}

/// Checks that a worker gives the engine whole windows that start with BOS, of which the second half is scored.
pub(super) fn windows_are_cut_as_llama_perplexity_does(subject: &ModelUnderTest<'_>) -> Check {
    check("windows are cut as llama-perplexity does", &["what the engine was given", "cut again"], |tally| {
        let windows = subject.windows(&*subject.engine()?)?;
        let mut session = subject.session(1)?;
        let base = Base { arm: Arm::Native, carried: Vec::new() };
        subject.pipeline.tap().listen();
        let events = session.measure(&base, &[], subject.chunks);
        let passes = subject.pipeline.tap().take();
        let events = events?;
        tally.hold(passes.len() == windows.len(), || format!("{} passes for {} windows", passes.len(), windows.len()));
        for (pass, window) in passes.iter().zip(&windows) {
            tally.hold(pass.tokens == *window, || {
                format!(
                    "the engine was given {:?}…, wanted {:?}…",
                    &pass.tokens[..4.min(pass.tokens.len())],
                    &window[..4]
                )
            });
            tally.hold(pass.first_output == subject.first_scored(), || {
                format!("logits from position {}, wanted {}", pass.first_output, subject.first_scored())
            });
        }
        let scored = window_scores(subject);
        for sample in references(&events) {
            tally.hold(sample.nll().len() == scored, || {
                format!("{} tokens scored, wanted {scored}", sample.nll().len())
            });
        }
        Ok(())
    })
}

/// The number of scored positions, n_ctx/2 to n_ctx − 2.
fn window_scores(subject: &ModelUnderTest<'_>) -> usize {
    subject.settings.n_ctx as usize - 1 - subject.first_scored()
}

/// Checks NLL, KL divergence, equal top tokens and changed positions against the textbook's sums over the logits.
pub(super) fn scores_equal_brute_force(subject: &ModelUnderTest<'_>) -> Check {
    check("scores equal brute force over the logits", &["worker", "textbook sums in F64"], |tally| {
        let windows = subject.windows(&*subject.engine()?)?;
        let mut session = subject.session(1)?;
        let n_vocab = session.info.n_vocab;
        let base = Base { arm: Arm::Exact, carried: Vec::new() };
        let cell = subject.cell("schemes", |pick| pick.scheme.into(), Carrier::F32);
        subject.pipeline.tap().listen();
        let events = session.measure(&base, &[cell], subject.chunks);
        let passes = subject.pipeline.tap().take();
        let events = events?;
        let found = samples(&events, "schemes");
        tally.hold(found.len() == windows.len(), || format!("{} samples of {} windows", found.len(), windows.len()));
        let references = references(&events);
        for (chunk, window) in windows.iter().enumerate() {
            let of_window: Vec<&Pass> = passes.iter().filter(|pass| pass.tokens == *window).collect();
            let (Some(reference), Some(variant)) = (of_window.first(), of_window.last()) else {
                tally.hold(false, || format!("window {chunk} never reached the engine"));
                continue;
            };
            let Some(sample) = found.iter().find(|sample| sample.chunk == chunk) else {
                tally.hold(false, || format!("window {chunk} has no sample"));
                continue;
            };
            let targets = &window[subject.first_scored() + 1..];
            let (of_reference, of_variant) = brute_force(&reference.logits, &variant.logits, n_vocab, targets);
            let mut equal = |whose: &str, found: &Columns, wanted: &Columns| {
                for (id, wanted) in &wanted.0 {
                    let (found, place) = (found.get(id), format!("{whose} {id} of window {chunk}"));
                    let (Some(Column::F64(found)), Column::F64(wanted)) = (found, wanted) else {
                        tally.hold(found == Some(wanted), || format!("{place}: {found:?}, by brute force {wanted:?}"));
                        continue;
                    };
                    tally.hold(found.len() == wanted.len(), || format!("{place}: {} of {}", found.len(), wanted.len()));
                    for (i, (a, b)) in found.iter().zip(wanted).enumerate() {
                        tally.hold((a - b).abs() <= TOLERANCE * (1.0 + b.abs()), || {
                            format!("{place}, token {i}: {a}, by brute force {b}")
                        });
                    }
                }
            };
            equal("the variant's", &sample.columns, &of_variant);
            let its_reference = references.iter().find(|reference| reference.chunk == chunk);
            let its_columns = its_reference.map(|reference| reference.columns.clone()).unwrap_or_default();
            equal("the reference's", &its_columns, &of_reference);
            let hash = its_reference.map(|reference| &reference.logits_blake3);
            tally.hold(hash == Some(&sample.reference_blake3), || {
                format!(
                    "window {chunk} was compared with logits {}, but its reference has {hash:?}",
                    sample.reference_blake3
                )
            });
        }
        Ok(())
    })
}
