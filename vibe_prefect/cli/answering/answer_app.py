"""The commands that answer what nodes ask, and their help. What a command needs is imported when it is called."""

from __future__ import annotations

from pathlib import Path

from cyclopts import App

from vibe_prefect.cli.help_groups import RUN, JsonOption, examples
from vibe_prefect.cli.reading.toolbox import ToolsOption, use_tool_files


def add_commands(app: App) -> None:
    """Add the commands to the command line."""
    app.command(
        approvals,
        group=RUN,
        help_epilogue=examples("approvals", "approvals --json | jq -r '.approvals[].approve_command'"),
    )
    app.command(
        approve,
        group=RUN,
        help_epilogue=examples(
            "approve release-digest-calm-otter check",
            'approve release-digest-calm-otter check --comment "fits the campaign"',
            "approve release-digest-calm-otter check --file edited.md",
        ),
    )
    app.command(
        reject, group=RUN, help_epilogue=examples('reject release-digest-calm-otter check --because "too long"')
    )
    app.command(
        edit,
        group=RUN,
        help_epilogue=examples(
            "edit release-digest-calm-otter post", "edit release-digest-calm-otter post --file better.md"
        ),
    )


def edit(  # noqa: PLR0913 - a command's options
    run: str,
    node: str,
    /,
    *,
    file: Path | None = None,
    by: str | None = None,
    json: JsonOption = False,
    tools: ToolsOption = (),
) -> int:
    """Edit what a node made; 'resume' then runs what depends on it, and nothing else.

    The text opens in the editor that VISUAL or EDITOR names; data is JSON. What the node had made is kept beside it.

    Args:
        run: The name or id of the run.
        node: Id of the node.
        file: A file with the edited text, in place of an editor.
        by: Who edits; by default the login name.
        json: Print nothing but one JSON document; messages go to standard error.
        tools: A Python file with tools of your own, each a function with @tool; may be given several times.
    """
    from vibe_prefect.cli.answering.edit import edit as command

    use_tool_files(tools)
    return command(run, node, file=file, by=by, as_json=json)


def approvals(*, json: JsonOption = False) -> int:
    """List what waits for a person's answer: each question, what it is about, and the commands that answer it.

    Args:
        json: Print nothing but one JSON document; messages go to standard error.
    """
    from vibe_prefect.cli.answering.approve import approvals as command

    return command(as_json=json)


def approve(  # noqa: PLR0913 - a command's options
    run: str,
    node: str,
    /,
    *,
    comment: str = "",
    text: str | None = None,
    file: Path | None = None,
    item: str | None = None,
    by: str | None = None,
    json: JsonOption = False,
    tools: ToolsOption = (),
) -> int:
    """Approve what a node asks about. A suspended run goes on at once, any other with 'resume'.

    Who approved, when and with what comment stays in the node's record, and shows in every report from then on.

    Args:
        run: The name or id of the run that asks.
        node: Id of the node that asks.
        comment: A comment that is kept with the answer.
        text: Edited text in place of what is shown; what depends on the node gets this one.
        file: A file with the edited text.
        item: The dependency that is meant, where the node asks about several; by default all of them.
        by: Who approves; by default the login name.
        json: Print nothing but one JSON document; messages go to standard error.
        tools: A Python file with tools of your own, each a function with @tool; may be given several times.
    """
    from vibe_prefect.cli.answering.approve import approve as command

    use_tool_files(tools)
    return command(run, node, item=item, comment=comment, text=text, file=file, by=by, as_json=json)


def reject(  # noqa: PLR0913 - a command's options
    run: str,
    node: str,
    /,
    *,
    because: str,
    item: str | None = None,
    by: str | None = None,
    json: JsonOption = False,
    tools: ToolsOption = (),
) -> int:
    """Reject what a node asks about: it fails as any gate that refuses, and what depends on it is skipped.

    Args:
        run: The name or id of the run that asks.
        node: Id of the node that asks.
        because: The reason.
        item: The dependency that is meant, where the node asks about several; by default all of them.
        by: Who rejects; by default the login name.
        json: Print nothing but one JSON document; messages go to standard error.
        tools: A Python file with tools of your own, each a function with @tool; may be given several times.
    """
    from vibe_prefect.cli.answering.approve import reject as command

    use_tool_files(tools)
    return command(run, node, because, item=item, by=by, as_json=json)
