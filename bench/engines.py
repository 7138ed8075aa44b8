"""Running brisk and the peer, each run a process of its own, and reading what they measured."""

import json
import os
import signal
import subprocess
import tempfile
import threading
import time

LIMIT_S = 3600


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
        command = self.command + ["-m", model, "-p", str(n_prompt), "-n", str(n_gen), "-r", "1",
                                  "-t", str(self.threads), "-o", "json"]
        out, _, resident = run(command, self.env)
        rows = parse(command, out)
        try:
            prefill = next(r for r in rows if r["n_prompt"] == n_prompt and r["n_gen"] == 0)
            decode = next(r for r in rows if r["n_prompt"] == 0 and r["n_gen"] == n_gen)
            return {"prefill": float(prefill["avg_ts"]), "decode": float(decode["avg_ts"]),
                    "resident": resident, "level": prefill.get("cpu_level")}
        except (StopIteration, KeyError, TypeError, ValueError) as error:
            raise Failed(f"{' '.join(command)}: unexpected rows: {error!r}") from error


class Brisk(Engine):
    """brisk, at the best level of this CPU or at the one given."""

    def __init__(self, program, threads, level=None):
        env = {"BRISK_CPU": level} if level else None
        super().__init__(f"brisk {level}" if level else "brisk", [program, "bench"], threads, env)
        self.program = program

    def complete(self, model, prompt, n):
        """`brisk run` on bare text, greedy."""
        return [self.program, "run", "-m", model, "--raw", "-p", prompt, "-n", str(n), "--temp", "0",
                "--ignore-eos", "-t", str(self.threads)]

    def answer(self, model, prompt, n):
        """The JSON object of an answer, and the process's largest resident set."""
        command = self.complete(model, prompt, n) + ["--json"]
        out, _, resident = run(command, self.env)
        return parse(command, out), resident

    def bytes_per_token(self, model):
        """Of experts those that are used."""
        command = [self.program, "info", "--json", model]
        out, _, _ = run(command, self.env)
        return int(parse(command, out)["token_bytes"])

    def read_rate(self, n_bytes):
        """Bytes per second when a buffer of that size is read over and over."""
        command = [self.program, "bench", "read", "--bytes", str(n_bytes), "-t", str(self.threads),
                   "--json"]
        out, _, _ = run(command, self.env)
        return float(parse(command, out)["bytes_per_second"])

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
    """llama-bench, with flash attention off (0) or on (1)."""

    def __init__(self, folder, threads, flash_attention):
        super().__init__(f"llama.cpp fa{flash_attention}",
                         [os.path.join(folder, "llama-bench"), "-fa", str(flash_attention)], threads)
