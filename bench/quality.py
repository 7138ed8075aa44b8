"""Perplexity of both engines on one text and, with a float64 pass as the truth, their mean KL
divergence from it."""

import json
import os
import re

import engines

HERE = os.path.dirname(os.path.abspath(__file__))
TEXTS = ("tests/data/prose.txt", "bench/essay.txt")
WINDOW = 512


def compare(o, model):
    folder = os.path.join(o.work, "quality")
    os.makedirs(folder, exist_ok=True)
    text = os.path.join(folder, "text.txt")
    with open(text, "wb") as out:
        for name in TEXTS:
            with open(name, "rb") as f:
                out.write(f.read())
    saved = os.path.join(folder, "peer.logits") if o.truth else None
    found = {"window": WINDOW, "peer": perplexity_of_peer(o, model, text, saved)}
    truth = os.path.join(folder, "truth.npy") if o.truth else None
    if truth:
        found.update(truth_of(o, model, saved, truth))
        found["peer"]["kl_mean"] = found.pop("peer_kl_mean")
        os.remove(saved)
    found["brisk"] = evaluate(o, model, text, truth)
    found["tokens"] = found["brisk"]["tokens"]
    if truth:
        found["kl_ratio"] = found["brisk"]["kl_mean"] / found["peer"]["kl_mean"]
        os.remove(truth)
    return found


def perplexity_of_peer(o, model, text, saved):
    command = [os.path.join(o.peer_bin, "llama-perplexity"), "-m", model, "-f", text, "-c",
               str(WINDOW), "-t", str(o.threads)]
    # It reports on stdout or stderr, depending on the release.
    command += ["--save-all-logits", saved] if saved else []
    out, _, _ = engines.run(["sh", "-c", 'exec "$@" 2>&1', "sh"] + command)
    match = re.search(rb"Final estimate: PPL = ([\d.]+) \+/- ([\d.]+)", out)
    if not match:
        raise engines.Failed(f"{' '.join(command)}: no final estimate in its output")
    return {"ppl": float(match[1]), "ppl_error": float(match[2])}


def truth_of(o, model, saved, out):
    """numpy has a process of its own (see engines.run)."""
    command = [o.truth_python, os.path.join(HERE, "truth.py"), model, saved, out]
    return json.loads(engines.run(command)[0])


def evaluate(o, model, text, truth):
    command = [o.brisk, "eval", "-m", model, "-f", text, "-c", str(WINDOW), "-t", str(o.threads),
               "--json"] + (["--reference-logits", truth] if truth else [])
    return engines.parse(command, engines.run(command)[0])
