#!/usr/bin/env python3
"""No model file ends the program other than cleanly: every file of make_broken.py has to give exit
status 1, nothing on stdout, and one printable line on stderr that names the key or tensor. Never a
signal, never longer than 5 seconds, never much memory. Good files among them have to work.

    BRISK=build/brisk tests/gguf/test_broken.py [--keep FOLDER] [PATTERN]

needs numpy. Exit status 0 when all pass.
"""
import argparse
import fnmatch
import os
import resource
import subprocess
import sys
import tempfile

import make_broken

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
BRISK = os.environ.get("BRISK", os.path.join(ROOT, "build", "brisk"))
SECONDS = 5
# Sanitizers and slow machines aside, an error must not need memory that the file does not justify.
MOST_RSS_KIB = 1 << 20


def run(path):
    """(exit status or None after the time limit, stdout, stderr) of a short run on the file."""
    command = [BRISK, "run", "-m", path, "-p", "x", "-n", "1"]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        return None, b"", b""
    return done.returncode, done.stdout, done.stderr


def judge(status, wanted, out, err, expect):
    """What is wrong, or None."""
    if status is None:
        return f"not done after {SECONDS} seconds"
    if status < 0:
        return f"killed by signal {-status}"
    if status != wanted:
        return f"exit status {status}, wanted {wanted}"
    if wanted == 0:
        return None
    if out:
        return f"{len(out)} bytes on stdout"
    lines = err.split(b"\n")
    if len(lines) != 2 or lines[1]:
        return f"{err.count(10)} lines on stderr, wanted 1"
    text = lines[0].decode(errors="replace")
    if any(ord(c) < 32 or 127 <= ord(c) < 160 or c == "\ufffd" for c in text):
        return "control bytes on stderr"
    if not any(e in text for e in expect):
        return "none of " + ", ".join(repr(e) for e in expect)
    return None


def special_paths(folder):
    """Paths that are no files: (path, expected texts)."""
    fifo = os.path.join(folder, "fifo.gguf")
    if not os.path.exists(fifo):
        os.mkfifo(fifo)
    loop = os.path.join(folder, "loop.gguf")
    if not os.path.islink(loop):
        os.symlink("loop.gguf", loop)
    return [(folder, ["directory"]), (fifo, ["regular file"]), (loop, ["loop.gguf"]),
            ("/dev/null", ["regular file"]), (os.path.join(folder, "absent.gguf"), ["absent.gguf"]),
            (os.path.join(folder, "\x1b[2J.gguf"), ["\\x1b[2J"])]


def check(folder, pattern):
    cases = [(os.path.join(folder, m["file"]), m["status"], m["expect"]) for m in make_broken.write(folder)]
    cases += [(path, 1, expect) for path, expect in special_paths(folder)]
    cases = [c for c in cases if fnmatch.fnmatch(os.path.basename(c[0]), pattern)]
    failed = 0
    for path, wanted, expect in cases:
        status, out, err = run(path)
        wrong = judge(status, wanted, out, err, expect)
        if wrong:
            failed += 1
            print(f"FAIL {os.path.basename(path)}: {wrong}\n    {err[:600].decode(errors='replace')!r}")
    rss = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    if rss > MOST_RSS_KIB and not os.environ.get("BRISK_SANITIZED"):
        failed += 1
        print(f"FAIL memory: a run took {rss >> 10} MiB")
    print(f"broken files: {len(cases)} run, {failed} failed")
    return bool(cases) and not failed


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("pattern", nargs="?", default="*")
    parser.add_argument("--keep", metavar="FOLDER", help="write the files there and leave them")
    args = parser.parse_args()
    if not os.access(BRISK, os.X_OK):
        sys.exit(f"{BRISK} is not there: run make, or set BRISK")
    if args.keep:
        sys.exit(not check(args.keep, args.pattern))
    with tempfile.TemporaryDirectory(prefix="brisk-broken-") as folder:
        sys.exit(not check(folder, args.pattern))


if __name__ == "__main__":
    main()
