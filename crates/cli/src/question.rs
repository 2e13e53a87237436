//! `--apply`, `--layers` and `--arm`: the question, as every command that measures takes it.

use crate::failure::Failure;
use lab::ask::VariantRequest;
use record::Arm;
use select::{Apply, LayerSet};
use std::path::Path;

/// What becomes of a model, and through which kernels.
#[derive(Debug, clap::Args)]
pub struct QuestionArgs {
    /// Quantize tensors in a scheme, such as ffn_norm=bf16, and compare with the untouched model (may be repeated)
    #[arg(long, value_name = "SEL=SCHEME")]
    pub apply: Vec<String>,
    /// Narrow every --apply to these layers, such as 0,3-5 or -1
    #[arg(long, value_name = "LAYERS", allow_hyphen_values = true)]
    pub layers: Option<String>,
    /// Kernels: exact stores every weight in F32, native runs the model as shipped
    #[arg(long, value_enum, default_value_t = ArmArg::Exact)]
    pub arm: ArmArg,
}

/// The value of `--arm`.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub enum ArmArg {
    /// Every weight is stored in F32.
    Exact,
    /// The model runs as shipped.
    Native,
}

impl ArmArg {
    /// The arm that is meant.
    pub fn arm(self) -> Arm {
        match self {
            ArmArg::Exact => Arm::Exact,
            ArmArg::Native => Arm::Native,
        }
    }
}

impl QuestionArgs {
    /// The question about this model, as far as it can be read without the model.
    pub fn about(&self, model: &Path) -> Result<VariantRequest, Failure> {
        Ok(VariantRequest {
            model: model.to_owned(),
            applies: self.apply.iter().map(|text| text.parse()).collect::<Result<Vec<Apply>, _>>()?,
            layers: self.layers.as_deref().map(LayerSet::parse).transpose()?,
            arm: self.arm.arm(),
        })
    }
}
