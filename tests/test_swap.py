"""Modules run with other tensors: each slot once, and everything back."""

from __future__ import annotations

import contextlib
import copy

import laws
import oracles
import pytest
import torch
from torch import Generator, Tensor, nn

import innerloop as il
from innerloop.core import inner
from innerloop.core.compiled import Compiled
from innerloop.core.swap import swapped


class Twice(nn.Module):
    """A layer that can be reached under two names, and a weight that two layers share."""

    def __init__(self, tied: bool = True) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(8, 8), nn.Linear(8, 3)
        self.all = nn.ModuleList([self.first, nn.Tanh(), self.last])
        self.again = nn.Linear(8, 8)
        if tied:
            self.again.weight = self.first.weight
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        x = self.all[1](self.all[0](x))
        return self.last(self.again(x).tanh())


def episode(count: int = 3) -> il.Task:
    y = torch.eye(3).repeat(2, 1).double().expand(count, 6, 3)
    return il.Task(*(il.Examples(torch.randn(count, 6, 8).double(), y) for _ in range(2)))


def test_a_layer_under_two_names_keeps_its_weights() -> None:
    """Adapting, predicting and evaluating leave the learner's own parameters, the same objects with the same values."""
    net = Twice().double()
    learner, tasks = il.MAML(net, steps=2, lr=0.1), episode()
    own, values = dict(net.named_parameters()), {k: v.clone() for k, v in net.state_dict().items()}
    state = learner.adapt(laws.one(tasks, 0).support)
    learner.predict(state, tasks.query.x[0])
    for how in ("loop", "vmap", "auto"):
        il.lift(learner, how).predict(tasks)
        il.lift(learner, how).backward(tasks)
    laws.assert_same(net.state_dict(), values)
    for name, p in net.named_parameters():
        assert p is own[name]
        assert p.grad is not None
    assert net.all[0].weight is net.first.weight is net.again.weight


def test_the_gradient_of_such_a_network_is_that_of_its_plain_twin() -> None:
    """In every way of lifting, compiled steps included: the oracle's, on a network with one name a layer."""
    net = Twice().double()
    learner, tasks = il.MAML(net, steps=2, lr=0.1), episode(1)
    plain = copy.deepcopy(net)
    del plain.all
    plain.all = [plain.first, nn.Tanh()]
    loss, wanted = oracles.maml_gradient(plain, laws.one(tasks, 0), oracles.cross_entropy, 0.1, 2)
    for how in ("loop", "vmap"):
        torch.testing.assert_close(il.lift(learner, how).backward(tasks), loss.unsqueeze(0))
        laws.assert_close(laws.accumulated(net), wanted)
        step = Compiled(learner, il.lift(learner, how)._losses)
        losses, slopes = step.trace(tasks)(step.inputs(), tasks)
        torch.testing.assert_close(losses, loss.unsqueeze(0))
        laws.assert_close(dict(zip(wanted, slopes, strict=True)), wanted)


def test_a_shared_tensor_is_exchanged_wherever_it_is() -> None:
    """The first name's value counts for all names; inside and after an error the rest is as it was."""
    net, x = Twice(), torch.randn(4, 8)
    other = torch.randn(8, 8)
    plain = copy.deepcopy(net)
    with torch.no_grad():
        plain.first.weight.copy_(other)
    assert torch.equal(inner.call(net, {"first.weight": other}, x), plain(x))
    with contextlib.suppress(ZeroDivisionError), swapped(net, {"first.weight": other, "seen": torch.ones(())}):
        assert net.again.weight is net.all[0].weight is other
        net.seen = net.seen + 1
        1 / 0  # noqa: B018
    assert isinstance(net.again.weight, nn.Parameter)
    assert float(net.seen) == 0


def test_what_is_bound_anew_within_does_not_stay() -> None:
    """A buffer that a forward pass replaces: under a transform it would be the transform's own."""

    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(8, 3)
            self.register_buffer("total", torch.zeros(()))

        def forward(self, x: Tensor) -> Tensor:
            self.total = self.total + x.mean()
            return self.layer(x)

    net = Counting().double()
    learner, tasks = il.MAML(net, lr=0.1), episode()
    for how in ("loop", "vmap"):
        il.lift(learner, how).backward(tasks)
        assert float(net.total) == 0


def test_an_unknown_name_is_refused() -> None:
    """With the nearest one; nothing is exchanged."""
    net = Twice()
    with pytest.raises(il.InputError, match=r"no parameter or buffer 'first.wieght' \(did you mean first.weight\?\)"):
        inner.call(net, {"first.wieght": torch.zeros(8, 8), "last.bias": torch.ones(3)}, torch.zeros(1, 8))
    assert net.last.bias.requires_grad


@pytest.mark.parametrize("tied", [True, False])
def test_a_tied_output_weight_adapts_wholly_or_is_refused(tied: bool) -> None:
    """Of a head that shares its weight only the bias would adapt, or nothing at all."""

    class Tied(nn.Module):
        def __init__(self, bias: bool) -> None:
            super().__init__()
            self.embed, self.middle, self.out = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8, bias=bias)
            if tied:
                self.out.weight = self.embed.weight

        def forward(self, x: Tensor) -> Tensor:
            return self.out(self.middle(self.embed(x).tanh()).tanh())

    for bias in (True, False):
        for make in (
            lambda net: il.ANIL(net),
            lambda net: il.learners.BOIL(net),
            lambda net: il.MAML(net, adapts="out.*"),
            lambda net: il.MAML(net, adapts=["embed.weight", "middle.*"]),
        ):
            net = Tied(bias)
            if tied:
                with pytest.raises(il.InputError, match=r"embed.weight and out.weight are one parameter, and adapts="):
                    make(net)
            else:
                assert make(net).adapts
        assert "embed.weight" in il.MAML(Tied(bias)).adapts
        assert il.MAML(Tied(bias), adapts=["*.weight"]).adapts
    net = Tied(bias=True)
    il.freeze(net, "out.*")
    assert not net.out.weight.requires_grad
    assert net.embed.weight.requires_grad != tied


def test_a_layer_under_two_names_adapts_under_either() -> None:
    """It is no tie: both names are the same layer."""
    assert il.MAML(Twice(tied=False), adapts="first.*").adapts == ["first.weight", "first.bias"]
    assert il.ANIL(Twice(tied=False)).adapts == ["again.weight", "again.bias"]


@pytest.mark.parametrize("layer", [nn.LazyLinear(3), nn.LazyBatchNorm1d()], ids=repr)
def test_lazy_layers_are_refused_until_they_have_seen_a_batch(layer: nn.Module) -> None:
    """By name and with the remedy, in each learner; then they train."""
    net = nn.Sequential(nn.Linear(8, 8), layer)
    for make in (il.MAML, il.ANIL, il.Reptile, il.MetaSGD, il.learners.MAMLPlusPlus):
        with pytest.raises(il.InputError, match=r"layer '1' \(Lazy.*\) is lazy.*run one batch"):
            make(net)
    sampler = il.data.FewShot(il.Pool.of(torch.randn(40, 8), [i // 10 for i in range(40)]), ways=3, shots=2, queries=2)
    learner = il.ProtoNet(net)
    with pytest.raises(il.InputError, match=r"layer 'encoder.1' \(Lazy.*\) is lazy.*run one batch"):
        il.lift(learner)
    with pytest.raises(il.InputError, match=r"encoder.1"):
        il.fit(learner, sampler, steps=1, progress=False)
    net(torch.randn(4, 8))
    il.fit(learner, sampler, steps=1, progress=False)
    assert il.lift(learner, "loop").loss(sampler.draw(Generator(), 2)).isfinite().all()
