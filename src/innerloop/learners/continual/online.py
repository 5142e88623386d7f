"""Online learning by gradient steps on each batch of a stream: what the learners with plain weights share.

The state holds the network's parameters, so ``adapt(batch, state)`` goes on from where the last batch led. Nothing is
meta-learned: the network's own weights are where every stream begins. These learners draw random numbers in ``adapt``
from the state's own counter: the same batch and state give the same result, and tasks that are lifted together, whose
counters are the same, share their draws.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, Self, TypedDict, Unpack

import torch
from torch import Generator, Tensor, nn
from torch.func import grad

from innerloop.core import norm
from innerloop.core.facts import Facts, Networks
from innerloop.core.inner import Parameters, call
from innerloop.core.learner import Learner
from innerloop.core.likelihood import Categorical, Likelihood, default_likelihood
from innerloop.core.numbers import check_count, check_number
from innerloop.core.random import SEEDS, check_seed
from innerloop.core.task import Examples, InputError, join
from innerloop.learners.arguments import complete


@contextmanager
def shared_draws() -> Iterator[None]:
    """Random numbers within are plain ones under ``vmap`` too, which would give each task draws of its own."""
    functorch, levels = torch._C._functorch, []
    while functorch.peek_interpreter_stack() is not None:
        levels.append(functorch.pop_dynamic_layer_stack())
    try:
        yield
    finally:
        for level in reversed(levels):
            functorch.push_dynamic_layer_stack(level)


def permutation(count: int, generator: Generator) -> Tensor:
    """A random order of ``count`` things, int64 ``[count]``, the same for all tasks that are lifted together."""
    with shared_draws():
        return torch.randperm(count, generator=generator)


class Memory(NamedTuple):
    """A reservoir: each example seen so far is in it with the same probability (Vitter 1985).

    Args:
        x: kept inputs, ``[M, *F]``; the first ``min(seen, M)`` rows are filled.
        y: their targets, ``[M, D]``.
        seen: examples offered so far, int64 ``[]``.
    """

    x: Tensor
    y: Tensor
    seen: Tensor

    @classmethod
    def empty(cls, size: int, like: Examples) -> Memory:
        """Room for ``size`` examples of the shapes and types of ``like``."""
        (x, y), none = like, torch.zeros((), dtype=torch.int64, device=like.x.device)
        return cls(x.new_zeros(size, *x.shape[1:]), y.new_zeros(size, *y.shape[1:]), none)

    def offer(self, batch: Examples, generator: Generator) -> Memory:
        """The memory after ``batch`` was offered, one example after the other (Vitter's algorithm R)."""
        x, y, seen, size = self.x.clone(), self.y.clone(), int(self.seen), len(self.x)
        for number, (one, target) in enumerate(zip(*batch, strict=True), seen):
            place = number
            if number >= size:
                with shared_draws():
                    place = int(torch.randint(number + 1, (), generator=generator))
            if place < size:
                x[place], y[place] = one, target
        return Memory(x, y, self.seen + len(batch.x))

    def draw(self, count: int, generator: Generator) -> Examples:
        """At most ``count`` different examples of those kept."""
        kept = min(int(self.seen), len(self.x))
        index = permutation(kept, generator)[:count].to(self.x.device)
        return Examples(self.x[index], self.y[index])


class OnlineState(NamedTuple):
    """The network's parameters by name."""

    parameters: Parameters


class Stream(TypedDict, total=False):
    """The options of :class:`OnlineLearner`, but for the rate."""

    glances: int
    seed: int
    likelihood: Likelihood | None


class Steps(Stream, total=False):
    """The options of :class:`OnlineLearner`."""

    lr: float


class OnlineLearner(Learner):
    """Plain gradient descent on a stream.

    Args:
        net: any module ``[N, *F] -> [N, P]``, D classes wide for a stream of D classes.
        lr: learning rate.
        glances: gradient steps on each batch while it is there, each with a draw of its own where there is a memory.
        seed: of the memory and the draws from it.
        likelihood: default :class:`~innerloop.Categorical`; ``Gaussian(scale=1.0)`` for regression by squared error.

    Raises:
        InputError: for a learning rate that is not positive, or a norm policy that reads off the batch at hand: a
            stream's batch may hold one class only.
    """

    objectives = ("classification", "regression")

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        complete(cls)

    def __init__(
        self,
        net: nn.Module,
        *,
        lr: float = 0.05,
        glances: int = 1,
        seed: int = 0,
        likelihood: Likelihood | None = None,
    ) -> None:
        super().__init__(likelihood or Categorical())
        check_number("lr", lr, "(0, inf)")
        check_count("glances", glances, 1)
        check_seed(seed)
        if norm.policy(net) in ("batch", "support"):
            raise InputError(
                f"norm policy {norm.policy(net)!r} normalizes by the batch at hand, which in a stream may hold a "
                f"single class: use innerloop.norm.convert(net, 'group'), or calibrated running statistics"
            )
        self.net, self.lr, self.glances, self.seed = net, lr, glances, seed

    @classmethod
    def from_facts(cls, facts: Facts, nets: Networks, **options: Any) -> Self:
        """On a network with one output for each target column."""
        options["likelihood"] = options.get("likelihood") or default_likelihood(facts.objective)
        return cls(nets.classifier(facts.shape, options["likelihood"].size(facts.targets)), **options)

    def backbone(self) -> nn.Module:  # noqa: D102
        return self.net

    def predict(self, state: Any, x: Tensor) -> Tensor:  # noqa: D102
        return self.forward(state.parameters, x)

    def forward(self, parameters: Parameters, x: Tensor) -> Tensor:
        """Raw predictions of the network with other parameters: ``[N, *F] -> [1, N, P]``."""
        return call(self.net, parameters, x).unsqueeze(0)

    def start(self) -> Parameters:
        """The parameters before the first batch."""
        return {name: p.detach() for name, p in self.net.named_parameters()}

    def train(self, mode: bool = True) -> OnlineLearner:
        """Set the mode as usual, except that running statistics stay frozen."""
        super().train(mode)
        norm.freeze_running(self.net)
        return self

    def generator(self, seen: Tensor) -> Generator:
        """For the draws of the batch before which ``seen`` examples were seen."""
        return Generator().manual_seed((1_000_003 * self.seed + int(seen)) % SEEDS)

    def loss_of(self, parameters: Parameters, batch: Examples) -> Tensor:
        """Mean negative log likelihood of a batch."""
        return self.likelihood.nll(self.forward(parameters, batch.x), batch.y).mean()

    def gradient(self, parameters: Parameters, batch: Examples) -> Parameters:
        """The gradient of that loss."""
        return grad(self.loss_of)(parameters, batch)

    def descend(self, parameters: Parameters, gradient: Parameters) -> Parameters:
        """One step."""
        return {name: p - self.lr * gradient[name] for name, p in parameters.items()}


class ReplayState(NamedTuple):
    """The network's parameters by name, and a memory of examples."""

    parameters: Parameters
    memory: Memory


class Kept(Stream, total=False):
    """The options of :class:`ReplayLearner`, but for the rate."""

    memory: int
    replay: int


class Replay(Kept, total=False):
    """The options of :class:`ReplayLearner`."""

    lr: float


class ReplayLearner(OnlineLearner):
    """An online learner with a memory.

    Args:
        memory: examples that are kept.
        replay: how many of them a step sees beside the batch.
    """

    def __init__(self, net: nn.Module, *, memory: int = 200, replay: int = 10, **options: Unpack[Steps]) -> None:
        super().__init__(net, **options)
        check_count("memory", memory, 1)
        check_count("replay", replay, 1)
        self.memory, self.replay = memory, replay

    def adapt(self, batch: Examples, state: ReplayState | None = None) -> ReplayState:  # noqa: D102
        state = state or ReplayState(self.start(), Memory.empty(self.memory, batch))
        generator, parameters = self.generator(state.memory.seen), state.parameters
        for _ in range(self.glances):
            parameters = self.step(parameters, batch, state.memory.draw(self.replay, generator))
        return ReplayState(parameters, state.memory.offer(batch, generator))

    def step(self, parameters: Parameters, batch: Examples, replayed: Examples) -> Parameters:
        """One glance at the batch and at ``replayed`` (none at first): here a gradient step on both together."""
        return self.descend(parameters, self.gradient(parameters, join(replayed, batch)))
