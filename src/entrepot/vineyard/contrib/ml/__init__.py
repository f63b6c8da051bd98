"""Helpers for machine learning."""
