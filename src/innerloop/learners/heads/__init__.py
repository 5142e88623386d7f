"""Heads that several methods share; the head of a single method stands in its file."""
