"""Decisions over HTTP: asked for by name, answered with their probability, and remembered."""
