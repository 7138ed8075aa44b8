#!/usr/bin/env python3
"""What an 8-bit activation costs: KL divergence of quantisation schemes against the truth.

Runs a text through the reference forward pass (forward.py), once exactly and once for
every scheme with the input of each matrix product rounded to int8 in that way, and
prints a table of KL(truth || scheme) over the next-token distributions.

    activation_schemes.py MODEL [--text FILE] [--out TABLE.md] [--only NAME] [--count N]

needs numpy, gguf and tokenizers. Every int8 group is symmetric, scaled by absmax / 127
in float32 and rounded to nearest even; weights are the file's own.
"""
import argparse
import functools
import os
import re
import sys
import time

import numpy as np

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from forward import Model, gguf  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
SITES = ("qkv", "attn_out", "gate_up", "down", "head")
ROW = 0                                 # a group size: the whole row


@functools.lru_cache
def tokenizer_of(path):
    """The byte-pair vocabulary in the file with the pre-tokeniser `smollm`."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    fields = gguf.GGUFReader(path).fields
    tokens = fields["tokenizer.ggml.tokens"].contents()
    merges = fields["tokenizer.ggml.merges"].contents()
    bpe = models.BPE({t: i for i, t in enumerate(tokens)},
                     [tuple(m.split(" ", 1)) for m in merges])
    tokenizer = Tokenizer(bpe)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Digits(individual_digits=True),
        pre_tokenizers.ByteLevel(add_prefix_space=False)])
    return tokenizer


def tokenize(path, text):
    """Token numbers."""
    return tokenizer_of(path).encode(text).ids


# ---- ways to round a row --------------------------------------------------------------

def int8(x, group, half=False):
    """x [n, K] through int8 with a scale for every `group` columns."""
    n, columns = x.shape
    group = group or columns
    padded = np.zeros((n, -(-columns // group) * group), np.float32)
    padded[:, :columns] = x
    blocks = padded.reshape(n, -1, group)
    scale = np.abs(blocks).max(axis=-1, keepdims=True) / np.float32(127)
    inverse = np.divide(1, scale, out=np.zeros_like(scale), where=scale > 0)
    quants = np.rint(blocks * inverse)
    if half:
        scale = scale.astype(np.float16).astype(np.float32)
    return (quants * scale).reshape(n, -1)[:, :columns]


def largest(x, n):
    """Mask of the n largest magnitudes of every row."""
    mask = np.zeros(x.shape, bool)
    if n:
        where = np.argpartition(np.abs(x), -n, axis=1)[:, -n:]
        np.put_along_axis(mask, where, True, axis=1)
    return mask


def plain(group):
    return lambda x: int8(x, group)


def exact(group, n=0, per=0):
    """The n (or K / per) largest channels of the row stay float, the rest go to int8."""
    def apply(x):
        mask = largest(x, round(x.shape[1] / per) if per else n)
        return np.where(mask, x, int8(np.where(mask, 0, x), group))
    return apply


def exact_each(group, n, part):
    """The n largest channels in every `part` columns stay float."""
    def apply(x):
        mask = largest(x.reshape(-1, part), n).reshape(x.shape)
        return np.where(mask, x, int8(np.where(mask, 0, x), group))
    return apply


def residual(n, group=32):
    """The n groups with the largest absmax get a second int8 pass over what is left."""
    def apply(x):
        first = int8(x, group)
        rest = int8(x - first, group).reshape(len(x), -1, group)
        peak = np.abs(x.reshape(len(x), -1, group)).max(axis=-1)
        return first + (rest * largest(peak, n)[:, :, None]).reshape(x.shape)
    return apply


def everywhere(scheme):
    return lambda x, site, layer: scheme(x)


def only(scheme, chosen):
    return lambda x, site, layer: scheme(x) if site == chosen else x


def half_kv(x, what, layer):
    """Keys and values kept as float16."""
    return x.astype(np.float16).astype(x.dtype) if what in "kv" else x


def half_attention(x, what, layer):
    """Both sides of both attention products as float16."""
    return x.astype(np.float16).astype(x.dtype)


class LlamaCpp(Model):
    """Products as llama.cpp does them: int8 by 32 with a float16 scale, and for Q4_1 and
    Q5_1 weights the block's sum (what multiplies the minimum) rounded to float16 too."""

    def minimum(self, name):
        key = name + " minimum"
        if key not in self.loaded:
            tensor = self.tensors[name]
            block = {"Q4_1": 20, "Q5_1": 24}[tensor.tensor_type.name]
            rows = int(tensor.shape[1])
            data = np.ascontiguousarray(tensor.data).reshape(rows, -1, block)[:, :, 2:4]
            self.loaded[key] = np.ascontiguousarray(data).view(np.float16)[..., 0].astype(np.float32)
        return self.loaded[key]

    def project(self, x, name, site, layer):
        y = super().project(x, name, site, layer)
        if self.tensors[name + ".weight"].tensor_type.name in ("Q4_1", "Q5_1"):
            total = x.reshape(len(x), -1, 32).sum(axis=-1)
            error = total.astype(np.float16).astype(np.float32) - total
            y = y + error @ self.minimum(name + ".weight").T
        return y


# ---- the table ------------------------------------------------------------------------

def schemes():
    """(name, act hook, kv hook, model class), the most wanted first."""
    size = lambda g: f"per {g}" if g else "row"  # noqa: E731
    q8_half = everywhere(lambda x: int8(x, 32, half=True))
    rows = [("float32, nothing rounded", None, None, Model)]

    def add(name, scheme, kv=None, model=Model):
        rows.append((name, scheme, kv, model))

    add("llama.cpp: per 32, f16 scale and sum, f16 attention", q8_half, half_attention, LlamaCpp)
    add("per 32", everywhere(plain(32)))
    add("per 64", everywhere(plain(64)))
    add("per 192", everywhere(plain(192)))
    add("row", everywhere(plain(ROW)))
    for group in (32, 64, 192, ROW):
        for n in (2, 4, 8):
            add(f"{size(group)}, {n} exact", everywhere(exact(group, n)))
        add(f"{size(group)}, K/192 exact", everywhere(exact(group, per=192)))
    for n in (1, 2):
        add(f"per 32, residual of {n} groups", everywhere(residual(n)))

    # the rest of the grid
    add("per 16", everywhere(plain(16)))
    add("per 32, residual of 3 groups", everywhere(residual(3)))
    for group in (32, 64, 192, ROW):
        add(f"{size(group)}, K/288 exact", everywhere(exact(group, per=288)))
        add(f"{size(group)}, K/96 exact", everywhere(exact(group, per=96)))
    for site in SITES:
        add(f"per 32, only {site}", only(plain(32), site))
    for site in SITES:
        add(f"per 32, K/192 exact, only {site}", only(exact(32, per=192), site))
    for group in (32, 64, 192):
        for n in (1, 2):
            add(f"{size(group)}, {n} exact in every 192", everywhere(exact_each(group, n, 192)))
    for group, n in ((32, 4), (64, 4), (192, 4)):
        add(f"{size(group)}, {n} exact, f16 kv", everywhere(exact(group, n)), half_kv)
    for group in (32, 64, 96, 192):
        add(f"{size(group)}, K/192 exact, f16 kv", everywhere(exact(group, per=192)), half_kv)
    add("f16 kv alone", None, half_kv)
    add("f16 attention alone", None, half_attention)
    add("per 32, f16 scale", q8_half)
    add("per 32, f16 kv", everywhere(plain(32)), half_kv)
    for group in (96, 256):
        add(size(group), everywhere(plain(group)))
    for group in (96, 256):
        for n in (2, 4, 8):
            add(f"{size(group)}, {n} exact", everywhere(exact(group, n)))
        add(f"{size(group)}, K/192 exact", everywhere(exact(group, per=192)))
        add(f"{size(group)}, K/288 exact", everywhere(exact(group, per=288)))
    for group in (32, 64, 96, 192, 256, ROW):
        for n in (1, 3, 6):
            add(f"{size(group)}, {n} exact", everywhere(exact(group, n)))
    return rows


def log_softmax(x):
    x = x.astype(np.float64)
    x -= x.max(axis=-1, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=-1, keepdims=True))


def divergence(truth, logits):
    """KL in nats and whether the best token agrees, for each position."""
    kl, same = np.empty(len(truth)), np.empty(len(truth), bool)
    for i in range(0, len(truth), 64):
        p, q = truth[i:i + 64], log_softmax(logits[i:i + 64])
        kl[i:i + 64] = (np.exp(p) * (p - q)).sum(axis=-1)
        same[i:i + 64] = p.argmax(axis=-1) == q.argmax(axis=-1)
    return kl, same


def main():
    parser = argparse.ArgumentParser(description="KL divergence of int8 activation schemes")
    parser.add_argument("model")
    parser.add_argument("--text", default=os.path.join(HERE, "../data/prose.txt"))
    parser.add_argument("--count", type=int, default=0, help="tokens used (0: all)")
    parser.add_argument("--truth", help="file that keeps the true log-probabilities (.npy)")
    parser.add_argument("--out", help="also write the table here, row by row")
    parser.add_argument("--only", default="", help="schemes whose name matches (regex)")
    options = parser.parse_args()

    with open(options.text, encoding="utf-8") as file:
        tokens = tokenize(options.model, file.read())
    tokens = tokens[:options.count] if options.count else tokens
    if options.truth and os.path.exists(options.truth):
        truth = np.load(options.truth)
    else:
        truth = log_softmax(Model(options.model).logits(tokens))
        if options.truth:
            np.save(options.truth, truth)
    if len(truth) != len(tokens):
        sys.exit("the kept truth is of another text")
    loss = -truth[np.arange(len(tokens) - 1), tokens[1:]].mean()

    models = {kind: kind(options.model, np.float32) for kind in (Model, LlamaCpp)}
    models[LlamaCpp].loaded = models[Model].loaded
    table = open(options.out, "w", encoding="utf-8") if options.out else None

    def say(line):
        print(line, flush=True)
        if table:
            table.write(line + "\n")
            table.flush()

    say(f"{len(tokens)} tokens, true perplexity {np.exp(loss):.3f}; KL in milli-nats\n")
    say("| scheme | mean KL | ± | p50 | p99 | same best token | of llama.cpp |")
    say("|---|---|---|---|---|---|---|")
    base = None
    for name, act, kv, kind in schemes():
        if not re.search(options.only, name):
            continue
        start = time.time()
        kl, same = divergence(truth, models[kind].logits(tokens, act, kv))
        if kind is LlamaCpp:
            base = kl.mean()
        share = f"{kl.mean() / base:.2f}" if base else ""
        say(f"| {name} | {1e3 * kl.mean():.4f} | {1e3 * kl.std() / np.sqrt(len(kl)):.3f} "
            f"| {1e3 * np.median(kl):.3f} | {1e3 * np.quantile(kl, .99):.2f} "
            f"| {100 * same.mean():.2f} % | {share} |")
        print(f"{time.time() - start:.1f} s", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
