#!/usr/bin/env python3
"""Many users at once get what each would get alone: whoever leaves, whatever is evicted or preempted,
cached or computed.

test_isolation.py                  the tests
test_isolation.py --load SECONDS   only keeps a server of the small random model busy, and compares
BRISK names the program (build/brisk), BRISK_TEST_MODEL the default model's file. Needs nothing but
Python's own library.
"""
import os
import random
import sys
import threading
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from load import KEYS, ask, ask_all, mixed, prose, until_idle  # noqa: E402
from server import ROOT, Server, need_model  # noqa: E402

TINY = os.path.join(ROOT, "tests/data/tiny_chat.gguf")
KEY_ARGS = [x for key in KEYS for x in ("--api-key", key)]


def props(server, key=None):
    return server.ask("GET", "/props", headers={"Authorization": f"Bearer {key}"} if key else {}).json


def tight_limit(tokens, *args, model=None):
    """A --mem-limit that leaves keys and values of so many tokens."""
    with Server(*args, model=model) as s:
        m = props(s)["memory"]
    return str(m["weights"] + m["scratch"] + tokens * m["kv_per_token"])


class Watch:
    """Looks at a busy server's account until it is left."""

    def __init__(self, server, key):
        self.server, self.key, self.most, self.wrong = server, key, 0, []
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.run)

    def run(self):
        while not self.stop.wait(0.05):
            m = props(self.server, self.key)["memory"]
            self.most = max(self.most, m["kv_used"])
            if m["kv_used"] > m["kv_limit"] or m["cached"] > m["kv_used"]:
                self.wrong.append(m)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        self.thread.join()


def quiet(request):
    """The same request, asked whole, of a server that knows nothing."""
    return {**request, "leave": None, "body": {**request["body"], "cache_prompt": False}}


class Case(unittest.TestCase):
    def check_alone(self, requests, outcomes, *args, model=None, every=1):
        """Texts are those of the same requests asked one after another, nothing cached."""
        with Server(*args, *KEY_ARGS, model=model) as s:
            for r, o in list(zip(requests, outcomes))[::every]:
                if o.left:
                    continue
                alone = ask(s, quiet(r))
                self.assertEqual(alone.status, 200, alone.error)
                self.assertEqual(o.texts, alone.texts, (r, o.timings, o.usage))
                self.assertEqual(o.finish, alone.finish, r)

    def check_whole(self, requests, outcomes):
        for r, o in zip(requests, outcomes):
            if o.left:
                continue
            self.assertEqual((o.status, o.error), (200, None), r)
            n = r["body"].get("n", 1)
            self.assertEqual(sorted(o.texts), list(range(n)), r)
            self.assertEqual(sorted(o.finish), list(range(n)), r)

    def check_idle(self, server):
        """Nothing is left but what the cache has."""
        until_idle(server, KEYS[0])
        m = props(server, KEYS[0])["memory"]
        self.assertEqual(m["kv_used"], m["cached"], m)
        self.assertLessEqual(m["kv_used"], m["kv_limit"])


class Markers(Case):
    def test_markers(self):
        args = ["-c", "560", "--queue-seconds", "600"]
        requests = mixed(2, 1, longest=0, answers=(340, 340), leaving=0)
        requests += mixed(1, 63, longest=120, answers=(8, 20))
        # Two answers that start together and become longer than the room that is kept for each.
        requests[0]["body"].update(ignore_eos=True, n=2, priority=1)
        with Server(*args, "--mem-limit", tight_limit(640, *args), *KEY_ARGS) as s:
            with Watch(s, KEYS[0]) as w:
                outcomes = ask_all(s, requests)
            self.check_idle(s)
            evicted = props(s, KEYS[0])["memory"]["kv_limit"] - w.most
        self.assertEqual(w.wrong, [])
        self.check_whole(requests, outcomes)
        self.assertGreater(sum(o.left for o in outcomes), 5)
        markers = [r["marker"] for r in requests]
        own = 0
        for r, o in zip(requests, outcomes):
            for text in o.texts.values():
                found = [m for m in markers if m.lower() in text.lower()]
                self.assertIn(found, ([], [r["marker"]]), (r, text))
                own += len(found)
        preempted = sum(o.timings.get("preemptions", 0) for o in outcomes)
        cached = sum(o.cached for o in outcomes if o.usage)
        print(f"markers: {own} answers with their own, {sum(o.left for o in outcomes)} clients left, "
              f"{preempted} preemptions, {cached} tokens cached, KV came within {evicted} bytes of "
              "its limit")
        self.assertGreater(own, 25)
        self.assertGreater(preempted, 0)
        self.check_alone(requests, outcomes, *args, every=1 if FULL else 4)

    def test_random_model(self):
        """A small model whose text no two prompts share, with room for little more than a context."""
        keep_busy(self, 3)


def keep_busy(case, seconds, seed=100):
    """Rounds of requests to the small model, until the time is over; then all texts are compared."""
    args = ["-c", "512", "--queue-seconds", "600"]
    all_requests, all_outcomes = [], []
    with Server(*args, "--mem-limit", tight_limit(700, *args, model=TINY), *KEY_ARGS,
                model=TINY) as s:
        end = time.time() + seconds
        with Watch(s, KEYS[0]) as w:
            while time.time() < end:
                requests = mixed(seed, 64, longest=10, answers=(5, 300), systems=1)
                for r in requests:
                    r["body"]["ignore_eos"] = True
                all_requests += requests
                all_outcomes += ask_all(s, requests)
                seed += 1
        case.check_idle(s)
        case.assertEqual(s.stop(), 0, s.output())
    case.assertEqual(w.wrong, [])
    print(f"small model: {len(all_requests)} requests, "
          f"{sum(o.timings.get('preemptions', 0) for o in all_outcomes)} preemptions, "
          f"{sum(o.left for o in all_outcomes)} clients left")
    case.check_whole(all_requests, all_outcomes)
    case.check_alone(all_requests, all_outcomes, *args, model=TINY)


class Equal(Case):
    def test_equal(self):
        body = {"prompt": "Once upon a time, in a village by the sea, there lived a clockmaker",
                "max_tokens": 32, "temperature": 0}
        request = {"path": "/v1/completions", "body": body}
        with Server() as s:
            alone = ask(s, quiet(request))
        with Server() as s:
            outcomes = ask_all(s, [{**request, "body": {**body, "stream": i % 2 == 0}}
                                   for i in range(32)])
            late = ask(s, request)
        self.assertEqual(len(alone.texts[0].split()) > 10, True, alone.texts)
        self.assertEqual([o.texts for o in outcomes], [alone.texts] * 32)
        self.assertEqual(late.texts, alone.texts)


class Caches(Case):
    def run_server(self, *args):
        """The text of one prompt with a cold, a warm and a half-evicted cache."""
        rng = random.Random(7)
        request = {"path": "/v1/completions",
                   "body": {"prompt": prose(rng, 260) + "\nThe words above are", "max_tokens": 16,
                            "temperature": 0, "ignore_eos": True}}
        other = {"path": "/v1/completions",
                 "body": {"prompt": prose(rng, 350), "max_tokens": 1, "temperature": 0}}
        args = ["-c", "512", *args]
        with Server(*args, "--mem-limit", tight_limit(512 + 64, *args)) as s:
            cold, warm = ask(s, request), ask(s, request)
            self.assertEqual(ask(s, other).cached, 0)
            half = ask(s, request)
        n = cold.usage["prompt_tokens"]
        self.assertEqual((cold.cached, warm.cached), (0, n - 1))
        self.assertGreater(half.cached, n // 8)
        self.assertLess(half.cached, n - 1)
        self.assertEqual(warm.texts, cold.texts)
        self.assertEqual(half.texts, cold.texts)
        return n, half.cached, cold.texts[0]

    def test_caches(self):
        for kv in ("q16", "q8_0"):
            texts = set()
            for threads in ("1", "2"):
                n, half, text = self.run_server("-ctk", kv, "-t", threads)
                texts.add(text)
            print(f"caches: {kv}, prompt of {n} tokens, {half} left by eviction")
            self.assertEqual(len(texts), 1, texts)


FULL = "--full" in sys.argv

if __name__ == "__main__":
    if sys.argv[1:2] == ["--load"]:
        keep_busy(Case(), float(sys.argv[2]))
        sys.exit(0)
    need_model()
    if FULL:
        sys.argv.remove("--full")
    unittest.main()
