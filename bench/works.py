"""Work beside prefill and decode of a short text: a long context, many sequences at once, few tokens at
once. Each has rounds of its own, in which every engine takes its turn."""

import engines
from report import BRISK, PEERS, best_peer, limit_figures, median, read_limits, series, shares

LONG_ROUNDS, PARALLEL_ROUNDS = 2, 3
LONG_GEN, PARALLEL_GEN = 32, 64
LONG, SMOKE_LONG = 8192, 64
FEW = (1, 4, 8)
Q8 = "brisk kv q8_0"
FEW_PEAK_SHARE = 0.6            # of the int8 peak, at which columns may take longer than the ratio allows


class Work:
    """What is run (run(engine) gives a sample) by which engines; .names are the samples' keys that
    compare_with_peer makes ratios of."""

    def __init__(self, name, title, rounds, contestants, run, names):
        self.name, self.title, self.rounds = name, title, rounds
        self.engines, self.run, self.names = contestants, run, names


def wanted(o, path):
    """The works that the options ask for, with this file."""
    brisk = engines.Brisk(o.brisk, o.threads)
    peers = [engines.Peer(o.peer_bin, o.threads, fa) for fa in (0, 1)]
    found = []
    if o.long or o.all:
        depth = SMOKE_LONG if o.smoke else LONG
        q8 = engines.Brisk(o.brisk, o.threads, cache="q8_0")
        found.append(Work("long", f"prefill of {depth}, decode of {LONG_GEN} after them",
                          min(o.rounds, LONG_ROUNDS), [brisk, q8] + peers,
                          lambda e: e.long(path, depth, LONG_GEN), ("long_prefill", "long_decode")))
    for n in o.parallel or ([16] if o.all else []):
        name = f"parallel_{n}"
        found.append(Work(name, f"{n} sequences decode {PARALLEL_GEN} each, tokens/s together",
                          min(o.rounds, PARALLEL_ROUNDS), [brisk] + peers,
                          lambda e, n=n, name=name: {name: e.parallel(path, n, PARALLEL_GEN)}, (name,)))
    if o.few or o.all:
        found.append(Work("few", "prompts of 1, 4 and 8 tokens, ms", o.rounds, [brisk] + peers,
                          lambda e: e.few(path, FEW), ()))
    return found


def measure(o, file, say):
    """Runs them; file["works"] gets {name, title, samples}, and the file what their limits need."""
    file["works"] = []
    for work in wanted(o, file["path"]):
        found = {"name": work.name, "title": work.title, "names": work.names,
                 "samples": {e.name: [] for e in work.engines}, "read_rates": []}
        depth = SMOKE_LONG if o.smoke else LONG
        found["bytes"] = file["bytes_per_token"] + depth * file["kv_bytes_per_position"]
        for r in range(work.rounds):
            for engine in work.engines:
                say(f"{file['file']}, {work.name}, round {r + 1} of {work.rounds}: {engine.name}")
                found["samples"][engine.name].append(work.run(engine))
            if work.name == "long":
                found["read_rates"].append(work.engines[0].read_rate(found["bytes"]))
        file["works"].append(found)


# ---- Figures ------------------------------------------------------------------------------------

def figures_of_long(work, file, peak, found):
    rounds = len(work["read_rates"])
    found.update(limit_figures("long_prefill", work, [peak / file["ops_per_token"]] * rounds))
    found.update(limit_figures("long_decode", work, read_limits(work, work["bytes"])))
    found["long_q8_0_share"] = shares(series(work, Q8, "long_decode"),
                                      series(work, BRISK, "long_decode"))


def figures_of_few(work, file, peak, found):
    """How many times the time of one token some take, and how many their operations allow."""
    one = series(work, BRISK, "t1")
    for n in FEW[1:]:
        found[f"t{n}_ratio"] = shares(series(work, BRISK, f"t{n}"), one)
        found[f"t{n}_peer"] = min(shares(series(work, p, f"t{n}"), series(work, p, "t1"))
                                  for p in PEERS)
        ms = 1e3 * n * file["ops_per_token"] / (FEW_PEAK_SHARE * peak)
        found[f"t{n}_allowed"] = ms / median(one)


def figures(file, peak):
    found = {}
    for work in file["works"]:
        for what in work["names"]:
            found[what + "_ratio"] = shares(series(work, BRISK, what), best_peer(work, what))
            found[what + "_peer"] = max(median(series(work, p, what)) for p in PEERS)
        if work["name"] == "long":
            figures_of_long(work, file, peak, found)
        if work["name"] == "few":
            figures_of_few(work, file, peak, found)
    return found


# ---- Tables -------------------------------------------------------------------------------------

def cell(values):
    form = "{:.2f}" if median(values) < 20 else "{:.1f}"
    return f"{form.format(median(values))} ({form.format(min(values))}..{form.format(max(values))})"


def print_table(work, keys):
    print(f"  {work['title']}")
    print(f"  {'':<30}" + "".join(f"{key:>26}" for key in keys))
    for engine, samples in work["samples"].items():
        print(f"  {engine:<30}" + "".join(
            f"{cell(series(work, engine, key)) if key in samples[0] else '-':>26}" for key in keys))


def print_works(file):
    f = file["figures"]
    for work in file["works"]:
        print_table(work, work["names"] or [f"t{n}" for n in FEW])
        for what in work["names"]:
            print(f"    {what}: {f[what + '_ratio']:.2f} x the best of llama.cpp", end="")
            print(f"; limit {f[what + '_limit']:.0f} tokens/s, brisk is at "
                  f"{100 * f[what + '_limit_share']:.0f} % of it, llama.cpp at "
                  f"{100 * f[what + '_peer_share']:.0f} %" if what + "_limit" in f else "")
        if work["name"] == "long":
            print(f"    keys and values of 8 bits: {f['long_q8_0_share']:.2f} x brisk's decode")
        if work["name"] == "few":
            for n in FEW[1:]:
                print(f"    t({n}) / t(1): brisk {f[f't{n}_ratio']:.2f}, llama.cpp "
                      f"{f[f't{n}_peer']:.2f}; operations at {100 * FEW_PEAK_SHARE:.0f} % of the int8 "
                      f"peak: {f[f't{n}_allowed']:.2f}")


def print_markdown(r):
    """Rows for docs/bench.md; ratios of times have no figure beside them."""
    rows = []
    for file in r["files"]:
        f = file["figures"]
        for work in file["works"]:
            for what in work["names"]:
                share = f"{100 * f[what + '_limit_share']:.0f} %" if what + "_limit" in f else ""
                rows.append((file["file"], what, f"{median(series(work, BRISK, what)):.0f}",
                             f"{f[what + '_peer']:.0f}", f"**{f[what + '_ratio']:.2f}**", share))
            if work["name"] == "few":
                rows += [(file["file"], f"t({n}) / t(1)", f"{f[f't{n}_ratio']:.2f}",
                          f"{f[f't{n}_peer']:.2f}", "", "") for n in FEW[1:]]
    if rows:
        print("\n| file | work | brisk | llama.cpp | ratio | of the limit |\n|---|---|---|---|---|---|")
    for row in rows:
        print("| " + " | ".join(row) + " |")
