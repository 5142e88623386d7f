"""A head is the unit: signatures, docs and types of composites, sizes read off encoders, facts, the calibrate hook."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import laws
import numpy
import pytest
import torch
from cases import episodes
from torch import Tensor, nn

import innerloop as il
from innerloop import learners
from innerloop.core.facts import Facts
from innerloop.core.learner import Learner
from innerloop.learners.arguments import parameters
from innerloop.learners.continual.oml import Gated
from innerloop.learners.embedded import Embedded, composed
from innerloop.learners.head import Head, feature_shape

COMPOSITES = [
    kind for name in learners.__all__ if issubclass(kind := getattr(learners, name), Embedded) and kind is not Embedded
]
IMAGES = Facts("images", (1, 28, 28), 5, "classification")
VECTORS = Facts("vectors", (8,), 3, "classification")
CURVES = Facts("functions", (1,), 2, "regression")


class Nets:
    """Small networks of the shapes that are asked for."""

    def encoder(self, shape: tuple[int, ...]) -> nn.Module:
        return il.nets.conv4(shape, width=4, norm="group") if len(shape) == 3 else il.nets.mlp(*shape, 6)

    def maps(self, shape: tuple[int, ...]) -> nn.Module:
        return il.nets.conv4(shape, width=4, norm="group", maps=True, pools=2)

    def classifier(self, shape: tuple[int, ...], outputs: int) -> nn.Module:
        if len(shape) == 3:
            return il.nets.conv4(shape, width=4, norm="group", out=outputs)
        return il.nets.mlp(*shape, 6, outputs)


@pytest.mark.parametrize("kind", COMPOSITES, ids=lambda kind: kind.__name__)
def test_a_composite_takes_an_encoder_and_what_its_head_takes(kind: type[Embedded[Any]]) -> None:
    head = inspect.signature(kind.kind).parameters
    own = inspect.signature(kind).parameters
    assert list(own) == ["encoder", *head]
    assert {name: one.default for name, one in own.items() if name != "encoder"} == {
        name: one.default for name, one in head.items()
    }
    text = inspect.getdoc(kind)
    documented = re.findall(r"^    (\w+):", text.partition("Args:\n")[2].partition("\n\n")[0], re.MULTILINE)
    assert documented == list(own)


@pytest.mark.parametrize("name", learners.__all__)
def test_signatures_are_true_and_every_argument_is_documented(name: str) -> None:
    kind = getattr(learners, name)
    own = inspect.signature(kind).parameters
    assert not [one for one in own.values() if one.kind in (one.VAR_KEYWORD, one.VAR_POSITIONAL)]
    args = inspect.getdoc(kind).partition("Args:\n")[2].partition("\n\n")[0]
    assert set(re.findall(r"^    (\w+):", args, re.MULTILINE)) == set(own)


def test_an_argument_of_the_head_is_one_of_the_composite() -> None:
    learner = il.ProtoNet(il.nets.conv4(), distance="cosine", scale=3.0)
    assert (learner.head.distance, learner.head.scale) == ("cosine", 3.0)
    assert str(inspect.signature(il.ProtoNet)).startswith("(encoder: torch.nn.modules.module.Module, *, distance:")
    with pytest.raises(TypeError, match="distanse"):
        il.ProtoNet(il.nets.conv4(), distanse="cosine")
    assert il.learners.ExperienceReplay(nn.Linear(2, 2), memory=3, lr=0.5, seed=4).lr == 0.5


def test_a_head_of_ones_own_is_a_method() -> None:
    class Nearest(Head):
        """The nearest class mean.

        Args:
            power: of the distance.
        """

        def __init__(self, *, power: float = 2.0) -> None:
            super().__init__(il.Categorical())
            self.power = power

        def adapt(self, support: il.Examples, state: Tensor | None = None) -> Tensor:
            return (support.y.mT @ support.x) / support.y.sum(0).unsqueeze(1)

        def predict(self, state: Tensor, x: Tensor) -> Tensor:
            return -(torch.cdist(x, state) ** self.power).unsqueeze(0)

    class NearestNet(Embedded[Nearest]):
        """Nearest class means."""

        @composed(Nearest)
        def __init__(self) -> None: ...

    assert list(inspect.signature(NearestNet).parameters) == ["encoder", "power"]
    assert "power: of the distance." in inspect.getdoc(NearestNet)
    task = il.Task(*(il.Examples(torch.randn(6, 8), torch.eye(3).repeat(2, 1)) for _ in range(2)))
    learner = NearestNet.from_facts(VECTORS, Nets(), power=2.0).double()
    plain = il.ProtoNet(learner.encoder)
    task = il.Task(*(il.Examples(x.double(), y.double()) for x, y in task))
    predictions = [one.predict(one.adapt(task.support), task.query.x) for one in (learner, plain)]
    torch.testing.assert_close(*predictions)


@pytest.mark.parametrize(
    ("encoder", "shape"),
    [
        (il.nets.conv4(), (64,)),
        (il.nets.conv4(maps=True, pools=2), (64, 7, 7)),
        (il.nets.mlp(8, 32, 16), (16,)),
        (nn.Linear(8, 5), (5,)),
        (nn.Sequential(nn.Flatten(), il.nets.mlp(784, 16)), (16,)),
        (nn.Sequential(nn.Linear(8, 5), nn.ReLU()), None),
        (nn.Identity(), None),
    ],
    ids=range(7),
)
def test_the_size_of_features_is_read_off_the_encoder(encoder: nn.Module, shape: tuple[int, ...] | None) -> None:
    assert feature_shape(encoder) == shape


class Backbone(nn.Module):
    """As other libraries have them: its layers are called features."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        return self.features(x).mean((2, 3))


@pytest.mark.parametrize(
    "kind",
    [
        il.Versa,
        il.learners.OML,
        il.learners.ANML,
        il.learners.Hallucinator,
        il.learners.MetaGAN,
        il.learners.Contrastive,
        il.learners.Rotation,
    ],
)
def test_an_encoder_of_unknown_size_is_refused_by_name_and_taken_with_it(kind: type[Embedded[Any]]) -> None:
    for unknown in (nn.Identity(), Backbone()):
        with pytest.raises(il.InputError, match=r"size of a feature vector.*pass features="):
            kind(unknown)
    x = torch.rand(5, 1, 8, 8)
    learner = kind(Backbone(), features=4).eval()
    assert learner.predict(learner.adapt(il.Examples(x, torch.eye(5))), x).shape[1:] == (5, 5)
    # Facts tell the shape of an example, a trial run the size of its features.
    Unknown = type("Unknown", (Nets,), {"encoder": lambda self, shape: Backbone()})
    assert kind.from_facts(Facts("images", (1, 8, 8), 5, "classification"), Unknown()).train()


def test_relations_want_the_shape_of_feature_maps() -> None:
    with pytest.raises(il.InputError, match=r"shape of the feature maps is unknown.*features="):
        il.RelationNet(Backbone())
    assert il.RelationNet(nn.Identity(), features=(1, 6, 6)).head.relation.first.in_channels == 2


def test_options_of_the_default_head_beside_another_are_refused() -> None:
    for kind in (il.learners.Hallucinator, il.learners.MetaGAN):
        with pytest.raises(il.InputError, match="Prototypes is given"):
            kind(il.nets.conv4(), head=il.learners.Prototypes(), scale=0.1)


FROM_FACTS: list[tuple[type[Learner], Facts, dict[str, Any]]] = [
    *((kind, IMAGES, {}) for kind in COMPOSITES if kind is not il.MultiTask),
    *(
        (kind, VECTORS, {})
        for kind in COMPOSITES
        if kind not in (il.MultiTask, il.RelationNet, il.learners.Statistician)
    ),
    (il.MultiTask, Facts("images", (1, 28, 28), 5, "classification", tasks=7), {}),
    (il.MultiTask, Facts("functions", (1,), 2, "regression", tasks=7), {}),
    *(
        (kind, facts, {})
        for kind in (il.MAML, il.ANIL, il.learners.BOIL, il.MetaSGD, il.learners.IMAML, il.Reptile)
        for facts in (IMAGES, VECTORS, CURVES)
    ),
    (il.MAML, VECTORS, {"shared_head": "2"}),
    (il.MAML, CURVES, {"likelihood": il.Gaussian()}),
    (il.learners.CAVIA, CURVES, {}),
    (il.learners.CAVIA, CURVES, {"context": 2, "likelihood": il.Gaussian()}),
    *(
        (kind, CURVES, {"width": 16})
        for kind in (il.CNP, il.learners.NP, il.learners.CANP, il.learners.ANP, il.TNP, il.ConvCNP)
    ),
    (il.learners.GridConvCNP, Facts("functions", (2,), 3, "regression"), {"size": (6, 6), "width": 8}),
    *(
        (kind, facts, {})
        for kind in (
            il.learners.Naive,
            il.learners.ExperienceReplay,
            il.learners.AGEM,
            il.learners.LaMAML,
            il.learners.CMAML,
            il.learners.MER,
            il.learners.Joint,
        )
        for facts in (VECTORS, CURVES)
    ),
    (il.learners.EWC, VECTORS, {"every": 2}),
    (il.learners.InContext, VECTORS, {"width": 16, "depth": 1, "heads": 2}),
    (il.learners.InContext, Facts("table", (4,), 1, "regression"), {"width": 16, "depth": 1, "heads": 2}),
    (il.learners.MarginalGP, Facts("functions", (1,), 1, "regression"), {"points": 16, "draws": 4}),
    *(
        (kind, VECTORS, {})
        for kind in (il.learners.Prototypes, il.learners.AmortizedHead, il.learners.LinearHead, il.learners.OnlineHead)
    ),
]


@pytest.mark.parametrize(("kind", "facts", "options"), FROM_FACTS, ids=lambda value: getattr(value, "__name__", ""))
def test_a_learner_is_built_from_facts_and_options_alone(
    kind: type[Learner], facts: Facts, options: dict[str, Any]
) -> None:
    learner = kind.from_facts(facts, Nets(), **options).eval()
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(6, *facts.shape, generator=generator)
    classifies = facts.objective == "classification"
    y = torch.eye(facts.targets).repeat(6, 1)[:6] if classifies else torch.randn(6, facts.targets, generator=generator)
    raw = learner.predict(learner.adapt(il.Examples(x, y)), x)
    assert learner.likelihood.mean(raw).shape == (6, facts.targets)
    assert learner.likelihood.classifies == classifies


def test_what_follows_from_facts() -> None:
    pool = Facts("images", (1, 28, 28), 3, "classification", classes=("a", "b", "c"))
    assert il.FineTune.from_facts(pool, Nets()).head.classifier.out_features == 3
    assert il.learners.Rotation.from_facts(pool, Nets()).head.classifier.out_features == 4
    assert il.learners.OML.from_facts(pool, Nets()).head.known.shape == (3, 4)
    assert il.learners.OML.from_facts(IMAGES, Nets()).head.known is None
    assert il.learners.OML.from_facts(pool, Nets(), classes=0).head.known is None
    assert il.learners.Statistician.from_facts(pool, Nets()).head.decoder.shape == (1, 28, 28)
    multitask = il.MultiTask.from_facts(Facts("vectors", (8,), 3, "classification", tasks=4), Nets())
    assert (multitask.head.targets, multitask.head.tasks) == (3, 4)
    assert il.MAML.from_facts(VECTORS, Nets(), shared_head="2").net[-1].out_features == 1
    assert il.learners.CAVIA.from_facts(CURVES, Nets(), context=4).backbone()[0].in_features == 5


@pytest.mark.parametrize(
    ("kind", "facts", "words"),
    [
        (il.MultiTask, IMAGES, "not known by name"),
        (il.learners.Statistician, VECTORS, "draws images"),
        (il.learners.CAVIA, IMAGES, "is for vectors"),
        (il.CNP, IMAGES, "is for vectors"),
    ],
)
def test_facts_that_do_not_fit_are_refused(kind: type[Learner], facts: Facts, words: str) -> None:
    with pytest.raises(il.InputError, match=words):
        kind.from_facts(facts, Nets())


def test_the_backbone_is_the_same_network_whatever_stands_around_it() -> None:
    """What `--init` copies: by name Statistician, ANML and CAVIA shared nothing with a network identical to theirs."""
    net = il.nets.conv4(width=4)
    for learner in (
        il.ProtoNet(net),
        il.FineTune(net, classes=3),
        il.learners.Statistician(net),
        il.learners.ANML(net),
        il.learners.OML(net),
    ):
        assert learner.backbone() is net
    vectors = il.nets.mlp(6, 8, 1)
    for learner in (il.MAML(vectors), il.learners.Naive(vectors), il.learners.CAVIA(vectors)):
        assert learner.backbone() is vectors
    process = il.CNP(1, 1, width=8)
    assert process.backbone() is process


def test_a_gating_network_of_ones_own() -> None:
    encoder, modulator = il.nets.mlp(8, 4), il.nets.mlp(8, 2, 4)
    learner = il.learners.ANML(Gated(encoder, modulator))
    assert learner.encoder.modulator is modulator
    assert learner.backbone() is encoder
    assert learner.head.features == 4


BY_HAND = {
    "protonet": lambda: il.ProtoNet(il.nets.mlp(8, 4)),
    "maml": lambda: il.MAML(il.nets.mlp(8, 3)),
    "imaml": lambda: il.learners.IMAML(il.nets.mlp(8, 3)),
    "replay": lambda: il.learners.ExperienceReplay(il.nets.mlp(8, 3)),
    "prototypes": lambda: il.learners.Prototypes(),
    "regression": lambda: il.MAML(il.nets.mlp(8, 3), likelihood=il.Gaussian(scale=1.0)),
    "marginal-gp": lambda: il.learners.MarginalGP("rbf", points=8, draws=2),
}


@pytest.mark.parametrize("name", BY_HAND)
@pytest.mark.parametrize(
    ("y", "words"),
    [
        (torch.tensor([0, 1, 2, 0, 1, 2]), r"float rows \[N, D\]"),
        (torch.zeros(1, 3), "the same N"),
        (torch.full((6, 3), float("nan")), "6 rows of the support set's y"),
        (torch.arange(6.0).unsqueeze(1), "a column of numbers"),
    ],
    ids=["labels", "one row", "nan", "column"],
)
def test_adapt_by_hand_refuses_what_would_broadcast(name: str, y: Tensor, words: str) -> None:
    learner = BY_HAND[name]()
    if not learner.likelihood.classifies and y.shape[1:] == (1,):
        return
    with pytest.raises(il.InputError, match=words):
        learner.adapt(il.Examples(torch.randn(6, 8), y))


def test_inputs_are_finite_where_a_person_gives_them() -> None:
    gap, y = torch.randn(6, 8).index_fill(0, torch.tensor([2]), float("nan")), torch.eye(3).repeat(2, 1)
    for name in ("protonet", "maml", "replay"):
        with pytest.raises(il.InputError, match="1 of 6 rows of the support set's x"):
            BY_HAND[name]().adapt(il.Examples(gap, y))
    # Features that are not finite are a diverged encoder's, which evaluation counts and names; tables may have gaps.
    assert il.learners.Prototypes().adapt(il.Examples(gap, y)).sums.isnan().any()
    assert il.learners.InContext(width=16, depth=1, heads=2).adapt(il.Examples(gap, y)).x.isnan().any()


def test_a_learner_of_ones_own_is_guarded_too() -> None:
    class Mean(Learner):
        def adapt(self, support: il.Examples, state: Tensor | None = None) -> Tensor:
            """The mean."""
            return support.y.mean(0)

        def predict(self, state: Tensor, x: Tensor) -> Tensor:
            return state.expand(1, len(x), -1)

    learner = Mean(il.Gaussian(scale=1.0))
    assert learner.adapt.__doc__ == "The mean."
    assert list(inspect.signature(learner.adapt).parameters) == ["support", "state"]
    with pytest.raises(il.InputError, match="float rows"):
        learner.adapt(il.Examples(torch.zeros(2, 1), torch.zeros(2)))


def tasks(count: int = 3, shift: float = 5.0) -> list[il.Task]:
    """Batches of two tasks of vectors ``[8]``, far from the origin."""
    generator = torch.Generator().manual_seed(0)
    y = torch.eye(3).repeat(2, 1).expand(2, -1, -1)
    return [
        il.Task(*(il.Examples(shift + torch.randn(2, 6, 8, generator=generator), y) for _ in range(2)))
        for _ in range(count)
    ]


def test_calibrate_centers_features_as_simpleshot_does() -> None:
    """Against Wang et al. 2019, CL2N: subtract the mean of the base features, scale to length 1, compare."""
    encoder = il.nets.mlp(8, 16)
    learner = il.ProtoNet(encoder, distance="cosine", scale=1.0, center=True).double().eval()
    batches = [il.Task(*(il.Examples(x.double(), y.double()) for x, y in task)) for task in tasks()]
    learner.calibrate(iter(batches))
    with torch.no_grad():
        base = torch.cat([encoder(part.x).flatten(0, 1) for task in batches for part in task])
        center = base.mean(0)
        torch.testing.assert_close(learner.head.center, center)
        (x, y), query = il.Task(*(il.Examples(part.x[0], part.y[0]) for part in batches[0]))
        z, zq = ((encoder(part) - center).numpy() for part in (x, query.x))
        got = learner.predict(learner.adapt(il.Examples(x, y)), query.x)[0]
    z, zq = (rows / numpy.linalg.norm(rows, axis=1, keepdims=True) for rows in (z, zq))
    means = numpy.stack([z[y[:, d].numpy() == 1].mean(0) for d in range(3)])
    means /= numpy.linalg.norm(means, axis=1, keepdims=True)
    numpy.testing.assert_allclose(got, zq @ means.T, rtol=1e-9)


def test_a_center_is_saved_counts_outside_training_alone_and_once() -> None:
    learner, batches = il.ProtoNet(il.nets.mlp(8, 16), distance="cosine", center=True), tasks()
    support = il.Examples(batches[0].support.x[0], batches[0].support.y[0])
    untouched = learner.train().adapt(support).head.sums
    learner.calibrate(batches)
    assert torch.equal(learner.adapt(support).head.sums, untouched)
    assert not torch.equal(learner.eval().adapt(support).head.sums, untouched)
    assert "head.center" in learner.state_dict()
    before = learner.head.center.clone()
    learner.calibrate(batches)
    torch.testing.assert_close(learner.head.center, before)
    with pytest.raises(il.InputError, match="changes no euclidean distance"):
        il.learners.Prototypes(center=True, features=4)
    with pytest.raises(il.InputError, match="pass features="):
        il.learners.Prototypes(distance="cosine", center=True)


def test_a_head_within_heads_looks_and_one_that_does_not_costs_nothing() -> None:
    inner = il.learners.Prototypes(distance="cosine", center=True, features=16)
    learner = il.learners.Hallucinator(il.nets.mlp(8, 16), head=inner)
    learner.calibrate(tasks())
    assert bool(inner.center.abs().sum() > 0)

    def never() -> Any:
        raise AssertionError("nobody looks at these tasks")
        yield

    il.ProtoNet(il.nets.mlp(8, 16)).calibrate(never())
    il.learners.Recalibrated(il.CNP(1, 1, width=8)).calibrate(never())


@pytest.mark.parametrize("policy", ["running", "support", "batch"])
def test_the_head_sees_features_after_the_encoder_is_calibrated(policy: str) -> None:
    torch.manual_seed(0)
    encoder = il.nets.conv4((1, 8, 8), width=4, norm=policy, pools=2)
    learner = il.ProtoNet(encoder, distance="cosine", center=True).train()
    modes = [part.training for part in learner.modules()]
    generator = torch.Generator().manual_seed(1)
    y = torch.eye(3).repeat(2, 1).unsqueeze(0)
    batches = [
        il.Task(*(il.Examples(torch.rand(1, 6, 1, 8, 8, generator=generator), y) for _ in range(2))) for _ in range(3)
    ]
    learner.calibrate(iter(batches))
    assert [part.training for part in learner.modules()] == modes
    learner.eval()
    embedded = [learner.embed(il.Task(*(il.Examples(x[0], y[0]) for x, y in task))) for task in batches]
    wanted = torch.cat([part.x for task in embedded for part in task]).mean(0)
    torch.testing.assert_close(learner.head.center, wanted)


def test_parameters_of_a_function_are_without_self() -> None:
    assert list(parameters(il.learners.Prototypes)) == [
        "distance",
        "scale",
        "center",
        "exchange",
        "features",
        "likelihood",
    ]


def test_a_trained_center_comes_back_from_a_file(tmp_path: Path) -> None:
    from innerloop.core import checkpoint

    make = lambda: il.ProtoNet(il.nets.mlp(8, 16), distance="cosine", center=True).eval()  # noqa: E731
    learner, other = make(), make()
    learner.calibrate(tasks())
    checkpoint.save(tmp_path / "weights", learner.state_dict(), {})
    checkpoint.load_weights(other, checkpoint.load(tmp_path / "weights")[0], tmp_path / "weights")
    assert torch.equal(other.head.center, learner.head.center)


@pytest.mark.parametrize("policy", ["batch", "support"])
def test_a_trained_learner_takes_another_norm_policy_with_its_scale_and_shift(policy: str) -> None:
    """What `evaluate --norm` does to a loaded run: the same as a network of that policy with the same weights."""

    def make(norm: str) -> il.ProtoNet:
        return il.ProtoNet(il.nets.conv4((1, 8, 8), width=4, norm=norm, pools=2))

    trained, wanted = make("running").eval(), make(policy).eval()
    with torch.no_grad():
        for parameter in trained.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    weights = {name: p.clone() for name, p in trained.named_parameters()}
    wanted.load_state_dict(weights)
    il.norm.convert(trained, policy)
    assert trained.norm == policy
    assert {name: p.shape for name, p in trained.named_parameters()} == {n: p.shape for n, p in weights.items()}
    support, query = il.Examples(torch.rand(6, 1, 8, 8), torch.eye(3).repeat(2, 1)), torch.rand(4, 1, 8, 8)
    got, expected = (learner.predict(learner.adapt(support), query) for learner in (trained, wanted))
    torch.testing.assert_close(got, expected)


def test_a_converted_maml_adapts() -> None:
    net = il.nets.conv4((1, 8, 8), width=4, norm="running", pools=2, out=3)
    il.norm.calibrate(net, [torch.rand(20, 1, 8, 8)])
    learner = il.MAML(net, lr=0.1).eval()
    il.norm.convert(learner, "support")
    support = il.Examples(torch.rand(6, 1, 8, 8), torch.eye(3).repeat(2, 1))
    state = learner.adapt(support)
    assert len(state.statistics) == 4
    assert not torch.equal(state.parameters["norms.0.weight"], learner.net.norms[0].weight)


def test_a_fit_centers_what_it_keeps_and_a_resumed_one_too(tmp_path: Path) -> None:
    def make() -> il.ProtoNet:
        return il.ProtoNet(il.nets.mlp(8, 16), distance="cosine", center=True)

    train = episodes("blobs", "train")()
    laws.assert_resumed_is_uninterrupted(make, train, tmp_path, tasks_per_step=2)
    learner = make()
    il.fit(learner, train, steps=2, tasks_per_step=2, how="loop", progress=False)
    assert bool(learner.head.center.abs().sum() > 0)


class Constant(nn.Module):
    """Every pair has the same score."""

    def __init__(self, score: float) -> None:
        super().__init__()
        self.score = score

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        return x.new_full((len(x), len(z)), self.score)


@pytest.mark.parametrize("score", [-2.0, 0.5])
def test_no_class_wins_by_how_many_examples_it_has(score: float) -> None:
    """Relations: scores that say nothing give all classes alike; classes of one size have the published sums."""
    head = learners.Relations(Constant(score))
    x = torch.zeros(6, 1, 2, 2)
    for rows, each in (([0, 0, 0, 0, 1, 2], 2), ([0, 0, 1, 1, 2, 2], 2), ([0, 0, 0, 1, 1, 1], 3)):
        y = torch.eye(3)[rows]
        raw = head.predict(head.adapt(il.Examples(x, y)), x[:2])[0]
        there = y.sum(0) > 0
        assert torch.equal(raw[:, there], torch.full((2, int(there.sum())), each * score))
        assert not raw[:, ~there].any()
