//! `assay inspect MODEL` shows the container, its metadata and its tensors in file order.

use crate::failure::{Exit, Outcome};
use crate::output::Output;
use crate::table::{self, Align};
use files::Model;
use files::inspect::{inspect, long_names, n_values, stated_file_type, stored_types};
use files::scorable::kind_sentence;
use gguf::{Array, GgufFile, StringArray, Value};
use std::path::PathBuf;
use words::{Lines, bits, bytes, count, escape_terminal, plural, share};

/// The arguments of `assay inspect`.
#[derive(Debug, clap::Args)]
pub struct InspectArgs {
    /// The GGUF file to show; for a split model, any of its shards
    model: PathBuf,
}

/// Runs `assay inspect`.
pub fn run(args: &InspectArgs, output: &Output) -> Outcome {
    let model = Model::open_to_inspect(&args.model)?;
    // A copy of all metadata is made for JSON alone: it may be large.
    output.answer_with(|| inspect(&model), || text(&model.file, output.verbose()))?;
    Ok(Exit::Done)
}

fn text(file: &GgufFile, verbose: bool) -> String {
    let mut out = Lines::new();
    out.line(format_args!(
        "{}: GGUF version {}, {}-endian, alignment {}, {} ({}), {}",
        escape_terminal(file.path().as_os_str().as_encoded_bytes()),
        file.version(),
        file.endian().name(),
        file.alignment(),
        bytes(file.file_bytes()),
        plural(file.file_bytes(), "byte"),
        plural(file.shards().len(), "shard"),
    ));
    if file.shards().len() > 1 {
        for (no, shard) in file.shards().iter().enumerate() {
            let name = escape_terminal(shard.path().as_os_str().as_encoded_bytes());
            let (n, size, start) =
                (plural(shard.n_tensors(), "tensor"), bytes(shard.file_bytes()), count(shard.data_offset()));
            out.line(format_args!("  shard {no}: {name}, {n}, {size}, data from byte {start}"));
        }
    }

    if let Some(kind) = kind_sentence(file) {
        out.line(kind);
    }
    if let Some(stated) = stated_file_type(file) {
        let name = stated.name.map(|name| format!(" ({name})")).unwrap_or_default();
        let but = stated.contradiction.map(|why| format!(", but {why}")).unwrap_or_default();
        let value = file.get(gguf::GENERAL_FILE_TYPE).map_or(String::new(), abbreviated);
        out.line(format_args!("general.file_type is {value}{name}{but}"));
    }

    out.line(format_args!("\nmetadata: {}", plural(file.metadata().len(), "key")));
    let rows = file.metadata().iter().map(|(key, value)| {
        let shown = if verbose { value.to_string() } else { abbreviated(value) };
        vec![escape_terminal(key), value.type_name(), shown]
    });
    out.text(&table::render(&[("key", Align::Left), ("type", Align::Left), ("value", Align::Left)], rows));

    let n = n_values(file.tensors());
    let data: u64 = file.tensors().iter().map(|t| t.nbytes).sum();
    out.line(format_args!(
        "\ntensors: {}, {}, data from byte {}",
        count((file.tensors().len() + file.foreign_tensors().len()) as u64),
        plural(n, "value"),
        file.data_offset()
    ));
    let rows = file.tensors().iter().map(|t| {
        let ne: Vec<String> = t.shape().iter().map(u64::to_string).collect();
        vec![
            escape_terminal(&t.name),
            t.ty.to_string(),
            format!("[{}]", ne.join(", ")),
            t.offset.to_string(),
            t.nbytes.to_string(),
        ]
    });
    let columns = [
        ("name", Align::Left),
        ("type", Align::Left),
        ("ne", Align::Left),
        ("offset", Align::Right),
        ("nbytes", Align::Right),
    ];
    out.text(&table::render(&columns, rows));

    let foreign = file.foreign_tensors();
    if !foreign.is_empty() {
        let n = plural(foreign.len(), "tensor");
        out.line(format_args!("{n} of types that ggml does not know, whose values and sizes cannot be read:"));
        for tensor in foreign {
            let ne: Vec<String> = tensor.shape.iter().map(u64::to_string).collect();
            let (name, ty) = (escape_terminal(&tensor.name), tensor.type_in_words());
            out.line(format_args!("  {name}: {ty}, [{}], offset {}", ne.join(", "), tensor.offset));
        }
    }
    let long = long_names(file).count();
    if long > 0 {
        let max = count(gguf::GGML_MAX_NAME - 1);
        let (names, have) = (plural(long, "name"), if long == 1 { "has" } else { "have" });
        out.line(format_args!("{names} of tensors {have} more than {max} bytes, so llama.cpp cannot load the file"));
    }

    let bits_per_weight = bits(8.0 * data as f64 / n.max(1) as f64);
    let which = if foreign.is_empty() { "all tensors" } else { "the tensors of known types" };
    out.line(format_args!("\ntypes: {bits_per_weight} bits per weight over {which}"));
    let rows = stored_types(file.tensors()).into_iter().map(|row| {
        vec![
            row.ty,
            row.n_tensors.to_string(),
            count(row.n_values),
            row.nbytes.to_string(),
            share(row.nbytes as f64 / data.max(1) as f64),
        ]
    });
    let columns = [
        ("type", Align::Left),
        ("tensors", Align::Right),
        ("values", Align::Right),
        ("nbytes", Align::Right),
        ("share", Align::Right),
    ];
    out.text(&table::render(&columns, rows));
    out.into_string()
}

/// A value, cut to one line of a usual terminal. `--verbose` and `--json` show it whole.
fn abbreviated(value: &Value) -> String {
    const SHOWN_CHARS: usize = 72;
    // A character has at most four bytes, so of a long string only what can be shown is looked at.
    const MOST_BYTES: usize = 4 * SHOWN_CHARS + 4;
    let cut = |bytes: &[u8]| bytes[..bytes.len().min(MOST_BYTES)].to_vec();
    let is_long = |strings: &StringArray| strings.iter().take(SHOWN_CHARS).any(|s| s.len() > MOST_BYTES);
    let shown = match value {
        Value::String(bytes) => Value::String(cut(bytes)).to_string(),
        Value::Array(Array::String(strings)) if is_long(strings) => {
            let start = strings.iter().take(SHOWN_CHARS).map(|s| Value::String(cut(s)).to_string());
            format!("[\"{}", start.collect::<Vec<_>>().join("\", \""))
        }
        value => value.to_string(),
    };
    if shown.chars().count() <= SHOWN_CHARS {
        return shown;
    }
    let start: String = shown.chars().take(SHOWN_CHARS).collect();
    match value {
        Value::String(bytes) => format!("{start}… {} in all", plural(bytes.len(), "byte")),
        Value::Array(array) => format!("{start}… {} in all", count(array.len() as u64)),
        _ => format!("{start}…"),
    }
}
