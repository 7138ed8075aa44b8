"""Running brisk and the peer, each run a process of its own, and reading what they measured."""

import json
import os
import signal
import statistics
import subprocess
import tempfile
import threading
import time

LIMIT_S = 3600
FEW_RUNS = 20                   # of prompts of a few tokens, which take milliseconds


class Failed(Exception):
    """A program did not do what it should have; the text says which and what it said."""


def run(command, env=None):
    """Runs a command to its end. Returns its stdout (bytes), the milliseconds from just before exec
    to its first byte there (None without one), and its largest resident set in bytes.

    Linux lets a child's figure start at what the parent had in memory, so this process must stay
    small: no numpy here."""
    everything = dict(os.environ, **(env or {}))
    start = time.monotonic()
    try:
        process = subprocess.Popen(command, env=everything, stdin=subprocess.DEVNULL,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    except OSError as error:
        raise Failed(f"{command[0]}: {error.strerror}") from error
    timer = threading.Timer(LIMIT_S, process.kill)
    messages = []
    reader = threading.Thread(target=lambda: messages.append(process.stderr.read()))
    timer.start()
    reader.start()
    try:
        out = os.read(process.stdout.fileno(), 65536)
        first_ms = (time.monotonic() - start) * 1e3 if out else None
        out += process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
    except BaseException:
        process.kill()
        raise
    finally:
        timer.cancel()
        reader.join()
    process.returncode = os.waitstatus_to_exitcode(status)
    process.stdout.close()
    process.stderr.close()
    if process.returncode != 0:
        raise Failed(explain(command, process.returncode, messages[0]))
    return out, first_ms, usage.ru_maxrss * 1024


def explain(command, code, stderr):
    what = f"exit status {code}" if code >= 0 else f"signal {signal.Signals(-code).name}"
    lines = stderr.decode(errors="replace").strip().splitlines()[-5:]
    return "\n".join([f"{' '.join(command)}: {what}"] + ["    " + line for line in lines])


def parse(command, out):
    try:
        return json.loads(out)
    except ValueError as error:
        raise Failed(f"{' '.join(command)}: its output is not JSON: {error}") from error


class Engine:
    """One way of running one program: its command up to the test, and its environment."""

    def __init__(self, name, command, threads, env=None):
        self.name, self.command, self.threads, self.env = name, command, threads, env

    def bench(self, model, n_prompt, n_gen):
        """Tokens/s of prefill and decode, the largest resident set, and what else was said."""
        (prefill, decode), resident = self.rows(model, [(n_prompt, 0), (0, n_gen)],
                                                ["-p", str(n_prompt), "-n", str(n_gen)])
        return {"prefill": prefill["avg_ts"], "decode": decode["avg_ts"], "resident": resident,
                "level": prefill.get("cpu_level")}

    def rows(self, model, tests, args, runs=1):
        """Of a benchmark with these options the row of each test (tokens of prompt, tokens decoded),
        and the process's largest resident set."""
        command = self.command + ["-m", model, *args, "-r", str(runs), "-t", str(self.threads), "-o",
                                  "json"]
        out, _, resident = run(command, self.env)
        rows = parse(command, out)
        try:
            found = [next(r for r in rows if (r["n_prompt"], r["n_gen"]) == test) for test in tests]
            for row in found:
                row["avg_ts"] = float(row["avg_ts"])
            return found, resident
        except (StopIteration, KeyError, TypeError, ValueError) as error:
            raise Failed(f"{' '.join(command)}: unexpected rows: {error!r}") from error

    def few(self, model, counts):
        """{"tN": milliseconds of a prompt of N tokens}, medians of many runs."""
        rows, _ = self.rows(model, [(n, 0) for n in counts],
                            ["-p", ",".join(map(str, counts)), "-n", "0"], FEW_RUNS)
        return {f"t{n}": statistics.median(r["samples_ns"]) / 1e6 for n, r in zip(counts, rows)}


class Brisk(Engine):
    """brisk, at the best level of this CPU or at the one given, with keys and values of its own type
    or of the one given."""

    def __init__(self, program, threads, level=None, cache=None):
        env = {"BRISK_CPU": level} if level else None
        name = f"brisk {level}" if level else f"brisk kv {cache}" if cache else "brisk"
        options = ["-ctk", cache] if cache else []
        super().__init__(name, [program, "bench"] + options, threads, env)
        self.program, self.cache = program, cache

    def long(self, model, depth, n):
        """Tokens/s of a prompt of `depth` tokens (not again with another type of keys and values), and
        of n tokens after it."""
        (row,), _ = self.rows(model, [(0, n)], ["-p", "0", "-n", str(n), "-d", str(depth)])
        found = {"long_decode": row["avg_ts"]}
        if not self.cache:
            (row,), _ = self.rows(model, [(depth, 0)], ["-p", str(depth), "-n", "0"])
            found["long_prefill"] = row["avg_ts"]
        return found

    def parallel(self, model, seqs, n):
        """Tokens/s of so many sequences together."""
        (row,), _ = self.rows(model, [(0, n)], ["-p", "0", "-n", str(n), "-np", str(seqs)])
        return row["avg_ts"]

    def complete(self, model, prompt, n):
        """`brisk run` on bare text, greedy."""
        return [self.program, "run", "-m", model, "--raw", "-p", prompt, "-n", str(n), "--temp", "0",
                "--ignore-eos", "-t", str(self.threads)]

    def answer(self, model, prompt, n):
        """The JSON object of an answer, and the process's largest resident set."""
        command = self.complete(model, prompt, n) + ["--json"]
        out, _, resident = run(command, self.env)
        return parse(command, out), resident

    def figures(self, *args):
        """The JSON object that another verb prints."""
        command = [self.program, *args, "--json"]
        out, _, _ = run(command, self.env)
        return parse(command, out)

    def bytes_of(self, model):
        """Bytes read per token, of experts those that are used, and bytes of the keys and values of a
        position in 16 bits, in all layers."""
        info = self.figures("info", model)
        return (int(info["token_bytes"]),
                info["n_layers"] * info["n_kv_heads"] * info["head_size"] * 2 * 2)

    def int8_peak(self):
        """Operations per second of all threads, measured now."""
        return float(self.figures("doctor", "--measure", "-t",
                                  str(self.threads))["limits"]["int8_ops_per_second"][-1])

    def ops_per_token(self, model, n_prompt):
        """Operations with weights for each token of a prompt."""
        profile = self.figures("profile", "-m", model, "-p", str(n_prompt), "-n", "0", "-r", "1", "-t",
                               str(self.threads))
        prefill = next(p for p in profile["phases"] if p["phase"] == "prefill")
        return sum(part["int8_ops"] + part["int16_ops"] + part["float_ops"]
                   for part in prefill["parts"] if part["weights"]) / n_prompt

    def read_rate(self, n_bytes):
        """Bytes per second when a buffer of that size is read over and over."""
        return float(self.figures("bench", "read", "--bytes", str(n_bytes), "-t",
                                  str(self.threads))["bytes_per_second"])

    def prompt_of(self, model, n_tokens):
        """A text of that many tokens, counting what the model puts before it: the shortest beginning
        of some words that the model's tokenizer takes for so many."""
        words = "The cat sat on the mat, and the other cat looked at it for a long time. " * n_tokens
        texts = [words[:i] for i in range(1, 12 * n_tokens)]
        with tempfile.NamedTemporaryFile("w", suffix=".txt") as lines:
            lines.write("\n".join(texts) + "\n")
            lines.flush()
            out, _, _ = run([self.program, "tokenize", "-m", model, "-f", lines.name, "--json"],
                            self.env)
        counts = [len(json.loads(line)) for line in out.splitlines()]
        before = self.answer(model, texts[0], 1)[0]["prompt_tokens"] - counts[0]
        for text, count in zip(texts, counts):
            if count + before == n_tokens:
                return text
        raise Failed(f"no prompt of exactly {n_tokens} tokens was found for {model}")

    def first_token(self, model, prompt):
        command = self.complete(model, prompt, 1) + ["-q"]
        _, first_ms, _ = run(command, self.env)
        if first_ms is None:
            raise Failed(f"{' '.join(command)}: wrote nothing")
        return first_ms


class Peer(Engine):
    """llama-bench and llama-batched-bench, with flash attention off (0) or on (1)."""

    def __init__(self, folder, threads, flash_attention):
        super().__init__(f"llama.cpp fa{flash_attention}",
                         [os.path.join(folder, "llama-bench"), "-fa", str(flash_attention)], threads)
        self.batched_command = [os.path.join(folder, "llama-batched-bench"), "-fa",
                                ("off", "on")[flash_attention]]

    def batched(self, model, n_prompt, n_gen, seqs):
        """(tokens/s of the prompts, of what is decoded after them) of so many sequences together."""
        command = self.batched_command + [
            "-m", model, "-t", str(self.threads), "-tb", str(self.threads), "-npp", str(n_prompt), "-ntg",
            str(n_gen), "-npl", str(seqs), "-c", str(seqs * (n_prompt + n_gen)), "--output-format",
            "jsonl"]
        out, _, _ = run(command, self.env)
        row = parse(command, out.strip().split(b"\n")[-1])
        try:
            return float(row["speed_pp"]), float(row["speed_tg"])
        except (KeyError, TypeError, ValueError) as error:
            raise Failed(f"{' '.join(command)}: unexpected row: {error!r}") from error

    def long(self, model, depth, n):
        """As Brisk.long, in one process: its prompt takes minutes."""
        prefill, decode = self.batched(model, depth, n, 1)
        return {"long_prefill": prefill, "long_decode": decode}

    def parallel(self, model, seqs, n):
        """As Brisk.parallel; without a prompt it prints a rate that is not a number."""
        return self.batched(model, 1, n, seqs)[1]
