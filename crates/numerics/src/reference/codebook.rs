//! Codebooks in their obvious form: the nearest entry.

pub(super) fn nearest_entry(entries: &[f32], q: f32) -> f32 {
    // Middles are exact in f64 unless entries lie more than 2^28 apart; distances are not exact for a q near zero.
    let mut best = 0;
    for (i, pair) in entries.windows(2).enumerate() {
        let middle = (f64::from(pair[0]) + f64::from(pair[1])) / 2.0;
        if f64::from(q) > middle || (f64::from(q) == middle && i % 2 == 1) {
            best = i + 1;
        }
    }
    entries[best]
}
