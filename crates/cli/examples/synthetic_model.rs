//! Writes models made from a seed, for trying things out without a download.
//!
//!     synthetic_model small llama|gemma3|qwen2|gpt2|experts|mamba OUT [--seed N] [--tokenizer MODEL]
//!     synthetic_model classic tinyllama|llama-3.2|qwen2 FOLDER [--seed N] [--tokenizer MODEL]
//!
//! `classic` writes a file of the real one's name, tensors, types and extents into FOLDER, unless one is there, and prints its
//! path. Tokens are bytes unless a tokenizer is taken from another model.

use anyhow::{Result, bail};
use gguf::GgufFile;
use llama::GgmlCodec;
use std::path::{Path, PathBuf};
use synth::{Architecture, ClassicModel, SmallModel, Vocabulary};

fn main() -> Result<()> {
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    let mut option = |name: &str| -> Result<Option<String>> {
        let Some(at) = args.iter().position(|arg| arg == name) else { return Ok(None) };
        if at + 1 == args.len() {
            bail!("{name} needs a value");
        }
        args.remove(at);
        Ok(Some(args.remove(at)))
    };
    let seed: u64 = option("--seed")?.map_or(Ok(1), |seed| seed.parse())?;
    let tokenizer = match option("--tokenizer")? {
        Some(path) => Some(Vocabulary::of(&GgufFile::open(path)?)?),
        None => None,
    };
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words[..] {
        ["small", kind, out] => {
            let architecture = match kind {
                "llama" => Architecture::Llama,
                "gemma3" => Architecture::Gemma3,
                "qwen2" => Architecture::Qwen2,
                "gpt2" => Architecture::Gpt2,
                "experts" => Architecture::LlamaExperts,
                "mamba" => Architecture::Mamba,
                other => bail!("no small model is called {other:?}"),
            };
            let model = SmallModel { seed, ..SmallModel::new(architecture) };
            let vocabulary = tokenizer.unwrap_or_else(|| Vocabulary::bytes(true));
            model.recipe(&vocabulary).write(Path::new(out), &GgmlCodec, |_| {})?;
            println!("{out}");
        }
        ["classic", name, folder] => {
            let model = match name {
                "tinyllama" => ClassicModel::TinyLlama,
                "llama-3.2" => ClassicModel::Llama32,
                "qwen2" => ClassicModel::Qwen2,
                other => bail!("no classic model is called {other:?}"),
            };
            let path = PathBuf::from(folder).join(model.file_name());
            if !path.exists() {
                let recipe = model.recipe(seed, tokenizer)?;
                let of: u64 = recipe.tensors.iter().map(|t| t.spec.shape.iter().product::<u64>()).sum();
                let (mut done, mut said) = (0, 0);
                recipe.write(&path, &GgmlCodec, |n| {
                    done += n;
                    if done * 10 / of > said {
                        said = done * 10 / of;
                        eprintln!("{name}: {} % of {of} values", said * 10);
                    }
                })?;
            }
            println!("{}", path.display());
        }
        _ => bail!("usage: synthetic_model small KIND OUT | classic NAME FOLDER, with [--seed N] [--tokenizer MODEL]"),
    }
    Ok(())
}
