"""All that is borrowed from inside Prefect: names and behaviour that its documentation does not promise.

Nothing else in this package uses a private name of Prefect, or reads meaning from its texts. What is borrowed here is
pinned by `tests/engine/test_prefect_seam.py`, so that a version of Prefect that changes it is noticed there first.
"""

__all__: list[str] = []
