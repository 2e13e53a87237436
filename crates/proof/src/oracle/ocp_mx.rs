//! The conversion of the OCP Microscaling Formats (MX) Specification 1.0, section 6.3, from its text: in F64, with
//! logarithms and powers.

/// An element format as the tables of section 5.3 have it.
#[derive(Clone, Copy, Debug)]
pub struct Element {
    /// The name of the scheme.
    pub scheme: &'static str,
    /// The exponent of the largest normal value.
    pub emax: i32,
    /// The exponent of the smallest normal value. Below it the spacing stays; the integer has one spacing.
    pub emin: i32,
    /// The number of bits below the binary point at that exponent.
    pub mantissa_bits: i32,
    /// The greatest magnitude.
    pub max: f64,
}

/// The six element formats. The integer is two's complement with an implicit scale of 2^−6: 1.984375 at most.
pub const ELEMENTS: [Element; 6] = [
    Element { scheme: "mxfp4", emax: 2, emin: 0, mantissa_bits: 1, max: 6.0 },
    Element { scheme: "mxfp6_e2m3", emax: 2, emin: 0, mantissa_bits: 3, max: 7.5 },
    Element { scheme: "mxfp6_e3m2", emax: 4, emin: -2, mantissa_bits: 2, max: 28.0 },
    Element { scheme: "mxfp8_e4m3", emax: 8, emin: -6, mantissa_bits: 3, max: 448.0 },
    Element { scheme: "mxfp8_e5m2", emax: 15, emin: -14, mantissa_bits: 2, max: 57_344.0 },
    Element { scheme: "mxint8", emax: 0, emin: 0, mantissa_bits: 6, max: 127.0 / 64.0 },
];

/// floor(log2 x). A logarithm alone is rounded and misses it just below a power of two.
fn exponent(x: f64) -> i32 {
    let guess = libm::log2(x).floor() as i32;
    (guess - 1..=guess + 1).rev().find(|&e| libm::exp2(f64::from(e)) <= x).unwrap_or(guess)
}

/// The element nearest to `v`, a value in units of the shared scale.
fn element(format: &Element, v: f64) -> f64 {
    if v == 0.0 {
        return v;
    }
    let e = if format.scheme == "mxint8" { 0 } else { exponent(v.abs()).max(format.emin) };
    let spacing = libm::exp2(f64::from(e - format.mantissa_bits));
    ((v / spacing).round_ties_even() * spacing).clamp(-format.max, format.max)
}

/// Converts one block of up to 32 values and restores it. The specification leaves the sign of a zero open: here an integer
/// has none, and a float keeps the sign of its value.
pub fn convert(format: &Element, block: &[f32]) -> Vec<f32> {
    let greatest = block.iter().map(|v| f64::from(v.abs())).fold(0.0, f64::max);
    let signed = |held: f64, v: f32| match (held == 0.0, format.scheme) {
        (true, "mxint8") => 0.0,
        (true, _) => 0.0f32.copysign(v),
        (false, _) => held as f32,
    };
    if greatest == 0.0 {
        return block.iter().map(|&v| signed(0.0, v)).collect();
    }
    let shared = (exponent(greatest) - format.emax).clamp(-127, 127);
    let x = libm::exp2(f64::from(shared));
    block.iter().map(|&v| signed(element(format, f64::from(v) / x) * x, v)).collect()
}

/// Converts rows of blocks of 32; the last block of a row may be shorter.
pub fn convert_rows(format: &Element, values: &[f32], n_per_row: usize) -> Vec<f32> {
    values.chunks(n_per_row).flat_map(|row| row.chunks(32).flat_map(|block| convert(format, block))).collect()
}
