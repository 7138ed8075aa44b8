#!/usr/bin/env python3
"""brisk serve beside llama-server: called by bench/serve.sh, which has the usage."""
import argparse
import json
import os
import re
import signal
import socket
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request

READY_S, RUN_S = 120, 600
IDLE = 1000


class Failed(Exception):
    pass


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as s:
        return s.getsockname()[1]


class Server:
    """A running server; .url, .pid."""

    def __init__(self, run, side, slots, context, extra=()):
        self.side, self.port = side, free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        own = side == "brisk" and not run.stand_in
        # llama-server's context is that of all slots together.
        args = ["-m", run.model, "-t", str(run.threads), "--port", str(self.port), "-np", str(slots),
                "-c", str(context if own else slots * context)]
        program = [run.brisk, "serve", *args, *extra] if own else [run.peer, *args]
        self.log = os.path.join(run.out, f"{side}-server.log")
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(program, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        self.pid = self.process.pid

    def __enter__(self):
        end = time.monotonic() + READY_S
        while time.monotonic() < end and self.process.poll() is None:
            try:
                with urllib.request.urlopen(self.url + "/health", timeout=5) as r:
                    if r.status == 200:
                        return self
            except (urllib.error.URLError, OSError):
                time.sleep(0.05)
        self.__exit__()
        with open(self.log, encoding="utf-8", errors="replace") as f:
            raise Failed(f"{self.side}: the server did not come up:\n" + "".join(f.readlines()[-8:]))

    def __exit__(self, *_):
        for sig, patience in ((signal.SIGTERM, 10), (signal.SIGKILL, 10)):
            if self.process.poll() is None:
                self.process.send_signal(sig)
                try:
                    self.process.wait(patience)
                except subprocess.TimeoutExpired:
                    pass

    def resident(self):
        with open(f"/proc/{self.pid}/status", encoding="ascii") as f:
            return int(re.search(r"VmRSS:\s+(\d+)", f.read()).group(1)) * 1024


def load(run, server, name, *args):
    """A run of brisk bench serve; its JSON."""
    path = os.path.join(run.out, f"{server.side}-{name}.json")
    label = "brisk" if server.side == "brisk" else "llama-server"
    command = [run.brisk, "bench", "serve", "--base-url", server.url, "--label", label, "--ignore-eos",
               "--json", path, *map(str, args)]
    done = subprocess.run(command, capture_output=True, timeout=RUN_S, check=False)
    if done.returncode != 0:
        raise Failed(f"{' '.join(command)}: exit status {done.returncode}\n"
                     + (done.stdout + done.stderr).decode(errors="replace")[-2000:])
    with open(path, encoding="utf-8") as f:
        return json.load(f)


# ---- Scenarios: each returns its figures ---------------------------------------------------------

def sixteen(run, side):
    with Server(run, side, 16, 512) as s:
        r = load(run, s, "sixteen", "--num-prompts", 16, "--random-input-len", 256, "--random-output-len", 128)
    return {"output tokens/s": r["output_throughput"], "slowest first token ms": r["max_ttft_ms"],
            "longest gap ms": r["max_itl_ms"]}


def one(run, side):
    with Server(run, side, 16, 512) as s:
        r = load(run, s, "one", "--num-prompts", 5, "--max-concurrency", 1, "--random-input-len", 256,
                 "--random-output-len", 64)
    return {"first token ms": r["median_ttft_ms"], "output tokens/s": 1e3 / r["median_tpot_ms"]}


def mix_run(run, side, name, *extra):
    peer = os.path.join(run.out, "peer-mix.json")
    picture = ["--svg", os.path.join(run.out, f"{side}-{name}.svg"), "--html",
               os.path.join(run.out, f"{side}-{name}.html")]
    if side == "brisk" and os.path.exists(peer):
        picture += ["--against", peer]
    with Server(run, side, 5, 4096, extra) as s:
        r = load(run, s, name, "--mix", "--alone", "--steady", 4, "--long-len", 3300, "--random-input-len", 64,
                 "--random-output-len", 3900, *picture)
    m = r["mix"]
    return {"longest gap ms": max(m[w]["max_itl_ms"] for w in ("before", "during", "after")),
            "long prompt's first token ms": m["long_ttft_ms"][0],
            "first token / alone": m["long_ttft_ms"][0] / m["alone_ttft_ms"],
            "streams' speed meanwhile": m["during"]["output_throughput"] / m["before"]["output_throughput"]}


def mix(run, side):
    return mix_run(run, side, "mix")


def mix40(run, side):
    return mix_run(run, side, "mix40", "--itl-budget-ms", "40")


def prefix(run, side):
    users = 32 if side == "brisk" else 8  # the peer reads it anew for each: minutes
    with Server(run, side, users, 1280) as s:
        r = load(run, s, "prefix", "--num-prompts", users, "--prefix-len", 1000, "--random-input-len", 64,
                 "--random-output-len", 16)
    return {"prefix from the cache": max(r["cached_input_tokens"], 0) / (1000 * (users - 1)),
            "median first token ms": r["median_ttft_ms"], "slowest first token ms": r["max_ttft_ms"]}


def turns(run, side):
    with Server(run, side, 4, 2048) as s:
        r = load(run, s, "turns", "--turns", 2, "--num-prompts", 3, "--max-concurrency", 1,
                 "--random-input-len", 1000, "--random-output-len", 32)
    second, cold = (statistics.median(r["turns"][k]) for k in ("second_ttft_ms", "cold_ttft_ms"))
    return {"second turn / cold": second / cold, "second turn's first token ms": second}


def overload(run, side):
    """Goodput at as many requests as the server can answer and at three times as many, for 12 seconds each.
    Limits: a first token within 2 seconds, and twice the time per token that all slots have when full.
    brisk is told to refuse what would wait for more than one second; the peer has no such bound."""
    size = ["--random-input-len", 64, "--random-output-len", 32]
    with Server(run, side, 8, 256, ["--queue-seconds", "1"]) as s:
        r = load(run, s, "capacity", "--num-prompts", 48, "--max-concurrency", 8, *size)
        rate = r["request_throughput"]
        limits = ["--goodput", "ttft:2000", f"tpot:{2 * r['max_tpot_ms']:.0f}"]
        good = []
        for times in (1, 3):
            last = load(run, s, f"overload-{times}", "--num-prompts", max(8, int(12 * rate * times)),
                        "--request-rate", f"{rate * times:.3f}", *limits, *size)
            good.append(last["request_goodput"])
    found = {"capacity requests/s": rate, "goodput at 3x / peak": good[1] / max(good) if max(good) else 0}
    if last["refused"]:
        found["refusal p99 ms"] = last["p99_refusal_ms"]
    return found


def idle(run, side):
    """Connections that have asked once, and what they add to the resident set; then a load beside them."""
    size = ["--num-prompts", 4, "--random-input-len", 32, "--random-output-len", 16]
    with Server(run, side, 2, 512) as s:
        load(run, s, "idle", *size)
        before, held = s.resident(), []
        try:
            for _ in range(IDLE):
                held.append(socket.create_connection(("127.0.0.1", s.port), timeout=10))
                held[-1].sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
                held[-1].recv(4096)
            after = s.resident()
            load(run, s, "idle", *size)
            left = sum(is_open(h) for h in held)
        finally:
            for h in held:
                h.close()
    return {"idle connections kept": left / IDLE, "KB for each": (after - before) / IDLE / 1000}


def is_open(connection):
    connection.setblocking(False)
    try:
        while connection.recv(4096):
            pass
        return False
    except BlockingIOError:
        return True
    except OSError:
        return False


def ask(url, words, tokens, read):
    """Streams an answer; leaves after `read` seconds (None: at the first token, 0: reads to the end).
    Returns ms to the first token."""
    body = json.dumps({"prompt": words, "max_tokens": tokens, "stream": True, "ignore_eos": True, "temperature": 0})
    request = urllib.request.Request(url + "/v1/completions", body.encode(), {"Content-Type": "application/json"})
    start, first = time.monotonic(), None
    try:
        with urllib.request.urlopen(request, timeout=read or RUN_S) as r:
            for line in r:
                if first is None and line.startswith(b"data: {") and b'"text"' in line:
                    first = (time.monotonic() - start) * 1e3
                    if read is None:
                        return first
    except (TimeoutError, socket.timeout):
        pass
    return first


def cancel(run, side):
    """One slot, whose client leaves: how much later than alone the next one has its first token."""
    number = iter(range(1 << 30))

    def text(n):
        return f"number {next(number)} " + " ".join(f"word {i * 7 % 97}" for i in range(n // 4))

    with Server(run, side, 1, 4096) as s:
        ask(s.url, text(8), 4, 0)
        alone = statistics.median(ask(s.url, text(8), 4, 0) for _ in range(5))
        found = {}
        for name, words, leave in (("decode", 8, None), ("prefill", 1500, 0.2)):
            late = []
            for _ in range(3):
                ask(s.url, text(words), 2000, leave)
                late.append(ask(s.url, text(8), 4, 0) - alone)
            found[f"next one later, left in {name}, ms"] = max(0, max(late))
    return found


# Figure: target of brisk's value, or of its ratio to the peer's. {Q}: 5, or 3 for Q4_0 files.
SCENARIOS = {
    "sixteen": (sixteen, {"output tokens/s": ("ratio", ">=", "{Q}")}),
    "one": (one, {"first token ms": ("ratio", "<=", 0.3)}),
    "mix": (mix, {"longest gap ms": ("value", "<=", 100), "first token / alone": ("value", "<=", 1.6),
                  "streams' speed meanwhile": ("value", ">=", 0.25)}),
    "mix40": (mix40, {"longest gap ms": ("value", "<=", 50)}),
    "prefix": (prefix, {"prefix from the cache": ("value", ">=", 0.95)}),
    "turns": (turns, {"second turn / cold": ("value", "<=", 0.1)}),
    "overload": (overload, {"goodput at 3x / peak": ("value", ">=", 0.9), "refusal p99 ms": ("value", "<=", 25)}),
    "idle": (idle, {"KB for each": ("value", "<=", 20), "idle connections kept": ("value", ">=", 1)}),
    "cancel": (cancel, {"next one later, left in decode, ms": ("value", "<=", 100),
                        "next one later, left in prefill, ms": ("value", "<=", 100)}),
}
OWN_ONLY = {"mix40"}  # a budget that the peer does not have


# ---- The table -----------------------------------------------------------------------------------

def number(v):
    return "-" if v is None else f"{v:.2f}" if abs(v) < 10 else f"{v:.1f}" if abs(v) < 100 else f"{v:,.0f}"


def met(target, value, ratio):
    which, sign, bound = target
    v = ratio if which == "ratio" else value
    return v is not None and (v >= bound if sign == ">=" else v <= bound)


def rows_of(run, name, found):
    targets = SCENARIOS[name][1]
    figures = list(dict.fromkeys([*found.get("peer", {}), *found.get("brisk", {}), *targets]))
    for figure in figures:
        peer, own = (found.get(side, {}).get(figure) for side in ("peer", "brisk"))
        ratio = own / peer if own is not None and peer else None
        text = verdict = ""
        if figure in targets and "brisk" in found:
            which, sign, bound = targets[figure]
            bound = (3 if re.search("q4_0", run.model, re.I) else 5) if bound == "{Q}" else bound
            text = f"{'ratio ' if which == 'ratio' else ''}{sign} {bound:g}"
            verdict = "met" if met((which, sign, bound), own, ratio) else "missed"
            if which == "ratio" and ratio is None:
                verdict = "no peer"
        yield [name, figure, number(peer), number(own), number(ratio), text, verdict]


def print_table(rows):
    head = ["scenario", "figure", "llama-server", "brisk", "ratio", "target", ""]
    widths = [max(len(r[i]) for r in [head, *rows]) for i in range(len(head))]
    for i, row in enumerate([head, ["-" * w for w in widths], *rows]):
        cells = [c.ljust(w) if k in (0, 1, 5, 6) or i == 1 else c.rjust(w)
                 for k, (c, w) in enumerate(zip(row, widths))]
        print("| " + " | ".join(cells) + " |")


def median_of(rounds):
    """Of each figure over the rounds that have it."""
    keys = dict.fromkeys(k for r in rounds for k in r)
    return {k: statistics.median(r[k] for r in rounds if k in r) for k in keys}


def main():
    p = argparse.ArgumentParser()
    p.add_argument("-m", "--model", required=True)
    p.add_argument("--brisk", required=True)
    p.add_argument("--peer", required=True)
    p.add_argument("--out", required=True)
    p.add_argument("-t", "--threads", type=int, default=2)
    p.add_argument("--rounds", type=int, default=1)
    p.add_argument("--only", choices=["peer", "brisk"])
    p.add_argument("--stand-in", action="store_true")
    p.add_argument("scenarios", nargs="*", metavar="SCENARIO")
    run = p.parse_args()
    unknown = [s for s in run.scenarios if s not in SCENARIOS]
    if unknown:
        p.error(f"no scenario '{unknown[0]}': there are {', '.join(SCENARIOS)}")
    os.makedirs(run.out, exist_ok=True)
    rows = []
    for name in run.scenarios or SCENARIOS:
        found = {}
        for _ in range(run.rounds):
            for side in ("peer", "brisk"):
                if run.only not in (None, side) or (side == "peer" and name in OWN_ONLY):
                    continue
                print(f"{name}: {side}", file=sys.stderr)
                try:
                    found.setdefault(side, []).append(SCENARIOS[name][0](run, side))
                except (Failed, subprocess.TimeoutExpired) as error:
                    sys.exit(f"bench/serve.sh: {error}")
        rows += rows_of(run, name, {side: median_of(r) for side, r in found.items()})
    print_table(rows)
    with open(os.path.join(run.out, "table.json"), "w", encoding="utf-8") as f:
        json.dump(rows, f, indent=1)
    sys.exit(4 if any(r[6] == "missed" for r in rows) else 0)


if __name__ == "__main__":
    main()
