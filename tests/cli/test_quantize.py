#!/usr/bin/env python3
"""brisk quantize against llama-quantize, the `gguf` package and numpy.

    BRISK=build/brisk test_quantize.py [PATTERN]
    BRISK_PEER_BIN=llama.cpp/bin test_quantize.py --write    makes tests/quant/mixtures.json anew

1. Mixtures: every tensor's type is what llama-quantize chose (mixtures.json).
2. Plain rounding gives the blocks of the `gguf` package, whatever the number of threads.
3. Importance: both forms of file say the same; what is collected is what numpy sums up; the weighted error
   falls; what is missing is told once.
4. Options for single tensors; a quantised model as source; targets of size, time and divergence.
5. What is wrong gives one line and no file; Ctrl-C and a full disk leave nothing.
With BRISK_PEER_BIN, the folder of llama.cpp's programs: the mixtures as it chooses them now, it reads
brisk's importance, and it continues a quantised file with the same text.

needs gguf and numpy. Exit status 1 when something is wrong.
"""
import fnmatch
import itertools
import json
import os
import re
import resource
import signal
import struct
import subprocess
import sys
import tempfile
import time

import gguf
import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.join(HERE, "..", "..")
sys.path[:0] = [os.path.join(ROOT, "tests", "tools"), os.path.join(ROOT, "tests", "convert")]
from make_tiny import TEXT, make  # noqa: E402

BRISK = os.environ.get("BRISK", os.path.join(ROOT, "build", "brisk"))
PEER = os.environ.get("BRISK_PEER_BIN")
MIXTURES = os.path.join(ROOT, "tests", "quant", "mixtures.json")
failures = []
pattern = "*"


def report(good, what, text=""):
    print(f"{'ok  ' if good else 'FAIL'} {what:44} {text}", flush=True)
    if not good:
        failures.append(what)


def run(*args, **more):
    return subprocess.run([BRISK, "quantize", *args], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          **more)


def must(*args):
    done = run(*args)
    if done.returncode:
        raise RuntimeError(f"brisk quantize {' '.join(args)}: {done.stderr.strip()}")
    return done


def tensors(path):
    return {t.name: t for t in gguf.GGUFReader(path).tensors}


def floats(t):
    return np.asarray(gguf.quants.dequantize(t.data, t.tensor_type), np.float64).reshape(-1, int(t.shape[0]))


# ---- 1. Mixtures ----------------------------------------------------------------------------------

SHAPES = {
    "16 layers, four heads to one": dict(layers=16, embd=256, heads=8, kv_heads=2, ff=512),
    "18 layers, 8 experts, tied": dict(layers=18, embd=256, heads=8, kv_heads=8, ff=512, experts=8,
                                       experts_used=2, ff_expert=256, tied=True),
    "phi3 of 17 layers": dict(arch="phi3", layers=17, embd=256, heads=8, kv_heads=4, ff=512),
    "rows of 288 and 512": dict(layers=9, embd=288, heads=9, kv_heads=3, ff=512, tied=True),
}
PRESETS = ("Q8_0 Q6_K Q5_0 Q5_1 Q5_K_S Q5_K_M Q4_0 Q4_1 Q4_K_S Q4_K_M IQ4_NL IQ4_XS MXFP4_MOE Q3_K_S Q3_K_M "
           "Q3_K_L IQ3_XXS IQ3_XS IQ3_S IQ3_M Q2_K Q2_K_S IQ2_XXS IQ2_XS IQ2_S IQ2_M IQ1_S IQ1_M TQ1_0 TQ2_0 "
           "F16 BF16 Q4_K").split()
WITH_IMATRIX = "Q4_0 Q5_0 IQ3_XXS IQ4_NL IQ4_XS Q4_K_M".split()


def by_role(types):
    """{tensor: type} -> {"q6_k*2 q4_k*6": [roles]}: what each role gets, layer after layer."""
    roles = {}
    for name, kind in types.items():
        layer = re.match(r"blk\.(\d+)\.(.*)", name)
        roles.setdefault(layer[2] if layer else name, []).append((int(layer[1]) if layer else 0, kind))
    out = {}
    for role, kinds in sorted(roles.items()):
        runs = [(kind, len(list(group))) for kind, group in itertools.groupby(k for _, k in sorted(kinds))]
        out.setdefault(" ".join(f"{k}*{n}" for k, n in runs), []).append(role)
    return out


def peer_types(model, preset, imatrix):
    more = ["--imatrix", imatrix] if imatrix else []
    done = subprocess.run([os.path.join(PEER, "llama-quantize"), "--dry-run", *more, model, model + ".out", preset],
                          capture_output=True, text=True)
    types = {}
    for line in (done.stdout + done.stderr).splitlines():
        found = re.match(r"\[ *\d+/ *\d+\] +(\S+) .*type = +(\w+), .*?(?:-> .*\((\w+)\))?$", line.strip())
        if found and "norm" not in found[1] and "bias" not in found[1]:
            types[found[1]] = (found[3] or found[2]).lower()
    return by_role(types)


def brisk_types(model, preset, imatrix):
    more = ["--imatrix", imatrix] if imatrix else []
    done = must(model, preset, "--dry-run", "--json", *more)
    return by_role({t["name"]: t["to"].lower() for t in json.loads(done.stdout)["tensors"]
                    if "norm" not in t["name"] and "bias" not in t["name"]})


def empty_imatrix(path):
    """One that knows no tensor of the model's: rules ask for no more than that there is one."""
    with open(path, "wb") as f:
        f.write(struct.pack("<ii5sii2f", 1, 5, b"other", 1, 2, 1.0, 1.0))


def each_mixture(work):
    imatrix = os.path.join(work, "other.dat")
    empty_imatrix(imatrix)
    for title, shape in SHAPES.items():
        model = os.path.join(work, "shape.gguf")
        make(model, vocab=320, **shape)
        for preset in PRESETS:
            yield title, preset, model, None
        for preset in WITH_IMATRIX:
            yield title, preset + " with importance", model, imatrix


def write_mixtures(work):
    out = {}
    for title, name, model, imatrix in each_mixture(work):
        out.setdefault(title, {})[name] = peer_types(model, name.split()[0], imatrix)
    with open(MIXTURES, "w", encoding="utf-8") as f:
        json.dump(out, f, indent=0, sort_keys=True)
        f.write("\n")


def test_mixtures(work):
    with open(MIXTURES, encoding="utf-8") as f:
        kept = json.load(f)
    wrong = count = 0
    for title, name, model, imatrix in each_mixture(work):
        want = peer_types(model, name.split()[0], imatrix) if PEER else kept[title][name]
        got = brisk_types(model, name.split()[0], imatrix)
        count += 1
        if got != want:
            wrong += 1
            print(f"{title}, {name}: {got}, {want} wanted")
    report(not wrong and count > 100, "mixtures", f"{count} of them, {wrong} differ")


# ---- 2. Rounding ----------------------------------------------------------------------------------

def tiny(work, name="tiny.gguf", **more):
    path = os.path.join(work, name)
    make(path, **{**dict(layers=2, embd=64, heads=4, kv_heads=2, ff=160, vocab=320), **more})
    return path


def test_plain(work):
    source, out = tiny(work), os.path.join(work, "out.gguf")
    before = tensors(source)
    for kind in "Q8_0", "Q4_0", "F16":
        must(source, out, kind, "--plain", "--pure", "-t", "3")
        wrong = [t.name for t in gguf.GGUFReader(out).tensors if len(t.shape) > 1 and
                 gguf.quantize(floats(before[t.name]).astype(np.float32),
                               gguf.GGMLQuantizationType[kind]).tobytes() != t.data.tobytes()]
        report(not wrong, f"plain {kind}", " ".join(wrong))
    must(source, out, "q4_0", "-t", "1")
    must(source, out + "2", "Q4_0", "-t", "4")
    with open(out, "rb") as a, open(out + "2", "rb") as b:
        report(a.read() == b.read(), "one thread and four")
    reader = gguf.GGUFReader(out)
    report(reader.fields["general.file_type"].contents() == 2, "general.file_type")
    kept = [t.name for t in reader.tensors if len(t.shape) == 1 and t.data.tobytes() != before[t.name].data.tobytes()]
    report(not kept, "vectors stay", " ".join(kept))


# ---- 3. Importance --------------------------------------------------------------------------------

def weighted_error(before, after, means):
    return sum(float((((floats(before[n]) - floats(after[n])) ** 2) * h).sum()) for n, h in means.items())


def old_form(path, entries, text="a text"):
    with open(path, "wb") as f:
        f.write(struct.pack("<i", len(entries)))
        for name, means in entries.items():
            f.write(struct.pack("<i", len(name)) + name.encode() + struct.pack("<ii", 4, len(means)))
            f.write((means * 4).astype("<f4").tobytes())
        f.write(struct.pack("<ii", 3, len(text)) + text.encode())


def test_importance(work):
    source, text = tiny(work, embd=96, heads=6, ff=128), os.path.join(work, "text.txt")
    new, old, out = (os.path.join(work, n) for n in ("new.gguf", "old.dat", "out.gguf"))
    with open(text, "w", encoding="utf-8") as f:
        f.write(TEXT * 4)
    must(source, "--imatrix-out", new, "--calibrate", text, "-c", "128")
    collected = tensors(new)
    means = {n[:-len(".in_sum2")]: t.data.reshape(-1) / collected[n[:-len(".in_sum2")] + ".counts"].data.reshape(-1)
             for n, t in collected.items() if n.endswith(".in_sum2")}
    matrices = {n for n, t in tensors(source).items() if len(t.shape) > 1 and n != "token_embd.weight"}
    report(set(means) == matrices, "every matrix is in it", f"{len(means)}")
    # What goes into the first matrices is the norm of the embedded tokens.
    ids = json.loads(subprocess.run([BRISK, "tokenize", "-m", source, "-f", text, "--json"], check=True,
                                    capture_output=True).stdout)
    ids = ids["tokens"] if isinstance(ids, dict) else ids
    x = floats(tensors(source)["token_embd.weight"])[ids[:len(ids) // 128 * 128]]
    x = x / np.sqrt((x ** 2).mean(1, keepdims=True) + 1e-5) * tensors(source)["blk.0.attn_norm.weight"].data
    report(np.allclose(means["blk.0.attn_q.weight"], (x ** 2).mean(0), rtol=1e-3), "sums as numpy's")

    old_form(old, means)
    must(source, out, "q4_0", "--pure", "--imatrix", new)
    weighted = tensors(out)
    must(source, out + "2", "q4_0", "--pure", "--imatrix", old)
    must(source, out + "3", "q4_0", "--pure")
    same = all(np.array_equal(t.data, tensors(out + "2")[n].data) for n, t in weighted.items())
    report(same, "both forms of file")
    before = tensors(source)
    with_it, without = (weighted_error(before, after, means) for after in (weighted, tensors(out + "3")))
    report(with_it < 0.97 * without, "the weighted error falls", f"to {with_it / without:.3f}")
    done = must(source, out, "q4_0", "--imatrix", new)
    report(done.stderr.count("\n") == 1 and "token_embd.weight" in done.stderr, "what is missing is told",
           done.stderr.strip())
    if PEER:
        for file in new, old:
            done = subprocess.run([os.path.join(PEER, "llama-quantize"), "--imatrix", file, source, out, "q4_0"],
                                  capture_output=True, text=True)
            report(done.returncode == 0, "llama-quantize reads it", (done.stdout + done.stderr)[-200:].strip())


# ---- 4. Options -----------------------------------------------------------------------------------

def types_of(path):
    return {t.name: t.tensor_type.name for t in gguf.GGUFReader(path).tensors}


def test_options(work):
    source, out = tiny(work), os.path.join(work, "out.gguf")
    must(source, out, "q4_0", "--tensor-type", "attn_[kv]=q8_0", "--tensor-type", r"blk\.1\.=f16",
         "--token-embedding-type", "bf16", "--output-tensor-type", "q8_0")
    got = types_of(out)
    want = {"blk.0.attn_k.weight": "Q8_0", "blk.1.attn_v.weight": "Q8_0", "blk.1.ffn_up.weight": "F16",
            "blk.0.ffn_up.weight": "Q4_0", "token_embd.weight": "BF16", "output.weight": "Q8_0",
            "blk.1.attn_norm.weight": "F32"}
    report(all(got[n] == t for n, t in want.items()), "types of single tensors")
    must(source, out, "q4_0", "--leave-output-tensor")
    report(types_of(out)["output.weight"] == "F32", "--leave-output-tensor")
    must(source, out, "q8_0")
    done = must(out, out + "2", "q4_0")
    report("quantised already" in done.stderr and types_of(out + "2")["blk.0.ffn_up.weight"] == "Q4_0",
           "from a quantised model", done.stderr.strip())
    lstm = os.path.join(work, "lstm.gguf")
    make(lstm, arch="lstm", layers=1, embd=64, hidden=64, vocab=320)
    must(lstm, out, "q8_0")
    report("Q8_0" in types_of(out).values(), "an LSTM")
    table = must(source, "q4_0", "--dry-run").stdout
    report("blk.1.ffn_down.weight" in table and "bits per weight" in table, "--dry-run")


def test_targets(work):
    """As tight as was asked for, and better than the same size in one type."""
    source, text = tiny(work, embd=256, heads=4, ff=512, layers=3), os.path.join(work, "text.txt")
    with open(text, "w", encoding="utf-8") as f:
        f.write(TEXT * 12)
    out, same = os.path.join(work, "out.gguf"), os.path.join(work, "same.gguf")
    done = json.loads(must(source, out, "--target-bpw", "4.5", "--calibrate", text, "-c", "128", "--json").stdout)
    report(4.3 < done["bits_per_weight"] <= 4.501, "--target-bpw", f"{done['bits_per_weight']:.3f}")
    must(source, same, "q4_0", "--pure", "--calibrate", text, "-c", "128")

    def divergence(model):
        said = subprocess.run([BRISK, "eval", "-m", model, "--reference", source, "-f", text, "-c", "256", "--json"],
                              check=True, capture_output=True, text=True).stdout
        return json.loads(said)["kl_mean"]
    chosen, plain = divergence(out), divergence(same)
    report(os.path.getsize(out) <= os.path.getsize(same) + 4096 and chosen < plain, "better than one type",
           f"KL {chosen:.5f}, {plain:.5f}")
    guessed = json.loads(must(source, "--dry-run", "--target-bpw", "5.5", "--json").stdout)
    report(5.2 < guessed["bits_per_weight"] <= 5.501, "a target without a text", f"{guessed['bits_per_weight']:.3f}")
    want = 2 * chosen
    done = json.loads(must(source, out, "--target-kl", str(want), "--calibrate", text, "-c", "128", "--json").stdout)
    report(0.5 * want < done["kl"] <= want, "--target-kl", f"{done['kl']:.5f} of {want:.5f}")
    done = json.loads(must(source, out, "--target-ms", "1000", "--calibrate", text, "-c", "128", "--json").stdout)
    report(0 < done["ms_per_token"] <= 1000, "--target-ms", f"{done['ms_per_token']:.3f}")
    refused(work, "bits that no type has", "this model can have", source, "OUT", "--target-bpw", "1.5")
    refused(work, "a type and a target", "a type or a target", source, "OUT", "q4_0", "--target-bpw", "5")
    refused(work, "two targets", "one target", source, "OUT", "--target-ms", "1", "--target-bpw", "5")
    refused(work, "a KL without a text", "text", source, "OUT", "--target-kl", "0.1")


# ---- 5. What is wrong -----------------------------------------------------------------------------

def refused(work, what, words, *args):
    out = os.path.join(work, "never.gguf")
    done = run(*[out if a == "OUT" else a for a in args])
    good = done.returncode == 1 and done.stderr.count("\n") == 1 and words in done.stderr
    report(good and not os.path.exists(out), what, done.stderr.strip()[:120])


def test_refused(work):
    source, bad = tiny(work), os.path.join(work, "bad.dat")
    with open(bad, "wb") as f:
        f.write(struct.pack("<ii", 2, 7) + b"blk")
    short = os.path.join(work, "short.txt")
    with open(short, "w", encoding="utf-8") as f:
        f.write("too short")
    refused(work, "an unknown type", "Q4_K_M", source, "OUT", "q4_7")
    refused(work, "an unknown type of a tensor", "Q8_0", source, "OUT", "q4_0", "--tensor-type", "v=q9")
    refused(work, "a pattern of no tensor", "attn_x", source, "OUT", "q4_0", "--tensor-type", "attn_x=q8_0")
    refused(work, "no pattern", "PATTERN=TYPE", source, "OUT", "q4_0", "--tensor-type", "q8_0")
    refused(work, "no type", "a type", source, "OUT")
    refused(work, "no model", "nowhere", "/nowhere.gguf", "OUT", "q4_0")
    refused(work, "a cut importance file", "bad.dat", source, "OUT", "q4_0", "--imatrix", bad)
    refused(work, "a text that is too short", "tokens", source, "OUT", "q4_0", "--calibrate", short)
    refused(work, "a folder that is not there", "nowhere", source, "/nowhere/out.gguf", "q4_0")
    nan = os.path.join(work, "nan.gguf")
    with open(source, "rb") as f:
        data = bytearray(f.read())
    at = tensors(source)["blk.1.ffn_up.weight"].data_offset
    data[at + 400:at + 404] = struct.pack("<f", float("nan"))
    with open(nan, "wb") as f:
        f.write(data)
    refused(work, "a weight that is no number", "blk.1.ffn_up.weight", nan, "OUT", "q4_0")


def limited():
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50000, 50000))


def test_interrupted(work):
    source, folder = tiny(work), os.path.join(work, "folder")
    os.mkdir(folder)
    done = run(source, os.path.join(folder, "out.gguf"), "q8_0", preexec_fn=limited)
    report(done.returncode == 1 and not os.listdir(folder), "no room on the disk", done.stderr.strip())
    large = tiny(work, "large.gguf", layers=4, embd=1024, heads=8, ff=4096, vocab=4096)
    process = subprocess.Popen([BRISK, "quantize", large, os.path.join(folder, "out.gguf"), "q4_0", "-t", "1"],
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for _ in range(1000):
        if os.listdir(folder) or process.poll() is not None:
            break
        time.sleep(0.005)
    started = process.poll() is None
    process.send_signal(signal.SIGINT)
    status = process.wait(30)
    report(status == 130 and started and not os.listdir(folder), "Ctrl-C",
           f"status {status}, {'at work' if started else 'too early'}, {os.listdir(folder)}")


def test_text(work):
    """A file made here says the same in llama.cpp."""
    if not PEER:
        print("BRISK_PEER_BIN is not set: llama.cpp was not asked")
        return
    from test_convert import PROMPT, brisk_text, peer
    out = os.path.join(work, "default.gguf")
    must(os.environ["BRISK_TEST_MODEL"], out, "q8_0")
    texts = brisk_text(out, PROMPT, 12), peer(out, PROMPT, 12)
    report(texts[0] == texts[1], "llama.cpp says the same", repr(texts)[:100])


def main():
    global pattern
    if sys.argv[1:] == ["--write"]:
        with tempfile.TemporaryDirectory() as work:
            write_mixtures(work)
        return 0
    pattern = sys.argv[1] if len(sys.argv) > 1 else "*"
    for name, test in list(globals().items()):
        if name.startswith("test_") and fnmatch.fnmatch(name[5:], pattern):
            with tempfile.TemporaryDirectory() as work:
                test(work)
    print(f"{len(failures)} failures")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
