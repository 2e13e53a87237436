#!/usr/bin/env python3
"""Times `assay census` on a large F16 file against the plain numpy check of low bits on the same file.

The file is made here unless --file names one: one Gaussian tensor after another, seeded, all F16.
Every figure is the best of --rounds, the programs taking turns, after one pass that warms the page cache.
"""

import argparse
import pathlib
import subprocess
import tempfile
import time

import gguf
import numpy as np

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


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--assay", required=True, help="the binary")
    arguments.add_argument("--file", type=pathlib.Path, help="a GGUF file instead of a made one")
    arguments.add_argument("--gigabytes", type=float, default=2.5, help="size of the made one")
    arguments.add_argument("--rounds", type=int, default=3)
    given = arguments.parse_args()
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
        print(f"census beyond reading {best['assay census'] - best['read']:7.2f} s of {gigabytes:.2f} GB (wanted: below 3 s of 2.5 GB)")


if __name__ == "__main__":
    main()
