"""Layout of a layered drawing: positions of its nodes, routes of its edges.

Layers follow each other to the right, or downwards when there are many. An edge that passes layers gets a place of its
own in each of them, so that it runs between the nodes. Places are ordered by the mean of their neighbours' (the
barycentre) and then moved towards it as far as the distances to the others allow.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from itertools import pairwise
from typing import NamedTuple

MAX_LAYERS_RIGHT = 12
"""Number of layers beyond which they follow downwards, since pages scroll that way."""

MAX_IN_LAYER = {True: 24, False: 10}
"""Number of nodes side by side, by whether layers follow to the right; a larger group takes several layers."""

MAX_BENDS = 20_000
"""Number of places that edges may take in layers that they pass; edges beyond that run straight through."""

SWEEPS = 10
GAP = 18.0
BEND_SIZE = 6.0
LAYER_GAP_RIGHT = 74.0
LAYER_GAP_DOWN = 58.0


class Orientation(Enum):
    """Direction in which the next layer lies."""

    RIGHT = "right"
    DOWN = "down"


class Point(NamedTuple):
    """Position in the drawing."""

    x: float
    y: float


@dataclass(frozen=True)
class Layout:
    """A finished layout, from (0, 0) to (width, height)."""

    orientation: Orientation
    width: float
    height: float

    places: dict[str, Point]
    """Position of each node's top left corner."""

    routes: dict[tuple[str, str], list[Point]]
    """For each edge: the source's border, then where it enters and leaves each layer that it passes, the target's."""


@dataclass
class _Item:
    """A node, or a place where an edge passes a layer."""

    id: str | None
    layer: int
    size: float
    before: list[_Item] = field(default_factory=list["_Item"])
    after: list[_Item] = field(default_factory=list["_Item"])
    rank: float = 0.0
    at: float = 0.0


def arrange(
    groups: Sequence[Sequence[str]],
    edges: Sequence[tuple[str, str]],
    node_width: float,
    node_height: float,
) -> Layout:
    """Lay out a graph whose edges all lead from one group to a later one."""
    return _Arrangement(groups, edges, node_width, node_height).layout()


class _Arrangement:
    def __init__(
        self,
        groups: Sequence[Sequence[str]],
        edges: Sequence[tuple[str, str]],
        node_width: float,
        node_height: float,
    ) -> None:
        layers = _split(groups, MAX_IN_LAYER[True])
        self._right = len(layers) <= MAX_LAYERS_RIGHT
        if not self._right:
            layers = _split(groups, MAX_IN_LAYER[False])
        self._length = node_width if self._right else node_height
        self._across = node_height if self._right else node_width
        self._step = self._length + (LAYER_GAP_RIGHT if self._right else LAYER_GAP_DOWN)
        self._items = {id: _Item(id, index, self._across) for index, layer in enumerate(layers) for id in layer}
        self._layers = [[self._items[id] for id in layer] for layer in layers]
        self._bends: dict[tuple[str, str], list[_Item]] = {}
        self._room = MAX_BENDS
        for edge in sorted(edges, key=lambda edge: self._items[edge[1]].layer - self._items[edge[0]].layer):
            self._bends[edge] = self._connect(edge)

    def layout(self) -> Layout:
        for sweep in range(SWEEPS):
            self._order(forward=sweep % 2 == 0)
        self._stack()
        for sweep in range(SWEEPS):
            self._pull(forward=sweep % 2 == 0)
        return self._finished()

    def _connect(self, edge: tuple[str, str]) -> list[_Item]:
        source, target = self._items[edge[0]], self._items[edge[1]]
        passed = range(source.layer + 1, target.layer)
        bends = [_Item(None, layer, BEND_SIZE) for layer in passed] if self._room >= len(passed) else []
        self._room -= len(bends)
        for bend in bends:
            self._layers[bend.layer].append(bend)
        chain = [source, *bends, target]
        for a, b in pairwise(chain):
            a.after.append(b)
            b.before.append(a)
        return bends

    def _order(self, *, forward: bool) -> None:
        """Sort each layer by the mean rank of its neighbours in the layers already sorted."""
        for layer in self._layers if forward else reversed(self._layers):
            for index, item in enumerate(layer):
                item.rank = item.rank or index / len(layer)
            for item in layer:
                neighbours = item.before if forward else item.after
                item.rank = _mean([other.rank for other in neighbours], item.rank)
            layer.sort(key=lambda item: item.rank)
            for index, item in enumerate(layer):
                item.rank = (index + 0.5) / len(layer)

    def _stack(self) -> None:
        for layer in self._layers:
            offsets = _spread([0.0] * len(layer), _distances(layer))
            for item, offset in zip(layer, offsets, strict=True):
                item.at = offset

    def _pull(self, *, forward: bool) -> None:
        """Move each layer's items towards their neighbours."""
        for layer in self._layers if forward else reversed(self._layers):
            targets = [_mean([other.at for other in (*item.before, *item.after)], item.at) for item in layer]
            for item, offset in zip(layer, _spread(targets, _distances(layer)), strict=True):
                item.at = offset

    def _finished(self) -> Layout:
        items = [item for layer in self._layers for item in layer]
        low = min((item.at - item.size / 2 for item in items), default=0.0)
        high = max((item.at + item.size / 2 for item in items), default=0.0)
        for item in items:
            item.at -= low
        along = max(0.0, len(self._layers) * self._step - (self._step - self._length))
        across = high - low
        places = {id: self._point(item.layer * self._step, item.at - item.size / 2) for id, item in self._items.items()}
        routes = {edge: self._route(edge, bends) for edge, bends in self._bends.items()}
        orientation = Orientation.RIGHT if self._right else Orientation.DOWN
        size = (along, across) if self._right else (across, along)
        return Layout(orientation, *size, places, routes)

    def _route(self, edge: tuple[str, str], bends: Sequence[_Item]) -> list[Point]:
        source, target = self._items[edge[0]], self._items[edge[1]]
        points = [self._point(source.layer * self._step + self._length, source.at)]
        for bend in bends:
            start = bend.layer * self._step
            points += [self._point(start, bend.at), self._point(start + self._length, bend.at)]
        return [*points, self._point(target.layer * self._step, target.at)]

    def _point(self, along: float, across: float) -> Point:
        return Point(along, across) if self._right else Point(across, along)


def _split(groups: Sequence[Sequence[str]], limit: int) -> list[list[str]]:
    """Cut groups that are too large into layers of about the same size."""
    layers: list[list[str]] = []
    for group in groups:
        parts = -(-len(group) // limit)
        size = -(-len(group) // parts)
        layers += [list(group[start : start + size]) for start in range(0, len(group), size)]
    return layers


def _mean(values: Sequence[float], default: float) -> float:
    return sum(values) / len(values) if values else default


def _distances(layer: Sequence[_Item]) -> list[float]:
    """Return the least distance of each item from the item before it."""
    return [0.0, *((a.size + b.size) / 2 + _gap(a, b) for a, b in pairwise(layer))]


def _gap(a: _Item, b: _Item) -> float:
    bends = (a.id is None) + (b.id is None)
    return (GAP, GAP * 0.6, GAP * 0.3)[bends]


def _spread(targets: Sequence[float], distances: Sequence[float]) -> list[float]:
    """Return the offsets closest to the targets (least squares) that keep the order and the distances.

    Without the distances this is isotonic regression: neighbours that would overlap form a block at their mean.
    """
    offsets: list[float] = []
    for distance in distances[: len(targets)]:
        offsets.append((offsets[-1] if offsets else 0.0) + distance)
    blocks: list[tuple[float, int]] = []
    for target, offset in zip(targets, offsets, strict=True):
        total, count = target - offset, 1
        while blocks and blocks[-1][0] / blocks[-1][1] > total / count:
            block = blocks.pop()
            total, count = total + block[0], count + block[1]
        blocks.append((total, count))
    levels = [total / count for total, count in blocks for _ in range(count)]
    return [level + offset for level, offset in zip(levels, offsets, strict=True)]
