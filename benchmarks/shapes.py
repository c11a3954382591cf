"""The shapes of the plans that the benchmarks run: the dependencies of each node, without any of our code."""

from __future__ import annotations

from collections.abc import Callable, Mapping

Needs = dict[str, list[str]]
"""The ids of the dependencies of each node, by its id; dependencies come first."""

LAYER = 10
"""Nodes of a layer, and of a diamond."""


def wide(count: int) -> Needs:
    """Independent nodes."""
    return {f"n{index}": [] for index in range(count)}


def chain(count: int) -> Needs:
    """Nodes one after another."""
    return {f"n{index}": [f"n{index - 1}"] if index else [] for index in range(count)}


def layered(count: int) -> Needs:
    """Layers of ten nodes, each of which depends on three of the layer before."""
    return {
        f"n{index}": [f"n{index - index % LAYER - LAYER + (index + step) % LAYER}" for step in range(3)]
        if index >= LAYER
        else []
        for index in range(count)
    }


def diamond(count: int) -> Needs:
    """Diamonds one after another: a node, eight that depend on it, and one that depends on these."""

    def needs(index: int) -> range:
        first, place = index - index % LAYER, index % LAYER
        if place == 0:
            return range(first - 1, first) if first else range(0)
        return range(first, first + 1) if place < LAYER - 1 else range(first + 1, index)

    return {f"n{index}": [f"n{need}" for need in needs(index)] for index in range(count)}


SHAPES: Mapping[str, Callable[[int], Needs]] = {"wide": wide, "chain": chain, "layered": layered, "diamond": diamond}
