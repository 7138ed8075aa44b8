#!/usr/bin/env python3
"""`brisk pull` and -hf against a hub on this machine that drops, throttles and lies.

BRISK names the program. Needs nothing but Python's own library.
"""
import hashlib
import json
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from hub_server import Hub  # noqa: E402

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../..")
BRISK = os.path.abspath(os.environ.get("BRISK", os.path.join(ROOT, "build/brisk")))
with open(os.path.join(ROOT, "tests/data/tiny_chat.gguf"), "rb") as tiny:
    GGUF = tiny.read()
BIG = GGUF + bytes(3_000_000)  # a hub does not look into what it serves
SECRET = "hf_secretsecretsecret"


class Case(unittest.TestCase):
    def setUp(self):
        self.home = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.home, True)
        self.hub = self.make_hub({"ann/one-GGUF": {"one-Q4_K_M.gguf": BIG}})

    def make_hub(self, *args):
        hub = Hub(*args)
        self.addCleanup(hub.close)
        return hub

    def env(self, **more):
        keep = {k: v for k, v in os.environ.items()
                if not k.startswith(("HF_", "BRISK_", "XDG_", "CURL_", "SSL_"))
                and not k.lower().endswith("_proxy")}
        return {**keep, "HOME": self.home, "BRISK_CACHE": os.path.join(self.home, "cache"),
                "HF_ENDPOINT": self.hub.url, **more}

    def brisk(self, *args, **more):
        r = subprocess.run([BRISK, *args], capture_output=True, stdin=subprocess.DEVNULL, timeout=120,
                           env=self.env(**more), check=False)
        r.out, r.err = r.stdout.decode(), r.stderr.decode()
        self.assertNotIn(SECRET, r.out + r.err)
        return r

    def cache(self, *path):
        return os.path.join(self.home, "cache", *path)

    def left(self):
        """Files in the cache that are neither models nor notes of checks."""
        return [f for _, _, files in os.walk(self.cache()) for f in files
                if not f.endswith((".gguf", ".checked", ".json", ".safetensors"))]

    def fetched(self, *args, data=BIG, path=("ann/one-GGUF", "one-Q4_K_M.gguf"), **more):
        r = self.brisk("pull", *(args or ["ann/one-GGUF"]), **more)
        self.assertEqual(r.returncode, 0, r.err)
        self.assertEqual(r.out, self.cache(*path) + "\n")
        with open(self.cache(*path), "rb") as f:
            self.assertTrue(f.read() == data, "other bytes than the server's")
        self.assertEqual(self.left(), [])
        return r

    def refused(self, *args, says, left=(), **more):
        r = self.brisk("pull", *(args or ["ann/one-GGUF"]), **more)
        self.assertEqual((r.returncode, r.out), (1, ""), r.err)
        last = r.err.splitlines()[-1]
        self.assertTrue(last.startswith("brisk: "), r.err)
        for text in says:
            self.assertIn(text, last)
        self.assertEqual(sorted(self.left()), sorted(left))
        self.assertFalse(os.path.exists(self.cache("ann/one-GGUF/one-Q4_K_M.gguf")))
        return r


class Transfer(Case):
    def test_plain(self):
        self.fetched()
        self.assertEqual(self.hub.ranges(), [None])
        self.fetched()  # there already
        self.assertEqual(self.hub.ranges(), [None])
        self.fetched("ann/one-GGUF", "--force")
        self.assertEqual(self.hub.ranges(), [None, None])

    def test_changed_on_disk(self):
        self.fetched()
        for data in (BIG[:1000], BIG[:-1] + b"x"):
            with open(self.cache("ann/one-GGUF/one-Q4_K_M.gguf"), "wb") as f:
                f.write(data)
            os.utime(f.name, (1, 1))
            self.fetched()

    def test_drops(self):
        """Goes on from where the connection broke off, more often than it would try without progress."""
        self.hub.plan = [("drop", 200_000)] * 8
        r = self.fetched()
        self.assertEqual(self.hub.ranges(), [None] + [f"bytes={200_000 * i}-" for i in range(1, 9)])
        self.assertEqual(r.err.count("trying again"), 8)
        self.assertNotIn("trying", self.fetched("ann/one-GGUF", "-f", "-q").err)

    def test_drops_without_progress(self):
        self.hub.plan = [("drop", 0)] * 50
        self.refused(says=["one-Q4_K_M.gguf"])
        self.assertEqual(len(self.hub.ranges()), 3)

    def test_ignores_range(self):
        self.hub.plan = [("drop", 1_000_000), ("ignore-range",)]
        self.fetched()

    def test_wrong_range(self):
        self.hub.plan = [("drop", 1_000_000), ("wrong-range",)]
        self.fetched()
        self.assertEqual(self.hub.ranges()[-1], None)

    def test_changed_meanwhile(self):
        """Another ETag for the rest: the part is of a file that no longer is."""
        self.hub.etag = '"older"'
        self.hub.plan = [("change", 1_000_000, '"newer"')]
        self.fetched()
        self.assertEqual(self.hub.log[-1][1].get("If-Range"), '"older"')

    def test_lies_about_length(self):
        self.hub.plan = [("lie", 5)]
        self.refused(says=[f"has {len(BIG) + 5} bytes, {len(BIG)} were expected"])
        self.hub.plan = [("lie", -5)]
        self.refused(says=[f"has {len(BIG) - 5} bytes, {len(BIG)} were expected"])
        self.hub.plan = [("more", 7)]
        self.refused(says=[f"more than the {len(BIG)} bytes"], left=["one-Q4_K_M.gguf.part",
                                                                  "one-Q4_K_M.gguf.part.etag"])
        self.fetched()

    def test_wrong_sum(self):
        self.hub.sums["one-Q4_K_M.gguf"] = "0" * 64
        self.refused(says=["not kept", hashlib.sha256(BIG).hexdigest(), "0" * 64])

    def test_wrong_part(self):
        """A part with wrong bytes is found out by the sum, and the file fetched from its beginning."""
        os.makedirs(self.cache("ann/one-GGUF"))
        with open(self.cache("ann/one-GGUF/one-Q4_K_M.gguf.part"), "wb") as f:
            f.write(b"x" * 1000)
        r = self.fetched()
        self.assertIn("fetching it again", r.err)
        self.assertEqual(self.hub.ranges(), ["bytes=1000-", None])

    def test_whole_part(self):
        """A part that was complete before it could be checked needs no request."""
        os.makedirs(self.cache("ann/one-GGUF"))
        with open(self.cache("ann/one-GGUF/one-Q4_K_M.gguf.part"), "wb") as f:
            f.write(BIG)
        self.fetched()
        self.assertEqual(self.hub.ranges(), [])

    def test_statuses(self):
        for status, text in ((404, "no such model"), (403, "HF_TOKEN"), (401, "HF_TOKEN"),
                             (418, "418")):
            self.hub.plan = [("status", status)]
            self.refused(says=[str(status), text])
        self.hub.plan = [("status", 500), ("status", 503), None]
        self.fetched()
        self.hub.plan = [("status", 500)] * 20
        self.hub.log.clear()
        r = self.brisk("pull", "ann/one-GGUF", "-f")
        self.assertEqual(r.returncode, 1)
        self.assertIn("500", r.err.splitlines()[-1])
        self.assertEqual(len(self.hub.ranges()), 3)

    def test_retry_after(self):
        self.hub.plan = [("status", 429, {"Retry-After": "2"})]
        start = time.time()
        r = self.fetched()
        self.assertGreater(time.time() - start, 2)
        self.assertIn("trying again in 2 s", r.err)

    def test_listing_fails_at_first(self):
        self.hub.api_plan = [("status", 503), ("status", 429, {"Retry-After": "1"})]
        self.assertIn("trying again in 1 s", self.fetched().err)
        self.hub.api_plan = [("status", 503)] * 3
        r = self.brisk("pull", "ann/one-GGUF", "-q")
        self.assertEqual((r.returncode, r.err.count("\n")), (1, 1))
        self.assertIn("answers 503", r.err)

    def test_not_there(self):
        self.refused("ann/none", says=["ann/none", "401", "HF_TOKEN"])
        self.refused("ann/one-GGUF:Q9_9", says=["Q9_9", "Q4_K_M"])
        self.refused(says=["cannot ask", "http://127.0.0.1:1"], HF_ENDPOINT="http://127.0.0.1:1")
        for text in (b"", b"[]", b"{", b'{"siblings": 3}', b"<html>", b'{"siblings": []}'):
            self.hub.listing_text = text or b" "
            self.refused(says=["ann/one-GGUF"])

    def test_hostile_names(self):
        self.hub.repos["ann/one-GGUF"] = {"../../evil-Q4_K_M.gguf": GGUF, "/abs-Q4_K_M.gguf": GGUF,
                                          "a//b-Q4_K_M.gguf": GGUF, "x\ny-Q4_K_M.gguf": GGUF}
        self.refused(says=["no GGUF file"])
        self.assertFalse(os.path.exists(os.path.join(self.home, "evil-Q4_K_M.gguf")))

    def test_disk_space(self):
        class Huge(bytes):
            def __len__(self):
                return 1 << 60
        self.hub.repos["ann/one-GGUF"] = {"one-Q4_K_M.gguf": Huge(b"GGUF")}
        self.refused(says=["more on the disk", "free"])

    def test_interrupt_and_resume(self):
        self.hub.plan = [("slow", 100_000, 0.1)]
        with subprocess.Popen([BRISK, "pull", "ann/one-GGUF"], env=self.env(), stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, stdin=subprocess.DEVNULL) as p:
            part = self.cache("ann/one-GGUF/one-Q4_K_M.gguf.part")
            while not (os.path.exists(part) and os.path.getsize(part) > 500_000):
                time.sleep(0.02)
            p.send_signal(signal.SIGINT)
            out, err = p.communicate(timeout=20)
        self.assertEqual((p.returncode, out), (130, b""))
        self.assertRegex(err.decode(), r"stopped; .* of .* are kept, the same command goes on")
        self.assertFalse(os.path.exists(part[:-5]))
        size = os.path.getsize(part)
        self.fetched()
        self.assertEqual(self.hub.ranges()[-1], f"bytes={size}-")

    def test_two_at_once(self):
        self.hub.plan = [("slow", 200_000, 0.1)]
        ps = [subprocess.Popen([BRISK, "pull", "ann/one-GGUF"], env=self.env(), stderr=subprocess.PIPE,
                               stdout=subprocess.PIPE) for _ in range(3)]
        results = [(*p.communicate(timeout=60), p.returncode) for p in ps]
        self.assertEqual([code for _, _, code in results], [0, 0, 0], results)
        self.assertEqual(len(self.hub.ranges()), 1)
        self.assertTrue(any(b"waiting for another" in err for _, err, _ in results))
        self.fetched()

    def test_killed(self):
        """What a killed run leaves is gone on with."""
        self.hub.plan = [("slow", 100_000, 0.05)]
        with subprocess.Popen([BRISK, "pull", "ann/one-GGUF"], env=self.env(), stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE) as p:
            part = self.cache("ann/one-GGUF/one-Q4_K_M.gguf.part")
            while not (os.path.exists(part) and os.path.getsize(part) > 500_000):
                time.sleep(0.02)
            p.kill()
        self.fetched()
        self.assertRegex(self.hub.ranges()[-1], r"bytes=\d{6,}-")


class Access(Case):
    def auth(self, hub):
        return [h.get("Authorization") for _, h in hub.log]

    def test_token(self):
        self.hub.token = SECRET
        self.refused(says=["401", "set HF_TOKEN"])
        self.refused(says=["401", "the token in HF_TOKEN does not open it"], HF_TOKEN="wrong")
        self.hub.log.clear()
        self.fetched(HF_TOKEN=SECRET)
        self.assertEqual(self.auth(self.hub), [f"Bearer {SECRET}"] * 2)

    def test_token_stays_home(self):
        """A redirect to another host is followed without the token; one on the same host with it."""
        other = self.make_hub({}, {"/cdn": BIG})
        self.hub.plain["/here"] = BIG
        self.hub.plan = [("redirect", "/here"), ("redirect", other.url + "/cdn")]
        self.fetched(HF_TOKEN=SECRET)
        self.assertEqual(self.auth(self.hub), [f"Bearer {SECRET}"] * 3)
        self.assertEqual(self.auth(other), [None])

    def test_token_for_urls(self):
        other = self.make_hub({}, {"/dir/file-Q8_0.gguf": GGUF})
        host = other.url.split("//")[1]
        self.fetched(other.url + "/dir/file-Q8_0.gguf?download=true", data=GGUF,
                     path=(host, "file-Q8_0.gguf"), HF_TOKEN=SECRET)
        self.assertEqual(self.auth(other), [None])

    def test_redirects_end(self):
        self.hub.plan = [("redirect", "/ann/one-GGUF/resolve/main/one-Q4_K_M.gguf")] * 50
        self.refused(says=["redirects"])
        self.hub.plan = [("redirect", "file:///etc/passwd")]
        self.refused(says=["redirects"])

    def test_https(self):
        """Certificates are checked, and nothing is followed from https to http."""
        cert, key = os.path.join(self.home, "cert"), os.path.join(self.home, "key")
        subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
                        "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1",
                        "-keyout", key, "-out", cert], check=True, capture_output=True)
        safe = Hub({"ann/one-GGUF": {"one-Q4_K_M.gguf": BIG}}, tls=(cert, key))
        self.addCleanup(safe.close)
        self.refused(says=["cannot ask", "certificate"], HF_ENDPOINT=safe.url)
        self.hub.plain["/cdn"] = BIG
        safe.plan = [("redirect", self.hub.url + "/cdn")]
        self.refused(says=["from https to"], HF_ENDPOINT=safe.url, SSL_CERT_FILE=cert,
                     HF_TOKEN=SECRET)
        self.assertEqual(self.hub.log, [])
        self.fetched(HF_ENDPOINT=safe.url, CURL_CA_BUNDLE=cert)

    def test_proxy(self):
        proxy = self.make_hub({"ann/one-GGUF": {"one-Q4_K_M.gguf": BIG}})
        self.fetched(HF_ENDPOINT="http://hub.invalid", http_proxy=proxy.url)
        self.assertTrue(all(p.startswith("http://hub.invalid/") for p, _ in proxy.log))
        self.assertEqual(self.hub.log, [])


class Choice(Case):
    def test_quantizations(self):
        files = {f"m-{q}.gguf": GGUF + q.encode() for q in ("Q2_K", "Q8_0", "F16", "UD-Q3_K_XL")}
        self.hub.repos["bob/m-GGUF"] = {"README.md": b"x", "mmproj-F16.gguf": GGUF, **files}
        for spec, name in (("bob/m-GGUF", "m-Q8_0"), ("bob/m-GGUF:q2_k", "m-Q2_K"),
                           ("bob/m-GGUF:F16", "m-F16"), ("bob/m-GGUF:UD-Q3_K_XL", "m-UD-Q3_K_XL"),
                           ("bob/m-GGUF:Q3_K_XL", "m-UD-Q3_K_XL")):
            self.fetched(spec, data=files[name + ".gguf"], path=("bob/m-GGUF", name + ".gguf"))
        del self.hub.repos["bob/m-GGUF"]["m-Q8_0.gguf"]
        self.refused("bob/m-GGUF", says=["after a colon", "Q2_K", "F16"])
        self.refused("bob/m-GGUF:Q4_K_M", says=["no file is called Q4_K_M", "Q2_K"])

    def test_split(self):
        parts = {f"Q4_K_M/big-Q4_K_M-0000{i}-of-00003.gguf": GGUF + bytes([i]) for i in (1, 2, 3)}
        self.hub.repos["bob/big"] = dict(parts)
        self.hub.plan = [None, ("drop", 1000)]
        first = ("bob/big", "Q4_K_M", "big-Q4_K_M-00001-of-00003.gguf")
        self.fetched("bob/big:Q4_K_M", data=GGUF + b"\1", path=first)
        for name, data in parts.items():
            with open(self.cache("bob/big", name), "rb") as f:
                self.assertEqual(f.read(), data)
        models = json.loads(self.brisk("ls", "--json").out)
        self.assertEqual([(m["name"], m["parts"], m["bytes"]) for m in models],
                         [("bob/big:Q4_K_M", 3, 3 * len(GGUF) + 3)])
        del self.hub.repos["bob/big"]["Q4_K_M/big-Q4_K_M-00002-of-00003.gguf"]
        self.refused("bob/big:Q4_K_M", says=["part 2 of 3"])

    def test_odd_characters(self):
        name = "odd name+(1)%20-Q8_0.gguf"
        self.hub.repos["bob/odd"] = {}
        quoted = "/bob/odd/resolve/main/odd%20name%2B%281%29%2520-Q8_0.gguf"
        self.hub.repos["bob/odd"][name] = GGUF
        self.hub.plan = [("redirect", "/x")]
        self.hub.plain["/x"] = GGUF
        self.fetched("bob/odd", data=GGUF, path=("bob/odd", name))
        self.assertEqual(self.hub.log[1][0], quoted)

    def test_safetensors(self):
        files = {"config.json": b"{}", "tokenizer.json": b"{}", "model.safetensors": b"weights",
                 "notes.txt": b"no", "onnx/model.onnx": b"no"}
        self.hub.repos["bob/st"] = files
        r = self.brisk("pull", "bob/st")
        self.assertEqual((r.returncode, r.out), (0, self.cache("bob/st") + "\n"), r.err)
        there = sorted(f for f in os.listdir(self.cache("bob/st")) if not f.endswith(".checked"))
        self.assertEqual(there, ["config.json", "model.safetensors", "tokenizer.json"])

    def test_url(self):
        self.hub.plain = {"/f/a.gguf": GGUF, "/f/b.gguf": b"<html>not found</html>",
                          "/f/c.gguf": GGUF[:5000]}
        host = self.hub.url.split("//")[1]
        self.fetched(self.hub.url + "/f/a.gguf", data=GGUF, path=(host, "a.gguf"))
        self.refused(self.hub.url + "/f/b.gguf", says=["no whole GGUF file"])
        self.refused(self.hub.url + "/f/c.gguf", says=["no whole GGUF file"])
        self.refused(self.hub.url + "/f/none.gguf", says=["404"])
        self.refused(self.hub.url + "/f/", says=["does not name a .gguf file"])
        self.hub.plan = [("drop", 2000)]
        os.remove(self.cache(host, "a.gguf"))
        self.fetched(self.hub.url + "/f/a.gguf", data=GGUF, path=(host, "a.gguf"))

    def test_run(self):
        """-hf fetches once, then needs no server; -m knows the name."""
        self.hub.repos["ann/tiny-GGUF"] = {"tiny-Q4_0.gguf": GGUF}
        run = ["info", "--metadata", "-hf", "ann/tiny-GGUF"]
        r = self.brisk(*run)
        self.assertEqual(r.returncode, 0, r.err)
        seen = len(self.hub.log)
        self.assertEqual(self.brisk(*run).returncode, 0)
        self.assertEqual(self.brisk("info", "--metadata", "-m", "tiny").returncode, 0)
        self.assertEqual(self.brisk("info", "--metadata", "ann/tiny:Q4_0").returncode, 0)
        self.assertEqual(len(self.hub.log), seen)
        self.assertIn("not both", self.brisk("info", "-m", "x", "-hf", "ann/tiny-GGUF").err)
        url = self.hub.url + "/ann/tiny-GGUF/resolve/main/tiny-Q4_0.gguf"
        self.assertEqual(self.brisk("info", "--metadata", "-m", url).returncode, 0)


class Bar(Case):
    def test_never_backwards(self):
        """In a terminal, with the file begun anew half-way; lines stay within the window."""
        self.hub.repos["ann/one-GGUF"]["one-Q4_K_M.gguf"] = BIG[:2_000_000]
        self.hub.plan = [("slow", 100_000, 0.12, 1_500_000), ("ignore-range", 200_000, 0.15)]
        pid, fd = pty.fork()
        if pid == 0:
            env = self.env(TERM="xterm")
            os.execve(BRISK, [BRISK, "pull", "ann/one-GGUF"], env)
        self.addCleanup(os.close, fd)
        text = ""
        while True:
            try:
                if not select.select([fd], [], [], 60)[0]:
                    break
                text += os.read(fd, 65536).decode()
            except OSError:
                break
        self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), 0, text)
        drawn = [int(p) for p in re.findall(r"\] +(\d+) %", text)]
        self.assertGreater(len(drawn), 5, text)
        self.assertEqual(drawn, sorted(drawn))
        self.assertRegex(text, r"[kM]B of 2\.0 MB, [\d.]+ [kM]B/s, \d s")
        for line in re.split(r"[\r\n]", text.replace(self.home, "")):
            self.assertLess(len(re.sub(r"\x1b\[K", "", line)), 80)
        self.assertIn("trying again", text)


if __name__ == "__main__":
    unittest.main()
