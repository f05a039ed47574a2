"""Registered models: versions, the gate, promotion."""
