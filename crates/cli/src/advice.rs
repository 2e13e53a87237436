//! Advice in the words of the command line. This is the only place that names options in advice for other rooms.

use lab::ask::AskError;
use record::store::StoreError;
use std::fmt::Display;
use std::str::FromStr;
use words::{Advice, Hint, quoted};

/// The text of the advice, as it is printed after `hint: `.
pub fn words(hint: &Hint) -> String {
    match hint {
        Hint::Words(words) => words.to_string(),
        Hint::Bug => "this is a bug in assay; please report it".into(),
        Hint::CheckEngine => {
            "`assay doctor` checks the engine on this machine, and `assay inspect FILE` what the file asks of it".into()
        }
        Hint::NonfiniteTensors => "`assay census FILE` names the tensors with values that are not finite".into(),
        Hint::ReplaceOutput => "choose another name, or replace the file with --force".into(),
        Hint::SmallerFiles => "raise the limit with ulimit -f, or write smaller files with --split-max-size".into(),
        Hint::LargerFiles => "give a larger --split-max-size".into(),
        Hint::AllowFallback { ty } if ty == "f32" => {
            "--allow-fallback stores such tensors in f32; --carrier f32 stores every scheme exactly".into()
        }
        Hint::AllowFallback { ty } => {
            format!("--allow-fallback takes {ty} for such tensors, as llama-quantize would")
        }
        Hint::StoreExactly { own: true } => {
            "--carrier own stores each scheme in its own type; --force-carrier rounds the values twice".into()
        }
        Hint::StoreExactly { own: false } => "--carrier f32 stores every scheme exactly".into(),
        Hint::SkipCheck => "--no-check writes the file without opening it".into(),
        Hint::RaiseMemory { has_f32_weights: true } => {
            "the exact arm stores every weight in F32; --arm native leaves the model as shipped, and --max-memory raises \
             the limit"
                .into()
        }
        Hint::RaiseMemory { has_f32_weights: false } => {
            "take a shorter window with --ctx, a smaller model, or raise the limit with --max-memory".into()
        }
        Hint::NeedLessMemory { has_f32_weights: true } => {
            "the exact arm stores every weight in F32; --arm native leaves the model as shipped".into()
        }
        Hint::NeedLessMemory { has_f32_weights: false } => "take a shorter window with --ctx, or a smaller model".into(),
        Hint::LimitMemory => "--max-memory keeps a measurement within what there is".into(),
        Hint::LongerText => "give a longer text with --text, or a shorter window with --ctx".into(),
        Hint::LargerContext => "raise --ctx, or shorten the text".into(),
        Hint::OtherFolder { or: None } => "choose another folder with --out".into(),
        Hint::OtherFolder { or: Some(or) } => format!("choose another folder with --out, or {or}"),
        Hint::NameTemplate => "name one of them with --template".into(),
        Hint::ComputeOnCpu { has_backend: false } => {
            "build with --features cuda, metal or vulkan; leave --gpu-layers out to compute on the CPU".into()
        }
        Hint::ComputeOnCpu { has_backend: true } => "leave --gpu-layers out to compute on the CPU".into(),
        Hint::ShowMetadata { key } => format!("`assay inspect -v` shows the file's {key} in full"),
        Hint::MeasureInModel => "`assay eval --apply` measures them in the running model".into(),
        Hint::AddReferencePython => {
            "install numpy, ml_dtypes and gguf for the python3 on PATH, or name another with `assay verify --python`".into()
        }
        Hint::ListSchemes { near } if near.is_empty() => "`assay schemes` lists the options of each format".into(),
        Hint::ListSchemes { near } => format!("did you mean {}? `assay schemes` lists all", near.join(", ")),
        Hint::KeepNonfinite { apply } => format!(
            "`assay run --apply {} MODEL` leaves such values as they are; if they reach the logits, nothing can be measured",
            quoted(apply)
        ),
    }
}

/// The advice that comes with an error.
pub fn of(error: &impl Advice) -> Option<String> {
    error.hint().as_ref().map(words)
}

/// The advice that comes with an unanswered question. If the question itself lacks something, only this front knows
/// which option asks for it.
pub fn of_question(error: &AskError) -> Option<String> {
    Some(match error {
        AskError::NothingApplied(_) => "add one, for example --apply ffn_norm=bf16".into(),
        AskError::NoLayer { .. } => {
            "a sweep goes through the layers; `assay eval` measures tensors outside them".into()
        }
        AskError::NothingToTrace { .. } => "leave --trace out".into(),
        AskError::InsideTheRun { .. } => "choose a folder outside of it with --out".into(),
        AskError::NotARunFolder { .. } | AskError::Store(StoreError::NotARun { .. }) => {
            "name a folder that `assay run` wrote: it has a plan.lock.json".into()
        }
        // These commands only read the folder, so another one would not help.
        AskError::Store(StoreError::JournalBroken { .. } | StoreError::JournalMissing { .. }) => {
            "restore the file; nothing else shows what happened in the run".into()
        }
        AskError::Store(StoreError::LockMissing { .. }) => {
            "restore the file; nothing else says what the run measured".into()
        }
        AskError::KilledEarly { .. } => "the same `assay run` begins it again".into(),
        AskError::Unfinished { dir } => {
            format!("`assay status {dir}` says how far it is; the same `assay run` goes on with it")
        }
        other => return of(other),
    })
}

/// Parses the value of an option. The error text includes the advice.
pub fn parsed<T: FromStr<Err: Advice + Display>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|error: T::Err| match of(&error) {
        Some(hint) => format!("{error}\nhint: {hint}"),
        None => error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_is_named_as_this_front_names_it() {
        let or = Some("wait for it to end".into());
        assert_eq!(words(&Hint::OtherFolder { or }), "choose another folder with --out, or wait for it to end");
        assert_eq!(words(&Hint::OtherFolder { or: None }), "choose another folder with --out");
        let near = vec!["f16".into(), "fp8_e4m3".into()];
        assert_eq!(words(&Hint::ListSchemes { near }), "did you mean f16, fp8_e4m3? `assay schemes` lists all");
        let kept = words(&Hint::KeepNonfinite { apply: "ffn_norm=bf16:nonfinite=keep".into() });
        assert!(kept.starts_with("`assay run --apply 'ffn_norm=bf16:nonfinite=keep' MODEL` leaves"), "{kept}");
    }

    #[test]
    fn an_option_that_cannot_be_read_is_refused_with_advice() {
        let refused = parsed::<files::rewrite::FileCarrier>("q9").expect_err("no such type");
        assert!(
            refused.starts_with("carrier: found \"q9\"") && refused.contains("\nhint: for example q8_0"),
            "{refused}"
        );
    }
}
