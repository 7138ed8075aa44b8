#!/usr/bin/env python3
"""Models with sparse matrices: the same text as their dense files, and brisk bench sparse.

The sparse file is written here, by docs/formats.md and with PyPI's gguf, not by brisk. BRISK names the
program (build/brisk). Needs numpy and gguf.
"""
import json
import os
import subprocess
import tempfile
import unittest
import xml.etree.ElementTree

import gguf
import numpy as np

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../..")
BRISK = os.path.abspath(os.environ.get("BRISK", os.path.join(ROOT, "build/brisk")))
MODEL = os.path.join(ROOT, "tests/data/tiny_int.gguf")
Q4_0 = gguf.GGMLQuantizationType.Q4_0


def brisk(*args, env=None):
    return subprocess.run([BRISK, *args], capture_output=True, timeout=120, text=True,
                          env={**os.environ, **(env or {})}, check=False)


def prune(x, tiles, rng):
    """Half of the tiles of 16 rows x 4 columns, or of the weights, become 0."""
    n, k = x.shape
    if tiles:
        keep = rng.random((n // 16, 1, k // 4, 1)) < 0.5
        return (x.reshape(n // 16, 16, k // 4, 4) * keep).reshape(n, k)
    return np.where(rng.random((n, k)) < 0.5, x, 0)


def parts_of(blocks, n, k, tiles):
    """Index, scales and values of Q4_0 rows."""
    raw = blocks.reshape(n, k // 32, 18)
    d = raw[:, :, :2].copy().view(np.float16)[:, :, 0]
    q = np.concatenate([raw[:, :, 2:] & 15, raw[:, :, 2:] >> 4], axis=2)
    q = q.reshape(n // 16, 16, k // 32, 8, 4).transpose(0, 2, 3, 1, 4).reshape(-1, 8, 64)
    d = d.reshape(n // 16, 16, k // 32).transpose(0, 2, 1).reshape(-1, 16)
    there, values = q != 8, []
    for block, mask in zip(q, there):
        if tiles:
            lines = list(block[mask.any(axis=1)])
            lines += [np.zeros(64, np.uint8)] * (len(lines) % 2)
            values += [low | high << 4 for low, high in zip(lines[::2], lines[1::2])]
        else:
            halves = [block[h:h + 4][mask[h:h + 4]] for h in (0, 4)]
            line = np.zeros(max(map(len, halves)), np.uint8)
            for i, half in enumerate(halves):
                line[:len(half)] |= half << 4 * i
            values.append(line)
    some = there.any(axis=2)
    if tiles:
        index = (some << np.arange(8)).sum(axis=1).astype(np.uint8)
        return index, d[index != 0], np.concatenate(values).reshape(-1, 64)
    return np.packbits(there, axis=2, bitorder="little").reshape(-1, 64), d, np.concatenate(values)


def write(path, tiles, sparse):
    rng = np.random.default_rng(1)
    reader = gguf.GGUFReader(MODEL)
    writer = gguf.GGUFWriter(path, "llama")
    for field in reader.fields.values():
        if field.name.startswith("GGUF.") or field.name == "general.architecture":
            continue
        if field.types[0] == gguf.GGUFValueType.ARRAY:
            writer.add_array(field.name, field.contents())
        else:
            writer.add_key_value(field.name, field.contents(), field.types[0])
    if sparse:
        writer.add_array("brisk.extensions", ["sparse"])
    for t in reader.tensors:
        if len(t.shape) < 2 or t.name == "token_embd.weight":
            writer.add_tensor(t.name, t.data, raw_dtype=t.tensor_type)
            continue
        k, n = int(t.shape[0]), int(t.shape[1])
        x = prune(gguf.quants.dequantize(t.data, t.tensor_type).reshape(n, k), tiles, rng)
        blocks = gguf.quants.quantize(x.astype(np.float32), Q4_0)
        if not sparse or n % 16:
            writer.add_tensor(t.name, blocks, raw_dtype=Q4_0)
            continue
        index, scales, values = parts_of(blocks, n, k, tiles)
        writer.add_tensor(t.name + ".index", index.view(np.int8))
        writer.add_tensor(t.name + ".scales", np.ascontiguousarray(scales))
        writer.add_tensor(t.name + ".values", values.view(np.int8))
        writer.add_array("brisk.sparse." + t.name, [1 if tiles else 2, 2, n, k])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


class Models(unittest.TestCase):
    def answer(self, path, *args, env=None):
        # More than 48 tokens go through panels, the answer one at a time.
        prompt = "one two three four five six seven eight nine ten " * 8
        result = brisk("run", "-m", path, "-p", prompt, "--raw", "--temp", "0", "-n", "24", "--json",
                       *args, env=env)
        self.assertEqual(result.returncode, 0, result.stderr)
        return json.loads(result.stdout)["text"]

    def test_same_text(self):
        with tempfile.TemporaryDirectory() as folder:
            for tiles in (True, False):
                dense, sparse = os.path.join(folder, "d.gguf"), os.path.join(folder, "s.gguf")
                write(dense, tiles, False)
                write(sparse, tiles, True)
                want = self.answer(dense)
                for level in ("ref", "avx2", "avxvnni", "avx512"):
                    got = self.answer(sparse, "--sparse", "on", env={"BRISK_CPU": level})
                    self.assertEqual(got, want, (tiles, level))
                self.assertEqual(self.answer(sparse, "--sparse", "off"), want)
                self.assertEqual(self.answer(sparse, "--sparse", "auto"), want)
                self.assertEqual(self.answer(dense, "--fast"),
                                 self.answer(sparse, "--fast", "--sparse", "on"))
                info = json.loads(brisk("info", "--json", sparse).stdout)
                self.assertGreater(info["n_sparse"] + info["n_filled"], 10)
                # Written anew it is an ordinary file.
                again = os.path.join(folder, "a.gguf")
                self.assertEqual(brisk("convert", sparse, again).returncode, 0)
                names = [t.name for t in gguf.GGUFReader(again).tensors]
                self.assertIn("blk.0.ffn_up.weight", names)
                self.assertEqual(self.answer(again), want)


class Bench(unittest.TestCase):
    ARGS = ["bench", "sparse", "-m", "48", "-k", "96", "-r", "1", "-n", "1,9", "--density", "0.25,1"]

    def test_json_and_picture(self):
        with tempfile.TemporaryDirectory() as folder:
            svg = os.path.join(folder, "s.svg")
            result = brisk(*self.ARGS, "--json", "--svg", svg)
            self.assertEqual(result.returncode, 0, result.stderr)
            rows = json.loads(result.stdout)["rows"]
            self.assertEqual(len(rows), 2 * 2 * 2 * 6)
            for row in rows:
                self.assertGreater(row["seconds"], 0)
            sizes = {(r["form"], r["density"]): r["bytes"] for r in rows}
            self.assertLess(sizes["tiles q4_0", 0.25], sizes["tiles q4_0", 1])
            root = xml.etree.ElementTree.parse(svg).getroot()
            self.assertGreater(len(root.findall(".//{*}circle")), 30)

    def test_table(self):
        for level in ("ref", "avx2"):
            result = brisk(*self.ARGS, "--cpu-level", level)
            self.assertEqual(result.returncode, 0, result.stderr)
            self.assertEqual(result.stdout.count("faster than the dense kernels"), 4)
            self.assertIn(level, result.stdout)

    def test_refused(self):
        for args, said in ((("--density", "0.5,0.2"), "--density"), (("--density", "1.5"), "--density"),
                           (("-k", "40"), "multiple of 32"), (("-n", "1,2,3,4,5,6,7,8,9"), "--columns")):
            result = brisk("bench", "sparse", *args)
            self.assertEqual(result.returncode, 1, result.stdout)
            self.assertIn(said, result.stderr)


if __name__ == "__main__":
    unittest.main()
