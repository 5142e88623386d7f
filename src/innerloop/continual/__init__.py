"""Continual learning: streams, the accuracy matrix, and what is read off it."""

from innerloop.continual.matrix import Result, orders, plot, run, summary
from innerloop.data.sets.digits import Images, Rotated, digits, mnist
from innerloop.data.streams import Sines, Split, Stream, StreamFamily

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
