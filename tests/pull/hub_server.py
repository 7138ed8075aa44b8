"""A hub on this machine that misbehaves as told: for tests of fetching.

Hub(files) serves /api/models/USER/REPO/revision/main and /USER/REPO/resolve/main/FILE. What goes wrong
is in `plan`, a list that requests for file contents take one entry from each:
  ("drop", n)        sends n bytes, then closes the connection
  ("change", n, e)   the same, and from then on the file has the ETag e
  ("slow", n, s, m)  sends the rest in pieces of n bytes, s seconds apart; with m closes after so many
  ("status", code, {header: value})
  ("ignore-range",)  200 with the whole file although a part was asked for; with n, s as in "slow"
  ("wrong-range",)   206 for another part than the one asked for
  ("lie", n)         announces n bytes more than it sends (n < 0: less than the file has)
  ("more", n)        sends n bytes more than asked for, without Content-Length
  ("redirect", url)  302
None is a right answer. Every request is noted in `log` as (path, headers).
"""
import hashlib
import http.server
import json
import ssl
import threading
import time


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, headers, body=b""):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if "Content-Length" not in headers and not headers.get("Connection"):
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        hub = self.server.hub
        path = self.path if self.path.startswith("/") else "/" + self.path.split("/", 3)[3]
        with hub.lock:
            hub.log.append((self.path, dict(self.headers)))
        try:
            if path.startswith("/api/models/"):
                self.listing(hub, path)
            else:
                self.contents(hub, path.split("?")[0])
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def listing(self, hub, path):
        if hub.api_plan:
            step = hub.api_plan.pop(0)
            if step:
                return self.answer(step[1], step[2] if len(step) > 2 else {})
        repo = path[len("/api/models/"):].split("/revision/")[0]
        if repo not in hub.repos:
            return self.answer(401, {})
        if hub.token and self.headers.get("Authorization") != f"Bearer {hub.token}":
            return self.answer(401, {})
        siblings = []
        for name, data in hub.repos[repo].items():
            entry = {"rfilename": name, "size": len(data), "blobId": "0" * 40}
            if not name.endswith(".json"):
                entry["lfs"] = {"sha256": hub.sums.get(name) or hashlib.sha256(data).hexdigest(),
                                "size": len(data), "pointerSize": 135}
            siblings.append(entry)
        body = hub.listing_text or json.dumps({"id": repo, "siblings": siblings}).encode()
        return self.answer(200, {"Content-Type": "application/json"}, body)

    def contents(self, hub, path):
        with hub.lock:
            step = hub.plan.pop(0) if hub.plan else None
        kind = step[0] if step else ""
        repo, _, name = path[1:].partition("/resolve/main/")
        data = hub.repos.get(repo, {}).get(name) if name else hub.plain.get(path)
        if kind == "status":
            return self.answer(step[1], step[2] if len(step) > 2 else {})
        if kind == "redirect":
            return self.answer(302, {"Location": step[1]})
        if data is None:
            return self.answer(404, {})
        etag = hub.etag or '"%s"' % hashlib.md5(data).hexdigest()
        first, asked = 0, self.headers.get("Range")
        if asked and kind != "ignore-range" and self.headers.get("If-Range", etag) == etag:
            first = int(asked[len("bytes="):-1])
            if first >= len(data):
                return self.answer(416, {"Content-Range": f"bytes */{len(data)}"})
        if kind == "wrong-range" and first:
            first -= 1
        return self.send(data, first, etag, step, kind)

    def send(self, data, first, etag, step, kind):
        body = data[first:]
        headers = {"ETag": etag, "Content-Length": str(len(body))}
        if first:
            headers["Content-Range"] = f"bytes {first}-{len(data) - 1}/{len(data)}"
        if kind == "lie":
            headers["Content-Length"] = str(len(body) + step[1])
        if kind == "more":
            del headers["Content-Length"]
            headers["Connection"] = "close"
            body += b"x" * step[1]
        self.send_response(206 if first else 200)
        for header in headers.items():
            self.send_header(*header)
        self.end_headers()
        if kind in ("drop", "change"):
            if kind == "change":
                self.server.hub.etag = step[2]
            self.wfile.write(body[:step[1]])
            self.close_connection = True
        elif kind in ("slow", "ignore-range") and len(step) > 2:
            most = step[3] if len(step) > 3 else len(body)
            for at in range(0, min(most, len(body)), step[1]):
                self.wfile.write(body[at:at + step[1]])
                time.sleep(step[2])
            self.close_connection = most < len(body)
        elif kind == "lie":
            self.wfile.write(body[:len(body) + min(step[1], 0)])
            self.close_connection = True
        else:
            self.wfile.write(body)
            self.close_connection = kind == "more"


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_):
        """A client that goes away is part of the tests."""


class Hub:
    def __init__(self, repos=None, plain=None, tls=None):
        """tls: files of a certificate and its key."""
        self.repos, self.plain = repos or {}, plain or {}
        self.plan, self.api_plan, self.log, self.sums = [], [], [], {}
        self.token = self.etag = self.listing_text = None
        self.lock = threading.Lock()
        self.server = Server(("127.0.0.1", 0), Handler)
        self.server.hub = self
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*tls)
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
            self.url = self.url.replace("http:", "https:")
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()

    def ranges(self):
        """The Range headers of the requests for contents, in order."""
        return [h.get("Range") for p, h in self.log if "/resolve/" in p or p in self.plain]
