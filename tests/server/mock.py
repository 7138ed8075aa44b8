#!/usr/bin/env python3
"""A stand-in for `brisk serve`, for the test of the chat page: the built-in page from the program
tests/server/assets, and an API whose answers depend on words of the last message. Nothing here
generates anything; the shapes are those of the real server.

    mock.py --assets build/release/tests/server/assets [--port N] [--key KEY]
"""
import argparse
import gzip
import json
import subprocess
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

N_CTX = 8192
XSS = ('Look: <img src=x onerror="window.hacked=1"> and <script>window.hacked=2</script>\n\n'
       '<svg onload="window.hacked=3"></svg>\n\n[link](javascript:window.hacked=4) '
       '<a href="javascript:window.hacked=5">five</a> ![p](http://203.0.113.9/x.png)\n\n'
       '<iframe srcdoc="<script>parent.hacked=6</script>"></iframe><style>body{display:none}</style>\n')
PROSE = """A transformer writes one token at a time, and each of them takes the same three steps.

1. **Look up.** The last token becomes a vector: one row of the embedding table.
2. **Mix and transform.** Every layer lets the vector *attend* to all earlier positions, whose keys and \
values are kept in memory, and then passes it through a feed-forward network.
3. **Choose.** The final vector is compared with every word of the vocabulary, and a sampler picks one.

The chosen token is appended, and the loop starts again:

```python
def generate(model, tokens, n):
    cache = model.new_cache()
    logits = model.forward(tokens, cache)     # the prompt, all at once
    for _ in range(n):
        token = sample(logits, temperature=0.7)
        yield token
        logits = model.forward([token], cache)  # one position
```

| phase | limited by | typical speed |
|---|---|---:|
| prompt | arithmetic | 900 tokens/s |
| answer | memory bandwidth | 180 tokens/s |

> Most of the time of an answer goes into reading weights from memory.
"""
TEXTS = {
    "xss": XSS,
    "short": "Hello! How can I help?",
    "long": PROSE + "\n" + "\n\n".join(f"Paragraph {i} goes on for a while." for i in range(80)),
}


class State:
    """What all requests share: a cache of prompts seen, counters, requests under way."""

    def __init__(self):
        self.lock = threading.Lock()
        self.prompts = []
        self.requests = {}
        self.number = 0
        self.counters = dict(generated=0, asked=0, hit=0, cancelled=0)

    def match(self, tokens):
        with self.lock:
            best = 0
            for old in self.prompts:
                n = 0
                while n < min(len(old), len(tokens)) and old[n] == tokens[n]:
                    n += 1
                best = max(best, n)
            best = min(best, len(tokens) - 1)
            self.counters["asked"] += len(tokens)
            self.counters["hit"] += best
            return best

    def keep(self, tokens):
        with self.lock:
            self.prompts = self.prompts[-20:] + [tokens]


def tokens_of(messages):
    """About four characters each; equal beginnings give equal tokens."""
    out = []
    for m in messages:
        text = f"<{m['role']}>{m.get('content') or ''}"
        out += [text[i:i + 4] for i in range(0, len(text), 4)]
    return out


class Gone(Exception):
    pass


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def reply(self, code, body, kind="application/json", headers=()):
        data = body if isinstance(body, bytes) else (
            body if isinstance(body, str) else json.dumps(body)).encode()
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        if data:
            self.wfile.write(data)

    def refuse(self, code, message, headers=()):
        self.reply(code, {"error": {"message": message, "type": "invalid_request_error",
                                    "param": None, "code": None}}, headers=headers)

    def allowed(self):
        key = self.server.key
        if not key or self.headers.get("Authorization") == f"Bearer {key}":
            return True
        self.refuse(401, "This server needs an API key: send it as Authorization: Bearer KEY.")
        return False

    def do_GET(self):
        path = self.path.split("?")[0]
        if path in self.server.assets:
            return self.asset(self.server.assets[path])
        api = {"/props": self.props, "/v1/requests": self.requests, "/metrics": self.metrics,
               "/v1/models": self.models}.get(path)
        if not api:
            return self.refuse(404, f"There is no {path} here.")
        if self.allowed():
            api()

    def asset(self, a):
        packed = a["gz"] is not None and "gzip" in self.headers.get("Accept-Encoding", "")
        tag = a["gz_tag"] if packed else a["tag"]
        headers = [("ETag", tag), ("Cache-Control", "no-cache"), ("Vary", "Accept-Encoding"),
                   ("Content-Security-Policy", self.server.policy),
                   ("X-Content-Type-Options", "nosniff")]
        if self.headers.get("If-None-Match") == tag:
            return self.reply(304, b"", a["type"], headers)
        if packed:
            headers.append(("Content-Encoding", "gzip"))
        self.reply(200, a["gz"] if packed else a["data"], a["type"], headers)

    def models(self):
        self.reply(200, {"object": "list", "data": [{
            "id": "smollm2-135m", "object": "model", "owned_by": "brisk",
            "meta": {"architecture": "llama", "quant": "Q4_1", "n_params": 134515008}}]})

    def props(self):
        mib = 1 << 20
        state = self.server.state
        running = len(state.requests)
        self.reply(200, {
            "model_alias": "smollm2-135m", "build_info": "0.1.0", "total_slots": 16,
            "default_generation_settings": {"n_ctx": N_CTX}, "chat_template": "{{ messages }}",
            "engine": {"running": running, "waiting": 0, "queue_max": 64, "queue_seconds": 0,
                       "itl_budget_ms": 62, "decode_per_second": 80,
                       "cache_asked_tokens": state.counters["asked"],
                       "cache_hit_tokens": state.counters["hit"]},
            "memory": {"limit": 772 * mib, "weights": 94 * mib, "kv_limit": 640 * mib,
                       "kv_used": (172 + 12 * running) * mib, "cached": 172 * mib,
                       "scratch": 38 * mib}})

    def requests(self):
        now = time.monotonic()
        with self.server.state.lock:
            data = [dict(r, age_ms=1000 * (now - r["began"])) for r in
                    self.server.state.requests.values()]
        self.reply(200, {"object": "list", "data": data})

    def metrics(self):
        state = self.server.state
        c = state.counters
        buckets = [(0.02, 700), (0.05, 990), (0.1, 1000), ("+Inf", 1000)]
        lines = ["# HELP brisk_num_requests_running Requests under way",
                 "# TYPE brisk_num_requests_running gauge",
                 f'brisk_num_requests_running{{model="smollm2-135m"}} {len(state.requests)}',
                 'brisk_num_requests_waiting{model="smollm2-135m"} 0',
                 f'brisk_generation_tokens_total{{model="smollm2-135m"}} {c["generated"]}',
                 f'brisk_prefix_cache_queries_total {c["asked"]}',
                 f'brisk_prefix_cache_hits_total {c["hit"]}']
        for name in ("time_to_first_token", "inter_token_latency"):
            lines += [f'brisk_{name}_seconds_bucket{{le="{le}"}} {n}' for le, n in buckets]
        self.reply(200, "\n".join(lines) + "\n", "text/plain; version=0.0.4")

    def do_POST(self):
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.path != "/v1/chat/completions":
            return self.refuse(404, f"There is no {self.path} here.")
        if not self.allowed():
            return
        body = json.loads(raw)
        words = body["messages"][-1]["content"].lower().split()
        if "overflow" in words:
            return self.refuse(400, f"The prompt has 9,001 tokens; the context holds {N_CTX}.")
        if "busy" in words:
            return self.refuse(429, "The queue is full.", [("Retry-After", "7")])
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        state = self.server.state
        with state.lock:
            state.number += 1
            number = state.number
        self.server.bodies.append(body)
        try:
            self.answer(body, words, number)
        except (Gone, OSError):
            state.counters["cancelled"] += 1
        finally:
            with state.lock:
                state.requests.pop(number, None)

    def send(self, record):
        text = record if isinstance(record, str) else json.dumps(record)
        self.wfile.write(f"data: {text}\n\n".encode())
        self.wfile.flush()

    def chunk(self, delta, finish=None):
        self.send({"object": "chat.completion.chunk",
                   "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
                   "usage": None})

    def answer(self, body, words, number):
        prompt = tokens_of(body["messages"])
        extra = 1800 if "big" in words else 0
        n_prompt = len(prompt) + extra
        record = {"id": f"req-{number}", "phase": "queued", "prompt_tokens": n_prompt,
                  "computed_tokens": 0, "cached_tokens": 0, "generated_tokens": 0,
                  "began": time.monotonic()}
        with self.server.state.lock:
            self.server.state.requests[number] = record
        start = time.monotonic()
        time.sleep(0.03)
        queue_ms = 1000 * (time.monotonic() - start)
        cached = self.server.state.match(prompt)
        record.update(phase="prefill", cached_tokens=cached)
        began = time.monotonic()
        step = 64
        for done in range(cached, n_prompt + step, step):
            if body.get("return_progress"):
                self.send({"choices": [], "prompt_progress": {
                    "total": n_prompt, "cache": cached, "processed": min(done, n_prompt),
                    "time_ms": 1000 * (time.monotonic() - began)}})
            time.sleep(0.06)
        prompt_ms = 1000 * (time.monotonic() - began)
        record["phase"] = "decode"
        self.chunk({"role": "assistant", "content": ""})
        self.decode(body, words, record, dict(n_prompt=n_prompt, cached=cached, start=start,
                                              queue_ms=queue_ms, prompt_ms=prompt_ms))

    def pieces(self, words, number):
        if "think" in words:
            for p in "The user wants me to think. So I think for a moment and then answer.".split(" "):
                yield {"reasoning_content": p + " "}
        if "tool" in words:
            yield {"tool_calls": [{"index": 0, "id": "call_1", "type": "function",
                                   "function": {"name": "get_weather", "arguments": ""}}]}
            for p in ('{"ci', 'ty": "Ly', 'on", "unit"', ': "celsius"}'):
                yield {"tool_calls": [{"index": 0, "function": {"arguments": p}}]}
            return
        text = next((TEXTS[w] for w in words if w in TEXTS), PROSE)
        if "version" in words:
            text = f"This is answer number {number}."
        start = 0
        for i in range(1, len(text) + 1):
            if i == len(text) or (text[i] in " \n" and i - start > 1) or i - start == 7:
                yield {"content": text[start:i]}
                start = i

    def decode(self, body, words, record, m):
        slow = 0.12 if "slow" in words else 0.012
        gaps, last, first, text = [], None, None, ""
        n, limit = 0, body.get("max_tokens") or 100000
        finish = "tool_calls" if "tool" in words else "stop"
        for delta in self.pieces(words, int(record["id"][4:])):
            time.sleep(slow * (1 + 0.25 * ((n * 7919) % 11) / 11) + (0.06 if n == 83 else 0))
            self.chunk(delta)
            text += delta.get("content", "")
            now = time.monotonic()
            if last is None:
                first = now
            else:
                gaps.append(1000 * (now - last))
            last = now
            n += 1
            record["generated_tokens"] = n
            self.server.state.counters["generated"] += 1
            if "fail" in words and n == 5:
                self.send({"error": {"message": "The model ran out of memory pages.",
                                     "type": "server_error"}})
                return
            if n >= limit:
                finish = "length"
                break
        self.server.state.keep(tokens_of([*body["messages"], {"role": "assistant", "content": text}]))
        self.chunk({}, finish)
        self.last_chunk(body, m, n, gaps, first, last)

    def last_chunk(self, body, m, n, gaps, first, last):
        order = sorted(gaps) or [0]
        decode_ms = 1000 * (last - first)
        usage = {"prompt_tokens": m["n_prompt"], "completion_tokens": n,
                 "total_tokens": m["n_prompt"] + n,
                 "prompt_tokens_details": {"cached_tokens": m["cached"]}}
        timings = {"cache_n": m["cached"], "prompt_n": m["n_prompt"] - m["cached"],
                   "prompt_ms": m["prompt_ms"], "queue_ms": m["queue_ms"],
                   "predicted_n": n, "predicted_ms": decode_ms,
                   "predicted_per_second": 1000 * (n - 1) / max(1, decode_ms),
                   "ttft_ms": 1000 * (first - m["start"]), "itl_p50_ms": order[len(order) // 2],
                   "itl_p99_ms": order[len(order) * 99 // 100], "itl_max_ms": order[-1]}
        if (body.get("stream_options") or {}).get("include_usage"):
            self.send({"choices": [], "usage": usage, "timings": timings,
                       "cache": {"matched": m["cached"], "source": "memory" if m["cached"] else "none"}})
        self.send("[DONE]")


def read_assets(program):
    """What tests/server/assets writes: {path: file}, and the policy."""
    with tempfile.TemporaryDirectory() as folder:
        out = subprocess.run([program, folder], check=True, capture_output=True, text=True).stdout
        *lines, policy = out.splitlines()
        assets = {}
        for line in lines:
            n, path, kind, tag, gz_tag = line.split("\t")
            gz = Path(folder, n + ".gz")
            packed = gz.read_bytes() if gz_tag != "-" else None
            data = Path(folder, n).read_bytes()
            if packed is not None and gzip.decompress(packed) != data:
                sys.exit(f"mock: {path}: the compressed form is not the file")
            assets[path] = dict(type=kind, tag=tag, gz_tag=gz_tag, data=data, gz=packed)
    return assets, policy


def start(program, port=0, key=None):
    """Starts the server on a thread; the result has server_port, bodies (requests seen) and state."""
    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    server.assets, server.policy = read_assets(program)
    server.state, server.key, server.bodies = State(), key, []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--assets", required=True)
    p.add_argument("--port", type=int, default=0)
    p.add_argument("--key")
    args = p.parse_args()
    server = start(args.assets, args.port, args.key)
    print(f"http://127.0.0.1:{server.server_port}/", flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main()
