#!/usr/bin/env python3
"""An independent forward pass for `llama` GGUF models: the numbers brisk is checked against.

Plain numpy over dequantised weights, float64 unless told otherwise. No cache, no
batching and nothing clever: one sequence goes through all layers at once, every token
attending to itself and to what came before it.

    forward.py MODEL --tokens ids.json --out logits.npy

needs numpy and the `gguf` package. From Python:

    logits = Model("model.gguf").logits([1, 15, 9])          # [3, vocabulary]
"""
import argparse
import json

import gguf
import numpy as np


class Metadata:
    """The key-value part of a GGUF file, with the architecture's prefix filled in."""

    def __init__(self, reader):
        self.fields = reader.fields
        self.architecture = self.fields["general.architecture"].contents()

    def get(self, key, default=None):
        field = self.fields.get(f"{self.architecture}.{key}")
        return default if field is None else field.contents()

    def need(self, key):
        value = self.get(key)
        if value is None:
            raise ValueError(f"metadata lacks {self.architecture}.{key}")
        return value


class Model:
    """A `llama` model: logits(tokens) runs a sequence of token numbers through it.

    Two hooks let a caller change numbers on their way, to simulate low precision:

    act(x, site, layer)  the input rows [n, K] of every matrix product; site is one of
                         "qkv", "attn_out", "gate_up", "down", "head" (layer is -1 there)
    kv(x, what, layer)   the operands of attention: what is "q", "k", "v" (each
                         [n, heads, size], rotated already) or "p", the weights after
                         the softmax ([n, n], of one head)
    """

    def __init__(self, path, dtype=np.float64):
        self.path, self.dtype = path, dtype
        reader = gguf.GGUFReader(path)
        self.tensors = {t.name: t for t in reader.tensors}
        self.loaded = {}
        meta = Metadata(reader)
        if meta.architecture != "llama":
            raise ValueError(f"architecture {meta.architecture} is not llama")

        self.layers = int(meta.need("block_count"))
        self.width = int(meta.need("embedding_length"))
        self.heads = int(meta.need("attention.head_count"))
        self.kv_heads = int(meta.get("attention.head_count_kv", self.heads))
        if self.heads % self.kv_heads:
            raise ValueError(f"{self.heads} heads do not divide among {self.kv_heads}")
        self.key_size = int(meta.get("attention.key_length", self.width // self.heads))
        self.value_size = int(meta.get("attention.value_length", self.width // self.heads))
        self.epsilon = float(meta.need("attention.layer_norm_rms_epsilon"))
        self.frequencies = self._rope_frequencies(meta)

    def _rope_frequencies(self, meta):
        """Radians per position of each rotated pair."""
        rotated = int(meta.get("rope.dimension_count", self.key_size))
        base = float(meta.get("rope.freq_base", 10000.0))
        kind = meta.get("rope.scaling.type")
        if kind not in (None, "none", "linear"):
            raise ValueError(f"rope scaling {kind} is not implemented")
        scale = 1.0 if kind == "none" else float(
            meta.get("rope.scaling.factor", meta.get("rope.scale_linear", 1.0)))
        frequencies = base ** (-np.arange(0, rotated, 2, dtype=np.float64) / rotated)
        if scale:                       # 0 is written for "not scaled" by some converters
            frequencies /= scale
        if "rope_freqs.weight" in self.tensors:
            frequencies /= self.weight("rope_freqs.weight").astype(np.float64)
        return frequencies

    def weight(self, name):
        """A tensor as [rows, columns] (or [n]) of self.dtype."""
        if name not in self.loaded:
            tensor = self.tensors[name]
            values = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
            shape = tuple(int(n) for n in reversed(tensor.shape))
            self.loaded[name] = np.ascontiguousarray(
                values.reshape(shape), dtype=self.dtype)
        return self.loaded[name]

    def project(self, x, name, site, layer):
        """x @ W.T (+ bias): x has been through the act hook already."""
        y = x @ self.weight(name + ".weight").T
        if name + ".bias" in self.tensors:
            y = y + self.weight(name + ".bias")
        return y

    def norm(self, x, name):
        mean_square = np.mean(x * x, axis=-1, keepdims=True)
        return x / np.sqrt(mean_square + self.dtype(self.epsilon)) * self.weight(name)

    def rotate(self, x):
        """Rotary positions: x is [n, heads, size], pairs are neighbours (2i, 2i + 1).

        Elements past the rotated dimensions stay as they are."""
        angle = np.arange(len(x), dtype=np.float64)[:, None] * self.frequencies
        cos = np.cos(angle).astype(self.dtype)[:, None, :]
        sin = np.sin(angle).astype(self.dtype)[:, None, :]
        rotated = 2 * len(self.frequencies)
        even, odd = x[..., 0:rotated:2], x[..., 1:rotated:2]
        y = x.copy()
        y[..., 0:rotated:2] = even * cos - odd * sin
        y[..., 1:rotated:2] = even * sin + odd * cos
        return y

    def attend(self, q, k, v, kv, layer):
        """Causal attention with grouped heads: q [n, heads, size] -> [n, heads * size]."""
        n, group = len(q), self.heads // self.kv_heads
        if kv:
            q, k, v = kv(q, "q", layer), kv(k, "k", layer), kv(v, "v", layer)
        scale = self.dtype(1.0 / np.sqrt(self.key_size))
        future = np.triu(np.ones((n, n), dtype=bool), 1)
        out = np.empty((n, self.heads, self.value_size), dtype=self.dtype)
        for h in range(self.heads):
            score = (q[:, h] @ k[:, h // group].T) * scale
            score[future] = -np.inf
            score -= score.max(axis=-1, keepdims=True)
            np.exp(score, out=score)
            score /= score.sum(axis=-1, keepdims=True)
            if kv:
                score = kv(score, "p", layer)
            out[:, h] = score @ v[:, h // group]
        return out.reshape(n, -1)

    def block(self, x, layer, act, kv):
        """One transformer layer."""
        n, name = len(x), f"blk.{layer}."
        h = act(self.norm(x, name + "attn_norm.weight"), "qkv", layer)
        q = self.project(h, name + "attn_q", "qkv", layer)
        k = self.project(h, name + "attn_k", "qkv", layer)
        v = self.project(h, name + "attn_v", "qkv", layer)
        q = self.rotate(q.reshape(n, self.heads, self.key_size))
        k = self.rotate(k.reshape(n, self.kv_heads, self.key_size))
        v = v.reshape(n, self.kv_heads, self.value_size)
        h = act(self.attend(q, k, v, kv, layer), "attn_out", layer)
        x = x + self.project(h, name + "attn_output", "attn_out", layer)

        h = act(self.norm(x, name + "ffn_norm.weight"), "gate_up", layer)
        gate = self.project(h, name + "ffn_gate", "gate_up", layer)
        up = self.project(h, name + "ffn_up", "gate_up", layer)
        h = act(gate / (1 + np.exp(-gate)) * up, "down", layer)
        return x + self.project(h, name + "ffn_down", "down", layer)

    def logits(self, tokens, act=None, kv=None):
        """[n, vocabulary] logits: row i is what follows tokens[0 .. i]."""
        act = act or (lambda x, site, layer: x)
        x = self.weight("token_embd.weight")[np.asarray(tokens)]
        for layer in range(self.layers):
            x = self.block(x, layer, act, kv)
        x = act(self.norm(x, "output_norm.weight"), "head", -1)
        tied = "output.weight" not in self.tensors
        return self.project(x, "token_embd" if tied else "output", "head", -1)


def main():
    parser = argparse.ArgumentParser(description="reference logits of a llama GGUF model")
    parser.add_argument("model")
    parser.add_argument("--tokens", required=True, help="JSON file: a list of token numbers")
    parser.add_argument("--out", required=True, help="where the logits go (.npy)")
    parser.add_argument("--dtype", default="float64", choices=["float64", "float32"])
    options = parser.parse_args()
    with open(options.tokens) as file:
        tokens = json.load(file)
    model = Model(options.model, dtype=np.dtype(options.dtype).type)
    np.save(options.out, model.logits(tokens))


if __name__ == "__main__":
    main()
