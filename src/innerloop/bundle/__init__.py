"""Bundles: one format for whatever is kept, read back without any data set. See ``docs/bundle.md``."""

from innerloop.bundle.adapted import AdaptedTask, load
from innerloop.bundle.bundle import CARD, Bundle, Bundled, Contents, read, save
from innerloop.bundle.folder import digest_of

__all__ = ["CARD", "AdaptedTask", "Bundle", "Bundled", "Contents", "digest_of", "load", "read", "save"]
