#!/usr/bin/env python3
"""Compares SentencePiece tokenizers, text by text, with the library that models of that kind are made
and run with.

    compare_sp.py --dump PROGRAM [--peer LLAMA_TOKENIZE] [MODEL.gguf...]

PROGRAM is tests/tokenizer/tok_dump. Vocabularies: those of Mistral's models, which the Python package
mistral-common carries; of Llama 2, Phi 3, Baichuan, Gemma 4 and a multilingual Unigram model, which
llama.cpp's sources carry; three that SentencePiece trains here, with its normalisation of characters;
those of the files named. The reference is the Python package sentencepiece, run on the package's own
model or on one written from the GGUF file's tokens, scores and types, and for "gemma4" files, which have
merges, Hugging Face's tokenizers. Then the texts with ids that llama.cpp's sources have for real
vocabularies of all kinds. Exit status 1 on any difference. --peer: also how many texts llama.cpp gives
other ids than the reference."""
import argparse
import glob
import io
import os
import subprocess
import sys
import tempfile

import sentencepiece
from sentencepiece import sentencepiece_model_pb2 as pb
from tokenizers import AddedToken, Tokenizer, models, normalizers

import texts
import tokfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import packages

VOCABULARIES = ("llama-spm", "phi-3", "baichuan", "gemma-4", "nomic-bert-moe")
UNSUPPORTED = ("bert-bge",)  # WordPiece


def processor(proto):
    return sentencepiece.SentencePieceProcessor(model_proto=proto.SerializeToString())


def write_proto(folder, name, proto):
    """A GGUF file with the vocabulary of a SentencePiece model."""
    path = os.path.join(folder, name + ".gguf")
    flags = {"add_space_prefix": proto.normalizer_spec.add_dummy_prefix,
             "remove_extra_whitespaces": proto.normalizer_spec.remove_extra_whitespaces,
             "unknown_token_id": proto.trainer_spec.unk_id}
    if proto.normalizer_spec.precompiled_charsmap:
        flags["precompiled_charsmap"] = proto.normalizer_spec.precompiled_charsmap
    model = "t5" if proto.trainer_spec.model_type == pb.TrainerSpec.UNIGRAM else "llama"
    tokfile.write_gguf(path, model, [p.piece for p in proto.pieces], [p.type for p in proto.pieces],
                       scores=[p.score for p in proto.pieces], **flags)
    return path


def read_proto(path):
    """A SentencePiece model with the vocabulary of a GGUF file."""
    get, proto = tokfile.fields(path), pb.ModelProto()
    unigram = get["model"] == "t5"
    for i, (text, score, kind) in enumerate(zip(get["tokens"], get["scores"], get["token_type"])):
        if kind == tokfile.UNKNOWN and i != get.get("unknown_token_id", 0):
            kind = tokfile.CONTROL  # the library has one
        if kind == tokfile.USER_DEFINED:
            text = text.replace(" ", "\u2581")
        proto.pieces.add(piece=text, score=score, type=kind)
    t, n = proto.trainer_spec, proto.normalizer_spec
    t.model_type = pb.TrainerSpec.UNIGRAM if unigram else pb.TrainerSpec.BPE
    t.byte_fallback = tokfile.BYTE in get["token_type"]
    t.unk_id = get.get("unknown_token_id", 0)
    n.name = "from_gguf"
    n.add_dummy_prefix = get.get("add_space_prefix", True)
    n.remove_extra_whitespaces = get.get("remove_extra_whitespaces", False)
    n.escape_whitespaces = True
    if "precompiled_charsmap" in get:
        n.precompiled_charsmap = bytes(b & 0xFF for b in get["precompiled_charsmap"])
    return proto


def train(kind, lines, **options):
    out = io.BytesIO()
    lines = [line for line in lines if line and len(line) < 1000 and max(map(ord, line)) < 0x600]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_writer=out, model_type=kind, vocab_size=3000,
        character_coverage=0.98, minloglevel=2,
        hard_vocab_limit=False, **options)
    return pb.ModelProto.FromString(out.getvalue())


def peer_vocabulary(name):
    return os.path.join(packages.llama_cpp(), "models", "ggml-vocab-%s.gguf" % name)


def vocabularies(folder, lines, models):
    """(name, GGUF file, function from text to ids)"""
    package = packages.mistral_common()
    found = sorted(glob.glob(os.path.join(package, "*tokenizer*.model.v[137]")))
    if len(found) != 3:
        sys.exit("compare_sp.py: no tokenizer models in %s" % package)
    protos = {os.path.basename(p): open(p, "rb").read() for p in found}
    protos = {name: pb.ModelProto.FromString(data) for name, data in protos.items()}
    protos["trained bpe"] = train("bpe", lines, byte_fallback=False, normalization_rule_name="identity",
                                  user_defined_symbols=["<b>", "foo bar", "==", "==="])
    protos["trained unigram"] = train("unigram", lines, normalization_rule_name="nmt_nfkc",
                                      user_defined_symbols=["<b>", "=="])
    protos["trained unigram, bytes"] = train("unigram", lines, byte_fallback=True,
                                             normalization_rule_name="nfkc_cf",
                                             remove_extra_whitespaces=False)
    for name, proto in protos.items():
        yield name, write_proto(folder, name.replace(" ", "_"), proto), processor(proto).encode
    for path in [peer_vocabulary(name) for name in VOCABULARIES] + models:
        if tokfile.fields(path)["model"] == "gemma4":
            yield os.path.basename(path), path, merges_reference(path)
        else:
            yield os.path.basename(path), path, processor(read_proto(path)).encode


def merges_reference(path):
    get = tokfile.fields(path)
    hf = Tokenizer(models.BPE({t: i for i, t in enumerate(get["tokens"])},
                              [tuple(m.split(" ")) for m in get["merges"]], byte_fallback=True,
                              fuse_unk=True, unk_token="<unk>"))
    hf.normalizer = normalizers.Replace(" ", "\u2581")
    own = [t for t, kind in zip(get["tokens"], get["token_type"]) if kind == tokfile.USER_DEFINED]
    hf.add_tokens([AddedToken(t, normalized=False) for t in own])
    return lambda text: hf.encode(text).ids


def compare(args, folder, name, path, reference, lines):
    ours = tokfile.dump(args.dump, folder, path, lines)
    bad = 0
    for text, got in zip(lines, ours):
        want = reference(text)
        if got == want:
            continue
        bad += 1
        if bad <= 5:
            print("  %r\n    brisk     %s\n    reference %s" % (text[:120], got[:24], want[:24]))
    print("%-46s %6d texts, %d differ" % (name, len(lines), bad))
    return bad


def compare_decoded(args, folder, name, path, lines):
    """What the ids of a text are decoded to is what sentencepiece makes of them."""
    proto = processor(read_proto(path))
    ours = tokfile.dump(args.dump, folder, path, lines, "text")
    bad = 0
    for text, got in zip(lines, ours):
        want = proto.decode(proto.encode(text)).encode()
        if got != want:
            bad += 1
            if bad <= 5:
                print("  decoded %r\n    brisk     %r\n    reference %r" % (text[:80], got, want))
    print("%-46s %6d texts, %d decoded differently" % (name, len(lines), bad))
    return bad


def compare_stored(args, folder):
    """The texts and ids that llama.cpp tests its tokenizers with."""
    bad, found = 0, sorted(glob.glob(peer_vocabulary("*") + ".inp"))
    for path in found:
        model, name = path[:-4], os.path.basename(path)[11:-9]
        if name in UNSUPPORTED:
            continue
        with open(path, encoding="utf-8", newline="") as f:
            lines = f.read().split("\n__ggml_vocab_test__\n")
        with open(model + ".out") as f:
            wanted = [[int(x) for x in line.split()] for line in f.read().split("\n")]
        ours = tokfile.dump(args.dump, folder, model, lines)
        differ = sum(a != b for a, b in zip(ours, wanted))
        print("%-46s %6d texts, %d differ" % (name + " (stored ids)", len(lines), differ))
        bad += differ
    if len(found) < 12:
        sys.exit("compare_sp.py: wanted at least 12 vocabularies with texts, found %d" % len(found))
    return bad


def show_peer(args, name, path, reference, lines):
    differ = 0
    for text in lines:
        out = subprocess.run([args.peer, "-m", path, "--ids", "--no-bos", "--no-escape",
                              "--no-parse-special", "--log-disable", "--stdin"], input=text.encode(),
                             stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True).stdout
        ids = [int(x) for x in out.decode().strip().strip("[]").split(",") if x.strip()]
        if ids != reference(text):
            differ += 1
            if differ <= 5:
                print("  %r\n    llama.cpp %s\n    reference %s" % (text[:80], ids, reference(text)))
    print("%-46s %6d texts, llama.cpp differs on %d" % (name, len(lines), differ))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--dump", required=True)
    parser.add_argument("--peer", metavar="LLAMA_TOKENIZE")
    parser.add_argument("models", nargs="*")
    args = parser.parse_args()
    lines, bad = texts.varied(), 0
    with tempfile.TemporaryDirectory() as folder:
        for name, path, reference in vocabularies(folder, lines, args.models):
            bad += compare(args, folder, name, path, reference, lines)
            if "trained" not in name and tokfile.fields(path)["model"] == "llama":
                bad += compare_decoded(args, folder, name, path, lines)
            if args.peer:
                show_peer(args, name, path, reference, texts.for_peer())
        bad += compare_stored(args, folder)
    print("differences: %d" % bad)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
