#!/usr/bin/env python3
"""`brisk train llama --from`: a model that was pruned outside is repaired, and its file is read by the
`gguf` package: zeros are zero still, matrices are of the type that was trained with.

    test_repair.py BRISK"""
import json
import os
import random
import subprocess
import sys
import tempfile

import gguf
import numpy as np

WORDS = "the king spoke unto his people and they went up to the great city by the river".split()


def brisk(*args, cache, status=0):
    env = {**os.environ, "BRISK_CACHE": cache}
    run = subprocess.run([sys.argv[1], "train", *args], stdout=subprocess.PIPE,
                         stderr=subprocess.PIPE, text=True, env=env, check=False)
    assert run.returncode == status, run.stderr
    return run.stdout if status == 0 else run.stderr


def write_text(path):
    r = random.Random(3)
    with open(path, "w", encoding="utf-8") as f:
        for _ in range(4000):
            k = r.randrange(len(WORDS))
            f.write(" ".join(WORDS[(k + i * (1 + k % 3)) % len(WORDS)] for i in range(6)) + ".\n")


def tensors(path):
    return {t.name: t for t in gguf.GGUFReader(path).tensors}


def prune(path):
    """Half of each block's matrices, the smallest, in place."""
    for t in gguf.GGUFReader(path, "r+").tensors:
        if t.name.startswith("blk.") and len(t.shape) == 2:
            cut = np.median(np.abs(t.data))
            t.data[np.abs(t.data) < cut] = 0


def repair(folder, cache, *more):
    out = brisk("llama", "--data", f"{folder}/text", "--from", f"{folder}/sparse.gguf", "--teacher",
                f"{folder}/dense.gguf", "--steps", "60", "--lr", "1e-3", "--sequence", "32",
                "--keep-zeros", "--json", "-o", f"{folder}/repaired.gguf", *more, cache=cache)
    return json.loads(out)


def check_zeros(folder):
    sparse, repaired = tensors(f"{folder}/sparse.gguf"), tensors(f"{folder}/repaired.gguf")
    assert sparse.keys() == repaired.keys()
    zeros = 0
    for name, t in sparse.items():
        now = gguf.dequantize(repaired[name].data, repaired[name].tensor_type)
        was = t.data.reshape(now.shape)
        if len(t.shape) == 2:
            zeros += int((was == 0).sum())
            assert not now[was == 0].any(), name
    assert zeros > 10000, zeros


def main():
    with tempfile.TemporaryDirectory() as folder:
        cache = f"{folder}/cache"
        write_text(f"{folder}/text")
        brisk("llama", "--data", f"{folder}/text", "--steps", "200", "--embedding", "64", "--layers",
              "2", "--ffn", "128", "--sequence", "32", "--lr", "5e-3", "-o", f"{folder}/dense.gguf",
              cache=cache)
        with open(f"{folder}/dense.gguf", "rb") as f, open(f"{folder}/sparse.gguf", "wb") as g:
            g.write(f.read())
        prune(f"{folder}/sparse.gguf")

        said = repair(folder, cache)
        assert said["before"] > said["reference"] and said["recovered"] > 0.5, said
        check_zeros(folder)
        said = repair(folder, cache, "--quant", "q4_0")
        assert said["recovered"] > 0.3, said
        check_zeros(folder)
        types = {t.tensor_type.name for t in tensors(f"{folder}/repaired.gguf").values()
                 if len(t.shape) == 2}
        assert types == {"Q4_0"}, types
        assert len([n for n in os.listdir(cache) if n.startswith("teacher-")]) == 1

        error = brisk("lstm", "--data", f"{folder}/text", "--from", f"{folder}/dense.gguf", "-o",
                      f"{folder}/x.gguf", cache=cache, status=1)
        assert "llama" in error and error.count("\n") == 1, error
    print("repair: zeros stay, types are those trained with, one question to the teacher")
    return 0


if __name__ == "__main__":
    sys.exit(main())
