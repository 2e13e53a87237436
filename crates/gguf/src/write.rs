//! Writes a file: a layout computes the place of every byte beforehand, and a writer follows it.
//!
//! ```text
//! metadata, tensor specs ─▶ Layout (header bytes, where each tensor goes, size of the file) ─▶ GgufWriter ─▶ any `Write`
//! ```
//!
//! The data follow in the order of the tensor infos, each tensor padded to the alignment. llama.cpp reads no other
//! order.

use crate::encode;
use crate::ggml_type::GgmlType;
use crate::limits::*;
use crate::parse;
use crate::problem::WrongAlignment;
use crate::value::Value;
use std::io::{self, Write};
use words::{escape_terminal, plural};

/// A tensor that is to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorSpec {
    /// The name of the tensor.
    pub name: String,
    /// The type of the stored values.
    pub ty: GgmlType,
    /// The extents, the contiguous one first.
    pub shape: Vec<u64>,
}

impl TensorSpec {
    /// The number of bytes of the tensor's data.
    ///
    /// # Errors
    /// When its rows are not whole blocks, or a size overflows.
    pub fn nbytes(&self) -> Result<u64, LayoutError> {
        let blck_size = self.ty.blck_size();
        let row = self.shape.first().copied().unwrap_or(1);
        let n = self.shape.iter().try_fold(1u64, |n, &extent| n.checked_mul(extent));
        n.filter(|_| row.is_multiple_of(blck_size)).and_then(|n| self.ty.bytes_of(n)).ok_or_else(|| {
            LayoutError::Tensor { name: escape_terminal(&self.name), ty: self.ty.name(), shape: self.shape.clone() }
        })
    }
}

/// Why a file cannot be laid out.
#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    /// The extents of a tensor do not fit its type.
    #[error("tensor \"{name}\": shape {shape:?} in {ty}, wanted rows of whole blocks and less than 2^63 bytes")]
    Tensor {
        /// The name of the tensor, escaped for a terminal.
        name: String,
        /// The upstream name of the tensor's type.
        ty: &'static str,
        /// The extents, the contiguous one first.
        shape: Vec<u64>,
    },
    /// The value of `general.alignment` in the metadata is not an alignment.
    #[error("metadata \"general.alignment\": {0}")]
    Alignment(WrongAlignment),
    /// The file would be larger than any file can be.
    #[error("found more than 2^63 - 1 bytes of tensors, wanted a file that can exist")]
    TooLarge,
}

/// The bytes of a header, and the places of everything that follows it.
#[derive(Clone, Debug)]
pub struct FileLayout {
    header: Vec<u8>,
    /// The byte at which the data begin. The zeros before it are not stored, because an alignment of 2^31 would need
    /// too many.
    data_offset: u64,
    alignment: u64,
    /// The number of bytes of each tensor, in order.
    nbytes: Vec<u64>,
    file_bytes: u64,
}

impl FileLayout {
    /// Lays out a file of this version (2 or 3) with these contents, in this order.
    ///
    /// # Errors
    /// When the shape of a tensor does not fit its type, the alignment is impossible, or the whole is too large.
    pub fn new<'a>(
        version: u32,
        metadata: impl ExactSizeIterator<Item = (&'a str, &'a Value)>,
        tensors: &[TensorSpec],
    ) -> Result<FileLayout, LayoutError> {
        let mut header = b"GGUF".to_vec();
        header.extend(version.to_le_bytes());
        header.extend((tensors.len() as u64).to_le_bytes());
        header.extend((metadata.len() as u64).to_le_bytes());
        let mut stated = None;
        for (key, value) in metadata {
            if key == GENERAL_ALIGNMENT {
                stated = Some(value);
            }
            encode::pair(&mut header, key, value);
        }
        let alignment = u64::from(parse::alignment(stated).map_err(LayoutError::Alignment)?);
        let mut offset = 0u64;
        let mut nbytes = Vec::with_capacity(tensors.len());
        for tensor in tensors {
            encode::string(&mut header, tensor.name.as_bytes());
            header.extend((tensor.shape.len() as u32).to_le_bytes());
            tensor.shape.iter().for_each(|extent| header.extend(extent.to_le_bytes()));
            header.extend(tensor.ty.id().to_le_bytes());
            header.extend(offset.to_le_bytes());
            let n = tensor.nbytes()?;
            offset = offset.checked_add(n).and_then(|end| padded(end, alignment)).ok_or(LayoutError::TooLarge)?;
            nbytes.push(n);
        }
        let data_offset = match tensors {
            [] => Some(header.len() as u64),
            _ => padded(header.len() as u64, alignment),
        };
        let data_offset = data_offset.ok_or(LayoutError::TooLarge)?;
        let file_bytes = offset.checked_add(data_offset).filter(|&n| n <= i64::MAX as u64);
        Ok(FileLayout { header, data_offset, alignment, nbytes, file_bytes: file_bytes.ok_or(LayoutError::TooLarge)? })
    }

    /// The size of the whole file, in bytes.
    pub fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    /// The bytes before the data: magic, metadata and tensor infos. Equal contents have equal bytes.
    pub fn header(&self) -> &[u8] {
        &self.header
    }

    /// The byte at which the data of each tensor begin in the file, in order.
    pub fn places(&self) -> impl Iterator<Item = u64> {
        self.nbytes.iter().scan(self.data_offset, |next, &nbytes| {
            let place = *next;
            // This cannot overflow, because the size of the file was computed in the same way.
            *next = (place + nbytes).next_multiple_of(self.alignment);
            Some(place)
        })
    }
}

fn padded(n: u64, alignment: u64) -> Option<u64> {
    n.checked_next_multiple_of(alignment)
}

/// Writes a file from front to back as laid out: the header at once, then the tensor data as they come.
#[derive(Debug)]
pub struct GgufWriter<W> {
    out: W,
    layout: FileLayout,
    /// The index of the tensor that is being written, and the number of its bytes that are written.
    tensor: usize,
    written: u64,
}

impl<W: Write> GgufWriter<W> {
    /// Writes the header to `out`.
    ///
    /// # Errors
    /// When `out` fails.
    pub fn new(mut out: W, layout: FileLayout) -> io::Result<Self> {
        out.write_all(&layout.header)?;
        zeros(&mut out, layout.data_offset - layout.header.len() as u64)?;
        Ok(GgufWriter { out, layout, tensor: 0, written: 0 })
    }

    /// Writes the next bytes of the current tensor. The next tensor begins when the current one has all its bytes.
    ///
    /// # Errors
    /// When `out` fails, or the bytes are more than the tensor has left (`InvalidInput`).
    pub fn data(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.skip_finished()?;
        let left = self.layout.nbytes.get(self.tensor).map_or(0, |n| n - self.written);
        if bytes.len() as u64 > left {
            return Err(self.out_of_step(format!("{} given, {left} left", plural(bytes.len(), "byte"))));
        }
        self.out.write_all(bytes)?;
        self.written += bytes.len() as u64;
        Ok(())
    }

    /// Returns `out` after the last byte.
    ///
    /// # Errors
    /// When `out` fails, or data is missing (`InvalidInput`).
    pub fn finish(mut self) -> io::Result<W> {
        self.skip_finished()?;
        if let Some(n) = self.layout.nbytes.get(self.tensor) {
            return Err(self.out_of_step(format!("{} of its {n} bytes are missing", n - self.written)));
        }
        self.out.flush()?;
        Ok(self.out)
    }

    /// Pads every tensor that has all its bytes, and goes on to the first one that does not.
    fn skip_finished(&mut self) -> io::Result<()> {
        while self.layout.nbytes.get(self.tensor).is_some_and(|&n| n == self.written) {
            let padding = self.written.next_multiple_of(self.layout.alignment) - self.written;
            zeros(&mut self.out, padding)?;
            self.tensor += 1;
            self.written = 0;
        }
        Ok(())
    }

    fn out_of_step(&self, what: String) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidInput, format!("data of tensor {}: {what}", self.tensor))
    }
}

fn zeros(out: &mut impl Write, n: u64) -> io::Result<()> {
    io::copy(&mut io::Read::take(io::repeat(0), n), out).map(|_| ())
}

/// Divides tensors, in their order, into shards of at most `max_bytes` each, header included. Returns the number of
/// tensors in each shard, or the index of a tensor that fits no shard.
///
/// `header_bytes(no)` is the number of bytes before the tensor infos of shard `no`. `alignment` is that of the file.
///
/// # Errors
/// The index of the first tensor that is too large for a shard of its own.
pub fn cut_into_shards(
    tensors: &[TensorSpec],
    max_bytes: u64,
    alignment: u32,
    header_bytes: impl Fn(usize) -> u64,
) -> Result<Vec<usize>, usize> {
    let alignment = u64::from(alignment);
    let mut shards: Vec<usize> = vec![0];
    let (mut header, mut data) = (header_bytes(0), 0u64);
    for (index, tensor) in tensors.iter().enumerate() {
        let info = 8 + tensor.name.len() as u64 + 4 + 8 * tensor.shape.len() as u64 + 4 + 8;
        let nbytes = tensor.nbytes().ok().and_then(|n| padded(n, alignment)).ok_or(index)?;
        let fits = |header: u64, data: u64| {
            let header = padded(header.checked_add(info)?, alignment)?;
            (header.checked_add(data)?.checked_add(nbytes)? <= max_bytes).then_some(())
        };
        let last = shards.len() - 1;
        if fits(header, data).is_none() {
            let next = header_bytes(shards.len());
            // A first shard without tensors contains the metadata only. Every other shard must have a tensor.
            if (shards[last] == 0 && last > 0) || fits(next, 0).is_none() {
                return Err(index);
            }
            shards.push(0);
            (header, data) = (next, 0);
        }
        header += info;
        data += nbytes;
        if let Some(n) = shards.last_mut() {
            *n += 1;
        }
    }
    Ok(shards)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(name: &str, ty: GgmlType, shape: &[u64]) -> TensorSpec {
        TensorSpec { name: name.into(), ty, shape: shape.to_vec() }
    }

    fn layout(tensors: &[TensorSpec]) -> FileLayout {
        FileLayout::new(3, std::iter::empty(), tensors).expect("a layout")
    }

    #[test]
    fn the_size_is_known_before_anything_is_written() {
        let tensors =
            [spec("a", GgmlType::F32, &[3]), spec("none", GgmlType::F32, &[0]), spec("b", GgmlType::I8, &[5])];
        let plan = layout(&tensors);
        let (size, places) = (plan.file_bytes(), plan.places().collect::<Vec<u64>>());
        let mut writer = GgufWriter::new(Vec::new(), plan).expect("a vector takes all");
        for part in [&[1u8; 5][..], &[2; 7], &[3; 5]] {
            writer.data(part).expect("a vector takes all");
        }
        let bytes = writer.finish().expect("complete");
        assert_eq!(bytes.len() as u64, size);
        assert_eq!(places, [size - 64, size - 32, size - 32]);
        assert_eq!(bytes[bytes.len() - 64..][..12], [1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2]);
        assert_eq!(bytes[bytes.len() - 32..], [&[3u8; 5][..], &[0; 27]].concat());
    }

    /// Found by fuzzing: the writer kept the zeros before the data in memory.
    #[test]
    fn the_largest_alignment_takes_no_memory() {
        let alignment = Value::U32(1 << 31);
        let pairs = || std::iter::once((GENERAL_ALIGNMENT, &alignment));
        let plan = FileLayout::new(3, pairs(), &[spec("none", GgmlType::F32, &[0]), spec("a", GgmlType::F32, &[1])]);
        let plan = plan.expect("a layout");
        assert_eq!(plan.file_bytes(), 2 << 31);
        assert!(plan.header.capacity() < 1024);
        let begins = |plan: FileLayout| GgufWriter::new(io::sink(), plan).map(|writer| writer.layout.data_offset);
        assert_eq!(begins(plan).expect("a sink takes all"), 1 << 31);
    }

    #[test]
    fn too_much_data_and_too_little_are_errors() {
        let tensors = [spec("a", GgmlType::F32, &[3])];
        let mut writer = GgufWriter::new(Vec::new(), layout(&tensors)).expect("a vector takes all");
        assert!(writer.data(&[0; 13]).is_err());
        writer.data(&[0; 11]).expect("fits");
        assert!(writer.data(&[0; 2]).is_err());
        assert!(writer.finish().expect_err("one byte short").to_string().contains("1 of its 12 bytes"));
    }

    #[test]
    fn shapes_that_do_not_fit_their_type_are_refused() {
        for (ty, shape) in
            [(GgmlType::Q4_0, &[33u64][..]), (GgmlType::F32, &[1 << 62]), (GgmlType::F32, &[1 << 33, 1 << 33])]
        {
            assert!(FileLayout::new(3, std::iter::empty(), &[spec("t", ty, shape)]).is_err(), "{ty} {shape:?}");
        }
    }

    #[test]
    fn shards_are_filled_in_order_up_to_the_limit() {
        let tensors: Vec<TensorSpec> = (0..10).map(|i| spec(&format!("t{i}"), GgmlType::F32, &[64])).collect();
        // The header takes 100 bytes and 34 per info, padded to 32; each tensor has 256 bytes of data. One tensor takes
        // 416 bytes, two take 704, three take 992.
        let cut = |max| cut_into_shards(&tensors, max, 32, |_| 100);
        assert_eq!(cut(1000), Ok(vec![3, 3, 3, 1]));
        assert_eq!(cut(703), Ok(vec![1; 10]));
        assert_eq!(cut(u64::MAX), Ok(vec![10]));
        assert_eq!(cut(415), Err(0));
        let metadata_first = cut_into_shards(&tensors, 500, 32, |no| if no == 0 { 490 } else { 100 });
        assert_eq!(metadata_first.map(|shards| shards[..2].to_vec()), Ok(vec![0, 1]));
    }
}
