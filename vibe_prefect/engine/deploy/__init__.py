"""Deployments: their schedules, their checks, and the change of one that is there already."""
