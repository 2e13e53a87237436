//! Constructs of Jinja, of Python and of transformers that chat templates use, each with its text. The expected texts were
//! made with Python's jinja2 3.1.6 in the settings of transformers, and the same date.

use super::{message, rendered};

#[test]
fn constructs_of_public_templates_give_the_text_that_python_gives() {
    let messages = [message("user", "Hi <b> & 'x' \"q\" é 5")];
    for (template, wanted) in PUBLIC {
        assert_eq!(rendered(template, &messages), *wanted, "{template}");
    }
}

#[test]
fn everything_else_that_templates_can_use_gives_the_text_that_python_gives() {
    let messages = [message("system", "Be <b>brief</b> & 'kind'."), message("user", " Hi \"you\" é 5\n")];
    for (template, wanted) in MORE {
        assert_eq!(rendered(template, &messages), *wanted, "{template}");
    }
}

/// Templates and what they write.
#[rustfmt::skip]
const PUBLIC: &[(&str, &str)] = &[
    ("{%- set today = strftime_now(\"%Y\") -%}{{ \"Today \" + today }}{{ messages[0].content }}", "Today 2026Hi <b> & 'x' \"q\" é 5"),
    ("{%- if strftime_now is defined %}{%- set d = strftime_now(\"%Y\") %}{%- else %}{%- set d = \"26 Jul 2024\" %}{%- endif %}{{ d }}{{ messages[0].content }}", "2026Hi <b> & 'x' \"q\" é 5"),
    ("{%- set u = messages | selectattr(\"role\", \"equalto\", \"user\") | list -%}{%- set f = [] -%}{%- for m in messages -%}{%- set f = f + [m] -%}{%- endfor -%}{{ u | length }}{{ f | length }}{{ (messages[0] == u[-1]) }}", "10True"),
    ("{{ messages[0].get(\"tool_calls\") is none }}{{ not messages[0].get(\"x\") }}{{ messages[0].get(\"x\", \"d\") }}", "TrueTrued"),
    ("{{ messages[0].content[-3:] }}|{{ messages[0].content[:2] }}|{% for m in messages[::-1] %}{{ m.role }}{% endfor %}|{{ messages[-1].role }}", "é 5|Hi|user|user"),
    ("{%- macro a(x) -%}{{ b(x) }}{%- endmacro -%}{%- macro b(x, y=True) -%}[{{ x }}]{%- endmacro -%}{{ a(\"z\") }}", "[z]"),
    ("{%- set c = 'a</think>b</think>c' -%}{{ c.split('</think>', 1)[1] }}|{{ c.split('</think>')[-1].lstrip('\\n') }}|{{ c.rstrip('c') }}|{{ c.endswith('c') }}|{{ c.replace('a','b') }}", "b</think>c|c|a</think>b</think>|True|b</think>b</think>c"),
    ("{{ {} is mapping }}{{ [] is sequence }}{{ \"s\" is string }}{{ \"s\" is iterable }}{{ true is boolean }}{{ false is false }}{{ 3 is number }}{{ none is none }}{{ x is undefined }}", "TrueTrueTrueTrueTrueTrueTrueTrueTrue"),
    ("{{ messages[0].content | tojson }}", "\"Hi <b> & 'x' \\\"q\\\" é 5\""),
    ("{{ messages[0].content | tojson(ensure_ascii=False) }}", "\"Hi <b> & 'x' \\\"q\\\" é 5\""),
    ("{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}{% endfor %}", "Hi <b> & 'x' \"q\" é 5"),
    ("{% for m in [1,2,3,4] %}{% if m == 2 %}{% continue %}{% endif %}{% if m == 4 %}{% break %}{% endif %}{{ m }}{% endfor %}", "13"),
    ("{% for m in [1,2,3] %}{{ loop.previtem }}{{ loop.nextitem }}{{ loop.index0 }}{{ loop.last }};{% endfor %}", "20False;131False;22True;"),
    ("{{ 7 // 2 }} {{ 7 % 3 }} {{ 2 ** 3 }} {{ 7 / 2 }} {{ \"a\" ~ 1 ~ none ~ true }} {{ 1.0 }}", "3 1 8 3.5 a1NoneTrue 1.0"),
    ("{{ '%s-%d' % ('a', 3) }}", "a-3"),
    ("{{ '%s-%02d' | format('a', 3) }}", "a-03"),
    ("{% for m in messages %}<|{{ m.role }}|>{% for c in m.content %}{% if c.type == 'text' %}{{ c.text }}{% endif %}{% endfor %}<|end|>{% endfor %}<|assistant|>", "<|user|><|end|><|assistant|>"),
    ("{% for m in messages %}<|{{ m.role }}|>{{ m.content[0]['text'] }}<|end|>{% endfor %}", "<|user|><|end|>"),
    ("{% for m in messages %}{% if m.content is string %}{{ m.content }}{% else %}list{% endif %}{% endfor %}", "Hi <b> & 'x' \"q\" é 5"),
    ("{{ none }}|{{ undefinedvar }}|{{ true }}", "None||True"),
    ("{% set m = {'k': '<｜User｜>'} %}{{ m.k + messages[0]['content'] }}", "<｜User｜>Hi <b> & 'x' \"q\" é 5"),
    ("{% set ns = namespace(f=false, n=-1) %}{% for m in messages %}{% set ns.n = loop.index0 %}{% endfor %}{{ ns.n }}{{ ns.f }}", "0False"),
    ("{{ (none | default('x', true)) }}{{ ('' | default('y', true)) }}{{ (zz | default('z')) }}", "xyz"),
    ("{% if messages[0].tool_calls is defined and messages[0].tool_calls is not none %}T{% else %}F{% endif %}{% if not messages[0]['reasoning_content'] %}N{% endif %}", "FN"),
    ("   {% if true %}\nA\n  {% endif %}\n  B  {%- if true %} C {% endif -%}  D\n", "A\n  B C D"),
    ("{% set x %}  hello {{ messages[0].role }} {% endset %}[{{ x | trim }}]", "[hello user]"),
    ("{{ 'x' if false }}|{{ ',' if not true }}", "|"),
    ("{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}ok", "ok"),
    ("{{ tools is none }}{{ documents is none }}{{ tools is defined }}{% if tools %}x{% endif %}{{ add_generation_prompt }}{{ bos_token }}{{ eos_token }}", "TrueTrueTrueTrue<s></s>"),
    ("{% if enable_thinking is defined and enable_thinking is false %}off{% else %}on{% endif %}", "on"),
    ("{% set tools = none %}{% if not tools is defined %}{% set tools = 1 %}{% endif %}{{ tools }}", "None"),
];

/// Templates and what they write.
#[rustfmt::skip]
const MORE: &[(&str, &str)] = &[
    ("{{ 1e16 }} {{ 1e-7 }} {{ 2.0 }} {{ 0.5 }} {{ 123456789.0 }}", "1e+16 1e-07 2.0 0.5 123456789.0"),
    ("{{ 'a' is sequence }}{{ {} is sequence }}{{ [] is sequence }}{{ 1 is sequence }}{{ none is sequence }}", "TrueTrueTrueFalseFalse"),
    ("{{ messages | tojson }}", "[{\"role\": \"system\", \"content\": \"Be <b>brief</b> & 'kind'.\"}, {\"role\": \"user\", \"content\": \" Hi \\\"you\\\" é 5\\n\"}]"),
    ("{{ messages[1] | tojson(indent=2) }}", "{\n  \"role\": \"user\",\n  \"content\": \" Hi \\\"you\\\" é 5\\n\"\n}"),
    ("{{ {'b': [1, 2.5, true, none, 1e20], 'a': {}, 'c': [], 'é': '\\u0001\\t/'} | tojson(ensure_ascii=True, sort_keys=True) }}", "{\"a\": {}, \"b\": [1, 2.5, true, null, 1e+20], \"c\": [], \"\\u00e9\": \"\\u0001\\t/\"}"),
    ("{{ {'b': 1, 'a': [2, (3, 4)]} | tojson(separators=(',', ':')) }}", "{\"b\":1,\"a\":[2,[3,4]]}"),
    ("{{ {'b': 1, 'a': [2]} | tojson(indent=0) }}", "{\n\"b\": 1,\n\"a\": [\n2\n]\n}"),
    ("{{ {1: 'x', none: 'y', true: 'z', 1.5: 'w'} | tojson }}", "{\"1\": \"z\", \"null\": \"y\", \"1.5\": \"w\"}"),
    ("{{ {'b': 1, 'a': 2} }}|{{ ['x', \"it's\", 1.0, none, true, (1,)] }}", "{'b': 1, 'a': 2}|['x', \"it's\", 1.0, None, True, (1,)]"),
    ("{% for k, v in {'z': 1, 'y': 2, 'x': 3}.items() %}{{ k }}{{ v }}{% endfor %}", "z1y2x3"),
    ("{% for k, v in {'z': 1, 'y': 2, 'x': 3} | items %}{{ k }}{{ v }}{% endfor %}", "z1y2x3"),
    ("{% for k, v in {'z': 1, 'y': 2, 'x': 3} | dictsort %}{{ k }}{{ v }}{% endfor %}", "x3y2z1"),
    ("{{ {'z': 1, 'y': 2}.keys() | list }}{{ {'z': 1, 'y': 2}.values() | list }}", "['z', 'y'][1, 2]"),
    ("{{ 'a=b=c'.partition('=') }}{{ 'a=b=c'.rpartition('=') }}{{ 'abc'.partition('=') }}{{ 'abc'.rpartition('=') }}", "('a', '=', 'b=c')('a=b', '=', 'c')('abc', '', '')('', '', 'abc')"),
    ("{{ 'a=b=c'.partition('=')[2] }}{% set k, _, v = 'a=b'.partition('=') %}{{ k }}{{ v }}", "b=cab"),
    ("{{ 'a b  c'.rsplit(None, 1) }}{{ 'a,b,c'.rsplit(',', 1) }}{{ 'a,b,c'.split(',', maxsplit=1) }}{{ ' a b '.split() }}", "['a b', 'c']['a,b', 'c']['a', 'b,c']['a', 'b']"),
    ("{{ 'prefix-x'.removeprefix('prefix-') }}{{ 'x.txt'.removesuffix('.txt') }}{{ 'x'.zfill(3) }}{{ '-5'.zfill(4) }}{{ 'x'.ljust(3) }}|{{ 'x'.rjust(3, '.') }}|{{ 'x'.center(4, '*') }}{{ 'ab'.center(5, '*') }}", "xx00x-005x  |..x|*x****ab*"),
    ("{{ '%s is %d years, %.2f%% %5s|%-5s|%05d' % ('é', 3, 1.5, 'a', 'b', 42) }}", "é is 3 years, 1.50%     a|b    |00042"),
    ("{{ '%(name)s: %(n)03d' % {'name': 'x', 'n': 7} }}{{ 'one %s' % 'arg' }}{{ 'a%%' % () }}{{ '%s' % [1, 2] }}", "x: 007one arga%[1, 2]"),
    ("{{ -7 % 3 }} {{ 7 % -3 }} {{ 7.5 % 2 }} {{ -7.5 % 2 }} {{ 2 * 7 % 4 + 1 }} {{ 10 % 4 % 3 }} {{ 2 ** 3 % 5 }} {{ true % 2 }} {{ (1 + 8) % 5 ~ 'x' }}", "2 -2 1.5 0.5 3 2 3 1 4x"),
    ("{% for m in messages %}{% if loop.index0 % 2 == 0 and not loop.last % 2 %}{{ m.role }}{% endif %}{{ 'odd' if loop.index % 2 else 'even' }}{% endfor %}", "systemoddeven"),
    ("{% if (messages[0].role == 'user') != (loop_index0 is defined) %}x{% else %}y{% endif %}", "y"),
    ("{% set ns = namespace(found=false, items=[]) %}{% for m in messages %}{% if m.role == 'user' %}{% set ns.found = true %}{% set ns.items = ns.items + [m.content | trim] %}{% endif %}{% endfor %}{{ ns.found }}{{ ns.items }}{{ ns.items | length }}", "True['Hi \"you\" é 5']1"),
    ("{% set x = 1 %}{% generation %}{% set x = 2 %}{{ x }}{% endgeneration %}{{ x }}", "21"),
    ("{% for m in messages %}\n  {% if m.role == 'user' %}\n    {%- generation %}\n    {{ m.content }}\n    {%- endgeneration %}\n  {% endif %}\n{% endfor %}", "     Hi \"you\" é 5\n"),
    ("{{ strftime_now('%d %B %Y') }}|{{ strftime_now(\"%Y-%m-%d %H:%M:%S %A %j %p\") }}", "01 January 2026|2026-01-01 00:00:00 Thursday 001 AM"),
    ("{{ messages | map(attribute='role') | join(', ') }}{{ messages | selectattr('role', 'eq', 'user') | map(attribute='content') | first | trim }}{{ messages | rejectattr('role', 'equalto', 'user') | list | length }}", "system, userHi \"you\" é 51"),
    ("{{ ' x '.strip() ~ 'y'.upper() ~ 'Ab'.lower() ~ 'abc'.title() ~ 'abc def'.capitalize() }}{{ 'abc'.index('c') }}{{ 'abcabc'.rindex('b') }}{{ 'abc'.find('z') }}{{ ['a', 'b'].index('b') }}{{ 'aXb'.swapcase() }}", "xYabAbcAbc def24-11AxB"),
    ("{{ 'x' in 'xyz' }}{{ 'role' in messages[0] }}{{ 3 not in [1, 2] }}{{ messages[0] is mapping }}{{ messages is sequence }}{{ messages[0].content is not string }}{{ undefinedthing is not defined }}", "TrueTrueTrueTrueTrueFalseTrue"),
    ("{{ messages[-1]['content'][1:-1][::-1] }}{{ messages[1:][0].role }}{{ 'abcdef'[::2] }}", "5 é \"uoy\" iHuserace"),
    ("{% macro f(a, b='d', c=none) %}{{ a }}{{ b }}{{ c }}{% endmacro %}{{ f(1) }}{{ f(1, c=3) }}", "1dNone1d3"),
    ("{% macro w() %}[{{ caller() }}]{% endmacro %}{% call w() %}z{% endcall %}{% filter upper %}abc{% endfilter %}{% with a = 1, b = 2 %}{{ a + b }}{% endwith %}", "[z]ABC3"),
    ("{% raw %}{{ a % b }}{% endraw %}{# {{ x % y }} #}{{ '{{' ~ '}}' }}", "{{ a % b }}{{}}"),
    ("{{ none | default('x') }}{{ none or 'z' }}{{ [] or 'e' }}{{ '' and 'x' }}{{ 0 or none }}{{ not [] }}", "NonezeNoneTrue"),
    ("{{ 1 if false }}|{{ 1.5 | int }}{{ '3' | int + 1 }}{{ 3.0 }}{{ 10 / 4 }}{{ 10 // 4 }}{{ -7 // 2 }}{{ 2 ** 10 }}{{ 1_000 }}{{ 1e3 }}", "|143.02.52-4102410001000.0"),
    ("{{ [3, 1, 2] | sort }}{{ [1, 2, 3] | reverse | list }}{{ [1, 2, 3] | last }}{{ [[1, 2], [3]] | sum(start=[]) }}{{ ['a', 'b'] | join }}{{ [1, 2, 3, 4] | batch(3) | list }}{{ 'abc' | reverse }}{{ [1, 1, 2] | unique | list }}", "[1, 2, 3][3, 2, 1]3[1, 2, 3]ab[[1, 2, 3], [4]]cba[1, 2]"),
    ("{{ 'hello world' | title }}{{ 'a\\nb' | indent(2) }}|{{ 'a\\nb' | indent(2, true) }}|{{ 'abc' | replace('b', 'x') }}{{ 'abc' | length }}{{ 'a b' | wordcount }}{{ 'hello' | truncate(4, true, '') }}{{ 'x' | center(5) }}|{{ 'x<' | e }}{{ 'a' | upper | lower }}", "Hello Worlda\n  b|  a\n  b|axc32hello  x  |x&lt;a"),
    ("{% for a in [1, 2, 3] if a != 2 %}{{ loop.index }}{{ a }}{{ loop.first }}{{ loop.length }}{{ loop.revindex }}{% else %}none{% endfor %}", "11True2223False21"),
    ("{% for a in [] %}x{% else %}empty{% endfor %}{% for i in range(5, 0, -2) %}{{ i }}{% endfor %}{% for c in 'ab' %}{{ c }}.{% endfor %}{{ loop is defined }}", "empty531a.b.False"),
    ("{%- for m in messages recursive %}{{ loop.depth0 }}{{ m.role }}{{ loop([]) }}{% endfor %}", "0system0user"),
    ("{{ '<|' + messages[0].role + '|>' + '\\n' + messages[1]['content'].strip() + eos_token }}", "<|system|>\nHi \"you\" é 5</s>"),
    ("{{ \"a\" \"b\" }}", "ab"),
    ("{{ [1, 2] == [1, 2] }}{{ {'a': 1} == {'a': 1} }}{{ 1 == 1.0 }}{{ 'a' < 'b' }}{{ 1 < 2 < 3 }}{{ (1, 2) == (1, 2) }}", "TrueTrueTrueTrueTrueTrue"),
    ("{{ messages[0].items() | list }}{{ messages[0] | length }}{{ dict(a=1, b='x') }}{{ messages[0] | list }}", "[('role', 'system'), ('content', \"Be <b>brief</b> & 'kind'.\")]2{'a': 1, 'b': 'x'}['role', 'content']"),
    ("{{ messages[0].get('x') is none }}{{ messages[0].get('role', 'z') }}{{ messages[0]['nope'] is undefined }}{{ messages[0].nope | default('d') }}", "TruesystemTrued"),
    ("{{ 'line1\\nline2\\r\\nx'.splitlines() }}{{ 'abcb'.count('b') }}{{ '12'.isdigit() }}{{ 'ab'.isalpha() }}{{ 'aB1'.isalnum() }}{{ 'AB'.isupper() }}{{ 'x'.startswith(('a', 'x')) }}{{ ','.join(['a', 'b']) }}", "['line1', 'line2', 'x']2TrueTrueTrueTrueTruea,b"),
    ("{% if messages %}A{% elif tools %}B{% else %}C{% endif %}{% if tools is not none and tools | length > 0 %}D{% endif %}", "A"),
    ("{%- set s %}  block {{ 1 + 1 }}{% endset -%}{{ s }}|{{ s | trim }}", "  block 2|block 2"),
    ("{{ 7 | string + 'x' }}{{ 1.0 | string }}{{ true | string }}{{ none | string }}{{ [1] | string }}{{ 3 | float }}{{ 2.567 | round(1) }}{{ 2.5 | round | int }}{{ -3 | abs }}", "7x1.0TrueNone[1]3.02.623"),
    ("{{ '\\u00e9\\x41\\t' }}", "éA	"),
    ("{{ 5 is odd }}{{ 4 is even }}{{ 9 is divisibleby 3 }}{{ 1 is integer }}{{ 1.0 is float }}{{ 'a' is lower }}{{ 1 is sameas 1 }}{{ range is callable }}{{ 2 is gt 1 }}{{ 1 is in [1] }}", "TrueTrueTrueTrueTrueTrueTrueTrueTrueTrue"),
    ("{{ '{} {:>5} {name}'.format('a', 1, name='n') }}{{ '{0}{1}{0}'.format('a', 'b') }}", "a     1 naba"),
    ("{{ cycler('a', 'b').next() }}{% set j = joiner(', ') %}{{ j() }}{{ j() }}", "a, "),
    ("{{ 'ünïcode'.upper() }}{{ 'ß'.casefold() }}{{ 'é' | length }}{{ 'éa'[1] }}{{ 'x' * 3 }}{{ [0] * 2 }}{{ [1] + [2] }}", "ÜNÏCODEss1axxx[0, 0][1, 2]"),
    ("{{ messages | groupby('role') | map('first') | list }}{{ [{'a': 2}, {'a': 1}] | sort(attribute='a') | map(attribute='a') | list }}{{ [1, 2] | min }}{{ [1, 2] | max }}{{ 'a,b' | list }}{{ [1, 2, 3] | select('odd') | list }}{{ ['1', 2] | map('int') | list }}{{ [none, 1] | reject('none') | list }}", "['system', 'user'][1, 2]12['a', ',', 'b'][1, 3][1, 2][1]"),
];
