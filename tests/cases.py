"""One row for every learner: how to make it, what to train it on, and which laws hold for it.

Adding a learner is adding a row; ``test_laws.py`` then runs every law over it. A law that a row does not declare is
checked to fail, so a row says exactly what holds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch

import innerloop as il
from innerloop.data import (
    Augment,
    Batches,
    ClassStream,
    FewShot,
    GaussianProcess,
    KnownTasks,
    Pool,
    Sampler,
    Sinusoid,
    TablePrior,
    Turned,
    Views,
)
from innerloop.learners.metric.views import ManyViews

WAYS = 3
SHAPE = (1, 8, 8)


@dataclass(frozen=True)
class Case:
    """A learner and its laws."""

    name: str
    make: Callable[[], il.Learner]
    """A small one; its random weights follow torch's global seed."""
    train: Callable[[], Sampler]
    """What it is meta-trained on."""
    test: Callable[[], Sampler]
    """Held-out tasks."""
    margin: float
    """How much better it must be than its untrained self: share of right answers, or mean squared error."""
    norm: str = "none"
    transductive: bool = False
    folds: bool = False
    """adapt(B, adapt(A)) = adapt(A and B)."""
    order_free: bool = True
    """The order of the support examples does not matter."""
    relabels: bool | None = True
    """Renaming the classes renames the predictions. ``None``: there is a single column, which has no other name."""
    alone: bool = True
    """In training mode a task's loss depends on that task only: no dropout, no statistics over all tasks of a batch."""
    exempt: Mapping[str, str] = field(default_factory=dict)
    """Parameters whose gradient is exactly zero, and why."""
    fit: Mapping[str, Any] = field(default_factory=dict)
    """How to train it for ``margin``."""
    untrained: str = ""
    """Why there is nothing to meta-train, where there is nothing; ``margin`` is then what adapting is worth: how much
    better it is on a task than after adapting to another task's support set."""

    def __str__(self) -> str:
        """The row's name, for pytest."""
        return self.name


def blob_pool(seed: int, classes: int = 40, each: int = 20) -> Pool:
    """Feature vectors ``[8]``: a class is a place in the first two numbers; the other six are loud noise."""
    generator = torch.Generator().manual_seed(seed)
    centers = 2 * torch.randn(classes, 2, generator=generator)
    labels = torch.arange(classes).repeat_interleave(each)
    noise = torch.randn(len(labels), 8, generator=generator)
    return Pool.of(torch.cat((centers[labels] + 0.5 * noise[:, :2], 3 * noise[:, 2:]), 1), labels)


def place_pool(seed: int) -> Pool:
    """The blobs without the noise: feature vectors ``[2]``."""
    blobs = blob_pool(seed)
    return Pool(blobs.x[:, :2].clone(), blobs.sizes, blobs.names)


def picture_pool(seed: int, classes: int = 40, each: int = 20) -> Pool:
    """Images ``[1, 8, 8]``: a class is a black-and-white pattern, under a shade that differs from image to image."""
    generator = torch.Generator().manual_seed(seed)
    patterns = (torch.rand(classes, *SHAPE, generator=generator) < 0.5).float()
    labels = torch.arange(classes).repeat_interleave(each)
    light = 0.5 * torch.randn(len(labels), 3, 1, 1, generator=generator)
    ramp = torch.linspace(-1, 1, SHAPE[1])
    shade = light[:, :1] + light[:, 1:2] * ramp.view(1, 1, 1, -1) + light[:, 2:] * ramp.view(1, 1, -1, 1)
    noise = 0.3 * torch.randn(len(labels), *SHAPE, generator=generator)
    return Pool.of(patterns[labels] + shade + noise, labels)


def drawing_pool(seed: int, classes: int = 40, each: int = 20) -> Pool:
    """Pixels in 0 to 1, ``[1, 8, 8]``: a spot on the left whose place is the class's, one on the right whose is not."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(classes).repeat_interleave(each)
    grid = torch.cartesian_prod(torch.arange(8.0), torch.arange(4.0))

    def spots(count: int) -> torch.Tensor:
        place = torch.rand(count, 1, 2, generator=generator) * torch.tensor([7.0, 3.0])
        return torch.exp(-(grid - place).square().sum(2) / 1.5).view(count, 1, 8, 4)

    x = torch.cat((spots(classes)[labels], spots(len(labels))), 3)
    return Pool.of((x + 0.1 * torch.randn(x.shape, generator=generator)).clamp(0, 1), labels)


MOVES = Augment(shift=1.5, rotate=25, flip=True)


def moved_pool(seed: int, classes: int = 40, each: int = 20) -> Pool:
    """Images ``[1, 8, 8]``: a class is a black-and-white pattern, moved and mirrored from image to image."""
    generator = torch.Generator().manual_seed(seed)
    patterns = (torch.rand(classes, *SHAPE, generator=generator) < 0.5).float()
    labels = torch.arange(classes).repeat_interleave(each)
    moved = MOVES(patterns[labels], torch.rand(len(labels), MOVES.size, generator=generator))
    return Pool.of(moved + 0.1 * torch.randn(moved.shape, generator=generator), labels)


@cache
def pool(kind: str, split: str) -> Pool:
    """The classes for meta-training or, others, for meta-testing."""
    make = {
        "blobs": blob_pool,
        "places": place_pool,
        "pictures": picture_pool,
        "drawings": drawing_pool,
        "moved": moved_pool,
    }[kind]
    return make({"train": 0, "test": 1}[split])


def episodes(kind: str, split: str, shots: int = 2, queries: int = 5) -> Callable[[], Sampler]:
    """Few-shot episodes of feature vectors or pictures."""
    return lambda: FewShot(pool(kind, split), ways=WAYS, shots=shots, queries=queries)


def batches(kind: str) -> Callable[[], Sampler]:
    """Plain batches over all meta-training classes."""
    return lambda: Batches(pool(kind, "train"), size=32)


def turned() -> Sampler:
    """Pictures turned four ways."""
    return Turned(pool("pictures", "train"), size=8)


def views() -> Sampler:
    """Two views of each of some moved pictures."""
    return Views(pool("moved", "train"), size=32, augment=MOVES)


def known(kind: str) -> Callable[[], Sampler]:
    """Forty episodes, drawn once and known by their names."""
    return lambda: KnownTasks.of(episodes(kind, "train", 10, 10)(), 40, queries=15, named=True)


def streams(remember: int = 0) -> Callable[[], Sampler]:
    """Streams of classes of feature vectors."""
    return lambda: ClassStream(pool("blobs", "train"), ways=WAYS, shots=2, queries=5, remember=remember)


def sines(queries: int = 10) -> Callable[[], Sampler]:
    """Sine waves."""
    return lambda: Sinusoid(shots=10, queries=queries)


def conv(norm: str, **options: Any) -> il.nets.Conv4:
    """Two blocks for the pictures; running statistics are calibrated where an inner loop wants them so."""
    return il.nets.conv4(SHAPE, width=(8, 16), norm=norm, **{"pools": 2, **options})


def calibrated(norm: str, **options: Any) -> il.nets.Conv4:
    """A convolutional network whose running statistics, if it has any, are calibrated on the meta-training pool."""
    net = conv(norm, **options)
    il.norm.calibrate(net, [pool("pictures", "train").x])
    return net


def relation(side: int = 4) -> il.nets.RelationModule:
    """A relation module for the pictures' feature maps. No normalization: its last maps are a single pixel."""
    return il.nets.RelationModule((16, side, side), width=16, hidden=16, norm="none")


def calibration() -> il.learners.DistributionCalibration:
    """Statistics of classes that lie about the origin: the encoder that they belong to is not trained yet."""
    means = 0.1 * torch.randn(40, 16, generator=torch.Generator().manual_seed(0))
    return il.learners.DistributionCalibration(
        means, 0.01 * torch.eye(16).repeat(40, 1, 1), count=5, alpha=0.01, steps=20
    )


SQUARES = {"likelihood": il.Gaussian(scale=1.0)}
OUTER_SGD = {"optimizer": "SGD", "lr": 0.5, "steps": 30}
WEIGHTS = "a shift of all classes' weights alike changes no probability"
SHIFT = "a shift of all features alike changes no distance"
SHARED = "all classes start from it, and a shift of all their logits alike changes no probability"
SCORES = "a shift of all scores alike changes no probability, where classes have equally many shots"

BLOBS = {"train": episodes("blobs", "train"), "test": episodes("blobs", "test")}
PICTURES = {"train": episodes("pictures", "train"), "test": episodes("pictures", "test")}
STREAMS = {"train": streams(), "test": episodes("blobs", "test")}
SINES = {"train": sines(), "test": sines(), "relabels": None}
SUPPORT_ONLY = {
    "blobs": {"train": episodes("blobs", "train", 10, 0), "test": episodes("blobs", "test", 5)},
    "pictures": {"train": episodes("pictures", "train", 5, 0), "test": episodes("pictures", "test")},
}

PROTONETS = [
    Case(
        "protonet-euclidean",
        lambda: il.ProtoNet(il.nets.mlp(8, 32, 16)),
        **BLOBS,
        margin=0.3,
        folds=True,
        exempt={"encoder.2.bias": SHIFT},
        fit={"steps": 60, "lr": 1e-2},
    ),
    Case(
        "protonet-cosine",
        lambda: il.ProtoNet(il.nets.mlp(8, 32, 16), distance="cosine"),
        **BLOBS,
        margin=0.3,
        folds=True,
        fit={"steps": 60, "lr": 1e-2},
    ),
    Case(
        "tempered",
        lambda: il.learners.Tempered(il.ProtoNet(il.nets.mlp(8, 32, 16)), temperature=2.0),
        **BLOBS,
        margin=0.3,
        folds=True,
        exempt={"learner.encoder.2.bias": SHIFT},
        fit={"steps": 60, "lr": 1e-2},
    ),
    Case(
        "under-views",
        lambda: il.learners.UnderViews(il.ProtoNet(conv("group")), shift=1.0, flip=True),
        **PICTURES,
        margin=0.1,
        norm="group",
        folds=True,
        fit={"steps": 60, "lr": 1e-2},
    ),
    Case(
        "protonet-dropout",
        lambda: il.ProtoNet(il.nets.mlp(8, 64, 16, dropout=0.2)),
        **BLOBS,
        margin=0.2,
        folds=True,
        alone=False,
        exempt={"encoder.3.bias": SHIFT},
        fit={"steps": 40, "lr": 1e-2},
    ),
    *(
        Case(
            f"protonet-{norm}",
            lambda norm=norm: il.ProtoNet(conv(norm)),
            **PICTURES,
            margin=0.1,
            norm=norm,
            transductive=norm == "batch",
            folds=norm not in ("support", "batch"),
            alone=norm != "running",
            fit={"steps": 40, "lr": 1e-2},
        )
        for norm in il.norm.POLICIES
    ),
]

FEATURE_HEADS = [
    Case(
        "ridge",
        lambda: il.learners.Embedded(il.nets.mlp(8, 32, 16), il.learners.Ridge()),
        **BLOBS,
        margin=0.3,
        folds=True,
        fit={"steps": 60, "lr": 1e-2},
    ),
    Case(
        "learned",
        lambda: il.learners.Embedded(il.nets.mlp(8, 32, 16), il.learners.LearnedKernel(features=16)),
        **BLOBS,
        margin=0.3,
        folds=True,
        fit={"steps": 60, "lr": 1e-2},
    ),
    Case(
        "logistic",
        lambda: il.learners.Embedded(il.nets.mlp(8, 32, 16), il.learners.LogisticRegression(C=10.0)),
        **BLOBS,
        margin=0.3,
        folds=True,
        fit={"steps": 60, "lr": 1e-2},
    ),
    Case(
        "gaussian",
        lambda: il.learners.Embedded(il.nets.mlp(8, 32, 16), il.learners.GaussianClasses()),
        **BLOBS,
        margin=0.2,
        folds=True,
        exempt={"encoder.2.bias": SHIFT},
        fit={"steps": 80, "lr": 1e-2},
    ),
    Case(
        "gaussian-base",
        lambda: il.learners.Embedded(il.nets.mlp(8, 32, 16), il.learners.GaussianClasses(base=5.0, features=16)),
        **BLOBS,
        margin=0.2,
        folds=True,
        exempt={"encoder.2.bias": SHIFT},
        fit={"steps": 40, "lr": 1e-2},
    ),
    Case(
        "primed",
        lambda: il.learners.Embedded(
            il.nets.mlp(8, 32, 16), il.learners.Primed(il.learners.Prototypes(), torch.zeros(3, 16), torch.eye(3))
        ),
        **BLOBS,
        margin=0.2,
        folds=True,
        fit={"steps": 40, "lr": 1e-2},
    ),
    Case(
        "spans",
        lambda: il.learners.Embedded(il.nets.mlp(8, 32, 16), il.learners.Spans()),
        **BLOBS,
        margin=0.2,
        folds=True,
        fit={"steps": 40, "lr": 1e-2},
    ),
    Case(
        "scaled",
        lambda: il.learners.Embedded(il.nets.mlp(8, 32, 16), il.learners.Scaled(il.learners.Ridge(normalize=False))),
        **BLOBS,
        margin=0.2,
        folds=True,
        exempt={"encoder.2.bias": SHIFT},
        fit={"steps": 50, "lr": 3e-2},
    ),
    Case(
        "blocks",
        lambda: il.learners.Embedded(
            il.nets.mlp(8, 32, 16),
            il.learners.Blocks(il.learners.Ridge(normalize=False), parts=[(0, 10, 0.7), (6, 16, 0.3)]),
        ),
        **BLOBS,
        margin=0.3,
        folds=True,
        fit={"steps": 60, "lr": 1e-2},
    ),
    Case(
        "mixed-ridge",
        lambda: il.learners.Embedded(
            il.nets.mlp(8, 32, 16),
            il.learners.MixedRidge(parts=[(0, 10), (6, 16)], mixes=[(0.8, 0.2), (0.2, 0.8)], limits=[0.3]),
        ),
        **BLOBS,
        margin=0.3,
        folds=True,
        fit={"steps": 60, "lr": 1e-2},
    ),
    Case(
        "soft-means",
        lambda: il.learners.Embedded(il.nets.mlp(8, 32, 16), il.learners.SoftMeans()),
        **BLOBS,
        margin=0.3,
        folds=True,
        fit={"steps": 60, "lr": 1e-2},
    ),
    Case(
        "stacked",
        lambda: il.learners.Embedded(
            il.nets.mlp(8, 32, 16),
            il.learners.Stacked([il.learners.Prototypes(), il.learners.LogisticRegression()], parts=[(0, 10), (6, 16)]),
        ),
        **BLOBS,
        margin=0.3,
        folds=True,
        fit={"steps": 30, "lr": 1e-2},
    ),
    Case(
        "raw-or-learned",
        lambda: il.learners.RawOrLearned(il.nets.mlp(8, 32, 16), inputs=8),
        **BLOBS,
        margin=0.05,
        folds=True,
        exempt={"embedded.encoder.encoder.2.bias": SHIFT},
        fit={"steps": 30, "lr": 1e-2},
    ),
    Case(
        "tanimoto",
        lambda: il.learners.Embedded(il.nets.mlp(8, 32, 16), il.learners.Tanimoto()),
        **BLOBS,
        margin=0.3,
        folds=True,
        fit={"steps": 60, "lr": 1e-2},
    ),
    Case(
        "nearest",
        lambda: il.learners.Embedded(il.nets.mlp(8, 32, 16), il.learners.NearestNeighbor()),
        **BLOBS,
        margin=0.3,
        folds=True,
        fit={"steps": 60, "lr": 1e-2},
    ),
]

VIEWS = [
    Case(
        "nearest-view",
        lambda: il.learners.Embedded(ManyViews([conv("group")], rotate=20, shift=1), il.learners.NearestView()),
        **PICTURES,
        margin=0.1,
        norm="group",
        folds=True,
        fit={"steps": 20, "lr": 1e-2},
    ),
]

RELATIONNETS = [
    Case(
        "relationnet-scores",
        lambda: il.RelationNet(conv("group", maps=True, pools=1), relation()),
        **PICTURES,
        margin=0.2,
        norm="group",
        folds=True,
        exempt={"head.relation.score.bias": SCORES},
        fit={"steps": 40, "lr": 1e-2},
    ),
    Case(
        "relationnet-features",
        lambda: il.RelationNet(conv("running", maps=True, pools=1), relation(), combine="features"),
        **PICTURES,
        margin=0.2,
        norm="running",
        folds=True,
        alone=False,
        exempt={"head.relation.score.bias": SCORES},
        fit={"steps": 40, "lr": 1e-2},
    ),
    Case(
        "relationnet-squared-error",
        lambda: il.RelationNet(conv("group", maps=True, pools=1), relation(), **SQUARES),
        **PICTURES,
        margin=0.2,
        norm="group",
        folds=True,
        fit={"steps": 80, "lr": 1e-2},
    ),
]

MAMLS = [
    Case(
        "maml",
        lambda: il.MAML(il.nets.mlp(8, 32, WAYS), lr=0.4),
        **BLOBS,
        margin=0.1,
        relabels=False,
        fit={"steps": 50, "lr": 1e-2},
    ),
    Case(
        "maml-three-steps",
        lambda: il.MAML(il.nets.mlp(8, 32, WAYS), steps=3, lr=0.2),
        **BLOBS,
        margin=0.1,
        relabels=False,
        fit={"steps": 50, "lr": 1e-2},
    ),
    Case(
        "maml-first-order",
        lambda: il.MAML(il.nets.mlp(8, 32, WAYS), steps=3, lr=0.2, first_order=True),
        **BLOBS,
        margin=0.1,
        relabels=False,
        fit={"steps": 50, "lr": 1e-2},
    ),
    Case(
        "maml-shared-head",
        lambda: il.MAML(il.nets.mlp(8, 32, 1), steps=3, test_steps=5, lr=0.2, shared_head="2"),
        **BLOBS,
        margin=0.1,
        exempt={"net.2.weight": SHARED, "net.2.bias": SHARED},
        fit={"steps": 50, "lr": 1e-2},
    ),
    Case(
        "maml-inner-adam",
        lambda: il.MAML(il.nets.mlp(8, 32, WAYS), steps=2, inner=il.inner.Adam(0.05)),
        **BLOBS,
        margin=0.1,
        relabels=False,
        fit={"steps": 50, "lr": 1e-2},
    ),
    Case(
        "maml-dropout",
        lambda: il.MAML(il.nets.mlp(8, 64, WAYS, dropout=0.1), steps=2, lr=0.2),
        **BLOBS,
        margin=0.1,
        relabels=False,
        alone=False,
        fit={"steps": 50, "lr": 1e-2},
    ),
    Case(
        "maml-sinusoid",
        lambda: il.MAML(il.nets.mlp(1, 40, 40, 1), lr=0.02, **SQUARES),
        **SINES,
        margin=1.0,
        fit={"steps": 150, "lr": 1e-2},
    ),
    *(
        Case(
            f"maml-{norm}",
            lambda norm=norm: il.MAML(calibrated(norm, out=WAYS), lr=0.2),
            **PICTURES,
            margin=0.1,
            norm=norm,
            transductive=norm == "batch",
            relabels=False,
            fit={"steps": 50, "lr": 1e-2},
        )
        for norm in ("group", "support", "running", "batch")
    ),
]

REPTILES = [
    Case(
        "reptile",
        lambda: il.Reptile(il.nets.mlp(8, 32, WAYS), lr=0.05),
        **SUPPORT_ONLY["blobs"],
        margin=0.05,
        relabels=False,
        fit=OUTER_SGD,
    ),
    Case(
        "reptile-minibatches",
        lambda: il.Reptile(il.nets.mlp(8, 32, WAYS), steps=6, lr=0.05, batch_size=4),
        **SUPPORT_ONLY["blobs"],
        margin=0.05,
        relabels=False,
        order_free=False,
        fit=OUTER_SGD,
    ),
    Case(
        "reptile-inner-sgd",
        lambda: il.Reptile(il.nets.mlp(8, 32, WAYS), inner=il.inner.SGD(0.2, momentum=0.9)),
        **SUPPORT_ONLY["blobs"],
        margin=0.05,
        relabels=False,
        fit={"steps": 30, "lr": 1e-2},
    ),
    Case(
        "reptile-shared-head",
        lambda: il.Reptile(il.nets.mlp(8, 32, 1), lr=0.02, shared_head="2"),
        **SUPPORT_ONLY["blobs"],
        margin=0.05,
        fit=OUTER_SGD,
    ),
    Case(
        "reptile-sinusoid",
        lambda: il.Reptile(il.nets.mlp(1, 40, 40, 1), lr=0.02, **SQUARES),
        train=sines(0),
        test=sines(),
        margin=1.0,
        relabels=None,
        fit={**OUTER_SGD, "steps": 50},
    ),
    *(
        Case(
            f"reptile-{norm}",
            lambda norm=norm: il.Reptile(calibrated(norm, out=WAYS), lr=0.02),
            **SUPPORT_ONLY["pictures"],
            margin=0.1,
            norm=norm,
            transductive=norm == "batch",
            relabels=False,
            fit={**OUTER_SGD, "steps": 40},
        )
        for norm in ("group", "support", "running", "batch")
    ),
]

TRANSFER = [
    Case(
        "finetune",
        lambda: il.FineTune(il.nets.mlp(8, 32, 16), classes=40, features=16, steps=20),
        train=batches("blobs"),
        test=episodes("blobs", "test"),
        margin=0.2,
        fit={"steps": 75, "lr": 1e-2, "tasks_per_step": 1},
    ),
    Case(
        "finetune-running",
        lambda: il.FineTune(conv("running"), classes=40, steps=20),
        train=batches("pictures"),
        test=episodes("pictures", "test"),
        margin=0.1,
        norm="running",
        alone=False,
        fit={"steps": 50, "lr": 1e-2, "tasks_per_step": 1},
    ),
    Case(
        "rotation",
        lambda: il.learners.Rotation(conv("group"), steps=20),
        train=turned,
        test=episodes("pictures", "test"),
        margin=0.1,
        norm="group",
        fit={"steps": 100, "lr": 1e-2, "tasks_per_step": 1},
    ),
    Case(
        "contrastive",
        lambda: il.learners.Contrastive(conv("running"), steps=20),
        train=views,
        test=episodes("moved", "test"),
        margin=0.15,
        norm="running",
        alone=False,
        fit={"steps": 50, "lr": 1e-2, "tasks_per_step": 1},
    ),
]

GENERATED = [
    Case(
        "versa",
        lambda: il.Versa(il.nets.mlp(8, 32, 16), features=16),
        **BLOBS,
        margin=0.3,
        folds=True,
        alone=False,
        exempt={"head.mean.4.bias": WEIGHTS},
        fit={"steps": 60, "lr": 1e-2},
    ),
    Case(
        "versa-as-published",
        lambda: il.Versa(conv("group"), scale=0.0, hidden=32, draws=3, test_draws=10),
        **PICTURES,
        margin=0.1,
        norm="group",
        folds=True,
        alone=False,
        exempt={"head.mean.4.bias": WEIGHTS},
        fit={"steps": 40, "lr": 1e-2},
    ),
    Case(
        "statistician",
        lambda: il.learners.Statistician(conv("group"), context=8, latent=4, hidden=32, width=8),
        train=episodes("drawings", "train"),
        test=episodes("drawings", "test"),
        margin=0.1,
        norm="group",
        folds=True,
        alone=False,
        fit={"steps": 150, "lr": 1e-2},
    ),
    Case(
        "statistician-discriminative",
        lambda: il.learners.Statistician(
            conv("running"), context=8, latent=4, hidden=32, width=8, posterior="support", discriminative=10.0
        ),
        **PICTURES,
        margin=0.1,
        norm="running",
        folds=True,
        alone=False,
        fit={"steps": 40, "lr": 3e-3},
    ),
    Case(
        "calibration",
        lambda: il.learners.Embedded(il.nets.mlp(8, 32, 16), calibration()),
        train=batches("blobs"),
        test=episodes("blobs", "test"),
        margin=0.1,
        fit={"steps": 75, "lr": 1e-2, "tasks_per_step": 1},
    ),
    Case(
        "hallucinator",
        lambda: il.learners.Hallucinator(il.nets.mlp(8, 32, 16), features=16, noise=8, count=2),
        **BLOBS,
        margin=0.3,
        folds=True,
        alone=False,
        fit={"steps": 60, "lr": 1e-2},
    ),
    Case(
        "metagan",
        lambda: il.learners.MetaGAN(il.nets.mlp(8, 32, 16), features=16, noise=8),
        **BLOBS,
        margin=0.3,
        folds=True,
        alone=False,
        fit={"steps": 60, "lr": 1e-2},
    ),
    Case(
        "metagan-relations",
        lambda: il.learners.MetaGAN(
            conv("group", maps=True, pools=1), head=il.learners.Relations(relation()), features=256, noise=8, hidden=16
        ),
        **PICTURES,
        margin=0.2,
        norm="group",
        folds=True,
        alone=False,
        fit={"steps": 40, "lr": 1e-2},
    ),
]


class Edges(Sampler):
    """Pictures of 6x6 pixels as functions of their place: white on one side of an edge, black on the other."""

    classifies = False

    def draw(self, generator: torch.Generator, tasks: int) -> il.Task:
        """Twelve pixels to learn from, and the others."""
        place = torch.linspace(-1, 1, 6)
        x = torch.cartesian_prod(place, place)
        u = torch.rand(tasks, 1 + len(x), generator=generator)
        y = torch.sign(x[:, 1] - (2 * u[:, :1] - 1)).unsqueeze(2)
        order = u[:, 1:].argsort(1)
        x, y = x[order], y.gather(1, order.unsqueeze(2))
        return il.Task(il.Examples(x[:, :12], y[:, :12]), il.Examples(x[:, 12:], y[:, 12:]))


OF_ONE_INPUT = {**SINES, "margin": 0.5, "folds": True}
NEURAL_PROCESSES = [
    Case("cnp", lambda: il.CNP(1, 1, width=32), **OF_ONE_INPUT, fit={"steps": 60, "lr": 3e-3}),
    Case("canp", lambda: il.learners.CANP(1, 1, width=32, heads=4), **OF_ONE_INPUT, fit={"steps": 60, "lr": 3e-3}),
    Case("tnp", lambda: il.TNP(1, 1, width=16, layers=2), **OF_ONE_INPUT, fit={"steps": 60, "lr": 1e-2}),
    Case(
        "convcnp",
        lambda: il.ConvCNP(1, 1, lo=-5, hi=5, points_per_unit=4, width=16, layers=4),
        **OF_ONE_INPUT,
        fit={"steps": 60, "lr": 1e-2},
    ),
    Case(
        "gridconvcnp",
        lambda: il.learners.GridConvCNP(2, 1, size=(6, 6), width=8, layers=2),
        train=Edges,
        test=Edges,
        margin=0.5,
        relabels=None,
        folds=True,
        fit={"steps": 40, "lr": 1e-2},
    ),
    Case("np", lambda: il.learners.NP(1, 1, width=32), **OF_ONE_INPUT, alone=False, fit={"steps": 60, "lr": 3e-3}),
    Case(
        "np-latent-only",
        lambda: il.learners.NP(1, 1, width=32, latent=8, deterministic=False, bound="importance", draws=(4, 20)),
        **OF_ONE_INPUT,
        alone=False,
        fit={"steps": 60, "lr": 3e-3},
    ),
    Case(
        "anp",
        lambda: il.learners.ANP(1, 1, width=32, heads=4, draws=(2, 20)),
        **OF_ONE_INPUT,
        alone=False,
        fit={"steps": 60, "lr": 3e-3},
    ),
    Case(
        "anp-likelihood",
        lambda: il.learners.ANP(1, 1, width=32, heads=4, latent=8, layers=0, bound="likelihood", draws=(2, 20)),
        **OF_ONE_INPUT,
        alone=False,
        fit={"steps": 60, "lr": 3e-3},
    ),
    Case(
        "recalibrated",
        lambda: il.learners.Recalibrated(il.CNP(1, 1, width=32), folds=3),
        **{**OF_ONE_INPUT, "margin": 0.1},
        fit={"steps": 160, "lr": 3e-3},
    ),
]

TABLE = {"rows": (20, 20), "features": (1, 1), "queries": 20}
PLACES = {"train": episodes("places", "train"), "test": episodes("places", "test")}

IN_CONTEXT = [
    *(
        Case(
            name,
            lambda hide=hide: il.learners.InContext(classes=WAYS, width=16, depth=2, heads=2, hide=hide),
            **PLACES,
            margin=0.2,
            norm="group",
            folds=True,
            relabels=False,
            alone=not hide,
            fit={"steps": 100, "lr": 5e-3, "clip": 1.0, "tasks_per_step": 8},
        )
        for name, hide in (("in-context", 0.0), ("in-context-hiding", 0.5))
    ),
    Case(
        "in-context-regression",
        lambda: il.learners.InContext(regression=True, width=16, depth=2, heads=2, bars=20),
        train=lambda: TablePrior(regression=True, **TABLE),
        test=lambda: TablePrior(regression=True, **TABLE),
        margin=0.05,
        norm="group",
        folds=True,
        relabels=None,
        fit={"steps": 150, "lr": 5e-3, "clip": 1.0, "tasks_per_step": 8},
    ),
]
ADAPTING = [
    Case(
        "anil",
        lambda: il.ANIL(il.nets.mlp(8, 32, WAYS), steps=3, lr=0.2),
        **BLOBS,
        margin=0.1,
        relabels=False,
        fit={"steps": 50, "lr": 1e-2},
    ),
    Case(
        "anil-shared-head-first-order",
        lambda: il.ANIL(il.nets.mlp(8, 32, 1), steps=3, lr=0.2, shared_head="2", first_order=True),
        **BLOBS,
        margin=0.1,
        exempt={"net.2.weight": SHARED, "net.2.bias": SHARED},
        fit={"steps": 50, "lr": 1e-2},
    ),
    Case(
        "boil-support",
        lambda: il.learners.BOIL(calibrated("support", out=WAYS), lr=0.2),
        **PICTURES,
        margin=0.1,
        norm="support",
        relabels=False,
        fit={"steps": 50, "lr": 1e-2},
    ),
    Case(
        "boil-first-order",
        lambda: il.learners.BOIL(il.nets.mlp(8, 32, 32, WAYS), steps=2, lr=0.3, first_order=True),
        **BLOBS,
        margin=0.1,
        relabels=False,
        fit={"steps": 100, "lr": 1e-2},
    ),
    Case(
        "metasgd",
        lambda: il.MetaSGD(il.nets.mlp(8, 32, WAYS), steps=2, lr=0.2),
        **BLOBS,
        margin=0.1,
        relabels=False,
        fit={"steps": 50, "lr": 1e-2},
    ),
    Case(
        "metasgd-shared-head",
        lambda: il.MetaSGD(il.nets.mlp(8, 32, 1), steps=2, lr=0.2, shared_head="2"),
        **BLOBS,
        margin=0.1,
        exempt={"net.2.weight": SHARED, "net.2.bias": SHARED},
        fit={"steps": 50, "lr": 1e-2},
    ),
    Case(
        "mamlplusplus",
        lambda: il.learners.MAMLPlusPlus(il.nets.mlp(8, 32, WAYS), steps=3, lr=0.2, tempered=True),
        **BLOBS,
        margin=0.1,
        relabels=False,
        fit={"steps": 100, "lr": 1e-2},
    ),
    Case(
        "mamlplusplus-support",
        lambda: il.learners.MAMLPlusPlus(conv("support", out=1), steps=2, test_steps=3, lr=0.2, shared_head="out"),
        **PICTURES,
        margin=0.1,
        norm="support",
        exempt={"net.out.weight": SHARED, "net.out.bias": SHARED},
        fit={"steps": 100, "lr": 1e-2},
    ),
    Case(
        "mamlplusplus-sinusoid",
        lambda: il.learners.MAMLPlusPlus(
            il.nets.mlp(1, 40, 40, 1), steps=2, lr=0.02, multi_step_until=1.0, second_order_from=1.0, **SQUARES
        ),
        **SINES,
        margin=1.0,
        fit={"steps": 150, "lr": 1e-2},
    ),
    Case(
        "cavia",
        lambda: il.learners.CAVIA(il.nets.mlp(1 + 4, 40, 40, 1), context=4, steps=2, lr=0.5),
        **SINES,
        margin=0.5,
        fit={"steps": 75, "lr": 1e-2},
    ),
    Case(
        "multitask",
        lambda: il.MultiTask(il.nets.mlp(8, 32, 16), targets=WAYS, tasks=40, features=16, steps=20),
        train=known("blobs"),
        test=episodes("blobs", "test"),
        margin=0.1,
        fit={"steps": 75, "lr": 1e-2, "tasks_per_step": 8},
    ),
    Case(
        "multitask-sinusoid",
        lambda: il.MultiTask(il.nets.mlp(1, 40, 40), targets=1, tasks=20, features=40, **SQUARES),
        train=lambda: KnownTasks.of(Sinusoid(shots=50, queries=0), 20, queries=10, named=True),
        test=sines(),
        margin=0.5,
        folds=True,
        relabels=None,
        fit={"steps": 75, "lr": 1e-2, "tasks_per_step": 20},
    ),
]

#: A name pattern for what adapts, which no named learner sets.
LAST = {"adapts": "2.*", "inner": il.inner.SGD(0.2, momentum=0.5), "steps": 2}
ADAPTING.append(
    Case(
        "gradient-learner",
        lambda: il.learners.GradientLearner(il.nets.mlp(8, 32, WAYS), **LAST),
        **BLOBS,
        margin=0.1,
        relabels=False,
        fit={"steps": 50, "lr": 1e-2},
    )
)

IMPLICIT = [
    Case(
        "imaml",
        lambda: il.learners.IMAML(il.nets.mlp(8, 32, WAYS), steps=5, lr=0.3, proximal=0.5),
        **BLOBS,
        margin=0.1,
        relabels=False,
        fit={"steps": 50, "lr": 1e-2},
    ),
    Case(
        "imaml-head",
        lambda: il.learners.IMAML(il.nets.mlp(8, 32, WAYS), steps=5, lr=0.3, proximal=0.5, cg_steps=2, adapts="head"),
        **BLOBS,
        margin=0.1,
        relabels=False,
        fit={"steps": 50, "lr": 1e-2},
    ),
    Case(
        "imaml-shared-head",
        lambda: il.learners.IMAML(il.nets.mlp(8, 32, 1), steps=5, lr=0.3, proximal=0.5, cg_steps=0, shared_head="2"),
        **BLOBS,
        margin=0.1,
        exempt={"net.2.weight": SHARED, "net.2.bias": SHARED},
        fit={"steps": 50, "lr": 1e-2},
    ),
    Case(
        "imaml-sinusoid",
        lambda: il.learners.IMAML(il.nets.mlp(1, 40, 40, 1), steps=8, lr=0.01, proximal=0.5, cg_steps=3, **SQUARES),
        **SINES,
        margin=1.0,
        fit={"steps": 75, "lr": 3e-3, "clip": 1.0},
    ),
    Case(
        "imaml-support",
        lambda: il.learners.IMAML(calibrated("support", out=WAYS), steps=3, lr=0.05, proximal=0.5, cg_steps=1),
        **PICTURES,
        margin=0.1,
        norm="support",
        relabels=False,
        fit={"steps": 50, "lr": 1e-2},
    ),
]

RUNS = {"train": episodes("places", "train", 5), "test": episodes("places", "test", 5), "relabels": False}
LEARNED_OPTIMISERS = [
    Case(
        "training-run-mlp",
        lambda: il.optimizers.TrainingRun(il.nets.mlp(2, 8, WAYS), il.optimizers.MLPRule(width=8), steps=6),
        **RUNS,
        margin=0.1,
        alone=False,
        fit={"steps": 40, "lr": 1e-2},
    ),
    Case(
        "training-run-lstm",
        lambda: il.optimizers.TrainingRun(
            il.nets.mlp(2, 8, WAYS), il.optimizers.LSTMRule(width=6), steps=6, batch_size=6, truncation=3
        ),
        **RUNS,
        margin=0.1,
        alone=False,
        order_free=False,
        fit={"steps": 30, "lr": 1e-2},
    ),
    Case(
        "maml-learned-optimizer",
        lambda: il.MAML(il.nets.mlp(8, 32, WAYS), steps=2, inner=il.optimizers.MLPRule(width=8, scale=0.05)),
        **BLOBS,
        margin=0.1,
        relabels=False,
        fit={"steps": 60, "lr": 1e-2},
    ),
]

CONTINUAL = [
    Case(
        "oml",
        lambda: il.learners.OML(il.nets.mlp(8, 32, 16), features=16),
        **STREAMS,
        margin=0.2,
        folds=True,
        order_free=False,
        fit={"steps": 30, "lr": 1e-2},
    ),
    Case(
        "oml-remember",
        lambda: il.learners.OML(il.nets.mlp(8, 32, 16), features=16, classes=40),
        train=streams(remember=20),
        test=episodes("blobs", "test"),
        margin=0.2,
        folds=True,
        order_free=False,
        fit={"steps": 100, "lr": 1e-2},
    ),
    Case(
        "anml",
        lambda: il.learners.ANML(il.nets.mlp(8, 32, 16), features=16, test_lr=0.1),
        **STREAMS,
        margin=0.2,
        folds=True,
        order_free=False,
        fit={"steps": 30, "lr": 1e-2},
    ),
]

NO_META_LEARNING = "every stream starts from the network's own weights, which no loss moves"
ONLINE_ROW = {
    "train": episodes("places", "train", 5),
    "test": episodes("places", "test", 5),
    "margin": 0.2,
    "relabels": False,
    "untrained": NO_META_LEARNING,
}


def online(kind: Callable[..., il.Learner], **options: Any) -> Callable[[], il.Learner]:
    """An online learner on a small network of feature vectors."""
    return lambda: kind(il.nets.mlp(2, 16, WAYS), **options)


MEMORY = {"memory": 6, "replay": 3, "lr": 0.3}
ONLINE = [
    Case("naive", online(il.learners.Naive, lr=0.3, glances=5), **ONLINE_ROW),
    Case("replay", online(il.learners.ExperienceReplay, glances=5, **MEMORY), **ONLINE_ROW),
    Case("agem", online(il.learners.AGEM, glances=5, **MEMORY), **ONLINE_ROW),
    Case(
        "ewc",
        online(il.learners.EWC, every=2, lr=0.3, glances=5),
        **ONLINE_ROW,
    ),
    Case("lamaml", online(il.learners.LaMAML, inner_lr=0.5, glances=5, **MEMORY), **ONLINE_ROW, order_free=False),
    Case("cmaml", online(il.learners.CMAML, glances=2, **MEMORY), **ONLINE_ROW, order_free=False),
    Case("mer", online(il.learners.MER, glances=2, **MEMORY), **ONLINE_ROW, order_free=False),
    Case("joint", online(il.learners.Joint, epochs=5, batch=5, lr=0.03), **ONLINE_ROW, folds=True, order_free=False),
]

OF_A_PROCESS = {
    "train": lambda: GaussianProcess("rbf", shots=9, queries=5),
    "test": lambda: GaussianProcess("rbf", shots=9, queries=5),
    "folds": True,
    "relabels": None,
    "margin": 0.1,
    "untrained": "it is the posterior in closed form, without parameters",
}
PROCESSES = [
    Case("exact-gp", lambda: il.learners.ExactGP("rbf", lengthscale=0.3, scale=0.7, noise=0.02), **OF_A_PROCESS),
    Case("marginal-gp", lambda: il.learners.MarginalGP("rbf", points=32, draws=8), **OF_A_PROCESS),
    Case(
        "marginal-gp-moments", lambda: il.learners.MarginalGP("rbf", points=32, draws=8, mixture=False), **OF_A_PROCESS
    ),
]

CASES = [
    *PROTONETS,
    *FEATURE_HEADS,
    *VIEWS,
    *RELATIONNETS,
    *MAMLS,
    *REPTILES,
    *TRANSFER,
    *GENERATED,
    *NEURAL_PROCESSES,
    *IN_CONTEXT,
    *ADAPTING,
    *IMPLICIT,
    *LEARNED_OPTIMISERS,
    *CONTINUAL,
    *ONLINE,
    *PROCESSES,
]
