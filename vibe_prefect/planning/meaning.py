"""The notes whose meaning is near that of a vibe, by a configured embedding model."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from functools import partial

from vibe_prefect.core.budget import Budget, Spending
from vibe_prefect.core.models import Vibe
from vibe_prefect.errors import BudgetExceededError, PlanningError, ToolError, UsageError
from vibe_prefect.llm.checked_answers import PAUSE_SECONDS
from vibe_prefect.llm.provider.embeddings import Embedded, embed, similarity
from vibe_prefect.llm.provider.model_config import ModelConfig
from vibe_prefect.planning.knowledge import Note, vibe_words

logger = logging.getLogger(__name__)

PAUSES = (PAUSE_SECONDS, 2 * PAUSE_SECONDS)
"""Seconds before each further try at a provider that failed."""

MAX_CHARACTERS = 2_000
"""Characters of a note, its front matter first, whose meaning is compared."""


async def near_notes(
    notes: Sequence[Note], vibe: Vibe, config: ModelConfig, budget: Budget | None = None
) -> tuple[Mapping[Note, float], Spending]:
    """Return the notes that are near a vibe with how near they are, and what comparing them cost.

    There are none, at no cost, where no embedding model is configured or there is nothing to compare.

    Args:
        notes: Notes to choose from.
        vibe: The vibe.
        config: The operator's configuration.
        budget: Budget of planning; `None` for no limit.

    Raises:
        UsageError: The embedding model lacks a key.
        PlanningError: The embedding model gave no answer, or the budget does not allow the call.
    """
    model = config.embedding
    if model is None or not notes:
        return {}, Spending()
    lack = next((source.lack for source in config.key_sources(model) if source.lack), None)
    if lack is not None:
        raise UsageError(f"knowledge is compared by the model {model}, which needs a key: {lack}")
    texts = [vibe_words(vibe), *map(_text, notes)]
    failed = partial(PlanningError, vibe.description)
    try:
        embedded = await _embedded(config, model, [text[:MAX_CHARACTERS] for text in texts], budget)
    except ToolError as error:
        reason = f"the knowledge could not be compared with the vibe: {error}"
        raise failed(reason, over_budget=isinstance(error, BudgetExceededError)) from error
    wish, *others = embedded.vectors
    nearness = {note: similarity(wish, vector) for note, vector in zip(notes, others, strict=True)}
    near = {note: value for note, value in nearness.items() if value >= config.embedding_similarity}
    return near, embedded.spent


async def _embedded(config: ModelConfig, model: str, texts: Sequence[str], budget: Budget | None) -> Embedded:
    """Return the embeddings of texts; a provider that fails is asked again after a pause, as for a plan."""
    for pause in PAUSES:
        try:
            return await embed(config, model, texts, budget)
        except ToolError as error:
            if not error.retryable:
                raise
            logger.warning("The model %s gave no embeddings: %s", model, error)
            await asyncio.sleep(pause)
    return await embed(config, model, texts, budget)


def _text(note: Note) -> str:
    return "\n".join(filter(None, (", ".join(note.domains), ", ".join(note.when), note.text)))
