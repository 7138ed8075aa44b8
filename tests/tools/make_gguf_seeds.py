#!/usr/bin/env python3
"""Writes the small files that fuzzing of the GGUF reader starts from: make_gguf_seeds.py FOLDER

They are kept in tests/fuzz/corpus/gguf/; run this again only to add to them.
"""
import os
import struct
import sys

from gguf_write import (ARRAY, BOOL, FLOAT32, FLOAT64, INT8, INT16, INT32, INT64, STRING, TYPES, UINT8,
                        UINT16, UINT32, UINT64, Gguf, array, entry, string, tensor_info)


def all_types(version, alignment):
    g = Gguf(version, alignment)
    g.key("general.architecture", STRING, "llama")
    g.key("general.alignment", UINT32, alignment)
    values = {UINT8: 200, INT8: -5, UINT16: 60000, INT16: -300, UINT32: 1 << 31, INT32: -7,
              UINT64: 1 << 63, INT64: -(1 << 40), FLOAT32: 1e-5, FLOAT64: 1e4, BOOL: 1}
    for kind, value in values.items():
        g.key(f"t.{kind}", kind, value)
        g.keys(f"a.{kind}", kind, [value, 0, 1])
    g.keys("tokenizer.ggml.tokens", STRING, ["<s>", "", "\u0120the", b"\xff\xfe"])
    g.keys("none", STRING, [])
    return g


def seeds():
    yield "empty_v2", Gguf(2).bytes()
    yield "keys_v3", all_types(3, 32).bytes()
    g = all_types(2, 64)
    for name, (_, block, size) in TYPES.items():
        g.tensor(f"w.{name}", [block, 1], name, bytes(i & 255 for i in range(size)))
    yield "tensors_v2", g.bytes()
    g = Gguf(3, 8)
    g.key("general.alignment", UINT32, 8)
    g.tensor("a", [3], "F32", bytes(12))
    g.tensor("b", [2, 2, 1, 1], "F16", bytes(8))
    yield "tensors_v3", g.bytes()
    # Wrong on purpose, each near a check.
    head = b"GGUF" + struct.pack("<IQQ", 3, 0, 1)
    yield "nested", head + entry("k", ARRAY, struct.pack("<IQ", ARRAY, 1) + array(UINT8, [1]))
    yield "long_array", head + entry("k", ARRAY, struct.pack("<IQ", UINT64, 1 << 61))
    yield "long_string", head + entry("k", STRING, struct.pack("<Q", (1 << 64) - 1))
    yield "many_keys", b"GGUF" + struct.pack("<IQQ", 3, 0, 1 << 63)
    yield "many_tensors", b"GGUF" + struct.pack("<IQQ", 3, 1 << 20, 0) + bytes(64)
    two = b"GGUF" + struct.pack("<IQQ", 3, 2, 0)
    yield "overlap", (two + tensor_info("a", [8], 0, 0) + tensor_info("b", [8], 0, 0)).ljust(160, b"x")
    yield "wrap", (two + tensor_info("a", [(1 << 42) + 1, 1 << 42], 0, 0)
                   + tensor_info("b", [8], 0, (1 << 64) - 32)).ljust(160, b"x")
    yield "big_endian", b"GGUF" + struct.pack(">IQQ", 3, 0, 0)
    yield "string_only", string("GGUF")


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__.strip())
    os.makedirs(sys.argv[1], exist_ok=True)
    for name, data in seeds():
        assert len(data) < 4096, name
        with open(os.path.join(sys.argv[1], name), "wb") as f:
            f.write(data)


if __name__ == "__main__":
    main()
