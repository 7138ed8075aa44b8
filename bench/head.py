#!/usr/bin/env python3
"""A screened head beside the whole one: the same greedy text, and how much sooner.

    bench/head.py -m gemma3 [--head screen] [--tokens 20000] [--length 200] [--speed-only]

Two servers answer the same prompts greedily, one with --head full, one with --head screen. First one
answer at a time, in turns, for the speed; then several at once until so many tokens have been compared.
What comes after a repetition (eight words that stood there before) is compared as well, but not counted.
Exit status 1 when a text differs. Needs nothing but Python's own library; BRISK names the program.
"""
import argparse
import concurrent.futures
import itertools
import json
import os
import statistics
import sys
import time

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
sys.path.insert(0, os.path.join(ROOT, "tests/server"))
from server import Server  # noqa: E402

TOPICS = ["tides", "a lighthouse keeper", "the price of bread", "binary search", "snow in April",
          "the human heart", "chess openings", "volcanoes", "a lost letter", "electric trains",
          "the Roman army", "honey bees", "black holes", "a birthday party", "the Zürich cathedral",
          "sourdough", "prime numbers", "river dolphins", "the printing press", "an old violin",
          "desert plants", "a city at night", "vaccines", "the moon landing", "glass blowing"]
FORMS = ["The history of {} is", "def {}():\n    \"\"\"", "Question: what should everybody know about {}?\n"
         "Answer:", "Once upon a time there was a story about {}, and", "Dear Sir, I write to you about {}.",
         "Five facts about {}:\n1.", "# {}\n\nIn this chapter", "El tema de hoy es {}:",
         "{} - a poem\n\n"]
PARALLEL = 8


def prompts():
    for form, topic in itertools.product(FORMS, TOPICS):
        yield form.format(topic.replace(" ", "_") if "def" in form else topic)


def answer(server, prompt, length):
    began = time.monotonic()
    reply = server.ask("POST", "/v1/completions", {"prompt": prompt, "max_tokens": length, "temperature": 0,
                                                   "ignore_eos": True})
    if reply.status != 200:
        sys.exit(f"{reply.status}: {reply.body!r}")
    text = reply.json["choices"][0]["text"]
    return text, reply.json["usage"]["completion_tokens"], time.monotonic() - began


def fresh(text):
    """The share of a text before it repeats itself."""
    words, seen = text.split(), set()
    for i in range(len(words) - 7):
        gram = tuple(words[i:i + 8])
        if gram in seen:
            return len(" ".join(words[:i + 7])) / max(1, len(text))
        seen.add(gram)
    return 1.0


def speed(servers, length, rounds):
    ratios, rates = [], [[], []]
    for prompt in itertools.islice(itertools.cycle(list(prompts())[::19]), rounds):
        pair = []
        for i, server in enumerate(servers):
            _, n, short = answer(server, prompt, length)
            _, m, more = answer(server, prompt, 2 * length)
            rates[i].append((m - n) / (more - short))
            pair.append(rates[i][-1])
        ratios.append(pair[1] / pair[0])
    return ratios, [statistics.median(r) for r in rates]


def identity(servers, want, length):
    counted, compared, texts, wrong = 0, 0, 0, []
    todo = list(prompts())
    with concurrent.futures.ThreadPoolExecutor(PARALLEL) as pool:
        for at in range(0, len(todo), PARALLEL):
            some = todo[at:at + PARALLEL]
            a, b = (list(pool.map(lambda p, s=s: answer(s, p, length), some)) for s in servers)
            for prompt, x, y in zip(some, a, b):
                texts += 1
                compared += x[1]
                counted += int(x[1] * fresh(x[0]))
                if x[0] != y[0]:
                    wrong.append(prompt)
            print(f"{texts} texts, {compared} tokens, {counted} of them before repetitions, "
                  f"{len(wrong)} texts differ", file=sys.stderr, flush=True)
            if counted >= want and texts >= 200:
                break
    return {"texts": texts, "tokens": compared, "fresh_tokens": counted, "different": wrong}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("-m", "--model", required=True)
    parser.add_argument("--head", default="screen")
    parser.add_argument("--tokens", type=int, default=20000)
    parser.add_argument("--length", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--speed-only", action="store_true")
    o = parser.parse_args()
    servers = [Server("--head", head, model=o.model, wait=False) for head in ("full", o.head)]
    result = {}
    try:
        for server in servers:
            server.until(r"^ready$", 600)  # the copy takes a while
        if o.rounds > 0:
            ratios, rates = speed(servers, 48, o.rounds)
            result = {"tokens_per_second": dict(zip(("full", o.head), rates)),
                      "ratio": statistics.median(ratios), "lowest": min(ratios), "highest": max(ratios)}
        if not o.speed_only:
            result.update(identity(servers, o.tokens, o.length))
    finally:
        for server in servers:
            server.stop()
    print(json.dumps(result, indent=2, ensure_ascii=False))
    sys.exit(1 if result.get("different") else 0)


if __name__ == "__main__":
    main()
