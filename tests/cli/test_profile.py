#!/usr/bin/env python3
"""brisk profile: sums add up, the page and the picture are whole and want nothing from elsewhere, the
table says what the JSON says, limits are measured once.

BRISK names the program (build/brisk). Runs on the small models of tests/data; nothing is timed.
"""
import html.parser
import json
import os
import re
import subprocess
import tempfile
import unittest
import xml.etree.ElementTree

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../..")
BRISK = os.path.abspath(os.environ.get("BRISK", os.path.join(ROOT, "build/brisk")))
DATA = os.path.join(ROOT, "tests/data")
TINY = os.path.join(DATA, "tiny_int.gguf")
MODELS = [TINY] + [os.path.join(DATA, f"tiny_{name}.gguf") for name in ("float", "qwen3moe", "gemma2")]
SHORT = ["-p", "9", "-n", "3", "-r", "2"]


def brisk(*args, stdin=b"", env=None):
    return subprocess.run([BRISK, "profile", *args], input=stdin, capture_output=True, timeout=120,
                          env={**os.environ, **(env or {})}, check=False)


class Page(html.parser.HTMLParser):
    """What is open must be closed; the text of cells is kept."""
    EMPTY = {"meta", "br"}

    def __init__(self, text):
        super().__init__()
        self.open, self.names, self.cells, self.attributes = [], [], [], []
        self.feed(text)
        self.close()
        assert not self.open, self.open

    def handle_starttag(self, tag, attrs):
        self.names.append(tag)
        self.attributes += [value for _, value in attrs if value]
        if tag not in self.EMPTY:
            self.open.append(tag)
        if tag == "td":
            self.cells.append("")

    def handle_startendtag(self, tag, attrs):
        self.names.append(tag)
        self.attributes += [value for _, value in attrs if value]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "td":
            self.cells[-1] += data


class Profile(unittest.TestCase):
    def ok(self, *args, **kw):
        result = brisk(*args, **kw)
        self.assertEqual(result.returncode, 0, result.stderr.decode())
        return result.stdout.decode()

    def json(self, *args, **kw):
        return json.loads(self.ok(*args, "--json", "--no-limits", **kw))

    def refused(self, *args, says, **kw):
        result = brisk(*args, **kw)
        self.assertEqual((result.returncode, result.stdout), (1, b""))
        self.assertRegex(result.stderr.decode(), r"^brisk: [^\n]+\n$")
        for text in says:
            self.assertIn(text, result.stderr.decode())

    def test_sums(self):
        for model in MODELS:
            for threads in ("1", "3") if model == TINY else ("2",):
                r = self.json("-m", model, "-t", threads, *SHORT)
                self.assertEqual([p["phase"] for p in r["phases"]], ["prefill", "decode"])
                for p, tokens, passes in zip(r["phases"], (18, 6), (2, 6)):
                    self.assertEqual((p["tokens"], p["passes"]), (tokens, passes))
                    self.check_phase(p, int(threads))

    def check_phase(self, p, threads):
        parts = p["parts"]
        near = p["total_ns"] * 1e-6
        for key in ("work_ns", "wait_ns"):
            self.assertAlmostEqual(sum(x[key] for x in parts), p[key], delta=near)
        self.assertAlmostEqual(p["work_ns"] + p["wait_ns"] + p["serial_ns"], p["total_ns"], delta=near)
        self.assertGreater(p["serial_ns"], 0)
        self.assertAlmostEqual(p["tokens_per_second"], p["tokens"] * 1e9 / p["total_ns"],
                               delta=p["tokens_per_second"] * 1e-6)
        self.assertIsNone(p["limit_ns"])
        self.assertEqual(len({(x["name"], x["weights"]) for x in parts}), len(parts))
        for x in parts:
            self.assertAlmostEqual(x["work_ns"] + x["wait_ns"], x["time_ns"], delta=near)
            self.assertGreater(x["work_ns"], 0)
            self.assertGreaterEqual(x["wait_ns"], 0)
            self.assertLessEqual(x["prepare_ns"], x["work_ns"] + near)
            self.assertAlmostEqual(x["bytes_per_second"], x["bytes"] * 1e9 / x["time_ns"],
                                   delta=1e-6 * x["bytes_per_second"] + 1)
            if threads == 1 and x["name"] != "embedding":
                self.assertLess(x["wait_ns"], 0.5 * p["total_ns"])

    def test_costs_do_not_depend_on_the_run(self):
        """Bytes and operations: the same for any threads, doubled by doubling the runs."""
        def costs(*args):
            keys = ("name", "weights", "calls", "bytes", "int8_ops", "int16_ops", "float_ops")
            return [[[x[k] for k in keys] for x in p["parts"]]
                    for p in self.json("-m", TINY, "-p", "40", "-n", "4", *args)["phases"]]

        once = costs("-r", "1", "-t", "1")
        self.assertEqual(once, costs("-r", "1", "-t", "2"))
        twice = costs("-r", "2")
        for a, b in zip(once, twice):
            self.assertEqual([x[:2] + [2 * v for v in x[2:]] for x in a], b)
        deep = costs("-r", "1", "-d", "100")
        attention = [next(x for x in p if x[0] == "attention") for p in (once[1], deep[1])]
        self.assertEqual(attention[1][3] - attention[0][3], 100 * attention[0][3] // (41 + 42 + 43 + 44) * 4)

    def test_one_phase(self):
        r = self.json("-m", TINY, "-p", "5", "-n", "0")
        self.assertEqual([p["phase"] for p in r["phases"]], ["prefill"])
        r = self.json("-m", TINY, "-p", "0", "-n", "2", "-d", "3")
        self.assertEqual([p["phase"] for p in r["phases"]], ["decode"])
        self.assertEqual((r["n_depth"], r["n_gen"], r["repetitions"]), (3, 2, 3))
        self.assertNotIn("prefill", self.ok("-m", TINY, "-p", "0", "-n", "2", "--no-limits"))

    def test_table(self):
        out = self.ok("-m", os.path.join(DATA, "tiny_gemma2.gguf"), "-t", "2", "--no-limits", *SHORT)
        self.assertIn("tiny_gemma2 (gemma2, Q8_0)", out)
        self.assertIn("2 threads", out)
        self.assertIn("prefill of 9 tokens, figures per prompt", out)
        self.assertIn("decode of 3 tokens after 9, figures per token", out)
        self.assertNotIn("limit", out)
        self.assertEqual(len(re.findall(r"^attention, window ", out, re.M)), 2)
        for phase in out.split("\n\n")[1:]:
            rows = [line for line in phase.splitlines() if re.match(r"[a-z, ]+ .*\d$", line)]
            share = [float(line[33:].split()[1]) for line in rows]
            self.assertEqual(share[-1], 100)
            self.assertAlmostEqual(sum(share[:-1]), 100, delta=0.06 * len(share))
            self.assertRegex(phase, r"[\d.]+ tokens/s; waiting [\d.]+ %, serial [\d.]+ %")
            self.assertLessEqual(max(map(len, phase.splitlines())), 120)

    def test_text(self):
        """Tokens of a file; too short ones are used again and again."""
        r = self.json("-m", TINY, "-f", "-", *SHORT, stdin=b"Two words, and again two words.")
        self.assertEqual(r["phases"][0]["tokens"], 18)
        self.refused("-m", TINY, "-f", os.path.join(ROOT, "no/such"), *SHORT, says=["no/such"])

    def test_page_and_picture(self):
        with tempfile.TemporaryDirectory() as folder:
            odd = os.path.join(folder, "a<b>&\"c\".gguf")
            os.symlink(TINY, odd)
            page, picture = os.path.join(folder, "p.html"), os.path.join(folder, "p.svg")
            self.ok("-m", odd, "--no-limits", "--html", page, "--svg", picture, *SHORT)
            with open(page, encoding="utf-8") as f:
                text = f.read()
            self.assertNotRegex(text, r"https?:|//[a-z]|url\(|@import")
            seen = Page(text)
            for tag in ("script", "link", "img", "iframe"):
                self.assertNotIn(tag, seen.names)
            self.assertIn("prefers-color-scheme:dark", text)
            self.assertEqual(seen.names.count("table"), 2)
            self.assertGreaterEqual(seen.cells.count("gate and up"), 2)
            self.assertIn("circle", seen.names)
            self.assertNotIn("a<b>", text)
            svg = xml.etree.ElementTree.parse(picture).getroot()
            self.assertEqual(svg.tag, "{http://www.w3.org/2000/svg}svg")
            words = " ".join("".join(e.itertext()) for e in svg.iter())
            for word in ("a<b>&\"c\"", "decode", "attention", "tokens/s"):
                self.assertIn(word, words)
            self.assertEqual([name for e in svg.iter() for name in e.attrib if "href" in name], [])
            width = float(svg.attrib["viewBox"].split()[2])
            for e in svg.iter("{http://www.w3.org/2000/svg}rect"):
                x, w = float(e.attrib["x"]), float(e.attrib["width"])
                self.assertTrue(0 <= x and x + w <= width and w >= 0, e.attrib)
            self.assertLess(os.path.getsize(picture), 20_000)

    def test_limits(self):
        """Measured at first, then read from the cache folder."""
        with tempfile.TemporaryDirectory() as cache:
            env = {"BRISK_CACHE": cache}
            r = json.loads(self.ok("-m", TINY, "--json", *SHORT, env=env))
            kept = {e.name: e.stat().st_mtime_ns for e in os.scandir(cache)}
            self.assertEqual(len(kept), 1)
            for key in ("int8", "float"):
                self.assertGreater(r[f"limit_{key}_ops_per_second"], 0)
            for p in r["phases"]:
                self.assertAlmostEqual(sum(x["limit_ns"] or 0 for x in p["parts"]), p["limit_ns"],
                                       delta=1e-6 * p["limit_ns"])
                self.assertAlmostEqual(p["share_of_limit"], p["limit_ns"] / p["total_ns"], delta=1e-6)
                for x in p["parts"]:
                    self.check_limit(r, p, x)
            page, picture = os.path.join(cache, "p.html"), os.path.join(cache, "p.svg")
            out = self.ok("-m", TINY, "--html", page, "--svg", picture, *SHORT, env=env)
            self.assertIn("of limit", out)
            self.assertRegex(out, r"tokens/s; limit [\d.]+ tokens/s, reached \d+ %")
            self.assertEqual({name: os.stat(os.path.join(cache, name)).st_mtime_ns for name in kept}, kept)
            for path in (page, picture):
                with open(path, encoding="utf-8") as f:
                    text = f.read()
                self.assertIn("this machine's limit", text)
                self.assertRegex(text, r"int8 \d+ Gop/s")
                if path == page:
                    Page(text)
            xml.etree.ElementTree.parse(picture)

    def check_limit(self, r, p, x):
        read = x["bytes"] / p["limit_bytes_per_second"]
        compute = (x["int8_ops"] / r["limit_int8_ops_per_second"] +
                   x["int16_ops"] / r["limit_int16_ops_per_second"] +
                   x["float_ops"] / r["limit_float_ops_per_second"])
        self.assertAlmostEqual((x["limit_ns"] or 0) * 1e-9, max(read, compute),
                               delta=1e-6 * max(read, compute))

    def test_refused(self):
        self.refused("-m", TINY, "-p", "0", "-n", "0", says=["tokens"])
        self.refused("-m", TINY, "-hf", "a/b", says=["-m or -hf"])
        self.refused("-m", TINY, "-r", "0", says=["-r", "'0'"])
        with tempfile.TemporaryDirectory() as folder:
            result = brisk("-m", TINY, "--no-limits", "--html", os.path.join(folder, "no/such.html"), *SHORT)
            self.assertEqual(result.returncode, 1)
            self.assertIn("no/such.html", result.stderr.decode())


if __name__ == "__main__":
    unittest.main(verbosity=2)
