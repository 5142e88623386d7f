"""What anybody writes outside the package goes through every verb by its name: learner, data set, network, tasks."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from test_cli import Cli

import innerloop as il
from innerloop.recipes import load

#: A module of somebody's own: a learner of class means with a learned scale, blobs, a network, and tasks that can be
#: stopped from the keyboard.
OUTSIDE = '''
import os
import signal
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

import innerloop as il

STOP = Path(__file__).with_name("stop")


class Means(NamedTuple):
    sums: torch.Tensor
    counts: torch.Tensor


class Toy(il.Learner):
    """The nearest class mean, on a scale that is learned."""

    network = "encoder"

    def __init__(self, encoder, *, temperature: float = 1.0, likelihood=None):
        super().__init__(likelihood or il.Categorical())
        self.encoder, self.temperature = encoder, temperature
        self.log_scale = nn.Parameter(torch.zeros(()))

    @classmethod
    def from_facts(cls, facts, nets, **options):
        return cls(nets.encoder(facts.shape), **options)

    def adapt(self, support, state=None):
        z = self.encoder(support.x)
        sums, counts = support.y.T @ z, support.y.sum(0)
        return Means(sums, counts) if state is None else Means(state.sums + sums, state.counts + counts)

    def predict(self, state, x):
        means = state.sums / state.counts.clamp(min=1).unsqueeze(1)
        return (-self.log_scale.exp() / self.temperature * torch.cdist(self.encoder(x), means)).unsqueeze(0)


def blobs(*, classes: int = 12, spread: float = 0.5):
    """Points about the places of their classes."""
    generator = torch.Generator().manual_seed(0)

    def pool(split):
        places = 2 * torch.randn(classes, 3, generator=generator)
        labels = torch.arange(classes).repeat_interleave(20)
        x = places[labels] + spread * torch.randn(len(labels), 3, generator=generator)
        return il.Pool.of(x, labels, names=[f"{split}{number}" for number in range(classes)])

    return il.Pools(pool("train"), pool("val"), pool("test"), "blobs")


def from_folder(root):
    """What is read from a folder."""
    return blobs()


def number():
    """No source."""
    return 3


def stream(*, per_task: int = 2):
    """The test classes, some after the others."""
    return il.continual.Split(blobs().test, per_task=per_task, shots=12, held_out=8)


class Net(nn.Module):
    """One layer."""

    def __init__(self, shape, *, width: int = 4):
        super().__init__()
        self.layer, self.features = nn.Linear(shape[0], width), (width,)

    def forward(self, x):
        return self.layer(x).tanh()


def net(shape, *, width: int = 4):
    """The same by a function."""
    return Net(shape, width=width)


class Stopped(il.FewShot):
    """Episodes whose third draw presses Ctrl-C, where a file asks for it."""

    draws = 0

    def draw(self, generator, tasks):
        self.draws += 1
        if STOP.exists() and self.draws == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return super().draw(generator, tasks)
'''
PARTS = ["outside.toy:Toy", "--data", "outside.toy:blobs", "--set", "net.name=outside.toy:net", "--set", "net.width=6"]
SMALL = ["--set", "validation.tasks=4", "--set", "training.how=loop", "--set", "episodes.ways=3"]
SIZES = ["--ways", "3", "--shots", "2", "--queries", "4", "--tasks-per-step", "2", "--steps", "4"]
TRAIN = [*PARTS, *SMALL, *SIZES, "--quiet"]


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package of somebody's own on the path of this process."""
    folder = tmp_path / "site" / "outside"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    (folder / "toy.py").write_text(OUTSIDE)
    monkeypatch.syspath_prepend(folder.parent)
    yield folder
    for name in [name for name in sys.modules if name.partition(".")[0] == "outside"]:
        del sys.modules[name]


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    return Cli(monkeypatch, capsys)


def report(cli: Cli, *words: object) -> dict[str, object]:
    code, out, err = cli(*words, "--json")
    assert code == 0, err
    return json.loads(out)


def test_every_verb(outside: Path, cli: Cli, tmp_path: Path) -> None:
    """Train, evaluate, compare, load: by names alone, and the same scores from the learner in hand."""
    run, other = tmp_path / "run", tmp_path / "other"
    code, _, err = cli("train", *TRAIN, "--out", run)
    assert code == 0, err
    code, _, err = cli("train", *TRAIN, "--set", "options.temperature=2.0", "--seed", 1, "--out", other)
    assert code == 0, err
    found = report(cli, "evaluate", run, "--tasks", 10, "--seed", 3)
    assert (found["ways"], found["shots"], found["tasks"]) == (3, 2, 10)
    both = report(cli, "compare", run, other, "--tasks", 10, "--seed", 3)
    assert both["first"]["accuracy"] == found["accuracy"]
    assert both["first"]["episodes"] == both["second"]["episodes"]
    toy = importlib.import_module("outside.toy")
    learner = il.load(run, allow={"outside"})
    assert type(learner) is toy.Toy
    assert learner.encoder.layer.out_features == 6
    # Whoever names a run by its recipe trusts what the recipe names.
    assert load(other).temperature == 2.0
    sampler = il.FewShot(toy.blobs().test, ways=3, shots=2, queries=4)
    assert il.evaluate(learner, sampler, tasks=10, seed=3).value == pytest.approx(found["accuracy"])


def test_interrupted_and_resumed(outside: Path, cli: Cli, tmp_path: Path) -> None:
    """A run stopped from within its own tasks goes on to the losses of one that was not."""
    own = [*TRAIN, "--set", "episodes.kind=outside.toy:Stopped"]
    assert cli("train", *own, "--out", tmp_path / "whole")[0] == 0
    (outside / "stop").touch()
    assert cli("train", *own, "--out", tmp_path / "parts")[0] == 130
    (outside / "stop").unlink()
    code, _, err = cli("resume", tmp_path / "parts", "--quiet")
    assert code == 0, err
    losses = [
        [json.loads(line)["loss"] for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        for name in ("whole", "parts")
    ]
    assert len(losses[0]) == 4
    assert losses[0] == losses[1]


def test_swept(outside: Path, cli: Cli, tmp_path: Path) -> None:
    """Its own option is tried, and the trials are runs."""
    pytest.importorskip("optuna")
    words = [*PARTS, *SMALL, "--steps", 2]
    tried = ["--try", "options.temperature=[0.5, 2.0]", "--trials", 2]
    found = report(cli, "sweep", *words, *tried, "--out", tmp_path / "sweep")
    assert len(found["trials"]) == 2
    assert found["best"]["parameters"]["options.temperature"] in (0.5, 2.0)


def test_folded_over_a_stream(outside: Path, cli: Cli, tmp_path: Path) -> None:
    """As it is, by name, and as it was trained, by its run: a learner is a fold."""
    words = ["--stream", "outside.toy:stream", "--orders", 1]
    by_name = report(cli, "continual", "outside.toy:Toy", *words, "--set", "temperature=0.5")
    assert cli("train", *TRAIN, "--out", tmp_path / "run")[0] == 0
    by_run = report(cli, "continual", tmp_path / "run", *words)
    # Class means do not forget: what both have at the end is more than guessing among twelve.
    for found in (by_name, by_run):
        assert found["acc"]["mean"] > 2 / 12


def test_tasks_and_states_of_ones_own(outside: Path, cli: Cli, tmp_path: Path) -> None:
    """An adapted task is saved and loaded with its class names, and answers the same to the bit."""
    assert cli("train", *TRAIN, "--out", tmp_path / "run")[0] == 0
    learner = il.load(tmp_path / "run", allow={"outside"})
    x = torch.rand(6, 3, generator=torch.Generator().manual_seed(0))
    state = learner.adapt(il.examples(x, ["cat", "dog", "owl"] * 2))
    il.save(tmp_path / "task", learner, state=state, classes=["cat", "dog", "owl"])
    task = il.load(tmp_path / "task", allow={"outside"})
    assert torch.equal(task.proba(x), learner.proba(state, x))


REFUSED = [
    (["outside.toy:Toi", "--data", "outside.toy:blobs"], "did you mean Toy"),
    (["outside.toy:Net", "--data", "outside.toy:blobs"], "no class of learners"),
    (["outside.toys:Toy", "--data", "outside.toy:blobs"], "cannot be imported"),
    (["outside.toy:Toy", "--data", "outside.toy:blob"], "did you mean blobs"),
    (["outside.toy:Toy", "--data", "outside.toy:net"], "needs shape"),
    (["outside.toy:Toy", "--data", "outside.toy:from_folder"], "give --root DIR"),
    (["outside.toy:Toy", "--data", "outside.toy:blobs", "--root", "."], "not read from a folder"),
    (["outside.toy:Toy", "--data", "outside.toy:STOP"], "must be a source"),
    (["outside.toy:Toy", "--data", "outside.toy:number"], "no source"),
    ([*PARTS, "--set", "options.temperatur=1"], "did you mean temperature"),
    ([*PARTS, "--set", "options.temperature=warm"], "temperature is 'warm'"),
    ([*PARTS, "--set", "net.widht=3"], "did you mean width"),
    ([*PARTS, "--set", "pool.clases=3"], "did you mean classes"),
    ([*PARTS, "--set", "episodes.kind=outside.toy:Stoped"], "did you mean Stopped"),
]


@pytest.mark.parametrize(("words", "says"), REFUSED, ids=[says for _, says in REFUSED])
def test_wrong_names_are_refused(words: list[str], says: str, outside: Path, cli: Cli, tmp_path: Path) -> None:
    """One line with the nearest name, and no folder left behind."""
    code, _, err = cli("train", *words, "--steps", 1, "--out", tmp_path / "run")
    assert code == 2
    assert says in err
    assert not (tmp_path / "run").exists()
