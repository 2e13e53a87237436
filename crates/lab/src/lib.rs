//! The method: what is asked, what is run, what it amounts to.
//!
//! plan → cells → [`protocol`] jobs → worker → events → store → [`record`] → verdicts

mod layer_set;
pub mod protocol;
pub mod record;
mod selector;
mod target_role;

pub use layer_set::LayerSet;
pub use selector::{Selection, Selector, SelectorError, n_layer};
pub use target_role::{TargetRole, TensorId};
