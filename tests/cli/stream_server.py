"""A server with the OpenAI interface whose times are known: for tests of what measures servers.

The model's name, or members of a request's "test" object, say what it does:
  first_ms, gap_ms, tokens     time to the first token, between tokens, how many (max_tokens)
  stall_at, stall_ms           before this token there is a longer gap
  fail                         refuse, status, cut, json, plain, error, empty, reset, no_usage, slow_headers
  split                        bytes per write (0: an event at a time)
"""
import asyncio
import json
import threading

WORDS = "alpha beta gamma delta".split()


class Server:
    """Runs in an event loop of its own; .port is where. Counters say what came."""

    def __init__(self, **defaults):
        self.defaults = {"first_ms": 30, "gap_ms": 10, "tokens": None, "stall_at": -1, "stall_ms": 0,
                         "fail": None, "split": 0, "tokenize": True, "models": True, "every": 1,
                         "capacity": None, **defaults}
        self.connections = self.open = self.most_open = self.running = self.most_running = 0
        self.bodies, self.closed_early = [], 0
        self.loop = self.port = self.thread = None

    def start(self):
        """The server's loop in a thread; returns when it listens."""
        ready = threading.Event()

        def main():
            self.loop = asyncio.new_event_loop()
            asyncio.set_event_loop(self.loop)
            server = self.loop.run_until_complete(
                asyncio.start_server(self.serve, "127.0.0.1", 0, backlog=4096))
            self.port = server.sockets[0].getsockname()[1]
            ready.set()
            self.loop.run_forever()
            server.close()
            tasks = asyncio.all_tasks(self.loop)
            for task in tasks:
                task.cancel()
            self.loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
            self.loop.close()

        self.thread = threading.Thread(target=main, daemon=True)
        self.thread.start()
        ready.wait()
        return self

    def stop(self):
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()

    async def serve(self, reader, writer):
        self.connections += 1
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        try:
            while await self.one(reader, writer):
                pass
        except asyncio.IncompleteReadError:
            pass
        except ConnectionError:
            self.closed_early += 1
        except asyncio.CancelledError:
            pass
        finally:
            self.open -= 1
            writer.close()

    async def one(self, reader, writer):
        """A request; False when the connection is to be closed."""
        head = await reader.readuntil(b"\r\n\r\n") if not reader.at_eof() else b""
        lines = head.decode("latin-1").split("\r\n")
        path = lines[0].split(" ")[1]
        headers = dict(line.lower().split(": ", 1) for line in lines[1:] if ": " in line)
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        if path == "/v1/models" and self.defaults["models"]:
            return self.plain(writer, {"object": "list", "data": [{"id": "known", "owned_by": "tester"}]})
        if path == "/tokenize" and self.defaults["tokenize"]:
            text = json.loads(body)["content"]
            return self.plain(writer, {"tokens": list(range(2 * len(text.split())))})
        if path == "/health":
            return self.plain(writer, {"status": "ok"})
        if path not in ("/v1/chat/completions", "/v1/completions"):
            return self.plain(writer, {"error": {"message": f"no {path}"}}, 404)
        request = json.loads(body)
        self.bodies.append((path, headers, request))
        how = {**self.defaults, **request.get("test", {})}
        if how["fail"] and len(self.bodies) % how["every"] == 0:
            how["now"] = how["fail"]
        if how["capacity"] is not None and self.running >= how["capacity"]:
            how["now"] = "refuse"
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            return await self.answer(writer, path, request, how)
        finally:
            self.running -= 1

    @staticmethod
    def plain(writer, value, status=200, more=""):
        text = value if isinstance(value, bytes) else json.dumps(value).encode()
        writer.write(f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\n{more}"
                     f"Content-Length: {len(text)}\r\n\r\n".encode() + text)
        return True

    async def answer(self, writer, path, request, how):
        fail = how.get("now")
        if fail == "refuse":
            await asyncio.sleep(how["first_ms"] / 1000)
            return self.plain(writer, {"error": {"message": "queue full"}}, 429, "Retry-After: 7\r\n")
        if fail == "status":
            return self.plain(writer, {"error": {"message": "model \x1b[31m broke"}}, 500)
        if fail == "plain":
            return self.plain(writer, b"hello, no stream here")
        if fail == "reset":
            writer.transport.abort()
            return False
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        await self.stream(writer, path == "/v1/chat/completions", request, how, fail)
        if fail in ("cut", "hang"):
            writer.transport.abort()
            return False
        writer.write(b"0\r\n\r\n")
        await writer.drain()
        return True

    async def stream(self, writer, chat, request, how, fail):
        n = how["tokens"] or request["max_tokens"]
        if chat:
            await self.event(writer, {"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""},
                                                   "finish_reason": None}]}, how)
        clock = asyncio.get_running_loop().time
        due = clock() + how["first_ms"] / 1000
        for i in range(0 if fail == "empty" else n):
            if i:
                due += (how["stall_ms"] if i == how["stall_at"] else how["gap_ms"]) / 1000
            await asyncio.sleep(max(0, due - clock()))
            if fail == "cut" and i == n // 2:
                return
            if fail == "json" and i == n // 2:
                await self.raw(writer, b'data: {"choices": [\n\n', how)
            if fail == "error" and i == n // 2:
                await self.event(writer, {"error": {"message": "out of memory", "code": 500}}, how)
            text = WORDS[i % len(WORDS)] + " "
            choice = {"index": 0, "finish_reason": None}
            choice.update({"delta": {"content": text}} if chat else {"text": text})
            await self.event(writer, {"choices": [choice]}, how)
        await self.event(writer, {"choices": [{"index": 0, "delta": {}, "text": "", "finish_reason": "length"}]},
                         how)
        if fail != "no_usage":
            words = len(json.dumps(request.get("messages", request.get("prompt"))).split())
            await self.event(writer, {"choices": [], "usage": {
                "prompt_tokens": 2 * words, "completion_tokens": n, "total_tokens": 2 * words + n,
                "prompt_tokens_details": {"cached_tokens": words}}}, how)
        await self.raw(writer, b"data: [DONE]\n\n", how)

    async def event(self, writer, value, how):
        await self.raw(writer, b": a comment\r\ndata: " + json.dumps(value).encode() + b"\r\n\r\n", how)

    @staticmethod
    async def raw(writer, data, how):
        """One chunk, or as many as there are pieces of `split` bytes, each in a segment of its own."""
        step = how["split"] or len(data)
        for i in range(0, len(data), step):
            part = data[i:i + step]
            writer.write(f"{len(part):x}\r\n".encode() + part + b"\r\n")
            await writer.drain()
            if how["split"]:
                await asyncio.sleep(0)
