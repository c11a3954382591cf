"""Deployments: their schedules, their checks, and the replacement of an existing one."""

__all__: list[str] = []
