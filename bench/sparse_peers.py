#!/usr/bin/env python3
"""Compressed sparse rows of SciPy and PyTorch beside brisk's forms of sparse matrices.

    bench/sparse_peers.py [-m 1024] [-k 2048] [-n 1,16] [--density 0.01,0.1,0.25,0.5] [-t 2] [--json]

Each engine multiplies a random matrix of floats, with the density given, with n vectors, its weights in
the cache, by turns in several rounds; the fastest product counts. brisk (BRISK, build/brisk) is asked by
`brisk bench sparse`. Needs numpy; SciPy and PyTorch are left out where they are not installed.
"""
import argparse
import json
import os
import subprocess
import time

import numpy as np

BRISK = os.environ.get("BRISK", os.path.join(os.path.dirname(os.path.abspath(__file__)), "../build/brisk"))


def timed(run, seconds):
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - start)
    return best


def peers(o, density, n):
    """Name -> seconds of the fastest product."""
    rng = np.random.default_rng(1)
    w = rng.uniform(-1, 1, (o.m, o.k)).astype(np.float32)
    w[rng.random(w.shape) >= density] = 0
    x = rng.uniform(-1, 1, (o.k, n)).astype(np.float32)
    want, runs = w @ x, {}
    try:
        import scipy.sparse
        a = scipy.sparse.csr_matrix(w)
        runs["scipy csr f32, 1 thread"] = lambda: a @ x
    except ImportError:
        pass
    try:
        import torch
        torch.set_num_threads(o.threads)
        b, y, dense = torch.from_numpy(w).to_sparse_csr(), torch.from_numpy(x), torch.from_numpy(w)
        runs["torch csr f32"] = lambda: b @ y
        runs["torch dense f32"] = lambda: dense @ y
    except ImportError:
        pass
    for name, run in runs.items():
        if not np.allclose(np.asarray(run()), want, atol=1e-3):
            raise SystemExit(f"{name}: a wrong product")
    best = dict.fromkeys(runs, float("inf"))
    for _ in range(3):
        for name, run in runs.items():
            best[name] = min(best[name], timed(run, 0.05))
    return best


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("-m", type=int, default=1024)
    p.add_argument("-k", type=int, default=2048)
    p.add_argument("-n", default="1,16")
    p.add_argument("--density", default="0.01,0.1,0.25,0.5")
    p.add_argument("-t", "--threads", type=int, default=2)
    p.add_argument("--json", action="store_true")
    o = p.parse_args()
    run = subprocess.run([BRISK, "bench", "sparse", "-m", str(o.m), "-k", str(o.k), "-n", o.n, "-r", "1",
                          "-t", str(o.threads), "--density", o.density, "--json"],
                         capture_output=True, text=True, check=True)
    rows = [{"engine": "brisk " + r["form"], "density": r["density"], "n": r["columns"],
             "seconds": r["seconds"]}
            for r in json.loads(run.stdout)["rows"] if r["weights"] == "cache"]
    for density in map(float, o.density.split(",")):
        for n in map(int, o.n.split(",")):
            rows += [{"engine": name, "density": density, "n": n, "seconds": s}
                     for name, s in peers(o, density, n).items()]
    if o.json:
        print(json.dumps(rows))
        return
    names = list(dict.fromkeys(r["engine"] for r in rows))
    cases = sorted({(r["n"], r["density"]) for r in rows})
    print(f"microseconds a product, {o.m} x {o.k} weights, {o.threads} threads\n")
    print("| engine |" + "".join(f" n {n}, {d:g} |" for n, d in cases))
    print("|---|" + "---:|" * len(cases))
    for name in names:
        of = {(r["n"], r["density"]): r["seconds"] for r in rows if r["engine"] == name}
        print(f"| {name} |" + "".join(f" {of[c] * 1e6:.0f} |" if c in of else " |" for c in cases))


if __name__ == "__main__":
    main()
