//! Races on simulated sweeps whose truth is known: decisions, error rates, and what decisions depend on.

use stats::rng::SplitMix64;
use stats::{ChunkSample, RaceRule, Standing, race};
use std::collections::BTreeSet;

/// A seeded source of noise.
struct Draw(SplitMix64);

impl Draw {
    fn new(seed: u64) -> Draw {
        Draw(SplitMix64::new(seed))
    }

    fn uniform(&mut self) -> f64 {
        self.0.next_unit()
    }

    /// The sum of twelve uniform numbers minus 6, which has mean 0 and variance 1 and is nearly normal.
    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.uniform()).sum::<f64>() - 6.0
    }

    fn shuffle(&mut self, values: &mut [usize]) {
        for last in (1..values.len()).rev() {
            values.swap(last, (self.0.next_u64() % (last as u64 + 1)) as usize);
        }
    }
}

/// A window of 40 tokens with this mean. Tokens vary in proportion to the mean, and neighbours are correlated.
fn chunk(mean: f64, draw: &mut Draw) -> ChunkSample {
    let passages: Vec<f64> = (0..4).map(|_| 0.1 * draw.normal()).collect();
    let raw: Vec<f64> = (0..40).map(|i| passages[i / 10] + 0.5 * draw.normal()).collect();
    let over = raw.iter().sum::<f64>() / 40.0;
    ChunkSample::of(&raw.iter().map(|x| mean * (1.0 + x - over)).collect::<Vec<f64>>())
}

/// Cells with these means over 20 windows. All cells share the difficulty of a window, and each has its own noise.
/// `worse` makes the mean of a window larger.
fn sweep_with(means: &[f64], noise: f64, seed: u64, worse: impl Fn(&mut Draw) -> f64) -> Vec<Vec<ChunkSample>> {
    let (mut draw, mut tokens) = (Draw::new(seed), Draw::new(seed ^ 0x5eed));
    let difficulty: Vec<f64> = (0..20).map(|_| 1.0 + 0.3 * draw.normal()).collect();
    let mut cell = |mean: &f64| {
        let mut one = |d: &f64| chunk(mean * (d + noise * draw.normal()) * worse(&mut draw), &mut tokens);
        difficulty.iter().map(&mut one).collect()
    };
    means.iter().map(&mut cell).collect()
}

fn sweep(means: &[f64], noise: f64, seed: u64) -> Vec<Vec<ChunkSample>> {
    sweep_with(means, noise, seed, |_| 1.0)
}

fn spaced() -> Vec<f64> {
    // There are thirty cells, each 12 % below the one before.
    (0..30).map(|i| 0.88f64.powi(i)).collect()
}

#[test]
fn well_separated_cells_are_settled_early_and_rightly() {
    let samples = sweep(&spaced(), 0.03, 1);
    let race = race(&RaceRule::new(5, 20), &samples, &BTreeSet::new()).expect("finite");
    assert_eq!(race.answer, [0, 1, 2, 3, 4]);
    assert_eq!(race.next, None);
    assert!(race.ties.iter().all(|tie| *tie == (4, 5)), "neighbours at most: {:?}", race.ties);
    assert!(race.standings[10..].iter().all(|standing| *standing == Standing::Outside));
    let measured: usize = race.n_chunks.iter().sum();
    assert!(measured < 30 * 20 / 2, "{measured} of 600");
}

#[test]
fn decisions_do_not_depend_on_samples_beyond_them() {
    let samples = sweep(&spaced(), 0.1, 2);
    let rule = RaceRule::new(5, 20);
    let whole = race(&rule, &samples, &BTreeSet::new()).expect("finite");
    // A run that stops measuring settled cells would have stored these.
    let stored: Vec<Vec<ChunkSample>> =
        samples.iter().zip(&whole.n_chunks).map(|(values, &n)| values[..n].to_vec()).collect();
    assert_eq!(race(&rule, &stored, &BTreeSet::new()).expect("finite"), whole);
    // The race goes look by look, as a run gets the samples.
    let mut have = vec![0; 30];
    loop {
        let so_far: Vec<&[ChunkSample]> = samples.iter().zip(&have).map(|(values, &n)| &values[..n]).collect();
        let state = race(&rule, &so_far, &BTreeSet::new()).expect("finite");
        let Some(next) = state.next else {
            assert_eq!(state, whole);
            break;
        };
        for (cell, n) in have.iter_mut().enumerate() {
            if state.standings[cell] == Standing::Racing {
                *n = next;
            }
        }
    }
    assert_eq!(have, whole.n_chunks);
}

#[test]
fn equal_cells_are_raced_to_the_end_and_reported_as_ties() {
    let mut means = vec![1.0; 4];
    means.extend([0.5; 4]);
    means.extend([0.1; 12]);
    let race = race(&RaceRule::new(5, 20), &sweep(&means, 0.2, 3), &BTreeSet::new()).expect("finite");
    assert_eq!(race.answer[..4].iter().copied().max(), Some(3));
    let fifth = race.answer[4];
    assert!((4..8).contains(&fifth));
    // Three cells are equal to the fifth; the race tells each of them from it with a chance of 5 %.
    assert!(race.ties.len() >= 2, "{:?}", race.ties);
    assert!(race.ties.iter().all(|&(i, j)| i == fifth && j < 8), "{:?}", race.ties);
}

#[test]
fn cells_that_change_nothing_leave_at_the_first_look_without_a_limit() {
    let mut samples = sweep(&[1.0, 0.5], 0.1, 6);
    samples.extend(vec![vec![ChunkSample::of(&[0.0; 10]); 20]; 3]);
    let race = race(&RaceRule::new(3, 20), &samples, &(2..5).collect()).expect("finite");
    assert_eq!(race.standings[2..], [Standing::Null; 3]);
    assert_eq!((race.n_chunks[4], race.answer, race.next), (4, vec![0, 1], None));
    let none = vec![vec![ChunkSample::of(&[0.0; 10]); 20]; 4];
    let none = stats::race(&RaceRule::new(2, 20), &none, &(0..4).collect()).expect("finite");
    assert_eq!((none.answer, none.next), (vec![], None));
}

#[test]
fn a_cell_without_effect_so_far_is_not_taken_for_one_that_can_have_none() {
    // All that the third cell does comes in the windows after the first look.
    let mut samples = sweep(&[1.0, 0.5], 0.05, 6);
    let late: Vec<ChunkSample> =
        (0..20).map(|chunk| ChunkSample::of(&[if chunk < 4 { 0.0 } else { 30.0 }; 10])).collect();
    samples.push(late);
    let race = race(&RaceRule::new(3, 20), &samples, &BTreeSet::new()).expect("finite");
    assert_eq!((race.answer, race.standings[2]), (vec![2, 0, 1], Standing::Inside));
    // At the last look, a cell that never had an effect is null.
    samples[2] = vec![ChunkSample::of(&[0.0; 10]); 20];
    let race = stats::race(&RaceRule::new(3, 20), &samples, &BTreeSet::new()).expect("finite");
    assert_eq!((race.answer, race.standings[2], race.n_chunks[2]), (vec![0, 1], Standing::Null, 20));
}

#[test]
fn null_is_decided_before_inside_and_exactly_at_the_last_look() {
    let limit = |top, n, limit| RaceRule { null_below: Some(limit), ..RaceRule::new(top, n) };
    let cut = |n: usize| -> Vec<Vec<ChunkSample>> {
        sweep(&[7.1e-4, 2.7e-4], 0.02, 9).into_iter().map(|windows| windows[..n].to_vec()).collect()
    };
    let standings = |rule: &RaceRule, n: usize| race(rule, &cut(n), &BTreeSet::new()).expect("finite").standings;
    // Both are far below the limit: with one place, with as many places as cells, and at the only look there is.
    for (top, n) in [(1, 4), (1, 8), (2, 8), (2, 4)] {
        assert_eq!(standings(&limit(top, n, 0.5), n), [Standing::Null; 2], "{top} of 2 in {n} windows");
    }
    assert_eq!(standings(&limit(2, 8, 5e-4), 8), [Standing::Inside, Standing::Null]);
    assert_eq!(standings(&limit(2, 8, 1e-5), 8), [Standing::Inside; 2]);
}

#[test]
fn cells_without_effect_leave_by_the_limit() {
    let mut means = vec![1.0, 0.9];
    means.extend([1e-5; 10]);
    let rule = RaceRule { null_below: Some(1e-3), ..RaceRule::new(5, 20) };
    let race = race(&rule, &sweep(&means, 0.1, 4), &BTreeSet::new()).expect("finite");
    assert!(race.standings[2..].iter().all(|standing| *standing == Standing::Null), "{:?}", race.standings);
    assert_eq!((race.answer, race.next), (vec![0, 1], None));
}

#[test]
fn values_that_are_not_finite_are_refused() {
    let samples = [1.0, f64::NAN].map(|x| vec![ChunkSample::of(&[x; 40]); 20]);
    assert!(race(&RaceRule::new(1, 20), &samples, &BTreeSet::new()).is_err());
}

/// Sweeps that are hard by design: every loser is just beyond ε. There are few or many losers, and windows that differ
/// by a little or by half, skewed or not.
#[test]
fn losers_just_beyond_epsilon_are_told_at_the_stated_rate() {
    const RACES: u64 = 60;
    let rule = RaceRule::new(5, 20);
    for losers in [vec![0.895; 25], [vec![0.895; 10], vec![0.6; 15]].concat()] {
        let means: Vec<f64> = [1.0; 5].into_iter().chain(losers).collect();
        for (noise, skewed) in [(0.05, false), (0.15, false), (0.15, true), (0.4, false), (0.4, true)] {
            let harder = |draw: &mut Draw| if skewed && draw.uniform() < 0.1 { 3.0 } else { 1.0 };
            let is_right = |seed| is_right(&rule, &sweep_with(&means, noise, seed, harder));
            let right = (0..RACES).filter(|&seed| is_right(seed)).count() as u64;
            assert!(right * 100 >= RACES * 95, "noise {noise}, skewed {skewed}: {right} of {RACES}");
        }
    }
}

/// Whether the race ends with the wanted number of cells, each ε-optimal for the whole sweep.
fn is_right(rule: &RaceRule, samples: &[Vec<ChunkSample>]) -> bool {
    let answer = race(rule, samples, &BTreeSet::new()).expect("finite").answer;
    let totals: Vec<f64> = samples.iter().map(|chunks| chunks.iter().map(ChunkSample::mean).sum()).collect();
    let mut sorted = totals.clone();
    sorted.sort_by(|a, b| b.total_cmp(a));
    let enough = (1.0 - rule.epsilon) * sorted[rule.top - 1] * (1.0 - 1e-12);
    answer.len() == rule.top && answer.iter().all(|&cell| totals[cell] >= enough)
}

/// How the windows of a made-up sweep differ.
#[derive(Clone, Copy)]
enum Windows {
    /// Windows differ in difficulty, which all cells share.
    Alike,
    /// Each cell has skewed noise of its own, log-normal with σ = 0.5.
    Skewed,
    /// Windows of one group of cells are hard where those of the other need not be; the factors are log-normal with σ = 0.5.
    TwoGroups,
    /// Every third cell varies ten times as much from window to window as the others.
    Uneven,
    /// A share of the windows is of another kind, in which a share of the cells loses some times as much.
    Kinds { windows: f64, cells: f64, times: f64 },
}

/// Thirty cells over twenty windows, with noise of 10 % of their own. `ties` of them are equal, the largest and of mean 1; the
/// means of the others lie between 0.6 and 1 or, where there are ties, are 0.6.
fn made_up(windows: Windows, ties: usize, seed: u64) -> Vec<Vec<ChunkSample>> {
    let (mut draw, mut tokens) = (Draw::new(seed), Draw::new(seed ^ 0x5eed));
    let skewed = |draw: &mut Draw| (0.5 * draw.normal() - 0.125).exp();
    let mean = |cell: usize, draw: &mut Draw| match ties {
        0 => 0.6 + 0.4 * draw.uniform(),
        n if cell < n => 1.0,
        _ => 0.6,
    };
    let cells: Vec<(f64, f64)> = (0..30).map(|cell| (mean(cell, &mut draw), draw.uniform())).collect();
    let of_windows: Vec<[f64; 3]> = (0..20).map(|_| [draw.uniform(), skewed(&mut draw), skewed(&mut draw)]).collect();
    let difficulty: Vec<f64> = (0..20).map(|_| 1.0 + 0.3 * draw.normal()).collect();
    let mut sample = |cell: usize, window: usize| {
        let (mean, place) = cells[cell];
        let [kind, one, other] = of_windows[window];
        let own = |noise: f64, draw: &mut Draw| 1.0 + noise * draw.normal();
        let factor = match windows {
            Windows::Alike => difficulty[window] + 0.1 * draw.normal(),
            Windows::Skewed => skewed(&mut draw),
            Windows::TwoGroups => own(0.1, &mut draw) * if cell.is_multiple_of(2) { one } else { other },
            Windows::Uneven => own(if cell.is_multiple_of(3) { 0.5 } else { 0.05 }, &mut draw),
            Windows::Kinds { windows, cells, times } => {
                own(0.1, &mut draw) * if kind < windows && place < cells { times } else { 1.0 }
            }
        };
        chunk(mean * factor, &mut tokens)
    };
    (0..30).map(|cell| (0..20).map(|window| sample(cell, window)).collect()).collect()
}

/// The number of wrong answers in 500 races for the `top` of such sweeps.
fn wrong_of_500(windows: Windows, ties: usize, top: usize) -> usize {
    let rule = RaceRule::new(top, 20);
    (0..500).filter(|&seed| !is_right(&rule, &made_up(windows, ties, seed))).count()
}

/// Wherever windows are alike, however the noise is made, the promise holds: of 500 races at most 16 are wrong, which bounds the
/// rate below 5 % with 95 % confidence.
#[test]
fn where_windows_are_alike_at_most_one_answer_in_twenty_is_wrong() {
    let few = Windows::Kinds { windows: 0.15, cells: 0.2, times: 3.0 };
    for (name, windows, ties, top) in [
        ("alike", Windows::Alike, 0, 5),
        ("ties", Windows::Alike, 10, 5),
        ("skewed", Windows::Skewed, 0, 3),
        ("two groups", Windows::TwoGroups, 0, 3),
        ("uneven", Windows::Uneven, 0, 3),
        ("a kind in which few cells lose more", few, 0, 5),
    ] {
        let wrong = wrong_of_500(windows, ties, top);
        assert!(wrong <= 16, "{name}: {wrong} of 500");
    }
}

/// Where a few windows are of a kind in which half of the cells lose much more, four windows may lack that kind, and no rule
/// that looks at them knows. The rates are those that docs/decisions/0040 states.
#[test]
fn a_rare_kind_of_window_overturns_no_more_answers_than_the_documents_say() {
    for (windows, times, top, most) in [(0.15, 3.0, 3, 40), (0.15, 7.0, 3, 85), (0.1, 5.0, 1, 65), (0.05, 5.0, 3, 110)]
    {
        let wrong = wrong_of_500(Windows::Kinds { windows, cells: 0.5, times }, 0, top);
        assert!(wrong <= most, "{windows} of windows, {times} times: {wrong} of 500");
    }
}

/// The promise of the race. Over many sweeps with cells near the edge of the top five, in random orders of windows, the
/// answer is ε-optimal for the whole sweep in at least 95 % of races. This is checked for normal and for skewed
/// windows.
#[test]
fn the_answer_is_within_epsilon_of_the_whole_sweeps_top_at_the_stated_rate() {
    let means: Vec<f64> = [3.0, 2.0, 1.1, 1.05, 1.0, 0.9, 0.88, 0.86].into_iter().chain((0..22).map(|_| 0.6)).collect();
    let rule = RaceRule::new(5, 20);
    for skewed in [false, true] {
        let (mut right, mut measured) = (0, 0);
        const RACES: usize = 400;
        for seed in 0..RACES as u64 {
            // In skewed sweeps, one window in ten hits a cell three times as hard.
            let harder = |draw: &mut Draw| if skewed && draw.uniform() < 0.1 { 3.0 } else { 1.0 };
            let samples = sweep_with(&means, 0.15, seed, harder);
            let mut order: Vec<usize> = (0..20).collect();
            Draw::new(seed + 1000).shuffle(&mut order);
            let shuffled: Vec<Vec<ChunkSample>> =
                samples.iter().map(|values| order.iter().map(|&chunk| values[chunk]).collect()).collect();
            let race = race(&rule, &shuffled, &BTreeSet::new()).expect("finite");
            // The right answer does not depend on the order of windows.
            right += usize::from(is_right(&rule, &shuffled));
            measured += race.n_chunks.iter().sum::<usize>();
        }
        let share = measured as f64 / (RACES * 600) as f64;
        assert!(right * 100 >= RACES * 95, "skewed {skewed}: {right} of {RACES}");
        assert!(share < 0.95, "skewed {skewed}: {share} of the chunks were measured");
    }
}
