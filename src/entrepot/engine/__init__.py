"""Engines: transactional, ordered stores of bytes that processes share."""
