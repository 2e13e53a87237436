#!/usr/bin/env python3
"""Perplexity throughput of `assay eval` beside llama-perplexity's, on the same file and text.

The two run in turn, round after round, so that a change in the machine's load meets both. Each
program is timed from outside over a short and a long pass; the difference is the time of the
windows between them, without start, loading and tokenizing. Settings that change the work are
equal on both sides: window, ubatch, threads, flash attention, repacking off, stored weights
(assay's native arm). The two perplexities must agree, or the comparison means nothing.
"""

import argparse
import json
import os
import pathlib
import re
import statistics
import subprocess
import sys
import time

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache")
# llama-perplexity decodes four windows of 512 at once, so both passes are whole multiples of four.
SHORT, LONG = 4, 12
# The revisions of llama.cpp differ slightly; their perplexities agree to four decimals of about 30.
PPL_TOLERANCE = 5e-5


def fail(what, hint):
    print(f"bench: {what}\nhint: {hint}", file=sys.stderr)
    sys.exit(2)


def timed(command):
    """Wall seconds and the output of a command; a failing command ends the benchmark."""
    start = time.perf_counter()
    run = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    seconds = time.perf_counter() - start
    if run.returncode != 0:
        tail = "\n".join((run.stdout + run.stderr).splitlines()[-5:])
        fail(f"{command[0]} ended with {run.returncode}\n{tail}", "run it by hand: " + " ".join(map(str, command)))
    return seconds, run.stdout, run.stderr


def assay(options, chunks):
    """One pass of `assay eval`: wall seconds and perplexity."""
    seconds, out, _ = timed([
        options.assay, "eval", options.model, "--text", options.text, "--ctx", options.ctx, "--chunks", chunks,
        "--threads", options.threads, "--arm", "native", "--quiet", "--json",
    ])
    result = json.loads(out)
    if result["n_chunks"] != chunks:
        fail(f"assay measured {result['n_chunks']} windows, {chunks} wanted", "give a longer text with --text")
    return seconds, result["ppl"]


def peer(options, chunks):
    """One pass of llama-perplexity: wall seconds and perplexity."""
    seconds, out, err = timed([
        options.peer, "-m", options.model, "-f", options.text, "-c", options.ctx, "--chunks", chunks,
        "-t", options.threads, "-fa", "on", "--no-repack", "-ngl", 0,
    ])
    told = out + err
    measured = re.search(r"calculating perplexity over (\d+) chunks", told)
    ppl = re.search(r"Final estimate: PPL = ([0-9.]+)", told)
    if not (measured and ppl):
        fail("llama-perplexity's output has no final estimate", "has another version changed its words?")
    if int(measured.group(1)) != chunks:
        fail(f"llama-perplexity measured {measured.group(1)} windows, {chunks} wanted", "give a longer text with --text")
    return seconds, float(ppl.group(1))


def throughput(program, options):
    """Tokens a second over the windows between the short and the long pass, and the long pass's perplexity."""
    short_s, _ = program(options, SHORT)
    long_s, ppl = program(options, LONG)
    if long_s <= short_s:
        fail(f"{LONG} windows took no longer than {SHORT}", "the machine is too busy to measure anything")
    return (LONG - SHORT) * options.ctx / (long_s - short_s), ppl


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("--assay", type=pathlib.Path, default=REPOSITORY / "target/release/assay")
    parser.add_argument("--peer", type=pathlib.Path, default=CACHE / "assay/peer/llama-perplexity")
    parser.add_argument("--text", type=pathlib.Path, default=REPOSITORY / "crates/lab/assets/demo.txt")
    parser.add_argument("--ctx", type=int, default=512)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    for path in (options.model, options.assay, options.peer, options.text):
        if not path.is_file():
            fail(f"{path}: no such file", "`make bench` brings everything that is needed")

    print(f"{options.model.name}, {options.text.name}, ctx {options.ctx}, {options.threads} threads, "
          f"windows {SHORT + 1} to {LONG} of each pass, {options.rounds} rounds")
    print("baseline: llama-perplexity of llama-cpp-python 0.3.36, same kernels (AVX2, FMA, F16C), no OpenMP, no repacking")
    print(f"{'round':>5}  {'assay tok/s':>11}  {'baseline tok/s':>14}  {'ratio':>6}")
    ours, theirs, ratios = [], [], []
    for n in range(options.rounds):
        # Who goes first alternates, so that neither always finds the warmer machine.
        order = [assay, peer] if n % 2 == 0 else [peer, assay]
        results = {program: throughput(program, options) for program in order}
        (a, a_ppl), (b, b_ppl) = results[assay], results[peer]
        if abs(a_ppl - b_ppl) > PPL_TOLERANCE * b_ppl:
            fail(f"perplexities differ: assay {a_ppl:.4f}, baseline {b_ppl:.4f}", "the two did not do the same work")
        ours.append(a)
        theirs.append(b)
        ratios.append(a / b)
        print(f"{n + 1:>5}  {a:>11.1f}  {b:>14.1f}  {a / b:>6.3f}", flush=True)
    for name, pick in (("min", min), ("median", statistics.median), ("max", max)):
        print(f"{name:>6} {pick(ours):>11.1f}  {pick(theirs):>14.1f}  {pick(ratios):>6.3f}")
    print(f"perplexity of both: {a_ppl:.4f} (assay), {b_ppl:.4f} (baseline)")
    print(f"assay's throughput is {statistics.median(ratios):.3f} of the baseline's (median of {len(ratios)} rounds)")


if __name__ == "__main__":
    main()
