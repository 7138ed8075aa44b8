#!/usr/bin/env python3
"""Nobody is held up by what others ask, and who leaves leaves nothing behind.

BRISK names the program (build/brisk), BRISK_TEST_MODEL the default model's file. Needs nothing but
Python's own library. Bounds are shares of what the others take, not times of a machine.
"""
import os
import random
import sys
import threading
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from load import KEYS, ask, leave_now, prose, send, until_idle  # noqa: E402
from server import Server, need_model  # noqa: E402

COMPLETIONS = "/v1/completions"


def request(prompt, max_tokens, key=KEYS[0], stream=True):
    return {"path": COMPLETIONS, "key": key,
            "body": {"prompt": prompt, "max_tokens": max_tokens, "temperature": 0, "stream": stream,
                     "ignore_eos": True}}


def start(server, requests):
    """Threads and the times at which each ended, in seconds since now, filled in as they end."""
    ends, began = [None] * len(requests), time.monotonic()

    def run(i):
        out = ask(server, requests[i])
        assert out.status == 200, out.error
        ends[i] = time.monotonic() - began

    threads = [threading.Thread(target=run, args=(i,)) for i in range(len(requests))]
    for t in threads:
        t.start()
    return threads, ends, began


class Shares(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        args = [x for key in KEYS for x in ("--api-key", key)]
        cls.server = Server("--queue-seconds", "600", *args)

    @classmethod
    def tearDownClass(cls):
        cls.server.stop()

    def tearDown(self):
        until_idle(self.server, KEYS[0])

    def waiting(self):
        return self.server.ask("GET", "/v1/requests",
                               headers={"Authorization": "Bearer " + KEYS[0]}).json

    def until(self, what):
        end = time.monotonic() + 30
        while not what(self.waiting()):
            self.assertLess(time.monotonic(), end)
            time.sleep(0.005)

    def test_keys(self):
        """One key's flood, and a short question of another."""
        rng = random.Random(1)
        flood = [request(prose(rng, 70), 4) for _ in range(40)]
        threads, ends, began = start(self.server, flood)
        self.until(lambda r: r["waiting"] > 10)
        asked = time.monotonic() - began
        out = ask(self.server, request("One short question:", 4, KEYS[1]))
        answered = time.monotonic() - began
        for t in threads:
            t.join()
        before = sum(e < answered for e in ends)
        print(f"a flood of {len(flood)} took {max(ends):.1f} s; another's question came at "
              f"{asked:.1f} s and was answered at {answered:.1f} s, when {before} were done")
        self.assertEqual(out.status, 200)
        self.assertLess(answered - asked, max(ends) / 4)

    def test_short_beside_long(self):
        rng = random.Random(2)
        long_one = request(prose(rng, 2000), 1, KEYS[0])
        threads, ends, began = start(self.server, [long_one])
        self.until(lambda r: r["running"] == 1)
        out = ask(self.server, request("A short prompt beside a long one:", 4, KEYS[0]))
        answered = time.monotonic() - began
        threads[0].join()
        print(f"the short prompt's first token after {out.first_s:.2f} s, the whole answer at "
              f"{answered:.2f} s, the long prompt's token at {ends[0]:.2f} s")
        self.assertLess(answered, ends[0] / 2)

    def test_leaving(self):
        """A client that goes frees its place, wherever its request is."""
        rng = random.Random(3)
        took = {}
        for where, body in (("prefill", request(prose(rng, 2000), 4)),
                            ("decode", request("Count to a million: one, two,", 4000)),
                            ("decode, not streamed",
                             request("Count to a million: one, two,", 4000, stream=False))):
            phase = where.split(",", maxsplit=1)[0]
            c, _ = send(self.server, body)
            self.until(lambda r, p=phase: r["data"] and r["data"][0]["phase"] == p)
            leave_now(c, False)
            took[where] = until_idle(self.server, KEYS[0])
        blockers = [send(self.server, request("Tell me everything about stones.", 4000))[0]
                    for _ in range(16)]
        self.until(lambda r: r["running"] == 16)
        c, _ = send(self.server, request("One who waits", 4))
        self.until(lambda r: r["waiting"] == 1)
        leave_now(c, False)
        began = time.monotonic()
        self.until(lambda r: r["waiting"] == 0)
        took["queue"] = time.monotonic() - began
        for c in blockers:
            leave_now(c, True)
        took["16 answers"] = until_idle(self.server, KEYS[0])
        print("gone after: " + ", ".join(f"{k} {1000 * v:.0f} ms" for k, v in took.items()))
        self.assertLess(max(took.values()), 1.0)


if __name__ == "__main__":
    need_model()
    unittest.main()
