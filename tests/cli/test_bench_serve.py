#!/usr/bin/env python3
"""brisk bench serve against a server whose times are known: what it reports must be these times. Times are
only bounded from below where the machine may be late; counts are exact.

BRISK names the program (build/brisk). Needs nothing but Python's own library.
"""
import json
import os
import re
import signal
import socket
import subprocess
import tempfile
import time
import unittest
import xml.etree.ElementTree

from stream_server import Server

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../..")
BRISK = os.path.abspath(os.environ.get("BRISK", os.path.join(ROOT, "build/brisk")))
LATE = 0.5  # ms that clocks and timers of two processes may differ


def command(server, *args):
    url = server if isinstance(server, str) else f"http://127.0.0.1:{server.port}"
    return [BRISK, "bench", "serve", "--base-url", url, "--warmup", "0", *args]


def bench(server, *args, code=0):
    result = subprocess.run(command(server, *args), capture_output=True, timeout=120, check=False)
    result.out, result.err = result.stdout.decode(), result.stderr.decode()
    if result.returncode != code:
        raise AssertionError(f"exit status {result.returncode}, wanted {code}: {result.out}{result.err}")
    return result


def report(server, *args, code=0):
    return json.loads(bench(server, *args, "--json", "-", code=code).out)


class Case(unittest.TestCase):
    def server(self, **how):
        server = Server(**how).start()
        self.addCleanup(server.stop)
        return server

    def path(self, name):
        if not hasattr(self, "folder"):
            self.folder = tempfile.TemporaryDirectory()
            self.addCleanup(self.folder.cleanup)
        return os.path.join(self.folder.name, name)


class Figures(Case):
    def test_known_times(self):
        """The server's first token, gaps and one stall come out as its own clock made them."""
        s = self.server(first_ms=80, gap_ms=20, stall_at=7, stall_ms=250)
        r = report(s, "--num-prompts", "6", "--random-output-len", "12")
        self.assertEqual((r["completed"], r["outcomes"]), (6, {"answered": 6}))
        self.assertEqual(r["total_output_tokens"], 72)
        self.assertTrue(r["output_tokens_counted_by_server"])
        for q in r["requests"]:
            self.assertEqual(len(q["itl_ms"]), 11)
            self.assertGreater(q["ttft_ms"], 80 - LATE)
            self.assertEqual(max(range(11), key=lambda i: q["itl_ms"][i]), 6)
            # The server keeps its times from one start: lateness of a token shortens the next gap.
            self.assertGreater(q["ttft_ms"] + sum(q["itl_ms"]), 80 + 10 * 20 + 250 - LATE)
        gaps = sorted(g for q in r["requests"] for g in q["itl_ms"])
        self.assertAlmostEqual(r["max_itl_ms"], gaps[-1], delta=0.01)
        self.assertAlmostEqual(r["mean_itl_ms"] * len(gaps), sum(gaps), delta=1e-3 * sum(gaps))
        self.assertAlmostEqual(r["p99_itl_ms"], gaps[64] + 0.35 * (gaps[65] - gaps[64]), delta=0.01)
        ttfts = [q["ttft_ms"] for q in r["requests"]]
        self.assertAlmostEqual(r["max_ttft_ms"], max(ttfts), delta=0.01)
        for q in r["requests"]:
            e2e = q["ttft_ms"] + sum(q["itl_ms"])
            self.assertLess(e2e, q["ended_ms"] + 0.01)
        self.assertAlmostEqual(r["output_throughput"] * r["duration"], 72, delta=0.01)
        self.assertGreater(r["duration"], (80 + 10 * 20 + 250) / 1000 - LATE / 1000)

    def test_pieces(self):
        """A byte at a time is the same stream; so is the other endpoint."""
        for split, endpoint in ((1, "/v1/chat/completions"), (7, "/v1/completions")):
            s = self.server(first_ms=5, gap_ms=1, split=split)
            r = report(s, "--num-prompts", "3", "--random-output-len", "6", "--endpoint", endpoint)
            self.assertEqual(r["outcomes"], {"answered": 3})
            self.assertEqual([len(q["itl_ms"]) for q in r["requests"]], [5, 5, 5])
            self.assertEqual([q["output_tokens"] for q in r["requests"]], [6, 6, 6])
            self.assertEqual({b[0] for b in s.bodies}, {endpoint})

    def test_requests(self):
        """What goes over the wire."""
        s = self.server(first_ms=1, gap_ms=1, tokens=2)
        r = report(s, "--num-prompts", "8", "--random-input-len", "40", "--random-output-len", "9", "--ignore-eos",
                   "--api-key", "secret", "--extra-body", '{"top_k": 3, "x": {"y": [1]}}', "--seed", "5")
        self.assertEqual((r["model_id"], r["label"], r["seed"]), ("known", "tester", 5))
        texts = []
        for path, headers, body in s.bodies:
            self.assertEqual(headers["authorization"], "bearer secret")
            self.assertEqual((body["model"], body["max_tokens"], body["stream"]), ("known", 9, True))
            self.assertEqual((body["ignore_eos"], body["top_k"], body["x"]), (True, 3, {"y": [1]}))
            self.assertEqual(body["stream_options"], {"include_usage": True})
            (message,) = body["messages"]
            texts.append(message["content"])
        # This server's /tokenize counts two tokens a word.
        self.assertEqual({len(t.split()) for t in texts}, {20})
        self.assertEqual(len({t[:12] for t in texts}), 8)
        again = self.server(first_ms=1, gap_ms=1, tokens=2)
        report(again, "--num-prompts", "8", "--random-input-len", "40", "--seed", "5")
        self.assertEqual(sorted(b[2]["messages"][0]["content"] for b in again.bodies), sorted(texts))
        other = self.server(first_ms=1, gap_ms=1, tokens=2)
        report(other, "--num-prompts", "8", "--random-input-len", "40")
        self.assertFalse(set(texts) & {b[2]["messages"][0]["content"] for b in other.bodies})

    def test_lengths_from_usage(self):
        """Without /tokenize the first answers tell how many tokens a word has."""
        s = self.server(first_ms=1, gap_ms=1, tokens=2, tokenize=False)
        report(s, "--num-prompts", "2", "--random-input-len", "100")
        self.assertEqual({len(b[2]["messages"][0]["content"].split()) for b in s.bodies[-2:]}, {50})
        s = self.server(first_ms=1, gap_ms=1, tokens=2, tokenize=False, fail="no_usage")
        result = bench(s, "--num-prompts", "2", "--random-input-len", "100")
        self.assertIn("a word for each", result.err)
        self.assertIn("pieces of text, taken for tokens", result.out)

    def test_shared_prefix(self):
        s = self.server(first_ms=1, gap_ms=1, tokens=2)
        report(s, "--num-prompts", "9", "--prefix-len", "60", "--prefix-count", "3", "--random-input-len", "20")
        pairs = [tuple(m["content"] for m in b[2]["messages"]) for b in s.bodies]
        self.assertEqual({m["role"] for m in s.bodies[0][2]["messages"]}, {"system", "user"})
        self.assertEqual(len({p[0] for p in pairs}), 3)
        self.assertEqual(len({p[1] for p in pairs}), 9)
        self.assertEqual({len(p[0].split()) for p in pairs}, {30})

    def test_connections(self):
        """Many streams at once, each on a connection; one after another, on the same one."""
        s = self.server(first_ms=1500, gap_ms=1, tokens=2)
        r = report(s, "--num-prompts", "1200", "--random-input-len", "8")
        self.assertEqual(r["outcomes"], {"answered": 1200})
        self.assertGreater(s.most_running, 1000)
        s = self.server(first_ms=1, gap_ms=1, tokens=2)
        r = report(s, "--num-prompts", "30", "--max-concurrency", "3", "--random-input-len", "8")
        self.assertEqual(r["outcomes"], {"answered": 30})
        self.assertLessEqual(s.most_running, 3)
        self.assertLessEqual(s.connections, 3 + 2)  # and those of /v1/models and /tokenize
        # To wait for a place is not to be late.
        self.assertLess(r["client_late_ms"], max(q["sent_ms"] for q in r["requests"]) / 2)

    def test_open_loop(self):
        """Requests go out at their times, however long the answers take; the mean rate is as asked."""
        s = self.server(first_ms=300, gap_ms=1, tokens=2)
        r = report(s, "--num-prompts", "50", "--request-rate", "50", "--random-input-len", "8",
                   "--seed", "7")
        at = [q["sent_ms"] for q in r["requests"]]
        self.assertEqual(at, sorted(at))
        self.assertGreater(at[-1], 1000 - LATE)
        self.assertLess(at[-1], 1000 + r["client_late_ms"] + LATE)
        gaps = [b - a for a, b in zip([0] + at, at)]
        self.assertGreater(sum((g - 20) ** 2 for g in gaps) / 50, 100)  # random, not even: 400 is the mean

    def test_goodput(self):
        """Answers count that are within every limit."""
        s = self.server(first_ms=5, gap_ms=1, tokens=3)
        args = ["--num-prompts", "4", "--random-input-len", "8"]
        r = report(s, *args, "--goodput", "ttft:60000", "tpot:60000")
        self.assertAlmostEqual(r["request_goodput"], r["request_throughput"], delta=1e-6)
        r = report(s, *args, "--goodput", "e2el:1", "--goodput", "ttft:60000")
        self.assertEqual(r["request_goodput"], 0)
        self.assertIsNone(report(s, *args)["request_goodput"])

    def test_mix(self):
        """Streams run, the long prompt arrives, they are stopped after it."""
        s = self.server(first_ms=100, gap_ms=10)
        json_file, svg, html = self.path("a.json"), self.path("a.svg"), self.path("a.html")
        args = ["--mix", "--steady", "3", "--lead", "0.3", "--long-len", "600", "--long-output-len", "4",
                "--random-input-len", "20"]
        out = bench(s, *args, "--alone", "--json", json_file, "--label", "a <b>").out
        with open(json_file, encoding="utf-8") as f:
            mix = json.load(f)["mix"]
        self.assertRegex(out, r"alone after \d+ ms \([\d.]+ x\)")
        sizes = [len(b[2]["messages"][0]["content"].split()) for b in s.bodies]
        self.assertEqual(sizes, [300, 10, 10, 10, 300])  # alone first
        self.assertNotEqual(s.bodies[0][2]["messages"], s.bodies[4][2]["messages"])
        self.assertGreater(mix["long_ttft_ms"][0], 100 - LATE)
        self.assertGreater(mix["alone_ttft_ms"], 100 - LATE)
        self.assertAlmostEqual(mix["during"]["seconds"] * 1e3, mix["long_ttft_ms"][0], delta=1)
        self.assertGreater(mix["before"]["seconds"], 0.3 - LATE / 1e3)
        self.assertGreater(mix["after"]["seconds"], 0.3 - LATE / 1e3)
        self.assertEqual(len(mix["streams"]), 3)
        for window, (low, high) in {"before": (-1e9, 0), "during": (0, mix["long"][0]["first_ms"])}.items():
            tokens = sum(low <= t < high for x in mix["streams"] for t in x)
            said = mix[window]["output_throughput"] * mix[window]["seconds"]
            self.assertAlmostEqual(said, tokens, delta=3)  # the first ones come before all streams run
        waited = time.monotonic() + 20
        while s.closed_early < 3 and time.monotonic() < waited:
            time.sleep(0.01)
        self.assertEqual(s.closed_early, 3)  # stopped means disconnected

        bench(s, *args, "--against", json_file, "--svg", svg, "--html", html)
        tree = xml.etree.ElementTree.parse(svg)
        texts = ["".join(t.itertext()) for t in tree.iter("{http://www.w3.org/2000/svg}text")]
        for want in ("a <b>", "tester", "stream 3", "the long prompt arrives"):
            self.assertIn(want, texts)
        with open(html, encoding="utf-8") as f:
            page = f.read()
        self.assertIn("a &lt;b&gt;", page)
        self.assertEqual(re.findall(r"https?://(?!www\.w3\.org/2000/svg|127\.0\.0\.1)", page), [])

    def test_turns(self):
        s = self.server(first_ms=20, gap_ms=1)
        r = report(s, "--turns", "2", "--num-prompts", "3", "--max-concurrency", "1", "--random-input-len", "40",
                   "--random-output-len", "4", "--turn-len", "10")
        bodies = [[m["content"] for m in b[2]["messages"]] for b in s.bodies]
        self.assertEqual([len(b) for b in bodies], [1, 3] * 3 + [3] * 3)
        for first, second, cold in zip(bodies[0:6:2], bodies[1:6:2], bodies[6:]):
            self.assertEqual(second[0], first[0])
            self.assertEqual(second[1], "alpha beta gamma delta ")
            self.assertNotEqual(cold[0], first[0])
            self.assertEqual([len(c.split()) for c in cold], [len(c.split()) for c in second])
        self.assertEqual(len(r["turns"]["second_ttft_ms"]), 3)
        self.assertEqual(len(r["turns"]["cold_ttft_ms"]), 3)
        self.assertEqual(r["completed"], 3)
        self.assertGreater(r["turns"]["second_cached_tokens"], 0)

    def test_files(self):
        """ShareGPT conversations and a Mooncake trace."""
        chats = [{"conversations": [{"from": "human", "value": f"question {i} of some length"},
                                    {"from": "gpt", "value": "x" * 40}]} for i in range(9)]
        chats += [{"conversations": []}, {"id": 1}, 5, {"conversations": [{"from": "gpt", "value": "no"}] * 2}]
        with open(self.path("chats"), "w", encoding="utf-8") as f:
            json.dump(chats, f)
        s = self.server(first_ms=1, gap_ms=1, tokens=2)
        r = report(s, "--sharegpt", self.path("chats"), "--num-prompts", "20")
        self.assertEqual(r["completed"], 9)
        self.assertEqual({b[2]["messages"][0]["content"] for b in s.bodies},
                         {f"question {i} of some length" for i in range(9)})
        self.assertEqual({b[2]["max_tokens"] for b in s.bodies}, {11})
        lines = [{"timestamp": 5000, "input_length": 1100, "output_length": 7, "hash_ids": [1, 2, 3]},
                 {"timestamp": 5600, "input_length": 600, "output_length": 3, "hash_ids": [1, 4]}]
        with open(self.path("trace"), "w", encoding="utf-8") as f:
            f.write("\n".join(json.dumps(x) for x in lines) + "\n")
        s = self.server(first_ms=1, gap_ms=1, tokens=2)
        r = report(s, "--trace", self.path("trace"), "--trace-speed", "2", "--trace-scale", "0.5")
        texts = [b[2]["messages"][0]["content"].split() for b in s.bodies]
        self.assertEqual([len(t) for t in texts], [275, 150])  # two tokens a word, half as long
        self.assertEqual(texts[0][:128], texts[1][:128])
        self.assertNotEqual(texts[0][128:150], texts[1][128:])
        self.assertGreater(r["requests"][1]["sent_ms"] - r["requests"][0]["sent_ms"], 290)

    def test_idle_connections(self):
        s = self.server(first_ms=50, gap_ms=1, tokens=2)
        r = report(s, "--num-prompts", "1", "--idle-connections", "300")
        self.assertEqual((r["idle_opened"], r["idle_left"]), (300, 300))
        self.assertGreaterEqual(s.most_open, 301)


class Failures(Case):
    def outcome(self, fail, name, reason, **how):
        s = self.server(first_ms=5, gap_ms=1, fail=fail, every=2, **how)
        r = report(s, "--num-prompts", "6", "--max-concurrency", "1", "--random-output-len", "8")
        self.assertEqual(r["outcomes"], {"answered": 3, name: 3}, fail)
        self.assertRegex(r["reasons"][name], reason)
        return r

    def test_refused(self):
        r = self.outcome("refuse", "refused (429 or 503)", "^queue full$")
        self.assertEqual(r["refused"], 3)
        self.assertGreater(r["median_refusal_ms"], 5 - LATE)
        self.assertEqual([q["retry_after"] for q in r["requests"] if q["status"] == 429], [7, 7, 7])

    def test_what_servers_do_wrong(self):
        self.outcome("status", "HTTP error", r"^model \\x1b\[31m broke$")
        self.outcome("cut", "stream cut", ".")
        self.outcome("json", "event that is not JSON", "line 1")
        self.outcome("error", "error in the stream", "^out of memory$")
        self.outcome("plain", "no event stream", "^hello, no stream here$")
        for fail, name in (("reset", "stream cut"), ("empty", "answer without text")):
            s = self.server(first_ms=5, gap_ms=1, fail=fail)
            r = report(s, "--num-prompts", "2", code=1)
            self.assertEqual(r["outcomes"], {name: 2})

    def test_timeout(self):
        s = self.server(first_ms=60000)
        r = report(s, "--num-prompts", "2", "--timeout", "1", code=1)
        self.assertEqual(r["outcomes"], {"timed out": 2})

    def test_nobody_there(self):
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        result = bench(f"127.0.0.1:{port}", "--num-prompts", "3", code=1)
        self.assertIn("3 no connection", result.out)
        self.assertIn("lists no models", result.err)
        result = bench(f"127.0.0.1:{port}", "--mix", "--alone", "--svg", self.path("x.svg"), code=1)
        self.assertIn("no picture", result.err)

    def test_capacity(self):
        """Beyond what a server takes at once it refuses; the rest is answered."""
        s = self.server(first_ms=400, gap_ms=1, tokens=2, capacity=5)
        r = report(s, "--num-prompts", "20")
        self.assertEqual((r["completed"], r["refused"]), (5, 15))

    def test_interrupt(self):
        """Ctrl-C prints what there is."""
        s = self.server(first_ms=20, gap_ms=20)
        p = subprocess.Popen(command(s, "--num-prompts", "4", "--random-output-len", "5000"),
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        while s.running < 4:
            time.sleep(0.01)
        time.sleep(0.5)
        p.send_signal(signal.SIGINT)
        out, _ = p.communicate(timeout=30)
        self.assertEqual(p.returncode, 130)
        self.assertIn("stopped by Ctrl-C", out.decode())
        self.assertIn("4 stopped by the client", out.decode())
        self.assertRegex(out.decode(), r"\| gap \(ITL\)")

    def test_arguments(self):
        with open(self.path("bad"), "w", encoding="utf-8") as f:
            f.write('{"mix": {"streams": 5}}')
        for args, says in ((["--request-rate", "0"], "--request-rate"), (["--goodput", "speed:5"], "ttft:MS"),
                           (["--goodput", "ttft:fast"], "ttft:MS"), (["stray"], "unexpected"),
                           (["--mix", "--turns", "2"], "at a time"), (["--svg", "x"], "go with --mix"),
                           (["--percentile-metrics", "ttft,speed"], "speed"),
                           (["--metric-percentiles", "101"], "101"), (["--extra-body", "[1]"], "--extra-body"),
                           (["--extra-body", "{"], "--extra-body"), (["--endpoint", "v1"], "slash"),
                           (["--mix", "--against", self.path("bad")], "no result of --mix"),
                           (["--mix", "--against", self.path("gone")], "No such file"),
                           (["--steady", "0"], "from 1"), (["--numprompts", "3"], "--num-prompts")):
            result = bench("127.0.0.1:1", *args, code=1)
            self.assertIn(says, result.err)
            self.assertRegex(result.err, r"^brisk: [^\n]+\n$")
        s = self.server()
        for args, says in ((["--sharegpt", self.path("bad")], "conversation"),
                           (["--trace", self.path("bad")], "lacks"), (["--trace", self.path("gone")], "gone")):
            self.assertIn(says, bench(s, *args, code=1).err)


if __name__ == "__main__":
    unittest.main(verbosity=2)
