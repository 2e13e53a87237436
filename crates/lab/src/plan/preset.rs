//! The plans that come with assay: plan files like any other, compiled in.

/// A plan file that comes with assay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Preset {
    /// The name, as typed.
    pub name: &'static str,
    /// The file.
    pub text: &'static str,
}

/// All presets. The stages of the first are those of a plan that states none.
pub const PRESETS: &[Preset] = &[
    Preset { name: "ffn-norm-bf16", text: include_str!("preset/ffn-norm-bf16.toml") },
    Preset { name: "attention-int8", text: include_str!("preset/attention-int8.toml") },
    Preset { name: "embedding-4bit", text: include_str!("preset/embedding-4bit.toml") },
];
