"""plot.py RESULT.json OUT.svg: the picture of the README, drawn from what bench/compare.sh --json wrote.

One group of bars per file: tokens/s of brisk and of the peer's better setting, prefill and decode.
Self-contained SVG; follows the reader's light or dark scheme."""

import json
import sys
from statistics import median
from xml.sax.saxutils import escape

import report

LEFT, WIDTH, BAR, GAP, TOP = 150, 620, 15, 26, 58
STYLE = """text{font:13px system-ui,sans-serif;fill:#1c1e21}.note{font-size:11px;fill:#5b6168}
.title{font-size:15px;font-weight:600}.brisk{fill:#0b6bcb}.peer{fill:#b4bac2}
@media(prefers-color-scheme:dark){text{fill:#e6e8eb}.note{fill:#9aa2ab}.brisk{fill:#4ea1f3}.peer{fill:#5d656e}}"""


def bars(result):
    """(label, brisk, peer, ratio) for each file and figure."""
    for what in ("prefill", "decode"):
        for file in result["files"]:
            yield (what, file["file"].rsplit("-", 1)[-1].upper(),
                   median(report.series(file, report.BRISK, what)),
                   file["figures"][f"{what}_peer"], file["figures"][f"{what}_ratio"])


def draw(result):
    out, y = [], TOP
    rows = list(bars(result))
    for what in ("prefill", "decode"):
        group = [r for r in rows if r[0] == what]
        most = max(max(r[2], r[3]) for r in group)
        count = result["n_prompt"] if what == "prefill" else result["n_gen"]
        out.append(f'<text x="16" y="{y}">{what} of {count}, tokens/s</text>')
        y += 12
        for _, kind, ours, peer, ratio in group:
            out.append(f'<text x="{LEFT - 12}" y="{y + BAR + 4}" text-anchor="end">{escape(kind)}</text>')
            for value, style, note in ((ours, "brisk", f"{ours:.0f}, {ratio:.1f} times"),
                                       (peer, "peer", f"{peer:.0f}")):
                width = (WIDTH - LEFT - 120) * value / most
                out.append(f'<rect class="{style}" x="{LEFT}" y="{y}" width="{width:.1f}" height="{BAR - 2}"/>')
                out.append(f'<text class="note" x="{LEFT + width + 6:.1f}" y="{y + 10}">{note}</text>')
                y += BAR
            y += 10
        y += GAP
    machine = result["machine"]["cpu"]
    foot = f"{machine.split(', ', 1)[-1]} ({machine.split(', ', 1)[0]})"
    how = f"{result['threads']} threads, medians of {result['rounds']} interleaved rounds, {result['date']}"
    body = "\n".join(out)
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y + 20}" role="img" '
            f'aria-label="Tokens per second of brisk and llama.cpp">\n<style>{STYLE}</style>\n'
            f'<text class="title" x="16" y="24">SmolLM2-135M: <tspan class="brisk">brisk</tspan> and '
            f'llama.cpp (its better setting)</text>\n{body}\n'
            f'<text class="note" x="16" y="{y - 8}">{escape(foot)}</text>\n'
            f'<text class="note" x="16" y="{y + 8}">{escape(how)}</text>\n</svg>\n')


def main():
    if len(sys.argv) != 3:
        sys.exit("usage: plot.py RESULT.json OUT.svg")
    with open(sys.argv[1], encoding="utf-8") as f:
        result = json.load(f)
    with open(sys.argv[2], "w", encoding="utf-8") as f:
        f.write(draw(result))


if __name__ == "__main__":
    main()
