"""Reports of runs, for the places where people look.

`report_of` gathers a run into one value, a `RunReport`. Everything else is made from that value alone: a table, a
markdown summary, a progress note, a page of its own. None of it knows Prefect, and none of it trusts a word that a
model or a user wrote.
"""

__all__: list[str] = []
