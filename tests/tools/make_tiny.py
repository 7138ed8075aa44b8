#!/usr/bin/env python3
"""Makes a small model with random weights, of any architecture, for tests of shapes that no real model has.

    make_tiny.py OUT.gguf --layers 2 --embd 96 --heads 6 --kv-heads 2 --head-size 32 --ff 160 \\
        --type Q4_1 --tensor-type 'token_embd.weight=Q8_0' --tied --seed 7

The same arguments give the same bytes on every machine. Weights are random blocks of their type,
scaled so that activations keep their size from layer to layer. The tokenizer is byte-level BPE:
three special tokens, the 256 bytes, then merges learned from a few lines below. From Python:

    from make_tiny import make
    make("tiny.gguf", embd=96, types={"*": "F16", "output.weight": "Q6_K"})

needs numpy.
"""
import argparse
import collections
import fnmatch

import numpy as np

from gguf_write import BOOL, FLOAT32, INT32, STRING, TYPES, UINT32, Gguf, size_of

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
NORMAL, CONTROL, UNUSED = 1, 3, 5
TEMPLATE = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are small.<|im_end|>\n' }}{% endif %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}")
TEXT = (
    "The old lighthouse stood at the end of the road, where the sand began. In winter the wind came "
    "over the water and the windows rang. She had lived there with her father since the summer of the "
    "great storm, and she knew the sound of every ship that passed. When the fog came in they lit the "
    "lamp together, and then they sat and listened to the sea until the morning. There was nothing "
    "else to hear, and nothing else they wanted. The children of the village thought that the two of "
    "them were strange, but in the end the children came as well, one after another, to see the light.")


# ---- Tokenizer --------------------------------------------------------------------------------

def byte_alphabet():
    """GPT-2's characters for the 256 bytes: printable ones stand for themselves."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    table, extra = {}, 0
    for b in range(256):
        if b in plain:
            table[b] = chr(b)
        else:
            table[b] = chr(256 + extra)
            extra += 1
    return table


def learn_merges(count):
    """At most count merges, the most frequent pair first; ties by spelling, so always the same."""
    table = byte_alphabet()
    words = collections.Counter(
        tuple(table[b] for b in (" " + w).encode()) for w in TEXT.split(" "))
    merges = []
    while len(merges) < count:
        pairs = collections.Counter()
        for word, n in words.items():
            for pair in zip(word, word[1:]):
                pairs[pair] += n
        if not pairs:
            break
        best = min(pairs, key=lambda p: (-pairs[p], p))
        merges.append(best)
        joined = collections.Counter()
        for word, n in words.items():
            out, i = [], 0
            while i < len(word):
                if word[i:i + 2] == best:
                    out.append(word[i] + word[i + 1])
                    i += 2
                else:
                    out.append(word[i])
                    i += 1
            joined[tuple(out)] += n
        words = joined
    return merges


def vocabulary(size):
    """Tokens, their types and the merges of a vocabulary of `size` >= 259 tokens."""
    if size < len(SPECIAL) + 256:
        raise ValueError(f"a vocabulary of {size} has no room for 256 bytes and {len(SPECIAL)} "
                         "special tokens")
    merges = learn_merges(size - len(SPECIAL) - 256)
    tokens = SPECIAL + list(byte_alphabet().values()) + [a + b for a, b in merges]
    types = [CONTROL] * len(SPECIAL) + [NORMAL] * (len(tokens) - len(SPECIAL))
    spare = size - len(tokens)
    return (tokens + [f"[unused{i}]" for i in range(spare)], types + [UNUSED] * spare,
            [f"{a} {b}" for a, b in merges])


# ---- Weights ----------------------------------------------------------------------------------

def half(values):
    return np.asarray(values, dtype=np.float16).reshape(-1, 1).view(np.uint8)


def k_scales(scales, mins):
    """Eight 6-bit scales and eight 6-bit mins a block in the 12 bytes of Q4_K."""
    out = np.zeros((len(scales), 12), np.uint8)
    out[:, 0:4] = (scales[:, :4] & 63) | (scales[:, 4:] >> 4) << 6
    out[:, 4:8] = (mins[:, :4] & 63) | (mins[:, 4:] >> 4) << 6
    out[:, 8:12] = (scales[:, 4:] & 15) | (mins[:, 4:] & 15) << 4
    return out


# Where the half d of a format without offset is, and the deviation of random blocks with d = 1.
STEPS = {"Q4_0": (0, 4.6), "Q5_0": (0, 9.2), "Q8_0": (0, 74.0), "Q3_K": (108, 43.0),
         "IQ2_XXS": (0, 55.0), "IQ2_XS": (0, 55.0), "IQ2_S": (0, 55.0), "IQ3_XXS": (0, 140.0),
         "IQ3_S": (0, 140.0), "IQ4_NL": (0, 67.0), "IQ4_XS": (0, 1250.0), "TQ1_0": (52, 0.8), "TQ2_0": (64, 1.2),
         "IQ1_S": (0, 7.2)}


def blocks(kind, n, sigma, rng):
    """n random blocks of an integer format with weights of mean near 0 and deviation near sigma."""
    spread = rng.uniform(0.5, 1.5, n)
    sign = rng.choice([-1.0, 1.0], n)
    size = TYPES[kind][2]
    raw = rng.integers(0, 256, (n, size), dtype=np.uint8)
    if kind in STEPS:
        at, deviation = STEPS[kind]
        raw[:, at:at + 2] = half(sign * spread * sigma / deviation)
    elif kind in ("Q4_1", "Q5_1"):
        steps, middle = {"Q4_1": (4.6, 7.5), "Q5_1": (9.2, 15.5)}[kind]
        d = spread * sigma / steps
        raw[:, 0:2], raw[:, 2:4] = half(d), half(-middle * d)
    elif kind in ("Q4_K", "Q5_K"):
        steps, middle = {"Q4_K": (4.6, 7.5), "Q5_K": (9.2, 15.5)}[kind]
        scales = rng.integers(16, 64, (n, 8), dtype=np.uint8)
        d = spread * sigma / steps / 40
        raw[:, 0:2], raw[:, 2:4] = half(d), half(middle * d)
        raw[:, 4:16] = k_scales(scales, scales)
    elif kind == "Q2_K":
        scales = rng.integers(4, 16, (n, 16), dtype=np.uint8)
        d = spread * sigma / 1.12 / 10
        raw[:, 0:16] = scales | scales << 4
        raw[:, 80:82], raw[:, 82:84] = half(d), half(1.5 * d)
    elif kind == "Q6_K":
        scales = rng.integers(32, 128, (n, 16)) * rng.choice([-1, 1], (n, 16))
        raw[:, 192:208] = scales.astype(np.int8).view(np.uint8)
        raw[:, 208:210] = half(spread * sigma / 18.5 / 80)
    elif kind == "IQ1_M":
        d = np.asarray(sign * spread * sigma / 7.2, np.float16).view(np.uint16)
        for j in range(4):
            raw[:, 49 + 2 * j] = (raw[:, 49 + 2 * j] & 15) | (d >> 4 * j & 15) << 4
    elif kind == "MXFP4":
        raw[:, 0] = np.round(np.log2(spread * sigma / 5.9)) + 128
    else:
        raise ValueError(f"type {kind} is unknown, wanted one of {', '.join(TYPES)}")
    return raw.tobytes()


def weights(dims, kind, sigma, rng, mean=0.0):
    """The bytes of a tensor; dims fastest first. Integer formats ignore the mean."""
    if kind not in TYPES:
        raise ValueError(f"type {kind} is unknown, wanted one of {', '.join(TYPES)}")
    block = TYPES[kind][1]
    if dims[0] % block:
        raise ValueError(f"rows of {dims[0]} do not divide into blocks of {block} ({kind})")
    if block > 1:
        return blocks(kind, size_of(dims, kind) // TYPES[kind][2], sigma, rng)
    values = (mean + sigma * rng.standard_normal(int(np.prod(dims)))).astype(np.float32)
    if kind == "F32":
        return values.tobytes()
    if kind == "F16":
        return values.astype(np.float16).tobytes()
    bits = values.view(np.uint32).astype(np.uint64)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16).tobytes()


# ---- The model --------------------------------------------------------------------------------

GEMMA = ("gemma", "gemma2", "gemma3")
POST_NORMS = ("gemma2", "gemma3")
HEAD_NORMS = ("qwen3", "qwen3moe", "gemma3")


def metadata(g, o, tokens, types, merges):
    arch = o["arch"]
    g.key("general.architecture", STRING, arch)
    g.key("general.name", STRING, f"tiny {o['layers']}x{o['embd']}")
    g.key(f"{arch}.block_count", UINT32, o["layers"])
    g.key(f"{arch}.context_length", UINT32, o["context"])
    g.key(f"{arch}.embedding_length", UINT32, o["embd"])
    if arch == "lstm":
        g.key("lstm.hidden_length", UINT32, o["hidden"])
        if o["out"]:
            g.key("lstm.output_length", UINT32, o["out"])
    else:
        transformer_metadata(g, o)
    g.key(f"{arch}.vocab_size", UINT32, len(tokens))
    g.key("tokenizer.ggml.model", STRING, "gpt2")
    g.key("tokenizer.ggml.pre", STRING, o["pre"])
    g.keys("tokenizer.ggml.tokens", STRING, tokens)
    g.keys("tokenizer.ggml.token_type", INT32, types)
    g.keys("tokenizer.ggml.merges", STRING, merges)
    g.key("tokenizer.ggml.bos_token_id", UINT32, 1)
    g.key("tokenizer.ggml.eos_token_id", UINT32, 2)
    g.key("tokenizer.ggml.unknown_token_id", UINT32, 0)
    g.key("tokenizer.ggml.add_bos_token", BOOL, 0)
    if o["template"]:
        g.key("tokenizer.chat_template", STRING, TEMPLATE)


def transformer_metadata(g, o):
    arch = o["arch"]
    g.key(f"{arch}.feed_forward_length", UINT32, o["ff"])
    g.key(f"{arch}.attention.head_count", UINT32, o["heads"])
    g.key(f"{arch}.attention.head_count_kv", UINT32, o["kv_heads"])
    g.key(f"{arch}.attention.layer_norm_rms_epsilon", FLOAT32, 1e-5)
    if o["head_size"] * o["heads"] != o["embd"] or o["explicit_head_size"]:
        g.key(f"{arch}.attention.key_length", UINT32, o["head_size"])
        g.key(f"{arch}.attention.value_length", UINT32, o["head_size"])
    if o["window"]:
        g.key(f"{arch}.attention.sliding_window", UINT32, o["window"])
    if arch == "gemma2":
        g.key(f"{arch}.attn_logit_softcapping", FLOAT32, 2.0)
        g.key(f"{arch}.final_logit_softcapping", FLOAT32, 5.0)
    if o["experts"]:
        g.key(f"{arch}.expert_count", UINT32, o["experts"])
        g.key(f"{arch}.expert_used_count", UINT32, o["experts_used"])
        g.key(f"{arch}.expert_feed_forward_length", UINT32, o["ff_expert"])
    rope_metadata(g, o)


def rope_metadata(g, o):
    arch = o["arch"]
    g.key(f"{arch}.rope.dimension_count", UINT32, o["rope_dims"])
    g.key(f"{arch}.rope.freq_base", FLOAT32, o["rope_base"])
    if o["rope_scale"] != 1.0:
        g.key(f"{arch}.rope.scaling.type", STRING, "linear")
        g.key(f"{arch}.rope.scaling.factor", FLOAT32, o["rope_scale"])
    if o["rope_yarn"]:
        g.key(f"{arch}.rope.scaling.type", STRING, "yarn")
        g.key(f"{arch}.rope.scaling.factor", FLOAT32, o["rope_yarn"])
        g.key(f"{arch}.rope.scaling.original_context_length", UINT32,
              int(o["context"] / o["rope_yarn"]))
    if o["rope_long"]:
        g.key(f"{arch}.rope.scaling.attn_factor", FLOAT32, 1.19)
        g.key(f"{arch}.rope.scaling.original_context_length", UINT32, o["rope_long"])


def feed_forward_shapes(o, block):
    embd, ff, n = o["embd"], o["ff"], o["experts"]
    if n:
        ff = o["ff_expert"]
        yield block + "ffn_gate_inp.weight", [embd, n], 2.0 / embd ** 0.5, 0.0
        yield block + "ffn_gate_exps.weight", [embd, ff, n], 1.0 / embd ** 0.5, 0.0
        yield block + "ffn_up_exps.weight", [embd, ff, n], 1.0 / embd ** 0.5, 0.0
        yield block + "ffn_down_exps.weight", [ff, embd, n], 1.0 / ff ** 0.5, 0.0
        return
    fused = o["arch"] == "phi3"
    if not fused:
        yield block + "ffn_gate.weight", [embd, ff], 1.0 / embd ** 0.5, 0.0
    yield block + "ffn_up.weight", [embd, 2 * ff if fused else ff], 1.0 / embd ** 0.5, 0.0
    yield block + "ffn_down.weight", [ff, embd], 1.0 / ff ** 0.5, 0.0


def attention_shapes(o, block):
    embd, q, kv = o["embd"], o["heads"] * o["head_size"], o["kv_heads"] * o["head_size"]
    norm = (0.1, 1.0)
    if o["arch"] == "phi3":
        yield block + "attn_qkv.weight", [embd, q + 2 * kv], 1.3 / embd ** 0.5, 0.0
    else:
        yield block + "attn_q.weight", [embd, q], 1.5 / embd ** 0.5, 0.0
        yield block + "attn_k.weight", [embd, kv], 1.5 / embd ** 0.5, 0.0
        yield block + "attn_v.weight", [embd, kv], 1.0 / embd ** 0.5, 0.0
    if o["bias"]:
        yield block + "attn_q.bias", [q], 0.5, 0.1
        yield block + "attn_k.bias", [kv], 0.5, 0.1
        yield block + "attn_v.bias", [kv], 0.5, 0.1
    if o["arch"] in HEAD_NORMS:
        yield block + "attn_q_norm.weight", [o["head_size"]], *norm
        yield block + "attn_k_norm.weight", [o["head_size"]], *norm
    yield block + "attn_output.weight", [q, embd], 1.0 / q ** 0.5, 0.0


def lstm_shapes(o):
    hidden, below = o["hidden"], o["embd"]
    out = o["out"] or hidden
    yield "token_embd.weight", [o["embd"], o["vocab"]], 1.0, 0.0
    for i in range(o["layers"]):
        block = f"blk.{i}."
        yield block + "lstm_ih.weight", [below, 4 * hidden], 2.0 / below ** 0.5, 0.0
        yield block + "lstm_ih.bias", [4 * hidden], 0.3, 0.1
        yield block + "lstm_hh.weight", [hidden, 4 * hidden], 2.0 / hidden ** 0.5, 0.0
        yield block + "lstm_hh.bias", [4 * hidden], 0.3, 0.1
        below = hidden
    if o["out"]:
        yield "output_proj.weight", [hidden, out], 2.0 / hidden ** 0.5, 0.0
    if not o["tied"]:
        yield "output.weight", [out, o["vocab"]], 4.0 / out ** 0.5, 0.0
    if o["bias"]:
        yield "output.bias", [o["vocab"]], 0.5, 0.0


def shapes(o):
    """(name, dims fastest first, deviation, mean) of every tensor, in file order."""
    embd, norm = o["embd"], (0.1, 1.0)
    if o["arch"] == "lstm":
        yield from lstm_shapes(o)
        return
    # Gemma multiplies the embedding by the root of the width.
    yield ("token_embd.weight", [embd, o["vocab"]],
           2.0 / embd ** 0.5 if o["tied"] or o["arch"] in GEMMA else 1.0, 0.0)
    for i in range(o["layers"]):
        block = f"blk.{i}."
        yield block + "attn_norm.weight", [embd], *norm
        yield from attention_shapes(o, block)
        yield block + "ffn_norm.weight", [embd], *norm
        yield from feed_forward_shapes(o, block)
        if o["arch"] in POST_NORMS:
            yield block + "post_attention_norm.weight", [embd], *norm
            yield block + "post_ffw_norm.weight", [embd], *norm
    if o["rope_freqs"]:
        yield "rope_freqs.weight", [o["rope_dims"] // 2], 0.0, 2.0
    if o["rope_long"]:
        yield "rope_factors_short.weight", [o["rope_dims"] // 2], 0.1, 1.5
        yield "rope_factors_long.weight", [o["rope_dims"] // 2], 1.0, 8.0
    yield "output_norm.weight", [embd], *norm
    if not o["tied"]:
        yield "output.weight", [embd, o["vocab"]], 2.0 / embd ** 0.5, 0.0


def type_of(name, dims, types):
    """The last pattern that matches wins; "*" is for matrices, vectors stay F32 unless named."""
    chosen = "F32"
    for pattern, kind in types.items():
        if fnmatch.fnmatchcase(name, pattern) and (len(dims) > 1 or pattern != "*"):
            chosen = kind
    return chosen


DEFAULTS = dict(arch="llama", hidden=0, out=0, window=0, bias=False, experts=0, experts_used=0, ff_expert=0,
                rope_yarn=0.0, rope_long=0, layers=2, embd=64, heads=4, kv_heads=2, head_size=0, ff=160, vocab=320, context=512,
                tied=False, seed=1, version=3, alignment=32, rope_base=10000.0, rope_dims=0,
                rope_scale=1.0, rope_freqs=False, pre="smollm", template=True, types=None)


def build(**options):
    """The model as a Gguf; options as in DEFAULTS. types maps name patterns to types."""
    unknown = set(options) - set(DEFAULTS)
    if unknown:
        raise ValueError(f"unknown options: {', '.join(sorted(unknown))}")
    o = {**DEFAULTS, **options}
    o["explicit_head_size"] = o["head_size"] != 0
    o["head_size"] = o["head_size"] or o["embd"] // o["heads"]
    o["rope_dims"] = o["rope_dims"] or o["head_size"]
    types = o["types"] or {"*": "F32"}
    rng = np.random.Generator(np.random.PCG64(o["seed"]))
    g = Gguf(o["version"], o["alignment"])
    if o["alignment"] != 32:
        g.key("general.alignment", UINT32, o["alignment"])
    metadata(g, o, *vocabulary(o["vocab"]))
    for name, dims, sigma, mean in shapes(o):
        kind = type_of(name, dims, types)
        g.tensor(name, dims, kind, weights(dims, kind, sigma, rng, mean))
    return g


def make(path, **options):
    data = build(**options).bytes()
    with open(path, "wb") as f:
        f.write(data)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("out")
    for name, default in DEFAULTS.items():
        flag = "--" + name.replace("_", "-")
        if name in ("types", "template"):
            continue
        if isinstance(default, bool):
            parser.add_argument(flag, action="store_true")
        else:
            parser.add_argument(flag, type=type(default), default=default, metavar=str(default))
    parser.add_argument("--no-template", dest="template", action="store_false")
    parser.add_argument("--type", default="F32", help="of all matrices: " + ", ".join(TYPES))
    parser.add_argument("--tensor-type", action="append", default=[], metavar="PATTERN=TYPE")
    options = vars(parser.parse_args())
    out, types = options.pop("out"), {"*": options.pop("type")}
    for item in options.pop("tensor_type"):
        pattern, equals, kind = item.partition("=")
        if not equals:
            parser.error(f"--tensor-type {item}: wanted PATTERN=TYPE")
        types[pattern] = kind
    try:
        make(out, **options, types=types)
    except ValueError as problem:
        parser.error(str(problem))


if __name__ == "__main__":
    main()
