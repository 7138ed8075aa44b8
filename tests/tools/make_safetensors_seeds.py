#!/usr/bin/env python3
"""Writes the small files that fuzzing of the safetensors reader starts from:
make_safetensors_seeds.py FOLDER

They are kept in tests/fuzz/corpus/safetensors/; run this again only to add to them.
"""
import json
import os
import struct
import sys


def file(header, data=b""):
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(raw)) + raw + data


def entry(dtype, shape, begin, end):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def seeds():
    yield "empty", file({})
    yield "good", file({"__metadata__": {"format": "pt"}, "norm": entry("F32", [2], 0, 8),
                        "w": entry("BF16", [3, 2], 8, 20), "h": entry("F16", [0, 4], 20, 20),
                        "ids": entry("I64", [], 20, 28)}, bytes(range(28)))
    # Wrong on purpose, each near a check.
    yield "overlap", file({"a": entry("U8", [4], 0, 4), "b": entry("U8", [4], 3, 7)}, bytes(7))
    yield "long_shape", file({"a": entry("U8", [1 << 62, 4], 0, 4)}, bytes(4))
    yield "backwards", file({"a": entry("U8", [0], 4, 0)}, bytes(4))
    yield "nested", file(b'{"a":[[[[[[[[[[')
    yield "escapes", file(b'{"\\u0000\\ud800":{"dtype":"F8_E4M3","shape":[1],"data_offsets":[0,1]}}', b"x")
    yield "long_header", struct.pack("<Q", 1 << 40) + b"{}"


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__.strip())
    os.makedirs(sys.argv[1], exist_ok=True)
    for name, data in seeds():
        with open(os.path.join(sys.argv[1], name), "wb") as f:
            f.write(data)


if __name__ == "__main__":
    main()
