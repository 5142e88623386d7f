"""Bundles: one format for whatever is kept, read back without any data set. See ``docs/bundle.md``."""

from innerloop.bundle.adapted import AdaptedTask
from innerloop.bundle.bundle import CARD, Bundle, Bundled, Contents, read
from innerloop.bundle.folder import digest_of
from innerloop.bundle.loading import load
from innerloop.bundle.model_cards import Card, Figure, card, cards
from innerloop.bundle.saving import save

__all__ = [
    "CARD",
    "AdaptedTask",
    "Bundle",
    "Bundled",
    "Card",
    "Contents",
    "Figure",
    "card",
    "cards",
    "digest_of",
    "load",
    "read",
    "save",
]
