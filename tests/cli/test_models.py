#!/usr/bin/env python3
"""Finding models: brisk's own folder and those of other programs, as these leave them on disk; names,
ambiguity, broken entries; `brisk ls` and `brisk doctor`.

BRISK names the program. Needs nothing but Python's own library.
"""
import hashlib
import json
import os
import shutil
import subprocess
import tempfile
import unittest

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../..")
BRISK = os.path.abspath(os.environ.get("BRISK", os.path.join(ROOT, "build/brisk")))
CHAT, FLOAT, INT = (os.path.join(ROOT, f"tests/data/tiny_{n}.gguf") for n in ("chat", "float", "int"))


class Case(unittest.TestCase):
    def setUp(self):
        self.home = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.home, True)

    def path(self, *names):
        return os.path.join(self.home, *names)

    def put(self, path, source=None, data=b""):
        """Makes HOME/path: a copy of a file, or these bytes."""
        full = self.path(path)
        os.makedirs(os.path.dirname(full), exist_ok=True)
        if source:
            shutil.copy(source, full)
        else:
            with open(full, "wb") as f:
                f.write(data if isinstance(data, bytes) else json.dumps(data).encode())
        return full

    def brisk(self, *args, **more):
        env = {"PATH": os.environ["PATH"], "HOME": self.home, "BRISK_CACHE": self.path("brisk"), **more}
        r = subprocess.run([BRISK, *args], capture_output=True, stdin=subprocess.DEVNULL, env=env,
                           timeout=60, check=False)
        r.out, r.err = r.stdout.decode(), r.stderr.decode()
        return r

    def ls(self, **more):
        r = self.brisk("ls", "--json", **more)
        self.assertEqual((r.returncode, r.err), (0, ""))
        return json.loads(r.out)

    def names(self, **more):
        return [(m["name"], m["source"]) for m in self.ls(**more)]

    def means(self, name, path, **more):
        """-m NAME opens the file."""
        r = self.brisk("info", "-m", name, "--json", "--metadata", **more)
        self.assertEqual(r.returncode, 0, r.err)
        self.assertEqual(json.loads(r.out)["path"], path)

    def refused(self, name, *says, **more):
        r = self.brisk("info", "-m", name, "--metadata", **more)
        self.assertEqual((r.returncode, r.out), (1, ""))
        self.assertRegex(r.err, r"^brisk: [^\n]+\n$")
        for text in says:
            self.assertIn(text, r.err)

    def hub(self, repo, name, source, revision="a" * 40, root=".cache/huggingface/hub"):
        """A file as huggingface_hub leaves it: a blob, and a link from the snapshot."""
        folder = f"{root}/models--{repo.replace('/', '--')}"
        with open(source, "rb") as f:
            blob = self.put(f"{folder}/blobs/{hashlib.sha256(f.read()).hexdigest()}", source)
        link = self.path(folder, "snapshots", revision, name)
        os.makedirs(os.path.dirname(link), exist_ok=True)
        os.symlink(os.path.relpath(blob, os.path.dirname(link)), link)
        self.put(f"{folder}/refs/main", data=revision.encode())
        return link

    def ollama(self, name, source, root=".ollama/models"):
        with open(source, "rb") as f:
            digest = hashlib.sha256(f.read()).hexdigest()
        layer = {"mediaType": "application/vnd.ollama.image.model", "digest": f"sha256:{digest}",
                 "size": os.path.getsize(source)}
        other = {"mediaType": "application/vnd.ollama.image.template", "digest": "sha256:" + "0" * 64}
        self.put(f"{root}/manifests/{name}", data={"schemaVersion": 2, "layers": [other, layer]})
        return self.put(f"{root}/blobs/sha256-{digest}", source)


class Places(Case):
    def test_none(self):
        r = self.brisk("ls")
        self.assertEqual((r.returncode, r.out), (0, ""))
        self.assertIn("brisk pull", r.err)
        self.assertEqual(self.ls(), [])

    def test_brisk(self):
        own = self.put("brisk/mine.gguf", CHAT)
        hub = self.put("brisk/ann/one-GGUF/one-Q4_K_M.gguf", INT)
        self.put("brisk/ann/one-GGUF/two-Q8_0.gguf.part", data=b"x")
        self.assertEqual(self.names(), [("ann/one-GGUF:Q4_K_M", "brisk"), ("mine", "brisk")])
        self.means("mine", own)
        self.means("mine.gguf", own)
        self.means("ann/one-GGUF", hub)
        self.means("one", hub)
        self.means("one-q4_k_m.gguf", hub)

    def test_huggingface(self):
        link = self.hub("ann/one-GGUF", "one-Q4_K_M.gguf", INT)
        other = self.hub("ann/one-GGUF", "sub/one-Q8_0.gguf", CHAT)
        self.hub("solo", "solo.gguf", FLOAT)
        self.assertEqual(self.names(), [("ann/one-GGUF:Q4_K_M", "huggingface"),
                                        ("ann/one-GGUF:Q8_0", "huggingface"),
                                        ("solo:solo", "huggingface")])
        for name in ("ann/one-GGUF:Q4_K_M", "Ann/One:q4_k_m", "one:Q4_K_M", "one-Q4_K_M"):
            self.means(name, link)
        self.means("one-gguf:q8_0", other)
        self.means("solo", self.path(".cache/huggingface/hub/models--solo/snapshots", "a" * 40,
                                     "solo.gguf"))
        self.refused("ann/one-GGUF", "could be any", "one-GGUF:Q4_K_M", "one-GGUF:Q8_0")

    def test_huggingface_revisions(self):
        """The revision that main means counts, an older one does not."""
        self.hub("ann/one", "one-Q8_0.gguf", CHAT, "b" * 40)
        new = self.hub("ann/one", "one-Q8_0.gguf", INT, "c" * 40)
        self.assertEqual([m["path"] for m in self.ls()], [new])
        self.means("ann/one", new)

    def test_huggingface_folders(self):
        for name in ("config.json", "tokenizer.json"):
            self.put(f".cache/huggingface/hub/models--a--b/snapshots/1/{name}",
                     data={"model_type": "llama", "torch_dtype": "bfloat16"})
        folder = os.path.dirname(self.path(".cache/huggingface/hub/models--a--b/snapshots/1/x"))
        self.assertEqual(self.ls(), [])
        for i in (1, 2):
            self.put(f"{folder}/model-0000{i}-of-00002.safetensors", data=b"x" * 50)
        self.assertEqual(self.ls(), [{
            "name": "a/b", "quantization": "bfloat16", "architecture": "llama", "bytes": 100,
            "parts": 2, "source": "huggingface", "path": folder, "problem": None}])

    def test_environment(self):
        for variables, root in (({"HF_HUB_CACHE": "p"}, "p"), ({"HF_HOME": "q"}, "q/hub"),
                                ({"XDG_CACHE_HOME": "r"}, "r/huggingface/hub")):
            self.hub(f"x/{root[0]}", "m-Q8_0.gguf", INT, root=root)
            env = {k: self.path(v) for k, v in variables.items()}
            self.assertEqual(self.names(**env), [(f"x/{root[0]}:Q8_0", "huggingface")])
        self.put("llama/l.gguf", INT)
        self.assertEqual(self.names(LLAMA_CACHE=self.path("llama")), [("l", "llama.cpp")])
        self.ollama("registry.ollama.ai/library/o/latest", INT, "ollama")
        self.assertEqual(self.names(OLLAMA_MODELS=self.path("ollama")), [("o:latest", "ollama")])

    def test_llamacpp(self):
        self.put(".cache/llama.cpp/manifest=ann=two_x-GGUF=latest.json", data={})
        path = self.put(".cache/llama.cpp/ann_two_x-GGUF_two-Q4_0.gguf", INT)
        plain = self.put(".cache/llama.cpp/plain-Q8_0.gguf", CHAT)
        self.assertEqual(self.names(), [("ann/two_x-GGUF:Q4_0", "llama.cpp"),
                                        ("plain-Q8_0", "llama.cpp")])
        self.means("two_x:Q4_0", path)
        self.means("plain", plain)

    def test_lmstudio(self):
        a = self.put(".lmstudio/models/ann/one-GGUF/one-Q4_0.gguf", INT)
        b = self.put(".cache/lm-studio/models/bob/two/two-f16.gguf", FLOAT)
        self.put(".lmstudio/models/ann/one-GGUF/mmproj-one-F16.gguf", FLOAT)
        self.assertEqual(self.names(), [
            ("ann/one-GGUF:mmproj-one-F16", "lmstudio"), ("ann/one-GGUF:Q4_0", "lmstudio"),
            ("bob/two:F16", "lmstudio")])
        self.means("one", a)  # the image encoder is not meant
        self.means("two:f16", b)

    def test_ollama(self):
        small = self.ollama("registry.ollama.ai/library/llama3.2/1b", INT)
        latest = self.ollama("registry.ollama.ai/library/llama3.2/latest", CHAT)
        self.ollama("registry.ollama.ai/ann/own/v1", FLOAT)
        self.ollama("hf.co/bob/three-GGUF/Q8_0", FLOAT)
        self.assertEqual([n for n, _ in self.names()],
                         ["ann/own:v1", "hf.co/bob/three-GGUF:Q8_0", "llama3.2:1b",
                          "llama3.2:latest"])
        self.means("llama3.2:1b", small)
        self.means("llama3.2", latest)
        self.means("ann/own:v1", self.ls()[0]["path"])
        self.refused("llama3.2:9b", "llama3.2:1b")

    def test_split(self):
        parts = [self.put(f".lmstudio/models/a/b/big-Q8_0-0000{i}-of-00003.gguf", INT) for i in (1, 2, 3)]
        big = self.ls()
        self.assertEqual([(m["name"], m["parts"], m["bytes"], m["path"]) for m in big],
                         [("a/b:Q8_0", 3, 3 * os.path.getsize(INT), parts[0])])
        os.remove(parts[1])
        self.assertIn("part 2 of 3 is missing", self.ls()[0]["problem"])
        self.refused("a/b", "part 2 of 3 is missing")
        os.remove(parts[0])
        self.assertIn("part 1 of 3 is missing", self.ls()[0]["problem"])


class Names(Case):
    def test_same_in_two_places(self):
        """A copy of one model in two folders is one candidate."""
        path = self.put("brisk/ann/one-GGUF/one-Q4_0.gguf", INT)
        self.hub("ann/one-GGUF", "one-Q4_0.gguf", INT)
        self.assertEqual(len(self.ls()), 2)
        self.means("one", path)
        os.remove(path)
        self.means("one", self.ls()[0]["path"])

    def test_typo(self):
        self.put("brisk/ann/Llama-3.2-1B-GGUF/Llama-3.2-1B-Q4_K_M.gguf", INT)
        for wrong in ("ann/Lama-3.2-1B-GGUF", "llama-3.2-2b", "Lama-3.2-1B"):
            self.refused(wrong, f"no model '{wrong}'", "did you mean ann/Llama-3.2-1B-GGUF:Q4_K_M")
        self.refused("zzz/yyy-GGUF", "brisk pull zzz/yyy-GGUF")
        self.refused("zzz", "no model 'zzz'", self.path("brisk"))
        self.refused("./zzz.gguf", "zzz.gguf")
        self.refused("zzz/yyy.gguf", "zzz/yyy.gguf")

    def test_one_quantization_twice(self):
        a = self.put("brisk/ann/x/a-Q8_0.gguf", INT)
        self.put("brisk/ann/x/b-Q8_0.gguf", CHAT)
        self.assertEqual([n for n, _ in self.names()], ["ann/x:a-Q8_0", "ann/x:b-Q8_0"])
        self.refused("ann/x:Q8_0", "ann/x:a-Q8_0", "ann/x:b-Q8_0")
        self.means("ann/x:a-Q8_0", a)

    def test_a_file_comes_first(self):
        self.put("brisk/one.gguf", INT)
        here = self.put("one", CHAT)
        r = subprocess.run([BRISK, "info", "-m", "one", "--json", "--metadata"], cwd=self.home,
                           env={"HOME": self.home, "BRISK_CACHE": self.path("brisk")},
                           capture_output=True, check=False)
        self.assertEqual(json.loads(r.stdout)["file_bytes"], os.path.getsize(here))

    def test_known(self):
        path = self.put("brisk/gemma-3-270m-q4_k_m.gguf", INT)
        for name in ("gemma3-270m", "gemma3", "gemma-3-270m-q4_k_m"):
            self.means(name, path)
        os.remove(path)
        self.refused("gemma3-270m", "brisk pull gemma3-270m")


class Broken(Case):
    def test_shown_as_such(self):
        link = self.hub("a/gone", "gone-Q8_0.gguf", INT)
        os.remove(os.path.realpath(link))
        with open(INT, "rb") as f:
            head = f.read(3000)
        self.put("brisk/cut.gguf", data=head)
        self.put("brisk/empty.gguf")
        self.put("brisk/html.gguf", data=b"<html>")
        self.put("brisk/fine.gguf", INT)
        blob = self.ollama("registry.ollama.ai/library/o/a", FLOAT)
        os.remove(blob)
        self.put(".ollama/models/blobs/sha256-/x")
        for i, text in enumerate((b"", b"{", b"[]", b'{"layers": 3}', b'{"layers": [{"mediaType": '
                                  b'"application/vnd.ollama.image.model", "digest": "sha256:/../../../../brisk/fine.gguf"}]}')):
            self.put(f".ollama/models/manifests/registry.ollama.ai/library/bad/{i}", data=text)
        models = {m["name"]: m["problem"] for m in self.ls()}
        self.assertEqual(len(models), 11)
        self.assertIsNone(models.pop("fine"))
        self.assertTrue(all(models.values()), models)
        self.assertIn("not there", models["a/gone:Q8_0"])
        self.assertIn("blob", models["o:a"])
        table = self.brisk("ls").out.splitlines()
        self.assertEqual(len(table), 12)
        self.assertEqual(sum("broken" in line for line in table), 10)
        self.refused("a/gone:Q8_0", "not there")

    def test_hostile_names(self):
        """No byte of a file's name steers the terminal."""
        self.put("brisk/a\x1b[31m\nb/c\x07d/e\x7f.gguf", INT)
        out = self.brisk("ls").out
        self.assertNotIn("\x1b", out)
        self.assertNotIn("\x07", out)
        self.assertEqual(len(out.splitlines()), 2)
        self.assertEqual(len(self.ls()), 1)

    def test_table(self):
        self.put("brisk/one-Q8_0.gguf", INT)
        self.put("brisk/ann/long-name-of-a-repository/x-F16.gguf", FLOAT)
        lines = self.brisk("ls").out.splitlines()
        self.assertEqual(lines[0].split(), ["name", "weights", "architecture", "size", "from", "path"])
        at = lines[0].index("path")
        self.assertTrue(all(line[at] == "/" for line in lines[1:]), lines)


class Doctor(Case):
    def findings(self, **more):
        r = self.brisk("doctor", "--json", **more)
        report = json.loads(r.out)
        return r, report, {f["what"]: f for f in report["findings"]}

    def test_report(self):
        r, report, found = self.findings()
        self.assertEqual(r.returncode, 0, r.out)
        quota = report["cpu_quota"] or 1 << 30
        self.assertEqual(report["threads"], max(1, min(report["cores"], int(quota))))
        with open("/proc/meminfo", encoding="ascii") as f:
            self.assertEqual(report["memory_bytes"], int(f.readline().split()[1]) * 1024)
        self.assertEqual(report["cpus"], len(os.sched_getaffinity(0)))
        self.assertEqual(found["default model"]["advice"], "brisk pull")
        self.assertIn("0 on this machine", found["models"]["text"])
        self.put("brisk/smollm2-135m-instruct-q4_1.gguf", INT)
        self.put("brisk/cut.gguf", data=b"")
        _, _, found = self.findings()
        self.assertEqual(found["default model"]["level"], "ok")
        self.assertIn("2 on this machine", found["models"]["text"])
        text = self.brisk("doctor").out
        for what in found:
            self.assertIn(what, text)

    def test_limits(self):
        """Measured once, then read from the cache folder; nothing of it without the option."""
        self.assertNotIn("limits", self.findings()[1])
        def limits():
            r = self.brisk("doctor", "--json", "-t", "2", "--limits", BRISK_CPU="ref")
            self.assertEqual((r.returncode, r.err), (0, ""))
            return json.loads(r.out)["limits"]
        first = limits()
        self.assertEqual((first["level"], first["threads"]), ("ref", [1, 2]))
        self.assertEqual(first["bytes"], sorted(first["bytes"]))
        for key in ("read_bytes_per_second", "read_median_bytes_per_second"):
            self.assertEqual([len(row) for row in first[key]], [len(first["bytes"])] * 2)
        for key in ("int8", "int8_memory", "f32"):
            self.assertTrue(all(x > 1e6 for x in first[f"{key}_ops_per_second"]), first)
        self.assertEqual(first["bf16_ops_per_second"], [0, 0])
        self.assertEqual(limits(), first)
        kept = [name for name in os.listdir(self.path("brisk")) if name.startswith("limits-")]
        self.assertEqual(len(kept), 1)
        with open(self.path("brisk", kept[0]), "r+", encoding="ascii") as f:
            f.truncate(100)
        self.assertGreaterEqual(limits()["date"], first["date"])
        self.assertNotEqual(limits(), first) # the damaged file is replaced
        text = self.brisk("doctor", "--limits", "-t", "2", BRISK_CPU="ref").out
        self.assertIn("level ref, measured 20", text)
        self.assertRegex(text, r"\n  read 256 KiB +GB/s +\d+\.\d +\d+\.\d\n")
        self.assertRegex(text, r"\n  bf16 dot +GFLOP/s +- +-\n")
        again = self.brisk("doctor", "--measure", "--json", "-t", "2", BRISK_CPU="ref")
        self.assertEqual(json.loads(again.out)["limits"], limits())
        self.assertEqual(len(os.listdir(self.path("brisk"))), 1)
        r = self.brisk("doctor", "--limits", BRISK_CPU="fast")
        self.assertEqual((r.returncode, r.out), (1, ""))
        self.assertIn("'fast'", r.err)

    def test_levels(self):
        with open("/proc/cpuinfo", encoding="ascii") as f:
            flags = next(line for line in f if line.startswith("flags")).split()
        _, report, found = self.findings()
        self.assertEqual("avx2" in flags, "AVX2" in report["cpu_features"])
        self.assertEqual("avx512_vnni" in flags, "AVX512-VNNI" in report["cpu_features"])
        self.assertEqual(report["cpu_level"], report["best_cpu_level"])
        r, report, found = self.findings(BRISK_CPU="ref")
        self.assertEqual((r.returncode, report["cpu_level"]), (0, "ref"))
        r, _, found = self.findings(BRISK_CPU="fast")
        self.assertEqual((r.returncode, found["kernels"]["level"]), (1, "problem"))
        self.assertIn("BRISK_CPU='fast'", found["kernels"]["advice"])

    def test_advice(self):
        r, _, found = self.findings(BRISK_CACHE="/dev/null/x")
        self.assertEqual((r.returncode, found["cache folder"]["level"]), (1, "problem"))
        self.assertIn("BRISK_CACHE", found["cache folder"]["advice"])
        _, _, found = self.findings(PYTHON="/no/such/python")
        self.assertIn("python3-pip", found["brisk pull"]["advice"])


if __name__ == "__main__":
    unittest.main()
