//! The method: what is asked, what is run, what it amounts to.
//!
//! plan → cells → [`protocol`] jobs → worker → events → store → [`record`] → verdicts

pub mod protocol;
pub mod record;
