//! Puts a report's files in place, each whole or not at all.

use crate::document::Block;
use crate::{content, csv, html, markdown};
use record::RunRecord;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// The folder of the figures, beside the Markdown that shows them.
pub(crate) const FIGURES: &str = "figures";

/// Why a report could not be written.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// A file or folder could not be written.
    #[error("cannot write the report: {}: {what}: {source}\nhint: check that the folder exists, is writable and has room", path.display())]
    Write {
        /// The step that failed.
        what: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The reason that the system gives.
        source: std::io::Error,
    },
    /// The HTML template failed.
    #[error("cannot render the HTML report: {0}")]
    Template(#[from] askama::Error),
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
    fs::create_dir_all(&figures).map_err(failed("making the folder", &figures))?;
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

/// Puts one file in place: temporary file in the same folder → fsync → rename → fsync of the folder.
fn put(dir: &Path, name: &str, text: &str) -> Result<PathBuf, ReportError> {
    let path = dir.join(name);
    let mut file = tempfile::Builder::new()
        .prefix(".report-")
        // Temporary files are private unless told otherwise, and a report is for others to read; the umask still counts.
        .permissions(fs::Permissions::from_mode(0o644))
        .tempfile_in(dir)
        .map_err(failed("making a temporary file", &path))?;
    file.write_all(text.as_bytes()).map_err(failed("writing", &path))?;
    file.as_file().sync_all().map_err(failed("syncing", &path))?;
    file.persist(&path).map_err(|e| failed("renaming into place", &path)(e.error))?;
    File::open(dir).and_then(|d| d.sync_all()).map_err(failed("syncing the folder", dir))?;
    Ok(path)
}

fn failed<'a>(what: &'static str, path: &'a Path) -> impl FnOnce(std::io::Error) -> ReportError + 'a {
    move |source| ReportError::Write { what, path: path.to_path_buf(), source }
}
