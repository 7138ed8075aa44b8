#!/usr/bin/env python3
"""brisk train mlp as seen from outside: the digits, its file computed again with numpy, the picture, the
table of losses, and data that is not as it should be.

BRISK names the program (build/brisk). Needs PyPI's gguf and numpy.
"""
import csv
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
DIGITS = os.path.join(ROOT, "share/digits.csv")


def train(*args, **options):
    result = subprocess.run([BRISK, "train", "mlp", *args], capture_output=True, timeout=120, check=False,
                            **options)
    result.out, result.err = result.stdout.decode(), result.stderr.decode()
    return result


def forward(model, x):
    """Scores by the weights, scaling and shape in a file."""
    fields = {k: f.contents() for k, f in model.fields.items()}
    w = {t.name: t.data for t in model.tensors}
    x = (x - np.float32(fields["mlp.scaling.mean"])) * np.float32(fields["mlp.scaling.factor"])
    for i in range(len(fields["mlp.hidden_lengths"])):
        x = np.tanh(x @ w[f"blk.{i}.weight"].T + w[f"blk.{i}.bias"])
    return x @ w["output.weight"].T + w["output.bias"], fields["mlp.classes"]


class Mlp(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = lambda name: os.path.join(folder.name, name)

    def write(self, text):
        with open(self.path("table.csv"), "w", encoding="utf-8") as f:
            f.write(text)
        return self.path("table.csv")

    def test_digits_without_a_word(self):
        """The table is found, 97 % are right, nothing is left behind."""
        before = os.listdir(self.path(""))
        result = train("--steps", "500", cwd=self.path(""))
        self.assertEqual(result.returncode, 0, result.err)
        self.assertIn("64 columns, 10 classes; 1438 examples to learn from, 359 held out", result.out)
        share = float(result.out.split("held out: ")[1].split(" %")[0])
        self.assertGreater(share, 94)
        table = [line.split() for line in result.out.splitlines() if line.strip()[:1].isdigit()][-11:-1]
        self.assertEqual([row[0] for row in table], list("0123456789"))
        right = sum(int(row[i + 1]) for i, row in enumerate(table))
        self.assertAlmostEqual(100 * right / 359, share, places=1)
        self.assertEqual(os.listdir(self.path("")), before)

    def test_file(self):
        """What is written has the scores of numpy, whose share of right answers is the one told."""
        out = self.path("digits.gguf")
        result = train("--data", DIGITS, "-o", out, "--widths", "24,16", "--activation", "tanh", "--steps",
                       "500", "--valid", "0.5", "--json")
        self.assertEqual(result.returncode, 0, result.err)
        told = json.loads(result.out)
        with open(DIGITS, encoding="ascii") as f:
            rows = list(csv.reader(f))[1:]
        x, y = np.float32([r[:-1] for r in rows]), [r[-1] for r in rows]
        scores, classes = forward(gguf.GGUFReader(out), x)
        right = np.mean([classes[k] == c for k, c in zip(scores.argmax(1), y)])
        # All of the half that was learned, and the share that was told of the other.
        self.assertAlmostEqual(right, (1 + told["accuracy"]) / 2, delta=0.01)
        self.assertGreater(told["accuracy"], 0.93)
        self.assertEqual(sum(map(sum, told["confusion"])), told["valid_tokens"])
        self.assertEqual(sorted(os.listdir(self.path(""))), ["digits.gguf"])

    def test_picture_and_log(self):
        result = train("--steps", "200", "--plot", self.path("x.svg"), "--log", self.path("x.csv"))
        self.assertEqual(result.returncode, 0, result.err)
        svg = xml.etree.ElementTree.parse(self.path("x.svg")).getroot()
        text = [t.text for t in svg.iter("{http://www.w3.org/2000/svg}text")]
        self.assertIn("Simple network of 2410 weights on digits.csv", text)
        self.assertIn("loss, nats per example (logarithmic)", text)
        self.assertIn("steps", text)
        self.assertTrue(any(t.startswith("best score: ") for t in text))
        with open(self.path("x.svg"), encoding="utf-8") as f:
            self.assertIn("prefers-color-scheme:dark", f.read())
        with open(self.path("x.csv"), encoding="ascii") as f:
            rows = list(csv.DictReader(f))
        self.assertEqual(int(rows[-1]["step"]), 200)

    def test_words_as_classes(self):
        """A ring around a disc: no line divides them."""
        rng = np.random.default_rng(1)
        lines = ["x,y,where"]
        for i in range(600):
            angle, r = rng.uniform(0, 2 * np.pi), rng.uniform(0, 1) if i % 2 else rng.uniform(1.5, 2.5)
            lines.append(f"{r * np.cos(angle):.4f},{r * np.sin(angle):.4f},{'in' if i % 2 else 'out, side'}")
        table = self.write("\n".join(ln.replace("out, side", '"out, side"') for ln in lines))
        result = train("--data", table, "--steps", "600", "--json")
        self.assertEqual(result.returncode, 0, result.err)
        self.assertGreater(json.loads(result.out)["accuracy"], 0.98)

    def test_bad_tables(self):
        for text, why in (("", "empty"), ("1,2,a\n1,x,b\n", "line 2, column 2: 'x' found, a number wanted"),
                          ("1,2,a\n1,2,a\n", "one class found"), ("\0\1\2,3\n4,5", "number"),
                          ("a,b\n", "no example")):
            result = train("--data", self.write(text))
            self.assertEqual(result.returncode, 1)
            self.assertEqual(result.err.count("\n"), 1)
            self.assertIn("table.csv", result.err)
            self.assertIn(why, result.err)
        result = train("--data", self.path("none.csv"))
        self.assertEqual(result.returncode, 1)
        self.assertIn("none.csv", result.err)

    def test_bad_options(self):
        for args, why in ((["--widths", "4,,5"], "widths '4,,5'"), (["--activation", "step"], "'step'"),
                          (["--resume"], "--checkpoint"), (["--batch", "0"], "--batch")):
            result = train(*args)
            self.assertEqual(result.returncode, 1)
            self.assertIn(why, result.err)


if __name__ == "__main__":
    unittest.main()
