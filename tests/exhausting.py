# ruff: noqa: E501 - templates stand as they are written
"""Templates that would take all time or all memory where nothing bounds them."""

from __future__ import annotations

BIG = "10" + "0" * 8

EXHAUSTING: dict[str, str] = {
    # Constants, which Jinja's own compiler would fold when a plan is checked.
    "format_width": '{{ "%' + BIG + 'd" % 1 }}',
    "format_filter": '{{ "%' + BIG + 'd" | format(1) }}',
    "format_method": '{{ "{:' + BIG + '}".format(1) }}',
    "format_precision": '{{ "%.' + BIG + 'f" % 1 }}',
    "format_star": '{{ "%*d" % (' + BIG + ", 1) }}",
    "center": '{{ "a" | center(' + BIG + ") }}",
    "center_method": '{{ "a".center(' + BIG + ") | length }}",
    "ljust": '{{ "a".ljust(' + BIG + ") }}",
    "rjust": '{{ "a".rjust(' + BIG + ") }}",
    "zfill": '{{ "a".zfill(' + BIG + ") }}",
    "expandtabs": '{{ "\\t".expandtabs(' + BIG + ") }}",
    "indent_width": '{{ "a\\nb" | indent(' + BIG + ") }}",
    "shift_by_product": "{{ " + " * ".join(["(10 ** 1)"] + ["99999999999999999999"] * 400) + " }}",
    "integers": "{{ " + " * ".join(["9" * 4000] * 200) + " }}",
    "round": "{{ 1 | round(-100000000) }}",
    "tobytes": "{{ (1).to_bytes(" + BIG + ", 'big') | length }}",
    "replace_nothing": '{{ ("a" * 100000) | replace("", "b" * 100000) }}',
    "replace_chain": '{{ "a"' + ' | replace("a", "aaaaaaaaaa")' * 11 + " }}",
    "replace_method": '{{ "a"' + '.replace("a", "aaaaaaaaaa")' * 11 + " }}",
    "join_self": '{{ ("a" * 100000) | join("b" * 100000) }}',
    "join_method": '{{ ("b" * 100000).join("a" * 100000) }}',
    "tojson_chain": "{{ '\"'" + " | tojson" * 40 + " }}",
    "escape_chain": "{{ '&'" + " | forceescape" * 3000 + " }}",
    "string_of_lists": "{{ " + "[" * 40 + "'\\\\'" + "] | string" * 40 + " }}",
    "urlencode_chain": "{{ ('%' * 1000)" + " | urlencode" * 3000 + " }}",
    "translate": '{{ ("a" * 1000000).translate({97: "b" * 100000}) }}',
    "batch": '{{ range(10) | batch(100000000, "x") | list | length }}',
    "slice": '{{ range(10) | slice(100000000, "x") | list | length }}',
    "list_product": "{{ ([[0] * 1000] * 1000) | string | length * 100 }}{{ ([[[0] * 1000] * 1000] * 1000) | string }}",
    "sum_of_lists": "{{ ([[0] * 1000] * 1000) | sum(start=[]) | length }}{{ ([[0] * 1000] * 100000) | sum(start=[]) }}",
    "concatenation": "{{ " + " ~ ".join(["('a' * 1000000)"] * 2000) + " | length }}",
    "filesizeformat": "{{ (" + "9" * 4000 + ") | filesizeformat }}" + '{{ "%' + BIG + 'd" % 1 }}',
    # Loops.
    "loop": "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}",
    "loop_text": "{% for a in range(100000) %}{% for b in range(100000) %}x{% endfor %}{% endfor %}",
    "loop_set": "{% set n = namespace(x='a') %}{% for a in range(60) %}{% set n.x = n.x ~ n.x %}{% endfor %}{{ n.x }}",
    "loop_set_list": "{% set n = namespace(x=[1]) %}{% for a in range(60) %}{% set n.x = n.x + n.x %}{% endfor %}",
    "loop_block_set": "{% set x = 'a' %}" + "{% set x %}{{ x }}{{ x }}{% endset %}" * 60 + "{{ x }}",
    "set_doubles": "{% set x = 'a' %}" + "{% set x = x ~ x %}" * 60 + "{{ x }}",
    "set_doubles_list": "{% set x = [1] %}" + "{% set x = x + x %}" * 60 + "{{ x }}",
    "set_nests": "{% set x = [1] %}" + "{% set x = [x, x] %}" * 60 + "{{ x }}",
    "set_nests_dicts": "{% set x = 1 %}" + "{% set x = {'a': x, 'b': x} %}" * 60 + "{{ x }}",
    "set_nests_data": "{% set x = [1] %}" + "{% set x = [x, x] %}" * 60 + "{{ x | tojson }}",
    "set_multiplies": "{% set n = namespace(x=9) %}{% for a in range(60) %}{% set n.x = n.x * n.x %}{% endfor %}",
    "recursive_loop": "{% for a in [[1, 1]] recursive %}{% for b in range(100000) %}{{ loop(range(9)) }}{% endfor %}{% endfor %}",
    "macro": "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(60) }}",
    "macro_caller": "{% macro m(n) %}{% if n %}{% call m(n - 1) %}{% endcall %}{{ m(n - 1) }}{% endif %}x{% endmacro %}{{ m(60) }}",
    "macro_text": "{% macro m(t) %}{{ t }}{{ t }}{% endmacro %}{{ " + "m(" * 40 + "'aaaa'" + ")" * 40 + " }}",
    "call_block": "{% macro m() %}{{ caller() }}{{ caller() }}{% endmacro %}"
    + "{% call m() %}" * 15
    + "x" * 1000
    + "{% endcall %}" * 15,
    "filter_block": "{% filter replace('a', 'a' * 10000) %}{% filter replace('a', 'a' * 10000) %}{% filter replace('a', 'a' * 10000) %}a{% endfilter %}{% endfilter %}{% endfilter %}",
    "autoescape": "{% autoescape true %}{% for a in range(100000) %}{% for b in range(100000) %}{{ a }}{% endfor %}{% endfor %}{% endautoescape %}",
    # Work that grows with the square of its input.
    "wordwrap": "{{ ('a ' * 500000) | wordwrap(1) | wordwrap(2) }}{% for a in range(100000) %}{{ ('a ' * 500000) | wordwrap(1) }}{% endfor %}",
    "urlize": "{{ ('http://a.b/((((' * 60000) | urlize }}{% for a in range(1000) %}{{ ('www.a.com ' * 90000) | urlize }}{% endfor %}",
    "striptags": "{{ ('<!--' * 250000) | striptags }}{{ ('<' * 1000000) | striptags }}",
    "title": "{% for a in range(10000) %}{{ ('a ' * 500000) | title }}{% endfor %}",
    "unique": "{% for a in range(1000) %}{{ range(100000) | unique | list }}{% endfor %}",
    "sort": "{% for a in range(1000) %}{{ range(100000) | sort(reverse=true) | map('string') | sort }}{% endfor %}",
    "groupby": "{% for a in range(1000) %}{{ ('ab' * 50000) | list | groupby('x') }}{% endfor %}",
    "search_in_list": "{% for a in range(100000) %}{{ 'x' in ('a' * 1000000) }}{% endfor %}",
    "count_in_list": "{% for a in range(100000) %}{{ ([0] * 1000000).count(1) }}{% endfor %}",
    "split": "{% for a in range(100000) %}{{ ('a ' * 500000).split() | length }}{% endfor %}",
    "map_filters": "{{ range(100000) | map('string') | map('center', 100000) | join }}",
    "cycler": "{% set c = cycler('a', 'b') %}{% for a in range(100000) %}{% for b in range(100000) %}{{ c.next() }}{% endfor %}{% endfor %}",
    "joiner": "{% set j = joiner('a' * 1000000) %}{% for a in range(100000) %}{{ j() }}{% endfor %}",
    "pprint": "{{ ([[0] * 1000] * 1000) | pprint }}{{ ([[[0] * 100] * 100] * 1000) | pprint }}",
    "xmlattr": "{{ dict(a='b' * 1000000) | xmlattr }}{% for a in range(100000) %}{{ dict(a='&' * 1000000) | xmlattr }}{% endfor %}",
    "slices": "{% for a in range(100000) %}{{ ('a' * 1000000)[::-1] }}{% endfor %}",
    # The outputs of other nodes.
    "outputs_squared": "{% for a in outputs.rows %}{% for b in outputs.rows %}{{ a }}{{ b }}{% endfor %}{% endfor %}",
    "outputs_repeated": "{{ outputs.text.text }}" * 4000,
    "outputs_joined": "{{ outputs.rows | join(outputs.text.text) }}",
    "outputs_looped": "{% for a in outputs.rows %}{{ outputs.text.text }}{% endfor %}",
    "outputs_split": "{% for a in outputs.text.text %}{{ outputs.text.text.split(a) }}{% endfor %}",
    # Very long ones.
    "many_expressions": "{{ x }}" * 150_000,
    "one_long_expression": "{{ [" + "1," * 500_000 + "] }}",
    "many_operators": "{{ 1" + " + 1" * 200_000 + " }}",
}
"""By name. Those that end within the bounds, since Jinja's sandbox refuses them, are in it too."""
