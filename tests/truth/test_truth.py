#!/usr/bin/env python3
"""brisk's logits against the float64 pass of forward.py.

    BRISK_TEST_MODEL=model.gguf test_truth.py [--only PATTERN] [--full] [--count 512]

1. Small random models of odd shapes in every weight type: with float weights equal but for float32
   errors; with integer weights within a stated mean KL divergence, and equal but for float32 errors
   to a float64 pass that rounds activations as brisk says it does.
2. The default model on a text: mean KL at most 0.7 times that of llama.cpp's arithmetic (simulated);
   the same bits for any number of threads and any CPU level.
3. Greedy text: at each step the truth's best token, or one within 0.5 of its logit.
4. States after the last norm, which embeddings are made of, of the float models and the default one.
5. With BRISK_TEST_GEMMA, a file of Gemma 3: logits past its window.
With --full and BRISK_PEER_BIN, the folder of llama.cpp's programs: KL of llama.cpp itself.

True log probabilities of the default model are kept in build/truth/ by the hashes of model, tokens
and forward.py. Needs numpy, gguf and tokenizers. Exit status 1 when something is out of bounds.
"""
import argparse
import fnmatch
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.join(HERE, "..", "..")
sys.path[:0] = [HERE, os.path.join(ROOT, "tests", "tools"), os.path.join(ROOT, "bench")]
import attention16  # noqa: E402
from activation_schemes import (LlamaCpp, divergence, everywhere, half_attention,  # noqa: E402
                                int8, log_softmax, tokenize)
from forward import Lstm, Model  # noqa: E402
from make_tiny import make  # noqa: E402

BRISK = os.environ.get("BRISK", os.path.join(ROOT, "build", "brisk"))
STATES = os.path.join(ROOT, "build", "release", "tests", "truth", "states")
KEPT = os.path.join(ROOT, "build", "truth")
TEXT = os.path.join(ROOT, "tests", "data", "prose.txt")
PROMPTS = ("The old lighthouse stood at the end of the road.",
           "To make bread you need flour, water and",
           "def fibonacci(n):\n")
FLOATS = ("F32", "F16", "BF16")

# Bounds of the small models, by the deviation of all logits where they are differences. A value on
# the edge between two roundings (keys and values in 16 bits, activations in int8) goes the other way
# in float32 than in float64, and what follows from that is many times a float32 error: hence bounds
# on the median or lower quartile of rows, where nothing has flipped, and wider ones on the worst.
FLOAT_MEDIAN, FLOAT_MOST = 3e-4, 3e-3
KL_BOUND = 4e-3             # mean, integer weights; two layers average little out
KL_UNFLIPPED = 1e-10        # lower quartile, sequences of one token, against the same rounding
# The default model against llama.cpp's arithmetic.
RATIO_BOUND = 0.7
GEMMA_KL = 1.5e-3           # llama.cpp's: 4.2e-3
GREEDY_BOUND = 0.5
COSINE_BOUND = 0.999

failures = []


def report(good, what, text):
    print(f"{'ok  ' if good else 'FAIL'} {what:34} {text}", flush=True)
    if not good:
        failures.append(what)


# ---- Running brisk ------------------------------------------------------------------------------

def brisk(*args, level=None):
    env = dict(os.environ, BRISK_CPU=level) if level else os.environ
    done = subprocess.run([BRISK, *args], env=env, stdin=subprocess.DEVNULL, capture_output=True)
    if done.returncode:
        raise RuntimeError(f"brisk {' '.join(args)}: status {done.returncode}: "
                           f"{done.stderr.decode(errors='replace').strip()}")
    return json.loads(done.stdout)


def brisk_logits(folder, model, tokens, *more, level=None):
    """(logits [n, vocabulary] float32, what eval printed); tokens of one sequence or of several."""
    ids, out = os.path.join(folder, "ids.json"), os.path.join(folder, "logits.npy")
    with open(ids, "w", encoding="utf-8") as file:
        json.dump(tokens, file)
    said = brisk("eval", "-m", model, "--tokens", ids, "--save-logits", out, "--json", *more,
                 level=level)
    logits = np.load(out)
    os.remove(out)
    return logits, said


def brisk_states(model, tokens):
    """[n, width] float32."""
    done = subprocess.run([STATES, model, *map(str, tokens)], capture_output=True)
    if done.returncode:
        raise RuntimeError(f"{STATES} {model}: {done.stderr.decode(errors='replace').strip()}")
    return np.frombuffer(done.stdout, "<f4").reshape(len(tokens), -1)


# ---- Small models -------------------------------------------------------------------------------

class AsBrisk(Model):
    """What brisk computes, in float64: inputs of products with integer weights go through int8 by 32
    without the two largest of the row, which stay; queries, keys, values and the weights of the
    average of 64 values through 16-bit integers."""

    def attend(self, q, k, v, kv, layer):
        behind = np.arange(len(q))[:, None] - np.arange(len(q))
        unseen = behind < 0
        if self.sees_window(layer):
            unseen |= behind >= self.window
        out = attention16.attention(q, k, v, unseen, self.score_scale, self.score_cap)
        return out.astype(self.dtype).reshape(len(q), -1)

    @staticmethod
    def rounded(x):
        x = x.astype(np.float32)
        mask = np.zeros(x.shape, bool)
        # Of equal ones the first.
        np.put_along_axis(mask, np.argsort(-np.abs(x), axis=1, kind="stable")[:, :2], True, axis=1)
        return np.where(mask, x, int8(np.where(mask, 0, x), 32))

    def project(self, x, name, site, layer):
        if self.tensors[name + ".weight"].tensor_type.name not in FLOATS:
            x = self.rounded(x).astype(x.dtype)
        return super().project(x, name, site, layer)

    def expert(self, x, name, e, site, layer):
        if self.tensors[name + ".weight"].tensor_type.name not in FLOATS:
            x = self.rounded(x).astype(x.dtype)
        return super().expert(x, name, e, site, layer)


class LstmAsBrisk(AsBrisk, Lstm):
    """The same roundings of inputs, in an LSTM."""


def models_of(options):
    """The truth, and what brisk computes."""
    return (Lstm, LstmAsBrisk) if options.get("arch") == "lstm" else (Model, AsBrisk)


def tiny_models():
    """(name, options of make_tiny) of shapes that real models do not have, and of every type."""
    shape = dict(layers=2, embd=64, heads=4, kv_heads=2, ff=160, vocab=320, context=256)
    k_quants = dict(shape, embd=256, heads=4, kv_heads=1, head_size=64, ff=512)
    for kind in FLOATS + ("Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "IQ4_NL", "MXFP4"):
        yield kind, dict(shape, types={"*": kind}, seed=11)
    for kind in ("Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS",
                 "IQ3_S", "IQ4_XS", "IQ1_S", "IQ1_M", "TQ1_0", "TQ2_0"):
        yield kind, dict(k_quants, types={"*": kind}, seed=12)
    yield "as converters mix K-quants", dict(k_quants, tied=True, seed=13, types={
        "*": "Q4_K", "token_embd.weight": "Q6_K", "*ffn_down*": "Q6_K", "*attn_v*": "Q6_K"})
    yield "as converters mix smaller ones", dict(k_quants, embd=512, heads=8, kv_heads=2, seed=31, types={
        "*": "Q3_K", "token_embd.weight": "Q2_K", "output.weight": "Q6_K", "*ffn_down*": "Q5_K",
        "*attn_v*": "IQ4_XS", "*gate*": "IQ3_S"})
    yield "Q4_1 with Q8_0 head", dict(shape, seed=14, types={"*": "Q4_1", "output.weight": "Q8_0"})
    yield "each matrix another type", dict(shape, heads=8, head_size=32, ff=256, seed=15, types={
        "*": "Q4_0", "token_embd.weight": "F16", "output.weight": "Q5_0", "*attn_q*": "Q8_0",
        "*attn_k*": "BF16", "*attn_v*": "Q4_1", "*attn_output*": "Q4_K", "*gate*": "F32",
        "*ffn_down*": "Q6_K"})
    yield "integer q, float k and v", dict(shape, seed=16, types={
        "*": "F32", "*attn_q*": "Q8_0", "*ffn_up*": "Q4_1"})
    yield "odd heads 5:1", dict(shape, embd=80, heads=5, kv_heads=1, seed=17, types={"*": "F16"})
    yield "heads 9:3", dict(shape, embd=288, heads=9, kv_heads=3, ff=96, seed=18, types={"*": "Q4_1"})
    yield "heads 3:3, head size 20", dict(shape, embd=60, heads=3, kv_heads=3, ff=88, seed=19)
    yield "head size 80, 4:1", dict(shape, embd=96, heads=4, kv_heads=1, head_size=80, seed=20,
                                    types={"*": "Q8_0"})
    yield "head size 256", dict(shape, heads=2, kv_heads=1, head_size=256, seed=21, types={"*": "F16"})
    yield "head size 2", dict(shape, heads=7, kv_heads=7, head_size=2, seed=22, types={"*": "F32"})
    yield "rotates 6 of 16", dict(shape, rope_dims=6, seed=23, types={"*": "F32"})
    yield "rope factors, base 500000", dict(shape, rope_freqs=True, rope_base=500000.0, seed=24)
    yield "linear rope scaling", dict(shape, rope_scale=4.0, seed=25)
    yield "untied, version 2", dict(shape, version=2, seed=26, types={"*": "Q5_0"})
    yield "tied, version 2, alignment 64", dict(shape, version=2, alignment=64, tied=True, seed=27)
    yield "one layer, width 1 block", dict(shape, layers=1, embd=32, heads=1, kv_heads=1, ff=32,
                                           seed=28, types={"*": "Q4_0"})
    yield "odd sizes everywhere", dict(shape, layers=3, embd=42, heads=7, kv_heads=7, ff=51, vocab=333,
                                       seed=29, types={"*": "BF16"})
    yield "wide and flat", dict(shape, layers=1, embd=1120, heads=4, kv_heads=4, head_size=24, ff=32,
                                seed=30, types={"*": "Q8_0"})


def architectures():
    """(name, options of make_tiny): each architecture in floats and in integers, and what is peculiar
    to it: windows shorter than the sequence, experts for few rows and for many, stretched positions."""
    shape = dict(layers=2, embd=64, heads=4, kv_heads=2, head_size=32, ff=160, vocab=320, context=256)
    gemma = dict(shape, layers=7, window=40, tied=True, context=400)
    moe = dict(shape, experts=8, experts_used=3, ff_expert=64)
    known = {"qwen2": dict(shape, bias=True), "qwen3": shape, "gemma": dict(shape, tied=True), "gemma2": gemma, "gemma3": gemma,
             "phi3": shape, "qwen3moe": moe, "llama": moe}
    for seed, (arch, options) in enumerate(known.items(), 40):
        for kind in ("F32", "Q4_1"):
            yield f"{arch} {kind}", dict(options, arch=arch, types={"*": kind}, seed=seed)
    yield "gemma3 Q8_0, head 256", dict(gemma, arch="gemma3", head_size=256, kv_heads=1, seed=50,
                                        types={"*": "Q8_0"})
    yield "gemma2 one row of heads", dict(gemma, arch="gemma2", heads=4, kv_heads=4, seed=51)
    yield "phi3 window in all layers", dict(shape, arch="phi3", window=50, seed=52)
    yield "phi3 longrope, short", dict(shape, arch="phi3", context=4096, rope_long=500, seed=53)
    yield "phi3 longrope, long", dict(shape, arch="phi3", context=4096, rope_long=100, seed=53)
    yield "experts, one used", dict(moe, arch="qwen3moe", experts_used=1, seed=54)
    yield "experts, all used", dict(moe, arch="llama", experts_used=8, seed=55)
    yield "experts of floats and ints", dict(moe, seed=56, types={
        "*": "F16", "*ffn_up*": "Q8_0", "*ffn_down*": "Q5_0"})
    yield "yarn, factor 4", dict(shape, arch="qwen2", context=1024, rope_yarn=4.0, seed=57)
    yield "linear, gemma3", dict(gemma, arch="gemma3", rope_scale=8.0, seed=58)


def lstms():
    """(name, options of make_tiny): hidden sizes that fill no vector, all roles, several types."""
    shape = dict(arch="lstm", layers=2, embd=64, hidden=96, vocab=320, context=256)
    for seed, kind in enumerate(("F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1"), 60):
        yield f"lstm {kind}", dict(shape, bias=True, types={"*": kind}, seed=seed)
    yield "lstm, odd sizes", dict(shape, layers=3, embd=10, hidden=13, vocab=333, bias=True, seed=70)
    yield "lstm, width 1", dict(shape, layers=1, embd=1, hidden=1, seed=71)
    yield "lstm, tied", dict(shape, embd=96, tied=True, bias=True, seed=72)
    yield "lstm, projected", dict(shape, embd=40, hidden=100, out=24, seed=73)
    yield "lstm, projected and tied", dict(shape, embd=40, hidden=72, out=40, tied=True, seed=74)
    yield "lstm, only ends quantised", dict(shape, bias=True, seed=75, types={
        "*": "F32", "token_embd.weight": "Q8_0", "output.weight": "Q8_0"})
    yield "lstm, only layers quantised", dict(shape, bias=True, seed=76, types={
        "*": "F32", "*lstm*weight": "Q8_0"})
    yield "lstm, wide, K-quants", dict(shape, embd=256, hidden=512, seed=77, types={"*": "Q4_K"})


def is_float(options):
    return all(kind in FLOATS for kind in (options.get("types") or {"*": "F32"}).values())


def check_floats(path, tokens, ours, name, options):
    long_context = 0 < options.get("rope_long", 0) < len(tokens)
    model = models_of(options)[1](path, long_context=long_context)
    for what, rows, true in (("logits", ours, model.logits(tokens)),
                             ("states", brisk_states(path, tokens), model.states(tokens))):
        worst = np.abs(rows - true).max(axis=1) / true.std()
        report(np.median(worst) <= FLOAT_MEDIAN and worst.max() <= FLOAT_MOST, name,
               f"{what} differ by {np.median(worst):.1e} (median), {worst.max():.1e} (most)")


def check_integers(folder, path, tokens, ours, name, options):
    true, as_brisk = models_of(options)
    kl = divergence(log_softmax(true(path).logits(tokens)), ours)[0].mean()
    alone, _ = brisk_logits(folder, path, [[t] for t in tokens[:40]])
    model = as_brisk(path)
    rows = np.concatenate([model.logits([t]) for t in tokens[:40]])
    unflipped = np.quantile(divergence(log_softmax(rows), alone)[0], .25)
    report(kl <= KL_BOUND and unflipped <= KL_UNFLIPPED, name,
           f"mean KL {1e3 * kl:.3f} mnat; to the same rounding {1e3 * unflipped:.1e}")


def check_tiny(folder, name, options):
    path = os.path.join(folder, "tiny.gguf")
    make(path, **options)
    tokens = np.random.default_rng(options["seed"]).integers(0, options["vocab"], 200).tolist()
    ours, _ = brisk_logits(folder, path, tokens)
    if ours.shape != (len(tokens), options["vocab"]):
        report(False, name, f"logits of shape {ours.shape}")
    elif is_float(options):
        check_floats(path, tokens, ours, name, options)
    else:
        check_integers(folder, path, tokens, ours, name, options)


# ---- The default model --------------------------------------------------------------------------

class Truth:
    """True log probabilities of the default model, from build/truth/ where they are known."""

    def __init__(self, path):
        self.path, self.model = path, None
        digest = hashlib.sha256()
        for name in (path, os.path.join(HERE, "forward.py")):
            with open(name, "rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        self.digest = digest.digest()
        os.makedirs(KEPT, exist_ok=True)

    def keep(self, name, tokens, compute):
        """Rows float32; a new one of a name takes the place of those with other hashes."""
        key = hashlib.sha256(self.digest + np.asarray(tokens, "<i4").tobytes()).hexdigest()[:16]
        path = os.path.join(KEPT, f"{name}-{key}.npy")
        if not os.path.exists(path):
            for old in fnmatch.filter(os.listdir(KEPT), f"{name}-*.npy"):
                os.remove(os.path.join(KEPT, old))
            np.save(path + ".part.npy", compute().astype(np.float32))
            os.replace(path + ".part.npy", path)
        return path

    def log_probabilities(self, name, tokens):
        """Path of the rows."""
        def compute():
            self.model = self.model or Model(self.path)
            return log_softmax(self.model.logits(tokens))
        return self.keep(name, tokens, compute)

    def peer_kl(self, tokens, truth):
        """KL of each row with llama.cpp's arithmetic, simulated in float32."""
        def compute():
            act = everywhere(lambda x: int8(x, 32, half=True))
            return divergence(truth, LlamaCpp(self.path, np.float32).logits(
                tokens, act, half_attention))[0]
        return np.load(self.keep("simulated-peer", tokens, compute))


def check_default(folder, truth, path, count):
    with open(TEXT, encoding="utf-8") as file:
        tokens = tokenize(path, file.read())[:count]
    rows = truth.log_probabilities("prose", tokens)
    ours, said = brisk_logits(folder, path, tokens, "--reference-logits", rows)
    true = np.load(rows).astype(np.float64)
    kl, same = divergence(true, ours)
    peer = truth.peer_kl(tokens, true).mean()
    report(kl.mean() <= RATIO_BOUND * peer, f"default model, {len(tokens)} tokens",
           f"mean KL {1e3 * kl.mean():.4f} mnat (llama.cpp's arithmetic {1e3 * peer:.4f}, ratio "
           f"{kl.mean() / peer:.2f}), p99 {1e3 * np.quantile(kl, .99):.2f}, same best token "
           f"{100 * same.mean():.2f} %")
    report(abs(said["kl_mean"] - kl.mean()) <= 1e-3 * kl.mean() and said["compared"] == len(tokens),
           "brisk eval says the same", f"mean KL {1e3 * said['kl_mean']:.4f} mnat")
    loss = [-rows[np.arange(len(tokens) - 1), tokens[1:]].mean() for rows in (true, log_softmax(ours))]
    change = np.exp(loss[1] - loss[0]) - 1
    report(abs(change) <= 0.01, "perplexity",
           f"{np.exp(loss[1]):.4f}, true {np.exp(loss[0]):.4f} ({100 * change:+.3f} %)")
    return tokens, ours


def check_bits(folder, path, tokens, ours):
    """Rows are causal: those of the first tokens must come out the same whatever computes them."""
    n = 80
    runs = [(f"{t} threads", ("-t", str(t)), None) for t in (1, 2, 4)]
    runs += [(f"level {level}", (), level) for level in ("avx2", "avxvnni")]
    for what, more, level in runs:
        again, _ = brisk_logits(folder, path, tokens[:n], *more, level=level)
        differ = int((again.view(np.uint32) != ours[:n].view(np.uint32)).sum())
        report(differ == 0, f"bits, {what}", f"{differ} of {again.size} logits differ")


def check_states(path, tokens):
    """As embeddings are compared: by their angles, of the last row and of the mean."""
    true, ours = Model(path).states(tokens), brisk_states(path, tokens)
    cosine = lambda a, b: a @ b / np.sqrt((a @ a) * (b @ b))  # noqa: E731
    rows = np.array([cosine(a, b) for a, b in zip(true, ours)])
    mean = cosine(true.mean(axis=0), ours.mean(axis=0))
    report(rows.min() >= COSINE_BOUND and mean >= COSINE_BOUND, "states",
           f"1 - cosine: {1 - rows.min():.1e} (worst row), {1 - mean:.1e} (mean)")


def check_greedy(truth, path):
    for i, prompt in enumerate(PROMPTS):
        said = brisk("run", "-m", path, "--raw", "-p", prompt, "-n", "64", "--temp", "0",
                     "--ignore-eos", "--json")
        before, answer = tokenize(path, prompt), said["tokens"]
        if said["prompt_tokens"] != len(before) or len(answer) != 64:
            report(False, f"greedy text {i + 1}", f"{said['prompt_tokens']} + {len(answer)} tokens, "
                   f"wanted {len(before)} + 64")
            continue
        rows = np.load(truth.log_probabilities(f"greedy{i + 1}", before + answer[:-1]))
        rows = rows[len(before) - 1:]
        behind = rows.max(axis=1) - rows[np.arange(64), answer]
        report(behind.max() <= GREEDY_BOUND, f"greedy text {i + 1}",
               f"{int((behind > 0).sum())} of 64 not the truth's best, at most {behind.max():.3f} below")


# ---- Gemma 3, a real file with windows ---------------------------------------------------------------

def check_gemma(folder, path):
    """Far past the window of 512 tokens rows must be as near to the truth as before it."""
    with open(TEXT, encoding="utf-8") as file:
        words = os.path.join(folder, "words.txt")
        with open(words, "w", encoding="utf-8") as line:
            line.write(file.read().replace("\n", " ") + "\n")
    begin = 2
    tokens = [begin] + brisk("tokenize", "-m", path, "-f", words, "--json")[:799]
    ours, _ = brisk_logits(folder, path, tokens)
    kl, _ = divergence(log_softmax(Model(path, np.float32).logits(tokens)), ours)
    report(len(tokens) == 800 and kl.mean() <= GEMMA_KL and kl[512:].mean() <= 2 * kl[:512].mean(),
           "gemma 3 past its window", f"mean KL {1e3 * kl[:512].mean():.3f} mnat within 512 tokens, "
           f"{1e3 * kl[512:].mean():.3f} after them")
    said = brisk("run", "-m", path, "--raw", "-p", PROMPTS[0], "-n", "48", "--temp", "0",
                 "--ignore-eos", "--json")
    with open(words, "w", encoding="utf-8") as line:
        line.write(PROMPTS[0] + "\n")
    before = [begin] + brisk("tokenize", "-m", path, "-f", words, "--json")
    rows = Model(path, np.float32).logits(before + said["tokens"][:-1])[len(before) - 1:]
    behind = rows.max(axis=1) - rows[np.arange(48), said["tokens"]]
    report(said["prompt_tokens"] == len(before) and behind.max() <= GREEDY_BOUND, "gemma 3, greedy",
           f"{int((behind > 0).sum())} of 48 not the truth's best, at most {behind.max():.3f} below")


# ---- llama.cpp itself ---------------------------------------------------------------------------

def check_peer(folder, truth, path, programs):
    """llama-perplexity's windows of 512: the second half of each is compared."""
    from truth import PeerLogits, begin_token
    saved = os.path.join(folder, "peer.logits")
    subprocess.run([os.path.join(programs, "llama-perplexity"), "-m", path, "-f", TEXT, "-c", "512",
                    "-t", "2", "--save-all-logits", saved], check=True, capture_output=True)
    peer, begin = PeerLogits(saved), begin_token(path)
    theirs, mine = [], []
    for w in range(peer.windows):
        tokens = [int(t) for t in peer.tokens[w]]
        if begin is not None:
            tokens[0] = begin
        true = np.load(truth.log_probabilities(f"window{w}", tokens)).astype(np.float64)[peer.first:-1]
        ours = brisk_logits(folder, path, tokens)[0][peer.first:-1]
        theirs.append((np.exp(true) * (true - peer.log_probabilities(w))).sum(axis=1))
        mine.append(divergence(true, ours)[0])
    a, b = np.mean(mine), np.mean(theirs)
    report(a <= RATIO_BOUND * b, "llama.cpp itself", f"mean KL {1e3 * b:.4f} mnat, brisk "
           f"{1e3 * a:.4f}, ratio {a / b:.2f} over {sum(map(len, mine))} tokens")


def main():
    parser = argparse.ArgumentParser(description="brisk's logits against a float64 pass")
    parser.add_argument("--only", default="*", help="tiny models, or default, bits, states, greedy, peer")
    parser.add_argument("--count", type=int, default=512, help="tokens of the text")
    parser.add_argument("--full", action="store_true", help="llama.cpp too, from BRISK_PEER_BIN")
    options = parser.parse_args()
    wanted = lambda name: fnmatch.fnmatchcase(name, options.only)  # noqa: E731
    path = os.environ.get("BRISK_TEST_MODEL")
    if not path:
        sys.exit("BRISK_TEST_MODEL names no model; build/brisk pull prints the path of one")
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        for name, shape in [*tiny_models(), *architectures(), *lstms()]:
            if wanted(name):
                check_tiny(folder, name, shape)
        truth = Truth(path)
        if wanted("default") or wanted("bits"):
            tokens, ours = check_default(folder, truth, path, options.count)
            check_bits(folder, path, tokens, ours)
        if wanted("states"):
            with open(TEXT, encoding="utf-8") as file:
                check_states(path, tokenize(path, file.read())[:200])
        if wanted("greedy"):
            check_greedy(truth, path)
        if options.full:
            programs = os.environ.get("BRISK_PEER_BIN")
            if not programs:
                sys.exit("--full wants BRISK_PEER_BIN, the folder of llama.cpp's programs")
            check_peer(folder, truth, path, programs)
        gemma = os.environ.get("BRISK_TEST_GEMMA")
        if options.only == "gemma 3" and not gemma:
            sys.exit("BRISK_TEST_GEMMA names no model; build/brisk pull gemma3-270m prints its path")
        if gemma and wanted("gemma 3"):
            check_gemma(folder, gemma)
    print(f"truth: {len(failures)} failed, {time.monotonic() - start:.1f} s")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
