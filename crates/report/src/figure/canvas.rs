//! The few SVG elements that the figures use, with coordinates at a tenth of a pixel.

use words::{Lines, escape_xml};

/// An SVG document in the making.
pub(super) struct Canvas {
    width: f64,
    height: f64,
    body: Lines,
}

/// The point of a text that its position names.
#[derive(Clone, Copy)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

impl Canvas {
    pub(super) fn new(width: f64, height: f64) -> Self {
        Canvas { width, height, body: Lines::new() }
    }

    pub(super) fn rect(&mut self, class: &str, x: f64, y: f64, width: f64, height: f64) {
        let (width, height) = (width.max(0.0), height.max(0.0));
        self.push(format_args!(
            r#"<rect class="{class}" x="{x:.1}" y="{y:.1}" width="{width:.1}" height="{height:.1}"/>"#
        ));
    }

    /// Adds a rectangle; a pointer that rests on it shows `tip`.
    pub(super) fn tipped_rect(&mut self, class: &str, x: f64, y: f64, width: f64, height: f64, tip: &str) {
        let (width, height) = (width.max(0.0), height.max(0.0));
        self.push(format_args!(
            r#"<rect class="{class}" x="{x:.1}" y="{y:.1}" width="{width:.1}" height="{height:.1}"><title>{}</title></rect>"#,
            escape_xml(tip)
        ));
    }

    pub(super) fn line(&mut self, class: &str, x1: f64, y1: f64, x2: f64, y2: f64) {
        self.push(format_args!(r#"<line class="{class}" x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}"/>"#));
    }

    pub(super) fn text(&mut self, class: &str, anchor: Anchor, x: f64, y: f64, text: &str) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        self.push(format_args!(
            r#"<text class="{class}" text-anchor="{anchor}" x="{x:.1}" y="{y:.1}">{}</text>"#,
            escape_xml(text)
        ));
    }

    /// Adds a text that runs upwards.
    pub(super) fn upright(&mut self, class: &str, x: f64, y: f64, text: &str) {
        self.push(format_args!(
            r#"<text class="{class}" text-anchor="middle" transform="translate({x:.1} {y:.1}) rotate(-90)">{}</text>"#,
            escape_xml(text)
        ));
    }

    /// Adds a round mark; a pointer that rests on it shows `tip`.
    pub(super) fn dot(&mut self, class: &str, x: f64, y: f64, r: f64, tip: &str) {
        self.push(format_args!(
            r#"<circle class="{class}" cx="{x:.1}" cy="{y:.1}" r="{r:.1}"><title>{}</title></circle>"#,
            escape_xml(tip)
        ));
    }

    /// Adds a cross; a pointer that rests on it shows `tip`.
    pub(super) fn cross(&mut self, class: &str, x: f64, y: f64, r: f64, tip: &str) {
        self.push(format_args!(
            r#"<path class="{class}" d="M{:.1} {:.1}L{:.1} {:.1}M{:.1} {:.1}L{:.1} {:.1}"><title>{}</title></path>"#,
            x - r,
            y - r,
            x + r,
            y + r,
            x - r,
            y + r,
            x + r,
            y - r,
            escape_xml(tip)
        ));
    }

    pub(super) fn finish(self, alt: &str, id: &str) -> String {
        let Canvas { width, height, body } = self;
        format!(
            concat!(
                r#"<svg xmlns="http://www.w3.org/2000/svg" class="fig" viewBox="0 0 {w:.0} {h:.0}" width="{w:.0}" height="{h:.0}""#,
                r#" role="img" aria-labelledby="{id}-alt">"#,
                "\n",
                r#"<desc id="{id}-alt">{alt}</desc>"#,
                "\n",
                r#"<rect class="paper" x="0" y="0" width="{w:.0}" height="{h:.0}"/>"#,
                "\n{body}</svg>"
            ),
            w = width,
            h = height,
            id = escape_xml(id),
            alt = escape_xml(alt),
            body = body.as_str(),
        )
    }

    fn push(&mut self, element: std::fmt::Arguments<'_>) {
        self.body.line(element);
    }
}
