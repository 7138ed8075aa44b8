#!/usr/bin/env python3
"""texts.py OUTDIR [--size KB]: texts to calibrate and to judge compressed models with, from public-domain
and free texts that Debian packages and from generators in here:

    calibration.txt   what quantising and pruning look at
    evaluation.txt    what perplexity and divergence are measured on; shares no source with the first
    choices.json      questions with one right answer each, for brisk eval --choices
    sources.json      where everything is from: packages, their versions, files, SHA-256 of the results

Each text is a quarter each of the King James Bible (package bible-kjv: the Old Testament calibrates, the
New Testament evaluates; public domain), manual pages of the packages manpages and manpages-dev under a
licence that allows it (read from each page), conversations, and code. The last two are made up here, from
other words, subjects and kinds of program for each text. The same packages give the same files.
"""

import argparse
import functools
import gzip
import hashlib
import json
import os
import random
import re
import subprocess
import sys

import made_up

PAGE_LICENCES = {"Linux-man-pages-copyleft", "GPL-2.0-or-later", "GPL-1.0-or-later", "BSD-3-Clause", "MIT",
                 "Linux-man-pages-1-para"}
PAGE_PACKAGES = ("manpages", "manpages-dev")
BOOKS = {
    "calibration": {"Ge": "Genesis", "Jdgs": "Judges", "1Sm": "1 Samuel", "Isa": "Isaiah"},
    "evaluation": {"Mat": "Matthew", "Luke": "Luke", "Acts": "Acts", "Rom": "Romans"},
    "choices": {"Prv": "Proverbs", "Psa": "Psalms"},
}
COUNTRIES = "/usr/share/misc/countries.gz"
QUESTIONS = 60  # of each of the four kinds


class Missing(Exception):
    pass


def run(command, package):
    try:
        return subprocess.run(command, capture_output=True, check=True, text=True,
                              env=dict(os.environ, LC_ALL="C.UTF-8", PAGER="cat")).stdout
    except (OSError, subprocess.CalledProcessError) as e:
        raise Missing(f"{' '.join(command)}: {e}; install the Debian package {package}") from e


# ---- The Bible ------------------------------------------------------------------------------------


def verses(book):
    """[(chapter, text)] of a book by its short name."""
    return [(int(m[2]), m[3].strip()) for m in all_verses() if m[1] == book]


@functools.cache
def all_verses():
    lines = run(["bible", "-f", "-l", "1000", "gen1:1-rev22:21"], "bible-kjv").splitlines()
    found = [re.fullmatch(r"(\d?[A-Za-z]+)(\d+):\d+ (.*)", line) for line in lines]
    return [m for m in found if m]


def bible(books, size):
    """Chapters of every book in turn, until there is enough."""
    chapters = []
    for short, name in books.items():
        by_number = {}
        for chapter, text in verses(short):
            by_number.setdefault(chapter, []).append(text)
        chapters.append([f"{name} {n}\n\n" + " ".join(by_number[n]) for n in sorted(by_number)])
    longest = max(map(len, chapters))
    return take((c[i] for i in range(longest) for c in chapters if i < len(c)), size)


def take(documents, size):
    out, have = [], 0
    for d in documents:
        if have >= size:
            break
        out.append(d)
        have += len(d.encode())
    return out


# ---- Manual pages ---------------------------------------------------------------------------------


def pages():
    """Paths of the pages under one of the licences above, in order of their names, aliases left out."""
    listed = []
    for package in PAGE_PACKAGES:
        listed += run(["dpkg", "-L", package], package).split()
    found = []
    for path in sorted(p for p in listed if re.search(r"/man/man[2-8]/.*\.gz$", p)):
        if os.path.islink(path) or not os.path.isfile(path):
            continue
        with gzip.open(path, "rt", errors="replace") as f:
            source = f.read()
        licence = re.search(r"SPDX-License-Identifier: (\S+)", source)
        if licence and licence[1] in PAGE_LICENCES and len(source) > 4000:
            found.append((path, source))
    if len(found) < 100:
        raise Missing(f"{len(found)} manual pages of {' and '.join(PAGE_PACKAGES)}: install these Debian "
                      "packages (where dpkg leaves documentation out, reinstall them with it)")
    return found


ESCAPES = ((r"\\f(\(..|\[\w*\]|.)", ""), (r"\\s[-+]?\d", ""), (r"\\[&:%|^/,]", ""), (r"\\-", "-"),
           (r"\\\(aq|\\\[aq\]", "'"), (r"\\\((co|em|en|bu|ti|ha|la|ra|lq|rq|dq|rs|mu|pl|->|<=|>=|mi)|"
                                       r"\\\[\w+\]|\\\*\(..", " "), (r"\\e", r"\\"), (r"\\[ ~]", " "),
           (r"\\\".*", ""))


def plain(line):
    for pattern, by in ESCAPES:
        line = re.sub(pattern, by, line)
    return line


def prose(source):
    """A page's text: macros of headings and fonts resolved, paragraphs as one line each; tables and what
    only typesets left out."""
    out, skip, end = [], None, " "
    for line in source.replace("\\\n", "").splitlines():
        if skip:
            skip = None if line.startswith(skip) else skip
        elif line.startswith((".TS", ".de ", ".ig")):
            skip = ".TE" if line.startswith(".TS") else ".."
        elif line.startswith((".SH", ".SS", ".TP", ".IP", ".PP", ".P", ".EX", ".EE", ".nf", ".fi")):
            end = {".EX": "\n", ".nf": "\n", ".EE": " ", ".fi": " "}.get(line[:3], end)
            heading = plain(line[3:]).strip().strip('"') + "\n" if line[:2] == ".S" else ""
            out.append("\n\n" + heading)
        elif re.match(r"\.(B|I|BR|RB|IR|RI|BI|IB|SM) ", line):
            words = re.findall(r'"([^"]*)"|(\S+)', plain(line.split(" ", 1)[1]))
            joint = " " if line[2] == " " else ""
            out.append(joint.join(a or b for a, b in words) + end)
        elif not line.startswith((".", "'")):
            out.append(plain(line) + end)
    return re.sub(r" *\n{2,}", "\n\n", re.sub(r" +\n", "\n", "".join(out))).strip()


# ---- Multiple choice ------------------------------------------------------------------------------


def question(rng, kind, text, right, wrong):
    """Three wrong answers that differ from the right one and from each other."""
    others = list(dict.fromkeys(w for w in wrong if w != right))
    choices = rng.sample(others, 3) + [right]
    rng.shuffle(choices)
    return {"kind": kind, "question": text, "choices": choices, "answer": choices.index(right)}


def capitals(rng):
    try:
        with gzip.open(COUNTRIES, "rt", encoding="utf-8") as f:
            rows = [line.rstrip("\n").split(":") for line in f if not line.startswith("#")]
    except OSError as e:
        raise Missing(f"{COUNTRIES}: {e.strerror}; install the Debian package miscfiles") from e
    known = {r[3]: r[4] for r in rows if len(r) == 5 and re.fullmatch(r"[A-Z][a-z]+", r[3])
             and re.fullmatch(r"[A-Z][A-Za-z ]+", r[4])}
    for country in rng.sample(sorted(known), QUESTIONS):
        yield question(rng, "capital", f"The capital of {country} is", known[country],
                       [c for c in known.values()])


def sums(rng):
    for _ in range(QUESTIONS):
        a, b = rng.randint(2, 60), rng.randint(2, 60)
        word, right = rng.choice((("plus", a + b), ("minus", a - b), ("times", a * b)))
        near = [right + d for d in (-11, -10, -2, -1, 1, 2, 9, 10, 11)]
        yield question(rng, "sum", f"Question: What is {a} {word} {b}?\nAnswer:", str(right), map(str, near))


def endings(rng):
    """The second half of a verse among those of others that are about as long."""
    halves = []
    for book in BOOKS["choices"]:
        for _, text in verses(book):
            m = re.fullmatch(r"([^:;]{25,90}[:;]) ([^:;]{20,90})", text)
            if m:
                halves.append((m[1], m[2]))
    for beginning, end in rng.sample(halves, QUESTIONS):
        close = sorted((e for _, e in halves if e != end), key=lambda e: abs(len(e) - len(end)))
        yield question(rng, "verse", beginning, end, close[:40])


def programs(rng):
    for _ in range(QUESTIONS):
        code, right, wrong = made_up.puzzle(rng)
        yield question(rng, "code", f"{code}\n# The program prints", right, wrong)


# ---- Putting it together --------------------------------------------------------------------------


def make(part, size, own_pages):
    rng = random.Random(part)
    man = [f"{os.path.basename(path)[:-3]}\n\n{prose(source)}" for path, source in own_pages]
    rng.shuffle(man)
    quarter = size // 4
    documents = bible(BOOKS[part], quarter) + take(man, quarter)
    documents += take(made_up.conversations(rng, part), quarter) + take(made_up.code(rng, part), quarter)
    rng.shuffle(documents)
    return "\n\n\n".join(documents) + "\n"


def versions():
    shown = run(["dpkg-query", "-W", "-f", "${Package} ${Version}\n", "bible-kjv-text", "miscfiles",
                 *PAGE_PACKAGES], "bible-kjv miscfiles manpages manpages-dev")
    return dict(line.split() for line in shown.splitlines())


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("outdir")
    parser.add_argument("--size", type=int, default=320, metavar="KB", help="of each text (320)")
    o = parser.parse_args()
    if not 16 <= o.size <= 1024:
        parser.error(f"texts of {o.size} kB: 16 to 1024 are possible")
    found = pages()
    parts = {"calibration": found[0::2], "evaluation": found[1::2]}
    files = {f"{part}.txt": make(part, o.size * 1000, own) for part, own in parts.items()}
    rng = random.Random("choices")
    asked = [q for kind in (capitals, sums, endings, programs) for q in kind(rng)]
    files["choices.json"] = json.dumps(asked, indent=1, ensure_ascii=False) + "\n"
    sources = {"packages": versions(), "books": BOOKS, "countries": COUNTRIES,
               "manual pages": {part: [p for p, _ in own] for part, own in parts.items()},
               "sha256": {n: hashlib.sha256(t.encode()).hexdigest() for n, t in files.items()}}
    files["sources.json"] = json.dumps(sources, indent=1) + "\n"
    os.makedirs(o.outdir, exist_ok=True)
    for name, text in files.items():
        with open(os.path.join(o.outdir, name), "w", encoding="utf-8") as f:
            f.write(text)
        print(f"{os.path.join(o.outdir, name)}: {len(text.encode())} bytes")


if __name__ == "__main__":
    try:
        main()
    except (Missing, OSError) as e:
        sys.exit(f"texts.py: {e}")
