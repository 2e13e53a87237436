//! Can this machine and this build do what assay does?

use numerics::{BlockCodec, Scheme, TensorContext};
use record::answer::{DOCTOR_FORMAT, DoctorAnswer, DoctorCheck};
use std::path::PathBuf;
use std::process::Command;
use words::{Hint, bytes};
use worker::{AvailableMemory, MemoryBound};

/// What a front knows about the environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DoctorRequest {
    /// The engine, its revision and the CPU features that its kernels were built for.
    pub engine_build: String,
    /// The main memory that may be used, and what bounds it; `None` where the system does not say.
    pub available_memory: Option<AvailableMemory>,
    /// The Python interpreter in which some tests look for their reference package; `None` where there is none.
    pub python: Option<PathBuf>,
}

/// Makes all checks.
pub fn doctor(request: &DoctorRequest, codec: &dyn BlockCodec) -> DoctorAnswer {
    let checks = vec![
        build(),
        cpu(),
        engine(&request.engine_build, codec),
        known_answers(codec),
        memory(request.available_memory),
        disk(),
        oracle(request.python.as_ref()),
    ];
    DoctorAnswer { format: DOCTOR_FORMAT, ok: checks.iter().all(|check| check.ok), checks }
}

fn check(name: &str, ok: bool, detail: String, advice: Option<Hint>) -> DoctorCheck {
    DoctorCheck { name: name.into(), ok, detail, hint: None, advice }
}

/// Advice about the world, unless all is well.
fn unless(well: bool, words: &'static str) -> Option<Hint> {
    (!well).then(|| Hint::words(words))
}

fn build() -> DoctorCheck {
    let optimised = !cfg!(debug_assertions);
    let hint = unless(optimised, "this is a debug build, many times slower; build in the release profile");
    let (version, os, arch) = (env!("CARGO_PKG_VERSION"), std::env::consts::OS, std::env::consts::ARCH);
    check("build", true, format!("assay {version} for {arch} {os}"), hint)
}

/// Checks the CPU features that the engine's kernels are built for. If one is missing, the process would end at its
/// first such instruction.
fn cpu() -> DoctorCheck {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    #[cfg(target_arch = "x86_64")]
    let (ok, features) = {
        let features = [
            ("avx2", std::arch::is_x86_feature_detected!("avx2")),
            ("fma", std::arch::is_x86_feature_detected!("fma")),
            ("f16c", std::arch::is_x86_feature_detected!("f16c")),
        ];
        let words: Vec<String> =
            features.iter().map(|(n, has)| format!("{}{n}", if *has { "" } else { "no " })).collect();
        (features.iter().all(|(_, has)| *has), words.join(", "))
    };
    #[cfg(not(target_arch = "x86_64"))]
    let (ok, features) = (true, "features not looked at on this architecture".to_owned());
    let hint = unless(ok, "the engine is built for x86-64 with AVX2, FMA and F16C; use a newer CPU");
    check("cpu", ok, format!("{threads} threads, {features}"), hint)
}

/// Checks that the engine and the container have the same table of types.
fn engine(build: &str, codec: &dyn BlockCodec) -> DoctorCheck {
    let differs = gguf::GgmlType::ALL.iter().find(|ty| {
        codec
            .layout(ty.name())
            .is_none_or(|layout| (layout.blck_size as u64, layout.type_size as u64) != (ty.blck_size(), ty.type_size()))
    });
    match differs {
        None => check("engine", true, format!("{}, {} tensor types agree", build, gguf::GgmlType::ALL.len()), None),
        Some(ty) => {
            let detail = format!("{}: blocks of {ty} are not as the container expects", build);
            check("engine", false, detail, unless(false, BROKEN_BUILD))
        }
    }
}

/// Checks a few values whose rounding can be checked by hand.
fn known_answers(codec: &dyn BlockCodec) -> DoctorCheck {
    // BF16 has steps of 1/128 above 1: 1/256 and 3/256 lie halfway between neighbours, and the even one wins.
    const PART: f32 = 1.0 / 256.0;
    let cases: [(&str, &[f32], &[f32]); 4] = [
        ("bf16", &[1.0 + PART, 1.0 + 3.0 * PART, -0.0], &[1.0, 1.0 + 4.0 * PART, -0.0]),
        ("bf16:trunc", &[1.0 + 3.0 * PART, 1.0, -1.0 - 3.0 * PART], &[1.0 + 2.0 * PART, 1.0, -1.0 - 2.0 * PART]),
        ("int8@row", &[127.0, 0.4, -2.5], &[127.0, 0.0, -2.0]),
        ("q8_0", &Q8_0_GIVEN, &Q8_0_WANTED),
    ];
    for (text, given, wanted) in cases {
        let mut values = given.to_vec();
        let context = TensorContext { name: "self-check", n_per_row: values.len() };
        let scheme = match text.parse::<Scheme>() {
            Ok(scheme) => scheme,
            Err(error) => return check("known answers", false, error.to_string(), unless(false, BROKEN_BUILD)),
        };
        if let Err(error) = scheme.fake_quantize(&mut values, &context, codec) {
            return check("known answers", false, error.to_string(), unless(false, BROKEN_BUILD));
        }
        let same = values.iter().zip(wanted).all(|(a, b)| a.to_bits() == b.to_bits());
        if !same {
            let detail = format!("{text} of {given:?}: found {values:?}, wanted {wanted:?}");
            return check("known answers", false, detail, unless(false, BROKEN_BUILD));
        }
    }
    check("known answers", true, format!("{} schemes round as they must", cases.len()), None)
}

/// A block of q8_0 whose scale is 1. ggml rounds halves away from zero, unlike the schemes above.
const Q8_0_GIVEN: [f32; 32] = {
    let mut values = [0.0; 32];
    values[0] = 127.0;
    values[1] = 2.5;
    values[31] = -0.75;
    values
};
const Q8_0_WANTED: [f32; 32] = {
    let mut values = [0.0; 32];
    values[0] = 127.0;
    values[1] = 3.0;
    values[31] = -1.0;
    values
};

const BROKEN_BUILD: &str = "this build computes wrong numbers; build again, and report it";

/// The memory that a small model in F32 needs, with its logits and the engine itself.
const ENOUGH_MEMORY_BYTES: u64 = 4 << 30;

fn memory(available: Option<AvailableMemory>) -> DoctorCheck {
    let Some(available) = available else {
        return check("memory", true, "not known on this system".into(), None);
    };
    let enough = available.bytes >= ENOUGH_MEMORY_BYTES;
    let hint = unless(enough, "the demo's models need up to 4 GiB; larger ones more");
    let by = match available.bound {
        MemoryBound::Machine => "",
        MemoryBound::ControlGroup => " within the limit of a control group",
        MemoryBound::AddressSpace => " within the limit on the address space (ulimit -v)",
    };
    check("memory", true, format!("{} available{by}", bytes(available.bytes)), hint)
}

/// The free disk space that a run needs; its folder takes a few megabytes.
const ENOUGH_DISK_BYTES: u64 = 256 << 20;

fn disk() -> DoctorCheck {
    match rustix::fs::statvfs(".") {
        Ok(fs) => {
            let free = fs.f_bavail.saturating_mul(fs.f_frsize);
            let ok = free >= ENOUGH_DISK_BYTES;
            let hint = unless(ok, "run folders are written here; free some space, or choose another folder for them");
            check("disk", ok, format!("{} free in this folder", bytes(free)), hint)
        }
        Err(error) => {
            check("disk", false, format!("this folder cannot be asked: {error}"), unless(false, "is it still there?"))
        }
    }
}

/// Looks for the Python package that some tests compare with. Nothing that assay computes needs it.
fn oracle(python: Option<&PathBuf>) -> DoctorCheck {
    let version = python.and_then(|python| {
        let script = "from importlib.metadata import version; print(version('gguf'))";
        let found = Command::new(python).args(["-I", "-c", script]).output().ok()?;
        found.status.success().then(|| String::from_utf8_lossy(&found.stdout).trim().to_owned())
    });
    match version {
        Some(version) => check("oracle", true, format!("gguf-py {version}"), None),
        None => check(
            "oracle",
            true,
            "optional, not found: gguf-py, which only some comparisons of the self-check need".into(),
            Some(Hint::AddReferencePython),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use numerics::PlainCodec;

    #[test]
    fn a_codec_without_ggmls_types_is_a_broken_build_and_says_what_to_do() {
        let request = DoctorRequest { engine_build: "mock engine 1".into(), available_memory: None, python: None };
        let answer = doctor(&request, &PlainCodec);
        let failed: Vec<&str> = answer.checks.iter().filter(|c| !c.ok).map(|c| c.name.as_str()).collect();
        assert_eq!((answer.ok, failed), (false, vec!["engine", "known answers"]));
        assert!(answer.checks.iter().all(|check| check.ok || check.advice.is_some()));
    }
}
