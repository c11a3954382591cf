"""The tool that writes: text, or data by a JSON Schema."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated, Any, NotRequired, cast

from anyio.to_thread import run_sync
from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError
from typing_extensions import TypedDict

from vibe_prefect.errors import ToolError, shorten
from vibe_prefect.llm.given import given_to, own_parameters
from vibe_prefect.llm.json_answer import AnswerJSONError, read_json_answer
from vibe_prefect.llm.prompts import Material, material_of, system_prompt, task_prompt
from vibe_prefect.llm.provider.calls import Models
from vibe_prefect.llm.provider.model_client import Answer, Question
from vibe_prefect.schemas.keywords import SchemaError
from vibe_prefect.schemas.schema import mismatches, sound_schema
from vibe_prefect.templates.texts import walk_templates
from vibe_prefect.tools.base import ToolCategory, ToolContext, ToolResult
from vibe_prefect.tools.functions import FunctionTool, tool

logger = logging.getLogger(__name__)

MAX_PROMPT = 400_000
"""The longest prompt, in characters."""


def _object_schema(schema: dict[str, Any] | None) -> dict[str, Any] | None:
    """Refuse a schema of anything but an object; one with templates is checked once they are filled in.

    Raises:
        PydanticCustomError: It is of another type.
    """
    if schema is not None and schema.get("type") != "object" and not walk_templates(schema):
        raise PydanticCustomError("object_schema", "Expected a JSON Schema of type object")
    return schema


Prompt = Annotated[
    str, Field(min_length=1, max_length=MAX_PROMPT, pattern=r"\S", description="What to write; the node's description.")
]
ModelName = Annotated[
    str | None, Field(max_length=200, description="`provider:name`, one of those that the operator allows.")
]
MaxTokens = Annotated[int | None, Field(ge=1, description="Output tokens, at most; as the operator set it.")]
Temperature = Annotated[float | None, Field(ge=0, le=2, description="How much answers vary.")]
Schema = Annotated[
    dict[str, Any] | None,
    AfterValidator(sound_schema),
    AfterValidator(_object_schema),
    Field(description="JSON Schema of an object: the answer is data that fits it, in `data`, and as JSON in `text`."),
]
ContextTokens = Annotated[int | None, Field(ge=1, description="Input tokens, at most; as the operator set it.")]
Dependencies = Annotated[bool, Field(description="Whether the model is given the outputs of the dependencies.")]
System = Annotated[str | None, Field(max_length=MAX_PROMPT, description="More on how to work.")]


class Generated(TypedDict):
    """Output of `llm_generate`."""

    text: str
    """The model's text."""

    data: NotRequired[Any]
    """The text as data, where an `output_schema` was given."""


def generate_tool(models: Models, version: str) -> FunctionTool:
    """Return the tool `llm_generate`.

    Args:
        models: Who answers.
        version: What stands for models and prompts in keys.
    """

    @tool(name="llm_generate", category=ToolCategory.TEXT, version=version, output_schema_for=_stated_output)
    async def llm_generate(  # noqa: PLR0913 - the tool's inputs
        prompt: Prompt,
        context: ToolContext,
        output_schema: Schema = None,
        system: System = None,
        model: ModelName = None,
        temperature: Temperature = None,
        max_tokens: MaxTokens = None,
        dependencies: Dependencies = True,
        context_tokens: ContextTokens = None,
    ) -> Generated | ToolResult:
        """Write a text, or data by a JSON Schema, with the language model that the operator chose.

        Raises:
            ToolInputError: The model is not allowed, or the schema is none.
            ToolError: The provider refused or failed, the answer does not fit the schema, or there is nothing to work
                on but files that a model cannot see.
            BudgetExceededError: The run's budget does not allow the call.
        """
        config = models.config
        bare = Question(
            config.chosen(model),
            system_prompt(context.get("vibe"), context.get("node_type", "generate"), system),
            prompt,
            output_schema,
            min(max_tokens or config.max_tokens, config.max_tokens),
            config.temperature if temperature is None else temperature,
        )
        texts, unseen = _material_texts(context) if dependencies else ({}, ())
        question, material = with_material(
            bare, texts, min(context_tokens or config.context_tokens, config.context_tokens)
        )
        answer, usage = await models.ask(question, context)
        metadata = {"usage": usage, "model": answer.model, **cut_told(material, context)}
        metadata |= {"unseen": list(unseen)} if unseen else {}
        output = await run_sync(output_of_answer, answer, output_schema, usage)
        return ToolResult(True, output, metadata)

    return llm_generate


def _stated_output(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the JSON Schema of the output: `data` is what the plan's own schema says, and only where it has one."""
    schema = inputs.get("output_schema")
    fields: dict[str, Any] = {"text": {"type": "string"}}
    if schema is not None:
        is_literal = isinstance(schema, dict) and not walk_templates(schema)
        # An `$id` makes it a root of its own, from which its references start.
        fields["data"] = (
            {"$id": "urn:vibe-prefect:output_schema", **cast("dict[str, Any]", schema)} if is_literal else {}
        )
    return {"type": "object", "properties": fields, "additionalProperties": False}


def _material_texts(context: ToolContext) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return the texts that a node works on, and the ids of the dependencies whose files a model cannot see."""
    sources = given_to(context)
    sources.check()
    notes = {id: f"({kind}, which is not shown to you)" for id, kind in sources.unseen.items()}
    return {**sources.texts, **notes, **own_parameters(context)}, tuple(sources.unseen)


def with_material(question: Question, texts: Mapping[str, str], room: int) -> tuple[Question, Material]:
    """Return a question with its material, cut so that the whole fits.

    Raises:
        ToolError: The question does not fit even without material.
    """
    remaining_tokens = room - question.input_tokens
    if remaining_tokens < 0:
        raise ToolError(
            f"the prompt counts as {question.input_tokens:,} tokens, more than the {room:,} that a call may have; "
            "shorten it, or raise PREFECT_INTEGRATIONS_VIBE_PREFECT_LLM_CONTEXT_TOKENS",
            retryable=False,
        )
    material = material_of(texts, remaining_tokens)
    prompt = task_prompt(question.prompt, material)
    full_question = Question(
        question.model, question.system, prompt, question.schema, question.max_tokens, question.temperature
    )
    return full_question, material


def cut_told(material: Material, context: ToolContext) -> dict[str, Any]:
    """Report what was cut: in the log, and in the result's metadata."""
    if not material.cuts:
        return {}
    cuts = ", ".join(f"{name} ({cut.kept:,} of {cut.characters:,} characters)" for name, cut in material.cuts.items())
    logger.warning("The model was given only a part for node %r: %s", context.get("node_id"), cuts)
    return {"cut": {name: asdict(cut) for name, cut in material.cuts.items()}}


def output_of_answer(answer: Answer, schema: dict[str, Any] | None, usage: dict[str, Any]) -> dict[str, Any]:
    """Return a node's output: `text`, and `data` where a schema was given.

    Raises:
        ToolError: The answer is no JSON, or does not fit the schema: it may be asked again; or checking it is too much
            work, which asking again does not change.
    """
    if schema is None:
        return {"text": answer.text}
    try:
        parsed = read_json_answer(answer.text)
    except AnswerJSONError as error:
        raise _misfit(f"the answer is no JSON: {error}; it begins with {shorten(answer.text)}", usage) from None
    try:
        misfits = mismatches(schema, parsed.data)
    except SchemaError as error:
        raise _misfit(f"the answer cannot be checked by output_schema: {error}", usage, retryable=False) from None
    if misfits:
        raise _misfit(f"the answer does not fit output_schema at {misfits[0]}", usage)
    return {"text": parsed.text, "data": parsed.data}


def _misfit(reason: str, usage: dict[str, Any], *, retryable: bool = True) -> ToolError:
    error = ToolError(reason, retryable=retryable)
    error.usage = usage
    return error
