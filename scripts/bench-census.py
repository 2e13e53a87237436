#!/usr/bin/env python3
"""Times `assay census` on a large F16 file against the plain numpy check of low bits on the same file.

The file is made here unless --file names one: one Gaussian tensor after another, seeded, all F16.
Every figure is the best of --rounds, the programs taking turns, after one pass that warms the page cache.
Before that, with --bench and a command that runs the benchmark of the crate, what looking at every value of a buffer
in memory costs beside reading that buffer.
"""

import argparse
import pathlib
import shlex
import subprocess
import tempfile
import time

import gguf
import numpy as np
from divan import medians

N_PER_ROW = 4096
ROWS = 8192


def write_file(path, size_bytes):
    """F16 matrices of 64 MB each, Gaussian from one seeded block that is rolled, so that rows do not repeat."""
    writer = gguf.GGUFWriter(str(path), "llama", use_temp_file=False)
    block = (0.02 * np.random.default_rng(1).standard_normal((ROWS, N_PER_ROW), dtype=np.float32)).astype(np.float16)
    n = max(1, round(size_bytes / block.nbytes))
    for i in range(n):
        writer.add_tensor_info(f"blk.{i}.ffn_up.weight", block.shape, block.dtype, block.nbytes)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for i in range(n):
        writer.write_tensor_data(np.roll(block, 37 * i, axis=1))
    writer.close()


def read_all(path):
    """Seconds to read the file once, in pieces."""
    buffer = bytearray(1 << 24)
    start = time.perf_counter()
    with open(path, "rb", buffering=0) as file:
        while file.readinto(buffer):
            pass
    return time.perf_counter() - start


def numpy_check(path):
    """Seconds of the check that everybody writes: are the bits below BF16's all zero, of F16 its low three?"""
    start = time.perf_counter()
    coarse = 0
    for tensor in gguf.GGUFReader(str(path)).tensors:
        low = 0x7 if tensor.data.dtype == np.float16 else 0xFFFF
        bits = tensor.data.view(np.uint16 if tensor.data.dtype == np.float16 else np.uint32)
        coarse += int(((bits & low) == 0).all())
    return time.perf_counter() - start, coarse


def census(assay, path):
    """Seconds of the whole census."""
    start = time.perf_counter()
    subprocess.run([assay, "census", str(path), "--json"], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


# Bytes of the buffer that each benchmark of crates/lineage/benches/census.rs looks at.
BENCH_BYTES = {"read": 4 << 26, "float_grids": 4 << 26, "spread": 4 << 26, "rows": 4 << 26}
BENCH_BYTES |= {"survey_f32": 4 << 26, "survey_f16": 2 << 26, "survey_bf16": 2 << 26}


def bench(command):
    """GB/s of each look at a buffer, and its share of the speed of reading that many bytes."""
    out = subprocess.run(shlex.split(command), check=True, stdout=subprocess.PIPE, text=True).stdout
    seconds = {name: s for (name, _), s in medians(out).items() if name in BENCH_BYTES}
    speed = {name: BENCH_BYTES[name] / s / 1e9 for name, s in seconds.items()}
    for name, n in speed.items():
        wanted = "  (wanted: at least 5 GB/s)" if name == "float_grids" else ""
        print(f"{name:16} {n:7.2f} GB/s  {n / speed['read']:5.2f} of reading{wanted}")


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--assay", required=True, help="the binary")
    arguments.add_argument("--file", type=pathlib.Path, help="a GGUF file instead of a made one")
    arguments.add_argument("--gigabytes", type=float, default=2.5, help="size of the made one")
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--bench", help="a command that runs the crate's benchmark")
    given = arguments.parse_args()
    if given.bench:
        bench(given.bench)
    with tempfile.TemporaryDirectory() as folder:
        path = given.file or pathlib.Path(folder) / "bench.gguf"
        if given.file is None:
            print(f"making {given.gigabytes} GB of F16", flush=True)
            write_file(path, given.gigabytes * 1e9)
        gigabytes = path.stat().st_size / 1e9
        read_all(path)
        times = {"read": [], "assay census": [], "numpy low bits": []}
        for _ in range(given.rounds):
            times["read"].append(read_all(path))
            times["assay census"].append(census(given.assay, path))
            times["numpy low bits"].append(numpy_check(path)[0])
        best = {what: min(of) for what, of in times.items()}
        for what, of in best.items():
            print(f"{what:16} {of:7.2f} s  {gigabytes / of:6.2f} GB/s")
        beyond = best["assay census"] - best["read"]
        print(f"census beyond reading {beyond:7.2f} s of {gigabytes:.2f} GB (wanted: below 3 s of 2.5 GB)")
        print(f"census takes {best['assay census'] / best['numpy low bits']:.2f} times as long as the numpy check")


if __name__ == "__main__":
    main()
