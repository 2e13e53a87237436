//! The place in the graph at which edits begin to act, as far as names tell.

use crate::activation_role::layer_of_node;
use crate::tensor_id::NameParts;
use record::{Edit, EditPlace};

/// The layer that an edit names, which is that of its tensor or of its graph node. `None` when the name has no layer.
pub fn layer_of(edit: &Edit) -> Option<u32> {
    match edit.place {
        EditPlace::Activation => layer_of_node(&edit.tensor),
        EditPlace::Weight | EditPlace::Lookup | EditPlace::Head => NameParts::of(&edit.tensor).layer,
    }
}

/// The first layer in which any of these edits can act. It is 0 when there are no edits, or when a name does not tell a
/// layer. The head and its norm come after every layer, so for them it is `usize::MAX`.
pub fn first_layer(edits: &[Edit]) -> usize {
    edits.iter().map(first_layer_of).min().unwrap_or(0)
}

fn first_layer_of(edit: &Edit) -> usize {
    let name = edit.tensor.as_str();
    let after_all = match edit.place {
        EditPlace::Weight => name.starts_with("output.") || name.starts_with("output_norm."),
        EditPlace::Lookup => false,
        EditPlace::Head => true,
        EditPlace::Activation => name == "result_norm" || name == "result_output",
    };
    if after_all {
        return usize::MAX;
    }
    match edit.place {
        EditPlace::Activation => layer_of_node(name).map(|layer| layer as usize),
        EditPlace::Weight | EditPlace::Lookup | EditPlace::Head => {
            name.strip_prefix("blk.").and_then(|rest| rest.split('.').next()?.parse().ok())
        }
    }
    .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use record::Carrier;

    #[test]
    fn the_first_layer_touched_is_read_from_the_name_and_the_place() {
        let first =
            |tensor: &str, place| first_layer(&[Edit { place, ..Edit::of_weight(tensor, "bf16", Carrier::F32) }]);
        for (name, layer) in [
            ("blk.7.ffn_norm.weight", 7),
            ("token_embd.weight", 0),
            ("output.weight", usize::MAX),
            ("output_norm.weight", usize::MAX),
        ] {
            assert_eq!(first(name, EditPlace::Weight), layer, "{name}");
        }
        assert_eq!(first("token_embd.weight", EditPlace::Lookup), 0);
        assert_eq!(first("token_embd.weight", EditPlace::Head), usize::MAX);
        for (name, layer) in
            [("ffn_norm-7", 7), ("cache_k_l12", 12), ("cache_v_l0", 0), ("embd", 0), ("result_norm", usize::MAX)]
        {
            assert_eq!(first(name, EditPlace::Activation), layer, "{name}");
        }
    }
}
