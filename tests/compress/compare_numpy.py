#!/usr/bin/env python3
"""compare_numpy.py MATRICES: the linear algebra, pruning and repair of src/compress/ against numpy in
float64. MATRICES is the program of tests/compress/matrices.c."""
import os
import subprocess
import sys

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # small matrices: threads would only wait for each other

import numpy as np  # noqa: E402

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


MAGNITUDE, WANDA, OBS = range(3)
LAYER, ROW, NM, TILES = range(4)


def least(score, count):
    """A mask of the `count` smallest, of equal ones the first."""
    gone = np.zeros(score.size, bool)
    gone[np.argsort(score.ravel(), kind="stable")[:count]] = True
    return gone.reshape(score.shape)


def part(ratio, first, end):
    return int(np.floor(ratio * end + 0.5)) - int(np.floor(ratio * first + 0.5))


def choose(score, pattern, ratio, n, m, first=0):
    """What goes of columns [first, first + width)."""
    rows, width = score.shape
    if pattern == LAYER:
        return least(score, part(ratio, rows * first, rows * (first + width)))
    if pattern == ROW:
        return np.array([least(s, part(ratio, first, first + width)) for s in score])
    gone = np.zeros((rows, width), bool)
    if pattern == NM:
        for r in range(rows):
            for c in range(0, width, m):
                gone[r, c:c + m] = least(score[r, c:c + m], m - n)
        return gone
    for r in range(0, rows, n):
        tiles = [np.sum(score[r:r + n, c:c + m] ** 2) for c in range(0, width, m)]
        goes = least(np.array(tiles), part(ratio, -(-first // m), -(-first // m) + len(tiles)))
        gone[r:r + n] = np.repeat(goes, m)[:width]
    return gone


def sparsegpt(w, gram, pattern, ratio, n, m):
    """The paper's loop, with an inverse computed as such."""
    w = w.astype(np.float64).copy()
    rows, k = w.shape
    u = np.linalg.cholesky(np.linalg.inv(damped(gram))).T
    block = 128 // (m if pattern in (NM, TILES) else 1) * (m if pattern in (NM, TILES) else 1)
    for first in range(0, k, block):
        end = min(k, first + block)
        if pattern != NM:
            gone = choose(np.abs(w[:, first:end]) / np.diag(u)[first:end], pattern, ratio, n, m, first)
        else:
            gone = np.zeros((rows, end - first), bool)
        for j in range(first, end):
            if pattern == NM and (j - first) % m == 0:
                score = np.abs(w[:, j:j + m]) / np.diag(u)[j:j + m]
                gone[:, j - first:j - first + m] = choose(score, NM, ratio, n, m)
            e = np.where(gone[:, j - first], w[:, j] / u[j, j], 0)
            w[:, j + 1:] -= np.outer(e, u[j, j + 1:])
            w[gone[:, j - first], j] = 0
    return w


def fitted(w, gram, mask):
    """Least squares for every row on its own support."""
    h, out = damped(gram), np.zeros(w.shape)
    for r, row in enumerate(w.astype(np.float64)):
        s = np.flatnonzero(mask[r])
        out[r, s] = np.linalg.solve(h[np.ix_(s, s)], h[s] @ row)
    return out


def sparsify(w, g, score, pattern, ratio=0.5, n=0, m=0, repair=0, threads=2):
    squares = np.diag(g).astype(np.float64)
    out = run("sparsify", *w.shape, score, pattern, ratio, n, m, repair, data=[w, squares, g],
              threads=threads)
    return out if isinstance(out, str) else out[:-1].reshape(w.shape).astype(np.float64)


PATTERNS = ((LAYER, 0.5, 0, 0), (LAYER, 0.31, 0, 0), (ROW, 0.7, 0, 0), (NM, 0, 2, 4), (NM, 0, 4, 8),
            (NM, 0, 16, 64), (TILES, 0.5, 16, 4), (TILES, 0.3, 8, 4))


def test_masks():
    w = rng.standard_normal((50, 320)).astype(np.float32)
    g = gram_of(320, 900)
    norm = np.sqrt(np.diag(g).astype(np.float64))
    for pattern in PATTERNS:
        for score, scale in ((MAGNITUDE, 1), (WANDA, norm)):
            gone = choose(np.abs(w) * scale, *pattern)
            if score == WANDA and pattern[0] in (LAYER, ROW):  # ties and near ones aside
                got = sparsify(w, g, score, *pattern)
                check(np.sum(got == 0) == np.sum(gone), f"{pattern}: how many go")
                check(np.mean((got == 0) != gone) < 1e-3, f"{pattern}: which go")
                continue
            check(np.array_equal(sparsify(w, g, score, *pattern), np.where(gone, 0, w)),
                  f"score {score}, pattern {pattern}")


def test_sparsegpt():
    w = rng.standard_normal((48, 320)).astype(np.float32)
    g = gram_of(320, 900)
    for pattern in PATTERNS:
        got, want = sparsify(w, g, OBS, *pattern), sparsegpt(w, g, *pattern)
        name = f"sparsegpt {pattern}"
        check(np.sum(got == 0) == np.sum(want == 0), f"{name}: how many go")
        # A near tie decided otherwise changes the weights behind it in its row.
        same = np.all((got == 0) == (want == 0), axis=1)
        check(np.mean((got == 0) != (want == 0)) < 2e-3, f"{name}: which go")
        check(np.mean(same) > 0.8, f"{name}: {np.mean(same):.0%} of the rows have the same zeros")
        near(got[same], want[same], 2e-4, name)
        check(abs(loss(w, got, g) / loss(w, want, g) - 1) < 1e-2, f"{name}: loss")
        plain = sparsify(w, g, WANDA, *pattern)
        check(loss(w, got, g) < loss(w, plain, g), f"{name}: no better than without updates")


def test_repair():
    w = rng.standard_normal((40, 320)).astype(np.float32)
    g = gram_of(320, 900)
    h = damped(g)
    for score in (WANDA, OBS):
        for pattern in PATTERNS:
            before = sparsify(w, g, score, *pattern)
            got = sparsify(w, g, score, *pattern, 1)
            want = fitted(w, g, before != 0)
            name = f"repair of {score} {pattern}"
            check(np.all(got[before == 0] == 0), f"{name}: zeros stay")
            start, found, best = (loss(w, x, h) for x in (before, got, want))
            bound = 1e-4 if pattern[0] == TILES else 2e-3
            check(found - best <= bound * (start - best), f"{name}: {start:.6g} to {found:.6g}, "
                  f"{best:.6g} is possible")


def test_edges():
    w = rng.standard_normal((20, 64)).astype(np.float32)
    g = gram_of(64, 20)  # singular
    for score in (MAGNITUDE, WANDA, OBS):
        for pattern in (LAYER, ROW, TILES):
            check(np.array_equal(sparsify(w, g, score, pattern, 0), w), "ratio 0")
            check(np.all(sparsify(w, g, score, pattern, 1, repair=1) == 0), "ratio 1")
            got = sparsify(w, g, score, pattern, 0.99, repair=1)
            check(np.all(np.isfinite(got)), "ratio 0.99")
    for pattern in PATTERNS:
        out = [sparsify(w, g, OBS, *pattern, 1, threads=t) for t in (1, 2, 3)]
        check(out[0].tobytes() == out[1].tobytes() == out[2].tobytes(), f"{pattern}: other bits")
    same = np.ones((20, 64), np.float32)
    got = sparsify(same, g, MAGNITUDE, LAYER, 0.25)
    check(np.all(got[:5] == 0) and np.all(got[5:] == 1), "of equal ones the first go")
    none = sparsify(w, np.zeros_like(g), OBS, ROW, 0.5, repair=1)
    check(np.array_equal(none, sparsify(w, g, MAGNITUDE, ROW, 0.5)), "a text that says nothing")
    check("multiples of 3" in sparsify(w, g, OBS, NM, 0, 1, 3), "rows that are no groups")
    check("ratio" in sparsify(w, g, OBS, ROW, 1.5), "a ratio above 1")
    check("9:8" in sparsify(w, g, OBS, NM, 0, 9, 8), "more than all stay")
    w[3, 4] = np.nan
    check("weights is not a number" in sparsify(w, g, WANDA, ROW), "a weight that is none")


test_linear_algebra()
test_columns()
test_masks()
test_sparsegpt()
test_repair()
test_edges()
print(f"{checks} comparisons")
