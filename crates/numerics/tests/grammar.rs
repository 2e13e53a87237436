//! The grammar from outside: what it reads, how it prints, and what it refuses with which words.

use numerics::SchemeError;
use numerics::ggml::GGML_FORMATS;
use numerics::{Format, Granularity, Scheme};
use proptest::prelude::*;
use words::{Advice, Hint};

fn canonical(text: &str) -> String {
    text.parse::<Scheme>().unwrap_or_else(|e| panic!("{text}: {e}")).to_string()
}

fn refusal(text: &str) -> String {
    match text.parse::<Scheme>() {
        Ok(scheme) => panic!("{text} was read as {scheme}"),
        Err(e) => told(&e),
    }
}

/// The text of an error, with its advice on a line of its own.
fn told(error: &(impl std::fmt::Display + Advice)) -> String {
    match error.hint() {
        Some(Hint::Words(words)) => format!("{error}\nhint: {words}"),
        Some(hint) => format!("{error}\nhint: {hint:?}"),
        None => error.to_string(),
    }
}

#[test]
fn defaults_are_left_out_and_case_is_ignored() {
    for (given, printed) in [
        ("bf16", "bf16"),
        ("BF16:rne", "bf16"),
        ("bf16:trunc", "bf16:trunc"),
        (" f16 ", "f16"),
        ("tf32", "tf32"),
        ("f16@row:trunc", "f16@row:trunc"),
        ("int8@row:sym", "int8@row"),
        ("int4@block32:asym", "int4@block32:asym"),
        ("int16@Tensor", "int16@tensor"),
        ("int2@col", "int2@col"),
        ("int8@row:nonfinite=keep:asym", "int8@row:asym:nonfinite=keep"),
        ("bf16:nonfinite=error", "bf16"),
        ("identity", "identity"),
        ("jitter:seed=1", "jitter"),
        ("jitter:seed=7", "jitter:seed=7"),
        ("noise(30)", "noise(30)"),
        ("noise( 30.50 )@block32:seed=2", "noise(30.5)@block32:seed=2"),
        ("noise(-0)@tensor", "noise(0)"),
        ("zero", "zero"),
        ("bf16:away", "bf16:away"),
        ("bf16:stochastic", "bf16:stochastic"),
        ("bf16:stochastic(1)", "bf16:stochastic"),
        ("int4@row:stochastic( 7 ):asym", "int4@row:asym:stochastic(7)"),
        ("FP8_E4M3@ROW", "fp8_e4m3@row"),
        ("e4m3:fn", "fp8_e4m3"),
        ("e4m3:bias=7:fn", "fp8_e4m3"),
        ("e5m2:ieee", "fp8_e5m2"),
        ("e2m1:finite", "fp4_e2m1"),
        ("e8m7", "bf16"),
        ("e5m10:trunc", "f16:trunc"),
        ("e4m3", "e4m3"),
        ("e04m03", "e4m3"),
        ("e4m3:bias=8:finite", "e4m3:finite:bias=8"),
        ("e3m4@row:bias=-2:trunc", "e3m4@row:bias=-2:trunc"),
        ("fp8_e4m3@128x128:scale=bf16", "fp8_e4m3@128x128:scale=bf16"),
        ("int4@block32:clip=mse:scale=f16", "int4@block32:scale=f16:clip=mse"),
        ("int4@block32:clip=absmax:scale=f32", "int4@block32"),
        ("int4@tensor:clip=p99.90", "int4@tensor:clip=p99.9"),
        ("int4@tensor:clip=p100", "int4@tensor"),
        ("nf4", "nf4"),
        ("nf4@block64", "nf4"),
        ("nf4@block32", "nf4@block32"),
        ("iq4_nl:scale=f16", "iq4_nl"),
        ("iq4_nl:scale=f32", "iq4_nl:scale=f32"),
        ("fp4@row", "fp4@row"),
        ("MXFP4", "mxfp4"),
        ("mxfp8_e5m2:trunc", "mxfp8_e5m2:trunc"),
        ("mxint8:rne", "mxint8"),
        ("nvfp4", "nvfp4"),
        ("shuffle", "shuffle"),
        ("shuffle@tensor:seed=3", "shuffle:seed=3"),
        ("shuffle@4x4", "shuffle@4x4"),
        ("Q4_K", "q4_k"),
        ("ggml:Q4_K", "q4_k"),
        ("ggml:mxfp4", "ggml:mxfp4"),
        ("ggml:IQ4_NL", "ggml:iq4_nl"),
        ("ggml:bf16", "ggml:bf16"),
        ("int4@block32:ZeroPoint", "int4@block32:zeropoint"),
        ("int4@block32:scale=f16:fullrange", "int4@block32:fullrange:scale=f16"),
        ("nf4:scale=f16hier", "nf4:scale=f16hier"),
        // Names of files keep their case, everything else loses it.
        ("IQ2_XXS:IMATRIX=Dir/Model.IMatrix.GGUF", "iq2_xxs:imatrix=Dir/Model.IMatrix.GGUF"),
        ("GGML:IQ4_NL:nonfinite=keep:imatrix=a=b c.dat", "ggml:iq4_nl:imatrix=a=b c.dat:nonfinite=keep"),
        ("Codebook@Block64:scale=f16:Table=Levels.TXT", "codebook@block64:scale=f16:table=Levels.TXT"),
    ] {
        assert_eq!(canonical(given), printed, "{given}");
    }
}

#[test]
fn every_ggml_type_is_reachable_and_none_takes_a_standards_name() {
    for f in GGML_FORMATS {
        let prefixed: Scheme = format!("ggml:{}", f.name).parse().unwrap();
        assert_eq!(prefixed.ggml_format(), Some(f));
        match f.bare {
            true => assert_eq!(f.name.parse::<Scheme>(), Ok(prefixed)),
            false => assert!(
                f.name.parse::<Scheme>().map_or(true, |s| s.ggml_format().is_none()),
                "{} must not mean ggml's",
                f.name
            ),
        }
    }
}

#[test]
fn refusals_say_what_was_found_what_is_wanted_and_a_hint_on_its_own_line() {
    for (text, parts) in [
        ("", &["empty scheme", "\nhint: "][..]),
        ("int8", &["no granularity", "\nhint: int8@tensor", "int8@block32"]),
        ("int1@row", &["found int1", "int2 to int16", "\nhint: "]),
        ("int17@row", &["int2 to int16"]),
        ("int99@row", &["found int99", "\nhint: "]),
        ("int99999999999@row", &["int2 to int16"]),
        ("fp16", &["unknown format \"fp16\"", "\nhint: ListSchemes { near: [\"f16\""]),
        ("q4_kk", &["unknown format \"q4_kk\"", "q4_k"]),
        ("ggml:q4_k_m", &["unknown format", "q4_k"]),
        ("ggml:", &["unknown format"]),
        ("utter nonsense", &["unknown format", "\nhint: formats are bf16"]),
        ("mxfp5", &["unknown format \"mxfp5\"", "mxfp4"]),
        ("fp8", &["unknown format \"fp8\""]),
        ("e9m3", &["found e9m3", "X from 1 to 8", "\nhint: "]),
        ("e0m3", &["X from 1 to 8"]),
        ("e4m23", &["Y from 0 to 22"]),
        ("e99999999999m3", &["X from 1 to 8"]),
        ("e1m2", &["no codes left", "\nhint: add :finite"]),
        ("e3m0:fn", &["no codes left", "\nhint: add :finite"]),
        ("e8m3:finite", &["beyond F32", "\nhint: leave out :fn and :finite"]),
        ("e4m3:bias=128", &["bias of 128", "N from -113 to 127"]),
        ("e4m3:bias=x", &["found \"bias=x\", wanted bias=N"]),
        ("e4m3:fn:ieee", &["\"ieee\" sets what an earlier option has set"]),
        ("fp8_e4m3:bias=8", &["fp8_e4m3 has no option \"bias=8\""]),
        ("bf16:stochastic(-3)", &["stochastic(SEED)"]),
        ("bf16:stochastic[3]", &["stochastic(SEED)"]),
        ("bf16:scale=f16", &["\"scale=f16\" needs a granularity", "\nhint: for example bf16@row:scale=f16"]),
        ("fp8_e4m3:clip=mse", &["needs a granularity"]),
        ("int8@row:scale=f8", &["wanted scale=f32, f16, bf16, e8m0, pow2 or f16hier"]),
        (
            "int8@row:scale=f16hier",
            &["\"scale=f16hier\" is for blocks", "\nhint: for example int8@block32:scale=f16hier"],
        ),
        ("int4@block32:asym:scale=f16hier", &["cannot store the minimum of asym"]),
        ("int4@block32:zeropoint:scale=pow2", &["is for ranges around zero", "\nhint: "]),
        ("int4@block32:fullrange:scale=f16hier", &["cannot store the sign", "\nhint: scale=f16"]),
        ("iq4_nl:scale=f16hier", &["cannot store the sign"]),
        ("int4@block32:zeropoint:clip=mse", &["is for symmetric formats"]),
        ("int4@block32:zeropoint:asym", &["\"asym\" sets what an earlier option has set", "\nhint: leave out one"]),
        ("codebook", &["no granularity", "\nhint: "]),
        ("codebook@row", &["\"table=FILE\" is missing", "\nhint: for example codebook@block64:table="]),
        ("codebook@row:table=", &["wanted the name of a file", "\nhint: "]),
        ("codebook@row:table=a:table=b", &["\"table=b\" sets what an earlier option has set"]),
        ("nf4:table=a", &["nf4 has no option \"table=a\""]),
        ("bf16:imatrix=a", &["bf16 has no option \"imatrix=a\""]),
        ("q8_0:imatrix=F.gguf", &["\"imatrix=f.gguf\" is ignored by", "\nhint: leave it out"]),
        ("q4_0:imatrix=a:imatrix=b", &["earlier option"]),
        ("q4_0:imatrix=", &["wanted the name of a file"]),
        ("int8@row:clip=p0", &["wanted clip=absmax"]),
        ("int8@row:clip=p101", &["wanted clip=absmax"]),
        ("int8@row:clip=pnan", &["wanted clip=absmax"]),
        ("int8@row:asym:clip=mse", &["\"clip=mse\" is for symmetric formats", "\nhint: "]),
        ("int8@row:asym:scale=e8m0", &["cannot store the minimum", "scale=bf16"]),
        ("mxfp4@row", &["mxfp4 takes no granularity"]),
        ("mxfp4:scale=f16", &["mxfp4 has no option \"scale=f16\""]),
        ("nf4:trunc", &["nf4 has no option \"trunc\""]),
        ("bf16:asym", &["bf16 has no option \"asym\"", "\nhint: it has rne, trunc"]),
        ("int8@row:bias=3", &["no option \"bias=3\"", "sym, asym"]),
        ("bf16:", &["no option \"\""]),
        ("bf16:rne:trunc", &["\"trunc\" sets what an earlier option has set", "\nhint: leave out one of the two"]),
        ("bf16:trunc:rne", &["\"rne\" sets what an earlier option has set", "\nhint: "]),
        ("bf16:nonfinite=keep:nonfinite=keep", &["earlier option"]),
        ("bf16:nonfinite=maybe", &["nonfinite=error or nonfinite=keep"]),
        ("jitter:seed=-1", &["seed=N"]),
        ("jitter@row", &["jitter takes no granularity", "\nhint: write jitter"]),
        ("q4_0@row", &["q4_0 takes no granularity"]),
        ("int8@rows", &["found granularity \"rows\"", "blockN"]),
        ("int8@block0", &["found granularity \"block0\""]),
        ("int8@block", &["found granularity \"block\""]),
        ("int8@block+3", &["found granularity"]),
        ("int8@", &["found granularity \"\""]),
        ("int8@128x", &["found granularity \"128x\"", "NxM"]),
        ("int8@0x4", &["found granularity \"0x4\""]),
        ("noise", &["noise(SQNR_DB)", "\nhint: for example noise(30)"]),
        ("noise(nan)", &["noise(SQNR_DB)"]),
        ("noise(1e9)", &["−200 to 200"]),
        ("int8:row", &["no granularity"]),
    ] {
        let message = refusal(text);
        for part in parts {
            assert!(message.contains(part), "{text}: {part:?} not in {message:?}");
        }
        assert!(message.contains("\nhint: "), "{text}: no hint in {message:?}");
        assert_eq!(message.lines().count(), 2, "{text}: {message:?}");
    }
}

#[test]
fn a_granularity_is_what_was_asked_for() {
    let scheme: Scheme = "int4@block32".parse().unwrap();
    assert!(matches!(scheme.granularity(), Some(Granularity::Block(n)) if n.get() == 32));
    assert!(matches!(scheme.format(), Format::Int { bits: 4, .. }));
}

/// Any scheme that the grammar can express, written in any of its ways.
fn any_scheme() -> impl Strategy<Value = String> {
    let granularity = || {
        prop_oneof![
            (1u32.., 1u32..).prop_map(|(n, m)| format!("@{n}x{m}")),
            Just("@tensor".to_owned()),
            Just("@row".to_owned()),
            Just("@col".to_owned()),
            (1u32..).prop_map(|n| format!("@block{n}")),
        ]
    };
    let optional = || prop_oneof![Just(String::new()), granularity()];
    let nonfinite = prop_oneof![Just(""), Just(":nonfinite=keep"), Just(":nonfinite=error")];
    let seed = || prop_oneof![Just(String::new()), any::<u64>().prop_map(|s| format!(":seed={s}"))];
    let rounding = || {
        prop_oneof![
            Just(String::new()),
            Just(":rne".to_owned()),
            Just(":trunc".to_owned()),
            Just(":away".to_owned()),
            any::<u64>().prop_map(|s| format!(":stochastic({s})")),
        ]
    };
    let scale = || {
        let name = prop_oneof![Just("f32"), Just("f16"), Just("bf16"), Just("e8m0"), Just("pow2")];
        // f16hier is for blocks alone: it has a line of its own below.
        prop_oneof![Just(String::new()), name.prop_map(|s| format!(":scale={s}"))]
    };
    let clip = || {
        prop_oneof![
            Just(String::new()),
            Just(":clip=mse".to_owned()),
            (0.001f64..100.0).prop_map(|q| format!(":clip=p{q}")),
        ]
    };
    // X up to 7 leaves room for every meaning of the last codes; the bias stays in what all of them allow.
    let float = || {
        let specials = prop_oneof![Just(""), Just(":ieee"), Just(":fn"), Just(":finite")];
        let bias = prop_oneof![Just(String::new()), (1i16..127).prop_map(|b| format!(":bias={b}"))];
        prop_oneof![
            (2u8..=7, 1u8..=22, specials, bias).prop_map(|(x, y, s, b)| (format!("e{x}m{y}"), format!("{s}{b}"))),
            Just(("fp8_e4m3".to_owned(), String::new())),
            Just(("fp6_e2m3".to_owned(), String::new())),
        ]
    };
    let body = prop_oneof![
        (
            prop_oneof![Just("bf16"), Just("F16"), Just("tf32")],
            optional(),
            prop_oneof![Just(""), Just(":rne"), Just(":trunc")]
        )
            .prop_map(|(f, g, o)| format!("{f}{g}{o}")),
        (
            2u8..=16,
            granularity(),
            prop_oneof![Just(""), Just(":sym"), Just(":asym"), Just(":zeropoint"), Just(":fullrange")]
        )
            .prop_map(|(n, g, o)| format!("int{n}{g}{o}")),
        (2u8..=16, granularity(), rounding(), scale(), clip())
            .prop_map(|(n, g, r, s, c)| format!("int{n}{g}{c}{r}{s}")),
        (float(), granularity(), rounding(), scale(), clip())
            .prop_map(|((f, o), g, r, s, c)| format!("{f}{g}{s}{o}{r}{c}")),
        (2u8..=16, 1u32.., rounding(), clip()).prop_map(|(n, b, r, c)| format!("int{n}@block{b}{c}{r}:scale=f16hier")),
        ("[ -9;-~]{1,12}", granularity(), clip()).prop_map(|(name, g, c)| format!("codebook{g}{c}:table=x{name}x")),
        "[ -9;-~]{1,12}".prop_map(|name| format!("q4_k:imatrix=x{name}x")),
        (float(), rounding()).prop_map(|((f, o), r)| format!("{f}{o}{r}")),
        (prop_oneof![Just("nf4"), Just("fp4"), Just("iq4_nl")], optional(), scale(), clip())
            .prop_map(|(f, g, s, c)| format!("{f}{g}{s}{c}")),
        (prop_oneof![Just("mxfp4"), Just("mxfp6_e3m2"), Just("mxint8"), Just("nvfp4")], rounding())
            .prop_map(|(f, r)| format!("{f}{r}")),
        (optional(), seed()).prop_map(|(g, s)| format!("shuffle{g}{s}")),
        (0..GGML_FORMATS.len()).prop_map(|i| format!("ggml:{}", GGML_FORMATS[i].name)),
        Just("identity".to_owned()),
        Just("zero".to_owned()),
        seed().prop_map(|s| format!("jitter{s}")),
        (-200.0f64..200.0, optional(), seed()).prop_map(|(db, g, s)| format!("noise({db}){g}{s}")),
    ];
    (body, nonfinite).prop_map(|(body, nonfinite)| format!("{body}{nonfinite}"))
}

proptest! {
    #[test]
    fn printing_and_parsing_again_gives_the_same_scheme_and_the_same_text(text in any_scheme()) {
        let scheme: Scheme = text.parse().unwrap();
        let printed = scheme.to_string();
        let again: Scheme = printed.parse().unwrap();
        prop_assert_eq!(&again, &scheme);
        prop_assert_eq!(again.to_string(), printed);
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in "[a-z0-9_@:=().+-]{0,24}|\\PC{0,12}") {
        if let Err(e) = text.parse::<Scheme>() {
            prop_assert!(!e.to_string().is_empty());
        }
    }
}

/// Found by proptest: a blank that was printed at the end of a scheme was lost.
#[test]
fn a_blank_around_the_name_of_a_file_is_refused() {
    for text in ["codebook@row:table=x :nonfinite=error", "codebook@row:table= x", "q4_k:imatrix= :nonfinite=keep"] {
        let error = text.parse::<Scheme>().unwrap_err();
        assert!(matches!(error, SchemeError::OptionValue { .. }), "{text}: {error}");
        assert!(error.to_string().contains("no blank"), "{error}");
    }
    assert!(" codebook@row:table=x y ".parse::<Scheme>().is_ok(), "blanks around the scheme, and within a name");
}

/// Found by fuzzing: the given text came back unescaped, so that it could add a line or control a terminal.
#[test]
fn what_is_wrong_is_quoted_wherever_it_is_said() {
    for text in ["q4_0@c3i\0\u{12}l", "q4_0@\nhint: do this", "noise(\n20)@block32:scale=f16", "int8@row:\u{1b}[2J"] {
        let said = told(&text.parse::<Scheme>().expect_err(text));
        assert!(!said.chars().any(|c| c.is_control() && c != '\n'), "{said:?}");
        assert!(said.lines().skip(1).all(|line| line.starts_with("hint: ") && !line.contains("do this")), "{said:?}");
    }
}
