"""Headings under which the help lists the commands, in the order in which people come to need them."""

from __future__ import annotations

from cyclopts import Group

WRITE = Group("Write plans", sort_key=1)
RUN = Group("Run them", sort_key=2)
LOOK = Group("Look at runs", sort_key=3)
DEPLOY = Group("Deploy", sort_key=4)
KEEP = Group("Housekeeping", sort_key=5)
OPTIONS = Group("Options", sort_key=6)
