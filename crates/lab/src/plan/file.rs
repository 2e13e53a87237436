//! Plan files: from TOML to what the file says, and back.
//!
//! The reader goes through the whole file and reports every problem at once. Each has its line, what was found, what
//! was wanted, and the nearest name if one may have been meant. The module `resolve` checks what selectors, schemes and
//! numbers mean, and adds its own problems.

use numerics::SchemeError;
use record::plan::{
    ArmSet, CellSet, GateName, PLAN_FORMAT, PlanFile, PlanStage, PlanWindows, StageArms, StageWindows, WindowSet,
};
use record::{Arm, StageName};
use select::SelectorError;
use std::collections::BTreeMap;
use std::fmt;
use toml::Spanned;
use toml::de::{DeTable, DeValue};
use words::{Advice, Hint, escape_short, escape_terminal, nearest};

/// The keys of a plan file.
const PLAN_KEYS: [&str; 12] = [
    "format",
    "name",
    "question",
    "hypothesis",
    "target",
    "parts",
    "scheme",
    "positive",
    "jitter_seeds",
    "arms",
    "windows",
    "stage",
];
/// The keys of the table `windows` in a plan file.
const WINDOW_KEYS: [&str; 3] = ["chunks", "layer_chunks", "ctx"];
/// The keys of each stage in a plan file.
const STAGE_KEYS: [&str; 5] = ["name", "cells", "windows", "arms", "gate"];

/// A plan file that cannot be used, with everything that is wrong with it.
#[derive(Debug)]
pub struct PlanFileError {
    /// The name of the file or of the preset.
    pub name: String,
    /// The problems in the order of their lines; at least one.
    pub problems: Vec<PlanProblem>,
}

impl std::error::Error for PlanFileError {}

impl Advice for PlanFileError {
    /// The advice of the only problem that has some. With several, a reader could not tell which advice belongs to
    /// which problem.
    fn hint(&self) -> Option<Hint> {
        let mut hints = self.problems.iter().filter_map(|problem| match &problem.what {
            ProblemKind::Selector { source, .. } => source.hint(),
            ProblemKind::Scheme { source, .. } => source.hint(),
            _ => None,
        });
        hints.next().filter(|_| hints.next().is_none())
    }
}

impl fmt::Display for PlanFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            let newline = if index == 0 { "" } else { "\n" };
            write!(f, "{newline}{}: line {}: {}", escape_terminal(&self.name), problem.line, problem.what)?;
        }
        Ok(())
    }
}

/// One problem in a plan file.
#[derive(Debug)]
pub struct PlanProblem {
    /// The number of the line, counted from 1. What is missing is reported where its table begins.
    pub line: usize,
    /// What is wrong.
    pub what: ProblemKind,
}

/// What is wrong in a plan file. Keys include their tables, as in `stage[2].cells`, counted from 1.
#[derive(Debug, thiserror::Error)]
pub enum ProblemKind {
    /// The text is not TOML.
    #[error("{why}")]
    Syntax {
        /// What the parser says.
        why: String,
    },
    /// The file has a layout that this program does not know.
    #[error("format is {found}, wanted {}: the file is for another version of assay", PLAN_FORMAT.0)]
    Format {
        /// The format of the file.
        found: u64,
    },
    /// No plan has this key.
    #[error("{key} is not a key of a plan file, wanted {wanted}{}", did_you_mean(nearest))]
    UnknownKey {
        /// The key as the file has it.
        key: String,
        /// The keys that are possible there.
        wanted: String,
        /// The key that the user may have meant; `None` where none is near.
        nearest: Option<String>,
    },
    /// A key that every plan needs is missing.
    #[error("{key} is missing, wanted {wanted}")]
    Missing {
        /// The missing key.
        key: String,
        /// What the key stands for.
        wanted: String,
    },
    /// A value is of the wrong kind, out of range, or unknown.
    #[error("{key} is {found}, wanted {wanted}{}", did_you_mean(nearest))]
    Wrong {
        /// The key of the value.
        key: String,
        /// The value that was found.
        found: String,
        /// The values that are possible there.
        wanted: String,
        /// The value that the user may have meant; `None` where none is near.
        nearest: Option<String>,
    },
    /// A selector that cannot be used.
    #[error("{key}: {source}")]
    Selector {
        /// The key of the selector.
        key: String,
        /// Why the selector cannot be used.
        source: SelectorError,
    },
    /// A scheme that cannot be used.
    #[error("{key}: {source}")]
    Scheme {
        /// The key of the scheme.
        key: String,
        /// Why the scheme cannot be used.
        source: SchemeError,
    },
}

fn did_you_mean(nearest: &Option<String>) -> String {
    nearest.as_ref().map_or_else(String::new, |nearest| format!("; did you mean {nearest}?"))
}

/// Prints a plan file so that it can be read again.
///
/// # Errors
/// When a number is too large for TOML.
pub fn print(file: &PlanFile) -> Result<String, toml::ser::Error> {
    toml::to_string(file)
}

/// Reads a plan file. Errors call the file `name`.
///
/// # Errors
/// When the layout of the file is wrong; the error has every problem. What selectors, schemes and numbers mean is not
/// checked.
pub fn read(text: &str, name: &str) -> Result<PlanFile, PlanFileError> {
    let Typed { file, problems, .. } = Typed::read(text);
    if problems.is_empty() { Ok(file) } else { Err(in_order(name, problems)) }
}

/// The error of a file with these problems.
pub(crate) fn in_order(name: &str, mut problems: Vec<PlanProblem>) -> PlanFileError {
    problems.sort_by_key(|problem| problem.line);
    PlanFileError { name: name.into(), problems }
}

/// A plan file as far as it can be read.
#[derive(Debug)]
pub(crate) struct Typed {
    /// What the file says. A key that is missing or wrong has an empty value and a problem in `problems`.
    pub(crate) file: PlanFile,
    /// The line of every value that could be read.
    lines: BTreeMap<String, usize>,
    /// All problems so far.
    pub(crate) problems: Vec<PlanProblem>,
}

impl Typed {
    pub(crate) fn read(text: &str) -> Typed {
        let (document, errors) = DeTable::parse_recoverable(text);
        let mut reader = Reader { text, lines: BTreeMap::new(), problems: Vec::new() };
        let file = reader.plan(&Table { path: String::new(), line: 1, fields: document.get_ref() });
        let Reader { lines, mut problems, .. } = reader;
        if !errors.is_empty() {
            // What seems to be missing may be where the parser was lost.
            problems.retain(|problem| !matches!(problem.what, ProblemKind::Missing { .. }));
        }
        problems.extend(errors.iter().map(|error| PlanProblem {
            line: line_at(text, error.span().map_or(0, |span| span.start)),
            what: ProblemKind::Syntax { why: error.message().into() },
        }));
        Typed { file, lines, problems }
    }

    /// The line of a value that could be read, such as `parts[2]` or `stage[1].name`. A value that is missing or
    /// already reported has none.
    pub(crate) fn line_of(&self, key: &str) -> Option<usize> {
        self.lines.get(key).copied()
    }
}

/// The number of the line that contains a byte, counted from 1.
fn line_at(text: &str, at: usize) -> usize {
    1 + text.as_bytes().iter().take(at).filter(|&&byte| byte == b'\n').count()
}

/// Reads a value of a plan file; `None` for a value of another kind.
type ReadValue<'k, T> = dyn Fn(&DeValue<'_>) -> Option<T> + 'k;

/// A kind of value: how it is read, and what is reported where something else is found.
struct Kind<'k, T> {
    wanted: String,
    /// The words that are possible there; empty unless the value is a word.
    words: Vec<&'static str>,
    read: Box<ReadValue<'k, T>>,
}

impl<'k, T> Kind<'k, T> {
    fn new(wanted: &str, read: impl Fn(&DeValue<'_>) -> Option<T> + 'k) -> Self {
        Kind { wanted: wanted.into(), words: Vec::new(), read: Box::new(read) }
    }
}

fn text(wanted: &str) -> Kind<'static, String> {
    Kind::new(wanted, |value| value.as_str().map(str::to_owned))
}

fn number<T: TryFrom<u64>>(wanted: &str) -> Kind<'static, T> {
    Kind::new(wanted, |value| whole_number(value).and_then(|number| T::try_from(number).ok()))
}

fn whole_number(value: &DeValue<'_>) -> Option<u64> {
    let number = value.as_integer()?;
    u64::from_str_radix(number.as_str(), number.radix()).ok()
}

fn word<T: Clone + 'static>(words: impl IntoIterator<Item = (&'static str, T)>) -> Kind<'static, T> {
    let known: Vec<(&'static str, T)> = words.into_iter().collect();
    let words: Vec<&'static str> = known.iter().map(|(word, _)| *word).collect();
    let read = move |value: &DeValue<'_>| {
        let found = value.as_str()?;
        known.iter().find(|(word, _)| *word == found).map(|(_, meaning)| meaning.clone())
    };
    Kind { wanted: one_of(&words), words, read: Box::new(read) }
}

fn arm() -> Kind<'static, Arm> {
    word([Arm::Exact, Arm::Native].map(|arm| (arm.name(), arm)))
}

/// The words as a list such as `a`, `a or b` or `a, b or c`.
fn one_of(words: &[&str]) -> String {
    match words {
        [] => String::new(),
        [only] => (*only).into(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}

/// The word that a mistyped one was meant to be; a third of its letters may differ.
fn meant(found: &str, words: &[&'static str]) -> Option<String> {
    nearest(found, words.iter().copied(), (found.len() / 3).clamp(1, 4)).first().map(|word| (*word).to_owned())
}

/// A table of the file and its key.
struct Table<'t> {
    /// The key of the table followed by a dot; empty for the file itself.
    path: String,
    line: usize,
    fields: &'t DeTable<'t>,
}

type Value<'t> = Spanned<DeValue<'t>>;

/// Reads the file and collects its problems.
struct Reader<'t> {
    text: &'t str,
    lines: BTreeMap<String, usize>,
    problems: Vec<PlanProblem>,
}

impl<'t> Reader<'t> {
    fn plan(&mut self, table: &Table<'t>) -> PlanFile {
        let format = self.required(table, "format", &number::<u64>(&PLAN_FORMAT.0.to_string()));
        let mut file = PlanFile {
            format: PLAN_FORMAT,
            name: String::new(),
            question: String::new(),
            hypothesis: String::new(),
            target: String::new(),
            parts: Vec::new(),
            scheme: String::new(),
            positive: None,
            jitter_seeds: None,
            arms: None,
            windows: PlanWindows::default(),
            stages: Vec::new(),
        };
        if let Some(found) = format.filter(|format| *format != u64::from(PLAN_FORMAT.0)) {
            // In another version, the other keys may mean something else.
            let line = self.lines.remove("format").unwrap_or(1);
            self.problems.push(PlanProblem { line, what: ProblemKind::Format { found } });
            return file;
        }
        self.only_known(table, &PLAN_KEYS);
        file.name = self.required(table, "name", &text("a name for the plan")).unwrap_or_default();
        file.question = self.required(table, "question", &text("the question in plain words")).unwrap_or_default();
        let wanted = "what is expected, in plain words";
        file.hypothesis = self.required(table, "hypothesis", &text(wanted)).unwrap_or_default();
        let (selector, scheme) = ("a selector such as \"ffn_norm\"", "a scheme such as \"bf16\"");
        file.target = self.required(table, "target", &text(selector)).unwrap_or_default();
        file.parts = self.list(table, "parts", "a list of selectors", &text(selector)).unwrap_or_default();
        file.scheme = self.required(table, "scheme", &text(scheme)).unwrap_or_default();
        file.positive = self.optional(table, "positive", &text("a scheme such as \"zero\""));
        let seed = number("a whole number from 0 on");
        file.jitter_seeds = self.list(table, "jitter_seeds", "a list of whole numbers", &seed);
        file.arms = self.list(table, "arms", "a list of exact and native", &arm());
        if let Some(windows) = self.table(table, "windows", "a table that begins with [windows]") {
            self.only_known(&windows, &WINDOW_KEYS);
            let count = number("a number of windows");
            file.windows = PlanWindows {
                chunks: self.optional(&windows, "chunks", &count),
                layer_chunks: self.optional(&windows, "layer_chunks", &count),
                ctx: self.optional(&windows, "ctx", &number("a number of tokens")),
            };
        }
        file.stages = self.stages(table).unwrap_or_default();
        file
    }

    /// The stages; `None` where there are none, or one of them cannot be read.
    fn stages(&mut self, table: &Table<'t>) -> Option<Vec<PlanStage>> {
        const WANTED: &str = "tables that begin with [[stage]]";
        let value = table.fields.get("stage")?;
        let DeValue::Array(items) = value.get_ref() else {
            self.wrong("stage", value, WANTED, None);
            return None;
        };
        let mut stages = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let key = format!("stage[{}]", index + 1);
            stages.push(match item.get_ref() {
                DeValue::Table(fields) => self.stage(&Table { path: format!("{key}."), line: self.line(item), fields }),
                _ => {
                    self.wrong(&key, item, WANTED, None);
                    None
                }
            });
        }
        stages.into_iter().collect()
    }

    fn stage(&mut self, table: &Table<'t>) -> Option<PlanStage> {
        self.only_known(table, &STAGE_KEYS);
        let name = Kind::new("a name of lower-case letters, digits, '_' and '-'", |value| {
            StageName::try_from(value.as_str()?.to_owned()).ok()
        });
        let windows = word(WindowSet::ALL.map(|set| (set.name(), StageWindows::Named(set))));
        let windows = Kind {
            wanted: format!("{}, or a number of windows", windows.wanted),
            words: windows.words,
            read: Box::new(move |value| match whole_number(value) {
                Some(n) => usize::try_from(n).ok().map(StageWindows::First),
                None => (windows.read)(value),
            }),
        };
        let arms = word(ArmSet::ALL.map(|set| (set.name(), StageArms::Named(set))));
        let name = self.required(table, "name", &name);
        let cells = self.required(table, "cells", &word(CellSet::ALL.map(|set| (set.name(), set))));
        let windows = self.required(table, "windows", &windows);
        let arms = match table.fields.get("arms").map(Spanned::get_ref) {
            Some(DeValue::Array(_)) => self.list(table, "arms", "a list", &arm()).map(StageArms::Listed),
            _ => self.required(table, "arms", &Kind { wanted: format!("{}, or a list of arms", arms.wanted), ..arms }),
        };
        let gate = self.optional(table, "gate", &word(GateName::ALL.map(|gate| (gate.name(), gate))));
        Some(PlanStage { name: name?, cells: cells?, windows: windows?, arms: arms?, gate })
    }

    fn only_known(&mut self, table: &Table<'t>, known: &[&'static str]) {
        for key in table.fields.keys().filter(|key| !known.contains(&key.get_ref().as_ref())) {
            let what = ProblemKind::UnknownKey {
                key: format!("{}{}", table.path, escape_short(key.get_ref().as_ref())),
                wanted: one_of(known),
                nearest: meant(key.get_ref(), known),
            };
            self.problems.push(PlanProblem { line: line_at(self.text, key.span().start), what });
        }
    }

    fn required<T>(&mut self, table: &Table<'t>, key: &str, kind: &Kind<'_, T>) -> Option<T> {
        if !table.fields.contains_key(key) {
            let what = ProblemKind::Missing { key: format!("{}{key}", table.path), wanted: kind.wanted.clone() };
            self.problems.push(PlanProblem { line: table.line, what });
        }
        self.optional(table, key, kind)
    }

    fn optional<T>(&mut self, table: &Table<'t>, key: &str, kind: &Kind<'_, T>) -> Option<T> {
        let value = table.fields.get(key)?;
        self.value(format!("{}{key}", table.path), value, kind)
    }

    fn list<T>(&mut self, table: &Table<'t>, key: &str, wanted: &str, kind: &Kind<'_, T>) -> Option<Vec<T>> {
        let (key, value) = (format!("{}{key}", table.path), table.fields.get(key)?);
        let DeValue::Array(items) = value.get_ref() else {
            self.wrong(&key, value, wanted, None);
            return None;
        };
        let of_item = |(index, item)| self.value(format!("{key}[{}]", index + 1), item, kind);
        let found: Vec<Option<T>> = items.iter().enumerate().map(of_item).collect();
        let found: Option<Vec<T>> = found.into_iter().collect();
        if found.is_some() {
            self.lines.insert(key, self.line(value));
        }
        found
    }

    fn table(&mut self, table: &Table<'t>, key: &str, wanted: &str) -> Option<Table<'t>> {
        let value = table.fields.get(key)?;
        match value.get_ref() {
            DeValue::Table(fields) => Some(Table { path: format!("{key}."), line: self.line(value), fields }),
            _ => {
                self.wrong(key, value, wanted, None);
                None
            }
        }
    }

    fn value<T>(&mut self, key: String, value: &Value<'t>, kind: &Kind<'_, T>) -> Option<T> {
        let read = (kind.read)(value.get_ref());
        match read {
            Some(_) => drop(self.lines.insert(key, self.line(value))),
            None => {
                let nearest = value.get_ref().as_str().and_then(|found| meant(found, &kind.words));
                self.wrong(&key, value, &kind.wanted, nearest);
            }
        }
        read
    }

    fn wrong(&mut self, key: &str, value: &Value<'t>, wanted: &str, nearest: Option<String>) {
        let typed = self.text.get(value.span()).unwrap_or_default();
        let what = ProblemKind::Wrong {
            key: key.into(),
            found: escape_short(typed.lines().next().unwrap_or_default()),
            wanted: wanted.into(),
            nearest,
        };
        self.problems.push(PlanProblem { line: self.line(value), what });
    }

    fn line(&self, value: &Value<'t>) -> usize {
        line_at(self.text, value.span().start)
    }
}
