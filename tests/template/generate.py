"""Generated templates for the comparison with jinja2: combinations, and random ones."""
import itertools


def combinations():
    """Generated: operators over values, filters over values, tests over values, slices."""
    values = ["0", "1", "-3", "2.5", "true", "none", "''", "'ab'", "'é'", "[]", "[1, 'a']", "(2,)",
              "{}", "{'a': 1}", "nope", "s", "l", "d", "range(2)"]
    operators = ["+", "-", "*", "/", "//", "%", "~", "==", "!=", "<", ">=", "and", "or", "in"]
    for a, op, b in itertools.product(values, operators, values):
        yield "{{ %s %s %s }}" % (a, op, b)
    filters = ["upper", "length", "first", "last", "list", "string", "int", "float", "abs",
               "tojson", "trim", "join('-')", "sort", "reverse | list", "unique | list",
               "min", "max", "sum",
               "default('D')", "default('D', true)", "title", "capitalize", "items | list",
               "dictsort", "map('string') | list", "select | list", "reject('none') | list",
               "indent", "replace('a', 'b')", "round", "batch(2) | list", "tojson(indent=1)"]
    for value, name in itertools.product(values, filters):
        yield "{{ (%s) | %s }}" % (value, name)
    tests = ["defined", "undefined", "none", "string", "number", "integer", "float", "boolean",
             "true", "false", "mapping", "iterable", "sequence", "callable", "odd", "even", "lower",
             "upper", "in [1, 'ab']", "eq 1", "sameas none", "divisibleby 2"]
    for value, name in itertools.product(values, tests):
        yield "{{ (%s) is %s }}{{ (%s) is not %s }}" % (value, name, value, name)
    bounds = ["", "0", "1", "-1", "3", "-5", "100"]
    targets, steps = ["'añb€c'", "[1, 2, 3, 4]", "range(5)"], ["", ":2", ":-1", ":-3"]
    for target, a, b, c in itertools.product(targets, bounds, bounds, steps):
        yield "{{ (%s)[%s:%s%s] }}" % (target, a, b, c)
    keys = ["0", "-1", "'a'", "'upper'", "none", "1.5", "nope"]
    for value, key in itertools.product(values, keys):
        yield "{{ (%s)[%s] is defined }}{{ (%s)[%s] }}" % (value, key, value, key)
    yield from white_space()


def white_space():
    """Every sign of a tag between texts that begin and end with different white space."""
    for before, sign, end, after in itertools.product(
            ["", "x", "x ", "x\n", "x\n  ", "\n\t ", " "], ["", "-", "+"], ["", "-", "+"],
            ["", "y", " y", "\ny", "\n\n y", "  "]):
        tag = "{%" + sign + " NAME " + end + "%}"
        both = tag.replace("NAME", "if t") + after + tag.replace("NAME", "endif")
        yield before + both + after
        yield before + "{#" + sign + " c " + end + "#}" + after
        yield before + "{%" + sign + " raw %} r {%" + sign + " endraw " + end + "%}" + after
        if end != "+":
            yield before + "{{" + sign + " n " + end + "}}" + after


class Random:
    """Random templates over VARS: expressions within statements, mostly meaningful."""
    NAMES = ["s", "u", "e", "w", "n", "m", "f", "z", "t", "no", "l", "ls", "le", "lm", "d", "de",
             "people", "text", "q", "nested", "x", "y", "ns.a", "nope"]
    LITERALS = ["0", "1", "2", "-1", "10", "1.5", "0.1", "true", "false", "none", "''", "'a'",
                "'Ab c'", "' é '", "'%s'", "'a,b'", "[]", "{}", "'name'", "'age'", "','"]
    FILTERS = ["upper", "lower", "trim", "length", "first", "last", "list", "string", "int",
               "float", "tojson", "join(%s)", "sort", "reverse", "default(%s)",
               "default(%s, true)", "title", "capitalize", "replace(%s, %s)", "map('string')",
               "map(attribute=%s)", "select", "reject('none')", "unique", "min", "max", "sum",
               "abs", "indent(2)", "items", "dictsort", "batch(2)", "round(1)",
               "selectattr('name')", "tojson(indent=2)", "list | length", "list | first",
               "map('upper') | join('|')"]
    METHODS = ["upper()", "strip()", "split()", "split(%s)", "replace(%s, %s)", "startswith(%s)",
               "endswith(%s)", "find(%s)", "count(%s)", "join(%s)", "items()", "keys()",
               "values()", "get(%s)", "get(%s, %s)", "title()", "rstrip(%s)", "splitlines()",
               "index(%s)", "format(%s)", "lower()", "capitalize()", "rsplit(%s, 1)",
               "partition(%s)", "isdigit()", "lstrip()"]
    TESTS = ["defined", "none", "string", "number", "mapping", "iterable", "sequence", "odd",
             "in %s", "eq %s", "lower", "true", "divisibleby 2", "gt(%s)", "integer"]
    BINARY = ["+", "-", "*", "/", "//", "%", "~", "==", "!=", "<", ">", "<=", "and", "or", "in",
              "not in", "+", "~"]

    def __init__(self, rng):
        self.rng = rng

    def fill(self, form, depth):
        while "%s" in form:
            form = form.replace("%s", self.expression(depth - 1).replace("%s", "%d"), 1)
        return form

    def expression(self, depth):
        r, rng = self.rng.random(), self.rng
        if depth <= 0 or r < 0.2:
            return rng.choice(self.NAMES if rng.random() < 0.6 else self.LITERALS)
        sub = lambda: self.expression(depth - 1)
        if r < 0.38:
            return f"({sub()} {rng.choice(self.BINARY)} {sub()})"
        if r < 0.58:
            return f"{sub()} | {self.fill(rng.choice(self.FILTERS), depth)}"
        if r < 0.70:
            return f"({sub()}).{self.fill(rng.choice(self.METHODS), depth)}"
        if r < 0.76:
            test = self.fill(rng.choice(self.TESTS), depth)
            return f"({sub()} is {rng.choice(['', 'not '])}{test})"
        if r < 0.82:
            return f"({sub()})[{sub()}]"
        if r < 0.87:
            a, b, c = (rng.choice(x) for x in (["", "1", "-2"], ["", "2", "-1"], ["", ":2", ":-1"]))
            return f"({sub()})[{a}:{b}{c}]"
        if r < 0.91:
            return f"({sub()} if {sub()} else {sub()})"
        if r < 0.94:
            return f"[{sub()}, {sub()}]"
        if r < 0.96:
            return f"{{{rng.choice(self.LITERALS[:16])}: {sub()}}}"
        return f"(not {sub()})" if r < 0.98 else f"-{sub()}"

    def tag(self, text):
        sign = lambda: self.rng.choice(["", "", "", "-", "+"])
        return "{%" + sign() + " " + text + " " + sign() + "%}"

    def statement(self, depth):
        r, rng = self.rng.random(), self.rng
        body = lambda: self.body(depth - 1)
        if depth <= 0 or r < 0.45:
            return "{{ %s }}" % self.expression(3)
        if r < 0.6:
            other = self.tag("else") + body() if rng.random() < 0.5 else ""
            return self.tag("if " + self.expression(2)) + body() + other + self.tag("endif")
        if r < 0.78:
            jump = self.tag(rng.choice(["break", "continue"]))
            jump = rng.choice(["", "", self.tag("if y") + jump + self.tag("endif")])
            test = " if " + self.expression(1) if rng.random() < 0.2 else ""
            head = self.tag("for x in " + self.expression(1) + test)
            return head + rng.choice(["", "{{ loop.index }}"]) + body() + jump + self.tag("endfor")
        if r < 0.86:
            return self.tag(f"set {rng.choice(['x', 'y', 'ns.a', 'l'])} = {self.expression(2)}")
        if r < 0.9:
            return self.tag("set y") + body() + self.tag("endset")
        if r < 0.94:
            return self.tag("filter upper") + body() + self.tag("endfilter")
        name = rng.choice(["g", "h"])
        call = "{{ %s(%s) }}" % (name, self.expression(1))
        return self.tag(f"macro {name}(x, y=2)") + body() + self.tag("endmacro") + call

    def body(self, depth):
        texts = ["", "a", " ", "\n", "\n  ", " b\n", "<|im_end|>"]
        parts = [self.rng.choice(texts) + self.statement(depth)
                 for _ in range(self.rng.randint(1, 2))]
        return "".join(parts) + self.rng.choice(texts)

    def template(self):
        return "{% set ns = namespace(a=1) %}" + self.body(2)
