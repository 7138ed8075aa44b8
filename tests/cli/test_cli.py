#!/usr/bin/env python3
"""What the program does as seen from outside: text on stdout alone, figures and one-line errors on
stderr, exit statuses, JSON that parses, the chat in a terminal.

BRISK names the program (build/brisk), BRISK_TEST_MODEL the default model's file. Needs nothing but
Python's own library.
"""
import csv
import fcntl
import io
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time
import unittest

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../..")
BRISK = os.path.abspath(os.environ.get("BRISK", os.path.join(ROOT, "build/brisk")))
MODEL = os.environ.get("BRISK_TEST_MODEL", "")
PROSE = os.path.join(ROOT, "tests/data/prose.txt")
GREEDY = ["run", "-m", MODEL, "--temp", "0"]
# ESC, BEL, other controls but newline and tab, C1 controls: what must not reach a terminal raw.
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\x80-\x9f]")


def brisk(*args, stdin=b"", env=None, timeout=120):
    result = subprocess.run([BRISK, *args], input=stdin, capture_output=True, timeout=timeout,
                            env={**os.environ, **(env or {})}, check=False)
    result.err = result.stderr.decode()
    return result


class Case(unittest.TestCase):
    def ok(self, *args, **kw):
        result = brisk(*args, **kw)
        self.assertEqual(result.returncode, 0, result.err)
        return result

    def refused(self, *args, says, **kw):
        """Fails with exit status 1 and one line that contains these texts; nothing on stdout."""
        result = brisk(*args, **kw)
        self.assertEqual(result.returncode, 1, result.err)
        self.assertEqual(result.stdout, b"")
        self.assertRegex(result.err, r"^brisk: [^\n]+\n$")
        self.assertIsNone(CONTROL.search(result.err))
        for text in says:
            self.assertIn(text, result.err)


class Usage(Case):
    VERBS = ["run", "serve", "train", "quantize", "prune", "pull", "ls", "bench", "profile", "doctor", "info",
             "eval"]
    PLUMBING = ["tokenize", "detokenize", "template", "convert"]

    def test_help(self):
        """What people use first comes first, the rest under a heading of its own."""
        for args in (["--help"], ["-h"], ["help"]):
            out = self.ok(*args).stdout.decode()
            first, plumbing = out.split("\nplumbing:\n")
            for text, verbs in ((first, self.VERBS), (plumbing, self.PLUMBING)):
                self.assertEqual(re.findall(r"^  (\w+) ", text, re.M), verbs)
            self.assertLessEqual(max(map(len, out.splitlines())), 80)
        for verb in self.VERBS + self.PLUMBING:
            for args in ([verb, "--help"], [verb, "-h"], ["help", verb]):
                out = self.ok(*args).stdout.decode()
                self.assertTrue(out.startswith(f"usage: brisk {verb}"), out)
                self.assertLessEqual(max(map(len, out.splitlines())), 120)

    def test_environment(self):
        """BRISK_ARG_NAME stands for an option, which comes before it."""
        self.refused("run", env={"BRISK_ARG_TOP_K": "x"}, says=["BRISK_ARG_TOP_K", "'x'", "from 0"])
        self.refused("run", env={"BRISK_ARG_RAW": "perhaps"}, says=["BRISK_ARG_RAW", "1 or 0"])
        self.refused("run", "-p", "x", env={"BRISK_ARG_MODEL": "no/such.gguf"}, says=["no/such.gguf"])
        self.refused("run", "-m", "a/b.gguf", "-p", "x", env={"BRISK_ARG_MODEL": "no/such.gguf"},
                     says=["a/b.gguf"])
        self.ok("run", "--help", env={"BRISK_ARG_TOP_K": "x"})
        env = {"BRISK_ARG_MODEL": MODEL, "BRISK_ARG_N_PREDICT": "3", "BRISK_ARG_JSON": "1",
               "BRISK_ARG_TEMP": "0", "BRISK_ARG_THREADS": "1", "BRISK_ARG_RAW": "true"}
        answer = json.loads(self.ok("run", "-p", "1 2 3", env=env).stdout)
        self.assertEqual((answer["generated_tokens"], answer["threads"]), (3, 1))
        answer = json.loads(self.ok("run", "-p", "1 2 3", "-n", "2", env=env).stdout)
        self.assertEqual(answer["generated_tokens"], 2)

    def test_no_verb(self):
        result = brisk()
        self.assertEqual((result.returncode, result.stdout), (1, b""))
        self.assertIn("usage:", result.err)

    def test_version(self):
        with open(os.path.join(ROOT, "include/brisk.h"), encoding="utf-8") as f:
            version = re.search(r'BRISK_VERSION "(.*)"', f.read())[1]
        self.assertEqual(self.ok("--version").stdout.decode(), f"brisk {version}\n")

    def test_unknown(self):
        self.refused("rum", says=["unknown verb 'rum'", "did you mean run?"])
        self.refused("xyzzy", says=["unknown verb 'xyzzy'"])
        self.refused("ru\x1b[31mn\n", says=["\\x1b"])
        self.refused("run", "--tmep", "1", says=["--tmep", "did you mean --temp?"])
        self.refused("bench", "--treads", "1", says=["did you mean --threads?"])
        self.refused("info", "--zzzzzzzz", says=["unknown option --zzzzzzzz"])

    def test_bad_values(self):
        for option, value, wanted in (("--temp", "hot", "from 0 to 100"), ("--top-k", "-1", "from 0"),
                                      ("--top-p", "1.1", "from 0 to 1"), ("-n", "1e3", "whole number"),
                                      ("-t", "257", "from 0 to 256"), ("--seed", "x", "-1 for a random"),
                                      ("--color", "blue", "auto|always|never")):
            self.refused("run", option, value, says=[option, f"'{value}'", wanted])
        self.refused("run", "-p", says=["-p needs a value"])
        self.refused("run", "stray", says=["unexpected 'stray'"])
        self.refused("bench", "-pg", "512", says=["-pg", "'512'", "512,128"])
        self.refused("bench", "-p", "4-2", says=["-p", "'4-2'"])
        self.refused("eval", says=["-f", "--tokens"])
        self.refused("run", "-p", "x", "-f", "y", says=["-p or -f"])


class Models(Case):
    def test_missing(self):
        with tempfile.TemporaryDirectory() as cache:
            env = {"BRISK_CACHE": cache}
            self.refused("run", "-p", "x", env=env, says=["smollm2", "run `brisk pull`"])
            self.refused("run", "-m", "nonesuch", "-p", "x", env=env, says=["'nonesuch'", cache])
            self.refused("run", "-m", "./none.gguf", "-p", "x", env=env, says=["none.gguf"])
            os.symlink(MODEL, os.path.join(cache, "mine.gguf"))
            self.ok("info", "mine", "--metadata", env=env)
            self.ok("info", "mine.gguf", "--metadata", env=env)

    def test_broken(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "broken.gguf")
            with open(MODEL, "rb") as f:
                head = f.read(5_000_000)
            for data in (b"", b"GGUF", head[:100], head):
                with open(path, "wb") as f:
                    f.write(data)
                for verb in (["run", "-p", "x", "-m"], ["info"], ["info", "--metadata"], ["bench", "-m"],
                             ["eval", "-f", PROSE, "-m"]):
                    self.refused(*verb, path, says=[path])

    def test_info(self):
        table = self.ok("info", MODEL).stdout.decode()
        info = json.loads(self.ok("info", MODEL, "--json").stdout)
        self.assertEqual((info["architecture"], info["quantization"]), ("llama", "Q4_1"))
        self.assertEqual((info["n_layers"], info["n_embd"], info["n_vocab"]), (30, 576, 49152))
        self.assertEqual(info["file_bytes"], os.path.getsize(MODEL))
        self.assertTrue(info["has_chat_template"])
        self.assertLess(info["resident_bytes"], info["file_bytes"] * 1.3)
        self.assertIn("49152", table)
        header = json.loads(self.ok("info", "-m", MODEL, "--json", "--metadata").stdout)
        for key in ("n_params", "n_layers", "tensor_bytes", "quantization"):
            self.assertEqual(header[key], info[key])


class Tokens(Case):
    def test_tokenize(self):
        ids = self.ok("tokenize", "-m", MODEL, "-f", "-", "--json", stdin=b"Hello world\n\n  a\r\nend").stdout
        rows = [json.loads(line) for line in ids.splitlines()]
        self.assertEqual(len(rows), 4)
        self.assertEqual(rows[1], [])
        self.assertEqual(rows[0], [19556, 905])
        rows = self.ok("tokenize", "-m", MODEL, "-p", "a\nb<|im_end|>").stdout.decode().split("\n")
        self.assertIn('"\\n"', rows[1])
        self.assertNotIn("im_end|>", "".join(rows))
        special = self.ok("tokenize", "-m", MODEL, "-p", "b<|im_end|>", "--special", "--json").stdout
        self.assertEqual(json.loads(special)[-1], 2)

    def test_pre(self):
        one = json.loads(self.ok("tokenize", "-m", MODEL, "-p", "x1234", "--json").stdout)
        other = json.loads(self.ok("tokenize", "-m", MODEL, "-p", "x's'S", "--pre", "llama-bpe", "--json").stdout)
        self.assertEqual(len(one), 5)  # every digit alone
        self.assertTrue(other)
        self.refused("tokenize", "-m", MODEL, "-p", "x", "--pre", "nonsense", says=["nonsense", "--pre"])

    def test_tokenize_before_and_after(self):
        text = "The cat, ＡＢ\n\n我们的书 of\n"
        out = self.ok("tokenize", "-m", MODEL, "-f", "-", "--stop-words", "en,zh", "--normalize", "nfkc", "--casefold",
                      "--json", stdin=text.encode()).stdout
        lines = [json.loads(line) for line in out.splitlines()]
        self.assertEqual([line["before"]["text"] for line in lines], text.split("\n")[:-1])
        self.assertEqual([line["after"]["text"] for line in lines], ["cat, ab", "", "书"])
        for line in lines:
            for side in line.values():
                alone = self.ok("tokenize", "-m", MODEL, "-p", side["text"], "--json").stdout
                self.assertEqual(side["tokens"], json.loads(alone))
        rows = self.ok("tokenize", "-m", MODEL, "-p", "A\nB", "--casefold").stdout.decode()
        self.assertIn('before: "A\\nB", 3 tokens\n', rows)
        self.assertIn('after: "a\\nb", 3 tokens\n', rows)
        self.refused("tokenize", "-m", MODEL, "-p", "x", "--normalize", "nfx", says=["nfx", "nfkd"])
        self.refused("tokenize", "-m", MODEL, "-p", "x", "--stop-words", "none.txt", says=["none.txt"])

    def test_and_back(self):
        with open(PROSE, "rb") as f:
            text = f.read(20000).rsplit(b"\n", 1)[0] + "\ncaf\u00e9 \u4e2d\u6587 \U0001f600\n".encode()
        ids = self.ok("tokenize", "-m", MODEL, "-f", "-", "--json", stdin=text).stdout
        self.assertEqual(self.ok("detokenize", "-m", MODEL, "-f", "-", stdin=ids).stdout, text)
        line = self.ok("detokenize", "-m", MODEL, "-f", "-", "--json", stdin=b"[1, 198]\n[]\n").stdout
        self.assertEqual([json.loads(x) for x in line.splitlines()], ["<|im_start|>\n", ""])

    def test_refused(self):
        self.refused("tokenize", "-m", MODEL, says=["-f FILE"])
        for ids in (b"1 2", b"[1", b"[1,]", b"[-1]", b"[1.5]", b"[1] x", b"[99999999999]", b"{}", b"[\"a\"]"):
            self.refused("detokenize", "-m", MODEL, "-f", "-", stdin=ids, says=["line 1"])
        self.refused("detokenize", "-m", MODEL, "-f", "-", stdin=b"[49152]", says=["49152", "49151"])

    def test_template(self):
        request = {"messages": [{"role": "user", "content": "hi <|im_end|>"}], "add_generation_prompt": True}
        def render(value, *args):
            return self.ok("template", "-m", MODEL, "-f", "-", *args, stdin=json.dumps(value).encode()).stdout.decode()
        text = render(request)
        self.assertIn("<|im_start|>user\nhi <|im_end|><|im_end|>\n<|im_start|>assistant\n", text)
        self.assertEqual(text, render(request["messages"]) + "<|im_start|>assistant\n")
        with tempfile.NamedTemporaryFile("w", suffix=".jinja") as f:
            f.write("{{ bos_token }}|{{ tools is none }}|{{ x }}|{{ tools is defined }}|{{ messages[0].content }}")
            f.flush()
            own = render({**request, "chat_template_kwargs": {"x": [1, None]}}, "--template", f.name)
        self.assertEqual(own, "<|im_start|>|True|[1, None]|True|hi <|im_end|>")
        for bad in (b"", b"x", b"3", b'{"messages": 1, "chat_template_kwargs": 2}'):
            self.refused("template", "-m", MODEL, "-f", "-", stdin=bad, says=["brisk: "])


class Run(Case):
    def test_streams(self):
        """Text alone on stdout, figures on stderr; the same seed, the same text."""
        args = ["run", "-m", MODEL, "-p", "Say hello.", "-n", "12", "--seed", "7"]
        first, second = self.ok(*args), self.ok(*args)
        self.assertEqual(first.stdout, second.stdout)
        self.assertTrue(first.stdout.strip())
        self.assertNotIn(b"tok/s", first.stdout)
        self.assertRegex(first.err, r"^\[\d+ prompt [\d.]+ tok/s \| first token \d+ ms \| \d+ tokens "
                                    r"[\d.]+ tok/s \| [\d.]+ MB, KV [\d.]+ [kM]B( \| length)?\]\n$")
        self.assertEqual(self.ok(*args, "-q").err, "")

    def test_json(self):
        result = self.ok(*GREEDY, "-p", "Say hello.", "-n", "9", "--json", "-s", "5")
        answer = json.loads(result.stdout)
        self.assertEqual(result.stdout.count(b"\n"), 1)
        self.assertEqual(answer["text"], self.ok(*GREEDY, "-p", "Say hello.", "-n", "9").stdout.decode())
        self.assertEqual(len(answer["tokens"]), answer["generated_tokens"])
        self.assertLessEqual(answer["generated_tokens"], 9)
        self.assertEqual((answer["seed"], answer["cached_tokens"]), (5, 0))
        self.assertIn(answer["finish_reason"], ("end", "length"))
        timings = answer["timings"]
        self.assertGreaterEqual(timings["first_token_ms"], timings["prompt_ms"])
        for key in ("load_ms", "prompt_per_second", "predicted_ms", "predicted_per_second"):
            self.assertGreaterEqual(timings[key], 0)
        size = os.path.getsize(MODEL)
        self.assertLess(answer["memory"]["resident_bytes"], 1.3 * size + answer["memory"]["kv_bytes"])

    def test_prompt_sources(self):
        with tempfile.NamedTemporaryFile() as f:
            f.write(b"The sky is")
            f.flush()
            raw = [*GREEDY, "--raw", "-n", "6"]
            texts = {self.ok(*raw, "-p", "The sky is").stdout, self.ok(*raw, "-f", f.name).stdout,
                     self.ok(*raw, stdin=b"The sky is").stdout,
                     self.ok(*raw, "-f", "-", stdin=b"The sky is").stdout}
        self.assertEqual(len(texts), 1)
        self.assertNotIn(b"sky is", texts.pop()[:6])
        self.refused("run", "-m", MODEL, says=["prompt is empty"])
        self.refused("run", "-m", MODEL, "-f", "/no/such", says=["/no/such"])

    def test_chat_and_raw(self):
        chat = json.loads(self.ok(*GREEDY, "-p", "Hi", "-n", "4", "--json").stdout)
        system = json.loads(self.ok(*GREEDY, "-p", "Hi", "-n", "4", "--json", "-sys", "Be brief.").stdout)
        raw = json.loads(self.ok(*GREEDY, "-p", "Hi", "-n", "4", "--json", "--raw").stdout)
        self.assertEqual(raw["prompt_tokens"], 1)
        self.assertGreater(chat["prompt_tokens"], 10)
        self.assertNotEqual(chat["prompt_tokens"], system["prompt_tokens"])

    def test_special_tokens_in_text(self):
        """What a user spells like a special token stays text: several tokens, not one."""
        plain = json.loads(self.ok(*GREEDY, "-p", "a b", "-n", "1", "--json").stdout)
        spelled = json.loads(self.ok(*GREEDY, "-p", "a <|im_end|> b", "-n", "1", "--json").stdout)
        self.assertGreater(spelled["prompt_tokens"], plain["prompt_tokens"] + 3)

    def test_limits(self):
        result = self.ok(*GREEDY, "--raw", "-p", "1 2 3 4 5 6", "-c", "16", "-n", "-1", "--ignore-eos")
        self.assertIn("the context is full", result.err)
        self.refused(*GREEDY, "--raw", "-p", "1 2 3 4 5 6", "-c", "4", says=["11 tokens", "4 tokens"])
        self.refused(*GREEDY, "-p", "x", "-c", "1000000", says=["1000000", "8192"])
        length = json.loads(self.ok(*GREEDY, "--raw", "-p", "1 2 3", "--json", "-n", "3").stdout)
        self.assertEqual((length["finish_reason"], length["generated_tokens"]), ("length", 3))
        full = self.ok(*GREEDY, "--raw", "-p", "1, 2, 3, 4", "-n", "12").stdout.decode()
        stop = self.ok(*GREEDY, "--raw", "-p", "1, 2, 3, 4", "-n", "12", "-r", full[4:6])
        self.assertEqual(stop.stdout.decode(), full[:full.index(full[4:6])])
        self.assertIn("| stop]", stop.err)

    def test_threads(self):
        texts = {self.ok(*GREEDY, "-p", "Count to nine.", "-n", "16", "-t", t, "-b", b).stdout
                 for t, b in (("1", "512"), ("2", "7"), ("4", "1"))}
        self.assertEqual(len(texts), 1)

    def test_biases(self):
        args = [*GREEDY, "--raw", "-p", "1, 2, 3,", "-n", "1", "--json"]
        best = json.loads(self.ok(*args).stdout)["tokens"][0]
        second = json.loads(self.ok(*args, "-l", f"{best}-inf").stdout)["tokens"][0]
        self.assertNotEqual(best, second)
        self.assertEqual(json.loads(self.ok(*args, "--logit-bias", "504+1000").stdout)["tokens"], [504])
        both = json.loads(self.ok(*args, "-l", "504+1000", "-l", "28+2000").stdout)["tokens"]
        self.assertEqual(both, [28])
        for bad in ("504", "x+1", "504+", "504+x", "504+nan", "-1+1", "99999999999+1"):
            self.refused(*args, "-l", bad, says=["--logit-bias", f"'{bad}'", "15043+1"])
        self.refused(*args, "-l", "49152+1", says=["49152", "0 to 49151"])

    def test_typical(self):
        """A tiny share leaves the one token of the most typical surprise, whatever the seed."""
        args = ["run", "-m", MODEL, "--raw", "-p", "The", "-n", "1", "--json", "--top-k", "0",
                "--top-p", "1", "--min-p", "0", "--temp", "1"]
        seen = {off: {json.loads(self.ok(*args, "--typical", off, "-s", str(s)).stdout)["tokens"][0]
                      for s in range(4)} for off in ("1", "0.0001")}
        self.assertEqual(len(seen["0.0001"]), 1)
        self.assertGreater(len(seen["1"]), 1)
        self.refused(*args, "--typical", "2", says=["from 0 to 1"])

    def test_any_bytes(self):
        self.ok(*GREEDY, "--raw", "-n", "2", stdin=b"\xff\x00\xfe caf\xc3")
        self.refused(*GREEDY, "-n", "2", stdin=b"a\x00b", says=["zero byte"])
        self.refused(*GREEDY, "-n", "2", stdin=b"a\xffb", says=["not UTF-8 at byte 1"])

    def test_full_disk(self):
        with open("/dev/full", "wb") as full:
            r = subprocess.run([BRISK, *GREEDY, "-p", "Hi", "-n", "4"], stdout=full, timeout=60,
                               stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, check=False)
        self.assertEqual(r.returncode, 1)
        self.assertIn(b"cannot write the output", r.stderr)

    def test_interrupt(self):
        with subprocess.Popen([BRISK, *GREEDY, "--raw", "--ignore-eos", "-n", "-1", "-p", "Once"],
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE) as p:
            p.stdout.read(5)
            p.send_signal(signal.SIGINT)
            _, err = p.communicate(timeout=60)
        self.assertEqual(p.returncode, 130)
        self.assertIn(b"| cancelled]", err)


class Bench(Case):
    ARGS = ["bench", "-m", MODEL, "-p", "8,4", "-n", "2", "-pg", "4,2", "-r", "2"]

    def test_json(self):
        rows = json.loads(self.ok(*self.ARGS, "-o", "json").stdout)
        tests = [(r["n_prompt"], r["n_gen"], r["n_depth"]) for r in rows]
        self.assertEqual(tests, [(8, 0, 0), (4, 0, 0), (0, 2, 0), (4, 2, 0)])
        for r in rows:
            self.assertEqual(len(r["samples_ns"]), 2)
            self.assertEqual(len(r["samples_ts"]), 2)
            self.assertAlmostEqual(r["avg_ns"], sum(r["samples_ns"]) / 2, delta=1)
            self.assertAlmostEqual(r["avg_ts"], sum(r["samples_ts"]) / 2, delta=r["avg_ts"] * 1e-4)
            rate = (r["n_prompt"] + r["n_gen"]) * 1e9 / r["samples_ns"][0]
            self.assertAlmostEqual(r["samples_ts"][0], rate, delta=rate * 1e-4)
            self.assertEqual((r["n_batch"], r["n_ubatch"], r["backends"]), (2048, 512, "CPU"))
            self.assertEqual(r["model_filename"], MODEL)
            self.assertRegex(r["test_time"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")

    def test_other_formats(self):
        args = ["bench", "-m", MODEL, "-p", "4", "-n", "0", "-r", "1", "-d", "0,3", "-b", "2", "-t", "1"]
        lines = [json.loads(line) for line in self.ok(*args, "-o", "jsonl").stdout.splitlines()]
        table = list(csv.DictReader(io.StringIO(self.ok(*args, "-o", "csv").stdout.decode())))
        for rows in (lines, table):
            self.assertEqual([str(r["n_depth"]) for r in rows], ["0", "3"])
            self.assertEqual({str(r["n_threads"]) for r in rows}, {"1"})
        self.assertEqual(set(lines[0]) - set(table[0]), {"samples_ns", "samples_ts"})
        md = self.ok(*args).stdout.decode().splitlines()
        self.assertIn("| n_batch |", md[0])
        self.assertRegex(md[3], r"\| +pp4 @ d3 \| +[\d.]+ ± [\d.]+ \|$")
        self.assertEqual({len(line) for line in md[:4]}, {len(md[0])})

    def test_read(self):
        r = json.loads(self.ok("bench", "read", "--bytes", "1000000", "-t", "2", "--json").stdout)
        self.assertEqual((r["bytes"], r["threads"]), (1000000, 2))
        self.assertGreaterEqual(r["bytes_per_second"], r["median_bytes_per_second"])
        self.assertGreater(r["median_bytes_per_second"], 1e7)
        text = self.ok("bench", "read", "--bytes", "1000000", "-t", "1").stdout.decode()
        self.assertRegex(text, r"^[\d.]+ GB/s, median [\d.]+: 1\.0 MB read by 1 thread\n$")
        self.refused("bench", "read", "--bytes", "1e9", says=["--bytes", "'1e9'", "whole number"])
        self.refused("bench", "read", "--bytes", "4096", "-t", "2", says=["4096 bytes", "each thread"])
        self.refused("bench", "read", "--bytes", str(1 << 49), says=["memory"])

    def test_refused(self):
        self.refused("bench", "-m", MODEL, "-p", "20000000", "-n", "0", says=["20000000", "16777216"])


class Eval(Case):
    def test_perplexity(self):
        text = self.ok("eval", "-m", MODEL, "-f", PROSE, "-c", "128").stdout.decode()
        r = json.loads(self.ok("eval", "-m", MODEL, "-f", PROSE, "-c", "128", "--json").stdout)
        self.assertEqual(r["tokens"] % 63, 0)
        self.assertIn(f"{r['ppl']:.4f} +/- {r['ppl_error']:.5f}", text)
        self.assertNotIn("compared", r)
        self.refused("eval", "-m", MODEL, "-f", "-", stdin=b"too short", says=["tokens", "512"])

    def test_fast(self):
        """It says what it costs, which is something, and little; answers to no prompt but a token are
        those of the exact mode."""
        exact = json.loads(self.ok("eval", "-m", MODEL, "-f", PROSE, "-c", "128", "--json").stdout)
        r = json.loads(self.ok("eval", "--fast", "-m", MODEL, "-f", PROSE, "-c", "128", "--json").stdout)
        self.assertEqual(r["compared"], exact["tokens"])
        self.assertAlmostEqual(r["ref_ppl"], exact["ppl"])
        self.assertNotEqual(r["ppl"], exact["ppl"])
        self.assertTrue(0 < r["kl_mean"] < 0.02, r["kl_mean"])
        self.assertGreater(r["top_agreement"], 0.9)
        run = brisk("run", "--fast", "-m", MODEL, "-p", "Hello", "-n", "2")
        self.assertEqual(run.returncode, 0, run.err)
        self.assertRegex(run.err, r"fast: [^\n]*mean KL 0\.0[0-9]{3} from the exact mode")
        rows = brisk("bench", "--fast", "-m", MODEL, "-p", "8", "-n", "0", "-r", "1", "-o", "json")
        self.assertIs(json.loads(rows.stdout)[0]["fast"], True)
        self.assertIn("mean KL", rows.err)

    def test_tokens_and_reference(self):
        with tempfile.TemporaryDirectory() as d:
            ids, logits = os.path.join(d, "ids.json"), os.path.join(d, "logits.npy")
            with open(ids, "w", encoding="ascii") as f:
                json.dump([[504, 3575, 282, 260], [28, 1123, 30]], f)
            saved = json.loads(self.ok("eval", "-m", MODEL, "--tokens", ids, "--save-logits", logits,
                                       "--json").stdout)
            self.assertEqual(saved["tokens"], 5)
            self.assertEqual(os.path.getsize(logits), 128 + 7 * 49152 * 4)
            against = ["eval", "-m", MODEL, "--tokens", ids, "--json", "--reference-logits", logits]
            for args in (against, [*against[:-2], "--reference", MODEL]):
                r = json.loads(self.ok(*args).stdout)
                self.assertEqual((r["compared"], r["top_agreement"]), (7, 1))
                self.assertLess(r["kl_max"], 1e-12)
                self.assertAlmostEqual(r["ref_ppl"], r["ppl"])
            with open(ids, "w", encoding="ascii") as f:
                f.write("[1, 2]")
            self.refused(*against, says=["7 rows", "give 2"])
            for bad in ("", "[", "[1,]", "[1 2]", "[-1]", "[1.5]", "{}", "[[1],]", "[99999999999]",
                        "[49152]", "[]", "[[1]] x", "null"):
                with open(ids, "w", encoding="ascii") as f:
                    f.write(bad)
                result = brisk("eval", "-m", MODEL, "--tokens", ids)
                self.assertEqual((result.returncode, result.stdout), (1, b""), bad)
                self.assertRegex(result.err, r"^brisk: [^\n]+\n$")
            self.refused("eval", "-m", MODEL, "-f", PROSE, "--save-logits", "/no/such/x.npy", "-c", "64",
                         says=["/no/such/x.npy"])
            self.assertEqual(sorted(os.listdir(d)), ["ids.json", "logits.npy"])


class Terminal(Case):
    """The chat in a pseudo-terminal, typed at."""

    def start(self, *args, env=None):
        pid, fd = pty.fork()
        if pid == 0:
            os.environ.update({"TERM": "xterm", **(env or {})})
            os.execv(BRISK, [BRISK, *args])
        fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 200, 0, 0))
        self.addCleanup(os.close, fd)
        self.pid, self.fd, self.seen = pid, fd, ""
        return fd

    def until(self, pattern, timeout=60):
        """Reads until what has not been looked at matches; returns it up to there."""
        end = time.time() + timeout
        while not (match := re.search(pattern, self.seen)):
            if time.time() > end or not select.select([self.fd], [], [], end - time.time())[0]:
                os.kill(self.pid, signal.SIGKILL)
                self.fail(f"no {pattern!r} in {self.seen!r}")
            try:
                data = os.read(self.fd, 65536)
            except OSError:
                data = b""
            if not data:
                self.fail(f"it ended without {pattern!r}: {self.seen!r}")
            self.seen += data.decode("utf-8", "replace")
        seen, self.seen = self.seen[:match.end()], self.seen[match.end():]
        return seen

    def prompt(self, editing=True):
        """Waits for the prompt and, with editing, until the terminal gives out single keys: what is
        typed between the two would be echoed and, with Ctrl-C, thrown away by the terminal."""
        self.until("> ")
        end = time.time() + 10
        while editing and termios.tcgetattr(self.fd)[3] & termios.ICANON and time.time() < end:
            time.sleep(0.01)

    def type(self, text):
        os.write(self.fd, text.encode())

    def ended(self, timeout=30):
        end = time.time() + timeout
        while time.time() < end:
            if select.select([self.fd], [], [], 0.1)[0]:
                try:
                    os.read(self.fd, 65536)
                except OSError:
                    pass
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                return os.waitstatus_to_exitcode(status)
        os.kill(self.pid, signal.SIGKILL)
        return self.fail("it did not end")

    def chat(self, term):
        self.start(*GREEDY, "-n", "24", env={"TERM": term})
        self.until(r"/help")
        self.prompt(term == "xterm")
        self.type("Name a colour.\r")
        answer = self.until(r"tok/s[^\n]*\n")
        self.assertIn("Name a colour.", answer)
        self.type("And another one?\r")
        self.assertRegex(self.until(r"tok/s[^\n]*\n"), r"\(\d+ kept\)")
        self.type("/stats\r")
        self.until(r"of 8192 tokens of context")
        self.type("/clear\r")
        self.until("a new conversation")
        self.type("/nonsense\r")
        self.until("no such command")
        self.type("one\\\rtwo\r")
        self.assertNotIn("kept", self.until(r"tok/s[^\n]*\n").split("[")[-1])

    def test_chat(self):
        for term in ("xterm", "dumb"):
            with self.subTest(term=term):
                self.chat(term)
                self.prompt(term == "xterm")
                self.type("\x04")
                self.assertEqual(self.ended(), 0)

    def test_editing(self):
        """Characters of several bytes, moving and deleting, recalling: with and without a locale."""
        for locale in ("C.UTF-8", "", "POSIX"):
            with self.subTest(locale=locale):
                self.start(*GREEDY, "--raw", "-n", "1",
                           env={"LC_ALL": locale, "LC_CTYPE": "", "LANG": ""})
                self.prompt()
                self.type("caf\u00e9\u20acx\x7f\x7f na\u00efve\x02\x02\r")  # DEL, Ctrl-B
                self.until(r"tok/s[^\n]*\n")
                self.type("/stats\r")
                self.until("context used")
                self.prompt()
                self.type("\x10\x10")  # Ctrl-P: the line before the last
                self.until("caf\u00e9 na\u00efve")
                self.type("\r")
                self.until(r"tok/s[^\n]*\n")
                self.prompt()
                self.type("/bye\r")
                self.assertEqual(self.ended(), 0)

    def test_set(self):
        self.start("run", "-m", MODEL, "--raw", "-n", "1", "-s", "1", env={"TERM": "dumb"})
        self.until(r"/help")
        self.prompt(False)
        for line, wanted in (("/set temp 0", r"temp 0, top-k 40"), ("/set top_k=7", r"top-k 7"),
                             ("/set typical 0.5", r"typical 0.5,"), ("/set seed 9", r", seed 9\b"),
                             ("/set logit-bias 504+1000", r"biases 504\+1000"),
                             ("/set", r"temp 0, top-k 7, typical 0.5, .*seed 9, biases 504\+1000"),
                             ("/set temp hot", r"brisk: temp: found 'hot', wanted a number from 0"),
                             ("/set tmep 1", r"'tmep' cannot be set; did you mean temp\?"),
                             ("/set temp", r"needs a value"), ("/set logit-bias x", r"found 'x'"),
                             ("/set system Be brief.", r"no chat template"),
                             ("/save x", r"no chat template"), ("/help", r"/set NAME VALUE")):
            self.type(line + "\r")
            self.until(wanted)
            self.prompt(False)
        self.type("1 2 3\r")
        first = self.until(r"tok/s[^\n]*\n")
        text = json.loads(self.ok(*GREEDY, "--raw", "-n", "1", "-p", "1 2 3", "-l", "504+1000",
                                  "--json").stdout)["text"]
        self.assertIn(text, first)
        self.prompt(False)
        self.type("/bye\r")
        self.assertEqual(self.ended(), 0)

    def say(self, line, wanted):
        """Types a line and waits for what it gives, then for the next prompt."""
        self.type(line + "\r")
        seen = self.until(wanted)
        self.prompt(False)
        return seen

    def test_save_and_load(self):
        with tempfile.TemporaryDirectory() as folder:
            path, bad = os.path.join(folder, "talk.json"), os.path.join(folder, "bad.json")
            self.start(*GREEDY, "-n", "8", "-sys", "Be brief.", env={"TERM": "dumb"})
            self.until(r"/help")
            self.prompt(False)
            answer = self.say('Say "yes".', r"tok/s[^\n]*\n")
            self.say(f"/save {path}", r"3 messages are in")
            with open(path, encoding="utf-8") as f:
                saved = json.load(f)
            self.assertEqual([m["role"] for m in saved], ["system", "user", "assistant"])
            self.assertEqual([m["content"] for m in saved[:2]], ["Be brief.", 'Say "yes".'])
            self.assertIn(saved[2]["content"].split("\n")[0], answer)
            follow = self.say("And now?", r"tok/s[^\n]*\n")
            for text, wanted in ((b"", "no JSON list"), (b"{}", "no JSON list"), (b"[1]", "message 1 has"),
                                 (b'[{"role": "king", "content": ""}]', "role that is system"),
                                 (b'[{"role": "user"}]', "content that is text"),
                                 (b"[" * 100000, "no JSON list")):
                with open(bad, "wb") as f:
                    f.write(text)
                self.say(f"/load {bad}", wanted)
            self.say("/load /no/such", "/no/such: No such file")
            self.say("/save /no/such/x", "/no/such/x: No such file")
            self.say("/save /dev/null", "not a regular file")
            self.say("/clear", "a new conversation")
            self.say(f"/load {path}", "3 messages; the conversation goes on")
            again = self.say("And now?", r"tok/s[^\n]*\n")
            self.assertEqual(follow.splitlines()[1], again.splitlines()[1])
            with open(bad, "w", encoding="utf-8") as f:
                json.dump({"messages": saved[1:]}, f)
            self.say(f"/load {bad}", "2 messages")
            self.say(f"/save {path}", "2 messages are in")
            self.assertEqual(os.listdir(folder).count("talk.json"), 1)
            self.assertEqual(len(os.listdir(folder)), 2)
            self.type("/bye\r")
            self.assertEqual(self.ended(), 0)

    def test_bye(self):
        self.start(*GREEDY)
        self.prompt()
        self.type("/bye\r")
        self.assertEqual(self.ended(), 0)

    def test_interrupt(self):
        for term in ("xterm", "dumb"):
            with self.subTest(term=term):
                self.start(*GREEDY, "--ignore-eos", env={"TERM": term})
                self.prompt(term == "xterm")
                self.type("Tell me a very long story.\r")
                self.until(r"story\.\s+\S+ \S+ \S+ ")
                self.type("\x03")
                self.until(r"cancelled\]")
                self.prompt(term == "xterm")
                if term == "xterm":  # without editing, nobody knows what was being typed
                    self.type("half a line")
                    self.until("half a line")
                    self.type("\x03")
                    self.prompt(term == "xterm")
                self.type("Hello?\r")
                self.until(r"Hello\?\s+\S+ ")
                self.type("\x03")
                self.until(r"cancelled\]")
                self.prompt(term == "xterm")
                self.type("\x03")
                self.assertEqual(self.ended(), 0)

    def test_no_control_bytes(self):
        """Text of a hot model through a terminal: only newline and tab, and those of the editing."""
        self.start("run", "-m", MODEL, "--raw", "-p", "\x1b[31m\x1b]0;title\x07", "--temp", "50",
                   "--top-k", "0", "--top-p", "1", "--min-p", "0", "-n", "200", "--ignore-eos",
                   "-s", "1", "--color", "never")
        text = self.until(r"tok/s[^\n]*\n").replace("\r\n", "\n")
        self.assertIsNone(CONTROL.search(text), repr(text))

    def test_color(self):
        for color, wanted in (("always", True), ("never", False), ("auto", True)):
            self.start(*GREEDY, "-p", "Hi", "-n", "2", "--color", color)
            self.assertEqual("\x1b[2m" in self.until(r"tok/s[^\n]*\n"), wanted, color)
        self.start(*GREEDY, "-p", "Hi", "-n", "2", env={"NO_COLOR": "1"})
        self.assertNotIn("\x1b", self.until(r"tok/s[^\n]*\n"))


if __name__ == "__main__":
    if not os.path.isfile(MODEL):
        sys.exit("BRISK_TEST_MODEL must name the default model's file (brisk pull)")
    unittest.main()
