//! A report as blocks of content, before it is Markdown or HTML.

use crate::figure::Figure;

/// A whole report.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    /// Heading of the whole.
    pub title: String,
    /// From top to bottom.
    pub blocks: Vec<Block>,
}

/// One piece of a report.
#[derive(Clone, Debug, PartialEq)]
pub enum Block {
    /// A heading; level 2 or 3.
    Heading {
        /// 2 for a section, 3 for a part of one.
        level: u8,
        /// Words.
        text: Text,
    },
    /// A paragraph.
    Paragraph(Text),
    /// The question, set apart.
    Question {
        /// What was asked.
        question: String,
        /// What was expected, written before the data.
        hypothesis: String,
    },
    /// The answer for one model, set apart.
    Answer {
        /// Model.
        model: String,
        /// One badge per arm: arm and class.
        badges: Vec<Badge>,
        /// One sentence.
        sentence: String,
    },
    /// Something that changes how everything else is read.
    Notice(Text),
    /// A table.
    Table(Table),
    /// A figure and where its file goes.
    Figure {
        /// What to draw.
        figure: Figure,
        /// Name of the file in the figures folder, without extension. Ours, never a model's.
        slug: String,
        /// Caption.
        caption: Text,
    },
    /// Something to be typed.
    Command(String),
}

/// A verdict in one word, with the arm it belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Badge {
    /// `exact arm`, `native arm`.
    pub arm: String,
    /// `REAL`, `NO-OP` …
    pub class: String,
}

/// A run of text in one line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Text(pub Vec<Span>);

/// A piece of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Span {
    /// Words.
    Plain(String),
    /// A name, value or command, letter by letter.
    Code(String),
    /// Words that matter most.
    Strong(String),
}

impl Text {
    /// Nothing yet.
    pub fn new() -> Self {
        Text::default()
    }

    /// Adds words.
    #[must_use]
    pub fn plain(mut self, text: impl Into<String>) -> Self {
        self.0.push(Span::Plain(text.into()));
        self
    }

    /// Adds a name, letter by letter.
    #[must_use]
    pub fn code(mut self, text: impl Into<String>) -> Self {
        self.0.push(Span::Code(text.into()));
        self
    }

    /// Adds words that matter most.
    #[must_use]
    pub fn strong(mut self, text: impl Into<String>) -> Self {
        self.0.push(Span::Strong(text.into()));
        self
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Text::new().plain(text)
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Text::new().plain(text)
    }
}

/// A table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// What it holds, one line.
    pub caption: String,
    /// Columns, left to right.
    pub columns: Vec<Column>,
    /// Rows, each as long as `columns`.
    pub rows: Vec<Vec<Text>>,
    /// Folded away until asked for: long tables of detail.
    pub folded: bool,
}

/// Head of a column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Words, with the unit.
    pub head: String,
    /// Set flush right, as numbers are.
    pub numeric: bool,
}

impl Table {
    /// An empty table. A head that ends in `>` names a numeric column.
    pub fn new(caption: impl Into<String>, heads: &[&str]) -> Self {
        let columns = heads
            .iter()
            .map(|head| match head.strip_suffix('>') {
                Some(head) => Column { head: head.to_string(), numeric: true },
                None => Column { head: (*head).to_string(), numeric: false },
            })
            .collect();
        Table { caption: caption.into(), columns, rows: Vec::new(), folded: false }
    }

    /// Adds a row.
    pub fn push(&mut self, row: Vec<Text>) {
        debug_assert_eq!(row.len(), self.columns.len(), "{}", self.caption);
        self.rows.push(row);
    }

    /// Folds the table away if it has more than a dozen rows.
    #[must_use]
    pub fn folded_if_long(mut self) -> Self {
        self.folded = self.rows.len() > 12;
        self
    }
}
