#!/usr/bin/env python3
"""A model in q8_affine: what the `gguf` package finds in the file, against the model that it was made of.

    test_affine.py BRISK MODEL

MODEL is any small GGUF file. Exit status 1 when something is wrong."""
import subprocess
import sys
import tempfile

import gguf
import numpy as np


def run(*arguments):
    return subprocess.run([sys.argv[1], *arguments], check=True, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE).stdout


def check_tensor(name, want, parts):
    """Every weight within half a scale, the smallest exact."""
    scale, minimum = parts[name + ".affine"].data
    q = parts[name + ".q8"].data.view(np.uint8).reshape(want.shape)
    far = np.abs(scale.astype(np.float64) * q + minimum - want).max()
    slack = 1e-6 * np.abs(want).max()
    assert minimum == want.min() and q.min() == 0, name
    assert far <= scale / 2 + slack, (name, far, scale)
    assert q.max() == 255 or scale == 0, name


def main():
    model = sys.argv[2]
    with tempfile.TemporaryDirectory() as folder:
        out, again = folder + "/a.gguf", folder + "/b.gguf"
        run("quantize", model, out, "q8_affine")
        reader = gguf.GGUFReader(out)
        parts = {t.name: t for t in reader.tensors}
        assert reader.get_field("brisk.extensions").contents() == ["q8_affine"]
        found = 0
        for t in gguf.GGUFReader(model).tensors:
            if t.name in parts:
                continue
            check_tensor(t.name, gguf.dequantize(t.data, t.tensor_type), parts)
            found += 1
        assert found > 0
        run("convert", out, again)  # opened, put together, taken apart
        copies = {t.name: t for t in gguf.GGUFReader(again).tensors}
        assert copies.keys() == parts.keys()
        for name, t in parts.items():
            assert t.tensor_type == copies[name].tensor_type, name
            assert t.data.tobytes() == copies[name].data.tobytes(), name
        run("eval", "-m", out, "-f", model_text(folder))
        print(f"{found} tensors in two parts")


def model_text(folder):
    path = folder + "/text"
    with open(path, "w") as f:
        f.write("the quick brown fox jumps over the lazy dog. " * 20)
    return path


if __name__ == "__main__":
    main()
