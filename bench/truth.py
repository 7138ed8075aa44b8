#!/usr/bin/env python3
"""truth.py MODEL PEER_LOGITS OUT: what a float64 pass says where llama-perplexity has scored.

PEER_LOGITS is what its --save-all-logits wrote: tokens and, of the second half of each window, log
probabilities in 16 bits over a range of at most 16, so with errors of up to 1.2e-4 of either sign,
which the mean over a distribution cancels. OUT gets the true log probabilities as float32, the rows
that `brisk eval --reference-logits` expects. The peer's mean KL divergence goes to stdout as JSON.
"""
import json
import os
import sys

import gguf
import numpy as np

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../tests/truth"))
from forward import Model  # noqa: E402 (found by the line above)


def log_softmax(rows):
    rows = rows - rows.max(axis=1, keepdims=True)
    return rows - np.log(np.exp(rows).sum(axis=1, keepdims=True))


class PeerLogits:
    def __init__(self, path):
        data = np.memmap(path, dtype=np.uint8, mode="r")
        if bytes(data[:8]) != b"_logits_":
            raise ValueError(f"{path} was not written by llama-perplexity --save-all-logits")
        self.window, self.vocabulary, self.windows = (
            int(n) for n in np.frombuffer(data[8:20], dtype="<i4"))
        n_tokens = self.window * self.windows
        self.tokens = np.frombuffer(data[20:20 + 4 * n_tokens], dtype="<i4").reshape(
            self.windows, self.window)
        self.first = self.window // 2
        self.rows = self.window - 1 - self.first
        # A row: two floats (step and least value), then 16 bits for each token, an even number.
        width = 4 + (self.vocabulary + 1) // 2 * 2
        self.data = np.frombuffer(data[20 + 4 * n_tokens:], dtype="<u2").reshape(
            self.windows, self.rows, width)

    def log_probabilities(self, w):
        scale = np.ascontiguousarray(self.data[w, :, :4]).view("<f4").astype(np.float64)
        return self.data[w, :, 4:4 + self.vocabulary] * scale[:, :1] + scale[:, 1:2]


def begin_token(path):
    """What replaces a window's first token; None where the model does not ask for it."""
    fields = gguf.GGUFReader(path).fields
    wanted = fields.get("tokenizer.ggml.add_bos_token")
    bos = fields.get("tokenizer.ggml.bos_token_id")
    return int(bos.contents()) if wanted and wanted.contents() and bos else None


def main():
    path, saved, out = sys.argv[1:]
    peer, model, begin = PeerLogits(saved), Model(path), begin_token(path)
    truth = np.lib.format.open_memmap(out, mode="w+", dtype=np.float32,
                                      shape=(peer.windows * peer.rows, peer.vocabulary))
    divergence = nll = 0.0
    for w in range(peer.windows):
        tokens = peer.tokens[w].tolist()
        inputs = tokens if begin is None else [begin] + tokens[1:]
        logits = np.asarray(model.logits(inputs))[peer.first:-1]
        true = log_softmax(logits)
        truth[w * peer.rows:(w + 1) * peer.rows] = true
        divergence += (np.exp(true) * (true - peer.log_probabilities(w))).sum()
        nll -= true[np.arange(peer.rows), tokens[peer.first + 1:]].sum()
    truth.flush()
    n = peer.windows * peer.rows
    json.dump({"peer_kl_mean": divergence / n, "truth_ppl": float(np.exp(nll / n))}, sys.stdout)


if __name__ == "__main__":
    main()
