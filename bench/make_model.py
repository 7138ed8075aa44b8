#!/usr/bin/env python3
"""Makes a GGUF file with the shape of a well-known model and random weights, to measure speed with.

    make_model.py SHAPE OUT.gguf [--type Q4_0] [--tensor-type 'token_embd.weight=Q6_K' ...]
    make_model.py --list

Sizes, metadata and tensor names are those of the published model, so that every engine does the work
that it would do for it; the text that comes out means nothing. Vectors are F32, and matrices are of
--type but for what --tensor-type says (the last pattern that matches wins). Rows of random blocks are
repeated within a tensor: kernels do not see the difference, and 8 billion weights take a minute.

needs numpy.
"""
import argparse
import os
import struct
import sys

import numpy as np

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../tests/tools"))
from gguf_write import TYPES, Gguf, size_of, tensor_info  # noqa: E402 (found by the line above)
from make_tiny import DEFAULTS, metadata, shapes, type_of, vocabulary, weights  # noqa: E402

# As published in the models' config.json; MoE: of no published model, a mixture that fits anywhere.
SHAPES = {
    "qwen2.5-0.5b": dict(arch="qwen2", layers=24, embd=896, heads=14, kv_heads=2, head_size=64,
                         ff=4864, vocab=151936, context=32768, rope_base=1e6, bias=True, tied=True,
                         pre="qwen2"),
    "qwen3-4b": dict(arch="qwen3", layers=36, embd=2560, heads=32, kv_heads=8, head_size=128, ff=9728,
                     vocab=151936, context=40960, rope_base=1e6, tied=True, pre="qwen2"),
    "llama-3-8b": dict(arch="llama", layers=32, embd=4096, heads=32, kv_heads=8, head_size=128,
                       ff=14336, vocab=128256, context=8192, rope_base=5e5, pre="llama-bpe"),
    "moe-small": dict(arch="qwen3moe", layers=16, embd=1024, heads=16, kv_heads=4, head_size=64,
                      ff=4096, experts=32, experts_used=4, ff_expert=512, vocab=49152, context=8192,
                      rope_base=1e6, tied=True, pre="qwen2"),
}
# What llama-quantize's presets make of a matrix, and of those that it gives more bits; rows that do
# not divide into 256 fall back.
MIXES = {"Q4_K_M": ("Q4_K", "Q6_K"), "Q5_K_M": ("Q5_K", "Q6_K")}
FALL_BACK = {"Q4_K": "Q5_0", "Q5_K": "Q5_1", "Q6_K": "Q8_0"}
RANDOM_ROWS = 64        # of a matrix; the rest repeats them
CHUNK = 1 << 26


def write_tensor(out, name, dims, kind, sigma, mean, rng):
    """Random rows, repeated to the end."""
    rows = int(np.prod(dims[1:]))
    some = weights([dims[0], min(rows, RANDOM_ROWS)], kind, sigma, rng, mean)
    left = size_of(dims, kind)
    many = some * max(1, min(left, CHUNK) // len(some))
    while left:
        out.write(many[:left])
        left -= min(left, len(many))


def more_bits(name, layers):
    """Whether a mix gives the tensor more bits: the head, and of attn_v and ffn_down every layer of
    the first and last eighth and every third between."""
    if name in ("output.weight", "token_embd.weight"):
        return True
    parts = name.split(".")
    if parts[0] != "blk" or parts[2] not in ("attn_v", "ffn_down"):
        return False
    i, eighth = int(parts[1]), layers // 8
    return i < eighth or i >= 7 * layers // 8 or (i - eighth) % 3 == 2


def kind_of(name, dims, types, layers):
    if name.endswith("gate_inp.weight"):
        return "F32"
    kind = type_of(name, dims, types)
    if kind not in MIXES:
        return kind
    kind = MIXES[kind][more_bits(name, layers)]
    return kind if dims[0] % 256 == 0 else FALL_BACK[kind]


def make(path, shape, types, seed=1):
    o = {**DEFAULTS, "template": False, **SHAPES[shape]}
    o["explicit_head_size"], o["rope_dims"] = True, o["head_size"]
    rng = np.random.Generator(np.random.PCG64(seed))
    g = Gguf()
    metadata(g, o, *vocabulary(o["vocab"]))
    tensors, offset, infos = [], 0, []
    for name, dims, sigma, mean in shapes(o):
        kind = kind_of(name, dims, types, o["layers"])
        if dims[0] % TYPES[kind][1]:
            raise ValueError(f"{name}: rows of {dims[0]} do not divide into blocks of "
                             f"{TYPES[kind][1]} ({kind}); name another --tensor-type for it")
        infos.append(tensor_info(name, dims, TYPES[kind][0], offset))
        tensors.append((name, dims, kind, sigma, mean))
        offset += -(-size_of(dims, kind) // 32) * 32
    head = b"GGUF" + struct.pack("<IQQ", 3, len(infos), len(g.entries))
    head += b"".join(g.entries) + b"".join(infos)
    part = path + ".part"
    with open(part, "wb") as out:
        out.write(head + bytes(-len(head) % 32))
        for i, tensor in enumerate(tensors):
            write_tensor(out, *tensor, rng)
            out.write(bytes(-out.tell() % 32))
            if sys.stderr.isatty():
                print(f"\r{i + 1} of {len(tensors)} tensors", end="", file=sys.stderr)
    os.replace(part, path)
    if sys.stderr.isatty():
        print(file=sys.stderr)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("shape", nargs="?", choices=SHAPES)
    parser.add_argument("out", nargs="?")
    parser.add_argument("--list", action="store_true", help="the shapes there are")
    parser.add_argument("--type", default="Q4_0", help="of all matrices: " + ", ".join([*MIXES, *TYPES]))
    parser.add_argument("--tensor-type", action="append", default=[], metavar="PATTERN=TYPE")
    o = parser.parse_args()
    if o.list:
        for name, s in SHAPES.items():
            print(f"{name:14} {s['arch']}, {s['layers']} layers of {s['embd']}, vocabulary {s['vocab']}")
        return
    if not o.out:
        parser.error("SHAPE and OUT.gguf are wanted; --list shows the shapes")
    types = {"*": o.type}
    for item in o.tensor_type:
        pattern, equals, kind = item.partition("=")
        if not equals:
            parser.error(f"--tensor-type {item}: wanted PATTERN=TYPE")
        types[pattern] = kind
    try:
        make(o.out, o.shape, types)
    except (ValueError, KeyError) as problem:
        parser.error(str(problem))


if __name__ == "__main__":
    main()
