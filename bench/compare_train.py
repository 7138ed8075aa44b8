#!/usr/bin/env python3
"""brisk's training and its LSTM's decoding beside PyTorch, from the same weights on the same text.

    compare_train.py --brisk PROGRAM [--text FILE] [--only PATTERN] [--rounds N] [-t N] [--json FILE]

Each row begins with weights that brisk makes and PyTorch loads. Both then take as many steps with the same
optimiser at a constant rate, in turns; printed are the median tokens/s and the loss of each on the same
held-out end of the text. Batches are drawn by each from the text in its own way. The first steps
(compilation, first touch) of neither are timed. bench/compare_train.sh sets all of this up.
"""
import argparse
import csv
import fnmatch
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

import gguf
import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "tests", "train"))
from make_fixtures import Llama, Lstm  # noqa: E402

HYPER = dict(lr=0.002, b1=0.9, b2=0.95, decay=0.01, clip=1.0)
VALID = 0.03
# name, kind, options of brisk train, steps
ROWS = [
    ("lstm 1x128", "lstm", dict(layers=1, hidden=128, embedding=128, batch=32, sequence=128), 60),
    ("lstm 2x256", "lstm", dict(layers=2, hidden=256, embedding=256, batch=32, sequence=128), 24),
    ("lstm 2x512", "lstm", dict(layers=2, hidden=512, embedding=512, batch=32, sequence=128), 8),
    ("llama 4x128, 12 x 64", "llama", dict(layers=4, embedding=128, heads=4, kv_heads=4, ffn=352, batch=12,
                                           sequence=64), 80),
    ("llama 4x128, 32 x 256", "llama", dict(layers=4, embedding=128, heads=4, kv_heads=4, ffn=352, batch=32,
                                            sequence=256), 12),
]
DECODE = [("decode lstm 1x128", 1, 128), ("decode lstm 2x256", 2, 256), ("decode lstm 2x512", 2, 512)]
WARM = 2


# ---- brisk ----------------------------------------------------------------------------------------

class Brisk:
    def __init__(self, program, threads, text, folder):
        self.program, self.threads, self.text, self.folder = program, threads, text, folder

    def run(self, *args):
        done = subprocess.run([self.program, *map(str, args)], capture_output=True, text=True,
                              stdin=subprocess.DEVNULL)
        if done.returncode:
            sys.exit(f"brisk {' '.join(map(str, args))}: {done.stderr.strip()}")
        return done.stdout

    def train(self, kind, sizes, out, steps, lr, *more):
        options = [x for k, v in sizes.items() for x in ("--" + k.replace("_", "-"), v)]
        said = self.run("train", kind, "-f", self.text, "-o", out, "--steps", steps, "--lr", lr,
                        "--min-lr", lr, "--warmup", 0, "--b1", HYPER["b1"], "--b2", HYPER["b2"], "--decay",
                        HYPER["decay"] if lr else 0, "--clip", HYPER["clip"], "--valid", VALID,
                        "--eval-every", steps, "--save-every", steps, "-t", self.threads, "--json", *options,
                        *more)
        return json.loads(said)

    def trained(self, kind, sizes, out, steps, lr, *more):
        """(tokens/s without the first steps, loss of the held-out text)"""
        log = os.path.join(self.folder, "log.csv")
        said = self.train(kind, sizes, out, steps, lr, "--log", log, "--log-every", 1, *more)
        with open(log, newline="") as f:
            rates = [float(line["tokens_per_second"]) for line in csv.DictReader(f)]
        return statistics.harmonic_mean(rates[WARM:]), said["valid_loss"]

    def decode(self, model):
        said = self.run("bench", "-m", model, "-p", 0, "-n", 2000, "-r", 1, "-t", self.threads, "-o", "json")
        return json.loads(said)[0]["avg_ts"]


# ---- PyTorch --------------------------------------------------------------------------------------

class File:
    """Weights and characters of a GGUF model."""

    def __init__(self, path):
        reader = gguf.GGUFReader(path)
        self.tensors = {t.name: t.data for t in reader.tensors}
        self.fields = reader.fields
        names = self.get("tokenizer.ggml.tokens")
        self.ids = {(" " if t == "\u2581" else t): i for i, t in enumerate(names)}

    def get(self, key):
        return self.fields[key].contents()

    def fill(self, named):
        for name, p in named:
            value = torch.from_numpy(np.array(self.tensors[name], np.float32))
            p.data.copy_(value.reshape(p.shape))


def twin(kind, path, sizes):
    file = File(path)
    if kind == "lstm":
        model = Lstm(len(file.ids), sizes["embedding"], sizes["hidden"], sizes["layers"], False)
    else:
        model = Llama(len(file.ids), sizes["embedding"], sizes["heads"], sizes["kv_heads"], sizes["ffn"],
                      sizes["layers"], float(file.get("llama.rope.freq_base")),
                      float(file.get("llama.attention.layer_norm_rms_epsilon")))
    file.fill(model.named())
    return model, file.ids


class Text:
    def __init__(self, path, ids):
        with open(path, encoding="utf-8") as file:
            text = file.read()
        tokens = torch.tensor([ids.get(c, 0) for c in text])
        split = round(len(tokens) * (1 - VALID))
        self.train, self.valid = tokens[:split], tokens[split:]

    def streams(self, B, T):
        """Windows of B streams one after another."""
        n = len(self.train) // B
        data = self.train[:n * B].view(B, n)
        while True:
            for at in range(0, n - T - 1, T):
                yield data[:, at:at + T], data[:, at + 1:at + T + 1]

    def drawn(self, B, T):
        while True:
            at = torch.randint(0, len(self.train) - T - 1, (B,))
            x = torch.stack([self.train[i:i + T + 1] for i in at])
            yield x[:, :-1], x[:, 1:]


def held_out(model, kind, valid, T):
    """Mean loss of the held-out text, the state carried on, or in windows."""
    total, n, state = 0.0, 0, None
    with torch.no_grad():
        for at in range(0, len(valid) - 1, T):
            x, y = valid[at:at + T + 1][:-1], valid[at + 1:at + T + 1]
            logits, state = model(x[None], state) if kind == "lstm" else (model(x[None])[0], None)
            total += float(F.cross_entropy(logits[0], y, reduction="sum"))
            n += len(y)
    return total / n


def optimiser(model):
    params = [p for _, p in model.named()]
    groups = [{"params": [p for p in params if p.dim() > 1], "weight_decay": HYPER["decay"]},
              {"params": [p for p in params if p.dim() == 1], "weight_decay": 0.0}]
    return params, torch.optim.AdamW(groups, lr=HYPER["lr"], betas=(HYPER["b1"], HYPER["b2"]), eps=1e-8,
                                     fused=True)


def torch_train(kind, init, sizes, steps, text_path, compiled):
    """(tokens/s, loss of the held-out text after `steps` steps)"""
    model, ids = twin(kind, init, sizes)
    text, (params, opt) = Text(text_path, ids), optimiser(model)
    call = torch.compile(model) if compiled else model
    B, T, state, seconds = sizes["batch"], sizes["sequence"], None, 0.0
    batches = (text.streams if kind == "lstm" else text.drawn)(B, T)
    before = [p.detach().clone() for p in params]

    def step():
        nonlocal state
        x, y = next(batches)
        if kind == "lstm":
            logits, state = call(x, state)
            state = tuple(s.detach() for s in state)
        else:
            logits, _ = call(x)
        loss = F.cross_entropy(logits.reshape(-1, logits.shape[-1]), y.reshape(-1))
        opt.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(params, HYPER["clip"])
        opt.step()

    if kind == "lstm":
        state = tuple(torch.zeros(sizes["layers"], B, sizes["hidden"]) for _ in range(2))
    for _ in range(WARM):
        step()
    # From the same start again.
    with torch.no_grad():
        for p, w in zip(params, before):
            p.copy_(w)
    opt = optimiser(model)[1]
    state = state and tuple(torch.zeros_like(s) for s in state)
    for _ in range(steps):
        start = time.perf_counter()
        step()
        seconds += time.perf_counter() - start
    return steps * B * T / seconds, held_out(model, kind, text.valid, T)


def torch_decode(init, layers, hidden, quantised):
    model, _ = twin("lstm", init, dict(embedding=hidden, hidden=hidden, layers=layers))
    parts = nn.ModuleList([model.embed, model.lstm, model.decoder])
    if quantised:
        parts = torch.ao.quantization.quantize_dynamic(parts, {nn.LSTM, nn.Linear}, dtype=torch.qint8)
    embed, lstm, decoder = parts

    def tokens(n):
        x, state = torch.zeros(1, 1, dtype=torch.long), None
        start = time.perf_counter()
        for _ in range(n):
            y, state = lstm(embed(x), state)
            x = decoder(y[0]).argmax(-1, keepdim=True)
        return n / (time.perf_counter() - start)
    with torch.inference_mode():
        tokens(50)
        return tokens(200)


# ---- Rows -----------------------------------------------------------------------------------------

def train_row(brisk, name, kind, sizes, steps, rounds):
    init, out = (os.path.join(brisk.folder, f) for f in ("init.gguf", "out.gguf"))
    brisk.train(kind, sizes, init, 1, 0)
    speed, loss = {}, {}
    for _ in range(rounds):
        runs = [("brisk", *brisk.trained(kind, sizes, out, steps, HYPER["lr"], "--from", init))]
        for peer, compiled in (("eager", False), ("compile", True)):
            runs.append((peer, *torch_train(kind, init, sizes, steps, brisk.text, compiled)))
        for who, s, l in runs:
            speed.setdefault(who, []).append(s)
            loss[who] = l
    return dict(name=name, steps=steps, loss=loss,
                **{who: statistics.median(s) for who, s in speed.items()})


def decode_row(brisk, name, layers, hidden, rounds):
    """PyTorch with as many threads as are faster, one or all."""
    sizes = dict(layers=layers, hidden=hidden, embedding=hidden, batch=4, sequence=16)
    init = os.path.join(brisk.folder, "init.gguf")
    brisk.train("lstm", sizes, init, 1, 0)
    files = {"f32": init}
    for label, more in (("q8_0", ()), ("q4_0", ()), ("q8_0, ends", ("--keep", "lstm"))):
        files[label] = os.path.join(brisk.folder, label.replace(", ", "-") + ".gguf")
        brisk.run("convert", init, files[label], "--type", label.split(",")[0], *more)
    speed = {}
    for _ in range(rounds):
        for label, path in files.items():
            speed.setdefault(label, []).append(brisk.decode(path))
        for who, quantised in (("eager", False), ("quantize_dynamic", True)):
            best = 0.0
            for threads in {1, brisk.threads}:
                torch.set_num_threads(threads)
                best = max(best, torch_decode(init, layers, hidden, quantised))
            torch.set_num_threads(brisk.threads)
            speed.setdefault(who, []).append(best)
    return dict(name=name, **{who: statistics.median(s) for who, s in speed.items()})


def show(row):
    if "loss" in row:
        print(f"| {row['name']} | {row['brisk']:,.0f} | {row['eager']:,.0f} | {row['compile']:,.0f} | "
              f"{row['brisk'] / row['eager']:.2f} | {row['brisk'] / row['compile']:.2f} | "
              f"{row['loss']['brisk']:.3f} | {row['loss']['eager']:.3f} |", flush=True)
    else:
        print(f"| {row['name']} | " + " | ".join(
            f"{row[w]:,.0f}" for w in ("f32", "q8_0", "q4_0", "q8_0, ends", "eager", "quantize_dynamic"))
            + f" | {row['f32'] / row['eager']:.1f} | {row['q8_0'] / row['quantize_dynamic']:.1f} |",
            flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--brisk", default=os.environ.get("BRISK", os.path.join(HERE, "..", "build", "brisk")))
    parser.add_argument("--text", required=True)
    parser.add_argument("--only", default="*", help="rows, as a pattern")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("-t", "--threads", type=int, default=2)
    parser.add_argument("--json", help="file for everything that was measured")
    o = parser.parse_args()
    torch.set_num_threads(o.threads)
    torch.set_flush_denormal(True)
    torch.manual_seed(1)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        brisk = Brisk(o.brisk, o.threads, o.text, folder)
        jobs = [(r[0], lambda r=r: train_row(brisk, *r, o.rounds)) for r in ROWS]
        jobs += [(r[0], lambda r=r: decode_row(brisk, *r, o.rounds)) for r in DECODE]
        heading = None
        for name, job in jobs:
            if not fnmatch.fnmatch(name, o.only):
                continue
            head = ("| tokens/s | f32 | q8_0 | q4_0 | q8_0, layers f32 | PyTorch | quantize_dynamic | f32 / "
                    "PyTorch | q8_0 / quantize_dynamic |" if name.startswith("decode") else
                    "| tokens/s | brisk | eager | compile | / eager | / compile | loss | its loss |")
            if head != heading:
                print(head + "\n|---" * 1 + "|---" * (head.count("|") - 2) + "|")
                heading = head
            rows.append(job())
            show(rows[-1])
    if o.json:
        with open(o.json, "w", encoding="utf-8") as file:
            json.dump(dict(torch=torch.__version__, threads=o.threads, rounds=o.rounds, rows=rows), file,
                      indent=1)


if __name__ == "__main__":
    main()
