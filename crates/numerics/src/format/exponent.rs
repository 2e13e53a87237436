//! Powers of two and exponents, exact over all of F32.

/// The exponent e of a positive finite value, subnormals included: 2^e ≤ x < 2^(e+1).
pub(crate) fn floor_log2(x: f32) -> i32 {
    let bits = x.to_bits();
    match bits >> 23 {
        0 => 31 - bits.leading_zeros() as i32 - 149,
        e => e as i32 - 127,
    }
}

/// 2^e, for −149 ≤ e ≤ 127.
pub(crate) fn pow2(e: i32) -> f32 {
    debug_assert!((-149..=127).contains(&e));
    f32::from_bits(if e >= -126 { ((e + 127) as u32) << 23 } else { 1 << (e + 149) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponents_are_exact_over_all_of_f32() {
        for e in -149..=127 {
            let x = pow2(e);
            assert_eq!(f64::from(x), 2f64.powi(e));
            assert_eq!(floor_log2(x), e);
            assert_eq!(floor_log2(x.next_up()), if e == -149 { -148 } else { e });
            if e > -149 {
                assert_eq!(floor_log2(x.next_down()), e - 1);
            }
        }
    }
}
