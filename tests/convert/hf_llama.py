"""A llama forward pass in the conventions of Hugging Face folders, in float64 over the weights of
hf_folder.Folder: rotation turns halves of a head (`rotate_half`), matrices are [rows, columns]. What it
says holds before any conversion, so it shows whether a converted model still is the same one."""
import math
import os
import sys

import numpy as np

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "truth"))
from attention16 import attention  # noqa: E402


def inverse_frequencies(c, head):
    base = c["rope_theta"]
    freq = base ** (-np.arange(0, head, 2) / head)
    scaling = c.get("rope_scaling")
    if not scaling:
        return freq
    if scaling["rope_type"] == "linear":
        return freq / scaling["factor"]
    if scaling["rope_type"] != "llama3":
        raise ValueError(scaling["rope_type"])
    out = []
    old = scaling["original_max_position_embeddings"]
    low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
    for f in freq:
        wave = 2 * math.pi / f
        if wave < old / high:
            out.append(f)
        elif wave > old / low:
            out.append(f / scaling["factor"])
        else:
            smooth = (old / wave - low) / (high - low)
            out.append((1 - smooth) * f / scaling["factor"] + smooth * f)
    return np.array(out)


def norm(x, weight, eps):
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + eps) * weight


def rotate(x, angles):
    half = x.shape[-1] // 2
    turned = np.concatenate([-x[..., half:], x[..., :half]], -1)
    both = np.concatenate([angles, angles], -1)[:, None, :]
    return x * np.cos(both) + turned * np.sin(both)


def logits(folder, tokens):
    """[len(tokens), vocabulary] of a "llama" or "mistral" Folder that has been written."""
    c, w = folder.config, folder.weights
    heads, kv = c["num_attention_heads"], c["num_key_value_heads"]
    head = c.get("head_dim") or c["hidden_size"] // heads
    angles = np.arange(len(tokens))[:, None] * inverse_frequencies(c, head)
    x = w["model.embed_tokens.weight"][tokens]
    for i in range(c["num_hidden_layers"]):
        n = f"model.layers.{i}."
        y = norm(x, w[n + "input_layernorm.weight"], c["rms_norm_eps"])
        q, k, v = (y @ w[f"{n}self_attn.{p}_proj.weight"].T for p in "qkv")
        q = rotate(q.reshape(-1, heads, head), angles)
        k = rotate(k.reshape(-1, kv, head), angles)
        unseen = np.triu(np.ones((len(tokens), len(tokens)), bool), 1)
        seen = attention(q, k, v.reshape(-1, kv, head), unseen, 1 / math.sqrt(head))
        x = x + seen.reshape(len(tokens), -1) @ w[n + "self_attn.o_proj.weight"].T
        y = norm(x, w[n + "post_attention_layernorm.weight"], c["rms_norm_eps"])
        gate, up = (y @ w[f"{n}mlp.{p}_proj.weight"].T for p in ("gate", "up"))
        x = x + (gate / (1 + np.exp(-gate)) * up) @ w[n + "mlp.down_proj.weight"].T
    x = norm(x, w["model.norm.weight"], c["rms_norm_eps"])
    head_name = "model.embed_tokens.weight" if c["tie_word_embeddings"] else "lm_head.weight"
    return x @ w[head_name].T


def greedy(folder, prompt, count):
    """The text that follows, by the best token each time; stops at the end token. Also the least
    distance between the two best."""
    ids, gap = folder.tokenizer.encode(prompt).ids, math.inf
    begin = len(ids)
    for _ in range(count):
        row = logits(folder, ids)[-1]
        best = np.sort(row)[-2:]
        gap = min(gap, best[1] - best[0])
        ids.append(int(row.argmax()))
        if ids[-1] == folder.config["eos_token_id"]:
            ids.pop()
            break
    return folder.tokenizer.decode(ids[begin:], skip_special_tokens=False), gap
