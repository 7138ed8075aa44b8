#!/usr/bin/env python3
"""Makes the small files in tests/train/fixtures/ with PyTorch: what the trainer's models must compute.

    make_fixtures.py [--out FOLDER]

Each file is one small network with random weights and one batch, in safetensors. Needs torch, numpy and
safetensors; run once, the results are committed. Tensors, all F32 but ids and targets, which are I32:

    config                  sizes, as listed for the file below
    optimiser               lr, b1, b2, eps, decay, clip, steps, of AdamW; decay on matrices only
    param/NAME              the weights, named as in brisk's GGUF files
    grad/NAME               gradients of the mean loss over all positions
    after/NAME              the weights after `steps` steps on the same batch, gradients clipped to a
                            norm of `clip` before each
    losses [steps + 1]      the loss before each step, and after the last
    norms [steps]           the norm of all gradients before clipping
    ids, targets [B][T]     (rows of B) tokens and what follows them; the MLP has x [B][inputs]
    logits [B][T][classes]  of the first pass

lstm.safetensors: config = vocab, emb, hidden, layers, B, T. A decoder with a bias. States are zero
  before the batch; h, c [layers][B][hidden] are after it, and logits_next, h_next, c_next those of a
  second pass over the same ids that begins with h, c.
lstm_tied.safetensors: the same with a projection of the hidden state to the embedding's width and the
  embedding as decoder (no bias): no output.weight.
llama.safetensors: config = vocab, emb, heads, kv_heads, ff, layers, B, T, theta, eps. Neighbours
  rotate, as in GGUF.
mlp.safetensors: config = inputs, hidden 1, hidden 2, classes, B. ReLU; layers.N.weight and .bias.
"""
import argparse
import math
import os

import numpy as np
import torch
from safetensors.numpy import save_file
from torch import nn
from torch.nn import functional as F

HERE = os.path.dirname(os.path.abspath(__file__))
HYPER = dict(lr=0.01, b1=0.9, b2=0.95, eps=1e-8, decay=0.1, clip=0.2, steps=10)


class Lstm(nn.Module):
    def __init__(self, vocab, emb, hidden, layers, tied):
        super().__init__()
        self.embed = nn.Embedding(vocab, emb)
        self.lstm = nn.LSTM(emb, hidden, layers)
        self.project = nn.Linear(hidden, emb, bias=False) if tied else None
        self.decoder = None if tied else nn.Linear(hidden, vocab)

    def forward(self, ids, state=None):
        y, state = self.lstm(self.embed(ids.T), state)
        if self.project is None:
            return self.decoder(y).transpose(0, 1), state
        return F.linear(self.project(y), self.embed.weight).transpose(0, 1), state

    def named(self):
        yield "token_embd.weight", self.embed.weight
        for i in range(self.lstm.num_layers):
            for ours, theirs in (("ih", "ih"), ("hh", "hh")):
                yield f"blk.{i}.lstm_{ours}.weight", getattr(self.lstm, f"weight_{theirs}_l{i}")
                yield f"blk.{i}.lstm_{ours}.bias", getattr(self.lstm, f"bias_{theirs}_l{i}")
        if self.project is not None:
            yield "output_proj.weight", self.project.weight
        else:
            yield "output.weight", self.decoder.weight
            yield "output.bias", self.decoder.bias


def rotate(x, theta):
    """Neighbours (2i, 2i + 1) of x [B, T, heads, size] by t * theta^(-2i / size)."""
    size, time = x.shape[3], torch.arange(x.shape[1], dtype=torch.float64)
    angle = time[:, None] * theta ** (-torch.arange(0, size, 2, dtype=torch.float64) / size)
    turn = torch.polar(torch.ones_like(angle), angle).to(torch.complex64)[None, :, None]
    pairs = torch.view_as_complex(x.reshape(*x.shape[:3], size // 2, 2))
    return torch.view_as_real(pairs * turn).reshape(x.shape)


def rms_norm(x, weight, eps):
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps) * weight


class Llama(nn.Module):
    def __init__(self, vocab, emb, heads, kv_heads, ff, layers, theta, eps):
        super().__init__()
        self.heads, self.kv_heads, self.layers, self.theta, self.eps = (heads, kv_heads, layers, theta,
                                                                       eps)
        kv = emb // heads * kv_heads
        shapes = {"token_embd": (vocab, emb), "output": (vocab, emb), "output_norm": (emb,)}
        for i in range(layers):
            for name, shape in (("attn_norm", (emb,)), ("attn_q", (emb, emb)), ("attn_k", (kv, emb)),
                                ("attn_v", (kv, emb)), ("attn_output", (emb, emb)),
                                ("ffn_norm", (emb,)), ("ffn_gate", (ff, emb)), ("ffn_up", (ff, emb)),
                                ("ffn_down", (emb, ff))):
                shapes[f"blk.{i}.{name}"] = shape
        self.weights = {}
        for name, shape in shapes.items():
            matrix = len(shape) == 2
            w = torch.randn(shape) / math.sqrt(shape[1]) if matrix else 1 + 0.2 * torch.randn(shape)
            self.weights[name + ".weight"] = nn.Parameter(w)

    def named(self):
        return self.weights.items()

    def block(self, x, i):
        def w(name):
            return self.weights[f"blk.{i}.{name}.weight"]
        b, t, _ = x.shape
        n = rms_norm(x, w("attn_norm"), self.eps)
        q = rotate(F.linear(n, w("attn_q")).view(b, t, self.heads, -1), self.theta)
        k = rotate(F.linear(n, w("attn_k")).view(b, t, self.kv_heads, -1), self.theta)
        v = F.linear(n, w("attn_v")).view(b, t, self.kv_heads, -1)
        k, v = (y.repeat_interleave(self.heads // self.kv_heads, 2) for y in (k, v))
        y = F.scaled_dot_product_attention(*(y.transpose(1, 2) for y in (q, k, v)), is_causal=True)
        x = x + F.linear(y.transpose(1, 2).reshape(b, t, -1), w("attn_output"))
        n = rms_norm(x, w("ffn_norm"), self.eps)
        return x + F.linear(F.silu(F.linear(n, w("ffn_gate"))) * F.linear(n, w("ffn_up")),
                            w("ffn_down"))

    def forward(self, ids):
        x = F.embedding(ids, self.weights["token_embd.weight"])
        for i in range(self.layers):
            x = self.block(x, i)
        x = rms_norm(x, self.weights["output_norm.weight"], self.eps)
        return F.linear(x, self.weights["output.weight"]), None


class Mlp(nn.Module):
    def __init__(self, *sizes):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in zip(sizes, sizes[1:]))

    def named(self):
        return self.named_parameters()

    def forward(self, x):
        for layer in self.layers[:-1]:
            x = F.relu(layer(x))
        return self.layers[-1](x), None


def array(x):
    return np.ascontiguousarray(x.detach().numpy())


def train(model, x, targets, out):
    """Gradients, then the steps; tensors go to out."""
    params = dict(model.named())
    matrices = [p for p in params.values() if p.dim() > 1]
    others = [p for p in params.values() if p.dim() == 1]
    opt = torch.optim.AdamW([{"params": matrices, "weight_decay": HYPER["decay"]},
                             {"params": others, "weight_decay": 0.0}],
                            lr=HYPER["lr"], betas=(HYPER["b1"], HYPER["b2"]), eps=HYPER["eps"])
    losses, norms = [], []

    def loss_of():
        logits = model(x)[0]
        return F.cross_entropy(logits.reshape(-1, logits.shape[-1]), targets.reshape(-1))

    for name, p in params.items():
        out["param/" + name] = array(p).copy()
    for step in range(HYPER["steps"]):
        opt.zero_grad()
        loss = loss_of()
        loss.backward()
        if step == 0:
            for name, p in params.items():
                out["grad/" + name] = array(p.grad).copy()
        norms.append(float(nn.utils.clip_grad_norm_(list(params.values()), HYPER["clip"])))
        losses.append(loss.item())
        opt.step()
    losses.append(loss_of().item())
    for name, p in params.items():
        out["after/" + name] = array(p)
    out["losses"], out["norms"] = np.float32(losses), np.float32(norms)
    out["optimiser"] = np.float32(list(HYPER.values()))


def save(folder, name, config, out):
    out["config"] = np.float32(config)
    path = os.path.join(folder, name + ".safetensors")
    save_file(out, path)
    print(f"{path}: {os.path.getsize(path)} bytes, loss {out['losses'][0]:.4f} -> "
          f"{out['losses'][-1]:.4f}, norm {out['norms'][0]:.3f}")


def tokens(vocab, shape):
    ids = torch.randint(0, vocab, (shape[0], shape[1] + 1))
    return ids[:, :-1].contiguous(), ids[:, 1:].contiguous()


def language_model(folder, name, config, model, B, T, lstm=False):
    ids, targets = tokens(int(config[0]), (B, T))
    out = {"ids": array(ids).astype(np.int32), "targets": array(targets).astype(np.int32)}
    with torch.no_grad():
        logits, state = model(ids)
        out["logits"] = array(logits)
        if lstm:
            out["h"], out["c"] = array(state[0]), array(state[1])
            logits, state = model(ids, state)
            out["logits_next"] = array(logits)
            out["h_next"], out["c_next"] = array(state[0]), array(state[1])
    train(model, ids, targets, out)
    save(folder, name, config, out)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", default=os.path.join(HERE, "fixtures"))
    folder = parser.parse_args().out
    torch.set_num_threads(1)
    torch.manual_seed(7)
    B, T = 3, 7
    for name, tied in (("lstm", False), ("lstm_tied", True)):
        vocab, emb, hidden, layers = 29, 10, 13, 2
        model = Lstm(vocab, emb, hidden, layers, tied)
        language_model(folder, name, (vocab, emb, hidden, layers, B, T), model, B, T, lstm=True)
    vocab, emb, heads, kv_heads, ff, layers, theta, eps = 31, 24, 6, 2, 27, 2, 10000.0, 1e-5
    model = Llama(vocab, emb, heads, kv_heads, ff, layers, theta, eps)
    language_model(folder, "llama", (vocab, emb, heads, kv_heads, ff, layers, B, T, theta, eps), model,
                   B, T)
    sizes, rows, out = (11, 17, 9, 5), 13, {}
    model, x, targets = Mlp(*sizes), torch.randn(rows, sizes[0]), torch.randint(0, sizes[-1], (rows,))
    out["x"], out["targets"] = array(x), array(targets).astype(np.int32)
    out["logits"] = array(model(x)[0])
    train(model, x, targets, out)
    save(folder, "mlp", (*sizes, rows), out)


if __name__ == "__main__":
    main()
