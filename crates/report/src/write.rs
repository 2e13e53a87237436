//! Puts a report's files in place, each whole or not at all.

use crate::document::Block;
use crate::{content, csv, html, markdown};
use record::RunRecord;
use record::store::atomic::{self, PutError};
use std::fs;
use std::path::{Path, PathBuf};
use words::{Advice, Hint};

/// The folder of the figures, beside the Markdown that shows them.
pub(crate) const FIGURES: &str = "figures";

/// Why a report could not be written.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// A file or folder could not be written.
    #[error("cannot write the report: {0}")]
    Write(#[from] PutError),
    /// The HTML template failed.
    #[error("cannot render the HTML report: {0}")]
    Template(#[from] askama::Error),
}

impl Advice for ReportError {
    fn hint(&self) -> Option<Hint> {
        match self {
            ReportError::Write(_) => Some(Hint::words("check that the folder exists, is writable and has room")),
            ReportError::Template(_) => Some(Hint::Bug),
        }
    }
}

/// Writes `report.md`, `report.html`, `cells.csv` and `figures/*.svg` into `dir`, which is made if need be.
///
/// The paths come back in the order of writing, the Markdown first. The same record gives the same bytes.
///
/// # Errors
/// When a file cannot be written. Files that were in place before are then still whole.
pub fn write(record: &RunRecord, dir: &Path) -> Result<Vec<PathBuf>, ReportError> {
    let document = content::document(record);
    let figures = dir.join(FIGURES);
    fs::create_dir_all(&figures).map_err(|source| PutError { doing: "create", path: figures.clone(), source })?;
    [dir, figures.as_path()].into_iter().for_each(atomic::sweep);
    // Figures go first, so that a report in place never shows a missing one.
    let mut paths = Vec::new();
    for block in &document.blocks {
        if let Block::Figure { figure, slug, .. } = block {
            paths.push(put(&figures, &format!("{slug}.svg"), &figure.file())?);
        }
    }
    let texts = [
        put(dir, "report.md", &markdown::render(&document))?,
        put(dir, "report.html", &html::render(&document)?)?,
        put(dir, "cells.csv", &csv::render(record))?,
    ];
    paths.splice(0..0, texts);
    Ok(paths)
}

/// Puts one file in place.
fn put(dir: &Path, name: &str, text: &str) -> Result<PathBuf, PutError> {
    let path = dir.join(name);
    atomic::put(&path, text.as_bytes())?;
    Ok(path)
}
