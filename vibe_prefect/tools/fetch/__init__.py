"""Fetching from the web within the operator's bounds."""
