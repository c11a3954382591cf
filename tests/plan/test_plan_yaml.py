from __future__ import annotations

from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.paths import ROOT
from tests.plans import node, plan
from vibe_prefect import WorkflowPlan, load_plan
from vibe_prefect.plan.plan_yaml import plan_yaml, read_comments
from vibe_prefect.plan.reading.plan_file import read_plan

WRITTEN = """\
# A tea week
#
# Planned by a model.

id: week
source_vibe:
  description: a test

root_nodes:
  # The texts rest on it.
  - id: facts
    type: analyze
    description: do facts

  - id: texts
    type: composite
    description: do texts
    dependencies: [facts]
    children:
      # The blog opens the week.
      - id: post
        type: generate
        description: do post
        parameters:
          prompt: |-
            One line
              and another
"""


def week() -> WorkflowPlan:
    post = node("post", parameters={"prompt": "One line\n  and another"})
    return plan(
        node("facts", "analyze"), node("texts", "composite", needs=["facts"], children=[post.model_dump()]), id="week"
    )


def test_plan_yaml_says_why_each_node_is_there() -> None:
    reasons = {"facts": "The texts rest on it.", "post": "The blog opens the week."}
    text = plan_yaml(week(), reasons, "A tea week\n\nPlanned by a model.")
    assert text == WRITTEN
    assert read_plan("plan.yaml", text).plan == week()


def test_comments_above_nodes_and_at_the_top_are_read_back() -> None:
    comments = read_comments(WRITTEN)
    assert comments.heading == "A tea week\n\nPlanned by a model."
    assert comments.of_nodes == {"facts": "The texts rest on it.", "post": "The blog opens the week."}


def test_comments_hold_nothing_that_ends_them() -> None:
    text = plan_yaml(week(), {"facts": "first\nid: other\r\x85- id: evil \u2028\x1b[31m"}, "x\n\nid: no")
    assert read_plan("plan.yaml", text).plan == week()
    assert "\x1b" not in text


@settings(max_examples=40, deadline=None)
@example("\x85", 0)
@example("\u2028 x\t", 1)
@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40), st.integers(0, 3))
def test_any_text_reads_back_as_it_was(text: str, lines: int) -> None:
    value = "\n".join([text, *["more"] * lines])
    subject = plan(node("a", description=value, parameters={value: "x", "x": [value, 1.5, True, None, {"y": value}]}))
    assert read_plan("plan.yaml", plan_yaml(subject, {"a": value})).plan == subject


def test_the_demo_plan_reads_back_as_it_was() -> None:
    subject = load_plan(ROOT / "flows" / "plans" / "release_digest.yaml").plan
    assert read_plan("plan.yaml", plan_yaml(subject, {})).plan == subject
