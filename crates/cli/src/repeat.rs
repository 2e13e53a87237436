//! The command that repeats a run.

use lab::Plan;
use lab::plan::{DEFAULT_JITTER_SEEDS, PRESETS};
use record::store::lock::RunIdentity;
use words::quoted;

/// The command that repeats a run on so many windows. Files stand without their folders, and a hash tells files of one name
/// apart.
pub fn command(plan: &Plan, identity: &RunIdentity, windows: usize) -> String {
    let mut words = vec!["assay".to_string(), "run".into()];
    words.extend(question(plan).iter().map(|word| quoted(word)));
    words.extend(identity.model_names().iter().map(|name| quoted(name)));
    let (n_ctx, layer_windows) = (plan.settings.n_ctx, plan.layer_chunks.min(windows));
    words.push(format!("--ctx {n_ctx} --chunks {windows} --layer-chunks {layer_windows}"));
    if plan.corpus.name != "built-in" {
        words.push(format!("--text {}", quoted(&plan.corpus.name)));
    }
    if plan.corpus.special {
        words.push("--special".into());
    }
    words.join(" ")
}

/// The words behind `assay run` that ask this again of the same models, text and windows.
fn question(plan: &Plan) -> Vec<String> {
    let mut words = match PRESETS.iter().any(|preset| preset.name == plan.name) {
        true => vec![plan.name.clone()],
        false => {
            let scheme = plan.scheme.with_file_shown(|name| file_name(name).to_owned());
            vec!["--apply".into(), format!("{}={scheme}", plan.target)]
        }
    };
    if let Some(layers) = &plan.layers {
        words.extend(["--layers".into(), layers.to_string()]);
    }
    if let [arm] = plan.arms.as_slice() {
        words.extend(["--arm".into(), arm.name().into()]);
    }
    if let Some(first) = plan.jitter_seeds.first().filter(|_| plan.jitter_seeds != DEFAULT_JITTER_SEEDS) {
        words.extend(["--seed".into(), first.to_string()]);
    }
    if plan.allow_fallback {
        words.push("--allow-fallback".into());
    }
    words
}

/// The name of a file without its folder.
fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use lab::Corpus;
    use record::Arm;
    use select::{Apply, LayerSet};

    fn corpus() -> Corpus {
        Corpus::new("built-in", String::new())
    }

    fn asked(apply: &str) -> Vec<String> {
        let apply: Apply = apply.parse().expect("an application");
        question(&Plan::asked(&apply, vec!["m.gguf".into()], corpus()))
    }

    #[test]
    fn a_question_of_ones_own_is_asked_again_with_files_without_folders() {
        assert_eq!(asked("ffn_norm=bf16:nonfinite=keep"), ["--apply", "ffn_norm=bf16:nonfinite=keep"]);
        let file = "attn_q=iq2_xs:imatrix=some/where/im.gguf";
        assert_eq!(asked(file), ["--apply", "attn_q=iq2_xs:imatrix=im.gguf"]);
    }

    #[test]
    fn what_narrows_a_preset_is_typed_again() {
        let mut plan = Plan::preset("attention-int8", vec!["m.gguf".into()], corpus()).expect("a preset");
        assert_eq!(question(&plan), ["attention-int8"]);
        plan.narrow(LayerSet::parse("0,3-5").expect("layers"));
        plan.seed(7);
        plan.arms = vec![Arm::Native];
        plan.allow_fallback = true;
        let typed = ["attention-int8", "--layers", "0,3-5", "--arm", "native", "--seed", "7", "--allow-fallback"];
        assert_eq!(question(&plan), typed);
    }
}
