"""Texts to tokenise: the same ones every time, made here."""
import random

SEED = 20240607

PROSE = """The quick brown fox jumps over the lazy dog. It's what we've said, they're sure, I'm not;
you'd say "she'll come", wouldn't you? WE'LL SEE, SHE'S HERE, I'D GO, THEY'VE WON'T. don't can't
rock 'n' roll 'twas o'clock John's dogs' (e.g. this one), i.e. that one -- or, rather, none...
El nino comio tortilla; où est la bibliothèque ? Größe, Straße, naïve façade, Ærøskøbing, Łódź.
Съешь же ещё этих мягких французских булок, да выпей чаю. Ξεσκεπάζω την ψυχοφθόρα βδελυγμία.
נוצץ חתול על הגג. صِف خَلقَ خَودٍ كَمِثلِ الشَمسِ إِذ بَزَغَت ١٢٣٤ ۴۵۶. ऋषियों को सताने वाले दुष्ट राक्षसों के राजा १२३
我能吞下玻璃而不伤身体。いろはにほへと ちりぬるを。키스의 고유조건은 입술끼리 만나야 하고。ฉันกินกระจกได้ แต่มันไม่ทำให้ฉันเจ็บ"""

CODE = '''int main(int argc, char **argv) {\n\tfor (size_t i = 0; i < n; i++) {\n        if (!p[i]->x) break;\n    }\n\treturn 0;\n}
def f(x: int = 10) -> str:\n    """Doc."""\n    return f"{x:>8.3f}"  # comment\n\n\n\nclass A(B):\n\tpass\r\n
<div class="a b" id='c'>&nbsp;</div>\n<!-- x -->   \n\n  \n
SELECT * FROM t WHERE a >= 10 AND b != 'x''y';\n$ ls -la | grep "^d" && echo $?\n
{"a": [1, 2.5e-10, null, true], "b": "\\u00e9\\n"}\nhttps://example.org/a?b=c&d=%20#e\n#include <stdio.h>\n@@ -1,7 +1,9 @@'''

PIECES = [
    "a", "Z", "word", " word", "ing", "é", "ß", "ſ", "Ω", "ж", "中", "文字", "かな", "한글", "ا", "ש", "ก", "अ",
    "0", "1", "42", "2024", "123456789", "٣", "४", "Ⅷ", "½", "²", "①", "𝟘", "一",
    " ", "  ", "   ", "\t", "\t\t", "\n", "\n\n", "\r\n", "\r", " \n", "\n ", "\u00a0", "\u3000", "\u2003",
    "\u2028", "\u2029", "\u0085", "\u1680", "\u202f", "\u205f", "\v", "\f", "\u180e", "\u200b", "\ufeff",
    "'s", "'S", "'ſ", "'t", "'T", "'re", "'RE", "'rE", "'ve", "'VE", "'m", "'M", "'ll", "'LL", "'lL", "'d",
    "'D", "'", "''", "'x", "’s", "’", "'ſt",
    "!", "?!", "...", "-", "--", "_", "__", "(", ")", "{}", "==", "!=", "->", "//", "/*", "#", "@", "$", "€", "%", "\\",
    "\u0301", "\u0323", "\u0327\u0301", "e\u0301", "A\u030a", "q\u0323\u0307", "\u1e9b\u0323", "\u212b", "\u2126",
    "\u1100\u1161\u11a8", "\uac00\u11a8", "\u0344", "\u0958", "\u2adc", "\U0001d15e", "\u0d9c\u0dca\u200d\u0dbb",
    "😀", "👩\u200d👩\u200d👧\u200d👦", "🏳\ufe0f\u200d🌈", "👍🏽", "🇩🇪", "1\ufe0f\u20e3", "❤\ufe0f",
    "\x00", "\x01", "\x04", "\x07", "\x1b[0m", "\x1c", "\x1f", "\x7f", "\x80", "\x9f",
    "\ue000", "\ufffd", "\uffff", "\U0010ffff", "\U000e0041", "\u0378", "\U0001f9ff", "\U0002a6d6", "\U00030000",
    "<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|im_", "|>",
]


def random_char(rng):
    kind = rng.randrange(8)
    if kind == 0:
        return chr(rng.randrange(0x20, 0x7F))
    if kind == 1:
        return chr(rng.randrange(0x80, 0x600))
    if kind == 2:
        return chr(rng.randrange(0x600, 0x2000))
    if kind == 3:
        return chr(rng.randrange(0x2000, 0x3400))
    if kind == 4:
        return chr(rng.choice([rng.randrange(0x4E00, 0xA000), rng.randrange(0xAC00, 0xD7B0)]))
    if kind == 5:
        return chr(rng.randrange(0xE000, 0x20000))
    if kind == 6:
        return chr(rng.randrange(0x20000, 0x110000))
    return rng.choice(" \n\t'ab1")


def words_of(rng):
    words = PROSE.split(" ")
    start = rng.randrange(len(words))
    return " ".join(words[start:start + rng.randrange(1, 14)])


def code_of(rng):
    start = rng.randrange(len(CODE))
    return CODE[start:start + rng.randrange(1, 90)]


def digits_of(rng):
    out = []
    for _ in range(rng.randrange(1, 8)):
        number = str(rng.randrange(10 ** rng.randrange(1, 14)))
        out.append(number + rng.choice([" ", ",", ".", "", "  ", "\n", "a", "/", "%", " x "]))
    return "".join(out)


def spaces_of(rng):
    runs = [rng.choice([" ", "\t", "\n", "\r\n", "\r", "\u00a0", "\u3000", "\v"]) * rng.randrange(1, 6)
            for _ in range(rng.randrange(1, 5))]
    ends = [rng.choice(["", "a", "1", "!", "中", "'s"]) for _ in runs]
    return "".join(r + e for r, e in zip(runs, ends)) + rng.choice(["", " ", "\n", "x"])


def pieces_of(rng):
    return "".join(rng.choice(PIECES) for _ in range(rng.randrange(1, 14)))


def random_of(rng):
    return "".join(random_char(rng) for _ in range(rng.randrange(1, 30)))


def long_ones():
    return ["a" * 3000, "ab" * 1500, " " * 2000, "\n" * 1000 + "x", " \n" * 700, "1" * 1000, "!" * 999,
            "中" * 500, "\u0301" * 300, "e" + "\u0323\u0301" * 100, "'s" * 300, "😀" * 200, "", PROSE, CODE,
            "aaaaaaaa " * 200, "hellohello" * 300, "\x00" * 100, "\t \t" * 200]


def varied():
    """9,000 texts and some long ones."""
    rng = random.Random(SEED)
    makers = [words_of, code_of, digits_of, spaces_of, pieces_of, random_of]
    lines = [maker(rng) for maker in makers for _ in range(1500)]
    return long_ones() + PIECES + [a + b for a in PIECES[:60] for b in PIECES[:20]] + lines


def with_special(names):
    rng = random.Random(SEED + 1)
    parts = names + [n[:-1] for n in names] + [n[1:] for n in names] + PIECES
    return names + ["".join(rng.choice(parts if rng.random() < 0.5 else names)
                            for _ in range(rng.randrange(1, 9))) for _ in range(600)]


def invalid_utf8():
    rng = random.Random(SEED + 2)
    lines = [b"\xff", b"\xc3", b"a\xc3", b"\xe2\x82", b"\xe2\x82a", b"\xed\xa0\x80", b"\xc0\x80", b"\xf4\x90\x80\x80",
             b"\xf5", b" \x80 ", b"\x80letters", b"e\xcc", b"e\xcc\x81\xcc", b"\xcc\x81\xff\xcc\x81", b"1\xff2"]
    for _ in range(400):
        line = bytearray(pieces_of(rng).encode())
        for _ in range(rng.randrange(1, 4)):
            at = rng.randrange(len(line) + 1)
            line[at:at] = bytes([rng.randrange(0x80, 0x100)])
        lines.append(bytes(line))
    return lines


def for_peer():
    rng = random.Random(SEED + 3)
    lines = [maker(rng) for maker in (words_of, code_of, digits_of, spaces_of, pieces_of, random_of)
             for _ in range(40)]
    return [t for t in PIECES + lines if "\0" not in t]
