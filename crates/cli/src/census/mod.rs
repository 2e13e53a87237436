//! `assay census MODEL`: what precision the weights really have, and what a scheme would change.

mod text;

use crate::advice;
use crate::failure::{Exit, Outcome};
use crate::output::Output;
use crate::progress::Progress;
use lab::ask::{self, CensusRequest};
use numerics::{BlockCodec, Scheme};
use std::path::PathBuf;

/// Arguments of `assay census`.
#[derive(Debug, clap::Args)]
pub struct CensusArgs {
    /// The GGUF file to look at; for a split model, any of its shards
    model: PathBuf,
    /// Look at these tensors only: a role such as ffn_norm, a name, or re:/REGEX/ (see `assay selectors MODEL`)
    #[arg(long, value_name = "SEL", default_value = "all")]
    target: String,
    /// Predict how many values this scheme would change, such as bf16 or int8@row (may be repeated)
    #[arg(long, value_name = "SCHEME")]
    against: Vec<String>,
    /// Where the block size of a ggml type does not divide a tensor's rows, use the type that llama-quantize falls back to
    #[arg(long, requires = "against")]
    allow_fallback: bool,
}

/// Runs `assay census`.
pub fn run(args: &CensusArgs, codec: &dyn BlockCodec, output: &Output) -> Outcome {
    let request = CensusRequest {
        file: args.model.clone(),
        target: args.target.parse()?,
        against: args.against.iter().map(|text| text.parse()).collect::<Result<Vec<Scheme>, _>>()?,
        allow_fallback: args.allow_fallback,
    };
    let mut progress = Progress::new("census", output.quiet());
    let mut answer = ask::census(&request, codec, &mut |done, total| progress.at(done, total))?;
    drop(progress);
    for refused in answer.predictions.iter_mut().flat_map(|prediction| &mut prediction.refused) {
        refused.hint = refused.advice.as_ref().map(advice::words);
    }
    output.answer(&answer, || text::text(&answer, output.verbose()))?;
    Ok(Exit::Done)
}
