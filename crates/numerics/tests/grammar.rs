//! The grammar from outside: what is read, how it is printed, what is refused and with which words.

use numerics::ggml::GGML_FORMATS;
use numerics::{Format, Granularity, Scheme};
use proptest::prelude::*;

fn canonical(text: &str) -> String {
    text.parse::<Scheme>().unwrap_or_else(|e| panic!("{text}: {e}")).to_string()
}

fn refusal(text: &str) -> String {
    match text.parse::<Scheme>() {
        Ok(scheme) => panic!("{text} was read as {scheme}"),
        Err(e) => e.to_string(),
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
        ("Q4_K", "q4_k"),
        ("ggml:Q4_K", "q4_k"),
        ("ggml:mxfp4", "ggml:mxfp4"),
        ("ggml:IQ4_NL", "ggml:iq4_nl"),
        ("ggml:bf16", "ggml:bf16"),
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
        ("int1@row", &["found int1", "int2 to int16"]),
        ("int17@row", &["int2 to int16"]),
        ("int99999999999@row", &["int2 to int16"]),
        ("fp16", &["unknown format \"fp16\"", "\nhint: did you mean f16"]),
        ("q4_kk", &["unknown format \"q4_kk\"", "q4_k"]),
        ("ggml:q4_k_m", &["unknown format", "q4_k"]),
        ("ggml:", &["unknown format"]),
        ("utter nonsense", &["unknown format", "\nhint: formats are bf16"]),
        ("mxfp4", &["not built", "\nhint: ", "ggml:mxfp4"]),
        ("nvfp4", &["not built", "ggml:nvfp4"]),
        ("iq4_nl", &["not built", "ggml:iq4_nl"]),
        ("fp8_e4m3", &["\"fp8_e4m3\" is not built", "bf16, f16, tf32, intN"]),
        ("e4m3@row", &["\"e4m3\" is not built"]),
        ("nf4", &["not built"]),
        ("shuffle", &["not built"]),
        ("bf16:stochastic(3)", &["option \"stochastic(3)\" is not built", "rne, trunc"]),
        ("int8@row:scale=f16", &["option \"scale=f16\" is not built"]),
        ("q4_0:imatrix=f.gguf", &["\"imatrix=f.gguf\" is not built"]),
        ("bf16:asym", &["bf16 has no option \"asym\"", "\nhint: it has rne, trunc"]),
        ("int8@row:trunc", &["no option \"trunc\"", "sym, asym"]),
        ("bf16:", &["no option \"\""]),
        ("bf16:rne:trunc", &["\"trunc\" sets what an earlier option has set"]),
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
        ("int8@128x128", &["@128x128 is not built"]),
        ("noise", &["noise(SQNR_DB)", "\nhint: for example noise(30)"]),
        ("noise(nan)", &["noise(SQNR_DB)"]),
        ("noise(1e9)", &["−200 to 200"]),
        ("int8:row", &["no granularity"]),
    ] {
        let message = refusal(text);
        for part in parts {
            assert!(message.contains(part), "{text}: {part:?} not in {message:?}");
        }
    }
}

#[test]
fn a_granularity_is_what_was_asked_for() {
    let scheme: Scheme = "int4@block32".parse().unwrap();
    assert!(matches!(scheme.granularity(), Some(Granularity::Block(n)) if n.get() == 32));
    assert!(matches!(scheme.format(), Format::Int { bits: 4, .. }));
}

/// Any scheme that the grammar of this version can express, written in any of its ways.
fn any_scheme() -> impl Strategy<Value = String> {
    let granularity = || {
        prop_oneof![
            Just("@tensor".to_owned()),
            Just("@row".to_owned()),
            Just("@col".to_owned()),
            (1u32..).prop_map(|n| format!("@block{n}")),
        ]
    };
    let optional = || prop_oneof![Just(String::new()), granularity()];
    let nonfinite = prop_oneof![Just(""), Just(":nonfinite=keep"), Just(":nonfinite=error")];
    let seed = || prop_oneof![Just(String::new()), any::<u64>().prop_map(|s| format!(":seed={s}"))];
    let body = prop_oneof![
        (
            prop_oneof![Just("bf16"), Just("F16"), Just("tf32")],
            optional(),
            prop_oneof![Just(""), Just(":rne"), Just(":trunc")]
        )
            .prop_map(|(f, g, o)| format!("{f}{g}{o}")),
        (2u8..=16, granularity(), prop_oneof![Just(""), Just(":sym"), Just(":asym")])
            .prop_map(|(n, g, o)| format!("int{n}{g}{o}")),
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
