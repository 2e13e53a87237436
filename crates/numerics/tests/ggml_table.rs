//! The container and the schemes each have a table of ggml's types, in rooms that may not know each other. This test
//! compares the two.

use gguf::GgmlType;
use numerics::ggml::GGML_FORMATS;

#[test]
fn every_ggml_format_has_the_block_shape_and_spelling_of_the_containers_table() {
    for format in GGML_FORMATS {
        let ty =
            GgmlType::from_name(format.name).unwrap_or_else(|| panic!("the container has no type {}", format.name));
        assert_eq!(ty.name(), format.name);
        assert_eq!(
            (ty.blck_size(), ty.type_size()),
            (format.blck_size as u64, format.type_size as u64),
            "{}",
            format.name
        );
    }
}
