#!/usr/bin/env python3
"""Output bytes per second of `assay quantize` beside dd's and numpy's, and its peak memory.

The model is made from a seed: an F16 file with the shapes of Llama-3.2-1B (2.5 GB at --scale 1). For each scheme, round after
round and in turn, so that a change in the machine's load meets all three:

  assay   quantize --target weights --scheme SCHEME
  dd      if=/dev/zero conv=fsync, as many bytes as assay wrote; the faster of two
  numpy   the same transform tensor by tensor, read and written with gguf-py, and fsynced

The files of assay and of numpy must hold the same values, or the comparison means nothing. Goals: 0.7 of dd, 10 times numpy,
and a peak below 512 MiB. Exit 1 when one is missed and --strict was given.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import gguf
import numpy

# Llama-3.2-1B.
N_LAYER, N_EMBD, N_FF, N_KV, N_VOCAB = 16, 2048, 8192, 512, 128_256
SCHEMES = ("bf16", "int4@block32")
GOAL_DD, GOAL_NUMPY, GOAL_PEAK_MIB = 0.7, 10.0, 512
# Rows that numpy draws and converts at once.
ROWS = 4096


def fail(what, hint):
    print(f"bench: {what}\nhint: {hint}", file=sys.stderr)
    sys.exit(2)


def shapes(scale):
    """Name and shape, rows first, of every tensor; `scale` cuts rows of the embedding and layers."""
    yield "token_embd.weight", (max(64, int(N_VOCAB * scale)), N_EMBD)
    for i in range(max(1, int(N_LAYER * scale))):
        for name, shape in (
            ("attn_norm", (N_EMBD,)), ("attn_q", (N_EMBD, N_EMBD)), ("attn_k", (N_KV, N_EMBD)), ("attn_v", (N_KV, N_EMBD)),
            ("attn_output", (N_EMBD, N_EMBD)), ("ffn_norm", (N_EMBD,)), ("ffn_gate", (N_FF, N_EMBD)),
            ("ffn_up", (N_FF, N_EMBD)), ("ffn_down", (N_EMBD, N_FF)),
        ):
            yield f"blk.{i}.{name}.weight", shape
    yield "output_norm.weight", (N_EMBD,)


def make(path, scale, seed):
    """Writes the model: normal weights in F16, norms around one in F32, as a converter would."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(max(1, int(N_LAYER * scale)))
    writer.add_embedding_length(N_EMBD)
    for name, shape in shapes(scale):
        ty = numpy.float32 if len(shape) == 1 else numpy.float16
        n_bytes = int(numpy.prod(shape)) * numpy.dtype(ty).itemsize
        writer.add_tensor_info(name, shape, numpy.dtype(ty), n_bytes)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    draw = numpy.random.default_rng(seed)
    out = writer.fout[0]
    writer.write_padding(out, out.tell())
    for name, shape in shapes(scale):
        if len(shape) == 1:
            out.write((1 + 0.1 * draw.standard_normal(shape, dtype=numpy.float32)).tobytes())
        else:
            for start in range(0, shape[0], ROWS):
                rows = min(ROWS, shape[0] - start)
                out.write((0.02 * draw.standard_normal((rows, shape[1]), dtype=numpy.float32)).astype(numpy.float16).tobytes())
        writer.write_padding(out, out.tell())
    writer.close()


def bf16(x):
    """F32 to the nearest BF16 value, ties to even."""
    bits = x.view(numpy.uint32)
    bits = bits + 0x7FFF + ((bits >> 16) & 1)
    return (bits & 0xFFFF0000).view(numpy.float32)


def int4_block32(x):
    """Symmetric integers of -7 to 7 steps of absmax / 7, for each 32 values."""
    blocks = x.reshape(-1, 32)
    d = numpy.abs(blocks).max(axis=1, keepdims=True) / numpy.float32(7)
    with numpy.errstate(divide="ignore", invalid="ignore"):
        q = numpy.clip(numpy.rint(blocks / d), -7, 7)
    # Adding 0 makes -0 the zero that an integer has.
    return (numpy.where(d == 0, numpy.float32(0), q * d) + numpy.float32(0)).reshape(x.shape)


def by_numpy(source, target, scheme):
    """What a careful script would do: read with gguf-py, transform each tensor whole, write with gguf-py."""
    transform = {"bf16": bf16, "int4@block32": int4_block32}[scheme]
    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(target, "llama")
    for t in reader.tensors:
        writer.add_tensor_info(t.name, [int(n) for n in reversed(t.shape)], numpy.dtype(numpy.float32), int(t.n_elements) * 4)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    out = writer.fout[0]
    writer.write_padding(out, out.tell())
    for t in reader.tensors:
        x = numpy.asarray(t.data).astype(numpy.float32)
        (transform(x) if len(t.shape) > 1 else x).tofile(out)
        out.flush()
        writer.write_padding(out, out.tell())
    out.flush()
    os.fsync(out.fileno())
    writer.close()


def timed(command):
    """Wall seconds, peak memory in MiB and standard output of a command."""
    start = time.perf_counter()
    process = subprocess.Popen([str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    out, err = process.stdout.read(), process.stderr.read()
    _, status, used = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        fail(f"{command[0]} ended with {process.returncode}\n{err.decode(errors='replace')}", "run it by hand")
    return seconds, used.ru_maxrss / 1024, out


def in_a_child(*arguments):
    """Runs a part of this script in a process of its own: a child begins with its parent's peak memory, so the parent stays small."""
    subprocess.run([sys.executable, __file__, "--assay", "-", *map(str, arguments)], check=True)


def same_values(a, b):
    for t, u in zip(gguf.GGUFReader(a).tensors, gguf.GGUFReader(b).tensors, strict=True):
        if t.name != u.name or t.data.tobytes() != u.data.tobytes():
            fail(f"{t.name} differs between assay's file and numpy's", "one of the two does not do what it says")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--assay", required=True, type=pathlib.Path, help="the program")
    parser.add_argument("--folder", type=pathlib.Path, help="where the files go, about 12.5 GB x scale (default: the system's)")
    parser.add_argument("--scale", type=float, default=1.0, help="size of the model; 1 is Llama-3.2-1B (default %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="default %(default)s")
    parser.add_argument("--seed", type=int, default=1, help="of the weights (default %(default)s)")
    parser.add_argument("--strict", action="store_true", help="exit 1 when a goal is missed")
    parser.add_argument("--make", help=argparse.SUPPRESS)
    parser.add_argument("--transform", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--compare", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.make:
        return make(options.make, options.scale, options.seed)
    if options.transform:
        return by_numpy(*options.transform)
    if options.compare:
        return same_values(*options.compare)
    missed = False
    with tempfile.TemporaryDirectory(prefix="bench-quantize-", dir=options.folder) as folder:
        folder = pathlib.Path(folder)
        model, ours, theirs, zeros = (folder / name for name in ("model.gguf", "assay.gguf", "numpy.gguf", "zeros"))
        in_a_child("--make", model, "--scale", options.scale, "--seed", options.seed)
        print(f"model: {model.stat().st_size / 1e9:.2f} GB, seed {options.seed}, {os.cpu_count()} cores")
        for scheme in SCHEMES:
            rates = {"assay": [], "dd": [], "numpy": []}
            peaks = {"assay": 0.0, "numpy": 0.0}
            for number in range(options.rounds):
                command = [options.assay, "quantize", model, ours, "--no-check", "--target", "weights", "--scheme", scheme, "--json", "--quiet"]
                seconds, peak, out = timed(command)
                n_bytes = json.loads(out)["out_bytes"]
                rates["assay"].append(n_bytes / seconds)
                peaks["assay"] = max(peaks["assay"], peak)
                blocks = -(-n_bytes // 2**20)
                dd = []
                for _ in range(2):
                    # Twice, and the faster one counts: on a virtual machine the first may wait for memory that the host has to give,
                    # the second is written into the pages that the first has left.
                    seconds, _, _ = timed(["dd", "if=/dev/zero", f"of={zeros}", "bs=1M", f"count={blocks}", "conv=fsync"])
                    dd.append(blocks * 2**20 / seconds)
                    zeros.unlink()
                rates["dd"].append(max(dd))
                seconds, peak, _ = timed([sys.executable, __file__, "--assay", options.assay, "--transform", model, theirs, scheme])
                rates["numpy"].append(theirs.stat().st_size / seconds)
                peaks["numpy"] = max(peaks["numpy"], peak)
                if number == 0:
                    in_a_child("--compare", ours, theirs)
                ours.unlink()
                theirs.unlink()
                told = ", ".join(f"{name} {rate[-1] / 1e6:.0f} MB/s" for name, rate in rates.items())
                print(f"{scheme}, round {number + 1}: {told}", flush=True)
            to_dd = statistics.median(a / b for a, b in zip(rates["assay"], rates["dd"]))
            to_numpy = statistics.median(a / b for a, b in zip(rates["assay"], rates["numpy"]))
            numpy_to_dd = statistics.median(a / b for a, b in zip(rates["numpy"], rates["dd"]))
            peak = peaks["assay"]
            print(f"{scheme}: {n_bytes / 1e9:.2f} GB written; {to_dd:.2f} of dd (goal {GOAL_DD}), {to_numpy:.1f} times numpy "
                  f"(goal {GOAL_NUMPY:.0f}; dd is {1 / numpy_to_dd:.1f}), peak {peak:.0f} MiB "
                  f"(goal below {GOAL_PEAK_MIB}; numpy {peaks['numpy']:.0f})")
            missed |= to_dd < GOAL_DD or to_numpy < GOAL_NUMPY or peak >= GOAL_PEAK_MIB
    sys.exit(1 if missed and options.strict else 0)


if __name__ == "__main__":
    main()
