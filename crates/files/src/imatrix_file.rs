//! Reads the importance matrices that llama-imatrix writes, in both formats, and computes the values that
//! llama-quantize passes to ggml.
//!
//! The GGUF format has two tensors for each weight. The importance is sum / count, and 1 throughout a matrix that was
//! never used:
//!
//! ```text
//! blk.0.attn_q.weight.in_sum2   F32 [n_per_row, n_matrices]   Σ x² of each input channel
//! blk.0.attn_q.weight.counts    F32 [1, n_matrices]           tokens
//! imatrix.datasets, imatrix.chunk_count, imatrix.chunk_size   must be there
//! ```
//!
//! The legacy format is little-endian. The importance is value / ncall, and the value itself where ncall is not
//! positive:
//!
//! ```text
//! i32 entries │ entries × ( i32 len, name │ i32 ncall │ i32 n │ n × f32 ) │ perhaps i32 chunks │ perhaps i32 len, dataset
//! ```
//!
//! # Source
//! `common_imatrix_load` in common/imatrix-loader.cpp and `load_imatrix` in tools/quantize/quantize.cpp of llama.cpp.

use crate::rewrite::header;
use gguf::{GgmlType, GgufError, GgufFile, TensorInfo};
use numerics::Imatrix;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use words::{Advice, Hint, count, escape_terminal, plural};

pub(crate) const WANTED: &str = "an importance matrix of llama-imatrix";

/// The size of the largest legacy file, in bytes. The reader reads such a file as a whole. Those of the largest models
/// have some hundred megabytes.
const MAX_LEGACY_BYTES: u64 = 2 << 30;

/// The length of the longest tensor name in a legacy file, in bytes.
const MAX_NAME_BYTES: usize = 1024;

/// Why a file is not an importance matrix.
#[derive(Debug, thiserror::Error)]
pub enum ImatrixFileError {
    /// The GGUF container is not sound or cannot be read.
    #[error(transparent)]
    Gguf(Box<GgufError>),
    /// The file is a GGUF file of another kind.
    #[error("found no {missing}, wanted an importance matrix")]
    NotAnImatrix {
        /// The metadata key or the tensors that are missing.
        missing: &'static str,
    },
    /// An entry lacks one of its two tensors, or the two do not fit each other.
    #[error("entry \"{entry}\": {what}, wanted {wanted}")]
    Entry {
        /// The name of the tensor that the entry is about, escaped for a terminal.
        entry: String,
        /// What was found in the entry.
        what: String,
        /// What the entry should have.
        wanted: &'static str,
    },
    /// A legacy file is too short or too long, or a number in it is impossible.
    #[error("byte {}: {what}, wanted {wanted}", count(*.offset as u64))]
    Legacy {
        /// The place of the fault in bytes, counted from the start of the file.
        offset: usize,
        /// What was found there.
        what: String,
        /// What should be there.
        wanted: &'static str,
    },
    /// There is not enough memory for the file.
    #[error("no memory for {}", plural(.bytes, "byte"))]
    Memory {
        /// The number of bytes that were requested.
        bytes: u64,
    },
}

impl Advice for ImatrixFileError {
    fn hint(&self) -> Option<Hint> {
        Some(Hint::words(match self {
            ImatrixFileError::Gguf(error) => return error.hint(),
            ImatrixFileError::NotAnImatrix { .. } => "pass a file written by llama-imatrix; a model has other contents",
            ImatrixFileError::Entry { .. } => {
                "the file is damaged or was put together by something else; collect the matrix again"
            }
            ImatrixFileError::Legacy { .. } => {
                "the file is neither a GGUF file nor a sound one in llama-imatrix's legacy format"
            }
            ImatrixFileError::Memory { .. } => "free memory",
        }))
    }
}

impl From<GgufError> for ImatrixFileError {
    fn from(error: GgufError) -> Self {
        ImatrixFileError::Gguf(Box::new(error))
    }
}

/// Reads the file at `path`. Returns the BLAKE3 of the file and its importances. `opened` is the open file and its size
/// in bytes.
pub(crate) fn read(path: &Path, opened: (File, u64)) -> Result<(String, Imatrix), ImatrixFileError> {
    let (mut file, bytes) = opened;
    let cannot =
        |error: std::io::Error| ImatrixFileError::Legacy { offset: 0, what: error.to_string(), wanted: WANTED };
    let mut data = Vec::new();
    file.by_ref().take(4).read_to_end(&mut data).map_err(cannot)?;
    if data == b"GGUF" {
        drop(file);
        let gguf = GgufFile::open(path)?;
        let imatrix = of_gguf(&gguf)?;
        return Ok((header::hash(&gguf, &mut |_| {}, cannot)?, imatrix));
    }
    if bytes > MAX_LEGACY_BYTES {
        let what = format!("found {}", plural(bytes, "byte"));
        return Err(ImatrixFileError::Legacy { offset: 0, what, wanted: "at most 2 GiB in the legacy format" });
    }
    data.try_reserve_exact(bytes as usize).map_err(|_| ImatrixFileError::Memory { bytes })?;
    file.take(MAX_LEGACY_BYTES).read_to_end(&mut data).map_err(cannot)?;
    Ok((blake3::hash(&data).to_hex().to_string(), of_legacy(&data)?))
}

fn of_gguf(file: &GgufFile) -> Result<Imatrix, ImatrixFileError> {
    const KEYS: [&str; 3] = ["imatrix.datasets", "imatrix.chunk_count", "imatrix.chunk_size"];
    if let Some(missing) = KEYS.into_iter().find(|key| file.get(key).is_none()) {
        return Err(ImatrixFileError::NotAnImatrix { missing });
    }
    let mut halves: BTreeMap<&str, [Option<&TensorInfo>; 2]> = BTreeMap::new();
    for tensor in file.tensors() {
        for (half, suffix) in [".in_sum2", ".counts"].into_iter().enumerate() {
            if let Some(name) = tensor.name.strip_suffix(suffix) {
                halves.entry(name).or_default()[half] = Some(tensor);
            }
        }
    }
    if halves.is_empty() {
        return Err(ImatrixFileError::NotAnImatrix { missing: "tensor *.in_sum2" });
    }
    let mut entries = BTreeMap::new();
    for (name, half) in halves {
        let refuse =
            |what: &str, wanted| ImatrixFileError::Entry { entry: escape_terminal(name), what: what.into(), wanted };
        let (sums, counts) = match half {
            [Some(sums), Some(counts)] => (values(file, sums, name)?, values(file, counts, name)?),
            [None, _] => return Err(refuse("found .counts alone", ".in_sum2 and .counts")),
            [_, None] => return Err(refuse("found .in_sum2 alone", ".in_sum2 and .counts")),
        };
        if counts.is_empty() || sums.is_empty() || !sums.len().is_multiple_of(counts.len()) {
            let what = format!("found {} and {}", plural(sums.len(), "sum"), plural(counts.len(), "count"));
            return Err(refuse(&what, "as many sums for each count"));
        }
        let n_per_row = sums.len() / counts.len();
        let mut importances = sums;
        for (row, count) in importances.chunks_exact_mut(n_per_row).zip(counts) {
            // Halves are rounded away from zero, as `std::lround` does.
            let count = count.round();
            if count > 0.0 { row.iter_mut().for_each(|x| *x /= count) } else { row.fill(1.0) }
        }
        entries.insert(name.to_owned(), checked(name, importances)?);
    }
    Ok(Imatrix::new(entries))
}

/// The values of a tensor. They must be F32, finite and not negative, because they are sums or counts.
fn values(file: &GgufFile, tensor: &TensorInfo, entry: &str) -> Result<Vec<f32>, ImatrixFileError> {
    if tensor.ty != GgmlType::F32 {
        let (entry, what) = (escape_terminal(entry), format!("found type {}", tensor.ty));
        return Err(ImatrixFileError::Entry { entry, what, wanted: "f32" });
    }
    let bytes = file.read_tensor(tensor)?;
    checked(entry, floats(&bytes))
}

fn checked(entry: &str, values: Vec<f32>) -> Result<Vec<f32>, ImatrixFileError> {
    match values.iter().position(|x| !(x.is_finite() && *x >= 0.0)) {
        None => Ok(values),
        Some(index) => {
            let (entry, what) = (escape_terminal(entry), format!("value {index} is {}", values[index]));
            Err(ImatrixFileError::Entry { entry, what, wanted: "finite values that are not negative" })
        }
    }
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
}

/// The bytes of a legacy file, read from front to back.
struct Legacy<'a> {
    data: &'a [u8],
    at: usize,
}

impl<'a> Legacy<'a> {
    fn refuse<T>(&self, what: impl Into<String>, wanted: &'static str) -> Result<T, ImatrixFileError> {
        Err(ImatrixFileError::Legacy { offset: self.at, what: what.into(), wanted })
    }

    fn left(&self) -> usize {
        self.data.len() - self.at
    }

    fn take(&mut self, n: usize, wanted: &'static str) -> Result<&'a [u8], ImatrixFileError> {
        if n > self.left() {
            return self.refuse(format!("found {} of {}", count(self.left() as u64), plural(n, "byte")), wanted);
        }
        let bytes = &self.data[self.at..self.at + n];
        self.at += n;
        Ok(bytes)
    }

    fn i32(&mut self, wanted: &'static str) -> Result<i32, ImatrixFileError> {
        self.take(4, wanted).map(|b| i32::from_le_bytes([b[0], b[1], b[2], b[3]]))
    }

    /// Reads a count that is at least 1, of items that each take at least `bytes_each` of the bytes to come.
    fn count(&mut self, bytes_each: usize, wanted: &'static str) -> Result<usize, ImatrixFileError> {
        let at = self.at;
        let n = self.i32(wanted)?;
        let fits = usize::try_from(n).ok().filter(|&n| n >= 1 && n <= self.left() / bytes_each);
        let what = || format!("found {n} with {} to come", plural(self.left(), "byte"));
        fits.ok_or_else(|| ImatrixFileError::Legacy { offset: at, what: what(), wanted })
    }
}

fn of_legacy(data: &[u8]) -> Result<Imatrix, ImatrixFileError> {
    let mut file = Legacy { data, at: 0 };
    let mut entries = BTreeMap::new();
    // The smallest entry has a name of one byte and one value.
    for _ in 0..file.count(4 + 1 + 4 + 4 + 4, "a number of entries")? {
        let len = file.count(1, "the length of a name")?;
        if len > MAX_NAME_BYTES {
            return file.refuse(format!("found {}", count(len as u64)), "the length of a name, at most 1,024");
        }
        let name = match std::str::from_utf8(file.take(len, "a name")?) {
            Ok(name) => name.to_owned(),
            Err(_) => return file.refuse("found bytes that are not UTF-8", "the name of a tensor"),
        };
        let ncall = file.i32("a number of calls")?;
        let n = file.count(4, "a number of values")?;
        let mut values = floats(file.take(4 * n, "the values of an entry")?);
        if ncall > 0 {
            values.iter_mut().for_each(|x| *x /= ncall as f32);
        }
        let values = checked(&name, values)?;
        if entries.insert(name.clone(), values).is_some() {
            let (entry, what) = (escape_terminal(&name), "found it a second time".into());
            return Err(ImatrixFileError::Entry { entry, what, wanted: "each tensor once" });
        }
    }
    if file.left() > 0 {
        file.i32("a number of chunks")?;
    }
    if file.left() > 0 {
        let len = file.i32("the length of the dataset's name")?;
        file.take(usize::try_from(len).unwrap_or(0), "the dataset's name")?;
    }
    match file.left() {
        0 => Ok(Imatrix::new(entries)),
        n => file.refuse(format!("found {} more", plural(n, "byte")), "the end of the file"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, ncall: i32, values: &[f32]) -> Vec<u8> {
        let mut bytes = (name.len() as i32).to_le_bytes().to_vec();
        bytes.extend_from_slice(name.as_bytes());
        bytes.extend_from_slice(&ncall.to_le_bytes());
        bytes.extend_from_slice(&(values.len() as i32).to_le_bytes());
        values.iter().for_each(|x| bytes.extend_from_slice(&x.to_le_bytes()));
        bytes
    }

    fn legacy(entries: &[Vec<u8>], tail: &[u8]) -> Vec<u8> {
        let mut bytes = (entries.len() as i32).to_le_bytes().to_vec();
        entries.iter().for_each(|entry| bytes.extend_from_slice(entry));
        bytes.extend_from_slice(tail);
        bytes
    }

    #[test]
    fn legacy_values_are_divided_by_the_number_of_calls_if_there_were_any() {
        let sound = [entry("a", 4, &[2.0, 3.0]), entry("b", 0, &[5.0]), entry("c", -1, &[7.0])];
        for tail in [&b""[..], &[9, 0, 0, 0], &[9, 0, 0, 0, 2, 0, 0, 0, b'h', b'i'], &[9, 0, 0, 0, 0, 0, 0, 0]] {
            let imatrix = of_legacy(&legacy(&sound, tail)).expect("sound");
            let entries: Vec<(&str, &[f32])> =
                imatrix.entries().iter().map(|(k, v)| (k.as_str(), v.as_slice())).collect();
            assert_eq!(entries, [("a", &[0.5, 0.75][..]), ("b", &[5.0]), ("c", &[7.0])]);
        }
    }

    #[test]
    fn a_legacy_file_cut_anywhere_is_refused_and_asks_for_nothing_it_does_not_have() {
        let sound = legacy(&[entry("blk.0.attn_q.weight", 4, &[2.0, 3.0]), entry("b", 1, &[5.0])], &[]);
        for n in 0..sound.len() {
            assert!(of_legacy(&sound[..n]).is_err(), "{n} bytes were accepted");
        }
        let huge = |bytes: &[u8]| of_legacy(bytes).expect_err("refused").to_string();
        assert!(huge(&i32::MAX.to_le_bytes()).contains("byte 0: found 2147483647 with 0 bytes to come"));
        assert!(huge(&[0; 64]).contains("byte 0: found 0 with 60 bytes"));
        let mut long_name = legacy(&[entry("a", 1, &[1.0])], &[0; 4000]);
        long_name[4..8].copy_from_slice(&2000i32.to_le_bytes());
        assert!(huge(&long_name).contains("at most 1,024"));
        let mut many_values = legacy(&[entry("a", 1, &[1.0])], &[]);
        many_values[13..17].copy_from_slice(&i32::MAX.to_le_bytes());
        assert!(huge(&many_values).contains("byte 13: found 2147483647"));
        assert!(huge(&legacy(&[entry("a", 1, &[1.0])], &[1, 2])).contains("a number of chunks"));
        assert!(huge(&legacy(&[entry("a", 1, &[1.0])], &[9, 0, 0, 0, 0, 0, 0, 0, 7])).contains("found 1 byte more"));
    }

    #[test]
    fn what_cannot_be_an_importance_is_refused_by_the_entrys_name() {
        for (values, found) in
            [(&[1.0, f32::NAN][..], "value 1 is NaN"), (&[-1.0], "value 0 is -1"), (&[f32::INFINITY], "inf")]
        {
            let error = of_legacy(&legacy(&[entry("a", 1, values)], &[])).expect_err("refused");
            assert!(error.hint().is_some(), "{error}");
            let error = error.to_string();
            assert!(error.contains("entry \"a\"") && error.contains(found), "{error}");
        }
        let twice = of_legacy(&legacy(&[entry("a", 1, &[1.0]), entry("a", 1, &[1.0])], &[]));
        assert!(twice.expect_err("refused").to_string().contains("a second time"));
    }
}
