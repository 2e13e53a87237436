//! `--apply`, `--layers`, `--allow-fallback` and `--arm`: the question, with one meaning in every command.

use crate::failure::Failure;
use lab::ask::VariantRequest;
use record::Arm;
use select::{Apply, LayerSet};
use std::path::Path;

/// The options that say which tensors are quantized, and to what.
#[derive(Debug, clap::Args)]
pub struct ApplyArgs {
    /// Quantize these tensors to this scheme, such as ffn_norm=bf16 (may be repeated)
    #[arg(long, value_name = "SEL=SCHEME")]
    apply: Vec<String>,
    /// Quantize in these layers only, such as 0,3-5 or -1 for the last one
    #[arg(long, value_name = "LAYERS", allow_hyphen_values = true)]
    layers: Option<String>,
    /// Where the block size of a ggml type does not divide a tensor's rows, use the type that llama-quantize falls back to
    #[arg(long)]
    pub allow_fallback: bool,
}

/// The options that say what becomes of a model, and through which kernels it runs.
#[derive(Debug, clap::Args)]
pub struct QuestionArgs {
    #[command(flatten)]
    pub what: ApplyArgs,
    /// Kernels: exact computes with every weight in F32, native computes as the file is shipped
    #[arg(long, value_enum, default_value = "exact")]
    arm: Option<ArmArg>,
}

/// The value of `--arm`.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum ArmArg {
    Exact,
    Native,
}

impl ApplyArgs {
    /// What is applied, as typed; the layers are apart.
    pub fn applies(&self) -> Result<Vec<Apply>, Failure> {
        Ok(self.apply.iter().map(|text| text.parse()).collect::<Result<Vec<Apply>, _>>()?)
    }

    /// The layers that everything is narrowed to.
    pub fn layers(&self) -> Result<Option<LayerSet>, Failure> {
        Ok(self.layers.as_deref().map(LayerSet::parse).transpose()?)
    }
}

impl QuestionArgs {
    /// The arm that was named, or that the command has by default; `None` where it has none.
    pub fn arm(&self) -> Option<Arm> {
        self.arm.map(|arm| match arm {
            ArmArg::Exact => Arm::Exact,
            ArmArg::Native => Arm::Native,
        })
    }

    /// The question about this model, as far as it can be read without the model.
    pub fn about(&self, model: &Path) -> Result<VariantRequest, Failure> {
        Ok(VariantRequest {
            model: model.to_owned(),
            applies: self.what.applies()?,
            layers: self.what.layers()?,
            allow_fallback: self.what.allow_fallback,
            arm: self.arm().unwrap_or(Arm::Exact),
        })
    }
}
