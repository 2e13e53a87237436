//! `make lineage-matrix`: what the census says of tensors whose origin is known, as a confusion matrix.
//!
//! Every origin is made here, from seeded synthetic weights and from the tensors of the models named on the
//! command line, stored as F32, F16 and BF16, and given to the census as any tensor would be. What it ought to
//! say is the table [`ORIGINS`]; a cell is right when the census says just that.
//!
//! With `--development` first, other seeds and other tensors are used: those that may be looked at while the
//! detectors are worked on, with a line on stderr for every cell that is not right, and a word after it narrows
//! the origins to those with it in their names. The figures are of the others.
//!
//! Prints Markdown to standard output; exits 1 when a target is missed.

#[path = "lineage_matrix/origins.rs"]
mod origins;
#[path = "lineage_matrix/sources.rs"]
mod sources;

use lineage::{Search, StoredPrecision, TensorCensus, Undecided, census, search, undecided};
use llama::GgmlCodec;
use numerics::BlockCodec;
use origins::{ORIGINS, Origin};
use rayon::prelude::*;
use sources::{Source, Sources};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

/// Native tensors wanted, and what share of right cells.
const NATIVES: usize = 1200;
const WANTED_SHARE: f64 = 0.98;

const STORED: [(&str, StoredPrecision); 3] =
    [("f32", StoredPrecision::F32), ("f16", StoredPrecision::F16), ("bf16", StoredPrecision::Bf16)];

/// What the census says of one tensor.
struct Answer {
    census: TensorCensus,
    search: Search,
}

impl Answer {
    fn of(values: &[f32], n_per_row: usize, stored: (&str, StoredPrecision)) -> Answer {
        let bytes = GgmlCodec.quantize(stored.0, values, n_per_row, None).expect("a float type");
        let mut held = vec![0.0; values.len()];
        GgmlCodec.dequantize(stored.0, &bytes, &mut held).expect("what was just stored");
        let census = census(&held, stored.1);
        let search = search(&held, n_per_row, &census);
        Answer { census, search }
    }

    /// The grid, else the float grid, else nothing claimed, with what storage leaves open.
    fn said(&self) -> String {
        let effective = self.census.effective.to_string();
        if self.search.is_found() {
            return self.search.name();
        }
        if effective != self.census.stored.to_string() {
            return format!("float {effective}");
        }
        let open = undecided(&self.census, &self.search);
        match open.iter().find(|u| **u != Undecided::DestroyedLattice) {
            Some(why) => format!("not decidable ({})", why.name()),
            None => "none".into(),
        }
    }

    /// Nothing is claimed beyond storage.
    fn claims_nothing(&self) -> bool {
        !self.search.is_found() && self.census.effective.to_string() == self.census.stored.to_string()
    }

    /// `|` separates answers that are all right. `none` is no claim; `few` any statement of at most 16 levels;
    /// `? NAME` no claim while NAME is said to be not decidable; `A & ? NAME` answer A with that said.
    fn is(&self, expected: &str) -> bool {
        let open = undecided(&self.census, &self.search);
        let leaves_open = |name: &str| open.iter().any(|u| u.name() == name);
        expected.split('|').any(|e| match e.split_once("? ") {
            Some(("", name)) => self.claims_nothing() && leaves_open(name),
            Some((answer, name)) => self.said() == answer.trim_end_matches(" & ") && leaves_open(name),
            None if e == "none" => self.claims_nothing(),
            None if e == "few" => self.said().starts_with("at most "),
            None => self.said() == e,
        })
    }
}

/// The answers to one origin in one storage.
struct Cell {
    said: BTreeMap<(bool, String), usize>,
}

impl Cell {
    fn text(&self) -> String {
        let one = |((right, said), n): (&(bool, String), &usize)| match right {
            true => format!("{n}× {said}"),
            false => format!("**{n}× {said}**"),
        };
        self.said.iter().map(one).collect::<Vec<String>>().join(", ")
    }

    fn count(&self, wanted: bool) -> usize {
        self.said.iter().filter(|((right, _), _)| *right == wanted).map(|(_, n)| n).sum()
    }
}

fn cells(origin: &Origin, sources: &[Source], report_misses: bool) -> [Cell; 3] {
    let answers: Vec<[(bool, String); 3]> = sources
        .par_iter()
        .map(|source| {
            let made = origin.made.from(source);
            std::array::from_fn(|i| {
                let answer = Answer::of(&made, source.n_per_row, STORED[i]);
                let right = answer.is(origin.expected[i]);
                if report_misses && !right {
                    eprintln!(
                        "{} from {} in {}: {}; wanted {}\n    {}",
                        origin.name,
                        source.name,
                        STORED[i].0,
                        answer.said(),
                        origin.expected[i],
                        answer.search.note()
                    );
                }
                (right, answer.said())
            })
        })
        .collect();
    std::array::from_fn(|i| {
        let mut said = BTreeMap::new();
        answers.iter().for_each(|of| *said.entry(of[i].clone()).or_default() += 1);
        Cell { said }
    })
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1).peekable();
    let development = arguments.next_if(|a| a == "--development").is_some();
    let only = if development { arguments.next_if(|a| !a.contains('.')) } else { None };
    let models: Vec<PathBuf> = arguments.map(PathBuf::from).collect();
    let sources = match Sources::of(&models, development) {
        Ok(sources) => sources,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::from(2);
        }
    };

    println!("# What the census says of tensors whose origin is known\n");
    println!(
        "Made by `make lineage-matrix`, which writes this page. {} origins, each made from {} sources: {}.",
        ORIGINS.len(),
        sources.for_cells.len(),
        sources.words
    );
    println!("No detector was changed after these were run (decision 0013). `n×` says how often an answer was given;");
    println!("**bold** is not what was expected. What was expected is below, and was written down before.\n");
    println!("| origin | stored F32 | stored F16 | stored BF16 |\n|---|---|---|---|");
    let (mut right, mut judged) = (0, 0);
    for origin in ORIGINS.iter().filter(|o| only.as_ref().is_none_or(|word| o.name.contains(word))) {
        let cells = cells(origin, &sources.for_cells, development);
        for cell in &cells {
            right += cell.count(true);
            judged += cell.count(true) + cell.count(false);
        }
        println!("| {} | {} |", origin.name, cells.each_ref().map(Cell::text).join(" | "));
    }

    let natives: Vec<Source> = sources.natives(NATIVES);
    let false_alarms: Vec<String> = natives
        .par_iter()
        .enumerate()
        .filter_map(|(index, native)| {
            let stored = STORED[index % STORED.len()];
            let answer = Answer::of(&native.values, native.n_per_row, stored);
            (!answer.claims_nothing()).then(|| format!("{} in {}: {}", native.name, stored.0, answer.said()))
        })
        .collect();
    let share = right as f64 / judged as f64;
    println!(
        "\n{right} of {judged} answers are what was expected ({:.1} %; wanted {:.0} %).",
        100.0 * share,
        100.0 * WANTED_SHARE
    );
    match false_alarms.as_slice() {
        // Of 0 in n, 95 % confidence allows 1 − 0.05^(1/n).
        [] => println!(
            "0 false alarms in {} native tensors ({}): with 95 % confidence fewer than {:.1} %.",
            natives.len(),
            sources.natives_words,
            100.0 * (1.0 - 0.05f64.powf(1.0 / natives.len() as f64))
        ),
        found => println!("{} false alarms in {} native tensors: {}.", found.len(), natives.len(), found.join("; ")),
    }
    println!("\n## What was expected\n");
    println!("`few`: at most so many levels. `? …`: no claim, and … is said to be not decidable.\n");
    println!("| origin | stored F32 | stored F16 | stored BF16 |\n|---|---|---|---|");
    for origin in &ORIGINS {
        let shown = origin.expected.map(|expected| expected.split('|').collect::<Vec<&str>>().join(" or "));
        println!("| {} | {} |", origin.name, shown.join(" | "));
    }
    let enough = natives.len() == NATIVES && false_alarms.is_empty();
    if share >= WANTED_SHARE && enough { ExitCode::SUCCESS } else { ExitCode::from(1) }
}
