#!/usr/bin/env python3
"""Renders the chat templates of some seventy models, as llama.cpp's sources carry them, through jinja2
and through brisk: conversations with and without tools and thinking, of one turn and of many.

    compare_peer.py build/release/tests/template/render [--full]

Each template gets every fourth conversation, another quarter than its neighbour; with --full all."""
import glob
import os
import sys

import compare_jinja2

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import packages

# Renderings that differ, and why.
DIFFER = {
    "meetkai-functionary-medium-v3.1.jinja":
        "adds texts to one marked safe: jinja2 then escapes them for HTML, which nobody wants",
}
LEAST = 60  # templates
# What transformers defines, and what one template wants besides.
OTHER = {"tools": None, "documents": None, "functions": "[]", "datetime": "noon"}


def templates():
    paths = sorted(glob.glob(os.path.join(packages.llama_cpp(), "models/templates/*.jinja")))
    if len(paths) < LEAST:
        raise SystemExit("wanted at least %d templates, found %d" % (LEAST, len(paths)))
    for path in paths:
        with open(path, encoding="utf-8", newline="") as f:
            yield os.path.basename(path), f.read()


def main():
    program, good, failed = sys.argv[1], 0, 0
    step = 1 if "--full" in sys.argv else 4
    talks = list(compare_jinja2.conversations())
    total = compare_jinja2.Report()
    for i, (name, text) in enumerate(templates()):
        report, pairs = compare_jinja2.Report(), []
        for talk in talks[i % step::step]:
            for prompt in (True, False):
                pairs.append((name, text, {**compare_jinja2.BASE, **OTHER,
                                           "add_generation_prompt": prompt, **talk}))
        if name in DIFFER:
            report.fail = lambda *args, r=report: setattr(r, "failed", r.failed + 1)
        results = compare_jinja2.compare(report, program, pairs)
        rendered = sum(kind == "ok" for kind, *_ in results)
        if (report.failed > 0) != (name in DIFFER) or (step == 1 and rendered == 0):
            print("%s: %d of %d renderings differ, %d are no error" %
                  (name, report.failed, report.checked, rendered))
            failed += 1
        if name not in DIFFER:
            compare_jinja2.check_provenance(total, program, pairs)
        total.checked += report.checked
        good += rendered
    print("%d renderings compared, %d of them texts, the others refused by both; %d templates wrong, "
          "%d known to differ" % (total.checked, good, failed, len(DIFFER)))
    return 1 if failed or total.failed or good < 800 else 0


if __name__ == "__main__":
    sys.exit(main())
