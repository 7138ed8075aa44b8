#!/usr/bin/env python3
"""Compares quantised blocks with those of the `gguf` package, byte by byte; those of a type that the
package reads alone by how far what it reads is from the floats.

    compare_gguf.py PROGRAM

PROGRAM is tests/quant/quantize. Exit status 1 on any difference."""
import subprocess
import sys

import gguf
import numpy as np

TYPES = ["F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "TQ1_0", "TQ2_0", "MXFP4"]


def inputs():
    """Finite floats of all kinds, in multiples of 32."""
    rng = np.random.default_rng(1)
    n = 32 * 2000
    yield "normal", rng.standard_normal(n)
    yield "magnitudes from 1e-9 to 1e4", rng.standard_normal(n) * 10.0 ** rng.uniform(-9, 4, n)
    blocks = rng.standard_normal((n // 32, 32)) * 10.0 ** rng.uniform(-7, 4, (n // 32, 1))
    yield "blocks of all sizes", blocks
    yield "whole numbers", rng.integers(-127, 128, n)
    yield "halves", rng.integers(-254, 255, n) / 2
    yield "one magnitude", np.where(rng.random(n) < 0.5, -0.375, 0.375)
    yield "zeros", np.where(rng.random(n) < 0.98, 0.0, 1.0)
    yield "subnormal halves", rng.standard_normal(n) * 1e-6
    ties = np.zeros((64, 32))
    ties[:, 5], ties[:, 9] = np.where(np.arange(64) % 2, 1, -1), np.where(np.arange(64) % 2, -1, 1)
    yield "two largest of opposite signs", ties


def quantised(kind, x):
    return subprocess.run([sys.argv[1], kind.lower()], input=x.tobytes(), check=True,
                          stdout=subprocess.PIPE).stdout


def q2_k_far(x):
    """How many of the weights are further from what the package reads than plain rounding is: half a
    step of a group of 16, and what rounding its scale and minimum to 15 steps of the block's adds."""
    x = x[:len(x) // 256 * 256]
    got = np.frombuffer(quantised("Q2_K", x), dtype=np.uint8)
    y = gguf.dequantize(got, gguf.GGMLQuantizationType.Q2_K).reshape(-1, 16, 16)
    groups = x.reshape(-1, 16, 16)
    low = -np.minimum(groups.min(2, keepdims=True), 0)
    step = (groups.max(2, keepdims=True) + low) / 3
    most, deepest = step.max(1, keepdims=True), low.max(1, keepdims=True)
    bound = step / 2 + (3 + 0.5) * most / 30 + deepest / 30 + 1e-3 * (most + deepest)
    return int((np.abs(y - groups) > bound).sum())


def main():
    wrong = compared = 0
    for name, x in inputs():
        x = np.ascontiguousarray(x, dtype="<f4").reshape(-1)
        for kind in TYPES:
            want = gguf.quantize(x, gguf.GGMLQuantizationType[kind]).tobytes()
            got = quantised(kind, x)
            compared += len(want)
            if got != want:
                wrong += 1
                at = next((i for i, (a, b) in enumerate(zip(got, want)) if a != b), "the end")
                print(f"{kind} of {name}: {len(got)} and {len(want)} bytes, differ at {at}")
        if name in ("normal", "whole numbers", "halves", "one magnitude", "zeros"):
            far = q2_k_far(x)
            compared += len(x)
            wrong += far > 0
            if far:
                print(f"Q2_K of {name}: {far} weights are too far off")
    print(f"{compared} bytes compared, {wrong} of the blocks' sets differ")
    return 1 if wrong or not compared else 0


if __name__ == "__main__":
    sys.exit(main())
