//! From what a plan file says to a plan that can be run. It checks selectors, schemes, numbers and stages, and fills in
//! what the file leaves out.

use crate::plan::file::{PlanFileError, PlanProblem, ProblemKind, Typed, in_order};
use crate::plan::preset::PRESETS;
use crate::plan::stage::{self, Stage};
use crate::plan::{
    Corpus, DEFAULT_CHUNKS, DEFAULT_JITTER_SEEDS, DEFAULT_LAYER_CHUNKS, DEFAULT_N_CTX, MIN_JITTER_SEEDS, N_CTX, Plan,
};
use eval::EngineSettings;
use numerics::Scheme;
use record::Arm;
use record::plan::PlanStage;
use select::Selector;
use std::path::PathBuf;
use words::{count, escape_short, printable};

/// The longest name of a plan, in bytes.
const MAX_NAME_BYTES: usize = 64;

/// A number, a list or a stage of a plan that is out of range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutOfRange {
    /// The key of a plan file that states the value, such as `windows.chunks` or `stage[2].arms`.
    pub key: String,
    /// What the value is, in words.
    pub what: String,
    /// The value that was found.
    pub found: String,
    /// The values that are possible.
    pub wanted: String,
    /// What the user can do about it.
    pub hint: String,
}

/// The numbers, lists and stages of a plan.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Numbers<'a> {
    pub(crate) chunks: usize,
    pub(crate) layer_chunks: usize,
    pub(crate) arms: &'a [Arm],
    pub(crate) jitter_seeds: &'a [u64],
    pub(crate) stages: &'a [Stage],
}

impl Numbers<'_> {
    /// All values that are out of range.
    pub(crate) fn problems(&self) -> Vec<OutOfRange> {
        let mut problems = Vec::new();
        let mut wrong = |key: String, what: String, found: String, wanted: &str, hint: &str| {
            problems.push(OutOfRange { key, what, found, wanted: wanted.into(), hint: hint.into() });
        };
        for (key, n) in [("windows.chunks", self.chunks), ("windows.layer_chunks", self.layer_chunks)] {
            if n == 0 {
                let hint = "leave it out for the default";
                wrong(key.into(), "the number of windows".into(), "0".into(), "at least 1", hint);
            }
        }
        let is_twice = self.arms.len() > 1 && self.arms[0] == self.arms[1];
        if self.arms.is_empty() || is_twice || self.arms.len() > 2 {
            let (what, found) = ("the list of arms".to_string(), format!("{:?}", self.arms));
            wrong("arms".into(), what, found, "exact, native, or both", "leave it out for both");
        }
        let mut seeds = self.jitter_seeds.to_vec();
        seeds.sort_unstable();
        seeds.dedup();
        if seeds.len() < MIN_JITTER_SEEDS || seeds.len() != self.jitter_seeds.len() {
            let (what, found) = ("the list of jitter seeds".to_string(), format!("{:?}", self.jitter_seeds));
            let hint = "a floor needs several seeds: use 1,2,3";
            wrong("jitter_seeds".into(), what, found, "at least 3, all different", hint);
        }
        if self.stages.is_empty() {
            let (what, hint) = ("the number of stages".to_string(), "the first stage has the controls");
            wrong("stage".into(), what, "0".into(), "at least 1", hint);
        }
        for problem in stage::problems(self.stages, self.arms) {
            let key = format!("stage[{}].{}", problem.index + 1, problem.key);
            let what = format!("{} of stage {}", problem.key, problem.index + 1);
            wrong(key, what, problem.found, &problem.wanted, "the presets have stages that belong together");
        }
        problems
    }
}

/// The stages of a plan that states none. They are those of the first preset.
pub(crate) fn method() -> Vec<Stage> {
    let typed = PRESETS.first().map_or(Vec::new(), |preset| Typed::read(preset.text).file.stages);
    typed.into_iter().map(Stage::from).collect()
}

/// The stages as the identity of a run states them; empty where they are those of the presets.
pub(crate) fn unless_method(stages: &[Stage]) -> Vec<PlanStage> {
    if stages == method() { Vec::new() } else { stages.iter().cloned().map(PlanStage::from).collect() }
}

/// The plan that a file states, for these models and this text. Errors call the file `name`.
///
/// # Errors
/// When something is wrong with the file; the error has every problem at once.
pub(crate) fn resolve(
    text: &str,
    name: &str,
    models: Vec<PathBuf>,
    corpus: Corpus,
) -> Result<Plan, Box<PlanFileError>> {
    let typed = Typed::read(text);
    let mut check = Check { typed: &typed, problems: Vec::new() };
    let plan = check.plan(models, corpus);
    let Check { mut problems, .. } = check;
    problems.extend(typed.problems);
    match plan.filter(|_| problems.is_empty()) {
        Some(plan) => Ok(plan),
        None => Err(Box::new(in_order(name, problems))),
    }
}

/// Reads what a file says and collects its problems.
struct Check<'a> {
    typed: &'a Typed,
    problems: Vec<PlanProblem>,
}

impl Check<'_> {
    /// The plan; `None` where something that was reported is missing.
    fn plan(&mut self, models: Vec<PathBuf>, corpus: Corpus) -> Option<Plan> {
        let file = &self.typed.file;
        let in_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        let is_name = (1..=MAX_NAME_BYTES).contains(&file.name.len()) && file.name.chars().all(in_name);
        let wanted = format!("1 to {MAX_NAME_BYTES} ASCII letters, digits, '-' or '_'");
        self.require("name", is_name, &escape_short(&file.name), &wanted);
        for (key, text) in [("question", &file.question), ("hypothesis", &file.hypothesis)] {
            let is_line = !text.trim().is_empty() && printable(text) == **text;
            self.require(key, is_line, &escape_short(text), "one line of text without control characters");
        }

        let target = self.selector("target", &file.target);
        let parts = file.parts.iter().enumerate();
        let parts: Vec<Option<Selector>> =
            parts.map(|(index, part)| self.selector(&format!("parts[{}]", index + 1), part)).collect();
        let scheme = self.scheme("scheme", &file.scheme);
        let positive = match &file.positive {
            Some(positive) => self.scheme("positive", positive),
            None => scheme.as_ref().map(|scheme| Scheme::zero().with_nonfinite(scheme.nonfinite())),
        };

        let n_ctx = file.windows.ctx.unwrap_or(DEFAULT_N_CTX);
        let (least, most) = (count((*N_CTX.start()).into()), count((*N_CTX.end()).into()));
        let wanted = format!("a number of tokens from {least} to {most}");
        self.require("windows.ctx", N_CTX.contains(&n_ctx), &count(n_ctx.into()), &wanted);
        let chunks = file.windows.chunks.unwrap_or(DEFAULT_CHUNKS);
        let layer_chunks = file.windows.layer_chunks.unwrap_or(DEFAULT_LAYER_CHUNKS);
        let jitter_seeds = file.jitter_seeds.clone().unwrap_or(DEFAULT_JITTER_SEEDS.to_vec());
        let arms = file.arms.clone().unwrap_or(vec![Arm::Exact, Arm::Native]);
        let stages = match file.stages.as_slice() {
            [] => method(),
            stated => stated.iter().cloned().map(Stage::from).collect(),
        };
        let numbers = Numbers { chunks, layer_chunks, arms: &arms, jitter_seeds: &jitter_seeds, stages: &stages };
        for OutOfRange { key, found, wanted, .. } in numbers.problems() {
            self.require(&key, false, &found, &wanted);
        }

        Some(Plan {
            name: file.name.clone(),
            question: file.question.clone(),
            hypothesis: file.hypothesis.clone(),
            target: target?,
            parts: parts.into_iter().collect::<Option<_>>()?,
            scheme: scheme?,
            positive: positive?,
            models,
            corpus,
            chunks,
            layer_chunks,
            jitter_seeds,
            settings: EngineSettings::pinned(n_ctx),
            arms,
            stages,
            layers: None,
            allow_fallback: false,
            n_threads: 0,
            max_memory_bytes: None,
        })
    }

    /// Records a problem with a value that the file states. Defaults are sound, and what could not be read was
    /// reported.
    fn require(&mut self, key: &str, is_sound: bool, found: &str, wanted: &str) {
        if let Some(line) = self.typed.line_of(key).filter(|_| !is_sound) {
            let (key, found, wanted) = (key.into(), found.into(), wanted.into());
            self.problems.push(PlanProblem { line, what: ProblemKind::Wrong { key, found, wanted, nearest: None } });
        }
    }

    fn selector(&mut self, key: &str, text: &str) -> Option<Selector> {
        let line = self.typed.line_of(key)?;
        let keep = |source| ProblemKind::Selector { key: key.into(), source };
        text.parse().map_err(|source| self.problems.push(PlanProblem { line, what: keep(source) })).ok()
    }

    fn scheme(&mut self, key: &str, text: &str) -> Option<Scheme> {
        let line = self.typed.line_of(key)?;
        let keep = |source| ProblemKind::Scheme { key: key.into(), source };
        text.parse().map_err(|source| self.problems.push(PlanProblem { line, what: keep(source) })).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::file::{print, read};
    use record::plan::{CellSet, PlanFile, StageArms, StageWindows};
    use record::{CellExtent, StageName};

    fn corpus() -> Corpus {
        Corpus::new("built-in", "text")
    }

    fn resolved(text: &str) -> Result<Plan, Box<PlanFileError>> {
        resolve(text, "my.toml", vec!["m.gguf".into()], corpus())
    }

    /// The lines and words of every problem.
    fn problems(text: &str) -> Vec<(usize, String)> {
        let error = resolved(text).expect_err("it was accepted");
        error.problems.iter().map(|problem| (problem.line, problem.what.to_string())).collect()
    }

    const SHORT: &str = r#"format = 1
name = "short"
question = "Does it matter?"
hypothesis = "No."
target = "ffn_down"
scheme = "q4_0:nonfinite=keep"
"#;

    #[test]
    fn what_a_file_leaves_out_is_that_of_the_presets() {
        let plan = resolved(SHORT).expect("a plan");
        plan.check().expect("sound");
        let preset = Plan::preset("ffn-norm-bf16", vec!["m.gguf".into()], corpus()).expect("a preset");
        assert_eq!((plan.chunks, plan.layer_chunks), (preset.chunks, preset.layer_chunks));
        assert_eq!((&plan.jitter_seeds, &plan.arms), (&preset.jitter_seeds, &preset.arms));
        assert_eq!((&plan.stages, &plan.settings), (&preset.stages, &preset.settings));
        assert_eq!(plan.positive.to_string(), "zero:nonfinite=keep", "the control keeps what the question keeps");
    }

    #[test]
    fn every_preset_says_what_the_constants_of_the_first_release_said() {
        let presets = [
            (
                "ffn-norm-bf16",
                "Does it matter if the FFN norm weights are quantized to BF16?",
                "No: norm weights are few, close to BF16 already, and rounding them costs less than the noise of the \
                 kernels.",
                "ffn_norm",
                "bf16",
                &[][..],
            ),
            (
                "attention-int8",
                "Does it matter if the query, key and value projections are quantized to INT8 with one scale per row?",
                "Little: eight bits per weight with a scale per output channel cost far less than 0.01 nats of KLD.",
                "attn_q,attn_k,attn_v",
                "int8@row",
                &[],
            ),
            (
                "embedding-4bit",
                "Does it matter if the token embedding is quantized to INT4, as lookup, as head and as both?",
                "As lookup little, as head more: the head's errors reach every logit directly.",
                "token_embd[use=lookup],output[use=head]",
                "int4@block32",
                &["token_embd[use=lookup]", "output[use=head]"],
            ),
        ];
        assert_eq!(PRESETS.len(), presets.len());
        for (preset, (name, question, hypothesis, target, scheme, parts)) in PRESETS.iter().zip(presets) {
            let plan = Plan::preset(preset.name, vec!["m.gguf".into()], corpus()).expect(name);
            plan.check().expect(name);
            assert_eq!(
                (plan.name.as_str(), plan.question.as_str(), plan.hypothesis.as_str()),
                (name, question, hypothesis)
            );
            assert_eq!((plan.target.to_string().as_str(), plan.scheme.to_string().as_str()), (target, scheme));
            assert_eq!(plan.parts.iter().map(Selector::to_string).collect::<Vec<_>>(), parts);
            assert_eq!(plan.positive, Scheme::zero());
            assert_eq!((plan.chunks, plan.layer_chunks, plan.jitter_seeds), (16, 2, vec![1, 2, 3]));
            assert_eq!(plan.settings, EngineSettings::pinned(512));
            assert_eq!(plan.arms, [Arm::Exact, Arm::Native]);
            assert_eq!(plan.stages, method());
        }
    }

    #[test]
    fn the_stages_of_the_presets_imply_the_extents_of_their_cells() {
        assert!(unless_method(&method()).is_empty());
        for Stage { name, cells, .. } in method() {
            assert_eq!(cells.extent().unless_implied_by(&name), None, "{name}");
        }
        let mut own = method();
        own[4].name = StageName::of("everything");
        let stated = unless_method(&own);
        assert_eq!((stated.len(), stated[4].name.as_str()), (5, "everything"));
        assert_eq!(CellExtent::Part.unless_implied_by(&stated[4].name), Some(CellExtent::Part));
    }

    #[test]
    fn a_preset_that_is_printed_reads_as_the_same_plan() {
        for preset in PRESETS {
            let file = read(preset.text, preset.name).expect(preset.name);
            assert_eq!(file, toml::from_str::<PlanFile>(preset.text).expect(preset.name), "the two readers differ");
            let printed = print(&file).expect(preset.name);
            assert_eq!(read(&printed, "printed").expect(preset.name), file);
            assert_eq!(print(&read(&printed, "printed").expect(preset.name)).expect(preset.name), printed);
            assert_eq!(
                resolved(&printed).expect(preset.name),
                Plan::preset(preset.name, vec!["m.gguf".into()], corpus()).expect(preset.name)
            );
        }
    }

    #[test]
    fn stages_of_ones_own_are_read() {
        let text = format!(
            r#"{SHORT}
arms = ["native"]
[[stage]]
name = "before"
cells = "controls"
windows = 3
arms = "all"
gate = "controls-hold"
[[stage]]
name = "deep"
cells = "each-layer"
windows = "whole"
arms = ["native"]
"#
        );
        let plan = resolved(&text).expect("a plan");
        assert_eq!(plan.stages.len(), 2);
        assert_eq!((plan.stages[0].windows, plan.stages[0].cells), (StageWindows::First(3), CellSet::Controls));
        assert_eq!(plan.stages[1].arms, StageArms::Listed(vec![Arm::Native]));
        assert_eq!((plan.stages[1].name.as_str(), plan.stages[1].gate), ("deep", None));
    }

    #[test]
    fn every_problem_of_a_file_is_reported_at_once_with_its_line() {
        let text = r#"format = 1
name = "my plan"
question = "Does it\nmatter?"
hypotesis = "No."
target = "ffn_nrom[layers=]"
scheme = "bf61"
parts = ["attn_q", 3]
jitter_seeds = [1, 1, 2]
arms = ["exact", "nativ"]
windows.chunks = 0
windows.ctx = 4
windows.layerchunks = 2

[[stage]]
name = "controls"
cells = "control"
windows = "layer"
arms = "al"
gate = "controls-hold"

[[stage]]
name = "Deep"
cells = "each-layer"
windows = -1
gate = true
"#;
        let wanted: [(usize, &str); 18] = [
            (1, "hypothesis is missing, wanted what is expected"),
            (2, "name is my plan, wanted 1 to 64 ASCII letters"),
            (3, "question is Does it\\nmatter?, wanted one line of text"),
            (4, "hypotesis is not a key of a plan file, wanted format, name"),
            (5, "target: selector: "),
            (6, "scheme: scheme \"bf61\": unknown format"),
            (7, "parts[2] is 3, wanted a selector"),
            (8, "jitter_seeds is [1, 1, 2], wanted at least 3, all different"),
            (9, "arms[2] is \"nativ\", wanted exact or native; did you mean native?"),
            (10, "windows.chunks is 0, wanted at least 1"),
            (11, "windows.ctx is 4, wanted a number of tokens from 8 to 1,048,576"),
            (
                12,
                "windows.layerchunks is not a key of a plan file, wanted chunks, layer_chunks or ctx; did you mean layer_chunks?",
            ),
            (
                16,
                "stage[1].cells is \"control\", wanted controls, one-layer, each-layer, each-part or all; did you mean controls?",
            ),
            (18, "stage[1].arms is \"al\", wanted first or all, or a list of arms; did you mean all?"),
            (21, "stage[2].arms is missing, wanted first or all"),
            (22, "stage[2].name is \"Deep\", wanted a name of lower-case letters"),
            (24, "stage[2].windows is -1, wanted layer or whole, or a number of windows"),
            (25, "stage[2].gate is true, wanted controls-hold"),
        ];
        let found = problems(text);
        assert_eq!(found.len(), wanted.len(), "{found:#?}");
        for ((line, what), (wanted_line, words)) in found.iter().zip(wanted) {
            assert!(
                *line == wanted_line && what.starts_with(words),
                "line {line}: {what}\nwanted {wanted_line}: {words}"
            );
        }
        assert!(found[3].1.ends_with("; did you mean hypothesis?"), "{}", found[3].1);
        let said = resolved(text).expect_err("refused").to_string();
        assert!(said.starts_with("my.toml: line 1: hypothesis is missing"), "{said}");
        assert!(said.contains("\nmy.toml: line 25: stage[2].gate is true"), "{said}");
        assert!(toml::from_str::<PlanFile>(text).is_err());
    }

    #[test]
    fn stages_that_do_not_belong_together_are_refused_on_their_line() {
        let text =
            format!("{SHORT}\n[[stage]]\nname = \"a\"\ncells = \"all\"\nwindows = 0\narms = [\"exact\", \"exact\"]\n");
        let found = problems(&text);
        let lines: Vec<usize> = found.iter().map(|(line, _)| *line).collect();
        assert_eq!(lines, [10, 11, 12], "{found:#?}");
        assert!(found[0].1.contains("stage[1].cells is all, wanted controls"), "{}", found[0].1);
    }

    #[test]
    fn a_file_of_another_format_is_refused_for_that_alone() {
        for (format, found) in [("2", 2), ("0", 0)] {
            let text = format!("format = {format}\nnew_key = true\n");
            let wanted = format!("format is {found}, wanted 1: the file is for another version of assay");
            assert_eq!(problems(&text), [(1, wanted)]);
        }
        assert_eq!(problems("format = \"1\"\n")[0].1, "format is \"1\", wanted 1");
        assert!(problems("").iter().all(|(line, what)| *line == 1 && what.contains("is missing")));
    }

    #[test]
    fn text_that_is_not_toml_is_refused_with_its_line_and_the_rest_is_read() {
        let text = SHORT.replace("target = \"ffn_down\"", "target = ffn_down").replace("q4_0", "q4_00");
        let found = problems(&text);
        assert!(found.iter().any(|(line, _)| *line == 5), "{found:#?}");
        assert!(found.iter().any(|(line, what)| *line == 6 && what.starts_with("scheme: ")), "{found:#?}");
        assert!(!found.iter().any(|(_, what)| what.contains("is missing")), "{found:#?}");
        let twice = format!("{SHORT}scheme = \"bf16\"\n");
        assert_eq!(problems(&twice)[0].0, 7, "{:#?}", problems(&twice));
    }

    #[test]
    fn nothing_in_a_plan_file_can_steer_a_terminal() {
        let text = SHORT.replace("ffn_down", "\\u001b[31mred").replace("scheme", "\"\\u001b[31mscheme\"");
        let error = resolve(&text, "\u{1b}[31m.toml", vec![], corpus()).expect_err("refused").to_string();
        assert!(!error.contains('\u{1b}'), "{error:?}");
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in proptest::prelude::any::<String>()) {
            let _ = resolved(&text);
        }

        #[test]
        fn a_plan_file_with_a_line_left_out_is_read_or_refused(preset in 0..3usize, line in 0..60usize, with in "[ -~]{0,12}") {
            let text: Vec<&str> = PRESETS[preset].text.lines().collect();
            let mut text: Vec<&str> = text;
            let at = line % text.len();
            text[at] = &with;
            // The two readers agree on whether the file has the layout of a plan.
            let text = text.join("\n");
            let is_read = read(&text, "p").is_ok();
            let is_typed = toml::from_str::<PlanFile>(&text).is_ok();
            proptest::prop_assert!(is_typed || !is_read, "{}", text);
        }
    }
}
