"""The options that describe a vibe, and what its plan may be made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from cyclopts import Group, Parameter

if TYPE_CHECKING:
    from vibe_prefect.core.models import Vibe

VIBE = Group("Vibe", sort_key=0)

_Text = Parameter(group=VIBE, negative="", show_default=False)


@Parameter(name="*")
@dataclass(frozen=True)
class VibeArguments:
    """What the user says about a vibe, besides its description."""

    style: Annotated[str | None, _Text, Parameter(help="Style of the result, such as 'warm, plain'.")] = None

    constraint: Annotated[
        tuple[str, ...],
        _Text,
        Parameter(help="What must hold, such as 'no medical claims'; may be given several times."),
    ] = ()

    domain: Annotated[str | None, _Text, Parameter(help="The field it belongs to, such as retail.")] = None

    knowledge: Annotated[
        tuple[str, ...],
        _Text,
        Parameter(
            consume_multiple=True,
            help="Markdown files with knowledge about the domain; those that the vibe needs are used.",
        ),
    ] = ()

    source: Annotated[
        tuple[str, ...],
        _Text,
        Parameter(
            consume_multiple=True,
            help="Files, folders or globs below the input folder that the plan may read; by default none.",
        ),
    ] = ()

    model: Annotated[
        str | None, _Text, Parameter(help="The model that writes the plan; by default the first of the settings.")
    ] = None

    def vibe(self, description: str) -> Vibe:
        """Return the vibe with a description."""
        from vibe_prefect.core.models import Vibe

        return Vibe(description=description, style=self.style, constraints=list(self.constraint), domain=self.domain)


NO_ARGUMENTS = VibeArguments()
