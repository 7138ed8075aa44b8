#!/usr/bin/env python3
"""brisk bench matmul as seen from outside: table, JSON, picture, a peer that is missing, right or wrong.

BRISK names the program (build/brisk). OpenBLAS need not be there: a library with its functions is made
here with the C compiler (CC, gcc). Needs nothing but Python's own library.
"""
import json
import os
import re
import subprocess
import tempfile
import unittest
import xml.etree.ElementTree

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../..")
BRISK = os.path.abspath(os.environ.get("BRISK", os.path.join(ROOT, "build/brisk")))
SMALL = ["-m", "70", "-n", "37", "-k", "96", "-r", "1"]
PEER = r"""
static int n = 1;
void openblas_set_num_threads(int threads) { n = threads > MOST ? MOST : threads; }
int openblas_get_num_threads(void) { return n; }
char *openblas_get_config(void) { return "Imitation <1&2>\033[31m"; }
/* Column-major, a transposed. */
void cblas_sgemm(int order, int ta, int tb, int m, int n, int k, float alpha, const float *a, int lda,
                 const float *b, int ldb, float beta, float *c, int ldc) {
    for (int j = 0; j < n; j++)
        for (int i = 0; i < m; i++) {
            float sum = 0;
            for (int p = 0; p < k; p++) sum += a[i * lda + p] * b[j * ldb + p];
            c[j * ldc + i] = alpha * sum + (WRONG && i == m - 1 && j == n - 1 ? 0.001f : 0);
        }
    (void)order, (void)ta, (void)tb, (void)beta;
}
"""


def bench(*args, env=None):
    result = subprocess.run([BRISK, "bench", "matmul", *SMALL, *args], capture_output=True, timeout=120,
                            env={**os.environ, **(env or {})}, check=False)
    result.out, result.err = result.stdout.decode(), result.stderr.decode()
    return result


class Matmul(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        source = cls.path("peer.c")
        with open(source, "w", encoding="utf-8") as f:
            f.write(PEER)
        for name, defines in (("right", "-DWRONG=0 -DMOST=9"), ("wrong", "-DWRONG=1 -DMOST=9"),
                              ("serial", "-DWRONG=0 -DMOST=1")):
            subprocess.run([os.environ.get("CC", "gcc"), "-shared", "-fPIC", "-O1", *defines.split(),
                            "-o", cls.path(name), source], check=True)

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    @classmethod
    def path(cls, name):
        return os.path.join(cls.folder.name, name)

    def ok(self, *args, **kw):
        result = bench(*args, **kw)
        self.assertEqual(result.returncode, 0, result.err)
        return result

    def test_json(self):
        out = self.ok("--type", "f32,f16,bf16,q8_0,q4_0", "-t", "1,3", "--peer", self.path("right"),
                      "--json").out
        report = json.loads(out)
        self.assertEqual([report[x] for x in "mnk"], [70, 37, 96])
        self.assertTrue(report["peer"].startswith("Imitation <1&2>"))
        kernels = [("naive", 1), ("blocked", 1), ("SIMD", 1), ("SIMD", 3)]
        want = [("f32", *w) for w in kernels + [("OpenBLAS", 1), ("OpenBLAS", 3)]]
        want += [(t, *w) for t in ("f16", "bf16", "q8_0", "q4_0") for w in kernels]
        rows = report["rows"]
        self.assertEqual([(r["type"], r["way"], r["threads"]) for r in rows], want)
        for i, r in enumerate(rows):
            ops = 2 * 70 * 37 * 96
            self.assertEqual(r["vectors"], 37)
            self.assertAlmostEqual(r["ops_per_second"] * r["best_seconds"], ops, delta=ops * 1e-3)
            self.assertLessEqual(r["best_seconds"], r["median_seconds"])
            self.assertAlmostEqual(r["of_peak"] * r["peak_ops_per_second"], r["ops_per_second"],
                                   delta=r["ops_per_second"] * 1e-2)
            first = next(x for x in rows if x["type"] == r["type"])
            one = next(x for x in rows if (x["type"], x["way"]) == (r["type"], r["way"]))
            for key, base in (("over_naive", first), ("over_one_thread", one)):
                share = r["ops_per_second"] / base["ops_per_second"]
                self.assertAlmostEqual(r[key], share, delta=share * 1e-3, msg=str(i))
            most = 0.05 if r["type"][0] == "q" and r["way"] == "SIMD" else 1e-5
            self.assertLess(r["max_difference"], most)
            if r["way"] == "SIMD" and r["type"][0] == "q":
                self.assertGreater(r["max_difference"], 1e-5)

    def test_table_and_picture(self):
        picture = self.path("picture.svg")
        out = self.ok("--type", "f32,q4_0", "-t", "1,2", "--peer", "none", "--svg", picture).out
        table = [line for line in out.splitlines() if line.startswith("|")]
        self.assertEqual(len(table), 2 + 4 + 4)
        self.assertEqual({len(line) for line in table}, {len(table[0])})
        self.assertRegex(out, r"\| f32  \| naive, 1 thread  ")
        self.assertRegex(out, r"SIMD, 2 threads .* [\d.]+ \| +\d+ % \| +\d+ % \| +[\d.e+-]+ \|")
        self.assertNotIn("OpenBLAS", out)
        tree = xml.etree.ElementTree.parse(picture)  # well-formed
        texts = ["".join(t.itertext()) for t in tree.iter("{http://www.w3.org/2000/svg}text")]
        for want in ("naive, 1 thread", "SIMD, 2 threads", "f32", "q4_0"):
            self.assertIn(want, texts)
        self.assertEqual(len(list(tree.iter("{http://www.w3.org/2000/svg}rect"))), 1 + 8)
        with open(picture, encoding="utf-8") as f:
            self.assertEqual(re.findall(r"https?://(?!www\.w3\.org/2000/svg)", f.read()), [])

    def test_same_numbers_at_every_level(self):
        """Only the times depend on the kernels."""
        args = ["--type", "f32,q8_0", "-t", "2", "--peer", "none", "--json"]
        reports = [json.loads(self.ok(*args, env={"BRISK_CPU": level}).out)
                   for level in ("ref", "avx2", "avx512")]
        differences = [[r["max_difference"] for r in x["rows"]] for x in reports]
        self.assertEqual(reports[0]["cpu_level"], "ref")
        self.assertEqual(differences[0], differences[1])
        self.assertEqual(differences[0], differences[2])
        self.assertIsNone(reports[0]["rows"][-1]["over_one_thread"])  # two threads alone

    def test_peer(self):
        gone = self.ok("-t", "1", "--peer", self.path("gone")).out
        self.assertIn("apt install libopenblas0-pthread", gone)
        self.assertNotIn("| OpenBLAS", gone.replace("  ", " "))
        self.assertNotIn("OpenBLAS", self.ok("-t", "1", "--type", "q8_0", "--peer", self.path("gone")).out)
        here = self.ok("-t", "1,2", "--peer", self.path("right")).out
        self.assertIn("OpenBLAS, 2 threads", here)
        self.assertIn("peer: Imitation <1&2>\\x1b[31m", here)
        self.assertNotIn("OpenBLAS, 2 threads", self.ok("-t", "1,2", "--peer", self.path("serial")).out)

    def test_refused(self):
        for args, says in ((["--peer", self.path("wrong")], ["OpenBLAS", "wrong product", "row 69 of vector 36"]),
                           (["--type", "q9"], ["q9"]), (["--type", "f32,,q8_0"], ["''"]),
                           (["--type", "q6_k", "-k", "255"], ["multiple of 256"]), (["--type", "f32" + ",f32" * 8], ["8 types"]),
                           (["--type", "q8_0", "-k", "40"], ["40", "multiple of 32"]),
                           (["-k", "0"], ["from 1"]), (["-t", "1-17"], ["17", "16"]),
                           (["-t", "0"], ["from 1"]), (["extra"], ["extra"]),
                           (["--svg", self.path("no/folder.svg")], ["no/folder.svg"])):
            result = bench("--peer", "none", *args)
            self.assertEqual(result.returncode, 1, args)
            self.assertRegex(result.err, r"^brisk: [^\n]+\n$")
            for text in says:
                self.assertIn(text, result.err)

    def test_help(self):
        result = subprocess.run([BRISK, "bench", "matmul", "--help"], capture_output=True, check=True)
        self.assertTrue(result.stdout.startswith(b"usage: brisk bench matmul"))


if __name__ == "__main__":
    unittest.main(verbosity=2)
