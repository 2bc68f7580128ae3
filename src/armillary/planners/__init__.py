"""Planners: they take a belief and anything that can predict rewards from it."""
