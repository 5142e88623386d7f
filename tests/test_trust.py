"""A way of lifting is believed only after its results agree with the loop's; a trial leaves no trace."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import laws
import pytest
import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

import innerloop as il
from innerloop.core import trust
from innerloop.core.agreement import difference
from innerloop.core.compiled import Compiled
from innerloop.core.fingerprint import code_of, key_of
from innerloop.core.swap import undisturbed


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is remembered from other tests."""
    monkeypatch.setenv("INNERLOOP_CACHE", str(tmp_path / "cache"))


class Called(nn.Module):
    """A normalization that no list of layers knows: a function, with a scale and a shift of the module's own."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.scale, self.shift = nn.Parameter(torch.ones(8)), nn.Parameter(torch.zeros(8))

    def forward(self, x: Tensor) -> Tensor:
        if self.kind == "layer":
            return F.layer_norm(x, (8,), self.scale, self.shift)
        if self.kind == "batch":
            return F.batch_norm(x, None, None, self.scale, self.shift, training=True)
        if self.kind == "group":
            return F.group_norm(x, 2, self.scale, self.shift)
        maps = torch.stack((x, x.sin(), x.exp(), x**2), 2)
        return F.instance_norm(maps, None, None, self.scale, self.shift)[:, :, 0]


class Wrapped(il.Learner):
    """Another learner, and nothing of its attributes."""

    def __init__(self, learner: il.Learner) -> None:
        super().__init__(learner.likelihood)
        self.within = learner

    def adapt(self, support: il.Examples, state: object = None) -> object:
        return self.within.adapt(support, state)

    def predict(self, state: object, x: Tensor) -> Tensor:
        return self.within.predict(state, x)


def network(*layers: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 8), *layers, nn.Tanh(), nn.Linear(8, 3))


def tasks(count: int = 4, dtype: torch.dtype = torch.float64) -> il.Task:
    y = torch.eye(3, dtype=dtype).repeat(2, 1).expand(count, 6, 3)
    return il.Task(*(il.Examples(torch.randn(count, 6, 4, dtype=dtype), y) for _ in range(2)))


WRONG: dict[str, Callable[[], il.Learner]] = {
    "F.layer_norm": lambda: il.MAML(network(Called("layer")), lr=0.1),
    "F.batch_norm": lambda: il.MAML(network(Called("batch")), lr=0.1),
    "F.instance_norm": lambda: il.MAML(network(Called("instance")), lr=0.1),
    "a wrapper": lambda: Wrapped(il.MAML(network(nn.LayerNorm(8)), lr=0.1)),
    "within dropout": lambda: Wrapped(il.MAML(network(nn.LayerNorm(8), nn.Dropout(0.5)), lr=0.1)),
    "Meta-SGD": lambda: Wrapped(il.MetaSGD(network(nn.BatchNorm1d(8, track_running_stats=False)), lr=0.1)),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_gradient_under_vmap_is_never_used(name: str) -> None:
    """Asked for, it is refused with the remedy, in single precision too; ``auto`` leaves it out and says so."""
    learner, batch = WRONG[name](), tasks(dtype=torch.float32)
    for lifted in (il.lift(learner, "vmap"), il.lift(learner, "chunk"), il.lift(learner, "vmap", chunk=1)):
        for run in (lifted.backward, lifted.loss):
            with pytest.raises(
                il.InputError, match=r"under vmap.*the gradient by .* differs from the loop's.*how='loop'"
            ):
                run(batch)
    assert all(p.grad is None for p in learner.parameters())
    torch.manual_seed(3)
    auto = il.lift(learner)
    auto.backward(batch)
    assert auto.how == "loop"
    assert "vmap does not run this learner rightly" in auto.why


RIGHT: dict[str, Callable[[], il.Learner]] = {
    "F.group_norm": lambda: il.MAML(network(Called("group")), lr=0.1),
    "first order": lambda: il.MAML(network(nn.LayerNorm(8)), lr=0.1, first_order=True),
    "no steps": lambda: il.MAML(network(nn.LayerNorm(8)), lr=0.1, steps=0),
    "no inner loop": lambda: il.ProtoNet(network(nn.LayerNorm(8))),
    "dropout": lambda: il.MAML(network(nn.Dropout(0.5)), lr=0.1),
    "a wrapper": lambda: Wrapped(il.MAML(network(il.norm.layer("batch", 8)), lr=0.1)),
}


@pytest.mark.parametrize("name", RIGHT)
def test_a_right_gradient_under_vmap_is_not_refused(name: str) -> None:
    """What the layers would let one suspect does not matter."""
    learner = RIGHT[name]().double()
    lifted = il.lift(learner, "vmap")
    assert lifted.backward(tasks()).isfinite().all()
    assert lifted.why == "as asked"


def test_predictions_are_compared_too() -> None:
    """A learner that predicts other things under vmap than in a loop is refused there."""

    class Strange(il.ProtoNet):
        def predict(self, state: Any, x: Tensor) -> Tensor:
            raw = super().predict(state, x)
            return raw + 1e-3 if torch._C._functorch.is_batchedtensor(x) else raw

        def split(self) -> tuple[None, il.Learner]:
            return None, self

    learner, batch = Strange(network()).double(), tasks()
    with pytest.raises(il.InputError, match="under vmap Strange is wrong: the predictions differ"):
        il.lift(learner, "vmap").predict(batch)
    lifted = il.lift(learner)
    torch.testing.assert_close(lifted.predict(batch), il.lift(learner, "loop").predict(batch))
    assert lifted.how == "loop"


def test_a_shape_is_tried_once() -> None:
    """The second lift of a learner runs it no more often than it has tasks to run."""
    learner, batch, calls = il.MAML(network(), lr=0.1).double(), tasks(), []
    il.lift(learner, "vmap").backward(batch)
    learner.net.register_forward_hook(lambda module, x, y: calls.append(1))
    il.lift(learner, "vmap").backward(batch)
    first = len(calls)
    il.lift(learner, "vmap").backward(batch)
    assert len(calls) - first == 2


def test_a_compiled_step_with_something_frozen_in_is_refused() -> None:
    """A number that went through NumPy is a constant of the graph: with other inputs the step would be another."""

    class Centered(il.MAML):
        def loss(self, task: il.Task) -> Tensor:
            center = float(task.support.x.detach().numpy().mean())
            return super().loss(il.Task(task.support, il.Examples(task.query.x - 10 * center, task.query.y)))

    for kind, refused in ((il.MAML, False), (Centered, True)):
        torch.manual_seed(0)
        learner, batch = kind(network(), lr=0.1).double(), tasks(2)
        lifted = il.lift(learner, "loop")
        step = Compiled(learner, lifted._losses)
        graph = step.trace(batch)
        traced = lambda tasks, scale: graph(step.inputs(), tasks)  # noqa: B023, E731
        complaint = trust.compiled(learner, traced, lifted._step_plain, batch, 1.0, False)
        assert (complaint is not None) == refused
        assert complaint is None or "leave compiled out" in complaint


def test_differences_are_judged_by_the_size_of_the_gradient() -> None:
    """A gradient that is zero but for rounding differs by rounding from another such one."""
    wanted = {"a": torch.tensor([1.0, 2.0]).double(), "bias": torch.tensor([1e-17]).double()}
    assert difference(wanted, {"a": wanted["a"] * (1 + 1e-9), "bias": torch.tensor([-3e-16]).double()}) is None
    assert "gradient by 'a' differs from the loop's by 0.1 %" in difference(
        wanted, {**wanted, "a": wanted["a"] * 1.001}
    )
    assert "'a'" in difference(wanted, {**wanted, "a": wanted["a"] * float("nan")})


class Remembering(nn.Module):
    """Keeps its last activation, which has a graph and so cannot be copied."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.last, self.calls = nn.Linear(4, 3), None, 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.last = self.layer(x)
        return self.last


@pytest.mark.filterwarnings("ignore:`torch.nn.utils.weight_norm`:FutureWarning")
@pytest.mark.parametrize("kind", ["weight norm", "last activation"])
def test_what_cannot_be_copied_is_lifted(kind: str) -> None:
    """``auto`` tries ways on the learner itself, twice; the gradient is the loop's."""
    net = Remembering() if kind == "last activation" else network(nn.utils.weight_norm(nn.Linear(8, 8)))
    learner, batch = il.MAML(net.double(), lr=0.1), tasks()
    net(batch.query.x[0])
    il.lift(learner, "loop").backward(batch)
    wanted = laws.accumulated(learner)
    for _ in range(2):
        il.lift(learner).backward(batch)
        laws.assert_close(laws.accumulated(learner), wanted)


def test_a_trial_leaves_no_trace() -> None:
    """Buffers, gradients, modes, attributes and random numbers are as they were, an error within or not."""
    net = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Dropout(), Remembering())
    net[3].layer = nn.Linear(3, 3)
    for p in net.parameters():
        p.grad = torch.ones_like(p)
    before = {k: v.clone() for k, v in net.state_dict().items()}
    random = torch.get_rng_state()

    def disturb() -> None:
        net.train()(torch.rand(5, 4)).sum().backward()
        net.eval()
        net.extra = 1
        net.register_buffer("new", torch.zeros(1))
        net[1].running_mean = torch.ones(3)

    with undisturbed(net):
        disturb()
    with contextlib.suppress(ZeroDivisionError), undisturbed(net):
        disturb()
        1 / 0  # noqa: B018
    laws.assert_same(net.state_dict(), before)
    assert torch.equal(torch.get_rng_state(), random)
    assert all(part.training for part in net.modules())
    assert all(torch.equal(p.grad, torch.ones_like(p)) for p in net.parameters())
    assert (net[3].last, net[3].calls, hasattr(net, "extra")) == (None, 0, False)


def made(source: str) -> nn.Module:
    """A network of a class that is called Net, whatever its code."""
    names: dict[str, Any] = {"__name__": "nets"}
    exec(f"from torch import nn\nfrom torch.nn import functional as F\nclass Net(nn.Module):\n{source}", names)
    return names["Net"]()


LINEAR = " def __init__(self):\n  super().__init__()\n  self.layer = nn.Linear(1, 1)\n"


def test_a_key_sees_the_code() -> None:
    """Another forward pass, also of a function that it calls or of a constant that it reads, is another key."""
    codes = [
        " def forward(self, x):\n  return self.layer(x)",
        " def forward(self, x):\n  return self.layer(x).tanh()",
        " def forward(self, x):\n  return self.layer(x) * 2",
        " def forward(self, x):\n  return (lambda y: y * 3)(self.layer(x))",
    ]
    nets = [made(LINEAR + code) for code in codes]
    assert len({code_of(net) for net in nets}) == 4
    assert code_of(made(LINEAR + codes[0])) == code_of(nets[0])
    batch = il.data.Sinusoid().draw(Generator(), 2)
    options = {"lr": 0.1, "likelihood": il.Gaussian(scale=1.0)}
    keys = {key_of(il.MAML(net, **options), batch) for net in nets}
    assert len(keys) == 4
    assert key_of(il.MAML(nets[0], **options), batch) in keys
    nets[0].layer.requires_grad_(False)
    assert key_of(il.MAML(nets[0], **options), batch) not in keys


def remembered(tmp_path: Path, **changes: object) -> None:
    """Change what is remembered."""
    (file,) = (tmp_path / "cache" / "lift").iterdir()
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def test_what_is_remembered_and_fails_is_tried_anew(tmp_path: Path) -> None:
    """A way that no longer runs gives way to those that do, with the right gradient, added to what was there."""

    class Sorting(il.MAML):
        def loss(self, task: il.Task) -> Tensor:
            loss = super().loss(task)
            return loss if float(loss.detach()) > 0 else -loss

    torch.manual_seed(0)
    learner, batch = Sorting(network(), lr=0.1).double(), tasks()
    first = il.lift(learner)
    first.backward(batch)
    assert first.how == "loop"
    wanted = laws.accumulated(learner)
    remembered(tmp_path, how="vmap")
    for p in learner.parameters():
        p.grad = torch.ones_like(p)
    again = il.lift(learner)
    again.backward(batch)
    assert again.how == "loop"
    assert "what was remembered failed" in again.why
    laws.assert_close({k: g - 1 for k, g in laws.accumulated(learner).items()}, wanted)


@pytest.mark.parametrize(("changes", "kept"), [({}, True), ({"each": 1e18}, False), ({"cut": True, "each": 1}, False)])
def test_what_is_remembered_has_to_fit_the_memory_that_is_free(
    tmp_path: Path, changes: dict[str, object], kept: bool
) -> None:
    """Too little memory for it now, or enough for more: all ways are tried again."""
    learner, batch = il.MAML(network(), lr=0.1).double(), tasks()
    il.lift(learner).backward(batch)
    remembered(tmp_path, chunk=2, how="vmap", **changes)
    again = il.lift(learner)
    again.backward(batch)
    assert ("remembered in" in again.why) == kept
    assert not kept or (again.how, again.chunk) == ("vmap", 2)


class Counting(nn.Module):
    """Not for vmap: what it does follows from the numbers."""

    def forward(self, x: Tensor) -> Tensor:
        return x if bool((x > 0).any()) else -x


def test_what_vmap_cannot_run_is_looped() -> None:
    learner, batch = il.MAML(network(Counting()), lr=0.1).double(), tasks()
    lifted = il.lift(learner)
    lifted.backward(batch)
    assert lifted.how == "loop"
    assert "vmap does not run this learner" in lifted.why
    with pytest.raises(RuntimeError, match="vmap"):
        il.lift(learner, "vmap").backward(batch)


def test_targets_take_the_type_of_the_inputs() -> None:
    """Float64 inputs with float32 targets run, under every way, and are the float64 loss."""
    learner, batch = il.ProtoNet(network()).double(), tasks()
    mixed = il.Task(*(il.Examples(part.x, part.y.float()) for part in batch))
    for how in ("loop", "vmap", "auto"):
        losses = il.lift(learner, how).loss(mixed)
        assert losses.dtype == torch.float64
        torch.testing.assert_close(losses, il.lift(learner, "loop").loss(batch))
