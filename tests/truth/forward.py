#!/usr/bin/env python3
"""An independent forward pass for GGUF models: the numbers brisk is checked against.

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


def silu(x):
    return x / (1 + np.exp(-x))


def gelu(x):
    """By the tanh formula, as Gemma was trained."""
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x ** 3)))


class Traits:
    """What an architecture fixes without saying so in the file."""

    def __init__(self, halves=True, activation=silu, embed_root=False, window=0, every=0,
                 local_base=None, score_cap=0.0, logit_cap=0.0, layers_of_27b=0):
        self.halves = halves            # rotate (i, i + n/2); else neighbours (2i, 2i + 1)
        self.activation = activation
        self.embed_root = embed_root    # embedding times the root of the width
        self.window = window            # default of attention.sliding_window
        self.every = every              # the last of so many layers sees everything
        self.local_base = local_base    # rope base of the layers with a window
        self.score_cap, self.logit_cap = score_cap, logit_cap
        self.layers_of_27b = layers_of_27b


ARCHITECTURES = {
    "llama": Traits(halves=False),
    "qwen2": Traits(),
    "qwen3": Traits(),
    "qwen3moe": Traits(),
    "phi3": Traits(),
    "gemma": Traits(activation=gelu, embed_root=True),
    "gemma2": Traits(activation=gelu, embed_root=True, window=4096, every=2, score_cap=50.0,
                     logit_cap=30.0, layers_of_27b=46),
    "gemma3": Traits(activation=gelu, embed_root=True, every=6, local_base=10000.0,
                     layers_of_27b=62),
}


class Model:
    """logits(tokens) runs a sequence of token numbers through a model.

    Two hooks let a caller change numbers on their way, to simulate low precision:

    act(x, site, layer)  the input rows [n, K] of every matrix product; site is one of
                         "qkv", "attn_out", "gate_up", "down", "router", "head" (layer is -1 there)
    kv(x, what, layer)   the operands of attention: what is "q", "k", "v" (each
                         [n, heads, size], rotated already) or "p", the weights after
                         the softmax ([n, n], of one head)

    long_context: which of LongRoPE's two sets of factors.
    """

    def __init__(self, path, dtype=np.float64, long_context=False):
        self.path, self.dtype, self.long_context = path, dtype, long_context
        reader = gguf.GGUFReader(path)
        self.tensors = {t.name: t for t in reader.tensors}
        self.loaded = {}
        meta = Metadata(reader)
        if meta.architecture not in ARCHITECTURES:
            raise ValueError(f"architecture {meta.architecture} is not implemented")
        self.traits = ARCHITECTURES[meta.architecture]

        self.layers = int(meta.need("block_count"))
        self.width = int(meta.need("embedding_length"))
        self.heads = int(meta.need("attention.head_count"))
        self.kv_heads = int(meta.get("attention.head_count_kv", self.heads))
        if self.heads % self.kv_heads:
            raise ValueError(f"{self.heads} heads do not divide among {self.kv_heads}")
        self.key_size = int(meta.get("attention.key_length", self.width // self.heads))
        self.value_size = int(meta.get("attention.value_length", self.width // self.heads))
        self.epsilon = float(meta.need("attention.layer_norm_rms_epsilon"))
        self.window = int(meta.get("attention.sliding_window", self.traits.window))
        self.experts_used = int(meta.get("expert_used_count", 0))
        self.score_cap = float(meta.get("attn_logit_softcapping", self.traits.score_cap))
        self.logit_cap = float(meta.get("final_logit_softcapping", self.traits.logit_cap))
        per_head = self.width / self.heads if self.layers == self.traits.layers_of_27b \
            else self.key_size
        self.score_scale = self.dtype(1 / np.sqrt(per_head))
        self._rope(meta)

    # ---- Rotary positions ----

    def _rope(self, meta):
        """(radians per position of each pair, factor of the result), of layers that see everything
        and of those with a window."""
        self.rotated = int(meta.get("rope.dimension_count", self.key_size))
        base = float(meta.get("rope.freq_base", 10000.0))
        local = meta.get("rope.freq_base_swa", self.traits.local_base)
        plain = lambda b: b ** (-np.arange(0, self.rotated, 2, dtype=np.float64)  # noqa: E731
                                / self.rotated)
        self.rope_all = self._scaled(meta, base, plain(base))
        self.rope_local = self.rope_all if local is None else (plain(float(local)), 1.0)

    def _scaled(self, meta, base, frequencies):
        kind = meta.get("rope.scaling.type", "none")
        factor = float(meta.get("rope.scaling.factor", 1.0)) or 1.0
        size = float(meta.get("rope.scaling.attn_factor", 1.0))
        for name in ("rope_freqs.weight", "rope_factors_long.weight" if self.long_context
                     else "rope_factors_short.weight"):
            if name in self.tensors:
                frequencies = frequencies / self.weight(name).astype(np.float64)
        if kind == "linear":
            frequencies = frequencies / factor
        elif kind == "yarn":
            frequencies = self._yarn(meta, base, frequencies, factor)
            size *= 1 + 0.1 * np.log(factor)
        elif kind not in ("none", "longrope"):
            raise ValueError(f"rope scaling {kind} is not implemented")
        return frequencies, size

    def _yarn(self, meta, base, frequencies, factor):
        """Fast pairs stay, slow ones are interpolated, those between are mixed."""
        context = float(meta.get("rope.scaling.original_context_length",
                                 meta.need("context_length")))
        dimension = lambda turns: (self.rotated * np.log(context / (turns * 2 * np.pi))  # noqa: E731
                                   / (2 * np.log(base)))
        low = max(np.floor(dimension(float(meta.get("rope.scaling.yarn_beta_fast", 32)))), 0)
        high = min(np.ceil(dimension(float(meta.get("rope.scaling.yarn_beta_slow", 1)))),
                   self.rotated - 1)
        ramp = (np.arange(self.rotated // 2) - low) / max(high - low, 0.001)
        slow = np.clip(ramp, 0, 1)
        return frequencies * (1 - slow) + frequencies / factor * slow

    def sees_window(self, layer):
        every = self.traits.every
        return self.window > 0 and not (every and layer % every == every - 1)

    # ---- Pieces ----

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

    def rotate(self, x, layer):
        """Rotary positions: x is [n, heads, size]. Elements past the rotated dimensions stay."""
        frequencies, size = self.rope_local if self.sees_window(layer) else self.rope_all
        angle = np.arange(len(x), dtype=np.float64)[:, None] * frequencies
        cos = (np.cos(angle) * size).astype(self.dtype)[:, None, :]
        sin = (np.sin(angle) * size).astype(self.dtype)[:, None, :]
        n = self.rotated
        first, second = (slice(0, n // 2), slice(n // 2, n)) if self.traits.halves \
            else (slice(0, n, 2), slice(1, n, 2))
        y = x.copy()
        y[..., first] = x[..., first] * cos - x[..., second] * sin
        y[..., second] = x[..., first] * sin + x[..., second] * cos
        return y

    def attend(self, q, k, v, kv, layer):
        """Causal attention with grouped heads: q [n, heads, size] -> [n, heads * size]."""
        n, group = len(q), self.heads // self.kv_heads
        if kv:
            q, k, v = kv(q, "q", layer), kv(k, "k", layer), kv(v, "v", layer)
        behind = np.arange(n)[:, None] - np.arange(n)
        unseen = behind < 0
        if self.sees_window(layer):
            unseen |= behind >= self.window
        out = np.empty((n, self.heads, self.value_size), dtype=self.dtype)
        for h in range(self.heads):
            score = (q[:, h] @ k[:, h // group].T) * self.score_scale
            if self.score_cap:
                score = np.tanh(score / self.score_cap) * self.score_cap
            score[unseen] = -np.inf
            score -= score.max(axis=-1, keepdims=True)
            np.exp(score, out=score)
            score /= score.sum(axis=-1, keepdims=True)
            if kv:
                score = kv(score, "p", layer)
            out[:, h] = score @ v[:, h // group]
        return out.reshape(n, -1)

    def qkv(self, h, name, layer):
        if name + "attn_qkv.weight" in self.tensors:
            rows = self.project(h, name + "attn_qkv", "qkv", layer)
            ends = np.cumsum([self.heads * self.key_size, self.kv_heads * self.key_size])
            return np.split(rows, ends, axis=1)
        return [self.project(h, name + "attn_" + c, "qkv", layer) for c in "qkv"]

    def attention(self, x, name, layer, act, kv):
        n = len(x)
        h = act(self.norm(x, name + "attn_norm.weight"), "qkv", layer)
        q, k, v = self.qkv(h, name, layer)
        q = q.reshape(n, self.heads, self.key_size)
        k = k.reshape(n, self.kv_heads, self.key_size)
        v = v.reshape(n, self.kv_heads, self.value_size)
        if name + "attn_q_norm.weight" in self.tensors:
            q = self.norm(q, name + "attn_q_norm.weight")
            k = self.norm(k, name + "attn_k_norm.weight")
        mixed = self.attend(self.rotate(q, layer), self.rotate(k, layer), v, kv, layer)
        return self.project(act(mixed, "attn_out", layer), name + "attn_output", "attn_out", layer)

    def feed_forward(self, x, name, layer, act):
        h = act(self.norm(x, name + "ffn_norm.weight"), "gate_up", layer)
        up = self.project(h, name + "ffn_up", "gate_up", layer)
        if name + "ffn_gate.weight" in self.tensors:
            gate = self.project(h, name + "ffn_gate", "gate_up", layer)
        else:
            gate, up = np.split(up, 2, axis=1)
        h = act(self.traits.activation(gate) * up, "down", layer)
        return self.project(h, name + "ffn_down", "down", layer)

    def expert(self, x, name, e, site, layer):
        """The matrix of one expert out of a stack [experts, rows, columns]."""
        return x @ self.weight(name + ".weight")[e].T

    def experts(self, x, name, layer, act):
        """Each row goes through its best experts, weighted by the softmax over those."""
        h = act(self.norm(x, name + "ffn_norm.weight"), "gate_up", layer)
        score = self.project(h, name + "ffn_gate_inp", "router", layer)
        out = np.zeros_like(x)
        for r in range(len(x)):
            best = np.argsort(-score[r], kind="stable")[:self.experts_used]
            share = np.exp(score[r, best] - score[r, best[0]])
            for e, weight in zip(best, share / share.sum()):
                row = h[r:r + 1]
                gate = self.expert(row, name + "ffn_gate_exps", e, "gate_up", layer)
                up = self.expert(row, name + "ffn_up_exps", e, "gate_up", layer)
                inner = act(self.traits.activation(gate) * up, "down", layer)
                out[r] += weight * self.expert(inner, name + "ffn_down_exps", e, "down", layer)[0]
        return out

    def block(self, x, layer, act, kv):
        """One transformer layer."""
        name = f"blk.{layer}."
        after = lambda y, norm: (self.norm(y, name + norm)  # noqa: E731
                                 if name + norm in self.tensors else y)
        y = self.attention(x, name, layer, act, kv)
        x = x + after(y, "post_attention_norm.weight")
        routed = name + "ffn_gate_inp.weight" in self.tensors
        y = (self.experts if routed else self.feed_forward)(x, name, layer, act)
        return x + after(y, "post_ffw_norm.weight")

    def states(self, tokens, act=None, kv=None):
        """[n, width] what the last norm leaves of tokens[0 .. i]: an embedding of them."""
        act = act or (lambda x, site, layer: x)
        x = self.weight("token_embd.weight")[np.asarray(tokens)]
        if self.traits.embed_root:
            x = x * self.dtype(np.sqrt(self.width))
        for layer in range(self.layers):
            x = self.block(x, layer, act, kv)
        return self.norm(x, "output_norm.weight")

    def logits(self, tokens, act=None, kv=None):
        """[n, vocabulary] logits: row i is what follows tokens[0 .. i]."""
        x = self.states(tokens, act, kv)
        if act:
            x = act(x, "head", -1)
        tied = "output.weight" not in self.tensors
        y = self.project(x, "token_embd" if tied else "output", "head", -1)
        return np.tanh(y / self.logit_cap) * self.logit_cap if self.logit_cap else y


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


class Lstm(Model):
    """The classic language model: embedding, layers as in torch.nn.LSTM (gates i, f, g, o, two biases),
    perhaps a projection, a linear decoder. Sites of the act hook: "input", "recurrent", "projection",
    "head"."""

    def __init__(self, path, dtype=np.float64, long_context=False):
        self.path, self.dtype, self.loaded = path, dtype, {}
        reader = gguf.GGUFReader(path)
        self.tensors = {t.name: t for t in reader.tensors}
        meta = Metadata(reader)
        if meta.architecture != "lstm":
            raise ValueError(f"architecture {meta.architecture} is not an LSTM")
        self.layers, self.hidden = int(meta.need("block_count")), int(meta.need("hidden_length"))

    def layer(self, x, i, act):
        name = f"blk.{i}.lstm_"
        into = self.project(act(x, "input", i), name + "ih", "input", i)
        h = c = np.zeros((1, self.hidden), self.dtype)
        out = np.empty((len(x), self.hidden), self.dtype)
        for t in range(len(x)):
            row = into[t] + self.project(act(h, "recurrent", i), name + "hh", "recurrent", i)
            gate_i, gate_f, gate_g, gate_o = np.split(row, 4, axis=1)
            c = sigmoid(gate_f) * c + sigmoid(gate_i) * np.tanh(gate_g)
            h = sigmoid(gate_o) * np.tanh(c)
            out[t] = h
        return out

    def states(self, tokens, act=None, kv=None):
        act = act or (lambda x, site, layer: x)
        x = self.weight("token_embd.weight")[np.asarray(tokens)]
        for i in range(self.layers):
            x = self.layer(x, i, act)
        if "output_proj.weight" in self.tensors:
            x = self.project(act(x, "projection", -1), "output_proj", "projection", -1)
        return x

    def logits(self, tokens, act=None, kv=None):
        x = self.states(tokens, act)
        if act:
            x = act(x, "head", -1)
        y = self.project(x, "output" if "output.weight" in self.tensors else "token_embd", "head", -1)
        # A tied decoder may have a bias of its own.
        tied_bias = "output.weight" not in self.tensors and "output.bias" in self.tensors
        return y + self.weight("output.bias") if tied_bias else y


def main():
    parser = argparse.ArgumentParser(description="reference logits of a GGUF model")
    parser.add_argument("model")
    parser.add_argument("--tokens", required=True, help="JSON file: a list of token numbers")
    parser.add_argument("--out", required=True, help="where the logits go (.npy)")
    parser.add_argument("--dtype", default="float64", choices=["float64", "float32"])
    options = parser.parse_args()
    with open(options.tokens) as file:
        tokens = json.load(file)
    kind = Metadata(gguf.GGUFReader(options.model)).architecture
    model = (Lstm if kind == "lstm" else Model)(options.model, dtype=np.dtype(options.dtype).type)
    np.save(options.out, model.logits(tokens))


if __name__ == "__main__":
    main()
