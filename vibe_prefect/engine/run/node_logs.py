"""Log lines that name their node: in Prefect's run log, whose page shows no names, and on the console."""

from __future__ import annotations

import logging

from prefect.logging.handlers import APILogHandler
from typing_extensions import override

from vibe_prefect.engine.prefect_seam.meanings import is_console_handler
from vibe_prefect.run.handlers import node_at_work


class NodeFormatter(logging.Formatter):
    """Puts the id of the node at work before what another formatter makes of a log record."""

    def __init__(self, inner: logging.Formatter, *, shows_task_run: bool) -> None:
        """Wrap a formatter.

        Args:
            inner: The formatter.
            shows_task_run: Whether it shows the name of the record's task run, which is a node's or a tool's.
        """
        super().__init__()
        self._inner = inner
        self._shows_task_run = shows_task_run

    @override
    def format(self, record: logging.LogRecord) -> str:
        """Return the record as text."""
        text = self._inner.format(record)
        task_run: str | None = getattr(record, "task_run_name", None)
        node = node_at_work() or task_run
        is_shown = node is None or (self._shows_task_run and node == task_run)
        return text if is_shown else f"{node}: {text}"


def name_nodes_in_logs() -> None:
    """Have Prefect's handlers name the node of each line, from now on; repeated calls change nothing."""
    named_loggers = [logging.getLogger(name) for name in list(logging.root.manager.loggerDict)]
    for handler in {handler for logger in (logging.root, *named_loggers) for handler in logger.handlers}:
        is_console = is_console_handler(handler)
        if (is_console or isinstance(handler, APILogHandler)) and not isinstance(handler.formatter, NodeFormatter):
            handler.setFormatter(NodeFormatter(handler.formatter or logging.Formatter(), shows_task_run=is_console))
