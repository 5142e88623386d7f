"""Graphs that run without innerloop: equal to ours in onnxruntime and torch, for any number of examples and classes."""

from __future__ import annotations

import json
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.datasets import load_iris
from sklearn.exceptions import NotFittedError
from torch import Tensor, nn

import innerloop as il
from innerloop.core.repeat import repeated
from innerloop.estimators.choice import HEADS, ready
from innerloop.export import write
from innerloop.export.graphs import Adapt, Form, traced

pytest.importorskip("onnxruntime", reason="the extra is absent: pip install 'innerloop[export]'")
onnx = pytest.importorskip("onnx", reason="the extra is absent: pip install 'innerloop[export]'")

X, Y = load_iris(return_X_y=True)
FEATURES = 6
#: The usual heads, and those that photographs and sentences bring.
PORTABLE: dict[str, Callable[[], il.learners.Head]] = {
    **{name: make for name, make in HEADS.items() if name != "logistic"},
    "depths": lambda: il.learners.MixedRidge(
        parts=[(0, 3), (3, 6)], mixes=[(0.7, 0.3), (0.3, 0.7)], limits=[0.5], penalties=[0.03, 0.1, 0.3]
    ),
    "learned": lambda: il.learners.LearnedKernel(features=FEATURES),
}
Answer = Callable[[dict[str, Tensor]], Any]


def graph_of(module: nn.Module, inputs: dict[str, Tensor], axes: dict[str, dict[int, str]]) -> Answer:
    from innerloop.export.onnx_file import converted, runs, serialized

    form = Form(module, inputs, axes)
    return runs(serialized(converted(traced(form), form), {}))


class EveryHead(nn.Module):
    """What all heads make of a task, in one graph."""

    def __init__(self) -> None:
        super().__init__()
        self.each = nn.ModuleList(Adapt(ready(make()), 1.7, None) for make in PORTABLE.values())

    def forward(self, *inputs: Tensor) -> Tensor:
        return torch.stack([one(*inputs) for one in self.each])


class Systems(nn.Module):
    """Every operation of linear algebra that stands in for torch's."""

    def forward(self, *inputs: Tensor) -> Tensor:
        a, positive, b = inputs
        lower = torch.linalg.cholesky(positive)
        return torch.stack(
            (
                torch.linalg.solve(a, b),
                torch.linalg.solve(a, b[:, 0]).unsqueeze(1).expand_as(b),
                torch.linalg.solve_triangular(lower, b, upper=False),
                torch.linalg.solve_triangular(lower.mT, b, upper=True),
                torch.cholesky_solve(b, lower),
                torch.cholesky_solve(b.expand(2, *b.shape), lower.expand(2, *lower.shape))[1],
            )
        )


def task(examples: int, classes: int, queries: int, scale: float, seed: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x, query = (scale * torch.randn(n, FEATURES, generator=generator) for n in (examples, queries))
    y = torch.eye(classes)[torch.randint(0, classes, (examples,), generator=generator)]
    return {"support_x": x, "support_y": y, "query": query}


@pytest.fixture(scope="module")
def every_head() -> tuple[nn.Module, Answer]:
    module = EveryHead().eval()
    axes = {"support_x": {0: "examples"}, "support_y": {0: "examples", 1: "classes"}, "query": {0: "queries"}}
    return module, graph_of(module, task(7, 3, 2, 1.0, 0), axes)


@given(
    examples=st.integers(2, 40),
    classes=st.integers(2, 9),
    queries=st.integers(1, 4),
    scale=st.sampled_from([1e-3, 1.0, 30.0]),
    seed=st.integers(0, 1000),
)
def test_adapting_in_onnxruntime_is_ours_for_every_head_and_any_sizes(
    every_head: tuple[nn.Module, Answer], examples: int, classes: int, queries: int, scale: float, seed: int
) -> None:
    """Classes without an example, single examples, more than one block of equations, features of any length."""
    module, answer = every_head
    inputs = task(examples, classes, queries, scale, seed)
    with torch.no_grad():
        ours = module(*inputs.values()).numpy()
    theirs = answer(inputs)
    assert theirs.shape == (len(PORTABLE), queries, classes)
    np.testing.assert_allclose(theirs, ours, atol=1e-5, err_msg=str(list(PORTABLE)))


@pytest.mark.slow
def test_logistic_regression_is_solved_in_the_graph() -> None:
    """All Newton steps are one loop, each a factorization for each class."""
    module = Adapt(ready(HEADS["logistic"]()), 1.7, None).eval()
    axes = {"support_x": {0: "examples"}, "support_y": {0: "examples", 1: "classes"}, "query": {0: "queries"}}
    answer = graph_of(module, task(7, 3, 2, 1.0, 0), axes)
    for examples, classes, scale in ((5, 6, 1.0), (25, 5, 30.0), (25, 5, 1e-3), (60, 12, 1.0)):
        inputs = task(examples, classes, 3, scale, 1)
        with torch.no_grad():
            ours = module(*inputs.values()).numpy()
        np.testing.assert_allclose(answer(inputs), ours, atol=1e-5)


@pytest.fixture(scope="module")
def systems() -> Answer:
    size = {0: "n", 1: "n"}
    inputs = {"left": torch.eye(5).double(), "positive": torch.eye(5).double(), "right": torch.ones(5, 3).double()}
    return graph_of(Systems(), inputs, {"left": size, "positive": size, "right": {0: "n"}})


@given(size=st.integers(1, 100), condition=st.floats(0, 9), seed=st.integers(0, 1000))
def test_linear_algebra_is_torchs(systems: Answer, size: int, condition: float, seed: int) -> None:
    """As far as a condition number up to 1e9 lets two right ways agree."""
    generator = torch.Generator().manual_seed(seed)
    turn, other = (
        torch.linalg.qr(torch.randn(size, size, generator=generator, dtype=torch.float64))[0] for _ in range(2)
    )
    values = torch.logspace(0, -condition, size, dtype=torch.float64)
    inputs = {"left": turn * values @ other, "positive": turn * values @ turn.mT, "right": torch.ones(size, 3).double()}
    inputs["positive"] = (inputs["positive"] + inputs["positive"].mT) / 2
    ours = Systems()(*inputs.values()).numpy()
    gaps = np.abs(systems(inputs) - ours).max((1, 2)) / np.abs(ours).max((1, 2))
    assert (gaps < 1e-13 * 10**condition).all()


def test_a_system_with_zeros_on_its_diagonal_needs_a_pivot(systems: Answer) -> None:
    turned = torch.eye(40, dtype=torch.float64)[torch.arange(40).roll(1)]
    inputs = {"left": turned, "positive": torch.eye(40).double(), "right": torch.arange(120.0).view(40, 3).double()}
    np.testing.assert_array_equal(systems(inputs)[0], inputs["right"].roll(-1, 0).numpy())


def test_a_loop_of_steps_is_one_node_of_a_graph() -> None:
    class Halved(nn.Module):
        def forward(self, *inputs: Tensor) -> Tensor:
            a, b = inputs
            return repeated(lambda x, y: (x / 2, y + a), (b, a), 5)[1] + b

    inputs = {"a": torch.ones(3), "b": torch.ones(3)}
    form = Form(Halved(), inputs, {"a": {0: "n"}, "b": {0: "n"}})
    program = traced(form)
    torch.testing.assert_close(program.module()(*inputs.values()), torch.full((3,), 7.0))
    assert len(program.graph.nodes) < 20


@pytest.mark.parametrize("ending", ["onnx", "pt2"])
def test_a_file_says_what_it_is_and_gives_our_probabilities(ending: str, tmp_path: Path) -> None:
    model = il.FewShotClassifier(head="ridge").fit(X[::10], np.array(["setosa", "versicolor", "virginica"])[Y[::10]])
    path = tmp_path / f"iris.{ending}"
    made = write(model, path)
    assert made.inputs == {"features": ("queries", 4)}
    assert made.bytes == path.stat().st_size
    assert made.drift.largest < 1e-5
    ours, queries = model.predict_proba(X.astype(np.float32)), torch.from_numpy(X).float()
    if ending == "onnx":
        from innerloop.export.onnx_file import runs

        theirs = runs(path.read_bytes())({"features": queries})
        said = {one.key: one.value for one in onnx.load(str(path)).metadata_props}
    else:
        files = {"innerloop.json": ""}
        theirs = torch.export.load(path, extra_files=files).module()(queries).numpy()
        said = json.loads(files["innerloop.json"])
    np.testing.assert_allclose(theirs, ours, atol=1e-5)
    assert json.loads(said["innerloop.classes"]) == ["setosa", "versicolor", "virginica"]
    assert (said["innerloop.head"], said["innerloop.form"]) == ("ridge", "classify")
    assert float(said["innerloop.temperature"]) == model.temperature_
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_holds_neither_examples_that_it_does_not_need_nor_the_place_of_our_code(tmp_path: Path) -> None:
    """The weights of a ridge stand for its examples; a nearest neighbor is its examples."""
    source = str(Path(il.__file__).parent).encode()
    for head in ("ridge", "nearest"):
        model = il.FewShotClassifier(head=head).fit(X[::10], Y[::10])
        path = write(model, tmp_path / f"{head}.pt2").path
        with zipfile.ZipFile(path) as archive:
            content = b"".join(archive.read(name) for name in archive.namelist())
        assert (model.X_[3].tobytes() in content) == (head == "nearest")
        assert source not in content
    content = write(il.FewShotClassifier(head="ridge").fit(X[::10], Y[::10]), tmp_path / "ridge.onnx").path.read_bytes()
    assert X[30].tobytes() not in content
    assert source not in content


def test_pictures_go_in_as_pixels_and_the_network_is_part_of_both_forms(tmp_path: Path) -> None:
    from innerloop.encoders import Module

    random = np.random.default_rng(0)
    pictures = [random.integers(0, 256, (20, 30, 3), dtype=np.uint8) for _ in range(9)]
    net = nn.Sequential(nn.Conv2d(3, 4, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(196, 8)).eval()
    encoder = Module(net, size=16, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.2))
    model = il.FewShotClassifier(encoder=encoder, head="prototypes").fit(pictures, [*"abcabcabc"])
    made = write(model, tmp_path / "a.pt2", form="adapt")
    assert made.inputs["support_x"] == ("examples", 3, 16, 16)
    # The middle square, at 16 pixels.
    pixels = torch.stack([encoder_pixels(picture) for picture in pictures])
    rows = torch.eye(3)[torch.arange(9) % 3]
    theirs = torch.export.load(made.path).module()(pixels, rows, pixels[:4])
    np.testing.assert_allclose(theirs.detach().numpy(), model.predict_proba(pictures[:4]), atol=1e-5)


def encoder_pixels(picture: Any) -> Tensor:
    from PIL import Image

    from innerloop.data.images import image_tensor

    return image_tensor(Image.fromarray(picture), size=16, channels=3, fit="crop", name="a picture").float() / 255


def test_a_quantized_encoder_is_smaller_and_says_how_far_it_is_from_ours(tmp_path: Path) -> None:
    from innerloop.encoders import Module

    random = np.random.default_rng(0)
    pictures = [random.integers(0, 256, (16, 16, 3), dtype=np.uint8) for _ in range(6)]
    net = nn.Sequential(nn.Flatten(), nn.Linear(768, 64), nn.ReLU(), nn.Linear(64, 16)).eval()
    model = il.FewShotClassifier(encoder=Module(net, size=16), head="ridge").fit(pictures, [*"ababab"])
    small = write(model, tmp_path / "a.onnx", quantize=True)
    assert small.bytes < 0.4 * sum(4 * weight.numel() for weight in net.parameters())
    assert 0 < small.drift.largest < 0.1


def test_what_cannot_be_written_is_said_and_nothing_is(tmp_path: Path) -> None:
    model = il.FewShotClassifier(head="prototypes").fit(X[::10], Y[::10])
    there = tmp_path / "there.onnx"
    there.write_text("mine")
    refused: list[tuple[Any, dict[str, Any], str]] = [
        (there, {}, "is there already"),
        (tmp_path / "a.txt", {}, "ends in .txt"),
        (tmp_path / "a", {}, "ends in nothing"),
        (tmp_path / "no" / "a.onnx", {}, "there is no folder"),
        (tmp_path / "a.onnx", {"form": "adpat"}, "did you mean adapt"),
        (tmp_path / "a.pt2", {"quantize": True}, "ONNX files alone"),
        (tmp_path / "a.onnx", {"quantize": True}, "no encoder"),
    ]
    for path, options, why in refused:
        with pytest.raises(il.InputError, match=why):
            write(model, path, **options)
    assert there.read_text() == "mine"
    assert list(tmp_path.iterdir()) == [there]


def test_what_is_no_fitted_classifier_and_what_is_not_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(il.InputError, match="a ProtoNet cannot be written"):
        write(il.ProtoNet(il.nets.mlp(8, 4)), tmp_path / "a.onnx")  # type: ignore[arg-type]
    with pytest.raises(NotFittedError):
        write(il.FewShotClassifier(), tmp_path / "a.onnx")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(il.InputError, match=r"pip install 'innerloop\[export\]'"):
        write(il.FewShotClassifier(head="prototypes").fit(X[::10], Y[::10]), tmp_path / "a.onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_head_that_looks_at_the_number_of_examples_is_refused_by_its_name(tmp_path: Path) -> None:
    class Counting(il.learners.Prototypes):
        def adapt(self, support: Any, state: Any = None) -> Any:
            return super().adapt(il.Examples(support.x * len(support.x), support.y), state)

    model = il.FewShotClassifier(head=Counting()).fit(X[::10], Y[::10])
    with pytest.raises(il.InputError, match="'Counting' cannot be written as a graph of any number of examples"):
        write(model, tmp_path / "a.pt2", form="adapt")
    assert write(model, tmp_path / "a.pt2").drift.largest == 0
