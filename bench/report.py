"""From samples to figures, tables and verdicts."""

import re
from statistics import median

OK, PEER_TOO_SLOW, MISSED = 0, 3, 4
KNOWN_SHARE = 0.8               # a peer below this share of what is known is not compared with
BUSY_PER_CORE = 0.5             # load above which figures are doubtful
KNOWN_PROMPT, KNOWN_GEN = 512, 64
# Where the peer's share of the limit is above the first, brisk's has to reach the second.
LIMIT_RULES = {"prefill": (1 / 5, 0.50, "int8 peak"), "decode": (1 / 3, 0.85, "read rate")}
BRISK, PEERS, AVX2 = "brisk", ("llama.cpp fa0", "llama.cpp fa1"), "brisk avx2"


class BadTable(Exception):
    """A .tsv file beside this one is not as it should be."""


def read_table(path, columns):
    rows = []
    with open(path, encoding="utf-8") as f:
        for number, line in enumerate(f, 1):
            if not line.strip() or line.startswith("#"):
                continue
            row = line.rstrip("\n").split("\t")
            if len(row) != columns:
                raise BadTable(f"{path}:{number}: {len(row)} columns, wanted {columns}")
            rows.append(row)
    return rows


# ---- Figures ------------------------------------------------------------------------------------

def series(file, engine, what):
    return [sample[what] for sample in file["samples"][engine]]


def best_peer(file, what):
    """Per round, the better of flash attention on and off."""
    return [max(pair) for pair in zip(*(series(file, p, what) for p in PEERS))]


def shares(above, below):
    """The median of the rounds' ratios: what disturbs a round disturbs both sides of it."""
    return median(a / b for a, b in zip(above, below))


def limit_figures(what, source, limits):
    """Of the limits of all rounds, in tokens/s: the median, and the share that each engine reaches. source
    has the samples, and figures of the rounds are compared with each other."""
    return {what + "_limit": median(limits),
            what + "_limit_share": shares(series(source, BRISK, what), limits),
            what + "_peer_share": shares(best_peer(source, what), limits)}


def read_limits(source, n_bytes):
    return [rate / n_bytes for rate in source["read_rates"]]


def figures(file, peak):
    """What targets are about, by the names in targets.tsv."""
    found = {"memory_factor": (file["memory"]["resident"] - file["memory"]["kv"]) / file["bytes"]}
    if file["first_token_ms"]:
        found["first_token_ms"] = median(file["first_token_ms"])
    for what in ("prefill", "decode"):
        ours = series(file, BRISK, what)
        found[f"{what}_ratio"] = shares(ours, best_peer(file, what))
        found[f"{what}_peer"] = max(median(series(file, p, what)) for p in PEERS)
        if AVX2 in file["samples"]:
            found[f"avx2_{what}_share"] = shares(series(file, AVX2, what), ours)
    rounds = len(file["read_rates"])
    found.update(limit_figures("prefill", file, [peak / file["ops_per_token"]] * rounds))
    found.update(limit_figures("decode", file, read_limits(file, file["bytes_per_token"])))
    return found


# ---- What was measured with ---------------------------------------------------------------------

def print_header(r):
    m, peer = r["machine"], r["peer"]
    print(f"date       {r['date']}")
    print(f"cpu        {m['cpu']}")
    print(f"isa        {' '.join(m['isa']) or 'none that matters'}")
    print(f"cores      {m['cores']}, caches "
          + (", ".join(f"{k} {v}" for k, v in m["caches"].items()) or "unknown"))
    print(f"kernel     {m['kernel']}")
    print(f"load       {m['load']:.2f}")
    if m["load"] > BUSY_PER_CORE * m["cores"]:
        print(f"WARNING    this machine is busy: a load of {m['load']:.2f} on {m['cores']} cores")
    print(f"compiler   {m['compiler']}")
    print(f"brisk      {r['brisk']}, kernels {r['level']}")
    print(f"peer       llama.cpp, {peer['version']}")
    print("           " + (" ".join(f"{k}={v}" for k, v in peer["flags"].items())
                           or "build flags unknown: no CMakeCache.txt above its folder"))
    if not peer["native_release"]:
        print("WARNING    not known to be a native release build of the peer")
    print(f"threads    {r['threads']}")
    print(f"rounds     {r['rounds']}, interleaved; each engine a process of its own in each round")
    print("cached     nothing but the file in the page cache: brisk bench and llama-bench compute "
          "every token", flush=True)


# ---- Tables -------------------------------------------------------------------------------------

def spread(values, form="{:.0f}"):
    return f"{form.format(median(values))} ({form.format(min(values))}..{form.format(max(values))})"


def megabytes(n):
    return f"{n / 1e6:.0f} MB"


def print_file(r, file):
    f, memory = file["figures"], file["memory"]
    print(f"\n{file['file']}, {megabytes(file['bytes'])} ({file['path']})")
    print(f"  {'tokens/s, median (min..max)':<30}{'prefill of ' + str(r['n_prompt']):>24}"
          f"{'decode of ' + str(r['n_gen']):>24}{'resident':>12}")
    for engine in file["samples"]:
        print(f"  {engine:<30}" + "".join(f"{spread(series(file, engine, what), '{:.1f}'):>24}"
                                         for what in ("prefill", "decode"))
              + f"{megabytes(median(series(file, engine, 'resident'))):>12}")
    print(f"  {'brisk / best of llama.cpp':<30}{f['prefill_ratio']:>23.2f}x{f['decode_ratio']:>23.2f}x")
    if "avx2_prefill_share" in f:
        print(f"  {'brisk avx2 / brisk':<30}{f['avx2_prefill_share']:>23.2f}x"
              f"{f['avx2_decode_share']:>23.2f}x")
    print(f"  decode limit {f['decode_limit']:.0f} tokens/s: {file['bytes_per_token'] / 1e6:.1f} MB per "
          f"token at {spread([rate / 1e9 for rate in file['read_rates']], '{:.1f}')} GB/s; brisk is at "
          f"{100 * f['decode_limit_share']:.0f} % of it, llama.cpp at "
          f"{100 * f['decode_peer_share']:.0f} %")
    print(f"  prefill limit {f['prefill_limit']:.0f} tokens/s: {file['ops_per_token'] / 1e6:.0f} million "
          f"operations per token at {r['int8_peak'] / 1e9:.0f} GOPS of int8; brisk is at "
          f"{100 * f['prefill_limit_share']:.0f} % of it, llama.cpp at "
          f"{100 * f['prefill_peer_share']:.0f} %")
    if file["first_token_ms"]:
        print(f"  first token  {spread(file['first_token_ms'])} ms from exec, prompt of 16 tokens")
    print(f"  memory       {megabytes(memory['resident'])} resident in brisk run after "
          f"{memory['tokens']} tokens, {megabytes(memory['kv'])} of it KV: "
          f"{f['memory_factor']:.2f} x file + KV")
    if "quality" in file:
        print_quality(file["quality"])


def print_quality(q):
    print(f"  perplexity   brisk {q['brisk']['ppl']:.4f} +/- {q['brisk']['ppl_error']:.4f}, llama.cpp "
          f"{q['peer']['ppl']:.4f} +/- {q['peer']['ppl_error']:.4f}  ({q['tokens']} tokens scored)")
    if "kl_ratio" in q:
        print(f"  mean KL      brisk {q['brisk']['kl_mean']:.6f}, llama.cpp "
              f"{q['peer']['kl_mean']:.6f}, from a float64 pass (its perplexity "
              f"{q['truth_ppl']:.4f}): {q['kl_ratio']:.2f}x")


def print_disturbance(r):
    print(f"\n{r['seconds']:.0f} s; of all CPU time others used {r['others_percent']:.1f} %, the host "
          f"kept {r['stolen_percent']:.1f} %")
    if r["others_percent"] + r["stolen_percent"] > 5:
        print("WARNING: that is enough to disturb the figures")


MARKDOWN = ("date", "CPU", "threads", "file", "prefill, brisk", "llama.cpp", "ratio", "decode, brisk",
            "llama.cpp", "ratio", "of the limits", "first token", "memory", "AVX2 share")


def print_markdown(r):
    """Rows for docs/bench.md."""
    print("\n| " + " | ".join(MARKDOWN) + " |")
    print("|" + "---|" * len(MARKDOWN))
    for file in r["files"]:
        f = file["figures"]
        cells = [r["date"], r["machine"]["cpu"], str(r["threads"]), file["file"]]
        for what in ("prefill", "decode"):
            cells += [f"{median(series(file, BRISK, what)):.0f}", f"{f[what + '_peer']:.0f}",
                      f"**{f[what + '_ratio']:.2f}**"]
        first = f"{f['first_token_ms']:.0f} ms" if "first_token_ms" in f else ""
        cells += [f"{100 * f['prefill_limit_share']:.0f} / {100 * f['decode_limit_share']:.0f} %", first,
                  f"{f['memory_factor']:.2f} x file + KV"]
        cells.append("{:.2f} / {:.2f}".format(f["avx2_prefill_share"], f["avx2_decode_share"])
                     if "avx2_prefill_share" in f else "")
        print("| " + " | ".join(cells) + " |")


# ---- Verdicts -----------------------------------------------------------------------------------

def known_peer(r, file, rows):
    for cpu, threads, label, prefill, decode, date in rows:
        if (re.fullmatch(cpu, r["machine"]["cpu"]) and int(threads) == r["threads"]
                and label == file["file"]):
            return {"prefill": float(prefill), "decode": float(decode), "date": date}
    return None


def judge_peer(r, file, rows):
    """True when the peer is as fast as it is known to be, or when nothing is known."""
    if (r["n_prompt"], r["n_gen"]) != (KNOWN_PROMPT, KNOWN_GEN):
        print(f"peer known: not compared, figures are for -p {KNOWN_PROMPT} -n {KNOWN_GEN}")
        return True
    known = known_peer(r, file, rows)
    found = {what: file["figures"][what + "_peer"] for what in ("prefill", "decode")}
    if known is None:
        print("peer known: no. When this machine was idle, add to bench/known_peers.tsv:")
        print("\t".join([re.escape(r["machine"]["cpu"]).replace("\\ ", " "), str(r["threads"]),
                         file["file"], f"{found['prefill']:.0f}", f"{found['decode']:.0f}",
                         r["date"][:7]]))
        return True
    good = True
    for what, value in found.items():
        share = value / known[what]
        enough = share >= KNOWN_SHARE
        good = good and enough
        print(f"{'PASS' if enough else 'FAIL'} {file['file']} peer's {what} {value:.0f}, known "
              f"{known[what]:.0f} ({known['date']}): {100 * share:.0f} %, at least "
              f"{100 * KNOWN_SHARE:.0f} % needed to compare")
    return good


def rule_of(name, figures):
    """(figure, share wanted, why) where the limit decides in place of a ratio to the peer; else None."""
    what = name.removesuffix("_ratio")
    kind = "prefill" if "prefill" in what else "decode"
    share = figures.get(what + "_peer_share") if name.endswith("_ratio") else None
    most, least, limit = LIMIT_RULES[kind]
    if share is None or share <= most:
        return None
    return what + "_limit_share", least, (f"llama.cpp itself uses {100 * share:.0f} % of the {limit}, "
                                          f"more than {100 * most:.0f} %")


def judge_target(label, name, bound, wanted, figures):
    """Prints the line of a target; whether it is met."""
    found, value, note = figures[name], float(wanted), ""
    rule = rule_of(name, figures)
    if rule:
        share, value, why = rule
        note = f" in place of {name} {found:.2f}, {bound} {wanted}: {why}"
        name, found, bound = share, figures[share], ">="
    allowed = figures.get(name.removesuffix("_ratio") + "_allowed")
    if allowed is not None:
        note = f" (or {allowed:.2f}, the columns' operations at 60 % of the int8 peak)"
        value = max(value, allowed)
    good = found >= value if bound == ">=" else found <= value
    shown = f"{value:g}" if allowed is None else wanted
    print(f"{'PASS' if good else 'FAIL'} {label} {name} {found:.2f}, {bound} {shown} wanted{note}")
    return good


def judge(r, peer_rows, target_rows):
    """Prints a line for each target; the exit status."""
    print()
    comparable = True
    for file in r["files"]:
        comparable = judge_peer(r, file, peer_rows) and comparable
    missed = 0
    for label, name, bound, value in target_rows:
        for file in (f for f in r["files"] if f["file"] == label):
            found = file["figures"]
            if found.get(name) is None:
                print(f"---- {label} {name}: not measured here, {bound} {value} wanted")
                continue
            missed += not judge_target(label, name, bound, value, found)
    if not comparable:
        print("The peer is slower here than it should be: nothing above says anything about brisk.")
        return PEER_TOO_SLOW
    return MISSED if missed else OK
