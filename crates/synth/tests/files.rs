//! Files that are made can be read and are the same every time.

use gguf::{GgmlType, GgufFile};
use numerics::PlainCodec;
use synth::{Architecture, ClassicModel, SmallModel, Vocabulary};

fn every_kind() -> impl Iterator<Item = Architecture> {
    Architecture::CAUSAL.into_iter().chain([Architecture::Bert, Architecture::Projector])
}

#[test]
fn every_kind_is_written_whole_and_reads_back_as_its_recipe() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for architecture in every_kind() {
        let recipe = SmallModel::new(architecture).recipe(&Vocabulary::bytes(true));
        let path = folder.path().join("model.gguf");
        let mut done = 0;
        recipe.write(&path, &PlainCodec, |n| done += n).expect("written");
        let file = GgufFile::open(&path).expect("a sound file");
        assert_eq!(file.architecture(), Some(architecture.gguf_name()));
        assert_eq!(file.metadata(), recipe.metadata);
        let found: Vec<_> = file.tensors().iter().map(|t| (t.name.as_str(), t.ty, t.shape().to_vec())).collect();
        let wanted: Vec<_> =
            recipe.tensors.iter().map(|t| (t.spec.name.as_str(), t.spec.ty, t.spec.shape.clone())).collect();
        assert_eq!(found, wanted, "{architecture:?}");
        assert_eq!(done, file.tensors().iter().map(|t| t.n_elements()).sum::<u64>(), "{architecture:?}");
        assert_eq!(file.file_bytes(), recipe.file_bytes().expect("a size"));
    }
}

#[test]
fn equal_seeds_make_equal_files_and_other_seeds_others() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let bytes = |model: SmallModel| {
        let path = folder.path().join("model.gguf");
        model.recipe(&Vocabulary::bytes(true)).write(&path, &PlainCodec, |_| {}).expect("written");
        std::fs::read(&path).expect("a file")
    };
    let model = SmallModel { matrices: GgmlType::F16, ..SmallModel::new(Architecture::Qwen2) };
    assert_eq!(bytes(model), bytes(model));
    let (one, other) = (bytes(model), bytes(SmallModel { seed: 2, ..model }));
    assert!(one.len() == other.len() && one != other);
}

#[test]
fn a_vocabulary_is_copied_from_a_file_and_padded_at_its_end() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("model.gguf");
    let bytes = Vocabulary::bytes(false);
    SmallModel::new(Architecture::Llama).recipe(&bytes).write(&path, &PlainCodec, |_| {}).expect("written");
    let copied = Vocabulary::of(&GgufFile::open(&path).expect("a sound file")).expect("a tokenizer");
    assert_eq!(copied, bytes);
    let padded = copied.clone().padded_to(300).expect("more than 259");
    assert_eq!(padded.n_vocab(), 300);
    for (key, value) in padded.metadata() {
        if let Some(array) = value.as_array() {
            assert_eq!(array.len(), 300, "{key}");
        }
    }
    assert!(copied.padded_to(258).is_err());
    assert!(ClassicModel::TinyLlama.recipe(1, Some(padded)).is_ok());
}
