"""The options of a training run: each is refused by name before anything is written, and good ones of any kind pass."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from torch import Generator, nn

import innerloop as il
from innerloop.core.device import find_device
from innerloop.core.random import check_seed, generator, mix
from innerloop.data import FewShot, Sampler, Sinusoid
from innerloop.training.settings import Settings, optimizers

QUIET: dict[str, Any] = {"how": "vmap", "progress": False, "steps": 2}


def maml() -> il.MAML:
    torch.manual_seed(0)
    return il.MAML(il.nets.mlp(1, 8, 1), lr=0.01, likelihood=il.Gaussian(scale=1.0))


BAD: list[tuple[dict[str, Any], str]] = [
    ({"steps": 1.5}, "steps is 1.5"),
    ({"steps": True}, "steps is True"),
    ({"steps": "3"}, "steps is '3'"),
    ({"minutes": -1.0}, "minutes is -1.0"),
    ({"minutes": math.inf}, "minutes is inf"),
    ({"tasks_per_step": 2.0}, "tasks_per_step is 2.0"),
    ({"lr": math.nan}, "lr is nan.* above 0"),
    ({"lr": 0.0}, "lr is 0.0.* above 0"),
    ({"lr": -1e-3}, "lr is -0.001"),
    ({"lr": "fast"}, "lr is 'fast'"),
    ({"lr": 10**400}, "lr is 1000"),
    ({"weight_decay": -0.1}, "weight_decay is -0.1.* at least 0"),
    ({"weight_decay": math.inf}, "weight_decay is inf"),
    ({"warmup": 2}, "warmup is 2.* below 1"),
    ({"warmup": 1.0}, "warmup is 1.0"),
    ({"warmup": -0.1}, "warmup is -0.1"),
    ({"clip": -1}, "clip is -1.* above 0"),
    ({"clip": 0}, "clip is 0"),
    ({"clip": math.nan}, "clip is nan"),
    ({"average": 0.0}, "average is 0.0.* above 0 and below 1"),
    ({"average": 1.0}, "average is 1.0"),
    ({"average": 99}, "average is 99"),
    ({"reduction": "avg"}, "reduction='avg' is unknown"),
    ({"reduction": "means"}, "did you mean mean"),
    ({"aggregate": "upgrade"}, "did you mean upgrad"),
    ({"weighting": "uncertain"}, "did you mean uncertainty"),
    ({"optimizer": "Adan"}, "no optimizer 'Adan'.*did you mean Adam"),
    ({"optimizer": "Optimizer"}, "no optimizer 'Optimizer'"),
    ({"optimizer": "LBFGS"}, "no optimizer 'LBFGS' that follows a plain gradient"),
    ({"optimizer": "lr_scheduler"}, "no optimizer"),
    ({"optimizer": 3}, "no optimizer 3"),
    ({"optimizer": "Adafactor", "weight_decay": math.nan}, "weight_decay is nan"),
    ({"optimizer": "Rprop", "weight_decay": 0.1}, "Rprop has no weight decay"),
    ({"optimizer": lambda parameters: None}, "gives NoneType"),
    ({"optimizer": "SparseAdam"}, "no optimizer 'SparseAdam'"),
    ({"schedule": lambda optimizer: None}, "schedule= gives NoneType"),
    ({"schedule": torch.optim.lr_scheduler.ReduceLROnPlateau}, "gives ReduceLROnPlateau"),
    ({"validate": il.Pool.of(torch.zeros(4, 2), [0, 0, 1, 1])}, "validate is a Pool.*FewShot"),
    ({"schedule": "cosin"}, "did you mean cosine"),
    ({"schedule": None}, "schedule None is unknown"),
    ({"how": "vmapp"}, "choose auto, vmap, loop, chunk or patches"),
    ({"chunk": -1}, "must be at least 1"),
    ({"chunk": 1.5}, "chunk is 1.5"),
    ({"precision": "bf16"}, "precision"),
    ({"compiled": "maybe"}, "compiled='maybe'"),
    ({"memory": -1.0}, "memory is -1.0"),
    ({"memory": "4G"}, "memory is '4G'"),
    ({"validate_every": -1}, "validate_every is -1"),
    ({"validate_every": 0}, "validate_every is 0"),
    ({"validate_tasks": 0}, "validate_tasks is 0"),
    ({"save_seconds": -1.0}, "save_seconds is -1.0"),
    ({"save_seconds": math.nan}, "save_seconds is nan"),
    ({"seed": 2**64}, "seed=18446744073709551616"),
    ({"seed": -1}, "seed=-1"),
    ({"seed": 0.5}, "seed=0.5"),
    ({"seed": True}, "seed=True"),
    ({"device": "gpu"}, "the device 'gpu' is not there"),
    ({"device": "cpu:1"}, "the device 'cpu:1'"),
    ({"device": ""}, "the device ''"),
    ({"device": "meta"}, "it holds shapes, no numbers"),
    ({"resume": True, "out": None}, "resume=True needs the run's folder"),
]


@pytest.mark.parametrize(("options", "message"), BAD, ids=[f"{n}-{next(iter(one))}" for n, (one, _) in enumerate(BAD)])
def test_a_bad_option_is_refused_before_anything_is_written(
    options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    learner = maml()
    before = {name: value.clone() for name, value in learner.state_dict().items()}
    with pytest.raises(il.InputError, match=message):
        il.fit(learner, Sinusoid(), **{**QUIET, "out": tmp_path / "run", **options})
    assert list(tmp_path.iterdir()) == []
    assert all(torch.equal(value, before[name]) for name, value in learner.state_dict().items())


@pytest.mark.parametrize(
    "options",
    [
        {"steps": numpy.int64(2), "lr": numpy.float32(0.1), "seed": 2**64 - 1},
        {"clip": 5, "warmup": 0, "weight_decay": 0, "average": numpy.float64(0.5)},
        {"minutes": 60, "save_seconds": 0},
    ],
)
def test_numbers_of_any_library_pass(options: dict[str, Any]) -> None:
    assert il.fit(maml(), Sinusoid(), **{**QUIET, **options}).step == 2


@pytest.mark.parametrize("name", sorted(optimizers().keys() - {"Muon"}))
def test_every_optimizer_by_name(name: str) -> None:
    """Whether it has a weight decay and a fused kernel or not: a step changes the weights."""
    learner = maml()
    il.fit(learner, Sinusoid(), optimizer=name, schedule="constant", **QUIET)
    assert not torch.equal(learner.net[0].weight, maml().net[0].weight)


def test_settings_are_the_options_of_fit() -> None:
    """A recipe's training table can be checked by itself; nothing that ``fit`` takes of them has another default."""
    import inspect
    from dataclasses import fields

    own = inspect.signature(il.fit).parameters
    for field in fields(Settings):
        assert own[field.name].default == field.default, field.name
    with pytest.raises(il.InputError, match="clip is -1"):
        Settings(steps=1, clip=-1)


@pytest.mark.parametrize("name", ["cpu", torch.device("cpu"), "cpu:0"])
def test_a_device_that_is_there(name: Any) -> None:
    assert find_device(name).type == "cpu"


@pytest.mark.parametrize("name", ["cuda:99", "xla", "mps:7", "hpu", "CPU", "cpu:-1", "vulkan"])
def test_a_device_that_is_not_there(name: str) -> None:
    with pytest.raises(il.InputError, match=r"is not there .*; here is: cpu"):
        find_device(name)


def test_seeds_are_mixed_by_use_and_step() -> None:
    """Every use and step has a stream of its own, the same each time."""
    seen = {mix(seed, use, step) for seed in (0, 1) for use in ("train", "draws") for step in range(50)}
    assert len(seen) == 200
    assert torch.equal(torch.rand(3, generator=generator(1, "a", 2)), torch.rand(3, generator=generator(1, "a", 2)))
    check_seed(2**64 - 1)


def test_a_learner_without_parameters_is_refused() -> None:
    class Nearest(il.Learner):
        def adapt(self, support: il.Examples, state: Any = None) -> il.Examples:
            return support

        def predict(self, state: il.Examples, x: torch.Tensor) -> torch.Tensor:
            return -torch.cdist(x, state.x).unsqueeze(0)

    with pytest.raises(il.InputError, match="Nearest has no parameters to train"):
        il.fit(Nearest(il.Categorical()), Sinusoid(), **QUIET)


def test_what_is_no_learner_or_no_sampler_is_refused() -> None:
    with pytest.raises(il.InputError, match="a learner, not a Sequential"):
        il.fit(il.nets.mlp(1, 8, 1), Sinusoid(), **QUIET)
    with pytest.raises(il.InputError, match="sampler is a Pool"):
        il.fit(maml(), il.Pool.of(torch.zeros(4, 2), [0, 0, 1, 1]), **QUIET)


def test_a_lazy_layer_that_saw_nothing_is_refused() -> None:
    lazy = nn.Sequential(nn.LazyLinear(4), nn.Linear(4, 2))
    with pytest.raises(il.InputError, match=r"'encoder\.0\.weight' has no shape yet"):
        il.fit(il.ProtoNet(lazy), Sinusoid(), **QUIET)


def pool(classes: int = 6, each: int = 8) -> il.Pool:
    generator = torch.Generator().manual_seed(0)
    return il.Pool.of(torch.randn(classes * each, 4, generator=generator), torch.arange(classes).repeat(each))


def test_training_tasks_without_queries_are_named(tmp_path: Path) -> None:
    """The loss of no query is no number: the tasks are the reason, not the learning rate."""
    learner = il.ProtoNet(il.nets.mlp(4, 8, 4))
    with pytest.raises(il.InputError, match=r"the tasks have no queries, which ProtoNet needs.*queries=15"):
        il.fit(learner, FewShot(pool(), ways=3, shots=2, queries=0), out=tmp_path / "run", **QUIET)
    assert list(tmp_path.iterdir()) == []


class Spoilt(Sampler):
    """Sine waves with a value that is not finite."""

    classifies = False

    def draw(self, generator: Generator, tasks: int) -> il.Task:
        task = Sinusoid().draw(generator, tasks)
        task.query.y[-1, 0] = math.nan
        return task


@pytest.mark.parametrize(
    ("validate", "message"),
    [
        (lambda: FewShot(pool(), ways=4, shots=1, queries=2), "."),
        (lambda: FewShot(pool(), ways=3, shots=1, queries=0), "no queries"),
        (lambda: FewShot(pool(), ways=3, shots=1, queries=2, augment=il.data.Augment(shift=1.0)), "augment"),
        (Spoilt, "not finite"),
    ],
    ids=["ways", "queries", "augmented", "nan"],
)
def test_validation_tasks_are_looked_at_before_the_first_step(validate: Any, message: str, tmp_path: Path) -> None:
    """What could not be scored after a tenth of the run is refused before it, and before anything is written."""
    drawn: list[int] = []

    class Counting(FewShot):
        def draw(self, generator: Generator, tasks: int) -> il.Task:
            drawn.append(tasks)
            return super().draw(generator, tasks)

    learner = il.MAML(il.nets.mlp(4, 8, 3), lr=0.01)
    with pytest.raises(il.InputError, match=f"validation: .*{message}"):
        il.fit(
            learner, Counting(pool(), ways=3, shots=1, queries=2), validate=validate(), out=tmp_path / "run", **QUIET
        )
    assert drawn == [4]
    assert list(tmp_path.iterdir()) == []


def test_looking_at_validation_tasks_changes_nothing() -> None:
    """The losses are those of a run without validation, dropout included, bit for bit."""
    runs = []
    for validate in (None, FewShot(pool(), ways=3, shots=1, queries=2)):
        torch.manual_seed(0)
        learner = il.ProtoNet(il.nets.mlp(4, 8, 4, dropout=0.3))
        sampler = FewShot(pool(), ways=3, shots=1, queries=2)
        runs.append(il.fit(learner, sampler, validate=validate, validate_every=1, validate_tasks=9, **QUIET).losses)
    assert runs[0] == runs[1]
