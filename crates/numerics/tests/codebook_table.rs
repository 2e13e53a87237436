//! Reading a codebook that a user writes in a text file.

use numerics::{CodebookTable, CodebookTableError};
use words::Advice;

#[test]
fn numbers_come_in_any_order_and_comments_are_passed_over() {
    let table = CodebookTable::parse("# levels\n1, -1\n0.5\t-0  # half\n\n").unwrap();
    assert_eq!((table.entries(), table.bits()), (&[-1.0, 0.0, 0.5, 1.0][..], 2));
    assert_eq!(CodebookTable::parse("-1 0 1").unwrap().bits(), 2);
    let many: String = (0..256).map(|i| format!("{i}\n")).collect();
    assert_eq!(CodebookTable::parse(&many).unwrap().bits(), 8);
}

#[test]
fn a_text_that_is_not_a_codebook_is_refused_with_its_line() {
    let error = |text: &str| CodebookTable::parse(text).unwrap_err();
    assert_eq!(error("1\n0 x1"), CodebookTableError::Number { line: 2, found: "x1".into() });
    assert!(matches!(error("1 1e40"), CodebookTableError::Number { line: 1, .. }));
    assert!(matches!(error("nan 1"), CodebookTableError::Number { line: 1, .. }));
    assert_eq!(error("0\n1\n-0"), CodebookTableError::Repeated { line: 3, value: 0.0 });
    assert_eq!(error(""), CodebookTableError::Count { found: 0 });
    assert_eq!(error("3"), CodebookTableError::Count { found: 1 });
    let many: String = (0..=256).map(|i| format!("{i} ")).collect();
    assert_eq!(error(&many), CodebookTableError::Count { found: 257 });
    assert!(matches!(error("0 0.5"), CodebookTableError::Magnitude { found: 0.5 }));
    assert!(matches!(error("0 -1e5"), CodebookTableError::Magnitude { .. }));
    for text in ["x", "0 0", "", "0 0.1"] {
        assert!(error(text).hint().is_some(), "{text}");
    }
}
