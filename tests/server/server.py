"""`brisk serve` for the tests here: started on a free port, asked over HTTP or by raw bytes.

BRISK names the program (build/brisk), BRISK_TEST_MODEL the default model's file.
"""
import http.client
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../..")
BRISK = os.path.abspath(os.environ.get("BRISK", os.path.join(ROOT, "build/brisk")))
MODEL = os.environ.get("BRISK_TEST_MODEL", "")
JSON = {"Content-Type": "application/json"}


def need_model():
    if not os.path.isfile(MODEL):
        sys.exit("BRISK_TEST_MODEL must name the default model's file (brisk pull)")


class Reply:
    """A whole HTTP reply."""

    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def error(self):
        return self.json["error"]

    @property
    def events(self):
        """The JSON of a stream's events, without [DONE]; comments are left out."""
        lines = [x for x in self.body.decode().split("\n\n") if x and not x.startswith(":")]
        assert all(x.startswith("data: ") for x in lines), lines
        return [json.loads(x[6:]) for x in lines if x != "data: [DONE]"]


class Server:
    def __init__(self, *args, model=None, wait=True, tls=None):
        self.tls = tls
        self.log = tempfile.NamedTemporaryFile("w+", suffix=".log", delete=False)
        self.process = subprocess.Popen(
            [BRISK, "serve", "-m", model or MODEL, "--port", "0", *args], stdin=subprocess.DEVNULL,
            stdout=self.log, stderr=self.log)
        self.port = int(self.until(r"listening \S+:(\d+)")[1])
        if wait:
            self.until(r"^ready$")

    def output(self):
        with open(self.log.name, encoding="utf-8") as f:
            return f.read()

    def until(self, pattern, seconds=60):
        end = time.time() + seconds
        while time.time() < end:
            found = re.search(pattern, self.output(), re.M)
            if found:
                return found
            if self.process.poll() is not None:
                break
            time.sleep(0.01)
        raise AssertionError(f"no {pattern!r} in:\n{self.output()}")

    @property
    def url(self):
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    def stop(self, sig=signal.SIGTERM, seconds=60):
        """The exit status."""
        if self.process.poll() is None:
            self.process.send_signal(sig)
        try:
            return self.process.wait(seconds)
        finally:
            self.process.kill()
            self.log.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()
        os.unlink(self.log.name)

    # ---- Requests

    def connection(self, timeout=60):
        if self.tls:
            return http.client.HTTPSConnection("127.0.0.1", self.port, timeout=timeout,
                                               context=self.tls)
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)

    def ask(self, method, path, body=None, headers=None):
        c = self.connection()
        try:
            data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
            c.request(method, path, data, {**(JSON if data is not None else {}), **(headers or {})})
            r = c.getresponse()
            return Reply(r.status, {k.lower(): v for k, v in r.getheaders()}, r.read())
        finally:
            c.close()

    def get(self, path, **headers):
        return self.ask("GET", path, headers=headers)

    def post(self, path, body, **headers):
        return self.ask("POST", path, body, headers)

    def socket(self):
        s = socket.create_connection(("127.0.0.1", self.port), 60)
        return self.tls.wrap_socket(s) if self.tls else s

    def raw(self, data, half_close=False):
        """Sends bytes and returns all that comes until the server closes."""
        with self.socket() as s:
            s.sendall(data)
            if half_close:
                s.shutdown(socket.SHUT_WR)
            return read_all(s)

    def requests(self):
        return self.get("/v1/requests").json

    def rss(self):
        with open(f"/proc/{self.process.pid}/statm", encoding="ascii") as f:
            return int(f.read().split()[1]) * os.sysconf("SC_PAGESIZE")


def read_all(s):
    parts = []
    while True:
        try:
            part = s.recv(65536)
        except ConnectionResetError:
            break
        if not part:
            break
        parts.append(part)
    return b"".join(parts)


def post_bytes(path, body, *lines):
    """A POST as bytes, with more header lines."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = [f"POST {path} HTTP/1.1", "Host: localhost", "Content-Type: application/json",
            f"Content-Length: {len(data)}", *lines]
    return ("\r\n".join(head) + "\r\n\r\n").encode() + data


def insecure_tls():
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
