#!/usr/bin/env python3
"""make_state_dict_seeds.py FOLDER: the seed corpus of tests/fuzz/fuzz_state_dict.c, small LSTM language
models. Needs numpy and safetensors."""
import json
import os
import struct
import sys

import numpy as np
from safetensors.numpy import save


def model(prefix, embd, hidden, layers, vocab, tied=False):
    w = {f"{prefix}encoder.weight": np.zeros((vocab, embd), np.float32)}
    for i in range(layers):
        below = hidden if i else embd
        for name, shape in (("weight_ih", (4 * hidden, below)), ("weight_hh", (4 * hidden, hidden)),
                            ("bias_ih", (4 * hidden,)), ("bias_hh", (4 * hidden,))):
            w[f"{prefix}rnn.{name}_l{i}"] = np.zeros(shape, np.float32)
    if not tied:
        w[f"{prefix}decoder.weight"] = np.zeros((vocab, hidden), np.float32)
        w[f"{prefix}decoder.bias"] = np.zeros(vocab, np.float32)
    return w


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__.strip())
    os.makedirs(sys.argv[1], exist_ok=True)
    letters, words = ["a", "b", " ", "\n"], ["<unk>", "<eos>", "the", "cat", ","]
    gru = {**model("", 2, 1, 1, 4), "rnn.weight_hh_l0": np.zeros((3, 1), np.float32)}
    seeds = {
        "object": (model("", 2, 1, 1, 4), json.dumps({t: i for i, t in enumerate(letters)})),
        "list": (model("m.", 1, 1, 2, 4), json.dumps(letters)),
        "lines": (model("", 2, 2, 1, 5), "\n".join(words)),
        "tied": (model("", 2, 2, 1, 5, tied=True), json.dumps(words)),
        "gru": (gru, "a\nb\n \n\\n\n"),
    }
    for name, (weights, vocab) in seeds.items():
        data = save(weights)
        with open(os.path.join(sys.argv[1], name), "wb") as file:
            file.write(struct.pack("<HB", len(data), vocab[0] in "{[") + data + vocab.encode())


if __name__ == "__main__":
    main()
