//! One tensor's row of a census: what was found, as JSON has it.

use super::prediction::{Answer, Predicted};
use crate::json::finite_f64;
use gguf::TensorInfo;
use lab::Held;
use lab::tensor_values::ValuesError;
use lineage::{
    Axis, Distribution, Effective, Extent, Grid, ScaleClass, Search, StoredPrecision, TensorCensus, Under, Values,
    undecided,
};
use numerics::{BlockCodec, Scheme, TensorContext};
use serde::Serialize;

#[derive(Serialize)]
pub(super) struct Row {
    pub(super) name: String,
    #[serde(rename = "type")]
    pub(super) ty: &'static str,
    pub(super) n: u64,
    pub(super) effective: String,
    /// What a converter did: the constant it added, such as `1.0`, or `"-exp"`.
    pub(super) transform: Option<Transform>,
    /// The grid under the transform.
    pub(super) grid: Option<&'static str>,
    /// Values on `effective`.
    pub(super) on_grid: Option<u64>,
    #[serde(serialize_with = "finite_f64")]
    pub(super) evidence_bits: f64,
    pub(super) coverage: Coverage,
    /// `null` where the values were not looked at.
    pub(super) nonfinite: Option<u64>,
    pub(super) note: String,
    /// Questions about the origin that the values leave open, with the reason.
    pub(super) not_decidable: Vec<String>,
    /// The grid of blocks that the values lie on, if any.
    pub(super) blocks: Blocks,
    /// The scales of a quantized tensor are such as BF16 weights give; `null` where they cannot tell.
    pub(super) under_bf16: Option<bool>,
    /// `null` where no value is finite or none was looked at.
    pub(super) distribution: Option<Spread>,
    /// Rows of a coarser precision than the tensor.
    pub(super) row_note: Option<String>,
    /// Per scheme, in the order asked for.
    pub(super) predicted: Vec<Predicted>,
}

#[derive(Clone, Copy, Serialize)]
#[serde(untagged)]
pub(super) enum Transform {
    Plus(f32),
    Other(&'static str),
}

impl From<lineage::Transform> for Transform {
    fn from(transform: lineage::Transform) -> Self {
        match transform {
            lineage::Transform::Plus(offset) => Transform::Plus(offset.value),
            lineage::Transform::NegExp => Transform::Other("-exp"),
        }
    }
}

/// A search for a grid of blocks.
#[derive(Default, Serialize)]
pub(super) struct Blocks {
    /// `Q4_1-like`, `none found`, `not decidable`.
    pub(super) grid: String,
    /// What kind of grid; `null`, as all that follows, where none was found.
    pub(super) family: Option<&'static str>,
    /// Bits that name a level; `null` as well where not all values lie on the grid.
    pub(super) bits: Option<f64>,
    /// Share of the sampled blocks that lie on it, where the rest lie on none.
    pub(super) share: Option<f64>,
    /// Levels are counted from zero, not from each block's least value; of an integer lattice.
    symmetric: Option<bool>,
    /// Values that share a scale: a number of them, or `"line"` (a whole row or column) or `"tensor"`.
    block: Option<Block>,
    /// Along which they run: `"row"` or `"column"`.
    axis: Option<&'static str>,
    /// What the scales are: `"power of two"`, `"E4M3"`, `"BF16"`, `"F16"`, or `"any"`.
    scales: Option<&'static str>,
    /// Scales within 256 values are multiples of one in turn.
    super_blocks: Option<bool>,
    #[serde(serialize_with = "finite_f64")]
    pub(super) evidence_bits: f64,
    /// Values that went into the search.
    pub(super) sampled: u64,
    /// A coarser lattice shows inside.
    pub(super) requantized: bool,
    pub(super) note: String,
    /// The values could have shown a grid.
    #[serde(skip)]
    pub(super) could_tell: bool,
}

/// How many values share a scale.
#[derive(Serialize)]
#[serde(untagged)]
enum Block {
    Values(usize),
    All(&'static str),
}

impl From<Extent> for Block {
    fn from(extent: Extent) -> Self {
        match extent {
            Extent::Block(n) => Block::Values(n),
            Extent::Whole => Block::All("line"),
            Extent::Tensor => Block::All("tensor"),
        }
    }
}

impl Blocks {
    fn of(found: &Search) -> Self {
        let mut blocks = Blocks {
            grid: found.name(),
            bits: found.bits(),
            evidence_bits: found.evidence_bits(),
            sampled: found.sampled,
            note: found.note(),
            could_tell: !matches!(found.grid, Grid::NotDecidable(_)),
            ..Blocks::default()
        };
        match &found.grid {
            Grid::Lattice(lattice) => {
                blocks.lies("integer lattice", lattice.extent, lattice.axis);
                blocks.symmetric = Some(lattice.symmetric);
                blocks.super_blocks = Some(lattice.super_blocks);
                blocks.requantized = lattice.requantized.is_some();
                blocks.scales = Some(match lattice.scales {
                    ScaleClass::PowerOfTwo => "power of two",
                    ScaleClass::E4m3 => "E4M3",
                    ScaleClass::Bf16 => "BF16",
                    ScaleClass::F16 => "F16",
                    ScaleClass::Unknown => "any",
                });
            }
            Grid::Codebook(table) => blocks.lies("codebook", table.extent, table.axis),
            Grid::ScaledFloat(float) => {
                blocks.lies("small float", float.extent, float.axis);
                blocks.scales = Some("any");
            }
            Grid::SmallFloat(_) => {
                (blocks.family, blocks.scales) = (Some("small float"), Some("power of two"));
            }
            Grid::InPart(lattice) => {
                blocks.lies("integer lattice", lattice.extent, lattice.axis);
                blocks.symmetric = Some(lattice.symmetric);
                blocks.share = Some(lattice.blocks.hits as f64 / lattice.blocks.n as f64);
            }
            Grid::FewLevels(few) => blocks.lies("few levels", few.extent, few.axis),
            Grid::LowCardinality(few) => blocks.lies("low cardinality", few.extent, few.axis),
            Grid::NoneFound | Grid::NotDecidable(_) => {}
        }
        blocks
    }

    fn lies(&mut self, family: &'static str, extent: Extent, axis: Axis) {
        self.family = Some(family);
        self.block = Some(extent.into());
        self.axis = Some(match axis {
            Axis::Row => "row",
            Axis::Column => "column",
        });
    }

    /// A quantized tensor lies on its own grid, which is no news; only what lies inside that is.
    fn inside_storage(found: &Search) -> Self {
        match &found.grid {
            Grid::Lattice(lattice) if lattice.requantized.is_some() => Blocks::of(found),
            _ => Blocks { grid: "its own".into(), sampled: found.sampled, ..Blocks::default() },
        }
    }
}

/// How a tensor's values are spread.
#[derive(Serialize)]
pub(super) struct Spread {
    pub(super) min: f32,
    pub(super) max: f32,
    pub(super) absmax: f32,
    #[serde(serialize_with = "finite_f64")]
    pub(super) mean: f64,
    #[serde(serialize_with = "finite_f64")]
    pub(super) std: f64,
    #[serde(serialize_with = "finite_f64")]
    pub(super) kurtosis: f64,
    /// Share of values beyond six standard deviations.
    #[serde(serialize_with = "finite_f64")]
    pub(super) outlier_share: f64,
    pub(super) zeros: u64,
    pub(super) constant: bool,
    pub(super) rows: u64,
    pub(super) zero_rows: u64,
    pub(super) duplicate_rows: u64,
}

impl Spread {
    fn of(d: &Distribution, census: &TensorCensus) -> Self {
        Spread {
            min: d.min,
            max: d.max,
            absmax: d.absmax,
            mean: d.mean,
            std: d.std,
            kurtosis: d.kurtosis,
            outlier_share: d.outliers as f64 / d.n as f64,
            zeros: census.zeros,
            constant: census.constant,
            rows: d.rows,
            zero_rows: d.zero_rows,
            duplicate_rows: d.duplicate_rows,
        }
    }
}

#[derive(Serialize)]
pub(super) struct Coverage {
    /// Values looked at.
    pub(super) n: u64,
    /// They are all the tensor's values.
    pub(super) exact: bool,
}

/// One tensor: its census, and what each scheme would do to it.
pub(super) fn look_at(
    tensor: &TensorInfo,
    held: &mut Held,
    schemes: &[Scheme],
    codec: &dyn BlockCodec,
) -> Result<(Row, Vec<Answer>), ValuesError> {
    let mut row = Row {
        name: tensor.name.clone(),
        ty: tensor.ty.name(),
        n: tensor.n_elements(),
        effective: Effective::NotDecided.to_string(),
        transform: None,
        grid: None,
        on_grid: None,
        evidence_bits: 0.0,
        coverage: Coverage { n: 0, exact: false },
        nonfinite: None,
        note: String::new(),
        not_decidable: Vec::new(),
        blocks: Blocks { grid: "not decidable".into(), ..Blocks::default() },
        under_bf16: None,
        distribution: None,
        row_note: None,
        predicted: Vec::new(),
    };
    let Some(stored) = StoredPrecision::of_ggml_type(row.ty) else {
        let why = format!("{} is not looked at in this version", row.ty);
        row.note = format!("not decidable: {why}");
        row.not_decidable.push(why);
        let answers = schemes.iter().map(|_| Err(row.note.clone())).collect();
        return Ok((row, answers));
    };
    let n_per_row = tensor.n_per_row() as usize;
    let survey = match stored {
        // Values of two bytes are looked at where they lie.
        StoredPrecision::F16 => lineage::survey(Values::F16(held.bytes()), n_per_row),
        StoredPrecision::Bf16 => lineage::survey(Values::Bf16(held.bytes()), n_per_row),
        StoredPrecision::F32 | StoredPrecision::Quantized => {
            lineage::survey(Values::Restored(held.values(tensor, codec)?, stored), n_per_row)
        }
    };
    let (found, grid) = (&survey.census, &survey.search);
    row.fill(found);
    row.distribution = survey.distribution.map(|d| Spread::of(&d, found));
    match stored {
        StoredPrecision::Quantized => row.look_under(&lineage::under(row.ty, held.bytes()), grid),
        _ => row.add_grid(grid, found, survey.rows.note()),
    }
    if schemes.is_empty() {
        return Ok((row, Vec::new()));
    }
    let context = TensorContext { name: &tensor.name, n_per_row };
    let values = held.values(tensor, codec)?;
    let predict = |scheme| lineage::predict(scheme, values, &context, codec).map_err(|error| error.to_string());
    let answers = schemes.iter().map(predict).collect();
    Ok((row, answers))
}

impl Row {
    /// What the values are as far as it shows, in a word or two.
    pub(super) fn really(&self) -> String {
        match (self.grid, self.under_bf16) {
            (Some(_), _) => self.effective.clone(),
            (None, Some(true)) => "BF16 under it".into(),
            (None, Some(false)) => "none coarser shown".into(),
            (None, None) => "not decidable".into(),
        }
    }

    /// The precision of a float tensor's values, or the type of a quantized one.
    pub(super) fn kind(&self) -> String {
        if self.grid.is_some() { self.effective.clone() } else { self.ty.to_owned() }
    }

    fn fill(&mut self, found: &TensorCensus) {
        self.effective = found.effective.to_string();
        self.transform = found.transform.map(Transform::from);
        self.grid = match found.effective {
            Effective::F32 => Some("F32"),
            Effective::Tf32 => Some("TF32"),
            Effective::F16 => Some("F16"),
            Effective::Bf16 | Effective::Transformed(_) => Some("BF16"),
            Effective::NotDecided => None,
        };
        if let Some(why) = found.open() {
            (self.effective, self.grid) = (Effective::NotDecided.to_string(), None);
            self.not_decidable.push(format!("which float format the values are of: {why}"));
        }
        self.on_grid = self.grid.map(|_| found.on_grid);
        self.evidence_bits = found.evidence_bits;
        self.coverage = Coverage { n: found.n, exact: found.exact };
        self.nonfinite = Some(found.nonfinite);
        self.note = found.note();
    }

    /// What the blocks of a float tensor lie on, and rows that are coarser than the tensor.
    fn add_grid(&mut self, grid: &Search, census: &TensorCensus, row_note: Option<String>) {
        self.blocks = Blocks::of(grid);
        self.not_decidable.extend(undecided(census, grid).into_iter().map(|open| open.words().to_owned()));
        if let Grid::NotDecidable(why) = &grid.grid {
            self.not_decidable.push(format!("which grid of blocks the values lie on: {why}"));
        }
        if grid.is_found() {
            self.note = format!("stored {}, {}; as floats: {}", census.stored, grid.note(), self.note);
        }
        // Rows say nothing new where the whole tensor is on their grid.
        let effective_is_storage = matches!(
            (census.stored, census.effective),
            (StoredPrecision::F32, Effective::F32) | (StoredPrecision::F16, Effective::F16)
        );
        self.row_note = row_note.filter(|_| effective_is_storage);
        if let Some(note) = &self.row_note {
            self.note = format!("{}; {note}", self.note);
        }
    }

    /// What lies under the blocks of a quantized tensor.
    fn look_under(&mut self, under: &Under, grid: &Search) {
        self.blocks = Blocks::inside_storage(grid);
        self.under_bf16 = match under {
            Under::Bf16 { .. } => Some(true),
            Under::NotShown { .. } => Some(false),
            Under::NotDecidable(_) => None,
        };
        if let Under::NotDecidable(why) = under {
            self.not_decidable.push(format!("what lies under the blocks: {why}"));
        }
        self.note = format!("stored {}, {}", self.ty, under.note());
        if self.blocks.requantized {
            self.note = format!("{}; {}", self.note, self.blocks.note);
        }
    }
}
