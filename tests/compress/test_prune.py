#!/usr/bin/env python3
"""brisk prune on small trained models.

    BRISK=build/brisk test_prune.py

1. Channels, heads, layers: what stays is the source's rows and columns, and predicts what the source does
   with zeros where the rest was (written with the `gguf` package); keys and shapes as they should be.
2. LSTM units: the logits of a computation in NumPy with the units left out.
3. Repair brings predictions nearer to the source's; its matrix is NumPy's float64 least squares' one.
4. Weights: as many zeros as asked for, 2:4 in every four; stored sparsely the same predictions.
5. A target speed; with BRISK_TEST_MODEL a real model, which with BRISK_PEER_BIN llama.cpp opens.
6. Interrupted runs leave no file; every error is one line.

needs gguf and numpy.
"""
import glob
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

import gguf
import numpy as np

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
BRISK = os.environ.get("BRISK", os.path.join(ROOT, "build", "brisk"))
WORDS = "the sun rose over hills and rivers while people of a small town walked to their market".split()
LAYERS, WIDTH, HEADS, KV, FFN, HIDDEN = 4, 64, 4, 2, 128, 48
HEAD = WIDTH // HEADS
folder = tempfile.mkdtemp()


def at(name):
    return os.path.join(folder, name)


def run(*args):
    return subprocess.run([BRISK, *args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, check=False)


def must(*args):
    result = run(*args)
    if result.returncode:
        raise AssertionError(f"brisk {' '.join(args)}: {result.stderr}")
    return result.stdout


def prune(model, out, strategy, *more):
    return json.loads(must("prune", "-m", at(model), "-o", at(out), "--strategy", strategy, "--calibrate",
                           at("text"), "--no-bench", "--json", *more))


def logits(model, ids):
    with open(at("ids"), "w", encoding="utf-8") as f:
        json.dump(ids, f)
    must("eval", "-m", at(model), "--tokens", at("ids"), "--save-logits", at("logits.npy"))
    return np.load(at("logits.npy")).astype(np.float64)


class Model:
    def __init__(self, name):
        self.reader = gguf.GGUFReader(at(name))
        self.tensors = {t.name: t for t in self.reader.tensors}

    def values(self, name):
        t = self.tensors[name]
        shape = [int(n) for n in reversed(t.shape)]
        return gguf.dequantize(t.data, t.tensor_type).reshape(shape).astype(np.float64)

    def key(self, name):
        return self.reader.fields[name].contents()


def with_zeros(source, out, columns):
    """A copy of F32 file in which these columns {tensor: numbers} are zeros."""
    shutil.copy(at(source), at(out))
    for t in gguf.GGUFReader(at(out), "r+").tensors:
        if t.name in columns:
            t.data.reshape([int(n) for n in reversed(t.shape)])[:, columns[t.name]] = 0


def kept_rows(before, after):
    """Which rows of a matrix the other one has."""
    where = {row.tobytes(): i for i, row in enumerate(before)}
    return [where[row.tobytes()] for row in after]


def others(kept, n):
    return sorted(set(range(n)) - set(kept))


def write_text():
    r = random.Random(3)
    with open(at("text"), "w", encoding="utf-8") as f:
        for _ in range(3000):
            k = r.randrange(len(WORDS))
            f.write(" ".join(WORDS[(k + i * (1 + k % 3)) % len(WORDS)] for i in range(6)) + ".\n")


def part():
    """Some of the text, to judge by."""
    with open(at("part"), "w", encoding="utf-8") as f, open(at("text"), encoding="utf-8") as t:
        f.write(t.read()[-2500:])
    return at("part")


def setUpModule():
    write_text()
    for kind, more in (("llama", ["--heads", str(HEADS), "--kv-heads", str(KV), "--ffn", str(FFN),
                                  "--layers", str(LAYERS), "--embedding", str(WIDTH)]),
                       ("lstm", ["--hidden", str(HIDDEN), "--layers", "2", "--embedding", "32"])):
        must("train", kind, "--data", at("text"), "-o", at(kind), "--steps", "60", "--sequence", "32",
             "--batch", "8", "--lr", "3e-3", "--vocab", "char", *more)


def tearDownModule():
    shutil.rmtree(folder)


IDS = [[3 + (7 * i + i * i) % 20 for i in range(30)]]


class Transformer(unittest.TestCase):
    def same_as_zeros(self, pruned, columns):
        with_zeros("llama", "zeros", columns)
        a, b = logits("zeros", IDS), logits(pruned, IDS)
        self.assertLess(np.abs(a - b).max(), 2e-4 * np.abs(a).max())

    def test_channels(self):
        report = prune("llama", "out", "channels", "--ratio", "0.5", "--no-repair")
        self.assertEqual(report["ratio"], 0.5)
        before, after = Model("llama"), Model("out")
        self.assertEqual(after.key("llama.feed_forward_length"), FFN // 2)
        gone = {}
        for i in range(LAYERS):
            kept = kept_rows(before.values(f"blk.{i}.ffn_up.weight"), after.values(f"blk.{i}.ffn_up.weight"))
            self.assertEqual(len(kept), FFN // 2)
            self.assertEqual(kept, kept_rows(before.values(f"blk.{i}.ffn_gate.weight"),
                                             after.values(f"blk.{i}.ffn_gate.weight")))
            name = f"blk.{i}.ffn_down.weight"
            np.testing.assert_array_equal(after.values(name), before.values(name)[:, kept])
            gone[name] = others(kept, FFN)
        self.same_as_zeros("out", gone)

    def test_heads(self):
        prune("llama", "out", "heads", "--ratio", "0.5", "--no-repair")
        before, after = Model("llama"), Model("out")
        self.assertEqual(after.key("llama.attention.head_count"), HEADS // 2)
        self.assertEqual(after.key("llama.attention.head_count_kv"), KV // 2)
        self.assertEqual(after.key("llama.attention.key_length"), HEAD)
        gone = {}
        for i in range(LAYERS):
            kept = kept_rows(before.values(f"blk.{i}.attn_q.weight"), after.values(f"blk.{i}.attn_q.weight"))
            self.assertEqual(after.values(f"blk.{i}.attn_v.weight").shape, (KV // 2 * HEAD, WIDTH))
            gone[f"blk.{i}.attn_output.weight"] = others(kept, WIDTH)
        self.same_as_zeros("out", gone)

    def test_layers(self):
        for choice in ("kl", "influence", "contiguous"):
            report = prune("llama", "out", "layers", "--ratio", "0.5", "--choose", choice)
            gone = [int(i) for i in report["removed"].split(":")[1].split()]
            before, after = Model("llama"), Model("out")
            self.assertEqual(after.key("llama.block_count"), LAYERS - 2)
            if choice == "contiguous":
                self.assertEqual(gone[1], gone[0] + 1)
            for to, i in enumerate(others(gone, LAYERS)):
                for name in (n for n in before.tensors if n.startswith(f"blk.{i}.")):
                    moved = name.replace(f"blk.{i}.", f"blk.{to}.")
                    np.testing.assert_array_equal(after.values(moved), before.values(name))
            self.assertEqual(sum(n.startswith("blk.0.") for n in before.tensors) * 2,
                             len(before.tensors) - len(after.tensors))

    def test_repair(self):
        for strategy in ("channels", "heads"):
            plain = prune("llama", "out", strategy, "--ratio", "0.5", "--eval", part(), "--no-repair")
            fitted = prune("llama", "out", strategy, "--ratio", "0.5", "--eval", part())
            self.assertEqual(plain["after"]["parameters"], fitted["after"]["parameters"])
            self.assertLess(fitted["kl_mean"], 0.8 * plain["kl_mean"])

    def test_types(self):
        prune("llama", "out", "channels", "--ratio", "0.25", "--type", "q8_0")
        types = {n: t.tensor_type.name for n, t in Model("out").tensors.items()}
        self.assertEqual(types["blk.0.ffn_down.weight"], "Q8_0")
        self.assertEqual(types["blk.0.attn_q.weight"], "Q8_0")
        self.assertEqual(types["blk.0.attn_norm.weight"], "F32")

    def test_target_speed(self):
        report = json.loads(must("prune", "-m", at("llama"), "-o", at("out"), "--strategy", "layers",
                                 "--target-speed", "1.3", "--calibrate", at("text"), "--json", "--choose",
                                 "influence"))
        self.assertGreaterEqual(report["ratio"], 0.25)
        self.assertIn("decode_ratio", report)


class Recurrent(unittest.TestCase):
    def test_units(self):
        prune("lstm", "out", "units", "--ratio", "0.33", "--no-repair")
        before, after = Model("lstm"), Model("out")
        stay = after.key("lstm.hidden_length")
        self.assertEqual(stay, 32)
        kept = []
        for i in range(2):
            rows = kept_rows(np.c_[before.values(f"blk.{i}.lstm_ih.bias"),
                                   before.values(f"blk.{i}.lstm_hh.bias")],
                             np.c_[after.values(f"blk.{i}.lstm_ih.bias"), after.values(f"blk.{i}.lstm_hh.bias")])
            kept.append(rows[:stay])
            for g in range(4):
                self.assertEqual(rows[g * stay:(g + 1) * stay], [g * HIDDEN + u for u in kept[i]])
        truth = lstm(before, IDS[0], kept)
        mine = logits("out", IDS)
        self.assertLess(np.abs(truth - mine).max(), 1e-4 * np.abs(truth).max())

    def test_repair(self):
        plain = prune("lstm", "out", "units", "--ratio", "0.33", "--no-repair", "--eval", part())
        fitted = prune("lstm", "out", "units", "--ratio", "0.33", "--eval", part())
        self.assertLess(fitted["kl_mean"], plain["kl_mean"])


def lstm(m, ids, kept):
    """Logits of every position with all units but these at zero."""
    x = m.values("token_embd.weight")[ids]
    for i in range(2):
        masks = np.isin(np.arange(HIDDEN), kept[i])
        wi, wh = m.values(f"blk.{i}.lstm_ih.weight"), m.values(f"blk.{i}.lstm_hh.weight")
        bias = m.values(f"blk.{i}.lstm_ih.bias") + m.values(f"blk.{i}.lstm_hh.bias")
        h, c, out = np.zeros(HIDDEN), np.zeros(HIDDEN), []
        for row in x:
            a = wi @ row + wh @ h + bias
            gi, gf, gg, go = (a[k * HIDDEN:(k + 1) * HIDDEN] for k in range(4))
            c = c / (1 + np.exp(-gf)) + np.tanh(gg) / (1 + np.exp(-gi))
            h = masks * np.tanh(c) / (1 + np.exp(-go))
            out.append(h)
        x = np.array(out)
    return x @ m.values("output.weight").T + m.values("output.bias")


class Simple(unittest.TestCase):
    def test_neurons(self):
        r = random.Random(5)
        with open(at("table"), "w", encoding="utf-8") as f:
            for _ in range(300):
                row = [r.gauss(0, 1) for _ in range(6)]
                f.write(",".join(f"{x:.4f}" for x in row) + f",{'ab'[row[0] * row[1] > 0]}\n")
        must("train", "mlp", "--data", at("table"), "-o", at("mlp"), "--widths", "20,12", "--steps", "50")
        report = json.loads(must("prune", "-m", at("mlp"), "-o", at("out"), "--strategy", "neurons", "--ratio",
                                 "0.5", "--json"))
        self.assertEqual(report["removed"], "16 of 32 neurons in 2 layers")
        before, after = Model("mlp"), Model("out")
        self.assertEqual(after.key("mlp.hidden_lengths"), [10, 6])
        columns = list(range(6))
        for i, width in enumerate((20, 12)):
            was, now = before.values(f"blk.{i}.weight"), after.values(f"blk.{i}.weight")
            following = before.values(f"blk.{i + 1}.weight" if i == 0 else "output.weight")
            score = (was[:, columns] ** 2).sum(1) * (following ** 2).sum(0)
            kept = np.sort(np.argsort(-score)[:width // 2])
            np.testing.assert_array_equal(now, was[np.ix_(kept, columns)])
            np.testing.assert_array_equal(after.values(f"blk.{i}.bias"), before.values(f"blk.{i}.bias")[kept])
            columns = kept
        np.testing.assert_array_equal(after.values("output.weight"), before.values("output.weight")[:, columns])


class Weights(unittest.TestCase):
    def test_zeros(self):
        for strategy, more in (("magnitude", ["--ratio", "0.5"]), ("wanda", ["--ratio", "0.5"]),
                               ("sparsegpt", ["--ratio", "0.5"]), ("wanda", ["--ratio", "0.5", "--ratios", "kl"]), ("nm", ["--nm", "2:4"])):
            report = prune("llama", "out", strategy, *more)
            self.assertAlmostEqual(report["ratio"], 0.5, delta=0.01)
            w = Model("out").values("blk.1.ffn_up.weight")
            if strategy == "nm":
                self.assertTrue((np.count_nonzero(w.reshape(-1, 4), axis=1) <= 2).all())
            if strategy == "magnitude":
                was = np.abs(Model("llama").values("blk.1.ffn_up.weight"))
                self.assertLessEqual(was[w == 0].max(), was[w != 0].min())

    def test_sparse(self):
        prune("llama", "dense", "blocks", "--ratio", "0.5", "--type", "q8_0")
        report = prune("llama", "out", "blocks", "--ratio", "0.5", "--type", "q8_0", "--sparse")
        self.assertGreater(report["sparse_tensors"], 0)
        self.assertLess(os.path.getsize(at("out")), os.path.getsize(at("dense")))
        np.testing.assert_allclose(logits("out", IDS), logits("dense", IDS), atol=1e-5)


class Failures(unittest.TestCase):
    def fails(self, expect, *args):
        before = sorted(os.listdir(folder))
        result = run("prune", *args)
        self.assertEqual(result.returncode, 1, args)
        self.assertRegex(result.stderr, f"^brisk: .*{expect}")
        self.assertEqual(result.stderr.count("\n"), 1, result.stderr)
        self.assertEqual(sorted(os.listdir(folder)), before)

    def test_errors(self):
        llama = ["-m", at("llama"), "-o", at("none"), "--no-bench"]
        text = ["--calibrate", at("text")]
        with open(at("binary"), "wb") as f:
            f.write(bytes(range(256)) * 40)
        with open(at("short"), "w", encoding="utf-8") as f:
            f.write("too short")
        self.fails("give the model", "-o", at("none"))
        self.fails("give the file", "-m", at("llama"))
        self.fails("give a strategy.*channels, heads, layers", *llama)
        self.fails("'trim' found; one of channels, heads", *llama, "--strategy", "trim")
        self.fails("ratio or a target speed", *llama, *text, "--strategy", "channels")
        self.fails("not both", *llama, *text, "--strategy", "channels", "--ratio", ".5", "--target-speed", "2")
        self.fails("ratio 1 found", *llama, *text, "--strategy", "channels", "--ratio", "1")
        self.fails("ratio 0.99 leaves 0 of 128 feed-forward channels.*possible", *llama, *text, "--strategy",
                   "channels", "--ratio", ".99")
        self.fails("--calibrate", *llama, "--strategy", "channels", "--ratio", ".5")
        self.fails("is no text", *llama, "--calibrate", at("binary"), "--strategy", "channels", "--ratio", ".5")
        self.fails("calibration text: .*tokens", *llama, "--calibrate", at("short"), "--strategy",
                   "channels", "--ratio", ".5")
        self.fails("calibration text: .*tokens", *llama, "--calibrate", at("short"), "--strategy",
                   "layers", "--ratio", ".5")
        self.fails("architecture 'llama'", *llama, "--strategy", "neurons", "--ratio", ".5")
        self.fails("architecture 'llama'", *llama, *text, "--strategy", "units", "--ratio", ".5")
        self.fails("type 'q9' found", *llama, *text, "--strategy", "heads", "--ratio", ".5", "--type", "q9")
        self.fails("--nm '4:2' found", *llama, *text, "--strategy", "nm", "--nm", "4:2")
        self.fails("--calibrate", *llama, "--strategy", "magnitude", "--ratio", ".5", "--ratios", "kl")
        self.fails("no zeros to store", *llama, *text, "--strategy", "heads", "--ratio", ".5", "--sparse")
        self.fails("layers cannot reach 90 times", *llama, *text, "--strategy", "layers", "--target-speed", "90")
        self.fails("none/none", "-m", at("llama"), "-o", at("none/none"), "--no-bench", *text, "--strategy",
                   "channels", "--ratio", ".5")


@unittest.skipUnless(os.environ.get("BRISK_TEST_MODEL"), "BRISK_TEST_MODEL is not set")
class RealModel(unittest.TestCase):
    def start(self, *more):
        model = os.environ["BRISK_TEST_MODEL"]
        return subprocess.Popen([BRISK, "prune", "-m", model, "-o", at("real"), "--no-bench", *more],
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                text=True)

    def test_interrupted(self):
        p = self.start("--strategy", "magnitude", "--ratio", "0.3", "--type", "q8_0")
        time.sleep(1.5)
        p.send_signal(signal.SIGINT)
        p.communicate()
        self.assertEqual(p.returncode, 130)
        self.assertEqual(glob.glob(at("real*")), [])

    def test_peer_opens(self):
        p = self.start("--strategy", "channels", "--ratio", "0.1", "--calibrate", at("text"),
                       "--calibrate-tokens", "512", "--json")
        out, err = p.communicate()
        self.assertEqual(p.returncode, 0, err)
        self.assertEqual(json.loads(out)["removed"], "128 of 1536 feed-forward channels in each of 30 layers")
        self.assertEqual(Model("real").tensors["blk.3.ffn_down.weight"].tensor_type.name, "Q4_1")
        if not os.environ.get("BRISK_PEER_BIN"):
            print("BRISK_PEER_BIN is not set: llama.cpp was not asked")
            return
        mine = json.loads(must("eval", "-m", at("real"), "-f", part(), "-c", "128", "--json"))["ppl"]
        peer = subprocess.run([os.path.join(os.environ["BRISK_PEER_BIN"], "llama-perplexity"), "-m",
                               at("real"), "-f", part(), "-c", "128"], stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, check=False)
        found = re.search(r"PPL = ([0-9.]+)", peer.stdout + peer.stderr)
        self.assertTrue(found, peer.stderr[-300:])
        self.assertAlmostEqual(float(found[1]) / mine, 1, delta=0.03)


if __name__ == "__main__":
    sys.exit(not unittest.main(exit=False).result.wasSuccessful())
