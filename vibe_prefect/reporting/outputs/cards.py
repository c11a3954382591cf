"""Outputs of a run as cards: what was made, once each, the results before what led to them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from vibe_prefect.core.outputs import MAX_OUTPUT, OutputFile, cut
from vibe_prefect.plan.graph import EdgeKind
from vibe_prefect.reporting.report import NodeReport, RunReport
from vibe_prefect.results import ExecutionStatus
from vibe_prefect.text.regular_files import read_regular

MAX_TEXT_FILE = 2_000_000
"""Bytes of a text file whose content is shown; a larger one is named only."""

_TEXT_TYPES = frozenset({"application/json", "application/yaml", "application/x-yaml", "application/xml"})
_PLAYED = ("image/", "audio/", "video/")


@dataclass(frozen=True, slots=True)
class OutputCard:
    """One output of a run, and the nodes that have it."""

    node: NodeReport
    """The node that made it."""

    text: str | None
    """Its text, cut; `None` where it is files alone."""

    files: tuple[OutputFile, ...]
    """Its files, those with the same text that later nodes wrote among them."""

    passed_on: tuple[str, ...]
    """Ids of later nodes with the same output."""

    remarks: tuple[str, ...]
    """Reservations about it of all these nodes, such as `not judged`."""

    groups: tuple[str, ...]
    """Ids of the composites around its node, outermost first."""

    is_result: bool
    """Whether it is a result of the run: a last node has it, or it is a picture, sound or film."""

    @property
    def text_file(self) -> OutputFile | None:
        """The first file that is not shown by itself: the text's own, where it has one."""
        return next((file for file in self.files if not is_played(file)), None)


@dataclass(slots=True)
class _Draft:
    node: NodeReport
    text: str | None = None
    files: list[OutputFile] = field(default_factory=list[OutputFile])
    holders: dict[str, None] = field(default_factory=dict[str, None])


def output_cards(report: RunReport, files: Mapping[str, Path] | None = None) -> tuple[OutputCard, ...]:
    """Return the outputs of a run as cards: its results first, then what led to them, each in the order of the work.

    A text or a file that several nodes have is on one card: a check passes on the text that it has checked, and a node
    that writes a file has the text of another one.

    Args:
        report: The run.
        files: Local paths of its files, by their paths in the report; the texts of other files are not known.
    """
    drafts = _drafts(report, files or {})
    last = frozenset(node.id for node in final_nodes(report))
    cards = [_card(report, draft, last) for draft in drafts]
    return (*(card for card in cards if card.is_result), *(card for card in cards if not card.is_result))


def final_nodes(report: RunReport) -> tuple[NodeReport, ...]:
    """Return the completed nodes whose output no other node of the plan waits for, in the order of the work."""
    groups = {node.id for node in report.nodes if node.is_group}
    edges = [edge for edge in report.edges if edge.kind is not EdgeKind.HIERARCHY]
    needed = {edge.source for edge in edges if edge.target not in groups}
    gathering = groups & needed
    while gathering:  # what a list's composite gathers is passed on with it
        sources = {edge.source for edge in edges if edge.target in gathering} - needed
        needed |= sources
        gathering = groups & sources
    return tuple(node for node in _worked(report) if node.id not in needed)


def is_played(file: OutputFile) -> bool:
    """Return whether a file is a picture, a sound or a film."""
    return file.mime.startswith(_PLAYED)


def file_text(path: Path, most: int = MAX_OUTPUT) -> str | None:
    """Return the text of a file, cut; `None` where it is too large, not UTF-8, or cannot be read."""
    try:
        content = read_regular(path, MAX_TEXT_FILE)
        return cut(content.decode("utf-8-sig"), most) if len(content) <= MAX_TEXT_FILE else None
    except (OSError, UnicodeDecodeError):
        return None


def is_text(file: OutputFile) -> bool:
    """Return whether a file holds text, by its media type."""
    mime = file.mime.partition(";")[0].strip().lower()
    if mime == "image/svg+xml":
        return False
    return mime.startswith("text/") or mime in _TEXT_TYPES or mime.endswith(("+json", "+xml"))


def _worked(report: RunReport) -> Iterator[NodeReport]:
    """Yield the completed nodes that did work of their own, each after those that it depends on."""
    for id in (id for group in report.groups for id in group):
        node = report.by_id[id]
        if node.status is ExecutionStatus.COMPLETED and not node.is_group:
            yield node


def _drafts(report: RunReport, local: Mapping[str, Path]) -> list[_Draft]:
    drafts: list[_Draft] = []
    known: dict[object, _Draft] = {}

    def find(draft: _Draft, node: NodeReport, text: str | None, file: OutputFile | None) -> None:
        """Put a text or a file onto the card that has it already, or onto the node's own."""
        content = text.strip() if text is not None else None
        owner = known.get(file) or known.get(content) or draft
        owner.holders[node.id] = None
        if content is not None and owner.text is None and owner is draft:
            owner.text = text
        if file is not None and file not in owner.files:
            owner.files.append(file)
        known.update({key: owner for key in (file, content) if key and key not in known})

    for node in _worked(report):
        draft = _Draft(node)
        if node.preview is not None:
            find(draft, node, node.preview, None)
        for file in node.files:
            path = local.get(file.path) if is_text(file) else None
            find(draft, node, file_text(path) if path is not None else None, file)
        if draft.holders:
            drafts.append(draft)
    return drafts


def _card(report: RunReport, draft: _Draft, last: frozenset[str]) -> OutputCard:
    made = draft.node.id
    return OutputCard(
        node=draft.node,
        text=draft.text,
        files=tuple(draft.files),
        passed_on=tuple(id for id in draft.holders if id != made),
        remarks=tuple(dict.fromkeys(remark for id in draft.holders if (remark := report.by_id[id].remark))),
        groups=tuple(_groups(report, draft.node)),
        is_result=any(map(is_played, draft.files)) or not last.isdisjoint(draft.holders),
    )


def _groups(report: RunReport, node: NodeReport) -> list[str]:
    groups: list[str] = []
    parent = node.parent
    while parent is not None:
        groups.insert(0, parent)
        parent = report.by_id[parent].parent
    return groups
