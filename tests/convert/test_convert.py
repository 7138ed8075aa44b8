#!/usr/bin/env python3
"""Hugging Face folders: read directly and by `brisk convert`.

    BRISK=build/brisk BRISK_TEST_MODEL=model.gguf test_convert.py [PATTERN]

1. Of every architecture: tensors under the names that the `gguf` package maps them to, with the values
   that GGUF wants (rotated rows, norms with 1 added, experts stacked), and the keys.
2. Vocabularies against what the library `tokenizers` says of the file that it wrote.
3. llama: logits of the folder and of the converted file are the same bits, and those of a float64 pass
   that knows nothing of GGUF; greedy text is the same.
   The other architectures: the same bits from folder and file. A split file is the one that it was.
4. The default model taken apart into a folder comes back as it was.
5. What is missing or wrong gives one line that says so, and no file.
With BRISK_PEER_BIN, the folder of llama.cpp's programs: it continues a converted file with the same text.

needs gguf, numpy, safetensors and tokenizers. Exit status 1 when something is wrong.
"""
import filecmp
import fnmatch
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

import gguf
import numpy as np

import hf_llama
from hf_folder import (CLASSES, LLAMA3, PROSE, QWEN2, Folder, byte_level, encode, save, sentencepiece, unigram)

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
BRISK = os.environ.get("BRISK", os.path.join(ROOT, "build", "brisk"))
PROMPT = "The old lighthouse stood at"
failures = []
pattern = "*"


def report(good, what, text=""):
    print(f"{'ok  ' if good else 'FAIL'} {what:44} {text}", flush=True)
    if not good:
        failures.append(what)


def wanted(name):
    return fnmatch.fnmatch(name, pattern)


# ---- brisk ----------------------------------------------------------------------------------------

def run(*args):
    return subprocess.run([BRISK, *args], stdin=subprocess.DEVNULL, capture_output=True)


def must(*args):
    done = run(*args)
    if done.returncode:
        raise RuntimeError(f"brisk {' '.join(args)}: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout


def convert(path, *options):
    must("convert", path, path + ".gguf", *options)
    return path + ".gguf"


def brisk_logits(model, tokens, work):
    ids, out = os.path.join(work, "ids.json"), os.path.join(work, "logits.npy")
    with open(ids, "w", encoding="utf-8") as f:
        json.dump(tokens, f)
    must("eval", "-m", model, "--tokens", ids, "--save-logits", out, "--json")
    return np.load(out)


def brisk_text(model, prompt, count):
    said = must("run", "-m", model, "--raw", "-p", prompt, "-n", str(count), "--temp", "0", "--json")
    return json.loads(said)["text"]


# ---- What a GGUF file says ------------------------------------------------------------------------

class Read:
    def __init__(self, path):
        reader = gguf.GGUFReader(path)
        self.keys = {k: f.contents() for k, f in reader.fields.items() if not k.startswith("GGUF.")}
        self.tensors = {t.name: t for t in reader.tensors}

    def values(self, name):
        t = self.tensors[name]
        flat = gguf.quants.dequantize(t.data, t.tensor_type)
        return np.asarray(flat, np.float64).reshape([int(n) for n in reversed(t.shape)])


def permuted(values, heads):
    """Rows of each head: the first half and the second half take turns."""
    halves = values.reshape(heads, 2, values.shape[0] // heads // 2, *values.shape[1:])
    return np.moveaxis(halves, 1, 2).reshape(values.shape)


def expected_tensors(model, folder):
    """GGUF name -> values, by the map of the gguf package."""
    c = folder.config
    arch = {"mistral": "llama", "mixtral": "llama", "qwen3_moe": "qwen3moe",
            "gemma3_text": "gemma3"}.get(model, model)
    number = next(k for k, v in gguf.MODEL_ARCH_NAMES.items() if v == arch)
    names = gguf.get_tensor_name_map(number, c["num_hidden_layers"])
    out, stacks = {}, {}
    for name, values in folder.weights.items():
        if ".experts." in name:
            head, rest = name.split(".experts.")
            part = rest.split(".")[1]
            if model == "mixtral":  # the converter's own name for the stack
                head = head.replace("model.", "").replace("block_sparse_moe", "feed_forward")
            stacks.setdefault(f"{head}.experts.{part}.weight", []).append(values)
            continue
        if arch == "llama" and "q_proj" in name:
            values = permuted(values, c["num_attention_heads"])
        if arch == "llama" and "k_proj" in name:
            values = permuted(values, c["num_key_value_heads"])
        if "gemma" in model and name.endswith("norm.weight"):
            values = (values.astype(np.float32) + np.float32(1)).astype(np.float64)
        out[names.get_name(name, (".weight", ".bias"))] = values
    for name, parts in stacks.items():
        out[names.get_name(name, (".weight",))] = np.stack(parts)
    return arch, out


def check_tensors(what, folder, model, read, dtype, kept):
    arch, expected = expected_tensors(model, folder)
    report(None not in expected and set(expected) == set(read.tensors), f"{what}: names of tensors",
           str(sorted(set(map(str, expected)) ^ set(read.tensors)))[:100])
    wrong = []
    for name, values in expected.items():
        t = read.tensors.get(name)
        vector = values.ndim == 1 or "ffn_gate_inp" in name
        if t is None or t.tensor_type.name != ("F32" if vector else kept):
            wrong.append(f"{name} type")
            continue
        if not vector:
            values = encode(values, kept)[1]
        if not np.array_equal(read.values(name), values):
            wrong.append(f"{name} values")
    report(not wrong, f"{what}: {len(expected)} tensors from {dtype}", ", ".join(wrong[:4]))
    return arch


def expected_keys(model, c, vocab):
    """Suffix -> value, as llama.cpp's converter derives them from the configuration."""
    head = c.get("head_dim") or c["hidden_size"] // c["num_attention_heads"]
    k = {"block_count": c["num_hidden_layers"], "context_length": c["max_position_embeddings"],
         "embedding_length": c["hidden_size"], "feed_forward_length": c["intermediate_size"],
         "attention.head_count": c["num_attention_heads"],
         "attention.head_count_kv": c["num_key_value_heads"],
         "attention.layer_norm_rms_epsilon": c["rms_norm_eps"], "rope.freq_base": c["rope_theta"]}
    if "head_dim" in c:
        k.update({"attention.key_length": head, "attention.value_length": head})
    if model in ("llama", "mistral", "mixtral"):
        k.update({"vocab_size": vocab, "rope.dimension_count": head})
    if model == "mixtral":
        k.update({"expert_count": c["num_local_experts"], "expert_used_count": c["num_experts_per_tok"]})
    if model == "qwen3_moe":
        k.update({"expert_count": c["num_experts"], "expert_used_count": c["num_experts_per_tok"],
                  "expert_feed_forward_length": c["moe_intermediate_size"]})
    if model == "gemma2":
        k.update({"attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0})
    if model == "gemma3_text":
        k["rope.freq_base_swa"] = c["rope_local_base_freq"]
    if model in ("gemma2", "gemma3_text", "phi3"):
        k["attention.sliding_window"] = c["sliding_window"] or 0
    if model == "phi3":
        k.update({"rope.dimension_count": head, "rope.scaling.original_context_length":
                  c["original_max_position_embeddings"]})
    return k


def same(a, b):
    return abs(a - b) <= 1e-6 * abs(b) if isinstance(b, float) else a == b


def check_keys(what, read, arch, expected):
    prefix = arch + "."
    found = {k[len(prefix):]: v for k, v in read.keys.items() if k.startswith(prefix)}
    wrong = [f"{k}: {found.get(k)} for {expected.get(k)}" for k in set(found) | set(expected)
             if k not in found or k not in expected or not same(found[k], expected[k])]
    report(not wrong and read.keys["general.architecture"] == arch, f"{what}: keys", "; ".join(wrong))


def architectures(work):
    tokenizer = byte_level("digits")
    for model in CLASSES:
        for dtype, option, shards in (("F32", None, 1), ("BF16", None, 3), ("F16", "f32", 1),
                                      ("F32", "bf16", 1), ("BF16", "f16", 1)):
            what = f"{model} {dtype}{' as ' + option if option else ''}"
            if not wanted(what):
                continue
            extra = {"attention_bias": True} if model == "llama" and option else {}
            folder = Folder(model, tokenizer, seed=3, pad_vocab=5, **extra)
            path = folder.write(os.path.join(work, what.replace(" ", "_")), dtype, shards)
            read = Read(convert(path, *(["--type", option] if option else [])))
            arch = check_tensors(what, folder, model, read, dtype, option.upper() if option else dtype)
            check_keys(what, read, arch, expected_keys(model, folder.config, folder.vocab))
            shutil.rmtree(path)


def scaling(work):
    """Rope scaling -> keys and tensors."""
    tokenizer = byte_level("digits")
    yarn = dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=128, beta_fast=16.0)
    half = [1.0 + i / 8 for i in range(8)]
    for model, more, expected in (
            ("llama", dict(rope_scaling=dict(type="linear", factor=2.5)),
             {"rope.scaling.type": "linear", "rope.scaling.factor": 2.5}),
            ("qwen2", dict(rope_scaling=yarn),
             {"rope.scaling.type": "yarn", "rope.scaling.factor": 4.0,
              "rope.scaling.original_context_length": 128, "rope.scaling.yarn_beta_fast": 16.0}),
            ("qwen3", dict(rope_theta=None, rope_parameters=dict(rope_type="default", rope_theta=5e5)),
             {"rope.freq_base": 5e5}),
            ("gemma3_text", dict(rope_theta=None, rope_local_base_freq=None, rope_parameters=dict(
                full_attention=dict(rope_type="linear", factor=8.0, rope_theta=1e6),
                sliding_attention=dict(rope_type="default", rope_theta=2e4))),
             {"rope.scaling.type": "linear", "rope.scaling.factor": 8.0, "rope.freq_base": 1e6,
              "rope.freq_base_swa": 2e4}),
            ("phi3", dict(rope_scaling=dict(type="longrope", short_factor=half,
                                            long_factor=[2 * f for f in half])),
             {"rope.scaling.attn_factor": (1 + np.log(2) / np.log(256)) ** 0.5})):
        what = f"{model} {list(expected)[0]}"
        if not wanted(what):
            continue
        folder = Folder(model, tokenizer, **more)
        read = Read(convert(folder.write(os.path.join(work, what.replace(" ", "_")))))
        arch = read.keys["general.architecture"]
        c = {**folder.config, "rope_theta": folder.config["rope_theta"] or 1e6}
        check_keys(what, read, arch, {**expected_keys(model, c, folder.vocab), **expected})
        if model == "phi3":
            long, short = (read.values(f"rope_factors_{k}.weight") for k in ("long", "short"))
            report(list(short) == half and list(long) == [2 * f for f in half], f"{what}: factors")


# ---- Vocabularies ---------------------------------------------------------------------------------

def check_vocab(what, folder, read, pre, model="gpt2"):
    t, keys = folder.tokenizer, read.keys
    tokens, types = keys["tokenizer.ggml.tokens"], keys["tokenizer.ggml.token_type"]
    added = t.get_added_tokens_decoder()
    wrong = []
    for i, token in enumerate(tokens):
        expected = t.id_to_token(i)
        kind = 1
        if expected is None:
            expected, kind = f"[PAD{i}]", 5
        elif i in added:
            kind = 3 if added[i].special else 4
        elif model != "gpt2" and expected.startswith("<0x"):
            kind = 6
        if model != "gpt2" and expected == "<unk>":
            kind = 2
        if (token, types[i]) != (expected, kind):
            wrong.append(f"{i}: {token!r} {types[i]} for {expected!r} {kind}")
    report(len(tokens) == folder.vocab and not wrong, f"{what}: tokens and types", "; ".join(wrong[:3]))
    report(keys["tokenizer.ggml.model"] == model and keys["tokenizer.ggml.pre"] == pre,
           f"{what}: model and pre-tokenizer",
           f"{keys['tokenizer.ggml.model']} {keys['tokenizer.ggml.pre']}")


def lines():
    with open(PROSE, encoding="utf-8") as f:
        texts = [t.rstrip("\n") for t in f if t.strip() and "  " not in t]
    return texts + ["naïve Ünïcödé ŒUVRE 12345 6 7", "it's I'LL we're", "a\tb", "漢字 かな 한글 🚀👩‍🚀", "e\u0301",
                    "x=(y+z)*3.14;", "newline at end ", "aaaaaaaaaaaaaaaa"]


def check_lines(what, tokenizer, file, work):
    """brisk's tokens of the converted vocabulary, against the library's."""
    texts = lines()
    Folder.put(work, "lines.txt", "".join(t + "\n" for t in texts))
    done = run("tokenize", "-m", file, "-f", os.path.join(work, "lines.txt"), "--json")
    said = done.stdout.splitlines()
    if done.returncode or len(said) != len(texts):
        report(False, f"{what}: lines", done.stderr.decode(errors="replace").strip())
        return
    wrong = [t for t, ids in zip(texts, said)
             if json.loads(ids) != tokenizer.encode(t, add_special_tokens=False).ids]
    report(not wrong, f"{what}: {len(texts)} lines", repr(wrong[:2])[:150])


def vocabularies(work):
    gpt4o = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
             r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+"
             r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+"
             r"[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
    tekken = gpt4o.replace("(?i:'s|'t|'re|'ve|'m|'ll|'d)?", "").replace("{1,3}", "")
    for pre, rule, nfc in (("gpt-2", None, False), ("olmo", None, True), ("smollm", "digits", False),
                           ("command-r", "digits", True), ("llama-bpe", LLAMA3, False),
                           ("smaug-bpe", LLAMA3, False), ("qwen2", QWEN2, True),
                           ("hunyuan", QWEN2, False), ("gpt-4o", gpt4o, False),
                           ("tekken", tekken, False)):
        if not wanted(f"vocabulary {pre}"):
            continue
        bos = "<|im_start|>" if pre == "llama-bpe" else None
        folder = Folder("llama", byte_level(rule, nfc, bos, ignore_merges=pre in (
            "llama-bpe", "tekken")), pad_vocab=7)
        file = convert(folder.write(os.path.join(work, "vocab_" + pre)))
        read = Read(file)
        check_vocab(f"vocabulary {pre}", folder, read, pre)
        check_lines(f"vocabulary {pre}", folder.tokenizer, file, work)
        merges = json.loads(folder.tokenizer.to_str())["model"]["merges"]
        report(read.keys["tokenizer.ggml.merges"] == [" ".join(m) for m in merges],
               f"vocabulary {pre}: {len(merges)} merges")
        ids = [read.keys[f"tokenizer.ggml.{k}"] for k in ("bos_token_id", "eos_token_id",
                                                          "add_bos_token")]
        report(ids == [1, 2, bos is not None], f"vocabulary {pre}: ids", str(ids))
        report(read.keys["tokenizer.chat_template"] == folder.tokenizer_config["chat_template"],
               f"vocabulary {pre}: chat template")


def scored_vocabularies(work):
    for what, tokenizer, model in (("sentencepiece", sentencepiece(), "llama"),
                                   ("sentencepiece without prefix", sentencepiece(prepend=False),
                                    "llama"), ("unigram", unigram(), "t5")):
        if not wanted(f"vocabulary {what}"):
            continue
        folder = Folder("llama", tokenizer)
        folder.tokenizer_config = {"bos_token": "<s>", "eos_token": {"content": "</s>"}}
        folder.files["chat_template.jinja"] = "{{ messages[0]['content'] }}"
        file = convert(folder.write(os.path.join(work, what.replace(" ", "_"))))
        keys = Read(file).keys
        check_vocab(f"vocabulary {what}", folder, Read(file), "default", model)
        check_lines(f"vocabulary {what}", tokenizer, file, work)
        report(keys["tokenizer.ggml.add_space_prefix"] == ("without" not in what)
               and keys["tokenizer.chat_template"] == folder.files["chat_template.jinja"]
               and keys["tokenizer.ggml.add_bos_token"] == (model == "llama"),
               f"vocabulary {what}: flags and template")
        scores = keys["tokenizer.ggml.scores"]
        if model == "t5":
            pieces = json.loads(tokenizer.to_str())["model"]["vocab"]
            report(all(abs(a - b[1]) < 1e-5 * abs(b[1]) + 1e-9 for a, b in zip(scores[3:], pieces[3:])),
                   f"vocabulary {what}: scores")


# ---- llama: numbers and text ----------------------------------------------------------------------

LLAMA3_ROPE = dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
                   original_max_position_embeddings=64)


def llamas():
    """(name, folder, type, shards)"""
    yield "llama", Folder("llama", seed=5), "F32", 1
    yield "llama sharded BF16", Folder("llama", byte_level(LLAMA3, bos="<|im_start|>"), seed=6), "BF16", 4
    yield "llama tied F16", Folder("llama", byte_level(None), seed=7, tie_word_embeddings=True), "F16", 1
    yield "mistral, own head size", Folder("mistral", seed=8, head_dim=32), "BF16", 1
    yield "llama 3 rope", Folder("llama", seed=9, rope_scaling=LLAMA3_ROPE, rope_theta=500.0), "F32", 1
    yield "linear rope", Folder("llama", seed=10, rope_scaling=dict(rope_type="linear", factor=2.0)), \
        "F32", 2
    padded = Folder("llama", seed=12, pad_vocab=62)
    padded.weights["lm_head.weight"][-62:] = 0  # the library has no text for them
    yield "unused rows in the embedding", padded, "F16", 1


def numbers(work):
    rng = np.random.Generator(np.random.PCG64(1))
    for what, folder, dtype, shards in llamas():
        if not wanted(what):
            continue
        path = folder.write(os.path.join(work, what.replace(" ", "_")), dtype, shards)
        file = convert(path)
        tokens = [int(t) for t in rng.integers(0, folder.vocab, 100)]
        direct, converted = brisk_logits(path, tokens, work), brisk_logits(file, tokens, work)
        report(np.array_equal(direct.view(np.uint32), converted.view(np.uint32)),
               f"{what}: same bits from folder and file")
        truth = hf_llama.logits(folder, tokens)
        off = np.abs(direct - truth).max(-1) / truth.std()
        report(np.median(off) < 2e-4 and off.max() < 3e-3, f"{what}: float64 truth",
               f"median {np.median(off):.1e}, most {off.max():.1e}")
        text, gap = hf_llama.greedy(folder, PROMPT, 12)
        said = brisk_text(path, PROMPT, 12), brisk_text(file, PROMPT, 12)
        report(said == (text, text) and gap > 1e-3, f"{what}: greedy text", f"{text!r} {said[0]!r}"[:100])
        if os.environ.get("BRISK_PEER_BIN"):
            peer_text = peer(file, PROMPT, 12)
            report(peer_text == text, f"{what}: llama.cpp", repr(peer_text)[:100])


def other_architectures(work):
    """What torch computes of them is compared elsewhere; here only that folder and file are one model, and
    that llama.cpp takes the file for the same one."""
    for model in CLASSES:
        if model == "llama" or not wanted(f"{model}: same bits"):
            continue
        more = {"num_hidden_layers": 6} if "gemma" in model else {}
        folder = Folder(model, byte_level("digits"), seed=4, **more)
        # llama.cpp wants certain tokens of a model whose name, the folder's, has phi3 in it.
        path = folder.write(os.path.join(work, "model"), "F32", 2)
        file = convert(path)
        tokens = list(range(3, 103))
        bits = [brisk_logits(m, tokens, work).view(np.uint32) for m in (path, file)]
        report(np.array_equal(*bits), f"{model}: same bits from folder and file")
        if os.environ.get("BRISK_PEER_BIN"):
            texts = brisk_text(path, PROMPT, 12), peer(file, PROMPT, 12)
            report(texts[0] == texts[1], f"{model}: llama.cpp", repr(texts)[:110])
        shutil.rmtree(path)


# ---- Split files ----------------------------------------------------------------------------------

def split(work):
    """Parts as the gguf package writes them."""
    if not wanted("split"):
        return
    folder = Folder("llama", seed=2)
    file = convert(folder.write(os.path.join(work, "whole")))
    reader, stem = gguf.GGUFReader(file), os.path.join(work, "part")
    writer = gguf.GGUFWriter(stem + ".gguf", "llama", split_max_tensors=6)
    for key, field in reader.fields.items():
        if key.startswith("GGUF.") or key == "general.architecture":
            continue
        kind = field.types[0]
        writer.add_key_value(key, field.contents(), kind, field.types[-1] if kind ==
                             gguf.GGUFValueType.ARRAY else None)
    for t in reader.tensors:
        writer.add_tensor(t.name, np.array(t.data), raw_dtype=t.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    parts = sorted(n for n in os.listdir(work) if n.startswith("part-"))
    first = os.path.join(work, parts[0])
    tokens = list(range(50))
    same_bits = np.array_equal(brisk_logits(first, tokens, work).view(np.uint32),
                               brisk_logits(file, tokens, work).view(np.uint32))
    report(len(parts) == 4 and same_bits, f"split: {len(parts)} parts of the gguf package, same bits")
    must("convert", first, os.path.join(work, "joined.gguf"))
    a, b = Read(file), Read(os.path.join(work, "joined.gguf"))
    report(a.keys == b.keys and all(np.array_equal(a.values(n), b.values(n)) for n in a.tensors)
           and len(a.tensors) == len(b.tensors), "split: joined again by convert")
    os.rename(os.path.join(work, parts[2]), os.path.join(work, "elsewhere.gguf"))
    for name, path, expect in (("a part is missing", first, parts[2]),
                               ("another than the first", os.path.join(work, parts[1]),
                                f"open the first one, {parts[0]}"),
                               ("a part renamed", os.path.join(work, "elsewhere.gguf"), "names back")):
        done = run("run", "-m", path, "-p", "x", "-n", "1")
        said = done.stderr.decode()
        report(done.returncode == 1 and said.count("\n") == 1 and expect in said, f"split: {name}",
               said.strip()[-120:])


# ---- llama.cpp ------------------------------------------------------------------------------------

def peer(model, prompt, count):
    """llama-server's greedy continuation."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    server = subprocess.Popen(
        [os.path.join(os.environ["BRISK_PEER_BIN"], "llama-server"), "-m", model, "--port", str(port),
         "--host", "127.0.0.1", "-t", "1", "-c", "256", "-np", "1", "-fa", "off", "-ctk", "f32", "-ctv",
         "f32", "--no-webui"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL)
    ask = json.dumps({"prompt": prompt, "n_predict": count, "temperature": 0, "cache_prompt": False,
                      "special": True}).encode()
    try:
        for _ in range(300):
            try:
                request = urllib.request.Request(f"http://127.0.0.1:{port}/completion", ask,
                                                 {"Content-Type": "application/json"})
                with urllib.request.urlopen(request, timeout=60) as answer:
                    return json.load(answer)["content"]
            except (urllib.error.URLError, ConnectionError):
                if server.poll() is not None:
                    return f"llama-server ended with status {server.returncode}"
                time.sleep(0.1)
        return "llama-server did not answer"
    finally:
        server.kill()
        server.wait()


# ---- The default model ----------------------------------------------------------------------------

def unpermuted(values, heads):
    turns = values.reshape(heads, values.shape[0] // heads // 2, 2, *values.shape[1:])
    return np.moveaxis(turns, 2, 1).reshape(values.shape)


def take_apart(read, path):
    """The GGUF file as a Hugging Face folder in F16."""
    k = {n.replace("llama.", ""): v for n, v in read.keys.items()}
    heads, kv = k["attention.head_count"], k["attention.head_count_kv"]
    parts = {"attn_norm": "input_layernorm", "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj",
             "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj",
             "ffn_norm": "post_attention_layernorm", "ffn_gate": "mlp.gate_proj",
             "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj"}
    names = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
    arrays = {}
    for name in read.tensors:
        stem = name[:-len(".weight")]
        if stem.startswith("blk."):
            _, layer, part = stem.split(".")
            hf = f"model.layers.{layer}.{parts[part]}.weight"
        else:
            hf = names[stem] + ".weight"
        values = read.values(name)
        if "q_proj" in hf or "k_proj" in hf:
            values = unpermuted(values, heads if "q_proj" in hf else kv)
        arrays[hf] = np.ascontiguousarray(encode(values, "F16")[0])
    os.makedirs(path)
    save(os.path.join(path, "model.safetensors"), arrays, "F16")
    tokens, types = k["tokenizer.ggml.tokens"], k["tokenizer.ggml.token_type"]
    config = dict(architectures=["LlamaForCausalLM"], hidden_size=k["embedding_length"],
                  intermediate_size=k["feed_forward_length"], num_hidden_layers=k["block_count"],
                  num_attention_heads=heads, num_key_value_heads=kv, rope_theta=k["rope.freq_base"],
                  max_position_embeddings=k["context_length"],
                  rms_norm_eps=k["attention.layer_norm_rms_epsilon"], hidden_act="silu",
                  vocab_size=len(tokens), tie_word_embeddings="output.weight" not in read.tensors)
    tokenizer = byte_level("digits")
    saved = json.loads(tokenizer.to_str())
    saved["model"].update(vocab={t: i for i, t in enumerate(tokens)},
                          merges=[m.split(" ") for m in k["tokenizer.ggml.merges"]])
    saved["added_tokens"] = [
        dict(id=i, content=t, single_word=False, lstrip=False, rstrip=False, normalized=False,
             special=True) for i, t in enumerate(tokens) if types[i] == 3]
    Folder.put(path, "config.json", json.dumps(config))
    Folder.put(path, "tokenizer.json", json.dumps(saved))
    Folder.put(path, "tokenizer_config.json", json.dumps(
        {f"{n}_token": tokens[k[f"tokenizer.ggml.{key}_token_id"]]
         for n, key in (("bos", "bos"), ("eos", "eos"), ("unk", "unknown"), ("pad", "padding"))
         if f"tokenizer.ggml.{key}_token_id" in k} | {"chat_template": k["tokenizer.chat_template"],
            "add_prefix_space": k["tokenizer.ggml.add_space_prefix"]}))


def default_model(work):
    if not wanted("default model"):
        return
    source = os.environ.get("BRISK_TEST_MODEL")
    if not source:
        report(False, "default model", "BRISK_TEST_MODEL names no file")
        return
    copy = os.path.join(work, "copy.gguf")
    must("convert", source, copy)
    report(filecmp.cmp(source, copy, shallow=False), "default model: rewritten byte for byte")
    os.remove(copy)
    original = Read(source)
    path = os.path.join(work, "default")
    take_apart(original, path)
    back = Read(convert(path))
    wrong = [n for n in original.tensors if n not in back.tensors or not np.array_equal(
        back.values(n), encode(original.values(n), "F16")[1] if original.tensors[n].data.ndim > 1
        else original.values(n).astype(np.float16).astype(np.float64))]
    report(not wrong and len(back.tensors) == len(original.tensors),
           f"default model: {len(original.tensors)} tensors come back", ", ".join(wrong[:3]))
    keys = [k for k in original.keys if k.startswith(("tokenizer.", "llama."))]
    wrong = [k for k in keys if not same(back.keys.get(k), original.keys[k])]
    report(not wrong, f"default model: {len(keys)} keys come back", ", ".join(wrong))
    text = os.path.join(ROOT, "tests", "data", "prose.txt")
    ppl = [json.loads(must("eval", "-m", m, "-f", text, "--json"))["ppl"]
           for m in (source, path, path + ".gguf")]
    report(ppl[1] == ppl[2] and abs(ppl[1] / ppl[0] - 1) < 0.02, "default model: perplexity",
           " ".join(f"{p:.4f}" for p in ppl))
    said = [brisk_text(m, "The capital of France is", 10) for m in (source, path)]
    report(said[0] == said[1], "default model: greedy text", repr(said[0]))


# ---- What is wrong --------------------------------------------------------------------------------

def broken(work):
    tokenizer = byte_level("digits")
    path = os.path.join(work, "broken")

    def case(name, expect, change=None, options=(), shards=1, model="llama", **config):
        if not wanted(f"wrong: {name}"):
            return
        folder = Folder(model, tokenizer, **config)
        folder.write(path, "F32", shards)
        if change:
            change(folder)
        out = path + ".gguf"
        Folder.put(work, "broken.gguf", "old")
        done = run("convert", path, out, *options)
        lines = done.stderr.decode(errors="replace").split("\n")
        with open(out, encoding="utf-8") as f:
            kept = f.read() == "old"
        good = (done.returncode == 1 and not done.stdout and len(lines) == 2 and expect in lines[0]
                and kept and sorted(os.listdir(work)) == sorted({*before, "broken", "broken.gguf"}))
        report(good, f"wrong: {name}", f"status {done.returncode}: {lines[0][-150:]}" if not good else "")
        shutil.rmtree(path)

    def without(file):
        return lambda f: os.remove(os.path.join(path, file))

    def text(file, content):
        return lambda f: Folder.put(path, file, content)

    def config(**more):
        return lambda f: Folder.put(path, "config.json", json.dumps({**f.config, **more}))

    def tensors(edit):
        def change(f):
            arrays = {n: encode(v, "F32")[0] for n, v in f.weights.items()}
            edit(arrays)
            save(os.path.join(path, "model.safetensors"), arrays, "F32")
        return change

    def vocabulary(edit):
        def change(f):
            saved = json.loads(f.tokenizer.to_str())
            edit(saved)
            Folder.put(path, "tokenizer.json", json.dumps(saved))
        return change

    def cut(file, size):
        return lambda f: os.truncate(os.path.join(path, file), size)

    before = os.listdir(work)
    q = "model.layers.1.self_attn.q_proj.weight"
    case("no config.json", "config.json", without("config.json"))
    case("no tokenizer.json", "tokenizer.json", without("tokenizer.json"))
    case("no model.safetensors", "model.safetensors", without("model.safetensors"))
    case("no second shard", "model-00002-of-00003.safetensors",
         without("model-00002-of-00003.safetensors"), shards=3)
    case("a shard without its tensors", "model-00001-of-00003.safetensors", lambda f: shutil.copy(
        os.path.join(path, "model-00002-of-00003.safetensors"),
        os.path.join(path, "model-00001-of-00003.safetensors")), shards=3)
    case("an index that leaves the folder", "not the name of a file", text(
        "model.safetensors.index.json", '{"weight_map": {"a": "../broken.gguf"}}'))
    case("an empty index", "weight_map", text("model.safetensors.index.json", '{"weight_map": {}}'))
    case("a tensor is missing", f"tensor '{q}' is missing", tensors(lambda a: a.pop(q)))
    case("no head", "tensor 'lm_head.weight' is missing", tensors(lambda a: a.pop("lm_head.weight")))
    case("a tensor too many", "has no role", tensors(
        lambda a: a.update({"model.layers.0.self_attn.lora.weight": a[q]})))
    case("odd rows", "wanted a multiple of 8", tensors(lambda a: a.update({q: a[q][:-1]})))
    case("three dimensions", "3 dimensions", tensors(lambda a: a.update({q: a[q].reshape(2, 32, 64)})))
    case("an expert of another shape", "expert 0", tensors(lambda a: a.update(
        {n: v[:-1] for n, v in a.items() if "experts.2.w1" in n})), model="mixtral")
    case("cut tensors", "cut", cut("model.safetensors", 100000))
    case("cut header", "cut", cut("model.safetensors", 100))
    case("another dtype", "type F64 found", lambda f: save_f64(path, f))
    case("config.json is cut", "config.json: not JSON", cut("config.json", 50))
    case("config.json is a list", "config.json", text("config.json", "[]"))
    case("config.json is deep", "nested", text("config.json", '{"a":' * 5000))
    case("config.json is empty", "config.json", text("config.json", ""))
    case("no architecture", "architectures", config(architectures=None))
    case("unknown architecture", "BertModel", config(architectures=["BertModel"]))
    case("a number as text", "'hidden_size'", config(hidden_size="64"))
    case("a number missing", "'num_hidden_layers'", config(num_hidden_layers=None))
    case("no heads", "'num_attention_heads'", config(num_attention_heads=0))
    case("a huge number", "'num_hidden_layers'", config(num_hidden_layers=1 << 60))
    case("unknown rope type", "rope type 'dynamic'", config(rope_scaling={"rope_type": "dynamic"}))
    case("rope without factor", "factor", config(rope_scaling={"rope_type": "linear"}))
    case("another activation", "hidden_act", config(hidden_act="relu"))
    case("quantized", "gptq", config(quantization_config={"quant_method": "gptq"}))
    case("experts not renormalised", "norm_topk_prob", config(norm_topk_prob=False), model="qwen3_moe")
    case("tokenizer.json is cut", "tokenizer.json: not JSON", cut("tokenizer.json", 500))
    case("WordPiece", "'WordPiece' found", vocabulary(lambda s: s["model"].update(
        type="WordPiece", merges=None)))
    case("unknown pre-tokenizer", "--pre", vocabulary(lambda s: s.update(
        pre_tokenizer={"type": "Whitespace"})))
    case("more tokens than rows", "the rows of the embedding", vocabulary(
        lambda s: s["model"]["vocab"].update(zzz=1000)))
    case("two tokens of an id", "two tokens", vocabulary(lambda s: s["model"]["vocab"].update(zzz=5)))
    case("a negative id", "id -1", vocabulary(lambda s: s["model"]["vocab"].update(zzz=-1)))
    case("a merge of one part", "merges", vocabulary(lambda s: s["model"]["merges"].append(["a"])))
    case("an added token without text", "added_tokens", vocabulary(
        lambda s: s["added_tokens"].append({"id": 3})))
    case("an id out of range", "bos_token_id", lambda f: (
        text("tokenizer_config.json", "{}")(f), config(bos_token_id=1 << 20)(f)))
    case("an unknown type", "F32, F16", options=("--type", "q4"))
    if wanted("wrong: --pre helps"):
        folder = Folder("llama", byte_level(r"\p{L}+"))
        folder.write(path)
        read = Read(convert(path, "--pre", "gpt-2"))
        report(read.keys["tokenizer.ggml.pre"] == "gpt-2", "wrong: --pre helps")


def save_f64(path, folder):
    from safetensors.numpy import save_file
    save_file(folder.weights, os.path.join(path, "model.safetensors"))


def main():
    global pattern
    if len(sys.argv) > 1:
        pattern = sys.argv[1]
    for part in (architectures, scaling, vocabularies, scored_vocabularies, numbers,
                 other_architectures, split, default_model, broken):
        with tempfile.TemporaryDirectory(prefix="brisk-convert-") as work:
            part(work)
    if not os.environ.get("BRISK_PEER_BIN"):
        print("BRISK_PEER_BIN is not set: llama.cpp was not asked")
    print(f"{len(failures)} failed" if failures else "all passed")
    sys.exit(bool(failures))


if __name__ == "__main__":
    main()
