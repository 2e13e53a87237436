//! A model as read from its file: its identity, its tensors, the census of the target, and what schemes would change.

use crate::plan::Plan;
use files::fallback;
use files::pieces::ValuesError;
use files::{Factors, Model, OpenError, SpecialTokens, TensorInMemory, side_by_side};
use gguf::{GgufError, GgufFile, Shard, TensorInfo};
use lineage::{StoredPrecision, TensorValues, Under};
use numerics::{BlockCodec, CodecError, FakeQuantError, Nonfinite, Scheme, TensorContext, TensorShape};
use record::store::lock::LockedModel;
use record::{CensusRow, Predicted, TensorPrecision};
use record::{Edit, EditPlace};
use select::ApplyError;
use select::Target;
use select::TensorId;
use select::selector::Selector;
use std::{
    collections::BTreeMap,
    fs::File,
    path::{Path, PathBuf},
};
use words::{Advice, Hint};

/// Why a model's file cannot be used for a plan.
#[derive(Debug, thiserror::Error)]
pub enum ModelFileError {
    /// The file is not sound, or no engine can score it.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The file's tensors cannot be read.
    #[error(transparent)]
    Gguf(Box<GgufError>),
    /// The file cannot be hashed.
    #[error("{}: cannot be read: {source}", .path.display())]
    Read {
        /// The path of the file.
        path: PathBuf,
        /// The error that the system gives.
        source: std::io::Error,
    },
    /// The plan's target cannot be used on the file.
    #[error("{}: {source}", .path.display())]
    Target {
        /// The path of the file.
        path: PathBuf,
        /// What is wrong with the target.
        source: Box<ApplyError>,
    },
    /// A stored tensor cannot be converted to numbers.
    #[error("{}: tensor {tensor:?}: {source}", .path.display())]
    Codec {
        /// The path of the file.
        path: PathBuf,
        /// The GGUF name of the tensor.
        tensor: String,
        /// Why the tensor cannot be converted.
        source: CodecError,
    },
    /// A value in the target is NaN or infinite.
    #[error("{}: tensor {tensor:?}: value {index} is {value}, wanted finite values", .path.display())]
    Nonfinite {
        /// The path of the file.
        path: PathBuf,
        /// The GGUF name of the tensor.
        tensor: String,
        /// The index of the first such value in the tensor.
        index: usize,
        /// The value at that index.
        value: f32,
        /// The same question, with such values left as they are.
        again: String,
    },
    /// A tensor's values cannot be read.
    #[error("{}: {source}", .path.display())]
    Values {
        /// The path of the file.
        path: PathBuf,
        /// Why the values cannot be read.
        source: Box<ValuesError>,
    },
    /// The scheme cannot quantize a tensor.
    #[error("{}: {source}", .path.display())]
    Scheme {
        /// The path of the file.
        path: PathBuf,
        /// Why the scheme does not fit.
        source: Box<FakeQuantError>,
        /// The scheme that fits the tensor's rows; `None` unless their length is the reason.
        fallback: Option<String>,
    },
}

impl Advice for ModelFileError {
    fn hint(&self) -> Option<Hint> {
        match self {
            ModelFileError::Open(error) => error.hint(),
            ModelFileError::Gguf(error) => error.hint(),
            ModelFileError::Read { .. } => None,
            ModelFileError::Target { source, .. } => source.hint(),
            ModelFileError::Codec { source, .. } => source.hint(),
            ModelFileError::Nonfinite { again, .. } => Some(Hint::KeepNonfinite { apply: again.clone() }),
            ModelFileError::Values { source, .. } => source.hint(),
            ModelFileError::Scheme { fallback: Some(ty), .. } => Some(Hint::AllowFallback { ty: ty.clone().into() }),
            ModelFileError::Scheme { source, .. } => source.hint(),
        }
    }
}

/// An open model file and the plan's target in it.
#[derive(Debug)]
pub struct ModelFile {
    /// The path of the file.
    pub path: PathBuf,
    /// The identity of the file, as the lock has it.
    pub locked: LockedModel,
    /// The value of `general.architecture`.
    pub arch: String,
    /// All tensors in file order.
    pub tensors: Vec<TensorId>,
    /// The number of tensors of each stored type, largest first.
    pub types: Vec<(String, usize)>,
    /// The targets of the plan: tensors, single uses of a tensor, or graph nodes.
    pub target: Vec<Target>,
    /// The plan's single parts, with the targets of each.
    pub parts: Vec<(Selector, Vec<Target>)>,
    gguf: GgufFile,
}

/// The target before anything ran. Graph nodes have no values yet, so nothing is predicted for them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Census {
    /// One row for each tensor in the target.
    pub rows: Vec<CensusRow>,
    /// The precision of every tensor of the model.
    pub precision: Vec<TensorPrecision>,
    /// The number of graph nodes in the target, whose values are computed.
    pub n_nodes: usize,
    /// The schemes that replace the question's where its blocks do not fit the rows, each with the number of tensors.
    pub fallbacks: Vec<(String, usize)>,
    by_scheme: BTreeMap<String, BTreeMap<String, Predicted>>,
}

impl Census {
    /// The changes that `scheme` is predicted to make to these tensors together; `None` where one is not a tensor of
    /// the file.
    pub fn predicted_of<'a>(&self, scheme: &str, edits: impl Iterator<Item = &'a Edit> + Clone) -> Option<Predicted> {
        let is_weight = edits.clone().all(|edit| edit.place != EditPlace::Activation);
        is_weight.then(|| self.predicted(scheme, edits.map(|edit| edit.tensor.as_str())))
    }

    fn predicted<'a>(&self, scheme: &str, tensors: impl Iterator<Item = &'a str>) -> Predicted {
        let by_tensor = self.by_scheme.get(scheme);
        Predicted::sum(tensors.filter_map(|tensor| by_tensor?.get(tensor)))
    }
}

impl From<GgufError> for ModelFileError {
    fn from(error: GgufError) -> Self {
        ModelFileError::Gguf(Box::new(error))
    }
}

impl ModelFile {
    /// Opens and hashes a file and finds the plan's target in it.
    ///
    /// # Errors
    /// When the file is not sound, cannot be scored, or the target is not in it.
    pub fn open(path: &Path, plan: &Plan) -> Result<ModelFile, ModelFileError> {
        let Model { file: gguf, ids: tensors } = Model::open_to_score(path)?;
        let targets = |selector: &Selector| {
            let chosen = selector.targets(&tensors).map(|found| found.targets);
            chosen.map_err(|error| ModelFileError::Target { path: path.into(), source: Box::new(error.into()) })
        };
        let target = targets(&plan.target)?;
        let parts = plan
            .parts
            .iter()
            .map(|part| Ok((part.clone(), targets(part)?)))
            .collect::<Result<Vec<_>, ModelFileError>>()?;
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        tensors.iter().for_each(|tensor| *counts.entry(&tensor.ty).or_default() += 1);
        let mut types: Vec<(String, usize)> = counts.into_iter().map(|(ty, n)| (ty.to_string(), n)).collect();
        types.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
        // For a split model this is the first file, whichever was named, because the engine does not open any other.
        let path = gguf.path().to_path_buf();
        let locked = LockedModel {
            name: path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned()),
            file_blake3: hash_files(&gguf)?,
            file_bytes: gguf.file_bytes(),
        };
        let arch = gguf.architecture().unwrap_or_default().to_string();
        Ok(ModelFile { path, locked, arch, types, target, parts, tensors, gguf })
    }

    /// The special tokens of the model's vocabulary.
    pub fn special_tokens(&self) -> SpecialTokens {
        SpecialTokens::of(&self.gguf)
    }

    /// The hash of the file as it is now.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn rehash(&self) -> Result<String, ModelFileError> {
        hash_files(&self.gguf)
    }

    /// Reads the target's values: what precision they really have, and what each scheme of the plan would change.
    ///
    /// # Errors
    /// When a tensor cannot be read, restored, or quantized by a scheme.
    pub fn census(&self, plan: &Plan, codec: &dyn BlockCodec) -> Result<Census, ModelFileError> {
        let mut schemes = vec![plan.scheme.clone(), plan.positive.clone(), Scheme::identity()];
        schemes.extend(plan.jitter_seeds.iter().map(|&seed| plan.jitter(seed)));
        let question = plan.scheme.to_string();

        let mut census = Census::default();
        let mut nodes = 0;
        let mut fallbacks: BTreeMap<String, usize> = BTreeMap::new();
        for target in &self.target {
            let Target::Weight(index, _) = *target else {
                nodes += 1;
                continue;
            };
            let tensor = &self.gguf.tensors()[index];
            let mut values = self.values(tensor, codec)?;
            let stored = StoredPrecision::of_ggml_type(tensor.ty.name()).unwrap_or(StoredPrecision::Quantized);
            let found = lineage::census(&values, stored);
            // The schemes quantize the weight that the model has; its precision is that of the stored values.
            if let Some(factors) = Factors::of(&self.gguf, tensor).map_err(|error| self.unreadable(error))? {
                factors.multiply(0, &mut values);
            }
            let context = TensorContext { name: &tensor.name, n_per_row: tensor.n_per_row() as usize };
            let refused = |source| match source {
                FakeQuantError::Nonfinite { tensor, index, value } => {
                    let again = format!("{}={}", plan.target, plan.scheme.clone().with_nonfinite(Nonfinite::Keep));
                    ModelFileError::Nonfinite { path: self.path.clone(), tensor, index, value, again }
                }
                source => {
                    let fallback = fallback::scheme_for_rows(&plan.scheme, tensor.n_per_row());
                    let fallback = (fallback != plan.scheme).then(|| fallback.to_string());
                    ModelFileError::Scheme { path: self.path.clone(), source: Box::new(source), fallback }
                }
            };
            let realised = plan.realised(&plan.scheme, tensor.n_per_row());
            realised.importance(&tensor.name, TensorShape::of(tensor.shape())).map_err(refused)?;
            if let Some(missing) = realised.no_importance(&tensor.name) {
                // The verdict of a run is about one scheme.
                return Err(refused(missing));
            }
            for scheme in &schemes {
                let realised = plan.realised(scheme, tensor.n_per_row());
                let prediction = lineage::predict(&realised, &values, &context, codec).map_err(refused)?;
                census
                    .by_scheme
                    .entry(scheme.to_string())
                    .or_default()
                    .insert(tensor.name.clone(), files::census::predicted(prediction));
            }
            let mut note = found.note();
            if realised != plan.scheme {
                *fallbacks.entry(realised.to_string()).or_default() += 1;
                let separator = if note.is_empty() { "" } else { "; " };
                note += &format!("{separator}{realised} stands in for {question}");
            }
            census.rows.push(CensusRow {
                name: tensor.name.clone(),
                ty: tensor.ty.name().into(),
                n: found.n,
                effective: found.effective.to_string(),
                evidence_bits: found.evidence_bits,
                on_grid: found.on_grid,
                predicted: Some(census.predicted(&question, std::iter::once(tensor.name.as_str()))),
                note,
            });
        }
        census.precision = self.precision(codec)?;
        census.n_nodes = nodes;
        census.fallbacks = fallbacks.into_iter().collect();
        Ok(census)
    }

    /// How fine the values of every tensor really are. For quantized tensors, the storage and the scales decide. For
    /// float tensors, each value counts.
    ///
    /// # Errors
    /// When a tensor cannot be read.
    pub fn precision(&self, codec: &dyn BlockCodec) -> Result<Vec<TensorPrecision>, ModelFileError> {
        let companions = select::companion::companions(&self.tensors);
        let is_weight = |i: &usize| !self.tensors[*i].holds_no_weights() && companions.binary_search(i).is_err();
        let weights: Vec<usize> = (0..self.tensors.len()).filter(is_weight).collect();
        let look = |index: usize, held: &mut TensorInMemory| {
            let (id, tensor) = (&self.tensors[index], &self.gguf.tensors()[index]);
            let (bits, what) = how_fine(tensor, held, codec)?;
            let (name, role) = (id.name.clone(), id.role());
            Ok(TensorPrecision { name, layer: id.layer(), role, n: tensor.n_elements(), bits, what })
        };
        side_by_side(&self.gguf, &weights, look, |_| {}).map_err(|error| self.unreadable(error))
    }

    /// The error of a tensor whose values cannot be read.
    fn unreadable(&self, error: ValuesError) -> ModelFileError {
        match error {
            ValuesError::Gguf(error) => ModelFileError::Gguf(error),
            error => ModelFileError::Values { path: self.path.clone(), source: Box::new(error) },
        }
    }

    fn values(&self, tensor: &TensorInfo, codec: &dyn BlockCodec) -> Result<Vec<f32>, ModelFileError> {
        let bytes = self.gguf.read_tensor(tensor)?;
        let mut values = vec![0.0; tensor.n_elements() as usize];
        codec.dequantize(tensor.ty.name(), &bytes, &mut values).map_err(|source| ModelFileError::Codec {
            path: self.path.clone(),
            tensor: tensor.name.clone(),
            source,
        })?;
        Ok(values)
    }
}

/// The effective bits of one tensor, and its precision in words.
fn how_fine(
    tensor: &TensorInfo,
    held: &mut TensorInMemory,
    codec: &dyn BlockCodec,
) -> Result<(f64, String), ValuesError> {
    let (ty, n_per_row) = (tensor.ty.name(), tensor.n_per_row() as usize);
    let stored_bits = tensor.ty.bits_per_weight();
    let survey = match StoredPrecision::of_ggml_type(ty) {
        Some(StoredPrecision::F16) => lineage::survey(TensorValues::F16(held.bytes()), n_per_row),
        Some(StoredPrecision::Bf16) => lineage::survey(TensorValues::Bf16(held.bytes()), n_per_row),
        Some(stored @ StoredPrecision::F32) => {
            lineage::survey(TensorValues::Restored(held.values(tensor, codec)?, stored), n_per_row)
        }
        Some(StoredPrecision::Quantized) => {
            return Ok(match lineage::under(ty, held.bytes()) {
                Under::Bf16 { .. } => (stored_bits, format!("{ty}, BF16 under it")),
                Under::NotShown { .. } | Under::NotDecidable(_) => (stored_bits, ty.into()),
            });
        }
        None => return Ok((stored_bits, ty.into())),
    };
    let effective = survey.census.effective.to_string();
    let what = match survey.search.is_found() {
        true => format!("{ty} on a grid: {}", survey.search.name()),
        false if effective.eq_ignore_ascii_case(ty) => ty.into(),
        false => format!("{ty}, effectively {effective}"),
    };
    Ok((survey.effective_bits().unwrap_or(stored_bits), what))
}

/// The BLAKE3 hash over the files of a model as they are now, one after the other.
fn hash_files(gguf: &GgufFile) -> Result<String, ModelFileError> {
    let mut hasher = blake3::Hasher::new();
    for path in gguf.shards().iter().map(Shard::path) {
        let io = |source| ModelFileError::Read { path: path.into(), source };
        hasher.update_reader(File::open(path).map_err(io)?).map_err(io)?;
    }
    Ok(hasher.finalize().to_hex().to_string())
}
