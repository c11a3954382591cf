"""Hash of what a node's result was made from: a record made from other outputs than there are now is outdated.

Content keys speak of the plan alone. They do not change when a person edits what a node made, or when executing a node
again makes something else.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable


def content_hash(content: bytes) -> str:
    """Return the hash of an output, hexadecimal.

    Args:
        content: The output, as `jsonable` writes it.
    """
    return hashlib.sha256(content).hexdigest()


def inputs_hash(hashes: Iterable[str]) -> str:
    """Return the hash of what a node is made from, hexadecimal.

    Args:
        hashes: Hash of the output of each dependency, in the order of the dependencies.
    """
    return hashlib.sha256("\n".join(hashes).encode()).hexdigest()
