//! Writes what the fuzzers start from: the malformed files of the reader's own table, and everything that the grammars know.

#[path = "../../crates/gguf/tests/malformed/cases.rs"]
mod cases;
#[path = "../../crates/gguf/tests/support/mod.rs"]
mod support;

use std::path::Path;

fn main() -> std::io::Result<()> {
    let folder = std::env::args().nth(1).expect("usage: seeds FOLDER");
    let put = |target: &str, seeds: Vec<Vec<u8>>| -> std::io::Result<()> {
        let folder = Path::new(&folder).join(target);
        std::fs::create_dir_all(&folder)?;
        for (i, seed) in seeds.iter().enumerate() {
            std::fs::write(folder.join(format!("seed-{i:03}")), seed)?;
        }
        println!("{}: {} seeds", folder.display(), seeds.len());
        Ok(())
    };
    put("reader", cases::malformed().into_iter().map(|case| case.bytes).collect())?;

    let options = [
        "bf16:trunc:nonfinite=keep",
        "e5m2:ieee",
        "e4m3:fn:bias=8",
        "e3m2:finite",
        "int4@block32:asym:scale=f16:clip=mse",
        "int8@128x128:clip=p99.9:stochastic(3)",
        "nf4@block64:scale=bf16",
        "fp8_e4m3@tensor:scale=e8m0:away",
        "noise(20.5)@row:seed=7",
        "jitter:seed=2",
        "INT3@COL",
        "int4@block16:zeropoint:scale=bf16",
        "int8@row:fullrange",
        "int4@block32:scale=f16hier:clip=mse",
        "codebook@block64:table=levels.txt",
        "q4_K:imatrix=some file.gguf",
        "e4m3@block32:scale=pow2",
    ];
    let examples = numerics::formats::FORMATS.iter().map(|format| format.example);
    put("scheme", options.into_iter().chain(examples).map(|text| text.into()).collect())?;

    let texts = [
        "attn[layers=0,2-5,-1]",
        "ffn[layers=-3--1]=int8@row",
        "re:/blk\\.[0-9]+\\.attn_(q|k)/=bf16",
        "re:/a=b/",
        "experts[experts=3]",
        "ffn_norm[where=activation]=f16",
        "residual[layers=0-3]=int8@row",
        "kv=q8_0",
        "token_embd[use=lookup]=int4@row",
        "output[use=head]=nf4",
        "attn_q,attn_k=q4_0",
        "blk.0.attn_q.weight[layers=0]=int4@block32:asym",
        "0,3-5,-1",
    ];
    let roles = lab::TargetRole::all().map(|role| role.name());
    put("selector", texts.into_iter().chain(roles).map(|text| text.into()).collect())
}
