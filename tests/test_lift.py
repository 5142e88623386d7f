"""The choice of a way to lift, its memory, and compiled steps."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import laws
import pytest
import torch
from cases import CASES, Case
from test_laws import learner_of, tasks_of
from torch import Generator, nn

import innerloop as il
from innerloop.core import inner
from innerloop.core.compiled import Compiled
from innerloop.core.memory import PeakMemory

# PyTorch's own compiler calls what PyTorch deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is remembered from other tests."""
    monkeypatch.setenv("INNERLOOP_CACHE", str(tmp_path / "cache"))


@pytest.fixture(autouse=True)
def _fresh_compiler() -> Iterator[None]:
    yield
    torch.compiler.reset()


def sinusoid_maml(steps: int = 1, width: int = 8) -> il.MAML:
    return il.MAML(il.nets.mlp(1, width, 1), steps=steps, lr=0.01, likelihood=il.Gaussian(scale=1.0))


def sinusoids(count: int) -> il.Task:
    return il.data.Sinusoid(shots=5, queries=5).draw(Generator().manual_seed(0), count)


def one_of_each() -> list[Case]:
    """The first row of each learner."""
    kinds: dict[type, Case] = {}
    for case in CASES:
        if case.alone and not case.untrained:
            kinds.setdefault(type(case.make()), case)
    return list(kinds.values())


@pytest.mark.parametrize("case", one_of_each(), ids=lambda case: case.name)
def test_a_traced_step_has_the_same_gradient(case: Case, device: torch.device) -> None:
    """Traced once and run with other weights and tasks of the same shape: nothing was frozen into the graph."""
    learner = learner_of(case, device).train()
    tasks = tasks_of(case.train(), device)
    lifted = il.lift(learner, "vmap")
    step = Compiled(learner, lifted._losses)
    graph = step.trace(tasks)
    with torch.no_grad():
        for tensor in [*learner.parameters(), *learner.buffers()]:
            if tensor.is_floating_point():
                tensor.mul_(1.01)
    torch.manual_seed(3)
    other = il.Task(*(il.Examples(part.x.flip(0), part.y.flip(0)) for part in tasks))
    torch.manual_seed(5)
    losses, found = graph(step.inputs(), other)
    torch.manual_seed(5)
    wanted = lifted.loss(other)
    torch.testing.assert_close(losses, wanted.detach(), **laws.CLOSE)
    free = [name for name, p in learner.named_parameters() if p.requires_grad]
    named = dict(zip(free, found, strict=True))
    exact = laws.gradients(learner, wanted.sum())
    laws.assert_close({k: exact[k] * 0 if g is None else g for k, g in named.items()}, exact)


def test_compiled_backward_is_the_gradient() -> None:
    """Through the real compiler: accumulated, scaled, frozen parameters left alone."""
    maml = sinusoid_maml(width=4).double()
    next(iter(maml.parameters())).requires_grad_(False)
    compiled = il.lift(maml, "vmap", compiled=True)
    tasks = il.Task(*(il.Examples(part.x.double(), part.y.double()) for part in sinusoids(3)))
    losses = il.lift(maml, "loop").backward(tasks)
    il.lift(maml, "loop").backward(tasks, "sum")
    wanted = laws.accumulated(maml)
    torch.testing.assert_close(compiled.backward(tasks), losses, **laws.CLOSE)
    compiled.backward(tasks, "sum")
    laws.assert_close(laws.accumulated(maml), wanted)


@pytest.mark.slow
def test_training_compiled_is_training() -> None:
    """The same losses, step for step, up to rounding; another shape of batch compiles anew."""
    runs = []
    for compiled in (False, True):
        torch.manual_seed(0)
        maml = sinusoid_maml(width=4)
        sampler = il.data.Sinusoid(shots=5, queries=5)
        history = il.fit(maml, sampler, steps=4, tasks_per_step=3, how="vmap", compiled=compiled, progress=False)
        runs.append(torch.tensor(history.losses))
    torch.testing.assert_close(*runs)


def test_peak_memory_counts_what_lives_at_the_same_time() -> None:
    with PeakMemory() as memory:
        a = torch.ones(1000)
        b = a + a
        del a
        c = b.view(10, 100) * 2
        del b, c
        torch.ones(500)
    assert memory.peak == 8000
    assert memory.live == 0


def test_auto_keeps_within_the_memory_that_it_is_given() -> None:
    """A limit that holds three tasks leads to chunks that hold no more; the gradient stays."""
    maml, tasks = sinusoid_maml(steps=3, width=64), sinusoids(8)
    with PeakMemory() as whole:
        il.lift(maml, "vmap").backward(tasks)
    wanted = laws.accumulated(maml)
    limit = whole.peak * 3 / 8
    lifted = il.lift(maml, memory=limit / 2**30)
    lifted.backward(tasks)
    maml.zero_grad()
    with PeakMemory() as used:
        lifted.backward(tasks)
    assert lifted.how == "loop" or 1 <= lifted.chunk <= 3
    assert used.peak < 1.2 * limit
    assert "tasks at a time fit into" in lifted.why
    for name, gradient in laws.accumulated(maml).items():
        torch.testing.assert_close(gradient, wanted[name])


def test_auto_remembers_and_tells_learners_apart(tmp_path: Path) -> None:
    tasks, kept = sinusoids(6), tmp_path / "cache" / "lift"
    first = il.lift(sinusoid_maml())
    first.backward(tasks)
    assert "remembered" not in first.why
    (file,) = kept.iterdir()
    file.write_text(json.dumps({**json.loads(file.read_text()), "how": "vmap", "chunk": 5}))
    again = il.lift(sinusoid_maml())
    again.backward(tasks)
    assert (again.how, again.chunk) == ("vmap", 5)
    assert f"remembered in {file}" in again.why
    for other, batch in ((sinusoid_maml(steps=2), tasks), (sinusoid_maml(), sinusoids(7))):
        lifted = il.lift(other)
        lifted.backward(batch)
        assert "remembered" not in lifted.why
    file.write_text("{")
    damaged = il.lift(sinusoid_maml())
    damaged.backward(tasks)
    assert "remembered" not in damaged.why


def test_a_loop_frees_a_task_before_the_next() -> None:
    """Backward runs task by task: sixteen tasks take what two take, but for their losses."""
    maml = sinusoid_maml(steps=3, width=512)
    peaks = []
    for count in (2, 16):
        tasks = sinusoids(count)
        il.lift(maml, "loop").backward(tasks)
        with PeakMemory() as memory:
            il.lift(maml, "loop").backward(tasks)
        peaks.append(memory.peak)
    assert peaks[1] < 1.05 * peaks[0]


def test_a_trial_leaves_the_learner_and_the_random_state_alone() -> None:
    net = nn.Sequential(nn.Linear(1, 8), nn.Dropout(0.5), nn.Linear(8, 1))
    maml = il.MAML(net, steps=1, lr=0.01, likelihood=il.Gaussian(scale=1.0))
    before = torch.random.get_rng_state()
    lifted = il.lift(maml)
    lifted.settle(sinusoids(4))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(p.grad is None for p in maml.parameters())


@pytest.mark.parametrize("memory", [0, -1, float("nan")])
def test_a_memory_limit_has_to_leave_room(memory: float) -> None:
    with pytest.raises(il.InputError, match="it must be above 0"):
        il.lift(sinusoid_maml(), memory=memory)


def test_inner_gradients_are_those_of_the_transform() -> None:
    """In a loop, without a transform: values, second-order gradient, and no graph where nothing wants one."""
    at = {"w": torch.randn(3, dtype=torch.float64), "unused": torch.randn(2, dtype=torch.float64)}
    scale = torch.tensor(1.5, dtype=torch.float64)

    def loss(at: inner.Parameters, scale: torch.Tensor) -> torch.Tensor:
        return (scale * at["w"].sin()).sum()

    plain = inner.gradient(loss, at, scale)
    laws.assert_close(plain, torch.func.grad(loss)(at, scale))
    assert not any(g.requires_grad for g in plain.values())
    for wanted in (at["w"], scale):
        wanted.requires_grad_()
        outer = inner.gradient(loss, at, scale)["w"].sum()
        exact = torch.func.grad(loss)(at, scale)["w"].sum()
        (found,), (known,) = (torch.autograd.grad(value, wanted) for value in (outer, exact))
        torch.testing.assert_close(found, known)
        with torch.no_grad():
            assert not inner.gradient(loss, at, scale)["w"].requires_grad
        wanted.requires_grad_(False)
    within = torch.func.grad(lambda w: inner.gradient(loss, {"w": w}, scale)["w"].sum())(at["w"])
    torch.testing.assert_close(within, -scale * at["w"].sin())
    with torch.inference_mode():
        laws.assert_close(inner.gradient(loss, at, scale), plain)


def test_inner_gradients_reach_what_the_loss_reads_beside_its_arguments() -> None:
    at, scale = {"w": torch.randn(3)}, torch.tensor(1.5, requires_grad=True)
    found = inner.gradient(lambda at: (scale * at["w"] ** 2).sum(), at, through=[scale])["w"]
    (outer,) = torch.autograd.grad(found.sum(), scale)
    torch.testing.assert_close(outer, 2 * at["w"].sum())


def told(monkeypatch: pytest.MonkeyPatch, has: bool) -> None:
    """Let PyTorch say that the processor has instructions for bfloat16, or has none."""
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.setattr(torch.cpu, name, lambda: has, raising=False)
    monkeypatch.setattr("platform.machine", lambda: "x86_64")


def encoded() -> tuple[il.ProtoNet, il.Task]:
    x, y = torch.randn(4, 6, 1, 8, 8), torch.eye(3).repeat(2, 1).expand(4, 6, 3)
    tasks = il.Task(il.Examples(x, y), il.Examples(x + 0.1, y))
    return il.ProtoNet(il.nets.conv4((1, 8, 8), width=8, pools=2)), tasks


def test_bfloat16_that_is_emulated_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """A warning with the remedy, once a lift, where the processor has no instructions; none where it has."""
    learner, tasks = encoded()
    told(monkeypatch, False)
    lifted = il.lift(learner, "loop", precision="bfloat16")
    with pytest.warns(RuntimeWarning, match="no instructions for bfloat16 and emulates it.*precision='auto'"):
        lifted.backward(tasks)
    lifted.backward(tasks)
    told(monkeypatch, True)
    il.lift(learner, "loop", precision="bfloat16").backward(tasks)


@pytest.mark.parametrize("how", ["auto", "loop"])
def test_precision_auto_takes_what_the_processor_has(monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    """Without the instructions float32, and nothing else is tried; with them whichever is faster, and both are said."""
    learner, tasks = encoded()
    wanted = il.lift(learner, "loop").backward(tasks)
    told(monkeypatch, False)
    lifted = il.lift(learner, how, precision="auto")
    torch.testing.assert_close(lifted.backward(tasks), wanted)
    assert lifted.precision is None
    assert "bfloat16" not in lifted.why
    told(monkeypatch, True)
    # The batch of another number of tasks is nothing that is remembered.
    more = il.Task(*(il.Examples(torch.cat((part.x, part.x)), torch.cat((part.y, part.y))) for part in tasks))
    lifted = il.lift(learner, how, precision="auto")
    torch.testing.assert_close(lifted.backward(more)[:4], wanted, rtol=0.1, atol=0.1)
    assert lifted.precision in (None, "bfloat16")
    assert "in bfloat16" in lifted.why


def test_precision_auto_is_for_every_learner() -> None:
    """Where there is no encoder there is nothing to choose."""
    lifted = il.lift(sinusoid_maml(), "loop", precision="auto")
    lifted.backward(sinusoids(3))
    assert lifted.precision is None
    with pytest.raises(il.InputError, match="choose auto, bfloat16 or float16"):
        il.lift(sinusoid_maml(), precision="half")


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16], ids=str)
def test_bars_read_every_type(dtype: torch.dtype) -> None:
    """Density, distribution function, mean and quantile in the widest type: float32's, up to rounding of what comes."""
    bars = il.core.likelihood.Bars(torch.linspace(-3, 3, 13))
    raw, y = torch.randn(2, 5, 12).to(dtype), torch.randn(5, 1).to(dtype)
    for name, rest in (("log_prob", [y]), ("cdf", [y]), ("mean", []), ("quantile", [0.3])):
        found = getattr(bars, name)(raw, *rest)
        wanted = getattr(bars, name)(raw.float(), *(v.float() if isinstance(v, torch.Tensor) else v for v in rest))
        assert found.dtype == torch.promote_types(dtype, torch.float32)
        torch.testing.assert_close(found.float(), wanted)
