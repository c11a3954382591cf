from __future__ import annotations

from hypothesis import given, settings

from tests.reference_model import Model, choosing_plans, loose_plans
from vibe_prefect import WorkflowPlan, build_graph
from vibe_prefect.plan.graph_checks import check_graph


@settings(max_examples=1000, deadline=None)
@given(loose_plans())
def test_a_plan_is_refused_exactly_when_some_node_could_never_start(subject: WorkflowPlan) -> None:
    model = Model(subject)
    can_finish = model.statuses(failing=set()).keys() == model.nodes.keys()
    graph, problems = check_graph(subject)
    assert (graph is not None) == (not problems) == can_finish


@settings(max_examples=500, deadline=None)
@given(choosing_plans())
def test_edges_cover_exactly_what_a_node_waits_for(subject: WorkflowPlan) -> None:
    model = Model(subject)
    graph = build_graph(subject)
    sources: dict[str, set[str]] = {id: set() for id in model.nodes}
    for edge in graph.edges:
        sources[edge.target].add(edge.source)
    reached: dict[str, set[str]] = {}
    for id in (id for group in graph.groups for id in group):
        reached[id] = sources[id].union(*(reached[source] for source in sources[id]))
    for id in model.nodes:
        assert model.needs(id) <= reached[id]
        assert sources[id] <= model.needs(id) | model.ancestors(id)


@settings(max_examples=500, deadline=None)
@given(choosing_plans())
def test_every_node_is_in_one_group_after_what_it_waits_for(subject: WorkflowPlan) -> None:
    model = Model(subject)
    graph = build_graph(subject)
    level = {id: index for index, group in enumerate(graph.groups) for id in group}
    assert sum(len(group) for group in graph.groups) == len(model.nodes) == len(level)
    for id in model.nodes:
        assert all(level[need] < level[id] for need in model.needs(id))
