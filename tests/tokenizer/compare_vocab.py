#!/usr/bin/env python3
"""What brisk does to texts before it learns from them, against other programs.

    compare_vocab.py --dump TOK_DUMP --make VOCAB_DUMP [--peer LLAMA_TOKENIZE] [--text FILE]

Normal forms and case folding against Python's on all of Unicode; vocabularies of characters and words
against what Python counts; merges of byte pairs against Hugging Face's trainer; the floor of counting
against the formula in Python, and on the King James Bible (Debian: bible-kjv) against the figures that
another program found. --peer: characters and byte pairs in llama.cpp too. --text: one more text for the
merges. Exit status 1 on any difference.

Needs the Python packages tokenizers and gguf."""
import argparse
import collections
import glob
import json
import math
import os
import random
import subprocess
import sys
import tempfile
import unicodedata

from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

import texts
import tokfile

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
LETTER = r"[\p{L}&&[^\p{Han}]]"
WORDS = r" ?%s(?:['’]?%s|\p{M})*| ?[\p{N}&&[^\p{Han}]]+|[\s\S]" % (LETTER, LETTER)
KJV = [4404412, 74, 4.290, 3.154, 2.416, 2.011, 1.729, 1.598, 1.591]


class Tests:
    def __init__(self, args, folder):
        self.args, self.folder, self.bad, self.n_made = args, folder, 0, 0

    def path(self, name):
        return os.path.join(self.folder, name)

    def write(self, text):
        path = self.path("text")
        with open(path, "wb") as f:
            f.write(text.encode())
        return path

    def run(self, *args):
        return subprocess.run([self.args.make, *map(str, args)], check=True, stdout=subprocess.PIPE).stdout

    def make(self, kind, size, text, *words):
        self.n_made += 1  # a name of its own: what has been read of a file is remembered
        out = self.path("%d.gguf" % self.n_made)
        self.run("make", kind, size, self.write(text), out, *words)
        return out

    def note(self, name, n, bad, example=None):
        print("%-46s %7d compared, %d differ" % (name, n, bad))
        if bad:
            print("   ", ascii(example)[:300])
        self.bad += bad

    def same(self, name, got, want):
        pairs = list(zip(got, want))
        differ = [p for p in pairs if p[0] != p[1]]
        self.note(name, len(pairs), len(differ) + abs(len(got) - len(want)), differ[:1])


def unicode_lines():
    """Every character that this Python knows, alone and among others, and rows of those that change."""
    chars = [chr(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000 and c != 10]
    chars = [c for c in chars if unicodedata.category(c) != "Cn"]
    moving = [c for c in chars if unicodedata.combining(c) or unicodedata.decomposition(c)
              or c.casefold() != c]
    rng = random.Random(3)
    lines = chars + ["a" + c + "\u0301\u0323" for c in moving] + ["\u0301" + c + "\u3099\u1161" for c in moving]
    return lines + ["".join(rng.choices(moving, k=rng.randrange(2, 9))) for _ in range(20000)]


def compare_unicode(t):
    lines = unicode_lines()
    path = t.write("\n".join(lines))
    for form in ["", "nfc", "nfd", "nfkc", "nfkd"]:
        for fold in ["", "fold"]:
            def normal(s):
                return unicodedata.normalize(form.upper(), s) if form else s

            got = t.run("prepare", path, *[w for w in (form, fold) if w]).decode().split("\n")
            want = [normal(normal(s).casefold()) if fold else normal(s) for s in lines]
            t.same("text %s %s" % (form, fold), got, want)


def peer_ids(t, model, text):
    out = subprocess.run([t.args.peer, "-m", model, "--ids", "--no-escape", "--no-parse-special", "--log-disable",
                          "--stdin"], input=text.encode(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                         check=True).stdout
    return [int(x) for x in out.decode().strip().strip("[]").split(",") if x.strip()]


def compare_peer(t, name, model, lines):
    if t.args.peer:
        lines = [s for s in lines if s]
        t.same(name + " in llama.cpp", [peer_ids(t, model, s) for s in lines],
               tokfile.dump(t.args.dump, t.folder, model, lines))


def compare_chars(t, text):
    lines = text.split("\n") + ["  two  spaces ", "\n\n \n", "tab\tand 中文, é 😀"] + [text[:5000]]
    lines = [s.replace("\u2581", " ") for s in lines]  # the sign is the space itself in such vocabularies
    text = "".join(lines)
    symbols = sorted(set(text))
    model = t.make("char", 0, text)
    fields = tokfile.fields(model)
    names = ["<unk>"] + [c.replace(" ", "\u2581") for c in symbols]
    t.same("characters: tokens", fields["tokens"], names)
    ids = {c: i + 1 for i, c in enumerate(symbols)}
    t.same("characters: one token each", tokfile.dump(t.args.dump, t.folder, model, lines),
           [[ids[c] for c in s] for s in lines])
    t.same("characters: back", tokfile.dump(t.args.dump, t.folder, model, lines, "text"),
           [s.encode() for s in lines])
    compare_peer(t, "characters", model, lines[-6:])
    model = t.make("char", 0, text, "bytes", "end")
    compare_peer(t, "characters and bytes", model, lines[-6:] + ["ж x \u0400"])


def compare_words(t, text):
    cut = pre_tokenizers.Split(Regex(WORDS), "isolated")
    lines = text.split("\n") + texts.PIECES
    count = collections.Counter(p for p, _ in cut.pre_tokenize_str("\n".join(lines)))
    order = sorted((p for p in count if "\u2581" not in p), key=lambda p: (-count[p], p.encode()))
    model = t.make("word", 700, "\n".join(lines))
    t.same("words: tokens", tokfile.fields(model)["tokens"], ["<unk>"] + order[:699])
    ids = {p: i + 1 for i, p in enumerate(order[:699])}
    want = [[ids.get(p, 0) for p, _ in cut.pre_tokenize_str(s)] if s else [] for s in lines]
    t.same("words: ids", tokfile.dump(t.args.dump, t.folder, model, lines), want)
    known = [s for s, w in zip(lines, want) if 0 not in w]
    t.same("words: back", tokfile.dump(t.args.dump, t.folder, model, known, "text"), [s.encode() for s in known])


def hf_trained(text, size, least):
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    t.train_from_iterator([text], trainers.BpeTrainer(
        vocab_size=size - 1, min_frequency=least, show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    model = json.loads(t.to_str())["model"]
    return t, [" ".join(m) for m in model["merges"]], sorted(model["vocab"], key=model["vocab"].get)


def compare_pairs(t, text, size, least=0):
    """Merges and tokens; the token of the end, which Hugging Face was not told of, is the last."""
    hf, merges, tokens = hf_trained(text, size, least)
    model = t.make("bpe", size, text, "min=%d" % least)
    fields = tokfile.fields(model)
    return hf, model, (fields.get("merges", []), fields["tokens"]), (merges, tokens + ["<|endoftext|>"])


def compare_bpe(t, text):
    rng = random.Random(4)
    alphabets = ["a", "ab", "ab ", "abc \n", "aé中 ", "abcdefgh  '", "01 -"]
    got, want = [], []
    for k in range(150):
        s = "".join(rng.choices(rng.choice(alphabets), k=rng.choice([1, 5, 50, 500, 5000])))
        _, _, ours, theirs = compare_pairs(t, s, rng.choice([258, 270, 300, 600]), rng.choice([0, 0, 2]))
        got.append(ours)
        want.append(theirs)
    t.same("byte pairs of random texts", got, want)
    big = [text]
    if t.args.text:
        with open(t.args.text, encoding="utf-8", newline="") as f:
            big.append(f.read())
    for s in big:
        hf, model, ours, theirs = compare_pairs(t, s, 3000, 2)
        t.same("byte pairs: merges of %d bytes" % len(s.encode()), ours[0], theirs[0])
        t.same("byte pairs: tokens", ours[1], theirs[1])
        lines = text.split("\n") + texts.PIECES
        t.same("byte pairs: ids", tokfile.dump(t.args.dump, t.folder, model, lines),
               [hf.encode(line).ids for line in lines])
    compare_peer(t, "byte pairs", model, lines[:20])


def witten_bell(s, orders):
    """Loss of orders 0.. on the last tenth."""
    n = len(s) - len(s) // 10
    follow = [collections.defaultdict(collections.Counter) for _ in range(orders)]
    for order in range(orders):
        for i in range(order, n):
            follow[order][s[i - order:i]][s[i]] += 1
    loss = [0.0] * orders
    for i in range(n, len(s)):
        p = 1 / len(set(s))
        for order in range(orders):
            seen = follow[order].get(s[i - order:i])
            if seen:
                p = (seen[s[i]] + len(seen) * p) / (sum(seen.values()) + len(seen))
            loss[order] -= math.log(p)
    return [x / (len(s) - n) for x in loss]


def compare_floor(t, text):
    got = [float(x) for x in t.run("floor", "char", 0, t.write(text)).split()]
    want = [len(text), len(set(text)) + 1, math.log(len(set(text)))] + witten_bell(text, 6)
    t.same("floor: losses", [abs(x - y) < 2e-6 for x, y in zip(got, want)], [True] * 9)
    bible = subprocess.run(["bible", "-f", "-l", "1000", "gen1:1-rev22:21"], stdout=subprocess.PIPE, check=True).stdout
    got = [float(x) for x in t.run("floor", "char", 0, t.write(bible.decode())).split()]
    t.same("floor: losses of the King James Bible", [round(x, 3) for x in got], KJV)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--dump", required=True)
    parser.add_argument("--make", required=True)
    parser.add_argument("--peer", metavar="LLAMA_TOKENIZE")
    parser.add_argument("--text")
    args = parser.parse_args()
    text = ""
    for path in sorted(glob.glob(os.path.join(ROOT, "docs", "*.md"))):
        with open(path, encoding="utf-8") as f:
            text += f.read()
    with tempfile.TemporaryDirectory() as folder:
        t = Tests(args, folder)
        compare_unicode(t)
        compare_chars(t, text)
        compare_words(t, text)
        compare_bpe(t, text)
        compare_floor(t, text[:60000])
    print("differences: %d" % t.bad)
    return 1 if t.bad else 0


if __name__ == "__main__":
    sys.exit(main())
