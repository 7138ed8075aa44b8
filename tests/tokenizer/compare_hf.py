#!/usr/bin/env python3
"""Compares pieces and token ids with Hugging Face's `tokenizers`, text by text.

    BRISK_TEST_MODEL=model.gguf compare_hf.py --dump PROGRAM [--exhaustive] [--peer LLAMA_TOKENIZE]

PROGRAM is tests/tokenizer/tok_dump. The reference is built from the model file's own vocabulary and
merges with the pre-tokenizer that each rule stands for. All rules also run with that vocabulary
completed with the bytes it lacks, so that every byte counts, and with one trained here without any
pre-tokenizer, whose merges cross the borders of pieces. Exit status 1 on any difference in texts
without a character listed in newer.txt. --exhaustive adds every code point in five contexts and
Unicode's normalisation test; --peer lists where llama.cpp differs from Hugging Face.

Needs the Python packages tokenizers and gguf."""
import argparse
import bz2
import json
import os
import re
import struct
import subprocess
import sys
import tempfile

import gguf
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers

import texts

HERE = os.path.dirname(os.path.abspath(__file__))
TAIL = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
NORMAL, CONTROL = 1, 3
UNICODE_TEST = "/usr/share/unicode/NormalizationTest.txt.bz2"  # Debian: unicode-data


def split_rule(pattern):
    return pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(pattern), "isolated"),
         pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


# name: (pre-tokenizer, normaliser, ignore_merges)
RULES = {
    "smollm": (pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True),
                                        pre_tokenizers.ByteLevel(add_prefix_space=False)]),
               None, False),
    "gpt-2": (pre_tokenizers.ByteLevel(add_prefix_space=False), None, False),
    "llama-bpe": (split_rule(WORDS + r"\p{N}{1,3}" + TAIL), None, True),
    "qwen2": (split_rule(WORDS + r"\p{N}" + TAIL), normalizers.NFC(), False),
}


def read_vocabulary(path):
    fields = gguf.GGUFReader(path).fields
    get = lambda key: fields["tokenizer.ggml." + key].contents()
    return get("pre"), get("tokens"), list(get("token_type")), get("merges")


def alphabet():
    """GPT-2's character for each byte."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    rest = [b for b in range(256) if b not in printable]
    table = {b: chr(b) for b in printable}
    table.update({b: chr(256 + i) for i, b in enumerate(rest)})
    return table


def reference(pre, tokens, types, merges, special):
    pre_tokenizer, normalizer, ignore_merges = RULES[pre]
    vocab = {t: i for i, t in enumerate(tokens)}
    pairs = [tuple(m.split(" ")) for m in merges]
    hf = Tokenizer(models.BPE(vocab, pairs, ignore_merges=ignore_merges))
    hf.pre_tokenizer = pre_tokenizer
    if normalizer:
        hf.normalizer = normalizer
    if special:
        names = [t for t, kind in zip(tokens, types) if kind == CONTROL]
        hf.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in names])
    return hf


def strings(items):
    items = [s if isinstance(s, bytes) else s.encode() for s in items]
    return struct.pack("<I", len(items)) + b"".join(
        struct.pack("<I", len(s)) + s for s in items)


def run_dump(program, folder, pre, vocabulary, lines, mode="ids"):
    """Ids of each text; with mode "special", of its special tokens too; "pieces": byte lengths."""
    tokens, types, merges = vocabulary
    vocab_path, text_path = os.path.join(folder, "vocab"), os.path.join(folder, "texts")
    with open(vocab_path, "wb") as f:
        f.write(strings(tokens) + struct.pack("<%di" % len(types), *types) + strings(merges))
    with open(text_path, "wb") as f:
        f.write(strings(lines))
    command = [program, vocab_path, pre, text_path, mode]
    out = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout
    ids = [[int(x) for x in line.split()] for line in out.split("\n")[:-1]]
    assert len(ids) == len(lines), (len(ids), len(lines))
    return ids


def newer_code_points(wanted):
    """Code points on which the two follow different versions of Unicode; see the file."""
    newer = set()
    with open(os.path.join(HERE, "newer.txt")) as f:
        for line in f:
            kind, _, points = line.split("#")[0].strip().partition(" ")
            if kind in wanted:
                first, _, last = points.partition("..")
                newer.update(range(int(first, 16), int(last or first, 16) + 1))
    return newer


def compare(name, lines, ours, theirs, newer):
    bad = listed = 0
    for text, a, b in zip(lines, ours, theirs):
        if a == b:
            continue
        if any(ord(c) in newer for c in text):
            listed += 1
            continue
        bad += 1
        if bad <= 5:
            print("  %r\n    brisk        %s\n    hugging face %s" % (text[:120], a[:24], b[:24]))
    print("%-32s %7d texts, %d differ, %d more with newer characters" %
          (name, len(lines), bad, listed))
    return bad


def normalised_bytes(raw, normalizer):
    """Normalises what is valid UTF-8; other bytes stay and separate what lies around them."""
    if not normalizer:
        return raw
    parts = re.split("([\\ud800-\\udfff]+)", raw.decode("utf-8", "surrogateescape"))
    parts[::2] = [normalizer.normalize_str(part) for part in parts[::2]]
    return "".join(parts).encode("utf-8", "surrogateescape")


def check_round_trip(name, vocabulary, lines, ours, normalizer):
    """Bytes of the ids are the text; also for bytes that are not UTF-8."""
    back = {c: b for b, c in alphabet().items()}
    tokens = vocabulary[0]
    bad = 0
    for text, ids in zip(lines, ours):
        raw = normalised_bytes(text.encode() if isinstance(text, str) else text, normalizer)
        got = bytes(back[c] for i in ids for c in tokens[i])
        if got != raw:
            bad += 1
            if bad <= 5:
                print("  round trip %r gave %r" % (raw[:80], got[:80]))
    print("%-32s %7d texts, %d do not come back" % (name + " round trip", len(lines), bad))
    return bad


def complete(tokens, types, merges):
    missing = [c for c in alphabet().values() if c not in set(tokens)]
    return tokens + missing, types + [NORMAL] * len(missing), merges


def trained_across_pieces(lines):
    """A vocabulary whose merges know no pieces, so that every cut shows in the ids."""
    hf = Tokenizer(models.BPE())
    hf.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    trainer = trainers.BpeTrainer(vocab_size=6000, min_frequency=2, show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    hf.train_from_iterator([line for line in lines if len(line) < 200], trainer)
    model = json.loads(hf.to_str())["model"]
    tokens = [t for t, _ in sorted(model["vocab"].items(), key=lambda item: item[1])]
    merges = [m if isinstance(m, str) else " ".join(m) for m in model["merges"]]
    return tokens, [NORMAL] * len(tokens), merges


def hf_pieces(hf, text):
    if hf.normalizer:
        text = hf.normalizer.normalize_str(text)
    return [len(piece) for piece, _ in hf.pre_tokenizer.pre_tokenize_str(text)]


def compare_pieces(args, folder, pre, vocabulary, lines, label=""):
    hf = reference(pre, *vocabulary, special=False)
    ours = run_dump(args.dump, folder, pre, vocabulary, lines, "pieces")
    newer = newer_code_points({"split", "nfc"} if hf.normalizer else {"split"})
    return compare(pre + label + " pieces", lines, ours, [hf_pieces(hf, t) for t in lines], newer)


def compare_ids(args, folder, pre, vocabulary, lines, label=""):
    """Also returns the ids."""
    hf = reference(pre, *vocabulary, special=False)
    ours = run_dump(args.dump, folder, pre, vocabulary, lines)
    newer = newer_code_points({"split", "nfc"} if hf.normalizer else {"split"})
    theirs = [e.ids for e in hf.encode_batch(lines)]
    return compare(pre + label, lines, ours, theirs, newer), ours


def check_bytes(args, folder, pre, vocabulary, lines, ours):
    newer, normalizer = newer_code_points({"nfc"}), RULES[pre][1]
    known = [(t, i) for t, i in zip(lines, ours) if not any(ord(c) in newer for c in t)]
    bad = check_round_trip(pre, vocabulary, [t for t, _ in known], [i for _, i in known],
                           normalizer)
    broken = texts.invalid_utf8()
    ours = run_dump(args.dump, folder, pre, vocabulary, broken)
    return bad + check_round_trip(pre + " bytes", vocabulary, broken, ours, normalizer)


def compare_special(args, folder, pre, vocabulary):
    names = [t for t, kind in zip(vocabulary[0], vocabulary[1]) if kind == CONTROL]
    lines = texts.with_special(names)
    hf = reference(pre, *vocabulary, special=True)
    ours = run_dump(args.dump, folder, pre, vocabulary, lines, "special")
    return compare(pre + " special", lines, ours, [e.ids for e in hf.encode_batch(lines)], set())


def compare_every_character(args, folder, vocabulary):
    points = [chr(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000]
    bad = 0
    for pre in RULES:
        for start in range(0, len(points), 100000):
            part = points[start:start + 100000]
            lines = ["a%s1%s %s b'%s\u0323\u0301%s" % (c, c, c, c, c) for c in part]
            label = " U+%04X.." % ord(part[0])
            bad += compare_pieces(args, folder, pre, vocabulary, lines, label)
            bad += compare_ids(args, folder, pre, vocabulary, lines, label)[0]
    return bad


def check_normalisation(args, folder, vocabulary):
    """NormalizationTest.txt: columns 1 to 3 become 2, columns 4 and 5 become 4."""
    lines, wanted = [], []
    with bz2.open(UNICODE_TEST, "rt") as f:
        for line in f:
            columns = line.split("#")[0].split(";")[:5]
            if len(columns) == 5:
                text = ["".join(chr(int(c, 16)) for c in column.split()) for column in columns]
                lines += text
                wanted += [text[1]] * 3 + [text[3]] * 2
    ours = run_dump(args.dump, folder, "qwen2", vocabulary, lines)
    return check_round_trip("normalisation", vocabulary, wanted, ours, None)


def write_gguf(path, pre, vocabulary):
    tokens, types, merges = vocabulary
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges(merges)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()


def peer_ids(program, model, text):
    out = subprocess.run(
        [program, "-m", model, "--ids", "--no-bos", "--no-escape", "--no-parse-special",
         "--log-disable", "--stdin"], input=text.encode(), stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, check=True).stdout.decode()
    return [int(x) for x in out.strip().strip("[]").split(",") if x.strip()]


def show_peer(args, folder, vocabulary, lines):
    """llama.cpp against Hugging Face, for the list in docs/tokenizer.md."""
    for pre in RULES:
        hf = reference(pre, *vocabulary, special=False)
        model = os.path.join(folder, "peer.gguf")
        write_gguf(model, pre, vocabulary)
        differ = 0
        for text in lines:
            ids, wanted = peer_ids(args.peer, model, text), hf.encode(text).ids
            if ids == wanted:
                continue
            differ += 1
            if differ <= args.show:
                print("  %r\n    llama.cpp    %s\n    hugging face %s" %
                      (text[:100], [vocabulary[0][i] for i in ids][:24],
                       [vocabulary[0][i] for i in wanted][:24]))
        print("%-32s %7d texts, llama.cpp differs from Hugging Face on %d" %
              (pre, len(lines), differ))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--dump", required=True)
    parser.add_argument("--exhaustive", action="store_true")
    parser.add_argument("--peer", metavar="LLAMA_TOKENIZE")
    parser.add_argument("--show", type=int, default=20, help="differences of the peer to print")
    args = parser.parse_args()
    args.model = os.environ.get("BRISK_TEST_MODEL", "")
    if not os.path.exists(args.model):
        sys.exit("compare_hf.py: set BRISK_TEST_MODEL to a GGUF file, found %r" % args.model)
    model_pre, *own = read_vocabulary(args.model)
    full, lines = complete(*own), texts.varied()
    crossing = trained_across_pieces(lines)
    bad = 0
    with tempfile.TemporaryDirectory() as folder:
        bad += compare_ids(args, folder, model_pre, own, lines, " (model)")[0]
        for pre in RULES:
            bad += compare_pieces(args, folder, pre, full, lines)
            differ, ids = compare_ids(args, folder, pre, full, lines)
            bad += differ + check_bytes(args, folder, pre, full, lines, ids)
            bad += compare_special(args, folder, pre, full)
            bad += compare_ids(args, folder, pre, crossing, lines, " crossing")[0]
        if args.exhaustive:
            bad += compare_every_character(args, folder, full)
            bad += check_normalisation(args, folder, full)
        if args.peer:
            show_peer(args, folder, crossing, texts.for_peer())
    print("unlisted differences: %d" % bad)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
