//! The plans that come with assay: plan files like any other, compiled in.

/// A plan file that comes with assay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Preset {
    /// The name of the preset, as typed.
    pub name: &'static str,
    /// The text of the plan file.
    pub text: &'static str,
}

/// All presets. A plan that states no stages has those of the first preset.
pub const PRESETS: &[Preset] = &[
    Preset { name: "ffn-norm-bf16", text: include_str!("preset/ffn-norm-bf16.toml") },
    Preset { name: "attention-int8", text: include_str!("preset/attention-int8.toml") },
    Preset { name: "embedding-4bit", text: include_str!("preset/embedding-4bit.toml") },
];
