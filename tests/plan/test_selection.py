"""The selection grammar: tables of expressions, exact messages, and random plans against plain reachability."""

from __future__ import annotations

import pickle
import time
from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.plans import node, plan
from tests.reference_model import Model, whole_plans
from vibe_prefect import (
    CompiledPlan,
    NodePolicy,
    SelectionError,
    ToolRegistry,
    UsageError,
    WorkflowNodeType,
    WorkflowPlan,
    compile_plan,
    tool,
)
from vibe_prefect.plan.selection import Intersection, Method, Selector, parse, select


@tool
def draw(subject: str) -> dict[str, str]:
    """Draw something."""
    return {"subject": subject}


def compiled(
    subject: WorkflowPlan, simulate: str = "unbacked", defaults: Mapping[WorkflowNodeType, NodePolicy] | None = None
) -> CompiledPlan:
    return compile_plan(subject, tools=ToolRegistry([draw]), simulate=simulate, type_policies=defaults)


def trailer() -> CompiledPlan:
    """`brief` leads to the composite `story` (`plot`, then `beats`), that one to `cut`; `poster` draws by itself."""
    drawing = {"tool": "draw", "tool_inputs": {"subject": "a ship"}}
    story = node("story", "composite", needs=["brief"], children=[node("plot"), node("beats", needs=["plot"])])
    return compiled(
        plan(
            node("brief", "analyze"),
            story,
            node("cut", "transform", needs=["story"], policy={"tags": ["final", "team:cut"]}),
            node("poster", parameters=drawing, policy={"tags": ["draft"]}),
        )
    )


def chain() -> CompiledPlan:
    return compiled(plan(*(node(f"{n}", needs=[f"{n - 1}"] if n else []) for n in range(8))))


def shots() -> CompiledPlan:
    """Two scenes of two shots each, nested in one film; the second scene follows the first."""
    scenes = [
        node(
            f"scene-{scene}",
            "composite",
            needs=["scene-1"] if scene == 2 else ["film"],
            children=[node(f"shot_{scene}.{shot}") for shot in (1, 2)],
            policy={"tags": [f"scene{scene}"]},
        )
        for scene in (1, 2)
    ]
    film = node("film", "composite", children=scenes)
    return compiled(plan(film, node("check", "validate", needs=["shot_1.1", "film"]), policy={"tags": ["all"]}))


TRAILER = ["beats", "brief", "cut", "plot", "poster", "story"]


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("brief", ["brief"]),
        ("id:brief", ["brief"]),
        ("*", TRAILER),
        ("b*", ["beats", "brief"]),
        ("p[!o]*", ["plot"]),
        ("???", ["cut"]),
        ("type:generate", ["beats", "plot", "poster"]),
        ("type:[at]*", ["brief", "cut"]),
        ("tag:draft", ["poster"]),
        ("tag:*t*", ["cut", "poster"]),
        ("tag:team:cut", ["cut"]),
        ("tool:draw", ["poster"]),
        ("tool:d*", ["poster"]),
        ("below:story", ["beats", "plot", "story"]),
        ("below:story,type:generate", ["beats", "plot"]),
        # upstream: all that must have finished before
        ("+brief", ["brief"]),
        ("+story", ["brief", "story"]),
        ("+plot", ["brief", "plot", "story"]),
        ("+cut", ["beats", "brief", "cut", "plot", "story"]),
        ("1+cut", ["beats", "cut", "plot", "story"]),
        ("2+cut", ["beats", "brief", "cut", "plot", "story"]),
        ("0+cut", ["cut"]),
        ("1+beats", ["beats", "plot", "story"]),
        # downstream: all that waits for it
        ("brief+", ["beats", "brief", "cut", "plot", "story"]),
        ("brief+1", ["brief", "story"]),
        ("story+1", ["beats", "cut", "plot", "story"]),
        ("plot+", ["beats", "cut", "plot"]),
        ("beats+", ["beats", "cut"]),
        ("cut+", ["cut"]),
        # both ways
        ("+plot+", ["beats", "brief", "cut", "plot", "story"]),
        ("1+plot+1", ["beats", "cut", "plot", "story"]),
        ("+type:analyze+1", ["brief", "story"]),
        ("1+tag:final", ["beats", "cut", "plot", "story"]),
        # union and intersection
        ("brief cut", ["brief", "cut"]),
        ("  brief\n cut ", ["brief", "cut"]),
        ("+story,story+", ["story"]),
        ("type:generate,+cut", ["beats", "plot"]),
        ("poster type:generate,+cut", ["beats", "plot", "poster"]),
        ("type:generate,+cut,plot+ brief", ["beats", "brief", "plot"]),
        (["brief", "type:generate,+cut"], ["beats", "brief", "plot"]),
        (("brief cut", "poster"), ["brief", "cut", "poster"]),
    ],
)
def test_an_expression_chooses_nodes_of_the_trailer(expression: str | Sequence[str], expected: list[str]) -> None:
    assert sorted(select(expression, trailer())) == expected


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("7", "7"),
        ("+2", "012"),
        ("2+", "234567"),
        ("5+", "567"),
        ("2+5", "345"),
        ("0+2+5", "234567"),
        ("0+2+3", "2345"),
        ("2+4+1", "2345"),
        ("+6+1", "01234567"),
        ("[3-5]+1", "3456"),
        ("100+3", "0123"),
        ("+3,3+ 7", "37"),
    ],
)
def test_an_expression_chooses_nodes_of_a_chain_whose_ids_are_numbers(expression: str, expected: str) -> None:
    assert sorted(select(expression, chain())) == list(expected)


FIRST, SECOND = ["scene-1", "shot_1.1", "shot_1.2"], ["scene-2", "shot_2.1", "shot_2.2"]


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("shot_*", ["shot_1.1", "shot_1.2", "shot_2.1", "shot_2.2"]),
        ("shot_*.1", ["shot_1.1", "shot_2.1"]),
        ("tag:scene1", ["scene-1"]),
        ("tag:all", ["check", "film", "shot_1.1", "shot_1.2", "shot_2.1", "shot_2.2"]),
        ("tag:scene1+", ["check", *FIRST, *SECOND]),
        ("scene-1+1", ["check", *FIRST, "scene-2"]),
        ("scene-2+1", ["check", *SECOND]),
        ("film+1", ["check", "film", "scene-1", "scene-2"]),
        ("shot_1.1+", ["check", *SECOND, "shot_1.1"]),
        ("+scene-2", ["film", *FIRST, "scene-2"]),
        ("+shot_2.1", ["film", *FIRST, "scene-2", "shot_2.1"]),
        ("1+check", ["check", "film", *FIRST, *SECOND]),
    ],
)
def test_an_expression_chooses_nodes_of_a_tree(expression: str, expected: list[str]) -> None:
    assert sorted(select(expression, shots())) == sorted(expected)


def test_a_dependency_on_an_ancestor_is_one_step() -> None:
    inner = node("inner", "composite", children=[node("leaf", needs=["top"])])
    subject = compiled(plan(node("top", "composite", children=[inner])))
    assert select("1+leaf", subject) == {"leaf", "inner", "top"}
    assert select("top+1", subject) == {"leaf", "inner", "top"}


def test_a_tool_is_found_where_the_simulation_stands_in_for_it() -> None:
    assert select("tool:draw", compiled(trailer().plan, simulate="all")) == {"poster"}


def test_the_tags_of_the_types_defaults_count() -> None:
    defaults = {WorkflowNodeType.ANALYZE: NodePolicy(tags=("cheap",))}
    assert select("tag:cheap", compiled(trailer().plan, defaults=defaults)) == {"brief"}


def test_a_tag_with_a_globs_signs_is_found_by_its_own_name() -> None:
    subject = compiled(plan(node("a", policy={"tags": ["take[2]"]}), node("b", policy={"tags": ["take2"]})))
    assert select("tag:take[2]", subject) == {"a", "b"}


def test_a_parsed_expression_is_a_value() -> None:
    assert parse("2+a tag:x,+b+3") == (
        Intersection("2+a", (Selector("2+a", Method.ID, "a", upstream=2),)),
        Intersection(
            "tag:x,+b+3",
            (Selector("tag:x", Method.TAG, "x"), Selector("+b+3", Method.ID, "b", upstream=None, downstream=3)),
        ),
    )


# --- errors ----------------------------------------------------------------------------------

EMPTY = "it is empty; name nodes, as in 'intro', 'shot_*', 'tag:draft' or '+intro'"
COMMA = "stray ','; an intersection is written without spaces, as in 'tag:draft,type:generate'"
PLUS = "stray '+'; it stands before or behind one selector, as in '+intro', 'intro+3' or '2+intro+1'"
AT = "the operator '@' is not supported; use '+' before a selector for upstream, behind it for downstream"

GRAMMAR_ERRORS: list[tuple[str | list[str], str]] = [
    ("", f"selection '': {EMPTY}"),
    ("  ", f"selection '  ': {EMPTY}"),
    ([], f"selection '': {EMPTY}"),
    (["cut", ""], f"selection '': {EMPTY}"),
    ("cut,", f"selection 'cut,': {COMMA}"),
    ("brief, cut", f"selection 'brief,': {COMMA}"),
    ("brief ,cut", f"selection ',cut': {COMMA}"),
    ("brief,,cut", f"selection 'brief,,cut': {COMMA}"),
    ("brief +", f"selection '+': {PLUS}"),
    ("++cut", f"selection '++cut': {PLUS}"),
    ("cut++", f"selection 'cut++': {PLUS}"),
    ("brief+cut", f"selection 'brief+cut': {PLUS}"),
    ("cut+1b", f"selection 'cut+1b': {PLUS}"),
    ("brief,1+cut+x", f"selection '1+cut+x': {PLUS}"),
    ("@cut", f"selection '@cut': {AT}"),
    ("brief,@tag:final", f"selection '@tag:final': {AT}"),
    ("2+@cut", f"selection '2+@cut': {AT}"),
    ("cut +tga:final", "selection '+tga:final': unknown method 'tga'; did you mean 'tag'?"),
    ("config:x", "selection 'config:x': unknown method 'config'; methods: id, type, tag, tool, below"),
    (":x", "selection ':x': unknown method ''; methods: id, type, tag, tool, below"),
    ("cut,tag:", "selection 'tag:': expected a value behind 'tag:'"),
    ("tool:+1", "selection 'tool:+1': expected a value behind 'tool:'"),
    (
        "type:Generate+",
        "selection 'type:Generate+': unknown type 'Generate'; types: analyze, generate, transform, validate, composite",
    ),
]

NO_MATCH = [
    ("brief +storry", "selection '+storry': no node of this plan has the id 'storry'; did you mean 'story'?"),
    ("brief,Cut", "selection 'Cut': no node of this plan has the id 'Cut'; did you mean 'cut'?"),
    ("zzz", "selection 'zzz': no node of this plan has the id 'zzz'"),
    ("generate", "selection 'generate': no node of this plan has the id 'generate'; did you mean 'type:generate'?"),
    ("draft+", "selection 'draft+': no node of this plan has the id 'draft'; did you mean 'tag:draft'?"),
    ("draw", "selection 'draw': no node of this plan has the id 'draw'; did you mean 'tool:draw'?"),
    ("cut shot_*", "selection 'shot_*': no id of this plan matches 'shot_*'"),
    ("tag:drafts", "selection 'tag:drafts': no node of this plan has the tag 'drafts'; did you mean 'draft'?"),
    ("tag:x*+", "selection 'tag:x*+': no tag of this plan matches 'x*'"),
    ("tool:drew", "selection 'tool:drew': no node of this plan has the tool 'drew'; did you mean 'draw'?"),
    ("type:validate", "selection 'type:validate': no node of this plan has the type 'validate'"),
    ("type:x*", "selection 'type:x*': no type of this plan matches 'x*'"),
    ("cut brief,poster", "selection 'brief,poster': no node of this plan matches all of its parts"),
]


@pytest.mark.parametrize(("expression", "message"), [*GRAMMAR_ERRORS, *NO_MATCH])
def test_an_error_names_the_part_it_concerns(expression: str | list[str], message: str) -> None:
    with pytest.raises(SelectionError) as caught:
        select(expression, trailer())
    assert str(caught.value) == message


@pytest.mark.parametrize(("expression", "message"), GRAMMAR_ERRORS)
def test_errors_of_grammar_need_no_plan(expression: str | list[str], message: str) -> None:
    with pytest.raises(SelectionError) as caught:
        parse(expression)
    assert str(caught.value) == message


def test_an_empty_plan_has_nothing_to_choose() -> None:
    with pytest.raises(SelectionError, match="no id of this plan matches"):
        select("*", compiled(plan()))


def test_a_selection_error_keeps_its_parts_and_survives_pickling() -> None:
    error = SelectionError("+a", "no such thing")
    again: SelectionError = pickle.loads(pickle.dumps(error))  # noqa: S301
    assert type(again) is SelectionError
    assert issubclass(SelectionError, UsageError)
    assert issubclass(SelectionError, ValueError)
    assert (again.part, again.reason, str(again)) == ("+a", "no such thing", "selection '+a': no such thing")


# --- random plans ----------------------------------------------------------------------------

Links = Mapping[str, set[str]]


def links(subject: WorkflowPlan) -> tuple[Links, Links]:
    """What is one step up and one step down of each node, by the contract's rules."""
    model = Model(subject)
    up = {id: model.needs(id) | set(member.dependencies) for id, member in model.nodes.items()}
    return up, {id: {other for other in up if id in up[other]} for id in up}


def reached(start: str, one_step: Links, steps: int | None = None) -> set[str]:
    found = {start}
    for _ in range(len(one_step) if steps is None else steps):
        found |= {other for id in found for other in one_step[id]}
    return found


@given(whole_plans(), st.data())
def test_both_operators_are_reachability(subject: WorkflowPlan, data: st.DataObject) -> None:
    up, down = links(subject)
    id = data.draw(st.sampled_from(sorted(up)))
    chosen = compiled(subject)
    assert select(f"+{id}", chosen) == reached(id, up)
    assert select(f"{id}+", chosen) == reached(id, down)
    assert select(f"+{id}+", chosen) == reached(id, up) | reached(id, down)


@given(whole_plans(), st.data(), st.integers(0, 4), st.integers(0, 4))
def test_numbers_limit_the_steps(subject: WorkflowPlan, data: st.DataObject, before: int, behind: int) -> None:
    up, down = links(subject)
    id = data.draw(st.sampled_from(sorted(up)))
    expected = reached(id, up, before) | reached(id, down, behind)
    assert select(f"{before}+{id}+{behind}", compiled(subject)) == expected


@given(whole_plans())
def test_all_edges_of_the_graph_are_followed_and_nothing_else(subject: WorkflowPlan) -> None:
    chosen = compiled(subject)
    sources = {id: {edge.source for edge in chosen.edges if edge.target == id} for id in chosen.nodes}
    assert {id: select(f"+{id}", chosen) for id in sources} == {id: reached(id, sources) for id in sources}


def selectors(ids: Sequence[str]) -> st.SearchStrategy[str]:
    before, behind = st.sampled_from(["", "+", "1+", "2+"]), st.sampled_from(["", "+", "+1", "+2"])
    return st.builds("{}{}{}".format, before, st.sampled_from([*ids, "n*", "*1", "n[0-3]", "type:generate"]), behind)


def chosen_or_none(expression: str, subject: CompiledPlan) -> frozenset[str] | None:
    try:
        return select(expression, subject)
    except SelectionError:
        return None


@given(whole_plans(), st.data())
def test_commas_intersect_and_spaces_unite(subject: WorkflowPlan, data: st.DataObject) -> None:
    whole = compiled(subject)
    words = data.draw(st.lists(selectors(list(whole.nodes)), min_size=2, max_size=3))
    parts = [found for word in words if (found := chosen_or_none(word, whole)) is not None]
    if len(parts) < len(words):
        assert chosen_or_none(" ".join(words), whole) is None
        assert chosen_or_none(",".join(words), whole) is None
        return
    assert select(" ".join(words), whole) == select(words, whole) == frozenset[str]().union(*parts)
    assert (chosen_or_none(",".join(words), whole) or frozenset()) == parts[0].intersection(*parts)
    tighter = select(f"{words[0]} {words[1]},{words[1]}", whole)
    assert tighter == parts[0] | parts[1]


# --- size ------------------------------------------------------------------------------------


def test_ten_thousand_nodes_are_quick_where_the_edges_would_be_millions() -> None:
    first = node("first", "composite", children=[node(f"a{index}") for index in range(5_000)])
    subject = compiled(plan(first, *(node(f"b{index}", needs=["first"]) for index in range(5_000))))
    began = time.process_time()
    assert len(select("+b7", subject)) == 5_002
    assert len(select("1+b*", subject)) == 10_001
    assert len(select("+a7+", subject)) == 5_002
    assert len(select("type:generate,first+1", subject)) == 10_000
    assert time.process_time() - began < 20, "no step for each of 25 million edges"
