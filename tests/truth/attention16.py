"""Attention with brisk's rounding, in float64: queries, keys, values and, of every chunk of positions,
the weights of the average are 16-bit integers times the length of their vector (src/kernel/kv_chunk.h)."""
import numpy as np

UNIT, CHUNK = 32700, 64


def lengths(x):
    """Units of the last axis' vectors as 16-bit integers; 1 for a vector of zeros."""
    unit = np.linalg.norm(x, axis=-1, keepdims=True) / UNIT
    return np.where(unit > 0, unit, 1)


def attention(q, k, v, unseen, scale, cap=0):
    """[n, heads, size] of q, k and v of as many positions; k and v have fewer heads. unseen: [n, n]."""
    n, heads, group = len(q), q.shape[1], q.shape[1] // k.shape[1]
    q, k = (np.rint(x / lengths(x)) * lengths(x) for x in (q, k))
    unit = lengths(v)
    v = np.rint(v / unit)
    out = np.zeros((n, heads, v.shape[-1]))
    for h in range(heads):
        score = (q[:, h] @ k[:, h // group].T) * scale
        if cap:
            score = np.tanh(score / cap) * cap
        score[unseen] = -np.inf
        score = np.exp(score - score.max(axis=-1, keepdims=True))
        for at in (slice(i, i + CHUNK) for i in range(0, n, CHUNK)):
            weight = score[:, at] * unit[at, h // group].T
            one = weight.sum(axis=-1, keepdims=True) / UNIT
            out[:, h] += np.rint(weight / np.where(one > 0, one, 1)) * one @ v[at, h // group]
        out[:, h] /= score.sum(axis=-1, keepdims=True)
    return out
