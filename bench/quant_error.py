#!/usr/bin/env python3
"""What rounding loses, beside llama-quantize with the same importance matrix.

    quant_error.py MODEL.gguf MATRIX.gguf [TYPE ...]

Both programs make a file of each TYPE (all in one, --pure). Printed are, over the tensors that both have
in that type, sum h (w - w')^2 / sum h w^2 of each with h from MATRIX (`brisk quantize MODEL --calibrate TEXT
--imatrix-out MATRIX` makes one), in thousandths, and the ratio; then the same with all h equal, where
both searched without a matrix. Weights are read by the `gguf` package. BRISK and LLAMA_QUANTIZE name the
programs, otherwise they are build/brisk and llama-quantize in the PATH.

needs numpy and gguf."""
import os
import subprocess
import sys
import tempfile

import gguf
import numpy as np

BRISK = os.environ.get("BRISK", "build/brisk")
PEER = os.environ.get("LLAMA_QUANTIZE", "llama-quantize")
TYPES = "Q8_0 Q6_K Q5_K Q5_1 Q5_0 Q4_K Q4_1 Q4_0 IQ4_NL IQ4_XS Q3_K Q2_K".split()


def floats(tensor):
    return gguf.dequantize(tensor.data, tensor.tensor_type).reshape(-1, int(tensor.shape[0]))


def matrix(path):
    """Mean squares per column by the tensor's name."""
    t = {t.name: np.array(t.data, dtype=np.float64).reshape(-1) for t in gguf.GGUFReader(path).tensors}
    return {name.removesuffix(".in_sum2"): sums / max(t[name.replace("in_sum2", "counts")][0], 1)
            for name, sums in t.items() if name.endswith(".in_sum2")}


def run(*command):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stdout[-2000:]}")


def lost(source, path, kind, h):
    """By tensor of the type: what it lost and what it had."""
    sums = {}
    for t in gguf.GGUFReader(path).tensors:
        if t.tensor_type.name != kind or t.name not in h:
            continue
        w = floats(source[t.name]).astype(np.float64)
        sums[t.name] = (h[t.name] * (floats(t) - w) ** 2).sum(), (h[t.name] * w ** 2).sum()
    return sums


def compared(model, source, kind, h, folder, matrix_of):
    ours, theirs = os.path.join(folder, "ours.gguf"), os.path.join(folder, "theirs.gguf")
    options = ["--imatrix", matrix_of] if matrix_of else []
    run(BRISK, "quantize", model, ours, kind, "--pure", *options)
    run(PEER, "--allow-requantize", "--pure", *options, model, theirs, kind)
    a, b = lost(source, ours, kind, h), lost(source, theirs, kind, h)
    both = sorted(a.keys() & b.keys())
    if not both:
        return None
    had = sum(a[name][1] for name in both)
    return [1e3 * sum(x[name][0] for name in both) / had for x in (a, b)] + [len(both)]


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    model, path, kinds = sys.argv[1], sys.argv[2], sys.argv[3:] or TYPES
    source = {t.name: t for t in gguf.GGUFReader(model).tensors}
    h = {name: v for name, v in matrix(path).items()
         if name in source and v.size == source[name].shape[0]}
    even = {name: np.ones_like(v) for name, v in h.items()}
    print("| type | tensors | brisk | llama-quantize | ratio | brisk, no matrix | llama-quantize | ratio |")
    print("|---|---|---|---|---|---|---|---|")
    for kind in kinds:
        with tempfile.TemporaryDirectory() as folder:
            rows = [compared(model, source, kind, h, folder, path),
                    compared(model, source, kind, even, folder, None)]
        if not rows[0] or not rows[1]:
            print(f"| {kind} | 0 | no row is a whole number of blocks | | | | | |")
            continue
        cells = [f"{a:.3f} | {b:.3f} | {a / b:.3f}" for a, b, _ in rows]
        print(f"| {kind} | {rows[0][2]} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
