"""What a template reads, as values: outputs of other nodes, parts of these, and other names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

Step = str | int | None
"""One step from an output to a part of it: a field, an index, or `None` for each item in turn."""


Path = tuple[Step, ...]
"""A way from the root, such as `outputs`: a key, such as a node's id, and then the steps within its value."""


class FieldAccess(NamedTuple):
    """A part of a node's output that a template needs to be there."""

    output: str
    """The node's id; of an input or a fact its name."""

    steps: tuple[Step, ...]
    """The way from the output to the part; never empty."""


class Reads(NamedTuple):
    """Parts of one of the mappings that a template can name, such as `inputs`."""

    names: tuple[str, ...] = ()
    """Keys that it names literally, in the order of appearance."""

    fields: tuple[FieldAccess, ...] = ()
    """Parts of these values, as in `References.fields`."""

    any: bool = False
    """Whether it may read keys that it does not name literally, as `inputs[name]` does."""


NO_READS = Reads()


class References(NamedTuple):
    """Names in a template."""

    outputs: tuple[str, ...]
    """Ids of the nodes whose outputs it names literally, in the order of appearance."""

    fields: tuple[FieldAccess, ...]
    """Parts of these outputs, in the order of appearance; without those whose presence the template asks for."""

    subtracted: Mapping[str, str]
    """`outputs.blog-post` reads as `outputs.blog - post`: for such an id, what was probably meant."""

    names: frozenset[str]
    """All other names at the top level that it expects to be given."""

    any_output: bool
    """Whether it may read outputs that it does not name literally, as `outputs[name]` does."""

    inputs: Reads = NO_READS
    """What it reads of the run's inputs."""

    run: Reads = NO_READS
    """What it reads of the facts of the run."""
