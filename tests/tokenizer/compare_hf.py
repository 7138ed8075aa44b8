#!/usr/bin/env python3
"""Compares pieces and token ids with Hugging Face's `tokenizers`, text by text.

    BRISK_TEST_MODEL=model.gguf compare_hf.py --dump PROGRAM [--exhaustive] [--peer LLAMA_TOKENIZE]

PROGRAM is tests/tokenizer/tok_dump. The reference is built from the model file's own vocabulary and
merges with the pre-tokenizer that each rule stands for (RULES), and the pieces of many more rules are
compared (PATTERNS). All rules also run with that vocabulary
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
import subprocess
import sys
import tempfile

from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers

import texts
import tokfile
from tokfile import CONTROL, NORMAL

HERE = os.path.dirname(os.path.abspath(__file__))
TAIL = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
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


CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
UPPER, LOWER = r"\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}", r"\p{Ll}\p{Lm}\p{Lo}\p{M}"
FRONT = r"[^\r\n\p{L}\p{N}]?"
SPACES = r"\s*[\r\n]+|\s+(?!\S)|\s+"
GPT2 = (r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+")
PUNCTUATED = (r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"
              r"| ?[\p{P}\p{S}]+")
CJK = "[一-龥぀-ゟ゠-ヿ]+"
CJK_KOREAN = "[一-龥ࠀ-一가-\ud7ff]+"
THREES = r"\p{N}{1,3}(?=(?:\p{N}{3})*(?!\p{N}))"


def cased(end, exclude=""):
    return (FRONT + f"[{UPPER}{exclude}]*[{LOWER}{exclude}]+{end}|" +
            FRONT + f"[{UPPER}{exclude}]+[{LOWER}{exclude}]*{end}")


O200K = cased(CONTRACTIONS + "?") + r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|" + SPACES

# name: the expressions of its tokenizer.json (or of the model's own library), one after another.
PATTERNS = {
    "qwen35": [CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|" +
               SPACES],
    "jais-2": [WORDS + r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s{512}(?!\S)|\s{256}(?!\S)|"
               r"\s{128}(?!\S)|\s{64}(?!\S)|\s{32}(?!\S)|\s{16}(?!\S)|\s{8}(?!\S)|\s{4}(?!\S)|"
               r"\s{1,2}(?!\S)|\s{1}"],
    "deepseek-llm": ["[\r\n]", None, r"\s?[!-/:-~！-／：-～‘-‟　-。]+", r"\s+$", CJK_KOREAN, r"\p{N}"],
    "deepseek-coder": ["[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", CJK_KOREAN, r"\p{N}"],
    "deepseek-v3": [r"\p{N}{1,3}", CJK, PUNCTUATED + r"[\r\n]*|" + SPACES],
    "spark2_5": [r"\p{N}{1,3}", CJK, PUNCTUATED + r"|[\r\n]|\s+(?!\S)|\s+", r"\p{N}"],
    "youtu": ["[가-힣ㄱ-ㆎ]+|[！…“”‘’—：；，、-〿︰-﹏]+|[ㄅ-ㄯ]+|" + CJK,
              cased(CONTRACTIONS + "?") + r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|" + SPACES],
    "falcon": [r"[\p{P}$+<=>^~|`]+", GPT2, "[0-9][0-9][0-9]"],
    "default": [r"[\p{P}$+<=>^~|]+", GPT2, r"\p{N}+", "[0-9][0-9][0-9]"],
    "bloom": [r" ?[^(\s|[.,!?…。，、।۔،])]+"],
    "viking": [r" ?[^(\s|[.,!?…。，、।۔،])]+", r"\p{N}"],
    "tekken": [cased("") + r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|" + SPACES],
    "chameleon": ["<sentinel:[0-9]+>", "(IMGIMG)((A|B|C|D|E|F|G|H|I){1,4})Z", r"([\t\n]|    |  )",
                  r"\p{N}", r"[\p{P}!-/:-@\[-`{-~]", GPT2],
    "gpt-4o": [O200K],
    "tiny_aya": [r"\d{1,3}(?=(?:\d{3})*\b)", O200K],
    "kimi-k2": [r"[\p{Han}]+|" + cased(CONTRACTIONS + "?", r"&&[^\p{Han}]") +
                r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|" + SPACES],
    "superbpe": [r"\p{N}+", r"(?=(\d{3})+(?!\d))"],
    "bailingmoe": [r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*|"
                   r"\s*[\r\n]|\s+(?!\S)|\s+"],
    "seed-coder": [WORDS + r"\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+|" + SPACES],
    "ufakzeka": [r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|" + SPACES],
    "afmoe": [THREES, "[一-鿿㐀-䶿\uf900-\ufaff぀-ゟ゠-ヿ･-ﾟ⼀-\u2fdf\u0e00-\u0e7f\u0e80-\u0eff"
              "\u1780-\u17ff\u1000-\u109f\uaa60-\uaa7f\ua9e0-\ua9ff가-\ud7afᄀ-ᇿ]+",
              PUNCTUATED + r"[\r\n]*|" + SPACES],
    "laguna": [r"[^\n]+|[\n]+", WORDS + r"\p{N}" + TAIL],
    "exaone-moe": [CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N}"
                   r"| ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]|\s+(?!\S)|\s+"],
    "minicpm5": [r"\p{N}{1,3}", WORDS + r"\p{N}+" + TAIL],
}


def read_vocabulary(path):
    get = tokfile.fields(path)
    return get["pre"], get["tokens"], list(get["token_type"]), get["merges"]


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


WRITTEN = {}  # vocabularies that lie in files


def run_dump(program, folder, pre, vocabulary, lines, mode="ids"):
    tokens, types, merges = vocabulary
    key = id(tokens)
    if key not in WRITTEN:
        path = os.path.join(folder, "vocabulary%d.gguf" % len(WRITTEN))
        tokfile.write_gguf(path, "gpt2", tokens, types, merges)
        WRITTEN[key] = path, tokens
    return tokfile.dump(program, folder, WRITTEN[key][0], lines, mode, pre)


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


def read_deepseek_words():
    """DeepSeek's list of letters, from the file that has it: too long for a second copy."""
    with open(os.path.join(HERE, "../../src/text/pretok_rules.c"), encoding="utf-8") as f:
        text = f.read().split("deepseek_words[] =", 1)[1].split(";", 1)[0]
    return "".join(re.findall('"([^"]*)"', text)).replace("\\\\", "\\")


def compare_patterns(args, folder, lines):
    """The pieces of the rules that are run as expressions."""
    newer, bad = newer_code_points({"split", "category"}), 0
    for pre, stages in PATTERNS.items():
        stages = [read_deepseek_words() if s is None else s for s in stages]
        hf = pre_tokenizers.Sequence(
            [pre_tokenizers.Split(Regex(s), "isolated") for s in stages] +
            [pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
        ours = tokfile.dump(args.dump, folder, "-", lines, "pieces", pre)
        theirs = [[len(piece) for piece, _ in hf.pre_tokenize_str(t)] for t in lines]
        bad += compare(pre + " pieces", lines, ours, theirs, newer)
    return bad


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
        tokens, types, merges = vocabulary
        tokfile.write_gguf(model, "gpt2", tokens, types, merges, pre=pre)
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
        bad += compare_patterns(args, folder, lines)
        if args.exhaustive:
            bad += compare_every_character(args, folder, full)
            bad += check_normalisation(args, folder, full)
        if args.peer:
            show_peer(args, folder, crossing, texts.for_peer())
    print("unlisted differences: %d" % bad)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
