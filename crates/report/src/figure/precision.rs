//! One square per tensor: layers from left to right, roles from top to bottom. The more bits, the darker the square; the
//! number stands in it where there is room. Tensors outside the layers have a row of their own and one square.

use super::Precision;
use super::canvas::{Anchor, Canvas};
use words::number;

const WIDTH: f64 = 820.0;
const PLOT_X: (f64, f64) = (190.0, 800.0);
const TOP: f64 = 30.0;
const ROW: f64 = 22.0;
/// The width of the widest square.
const WIDEST: f64 = 48.0;
/// The width of the narrowest square that a number fits into.
const NUMBERED: f64 = 20.0;
/// The number of characters that fit the column of the roles.
const LABEL_CHARS: usize = 26;

/// The upper ends of the shades; what lies beyond the last has the darkest shade.
const SHADES: [(f64, &str); 6] =
    [(3.5, "up to 3.5"), (5.0, "to 5"), (7.0, "to 7"), (9.0, "to 9"), (20.0, "to 20"), (f64::INFINITY, "more")];

pub(super) fn draw(precision: &Precision) -> Canvas {
    let bottom = TOP + ROW * precision.rows.len() as f64;
    let mut c = Canvas::new(WIDTH, bottom + 44.0);
    let layers = || precision.rows.iter().flat_map(|row| &row.squares).filter_map(|square| square.layer);
    let (first, last) = (layers().min().unwrap_or(0), layers().max().unwrap_or(0));
    let pitch = ((PLOT_X.1 - PLOT_X.0) / f64::from(last - first + 1)).min(WIDEST);
    let at = |layer: u32| PLOT_X.0 + f64::from(layer - first) * pitch;

    let mut x = PLOT_X.0;
    c.text("soft", Anchor::End, x - 10.0, 16.0, "bits a value");
    for (i, (_, words)) in SHADES.iter().enumerate() {
        c.rect(&class(i), x, 5.0, 14.0, 14.0);
        c.text("soft", Anchor::Start, x + 20.0, 16.0, words);
        x += 90.0;
    }
    for (i, row) in precision.rows.iter().enumerate() {
        let y = TOP + ROW * i as f64;
        c.text("soft", Anchor::End, PLOT_X.0 - 10.0, y + 15.0, &shorten(&row.label));
        for square in &row.squares {
            let x = square.layer.map_or(PLOT_X.0, at);
            let width = if square.layer.is_some() { pitch } else { WIDEST };
            let shade = SHADES.iter().position(|(end, _)| square.bits <= *end).unwrap_or(SHADES.len() - 1);
            c.tipped_rect(&class(shade), x + 0.5, y + 0.5, width - 1.0, ROW - 1.0, &square.tip);
            if width >= NUMBERED {
                let ink = if shade >= 3 { "on-dark" } else { "on-light" };
                c.text(ink, Anchor::Middle, x + width / 2.0, y + 15.0, &number(square.bits, 2));
            }
        }
    }
    c.line("axis", PLOT_X.0, bottom, PLOT_X.1, bottom);
    let step = ((32.0 / pitch).ceil() as usize).max(1);
    for layer in (first..=last).step_by(step) {
        c.text("soft", Anchor::Middle, at(layer) + pitch / 2.0, bottom + 16.0, &layer.to_string());
    }
    c.text("soft", Anchor::Middle, (PLOT_X.0 + PLOT_X.1) / 2.0, bottom + 36.0, "layer");
    c
}

fn class(shade: usize) -> String {
    format!("shade shade-{shade}")
}

/// The label, of which the end is kept where it is long, since roles differ there.
fn shorten(label: &str) -> String {
    let n = label.chars().count();
    if n <= LABEL_CHARS {
        return label.to_owned();
    }
    let tail: String = label.chars().skip(n + 1 - LABEL_CHARS).collect();
    format!("…{tail}")
}
