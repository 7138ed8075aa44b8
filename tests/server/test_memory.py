#!/usr/bin/env python3
"""The account of memory is true and its limit is kept.

BRISK names the program (build/brisk), BRISK_TEST_MODEL the default model's file. Needs nothing but
Python's own library.
"""
import os
import re
import subprocess
import sys
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from load import ask, ask_all, mixed, prose, until_idle  # noqa: E402
from server import BRISK, MODEL, ROOT, Server, need_model  # noqa: E402
import random  # noqa: E402

TINY = os.path.join(ROOT, "tests/data/tiny_chat.gguf")
PROGRAM = 24 << 20  # code, tokenizer, connections, requests: what is no part of the account
IDLE = 1000
GET = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"


def status(server, field):
    with open(f"/proc/{server.process.pid}/status", encoding="ascii") as f:
        return int(re.search(rf"^{field}:\s+(\d+) kB", f.read(), re.M)[1]) << 10


def memory(server):
    return server.get("/props").json["memory"]


def greedy_users(seed, n):
    """Prompts that share nothing and together want several times the memory that there is."""
    rng = random.Random(seed)
    return [{"path": "/v1/completions",
             "body": {"prompt": prose(rng, 350), "max_tokens": 4, "temperature": 0,
                      "logprobs": 5 if i % 4 == 0 else None}} for i in range(n)]


class Limit(unittest.TestCase):
    def test_load(self):
        args = ["-c", "1024", "--queue-seconds", "600"]
        with Server(*args) as s:
            m = memory(s)
        limit = m["weights"] + m["scratch"] + 1100 * m["kv_per_token"]
        with Server(*args, "--mem-limit", str(limit)) as s:
            before, m = s.rss(), memory(s)
            self.assertEqual(m["limit"], limit)
            self.assertEqual(m["limit"], m["weights"] + m["scratch"] + m["kv_limit"])
            self.assertEqual(m["kv_used"], 0)
            outcomes = ask_all(s, greedy_users(1, 10))
            until_idle(s)
            full, after = s.rss(), memory(s)
            most = status(s, "VmHWM")
        self.assertEqual([o.status for o in outcomes], [200] * 10)
        self.assertGreater(sum(o.usage["prompt_tokens"] for o in outcomes), 3 * 1100)
        self.assertGreater(after["kv_used"], 0.8 * after["kv_limit"])
        mb = 1e-6
        print(f"account: weights {m['weights'] * mb:.1f}, scratch {m['scratch'] * mb:.1f}, KV "
              f"{m['kv_limit'] * mb:.1f}, limit {limit * mb:.1f} MB; resident at start "
              f"{before * mb:.1f}, with the cache full {full * mb:.1f}, at most {most * mb:.1f} MB")
        self.assertLess(most, limit + PROGRAM)
        # What was resident at the start are the weights and the program; what came are scratch and KV.
        self.assertGreater(before, m["weights"])
        self.assertLess(before, m["weights"] + PROGRAM)
        self.assertGreater(full - before, 0.8 * after["kv_used"])
        self.assertLess(full - before, after["kv_used"] + m["scratch"] + PROGRAM // 3)

    def test_too_small(self):
        r = subprocess.run([BRISK, "serve", "-m", MODEL, "--port", "0", "--mem-limit", "100M"],
                           capture_output=True, text=True, timeout=60, check=False)
        self.assertNotEqual(r.returncode, 0)
        self.assertRegex(r.stderr, r"memory limit of [\d.]+ MB .*weights [\d.]+ MB, scratch [\d.]+ "
                         r"MB, keys and values of \d+ tokens [\d.]+ MB; raise the limit")


class Flat(unittest.TestCase):
    def test_connections(self):
        """Connections that have asked once and stay."""
        with Server(model=TINY) as s:
            def more(n):
                out = []
                for _ in range(n):
                    c = s.socket()
                    c.sendall(GET)
                    self.assertTrue(c.recv(4096).startswith(b"HTTP/1.1 200"))
                    out.append(c)
                return out
            some = more(20)
            before = s.rss()
            some += more(IDLE)
            each = (s.rss() - before) / IDLE
            print(f"idle connections: {each / 1000:.1f} KB each")
            for c in some:
                c.close()
            self.assertEqual(s.get("/health").status, 200)
        self.assertLess(each, 20e3)

    def test_requests(self):
        """Many short answers, of which many are left early, cost nothing that stays."""
        with Server("-c", "512", "--mem-limit", "4M", model=TINY) as s:
            resident = []
            for n in (200, 800):
                for r in range(n // 50):
                    ask_all(s, mixed(1000 * n + r, 50, longest=10, answers=(3, 20), systems=1), 8)
                until_idle(s)
                resident.append(s.rss())
            print("resident after 200 and 1,000 requests: "
                  + " and ".join(f"{x / 1e6:.2f}" for x in resident) + " MB")
        self.assertLess(resident[1] - resident[0], 1 << 20)


if __name__ == "__main__":
    need_model()
    unittest.main()
