"""Conversations, code and programming puzzles made up from lists, for bench/texts.py. Each text has
lists of its own, so that nothing but grammar is common to what calibrates and what evaluates."""

# ---- Conversations --------------------------------------------------------------------------------

# (what is asked about, its kind, three things to say of it)
SUBJECTS = {
    "calibration": [
        ("a bicycle chain", "repair", ("clean it with a rag and a little paraffin", "let it dry for an hour",
                                       "put one drop of oil on every link")),
        ("sourdough bread", "kitchen", ("feed the starter the evening before", "fold the dough four times",
                                        "bake it in a closed pot for half an hour")),
        ("a squeaking door", "repair", ("lift the door off its hinges", "brush the pins with steel wool",
                                        "rub in some grease before hanging it again")),
        ("tomato seedlings", "garden", ("sow them indoors in March", "keep them in the brightest window",
                                        "plant them out after the last frost")),
        ("the violin", "music", ("practise slowly in front of a mirror", "tune before every session",
                                 "rest when the shoulder gets stiff")),
        ("a first marathon", "sport", ("run four times a week", "make only one of the runs a long one",
                                       "sleep more than usual in the last month")),
        ("a job interview", "work", ("read what the company published last year", "prepare three questions",
                                     "describe one failure and what followed from it")),
        ("an old photograph", "home", ("scan it before doing anything else", "wear cotton gloves",
                                       "store it flat between sheets of acid-free paper")),
        ("chess openings", "games", ("learn ideas rather than moves", "bring out the knights early",
                                     "castle before starting an attack")),
        ("a leaking tap", "repair", ("turn off the water first", "replace the washer",
                                     "tighten the nut only a quarter of a turn")),
        ("Portuguese", "languages", ("listen to the radio for ten minutes a day", "write down whole sentences",
                                     "talk to somebody once a week")),
        ("a rain barrel", "garden", ("stand it on bricks", "cover it against mosquitoes",
                                     "drain it before the winter")),
        ("tax papers", "work", ("sort the receipts by month", "keep copies for ten years",
                                "ask for more time before the deadline, not after it")),
        ("a nervous dog", "animals", ("let it come to you", "reward every quiet minute",
                                      "walk the same way each day at first")),
    ],
    "evaluation": [
        ("a telescope", "astronomy", ("let the mirror cool for thirty minutes", "begin with the moon",
                                      "use the eyepiece with the longest focal length first")),
        ("goat cheese", "dairy", ("warm the milk to thirty degrees", "stir in the rennet for one minute",
                                  "hang the curd in a cloth overnight")),
        ("a wooden canoe", "boats", ("sand the hull along the grain", "varnish it in thin coats",
                                     "keep it out of the sun while it dries")),
        ("a school play", "theatre", ("choose a piece with many small parts", "rehearse on the real stage early",
                                      "give the prompter a good lamp")),
        ("bees in spring", "insects", ("look for eggs rather than for the queen", "leave them enough honey",
                                       "add a box before the hive is crowded")),
        ("a slow computer", "machines", ("find out which program is busy", "check how full the disk is",
                                         "measure again after every change")),
        ("a long train journey", "travel", ("reserve the seats by the window", "take water and a pillow",
                                            "leave an hour between connections")),
        ("watercolours", "art", ("work from light to dark", "wet the paper evenly",
                                 "let one layer dry before the next")),
        ("a will", "law", ("list what there is and who should have it", "have two people witness it",
                           "tell somebody where it is kept")),
        ("ice skates", "winter", ("tie them firmly at the ankle", "bend the knees",
                                  "look ahead instead of down")),
        ("a choir", "voices", ("warm up with humming", "breathe where the text allows it",
                               "listen to the neighbours more than to oneself")),
        ("solar panels", "energy", ("face them south", "keep the shade of chimneys off them",
                                    "write down the meter once a month")),
        ("a stamp collection", "hobbies", ("handle everything with tweezers", "note where each came from",
                                           "insure it for what it would cost today")),
    ],
}

ASKING = {
    "calibration": ("How do I look after {it}?", "I know nothing about {it}. Where should I begin?",
                    "What is the most common mistake with {it}?", "Can you give me some advice on {it}?",
                    "My neighbour asked me to help with {it}. What should I know?"),
    "evaluation": ("Please explain {it} to a beginner.", "What matters most with {it}?",
                   "I have one free weekend for {it}. What would you do?",
                   "Somebody told me that {it} is hard. Is that true?", "Three tips for {it}, please."),
}
ANSWERING = {
    "calibration": ("Start small. First, {a}. Then {b}. If all goes well, {c}.",
                    "It depends on how much time you have, but three things always help: {a}; {b}; and {c}.",
                    "Of course! Here is a short list:\n\n1. {A}.\n2. {B}.\n3. {C}.",
                    "Most people forget one thing: {b}. Besides that, {a}, and {c}."),
    "evaluation": ("In short: {a}. Once that is done, {b}, and finally {c}.",
                   "Sure. My suggestions:\n\n- {A}.\n- {B}.\n- {C}.\n\nThe second one matters most.",
                   "It is easier than it sounds. The trick is to {b}. You should also {a} and, last of all, {c}.",
                   "There are two schools. Some say: {a}, and the rest will follow. Others begin at the end: {c}. "
                   "Both agree that you should {b}."),
}
FOLLOWING = {
    "calibration": (("Why {b}?", "Because otherwise the rest is wasted. People who skip it usually start again."),
                    ("How long does that take?", "About {n} days, if you do a little every day."),
                    ("And what does it cost?", "Less than {m} euros, if you borrow what you need only once.")),
    "evaluation": (("Is it a problem if I do not {a}?", "Not at once. After {n} weeks you will notice it, though."),
                   ("Could a child of {n} do it?", "With help, yes. Let them {c} and do the rest yourself."),
                   ("I tried that already, {n} times.", "Then change one thing at a time, and write down what "
                    "happens. The most promising change is to {b}.")),
}


def conversations(rng, part):
    while True:
        it, kind, says = rng.choice(SUBJECTS[part])
        a, b, c = rng.sample(says, 3)
        words = {"it": it, "a": a, "b": b, "c": c, "A": a.capitalize(), "B": b.capitalize(),
                 "C": c.capitalize(), "n": rng.randint(3, 12), "m": rng.randint(2, 19) * 5}
        turns = [(rng.choice(ASKING[part]), rng.choice(ANSWERING[part]))]
        turns += rng.sample(FOLLOWING[part], rng.randint(0, 2))
        yield f"[{kind}]\n" + "\n".join(f"User: {q.format(**words)}\nAssistant: {r.format(**words)}"
                                         for q, r in turns)


# ---- Code -----------------------------------------------------------------------------------------

NAMES = {
    "calibration": ("order", "invoice", "shelf", "ticket", "meter", "parcel", "guest", "route", "queue", "badge"),
    "evaluation": ("planet", "recipe", "player", "sensor", "chapter", "engine", "garden", "signal", "river", "tile"),
}
FIELDS = {
    "calibration": ("price", "count", "weight", "height", "age", "score"),
    "evaluation": ("radius", "speed", "volume", "depth", "charge", "level"),
}
PROGRAMS = {
    "calibration": (
        '''def total_{f}({t}s):
    """The {f} of all {t}s together; those without one count as zero."""
    total = 0
    for {t} in {t}s:
        if {t}.{f} is not None:
            total += {t}.{f}
    return total
''',
        '''#include <stddef.h>

/* The {t} with the largest {f}; NULL when there is none. */
const struct {t} *{t}_max_{f}(const struct {t} *v, size_t n) {{
    const struct {t} *best = NULL;
    for (size_t i = 0; i < n; i++)
        if (!best || v[i].{f} > best->{f}) best = &v[i];
    return best;
}}
''',
        '''class {T}Test(unittest.TestCase):
    def test_{f}(self):
        {t} = {T}({f}={n})
        {t}.add({m})
        self.assertEqual({t}.{f}, {s})

    def test_negative_{f}_is_refused(self):
        with self.assertRaises(ValueError):
            {T}({f}=-{n})
''',
        '''SELECT {t}.name, SUM({t}.{f}) AS total
FROM {t}
JOIN {u} ON {u}.id = {t}.{u}_id
WHERE {u}.{f} > {n}
GROUP BY {t}.name
ORDER BY total DESC
LIMIT {m};
''',
    ),
    "evaluation": (
        '''def group_by_{f}({t}s, step={n}):
    """Lists of {t}s by {f}, rounded down to multiples of step."""
    groups = {{}}
    for {t} in sorted({t}s, key=lambda x: x.{f}):
        groups.setdefault({t}.{f} // step * step, []).append({t})
    return groups
''',
        '''static int compare_{f}(const void *a, const void *b) {{
    const struct {t} *x = a, *y = b;
    return (x->{f} > y->{f}) - (x->{f} < y->{f});
}}

void sort_{t}s(struct {t} *v, size_t n) {{
    qsort(v, n, sizeof *v, compare_{f});
}}
''',
        '''export class {T} {{
  constructor(name, {f} = {n}) {{
    this.name = name;
    this.{f} = {f};
  }}

  isLarge() {{
    return this.{f} > {m};
  }}

  toString() {{
    return `${{this.name}} with {f} ${{this.{f}}}`;
  }}
}}
''',
        '''#!/bin/sh
# Prints every {t} file whose {f} is at least $1 ({n} when it is missing).
least=${{1:-{n}}}
for file in {t}/*.txt; do
    {f}=$(sed -n 's/^{f}: //p' "$file")
    if [ "${{{f}:-0}}" -ge "$least" ]; then
        echo "$file: ${f}"
    fi
done
''',
    ),
}


def code(rng, part):
    while True:
        t, u = rng.sample(NAMES[part], 2)
        n, m = rng.randint(2, 40), rng.randint(2, 60)
        yield rng.choice(PROGRAMS[part]).format(t=t, u=u, T=t.capitalize(), f=rng.choice(FIELDS[part]), n=n, m=m,
                                                s=n + m).strip()


# ---- Puzzles --------------------------------------------------------------------------------------


def puzzle(rng):
    """(a program, what it prints, other answers that come to mind)"""
    word = rng.choice(("lantern", "harbour", "meadow", "thimble", "copper", "violet", "saddle", "pepper"))
    v = [rng.randint(1, 9) for _ in range(rng.randint(3, 5))]
    n, k = rng.randint(3, 9), rng.randint(2, 5)
    i = rng.randrange(1, len(word) - 1)
    return rng.choice((
        (f'print(len("{word}"))', str(len(word)), [str(len(word) + d) for d in (-2, -1, 1, 2)]),
        (f'print("{word}"[{i}])', word[i], [c for c in word + "qz" if c != word[i]]),
        (f'print("{word}".upper())', word.upper(), [word, word.capitalize(), word[::-1].upper()]),
        (f'print("{word}"[::-1])', word[::-1], [word, word[1:] + word[0], word[::-1].upper()]),
        (f"print(max({v}))", str(max(v)), [str(x) for x in [min(v), sum(v), len(v) + 10, max(v) + 1]]),
        (f"print(sum({v}))", str(sum(v)), [str(sum(v) + d) for d in (-3, -1, 1, 2, 10)]),
        (f"print(sorted({v}))", str(sorted(v)), [str(x) for x in (sorted(v)[::-1], sorted(v)[1:], v + [0], v[:2])]),
        (f"x = {n}\nfor _ in range({k}):\n    x += 2\nprint(x)", str(n + 2 * k),
         [str(n + 2 * k + d) for d in (-4, -2, 2, 4)]),
        (f"print({n} % {k}, {n} // {k})", f"{n % k} {n // k}",
         [f"{a} {b}" for a, b in ((n // k, n % k + 1), (n % k, n // k + 1), (n % k + 1, n // k), (k, n))]),
    ))
