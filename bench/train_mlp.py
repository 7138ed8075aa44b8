#!/usr/bin/env python3
"""train_mlp.py [--brisk PROGRAM] [--threads N] [--rounds N]: the time of an epoch over the handwritten
digits, network 64-32-10, by brisk and by PyTorch (eager, on the CPU) in turns.

Both take the same number of steps of AdamW over shuffled batches of the same size; PyTorch's data is one
tensor that batches are indexed from, without a loader and without clipping, which brisk does. Needs torch;
prints a table of the medians and the loss over the last epoch, which should be alike."""
import argparse
import json
import os
import statistics
import subprocess
import time

import torch
from torch import nn

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
DIGITS = os.path.join(ROOT, "share/digits.csv")
EPOCHS = 40


def table():
    with open(DIGITS, encoding="ascii") as f:
        rows = [list(map(float, line.split(","))) for line in f.readlines()[1:]]
    data = torch.tensor(rows)
    x = data[:, :-1]
    deviation = x.std(0, unbiased=False)
    return (x - x.mean(0)) / torch.where(deviation > 0, deviation, 1), data[:, -1].long()


def peer(x, y, batch, seed):
    """Seconds of an epoch, mean loss of the last one."""
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    opt = torch.optim.AdamW(model.parameters(), lr=5e-3, weight_decay=0.01)
    loss_of = nn.CrossEntropyLoss()

    def epoch():
        total = 0.0
        for rows in torch.randperm(len(x)).split(batch):
            opt.zero_grad()
            loss = loss_of(model(x[rows]), y[rows])
            loss.backward()
            opt.step()
            total += loss.item() * len(rows)
        return total / len(x)
    epoch()
    start = time.perf_counter()
    for _ in range(EPOCHS - 1):
        last = epoch()
    return (time.perf_counter() - start) / (EPOCHS - 1), last


def ours(brisk, n, batch, threads, seed):
    steps = EPOCHS * -(-n // batch)
    out = subprocess.run([brisk, "train", "mlp", "--data", DIGITS, "--widths", "32", "--valid", "0",
                          "--batch", str(batch), "--steps", str(steps), "--lr", "5e-3", "--min-lr", "5e-3",
                          "--log-every", str(steps // EPOCHS), "--seed", str(seed), "-t", str(threads),
                          "--json"], check=True, capture_output=True, text=True).stdout
    result = json.loads(out)
    return result["seconds"] / EPOCHS, result["train_loss"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--brisk", default=os.path.join(ROOT, "build/brisk"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    o = parser.parse_args()
    torch.set_num_threads(o.threads)
    x, y = table()
    print(f"digits, {len(x)} examples, 64-32-10, {o.threads} threads, PyTorch {torch.__version__}: "
          "ms an epoch (loss of the last)")
    for batch in (32, 128):
        runs = [(ours(o.brisk, len(x), batch, o.threads, seed), peer(x, y, batch, seed))
                for seed in range(1, o.rounds + 1)]
        (brisk, loss), (torch_, torch_loss) = ([statistics.median(r[k][i] for r in runs) for i in (0, 1)]
                                               for k in (0, 1))
        print(f"batch {batch:4}  brisk {1e3 * brisk:7.2f} ({loss:.4f})  PyTorch {1e3 * torch_:7.2f} "
              f"({torch_loss:.4f})  {torch_ / brisk:.1f} times")


if __name__ == "__main__":
    main()
