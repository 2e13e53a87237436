#!/usr/bin/env python3
"""Takes four real models through inspect, census, eval and a run, and writes what assay says of them to docs/real-models.md.

Exits with 1 if a command fails. The page has no times, so that the same models give the same page.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

MODELS = [
    ("SmolLM2-135M-Instruct.Q4_1.gguf", "a small llama, Q4_1"),
    ("gemma-3-270m-q4_k_m.gguf", "a small Gemma 3, whose norms are 1 + BF16"),
    ("Qwen2.5-Coder-0.5B-Instruct-AWQ.Q4_K_M.gguf", "a Qwen2 that was quantized with AWQ before it was converted"),
    ("Qwen2.5-Coder-1.5B-Instruct.Q4_K_M.gguf", "a Qwen2 with the shapes of Qwen2-1.5B"),
]
TEXT_IN_WORDS = "Perplexities and runs are over the built-in text, 2 windows of 256 tokens."
TEXT = ["--ctx", "256", "--chunks", "2"]


class Failed(Exception):
    pass


def answer(assay, *args):
    """The JSON answer of a command."""
    print("real-models: assay " + " ".join(str(arg) for arg in args), file=sys.stderr, flush=True)
    done = subprocess.run([assay, *args, "--json", "--quiet"], capture_output=True, text=True)
    if done.returncode != 0:
        raise Failed(f"exit {done.returncode}: {done.stderr.strip()}")
    return json.loads(done.stdout)


def section(assay, path, what, runs, census_only):
    inspected = answer(assay, "inspect", path)
    census = answer(assay, "census", path)
    types = ", ".join(f"{kind['n_tensors']} {kind['type']}" for kind in inspected["types"])
    lines = [f"## {path.name}", "", f"This is {what}. Its tensors: {types}.", "", "What the census says:", ""]
    said = census["verdict"] + census["summary"]
    lines += [f"- {sentence}" for sentence in said]
    if census_only:
        return lines + [""]
    scored = answer(assay, "eval", path, *TEXT)
    run = answer(assay, "run", "ffn-norm-bf16", path, *TEXT, "--layer-chunks", "1", "--out", runs / path.name)
    lines += ["", f"Perplexity of the exact arm: {scored['ppl']:.4f} over {scored['n_tokens']:,} tokens.", ""]
    lines += ["`assay run ffn-norm-bf16`:", ""]
    lines += [f"- {each['sentence']}" for each in run["answers"]]
    lines += [f"- The census before the run: {each['census']}." for each in run["answers"]]
    checked = sum(control["ok"] for control in run["controls"])
    lines += [f"- {checked} of {len(run['controls'])} checks of the run held.", ""]
    return lines


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--assay", required=True, type=Path)
    parser.add_argument("--models", required=True, type=Path)
    parser.add_argument("--runs", required=True, type=Path, help="folder for the runs")
    parser.add_argument("--census-only", action="store_true", help="leave out perplexities and runs")
    parser.add_argument("--out", required=True, type=Path)
    args = parser.parse_args()
    page = [
        "# Four real models",
        "",
        "This page was written by `scripts/real-models.py --census-only`. `make real-models` adds perplexities and a run for each model."
        if args.census_only
        else f"This page was written by `make real-models`. {TEXT_IN_WORDS}",
        "",
    ]
    for name, what in MODELS:
        try:
            page += section(args.assay, args.models / name, what, args.runs, args.census_only)
        except Failed as failed:
            sys.exit(f"real-models: {name}: {failed}")
    args.out.write_text("\n".join(page).rstrip() + "\n")


main()
