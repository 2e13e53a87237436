//! One tensor of a census: what its values say, in the form of the answer.

use super::source::Source;
use crate::companion::Factors;
use crate::fallback;
use crate::pieces::{ValuesError, shown};
use gguf::TensorInfo;
use lineage::{
    Axis, BlockExtent, BlockGrid, Distribution, Effective, ScaleClass, Search, StoredPrecision, TensorCensus,
    Transform, Under, undecided,
};
use numerics::{FakeQuantError, Scheme};
use record::answer::{CensusBlock, CensusBlocks, CensusCoverage, CensusSpread, CensusTensor, CensusTransform};
use select::companion::companion_of;

/// What is not decidable about a weight whose factors are refused.
pub const VALUES_OF_THE_WEIGHT: &str = "what the values of the weight are";

/// What a scheme would change in a tensor, or why it does not fit.
pub(super) type Outcome = Result<lineage::Prediction, Unfit>;

/// What was found out about one tensor.
pub(super) struct Looked {
    /// The tensor in the form of the answer.
    pub(super) row: CensusTensor,
    /// The census of its values; `None` where they were not looked at.
    pub(super) census: Option<TensorCensus>,
    /// What each scheme would change.
    pub(super) predicted: Vec<Outcome>,
}

/// Why a scheme does not fit a tensor.
pub(super) enum Unfit {
    /// The scheme refuses the tensor.
    Refused {
        /// Why it does.
        source: FakeQuantError,
        /// The scheme that llama-quantize would fall back to, if that is another one.
        fallback: Option<String>,
    },
    /// The tensor has no values that can be examined, for the reason given.
    NotLookedAt(String),
}

/// Examines a tensor's values and what each scheme would change in them. With `allow_fallback`, a scheme whose blocks do
/// not divide the tensor's rows gives way to its fallback.
pub(super) fn look_at(
    tensor: &TensorInfo,
    source: &mut dyn Source,
    schemes: &[Scheme],
    allow_fallback: bool,
) -> Result<Looked, ValuesError> {
    let ty = tensor.ty.name();
    let mut row = CensusTensor {
        name: tensor.name.clone(),
        ty: ty.to_owned(),
        n: tensor.n_elements(),
        effective: Effective::NotDecided.to_string(),
        transform: None,
        grid: None,
        on_grid: None,
        evidence_bits: 0.0,
        coverage: CensusCoverage { n: 0, exact: false },
        nonfinite: None,
        note: String::new(),
        not_decidable: Vec::new(),
        blocks: CensusBlocks { grid: "not decidable".into(), ..CensusBlocks::default() },
        under_bf16: None,
        factors: (source.factors().is_some() || source.wrong_factors().is_some())
            .then(|| companion_of(&tensor.name))
            .flatten(),
        distribution: None,
        row_note: None,
        predicted: Vec::new(),
    };
    let Some(stored) = StoredPrecision::of_ggml_type(ty) else {
        let why = format!("{ty} is not looked at in this version");
        row.note = format!("not decidable: {why}");
        row.not_decidable.push(why);
        let predicted = schemes.iter().map(|_| Err(Unfit::NotLookedAt(row.note.clone()))).collect();
        return Ok(Looked { row, census: None, predicted });
    };
    room_for_rows(tensor)?;
    let survey = source.survey(stored)?;
    let (found, grid, census) = (&survey.census, &survey.search, Some(survey.census));
    add_census(&mut row, found);
    row.distribution = survey.distribution.map(|d| spread(&d, found));
    let wrong_factors = source.wrong_factors().map(ToString::to_string);
    let words = source.factors().map(Factors::words);
    if words.is_some() {
        row.distribution = source.effective_distribution()?.map(|d| spread(&d, found));
    }
    match stored {
        StoredPrecision::Quantized => add_under(&mut row, &source.under()?, grid),
        _ => add_grid(&mut row, grid, found, survey.rows.note()),
    }
    if let Some((factors, name)) = words.zip(row.factors.as_ref()) {
        row.note = format!("{}; the weight is these values {factors} ({name})", row.note);
    }
    if let Some(wrong) = wrong_factors {
        // What is said of the stored values stands. The weight's own are not known.
        row.distribution = None;
        row.note = format!("{}; the weight has no values: {wrong}", row.note);
        row.not_decidable.push(format!("{VALUES_OF_THE_WEIGHT}: {wrong}"));
        let predicted = schemes.iter().map(|_| Err(Unfit::NotLookedAt(wrong.clone()))).collect();
        return Ok(Looked { row, census, predicted });
    }
    if schemes.is_empty() {
        return Ok(Looked { row, census, predicted: Vec::new() });
    }
    let mut predict = |scheme: &Scheme| {
        let realised = fallback::scheme_for_rows(scheme, tensor.n_per_row());
        let tried = if allow_fallback { &realised } else { scheme };
        Ok(source.predict(tried)?.map_err(|source| {
            let fallback = (*tried != realised).then(|| realised.to_string());
            Unfit::Refused { source, fallback }
        }))
    };
    let predicted = schemes.iter().map(&mut predict).collect::<Result<_, ValuesError>>()?;
    Ok(Looked { row, census, predicted })
}

/// The precision of a float tensor's values, or the type of a quantized one.
pub(super) fn kind(row: &CensusTensor) -> String {
    if row.grid.is_some() { row.effective.clone() } else { row.ty.clone() }
}

/// The number of bytes that the survey keeps for each row.
const BYTES_OF_ROW: u64 = 32;

/// Checks that there is memory for what the survey keeps of each row. A hostile file can have rows of one value.
fn room_for_rows(tensor: &TensorInfo) -> Result<(), ValuesError> {
    let n_bytes = usize::try_from(tensor.n_rows().saturating_mul(BYTES_OF_ROW)).unwrap_or(usize::MAX);
    let memory = |_| ValuesError::Memory { tensor: shown(tensor), n: tensor.n_elements() };
    Vec::<u8>::new().try_reserve_exact(n_bytes).map_err(memory)
}

/// The values whose precision and grids are examined: those of a weight with factors are not its own.
fn examined(row: &CensusTensor) -> &'static str {
    if row.factors.is_some() { "the stored values" } else { "the values" }
}

/// Adds the census of the values as floats.
fn add_census(row: &mut CensusTensor, found: &TensorCensus) {
    row.effective = found.effective.to_string();
    row.transform = found.transform.map(|transform| match transform {
        Transform::Plus(offset) => CensusTransform::Plus(offset.value),
        Transform::NegExp => CensusTransform::Function("-exp".into()),
    });
    let grid = match found.effective {
        Effective::F32 => Some("F32"),
        Effective::Tf32 => Some("TF32"),
        Effective::F16 => Some("F16"),
        Effective::Bf16 | Effective::Transformed(_) => Some("BF16"),
        Effective::NotDecided => None,
    };
    row.grid = grid.map(str::to_owned);
    if let Some(why) = found.open() {
        (row.effective, row.grid) = (Effective::NotDecided.to_string(), None);
        row.not_decidable.push(format!("which float format {} are of: {why}", examined(row)));
    }
    row.on_grid = row.grid.as_ref().map(|_| found.on_grid);
    row.evidence_bits = found.evidence_bits;
    row.coverage = CensusCoverage { n: found.n, exact: found.exact };
    row.nonfinite = Some(found.nonfinite);
    row.note = found.note();
}

/// Adds the grid of blocks on which the values of a float tensor lie, and the rows that are coarser than the tensor.
fn add_grid(row: &mut CensusTensor, grid: &Search, census: &TensorCensus, row_note: Option<String>) {
    row.blocks = blocks(grid);
    row.not_decidable.extend(undecided(census, grid).into_iter().map(|open| open.words().to_owned()));
    if let BlockGrid::NotDecidable(why) = &grid.grid {
        row.not_decidable.push(format!("which grid of blocks {} lie on: {why}", examined(row)));
    }
    if grid.is_found() {
        row.note = format!("stored {}, {}; as floats: {}", census.stored, grid.note(), row.note);
    }
    // Rows add nothing where the whole tensor lies on their grid.
    let effective_is_storage = matches!(
        (census.stored, census.effective),
        (StoredPrecision::F32, Effective::F32) | (StoredPrecision::F16, Effective::F16)
    );
    row.row_note = row_note.filter(|_| effective_is_storage);
    if let Some(note) = &row.row_note {
        row.note = format!("{}; {note}", row.note);
    }
}

/// Adds what lies under the blocks of a quantized tensor: the precision or grid that its source had.
fn add_under(row: &mut CensusTensor, under: &Under, grid: &Search) {
    row.blocks = blocks_inside_storage(grid);
    row.under_bf16 = match under {
        Under::Bf16 { .. } => Some(true),
        Under::NotShown { .. } => Some(false),
        Under::NotDecidable(_) => None,
    };
    if let Under::NotDecidable(why) = under {
        row.not_decidable.push(format!("what lies under the blocks: {why}"));
    }
    row.note = format!("stored {}, {}", row.ty, under.note());
    if row.blocks.requantized {
        row.note = format!("{}; {}", row.note, row.blocks.note);
    }
}

/// The result of a search for a grid of blocks.
fn blocks(found: &Search) -> CensusBlocks {
    let mut blocks = CensusBlocks {
        grid: found.name(),
        bits: found.bits(),
        evidence_bits: found.evidence_bits(),
        sampled: found.sampled,
        note: found.note(),
        could_tell: !matches!(found.grid, BlockGrid::NotDecidable(_)),
        ..CensusBlocks::default()
    };
    let scales = match &found.grid {
        BlockGrid::Lattice(lattice) => {
            lies(&mut blocks, "integer lattice", lattice.extent, lattice.axis);
            blocks.symmetric = Some(lattice.symmetric);
            blocks.super_blocks = Some(lattice.super_blocks);
            blocks.requantized = lattice.requantized.is_some();
            Some(match lattice.scales {
                ScaleClass::PowerOfTwo => "power of two",
                ScaleClass::E4m3 => "E4M3",
                ScaleClass::Bf16 => "BF16",
                ScaleClass::F16 => "F16",
                ScaleClass::Unknown => "any",
            })
        }
        BlockGrid::Codebook(table) => {
            lies(&mut blocks, "codebook", table.extent, table.axis);
            None
        }
        BlockGrid::ScaledFloat(float) => {
            lies(&mut blocks, "small float", float.extent, float.axis);
            Some("any")
        }
        BlockGrid::SmallFloat(_) => {
            blocks.family = Some("small float".into());
            Some("power of two")
        }
        BlockGrid::InPart(lattice) => {
            lies(&mut blocks, "integer lattice", lattice.extent, lattice.axis);
            blocks.symmetric = Some(lattice.symmetric);
            blocks.share = Some(lattice.blocks.hits as f64 / lattice.blocks.n as f64);
            None
        }
        BlockGrid::FewLevels(few) => {
            lies(&mut blocks, "few levels", few.extent, few.axis);
            None
        }
        BlockGrid::LowCardinality(few) => {
            lies(&mut blocks, "low cardinality", few.extent, few.axis);
            None
        }
        BlockGrid::NoneFound | BlockGrid::NotDecidable(_) => None,
    };
    blocks.scales = scales.map(str::to_owned);
    blocks
}

/// Records the kind of grid and which values share a scale.
fn lies(blocks: &mut CensusBlocks, family: &str, extent: BlockExtent, axis: Axis) {
    blocks.family = Some(family.to_owned());
    blocks.block = Some(match extent {
        BlockExtent::Block(n) => CensusBlock::Values(n),
        BlockExtent::Whole => CensusBlock::All("line".into()),
        BlockExtent::Tensor => CensusBlock::All("tensor".into()),
    });
    let axis = match axis {
        Axis::Row => "row",
        Axis::Column => "column",
    };
    blocks.axis = Some(axis.into());
}

/// The grids inside the one in which a quantized tensor is stored. The storage grid itself is left out, since it is
/// known.
fn blocks_inside_storage(found: &Search) -> CensusBlocks {
    match &found.grid {
        BlockGrid::Lattice(lattice) if lattice.requantized.is_some() => blocks(found),
        _ => CensusBlocks { grid: "its own".into(), sampled: found.sampled, ..CensusBlocks::default() },
    }
}

/// How a tensor's values are spread.
fn spread(d: &Distribution, census: &TensorCensus) -> CensusSpread {
    CensusSpread {
        min: d.min,
        max: d.max,
        absmax: d.absmax,
        mean: d.mean,
        std: d.std,
        kurtosis: d.kurtosis,
        outlier_share: d.outliers as f64 / d.n as f64,
        zeros: census.zeros,
        // Experts whose factors differ make a constant tensor one of several values.
        constant: census.constant.is_some() && d.min == d.max,
        rows: d.rows,
        zero_rows: d.zero_rows,
        duplicate_rows: d.duplicate_rows,
    }
}
