//! Numbers and failures as text: the functions of the crate `words` that this room uses.

pub use words::{about_times, bytes, count, divergence, first_line, nats, number, of, plural, share, signed, times};
