"""Convolutions as matrix products of patches: the numbers of the loop, of any order that an inner loop asks for."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import gradcheck, gradgradcheck
from torch.nn import functional as F

import innerloop as il
from innerloop.core import patches
from innerloop.core.norm.standard import standardized
from innerloop.core.patches import Geometry, convolution, patched

#: Of the blocks; with two poolings the last map has several pixels: a norm of one number is nothing but rounding.
CHANNELS = (4, 4, 4, 4)


@pytest.fixture
def tiny_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of a few patches, so that an image set, and a batch of tasks, falls into several."""
    monkeypatch.setattr(patches, "_CACHE", 2_000)


def tasks(count: int, queries: int = 3) -> il.Task:
    """Three ways, one shot, float64."""
    generator = torch.Generator().manual_seed(1)
    xs, xq = (torch.randn(count, 3 * n, 1, 16, 16, generator=generator).double() for n in (1, queries))
    ys, yq = (torch.eye(3).double().repeat(n, 1).expand(count, -1, -1) for n in (1, queries))
    return il.Task(il.Examples(xs, ys), il.Examples(xq, yq))


def gradients(learner: il.Learner, batch: il.Task, how: Any, chunk: int | None = None) -> dict[str, Tensor]:
    learner.zero_grad()
    losses = il.lift(learner, how, chunk).backward(batch)
    return {"losses": losses, **{name: p.grad.clone() for name, p in learner.named_parameters() if p.grad is not None}}


@pytest.mark.parametrize(
    ("kernel", "stride", "padding"), [(3, 1, 1), (3, 2, 1), (1, 1, 0), (2, 2, 0), ((3, 1), (1, 2), (2, 0))]
)
def test_a_convolution_is_that_of_torch(kernel: Any, stride: Any, padding: Any, tiny_cache: None) -> None:
    layer = nn.Conv2d(3, 4, kernel, stride, padding).double()
    x = torch.randn(5, 3, 7, 6, dtype=torch.float64, requires_grad=True)
    with patched():
        ours = layer(x)
    plain = layer(x)
    assert torch.allclose(ours, plain, rtol=0, atol=1e-12)
    slopes = [torch.autograd.grad((y * y.detach().sin()).sum(), [x, *layer.parameters()]) for y in (ours, plain)]
    for found, wanted in zip(*slopes, strict=True):
        assert torch.allclose(found, wanted, rtol=0, atol=1e-11)


def test_what_is_no_plain_convolution_stays_as_it_is() -> None:
    x = torch.randn(2, 4, 8, 8)
    for layer in (nn.Conv2d(4, 4, 3, groups=2), nn.Conv2d(4, 4, 3, dilation=2), nn.Conv2d(4, 4, 3, padding="same")):
        with patched():
            found = layer(x)
        assert torch.equal(found, layer(x))


def test_a_convolution_has_its_second_derivative(tiny_cache: None) -> None:
    x = torch.randn(2, 1, 4, 4, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(2, 1, 3, 3, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(2, dtype=torch.float64, requires_grad=True)

    def run(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return convolution(x, weight, bias, Geometry((3, 3), (2, 2), (1, 1)))

    assert gradcheck(run, (x, weight, bias))
    assert gradgradcheck(run, (x, weight, bias))


def test_a_norm_has_its_second_derivative() -> None:
    y, weight, bias = (torch.randn(2, n, 3, dtype=torch.float64, requires_grad=True) for n in (6, 1, 1))
    assert gradcheck(lambda *at: standardized(*at, 1e-5), (y, weight, bias))
    assert gradgradcheck(lambda *at: standardized(*at, 1e-5), (y, weight, bias))
    rows = y.detach()[0].T.unsqueeze(0)
    plain = F.batch_norm(rows, None, None, weight[0, 0], bias[0, 0], training=True)
    assert torch.allclose(standardized(y, weight, bias, 1e-5)[0], plain[0].T, rtol=0, atol=1e-12)


@pytest.mark.parametrize("first_order", [False, True])
@pytest.mark.parametrize("policy", ["support", "batch", "group", "none"])
@pytest.mark.parametrize("pool", ["max", "stride"])
def test_patches_are_the_loop(pool: Any, policy: str, first_order: bool, tiny_cache: None) -> None:
    torch.manual_seed(0)
    net = il.nets.conv4((1, 16, 16), width=CHANNELS, out=3, norm=policy, pool=pool, pools=2)
    learner = il.MAML(net, steps=2, lr=0.1, first_order=first_order).double()
    batch = tasks(3)
    wanted = gradients(learner, batch, "loop")
    for chunk in (None, 2):
        found = gradients(learner, batch, "patches", chunk)
        assert found.keys() == wanted.keys()
        for name, tensor in wanted.items():
            assert torch.allclose(found[name], tensor, rtol=1e-10, atol=1e-10), name
    assert torch.allclose(
        il.lift(learner, "patches").predict(batch), il.lift(learner, "loop").predict(batch), rtol=1e-10, atol=1e-10
    )


@pytest.mark.parametrize("kind", ["anil", "metasgd", "reptile", "imaml", "shared"])
def test_patches_are_the_loop_for_its_relatives(kind: str) -> None:
    torch.manual_seed(0)
    net = il.nets.conv4((1, 16, 16), width=CHANNELS, out=1 if kind == "shared" else 3, norm="support", pool="stride")
    learner: il.Learner = {
        "anil": lambda: il.ANIL(net, steps=2, lr=0.1),
        "metasgd": lambda: il.MetaSGD(net, steps=1, lr=0.1),
        "reptile": lambda: il.Reptile(net, steps=2, lr=0.1),
        "imaml": lambda: il.learners.IMAML(net, steps=2, lr=0.1, cg_steps=2),
        "shared": lambda: il.MAML(net, steps=2, lr=0.1, shared_head="out"),
    }[kind]()
    learner.double()
    wanted, found = (gradients(learner, tasks(2), how) for how in ("loop", "patches"))
    for name, tensor in wanted.items():
        assert torch.allclose(found[name], tensor, rtol=1e-9, atol=1e-10), name


def test_auto_tries_patches_where_there_are_convolutions(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INNERLOOP_CACHE", str(tmp_path))
    torch.manual_seed(0)
    net = il.nets.conv4((1, 16, 16), width=CHANNELS, out=3, norm="support", pool="stride")
    lifted = il.lift(il.MAML(net, steps=1, lr=0.1).double())
    lifted.backward(tasks(2))
    assert "patches " in lifted.why
    assert "does not run" not in lifted.why
    sines = il.data.Sinusoid(shots=4, queries=2).draw(torch.Generator(), 2)
    mlp = il.lift(il.MAML(il.nets.mlp(1, 8, 1), steps=1, lr=0.01, likelihood=il.Gaussian(scale=1.0)))
    mlp.backward(sines)
    assert "patches" not in mlp.why


def test_patches_are_not_compiled() -> None:
    with pytest.raises(il.InputError, match="cannot be compiled"):
        il.lift(il.MAML(il.nets.mlp(1, 8, 1)), "patches", compiled=True)
