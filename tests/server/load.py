"""Requests of many kinds for a server under test, and clients that ask, stream and leave.

A request is a dict: path, body, key, and leave, which says when the client goes: None, ("after",
seconds) or ("events", n). The same seed gives the same requests.
"""
import http.client
import json
import random
import socket
import struct
import threading
import time

WORDS = ("river stone lantern harbour copper meadow whistle orchard granite ribbon candle anchor "
         "thistle marble saddle pepper violin canyon feather cabin ladder kettle walnut pillow "
         "bridge falcon garden hammer island jacket").split()
SYSTEM = ("You are a careful helper who answers in few words and repeats what was asked for "
          "exactly as it was written, with nothing in front and nothing behind. ")
KEYS = ("alpha-key", "beta-key", "gamma-key")


class Outcome:
    """texts by choice, finish reasons, the usage and timings of the reply; left: the client went."""

    def __init__(self):
        self.status, self.texts, self.finish, self.error = 0, {}, {}, None
        self.usage, self.timings, self.left = {}, {}, False
        self.first_s = self.end_s = None

    @property
    def cached(self):
        return self.usage["prompt_tokens_details"]["cached_tokens"]

    def take(self, reply):
        for c in reply.get("choices", ()):
            part = c.get("delta") or c.get("message") or c
            text = part.get("content") if part is not c else c.get("text")
            self.texts[c["index"]] = self.texts.get(c["index"], "") + (text or "")
            if c.get("finish_reason"):
                self.finish[c["index"]] = c["finish_reason"]
        self.usage = reply.get("usage") or self.usage
        self.timings = reply.get("timings") or self.timings
        self.error = reply.get("error") or self.error


def marker(rng):
    """A word that nobody else has."""
    return "".join(rng.choice("bdfgklmnprstvz") + rng.choice("aeiou") for _ in range(4)).upper()


def prose(rng, n):
    return " ".join(rng.choice(WORDS) for _ in range(n))


def mixed(seed, n, longest=300, answers=(8, 30), leaving=0.3, systems=4):
    """n requests, each with a marker of its own."""
    rng = random.Random(seed)
    out = []
    for i in range(n):
        mark = marker(rng)
        body = {"max_tokens": rng.randint(*answers), "temperature": 0, "stream": rng.random() < 0.6}
        if rng.random() < 0.4:
            body.update(temperature=0.8, seed=rng.randrange(2**31), top_p=0.95)
        if rng.random() < 0.2:
            body["n"] = rng.randint(2, 3)
        if body["stream"]:
            body["stream_options"] = {"include_usage": True}
        filler = prose(rng, rng.choice((0, 0, longest // 8, longest // 3, longest)))
        if rng.random() < 0.5:
            messages = [{"role": "user", "content": f"{filler}\nRepeat this word: {mark}"}]
            if rng.random() < 0.6:
                messages.insert(0, {"role": "system", "content": SYSTEM * rng.randint(1, systems)})
            path, body["messages"] = "/v1/chat/completions", messages
        else:
            path = "/v1/completions"
            body["prompt"] = f"{filler}\nThe word is {mark}. Again, the word is"
            body["echo"] = rng.random() < 0.3
        leave = None
        if rng.random() < leaving:
            leave = rng.choice([("after", 0.0), ("after", rng.uniform(0, 0.5)), ("events", 1),
                                ("events", rng.randint(1, 6))])
        out.append({"path": path, "body": body, "key": rng.choice(KEYS), "leave": leave,
                    "marker": mark, "number": i})
    return out


def send(server, request, timeout=120):
    """The connection and the time of sending."""
    c = http.client.HTTPConnection("127.0.0.1", server.port, timeout=timeout)
    c.connect()
    c.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    headers = {"Content-Type": "application/json"}
    if request.get("key"):
        headers["Authorization"] = "Bearer " + request["key"]
    c.request("POST", request["path"], json.dumps(request["body"]).encode(), headers)
    return c, time.monotonic()


def leave_now(connection, reset):
    """Closes at once; by a reset, or as a program does that ends."""
    s = connection.sock
    if reset:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    else:
        s.shutdown(socket.SHUT_RDWR)
    s.close()
    connection.close()


def ask(server, request, timeout=120):
    """Asks and reads to the end, or leaves as the request says."""
    out = Outcome()
    leave = request.get("leave")
    c, began = send(server, request, timeout)
    if leave and leave[0] == "after":
        time.sleep(leave[1])
        leave_now(c, leave[1] == 0)
        out.left = True
        return out
    r = c.getresponse()
    out.status = r.status
    if not request["body"].get("stream") or r.status != 200:
        out.take(json.loads(r.read()))
        c.close()
        out.end_s = time.monotonic() - began
        return out
    events = 0
    for line in r:
        if not line.startswith(b"data: ") or line == b"data: [DONE]\n":
            continue
        out.take(json.loads(line[6:]))
        events += 1
        out.first_s = out.first_s or time.monotonic() - began
        if leave and events >= leave[1]:
            r.close()
            c.close()
            out.left = True
            return out
    c.close()
    out.end_s = time.monotonic() - began
    return out


def ask_all(server, requests, at_once=None):
    """All of them in threads, at_once at a time; the outcomes in order. A client's exception is
    raised here."""
    outcomes, failures = [None] * len(requests), []
    gate = threading.Semaphore(at_once or len(requests))

    def run(i):
        with gate:
            try:
                outcomes[i] = ask(server, requests[i])
            except Exception as e:  # pylint: disable=broad-except
                failures.append((requests[i], e))

    threads = [threading.Thread(target=run, args=(i,)) for i in range(len(requests))]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    if failures:
        raise AssertionError(failures[0]) from failures[0][1]
    return outcomes


def until_idle(server, key=None, seconds=30):
    """Waits until the engine has nothing to do; returns how long that took."""
    headers = {"Authorization": "Bearer " + key} if key else {}
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        state = server.ask("GET", "/v1/requests", headers=headers).json
        if not state["data"] and not state["engine_requests"] and not state["running"]:
            return time.monotonic() - began
        time.sleep(0.005)
    raise AssertionError(f"still busy after {seconds} s: {state}")
