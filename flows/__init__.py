"""Deployable flows."""
