"""Facts, sources and recipes: what learners are built from, without the data they came from."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from test_cli import Cli
from torch import nn

import innerloop as il
from innerloop.core.facts import Facts
from innerloop.core.options import check_options, check_type, keywords
from innerloop.core.parts import own_part
from innerloop.data import registry
from innerloop.data.source import Source, sampler
from innerloop.nets.spec import MAKERS, NetSpec
from innerloop.recipes import Recipe, defaults, learner_names

IMAGES = Facts("images", (1, 28, 28), 5, "classification")
EMBEDDED = [name for name, one in registry.SETS.items() if one.root != "needs"]


def test_facts_survive_json() -> None:
    facts = Facts("images", (3, 32, 32), 2, "classification", ("cat", "owl"), tasks=4)
    assert Facts.read(json.loads(json.dumps(facts.json()))) == facts


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"kind": "image"}, "did you mean images"),
        ({"objective": "regresion"}, "did you mean regression"),
        ({"targets": 0}, "at least 1"),
        ({"shape": (0, 3)}, "at least 1"),
        ({"classes": ("a",)}, "1 class names for 5 target columns"),
    ],
)
def test_facts_that_cannot_be_are_refused(values: dict[str, Any], says: str) -> None:
    good = {"kind": "vectors", "shape": (3,), "targets": 5, "objective": "classification"}
    with pytest.raises(il.InputError, match=says):
        Facts(**{**good, **values})


@pytest.mark.parametrize("values", [{}, {"kind": "images"}, {"shape": 3}, {"nosuch": 1}])
def test_what_is_no_facts_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(il.InputError, match="no facts"):
        Facts.read(values)


@pytest.mark.parametrize("name", EMBEDDED)
def test_every_embedded_source_keeps_its_word(name: str) -> None:
    """Its facts are those of what it draws, its kinds those that its entry states, and it says what is in it."""
    source = registry.read(name)
    assert isinstance(source, Source)
    drawn = sampler(source, "test", **({"ways": 3, "shots": 1, "queries": 2} if name == "glyphs" else {}))
    task = drawn.draw(torch.Generator().manual_seed(0), 2)
    # Tables of the prior differ in their columns; the facts say how many there can be.
    assert drawn.facts.shape == tuple(task.support.x.shape[2:]) or name.startswith("table_prior")
    assert drawn.facts.targets == task.query.y.shape[2] or name.startswith("table_prior")
    assert (drawn.facts.objective == "classification") == drawn.classifies
    assert source.facts.kind == drawn.facts.kind
    if "streams" not in registry.SETS[name].kinds:
        assert registry.SETS[name].kinds == drawn.facts.kinds
    description = source.describe()
    assert len(description.digest) == 16
    assert description.rows
    assert description.digest == registry.read(name).describe().digest


@pytest.mark.parametrize("learner", learner_names())
def test_every_learner_is_built_from_facts_alone(learner: str) -> None:
    """Of its own recipe's tasks; twice the same for the same seed, and it runs on them."""
    recipe = defaults(learner)
    if recipe.net or recipe.data == "glyphs":
        recipe.net["width"] = 8
    source = recipe.source()
    facts = recipe.sampler(source).facts
    if learner == "oml":
        recipe.net["width"] = [8, 8, 8, 64]
    built, again = recipe.build(facts), recipe.build(Facts.read(facts.json()))
    assert all(torch.equal(a, b) for a, b in zip(built.parameters(), again.parameters(), strict=True))
    queries = 2 if recipe.data == "glyphs" else None
    task = recipe.episodes_of(source, "test", queries=queries).draw(torch.Generator().manual_seed(0), 1)
    support = il.Examples(task.support.x[0], task.support.y[0])
    raw = built.eval().predict(built.adapt(support), task.query.x[0])
    assert raw.shape[1] == task.query.x.shape[1]


UNKNOWN: list[tuple[Callable[[], object], str]] = [
    (lambda: defaults("protonets"), "did you mean protonet"),
    (lambda: defaults("protonet", "glyph"), "did you mean glyphs"),
    (lambda: Recipe.read({"learner": "protonet", "sead": 1}), "no 'sead'.*did you mean seed"),
    (lambda: Recipe("protonet", options={"scales": 1.0}).check(), "did you mean scale"),
    (lambda: Recipe("protonet", training={"stepps": 1}).check(), "did you mean steps"),
    (lambda: Recipe("protonet", augment={"flipp": True}).check(), "did you mean flip"),
    (lambda: Recipe("protonet", likelihood={"smothing": 0.1}).check(), "did you mean smoothing"),
    (lambda: Recipe("protonet", validation={"wais": 5}).check(), "did you mean ways"),
    (lambda: Recipe("protonet", data="sinusoid", pool={"seeed": 5}).source(), "no option 'seeed'"),
    (lambda: Recipe("protonet", net={"widht": 8}).build(IMAGES), "did you mean width"),
    (lambda: Recipe("protonet", net={"name": "conv5"}).build(IMAGES), "did you mean conv4"),
    (lambda: sampler(registry.read("sinusoid"), "test", shoots=3), "did you mean shots"),
    (lambda: sampler(registry.read("sinusoid"), "tests"), "train, val or test"),
    (lambda: sampler(registry.read("sinusoid"), "test", "batchs"), "'batchs' is unknown"),
]


@pytest.mark.parametrize(("make", "says"), UNKNOWN)
def test_unknown_keys_are_refused_with_the_nearest(make: Callable[[], object], says: str) -> None:
    with pytest.raises(il.InputError, match=says):
        make()


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"seed": 2**64}, "seed"),
    ({"seed": -1}, "seed"),
    ({"seed": 1.5}, "whole number"),
    ({"seed": "1"}, "whole number"),
    ({"norm": "runing"}, "did you mean running"),
    ({"net": [1]}, "net"),
    ({"freeze": "encoder.*"}, "list"),
    ({"options": {"scale": "big"}}, "number"),
    ({"options": {"distance": "manhattan"}}, "euclidean"),
    ({"training": {"steps": 1.5}}, "whole number"),
    ({"training": {"lr": float("nan")}}, "nan|finite"),
    ({"training": {"lr": float("inf")}}, "finite"),
    ({"training": {"compiled": "maybe"}}, "true or false"),
    ({"augment": {"flip": 3}}, "true or false"),
    ({"likelihood": {"name": "poisson"}}, "unknown"),
    ({"likelihood": {"smoothing": 2.0}}, "smoothing"),
    ({"data": 3}, "word"),
]


@pytest.mark.parametrize(("values", "says"), WRONG, ids=lambda value: str(value)[:40])
def test_values_of_another_type_or_out_of_range_are_refused(values: dict[str, Any], says: str) -> None:
    with pytest.raises(il.InputError, match=says):
        Recipe.read({"learner": "protonet", **values})


def test_a_type_error_within_a_constructor_is_a_bug_again() -> None:
    """Options are checked by the signature; what goes wrong inside is not taken for a wrong option."""

    class Broken(il.ProtoNet):
        def adapt(self, support: il.Examples, state: Any = None) -> Any:
            return None + 1  # type: ignore[operator]

    with pytest.raises(TypeError):
        Broken(il.nets.conv4()).adapt(il.Examples(torch.zeros(1, 1, 28, 28), torch.ones(1, 1)))


def test_photographs_get_the_photographs_defaults_whatever_their_name() -> None:
    """A table of a recipe is for a kind of data, never for a name."""
    assert defaults("protonet", "mapped").episodes == defaults("protonet", "cifar_fs").episodes
    assert defaults("protonet", "mapped").augment["flip"]
    assert defaults("protonet", "omniglot").episodes == defaults("protonet", "glyphs").episodes


def test_networks_by_name() -> None:
    assert set(MAKERS) == {"conv4", "resnet12", "mlp"}
    assert isinstance(NetSpec().encoder((1, 28, 28)), il.nets.Conv4)
    assert NetSpec(options={"width": [7, 6]}).encoder((3,))[-1].out_features == 6
    assert NetSpec(norm="group").maps((1, 28, 28)).features == (64, 7, 7)
    with pytest.raises(il.InputError, match="no normalization layers"):
        NetSpec(norm="batch").encoder((3,))
    with pytest.raises(il.InputError, match="takes vectors"):
        NetSpec("mlp").encoder((1, 28, 28))


def test_own_parts() -> None:
    assert own_part("torch.nn:Linear", "network") is nn.Linear
    for name, says in {
        "nosuchmodule:X": "cannot be imported",
        "torch.nn:Linaer": "did you mean Linear",
        "torch nn:X": "package.module:Name",
        ":X": "package.module:Name",
    }.items():
        with pytest.raises(il.InputError, match=says):
            own_part(name, "network")


def test_options_are_checked_by_name_and_type() -> None:
    def function(a: int, *, b: float | None = None, c: tuple[int, ...] = (), d: dict[str, Any] | None = None) -> None:
        """Four arguments."""

    assert list(keywords(function)) == ["a", "b", "c", "d"]
    check_options(function, {"a": 1, "b": 2, "c": [1, 2], "d": {}}, "f")
    for options, says in [
        ({}, "needs a"),
        ({"a": True}, "a is True"),
        ({"a": 1, "b": "x"}, "a number or nothing"),
        ({"a": 1, "c": [1, "x"]}, "a list, each a whole number"),
        ({"a": 1, "e": 1}, "no option 'e'"),
    ]:
        with pytest.raises(il.InputError, match=says):
            check_options(function, options, "f")
    check_type("n", None, int | None)
    with pytest.raises(il.InputError, match="nan"):
        check_type("n", float("nan"), float)


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    return Cli(monkeypatch, capsys)


def test_a_moved_run_needs_no_data(cli: Cli, tmp_path: Path) -> None:
    """Trained here, its folder moved, its data gone: the learner loads and is scored on other data."""
    data = tmp_path / "data"
    generator = torch.Generator().manual_seed(0)
    for split in ("train", "val", "test"):
        classes = [(f"{split}{c}", torch.rand(8, 1, 28, 28, generator=generator)) for c in range(6)]
        il.data.write_pool(data / split, classes)
    words = ["train", "protonet", "--data", "mapped", "--root", data, "--ways", 3, "--shots", 1, "--queries", 2]
    run, moved = tmp_path / "run", tmp_path / "elsewhere" / "run"
    small = ["--steps", 2, "--width", 8, "--set", "validation.tasks=4", "--set", "validation.ways=3", "--quiet"]
    assert cli(*words, *small, "--out", run)[0] == 0
    evaluate = ["--ways", 3, "--queries", 2, "--tasks", 5, "--json", "--data", "glyphs"]
    before = json.loads(cli("evaluate", run, *evaluate)[1])
    moved.parent.mkdir()
    shutil.move(run, moved)
    shutil.rmtree(data)
    code, out, _ = cli("evaluate", moved, *evaluate)
    assert code == 0
    after = json.loads(out)
    assert after == before
    code, _, err = cli("evaluate", moved, "--tasks", 5)
    assert code == 2
    assert str(data) in err


def test_a_folder_of_fit_is_scored_and_compared_on_data_that_one_names(cli: Cli, tmp_path: Path) -> None:
    """``fit(out=)`` knows no recipe; its bundle is judged all the same."""
    maml = il.MAML(il.nets.mlp(1, 8, 1), lr=0.01, likelihood=il.Gaussian(scale=1.0))
    sines = il.data.Sinusoid(shots=5, queries=5)
    il.fit(maml, sines, steps=2, progress=False, out=tmp_path / "run")
    code, out, _ = cli("evaluate", tmp_path / "run", "--data", "sinusoid", "--shots", 5, "--tasks", 7, "--json")
    assert code == 0
    expected = il.evaluate(maml, il.data.Sinusoid(shots=5, queries=10), tasks=7)
    assert json.loads(out)["mse"] == pytest.approx(expected.value, rel=1e-6)
    code, _, err = cli("evaluate", tmp_path / "run")
    assert code == 2
    assert "recipe.json is missing" in err
