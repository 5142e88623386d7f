"""Bundles: what is kept comes back to the bit, anywhere; what is damaged or not trusted is refused in one line."""

from __future__ import annotations

import hashlib
import json
import math
import os
import random
import shutil
import subprocess
import sys
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import laws
import numpy
import pytest
import torch
from cases import CASES, Case, calibrated
from safetensors.torch import load_file
from torch import Generator, Tensor, nn

import innerloop as il
from innerloop.bundle import folder as folders
from innerloop.core import checkpoint, files
from innerloop.core.facts import Facts

HERE = Path(__file__).resolve().parent
#: Whatever folder a process runs in, it finds this package.
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(il.__file__).resolve().parents[1])}
FACTS = Facts("vectors", (4,), 3, "classification", classes=("a", "b", "c"))


def vectors(seed: int = 0) -> il.Learner:
    """A prototypical network on four numbers."""
    torch.manual_seed(seed)
    return il.ProtoNet(il.nets.mlp(4, 8, 3)).eval()


def support(ways: int = 3) -> il.Examples:
    return il.Examples(torch.randn(2 * ways, 4), torch.eye(ways).repeat(2, 1))


def task_of(case: Case) -> il.Task:
    return laws.one(case.test().draw(Generator().manual_seed(0), 1), 0)


def run(*arguments: object, cwd: Path | None = None) -> Any:
    """What ``kept.py`` printed, in a process of its own."""
    command = [sys.executable, str(HERE / "kept.py"), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd, check=False, env=ENVIRONMENT)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def refused(attempt: Callable[[], object], *words: str) -> str:
    """The attempt is refused by one line that has the words."""
    with pytest.raises(il.InputError) as error:
        attempt()
    message = str(error.value)
    assert "\n" not in message.strip()
    for word in words:
        assert word in message, f"{word!r} is not in {message!r}"
    return message


def forge(path: Path, **changes: Any) -> None:
    """Change a bundle's record as someone would who knows how its digest is made."""
    record = json.loads((path / "bundle.json").read_text())
    parts = {part: checkpoint.read_tensors(path / file["name"])[0] for part, file in record["files"].items()}
    del record["digest"], record["format"], record["files"]
    folders.write(path, {**record, **changes}, parts, replace=True)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_learner_is_built_again_and_predicts_the_same(case: Case, tmp_path: Path) -> None:
    """A learner as it is made, without a data set or a living copy: weights, modes, frozen parts, adapting anew."""
    learner, task = case.make().eval(), task_of(case)
    il.save(tmp_path / "bundle", learner)
    loaded = il.load(tmp_path / "bundle")
    assert type(loaded) is type(learner)
    assert not any(part.training for part in loaded.modules())
    laws.assert_same(loaded.state_dict(), learner.state_dict())
    frozen, wanted = ({n: p.requires_grad for n, p in it.named_parameters()} for it in (loaded, learner))
    assert frozen == wanted
    assert (loaded.norm, loaded.transductive) == (learner.norm, learner.transductive)
    raws = []
    for each in (learner, loaded):
        torch.manual_seed(3)
        raws.append(laws.predict(each, task))
    assert torch.equal(*raws)


MOVED = ("protonet-running", "relationnet-features", "maml-support", "maml-running", "anp", "in-context", "mer", "gp")


def test_a_copied_folder_answers_the_same_in_another_process_and_place(tmp_path: Path) -> None:
    wanted, copies = {}, []
    for case in (case for case in CASES if str(case).startswith(MOVED)):
        learner, task = case.make().eval(), task_of(case)
        state = learner.adapt(task.support)
        il.save(tmp_path / "here" / str(case) / "bundle", learner, state)
        torch.save(task.query.x, tmp_path / "here" / str(case) / "x.pt")
        with torch.no_grad():
            raw = learner.predict(state, task.query.x)
        wanted[str(case)] = hashlib.sha256(raw.numpy().tobytes()).hexdigest()
        copies.append(f"{case}/bundle")
    assert len(copies) >= 7
    shutil.move(tmp_path / "here", tmp_path / "there")
    elsewhere = tmp_path / "there"
    found = run("answers", *copies, cwd=elsewhere)
    assert found == wanted


def test_the_shipped_weights_are_those_that_were_trained() -> None:
    """Every bit of them, as in the files from before they were bundles."""
    home = Path(il.__file__).parent / "weights"
    wanted = {
        "incontext_classifier": "036f173f3955686f847f3e35ba79c10a892eaea4eae09576e25b2c2c5074a8db",
        "incontext_regressor": "c9cd00804a81a880231f059592c1db116ff0af0e4c235b1c0d23aa86fb1f7c66",
    }
    for name, digest in wanted.items():
        bundle = il.bundle.read(home / name)
        assert checkpoint.checksum(bundle.learner.state_dict()) == digest
        assert bundle.name == "incontext"
        assert bundle.card.keys() == set(il.bundle.CARD)


def test_the_record_reads_well(tmp_path: Path) -> None:
    """Name, options, network, facts, norm, preprocessing, versions, origin and card, as plain JSON."""
    learner = il.ProtoNet(il.nets.conv4((1, 28, 28), width=8), scale=0.5)
    steps = [{"step": "resize", "side": 28}, {"step": "invert"}]
    facts = Facts("images", (1, 28, 28), 5, "classification")
    card = {"what": "drawings", "license": "CC0"}
    il.save(tmp_path / "a", learner, facts=facts, preprocessing=steps, origin={"seed": 3}, card=card)
    record = json.loads((tmp_path / "a" / "bundle.json").read_text())
    assert record["build"]["make"] == "innerloop.learners:ProtoNet"
    assert record["build"]["with"]["scale"] == 0.5
    assert record["build"]["with"]["encoder"]["with"]["widths"] == {"tuple": [8, 8, 8, 8]}
    bundle = il.bundle.read(tmp_path / "a")
    assert (bundle.kind, bundle.name, bundle.facts, bundle.norm) == ("learner", "protonet", facts, "running")
    assert (bundle.preprocessing, bundle.origin, bundle.card) == (tuple(steps), {"seed": 3}, card)
    assert bundle.versions["torch"] == torch.__version__
    assert bundle.classes is None
    assert il.bundle.digest_of(tmp_path / "a") == record["digest"]


def test_an_adapted_task_names_its_classes_and_folds_on(tmp_path: Path) -> None:
    learner, first, more = vectors(), support(), support()
    with torch.no_grad():
        state = learner.adapt(first)
    il.save(tmp_path / "a", learner, state, facts=FACTS, card={"what": "three"})
    task, x = il.load(tmp_path / "a"), torch.randn(5, 4)
    assert (task.classes, task.facts, task.card) == (("a", "b", "c"), FACTS, {"what": "three"})
    assert torch.equal(task.proba(x), learner.proba(state, x))
    columns = learner.proba(state, x).argmax(1).tolist()
    assert task.predict(x) == ["abc"[column] for column in columns]
    il.save(tmp_path / "b", task.fold(more))
    assert torch.equal(il.load(tmp_path / "b").proba(x), learner.proba(learner.adapt(more, state), x))
    assert il.bundle.read(tmp_path / "b").kind == "adapted"
    other = vectors(seed=1)
    assert il.load(tmp_path / "b", learner=other).learner is other
    refused(lambda: task.proba(torch.randn(5, 3)), "the queries have the shape (5, 3)", "has (4,)")
    refused(lambda: il.save(tmp_path / "e", task, classes=["a"]), "says its classes itself")
    il.save(tmp_path / "c", learner, state)
    assert il.load(tmp_path / "c").predict(x).tolist() == columns
    il.save(tmp_path / "d", learner, state, classes=["a", "b"])
    refused(lambda: il.load(tmp_path / "d").predict(x), "3 classes and 2 names")


def test_a_regression_task_predicts_means(tmp_path: Path) -> None:
    learner = il.MAML(il.nets.mlp(1, 8, 1), lr=0.1, likelihood=il.Gaussian(scale=1.0)).eval()
    state = learner.adapt(il.Examples(torch.randn(4, 1), torch.randn(4, 1)))
    il.save(tmp_path / "a", learner, state)
    x = torch.randn(3, 1)
    assert torch.equal(il.load(tmp_path / "a").predict(x), learner.proba(state, x))


# What is kept of a learner.


class Plain(nn.Module):
    """A network of one's own that keeps its arguments as attributes."""

    def __init__(self, width: int, activation: nn.Module, slope: float = 0.1) -> None:
        super().__init__()
        self.width, self.activation = width, activation
        self.first, self.last = nn.Linear(4, width), nn.Linear(width, 3)
        self.power = slope

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.activation(self.first(x))) ** 2 * self.power


class Kept(il.nets.Recorded):
    """A network that derives from Recorded, and keeps nothing itself."""

    def __init__(self, *widths: int, bias: bool = True, **more: Any) -> None:
        super().__init__()
        self.layers = nn.Sequential(*(nn.Linear(a, b, bias) for a, b in pairwise(widths)))
        self.register_buffer("shift", torch.full((widths[-1],), more.get("shift", 0.0)), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x) + self.shift


class Loose(nn.Module):
    """A network that keeps nothing of how it was built."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layer = nn.Linear(4, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)


class Last(nn.Module):
    """What a recurrent network says of each example."""

    def __init__(self, rnn: nn.Module) -> None:
        super().__init__()
        self.rnn = rnn

    def forward(self, x: Tensor) -> Tensor:
        return self.rnn(x.unsqueeze(0))[0][0]


class Own(il.Learner):
    """A learner of one's own, with a state of its own."""

    def __init__(self, net: nn.Module, likelihood: il.core.likelihood.Likelihood | None = None) -> None:
        super().__init__(likelihood or il.Categorical())
        self.net = net

    def adapt(self, support: il.Examples, state: Any = None) -> Any:
        return OwnState(self.net(support.x).mT @ support.y, len(support.x), {"mode": "mean", 3: [None, True]})

    def predict(self, state: Any, x: Tensor) -> Tensor:
        return (self.net(x) @ state.sums / state.count).unsqueeze(0)


class OwnState(NamedTuple):
    sums: Tensor
    count: int
    notes: dict[Any, Any]


NETS: dict[str, Callable[[], nn.Module]] = {
    "linear": lambda: nn.Linear(4, 3, bias=False),
    "named": lambda: nn.Sequential(OrderedDict(a=nn.Linear(4, 8), b=nn.GELU("tanh"))),
    "normalized": lambda: nn.Sequential(
        nn.Linear(4, 8), nn.LayerNorm(8, eps=0.1), nn.LeakyReLU(0.3), nn.BatchNorm1d(8, momentum=None), nn.Dropout(0.2)
    ),
    "images": lambda: nn.Sequential(
        nn.Unflatten(1, (1, 2, 2)), nn.Conv2d(1, 4, 3, padding="same", bias=False), nn.GroupNorm(2, 4), nn.Flatten()
    ),
    "activation": lambda: il.nets.mlp(4, 8, 3, activation=lambda: nn.LeakyReLU(0.3)),
    "a part": lambda: il.nets.mlp(4, 8, 8, 3)[:-1],
    "own": lambda: Plain(8, nn.Tanh()),
    "recorded": lambda: Kept(4, 8, 3, bias=False, shift=1.5),
    "tied": lambda: nn.Sequential(*[nn.Linear(4, 4)] * 3),
    "recurrent": lambda: Last(nn.GRU(4, 3, num_layers=2, bias=False)),
}


@pytest.mark.parametrize("name", NETS)
def test_networks_of_torch_and_of_ones_own_are_built_again(name: str, tmp_path: Path) -> None:
    """By what they keep of themselves, and tried out when they are saved."""
    learner, examples = Own(NETS[name]()).eval(), support()
    with torch.no_grad():
        state = learner.adapt(examples)
    il.save(tmp_path / "a", learner, state)
    task, x = il.load(tmp_path / "a"), torch.randn(3, 4)
    assert repr(task.learner) == repr(learner)
    assert type(task.state) is OwnState
    assert (task.state.count, task.state.notes) == (6, {"mode": "mean", 3: [None, True]})
    assert torch.equal(task.proba(x), learner.proba(state, x))
    shared = [sum(1 for _ in it.parameters()) for it in (task.learner, learner)]
    assert shared[0] == shared[1]


def test_the_same_part_given_twice_is_the_same_part_again(tmp_path: Path) -> None:
    net = il.nets.mlp(4, 8, 3)
    learner = il.learners.Embedded(nn.Sequential(net, net[2].__class__(3, 4), net), il.learners.Prototypes())
    il.save(tmp_path / "a", learner)
    encoder = il.load(tmp_path / "a").encoder
    assert encoder[0] is encoder[2]


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_dtypes_layouts_and_frozen_parts_come_back(dtype: torch.dtype, tmp_path: Path) -> None:
    learner = il.ProtoNet(Kept(4, 8, 3, shift=0.1)).to(dtype)
    il.freeze(learner, "encoder.layers.0.*")
    il.save(tmp_path / "a", learner)
    before = torch.random.get_rng_state()
    torch.set_default_dtype(torch.float64)
    try:
        loaded = il.load(tmp_path / "a")
    finally:
        torch.set_default_dtype(torch.float32)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert {t.dtype for t in (*loaded.parameters(), *loaded.buffers())} == {dtype}
    assert torch.equal(loaded.encoder.shift, learner.encoder.shift)
    grad = {name: p.requires_grad for name, p in loaded.named_parameters()}
    assert grad == {
        "encoder.layers.0.weight": False,
        "encoder.layers.0.bias": False,
        "encoder.layers.1.weight": True,
        "encoder.layers.1.bias": True,
    }


def test_calibrated_statistics_are_there_before_an_inner_loop_asks(tmp_path: Path) -> None:
    """MAML refuses a network whose statistics nobody calibrated: its weights are filled in before."""
    il.save(tmp_path / "a", il.MAML(calibrated("running", out=3), lr=0.2))
    assert int(il.load(tmp_path / "a").net.norms[0].num_batches_tracked) == 1


def test_tensors_among_the_arguments_are_kept(tmp_path: Path) -> None:
    bars = il.core.likelihood.Bars(torch.tensor([-1.0, 0.0, 2.0, 5.0]))
    learner = il.CNP(1, 1, width=8, likelihood=bars)
    il.save(tmp_path / "a", learner)
    assert torch.equal(il.load(tmp_path / "a").likelihood.borders, bars.borders)
    rates = il.inner.LearnedRates(dict(il.nets.mlp(4, 3).named_parameters()), 0.1, per="number")
    il.save(tmp_path / "b", il.MAML(il.nets.mlp(4, 3), inner=rates))
    laws.assert_same(il.load(tmp_path / "b").inner.state_dict(), rates.state_dict())


@pytest.mark.parametrize(
    ("value", "words"),
    [(torch.Tensor.relu, "TensorBase.relu"), (iter([1]), "a list_iterator"), ((n for n in ()), "<genexpr>")],
)
def test_arguments_without_a_module_build_a_network_and_are_refused_when_it_is_saved(
    value: Any, words: str, tmp_path: Path
) -> None:
    """Methods written in C and generators have a name alone."""
    net = Kept(4, 3, shift=0.5, more=value)
    assert net.shift.tolist() == [0.5] * 3
    refused(lambda: il.save(tmp_path / "a", il.ProtoNet(net)), words)
    assert not (tmp_path / "a").exists()


def test_other_weights_are_saved_in_place_of_the_learners(tmp_path: Path) -> None:
    """An average, or the best of a run."""
    learner, best = vectors(0), vectors(1).state_dict()
    il.save(tmp_path / "a", learner, weights=best)
    laws.assert_same(il.load(tmp_path / "a").state_dict(), best)
    refused(lambda: il.save(tmp_path / "b", learner, weights={"nosuch": torch.zeros(1)}), "no weight 'nosuch'")


def test_a_run_folder_stands_for_its_best(tmp_path: Path) -> None:
    il.save(tmp_path / "run" / "best", vectors())
    assert il.bundle.read(tmp_path / "run").path == tmp_path / "run" / "best"
    laws.assert_same(il.load(tmp_path / "run").state_dict(), vectors().state_dict())


CONVERTED: dict[str, Callable[[], il.Learner]] = {
    "network": lambda: il.MAML(il.norm.convert(il.nets.conv4((1, 8, 8), width=8, pools=2, out=3), "support"), lr=0.1),
    "learner": lambda: il.norm.convert(il.MAML(calibrated("running", out=3), lr=0.1), "support"),
    "twice": lambda: il.norm.convert(il.norm.convert(il.ProtoNet(il.nets.conv4((1, 8, 8), pools=2)), "batch"), "group"),
    "encoder": lambda: il.ProtoNet(
        il.norm.convert(nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4, 0.1, 0.3), nn.Flatten()), "support")
    ),
    "layer": lambda: il.ProtoNet(il.norm.convert(nn.BatchNorm2d(1, affine=False), "batch")),
}


@pytest.mark.parametrize("name", CONVERTED)
def test_networks_whose_norm_was_converted_are_built_again(name: str, tmp_path: Path) -> None:
    learner = CONVERTED[name]().eval()
    task = il.Task(*(il.Examples(torch.randn(6, 1, 8, 8), torch.eye(3).repeat(2, 1)) for _ in range(2)))
    il.save(tmp_path / "a", learner)
    loaded = il.load(tmp_path / "a")
    assert repr(loaded) == repr(learner)
    assert loaded.norm == learner.norm
    assert torch.equal(laws.predict(loaded, task), laws.predict(learner, task))


def made_from(shape: tuple[int, ...], width: int = 8, out: int = 3) -> nn.Module:
    """A function of one's own, of a network that keeps nothing."""
    return nn.Sequential(Loose(width), nn.Linear(width, out))


def test_a_network_by_the_name_of_ones_own_function_is_built_by_it_again(tmp_path: Path) -> None:
    spec = il.nets.NetSpec(f"{__name__}:made_from", options={"width": 5})
    learner = il.MAML.from_facts(Facts("vectors", (4,), 3, "classification"), spec)
    il.save(tmp_path / "a", learner)
    net = json.loads((tmp_path / "a" / "bundle.json").read_text())["build"]["with"]["net"]
    assert (net["make"], net["with"]) == (f"{__name__}:made_from", {"shape": {"tuple": [4]}, "width": 5, "out": 3})
    refused(lambda: il.load(tmp_path / "a"), f"allow=('{__name__}',)")
    laws.assert_same(il.load(tmp_path / "a", allow=[__name__]).state_dict(), learner.state_dict())


# What cannot be built again is said when it is saved.


def test_what_is_not_known_is_refused_by_name(tmp_path: Path) -> None:
    class Local(nn.Module):
        pass

    def hooked(x: Tensor) -> Tensor:
        return x

    changed = vectors()
    changed.head.scale = 3.0
    swapped = vectors()
    swapped.encoder[2] = nn.Linear(8, 5)
    other = il.ProtoNet(Plain(8, nn.Tanh()))
    other.encoder.power = 7.0
    patched = vectors()
    patched.encoder.forward = hooked
    for learner, words in {
        il.ProtoNet(Loose(5)): ("learner.encoder is a Loose, whose argument 'width' is not kept", "anonymous=True"),
        il.ProtoNet(Local()): ("learner.encoder is a", "Local", "cannot be found again by its name"),
        il.ProtoNet(Kept(4, 3, extra=lambda: 3)): ("learner.encoder.extra is", "lambda"),
        changed: ("head.scale is 3.0, its arguments give 1.0",),
        other: ("encoder.power is 7.0, its arguments give 0.1",),
        patched: ("encoder.forward",),
        il.ProtoNet(nn.LazyLinear(3)): ("has no shape yet",),
    }.items():
        refused(lambda learner=learner: il.save(tmp_path / "a", learner), *words)
        assert not list(tmp_path.iterdir())
    # A torch layer in the place of another one is what the container is made of.
    il.save(tmp_path / "swapped", swapped)
    assert il.load(tmp_path / "swapped").encoder[2].out_features == 5


def test_an_anonymous_learner_gives_its_weights_to_another(tmp_path: Path) -> None:
    learner, examples, x = il.ProtoNet(Loose(5)).eval(), support(), torch.randn(3, 4)
    with torch.no_grad():
        state = learner.adapt(examples)
    il.save(tmp_path / "a", learner, state, anonymous=True)
    refused(lambda: il.load(tmp_path / "a"), "does not say how its learner is built", "'width'", "learner=your_learner")
    task = il.load(tmp_path / "a", learner=il.ProtoNet(Loose(5)))
    assert torch.equal(task.proba(x), learner.proba(state, x))
    refused(lambda: il.load(tmp_path / "a", learner=il.ProtoNet(Loose(6))), "in shape (5,), the learner in (6,)")
    refused(lambda: il.load(tmp_path / "a", learner=vectors()), "another learner")


# States.


class Point(NamedTuple):
    x: Tensor
    name: str


@dataclass(frozen=True)
class Note:
    text: str
    where: Point


def test_a_state_has_a_schema_of_its_own(tmp_path: Path) -> None:
    """Every nest comes back with its types, its keys, its dtypes, its layout."""
    image = torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last)
    state = {
        "point": Point(torch.randn(2, 3), "p"),
        "note": Note("n", Point(torch.zeros(0, 2), "q")),
        3: [1, True, None, -2.5, math.inf, (), ("a",), {}],
        "array": numpy.arange(6, dtype=numpy.int16).reshape(2, 3),
        "words": numpy.array([["a", "bc"]]),
        "objects": numpy.array(["a", 3, None], dtype=object),
        "kind": torch.float16,
        "tensors": [torch.tensor(True), torch.tensor(3, dtype=torch.int64), torch.randn(2).bfloat16(), image],
        "transposed": torch.randn(3, 4).mT,
        "part": torch.randn(4, 4)[:, 1:3],
        "a": {"b": torch.ones(1)},
        "a.b": torch.zeros(1),
    }
    il.save(tmp_path / "a", vectors(), state)
    back = il.load(tmp_path / "a").state

    def compare(a: Any, b: Any) -> None:
        assert type(a) is type(b)
        if isinstance(a, Tensor):
            assert a.dtype == b.dtype
            assert torch.equal(a, b)
        elif isinstance(a, numpy.ndarray):
            assert (a.dtype, a.shape) == (b.dtype, b.shape)
            assert a.tolist() == b.tolist()
        elif isinstance(a, dict):
            assert list(a) == list(b)
            for key in a:
                compare(a[key], b[key])
        elif isinstance(a, list | tuple):
            assert len(a) == len(b)
            for x, y in zip(a, b, strict=True):
                compare(x, y)
        elif isinstance(a, Note):
            compare(vars(a), vars(b))
        else:
            assert a == b

    compare(back, state)
    assert back["tensors"][3].stride() == image.stride()
    assert back["transposed"].stride() == state["transposed"].stride()


def test_what_no_state_can_hold_is_named_by_its_place(tmp_path: Path) -> None:
    class Local(NamedTuple):
        x: int

    for value, words in (
        (object(), ("a object at a.1",)),
        (nn.Linear(1, 1), ("Linear at a.1",)),
        (lambda: 3, ("function at a.1",)),
        (torch.eye(2).to_sparse(), ("sparse", "a.1")),
        (Local(3), ("Local at a.1", "top of a module")),
    ):
        state = {"a": [1, value]}
        refused(lambda state=state: il.save(tmp_path / "a", vectors(), state), "the state", *words)
    assert not list(tmp_path.iterdir())


def test_a_state_of_other_fields_is_refused(tmp_path: Path) -> None:
    il.save(tmp_path / "a", vectors(), Point(torch.zeros(1), "p"))
    record = json.loads((tmp_path / "a" / "bundle.json").read_text())
    state = record["state"]
    forge(tmp_path / "a", state={**state, "fields": {"x": 1}})
    refused(lambda: il.load(tmp_path / "a"), "Point of x, this version's has x, name")


def test_a_state_of_before_a_field_with_a_default_came_is_read(tmp_path: Path) -> None:
    """What a MAML adapted had no shots once."""
    torch.manual_seed(0)
    learner = il.MAML(il.nets.mlp(4, 8, 3)).eval()
    state = learner.adapt(il.Examples(torch.randn(6, 4), torch.eye(3).repeat(2, 1)))
    il.save(tmp_path / "a", learner, state)
    kept = json.loads((tmp_path / "a" / "bundle.json").read_text())["state"]
    assert kept["fields"].pop("shots", "") is None
    forge(tmp_path / "a", state=kept)
    loaded, x = il.load(tmp_path / "a"), torch.randn(5, 4)
    assert loaded.state.shots is None
    assert torch.equal(loaded.learner.predict(loaded.state, x), learner.predict(state, x))


# Damage.


def broken(path: Path, attempt: Callable[[], object]) -> None:
    """One clear line, whatever was done to the files, and the files are left as they are."""
    before = {p: p.read_bytes() for p in path.rglob("*") if p.is_file()}
    refused(attempt)
    assert {p: p.read_bytes() for p in path.rglob("*") if p.is_file()} == before


@pytest.mark.parametrize("name", ["bundle.json", "weights", "state"])
def test_every_damaged_file_of_a_bundle_is_refused(name: str, tmp_path: Path) -> None:
    """Cut at any place, a bit flipped at any place, emptied, removed, another's file in its place."""
    learner = vectors()
    path = il.save(tmp_path / "a", learner, learner.adapt(support()), classes=list("abc"))
    file = next(p for p in path.iterdir() if p.name.startswith(name))
    whole, random_ = file.read_bytes(), random.Random(0)
    il.load(path)
    for _ in range(60):
        place = random_.randrange(8 * len(whole))
        flipped = bytearray(whole)
        flipped[place // 8] ^= 1 << place % 8
        file.write_bytes(flipped)
        broken(path, lambda: il.load(path))
        broken(path, lambda: il.bundle.read(path))
    for data in (b"", b"{}", b"[]", b"null", b"\xff\xfe", *(whole[: random_.randrange(len(whole))] for _ in range(10))):
        file.write_bytes(data)
        broken(path, lambda: il.load(path))
    file.unlink()
    refused(lambda: il.load(path), "bundle.json is missing" if name == "bundle.json" else f"lacks its file {file.name}")
    file.write_bytes(whole)
    il.load(path)


def test_a_flipped_bit_of_a_checkpoint_is_refused(tmp_path: Path) -> None:
    """Wherever it is: in a tensor, in the facts, in a name."""
    path, random_ = tmp_path / "last.safetensors", random.Random(0)
    checkpoint.save(path, {"a": torch.randn(20), "step": torch.tensor(3)}, {"words": "abc", "step": 3})
    whole = path.read_bytes()
    for place in [random_.randrange(8 * len(whole)) for _ in range(300)]:
        flipped = bytearray(whole)
        flipped[place // 8] ^= 1 << place % 8
        path.write_bytes(flipped)
        refused(lambda: checkpoint.load(path), "last.safetensors")
    path.write_bytes(whole)
    assert checkpoint.load(path)[1] == {"words": "abc", "step": 3}


def test_an_edited_record_and_other_versions_are_refused(tmp_path: Path) -> None:
    path = il.save(tmp_path / "a", vectors())
    file = path / "bundle.json"
    record = json.loads(file.read_text())
    scaled = json.loads(file.read_text())
    scaled["build"]["with"]["scale"] = 5.0
    for edited, words in (
        (scaled, ("its digest differs",)),
        ({**record, "card": {"what": "mine"}}, ("its digest differs",)),
        ({k: v for k, v in record.items() if k != "digest"}, ("its digest differs",)),
        ({**record, "format": 2}, ("has format 2, written by innerloop 0.1.0; this version reads 1",)),
        ({**record, "format": None, "versions": 3}, ("has format None",)),
        ({"recipe": {}, "format": 1}, ("digest",)),
        ({**record, "format": math.nan}, ("has format nan",)),
    ):
        file.write_text(json.dumps(edited, indent=2) + "\n")
        refused(lambda: il.load(path), *words)


def test_what_is_no_bundle_is_said(tmp_path: Path) -> None:
    refused(lambda: il.load(tmp_path / "none"), "there is no bundle at")
    refused(lambda: il.load(HERE / "cases.py"), "is a file, and a bundle is a folder")
    refused(lambda: il.load(tmp_path), "bundle.json is missing")
    (tmp_path / "best.safetensors").write_bytes(b"")
    refused(lambda: il.load(tmp_path), "earlier version")
    refused(lambda: il.load(tmp_path / "best.safetensors"), "earlier version")
    refused(lambda: il.load(""), "bundle.json is missing")


def test_bad_things_to_keep_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    learner: Any = vectors()
    for attempt, words in (
        (lambda: il.save(tmp_path / "a", 3), ("a int cannot be kept",)),
        (lambda: il.save(tmp_path / "a", learner, card={"licence": "MIT"}), ("did you mean license?",)),
        (lambda: il.save(tmp_path / "a", learner, card={"what": 3}), ("must be text",)),
        (lambda: il.save(tmp_path / "a", learner, preprocessing=[{"resize": 3}]), ("no step of preprocessing",)),
        (lambda: il.save(tmp_path / "a", learner, origin={"seed": object()}), ("origin must be plain values",)),
        (lambda: il.save(tmp_path / "a", learner, origin={"seed": math.nan}), ("origin must be plain values",)),
        (lambda: il.save(tmp_path / ("a" * 300), learner), ("cannot be written (File name too long)",)),
        (lambda: il.save(tmp_path / ("a" * 250), learner), ("cannot be written (File name too long)",)),
        (lambda: il.save(HERE / "cases.py", learner), ("exists and is no bundle",)),
        (lambda: il.save(HERE, learner, replace=True), ("exists and is no bundle",)),
        (lambda: il.save(HERE / "cases.py" / "a", learner), ("cannot be written",)),
    ):
        refused(attempt, *words)
    assert not list(tmp_path.iterdir())


# Trust.


EVIL = """
from pathlib import Path
Path(__file__).with_name("ran").touch()
from torch import nn
class Net(nn.Module):
    pass
def make(*_):
    Path(__file__).with_name("called").touch()
    return nn.Linear(4, 3)
"""


@pytest.mark.parametrize(
    "name",
    [
        "os:system",
        "posix:system",
        "builtins:eval",
        "subprocess:Popen",
        "shutil:rmtree",
        "pathlib:Path",
        "innerloop.core.files:remove",
        "innerloop.core.files:os",
        "innerloop.__main__:main",
        "innerloop.nosuch:Net",
        "innerloop.nets:nosuch",
        "torch.nn:functional",
        "torch.nn.functional:relu",
        "torch:load",
        "torch.nn:Linear.forward",
        "not a name",
        "",
    ],
)
@pytest.mark.parametrize("place", ["make", "name", "record", "kind"])
def test_nothing_of_a_bundle_is_executed(name: str, place: str, tmp_path: Path) -> None:
    """A record whose digest is right may still be made by anybody."""
    if (place, name) == ("name", "torch.nn.functional:relu"):
        pytest.skip("an activation may be named")
    il.save(tmp_path / "a", vectors())
    ran = tmp_path / "ran"
    call = {"make": name, "with": {"*args": [f"touch {ran}"], "command": f"touch {ran}"}}
    build = json.loads((tmp_path / "a" / "bundle.json").read_text())["build"]
    changes: dict[str, Any] = {
        "make": {"build": call},
        "name": {"build": {**build, "with": {**build["with"], "distance": {"name": name}}}},
        "record": {"kind": "adapted", "state": {"record": name, "fields": {"path": str(ran)}}},
        "kind": {"kind": name},
    }[place]
    forge(tmp_path / "a", **changes)
    refused(lambda: il.load(tmp_path / "a"))
    assert not ran.exists()
    assert (HERE / "cases.py").exists()


def test_modules_of_others_are_imported_only_where_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "evil_parts.py").write_text(EVIL)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "evil_parts", raising=False)
    il.save(tmp_path / "a", Own(nn.Linear(4, 3)))
    build = json.loads((tmp_path / "a" / "bundle.json").read_text())["build"]

    def named(name: str) -> None:
        net = {"make": f"evil_parts:{name}", "with": {}, "at": "net"}
        forge(tmp_path / "a", build={**build, "with": {**build["with"], "net": net}})

    named("make")
    refused(lambda: il.load(tmp_path / "a"), "evil_parts:make, which is not part of innerloop", "allow=('evil_parts',)")
    assert not (tmp_path / "ran").exists()
    # Imported by its owner: networks may be named, functions are called only where they are allowed.
    __import__("evil_parts")
    refused(lambda: il.load(tmp_path / "a"), "allow=('evil_parts',)")
    assert not (tmp_path / "called").exists()
    assert isinstance(il.load(tmp_path / "a", allow=("evil_parts",)).net, nn.Linear)
    named("Net")
    refused(lambda: il.load(tmp_path / "a"), "the weight 'net.bias'")
    named("nosuch")
    refused(lambda: il.load(tmp_path / "a"), "evil_parts has no nosuch")
    monkeypatch.delitem(sys.modules, "evil_parts")
    refused(lambda: il.load(tmp_path / "a", allow=("evil",)), "not part of innerloop")
    (tmp_path / "evil_parts.py").unlink()
    refused(lambda: il.load(tmp_path / "a", allow=("evil_parts",)), "cannot be imported")


@pytest.mark.parametrize("name", ["../a.safetensors", "/etc/passwd", "weights.safetensors", 3, None])
def test_no_file_outside_the_folder_is_read(name: Any, tmp_path: Path) -> None:
    path = il.save(tmp_path / "a", vectors())
    record = json.loads((path / "bundle.json").read_text())
    record["files"]["weights"]["name"] = name
    del record["digest"]
    digest = hashlib.sha256(json.dumps(record, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
    (path / "bundle.json").write_text(json.dumps({**record, "digest": digest}, indent=2) + "\n")
    refused(lambda: il.load(path), "as its weights: it is damaged")


def test_arguments_of_another_version_are_refused(tmp_path: Path) -> None:
    il.save(tmp_path / "a", vectors())
    build = json.loads((tmp_path / "a" / "bundle.json").read_text())["build"]
    for changes, words in (
        ({"scall": 3.0}, ("has no argument 'scall' (did you mean scale?)",)),
        ({"scale": "wide"}, ("scale is 'wide'; it must be a number",)),
        ({"distance": "nearest"}, ("distance 'nearest' is unknown",)),
        ({"encoder": {"make": "torch.nn:Linear", "with": {"in_features": 4}}}, ("torch.nn:Linear cannot be built",)),
        ({"encoder": {"tensor": "nosuch"}}, ("no tensor 'nosuch'",)),
        ({"encoder": {"nonsense": 3}}, ("no part of a bundle",)),
    ):
        forge(tmp_path / "a", build={**build, "with": {**build["with"], **changes}})
        refused(lambda: il.load(tmp_path / "a"), *words)
    forge(tmp_path / "a", build={"make": "torch.nn:Linear", "with": {"in_features": 4, "out_features": 3}})
    refused(lambda: il.load(tmp_path / "a"), "builds a Linear, which is no learner")


# Whole at every moment.


@pytest.fixture(scope="module")
def deaths(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What dying leaves, of one process that is started for both ways."""
    return run("die", tmp_path_factory.mktemp("deaths"))


@pytest.mark.parametrize("replace", ["new", "over"])
def test_a_process_that_dies_at_any_moment_leaves_a_whole_bundle(replace: str, deaths: dict[str, Any]) -> None:
    """The old one or the new one (or none, where there was none), and the next save sweeps up what was left."""
    found, beside, inside = deaths[replace]
    before = -1 if replace == "new" else 1
    learners = [learner for _, learner in found]
    # First the old one, from some call on the new one; at least a file of weights and the record are written between.
    assert learners == sorted(learners)
    assert learners[0] == before
    assert learners[-1] == 2
    assert learners.count(before) >= 4
    assert beside == ["a"]
    assert len(inside) == 2


def test_who_reads_while_it_is_replaced_sees_a_whole_bundle(tmp_path: Path) -> None:
    command = [sys.executable, str(HERE / "kept.py"), "write", str(tmp_path / "a")]
    wanted = {seed: checkpoint.checksum(vectors(seed).state_dict()) for seed in (1, 2)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        try:
            for _ in range(300):
                bundle = il.bundle.read(tmp_path / "a")
                assert checkpoint.checksum(bundle.learner.state_dict()) == wanted[bundle.origin["learner"]]
        finally:
            writer.kill()
    written = len(list((tmp_path / "a").iterdir()))
    il.save(tmp_path / "a", vectors(), replace=True)
    assert len(list((tmp_path / "a").iterdir())) == 2 <= written


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_who_reads_while_it_is_replaced_by_the_same_looks_again(tmp_path: Path) -> None:
    """Weights that are gone and come back under a record of the same text are no damage."""
    path = tmp_path / "a"
    il.save(path, vectors())
    (weights,) = path.glob("*.safetensors")
    kept = weights.rename(tmp_path / "kept")
    os.mkfifo(weights)

    def replace() -> None:
        # The pipe opens when the reader has the record and comes to the weights.
        with weights.open("wb") as pipe:
            os.replace(kept, weights)
            again = shutil.copy(path / folders.RECORD, tmp_path / "record")
            os.replace(again, path / folders.RECORD)
            pipe.write(b"no weights")

    writer = threading.Thread(target=replace)
    writer.start()
    bundle = il.bundle.read(path)
    writer.join()
    laws.assert_same(bundle.learner.state_dict(), vectors().state_dict())


def test_a_full_disk_leaves_what_was_there(tmp_path: Path) -> None:
    messages, beside, inside = run("full", tmp_path / "a")
    assert len(messages) == 3
    assert all("cannot be written (" in message and "\n" not in message for message in messages)
    assert (beside, inside) == (["a", "a.safetensors"], 2)
    laws.assert_same(il.load(tmp_path / "a").state_dict(), vectors(1).state_dict())
    assert torch.equal(checkpoint.load(tmp_path / "a.safetensors")[0]["x"], torch.ones(2))


def test_a_bundle_gives_way_only_where_it_is_asked_to(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    il.save(tmp_path / "a", vectors(0))
    refused(lambda: il.save(tmp_path / "a", vectors(1)), "already holds a bundle")
    laws.assert_same(il.load(tmp_path / "a").state_dict(), vectors(0).state_dict())
    (tmp_path / "a" / "notes.txt").write_text("mine")
    il.save(tmp_path / "a", vectors(1), replace=True)
    laws.assert_same(il.load(tmp_path / "a").state_dict(), vectors(1).state_dict())
    assert len(list((tmp_path / "a").iterdir())) == 3


def test_what_killed_processes_left_is_swept_up_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a[1].safetensors"
    checkpoint.save(path, {}, {})
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    prefix = files.temporary_beside(path).name.split(str(os.getpid()))[0]
    left, used = tmp_path / f"{prefix}{gone.pid}.ab", tmp_path / f"{prefix}{os.getpid()}.ab"
    others = tmp_path / f".b.safetensors.{prefix.split('.')[-3]}.writing.{gone.pid}.ab"
    elsewhere, old = (tmp_path / f".{path.name}.{host}.writing.{gone.pid}.ab" for host in ("far", "away"))
    for file in (left, used, others, elsewhere, old):
        file.write_text("half")
    os.utime(old, (0, 0))
    checkpoint.save(path, {"x": torch.ones(1)}, {})
    assert {p.name for p in tmp_path.iterdir()} == {path.name, used.name, others.name, elsewhere.name}


def test_tensors_are_written_under_one_name_alone(tmp_path: Path) -> None:
    """Whatever is made beside it would be left by a process that is killed meanwhile, and changes the folder's time."""
    path = tmp_path / "a"
    path.touch()
    os.utime(tmp_path, (0, 0))
    checkpoint.write_tensors(path, {"x": torch.arange(3.0)}, {"format": "pt"})
    assert tmp_path.stat().st_mtime == 0
    assert load_file(path)["x"].tolist() == [0.0, 1.0, 2.0]


# What keeps itself in bundles.


class Nearest:
    """A toy estimator: a table, and no learner."""

    def __init__(self, x: numpy.ndarray, names: list[str]) -> None:
        self.x, self.names = x, names

    def to_bundle(self) -> il.bundle.Contents:
        return il.bundle.Contents(state={"x": self.x, "names": self.names}, card={"what": "nearest"})

    @classmethod
    def from_bundle(cls, bundle: il.bundle.Bundle) -> Nearest:
        return cls(**bundle.state)


def test_an_estimator_comes_back_as_itself(tmp_path: Path) -> None:
    kept = Nearest(numpy.eye(3), ["a", "b", "c"])
    il.save(tmp_path / "a", kept, card={"license": "MIT"}, origin={"seed": 1})
    refused(lambda: il.load(tmp_path / "a"), "allow=")
    back = il.load(tmp_path / "a", allow=(__name__,))
    assert type(back) is Nearest
    assert numpy.array_equal(back.x, kept.x)
    assert back.names == kept.names
    bundle = il.bundle.read(tmp_path / "a")
    assert (bundle.card, bundle.origin) == ({"what": "nearest", "license": "MIT"}, {"seed": 1})
    refused(lambda: bundle.learner, "it keeps none")
    refused(lambda: il.save(tmp_path / "b", kept, classes=["a"]), "says its classes itself")
    refused(lambda: il.load(tmp_path / "a", learner=vectors(), allow=(__name__,)), "brings its learner")
