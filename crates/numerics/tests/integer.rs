//! Integers with a scale: values that were worked out by hand, and what lies on a grid.

use numerics::{FakeQuantError, PlainCodec, Scheme, TensorContext};

/// What one row of values becomes, or why it becomes nothing.
fn tried(scheme: &str, values: &[f32]) -> Result<Vec<f32>, FakeQuantError> {
    let mut held = values.to_vec();
    let ctx = TensorContext { name: "t", n_per_row: values.len() };
    scheme.parse::<Scheme>().unwrap().fake_quantize(&mut held, &ctx, &PlainCodec).map(|()| held)
}

fn quantized(scheme: &str, values: &[f32]) -> Vec<f32> {
    tried(scheme, values).unwrap()
}

fn has_minus_zero(values: &[f32]) -> bool {
    values.iter().any(|x| x.to_bits() == (-0.0f32).to_bits())
}

#[test]
fn integers_have_the_codes_that_their_drawing_shows() {
    // From −8 or −7 to 7 in steps of 1/64, so that d is 1.
    for (scheme, least) in
        [("int4@tensor", -7), ("int4@tensor:fullrange", -8), ("int4@tensor:asym", -8), ("int4@tensor:zeropoint", -8)]
    {
        let mut values: Vec<f32> = (least * 64..=7 * 64).map(|i| i as f32 / 64.0).collect();
        values = quantized(scheme, &values);
        values.dedup();
        assert_eq!(values, (least..=7).map(|q| q as f32).collect::<Vec<_>>(), "{scheme}");
    }
}

#[test]
fn int8_of_a_small_row_gives_the_values_worked_out_by_hand() {
    // d is 2. 1/2 and 3/2 are ties: to 0 and to 2. −1/2 goes to zero without its sign.
    let held = quantized("int8@row", &[254.0, -2.0, 1.0, 3.0, -1.0, -0.5, 5.0, 0.0]);
    assert_eq!(held, [254.0, -2.0, 0.0, 4.0, 0.0, 0.0, 4.0, 0.0]);
    assert!(!has_minus_zero(&held));
}

#[test]
fn asymmetric_int2_spans_from_the_least_to_the_greatest_value() {
    let held = quantized("int2@row:asym", &[10.0, 10.9, 11.0, 13.0, 15.1, 16.0]);
    assert_eq!(held, [10.0, 10.0, 10.0, 14.0, 16.0, 16.0]);
}

#[test]
fn a_zero_point_is_a_level_and_the_range_always_includes_zero() {
    // Range −2 to 4: steps of 2, zero is step 1.
    let held = quantized("int2@row:zeropoint", &[-2.0, -1.1, 0.0, -0.9, 2.9, 4.0]);
    assert_eq!(held, [-2.0, -2.0, 0.0, 0.0, 2.0, 4.0]);
    assert!(!has_minus_zero(&held));
    // 10 to 12 becomes 0 to 12 in steps of 4, where 10 is a tie; −9 to −3 becomes −9 to 0 in steps of 3.
    assert_eq!(quantized("int2@row:zeropoint", &[10.0, 12.0]), [8.0, 12.0]);
    assert_eq!(quantized("int2@row:zeropoint", &[-9.0, -4.0, -3.0]), [-9.0, -3.0, -3.0]);
    // Range −1 to 5: steps of 2. Half a step below zero is a tie, so zero is step 0; 5 is 2.5 steps, a tie as well.
    assert_eq!(quantized("int2@row:zeropoint", &[-1.0, 5.0]), [0.0, 4.0]);
}

#[test]
fn the_full_range_puts_the_greatest_magnitude_on_its_one_level_more() {
    for sign in [1.0f32, -1.0] {
        let held = quantized("int4@row:fullrange", &[-8.0 * sign, 8.0 * sign * 0.99, 3.4 * sign, 0.0]);
        assert_eq!(held, [-8.0 * sign, 7.0 * sign, 3.0 * sign, 0.0]);
        assert!(!has_minus_zero(&held));
    }
    // The positive one of two equal magnitudes decides.
    assert_eq!(quantized("int4@row:fullrange", &[-8.0, 8.0]), [-7.0, 8.0]);
}

#[test]
fn a_span_beyond_f32_has_no_scale() {
    for scheme in ["int8@row:asym", "int8@row:zeropoint"] {
        assert!(matches!(tried(scheme, &[f32::MIN, f32::MAX]), Err(FakeQuantError::RangeOverflow { .. })), "{scheme}");
    }
    assert!(tried("int8@row", &[f32::MIN, f32::MAX]).is_ok());
}

#[test]
fn a_group_that_lies_on_a_grid_stays_and_a_sign_of_zero_is_no_level() {
    // By the formula d = fl(0.3 / 15), and 15·d is the F32 after 0.3.
    let values = [0.0, 0.3, 0.02, 0.1];
    for scheme in ["int4@row:asym", "int4@row:zeropoint"] {
        assert_eq!(quantized(scheme, &values), values, "{scheme}");
        assert!(!has_minus_zero(&quantized(scheme, &[-0.0, 0.3, 0.02, 0.1])), "{scheme}");
        // A value far between two levels moves the whole group onto the levels of d.
        assert_ne!(quantized(scheme, &[0.0, 0.3, 0.02, 0.11])[3], 0.11, "{scheme}");
    }
}
