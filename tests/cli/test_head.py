#!/usr/bin/env python3
"""A trimmed head: what `brisk eval` says of it is what numpy computes from the whole head's logits, and
requests that name tokens or ask for probabilities get them whole.

BRISK names the program (build/brisk). Runs on the small models of tests/data; nothing is timed.
"""
import json
import os
import subprocess
import sys
import tempfile
import unittest

import numpy

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../..")
sys.path.insert(0, os.path.join(ROOT, "tests/server"))
from server import Server  # noqa: E402

BRISK = os.path.abspath(os.environ.get("BRISK", os.path.join(ROOT, "build/brisk")))
TINY = os.path.join(ROOT, "tests/data/tiny_int.gguf")
CHAT = os.path.join(ROOT, "tests/data/tiny_chat.gguf")


def brisk(*args):
    return subprocess.run([BRISK, *args], capture_output=True, timeout=120, check=False)


class Head(unittest.TestCase):
    def test_eval_is_what_numpy_says(self):
        rng = numpy.random.default_rng(1)
        ids = [[int(t) for t in rng.integers(3, 300, 60)] for _ in range(3)]
        with tempfile.TemporaryDirectory() as folder:
            tokens, whole, some = (os.path.join(folder, n) for n in ("t.json", "w.npy", "s.npy"))
            with open(tokens, "w", encoding="utf-8") as file:
                json.dump(ids, file)
            common = ["eval", "-m", TINY, "--tokens", tokens, "--json", "--save-logits"]
            self.assertEqual(brisk(*common, whole).returncode, 0)
            result = brisk(*common, some, "--head-keep", "150")
            self.assertEqual(result.returncode, 0, result.stderr)
            self.assertIn(b"150 of 300 tokens", brisk("run", "-m", TINY, "--head-keep", "150", "--raw",
                                                      "-p", "a", "-n", "1").stderr)
            said = json.loads(result.stdout)
            w, s = numpy.load(whole).astype(float), numpy.load(some).astype(float)
        kept = numpy.isfinite(s)
        self.assertTrue((s[kept] == w[kept]).all())
        self.assertTrue((s[~kept] == -numpy.inf).all())
        row, out, removed, loss = 0, 0, [], []
        for sequence in ids:
            for i, token in enumerate(sequence):
                self.assertTrue(kept[row][sequence[:i + 1]].all(), "the tokens before are there")
                self.assertGreater((~kept[row]).sum(), 90)
                p = numpy.exp(w[row] - w[row].max())
                p /= p.sum()
                z = p[kept[row]].sum()
                removed.append(1 - z)
                if i + 1 < len(sequence):
                    following = sequence[i + 1]
                    out += not kept[row][following]
                    if kept[row][following]:
                        loss.append(-numpy.log(p[following] / z))
                row += 1
        self.assertEqual(said["impossible"], out)
        self.assertGreater(out, 0)
        self.assertAlmostEqual(said["outside"], numpy.mean(removed), 5)
        self.assertLess(said["kl_mean"], 1e-5, "what is left is in proportion")
        self.assertAlmostEqual(said["nll"], numpy.mean(loss), 5)

    def test_refusals(self):
        for args, says in ((["--head-keep", "3"], b"16 to 300"), (["--head-keep", "/no/ids"], b"/no/ids"),
                           (["--head-keep", "99x:"], b"99x:")):
            result = brisk("eval", "-m", TINY, "-f", os.path.join(ROOT, "tests/data/prose.txt"), "-c", "64",
                           *args)
            self.assertEqual(result.returncode, 1)
            self.assertEqual(result.stderr.count(b"brisk:"), 1, result.stderr)
            self.assertIn(says, result.stderr)

    def test_served_whole_where_tokens_are_named(self):
        asked = {"prompt": "one two", "max_tokens": 8, "temperature": 0, "ignore_eos": True}
        whole = Server(model=CHAT)
        trimmed = Server("--head-keep", "16", model=CHAT)
        try:
            def both(**more):
                return [s.ask("POST", "/v1/completions", {**asked, **more}).json["choices"][0]
                        for s in (whole, trimmed)]
            for more in ({"logprobs": 3}, {"logit_bias": {"290": 100}}):
                a, b = both(**more)
                self.assertEqual((a["text"], a["logprobs"]), (b["text"], b["logprobs"]))
        finally:
            whole.stop()
            trimmed.stop()


if __name__ == "__main__":
    unittest.main()
