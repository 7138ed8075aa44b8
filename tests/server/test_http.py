#!/usr/bin/env python3
"""The server below its API: messages that are broken, slow or hostile, clients that leave at every
point, keys, hosts and origins, draining, TLS.

BRISK names the program (build/brisk), BRISK_TEST_MODEL the default model's file. Needs nothing but
Python's own library, and openssl for a certificate.
"""
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from server import BRISK, MODEL, Server, insecure_tls, need_model, post_bytes, read_all  # noqa: E402

CHAT = "/v1/chat/completions"
HELLO = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 3, "temperature": 0}
GET = b"GET /health HTTP/1.1\r\nHost: localhost\r\n"


class Case(unittest.TestCase):
    args = []

    @classmethod
    def setUpClass(cls):
        cls.server = Server(*cls.args)

    @classmethod
    def tearDownClass(cls):
        cls.server.stop()

    def alive(self):
        self.assertEqual(self.server.get("/health").status, 200)

    def status(self, data, wanted, half_close=False):
        """The first status line that comes back; the server must close after a broken message."""
        answer = self.server.raw(data, half_close)
        self.assertTrue(answer.startswith(b"HTTP/1.1 %d " % wanted), (data[:200], answer[:300]))
        return answer

    def refused(self, path, body, param, code=None, status=400):
        r = self.server.post(path, body)
        self.assertEqual(r.status, status, r.body)
        self.assertEqual(r.error["param"], param, r.body)
        if code:
            self.assertEqual(r.error["code"], code, r.body)
        if param:
            self.assertIn(param.split("[")[0], r.error["message"])
        return r.error


class Messages(Case):
    def test_routes(self):
        for path in ("/health", "/v1/health", "/ping"):
            self.assertEqual(self.server.get(path).json, {"status": "ok"})
        models = self.server.get("/v1/models").json
        self.assertEqual(models["object"], "list")
        model = models["data"][0]
        self.assertEqual((model["object"], model["meta"]["n_vocab"]), ("model", 49152))
        self.assertEqual(self.server.get("/v1/models/" + model["id"]).json["id"], model["id"])
        self.assertEqual(self.server.get("/v1/models/nobody").error["code"], "model_not_found")
        self.assertEqual(self.server.get("/nowhere").error["code"], "unknown_url")
        self.assertEqual(self.server.post("/nowhere", {}).status, 404)
        self.assertIn("version", self.server.get("/version").json)
        self.assertGreater(self.server.get("/props").json["memory"]["weights"], 50e6)

    def test_methods(self):
        r = self.server.get(CHAT)
        self.assertEqual((r.status, r.headers["allow"]), (405, "POST"))
        r = self.server.post("/v1/models", {})
        self.assertEqual((r.status, r.headers["allow"]), (405, "GET, HEAD"))
        self.assertEqual(self.server.ask("DELETE", "/v1/models").status, 405)
        r = self.server.ask("HEAD", "/v1/models")
        self.assertEqual((r.status, r.body), (200, b""))
        self.assertGreater(int(r.headers["content-length"]), 100)
        self.status(b"BREW / HTTP/1.1\r\nHost: localhost\r\n\r\n", 501)

    def test_request_id(self):
        r = self.server.ask("GET", "/health", headers={"X-Request-Id": "abc-1"})
        self.assertEqual(r.headers["x-request-id"], "abc-1")
        for bad in ("a" * 100, 'a"b', "a b"):
            r = self.server.ask("GET", "/health", headers={"X-Request-Id": bad})
            self.assertRegex(r.headers["x-request-id"], r"^[0-9a-f]{16}$")

    def test_http10(self):
        answer = self.status(b"GET /health HTTP/1.0\r\n\r\n", 200)
        self.assertTrue(answer.endswith(b'\r\n\r\n{"status":"ok"}'), answer)
        body = json.dumps({**HELLO, "stream": True}).encode()
        answer = self.status(b"POST %s HTTP/1.0\r\nContent-Type: application/json\r\n"
                             b"Content-Length: %d\r\n\r\n%s" % (CHAT.encode(), len(body), body), 200)
        self.assertNotIn(b"chunked", answer)
        self.assertTrue(answer.endswith(b"\n\ndata: [DONE]\n\n"), answer)

    def test_pipelined(self):
        answer = self.server.raw(GET + b"\r\n" + GET.replace(b"health", b"nix") + b"\r\n" +
                                 post_bytes(CHAT, HELLO) + GET + b"Connection: close\r\n\r\n")
        statuses = re.findall(rb"HTTP/1.1 (\d+) ", answer)
        self.assertEqual(statuses, [b"200", b"404", b"200", b"200"], answer)

    def test_pieces(self):
        """One byte at a time."""
        with self.server.socket() as s:
            for byte in post_bytes("/tokenize", {"content": "Hello"}, "Connection: close"):
                s.sendall(bytes([byte]))
            self.assertIn(b'{"tokens":[19556]', read_all(s))

    def test_half_closed(self):
        """A script that shuts its end after a question that needs no engine gets its answer."""
        self.status(GET + b"\r\n", 200, half_close=True)

    def test_chunked(self):
        body = json.dumps({"content": "Hello"}).encode()
        head = (b"POST /tokenize HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n")
        good = b"5;name=x\r\n" + body[:5] + b"\r\n%X\r\n" % (len(body) - 5) + body[5:] + b"\r\n0\r\n"
        self.assertIn(b"19556", self.status(head + good + b"\r\n", 200))
        self.assertIn(b"19556", self.status(head + good + b"Trailer: 1\r\n\r\n", 200))
        for bad in (b"-5\r\n", b"0x5\r\n", b"\r\n", b"g\r\n", b"5\n", b"5\r\nabcdefgh\r\n",
                    b"fffffffffffffffff\r\n", b"+5\r\n", b" 5\r\n"):
            self.status(head + bad, 400)
        self.status(head.replace(b"chunked\r", b"gzip, chunked\r") + good + b"\r\n", 501)

    def test_continue(self):
        with self.server.socket() as s:
            message = post_bytes("/tokenize", {"content": "Hello"}, "Expect: 100-continue",
                                 "Connection: close")
            head, body = message.split(b"\r\n\r\n")
            s.sendall(head + b"\r\n\r\n")
            self.assertEqual(s.recv(100), b"HTTP/1.1 100 Continue\r\n\r\n")
            s.sendall(body)
            self.assertIn(b"19556", read_all(s))
        refused = post_bytes("/nowhere", b"x" * 100, "Expect: 100-continue")
        self.status(refused.split(b"\r\n\r\n")[0] + b"\r\n\r\n", 404)
        self.status(GET + b"Expect: tea\r\n\r\n", 417)


class Broken(Case):
    def test_heads(self):
        for data in (b"GET /health HTTP/1.1\r\n\r\n",  # no Host
                     b"GET /health\r\n\r\n", b"GET  /health HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x00\r\n\r\n",
                     b"GET health HTTP/1.1\r\nHost: localhost\r\n\r\n",
                     b"GET /%zz HTTP/1.1\r\nHost: localhost\r\n\r\n",
                     b"GET /%00 HTTP/1.1\r\nHost: localhost\r\n\r\n",
                     GET.replace(b"\r\n", b"\n") + b"\n",  # bare LF
                     GET + b"A: b\r\n c\r\n\r\n",  # folded
                     GET + b"A : b\r\n\r\n", GET + b": b\r\n\r\n", GET + b"A\r\n\r\n",
                     GET + b"A: \x00\r\n\r\n", GET + b"A: \x01\r\n\r\n", GET + b"A: \x7f\r\n\r\n",
                     GET + b"Host: localhost\r\n\r\n",  # twice
                     GET + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
                     GET + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\n",
                     GET + b"Content-Length: -1\r\n\r\n", GET + b"Content-Length: +1\r\n\r\n",
                     GET + b"Content-Length: 1e3\r\n\r\n", GET + b"Content-Length: \r\n\r\n",
                     GET + b"Content-Length: 99999999999999999999\r\n\r\n",
                     GET + b"Authorization: Bearer a\r\nAuthorization: Bearer b\r\n\r\n"):
            answer = self.status(data, 400)
            self.assertIn(b'"type":"invalid_request_error"', answer)
        self.status(b"GET / HTTP/2.0\r\nHost: localhost\r\n\r\n", 505)
        self.status(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 501)
        self.status(GET + b"Content-Encoding: gzip\r\nContent-Length: 1\r\n\r\nx", 415)
        self.alive()

    def test_sizes(self):
        self.status(GET + b"A: " + b"x" * 20000 + b"\r\n\r\n", 431)
        self.status(GET + b"A: b\r\n" * 200 + b"\r\n", 431)
        self.status(b"GET /" + b"x" * 20000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", 414)
        head = b"POST /tokenize HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        self.status(head + b"Content-Length: 9000000\r\n\r\n", 413)  # at once
        answer = self.status(head + b"Transfer-Encoding: chunked\r\n\r\n" +
                             (b"10000\r\n" + b"x" * 65536 + b"\r\n") * 130, 413)
        self.assertIn(b"too large", answer)
        self.alive()

    def test_json(self):
        for body in (b"", b"{", b"[]", b"null", b'"x"', b"{} {}", b"\xff", b'{"messages": [1e999]}',
                     b'{"prompt": "\xc3"}', b'{"prompt": "\\ud800"}', b"[" * 100000, b'{"a":' * 100000,
                     b'{"prompt": NaN}'):
            started = time.time()
            r = self.server.post("/v1/completions", body)
            self.assertEqual(r.status, 400, body[:50])
            self.assertIn(r.error["code"], ("invalid_json", "invalid_utf8", "invalid_type"), r.body)
            self.assertLess(time.time() - started, 10)
        r = self.server.ask("POST", CHAT, json.dumps(HELLO).encode(), {"Content-Type": "text/plain"})
        self.assertEqual(r.status, 415)
        self.alive()

    def test_fields(self):
        def chat(**fields):
            return {**HELLO, **fields}
        for field, values in {
                "temperature": [-1, "hot", 1e9, [], True], "top_p": [-0.1, 1.1, "x"],
                "max_tokens": [-2, 1.5, "3", 1e300, 2**62], "n": [0, -1, 10**6, 1.5, "2"],
                "seed": ["x", 1.5], "top_logprobs": [-1, 21, "5"],
                "stop": [5, {}, [1]], "logit_bias": [[], {"x": 1}, {"0": "a"}, {"99999999": 1}],
                "stream": ["yes", 1], "stream_options": ["x"], "messages": ["x", 5, {}],
                "presence_penalty": ["x", 1000], "tools": ["x"], "priority": ["x", 1000]}.items():
            for value in values:
                error = self.refused(CHAT, chat(logprobs=True, **{field: value}), None or
                                     self.named(field, value))
                self.assertIn(error["code"], ("invalid_type", "invalid_value", "missing_field"), error)
        self.refused(CHAT, {}, "messages")
        self.refused(CHAT, {"messages": []}, "messages")
        self.refused("/v1/completions", {}, "prompt")
        for prompt in ([-1], [2**40], [49152], [1.5], {}, 5, [[]], []):
            r = self.server.post("/v1/completions", {"prompt": prompt, "max_tokens": 1})
            self.assertEqual(r.status, 400, (prompt, r.body))
            self.assertTrue(r.error["param"].startswith("prompt"), r.body)
        self.refused("/v1/embeddings", {}, "input")
        self.refused("/tokenize", {"content": 5}, "prompt")
        self.refused("/detokenize", {"tokens": [-1]}, "tokens")
        self.refused("/detokenize", {"tokens": "x"}, "tokens")
        self.alive()

    def named(self, field, value):
        """Which name an error has: that of an element where one is wrong."""
        if field == "logit_bias" and isinstance(value, dict):
            return f"logit_bias.{next(iter(value))}"
        if field == "stop" and isinstance(value, list):
            return "stop[0]"
        return field

    def test_constraints(self):
        """Never an unconstrained answer to a constrained question."""
        for fields in ({"response_format": {"type": "json_object"}},
                       {"response_format": {"type": "json_schema", "json_schema": {"name": "x"}}},
                       {"grammar": "root ::= x"}, {"guided_json": {}}):
            r = self.server.post(CHAT, {**HELLO, **fields})
            self.assertEqual(r.status, 400, r.body)
            self.assertTrue(r.error["param"].startswith(next(iter(fields))), r.body)
        ok = self.server.post(CHAT, {**HELLO, "response_format": {"type": "text"}, "stop": None})
        self.assertEqual(ok.status, 200, ok.body)

    def test_overflow(self):
        r = self.server.post(CHAT, {"messages": [{"role": "user", "content": "word " * 9000}]})
        self.assertEqual((r.status, r.error["code"]), (400, "context_length_exceeded"), r.body)
        self.assertIn("maximum context length is 8192 tokens", r.error["message"])
        self.assertEqual(r.error["n_ctx"], 8192)
        self.assertGreater(r.error["n_prompt_tokens"], 9000)


class Slow(Case):
    def test_slow_clients(self):
        """Heads and bodies that drip are given up after their time; others notice nothing."""
        drips = []
        for i in range(200):
            s = self.server.socket()
            s.sendall(GET if i % 2 else post_bytes(CHAT, HELLO)[:-5])
            drips.append(s)
        started = time.time()
        worst = 0
        while time.time() - started < 12:
            asked = time.time()
            self.alive()
            worst = max(worst, time.time() - asked)
            for s in drips[::20]:
                try:
                    s.sendall(b"X")
                except OSError:
                    pass
            time.sleep(0.5)
        self.assertLess(worst, 0.5)
        for s in drips:
            s.settimeout(5)
            answer = read_all(s)
            self.assertTrue(answer == b"" or answer.startswith(b"HTTP/1.1 40"), answer)
            s.close()
        self.assertIn(b" 408 ", answer)

    def test_idle_connections(self):
        """A thousand connections that wait between requests are cheap."""
        def connect():
            s = self.server.socket()
            s.sendall(GET + b"\r\n")
            return s
        warm = [connect() for _ in range(50)]
        for s in warm:
            s.recv(1000)
        before = self.server.rss()
        idle = [connect() for _ in range(1000)]
        for s in idle:
            self.assertTrue(s.recv(1000).startswith(b"HTTP/1.1 200"))
        each = (self.server.rss() - before) / 1000
        print(f"idle connection: {each / 1000:.1f} kB")
        self.assertLess(each, 20000)
        for s in warm + idle:
            s.close()
        self.alive()

    def test_slow_reader(self):
        """A client that does not read loses its connection; the others' streams go on."""
        body = {"prompt": "Tell", "max_tokens": 6000, "ignore_eos": True, "stream": True, "n": 4,
                "logprobs": 20, "temperature": 0}
        with socket.socket() as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            s.connect(("127.0.0.1", self.server.port))
            s.sendall(post_bytes("/v1/completions", body))
            end = time.time() + 60
            while time.time() < end and not self.server.requests()["data"]:
                time.sleep(0.01)
            while time.time() < end and self.server.requests()["engine_requests"] > 0:
                r = self.server.post(CHAT, HELLO)
                self.assertEqual(r.status, 200)
            self.assertEqual(self.server.requests()["engine_requests"], 0)
        self.alive()


class Leaving(Case):
    args = ["-np", "2"]
    LONG = {"messages": [{"role": "user", "content": "word " * 6000}], "max_tokens": 5}
    ENDLESS = {**HELLO, "max_tokens": 8000, "ignore_eos": True}

    def phase(self, wanted, seconds=20):
        end = time.time() + seconds
        while time.time() < end:
            data = self.server.requests()["data"]
            if any(x["phase"] == wanted for x in data):
                return
            time.sleep(0.005)
        self.fail(f"no request reached {wanted}: {data}")

    def freed(self, more_than=0):
        """Seconds until the engine has no more than so many requests."""
        started = time.time()
        while self.server.requests()["engine_requests"] > more_than:
            if time.time() - started > 10:
                self.fail("the request goes on without its client")
            time.sleep(0.002)
        return time.time() - started

    def leave(self, how, message, phase, others=0):
        with self.server.socket() as s:
            s.sendall(message)
            self.phase(phase)
            if how == "reset":
                s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            elif how == "half":
                s.shutdown(socket.SHUT_WR)
            elif how == "pipelined":
                s.sendall(GET + b"\r\n")
                time.sleep(0.05)
                self.assertGreater(self.server.requests()["engine_requests"], others,
                                   "a second request is not a leave")
            if how != "half":
                s.close()
            return self.freed(others)

    def best(self, *args, **kw):
        """The best of a few: what is left would take many seconds, so a second on a busy machine
        still says that it ended at once. bench/serve.sh has the figure."""
        times = []
        for _ in range(5):
            times.append(self.leave(*args, **kw))
            if times[-1] <= 1:
                return
        self.fail(f"the place was freed after {times} s")

    def test_decode(self):
        for stream in (False, True):
            for how in ("close", "reset", "half", "pipelined"):
                with self.subTest(stream=stream, how=how):
                    self.best(how, post_bytes(CHAT, {**self.ENDLESS, "stream": stream}), "decode")

    def test_prefill(self):
        for stream in (False, True):
            for how in ("close", "half"):
                with self.subTest(stream=stream, how=how):
                    body = {**self.LONG, "stream": stream, "cache_prompt": False}
                    self.best(how, post_bytes(CHAT, body), "prefill")

    def test_queue(self):
        with self.server.socket() as a, self.server.socket() as b:
            for s in (a, b):
                s.sendall(post_bytes(CHAT, self.ENDLESS))
            while self.server.requests()["running"] < 2:
                time.sleep(0.01)
            for stream in (False, True):
                for how in ("close", "half"):
                    with self.subTest(stream=stream, how=how):
                        self.best(how, post_bytes(CHAT, {**HELLO, "stream": stream}), "queue", others=2)
        self.freed()

    def test_choices(self):
        """All choices of a request end."""
        self.best("close", post_bytes(CHAT, {**self.ENDLESS, "n": 4}), "decode")

    def test_cancel(self):
        with self.server.socket() as s:
            s.sendall(post_bytes(CHAT, {**self.ENDLESS, "stream": True}, "X-Request-Id: stop-me",
                                 "Connection: close"))
            self.phase("decode")
            self.assertEqual(self.server.post("/v1/requests/nobody/cancel", {}).status, 404)
            self.assertEqual(self.server.post("/v1/requests/stop-me/cancel", {}).status, 200)
            self.freed()
            answer = read_all(s)
        self.assertIn(b'"code":"cancelled"', answer)
        self.assertNotIn(b"[DONE]", answer)


class Pings(Case):
    args = ["--sse-ping-interval", "0.2"]

    def stream(self, **more):
        body = {"messages": [{"role": "user", "content": "word " * 5000}], "max_tokens": 2,
                "stream": True, "cache_prompt": False, **more}
        with self.server.socket() as s:
            s.sendall(post_bytes(CHAT, body, "Connection: close"))
            sent = time.time()
            first = s.recv(4096)
            self.assertLess(time.time() - sent, 3)
            self.assertIn(b"text/event-stream", first)
            answer = first + read_all(s)
        self.assertNotIn(b"\nid:", answer)
        return answer

    def test_ping(self):
        """A stream with a long prompt is not silent; heads come at once; no id: lines."""
        self.assertTrue(b": ping\n\n" in self.stream(), "no ping in seconds of prefill")

    def test_progress(self):
        self.assertTrue(b'"prompt_progress":{"total":' in self.stream(return_progress=True))


class Keys(Case):
    args = ["--api-key", "one", "--api-key", "two words"]

    def test_keys(self):
        self.assertEqual(self.server.get("/health").status, 200)
        self.assertEqual(self.server.get("/").status, 200)
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Bearer "},
                        {"Authorization": "Basic one"}, {"Authorization": "one"},
                        {"Authorization": "Bearer on"}, {"Authorization": "Bearer onee"},
                        {"x-api-key": "ONE"}, {"x-api-key": ""}):
            for path in ("/v1/models", "/props", "/v1/requests", "/v1//models/../models"):
                r = self.server.ask("GET", path, headers=headers)
                self.assertEqual(r.status, 401 if path != "/v1//models/../models" else r.status)
                if r.status == 401:
                    self.assertEqual(r.error["code"], "invalid_api_key")
                    self.assertEqual(r.headers["www-authenticate"], "Bearer")
        for headers in ({"Authorization": "Bearer one"}, {"Authorization": "bearer  one"},
                        {"x-api-key": "two words"}):
            self.assertEqual(self.server.ask("GET", "/v1/models", headers=headers).status, 200)
        self.assertEqual(self.server.post(CHAT, HELLO).status, 401)
        log = self.server.output()
        self.assertNotIn("two words", log)
        self.assertNotIn("Hello", log)

    def test_others_requests(self):
        """One key does not see another's requests."""
        body = {**HELLO, "max_tokens": 4000, "ignore_eos": True}
        with self.server.socket() as s:
            s.sendall(post_bytes(CHAT, body, "Authorization: Bearer one", "X-Request-Id: mine"))
            mine, other = {"x-api-key": "one"}, {"x-api-key": "two words"}
            while not self.server.ask("GET", "/v1/requests", headers=mine).json["data"]:
                time.sleep(0.01)
            self.assertEqual(self.server.ask("GET", "/v1/requests", headers=other).json["data"], [])
            r = self.server.ask("POST", "/v1/requests/mine/cancel", {}, other)
            self.assertEqual(r.status, 404)

    def test_tenants(self):
        """One key's cached prompts are not found by another's requests."""
        body = {"messages": [{"role": "user", "content": "A secret prompt. " * 30}], "max_tokens": 1}

        def cached(key):
            r = self.server.ask("POST", CHAT, body, {"x-api-key": key})
            return r.json["usage"]["prompt_tokens_details"]["cached_tokens"]
        self.assertLess(cached("one"), 40)  # of the system prompt of earlier tests
        self.assertGreater(cached("one"), 100)
        self.assertLess(cached("two words"), 40)


class Browsers(Case):
    args = ["--cors-origins", "https://a.example,https://b.example"]

    def test_host(self):
        for host, wanted in (("localhost", 200), ("LOCALHOST:1", 200), ("127.0.0.1:8080", 200),
                             ("[::1]:80", 200), ("evil.example", 403), ("127.0.0.1.evil.example", 403),
                             ("localhost.evil.example", 403), ("", 403)):
            answer = self.server.raw(b"GET /v1/models HTTP/1.1\r\nConnection: close\r\nHost: " +
                                     host.encode() + b"\r\n\r\n")
            self.assertTrue(answer.startswith(b"HTTP/1.1 %d" % wanted), (host, answer))

    def test_origin(self):
        for origin, wanted in ((f"http://127.0.0.1:{self.server.port}", 200), ("null", 403),
                               ("https://a.example", 200), ("https://b.example", 200),
                               ("https://c.example", 403), ("http://a.example", 403)):
            r = self.server.ask("POST", CHAT, HELLO, {"Origin": origin})
            self.assertEqual(r.status, wanted, origin)
            allowed = r.headers.get("access-control-allow-origin")
            self.assertEqual(allowed, origin if "b.ex" in origin or "//a.ex" in origin and
                             wanted == 200 else None)

    def test_preflight(self):
        asked = {"Access-Control-Request-Method": "POST",
                 "Access-Control-Request-Headers": "authorization,content-type"}
        r = self.server.ask("OPTIONS", CHAT, headers={"Origin": "https://a.example", **asked})
        self.assertEqual(r.status, 204)
        self.assertEqual(r.headers["access-control-allow-headers"], "authorization,content-type")
        r = self.server.ask("OPTIONS", CHAT, headers={"Origin": "https://evil.example", **asked})
        self.assertEqual(r.status, 403)
        self.assertNotIn("access-control-allow-origin", r.headers)


class Life(unittest.TestCase):
    def start(self, *args):
        server = Server(*args)
        self.addCleanup(server.stop, signal.SIGKILL)
        return server

    def refused(self, *args, says):
        r = subprocess.run([BRISK, "serve", "-m", MODEL, *args], capture_output=True, timeout=60,
                           check=False)
        self.assertEqual(r.returncode, 1, r.stderr)
        self.assertRegex(r.stderr.decode(), r"^brisk: [^\n]+\n$")
        self.assertIn(says, r.stderr.decode())

    def test_refusals(self):
        self.refused("--host", "0.0.0.0", says="--insecure")
        self.refused("--port", "0", "--ssl-cert-file", "x", says="go together")
        self.refused("--mem-limit", "much", says="--mem-limit")
        self.refused("--no-such", says="--no-such")
        self.refused("--prot", "5", says="--port")
        self.refused("--api-key-file", "/nonexistent", says="/nonexistent")
        self.refused("--api-key", "", says="empty")
        self.refused("--host", "no.such.host.invalid", says="no.such.host.invalid")

    def test_busy_port(self):
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            s.listen()
            self.refused("--port", str(s.getsockname()[1]), says="in use")

    def test_loading(self):
        with Server(wait=False) as server:
            r = server.get("/health")
            if r.status == 503:  # it may be there already
                self.assertEqual(r.json["error"]["type"], "unavailable_error")
                r = server.post(CHAT, HELLO)
                self.assertIn(r.status, (503, 200))
                if r.status == 503:
                    self.assertEqual(r.headers["retry-after"], "1")
            server.until("^ready$")
            self.assertEqual(server.get("/health").status, 200)

    def test_bad_model(self):
        r = subprocess.run([BRISK, "serve", "-m", "/etc/hostname", "--port", "0"], capture_output=True,
                           timeout=60, check=False)
        self.assertEqual(r.returncode, 1, r.stderr)
        self.assertIn("brisk: ", r.stderr.decode())

    def test_drain(self):
        """The running answer is finished, new ones are refused, the exit status is 0."""
        body = {**HELLO, "max_tokens": 300, "ignore_eos": True, "stream": True}
        server = self.start()
        with server.socket() as s:
            s.sendall(post_bytes(CHAT, body))
            while not server.requests()["data"]:
                time.sleep(0.01)
            server.process.send_signal(signal.SIGTERM)
            server.until("are finished")
            self.assertEqual(server.get("/health").status, 503)
            r = server.post(CHAT, HELLO)
            self.assertEqual((r.status, r.error["code"]), (503, "draining"))
            self.assertIn("retry-after", r.headers)
            self.assertTrue(read_all(s).endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n"))
        self.assertEqual(server.process.wait(20), 0)

    def test_drain_ends(self):
        """What is not finished in time ends with an error event."""
        server = self.start("--drain-seconds", "0.3")
        body = {**HELLO, "max_tokens": 8000, "ignore_eos": True, "stream": True}
        with server.socket() as s:
            s.sendall(post_bytes(CHAT, body))
            while not server.requests()["data"]:
                time.sleep(0.01)
            server.process.send_signal(signal.SIGINT)
            answer = read_all(s)
        self.assertIn(b'"code":"draining"', answer)
        self.assertNotIn(b"[DONE]", answer)
        self.assertEqual(server.process.wait(20), 0)

    def test_second_signal(self):
        server = self.start()
        body = {**HELLO, "max_tokens": 8000, "ignore_eos": True, "stream": True}
        with server.socket() as s:
            s.sendall(post_bytes(CHAT, body))
            while not server.requests()["data"]:
                time.sleep(0.01)
            server.process.send_signal(signal.SIGTERM)
            server.until("second signal")
            server.process.send_signal(signal.SIGTERM)
            self.assertEqual(server.process.wait(2), 1)

    def test_descriptors(self):
        """With no descriptor left, connections are turned away and the server goes on."""
        server = self.start()
        subprocess.run(["prlimit", f"--pid={server.process.pid}", "--nofile=64:64"], check=True)
        many = []
        try:
            for _ in range(100):
                many.append(server.socket())
            time.sleep(0.3)
            with open(f"/proc/{server.process.pid}/stat", encoding="ascii") as f:
                before = sum(map(int, f.read().rsplit(")", 1)[1].split()[11:13]))
            time.sleep(1)
            with open(f"/proc/{server.process.pid}/stat", encoding="ascii") as f:
                used = sum(map(int, f.read().rsplit(")", 1)[1].split()[11:13])) - before
            self.assertLess(used, 50, "the loop spins")  # hundredths of a second
        finally:
            for s in many:
                s.close()
        time.sleep(0.3)
        self.assertEqual(server.get("/health").status, 200)
        self.assertEqual(server.stop(), 0)

    def test_timeout(self):
        with Server("--timeout", "0.5") as server:
            body = {**HELLO, "max_tokens": 8000, "ignore_eos": True}
            r = server.post(CHAT, body)
            self.assertEqual((r.status, r.error["code"]), (504, "timeout"))
            r = server.post(CHAT, {**body, "stream": True})
            self.assertEqual(r.events[-1]["error"]["code"], "timeout")

    def test_queue(self):
        """Requests above the queue's length are refused at once, with a time to come again."""
        with Server("-np", "1", "--queue-max", "1") as server:
            body = post_bytes(CHAT, {**HELLO, "max_tokens": 8000, "ignore_eos": True})
            with server.socket() as a, server.socket() as b:
                for n, s in enumerate((a, b)):
                    s.sendall(body)
                    while server.requests()["engine_requests"] <= n:
                        time.sleep(0.01)
                while server.requests()["running"] < 1:
                    time.sleep(0.01)
                r = server.post(CHAT, HELLO)
                self.assertEqual((r.status, r.error["code"]), (429, "queue_full"), r.body)
                self.assertGreaterEqual(int(r.headers["retry-after"]), 1)
                self.assertGreater(float(r.headers["retry-after-ms"]), 0)

    def test_tls(self):
        with tempfile.TemporaryDirectory() as folder:
            cert, key = os.path.join(folder, "cert.pem"), os.path.join(folder, "key.pem")
            subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
                            "-subj", "/CN=localhost", "-keyout", key, "-out", cert], check=True,
                           capture_output=True)
            with Server("--ssl-cert-file", cert, "--ssl-key-file", key, tls=insecure_tls()) as server:
                self.assertEqual(server.get("/health").status, 200)
                r = server.post(CHAT, {**HELLO, "stream": True})
                self.assertEqual(len([e for e in r.events if e["choices"][0]["delta"]]), 3)
                s = server.socket()
                s.sendall(post_bytes(CHAT, {**HELLO, "max_tokens": 8000, "ignore_eos": True}))
                while not server.requests()["data"]:
                    time.sleep(0.01)
                s.close()
                end = time.time() + 5
                while server.requests()["data"] and time.time() < end:
                    time.sleep(0.01)
                self.assertEqual(server.requests()["data"], [])
            self.refused("--port", "0", "--ssl-cert-file", key, "--ssl-key-file", key, says="key.pem")


class LargeTexts(Case):
    """Texts of megabytes beside a running stream."""
    TEXT = "The quick brown fox jumps over the lazy dog. " * 150000  # 6.75 MB

    def gaps(self, meanwhile):
        """Seconds between the events of a stream in which `meanwhile` runs."""
        body = post_bytes(CHAT, {**HELLO, "max_tokens": 4000, "ignore_eos": True, "stream": True})
        times, done = [], threading.Event()

        def read():
            with self.server.socket() as s:
                s.sendall(body)
                while not done.is_set() and s.recv(65536):
                    times.append(time.monotonic())
        thread = threading.Thread(target=read)
        thread.start()
        try:
            while len(times) < 5 and thread.is_alive():
                time.sleep(0.01)
            meanwhile()
            self.assertTrue(thread.is_alive(), "the stream ended too early to say anything")
        finally:
            done.set()
            thread.join()
        return [b - a for a, b in zip(times[1:], times[2:])]

    def test_streams_go_on(self):
        asks = [("/tokenize", {"prompt": self.TEXT}), (CHAT, {"messages": [
            {"role": "user", "content": self.TEXT}]}), ("/v1/completions", {"prompt": self.TEXT}),
                ("/v1/embeddings", {"input": [self.TEXT]}), ("/apply-template", {"messages": [
                    {"role": "user", "content": self.TEXT}]})]
        for path, body in asks:
            data, replies = json.dumps(body).encode(), []
            took = []

            def ask(path=path, data=data):
                begin = time.monotonic()
                replies.append(self.server.post(path, data, **{"x-request-id": "large"}))
                took.append(time.monotonic() - begin)
            gaps = self.gaps(ask)
            with self.subTest(path):
                self.assertEqual(replies[0].headers["x-request-id"], "large")
                if path == "/tokenize":
                    self.assertGreater(replies[0].json["count"], 1500000)
                    self.assertEqual(len(replies[0].json["tokens"]), replies[0].json["count"])
                elif path == "/apply-template":
                    self.assertIn(self.TEXT.strip(), replies[0].json["prompt"])
                else:
                    self.assertEqual(replies[0].error["code"], "context_length_exceeded")
                # On the loop nearly all of that time would be one gap.
                self.assertLess(max(gaps), took[0] / 2, sorted(gaps)[-5:])

    def test_answers(self):
        """A body above the bound whose prompt is short is answered as any other."""
        large = {**HELLO, "metadata": {"padding": "x" * 100000}}
        texts = [self.server.post(CHAT, b).json["choices"][0]["message"] for b in (HELLO, large)]
        self.assertEqual(texts[0], texts[1])
        stream = self.server.post(CHAT, {**large, "stream": True}).events
        self.assertEqual("".join(c["delta"].get("content", "") for e in stream
                                 for c in e["choices"]), texts[0]["content"])
        r = self.server.post(CHAT, {**large, "temperature": -1})
        self.assertEqual((r.status, r.error["param"]), (400, "temperature"))

    def test_leaving(self):
        """In the queue, while it is tokenised, and just as that ends."""
        data = post_bytes("/tokenize", {"prompt": self.TEXT})
        small = post_bytes(CHAT, {**HELLO, "max_tokens": 500, "metadata": {"x": "x" * 100000}})
        for i in range(12):
            with self.server.socket() as s, self.server.socket() as t:
                s.sendall(data)
                t.sendall(small)
                time.sleep(0.02 * i)
        self.assertGreater(self.server.post("/tokenize", {"prompt": self.TEXT}).json["count"], 0)
        end = time.time() + 5
        while self.server.requests()["engine_requests"] and time.time() < end:
            time.sleep(0.01)
        self.assertEqual(self.server.requests()["engine_requests"], 0)


class Parallel(Case):
    def test_same_text(self):
        """Many requests at once, some of whose clients leave, have the text of a single one."""
        alone = self.server.post(CHAT, {**HELLO, "max_tokens": 24}).json["choices"][0]["message"]
        texts, lock = [], threading.Lock()

        def one(i):
            if i % 4 == 3:
                with self.server.socket() as s:
                    s.sendall(post_bytes(CHAT, {**HELLO, "max_tokens": 500, "ignore_eos": True}))
                    time.sleep(0.05 * (i % 5))
                return
            r = self.server.post(CHAT, {**HELLO, "max_tokens": 24})
            with lock:
                texts.append(r.json["choices"][0]["message"])
        threads = [threading.Thread(target=one, args=(i,)) for i in range(32)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        self.assertEqual(texts, [alone] * 24)


if __name__ == "__main__":
    need_model()
    unittest.main()
