//! The difference of two tensors: worked examples, values that are not finite, and sums of parts.

use numerics::{DifferenceSums, difference, is_other_value};

#[test]
fn a_worked_example_holds() {
    let d = difference(&[3.0, 4.0, 0.0, -0.0, 1.0], &[3.0, 3.5, 0.0, 0.0, -1.0]);
    assert_eq!((d.n, d.changed, d.zero_sign, d.zeroed, d.sign_flipped), (5, 2, 1, 0, 1));
    assert_eq!((d.max_abs, d.mean_abs), (2.0, 0.5));
    assert_eq!(d.rmse, (4.25f64 / 5.0).sqrt());
    assert_eq!(d.rel_rmse, (4.25f64 / 26.0).sqrt());
    assert!((d.sqnr_db - 7.865_844_2).abs() < 1e-6, "{}", d.sqnr_db);
    // (9 + 14 − 1) / (√26 · √22.25)
    assert!((d.cosine - 0.914_683_8).abs() < 1e-6, "{}", d.cosine);
    // From −1 to +1: 2 · 127 · 2^23 steps.
    assert_eq!(d.max_ulp, 2 * 127 * (1 << 23));
}

#[test]
fn nothing_changed_is_exact() {
    let v = [1.5f32, -2.0, 1e-40, 0.0];
    let d = difference(&v, &v);
    assert_eq!((d.changed, d.rmse, d.rel_rmse, d.sqnr_db, d.cosine, d.max_ulp), (0, 0.0, 0.0, f64::INFINITY, 1.0, 0));
}

#[test]
fn zero_is_one_value_in_either_sign_and_both_directions_are_counted_apart() {
    let d = difference(&[0.0, -0.0, 0.0, 1e-45, -0.0, 0.0], &[-0.0, 0.0, -0.0, 0.0, 1e-45, f32::NAN]);
    assert_eq!((d.changed, d.zero_sign, d.minus_zero, d.zeroed, d.unzeroed), (3, 1, 2, 1, 1));
    assert_eq!((d.max_ulp, d.overflowed), (1, 1));
    let signs = difference(&[0.0; 5], &[-0.0; 5]);
    assert_eq!((signs.changed, signs.minus_zero, signs.rel_rmse, signs.cosine), (0, 5, 0.0, 1.0));
    assert!(!is_other_value(0.0, -0.0) && is_other_value(0.0, 1e-45) && !is_other_value(f32::NAN, f32::NAN));
}

#[test]
fn overflow_is_counted_and_left_out_of_the_errors() {
    let d = difference(&[f32::MAX, 1.0, f32::NAN, f32::MIN], &[f32::INFINITY, 2.0, f32::NAN, f32::NAN]);
    assert_eq!((d.overflowed, d.nonfinite, d.changed), (2, 3, 3));
    assert_eq!((d.max_abs, d.rmse, d.cosine), (1.0, 1.0, 1.0));
}

#[test]
fn where_nothing_is_left_to_compare_nothing_is_said_of_errors_and_totals_leave_it_out() {
    let (reference, other) = ([1.0, 2.0, f32::NAN], [f32::INFINITY, f32::NAN, 0.0]);
    let d = difference(&reference, &other);
    assert_eq!((d.overflowed, d.nonfinite, d.changed, d.max_ulp), (2, 3, 3, 0));
    let errors = [d.max_abs, d.mean_abs, d.rmse, d.rel_rmse, d.sqnr_db, d.cosine];
    assert!(errors.iter().all(|x| x.is_nan()), "{errors:?}");
    let mut total = DifferenceSums::default();
    total.add(&reference, &other);
    total.add(&[3.0, 4.0], &[3.0, 2.0]);
    let (d, rest) = (total.finish(), difference(&[3.0, 4.0], &[3.0, 2.0]));
    assert_eq!((d.overflowed, d.max_abs, d.rmse, d.cosine), (2, 2.0, rest.rmse, rest.cosine));
}

#[test]
fn degenerate_tensors_have_defined_metrics() {
    let empty = difference(&[], &[]);
    assert_eq!((empty.n, empty.rmse, empty.cosine), (0, 0.0, 1.0));
    let from_zero = difference(&[0.0], &[1.0]);
    assert_eq!((from_zero.sqnr_db, from_zero.rel_rmse, from_zero.cosine), (f64::NEG_INFINITY, f64::INFINITY, 0.0));
    let to_zero = difference(&[1.0], &[0.0]);
    assert_eq!((to_zero.zeroed, to_zero.cosine, to_zero.sqnr_db), (1, 0.0, 0.0));
    assert_eq!(difference(&[f32::MAX], &[f32::MIN]).max_ulp, 0xfeff_fffe);
}

#[test]
fn parts_cut_at_chunks_give_the_bits_of_the_whole() {
    let r: Vec<f32> = (0..300_000).map(|i| (i as f32 * 0.3).sin()).collect();
    let o: Vec<f32> = r.iter().map(|x| x * 1.001).collect();
    let mut sums = DifferenceSums::default();
    for start in (0..r.len()).step_by(2 * DifferenceSums::PART) {
        let end = (start + 2 * DifferenceSums::PART).min(r.len());
        sums.add(&r[start..end], &o[start..end]);
    }
    assert_eq!(sums.finish(), difference(&r, &o));
}
