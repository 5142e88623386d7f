"""Learning by gradient steps on the support set: what every MAML-like method shares."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn
from torch.func import functional_call, grad

from innerloop import norm
from innerloop.inner import InnerOptimiser, Parameters
from innerloop.learner import Learner
from innerloop.likelihood import Categorical, Likelihood
from innerloop.task import Examples, InputError


class Adapted(NamedTuple):
    """Adapted parameters by name, and the support statistics where the norm policy keeps them."""

    parameters: Parameters
    statistics: norm.Statistics


class GradientLearner(Learner):
    """Adapts a copy of the network's parameters by an inner optimiser; the network itself holds the initial ones.

    Args:
        net: any module ``[N, *F] -> [N, P]``.
        inner: the inner optimiser.
        steps: inner steps k in meta-training.
        test_steps: inner steps otherwise; default ``steps``.
        first_order: take the inner gradients for constants.
        batch_size: support examples an inner step sees, in turn; ``None`` for all.
        shared_head: name of a final linear layer with **one** output whose parameters are repeated for each class at
            the start of every task: any number of ways, and no class is special.
        likelihood: default :class:`~innerloop.Categorical`; ``Gaussian(scale=1.0)`` for regression by squared error.

    Raises:
        InputError: for fewer than 0 steps, or a layer that an inner loop cannot run (it is named).
    """

    objectives = ("classification", "regression")

    def __init__(
        self,
        net: nn.Module,
        *,
        inner: InnerOptimiser,
        steps: int,
        test_steps: int | None = None,
        first_order: bool = False,
        batch_size: int | None = None,
        shared_head: str | None = None,
        likelihood: Likelihood | None = None,
    ) -> None:
        super().__init__(likelihood or Categorical())
        for name, value, least in (("steps", steps, 0), ("test_steps", test_steps, 0), ("batch_size", batch_size, 1)):
            if value is not None and value < least:
                raise InputError(f"{name} is {value}; it must be at least {least}")
        norm.check_inner_loop(net)
        self.net, self.inner = net, inner
        self.steps, self.test_steps = steps, steps if test_steps is None else test_steps
        self.first_order, self.batch_size = first_order, batch_size
        self.shared = {f"{shared_head}.{name}" for name in ("weight", "bias")} if shared_head else set()
        unknown = self.shared - dict(net.named_parameters()).keys()
        if unknown:
            raise InputError(f"the network has no parameter {sorted(unknown)[0]!r}: name a linear layer with a bias")
        self.train()

    def adapt(self, support: Examples, state: Adapted | None = None) -> Adapted:
        parameters = self.initial(support.y.shape[1]) if state is None else state.parameters
        memory = self.inner.init(parameters)
        for step in range(self.steps if self.training else self.test_steps):
            gradients = self._gradient(parameters, self._batch(support, step))
            parameters, memory = self.inner.update(gradients, parameters, memory)
        return Adapted(parameters, self._statistics(parameters, support))

    def predict(self, state: Adapted, x: Tensor) -> Tensor:
        with norm.replaying(state.statistics):
            return self._forward(state.parameters, x)

    def initial(self, targets: int) -> Parameters:
        """theta: the parameters that a task with ``targets`` columns starts from."""
        theta = dict(self.net.named_parameters())
        # Contiguous, as a state that comes back from a file is: another layout rounds differently.
        return {k: p.expand(targets, *p.shape[1:]).contiguous() if k in self.shared else p for k, p in theta.items()}

    def train(self, mode: bool = True) -> GradientLearner:
        """Set the mode as usual, except that running statistics stay frozen: the inner loop must not move them."""
        super().train(mode)
        norm.freeze_running(self.net)
        return self

    def _forward(self, parameters: Parameters, x: Tensor) -> Tensor:
        # With buffers and strict: functional_call would else fall back on the module's own weights without a word.
        everything = {**parameters, **dict(self.net.named_buffers())}
        return functional_call(self.net, everything, (x,), strict=True).unsqueeze(0)

    def _gradient(self, parameters: Parameters, batch: Examples) -> Parameters:
        def inner_loss(phi: Parameters) -> Tensor:
            return self.likelihood.nll(self._forward(phi, batch.x), batch.y).mean()

        if self.first_order:
            # Detached before, not after: no graph of the inner gradient is built at all.
            parameters = {k: p.detach() for k, p in parameters.items()}
        return grad(inner_loss)(parameters)

    def _batch(self, support: Examples, step: int) -> Examples:
        size, total = self.batch_size, support.x.shape[0]
        if size is None or size >= total:
            return support
        start = (step * size) % (total - total % size)
        return Examples(support.x[start : start + size], support.y[start : start + size])

    def _statistics(self, parameters: Parameters, support: Examples) -> norm.Statistics:
        if self.norm != "support":
            return []
        with norm.recording() as statistics:
            self._forward(parameters, support.x)
        return statistics
