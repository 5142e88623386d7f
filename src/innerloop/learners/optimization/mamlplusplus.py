"""MAML++ (Antoniou, Edwards, Storkey, ICLR 2019, https://arxiv.org/abs/1810.09502).

MAML whose training is steadied. Early on the query loss is taken after every inner step, so that each has a gradient of
its own, and the outer gradient is first order, which is cheap; both pass over into MAML as training goes on. Each inner
step has a rate of its own for each tensor, and scales and shifts of its own in the normalization layers, all learned.
Choose it over MAML where several inner steps are taken, and training them is unstable or slow.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice

import torch
from torch import Tensor, nn

from innerloop.core import norm
from innerloop.core.inner import LearnedRates, Parameters
from innerloop.core.lazy import check_materialized
from innerloop.core.likelihood import Likelihood
from innerloop.core.numbers import check_count, check_number
from innerloop.core.task import Task
from innerloop.learners.optimization.adapting import names
from innerloop.learners.optimization.gradient import GradientLearner


class MAMLPlusPlus(GradientLearner):
    """MAML++: multi-step loss, learned rates and normalization for each inner step, first order before second.

    It differs from the paper where that looks at the query set as a whole: the statistics of a normalization layer are
    those of the network's policy (see :mod:`innerloop.norm`). With ``"support"`` they are the support set's own at each
    inner step, and queries are normalized by those after the last one; the paper takes the statistics of the batch at
    hand, and running averages for each step. The scales and shifts of later steps are learned as differences from the
    first step's, so that a pre-trained network serves all steps. Weights of losses fall to 0, not to a small rest.

    Args:
        net: any module ``[N, *F] -> [N, P]``.
        steps: inner steps k.
        lr: the inner rate that each tensor and step starts from.
        body_lr: that of tensors before the last layer; default ``lr``. From 0 on the body moves by what the outer loop
            learns, and no jump is made where ``body_from`` lets it begin.
        multi_step_until: share of the training after which only the last step's query loss counts. At its start those
            after all steps count alike; then the earlier ones fade linearly. 0 for the last step's alone.
        second_order_from: share of the training from which the outer gradient passes through the inner ones.
        norm_per_step: scales and shifts of normalization layers for each inner step. They are learned in the outer loop
            alone; otherwise there is one of each, and it adapts as other parameters do.
        first_order: take the inner gradients for constants to the end.
        adapts: which parameters the inner loop changes, see :class:`~innerloop.learners.GradientLearner`.
        test_steps: inner steps outside training; default ``steps``. Further ones go on as the last that was learned.
        shared_head: name of a final one-output layer repeated for each class.
        inner_loss: what the inner loop descends, see :class:`~innerloop.learners.GradientLearner`.
        lr_ways: number of ways that the inner rate is for, see :class:`~innerloop.learners.GradientLearner`.
        tempered: divide the logits of queries by a temperature that meta-training tasks tell, see
            :class:`~innerloop.learners.GradientLearner`.
        body_from: share of the training from which the body adapts; before it the head alone, and all steps have the
            scales and shifts of the first, see :class:`~innerloop.learners.GradientLearner`.
        likelihood: default :class:`~innerloop.Categorical`; ``Gaussian(scale=1.0)`` for regression by squared error.

    Raises:
        InputError: for a share outside 0 to 1, or fewer than 1 step.

    Example:
        >>> import innerloop as il
        >>> learner = MAMLPlusPlus(il.nets.mlp(1, 40, 1), steps=3, lr=0.01, likelihood=il.Gaussian(scale=1.0))
        >>> learner.progress(0.05)
        >>> [round(weight, 3) for weight in learner.importance.tolist()]
        [0.167, 0.167, 0.667]

    References:
        Antoniou, Edwards, Storkey, *How to train your MAML*, ICLR 2019, https://arxiv.org/abs/1810.09502.
    """

    importance: Tensor
    """Weights of the query losses after each inner step, ``[k]``, now."""

    def __init__(
        self,
        net: nn.Module,
        *,
        steps: int = 5,
        lr: float = 0.1,
        body_lr: float | None = None,
        multi_step_until: float = 0.1,
        second_order_from: float = 0.3,
        norm_per_step: bool = True,
        first_order: bool = False,
        adapts: str | Sequence[str] = "all",
        test_steps: int | None = None,
        shared_head: str | None = None,
        inner_loss: Callable[[Tensor, Tensor], Tensor] | None = None,
        lr_ways: int | None = None,
        tempered: bool = False,
        body_from: float = 0.0,
        likelihood: Likelihood | None = None,
    ) -> None:
        for name, share in (("multi_step_until", multi_step_until), ("second_order_from", second_order_from)):
            check_number(name, share, "[0, 1]")
        check_count("steps", steps, 1)
        # What is learned for each step has the types and shapes of the parameters.
        check_materialized(net)
        scales = _of_norms(net) if norm_per_step else {}
        chosen = [name for name in names(net, adapts, shared_head) if name not in scales]
        starts: float | dict[str, float] = lr
        if body_lr is not None:
            head = names(net, "head", shared_head)
            starts = {name: lr if name in head else body_lr for name in chosen}
        super().__init__(
            net,
            inner=LearnedRates(
                {k: p.new_empty(()) for k, p in net.named_parameters() if k in chosen}, starts, steps=steps
            ),
            steps=steps,
            test_steps=test_steps,
            adapts=chosen,
            first_order=first_order,
            shared_head=shared_head,
            inner_loss=inner_loss,
            lr_ways=lr_ways,
            tempered=tempered,
            body_from=body_from,
            likelihood=likelihood,
        )
        self.multi_step_until, self.second_order_from = multi_step_until, second_order_from
        # ParameterDict takes no dots in its keys.
        self.changes = nn.ParameterDict(
            {name.replace(".", "/"): p.new_zeros(steps - 1, *p.shape) for name, p in scales.items() if steps > 1}
        )
        # Of the weights, since a compiled step takes buffers for inputs; not saved, as it follows from the progress.
        like = next(net.parameters())
        self.register_buffer("importance", importance(steps, 0.0, multi_step_until).to(like), persistent=False)

    #: The stage that was heard of last. On the class, as no argument says it.
    _heard: tuple[bool, bool] | None = None

    @property
    def stage(self) -> tuple[bool, bool, bool]:
        """Whether the losses after all steps count, the outer gradient is second order, and the body adapts."""
        many, second = self._heard or (self.steps > 1 and self.multi_step_until > 0, not self.first_order)
        return many, second, self.whole

    def progress(self, used: float) -> None:  # noqa: D102
        super().progress(used)
        many = self.steps > 1 and used < self.multi_step_until
        heard = many, not self.first_order and used >= self.second_order_from
        if many or heard != self._heard:
            self.importance.copy_(importance(self.steps, used, self.multi_step_until))
        self._heard = heard

    @property
    def constant_gradients(self) -> bool:  # noqa: D102
        return not self.stage[1]

    @property
    def constant_body(self) -> bool:
        """Whether all steps have the scales and shifts of the first, as while the head alone adapts."""
        return not self.changes or (self.training and not self.whole)

    def initial(self, targets: int) -> Parameters:  # noqa: D102
        return self.of_step(super().initial(targets), 0)

    def of_step(self, own: Parameters, step: int) -> Parameters:
        """With the step's scales and shifts: those of the network and what the step adds to them."""
        step = 0 if self.constant_body else min(step, self.steps - 1)
        theta = dict(self.net.named_parameters())
        found = {name.replace("/", "."): change for name, change in self.changes.items()}
        return own | {k: theta[k] + change[step - 1] if step else theta[k] for k, change in found.items()}

    def loss(self, task: Task) -> Tensor:
        """The query losses after all inner steps by their importance; outside training that after the last one."""
        if not (self.training and self.stage[0]):
            return super().loss(task)
        self.check(task.support)
        losses = []
        body = self.body(task.support)
        for own, _ in islice(self.walk(task.support, self.steps, body=body), 1, None):
            raw = self.predict(self.state_of(own, task.support, body and body.statistics), task.query.x)
            losses.append(self.likelihood.nll(raw, task.query.y).mean())
        return (self.importance * torch.stack(losses)).sum()

    def extra_repr(self) -> str:  # noqa: D102
        return f"multi_step_until={self.multi_step_until:g}, second_order_from={self.second_order_from:g}"


def importance(steps: int, used: float, until: float) -> Tensor:
    """How much the query loss after each inner step counts, ``[k]``, in all 1.

    Args:
        steps: inner steps k.
        used: share of the training that is done.
        until: share of it after which the last step alone counts; up to there the others fall linearly from 1 / k.

    Example:
        >>> importance(4, used=0.05, until=0.1)
        tensor([0.1250, 0.1250, 0.1250, 0.6250], dtype=torch.float64)
    """
    left = max(0.0, 1 - used / until) if until else 0.0
    weights = torch.full((steps,), left / steps, dtype=torch.float64)
    weights[-1] = 1 - left * (steps - 1) / steps
    return weights


def _of_norms(net: nn.Module) -> Parameters:
    """The scales and shifts of normalization layers that are trained, by name."""
    layers = [prefix for prefix, part in net.named_modules() if norm.policy_of(part) is not None]
    known = {f"{prefix}.{name}" if prefix else name for prefix in layers for name in ("weight", "bias")}
    return {name: p for name, p in net.named_parameters() if name in known and p.requires_grad}
