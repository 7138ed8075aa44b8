#!/usr/bin/env python3
"""lm-eval against the server: prompts scored through echoed log-probabilities, the server's tokenizer.

Two small tasks of our own: questions with four answers, and texts scored whole. What lm-eval reports is
compared with the rows of logits that `brisk eval` writes: another program, another path through the
model, the sums made by numpy.

BRISK names the program (build/brisk), BRISK_TEST_MODEL the default model's file. Run by test.sh --full
with the Python of test_clients.py.
"""
import glob
import json
import os
import subprocess
import sys
import tempfile
import unittest

import numpy as np

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from server import BRISK, MODEL, Server, need_model  # noqa: E402

# A question, the right answer and three wrong ones.
QUESTIONS = [
    ("The capital of France is", "Paris", "Rome", "Berlin", "Madrid"),
    ("The capital of Italy is", "Rome", "Paris", "Oslo", "Cairo"),
    ("The capital of Japan is", "Tokyo", "Lima", "Madrid", "Athens"),
    ("The opposite of hot is", "cold", "tall", "green", "early"),
    ("The opposite of big is", "small", "loud", "wet", "yellow"),
    ("Two plus two equals", "four", "nine", "eleven", "forty"),
    ("A week has", "seven days", "four days", "ten days", "thirty days"),
    ("A year has", "twelve months", "three months", "nine months", "forty months"),
    ("On a clear day the sky is", "blue", "purple", "square", "wooden"),
    ("Bees make", "honey", "bread", "paper", "wine"),
    ("Cows give us", "milk", "silk", "salt", "coal"),
    ("Plants need water and", "sunlight", "moonlight", "sugar", "petrol"),
    ("The Earth goes around the", "Sun", "Moon", "Mars", "river"),
    ("Water freezes and becomes", "ice", "steam", "oil", "sand"),
    ("Fish live in", "water", "trees", "houses", "books"),
    ("A triangle has", "three sides", "eight sides", "six sides", "no sides"),
    ("We see with our", "eyes", "ears", "knees", "elbows"),
    ("We hear with our", "ears", "eyes", "feet", "hair"),
    ("A doctor works in a", "hospital", "bakery", "harbour", "mine"),
    ("Once upon a", "time", "chair", "blue – naïve – café", "Monday"),
]
TEXTS = ["The sun rises in the east and sets in the west.",
         "A café on the corner — naïve, but good: 12.50 €.\n\nIt opens at nine."]

CHOICES_TASK = """task: brisk_choices
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{question}}}}"
doc_to_choice: choices
doc_to_target: right
metric_list: [{{metric: acc}}, {{metric: acc_norm}}]
"""
TEXTS_TASK = """task: brisk_texts
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
test_split: test
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{{{text}}}}"
metric_list: [{{metric: bits_per_byte}}]
"""


def write_task(folder, name, task, rows):
    data = os.path.join(folder, name + ".jsonl")
    with open(data, "w", encoding="utf-8") as f:
        f.writelines(json.dumps(r) + "\n" for r in rows)
    with open(os.path.join(folder, name + ".yaml"), "w", encoding="utf-8") as f:
        f.write(task.format(data=data))


class LmEval(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.server = Server()
        rows = []
        for i, (question, *answers) in enumerate(QUESTIONS):
            at = i % 4
            rows.append({"question": question, "right": at, "choices": answers[1:at + 1] +
                         answers[:1] + answers[at + 1:]})
        write_task(cls.folder.name, "choices", CHOICES_TASK, rows)
        write_task(cls.folder.name, "texts", TEXTS_TASK, [{"text": t} for t in TEXTS])

    @classmethod
    def tearDownClass(cls):
        cls.server.stop()
        cls.folder.cleanup()

    def evaluate(self, task, batch_size=1, **args):
        """The task's metrics and, per document, its choices with their (sum, greedy)."""
        out = tempfile.mkdtemp(dir=self.folder.name)
        model = {"model": "any", "base_url": self.server.url + "/v1/completions",
                 "tokenizer_backend": "remote", "num_concurrent": 4, "max_retries": 1, **args}
        r = subprocess.run(
            [sys.executable, "-m", "lm_eval", "--model", "local-completions", "--model_args",
             ",".join(f"{k}={v}" for k, v in model.items()), "--tasks", task,
             "--batch_size", str(batch_size), "--include_path", self.folder.name, "--output_path", out, "--log_samples"],
            env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": self.folder.name},
            capture_output=True, text=True, timeout=300)
        self.assertEqual(r.returncode, 0, r.stderr[-3000:])
        with open(glob.glob(out + "/**/results_*.json", recursive=True)[0], encoding="utf-8") as f:
            metrics = json.load(f)["results"][task]
        with open(glob.glob(out + "/**/samples_*.jsonl", recursive=True)[0], encoding="utf-8") as f:
            samples = sorted((json.loads(x) for x in f), key=lambda s: s["doc_id"])
        return metrics, samples

    def tokens(self, text):
        return self.server.post("/tokenize", {"prompt": text, "add_special_tokens": False}
                                ).json["tokens"]

    def expected(self, pairs):
        """Per (tokens, first): log-probability of tokens[first:], whether all are the likeliest, and
        how far the nearest other token was."""
        ids = os.path.join(self.folder.name, "ids.json")
        logits = os.path.join(self.folder.name, "logits.npy")
        with open(ids, "w", encoding="ascii") as f:
            json.dump([tokens for tokens, _ in pairs], f)
        subprocess.run([BRISK, "eval", "-m", MODEL, "--tokens", ids, "--save-logits", logits],
                       check=True, capture_output=True)
        rows = np.load(logits).astype(np.float64)
        self.assertEqual(len(rows), sum(len(tokens) for tokens, _ in pairs))
        out, at = [], 0
        for tokens, first in pairs:
            r = rows[at + first - 1:at + len(tokens) - 1]
            at += len(tokens)
            p = r - r.max(axis=1, keepdims=True)
            p -= np.log(np.exp(p).sum(axis=1, keepdims=True))
            wanted = np.array(tokens[first:])
            two = np.sort(p, axis=1)[:, -2:]
            out.append((p[np.arange(len(wanted)), wanted].sum(),
                        bool((p.argmax(axis=1) == wanted).all()), (two[:, 1] - two[:, 0]).min()))
        return out

    def compare(self, found, pairs):
        """Two paths through the model differ in the order of their sums alone."""
        expected = self.expected(pairs)
        self.assertEqual(len(found), len(expected))
        for (value, greedy), (sum_, likeliest, margin), pair in zip(found, expected, pairs):
            self.assertAlmostEqual(value, sum_, delta=0.02 + 0.003 * abs(sum_), msg=pair)
            if margin > 0.05:
                self.assertEqual(greedy, likeliest, pair)
        return max(abs(f[0] - e[0]) for f, e in zip(found, expected))

    def choices(self, **args):
        metrics, samples = self.evaluate("brisk_choices", **args)
        self.assertEqual(len(samples), len(QUESTIONS))
        found, pairs, best = [], [], 0
        for s in samples:
            resps = [(float(r[0][0]), r[0][1] in (True, "True")) for r in s["resps"]]
            best += int(np.argmax([v for v, _ in resps])) == s["doc"]["right"]
            for resp, choice in zip(resps, s["doc"]["choices"]):
                context = self.tokens(s["doc"]["question"])
                found.append(resp)
                pairs.append((self.tokens(s["doc"]["question"] + " " + choice), len(context)))
        worst = self.compare(found, pairs)
        self.assertTrue(any(g for _, g in found), "no continuation was the likeliest one")
        self.assertFalse(all(g for _, g in found))
        self.assertAlmostEqual(metrics["acc,none"], best / len(QUESTIONS))
        self.assertGreaterEqual(metrics["acc,none"], 0.6)  # chance is 0.25
        print(f"{args}: accuracy {metrics['acc,none']:.2f}, {len(found)} sums, off by at most "
              f"{worst:.4f}")
        return found

    def test_token_requests(self):
        """The same numbers one at a time, in batches, and from the prefix cache."""
        one = self.choices(tokenized_requests=True)
        many = self.choices(tokenized_requests=True, batch_size=8)
        for (a, _), (b, _) in zip(one, many):
            self.assertAlmostEqual(a, b, delta=0.02)

    def test_text_requests(self):
        """Only sound where a text's tokens are the context's and then the answer's, as here."""
        self.choices(tokenized_requests=False)
        self.choices(tokenized_requests=False, batch_size=8)

    def test_whole_texts(self):
        metrics, samples = self.evaluate("brisk_texts", tokenized_requests=True)
        info = self.server.get("/tokenizer_info").json
        begin = self.tokens(info["bos_token"])
        self.assertEqual(len(begin), 1)
        pairs = [(begin + self.tokens(s["doc"]["text"]), 1) for s in samples]
        found = [(float(np.ravel(s["resps"])[0]), None) for s in samples]
        expected = self.expected(pairs)
        for (a, _), (b, _, _) in zip(found, expected):
            self.assertAlmostEqual(a, b, delta=0.02 + 0.003 * abs(b))
        bits = -sum(b for b, _, _ in expected) / np.log(2) / sum(len(t.encode()) for t in TEXTS)
        self.assertAlmostEqual(metrics["bits_per_byte,none"], bits, delta=0.01)


if __name__ == "__main__":
    need_model()
    unittest.main()
