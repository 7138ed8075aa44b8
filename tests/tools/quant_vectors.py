#!/usr/bin/env python3
"""Prints the table of checksums in tests/unit/test_quant.c: what the `gguf` package makes of random
blocks of every format. The C test makes the same blocks with the same generator.

needs numpy and gguf.
"""
import gguf
import numpy as np

BLOCKS = 64
# Offsets of the halves in a block that are scales.
FORMATS = {"Q4_0": (0,), "Q4_1": (0, 2), "Q5_0": (0,), "Q5_1": (0, 2), "Q8_0": (0,),
           "Q2_K": (80, 82), "Q3_K": (108,), "Q4_K": (0, 2), "Q5_K": (0, 2), "Q6_K": (208,),
           "IQ2_XXS": (0,), "IQ2_XS": (0,), "IQ2_S": (0,), "IQ3_XXS": (0,), "IQ3_S": (0,),
           "IQ4_NL": (0,), "IQ4_XS": (0,), "MXFP4": (), "TQ1_0": (52,), "TQ2_0": (64,), "IQ1_S": (0,),
           "IQ1_M": ()}


class Pcg32:
    def __init__(self, seed, stream):
        self.state, self.inc = 0, stream << 1 | 1
        self.next()
        self.state += seed
        self.next()

    def next(self):
        old = self.state & (1 << 64) - 1
        self.state = (old * 6364136223846793005 + self.inc) & (1 << 64) - 1
        x = ((old >> 18 ^ old) >> 27) & 0xFFFFFFFF
        rot = old >> 59
        return (x >> rot | x << (-rot & 31)) & 0xFFFFFFFF


def random_blocks(kind, rng):
    _, size = gguf.GGML_QUANT_SIZES[kind]
    raw = np.array([rng.next() & 255 for _ in range(BLOCKS * size)], np.uint8).reshape(BLOCKS, size)
    for at in FORMATS[kind.name]:
        # Keep scales finite; everything else, subnormal or huge or negative, may come.
        high = raw[:, at + 1]
        high[(high & 0x7C) == 0x7C] ^= 0x40
    if kind.name == "IQ1_M":  # whose scale is in four pieces, this being the top
        raw[:, 55] &= 0xBF
    return raw


def affine_values(rng):
    """Q8_AFFINE, which is brisk's own: a float for the scale, one for the minimum, 32 numbers - 128."""
    raw = np.array([rng.next() & 255 for _ in range(BLOCKS * 40)], np.uint8).reshape(BLOCKS, 40)
    raw[:, [3, 7]] &= 0xBF
    head = np.ascontiguousarray(raw[:, :8]).view("<f4")
    middle = (head[:, 1].astype(np.float64) + 128 * head[:, 0].astype(np.float64)).astype(np.float32)
    q = raw[:, 8:].view(np.int8).astype(np.float32)
    return head[:, :1] * q + middle[:, None]


def fnv1a(data):
    h = 0xCBF29CE484222325
    for b in data:
        h = (h ^ b) * 0x100000001B3 & (1 << 64) - 1
    return h


for name in FORMATS:
    kind = gguf.GGMLQuantizationType[name]
    values = gguf.quants.dequantize(random_blocks(kind, Pcg32(int(kind), 1)), kind)
    # Adding zero turns -0 into 0: whether d * 0 + 0 keeps its sign is nobody's business.
    values = values.astype(np.float32) + np.float32(0)
    print(f"    {{BK_TYPE_{name}, 0x{fnv1a(values.tobytes()):016x}}},")
affine = affine_values(Pcg32(63, 1)).astype(np.float32) + np.float32(0)
print(f"    {{BK_TYPE_Q8_AFFINE, 0x{fnv1a(affine.tobytes()):016x}}},")
