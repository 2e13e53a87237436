//! What the metadata of a model file say, and what it changes when they differ.
//!
//! | module | contents |
//! |---|---|
//! | [`keys`] | the one table of metadata keys: what each key means and what it changes |
//! | [`compare`](mod@compare) | the metadata of two files, key by key |

pub mod compare;
pub mod keys;

pub use compare::compare;
