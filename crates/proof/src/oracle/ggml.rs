//! ggml's block types a second time. Each is restored by a drawing of its bytes; those without a search are quantized too.
//!
//! ```text
//! d, m, dmin: F16     e: E8M0     q: codes, low bits of a byte first     [n]: n bytes
//!
//! q4_0  d q[16]            d·(q − 8)               value j low nibble of byte j, j + 16 high
//! q4_1  d m q[16]          d·q + m
//! q5_0  d h[4] q[16]       d·(q − 16)              bit 4 of value j is bit j of h
//! q5_1  d m h[4] q[16]     d·q + m
//! q8_0  d q[32]            d·q                     signed bytes
//! q1_0  d q[16]            ±d                      bit 1 is +
//! q2_0  d q[16]            d·(q − 1)               four to a byte
//! q2_K  s[16] q[64] d dmin (d·s)·q − dmin·m        s and m nibbles, 16 values each
//! q3_K  h[32] q[64] s[12] d (d·(s − 32))·(q − 4)   bit 2 of q from h, s of 6 bits
//! q4_K  d dmin s[12] q[128] (d·s)·q − dmin·m       s and m of 6 bits, 32 values each
//! q5_K  d dmin s[12] h[32] q[128]                  as q4_K with bit 4 from h
//! q6_K  l[128] h[64] s[16] d (d·s)·(q − 32)        bits 4, 5 from h, s signed bytes
//! tq1_0 q[48] h[4] d       d·(t − 1)               five trits to a byte, a byte is ⌈256·number/243⌉
//! tq2_0 q[64] d            d·(q − 1)
//! iq4_nl d q[16]           d·T(q)
//! iq4_xs d sh[2] sl[4] q[128] (d·(s − 32))·T(q)    s of 6 bits, 32 values each
//! mxfp4 e q[16]            2^(e − 128)·V(q)        V: E2M1 doubled
//! nvfp4 s[4] q[32]         s/2·V(q)                s unsigned E4M3, 16 values each
//! ```
//!
//! All products but the last are exact in F32, so that contraction into FMA cannot change a restored value.
//! The IQ1, IQ2 and IQ3 types index grids of up to 2048 entries that only ggml and gguf-py have; they are not drawn here.
//!
//! # Source
//! The block structs of ggml-common.h.

use half::{bf16, f16};

/// The table T, ggml's `kvalues_iq4nl`.
const IQ4_NL: [i8; 16] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];
/// The table V, ggml's `kvalues_mxfp4`.
const E2M1_DOUBLED: [i8; 16] = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

/// Restores one block and hands its values on, in order.
type RestoreBlock = fn(&[u8], &mut dyn FnMut(f32));

/// A type whose blocks are drawn here.
#[derive(Clone, Copy)]
pub struct Drawn {
    /// The name of the type in upstream spelling.
    pub ty: &'static str,
    /// The number of values in a block.
    pub blck_size: usize,
    /// The number of bytes of a block.
    pub type_size: usize,
    /// The byte offsets of F16 fields in a block. Random blocks without a NaN are made with them.
    pub f16_at: &'static [usize],
    restore: RestoreBlock,
}

const fn drawn(
    ty: &'static str,
    blck_size: usize,
    type_size: usize,
    f16_at: &'static [usize],
    restore: RestoreBlock,
) -> Drawn {
    Drawn { ty, blck_size, type_size, f16_at, restore }
}

/// All types that are drawn here.
pub const DRAWN: &[Drawn] = &[
    drawn("q4_0", 32, 18, &[0], |b, put| nibbles(&b[2..18], &mut |q| put(half(b, 0) * (f32::from(q) - 8.0)))),
    drawn("q4_1", 32, 20, &[0, 2], |b, put| nibbles(&b[4..20], &mut |q| put(half(b, 0) * f32::from(q) + half(b, 2)))),
    drawn("q5_0", 32, 22, &[0], |b, put| {
        fifth_bit(&b[2..6], &b[6..22], &mut |q| put(half(b, 0) * (f32::from(q) - 16.0)))
    }),
    drawn("q5_1", 32, 24, &[0, 2], |b, put| {
        fifth_bit(&b[4..8], &b[8..24], &mut |q| put(half(b, 0) * f32::from(q) + half(b, 2)));
    }),
    drawn("q8_0", 32, 34, &[0], |b, put| b[2..34].iter().for_each(|&q| put(half(b, 0) * f32::from(q as i8)))),
    drawn("q1_0", 128, 18, &[0], |b, put| {
        (0..128).for_each(|j| put(if b[2 + j / 8] >> (j % 8) & 1 == 1 { half(b, 0) } else { -half(b, 0) }));
    }),
    drawn("q2_0", 64, 18, &[0], |b, put| {
        (0..64).for_each(|j| put((f32::from(b[2 + j / 4] >> (2 * (j % 4)) & 3) - 1.0) * half(b, 0)));
    }),
    drawn("q2_K", 256, 84, &[80, 82], q2_k),
    drawn("q3_K", 256, 110, &[108], q3_k),
    drawn("q4_K", 256, 144, &[0, 2], |b, put| q45_k(b, None, &b[16..144], put)),
    drawn("q5_K", 256, 176, &[0, 2], |b, put| q45_k(b, Some(&b[16..48]), &b[48..176], put)),
    drawn("q6_K", 256, 210, &[208], q6_k),
    drawn("tq1_0", 256, 54, &[52], tq1_0),
    drawn("tq2_0", 256, 66, &[64], |b, put| {
        (0..256).for_each(|j| put((f32::from(b[j / 128 * 32 + j % 32] >> (j % 128 / 32 * 2) & 3) - 1.0) * half(b, 64)));
    }),
    drawn("iq4_nl", 32, 18, &[0], |b, put| {
        nibbles(&b[2..18], &mut |q| put(half(b, 0) * f32::from(IQ4_NL[usize::from(q)])));
    }),
    drawn("iq4_xs", 256, 136, &[0], iq4_xs),
    drawn("mxfp4", 32, 17, &[], |b, put| {
        let d = libm::exp2(f64::from(b[0]) - 128.0) as f32;
        nibbles(&b[1..17], &mut |q| put(f32::from(E2M1_DOUBLED[usize::from(q)]) * d));
    }),
    drawn("nvfp4", 64, 36, &[], |b, put| {
        for s in 0..4 {
            let d = unsigned_e4m3(b[s]) * 0.5;
            nibbles(&b[4 + 8 * s..12 + 8 * s], &mut |q| put(f32::from(E2M1_DOUBLED[usize::from(q)]) * d));
        }
    }),
];

impl Drawn {
    /// The drawing of a type, by its name in any case.
    pub fn find(ty: &str) -> Option<&'static Drawn> {
        DRAWN.iter().find(|drawn| drawn.ty.eq_ignore_ascii_case(ty))
    }

    /// Restores the values of whole blocks.
    pub fn restore(&self, bytes: &[u8]) -> Vec<f32> {
        let mut out = Vec::with_capacity(bytes.len() / self.type_size * self.blck_size);
        for block in bytes.chunks_exact(self.type_size) {
            (self.restore)(block, &mut |x| out.push(x));
        }
        out
    }
}

/// The F16 at a byte offset.
fn half(block: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

/// Hands on the low nibbles of all bytes, then the high ones.
fn nibbles(bytes: &[u8], put: &mut dyn FnMut(u8)) {
    bytes.iter().for_each(|byte| put(byte & 15));
    bytes.iter().for_each(|byte| put(byte >> 4));
}

/// Hands on codes of five bits: nibbles, with their fifth bits in four bytes of their own.
fn fifth_bit(high: &[u8], low: &[u8], put: &mut dyn FnMut(u8)) {
    let mut j = 0;
    nibbles(low, &mut |q| {
        put(q | (high[j / 8] >> (j % 8) & 1) << 4);
        j += 1;
    });
}

/// The two bits of value j of 256. They lie in 64 bytes, 128 values to 32 bytes, in four planes.
fn plane(bytes: &[u8], j: usize) -> u8 {
    bytes[j / 128 * 32 + j % 32] >> (j % 128 / 32 * 2) & 3
}

fn q2_k(b: &[u8], put: &mut dyn FnMut(f32)) {
    for j in 0..256 {
        let s = b[j / 16];
        put((half(b, 80) * f32::from(s & 15)) * f32::from(plane(&b[16..80], j)) - half(b, 82) * f32::from(s >> 4));
    }
}

fn q3_k(b: &[u8], put: &mut dyn FnMut(f32)) {
    let scales = &b[96..108];
    for j in 0..256 {
        let g = j / 16;
        let low = if g < 8 { scales[g] & 15 } else { scales[g - 8] >> 4 };
        let s = low | (scales[8 + g % 4] >> (2 * (g / 4)) & 3) << 4;
        let high = b[j % 32] >> (j / 32) & 1;
        let q = f32::from(plane(&b[32..96], j) | high << 2) - 4.0;
        put((half(b, 108) * (f32::from(s) - 32.0)) * q);
    }
}

/// The scale and the minimum of group g of 8, which have six bits each in twelve bytes.
fn six_bits(s: &[u8], g: usize) -> (u8, u8) {
    match g {
        0..4 => (s[g] & 63, s[g + 4] & 63),
        _ => ((s[g + 4] & 15) | (s[g - 4] >> 6) << 4, (s[g + 4] >> 4) | (s[g] >> 6) << 4),
    }
}

fn q45_k(b: &[u8], high: Option<&[u8]>, low: &[u8], put: &mut dyn FnMut(f32)) {
    for j in 0..256 {
        let (s, m) = six_bits(&b[4..16], j / 32);
        let nibble = low[j / 64 * 32 + j % 32] >> (4 * (j / 32 % 2)) & 15;
        let fifth = high.map_or(0, |h| (h[j % 32] >> (j / 32) & 1) << 4);
        put((half(b, 0) * f32::from(s)) * f32::from(nibble | fifth) - half(b, 2) * f32::from(m));
    }
}

fn q6_k(b: &[u8], put: &mut dyn FnMut(f32)) {
    for j in 0..256 {
        let (n, quarter, l) = (j / 128, j % 128 / 32, j % 32);
        let low = b[64 * n + 32 * (quarter % 2) + l] >> (4 * (quarter / 2)) & 15;
        let high = b[128 + 32 * n + l] >> (2 * quarter) & 3;
        let s = b[192 + j / 16] as i8;
        put((half(b, 208) * f32::from(s)) * (f32::from(low | high << 4) - 32.0));
    }
}

fn tq1_0(b: &[u8], put: &mut dyn FnMut(f32)) {
    let d = half(b, 52);
    // A byte is a fraction of 256 in base 3: the n-th digit is what comes out above after n more multiplications.
    let mut trits = |bytes: &[u8], digits: u32| {
        for n in 0..digits {
            for &byte in bytes {
                let rest = byte.wrapping_mul(3u8.wrapping_pow(n));
                put((f32::from(((u16::from(rest) * 3) >> 8) as u8) - 1.0) * d);
            }
        }
    };
    trits(&b[..32], 5);
    trits(&b[32..48], 5);
    trits(&b[48..52], 4);
}

fn iq4_xs(b: &[u8], put: &mut dyn FnMut(f32)) {
    let scales_h = u16::from_le_bytes([b[2], b[3]]);
    for g in 0..8 {
        let s = (b[4 + g / 2] >> (4 * (g % 2)) & 15) | ((scales_h >> (2 * g) & 3) as u8) << 4;
        let d = half(b, 0) * (f32::from(s) - 32.0);
        nibbles(&b[8 + 16 * g..24 + 16 * g], &mut |q| put(d * f32::from(IQ4_NL[usize::from(q)])));
    }
}

/// The value of an unsigned E4M3 code. ggml reads the code of NaN as zero.
fn unsigned_e4m3(code: u8) -> f32 {
    let (e, m) = (i32::from(code >> 3 & 15), f64::from(code & 7) / 8.0);
    match code {
        0 | 0x7f => 0.0,
        _ if e == 0 => (m * libm::exp2(-6.0)) as f32,
        _ => ((1.0 + m) * libm::exp2(f64::from(e - 7))) as f32,
    }
}

/// The way in which a compiler computes `a·b + c`: with a rounding after the product, or without one (FMA contraction).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contraction {
    /// The product is rounded, and the sum again.
    Separate,
    /// The sum alone is rounded.
    Fused,
}

impl Contraction {
    /// `a·b + c` in this way.
    fn product_and_sum(self, a: f32, b: f32, c: f32) -> f32 {
        match self {
            Contraction::Separate => a * b + c,
            Contraction::Fused => a.mul_add(b, c),
        }
    }
}

/// The types that are quantized here. They need no search: ggml quantizes them by the greatest magnitude, by both ends, or
/// one value at a time.
pub const QUANTIZED: &[&str] =
    &["q4_0", "q4_1", "q5_0", "q5_1", "q8_0", "q1_0", "q2_0", "tq1_0", "tq2_0", "mxfp4", "bf16", "f16"];

/// The numbers of values and bytes of a block of one of [`QUANTIZED`]. A type that is not drawn has one value of two bytes.
pub fn block_of(ty: &str) -> (usize, usize) {
    Drawn::find(ty).map_or((1, 2), |drawn| (drawn.blck_size, drawn.type_size))
}

/// Quantizes whole blocks to one of [`QUANTIZED`], as `ggml_quantize_chunk` does without importances; `None` for other types.
pub fn quantize(ty: &str, values: &[f32], contraction: Contraction) -> Option<Vec<u8>> {
    let block = match ty {
        "bf16" => |x: &[f32], _| bf16::from_f32(x[0]).to_le_bytes().to_vec(),
        "f16" => |x: &[f32], _| f16::from_f32(x[0]).to_le_bytes().to_vec(),
        "q4_0" => |x: &[f32], c| around_zero(x, 4, c),
        "q5_0" => |x: &[f32], c| around_zero(x, 5, c),
        "q4_1" => |x: &[f32], c| from_the_least(x, 4, c),
        "q5_1" => |x: &[f32], c| from_the_least(x, 5, c),
        "q8_0" => |x: &[f32], _| {
            let (d, id) = step(absmax(x) / 127.0);
            [d.to_vec(), x.iter().map(|&x| (x * id).round() as i8 as u8).collect()].concat()
        },
        "q1_0" => |x: &[f32], _| {
            // ggml adds the magnitudes up one after the other in F32.
            let d = x.iter().fold(0.0f32, |sum, x| sum + x.abs()) / 128.0;
            let bits = x.chunks(8).map(|x| x.iter().rev().fold(0u8, |byte, &x| byte << 1 | u8::from(x >= 0.0)));
            [f16::from_f32(d).to_le_bytes().to_vec(), bits.collect()].concat()
        },
        "q2_0" => |x: &[f32], _| {
            let (d, id) = step(absmax(x));
            let code = |x: f32| ((x * id).round() as i32 + 1).clamp(0, 3) as u8;
            let bytes = x.chunks(4).map(|x| x.iter().rev().fold(0u8, |byte, &x| byte << 2 | code(x)));
            [d.to_vec(), bytes.collect()].concat()
        },
        "tq1_0" => |x: &[f32], _| {
            let (d, id) = step(absmax(x));
            let trit = |j: usize| ((x[j] * id).round() as i32 + 1) as u16;
            // Five digits of base 3, the first the highest, as a fraction of 256, rounded up.
            let byte = |at: usize, apart: usize, digits: usize| {
                let number = (0..5).fold(0u16, |sum, n| 3 * sum + if n < digits { trit(at + n * apart) } else { 0 });
                ((number * 256).div_ceil(243)) as u8
            };
            let of_32 = (0..32).map(|j| byte(j, 32, 5));
            let of_16 = (0..16).map(|j| byte(160 + j, 16, 5));
            let of_4 = (0..4).map(|j| byte(240 + j, 4, 4));
            [of_32.chain(of_16).chain(of_4).collect(), d.to_vec()].concat()
        },
        "mxfp4" => |x: &[f32], _| {
            let greatest = absmax(x);
            // The logarithm is rounded to F32: just below a power of two it is that power's.
            let floor = (libm::log2(f64::from(greatest)) as f32).floor();
            let e = if greatest > 0.0 { (floor as i32 - 2 + 127) as u8 } else { 0 };
            let d = libm::exp2(f64::from(e) - 128.0) as f32;
            let error = |x: f32, q: u8| (f32::from(E2M1_DOUBLED[usize::from(q)]) * d - x).abs();
            // The first of those that are as near.
            let code = |&x: &f32| (1..16).fold(0u8, |best, q| if error(x, q) < error(x, best) { q } else { best });
            [vec![e], packed(&x.iter().map(code).collect::<Vec<_>>(), 4)].concat()
        },
        "tq2_0" => |x: &[f32], _| {
            let (d, id) = step(absmax(x));
            let code = |x: f32| ((x * id).round() as i32 + 1) as u8 & 3;
            let byte = |j: usize| (0..4).fold(0u8, |byte, n| byte | code(x[j / 32 * 128 + j % 32 + 32 * n]) << (2 * n));
            [(0..64).map(byte).collect(), d.to_vec()].concat()
        },
        _ => return None,
    };
    Some(values.chunks(block_of(ty).0).flat_map(|x| block(x, contraction)).collect())
}

/// The greatest magnitude.
fn absmax(x: &[f32]) -> f32 {
    x.iter().fold(0.0, |m, x| m.max(x.abs()))
}

/// The step as it is stored, and its reciprocal as ggml uses it.
fn step(d: f32) -> ([u8; 2], f32) {
    (f16::from_f32(d).to_le_bytes(), if d == 0.0 { 0.0 } else { 1.0 / d })
}

/// The codes of a block of 32 as bytes: the fifth bits if there are any, then the nibbles.
fn packed(codes: &[u8], bits: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    if bits == 5 {
        let high = codes.iter().enumerate().fold(0u32, |high, (j, &q)| high | u32::from(q >> 4 & 1) << j);
        bytes.extend(high.to_le_bytes());
    }
    bytes.extend(codes[..16].iter().zip(&codes[16..]).map(|(low, high)| (low & 15) | (high & 15) << 4));
    bytes
}

/// A block of q4_0 or q5_0: the value of greatest magnitude becomes the lowest code.
fn around_zero(x: &[f32], bits: u32, contraction: Contraction) -> Vec<u8> {
    let half = (1u8 << (bits - 1)) as f32;
    // The first of equal magnitude keeps its sign.
    let extreme = x.iter().fold(0.0f32, |m, &x| if m.abs() < x.abs() { x } else { m });
    let (d, id) = step(extreme / -half);
    let top = (1i32 << bits) - 1;
    let code = |x: f32| i32::from(contraction.product_and_sum(x, id, half + 0.5) as i8).min(top) as u8;
    [d.to_vec(), packed(&x.iter().map(|&x| code(x)).collect::<Vec<_>>(), bits)].concat()
}

/// A block of q4_1 or q5_1: codes count steps from the least value.
fn from_the_least(x: &[f32], bits: u32, contraction: Contraction) -> Vec<u8> {
    // Of zeros of both signs the first stays.
    let ends = |(a, b): (f32, f32), &x: &f32| (if x < a { x } else { a }, if x > b { x } else { b });
    let (min, max) = x.iter().fold((f32::MAX, f32::MIN), ends);
    let top = (1i32 << bits) - 1;
    let (d, id) = step((max - min) / top as f32);
    let code = |x: f32| (contraction.product_and_sum(x - min, id, 0.5) as i32).min(top) as u8;
    let m = f16::from_f32(min).to_le_bytes();
    [d.to_vec(), m.to_vec(), packed(&x.iter().map(|&x| code(x)).collect::<Vec<_>>(), bits)].concat()
}
