"""Small templates for the comparison with jinja2, one construct each.

Lists as short as the constructs: syntax errors, statements, and what text of variables goes through
(PROVENANCE). Expressions that work and that must be refused stand in text files beside this one."""
import os

HERE = os.path.dirname(os.path.abspath(__file__))


def lines(name):
    with open(os.path.join(HERE, name), encoding="utf-8") as f:
        return f.read().rstrip("\n").split("\n")


VARS = {
    "s": "Hello World", "u": "größe Éa ñandú Ωmega ΑΣ ß", "e": "",
    "w": "  \t padded text \n ",
    "n": 7, "m": -3, "f": 2.5, "z": 0, "t": True, "no": None,
    "l": [3, 1, 2], "ls": ["b", "A", "c", "a"], "le": [], "lm": [1, "two", None, 3.5, [4]],
    "d": {"b": 1, "a": "x", "C": None}, "de": {},
    "people": [{"name": "Zoe", "age": 31, "tags": ["x", "y"]}, {"name": "adam", "age": 25},
               {"name": "Bob", "age": 31, "tags": []}],
    "text": "line one\nline two\r\n\n  line four\n", "q": "it's \"quoted\" \\ back\u00a0\u200b\x7f",
    "nested": {"a": {"b": [10, {"c": "deep"}]}}, "big": 9007199254740993, "j": "<|im_end|>",
}

EXPRESSIONS = lines("expressions.txt")

ERRORS = lines("errors.txt")

SYNTAX = [
    '{{', '{{ }}', '{{ 1 +', '{{ 1 + }}', '{% if %}{% endif %}', '{% if 1 %}', '{% endif %}',
    '{% for x in %}{% endfor %}', '{% for in l %}{% endfor %}', '{% for x %}{% endfor %}',
    '{% for 1 in l %}{% endfor %}', '{% for loop in l %}{% endfor %}',
    '{% for x in l %}{% set loop = 1 %}{% endfor %}', '{% break %}', '{% continue %}',
    '{% nosuch %}', '{% set %}', '{% set 1 = 2 %}', '{% set x = %}', '{% set x.y.z = 1 %}',
    '{% set none = 1 %}', '{% set [a] = [1] %}', "{{ 'abc }}", '{{ (1 }}', '{{ [1 }}', '{{ {1 }}',
    '{{ 1) }}', '{{ (1] }}', "{{ {'a' 1} }}", '{{ a b }}', '{{ 1 2 }}', '{{ a. }}', '{{ a[] }}',
    '{{ f(a=1, 2) }}', '{{ f(**a, **b) }}', '{{ f(*a, 1) }}', '{{ a is }}', '{{ a is is b }}',
    '{{ a is b is c }}', '{{ a | }}', '{{ a ? b }}', "{{ '\\x4' }}", "{{ '\\u12' }}", '{# no end',
    '{% raw %} no end', '{% macro %}{% endmacro %}', '{% macro f(a=1, b) %}{% endmacro %}',
    '{% macro f(1) %}{% endmacro %}', '{% call x %}{% endcall %}', '{% else %}',
    '{% if 1 %}{% elif %}{% endif %}', '{% if 1 %}{% else %}{% else %}{% endif %}',
    '{% filter %}{% endfilter %}', '{% set ns.x = 1 %}', '{% set n.x = 1 %}',
    '{% for a, b in [[1, 2, 3]] %}{% endfor %}', '{% for a, b in [1] %}{% endfor %}',
    '{% set a, b = 1, 2, 3 %}', '{% for x in 5 %}{% endfor %}', '{% for x in none %}{% endfor %}',
    '{% macro f(a) %}{% endmacro %}{{ f(1, 2) }}', '{% macro f(a) %}{% endmacro %}{{ f(b=1) }}',
    '{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}',
    '{% macro f() %}x{% endmacro %}{% call f() %}y{% endcall %}', '{{ 1 if }}', '{{ x if y else }}',
    '{{ not }}', '{{ * }}', '{{ a == }}', '{{ a not b }}', '{{ a in }}', '{{ 1..2 }}',
    '{% set x = 1 %', '{{ x }', '{{ {{ x }} }}',
]

STATEMENTS = [
    '', 'plain', 'plain\n', 'plain\n\n', 'a\r\nb\rc\n', 'é{{ u }}é', '{{ n }}\n', '{{ n }}\n\n',
    'a\n{{ n }}\nb', 'a\n  {% if t %}\n  b\n  {% endif %}\nc', 'a {% if t %}\n b {% endif %} c',
    '  {% if t %}x{% endif %}\n  y', '\n  {% if t %}\n\n x\n{% endif %}\n',
    '{% if t %}\n{% endif %}\n\nz', 'a  {%- if t %}  b  {%- endif %}  c',
    'a  {% if t -%}  b  {% endif -%}  c', 'a\n\n  {%- if t -%}\n\n  b\n\n  {%- endif -%}\n\n c',
    'a\n  {%+ if t %}\n  b\n  {%+ endif %}\nc', 'a{% if t +%}\nb{% endif +%}\nc',
    '  {{- n }}  {{ n -}}  x', 'a\n  {{ n }}\n  {{- n -}}\n  b', 'a {# comment #} b',
    'a\n  {# comment #}\n  b', 'a\n  {#- comment -#}\n  b', 'a\n  {#+ c #}\n  b',
    'a {# multi\nline #}\nb', '{# {{ n }} {% if %} #}x', '{#-#}x', '{##}x', '{#- c +#}\nx',
    '{% raw %}{{ n }}{% if %}{% endraw %}', 'a\n  {% raw %}\n  {{ x }}\n  {% endraw %}\n  b',
    'a {%- raw -%}  {{ x }}  {%- endraw -%}  b', '{% raw %}{% endraw %}x',
    '{%raw%}{# x #}{%endraw%}', '{% rawx %}', '\t{% if t %}\ty\t{% endif %}\t',
    'x\n\xa0 {% if t %}y{% endif %}', '{{ n }}{{ n }}', '{%if t%}1{%endif%}',
    '{%-if t-%} 1 {%-endif-%}', '{{n}}', '{{-n-}}', '{{ -n }}', '{{+n}}',
    '{% if 0 %}a{% elif n > 5 %}b{% elif t %}c{% else %}d{% endif %}',
    '{% if 0 %}a{% elif 0 %}b{% else %}d{% endif %}', '{% if n: %}a{% endif %}',
    '{% if undefined_name %}a{% else %}b{% endif %}',
    '{% if l %}a{% endif %}{% if le %}b{% endif %}', '{% if not l and s or t %}a{% endif %}',
    '{% if 1, %}a{% endif %}', '{% for x in l %}{{ x }},{% endfor %}',
    '{% for x in l %}{{ x }}{% if not loop.last %}, {% endif %}{% endfor %}',
    '{% for x in le %}{{ x }}{% else %}empty{% endfor %}',
    '{% for x in l %}{{ x }}{% else %}empty{% endfor %}',
    '{% for x in l if x > 1 %}{{ loop.index }}:{{ x }} of {{ loop.length }}{% if loop.last'
    ' %}!{% endif %} {% endfor %}',
    '{% for x in l if x > 9 %}{{ x }}{% else %}none left{% endfor %}',
    '{% for x in l %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0'
    ' }}{{ loop.first }}{{ loop.last }}{{ loop.length }};{% endfor %}',
    '{% for x in l %}{{ loop.previtem }}<{{ x }}>{{ loop.nextitem }};{% endfor %}',
    '{% for x in l if x != 1 %}{{ loop.previtem is defined }}{{ loop.nextitem is defined }}{{'
    ' loop.revindex }}{% endfor %}',
    "{% for x in l %}{{ loop.cycle('a', 'b') }}{{ loop.depth }}{{ loop.depth0 }}{% endfor %}",
    '{% for x in [1, 1, 2, 2, 1] %}{% if loop.changed(x) %}{{ x }}{% endif %}{% endfor %}',
    '{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}',
    '{% for k, v in d | items %}{{ k }}={{ v }};{% endfor %}',
    '{% for k in d %}{{ k }}{% endfor %}', '{% for c in s %}{{ c }}.{% endfor %}',
    '{% for c in u %}{{ c }}.{% endfor %}',
    '{% for x in undefined_name %}{{ x }}{% else %}e{% endfor %}',
    '{% for i in range(3) %}{{ i }}{% endfor %}',
    '{% for a, (b, c) in [(1, (2, 3))] %}{{ a }}{{ b }}{{ c }}{% endfor %}',
    '{% for (a, b) in [(1, 2)] %}{{ a }}{{ b }}{% endfor %}',
    '{% for x in 1, 2, 3 %}{{ x }}{% endfor %}',
    '{% for x in l %}{% for y in l %}{{ x * y }} {% endfor %}{{ loop.index }}\n{% endfor %}',
    '{% for x in l %}{% if x == 1 %}{% continue %}{% endif %}{{ x }}{% endfor %}',
    '{% for x in l %}{% if x == 1 %}{% break %}{% endif %}{{ x }}{% endfor %}',
    '{% for x in l %}{% break %}{% else %}e{% endfor %}',
    '{% for x in l %}{% continue %}{% else %}e{% endfor %}',
    '{% for x in l %}{% if loop.first %}{% continue %}{% endif %}{{ x }}{% else %}e{% endfor %}',
    '{% for x in l %}{% for y in l %}{% if y == 1 %}{% break %}{% endif %}{{ y }}{% endfor'
    ' %}|{% endfor %}', '{% for x in l | reverse %}{{ x }}{{ loop.length }}{% endfor %}',
    "{% for x in l | map('string') %}{{ x }}{{ loop.last }}{% endfor %}",
    '{% for x in (l | sort)[1:] %}{{ x }}{% endfor %}',
    "{% for m in people %}{{ m.name }}{{ m['age'] }}{{ m.tags is defined }}{% endfor %}",
    '{% for x in l if loop is defined %}{{ x }}{% else %}no{% endfor %}',
    '{% for x in l %}{% for y in l if loop.index > 1 %}{{ y }}{% endfor %}|{% endfor %}',
    '{% set x = 1 %}{{ x }}{% set x = x + 1 %}{{ x }}', '{% set a, b = 1, 2 %}{{ a }}{{ b }}',
    '{% set (a, b) = [1, 2] %}{{ a }}{{ b }}', '{% set x = 1, 2 %}{{ x }}',
    '{% set x %}block {{ n }}{% endset %}[{{ x }}]',
    '{% set x | upper %}block {{ s }}{% endset %}{{ x }}',
    "{% set x | replace('b', 'c') | upper %}b{% endset %}{{ x }}",
    '{% set x %}{% set y = 5 %}{{ y }}{% endset %}{{ x }}{{ y is defined }}',
    '{% set x = 0 %}{% for i in l %}{% set x = x + i %}{{ x }} {% endfor %}{{ x }}',
    '{% set x = 0 %}{% if t %}{% set x = 1 %}{% endif %}{{ x }}',
    '{% if 0 %}{% set x = 1 %}{% endif %}{{ x }}{{ x is defined }}',
    '{% set ns = namespace(x=0) %}{% for i in l %}{% set ns.x = ns.x + i %}{% endfor %}{{ ns.x }}',
    "{% set ns = namespace() %}{% set ns.a, ns.b = 1, 2 %}{{ ns.a }}{{ ns.b }}{{ ns.c is"
    " defined }}{{ ns['a'] }}{{ ns }}",
    '{% set ns = namespace(l=[]) %}{% for i in range(3) %}{% set ns.l = ns.l + [i] %}{%'
    ' endfor %}{{ ns.l }}', '{% set ns = namespace(a=1) %}{% set ns.a %}text{% endset %}{{ ns.a }}',
    '{% set l = l[1:] %}{{ l }}', "{% set s = s ~ '!' %}{{ s }}",
    '{% for x in l %}{% set ns = x %}{% endfor %}{{ ns is defined }}',
    '{% set x = 5 %}{% for x in l %}{{ x }}{% endfor %}{{ x }}',
    '{% macro f() %}hi{% endmacro %}{{ f() }}{{ f() }}',
    '{% macro f(a, b=2) %}{{ a }}-{{ b }}{% endmacro %}{{ f(1) }} {{ f(1, 3) }} {{ f(b=5,'
    ' a=4) }} {{ f() }}', '{% macro f(a, b=a) %}{{ a }}{{ b }}{% endmacro %}{{ f(1) }}',
    '{% macro f(a=b, b=1) %}{{ a is defined }}{{ b }}{% endmacro %}{% set b = 9 %}{{ f() }}',
    '{% macro f() %}{{ varargs }}{{ kwargs }}{% endmacro %}{{ f(1, 2, x=3) }}',
    '{% macro f(a) %}{{ a }}{{ varargs }}{% endmacro %}{{ f(1, 2, 3) }}',
    "{% macro f(a) %}{{ kwargs.get('b') }}{% endmacro %}{{ f(1, b=2) }}",
    '{% macro f() %}[{{ caller() }}]{% endmacro %}{% call f() %}body {{ n }}{% endcall %}',
    '{% macro f(xs) %}{% for x in xs %}{{ caller(x) }}{% endfor %}{% endmacro %}{% call(x)'
    ' f(l) %}<{{ x }}>{% endcall %}',
    '{% macro f() %}{{ caller is defined }}{% endmacro %}{{ f() }}',
    '{% macro f(n) %}{% if n > 0 %}{{ n }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(3) }}',
    "{% macro f() %}{{ n }}{{ later }}{% endmacro %}{% set later = 'L' %}{{ f() }}",
    '{% macro f() %}{% set n = 1 %}{{ n }}{% endmacro %}{{ f() }}{{ n }}',
    "{% macro f(x) %}{{ x }}{% endmacro %}{{ ['a', 'b'] | map('upper') | join }}{{ f }}",
    '{% macro f() -%}\n  x\n{%- endmacro %}[{{ f() }}]',
    '{% macro f() %}\n  x\n{% endmacro %}[{{ f() | trim }}]',
    '{% for x in l %}{% macro f() %}{{ x }}{% endmacro %}{{ f() }}{% endfor %}',
    '{% macro a() %}A{{ b() }}{% endmacro %}{% macro b() %}B{% endmacro %}{{ a() }}',
    '{% macro f(x) %}{{ x }}{% endmacro %}{{ f(f(f(1))) }}',
    "{% macro f(a) %}{{ a }}{% endmacro %}{{ f(*[1]) }}{{ f(**{'a': 2}) }}",
    "{{ dict(*[[('a', 1)]], **{'b': 2}) }}", '{% filter upper %}abc {{ s }}{% endfilter %}',
    "{% filter replace('a', 'b') | upper %}aaa{% endfilter %}",
    '{% filter trim %}  x  {% endfilter %}',
    '{% with a = 1, b = 2 %}{{ a }}{{ b }}{% endwith %}{{ a is defined }}',
    '{% with %}{% set a = 1 %}{{ a }}{% endwith %}{{ a is defined }}',
    '{% set a = 5 %}{% with a = 1, b = a %}{{ a }}{{ b }}{% endwith %}{{ a }}',
    '{% generation %}x {{ n }}{% endgeneration %} y',
    '{% for x in l %}{% generation %}{{ x }}{{ loop.index }}{% endgeneration %}{% endfor %}',
    '{% set x = 1 %}{% generation %}{% set x = 2 %}{{ x }}{% endgeneration %}{{ x }}',
    'a\n{% generation %}\nb\n{% endgeneration %}\nc',
    '{% if false %}{{ s | nosuchfilter }}{% endif %}ok', '{{ 1 if true else (s | nosuchfilter) }}',
    '{% if false %}{{ s is nosuchtest }}{% endif %}ok', '{{ loop is defined }}',
    '{% set loop = 1 %}{{ loop }}',
    '{% for x in l %}{{ loop is defined }}{{ loop.nosuch is defined }}{% endfor %}',
    "{% set g = l | map('string') %}{{ g | first }}{{ g | list }}{{ g | list }}",
    "{% set g = l | select('gt', 1) %}{% if g %}t{% endif %}{{ 3 in g }}{{ g | list }}",
    '{% set g = l | reverse %}{{ g | list }}{{ g | list }}',
    "{% set x = {'a': 1} %}{% for k in x %}{{ k }}{% endfor %}{{ x | length }}",
    "{{ 'a' if n == 7 }}{{ 'b' if n == 8 }}", '{% set x = namespace(v=none) %}{{ x.v is none }}',
    "{{ s ~ '\n' ~ n }}", '{{ s, n }}', '{{ s, }}',
    "{% set m = [{'role': 'user'}] + people %}{{ m[0].role }}{{ m | length }}",
    "{% for p in people | selectattr('tags', 'defined') %}{{ loop.index }}{{ p.name }}{%"
    " endfor %}",
    '{% for i in range(3) %}{% set outer = loop %}{% for j in range(2) %}{{ outer.index }}{{'
    ' loop.index }} {% endfor %}{% endfor %}',
    '{% set ns = namespace(stop=false) %}{% for x in l if not ns.stop %}{{ x }}{% if x == 1'
    ' %}{% set ns.stop = true %}{% endif %}{% endfor %}',
    '{{ \'{{ not a tag }}\' }}{{ "{% nor this %}" }}', "{{ {'a': {'b': 1}} }}",
    "{{ {'a': {'b': {}}}}}", "{% set x={'a':{'b':{}}}%}{{x}}",
]

PROVENANCE = [
    '{{ s }}', 'a{{ s }}b', "{{ 'x' ~ s ~ 'y' }}", "{{ 'x' + s + 'y' }}", '{{ s * 3 }}',
    '{{ s | upper }}', '{{ s.lower() }}', '{{ s | title }}', '{{ s | capitalize }}',
    '{{ w | trim }}', '{{ w.strip() }}', "{{ s | replace('a', 'b') }}",
    "{{ 'a-b' | replace('-', s) }}", "{{ s.split() | join('+') }}", "{{ s.split('о') }}",
    '{{ s[1:5] }}', '{{ s[::-1] }}', '{{ s[0] }}{{ s[-1] }}', '{{ s | reverse }}',
    '{{ s | first }}{{ s | last }}', '{{ s | list }}', "{{ s | list | join('-') }}",
    '{% for c in s %}{{ c }}.{% endfor %}', "{{ ls | join(', ') }}", "{{ ', '.join(ls) }}",
    "{{ s.join(['a', 'b']) }}", '{{ ls | sort | tojson }}', '{{ s | tojson }}', '{{ q | tojson }}',
    '{{ q | tojson(ensure_ascii=false) }}', '{{ d | tojson(indent=2) }}', '{{ people | tojson }}',
    "{{ [s, 'lit'] | tojson }}", "{{ {'k': s} | tojson(indent=2) }}", '{{ [s] }}',
    "{{ {'k': s, s: 1} }}", '{{ lm }}', '{{ d }}', '{{ text | indent(2, true) }}',
    "{{ 'ab' | indent(s, true) }}", "{{ text.splitlines() | join('|') }}", "{{ s.partition(' ') }}",
    "{{ '%s|%10s|%-20s|%.3s|%r' % (s, s, s, s, s) }}",
    "{{ '{} {:>20} {!r} {:.2}'.format(s, s, s, s) }}", '{{ s % () }}', "{{ '%s' | format(s) }}",
    '{% set x %}a{{ s }}b{% endset %}{{ x }}', '{% filter upper %}a{{ s }}{% endfilter %}',
    '{% macro f(x) %}<{{ x }}>{% endmacro %}{{ f(s) }}',
    "{% set ns = namespace(x='') %}{% for c in ls %}{% set ns.x = ns.x + c + '.' %}{% endfor"
    " %}{{ ns.x }}", "{{ (s ~ 'tail')[3:] }}", "{{ ('head' ~ s)[:6] }}",
    "{{ ('head' ~ s ~ 'tail')[2:-2] | upper }}", "{{ ('  ' ~ s ~ '  ') | trim }}",
    "{{ ('a' ~ s ~ 'b') | replace('о', '0') }}", '{{ d.keys() | list }}',
    '{% for k, v in d | dictsort %}{{ k }}={{ v }};{% endfor %}',
    "{{ people | map(attribute='name') | join(' and ') }}", '{{ nope | default(s) }}',
    "{{ s if t else 'x' }}", "{{ s and 'x' }}{{ e or s }}", '{{ dict(a=s).a }}',
    "{{ s.removeprefix('Х') }}", '{{ s | string }}', "{{ [1, s] | map('string') | list }}",
    '{{ s.format() }}', "{{ s | trim('Ха') }}", "{{ (['a', s] | max) }}", '{{ namespace(a=s) }}',
    "{{ {'a': s}.items() }}",
]
