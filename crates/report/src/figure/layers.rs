//! One mark per layer over a logarithmic axis, with a lane for exact zeros and one for failed cells.

use super::canvas::{Anchor, Canvas};
use super::scale::LogScale;
use super::{Layers, Mark};

const WIDTH: f64 = 820.0;
const PLOT_X: (f64, f64) = (72.0, 800.0);
const TOP: f64 = 32.0;
const BOTTOM: f64 = 252.0;
const ZERO: f64 = 278.0;
const FAILED: f64 = 302.0;

pub(super) fn draw(layers: &Layers) -> Canvas {
    let any_failed = layers.marks.iter().any(|(_, mark, _)| *mark == Mark::Failed);
    let base = if any_failed { FAILED + 14.0 } else { ZERO + 14.0 };
    let mut c = Canvas::new(WIDTH, base + 44.0);
    let threshold = layers.threshold.as_ref().map(|(t, _)| *t).filter(|t| *t > 0.0);
    let scale =
        LogScale::spanning(layers.marks.iter().filter_map(|(_, m, _)| m.positive()).chain(threshold), BOTTOM, TOP);

    if let (Some(threshold), Some((_, of))) = (threshold, &layers.threshold) {
        let y = scale.at(threshold);
        c.rect("band", PLOT_X.0, y, PLOT_X.1 - PLOT_X.0, BOTTOM - y);
        c.line("edge", PLOT_X.0, y, PLOT_X.1, y);
        // Above the plot, where no mark can lie under it.
        c.rect("band", PLOT_X.0, 2.0, 18.0, 14.0);
        c.line("edge", PLOT_X.0, 2.0, PLOT_X.0 + 18.0, 2.0);
        c.text("soft", Anchor::Start, PLOT_X.0 + 26.0, 13.0, of);
    }
    for (label, y) in scale.ticks() {
        c.line("grid", PLOT_X.0, y, PLOT_X.1, y);
        c.text("soft", Anchor::End, PLOT_X.0 - 8.0, y + 4.0, &label);
    }
    c.line("grid", PLOT_X.0, ZERO, PLOT_X.1, ZERO);
    c.text("soft", Anchor::End, PLOT_X.0 - 8.0, ZERO + 4.0, "0");
    if any_failed {
        c.text("soft", Anchor::End, PLOT_X.0 - 8.0, FAILED + 4.0, "failed");
    }
    c.upright("soft", 16.0, (TOP + BOTTOM) / 2.0, "KLD, nats per token");

    let first = layers.marks.iter().map(|(l, ..)| *l).min().unwrap_or(0);
    let last = layers.marks.iter().map(|(l, ..)| *l).max().unwrap_or(0);
    let at = |layer: u32| {
        let share = f64::from(layer - first) / f64::from((last - first).max(1));
        PLOT_X.0 + 16.0 + share * (PLOT_X.1 - PLOT_X.0 - 32.0)
    };
    c.line("axis", PLOT_X.0, base, PLOT_X.1, base);
    for layer in (first..=last).step_by(tick_step(last - first)) {
        c.line("axis", at(layer), base, at(layer), base + 4.0);
        c.text("soft", Anchor::Middle, at(layer), base + 18.0, &layer.to_string());
    }
    c.text("soft", Anchor::Middle, (PLOT_X.0 + PLOT_X.1) / 2.0, base + 36.0, "layer");

    for (layer, mark, tip) in &layers.marks {
        let x = at(*layer);
        match *mark {
            Mark::Value { mean, se } => {
                if let Some(se) = se {
                    let low = if mean > 2.0 * se { scale.at(mean - 2.0 * se) } else { BOTTOM };
                    c.line("bar", x, low, x, scale.at(mean + 2.0 * se));
                }
                c.dot("dot", x, scale.at(mean), 4.5, tip);
            }
            Mark::Zero => c.dot("zero", x, ZERO, 4.5, tip),
            Mark::Failed => c.cross("failed", x, FAILED, 4.5, tip),
        }
    }
    c
}

/// The step between labels that gives about twenty of them at most.
fn tick_step(span: u32) -> usize {
    [1, 2, 5, 10, 20, 50, 100].into_iter().find(|step| span / step <= 20).unwrap_or((span / 20).max(1)) as usize
}
