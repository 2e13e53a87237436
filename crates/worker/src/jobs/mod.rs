//! Jobs other than measuring the windows of a text.

mod attention;
mod chat;
mod tasks;

pub(crate) use chat::Asked;
