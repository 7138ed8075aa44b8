#!/usr/bin/env python3
"""compare_numpy.py MATRICES: the linear algebra, pruning and repair of src/compress/ against numpy in
float64. MATRICES is the program of tests/compress/matrices.c."""
import subprocess
import sys

import numpy as np

tool = sys.argv[1]
rng = np.random.default_rng(5)
checks = 0


def check(ok, what):
    global checks
    checks += 1
    if not ok:
        sys.exit(f"compare_numpy: {what}")


def run(*args, data, threads=2):
    """Output of the tool as float32, or its line of complaint."""
    raw = b"".join(np.ascontiguousarray(x).tobytes() for x in data)
    r = subprocess.run([tool, str(threads), *map(str, args)], input=raw, capture_output=True)
    if r.returncode:
        check(r.returncode == 1, f"{args}: exit status {r.returncode}")
        return r.stderr.decode()
    return np.frombuffer(r.stdout, np.float32)


def gram_of(k, n):
    """Inputs as models have them: correlated, some much larger, a few that are always zero."""
    x = rng.standard_normal((n, k)) @ (rng.standard_normal((k, k)) / np.sqrt(k) + np.eye(k))
    x *= np.exp(rng.standard_normal(k))
    x[:, rng.choice(k, k // 40, replace=False)] = 0
    return (x.T @ x).astype(np.float32)


def damped(gram, damping=0.01):
    g = gram.astype(np.float64)
    return g + damping * np.mean(np.diag(g)) * np.eye(len(g))


def near(found, wanted, bound, what):
    error = np.linalg.norm(found - wanted) / max(np.linalg.norm(wanted), 1e-300)
    check(error <= bound, f"{what}: relative error {error:.2e}, at most {bound:.0e} wanted")


def loss(w, pruned, gram):
    d = w.astype(np.float64) - pruned
    return np.sum(d @ gram.astype(np.float64) * d)


def test_linear_algebra():
    for n in (1, 2, 7, 127, 128, 129, 300, 513):
        a = damped(gram_of(n, 2 * n + 3)).astype(np.float32)
        a64, x = a.astype(np.float64), rng.standard_normal((5, n)).astype(np.float32)
        spoiled = np.tril(a) + np.triu(np.full_like(a, 9), 1)  # the upper triangle is not read
        l = run("cholesky", n, data=[spoiled]).reshape(n, n)
        check(np.all(np.triu(l, 1) == np.triu(spoiled, 1)), "the upper triangle was written to")
        l = np.tril(l).astype(np.float64)
        near(l @ l.T, a64, 1e-6, f"cholesky {n}")
        near(l, np.linalg.cholesky(a64), 1e-4, f"factor {n}")
        y = run("solve", n, 5, data=[a, x]).reshape(5, n).astype(np.float64)
        near(y @ a64, x, 1e-4, f"solve {n}")
        u = run("inverse", n, data=[a]).reshape(n, n).astype(np.float64)
        check(np.all(np.tril(u, -1) == 0), "the factor of the inverse is upper triangular")
        near(u, np.linalg.cholesky(np.linalg.inv(a64)).T, 1e-3, f"inverse {n}")
    a = damped(gram_of(300, 400)).astype(np.float32)
    for op in (("cholesky", 300), ("inverse", 300)):
        check(run(*op, data=[a]).tobytes() == run(*op, data=[a], threads=1).tobytes(),
              f"{op[0]}: other bits with one thread")
    g = gram_of(200, 50)  # rank 50
    check("not positive definite" in run("cholesky", 200, data=[g]), "a singular matrix")
    a[150, 150] = np.nan
    check("not positive definite (row 151)" in run("cholesky", 300, data=[a]), "not a number")


def test_columns():
    for rows, k, n in ((3, 5, 2), (40, 200, 120), (130, 384, 383), (64, 257, 1), (20, 64, 64)):
        w = rng.standard_normal((rows, k)).astype(np.float32)
        g = gram_of(k, 3 * k)
        s = np.sort(rng.choice(k, n, replace=False)).astype(np.int32)
        out = run("columns", rows, k, n, 0.01, data=[w, g, s])
        got, error = out[:-1].reshape(rows, n).astype(np.float64), out[-1]
        h = damped(g)
        near(got, w @ np.linalg.solve(h[np.ix_(s, s)], h[s]).T, 1e-4, f"columns {rows} {k} {n}")
        wide = np.zeros((rows, k))
        wide[:, s] = got
        all_of_it = np.sum(w @ g.astype(np.float64) * w)
        near(error, loss(w, wide, g) / all_of_it, 1e-3, "the error that is told") if n < k else None
        again = run("columns", rows, k, n, 0.01, data=[w, g, s], threads=1)
        check(out.tobytes() == again.tobytes(), "columns: other bits with one thread")
    w, g = w[:, :50], np.zeros((50, 50), np.float32)
    s = np.arange(0, 50, 2, dtype=np.int32)
    got = run("columns", 20, 50, 25, 0.01, data=[w, g, s])
    check(np.array_equal(got[:-1].reshape(20, 25), w[:, s]), "a text that says nothing: no change")
    g = gram_of(50, 9)
    got = run("columns", 20, 50, 25, 0, data=[w, g, s])  # singular: damping is raised or 1
    check(isinstance(got, np.ndarray) and np.all(np.isfinite(got)), "a singular Gram matrix")
    g[3, 4] = np.inf
    check("Gram" in run("columns", 20, 50, 25, 0.01, data=[w, g, s]), "an infinite Gram matrix")
    check("kept" in run("columns", 20, 50, 2, 0.01, data=[w, g, s[[1, 0]]]), "numbers out of order")
    check("kept" in run("columns", 20, 50, 0, 0.01, data=[w, g, s[:0]]), "nothing kept")


test_linear_algebra()
test_columns()
print(f"{checks} comparisons")
