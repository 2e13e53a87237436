//! Chooses tensors: selectors, roles and layers, and what they mean in a model.
//!
//! ```text
//! text ── grammar ──▶ Selector ──▶ weights by index, single uses of one, graph nodes
//!                        ▲ weight_role, activation_role, layer_set
//! SELECTOR=SCHEME ──▶ Apply ──▶ edits
//! ```
//!
//! | module | contents |
//! |---|---|
//! | [`selector`], `grammar` | `ROLE`, `re:/REGEX/` or a name, with qualifiers and what `!` leaves out, and the code that reads them |
//! | [`weight_role`], [`activation_role`] | the roles, each a row of a table |
//! | [`layer_set`] | layers by number: `0,3-5`, `-1` |
//! | [`tensor_id`] | a tensor as selectors see it |
//! | [`companion`] | weights whose factor is a tensor of its own |
//! | [`target`] | what a selector means in a model: weights, single uses of one, nodes of the graph |
//! | [`apply`] | `SELECTOR=SCHEME`, and the edits that follow |
//! | [`first_layer`](mod@first_layer) | the place in the graph at which edits begin to act |
//!
//! This crate knows the names and types of tensors. It never reads a byte of a file.

pub mod activation_role;
pub mod apply;
pub mod companion;
pub mod first_layer;
mod grammar;
pub mod layer_set;
pub mod selector;
pub mod target;
pub mod tensor_id;
pub mod weight_role;

pub use activation_role::ActivationRole;
pub use apply::{Applied, Apply, ApplyError, edits, edits_by_apply, resolve, without_effect};
pub use first_layer::{first_layer, layer_of};
pub use layer_set::LayerSet;
pub use selector::{Selection, Selector, SelectorError, n_layer};
pub use target::{Target, Targets, is_tied};
pub use tensor_id::TensorId;
pub use weight_role::TargetRole;
