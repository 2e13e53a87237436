//! `--apply`, `--layers` and `--arm`: a variant of a model as several subcommands take it, checked against the file.

use crate::failure::Failure;
use crate::model::Model;
use lab::protocol::{Arm, Base, Edit, Place, SchemeFilePath};
use lab::{Apply, LayerSet, SchemeFiles, scheme_files};
use llama::GgmlCodec;
use numerics::{Scheme, TensorShape};
use std::collections::BTreeSet;

/// Which variant.
#[derive(Debug, clap::Args)]
pub struct VariantArgs {
    /// Hold tensors in a scheme, such as ffn_norm=bf16, and compare with the untouched model (may be repeated)
    #[arg(long, value_name = "SEL=SCHEME")]
    pub apply: Vec<String>,
    /// Only these layers, such as 0,3-5 or -1
    #[arg(long, value_name = "LAYERS", requires = "apply", allow_hyphen_values = true)]
    pub layers: Option<String>,
    /// Kernels: exact holds every weight in F32, native runs the model as shipped
    #[arg(long, value_enum, default_value_t = ArmArg::Exact)]
    pub arm: ArmArg,
}

/// `--arm`.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub enum ArmArg {
    /// Every weight in F32.
    Exact,
    /// As shipped.
    Native,
}

impl ArmArg {
    /// The arm.
    pub fn arm(self) -> Arm {
        match self {
            ArmArg::Exact => Arm::Exact,
            ArmArg::Native => Arm::Native,
        }
    }
}

/// A variant, and the reference that it is compared with.
#[derive(Debug)]
pub struct Variant {
    /// As asked for, narrowed to the layers.
    pub applies: Vec<Apply>,
    /// What that is in this model; empty without `--apply`.
    pub edits: Vec<Edit>,
    /// Files that the schemes name, for the worker to read.
    pub files: Vec<SchemeFilePath>,
    /// The reference.
    pub base: Base,
    /// The whole matrix is edited, which is lookup table and head in one.
    pub both_uses: bool,
}

/// Said where a shared matrix is changed as a whole.
pub const BOTH_USES: &str =
    "token_embd.weight is the output head too: both uses change; token_embd[use=lookup] is one of them";

impl VariantArgs {
    /// The applications, before there is a model to find their tensors in. The files that they name are read.
    pub fn applies(&self, files: &mut SchemeFiles) -> Result<Vec<Apply>, Failure> {
        let layers = self.layers.as_deref().map(LayerSet::parse).transpose()?;
        let applies = self.apply.iter().map(|text| text.parse()).collect::<Result<Vec<Apply>, _>>()?;
        let applies = applies.iter().map(|apply| files.resolve(apply)).collect::<Result<Vec<_>, _>>()?;
        Ok(match &layers {
            Some(layers) => applies.iter().map(|apply| apply.narrowed(layers)).collect(),
            None => applies,
        })
    }
}

impl Variant {
    /// Finds the tensors and asks whether each can be held in its scheme.
    pub fn in_model(applies: Vec<Apply>, files: &SchemeFiles, arm: ArmArg, model: &Model) -> Result<Self, Failure> {
        let edits = lab::apply::edits(&applies, &model.ids).map_err(|error| model.refuses(error))?;
        let weight = |edit: &Edit| match edit.place {
            Place::Activation => None,
            _ => model.ids.iter().find(|id| id.name == edit.tensor),
        };
        for (edit, id) in edits.iter().filter_map(|edit| Some((edit, weight(edit)?))) {
            let scheme = files.known(&edit.scheme.parse::<Scheme>()?);
            let fits = scheme.fits(&id.name, TensorShape::of(&id.ne), &GgmlCodec);
            fits.map_err(|error| model.refuses(error))?;
        }
        // As in a run: the native reference holds in F32 what the variant does, so that a change of kernels
        // is not taken for the effect of the scheme.
        let base = match arm {
            ArmArg::Exact => Base { arm: Arm::Exact, carried: Vec::new() },
            ArmArg::Native => {
                let carried: BTreeSet<(&str, Place)> = edits
                    .iter()
                    .filter(|edit| weight(edit).is_some_and(|id| id.ty != "f32"))
                    .map(|edit| (edit.tensor.as_str(), edit.place))
                    .collect();
                Base::native(carried)
            }
        };
        let is_shared = |edit: &Edit| edit.place == Place::Weight && edit.tensor == "token_embd.weight";
        let both_uses = lab::is_tied(&model.ids) && edits.iter().any(is_shared);
        let files = scheme_files::paths(applies.iter().map(|apply| &apply.scheme));
        Ok(Variant { applies, edits, files, base, both_uses })
    }
}
