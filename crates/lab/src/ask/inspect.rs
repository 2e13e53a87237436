//! The contents of files, the matches of selectors in a model, and the parts of schemes. These questions are about
//! names and tables, and need no values.

use super::AskError;
use files::Model;
use numerics::formats::{FORMATS, FormatInfo, Granularities};
use numerics::ggml::{GGML_FORMATS, GgmlFormat};
use record::answer::{
    ActivationMatches, GgmlScheme, InspectAnswer, SCHEMES_FORMAT, SELECTORS_FORMAT, SchemeFormat, SchemesAnswer,
    SelectorMatches, SelectorsAnswer,
};
use select::companion::companions;
use select::{ActivationRole, TargetRole, is_tied, n_layer};
use std::collections::BTreeMap;
use std::path::Path;

/// Everything in a file except the values of its tensors.
///
/// # Errors
/// When the file is not sound.
pub fn inspect(file: &Path) -> Result<InspectAnswer, AskError> {
    Ok(files::inspect::inspect(&Model::open_to_inspect(file)?))
}

/// What each role of the selector grammar matches in a model that could be quantized.
///
/// # Errors
/// When the file is not sound, or is big-endian.
pub fn selectors(file: &Path) -> Result<SelectorsAnswer, AskError> {
    let model = Model::open_to_rewrite(file)?;
    Ok(SelectorsAnswer {
        format: SELECTORS_FORMAT,
        model: model.name(),
        n_tensors: model.ids.len(),
        n_layer: n_layer(&model.ids),
        selectors: TargetRole::all().map(|role| matches_of(role, &model)).collect(),
        activations: ActivationRole::all().map(|role| nodes_of(role, &model)).collect(),
        tied: is_tied(&model.ids),
    })
}

fn matches_of(role: TargetRole, model: &Model) -> SelectorMatches {
    let mut matches = SelectorMatches {
        name: role.name().into(),
        meaning: role.meaning().into(),
        n_tensors: 0,
        n_values: 0,
        types: BTreeMap::new(),
    };
    let companions = companions(&model.ids);
    let is_chosen = |&index: &usize| {
        let id = &model.ids[index];
        role.holds(id) && !id.holds_no_weights() && companions.binary_search(&index).is_err()
    };
    for tensor in (0..model.ids.len()).filter(is_chosen).map(|index| &model.file.tensors()[index]) {
        matches.n_tensors += 1;
        matches.n_values = matches.n_values.saturating_add(tensor.n_elements());
        *matches.types.entry(tensor.ty.to_string()).or_default() += 1;
    }
    matches
}

fn nodes_of(role: ActivationRole, model: &Model) -> ActivationMatches {
    let shares_its_name = TargetRole::all().any(|target| target.name() == role.name());
    let name = if shares_its_name { format!("{}[where=activation]", role.name()) } else { role.name().to_owned() };
    ActivationMatches { name, meaning: role.meaning().into(), n_nodes: role.nodes(&model.ids).len() }
}

/// The number formats that schemes are made of.
pub fn schemes() -> SchemesAnswer {
    SchemesAnswer {
        format: SCHEMES_FORMAT,
        schemes: FORMATS.iter().map(scheme).collect(),
        ggml: GGML_FORMATS.iter().map(ggml_scheme).collect(),
    }
}

fn scheme(format: &FormatInfo) -> SchemeFormat {
    let granularity = match format.granularity() {
        Granularities::None => "none",
        Granularities::Default | Granularities::Optional => "optional",
        Granularities::Required => "required",
    };
    SchemeFormat {
        name: format.name.into(),
        family: format.family().name().into(),
        bits: format.bits(),
        example: format.example.into(),
        bits_per_weight: format.example_bits(),
        parameters: format.parameters(),
        granularity: granularity.into(),
        options: format.options().iter().map(|&option| option.to_owned()).collect(),
        rounding: format.rounding().into(),
        overflow: format.overflow().into(),
        source: format.source.into(),
    }
}

fn ggml_scheme(format: &GgmlFormat) -> GgmlScheme {
    let name = format.name.to_ascii_lowercase();
    GgmlScheme {
        name: format.name.into(),
        scheme: if format.bare { name } else { format!("ggml:{name}") },
        blck_size: format.blck_size,
        type_size: format.type_size,
        bits_per_weight: format.bits_per_weight(),
        imatrix: format.imatrix.name().into(),
    }
}
