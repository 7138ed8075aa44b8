#!/usr/bin/env python3
"""Measures brisk beside the peer, in interleaved rounds, and judges the result. bench/compare.sh sets
up what this needs and calls it; docs/bench.md explains the figures.

Exit status: 0, or 1: something could not run, 2: usage, 3: the peer is too slow to compare with,
4: a target is missed.
"""
import argparse
import json
import os
import re
import subprocess
import sys
import time

import engines
import machine
import quality
import report
import works

HERE = os.path.dirname(os.path.abspath(__file__))
FIRST_TOKEN_PROMPT = 16
MEMORY_TEXT = "tests/data/prose.txt"
MEMORY_TEXT_BYTES = 2200        # about 500 tokens
SHAPE_OF_ALL = "qwen2.5-0.5b:Q4_K_M"


def say(text):
    print(text, file=sys.stderr, flush=True)


def arguments():
    p = argparse.ArgumentParser(prog="bench/compare.sh", add_help=False)
    p.add_argument("--brisk", required=True)
    p.add_argument("--peer-bin", required=True)
    p.add_argument("--work", required=True)
    p.add_argument("-m", "--model", required=True)
    p.add_argument("-t", "--threads", type=int, default=2)
    p.add_argument("-p", "--n-prompt", type=int, default=512)
    p.add_argument("-n", "--n-gen", type=int, default=64)
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--all", action="store_true")
    p.add_argument("--also", action="append", default=[])
    p.add_argument("--long", action="store_true")
    p.add_argument("--parallel", action="append", type=int, default=[])
    p.add_argument("--few", action="store_true")
    p.add_argument("--shape", action="append", default=[])
    p.add_argument("--quality", action="store_true")
    p.add_argument("--truth", action="store_true")
    p.add_argument("--truth-python", default="build/venv/bin/python")
    p.add_argument("--smoke", action="store_true")
    p.add_argument("--json")
    p.add_argument("--markdown", action="store_true")
    p.add_argument("--known-peers", default=os.path.join(HERE, "known_peers.tsv"))
    p.add_argument("--targets", default=os.path.join(HERE, "targets.tsv"))
    o = p.parse_args()
    if o.smoke:
        o.rounds, o.n_prompt, o.n_gen = 1, 32, 4
    if min([o.threads, o.n_prompt, o.n_gen, o.rounds] + o.parallel) < 1:
        p.error("threads, tokens, sequences and rounds are at least 1")
    if o.all and SHAPE_OF_ALL not in o.shape:
        o.shape.append(SHAPE_OF_ALL)
    return o


# ---- Files --------------------------------------------------------------------------------------

def label_of(path):
    """SmolLM2-135M-Instruct.Q4_1.gguf: smollm2-135m-instruct-q4_1"""
    name = os.path.basename(path).lower()
    return (name[:-5] if name.endswith(".gguf") else name).replace(".", "-")


def requantised(o, kind):
    """The model's weights in another format, made by the peer's own tool and kept beside the peer."""
    stem = re.sub(r"-(q\d[\w]*|f16|f32|bf16)$", "", label_of(o.model))
    folder = os.path.join(o.work, "models")
    path = os.path.join(folder, f"{stem}-{kind}.gguf")
    if not os.path.exists(path) or os.path.getmtime(path) < os.path.getmtime(o.model):
        os.makedirs(folder, exist_ok=True)
        say(f"making {path}")
        engines.run([os.path.join(o.peer_bin, "llama-quantize"), "--allow-requantize", o.model,
                     path + ".part", kind, str(o.threads)])
        os.replace(path + ".part", path)
    return path


def made(o, shape):
    """A file with random weights, NAME:TYPE, kept like those."""
    name, _, kind = shape.partition(":")
    kind = kind or "Q4_0"
    folder = os.path.join(o.work, "models")
    path = os.path.join(folder, f"{name}-{kind.lower()}.gguf")
    if not os.path.exists(path):
        os.makedirs(folder, exist_ok=True)
        say(f"making {path}")
        engines.run([o.truth_python, os.path.join(HERE, "make_model.py"), name, path, "--type", kind])
    return path


def warm(path):
    """Reads a file once, so that it lies in the page cache."""
    with open(path, "rb", buffering=0) as f:
        while f.read(1 << 22):
            pass


# ---- Measuring ----------------------------------------------------------------------------------

def best_level(o):
    """The instruction-set level that brisk takes by itself."""
    return engines.Brisk(o.brisk, o.threads).bench(o.model, 8, 1)["level"]


def contestants(o, level):
    """In the order of a round."""
    all_of_them = [engines.Brisk(o.brisk, o.threads), engines.Peer(o.peer_bin, o.threads, 0),
                   engines.Peer(o.peer_bin, o.threads, 1)]
    if level not in ("ref", "avx2"):
        all_of_them.append(engines.Brisk(o.brisk, o.threads, "avx2"))
    return all_of_them


def memory_of(brisk, model, n_gen):
    """Resident memory of `brisk run` on a longer prompt."""
    with open(MEMORY_TEXT, encoding="utf-8") as f:
        text = f.read(MEMORY_TEXT_BYTES)
    answer, resident = brisk.answer(model, text, n_gen)
    return {"resident": resident, "kv": answer["memory"]["kv_bytes"],
            "tokens": answer["prompt_tokens"] + answer["generated_tokens"]}


def measure(o, path, level, random):
    """Of a file with random weights no first token: what it says may be nothing to print."""
    brisk, *others = contestants(o, level)
    warm(path)
    prompt = None if random else brisk.prompt_of(path, FIRST_TOKEN_PROMPT)
    found = {"file": label_of(path), "path": path, "bytes": os.path.getsize(path),
             "samples": {e.name: [] for e in [brisk] + others}, "first_token_ms": [], "works": [],
             "read_rates": []}
    found["bytes_per_token"], found["kv_bytes_per_position"] = brisk.bytes_of(path)
    for r in range(o.rounds):
        for engine in [brisk] + others:
            say(f"{found['file']}, round {r + 1} of {o.rounds}: {engine.name}")
            found["samples"][engine.name].append(engine.bench(path, o.n_prompt, o.n_gen))
        found["read_rates"].append(brisk.read_rate(found["bytes_per_token"]))
        if prompt:
            found["first_token_ms"].append(brisk.first_token(path, prompt))
    found["memory"] = memory_of(brisk, path, o.n_gen)
    found["ops_per_token"] = brisk.ops_per_token(path, o.n_prompt)
    return found


# ---- The peer's build ---------------------------------------------------------------------------

BUILD_FLAGS = ("CMAKE_BUILD_TYPE", "CMAKE_C_FLAGS", "CMAKE_CXX_FLAGS", "CMAKE_C_FLAGS_RELEASE",
               "GGML_NATIVE", "GGML_OPENMP", "GGML_BLAS", "GGML_CPU_REPACK", "BUILD_SHARED_LIBS")


def peer_build(o):
    """Version and build flags, from the program and from what CMake left one folder above."""
    program = os.path.join(o.peer_bin, "llama-bench")
    done = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise engines.Failed(engines.explain([program, "--version"], done.returncode,
                                             done.stderr.encode()))
    version = [line for line in (done.stdout + done.stderr).splitlines()
               if line.startswith(("version:", "built with"))]
    cache = machine.read(os.path.join(o.peer_bin, os.pardir, "CMakeCache.txt"))
    flags = {name: value for name, value in re.findall(r"^(\w+):\w+=(.*)$", cache, re.MULTILINE)
             if name in BUILD_FLAGS and value}
    native = flags.get("GGML_NATIVE") == "ON" and flags.get("CMAKE_BUILD_TYPE") == "Release"
    return {"version": ", ".join(version), "flags": flags, "native_release": native}


def main():
    o = arguments()
    start = time.time()
    result = {"date": time.strftime("%Y-%m-%d", time.gmtime()), "machine": machine.describe(),
              "threads": o.threads, "rounds": o.rounds, "n_prompt": o.n_prompt, "n_gen": o.n_gen,
              "brisk": machine.first_line([o.brisk, "--version"]), "peer": peer_build(o)}
    result["level"] = best_level(o)
    report.print_header(result)
    clock = machine.CpuClock()
    paths = [o.model] + ([requantised(o, k) for k in ("q4_0", "q8_0")] if o.all else []) + o.also
    shapes = [made(o, shape) for shape in o.shape]
    result["files"] = [measure(o, path, result["level"], False) for path in paths]
    result["files"] += [measure(o, path, result["level"], True) for path in shapes]
    works.measure(o, result["files"][0], say)
    result["int8_peak"] = engines.Brisk(o.brisk, o.threads).int8_peak()
    result["others_percent"], result["stolen_percent"] = clock.shares()
    for file in result["files"]:
        file["figures"] = {**report.figures(file, result["int8_peak"]),
                           **works.figures(file, result["int8_peak"])}
    if o.quality or o.truth:
        say("quality")
        first = result["files"][0]
        first["quality"] = quality.compare(o, first["path"])
        first["figures"]["kl_ratio"] = first["quality"].get("kl_ratio")
    result["seconds"] = time.time() - start
    for file in result["files"]:
        report.print_file(result, file)
        works.print_works(file)
    report.print_disturbance(result)
    status = 0
    if not o.smoke:
        status = report.judge(result, report.read_table(o.known_peers, 6),
                              report.read_table(o.targets, 4))
    if o.markdown:
        report.print_markdown(result)
        works.print_markdown(result)
    if o.json:
        with open(o.json, "w", encoding="utf-8") as f:
            json.dump(result, f, indent=1)
            f.write("\n")
    return status


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (engines.Failed, OSError, report.BadTable) as error:
        say(f"bench/compare.sh: {error}")
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
