//! Figures: what is shown, apart from how it is drawn.
//!
//! A [`Figure`] is data. [`Figure::file`] draws it as an SVG document that stands alone and follows the reader's light or
//! dark setting. [`Figure::inline`] draws it as an element of a page that brings [`STYLE`] itself.
//! Divergences span many decades and are often exactly zero, so their axes are logarithmic, and zero has a lane of its
//! own: a bit-identical cell is a mark in that lane, never a gap.

mod canvas;
mod effects;
mod layers;
mod precision;
mod scale;

use canvas::Canvas;

/// A figure with the words that go with it.
#[derive(Clone, Debug, PartialEq)]
pub struct Figure {
    /// What the figure shows, for those who do not see it.
    pub alt: String,
    /// The data that is drawn.
    pub form: Form,
}

/// The forms of figure that exist.
#[derive(Clone, Debug, PartialEq)]
pub enum Form {
    /// One row per model and arm, with the effect beside its floor.
    Effects(Vec<EffectRow>),
    /// One mark per layer.
    Layers(Layers),
    /// One square per tensor.
    Precision(Precision),
}

/// A divergence as it can be drawn. All values are mean KLD in nats a token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Mark {
    /// A measured value, positive, with its standard error where there is one.
    Value {
        /// The mean KLD.
        mean: f64,
        /// The standard error, clustered by window.
        se: Option<f64>,
    },
    /// A measured value that is exactly zero.
    Zero,
    /// A cell without a usable number.
    Failed,
}

impl Mark {
    /// Sorts a mean into what can be drawn.
    pub fn of(mean: f64, se: Option<f64>) -> Self {
        if mean == 0.0 {
            Mark::Zero
        } else if mean.is_finite() && mean > 0.0 {
            Mark::Value { mean, se: se.filter(|se| se.is_finite() && *se >= 0.0) }
        } else {
            Mark::Failed
        }
    }

    fn positive(self) -> Option<f64> {
        match self {
            Mark::Value { mean, .. } => Some(mean),
            Mark::Zero | Mark::Failed => None,
        }
    }
}

/// One row of [`Form::Effects`].
#[derive(Clone, Debug, PartialEq)]
pub struct EffectRow {
    /// The first line of the label.
    pub label: String,
    /// The second line of the label.
    pub sublabel: String,
    /// The effect that was measured.
    pub mark: Mark,
    /// The mean KLD of each jitter seed.
    pub jitter: Vec<f64>,
    /// The value below which an effect is below the floor.
    pub threshold: Option<f64>,
    /// The value as text.
    pub value: String,
}

/// The data of [`Form::Layers`].
#[derive(Clone, Debug, PartialEq)]
pub struct Layers {
    /// The index of each layer, its mark, and what a pointer that rests on it shows.
    pub marks: Vec<(u32, Mark, String)>,
    /// The value below which an effect is below the floor, and what the floor was measured on.
    pub threshold: Option<(f64, String)>,
}

/// The data of [`Form::Precision`].
#[derive(Clone, Debug, PartialEq)]
pub struct Precision {
    /// The rows from top to bottom.
    pub rows: Vec<PrecisionRow>,
}

/// The tensors of one role.
#[derive(Clone, Debug, PartialEq)]
pub struct PrecisionRow {
    /// The name of the role.
    pub label: String,
    /// One square per tensor.
    pub squares: Vec<Square>,
}

/// One tensor of [`Form::Precision`].
#[derive(Clone, Debug, PartialEq)]
pub struct Square {
    /// The layer of the tensor, where it is in one.
    pub layer: Option<u32>,
    /// The effective bits of a value.
    pub bits: f64,
    /// What a pointer that rests on the square shows.
    pub tip: String,
}

/// The colours and type of all figures, scoped to `svg.fig`. A page with inline figures includes it once.
pub const STYLE: &str = include_str!("figure/style.css");

impl Figure {
    /// The figure as a complete SVG document.
    pub fn file(&self) -> String {
        let mut out = self.draw().finish(&self.alt, "fig");
        let style = format!("<style>\n{STYLE}</style>");
        if let Some(end) = out.find('>') {
            out.insert_str(end + 1, &style);
        }
        out.push('\n');
        out
    }

    /// The figure as an `<svg>` element for a page that includes [`STYLE`]. `id` must be unique in the page.
    pub fn inline(&self, id: &str) -> String {
        self.draw().finish(&self.alt, id)
    }

    fn draw(&self) -> Canvas {
        match &self.form {
            Form::Effects(rows) => effects::draw(rows),
            Form::Layers(layers) => layers::draw(layers),
            Form::Precision(precision) => precision::draw(precision),
        }
    }
}
