//! Numbers as words.

pub mod number;
pub use number::*;
