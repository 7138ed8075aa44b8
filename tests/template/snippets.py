"""Small templates for the comparison with jinja2: one construct each, and generated combinations."""
import itertools

VARS = {
    "s": "Hello World", "u": "größe Éa ñandú Ωmega ΑΣ ß", "e": "", "w": "  \t padded text \n ",
    "n": 7, "m": -3, "f": 2.5, "z": 0, "t": True, "no": None,
    "l": [3, 1, 2], "ls": ["b", "A", "c", "a"], "le": [], "lm": [1, "two", None, 3.5, [4]],
    "d": {"b": 1, "a": "x", "C": None}, "de": {},
    "people": [{"name": "Zoe", "age": 31, "tags": ["x", "y"]}, {"name": "adam", "age": 25},
               {"name": "Bob", "age": 31, "tags": []}],
    "text": "line one\nline two\r\n\n  line four\n", "q": "it's \"quoted\" \\ back\u00a0\u200b\x7f",
    "nested": {"a": {"b": [10, {"c": "deep"}]}}, "big": 9007199254740993, "j": "<|im_end|>",
}

EXPRESSIONS = r"""
1 + 2 * 3 - 4 / 2
7 // 2 ~ -7 // 2 ~ 7 // -2
7 % 3 ~ -7 % 3 ~ 7 % -3 ~ -7.5 % 2 ~ 7.5 // -2
2 ** 10
2 ** -1
2 ** 3 ** 2
-2 ** 2
(-8) ** 2
2.0 ** 0.5
1 / 3
10 / 5
1e16
1e15
1.0e22
1.5e-5
0.0001
0.00001
123456789012345680.0
5e-324
1.7976931348623157e308
-0.0
1e999
-1e999
1_000 + 0x1F + 0b101 + 0o17
1_0.5
0.1 + 0.2
100 * 1.1
3.0
n / 2
n // 2 * f
f * 2
t + 1
t * 3
-t
+f
9223372036854775807
"a" "b" 'c'
"a" + "b" ~ 1 ~ 2.0 ~ none ~ true ~ [1, "x"] ~ {"k": (1,)}
"a" * 3
3 * "ab"
[1] * 3
[1] + [2, 3]
(1,) + (2,)
"\n|\t|\\|\'|\"|\x41|\u00e9|\U0001F600|\101|\q"
'new\
line'
[1, 2, 3]
(1, 2)
(1,)
()
[]
{}
{"a": 1, 'b': [1, 2.0, none, true], 3: (4,)}
{1: "a", 1.0: "b", true: "c"}
{"a": 1, "a": 2}
[none, true, false, undefined_name]
l
ls
lm
d
people
nested
q
[q]
[u]
["it's", 'say "x"', "both ' and \"", "tab\t", "nul\x00", "é", "\u200b", "\x85", "😀"]
1 < 2 < 3
1 < 2 > 3
1 == 1.0
1 == true
"a" < "b"
"a" < "B"
[1, 2] < [1, 3]
[1, 2] == [1, 2.0]
(1, 2) == [1, 2]
{"a": 1} == {"a": 1.0}
"1" == 1
none == none
none == false
undefined_name == other_name
undefined_name == none
undefined_name != ""
1 != 2
n >= 7 and m < 0
s == "Hello World"
1 in [1, 2]
4 not in [1, 2]
"ell" in s
"" in s
"x" not in s
"a" in d
"zz" in d
none in lm
[4] in lm
1 in undefined_name
"1" in range(3)
1 in range(3)
1 and 2
0 and 2
0 or "x"
"" or none or [] or "last"
1 or undefined_name.x
not 1
not ""
not not 5
not n == 7
none or 1 and 2
1 if true else 2
1 if false else 2
1 if false
(1 if false) is defined
"a" if n > 5 else "b" if n > 3 else "c"
s[0]
s[-1]
s[99]
s[1:3]
s[:3]
s[-3:]
s[::-1]
s[::2]
s[10:1:-3]
s[5:100]
s[-100:2]
s[2:1]
u[1]
u[-1]
u[2:5]
u[::-1]
u[1:10:3]
l[0]
l[-1]
l[5]
l[::-1]
l[1:]
l[:-1]
l[::2]
l[true]
l["x"]
l[1.0]
(1, 2, 3)[1:]
range(10)[2:5]
range(10)[::-2]
range(10)[2:5][1]
range(3)[-1]
d["a"]
d.a
d["zz"]
d.zz
d.zz is defined
d.C
d[1]
nested.a.b[1].c
nested.a["b"][0]
nested["a"].b.1.c
lm.4.0
s.length
n.x
none.x
undefined_name
undefined_name is defined
undefined_name is undefined
s is defined
none is none
n is none
s is string
n is string
n is number
f is number
t is number
n is integer
t is integer
f is float
n is float
t is boolean
n is boolean
t is true
t is false
1 is true
d is mapping
l is mapping
l is iterable
s is iterable
n is iterable
d is iterable
undefined_name is iterable
none is iterable
l is sequence
s is sequence
d is sequence
n is sequence
(1,) is sequence
undefined_name is sequence
d.items() is sequence
l is list
n is odd
n is even
m is odd
n is divisibleby 7
n is divisibleby(2)
n is eq 7
n is equalto 7
n is ne 7
n is gt 3
n is lt 3
n is ge 7
n is le 6
n is sameas 7
n is in [7, 8]
n is not in [7, 8]
n is not none
n is not defined
not n is defined
s is lower
s is upper
"abc" is lower
"ABC1" is upper
"123" is lower
range is callable
s is callable
s is escaped
none is sameas none
"upper" is filter
"xyz" is filter
"defined" is test
s is defined and n is defined or false
s.upper()
s.lower()
u.upper()
u.lower()
u.title()
u.capitalize()
s.title()
"hello world-foo bar's (x) [y] {z} <w".title()
s.capitalize()
w.strip()
w.lstrip()
w.rstrip()
"xxabcxx".strip("x")
"xyabcyx".lstrip("xy")
"xyabcyx".rstrip("xy")
"éaé".strip("é")
w.strip(none)
"a,b,,c".split(",")
"a,b,,c".split(",", 1)
"a,b,,c".rsplit(",", 1)
"a,b,,c".split(",", maxsplit=2)
"a b  c ".split()
" a b  c ".split(none, 1)
" a b  c ".rsplit(none, 1)
" a b  c ".rsplit(none, 0)
" a b  c ".split(none, 0)
"".split()
"".split(",")
"aXXbXXc".split("XX")
"aaa".split("aa")
"aaa".rsplit("aa")
"éxé".split("x")
text.splitlines()
text.splitlines(true)
"a\r\nb\rc\x0bd\x0ce\x1cf\u2028g".splitlines()
"".splitlines()
"\n".splitlines()
s.startswith("Hell")
s.startswith(("x", "H"))
s.startswith("World", 6)
s.endswith("ld")
s.endswith(("a", "b"))
s.endswith("")
s.replace("l", "L")
s.replace("l", "L", 1)
s.replace("", "-")
"é".replace("", "-")
s.replace("", "-", 3)
s.replace("zzz", "y")
s.replace("Hello World", "")
s.replace("l", "")
s.find("o")
s.find("o", 5)
s.find("zz")
u.find("e")
s.find("")
s.rfind("o")
s.rfind("zz")
s.rfind("")
s.index("W")
s.rindex("l")
s.find("o", -4)
s.find("o", 0, 4)
s.count("l")
s.count("")
u.count("")
"aaaa".count("aa")
s.count("o", 5)
", ".join(["a", "b"])
"".join(ls)
"-".join("abc")
", ".join(d)
"-".join([])
"abc".isalpha()
"ab1".isalnum()
"123".isdigit()
"".isdigit()
" \t".isspace()
"ABC".isupper()
"abc".islower()
"a-b-c".partition("-")
"a-b-c".rpartition("-")
"abc".partition("-")
"abc".rpartition("-")
"prefix-x".removeprefix("prefix-")
"x.py".removesuffix(".py")
"x.py".removesuffix("")
"{} and {}".format("a", 2)
"{1} {0} {name}".format("a", 2, name=s)
"{0.name} {0[age]} {1[0]}".format(people[0], l)
"{:>8}|{:<8}|{:^8}|{:*^9}|".format("ab", "cd", "ef", "gh")
"{:5d}|{:<5d}|{:05d}|{:+d}|{: d}".format(42, 42, 42, 42, 42)
"{:.2f}|{:8.3f}|{:e}|{:g}|{:%}".format(3.14159, 2.5, 12345.678, 0.0001, 0.25)
"{:x}|{:X}|{:#x}|{:b}|{:o}".format(255, 255, 255, 5, 8)
"{{}} {!r}".format("x")
"{:.2}".format("abcdef")
"%s and %d" % ("a", 2)
"%s" % s
"%s" % 5
"%05d|%-5d|%+d|% d|%x|%X|%o" % (42, 42, 42, 42, 255, 255, 8)
"%.2f|%8.3f|%e|%g|%G" % (3.14159, 2.5, 12345.678, 0.0001, 1e20)
"%(a)s-%(b)s" % d
"%r" % "x"
"%5s|%-5s|%.2s" % ("ab", "cd", "efgh")
"100%%" % ()
"%%"
"%c" % "x"
"%s %s" % (l, none)
"%d" % 3.99
"%i" % t
"%*d" % (5, 42)
"%#x %#o" % (255, 8)
d.items()
d.keys()
d.values()
d.items() | list
d.keys() | list
d.values() | list
d.get("a")
d.get("zz")
d.get("zz", "dflt")
d.get("C", "dflt")
l.index(2)
l.count(1)
(1, 2, 1).count(1)
s | upper
s | lower
u | upper
u | lower
u | title
u | capitalize
"hello world-foo bar's (x) [y] {z} <w" | title
s | capitalize
n | upper
none | upper
undefined_name | upper
w | trim
"xxaxx" | trim("x")
n | trim
undefined_name | trim
s | length
u | length
l | length
d | length
s | count
undefined_name | length
range(5) | length
l | first
l | last
s | first
s | last
u | last
d | first
le | first
le | last
undefined_name | first
range(3) | last
d.items() | first
l | join
l | join(", ")
ls | join("-")
d | join(",")
people | join(", ", attribute="name")
people | join("|", "age")
lm | join("/")
undefined_name | join(",")
[none, true, 1.5] | join
l | sort
l | sort(reverse=true)
ls | sort
ls | sort(case_sensitive=true)
ls | sort(true)
people | sort(attribute="age") | map(attribute="name") | list
people | sort(attribute="age,name") | map(attribute="name") | list
people | sort(attribute="age", reverse=true) | map(attribute="name") | list
d | dictsort
d | dictsort(true)
{"x": 2, "y": 1} | dictsort(by="value")
{"x": 2, "y": 1} | dictsort(false, "value", true)
{"b": 1, "A": 2} | dictsort(reverse=true)
l | reverse | list
s | reverse
u | reverse
d | reverse | list
range(3) | reverse | list
l | list
s | list
d | list
d | items | list
de | items | list
undefined_name | items | list
people | map(attribute="name") | list
people | map(attribute="tags.0") | list
people | map(attribute="zz", default="none") | list
people | map(attribute="tags", default=[]) | map("length") | list
ls | map("upper") | list
ls | map("upper") | join(" ")
["1", "2"] | map("int") | sum
ls | map("replace", "b", "B") | list
none | map("upper") | list
lm | select | list
lm | select("none") | list
l | select("gt", 1) | list
l | select("odd") | list
l | reject("odd") | list
lm | reject("none") | list
lm | select("string") | list
ls | select("in", ["a", "b"]) | list
ls | reject("equalto", "A") | join(", ")
people | selectattr("tags") | map(attribute="name") | list
people | selectattr("tags", "defined") | map(attribute="name") | list
people | selectattr("age", "equalto", 31) | map(attribute="name") | list
people | selectattr("age", "==", 31) | list | length
people | rejectattr("age", "gt", 30) | map(attribute="name") | list
people | rejectattr("tags") | map(attribute="name") | list
(people | selectattr("age", "equalto", 25) | list)[0].name
(people | selectattr("age", "equalto", 25) | first).name
people | selectattr("name", "in", ["Bob"]) | list
(people | selectattr("age"))[0] is undefined
[1, 2, 1, 3] | unique | list
ls | unique | list
["a", "A"] | unique | list
["a", "A"] | unique(true) | list
people | unique(attribute="age") | map(attribute="name") | list
l | min
l | max
ls | min
ls | max
ls | max(case_sensitive=true)
le | max
people | max(attribute="age")
l | sum
people | sum(attribute="age")
le | sum
l | sum(start=10)
[1.5, 2] | sum
n | string
l | string
s | string | length
undefined_name | string
"42" | int
"4.9" | int
"abc" | int
"abc" | int(5)
"" | int
none | int
" 42 " | int
"-7" | int
"+7" | int
"1_000" | int
"0x1F" | int(0, 16)
"1F" | int(base=16)
"1e3" | int
f | int
-2.9 | int
t | int
[] | int
"3.5" | float
"abc" | float
"abc" | float(1.5)
"1e3" | float
"inf" | float
" 2.5 " | float
none | float
n | float
m | abs
-2.5 | abs
-1 | abs
2.5 | round
3.5 | round
2.675 | round(2)
2.345 | round(1, "ceil")
2.345 | round(1, "floor")
7 | round
7 | round(2)
2.5 | round | int
1234.5678 | round(2)
-2.5 | round
undefined_name | default("x")
undefined_name | default
undefined_name | d("x")
none | default("x")
none | default("x", true)
"" | default("x", boolean=true)
0 | default("x", true)
s | default("x")
d.zz | default("fallback")
s | safe
s | replace("l", "L")
s | replace("l", "L", 2)
s | replace("o", 0)
n | replace(7, 8)
text | indent
text | indent(2)
text | indent(2, true)
text | indent(2, first=true, blank=true)
text | indent("> ")
"" | indent
"a" | indent(4, true)
"a\n\nb" | indent(blank=true)
s | tojson
u | tojson
q | tojson
"\b\f\n\r\t\x00\x1f\x7f/<>&'" | tojson
l | tojson
d | tojson
people | tojson
people | tojson(indent=2)
people | tojson(indent=4)
nested | tojson(indent=1)
{"a": [], "b": {}, "c": [[]], "d": [{}]} | tojson(indent=2)
{"z": 1, "a": 2} | tojson(sort_keys=true)
{"z": 1, "a": [1, 2]} | tojson(separators=(",", ":"))
{"z": 1, "a": [1, 2]} | tojson(indent=2, separators=(", ", "="))
u | tojson(ensure_ascii=true)
"😀" | tojson(ensure_ascii=true)
{1: 2, 1.5: 3, true: 4, none: 5} | tojson
(1, 2) | tojson
none | tojson
true | tojson
1.0 | tojson
1e20 | tojson
1e999 | tojson
[1.5, -0.0, 1e-7] | tojson
big | tojson
big
l | tojson(indent="--")
"%s-%s" | format("a", 1)
"%(x)s" | format(x=3)
[1, 2, 3, 4, 5] | batch(2) | list
[1, 2, 3] | batch(2, "-") | list
range(5)
range(1, 5)
range(5, 1, -2)
range(5) | list
range(2, 10, 3) | list
range(5, 1, -2) | list
range(0) | list
range(-1) | list
dict(a=1, b=2)
dict([("a", 1)])
dict({"a": 1}, b=2)
namespace(a=1).a
namespace(a=1, b="x")
namespace({"a": 1}).a
namespace().x is defined
strftime_now("%%Y") | length
raise_exception is callable
"a" ~ 1 + 2
1 ~ 2 * 3
"x" ~ -1
-n | abs
(-n) | abs
n | string | length + 1
"a" + "b" | upper
["a"] + ["b"] | list
s | upper | lower | title
s.split(" ")[0].lower() | upper
s.split()[-1][::-1]
{"a": {"b": 1}}.a.b
[[1, 2], [3, 4]][1][0]
"abc"["upper"]()
d["items"]() | list
{"items": 5}.items
{"items": 5}["items"]
{"keys": 5}.keys() | list
not "a" in s
"a" not in s and "H" in s
1 + 1 == 2
2 > 1 == true
(2 > 1) == true
1 == 1 != 2
[] == []
none is defined
n|string ~ "x"
n is defined|string
""
' '
l is defined and l|length > 2
l[0] + l[1] * l[2]
"{%raw%}"
"}}"
"%}"
[l, l] | tojson
[d][0].a
([1, 2, 3] | last) + 1
people[0]["tags"][1]
people[-1].name
people[:1]
people[1:] | map(attribute="name") | join(",")
{"a": 1}.get("b", {}).get("c", "nothing")
s.upper().lower().title().swapped
"ABC" | lower | list | join("-")
""" .strip("\n").split("\n")

ERRORS = r"""
undefined_name.x
undefined_name["x"]
undefined_name + 1
undefined_name()
1 + undefined_name
-undefined_name
undefined_name < 1
undefined_name[1:]
"a" + 1
1 + "a"
[1] + (2,)
none + 1
1 / 0
1 // 0
1 % 0
1.5 % 0
0 ** -1
"a" < 1
none < 1
{} < {}
1 in 5
1 in "abc"
none in "abc"
n()
s()
s.nosuch()
l.append(4)
l.pop()
l.sort()
d.update({})
d.pop("a")
d.setdefault("a", 1)
none.strip()
n | length
none | length
none | join
none | list
5 | first
l | map(attribute="x.y") | list
people | map(attribute="tags.x.y") | list
lm | sort
lm | min
[{}] | unique | list
{[]: 1}
{{}: 1}
raise_exception("the template's own message")
raise_exception()
range()
range(1, 2, 0)
range(1.5)
range("a")
range(1000000)
"%d" % "x"
"%s %s" % (1,)
"%s" % (1, 2)
"%z" % 1
"a" % 1
"{} {}".format(1)
"{x}".format(1)
"{".format(1)
"}".format(1)
"abc".index("z")
l.index(99)
"a".split("")
"a".replace("x")
", ".join([1])
"a".strip(1)
s | nosuchfilter
s is nosuchtest
s | trim(1, 2)
s | default(1, 2, 3)
s | replace("a")
s | indent(nosuch=1)
undefined_name | tojson
range(3) | tojson
{(1,): 2} | tojson
"a" | abs
none | abs
"abc" | round
2.5 | round(1, "up")
n | items
l | dictsort
[1, 2] | sum("x")
["a"] | sum
l | batch("x")
"a" | indent("x", 1, 2, 3)
5 | indent
l[::0]
d[1:2]
n[1:2]
""" .strip("\n").split("\n")

SYNTAX = [
    "{{", "{{ }}", "{{ 1 +", "{{ 1 + }}", "{% if %}{% endif %}", "{% if 1 %}", "{% endif %}",
    "{% for x in %}{% endfor %}", "{% for in l %}{% endfor %}", "{% for x %}{% endfor %}",
    "{% for 1 in l %}{% endfor %}", "{% for loop in l %}{% endfor %}",
    "{% for x in l %}{% set loop = 1 %}{% endfor %}", "{% break %}", "{% continue %}",
    "{% nosuch %}", "{% set %}", "{% set 1 = 2 %}", "{% set x = %}", "{% set x.y.z = 1 %}",
    "{% set none = 1 %}", "{% set [a] = [1] %}", "{{ 'abc }}", "{{ (1 }}", "{{ [1 }}", "{{ {1 }}",
    "{{ 1) }}", "{{ (1] }}", "{{ {'a' 1} }}", "{{ a b }}", "{{ 1 2 }}", "{{ a. }}", "{{ a[] }}",
    "{{ f(a=1, 2) }}", "{{ f(**a, **b) }}", "{{ f(*a, 1) }}", "{{ a is }}", "{{ a is is b }}",
    "{{ a is b is c }}", "{{ a | }}", "{{ a ? b }}", "{{ '\\x4' }}", "{{ '\\u12' }}",
    "{# no end", "{% raw %} no end", "{% macro %}{% endmacro %}", "{% macro f(a=1, b) %}{% endmacro %}",
    "{% macro f(1) %}{% endmacro %}", "{% call x %}{% endcall %}", "{% else %}", "{% if 1 %}{% elif %}{% endif %}",
    "{% if 1 %}{% else %}{% else %}{% endif %}", "{% filter %}{% endfilter %}", "{% set ns.x = 1 %}",
    "{% set n.x = 1 %}", "{% for a, b in [[1, 2, 3]] %}{% endfor %}", "{% for a, b in [1] %}{% endfor %}",
    "{% set a, b = 1, 2, 3 %}", "{% for x in 5 %}{% endfor %}", "{% for x in none %}{% endfor %}",
    "{% macro f(a) %}{% endmacro %}{{ f(1, 2) }}", "{% macro f(a) %}{% endmacro %}{{ f(b=1) }}",
    "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "{% macro f() %}x{% endmacro %}{% call f() %}y{% endcall %}",
    "{{ 1 if }}", "{{ x if y else }}", "{{ not }}", "{{ * }}", "{{ a == }}", "{{ a not b }}",
    "{{ a in }}", "{{ 1..2 }}", "{% set x = 1 %", "{{ x }", "{{ {{ x }} }}",
]

STATEMENTS = [
    "", "plain", "plain\n", "plain\n\n", "a\r\nb\rc\n", "é{{ u }}é",
    "{{ n }}\n", "{{ n }}\n\n", "a\n{{ n }}\nb",
    "a\n  {% if t %}\n  b\n  {% endif %}\nc", "a {% if t %}\n b {% endif %} c",
    "  {% if t %}x{% endif %}\n  y", "\n  {% if t %}\n\n x\n{% endif %}\n", "{% if t %}\n{% endif %}\n\nz",
    "a  {%- if t %}  b  {%- endif %}  c", "a  {% if t -%}  b  {% endif -%}  c",
    "a\n\n  {%- if t -%}\n\n  b\n\n  {%- endif -%}\n\n c", "a\n  {%+ if t %}\n  b\n  {%+ endif %}\nc",
    "a{% if t +%}\nb{% endif +%}\nc", "  {{- n }}  {{ n -}}  x", "a\n  {{ n }}\n  {{- n -}}\n  b",
    "a {# comment #} b", "a\n  {# comment #}\n  b", "a\n  {#- comment -#}\n  b", "a\n  {#+ c #}\n  b",
    "a {# multi\nline #}\nb", "{# {{ n }} {% if %} #}x", "{#-#}x", "{##}x", "{#- c +#}\nx",
    "{% raw %}{{ n }}{% if %}{% endraw %}", "a\n  {% raw %}\n  {{ x }}\n  {% endraw %}\n  b",
    "a {%- raw -%}  {{ x }}  {%- endraw -%}  b", "{% raw %}{% endraw %}x", "{%raw%}{# x #}{%endraw%}",
    "{% rawx %}", "\t{% if t %}\ty\t{% endif %}\t", "x\n\u00a0 {% if t %}y{% endif %}", "{{ n }}{{ n }}",
    "{%if t%}1{%endif%}", "{%-if t-%} 1 {%-endif-%}", "{{n}}", "{{-n-}}", "{{ -n }}", "{{+n}}",
    "{% if 0 %}a{% elif n > 5 %}b{% elif t %}c{% else %}d{% endif %}",
    "{% if 0 %}a{% elif 0 %}b{% else %}d{% endif %}", "{% if n: %}a{% endif %}",
    "{% if undefined_name %}a{% else %}b{% endif %}", "{% if l %}a{% endif %}{% if le %}b{% endif %}",
    "{% if not l and s or t %}a{% endif %}", "{% if 1, %}a{% endif %}",
    "{% for x in l %}{{ x }},{% endfor %}", "{% for x in l %}{{ x }}{% if not loop.last %}, {% endif %}{% endfor %}",
    "{% for x in le %}{{ x }}{% else %}empty{% endfor %}", "{% for x in l %}{{ x }}{% else %}empty{% endfor %}",
    "{% for x in l if x > 1 %}{{ loop.index }}:{{ x }} of {{ loop.length }}{% if loop.last %}!{% endif %} {% endfor %}",
    "{% for x in l if x > 9 %}{{ x }}{% else %}none left{% endfor %}",
    "{% for x in l %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }};{% endfor %}",
    "{% for x in l %}{{ loop.previtem }}<{{ x }}>{{ loop.nextitem }};{% endfor %}",
    "{% for x in l if x != 1 %}{{ loop.previtem is defined }}{{ loop.nextitem is defined }}{{ loop.revindex }}{% endfor %}",
    "{% for x in l %}{{ loop.cycle('a', 'b') }}{{ loop.depth }}{{ loop.depth0 }}{% endfor %}",
    "{% for x in [1, 1, 2, 2, 1] %}{% if loop.changed(x) %}{{ x }}{% endif %}{% endfor %}",
    "{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}", "{% for k, v in d | items %}{{ k }}={{ v }};{% endfor %}",
    "{% for k in d %}{{ k }}{% endfor %}", "{% for c in s %}{{ c }}.{% endfor %}", "{% for c in u %}{{ c }}.{% endfor %}",
    "{% for x in undefined_name %}{{ x }}{% else %}e{% endfor %}", "{% for i in range(3) %}{{ i }}{% endfor %}",
    "{% for a, (b, c) in [(1, (2, 3))] %}{{ a }}{{ b }}{{ c }}{% endfor %}", "{% for (a, b) in [(1, 2)] %}{{ a }}{{ b }}{% endfor %}",
    "{% for x in 1, 2, 3 %}{{ x }}{% endfor %}", "{% for x in l %}{% for y in l %}{{ x * y }} {% endfor %}{{ loop.index }}\n{% endfor %}",
    "{% for x in l %}{% if x == 1 %}{% continue %}{% endif %}{{ x }}{% endfor %}",
    "{% for x in l %}{% if x == 1 %}{% break %}{% endif %}{{ x }}{% endfor %}",
    "{% for x in l %}{% break %}{% else %}e{% endfor %}", "{% for x in l %}{% continue %}{% else %}e{% endfor %}",
    "{% for x in l %}{% if loop.first %}{% continue %}{% endif %}{{ x }}{% else %}e{% endfor %}",
    "{% for x in l %}{% for y in l %}{% if y == 1 %}{% break %}{% endif %}{{ y }}{% endfor %}|{% endfor %}",
    "{% for x in l | reverse %}{{ x }}{{ loop.length }}{% endfor %}", "{% for x in l | map('string') %}{{ x }}{{ loop.last }}{% endfor %}",
    "{% for x in (l | sort)[1:] %}{{ x }}{% endfor %}", "{% for m in people %}{{ m.name }}{{ m['age'] }}{{ m.tags is defined }}{% endfor %}",
    "{% for x in l if loop is defined %}{{ x }}{% else %}no{% endfor %}", "{% for x in l %}{% for y in l if loop.index > 1 %}{{ y }}{% endfor %}|{% endfor %}",
    "{% set x = 1 %}{{ x }}{% set x = x + 1 %}{{ x }}", "{% set a, b = 1, 2 %}{{ a }}{{ b }}", "{% set (a, b) = [1, 2] %}{{ a }}{{ b }}",
    "{% set x = 1, 2 %}{{ x }}", "{% set x %}block {{ n }}{% endset %}[{{ x }}]", "{% set x | upper %}block {{ s }}{% endset %}{{ x }}",
    "{% set x | replace('b', 'c') | upper %}b{% endset %}{{ x }}", "{% set x %}{% set y = 5 %}{{ y }}{% endset %}{{ x }}{{ y is defined }}",
    "{% set x = 0 %}{% for i in l %}{% set x = x + i %}{{ x }} {% endfor %}{{ x }}",
    "{% set x = 0 %}{% if t %}{% set x = 1 %}{% endif %}{{ x }}", "{% if 0 %}{% set x = 1 %}{% endif %}{{ x }}{{ x is defined }}",
    "{% set ns = namespace(x=0) %}{% for i in l %}{% set ns.x = ns.x + i %}{% endfor %}{{ ns.x }}",
    "{% set ns = namespace() %}{% set ns.a, ns.b = 1, 2 %}{{ ns.a }}{{ ns.b }}{{ ns.c is defined }}{{ ns['a'] }}{{ ns }}",
    "{% set ns = namespace(l=[]) %}{% for i in range(3) %}{% set ns.l = ns.l + [i] %}{% endfor %}{{ ns.l }}",
    "{% set ns = namespace(a=1) %}{% set ns.a %}text{% endset %}{{ ns.a }}", "{% set l = l[1:] %}{{ l }}", "{% set s = s ~ '!' %}{{ s }}",
    "{% for x in l %}{% set ns = x %}{% endfor %}{{ ns is defined }}", "{% set x = 5 %}{% for x in l %}{{ x }}{% endfor %}{{ x }}",
    "{% macro f() %}hi{% endmacro %}{{ f() }}{{ f() }}", "{% macro f(a, b=2) %}{{ a }}-{{ b }}{% endmacro %}{{ f(1) }} {{ f(1, 3) }} {{ f(b=5, a=4) }} {{ f() }}",
    "{% macro f(a, b=a) %}{{ a }}{{ b }}{% endmacro %}{{ f(1) }}", "{% macro f(a=b, b=1) %}{{ a is defined }}{{ b }}{% endmacro %}{% set b = 9 %}{{ f() }}",
    "{% macro f() %}{{ varargs }}{{ kwargs }}{% endmacro %}{{ f(1, 2, x=3) }}", "{% macro f(a) %}{{ a }}{{ varargs }}{% endmacro %}{{ f(1, 2, 3) }}",
    "{% macro f(a) %}{{ kwargs.get('b') }}{% endmacro %}{{ f(1, b=2) }}", "{% macro f() %}[{{ caller() }}]{% endmacro %}{% call f() %}body {{ n }}{% endcall %}",
    "{% macro f(xs) %}{% for x in xs %}{{ caller(x) }}{% endfor %}{% endmacro %}{% call(x) f(l) %}<{{ x }}>{% endcall %}",
    "{% macro f() %}{{ caller is defined }}{% endmacro %}{{ f() }}", "{% macro f(n) %}{% if n > 0 %}{{ n }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(3) }}",
    "{% macro f() %}{{ n }}{{ later }}{% endmacro %}{% set later = 'L' %}{{ f() }}", "{% macro f() %}{% set n = 1 %}{{ n }}{% endmacro %}{{ f() }}{{ n }}",
    "{% macro f(x) %}{{ x }}{% endmacro %}{{ ['a', 'b'] | map('upper') | join }}{{ f }}", "{% macro f() -%}\n  x\n{%- endmacro %}[{{ f() }}]",
    "{% macro f() %}\n  x\n{% endmacro %}[{{ f() | trim }}]", "{% for x in l %}{% macro f() %}{{ x }}{% endmacro %}{{ f() }}{% endfor %}",
    "{% macro a() %}A{{ b() }}{% endmacro %}{% macro b() %}B{% endmacro %}{{ a() }}", "{% macro f(x) %}{{ x }}{% endmacro %}{{ f(f(f(1))) }}",
    "{% macro f(a) %}{{ a }}{% endmacro %}{{ f(*[1]) }}{{ f(**{'a': 2}) }}", "{{ dict(*[[('a', 1)]], **{'b': 2}) }}",
    "{% filter upper %}abc {{ s }}{% endfilter %}", "{% filter replace('a', 'b') | upper %}aaa{% endfilter %}", "{% filter trim %}  x  {% endfilter %}",
    "{% with a = 1, b = 2 %}{{ a }}{{ b }}{% endwith %}{{ a is defined }}", "{% with %}{% set a = 1 %}{{ a }}{% endwith %}{{ a is defined }}",
    "{% set a = 5 %}{% with a = 1, b = a %}{{ a }}{{ b }}{% endwith %}{{ a }}", "{% generation %}x {{ n }}{% endgeneration %} y",
    "{% for x in l %}{% generation %}{{ x }}{{ loop.index }}{% endgeneration %}{% endfor %}", "{% set x = 1 %}{% generation %}{% set x = 2 %}{{ x }}{% endgeneration %}{{ x }}",
    "a\n{% generation %}\nb\n{% endgeneration %}\nc",
    "{% if false %}{{ s | nosuchfilter }}{% endif %}ok", "{{ 1 if true else (s | nosuchfilter) }}", "{% if false %}{{ s is nosuchtest }}{% endif %}ok",
    "{{ loop is defined }}", "{% set loop = 1 %}{{ loop }}", "{% for x in l %}{{ loop is defined }}{{ loop.nosuch is defined }}{% endfor %}",
    "{% set g = l | map('string') %}{{ g | first }}{{ g | list }}{{ g | list }}", "{% set g = l | select('gt', 1) %}{% if g %}t{% endif %}{{ 3 in g }}{{ g | list }}",
    "{% set g = l | reverse %}{{ g | list }}{{ g | list }}", "{% set x = {'a': 1} %}{% for k in x %}{{ k }}{% endfor %}{{ x | length }}",
    "{{ 'a' if n == 7 }}{{ 'b' if n == 8 }}", "{% set x = namespace(v=none) %}{{ x.v is none }}", "{{ s ~ '\n' ~ n }}", "{{ s, n }}", "{{ s, }}",
    "{% set m = [{'role': 'user'}] + people %}{{ m[0].role }}{{ m | length }}", "{% for p in people | selectattr('tags', 'defined') %}{{ loop.index }}{{ p.name }}{% endfor %}",
    "{% for i in range(3) %}{% set outer = loop %}{% for j in range(2) %}{{ outer.index }}{{ loop.index }} {% endfor %}{% endfor %}",
    "{% set ns = namespace(stop=false) %}{% for x in l if not ns.stop %}{{ x }}{% if x == 1 %}{% set ns.stop = true %}{% endif %}{% endfor %}",
    "{{ '{{ not a tag }}' }}{{ \"{% nor this %}\" }}", "{{ {'a': {'b': 1}} }}", "{{ {'a': {'b': {}}}}}", "{% set x={'a':{'b':{}}}%}{{x}}",
]


def combinations():
    """Generated: operators over values, filters over values, tests over values, slices."""
    values = ["0", "1", "-3", "2.5", "true", "none", "''", "'ab'", "'é'", "[]", "[1, 'a']", "(2,)",
              "{}", "{'a': 1}", "nope", "s", "l", "d", "range(2)"]
    operators = ["+", "-", "*", "/", "//", "%", "~", "==", "!=", "<", ">=", "and", "or", "in"]
    for a, op, b in itertools.product(values, operators, values):
        yield "{{ %s %s %s }}" % (a, op, b)
    filters = ["upper", "length", "first", "last", "list", "string", "int", "float", "abs", "tojson",
               "trim", "join('-')", "sort", "reverse | list", "unique | list", "min", "max", "sum",
               "default('D')", "default('D', true)", "title", "capitalize", "items | list",
               "dictsort", "map('string') | list", "select | list", "reject('none') | list",
               "indent", "replace('a', 'b')", "round", "batch(2) | list", "tojson(indent=1)"]
    for value, name in itertools.product(values, filters):
        yield "{{ (%s) | %s }}" % (value, name)
    tests = ["defined", "undefined", "none", "string", "number", "integer", "float", "boolean", "true",
             "false", "mapping", "iterable", "sequence", "callable", "odd", "even", "lower", "upper",
             "in [1, 'ab']", "eq 1", "sameas none", "divisibleby 2"]
    for value, name in itertools.product(values, tests):
        yield "{{ (%s) is %s }}{{ (%s) is not %s }}" % (value, name, value, name)
    bounds = ["", "0", "1", "-1", "3", "-5", "100"]
    for target, a, b, c in itertools.product(["'añb€c'", "[1, 2, 3, 4]", "range(5)"], bounds, bounds,
                                             ["", ":2", ":-1", ":-3"]):
        yield "{{ (%s)[%s:%s%s] }}" % (target, a, b, c)
    for value, key in itertools.product(values, ["0", "-1", "'a'", "'upper'", "none", "1.5", "nope"]):
        yield "{{ (%s)[%s] is defined }}{{ (%s)[%s] }}" % (value, key, value, key)
    yield from white_space()


def white_space():
    """Every sign of a tag between texts that begin and end with different white space."""
    for before, sign, end, after in itertools.product(
            ["", "x", "x ", "x\n", "x\n  ", "\n\t ", " "], ["", "-", "+"], ["", "-", "+"],
            ["", "y", " y", "\ny", "\n\n y", "  "]):
        yield before + "{%" + sign + " if t " + end + "%}" + after + "{%" + sign + " endif " + end + "%}" + after
        yield before + "{#" + sign + " c " + end + "#}" + after
        yield before + "{%" + sign + " raw %} r {%" + sign + " endraw " + end + "%}" + after
        if end != "+":
            yield before + "{{" + sign + " n " + end + "}}" + after


class Random:
    """Random templates over VARS: expressions within statements, mostly meaningful."""
    NAMES = ["s", "u", "e", "w", "n", "m", "f", "z", "t", "no", "l", "ls", "le", "lm", "d", "de", "people",
             "text", "q", "nested", "x", "y", "ns.a", "nope"]
    LITERALS = ["0", "1", "2", "-1", "10", "1.5", "0.1", "true", "false", "none", "''", "'a'", "'Ab c'",
                "' é '", "'%s'", "'a,b'", "[]", "{}", "'name'", "'age'", "','"]
    FILTERS = ["upper", "lower", "trim", "length", "first", "last", "list", "string", "int", "float", "tojson",
               "join(%s)", "sort", "reverse", "default(%s)", "default(%s, true)", "title", "capitalize",
               "replace(%s, %s)", "map('string')", "map(attribute=%s)", "select", "reject('none')", "unique",
               "min", "max", "sum", "abs", "indent(2)", "items", "dictsort", "batch(2)", "round(1)",
               "selectattr('name')", "tojson(indent=2)", "list | length", "list | first", "map('upper') | join('|')"]
    METHODS = ["upper()", "strip()", "split()", "split(%s)", "replace(%s, %s)", "startswith(%s)", "endswith(%s)",
               "find(%s)", "count(%s)", "join(%s)", "items()", "keys()", "values()", "get(%s)", "get(%s, %s)",
               "title()", "rstrip(%s)", "splitlines()", "index(%s)", "format(%s)", "lower()", "capitalize()",
               "rsplit(%s, 1)", "partition(%s)", "isdigit()", "lstrip()"]
    TESTS = ["defined", "none", "string", "number", "mapping", "iterable", "sequence", "odd", "in %s", "eq %s",
             "lower", "true", "divisibleby 2", "gt(%s)", "integer"]
    BINARY = ["+", "-", "*", "/", "//", "%", "~", "==", "!=", "<", ">", "<=", "and", "or", "in", "not in", "+", "~"]

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
            return f"({sub()} is {rng.choice(['', 'not '])}{self.fill(rng.choice(self.TESTS), depth)})"
        if r < 0.82:
            return f"({sub()})[{sub()}]"
        if r < 0.87:
            return f"({sub()})[{rng.choice(['', '1', '-2'])}:{rng.choice(['', '2', '-1'])}{rng.choice(['', ':2', ':-1'])}]"
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
            jump = self.tag("if y") + self.tag(rng.choice(["break", "continue"])) + self.tag("endif")
            test = " if " + self.expression(1) if rng.random() < 0.2 else ""
            return (self.tag("for x in " + self.expression(1) + test) + rng.choice(["", "{{ loop.index }}"]) + body()
                    + rng.choice(["", "", jump]) + self.tag("endfor"))
        if r < 0.86:
            return self.tag(f"set {rng.choice(['x', 'y', 'ns.a', 'l'])} = {self.expression(2)}")
        if r < 0.9:
            return self.tag("set y") + body() + self.tag("endset")
        if r < 0.94:
            return self.tag("filter upper") + body() + self.tag("endfilter")
        name = rng.choice(["g", "h"])
        return self.tag(f"macro {name}(x, y=2)") + body() + self.tag("endmacro") + "{{ %s(%s) }}" % (name, self.expression(1))

    def body(self, depth):
        texts = ["", "a", " ", "\n", "\n  ", " b\n", "<|im_end|>"]
        return "".join(self.rng.choice(texts) + self.statement(depth) for _ in range(self.rng.randint(1, 2))) + self.rng.choice(texts)

    def template(self):
        return "{% set ns = namespace(a=1) %}" + self.body(2)
