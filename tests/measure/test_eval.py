#!/usr/bin/env python3
"""What `brisk eval` says of two models beside the same figures from numpy, made of the logits that it
saves: distances, paired errors, positions, greedy answers, multiple choice. The models are small
transformers trained here, from different beginnings, the second in 4 bits.

BRISK names the program (build/brisk). Needs numpy; a line per failure, exit status 1 with any."""
import json
import os
import subprocess
import sys
import tempfile

import numpy as np

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../..")
BRISK = os.path.abspath(os.environ.get("BRISK", os.path.join(ROOT, "build/brisk")))
PROSE = os.path.join(ROOT, "tests/data/prose.txt")
failures = 0


def check(good, what):
    global failures
    if not good:
        failures += 1
        print(f"FAIL {what}")


def close(got, wanted, what, tolerance=1e-6):
    good = np.allclose(got, wanted, rtol=tolerance, atol=1e-9)
    check(good, f"{what}: {got}, numpy {wanted}")


def brisk(*args, **more):
    result = subprocess.run([BRISK, *args], capture_output=True, timeout=120, check=False, **more)
    if result.returncode:
        raise RuntimeError(f"{' '.join(args)}: {result.stderr.decode()}")
    return result.stdout


def log_softmax(x):
    x = x.astype(np.float64)
    x = x - x.max(axis=-1, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=-1, keepdims=True))


class Models:
    def __init__(self, folder):
        self.folder = folder
        self.ref, self.small = self.path("ref.gguf"), self.path("q4.gguf")
        train = ["train", "llama", "--data", PROSE, "--embedding", "64", "--layers", "2", "--heads", "2", "--kv-heads", "1",
                 "--sequence", "64", "--lr", "0.01", "--steps"]
        brisk(*train, "80", "-o", self.ref)
        brisk(*train, "80", "--seed", "2", "--type", "q4_0", "-o", self.small)

    def path(self, name):
        return os.path.join(self.folder, name)

    def ids(self, text):
        return json.loads(brisk("tokenize", "-m", self.ref, "--json", "-p", text))

    def ids_of_lines(self, lines):
        said = brisk("tokenize", "-m", self.ref, "--json", "-f", "-", input="".join(x + "\n" for x in lines).encode())
        return [json.loads(line) for line in said.splitlines()]

    def logits(self, model, sequences):
        """log p [rows, tokens] of sequences of ids, one below the other."""
        ids, out = self.path("ids.json"), self.path("logits.npy")
        with open(ids, "w", encoding="ascii") as f:
            json.dump(sequences, f)
        brisk("eval", "-m", model, "--tokens", ids, "--save-logits", out, "--json")
        return log_softmax(np.load(out))


def check_distances(m, text):
    """Windows of a text: the rows saved are those scored."""
    n, rows = 64, {}
    for name, model in (("ref", m.ref), ("q4", m.small)):
        brisk("eval", "-m", model, "-f", text, "-c", str(n), "--save-logits", m.path(name + ".npy"))
        rows[name] = log_softmax(np.load(m.path(name + ".npy")))
    with open(text, encoding="utf-8") as f:
        ids = np.array(m.ids(f.read()))
    windows = ids[: len(ids) // n * n].reshape(-1, n)
    nexts = windows[:, n // 2 + 1:].reshape(-1)
    p, q = rows["ref"], rows["q4"]
    at = np.arange(len(nexts))
    loss, ref = -q[at, nexts], -p[at, nexts]
    kl = (np.exp(p) * (p - q)).sum(axis=1)
    said = json.loads(brisk("eval", "-m", m.small, "--reference", m.ref, "-f", text, "-c", str(n), "--json"))
    count, more = len(nexts), loss - ref
    check(said["compared"] == said["tokens"] == count, f"{said['compared']} tokens, {count} rows")
    wanted = {"nll": loss.mean(), "ref_ppl": np.exp(ref.mean()), "log_ratio": more.mean(),
              "log_ratio_error": more.std(ddof=1) / np.sqrt(count), "kl_mean": kl.mean(),
              "kl_error": kl.std(ddof=1) / np.sqrt(count), "kl_max": kl.max(),
              "rms_dp": np.sqrt(((np.exp(-loss) - np.exp(-ref)) ** 2).mean()),
              "top_agreement": (p.argmax(1) == q.argmax(1)).mean(),
              "near_agreement": ((q > q[at, p.argmax(1)][:, None]).sum(1) < 5).mean()}
    for share, key in ((50, "kl_median"), (90, "kl_p90"), (99, "kl_p99"), (99.9, "kl_p999")):
        wanted[key] = np.percentile(kl, share)
    for key, value in wanted.items():
        close(said[key], value, key)
    check(0.0005 < said["kl_mean"] < 0.5 and said["top_agreement"] < 1, f"a difference to measure: {said}")
    scored = n - 1 - n // 2
    parts = np.arange(count) % scored * 8 // scored
    close(said["kl_parts"], [kl[parts == i].mean() for i in range(8)], "kl_parts")


def continued(m, model, prompt, count):
    """Greedy tokens, one run of the model each: the slow way."""
    ids = list(prompt)
    for _ in range(count):
        ids.append(int(m.logits(model, [ids])[-1].argmax()))
    return ids[len(prompt):]


def check_greedy(m, text):
    prompts, count = 3, 10
    with open(text, encoding="utf-8") as f:
        ids = m.ids(f.read())
    windows = len(ids) // 32
    same = []
    for i in range(prompts):
        start = windows * i // prompts * 32
        a, b = (continued(m, model, ids[start:start + 32], count) for model in (m.ref, m.small))
        same.append(next((k for k in range(count) if a[k] != b[k]), count))
    said = json.loads(brisk("eval", "-m", m.small, "--reference", m.ref, "-f", text, "-c", "64", "--greedy",
                            str(prompts), "--greedy-tokens", str(count), "--json"))["greedy"]
    check(min(same) < count, f"a difference to find: {same}")
    close(said["median"], np.median(same), f"greedy median of {same}")
    close(said["mean"], np.mean(same), f"greedy mean of {same}")
    check(said["same"] == sum(s == count for s in same), f"{said['same']} same answers, {same}")


def picks(m, model, questions):
    lines = [f"{q['question']} {c}" for q in questions for c in q["choices"]]
    wholes, found = m.ids_of_lines(lines), []
    firsts = [len(ids) for ids in m.ids_of_lines(q["question"] for q in questions)]
    rows = np.split(m.logits(model, wholes), np.cumsum([len(ids) for ids in wholes])[:-1])
    for i, q in enumerate(questions):
        scores = []
        for k, choice in enumerate(q["choices"]):
            ids, p = wholes[3 * i + k], rows[3 * i + k]
            scores.append(sum(p[t - 1, ids[t]] for t in range(firsts[i], len(ids))) / len(choice))
        found.append(int(np.argmax(scores)))
    return np.array(found)


def check_choices(m):
    with open(PROSE, encoding="utf-8") as f:
        words = f.read().split()[:400]
    rng = np.random.default_rng(1)
    questions = [{"question": " ".join(words[i:i + 4]), "answer": int(rng.integers(3)), "note": [i],
                  "choices": [str(w) for w in rng.choice(words, 3, replace=False)]} for i in range(0, 120, 4)]
    path = m.path("choices.json")
    with open(path, "w", encoding="utf-8") as f:
        json.dump(questions, f)
    said = json.loads(brisk("eval", "-m", m.small, "--reference", m.ref, "--choices", path, "--json"))["choices"]
    answers = np.array([q["answer"] for q in questions])
    was, now = (picks(m, model, questions) == answers for model in (m.ref, m.small))
    wanted = {"questions": 30, "right": now.sum(), "ref_right": was.sum(), "to_wrong": (was & ~now).sum(),
              "to_right": (now & ~was).sum()}
    check(said == wanted, f"choices: {said}, numpy {wanted}")
    check(said["to_wrong"] + said["to_right"] > 0, f"flips to count: {said}")


def check_refused(m):
    path = m.path("bad.json")
    for bad, says in (("", "JSON"), ("{}", "list"), ("[]", "list"), ('[{"choices": ["a", "b"]}]', "question"),
                      ('[{"question": "x", "choices": ["a"], "answer": 0}]', "2 to 26"),
                      ('[{"question": "x", "choices": ["a", ""], "answer": 0}]', "choice 1"),
                      ('[{"question": "x", "choices": ["a", "b"], "answer": 2}]', "answer"),
                      ('[{"question": "x", "choices": ["a", "b"], "answer": 0.0}]', "answer")):
        with open(path, "w", encoding="ascii") as f:
            f.write(bad)
        result = subprocess.run([BRISK, "eval", "-m", m.ref, "--choices", path], capture_output=True, text=True,
                                check=False)
        good = result.returncode == 1 and not result.stdout and result.stderr.count("\n") == 1
        check(good and (says in result.stderr or says == "JSON"), f"{bad}: {result.stderr}")


def main():
    with tempfile.TemporaryDirectory() as folder:
        text = os.path.join(folder, "text.txt")
        with open(PROSE, encoding="utf-8") as f, open(text, "w", encoding="utf-8") as out:
            out.write(f.read()[:1500])
        m = Models(folder)
        check_distances(m, text)
        check_greedy(m, text)
        check_choices(m)
        check_refused(m)
    sys.exit(failures > 0)


main()
