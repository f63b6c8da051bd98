"""Layers: data models, each written once against the engine."""
