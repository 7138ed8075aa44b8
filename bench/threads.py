#!/usr/bin/env python3
"""What other work on the machine and wrong numbers of threads cost: brisk bench with a thread for each
CPU, beside twice as many, beside a busy loop pinned to one of the CPUs, and with the CPU time of one.

    bench/threads.py -m MODEL [--brisk PROGRAM] [-p TOKENS] [-n TOKENS] [--rounds N]

A round runs every case once; the ratios are medians over the rounds. The time of one CPU is a control
group's quota where one can be made (as root), else the process is bound to one CPU. Last: what a program
uses that waits for a question. Exit status 4 when a target is missed."""
import argparse
import os
import pty
import signal
import statistics
import subprocess
import sys
import time

import engines

GROUP = f"brisk-threads-{os.getpid()}"
MOUNTS = (("/sys/fs/cgroup/cpu", "cpu.cfs_quota_us", "100000"),
          ("/sys/fs/cgroup/cpu,cpuacct", "cpu.cfs_quota_us", "100000"),
          ("/sys/fs/cgroup", "cpu.max", "100000 100000"))
IDLE_S = 2


class Quota:
    """A control group with the time of one CPU; .enter is the command that goes into it."""

    def __init__(self, cpu):
        self.folder, self.enter = None, ["taskset", "-c", str(cpu)]
        self.text = f"one CPU (bound to CPU {cpu})"
        for mount, name, value in MOUNTS:
            folder = os.path.join(mount, GROUP)
            if self.folder or not os.path.exists(os.path.join(mount, "cgroup.procs")):
                continue
            try:
                os.mkdir(folder)
            except OSError:
                continue
            try:
                with open(os.path.join(folder, name), "w", encoding="ascii") as f:
                    f.write(value)
            except OSError:
                os.rmdir(folder)
                continue
            self.folder, self.text = folder, "quota of one CPU"
            self.enter = ["sh", "-c", f'echo $$ >{folder}/cgroup.procs && exec "$@"', "sh"]

    def close(self):
        if self.folder:
            os.rmdir(self.folder)


class Competitor:
    """A busy loop on one CPU, while it is entered."""

    def __init__(self, cpu):
        self.command = ["taskset", "-c", str(cpu), sys.executable, "-c", "while True: pass"]

    def __enter__(self):
        self.process = subprocess.Popen(self.command)
        time.sleep(0.2)

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()


class Nobody:
    def __enter__(self):
        pass

    def __exit__(self, *_):
        pass


def speed(o, threads, prefix, beside):
    engine = engines.Engine("brisk", prefix + [o.brisk, "bench"], threads)
    with beside:
        return engine.bench(o.model, o.n_prompt, o.n_gen)


def default_threads(o, prefix):
    command = prefix + [o.brisk, "bench", "-m", o.model, "-p", "1", "-n", "0", "-r", "1",
                        "--no-warmup", "-o", "json"]
    return engines.parse(command, engines.run(command)[0])[0]["n_threads"]


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def wait_for(terminal, text, limit_s=60):
    """Reads what a program writes to its terminal until the text is there."""
    seen, until = b"", time.monotonic() + limit_s
    while text not in seen:
        if time.monotonic() > until:
            raise engines.Failed(f"no {text!r} within {limit_s} s, but {seen[-200:]!r}")
        try:
            seen += os.read(terminal, 4096)
        except OSError as error:
            raise engines.Failed(f"the program ended: {seen[-200:]!r}") from error


def idle_share(o):
    """Of a CPU, while `brisk run` waits for the second question."""
    command = [o.brisk, "run", "-m", o.model, "-n", "16", "--temp", "0"]
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(command[0], command)
    try:
        wait_for(terminal, b"> ")
        os.write(terminal, b"Hello\n")
        wait_for(terminal, b"\n> ")
        time.sleep(0.5)
        before = cpu_seconds(pid)
        time.sleep(IDLE_S)
        return (cpu_seconds(pid) - before) / IDLE_S
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(terminal)


def measure(o, cpus, quota):
    n, nobody = len(cpus), Nobody()
    free = f"{n} threads"
    cases = {free: (n, [], nobody),
             f"{2 * n} threads": (2 * n, [], nobody),
             f"{n} threads, a busy loop on one CPU": (n, [], Competitor(cpus[-1])),
             f"1 thread, {quota.text}": (1, quota.enter, nobody),
             f"{n} threads, {quota.text}": (n, quota.enter, nobody)}
    found = {name: [] for name in cases}
    for _ in range(o.rounds):
        for name, case in cases.items():
            found[name].append(speed(o, *case))
    names = list(cases)
    against = {names[1]: (free, 0.7), names[2]: (free, 0.6), names[4]: (names[3], 0.6)}
    return found, against


def show(found, against):
    """True when every target is met."""
    met = True
    for name, runs in found.items():
        line = f"{name:<44}"
        for kind in ("prefill", "decode"):
            line += f" {kind} {statistics.median(r[kind] for r in runs):7.1f}"
            if name in against:
                base, target = against[name]
                ratio = statistics.median(r[kind] / b[kind] for r, b in zip(runs, found[base]))
                line += f" = {ratio:.2f} x" + ("" if ratio >= target else " MISSED")
                met = met and ratio >= target
        if name in against:
            line += f"  of \"{against[name][0]}\", wanted {against[name][1]}"
        print(line, flush=True)
    return met


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    p.add_argument("-m", "--model", required=True)
    p.add_argument("--brisk", default="build/brisk")
    p.add_argument("-p", "--n-prompt", type=int, default=256)
    p.add_argument("-n", "--n-gen", type=int, default=48)
    p.add_argument("--rounds", type=int, default=5)
    o = p.parse_args()
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) < 2:
        sys.exit("bench/threads.py: one CPU here, at least 2 wanted")
    quota = Quota(cpus[0])
    try:
        met = show(*measure(o, cpus, quota))
        threads = default_threads(o, quota.enter)
        share = idle_share(o)
    except engines.Failed as error:
        sys.exit(f"bench/threads.py: {error}")
    finally:
        quota.close()
    print(f"threads by default, {quota.text}: {threads}, wanted 1")
    print(f"waiting for a question: {100 * share:.1f} % of a CPU, wanted 0")
    return 0 if met and threads == 1 and share < 0.01 else 4


if __name__ == "__main__":
    sys.exit(main())
