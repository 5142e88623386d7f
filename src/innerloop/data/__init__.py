"""Pools, samplers and data sets."""

from innerloop.data.augment import Augment
from innerloop.data.cifar_fs import cifar_fs
from innerloop.data.episodes import Batches, Episodes, FewShot, Sampler
from innerloop.data.functions import Sinusoid
from innerloop.data.glyphs import glyphs
from innerloop.data.omniglot import omniglot
from innerloop.data.pool import Pool, Pools

__all__ = [
    "Augment",
    "Batches",
    "Episodes",
    "FewShot",
    "Pool",
    "Pools",
    "Sampler",
    "Sinusoid",
    "cifar_fs",
    "glyphs",
    "omniglot",
]
