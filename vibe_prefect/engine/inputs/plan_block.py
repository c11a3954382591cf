"""Plans that are stored on the Prefect server, to be edited in its UI and named by deployments."""

from __future__ import annotations

from http import HTTPStatus
from uuid import UUID

from prefect.blocks.core import Block
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import BlockDocument
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError
from pydantic import Field

from vibe_prefect.errors import UnknownPlanError, did_you_mean
from vibe_prefect.plan.reading.plan_file import LoadedPlan, read_plan

MAX_LISTED = 20
"""Largest number of stored plans in a message."""


class WorkflowPlanBlock(Block):
    """A content plan as text, to be run by its name.

    A text and no form: it keeps the author's comments and order, and what `vibe-prefect run` takes can be pasted here.
    A block and no variable: it has a type of its own in the UI, with a description beside the field, and no limit of
    5,000 characters.
    """

    _block_type_name = "Workflow Plan"
    _block_type_slug = "workflow-plan"
    _description = "A content plan of vibe-prefect, as YAML or JSON. Deployed runs name it in their parameter 'plan'."
    _documentation_url = None

    plan: str = Field(
        title="Plan",
        description="The plan as YAML or JSON, as in a plan file. It is checked when it is run; "
        "'vibe-prefect validate' checks a file.",
        examples=["id: hello\nsource_vibe: {description: A greeting}\nroot_nodes: []\n"],
    )

    def loaded(self, name: str) -> LoadedPlan:
        """Return the plan.

        Args:
            name: The name under which it is stored, for messages.

        Raises:
            PlanError: The text is no plan.
        """
        return read_plan(f"stored plan {name!r}", self.plan)

    async def _save(
        self,
        name: str | None = None,
        is_anonymous: bool = False,
        overwrite: bool = False,
        client: PrefectClient | None = None,
    ) -> UUID:
        self.loaded(name or "")
        return await super()._save(name=name, is_anonymous=is_anonymous, overwrite=overwrite, client=client)

    def _save_sync(self, name: str | None = None, is_anonymous: bool = False, overwrite: bool = False) -> UUID:
        self.loaded(name or "")
        return super()._save_sync(name=name, is_anonymous=is_anonymous, overwrite=overwrite)


SLUG = "workflow-plan"
"""The block type's name in addresses and commands."""


async def stored_plan(client: PrefectClient, name: str) -> LoadedPlan:
    """Return the plan that is stored under a name, as it is on the server now.

    Raises:
        UnknownPlanError: No plan has that name.
        PlanError: The stored text is no plan.
    """
    try:
        document = await client.read_block_document_by_name(name, SLUG)
    except ObjectNotFound:
        raise UnknownPlanError(_unknown(name, await _names(client))) from None
    return WorkflowPlanBlock(plan=_text(document)).loaded(name)


async def save_plan(client: PrefectClient, name: str, text: str) -> bool:
    """Store a plan, in place of an earlier one of its name.

    Returns:
        Whether the name is new.

    Raises:
        PlanError: The text is no plan.
    """
    names = await _names(client)
    await WorkflowPlanBlock(plan=text).asave(name, overwrite=True, client=client)
    return name not in names


async def _names(client: PrefectClient) -> list[str]:
    try:
        documents = await client.read_block_documents_by_type(SLUG, limit=200)
    except PrefectHTTPStatusError as error:
        if error.response.status_code == HTTPStatus.NOT_FOUND:  # the type is not registered
            return []
        raise
    return sorted(document.name for document in documents if document.name)


def _text(document: BlockDocument) -> str:
    return str(document.data.get("plan") or "")


def _unknown(name: str, names: list[str]) -> str:
    surplus = f" and {len(names) - MAX_LISTED:,} more" if len(names) > MAX_LISTED else ""
    there_is = f"stored are {', '.join(names[:MAX_LISTED])}{surplus}" if names else "none is stored"
    hint = did_you_mean(name, names) or f"; {there_is}"
    return f"no plan is stored as {name!r}{hint} (the path of a file needs a '.' or a '/', as in './{name}')"
