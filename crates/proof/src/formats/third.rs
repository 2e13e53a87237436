//! numpy and ml_dtypes as the third implementation of a scheme: what they are asked, and where they may differ from assay.

use crate::check::{Check, Tally};
use crate::python::Python;
use numerics::{Clip, ExMy, Format, Granularity, Rounding, RoundingMode, ScaleFormat, Scheme, Symmetry};
use std::sync::{Mutex, PoisonError};

/// The dtypes of ml_dtypes and numpy by scheme. A dtype that ends in `uz` has no negative zero.
const DTYPES: &[(&str, &str)] = &[
    ("fp4_e2m1", "float4_e2m1fn"),
    ("fp6_e2m3", "float6_e2m3fn"),
    ("fp6_e3m2", "float6_e3m2fn"),
    ("fp8_e4m3", "float8_e4m3fn"),
    ("fp8_e5m2", "float8_e5m2"),
    ("e4m3", "float8_e4m3"),
    ("e3m4", "float8_e3m4"),
    ("e4m3:finite:bias=11", "float8_e4m3b11fnuz"),
    ("f16", "float16"),
    ("bf16", "bfloat16"),
    ("mxfp4", "float4_e2m1fn"),
    ("mxfp6_e2m3", "float6_e2m3fn"),
    ("mxfp6_e3m2", "float6_e3m2fn"),
    ("mxfp8_e4m3", "float8_e4m3fn"),
    ("mxfp8_e5m2", "float8_e5m2"),
    ("mxint8", "int8"),
];

const NEAREST: RoundingMode = RoundingMode::Value(Rounding::Rne);
const TOWARDS_ZERO: RoundingMode = RoundingMode::Value(Rounding::Trunc);

/// The dtype of a float format, where they have it.
fn dtype_of(float: ExMy) -> Option<&'static str> {
    let is = |name: &str| {
        let format = name.parse::<Scheme>().map(|scheme| scheme.format());
        matches!(format, Ok(Format::Minifloat { exmy, .. }) if exmy == float)
    };
    DTYPES.iter().find(|(name, _)| is(name)).map(|(_, dtype)| *dtype)
}

/// How the script spells a rounding under a scale; `None` where it does not have it.
fn suffix(rounding: RoundingMode) -> Option<&'static str> {
    match rounding {
        NEAREST => Some(""),
        TOWARDS_ZERO => Some(":trunc"),
        _ => None,
    }
}

/// A question to Python about a scheme.
#[derive(Clone, Debug)]
pub(crate) struct NumpyQuestion<'s> {
    scheme: &'s Scheme,
    /// The format, as scripts/hold-with-numpy.py spells it.
    kind: String,
    /// The number of values in a row.
    n_per_row: usize,
    /// The number of values that share a scale; the last block of a row may be shorter.
    n_per_block: usize,
}

impl<'s> NumpyQuestion<'s> {
    /// The question about a scheme; `None` where numpy and ml_dtypes do not have it.
    pub(crate) fn of(scheme: &'s Scheme, n_per_row: usize) -> Option<NumpyQuestion<'s>> {
        let text = scheme.to_string();
        let of_name = || DTYPES.iter().find(|(name, _)| *name == text).map(|(_, dtype)| *dtype);
        let plain = scheme.scale() == ScaleFormat::F32 && scheme.clip() == Clip::Absmax;
        let n_per_scale = || match scheme.granularity()? {
            Granularity::Row => Some(n_per_row),
            Granularity::Block(n) => Some(n.get() as usize),
            _ => None,
        };
        let (kind, n_per_block) = match scheme.format() {
            Format::Minifloat { exmy, rounding: NEAREST } if scheme.granularity().is_none() => {
                (format!("cast:{}", dtype_of(exmy)?), 1)
            }
            Format::Minifloat { exmy, rounding } if plain => {
                (format!("float:{}:{}{}", dtype_of(exmy)?, n_per_scale()?, suffix(rounding)?), n_per_scale()?)
            }
            Format::Int { bits, symmetry: Symmetry::Sym, rounding } if plain => {
                (format!("int:{bits}:{}{}", n_per_scale()?, suffix(rounding)?), n_per_scale()?)
            }
            Format::Mx { .. } => (format!("mx:{}", of_name()?), 32),
            Format::Nvfp4 { rounding: NEAREST } => ("nvfp4".to_owned(), 16),
            _ => return None,
        };
        Some(NumpyQuestion { scheme, kind, n_per_row, n_per_block })
    }

    /// Asks what `values` become. Short blocks are filled up with zeros, which change no scale.
    ///
    /// # Errors
    /// In words, when Python cannot or is gone.
    pub(crate) fn ask(&self, python: &mut Python, values: &[f32]) -> Result<Vec<f32>, String> {
        if self.n_per_row.is_multiple_of(self.n_per_block) {
            return python.floats(&self.kind, values);
        }
        let whole = self.n_per_row.next_multiple_of(self.n_per_block);
        let filled = |row: &[f32]| row.iter().copied().chain([0.0].into_iter().cycle()).take(whole).collect::<Vec<_>>();
        let filled: Vec<f32> = values.chunks(self.n_per_row).flat_map(filled).collect();
        let held = python.floats(&self.kind, &filled)?;
        Ok(held.chunks(whole).flat_map(|row| &row[..self.n_per_row.min(row.len())]).copied().collect())
    }

    /// Compares `ours` with `theirs`, both made of `values`.
    pub(crate) fn compare(&self, values: &[f32], ours: &[f32], theirs: &[f32], tally: &mut Tally) {
        let scheme = self.scheme;
        tally.hold(ours.len() == theirs.len(), || {
            format!("{scheme}: {} values from Python, wanted {}", theirs.len(), ours.len())
        });
        let top = match scheme.format() {
            Format::Minifloat { exmy, .. } if scheme.granularity().is_none() => Some(exmy.largest()),
            _ => None,
        };
        // The sign of a zero is left open by formats with scales, and the `uz` types have one zero.
        let zero_has_a_sign = top.is_some() && !self.kind.ends_with("uz");
        for (i, ((&x, a), b)) in values.iter().zip(ours).zip(theirs).enumerate() {
            let zeros = !zero_has_a_sign && *a == 0.0 && *b == 0.0;
            // ml_dtypes overflows to NaN where there is no infinity; assay keeps the largest value, as the table says.
            let is_held = || b.is_nan() && top.is_some_and(|top| *a == top.copysign(x) && x.abs() > top);
            let agrees = a.to_bits() == b.to_bits() || zeros || is_held() || self.parts_at_a_tie(values, i, *a, *b);
            tally.hold(agrees, || format!("{scheme}: {x:e} became {a:e}, by Python {b:e}"));
        }
    }

    /// Whether value `i` lies next to a tie and differs by one step. numpy takes an integer's quotient in F64 and assay, by
    /// the definition, in F32: there they may differ.
    fn parts_at_a_tie(&self, values: &[f32], i: usize, a: f32, b: f32) -> bool {
        let Format::Int { bits, rounding: NEAREST, .. } = self.scheme.format() else { return false };
        let row = i / self.n_per_row * self.n_per_row;
        let from = row + (i - row) / self.n_per_block * self.n_per_block;
        let until = (from + self.n_per_block).min(row + self.n_per_row).min(values.len());
        let absmax = values[from..until].iter().fold(0.0f32, |m, x| m.max(x.abs()));
        let qmax = f64::from((1u32 << (bits - 1)) - 1);
        let step = f64::from(absmax / qmax as f32);
        let steps = f64::from(values[i]) / step;
        let one_step = (f64::from(a) - f64::from(b)).abs() <= 1.01 * step;
        (steps.abs().fract() - 0.5).abs() <= qmax * f64::from(f32::EPSILON) && one_step
    }
}

/// A Python that threads share, or the reason why there is none.
pub(super) struct Shared<'p>(Mutex<Result<&'p mut Python, String>>);

impl<'p> Shared<'p> {
    pub(super) fn new(python: Option<&'p mut Python>) -> Shared<'p> {
        Shared(Mutex::new(python.ok_or_else(|| "no Python".to_owned())))
    }

    /// Compares values without a scale with Python's. After an error nothing more is asked.
    pub(super) fn compare(&self, scheme: &Scheme, values: &[f32], ours: &[f32], tally: &mut Tally) {
        let answer = |python: &mut Python| {
            let question = NumpyQuestion::of(scheme, 1).ok_or_else(|| format!("they do not have {scheme}"))?;
            Ok((question.ask(python, values)?, question))
        };
        let mut python = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = match &mut *python {
            Ok(python) => answer(python),
            Err(_) => return,
        };
        match answer {
            Ok((theirs, question)) => {
                drop(python);
                question.compare(values, ours, &theirs, tally);
            }
            Err(why) => *python = Err(why),
        }
    }

    /// Adds to `check` whether Python took part.
    pub(super) fn tell(self, mut check: Check) -> Check {
        match self.0.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Ok(python) => check.compared.push(format!("{}, ties to even", python.name("ml_dtypes"))),
            Err(why) => check.not_compared.push(format!("numpy and ml_dtypes: {why}")),
        }
        check
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{Area, Status};

    fn compared(scheme: &str, values: &[f32], ours: &[f32], theirs: &[f32]) -> Status {
        let scheme: Scheme = scheme.parse().expect(scheme);
        let question = NumpyQuestion::of(&scheme, values.len()).expect("they have it");
        let mut tally = Tally::default();
        question.compare(values, ours, theirs, &mut tally);
        tally.check(Area::Formats, "compared", &[]).status
    }

    #[test]
    fn only_the_documented_disagreements_are_allowed_for() {
        // Beyond the largest value: NaN for 448, and for nothing else.
        assert_eq!(compared("fp8_e4m3", &[1000.0], &[448.0], &[f32::NAN]), Status::Passed);
        assert_eq!(compared("fp8_e4m3", &[1000.0], &[416.0], &[f32::NAN]), Status::Failed);
        assert_eq!(compared("fp8_e4m3", &[-1000.0], &[448.0], &[f32::NAN]), Status::Failed);
        assert_eq!(compared("fp8_e4m3", &[400.0], &[448.0], &[f32::NAN]), Status::Failed);
        // A zero has a sign, except in the `uz` types and under a scale.
        assert_eq!(compared("fp8_e4m3", &[-0.0], &[-0.0], &[0.0]), Status::Failed);
        assert_eq!(compared("e4m3:finite:bias=11", &[-0.0], &[-0.0], &[0.0]), Status::Passed);
        assert_eq!(compared("fp8_e4m3@row", &[-0.0], &[-0.0], &[0.0]), Status::Passed);
        // A code apart at a tie, two codes apart there, and a code apart elsewhere.
        assert_eq!(compared("int4@row", &[7.0, 2.5], &[7.0, 2.0], &[7.0, 3.0]), Status::Passed);
        assert_eq!(compared("int4@row", &[7.0, 2.5], &[7.0, 2.0], &[7.0, 4.0]), Status::Failed);
        assert_eq!(compared("int4@row", &[7.0, 2.4], &[7.0, 2.0], &[7.0, 3.0]), Status::Failed);
        // Truncation has no ties.
        assert_eq!(compared("int4@row:trunc", &[7.0, 2.5], &[7.0, 2.0], &[7.0, 3.0]), Status::Failed);
        assert_eq!(compared("bf16", &[1.0, 2.0], &[1.0, 2.0], &[1.0]), Status::Failed);
    }

    #[test]
    fn what_python_lacks_is_not_asked() {
        for scheme in [
            "nf4",
            "int4@row:asym",
            "int4@row:away",
            "bf16:trunc",
            "fp8_e4m3@tensor",
            "int8@row:scale=f16",
            "mxfp4:trunc",
        ] {
            assert!(NumpyQuestion::of(&scheme.parse().expect(scheme), 64).is_none(), "{scheme}");
        }
    }
}
