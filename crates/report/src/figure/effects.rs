//! One row per model and arm: the effect as a dot with its error bar, each jitter seed as a tick, and
//! the region in which an effect would be below the floor.

use super::canvas::{Anchor, Canvas};
use super::scale::LogScale;
use super::{EffectRow, Mark};

const WIDTH: f64 = 820.0;
const LABEL: f64 = 250.0;
const ZERO: f64 = 276.0;
const PLOT: (f64, f64) = (316.0, 690.0);
const TOP: f64 = 40.0;
const ROW: f64 = 50.0;
/// The number of characters that fit the column of the labels.
const LABEL_CHARS: usize = 28;

pub(super) fn draw(rows: &[EffectRow]) -> Canvas {
    let bottom = TOP + ROW * rows.len() as f64;
    let mut c = Canvas::new(WIDTH, bottom + 50.0);
    let scale = LogScale::spanning(
        rows.iter().flat_map(|r| {
            let bars = match r.mark {
                Mark::Value { mean, se: Some(se) } => mean + 2.0 * se,
                _ => 0.0,
            };
            r.jitter.iter().copied().chain(r.mark.positive()).chain(r.threshold).chain([bars])
        }),
        PLOT.0,
        PLOT.1,
    );
    legend(&mut c);
    c.line("grid", ZERO, TOP, ZERO, bottom);
    c.text("soft", Anchor::Middle, ZERO, bottom + 17.0, "0");
    for (label, x) in scale.ticks() {
        c.line("grid", x, TOP, x, bottom);
        c.text("soft", Anchor::Middle, x, bottom + 17.0, &label);
    }
    for (i, row) in rows.iter().enumerate() {
        let new_model = i == 0 || rows[i - 1].label != row.label;
        draw_row(&mut c, row, TOP + ROW * i as f64, &scale, new_model);
    }
    c.line("axis", ZERO - 14.0, bottom, ZERO + 14.0, bottom);
    c.line("axis", PLOT.0, bottom, PLOT.1, bottom);
    let middle = (PLOT.0 + PLOT.1) / 2.0;
    c.text(
        "soft",
        Anchor::Middle,
        middle,
        bottom + 37.0,
        "mean KLD from the arm's own reference, nats per token (log scale)",
    );
    c
}

fn draw_row(c: &mut Canvas, row: &EffectRow, top: f64, scale: &LogScale, labelled: bool) {
    let y = top + ROW / 2.0;
    if let Some(threshold) = row.threshold.filter(|t| *t > 0.0) {
        let x = scale.at(threshold);
        c.rect("band", PLOT.0, top + 8.0, x - PLOT.0, ROW - 16.0);
        c.line("edge", x, top + 8.0, x, top + ROW - 8.0);
    }
    for &jitter in &row.jitter {
        let x = if jitter == 0.0 { ZERO } else { scale.at(jitter) };
        c.line("jitter", x, y - 8.0, x, y + 8.0);
    }
    match row.mark {
        Mark::Value { mean, se } => {
            if let Some(se) = se {
                // A lower end at or below zero runs to the end of the axis.
                let low = if mean > 2.0 * se { scale.at(mean - 2.0 * se) } else { PLOT.0 };
                c.line("bar", low, y, scale.at(mean + 2.0 * se), y);
            }
            c.dot("dot", scale.at(mean), y, 5.5, &row.value);
        }
        Mark::Zero => c.dot("zero", ZERO, y, 5.5, &row.value),
        Mark::Failed => c.cross("failed", ZERO, y, 5.5, &row.value),
    }
    if labelled {
        c.text("name", Anchor::End, LABEL, y - 3.0, &shorten(&row.label));
    }
    c.text("soft", Anchor::End, LABEL, y + if labelled { 14.0 } else { 4.0 }, &row.sublabel);
    c.text("value", Anchor::Start, PLOT.1 + 16.0, y + 4.0, &row.value);
}

fn legend(c: &mut Canvas) {
    let y = 16.0;
    c.dot("dot", PLOT.0 + 5.0, y, 5.5, "effect");
    c.text("soft", Anchor::Start, PLOT.0 + 16.0, y + 4.0, "effect, ± 2 SE");
    c.line("jitter", PLOT.0 + 118.0, y - 8.0, PLOT.0 + 118.0, y + 8.0);
    c.text("soft", Anchor::Start, PLOT.0 + 126.0, y + 4.0, "one jitter seed");
    c.rect("band", PLOT.0 + 228.0, y - 8.0, 18.0, 16.0);
    c.line("edge", PLOT.0 + 246.0, y - 8.0, PLOT.0 + 246.0, y + 8.0);
    c.text("soft", Anchor::Start, PLOT.0 + 254.0, y + 4.0, "below the floor");
    c.dot("zero", ZERO, y, 5.5, "exactly zero");
    c.text("soft", Anchor::End, ZERO - 11.0, y + 4.0, "exactly zero");
}

/// The label without its extension. Of a long one both ends are kept, since model names differ at either.
fn shorten(label: &str) -> String {
    let label = label.strip_suffix(".gguf").unwrap_or(label);
    let chars: Vec<char> = label.chars().collect();
    if chars.len() <= LABEL_CHARS {
        return label.to_string();
    }
    let head = LABEL_CHARS / 2;
    let tail = LABEL_CHARS - head - 1;
    chars[..head].iter().chain(['…'].iter()).chain(&chars[chars.len() - tail..]).collect()
}

#[cfg(test)]
mod tests {
    use super::shorten;

    #[test]
    fn a_long_name_keeps_both_ends() {
        let long = shorten("a-very-long-organisation-and-model-name-135M-Instruct.Q4_1.gguf");
        assert!(long.starts_with("a-very-long") && long.ends_with("Q4_1") && long.contains('…'));
        assert_eq!(shorten("short.gguf"), "short");
    }
}
