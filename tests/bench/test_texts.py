#!/usr/bin/env python3
"""bench/texts.py: the same files every time, two texts that share nothing long, and questions whose right
answers are right. A line per failure, exit status 1 with any."""
import contextlib
import io
import json
import os
import re
import subprocess
import sys
import tempfile

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../..")
failures = 0


def check(good, what):
    global failures
    if not good:
        failures += 1
        print(f"FAIL {what}")


def read(folder, name):
    with open(os.path.join(folder, name), encoding="utf-8") as f:
        return f.read()


def printed(code):
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(code, {})
    return out.getvalue().strip()


def right_answer(q, countries):
    """What the answer should be, from the question alone; None: a verse."""
    if q["kind"] == "sum":
        a, word, b = re.search(r"is (\d+) (\w+) (\d+)\?", q["question"]).groups()
        return str({"plus": int(a) + int(b), "minus": int(a) - int(b), "times": int(a) * int(b)}[word])
    if q["kind"] == "code":
        return printed(q["question"].rsplit("\n", 1)[0])
    return countries[q["question"][len("The capital of "):-len(" is")]] if q["kind"] == "capital" else None


def run(folder, *options):
    return subprocess.run([sys.executable, os.path.join(ROOT, "bench/texts.py"), folder, *options],
                          capture_output=True, text=True)


def main():
    with tempfile.TemporaryDirectory() as tmp:
        one, two = os.path.join(tmp, "1"), os.path.join(tmp, "2")
        for folder in (one, two):
            made = run(folder, "--size", "64")
            if made.returncode:
                sys.exit(f"FAIL {made.stderr}")
        for name in ("calibration.txt", "evaluation.txt", "choices.json", "sources.json"):
            check(read(one, name) == read(two, name), f"{name} is the same twice")
        texts = [read(one, f"{n}.txt") for n in ("calibration", "evaluation")]
        check(all(60000 < len(t) < 110000 for t in texts), f"sizes {[len(t) for t in texts]}")
        lines = [{x for x in t.splitlines() if len(x) > 60} for t in texts]
        shared = {x for x in lines[0] & lines[1]}
        check(len(shared) <= 5, f"{len(shared)} long lines are in both texts: {sorted(shared)[:3]}")
        questions = json.loads(read(one, "choices.json"))
        rows = subprocess.run(["zcat", "/usr/share/misc/countries.gz"], capture_output=True, text=True).stdout
        countries = {f[3]: f[4] for f in (r.split(":") for r in rows.splitlines()) if len(f) == 5}
        verses = subprocess.run(["bible", "-f", "-l", "1000", "psa1:1-prv31:31"], capture_output=True,
                                text=True).stdout
        check(len(questions) == 240, f"{len(questions)} questions")
        for q in questions:
            given, right = q["choices"][q["answer"]], right_answer(q, countries)
            good = given == right if right else f"{q['question']} {given}" in verses
            check(good and len(set(q["choices"])) == 4, f"{q}: the answer is {right}")
        check(run(one, "--size", "2000").returncode == 2, "2 MB are refused")
    sys.exit(failures > 0)


main()
