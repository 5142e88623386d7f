"""Pools, samplers and data sets."""

from innerloop.data.augment import Augment
from innerloop.data.check import check
from innerloop.data.class_stream import ClassStream
from innerloop.data.completion import Completion
from innerloop.data.drawers import TwoDrawers, trials
from innerloop.data.episodes import Batches, Episodes, FewShot, Sampler
from innerloop.data.functions import Sinusoid
from innerloop.data.gaussian_process import GaussianProcess, Sawtooth
from innerloop.data.images import class_folders, read_image
from innerloop.data.known import KnownTasks
from innerloop.data.mapped import MappedPool, mapped, open_pool, write_images, write_pool
from innerloop.data.molecules import Assays, Molecules
from innerloop.data.own.looking import alike, split_examples
from innerloop.data.own.pools import own_pools, own_source
from innerloop.data.own.read import read_own
from innerloop.data.own.record import OwnData
from innerloop.data.pool import Pool
from innerloop.data.pools import Pools
from innerloop.data.prior import TablePrior
from innerloop.data.sets.cifar_fs import cifar_fs
from innerloop.data.sets.folder import folder
from innerloop.data.sets.glyphs import glyphs
from innerloop.data.sets.molecules import molecules
from innerloop.data.sets.multitask import multitask
from innerloop.data.sets.omniglot import omniglot
from innerloop.data.sets.omniglot_oneshot import omniglot_oneshot
from innerloop.data.shares import Shares
from innerloop.data.tables import TableTasks
from innerloop.data.unlabeled import Turned, Views

__all__ = [
    "Assays",
    "Augment",
    "Batches",
    "ClassStream",
    "Completion",
    "Episodes",
    "FewShot",
    "GaussianProcess",
    "KnownTasks",
    "MappedPool",
    "Molecules",
    "OwnData",
    "Pool",
    "Pools",
    "Sampler",
    "Sawtooth",
    "Shares",
    "Sinusoid",
    "TablePrior",
    "TableTasks",
    "Turned",
    "TwoDrawers",
    "Views",
    "alike",
    "check",
    "cifar_fs",
    "class_folders",
    "folder",
    "glyphs",
    "mapped",
    "molecules",
    "multitask",
    "omniglot",
    "omniglot_oneshot",
    "open_pool",
    "own_pools",
    "own_source",
    "read_image",
    "read_own",
    "split_examples",
    "trials",
    "write_images",
    "write_pool",
]
