#!/usr/bin/env python3
"""`brisk quantize --compare` and `brisk prune --compare` on a small transformer trained here: recipes and
files in one run, the same figures as `brisk eval` gives, the page and the table well-formed and complete,
and one line for what cannot be.

BRISK names the program (build/brisk). Needs nothing but Python; a line per failure, exit status 1 with any."""
import csv
import glob
import html.parser
import json
import os
import re
import subprocess
import sys
import tempfile

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../..")
BRISK = os.path.abspath(os.environ.get("BRISK", os.path.join(ROOT, "build/brisk")))
PROSE = os.path.join(ROOT, "tests/data/prose.txt")
failures = 0


def check(good, what):
    global failures
    if not good:
        failures += 1
        print(f"FAIL {what}")


def brisk(*args, env=None):
    return subprocess.run([BRISK, *args], capture_output=True, text=True, timeout=300, check=False,
                          env={**os.environ, **(env or {})})


def ok(*args, **more):
    result = brisk(*args, **more)
    if result.returncode:
        raise RuntimeError(f"{' '.join(args)}: {result.stderr}")
    return result.stdout


class Page(html.parser.HTMLParser):
    """Every tag is closed, and nothing comes from elsewhere."""
    VOID = {"meta", "br", "circle", "path", "rect"}

    def __init__(self, text):
        super().__init__()
        self.open, self.titles, self.marks = [], 0, 0
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        check(not {"src", "href"} & dict(attrs).keys() and tag != "script", f"the page asks for {tag} {attrs}")
        if tag not in self.VOID:
            self.open.append(tag)
        self.titles += tag == "title"
        self.marks += dict(attrs).get("class", "").startswith("p d")

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            check(self.open and self.open.pop() == tag, f"the page closes {tag}")


def main():
    with tempfile.TemporaryDirectory() as folder:
        def path(name):
            return os.path.join(folder, name)
        source, ready, choices = path("source.gguf"), path("ready & <small>.gguf"), path("choices.json")
        ok("train", "llama", "--data", PROSE, "--embedding", "64", "--ffn", "192", "--layers", "3", "--heads", "2",
           "--kv-heads", "1", "--sequence", "64", "--steps", "60", "--lr", "0.01", "-o", source)
        ok("quantize", source, ready, "q4_1")
        with open(choices, "w", encoding="ascii") as f:
            json.dump([{"question": "The", "choices": ["cat", "xq!"], "answer": i % 2} for i in range(4)], f)
        common = ["--calibrate", PROSE, "--eval", PROSE, "-c", "64", "--rounds", "2", "-p", "32", "-n", "4",
                  "--greedy", "3", "--greedy-tokens", "8", "--choices", choices, "-t", "2"]
        recipes = ["q8_0", "q4_0", "prune:channels:0.34+q8_0", "prune:channels:0.34:no-repair"]
        files = ["--csv", path("t.csv"), "--html", path("t.html"), "--svg", path("t.svg")]
        said = json.loads(ok("quantize", source, "--compare", ",".join([*recipes, ready]), *common, *files, "--json",
                             env={"TMPDIR": folder}))
        rows = {r["name"]: r for r in said["rows"]}
        names = ["source", *recipes, "ready & <small>"]
        check(list(rows) == names, f"rows {list(rows)}")
        check([r["dense"] for r in said["rows"]] == [True, True, True, False, False, True], "which are dense")
        check(rows["source"]["kl_mean"] == 0 and rows["source"]["decode_ratio"] == 1, "the source beside itself")
        check(rows["q8_0"]["kl_mean"] < rows["q4_0"]["kl_mean"], "more bits, less divergence")
        check(rows["prune:channels:0.34+q8_0"]["n_params"] < rows["source"]["n_params"], "pruned weights are gone")
        check(all(r["decode"] > 0 and r["prefill"] > 0 and r["choices"] == 4 for r in said["rows"]), "all measured")
        one = json.loads(ok("eval", "-m", ready, "--reference", source, "-f", PROSE, "-c", "64", "--json"))
        for key in ("kl_mean", "kl_p99", "ppl", "top_agreement", "rms_dp"):
            check(one[key] == rows[names[-1]][key], f"{key}: {rows[names[-1]][key]}, eval says {one[key]}")
        check(not glob.glob(path("brisk-compare-*")), "candidates are cleaned up")
        with open(path("t.csv"), encoding="utf-8", newline="") as f:
            table = list(csv.DictReader(f))
        check([r["name"] for r in table] == names, "rows of the CSV")
        check(float(table[1]["kl_mean"]) == rows["q8_0"]["kl_mean"], "numbers of the CSV")
        with open(path("t.html"), encoding="utf-8") as f:
            text = f.read()
        page = Page(text)
        check(not page.open and page.titles == 1 + 2 * len(names), f"titles {page.titles}, open {page.open}")
        check(page.marks == 2 * (len(names) + 3), f"{page.marks} points in two plots")
        check("ready &amp; &lt;small&gt;" in text and "<small>" not in text, "names are escaped")
        check(text.count("prefers-color-scheme:dark") == 3 and "http" not in re.sub(r"http://www.w3.org/2000/svg", "",
              text), "light and dark, and nothing from the network")
        table = ok("prune", "-m", source, "--compare", ready, *common).splitlines()
        check(table[0].split()[:3] == ["candidate", "file", "memory"] and len(table) == 11, f"table {table}")

        for args, says in ((["q9_9"], "q9_9"), (["prune:channels"], "prune:STRATEGY:RATIO"),
                           (["prune:channels:1.5"], "prune:STRATEGY:RATIO"), (["prune:nothing:0.5"], "nothing"),
                           (["q8_0+"], "steps"), ([","], "1 to 63")):
            result = brisk("quantize", source, "--compare", *args, *common)
            check(result.returncode == 1 and not result.stdout and result.stderr.count("\n") == 1
                  and says in result.stderr, f"{args}: {result.stderr}")
        result = brisk("prune", "-m", source, "--compare", "q8_0")
        check(result.returncode == 1 and "--eval" in result.stderr, f"without a text: {result.stderr}")
    sys.exit(failures > 0)


main()
