#!/usr/bin/env python3
"""Holds F32 values in a format by numpy and ml_dtypes: the oracle of crates/numerics/tests/python_oracle.rs, and the
third implementation of `assay verify`.

Reads little-endian F32 from standard input and writes as many to standard output. FORMAT is
  cast:DTYPE      a plain cast to a dtype of ml_dtypes or numpy and back
  mx:DTYPE        blocks of 32 with a power-of-two scale (OCP MX); mx:int8 for MXINT8
  nvfp4           blocks of 16 with an E4M3 scale and an F32 scale for everything
  float:DTYPE:N   a dtype with an F32 scale for each N values, the greatest of them at its largest value
  int:BITS:N      symmetric integers with an F32 scale for each N values, the quotient taken in float64
                  :trunc behind either rounds towards zero, where the F32 before a level is that level
  quantize:TYPE   to a ggml type by gguf-py, as bytes
  restore:TYPE    bytes of a ggml type to F32 by gguf-py
  serve           questions `FORMAT NBYTES` with their bytes behind, answers `NBYTES` with theirs, or one line that says why not
"""

import sys

import ml_dtypes
import numpy as np


def dtype(name):
    return np.dtype(getattr(ml_dtypes, name, None) or name)


def largest(name):
    return float(ml_dtypes.finfo(dtype(name)).max)


def cast(values, name):
    with np.errstate(all="ignore"):
        return values.astype(dtype(name)).astype(np.float32)


def saturated(values, name):
    return cast(np.clip(values, -largest(name), largest(name)), name)


def mx(values, name):
    blocks = values.reshape(-1, 32)
    absmax = np.abs(blocks).max(axis=1, keepdims=True)
    # frexp has its mantissa in [0.5, 1).
    exponent = np.frexp(absmax)[1] - 1
    element_exponent = 6 if name == "int8" else np.frexp(largest(name))[1] - 1
    scale = np.ldexp(np.float64(1), np.clip(exponent - element_exponent, -127, 127))
    quotient = blocks.astype(np.float64) / scale
    if name == "int8":
        held = np.clip(np.rint(quotient), -127, 127)
    else:
        held = saturated(quotient.astype(np.float32), name).astype(np.float64)
    return np.where(absmax == 0, 0, held * scale).astype(np.float32).ravel()


def nvfp4(values):
    one, six = np.float32(1), np.float32(6)
    absmax = np.abs(values).max()
    encode = np.minimum(six * np.float32(448) / absmax, np.finfo(np.float32).max)
    decode = one / encode
    blocks = values.reshape(-1, 16)
    scale = saturated(np.abs(blocks).max(axis=1, keepdims=True) / six * encode, "float8_e4m3fn")
    with np.errstate(all="ignore"):
        factor = np.minimum(one / (scale * decode), np.finfo(np.float32).max)
        held = saturated(blocks * factor, "float4_e2m1fn")
        held = held * scale * decode
        # What lies on levels, up to the rounding of the factors, stays as it is.
        near = np.abs(held - blocks) <= np.abs(blocks) * np.float32(2**-21)
        held = np.where(near.all(axis=1, keepdims=True), blocks, held)
        return np.where(scale == 0, np.float32(0), held).ravel()


def finite_under(absmax, top):
    """absmax / top, or the next lower F32 where top times that is beyond F32."""
    with np.errstate(over="ignore"):
        step = np.minimum(absmax / top, np.finfo(np.float32).max)
        return np.where(np.isinf(step * top), np.nextafter(step, np.float32(0)), step)


def towards_zero(quotients, levels):
    """The greatest of the ascending levels from 0 on that is not beyond the F32 after a quotient's magnitude."""
    after = np.nextafter(np.abs(quotients), np.float32(np.inf))
    return np.copysign(levels[np.searchsorted(levels, after, side="right") - 1], quotients)


def magnitudes(name):
    """The finite magnitudes of a dtype of at most 16 bits, ascending from 0."""
    bits = np.dtype(f"u{dtype(name).itemsize}")
    every = np.arange(2 ** (8 * bits.itemsize), dtype=np.uint32).astype(bits).view(dtype(name)).astype(np.float32)
    return np.unique(np.abs(every[np.isfinite(every)]))


def symmetric(values, bits, n, rounding="rne"):
    groups = values.reshape(-1, n)
    qmax = 2 ** (bits - 1) - 1
    step = finite_under(np.abs(groups).max(axis=1, keepdims=True), np.float32(qmax))
    with np.errstate(all="ignore"):
        if rounding == "trunc":
            steps = towards_zero(groups / step, np.arange(qmax + 1, dtype=np.float32))
        else:
            steps = np.rint(groups.astype(np.float64) / step.astype(np.float64))
        held = np.clip(steps, -qmax, qmax).astype(np.float32) * step
    return np.where(step == 0, np.float32(0), held).ravel()


def scaled(values, name, n, rounding="rne"):
    groups = values.reshape(-1, n)
    step = finite_under(np.abs(groups).max(axis=1, keepdims=True), np.float32(largest(name)))
    with np.errstate(all="ignore"):
        if rounding == "trunc":
            held = towards_zero(groups / step, magnitudes(name)) * step
        else:
            held = saturated(groups / step, name) * step
    return np.where(step == 0, np.float32(0), held).ravel()


def ggml_type(name):
    import gguf

    return gguf.GGMLQuantizationType[name.upper()]


def restore(data, name):
    from gguf import quants

    return quants.dequantize(np.frombuffer(data, dtype=np.uint8), ggml_type(name))


def quantize(data, name):
    from gguf import quants

    return quants.quantize(np.frombuffer(data, dtype="<f4"), ggml_type(name)).tobytes()


def answer(question, data):
    kind, *arguments = question.split(":")
    if kind == "quantize":
        return quantize(data, *arguments)
    if kind == "restore":
        return restore(data, *arguments).astype("<f4").tobytes()
    values = np.frombuffer(data, dtype="<f4")
    kinds = {
        "cast": lambda: cast(values, *arguments),
        "mx": lambda: mx(values, *arguments),
        "nvfp4": lambda: nvfp4(values),
        "float": lambda: scaled(values, arguments[0], int(arguments[1]), *arguments[2:]),
        "int": lambda: symmetric(values, *map(int, arguments[:2]), *arguments[2:]),
    }
    return kinds[kind]().astype("<f4").tobytes()


def serve():
    from importlib.metadata import version

    out = sys.stdout.buffer
    out.write(("ready " + " ".join(f"{p}={version(p)}" for p in ("numpy", "ml_dtypes", "gguf")) + "\n").encode())
    out.flush()
    while line := sys.stdin.buffer.readline():
        question, length = line.decode().split()
        data = sys.stdin.buffer.read(int(length))
        try:
            result = answer(question, data)
            out.write(f"{len(result)}\n".encode() + result)
        except Exception as error:
            out.write((" ".join(f"{type(error).__name__}: {error}".split()) + "\n").encode())
        out.flush()


def main():
    if sys.argv[1] == "serve":
        serve()
    else:
        sys.stdout.buffer.write(answer(sys.argv[1], sys.stdin.buffer.read()))


if __name__ == "__main__":
    main()
