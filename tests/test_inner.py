"""Inner optimizers and inner loops: what is refused, which types they keep, and attention within them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import laws
import oracles
import pytest
import torch
from torch import Tensor, nn
from torch.backends import cuda, mha
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

import innerloop as il
from innerloop.core import inner
from innerloop.core.inner import SGD, Adam, LearnedRates

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("make", "options"),
    [
        *((SGD, {"lr": value}) for value in (-0.1, 0, NAN, INF, "0.1", True, None)),
        *((SGD, {"lr": 0.1, "momentum": value}) for value in (-0.1, NAN, INF, "0.9")),
        *((SGD, {"lr": 0.1, "weight_decay": value}) for value in (-0.1, NAN, INF)),
        (SGD, {"lr": 0.1, "nesterov": True}),
        *((Adam, {"lr": value}) for value in (-0.1, 0, NAN, INF)),
        *((Adam, {"betas": value}) for value in ((-0.1, 0.9), (1.0, 0.9), (0.9, 1.0), (0.9, NAN), (0.9,), 0.9, "ab")),
        *((Adam, {"eps": value}) for value in (-1e-8, NAN, INF)),
        *((Adam, {"weight_decay": value}) for value in (-1, NAN)),
        *((LearnedRates, {"parameters": ["w"], "lr": value}) for value in (-0.1, 0, NAN)),
        *((il.optimizers.MLPRule, {"decays": value}) for value in ((), (1.0,), (-0.1,), (0.9, NAN))),
        *((il.optimizers.MLPRule, {"second_decay": value}) for value in (1.0, -0.1, NAN)),
        *((il.optimizers.MLPRule, {"times": value}) for value in ((0,), (-1, 3))),
        *(
            (rule, {"scale": value})
            for rule in (il.optimizers.MLPRule, il.optimizers.LSTMRule)
            for value in (-1, 0, NAN)
        ),
        (il.optimizers.LSTMRule, {"bound": 0}),
    ],
    ids=str,
)
def test_what_no_optimizer_can_use_is_refused(make: Callable[..., Any], options: dict[str, Any]) -> None:
    """With the value and the limit, as InputError; ``torch.optim`` refuses the same or does nonsense with it."""
    with pytest.raises(il.InputError, match=r"it must|they must|must be|needs a momentum|decays is empty"):
        make(**options)


@pytest.mark.parametrize(
    ("make", "theirs", "options"),
    [
        (SGD, torch.optim.SGD, {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.1}),
        (SGD, torch.optim.SGD, {"lr": 1, "momentum": 0}),
        (Adam, torch.optim.Adam, {"lr": 0.1, "betas": (0.0, 0.0), "eps": 1.0}),
        (Adam, torch.optim.Adam, {"lr": 0.1, "betas": [0.5, 0.9]}),
    ],
    ids=str,
)
def test_what_torch_takes_is_taken(
    make: Callable[..., Any], theirs: Callable[..., Any], options: dict[str, Any]
) -> None:
    """The values at the limits: step by step as theirs."""
    w = nn.Parameter(torch.randn(4, dtype=torch.float64))
    ours, theirs_ = make(**options), theirs([w], **options)
    own, memory = {"w": w.detach().clone()}, ours.init({"w": w.detach()})
    for _ in range(4):
        w.grad = torch.randn(4, dtype=torch.float64)
        own, memory = ours.update({"w": w.grad}, own, memory)
        theirs_.step()
        torch.testing.assert_close(own["w"], w.detach())


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize(
    "make",
    [
        lambda p: SGD(0.1, momentum=0.9),
        lambda p: Adam(0.1),
        lambda p: LearnedRates(p, 0.1, per="number"),
        lambda p: LearnedRates(p, 0.1),
        lambda p: LearnedRates(list(p), 0.1),
        lambda p: il.optimizers.MLPRule(),
        lambda p: il.optimizers.LSTMRule(),
    ],
    ids=["sgd", "adam", "number", "tensor", "names", "mlp", "lstm"],
)
def test_a_step_keeps_the_type_of_the_parameters(make: Callable[[Any], Any], dtype: torch.dtype) -> None:
    """Whatever type the rule's own weights have; rates of given parameters have theirs."""
    w = {"w": torch.ones(3, 2, dtype=dtype)}
    rule = make(w)
    memory = rule.init(w)
    for _ in range(2):
        w, memory = rule.update({"w": torch.full((3, 2), 0.5, dtype=dtype)}, w, memory)
    assert w["w"].dtype == dtype
    assert w["w"].isfinite().all()
    assert not torch.equal(w["w"], torch.ones(3, 2, dtype=dtype))
    if isinstance(rule, LearnedRates) and rule.rates["w"].ndim == 2:
        assert rule.rates["w"].dtype == dtype


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=str)
def test_learners_with_learned_rules_run_in_other_types(dtype: torch.dtype) -> None:
    """Meta-SGD and MAML with a learned rule, on networks of that type that were made so."""
    y = torch.eye(3).repeat(2, 1).expand(2, 6, 3)
    tasks = il.Task(*(il.Examples(torch.randn(2, 6, 4, dtype=dtype), y) for _ in range(2)))
    for make in (
        lambda net: il.MetaSGD(net, lr=0.1),
        lambda net: il.MAML(net, inner=il.optimizers.MLPRule(), steps=2),
        lambda net: il.MAML(net, inner=LearnedRates(["0.weight", "0.bias"], 0.1), adapts=["0.*"]),
    ):
        learner = make(il.nets.mlp(4, 8, 3).to(dtype))
        losses = il.lift(learner, "loop").backward(tasks)
        assert losses.dtype == dtype
        state = learner.adapt(laws.one(tasks, 0).support)
        assert all(p.dtype == dtype for p in state.parameters.values())


class Attending(nn.Module):
    """Attention over the features of an example, by one of torch's ways to it."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind, self.read, self.out = kind, nn.Linear(1, 8), nn.Linear(8, 3)
        if kind == "encoder layer":
            self.layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True, norm_first=True)
        elif kind == "encoder":
            layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
            self.layer = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        elif kind == "multihead":
            self.layer = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        z = self.read(x.unsqueeze(-1))
        if self.kind == "function":
            z = F.scaled_dot_product_attention(z, z.tanh(), z)
        else:
            z = self.layer(z, z, z, need_weights=False)[0] if self.kind == "multihead" else self.layer(z)
        return self.out(z.mean(1))


@pytest.mark.parametrize("mode", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("kind", ["function", "multihead", "encoder layer", "encoder"])
def test_second_order_through_attention_is_that_of_a_loop_by_hand(kind: str, mode: bool) -> None:
    """In a loop, and by auto; the kernels that were allowed before are so afterwards."""
    torch.manual_seed(0)
    net = Attending(kind).double().train(mode)
    learner = il.MAML(net, steps=2, lr=0.1).train(mode)
    y = torch.eye(3).repeat(2, 1).double()
    task = il.Task(*(il.Examples(torch.randn(6, 4).double(), y) for _ in range(2)))
    tasks = il.Task(*(il.Examples(part.x.unsqueeze(0), part.y.unsqueeze(0)) for part in task))
    with sdpa_kernel(SDPBackend.MATH):
        mha.set_fastpath_enabled(False)
        loss, wanted = oracles.maml_gradient(net, task, oracles.cross_entropy, 0.1, 2)
        mha.set_fastpath_enabled(True)
    for how in ("loop", "auto"):
        torch.testing.assert_close(il.lift(learner, how).backward(tasks), loss.unsqueeze(0))
        laws.assert_close(laws.accumulated(net), wanted)
    assert cuda.flash_sdp_enabled()
    assert cuda.mem_efficient_sdp_enabled()
    assert mha.get_fastpath_enabled()
    raw = il.lift(learner, "vmap").predict(tasks)
    torch.testing.assert_close(raw[0], laws.predict(learner, task))


def test_implicit_gradients_run_through_attention() -> None:
    """IMAML takes products with a Hessian."""
    imaml = il.learners.IMAML(Attending("multihead").double(), steps=3, lr=0.05)
    y = torch.eye(3).repeat(2, 1).double()
    task = il.Task(*(il.Examples(torch.randn(6, 4).double(), y) for _ in range(2)))
    imaml.loss(task).backward()
    assert all(math.isfinite(float(p.grad.sum())) for p in imaml.parameters())


def test_a_call_gives_back_whatever_the_network_gives() -> None:
    """Several inputs, several outputs."""
    net = nn.Bilinear(2, 3, 1)
    x, z = torch.ones(1, 2), torch.ones(1, 3)
    assert inner.call(net, {"weight": torch.zeros(1, 2, 3), "bias": torch.ones(1)}, x, z).item() == 1
