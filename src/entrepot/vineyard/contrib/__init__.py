"""Helpers for other libraries."""
