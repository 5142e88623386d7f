"""Continual learning: streams, the accuracy matrix, and what is read off it."""

from innerloop.continual.matrix import Result, orders, plot, run, summary
from innerloop.data.streams import Images, Rotated, Sines, Split, Stream, StreamFamily, digits, mnist

__all__ = [
    "Images",
    "Result",
    "Rotated",
    "Sines",
    "Split",
    "Stream",
    "StreamFamily",
    "digits",
    "mnist",
    "orders",
    "plot",
    "run",
    "summary",
]
