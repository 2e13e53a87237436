//! Replays a finished sweep as a race, in many random orders of its windows: how often is the answer right, and how
//! much is measured?
//!
//! It reads one line for each cell from standard input. Commas separate windows, and blanks separate the values of a
//! window's tokens.
//!
//!     replay_race TOP REPLAYS SEED < sweep.csv

use stats::rng::SplitMix64;
use stats::{ChunkSample, RaceRule, race};
use std::collections::BTreeSet;
use std::io::{BufRead, stdin};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<u64> = std::env::args().skip(1).map(|arg| arg.parse()).collect::<Result<_, _>>()?;
    let [top, replays, seed] = args[..] else { return Err("usage: replay_race TOP REPLAYS SEED < sweep.csv".into()) };
    let mut cells: Vec<Vec<ChunkSample>> = Vec::new();
    for line in stdin().lock().lines() {
        let of_chunk = |text: &str| -> Result<ChunkSample, std::num::ParseFloatError> {
            let values: Vec<f64> = text.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
            Ok(ChunkSample::of(&values))
        };
        cells.push(line?.split(',').map(of_chunk).collect::<Result<_, _>>()?);
    }
    let n_chunks = cells.first().map_or(0, Vec::len);
    if n_chunks == 0 || cells.iter().any(|values| values.len() != n_chunks) {
        return Err("wanted lines of equally many values".into());
    }
    let rule = RaceRule::new(top as usize, n_chunks);
    let means: Vec<f64> =
        cells.iter().map(|chunks| chunks.iter().map(ChunkSample::mean).sum::<f64>() / n_chunks as f64).collect();
    let mut sorted = means.clone();
    sorted.sort_by(|a, b| b.total_cmp(a));
    let enough = (1.0 - rule.epsilon) * sorted[rule.top.min(sorted.len()) - 1] * (1.0 - 1e-12);

    let (mut rng, mut right, mut measured, mut chunks) = (SplitMix64::new(seed), 0u64, 0usize, 0usize);
    for _ in 0..replays {
        let mut order: Vec<usize> = (0..n_chunks).collect();
        for last in (1..n_chunks).rev() {
            order.swap(last, (rng.next_u64() % (last as u64 + 1)) as usize);
        }
        let shuffled: Vec<Vec<ChunkSample>> =
            cells.iter().map(|values| order.iter().map(|&chunk| values[chunk]).collect()).collect();
        let race = race(&rule, &shuffled, &BTreeSet::new())?;
        right += u64::from(race.answer.len() == rule.top && race.answer.iter().all(|&cell| means[cell] >= enough));
        measured += race.n_chunks.iter().sum::<usize>();
        chunks += race.n_chunks.iter().max().copied().unwrap_or(0);
    }
    let per = |n: usize| n as f64 / replays as f64;
    let all = cells.len() * n_chunks;
    println!(
        "{} cells, {n_chunks} chunks, top {}, ε {:.0} %, α {:.0} %: right in {right} of {replays} orders; {:.1} of {all} \
         cell-chunks measured (factor {:.2}), {:.1} of {n_chunks} chunks",
        cells.len(),
        rule.top,
        100.0 * rule.epsilon,
        100.0 * rule.alpha,
        per(measured),
        all as f64 / per(measured),
        per(chunks),
    );
    Ok(())
}
