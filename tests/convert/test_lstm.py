#!/usr/bin/env python3
"""PyTorch's classic language model (nn.Embedding + nn.LSTM + nn.Linear) through `brisk convert`.

    BRISK=build/brisk test_lstm.py [PATTERN]

1. The fixtures that PyTorch made (tests/train/make_fixtures.py), under the names that people give such
   modules: logits and returned states within 1e-5 of PyTorch's, also of a batch that goes on from the
   state of another; the same bits for 1, 2 and 4 threads and at every level.
2. Vocabularies: lines, JSON, characters, words; text comes back.
3. Rounded to blocks: all matrices, or only embedding and decoder.
4. What is no such model, or broken, gives one line that says so, and no file.
5. brisk serve answers with it, at once and again, as brisk run does.

needs gguf, numpy and safetensors. Exit status 1 when something is wrong.
"""
import fnmatch
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request

import gguf
import numpy as np
from safetensors.numpy import load_file, save_file

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
BRISK = os.environ.get("BRISK", os.path.join(ROOT, "build", "brisk"))
STATES = os.path.join(ROOT, "build", "release", "tests", "truth", "states")
FIXTURES = os.path.join(ROOT, "tests", "train", "fixtures")
BOUND = 1e-5
# Prefixes of the embedding, the LSTM and the decoder.
NAMES = {"plain": ("embedding.", "lstm.", "fc."), "word_language_model": ("encoder.", "rnn.", "decoder."),
         "wrapped": ("module.wte.", "module.net.rnn.", "module.head.linear."), "terse": ("emb.", "", "out.")}
failures = []
pattern = sys.argv[1] if len(sys.argv) > 1 else "*"


def report(good, what, text=""):
    print(f"{'ok  ' if good else 'FAIL'} {what:44} {text}", flush=True)
    if not good:
        failures.append(what)


def wanted(name):
    return fnmatch.fnmatch(name, pattern)


def run(*args, level=None):
    env = dict(os.environ, BRISK_CPU=level) if level else os.environ
    return subprocess.run([BRISK, *args], env=env, stdin=subprocess.DEVNULL, capture_output=True)


def must(*args, level=None):
    done = run(*args, level=level)
    if done.returncode:
        raise RuntimeError(f"brisk {' '.join(args)}: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout


# ---- PyTorch's files ------------------------------------------------------------------------------

def torch_names(fixture, names):
    """The fixture's weights as PyTorch's state dictionary has them."""
    embed, rnn, head = names
    out = {}
    for name, value in fixture.items():
        if not name.startswith("param/"):
            continue
        parts = name[len("param/"):].split(".")
        if parts[0] == "blk":
            kind = parts[2].replace("lstm_", "")
            out[f"{rnn}{parts[3]}_{kind}_l{parts[1]}"] = value
        else:
            out[{"token_embd": embed, "output": head}[parts[0]] + parts[1]] = value
    return out


def characters(n):
    """n tokens of one character, among them a space and the end of a line."""
    return ["\n", " ", "é", "中"] + [chr(ord("a") + i) for i in range(n - 4)]


def write(folder, weights, tokens, as_lines=False):
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, "model.safetensors")
    save_file({k: np.ascontiguousarray(v) for k, v in weights.items()}, path)
    name = os.path.join(folder, "vocab.txt" if as_lines else "vocab.json")
    with open(name, "w", encoding="utf-8") as file:
        if as_lines:
            file.writelines(t.replace("\n", "\\n") + "\n" for t in tokens)
        else:
            json.dump({t: i for i, t in enumerate(tokens)}, file)
    return path


def converted(path, *options):
    out = path + ".gguf"
    must("convert", path, out, *options)
    return out


def logits_of(model, sequences, folder, *more, level=None):
    ids, out = os.path.join(folder, "ids.json"), os.path.join(folder, "logits.npy")
    with open(ids, "w", encoding="utf-8") as file:
        json.dump(sequences, file)
    must("eval", "-m", model, "--tokens", ids, "--save-logits", out, "--json", *more, level=level)
    return np.load(out)


def states_of(model, ids):
    done = subprocess.run([STATES, model, *map(str, ids)], capture_output=True, check=True)
    return np.frombuffer(done.stdout, "<f4").reshape(len(ids), -1)


# ---- Tests ----------------------------------------------------------------------------------------

def check_numbers(folder):
    fixture = load_file(os.path.join(FIXTURES, "lstm.safetensors"))
    ids, vocab = fixture["ids"], int(fixture["config"][0])
    rows = fixture["logits"].reshape(-1, vocab)
    after = fixture["logits_next"]
    for name, prefixes in NAMES.items():
        path = write(os.path.join(folder, name), torch_names(fixture, prefixes), characters(vocab))
        model = converted(path)
        worst = np.abs(logits_of(model, ids.tolist(), folder) - rows).max()
        twice = logits_of(model, [[*r, *r] for r in ids.tolist()], folder).reshape(len(ids), -1, vocab)
        later = np.abs(twice[:, ids.shape[1]:] - after).max()
        ends = max(np.abs(states_of(model, r)[-1] - h).max() for r, h in zip(ids, fixture["h"][-1]))
        report(max(worst, later, ends) <= BOUND, f"PyTorch's numbers, {name}",
               f"logits {worst:.1e}, going on {later:.1e}, states {ends:.1e}")
    same = logits_of(model, ids.tolist(), folder)
    for more, level in ((("-t", "1"), None), (("-t", "4"), None), ((), "ref"), ((), "avx2")):
        again = logits_of(model, ids.tolist(), folder, *more, level=level)
        report(again.tobytes() == same.tobytes(), f"the same bits, {' '.join(more) or level}")
    folder_itself = logits_of(os.path.dirname(path), ids.tolist(), folder)
    report(folder_itself.tobytes() == same.tobytes(), "the folder without conversion")


def check_tied(folder):
    """Embedding and hidden size alike, one matrix for both, under either name."""
    rng = np.random.default_rng(5)
    n, vocab = 9, 20
    part = lambda *shape: rng.standard_normal(shape).astype(np.float32) / 3  # noqa: E731
    lstm = {"weight_ih_l0": part(4 * n, n), "weight_hh_l0": part(4 * n, n), "bias_ih_l0": part(4 * n),
            "bias_hh_l0": part(4 * n)}
    table, bias = part(vocab, n), part(vocab)
    tokens, ids = characters(vocab), [[3, 1, 4, 1, 5, 9, 2, 6]]
    both = {**lstm, "encoder.weight": table, "decoder.weight": table.copy(), "decoder.bias": bias}
    one = {**lstm, "decoder.weight": table, "decoder.bias": bias}
    got = [logits_of(converted(write(os.path.join(folder, f"tied{i}"), w, tokens)), ids, folder)
           for i, w in enumerate((both, one))]
    report(got[0].tobytes() == got[1].tobytes(), "tied weights, stored twice or once")
    plain = {k: v for k, v in one.items() if not k.startswith("bias_")}
    zero = {**one, "bias_ih_l0": np.zeros(4 * n, np.float32), "bias_hh_l0": np.zeros(4 * n, np.float32)}
    got = [logits_of(converted(write(os.path.join(folder, f"bias{i}"), w, tokens)), ids, folder)
           for i, w in enumerate((plain, zero))]
    report(got[0].tobytes() == got[1].tobytes(), "an LSTM without biases has zeros")


def check_vocabularies(folder):
    fixture = load_file(os.path.join(FIXTURES, "lstm.safetensors"))
    weights, vocab = torch_names(fixture, NAMES["plain"]), int(fixture["config"][0])
    words = ["<unk>", "<eos>", "the", "cat", "sat", ",", ".", "on", "a", "mat", "1887", "don't", "中"]
    words += [f"word{chr(97 + i)}" for i in range(vocab - len(words))]
    cases = (("characters as JSON", characters(vocab), False, "bad é中\n egg"),
             ("characters as lines", characters(vocab), True, "bad é中\n egg"),
             ("words as JSON", words, False, "the cat, don't sat on a mat. 1887中"),
             ("words as lines", words, True, "the cat, don't sat on a mat. 1887中"))
    for name, tokens, as_lines, text in cases:
        path = write(os.path.join(folder, name.replace(" ", "_")), weights, tokens, as_lines)
        model = converted(path)
        ids = json.loads(must("tokenize", "-m", model, "-p", text, "--json"))
        file = os.path.join(folder, "ids.json")
        with open(file, "w", encoding="utf-8") as out:
            json.dump(ids, out)
        back = json.loads(must("detokenize", "-m", model, "-f", file, "--json"))
        expected = [tokens.index(c) for c in text] if tokens is not words else None
        report(back == text and (expected is None or ids == expected), name,
               f"{len(ids)} tokens, {back!r}")
    model = converted(write(os.path.join(folder, "elsewhere"), weights, words), "--vocab",
                      os.path.join(folder, "words_as_lines", "vocab.txt"))
    ids = json.loads(must("tokenize", "-m", model, "-p", "the cat xyz", "--json"))
    report(ids == [2, 3, 0], "a word that is not there", str(ids))


def check_rounded(folder):
    """Rows of 64: blocks of 32 fit."""
    rng = np.random.default_rng(6)
    n, vocab = 64, 40
    part = lambda *shape: rng.standard_normal(shape).astype(np.float32) / 8  # noqa: E731
    weights = {"encoder.weight": 8 * part(vocab, n), "decoder.weight": 4 * part(vocab, n),
               "decoder.bias": part(vocab)}
    for i in range(2):
        weights.update({f"rnn.weight_ih_l{i}": part(4 * n, n), f"rnn.weight_hh_l{i}": part(4 * n, n),
                        f"rnn.bias_ih_l{i}": part(4 * n), f"rnn.bias_hh_l{i}": part(4 * n)})
    path = write(os.path.join(folder, "rounded"), weights, characters(vocab))
    ids = [rng.integers(0, vocab, 50).tolist()]
    true = logits_of(converted(path), ids, folder)
    for kind, keep, bound in (("q8_0", "lstm", 0.05), ("q8_0", None, 0.05), ("q4_0", "lstm", 0.8),
                              ("q4_0", None, 0.8), ("f16", None, 0.005)):
        model = converted(path, "--type", kind, *(["--keep", keep] if keep else []))
        types = {t.name: t.tensor_type.name for t in gguf.GGUFReader(model).tensors}
        layers = {types[t] for t in types if "lstm" in t and t.endswith("weight")}
        good = types["token_embd.weight"] == types["output.weight"] == kind.upper()
        good &= layers == ({"F32"} if keep else {kind.upper()}) and types["output.bias"] == "F32"
        worst = np.abs(logits_of(model, ids, folder) - true).max() / true.std()
        report(good and worst <= bound, f"{kind}{', layers kept' if keep else ''}", f"{worst:.4f}")
        if kind != "f16":
            want = gguf.quants.quantize(weights["encoder.weight"], gguf.GGMLQuantizationType[kind.upper()])
            got = next(t for t in gguf.GGUFReader(model).tensors if t.name == "token_embd.weight").data
            report(np.array_equal(want, got), f"{kind}: the bytes of the gguf package")
    again = converted(converted(path), "--type", "q8_0")
    direct = converted(path, "--type", "q8_0")
    report(logits_of(again, ids, folder).tobytes() == logits_of(direct, ids, folder).tobytes(),
           "a GGUF file rounded later is the same")


def broken(weights, tokens):
    """(name, what the line says, weights, tokens)"""
    h = weights["lstm.weight_hh_l0"]
    without = lambda *names: {k: v for k, v in weights.items() if k not in names}  # noqa: E731
    yield "bidirectional", "two directions", {**weights, "lstm.weight_hh_l0_reverse": h}, tokens
    yield "proj_size", "proj_size", {**weights, "lstm.weight_hr_l0": h[:3]}, tokens
    yield "gru", "GRU", {**weights, "lstm.weight_hh_l0": h[:3 * h.shape[1]]}, tokens
    yield "plain rnn", "no gates", {**weights, "lstm.weight_hh_l0": h[:h.shape[1]]}, tokens
    yield "no lstm", "torch.nn.LSTM", {"fc.weight": weights["fc.weight"]}, tokens
    yield "two lstms", "two recurrent networks", {**weights, "more.weight_hh_l0": h}, tokens
    yield "layer missing", "'lstm.weight_ih_l1' is missing", without("lstm.weight_ih_l1"), tokens
    yield "wrong shape", "wanted", {**weights, "lstm.weight_hh_l1": h[:, :-1]}, tokens
    yield "bias too short", "'lstm.bias_hh_l0'", {**weights, "lstm.bias_hh_l0": np.zeros(3, np.float32)}, tokens
    yield "integers", "I32", {**weights, "lstm.bias_hh_l0": np.zeros(52, np.int32)}, tokens
    yield "no decoder", "wanted an embedding", without("fc.weight", "fc.bias"), tokens
    yield "a third matrix", "neither", {**weights, "more.weight": np.zeros((5, 7), np.float32)}, tokens
    yield "a norm", "'norm.weight' has no role", {**weights, "norm.weight": np.ones(13, np.float32)}, tokens
    yield "tokens too few", "28 tokens found; 29 wanted", weights, tokens[:-1]
    yield "token twice", "", weights, ["x", *tokens[:-2], "x"]
    yield "token empty", "empty", weights, ["", *tokens[1:]]


def check_broken(folder):
    fixture = load_file(os.path.join(FIXTURES, "lstm.safetensors"))
    weights, tokens = torch_names(fixture, NAMES["plain"]), characters(int(fixture["config"][0]))
    for name, says, changed, names in broken(weights, tokens):
        for as_lines in (False, True):
            if as_lines and name in ("token empty",):
                names = [names[1], "", *names[2:]]
            if not as_lines and name == "token twice":
                continue  # a JSON object cannot
            sub = os.path.join(folder, f"{name.replace(' ', '_')}{as_lines}")
            path = write(sub, changed, names, as_lines)
            done = run("convert", path, path + ".gguf")
            line = done.stderr.decode(errors="replace").strip()
            report(done.returncode == 1 and line.count("\n") == 0 and says in line
                   and not os.path.exists(path + ".gguf"), f"refused: {name}", line[-130:])
    path = write(os.path.join(folder, "no_vocab"), weights, tokens)
    os.remove(os.path.join(os.path.dirname(path), "vocab.json"))
    line = run("convert", path, path + ".gguf").stderr.decode()
    report("vocab.json" in line and "--vocab" in line, "refused: no vocabulary", line.strip()[-130:])
    line = run("convert", path, path + ".gguf", "--type", "q9_9").stderr.decode()
    report("q9_9" in line and "Q8_0" in line, "refused: unknown type", line.strip()[-130:])


def check_serve(folder):
    fixture = load_file(os.path.join(FIXTURES, "lstm.safetensors"))
    # Larger weights, so that what comes depends on what was.
    weights = {k: v * 8 for k, v in torch_names(fixture, NAMES["plain"]).items()}
    model = converted(write(os.path.join(folder, "served"), weights,
                            characters(int(fixture["config"][0]))))
    prompt = "a bad cab " * 30
    said = json.loads(must("run", "-m", model, "--raw", "-p", prompt, "-n", "100", "--temp", "0", "--json",
                           "--ignore-eos", "-t", "1"))["text"]
    port = 20000 + os.getpid() % 20000
    with subprocess.Popen([BRISK, "serve", "-m", model, "--port", str(port), "-c", "4096", "-t", "2"],
                          stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL) as server:
        try:
            def ask(body):
                request = urllib.request.Request(f"http://127.0.0.1:{port}/v1/completions",
                                                 json.dumps(body).encode(),
                                                 {"Content-Type": "application/json"})
                with urllib.request.urlopen(request, timeout=30) as reply:
                    return json.load(reply)
            body = {"model": "m", "prompt": prompt, "max_tokens": 100, "temperature": 0,
                    "ignore_eos": True}
            for _ in range(100):
                try:
                    first = ask(body)
                    break
                except OSError:
                    time.sleep(0.1)
            again = ask(body)
            report(first["choices"][0]["text"] == said, "served as it is run", repr(said[:40]))
            cached = again["usage"].get("prompt_tokens_details", {}).get("cached_tokens", 0)
            report(again["choices"][0]["text"] == said and cached > 0, "the same out of the prefix cache",
                   f"{cached} of {again['usage']['prompt_tokens']} tokens cached")
            guessed = ask({**body, "prediction": {"type": "content", "content": said[:60] + "zzzz" + said[40:]}})
            report(guessed["choices"][0]["text"] == said, "the same with guesses, right and wrong")
        finally:
            server.terminate()


def main():
    with tempfile.TemporaryDirectory() as folder:
        for name, check in (("numbers", check_numbers), ("tied", check_tied),
                            ("vocabularies", check_vocabularies), ("rounded", check_rounded),
                            ("broken", check_broken), ("serve", check_serve)):
            if wanted(name):
                check(folder)
    print(f"lstm: {len(failures)} failed")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
