//! A report as blocks of content, before it is Markdown or HTML.

use crate::figure::Figure;

/// A whole report.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    /// The heading above everything.
    pub title: String,
    /// The blocks from top to bottom.
    pub blocks: Vec<Block>,
}

/// One piece of a report.
#[derive(Clone, Debug, PartialEq)]
pub enum Block {
    /// A heading of level 2 or 3.
    Heading {
        /// The level: 2 for a section, 3 for a part of one.
        level: u8,
        /// The words of the heading.
        text: Text,
    },
    /// A paragraph of one run of text.
    Paragraph(Text),
    /// The question of the run, set apart from the text.
    Question {
        /// The question as it was asked.
        question: String,
        /// What the asker expected, written before the data.
        hypothesis: String,
    },
    /// The answer for one model, set apart from the text.
    Answer {
        /// The name of the model.
        model: String,
        /// One badge per arm.
        badges: Vec<Badge>,
        /// The answer in one sentence.
        sentence: String,
    },
    /// A notice that changes how everything else is read.
    Notice(Text),
    /// A table with its caption.
    Table(Table),
    /// A figure, and the name of its file.
    Figure {
        /// The figure to draw.
        figure: Figure,
        /// The name of the file in the figures folder, without extension. It is ours, never a model's.
        slug: String,
        /// The caption below the figure.
        caption: Text,
    },
    /// A command for the reader to type.
    Command(String),
}

/// A verdict in one word, with the arm it belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Badge {
    /// The arm: `exact arm` or `native arm`.
    pub arm: String,
    /// The verdict: `REAL`, `NO-OP` …
    pub class: String,
}

/// A run of text in one line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Text(pub Vec<Span>);

/// A piece of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Span {
    /// Ordinary words.
    Plain(String),
    /// A name, a value or a command, which is read letter by letter.
    Code(String),
    /// The words that matter most.
    Strong(String),
}

impl Text {
    /// A run of text without any words yet.
    pub fn new() -> Self {
        Text::default()
    }

    /// Adds ordinary words.
    #[must_use]
    pub fn plain(mut self, text: impl Into<String>) -> Self {
        self.0.push(Span::Plain(text.into()));
        self
    }

    /// Adds a name, a value or a command.
    #[must_use]
    pub fn code(mut self, text: impl Into<String>) -> Self {
        self.0.push(Span::Code(text.into()));
        self
    }

    /// Adds the words that matter most.
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

/// A table of text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// What the table shows, in one line.
    pub caption: String,
    /// The columns from left to right.
    pub columns: Vec<ColumnHead>,
    /// The rows, each as long as `columns`.
    pub rows: Vec<Vec<Text>>,
    /// Whether the table is folded away until the reader asks for it, as long tables of detail are.
    pub folded: bool,
}

/// The head of a column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColumnHead {
    /// The words of the head, with the unit.
    pub head: String,
    /// Whether the cells are set flush right, as numbers are.
    pub numeric: bool,
}

impl Table {
    /// An empty table. A head that ends in `>` names a numeric column.
    pub fn new(caption: impl Into<String>, heads: &[&str]) -> Self {
        let columns = heads
            .iter()
            .map(|head| match head.strip_suffix('>') {
                Some(head) => ColumnHead { head: head.to_string(), numeric: true },
                None => ColumnHead { head: (*head).to_string(), numeric: false },
            })
            .collect();
        Table { caption: caption.into(), columns, rows: Vec::new(), folded: false }
    }

    /// Adds a row at the end.
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
