"""Learning by gradient steps on the support set: what every MAML-like method shares."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from typing import Any, ClassVar, NamedTuple, Self

import torch
from torch import Tensor, nn

from innerloop.core import norm
from innerloop.core.facts import Facts, Networks
from innerloop.core.inner import InnerOptimizer, Parameters, call, gradient
from innerloop.core.lazy import check_materialized
from innerloop.core.learner import Learner
from innerloop.core.likelihood import Categorical, Likelihood, default_likelihood
from innerloop.core.modes import evaluating
from innerloop.core.numbers import check_count, check_number
from innerloop.core.task import Examples, InputError, Task, count, take, turn
from innerloop.learners.by_size import ByShots, ByWays, learn_temperature, shots_of
from innerloop.learners.optimization.adapting import last_layer, names
from innerloop.learners.optimization.body import Body, body_of
from innerloop.learners.tempered import check_logits, fitted_temperature


class Adapted(NamedTuple):
    """The parameters that a task has of its own, by name, and support statistics where the norm policy keeps them."""

    parameters: Parameters
    statistics: norm.Statistics
    #: Support examples a class, a scalar, where a temperature follows them.
    shots: Tensor | None = None


class GradientLearner(Learner):
    """Adapts a copy of the network's parameters by an inner optimizer; the network itself holds the initial ones.

    Args:
        net: any module ``[N, *F] -> [N, P]``.
        inner: the inner optimizer.
        steps: inner steps k in meta-training.
        test_steps: inner steps otherwise; default ``steps``.
        adapts: which parameters the inner loop changes: ``"all"``, the ``"head"`` (the last layer that has parameters,
            or the shared head), the ``"body"`` (all others), ``"none"``, or one or several patterns of names such as
            ``"blocks.3.*"``. The others serve every task as they are, and have their outer gradient all the same.
        first_order: take the inner gradients for constants.
        batch_size: support examples an inner step sees, in turn; ``None`` for all.
        shared_head: name of a final linear layer with **one** output whose parameters are repeated for each class at
            the start of every task: any number of ways, and no class is special.
        inner_loss: what the inner loop descends, in place of the mean negative log likelihood: a function or module of
            raw predictions ``[N, P]`` and target rows ``[N, D]`` that gives a scalar.
        lr_ways: number of ways that the inner rate of a shared head is for. A mean over the examples of C classes moves
            the row of each by 1 / C, so that a rate which suits tasks of many ways is too large in those of few: the
            gradient of the rows is multiplied by C / ``lr_ways``. Default: it stays as it is.
        tempered: outside training, divide the logits of queries by a temperature, which :meth:`calibrate` finds on
            meta-training tasks, one for each number of shots, with a shared head of ways too. Neither the inner loop
            nor the outer one sees it, and no answer changes.
        body_from: share of the training from which the whole of ``adapts`` does; before it the head alone, as in ANIL,
            which costs less. Outside training all adapts at any time.
        likelihood: default :class:`~innerloop.Categorical`; ``Gaussian(scale=1.0)`` for regression by squared error.

    Raises:
        InputError: for fewer than 0 steps, a share outside 0 to 1, a layer that an inner loop cannot run (it is named),
            a pattern that matches no parameter, a head that does not adapt where it must, or a temperature of real
            targets.
    """

    objectives: ClassVar[tuple[str, ...]] = ("classification", "regression")

    def __init__(
        self,
        net: nn.Module,
        *,
        inner: InnerOptimizer,
        steps: int,
        test_steps: int | None = None,
        adapts: str | Sequence[str] = "all",
        first_order: bool = False,
        batch_size: int | None = None,
        shared_head: str | None = None,
        inner_loss: Callable[[Tensor, Tensor], Tensor] | None = None,
        lr_ways: int | None = None,
        tempered: bool = False,
        body_from: float = 0.0,
        likelihood: Likelihood | None = None,
    ) -> None:
        super().__init__(likelihood or Categorical())
        check_number("body_from", body_from, "[0, 1]")
        if tempered:
            check_logits(self.likelihood)
        least_of = {"steps": 0, "test_steps": 0, "batch_size": 1, "lr_ways": 1}
        for (name, least), value in zip(least_of.items(), (steps, test_steps, batch_size, lr_ways), strict=True):
            check_count(name, value, least, optional=True)
        check_materialized(net)
        norm.check_inner_loop(net)
        self.net, self.inner = net, inner
        self.steps, self.test_steps = steps, steps if test_steps is None else test_steps
        self.first_order, self.batch_size = first_order, batch_size
        self.inner_loss, self.lr_ways = inner_loss, lr_ways
        self.shared_head = shared_head
        self.shared = {f"{shared_head}.{name}" for name in ("weight", "bias")} if shared_head else set()
        unknown = self.shared - dict(net.named_parameters()).keys()
        if unknown:
            raise InputError(f"the network has no parameter {sorted(unknown)[0]!r}: name a linear layer with a bias")
        self.adapts = names(net, adapts, shared_head)
        # A rule that knows parameters by their names says now which one it does not know.
        inner.init({name: p.detach() for name, p in net.named_parameters() if name in self.adapts})
        if lr_ways is not None and not self.shared:
            raise InputError(
                f"lr_ways={lr_ways} is of a head that classes share: name it by shared_head, or leave it out"
            )
        if self.shared and f"{shared_head}.weight" not in self.adapts:
            raise InputError(
                f"shared_head={shared_head!r} starts every class from one row, so that only adapting tells them apart, "
                f"and adapts={adapts!r} leaves it out: adapt it too, or give the network one output a class"
            )
        self.body_from = body_from
        self.head = [name for name in names(net, "head", shared_head) if name in self.adapts] if body_from else []
        if body_from and not 0 < len(self.head) < len(self.adapts):
            raise InputError(
                f"body_from={body_from:g} begins with the head alone and goes on with more, and adapts={adapts!r} is "
                f"{'the head alone' if self.head else 'no head'}: adapt 'all', or leave body_from out"
            )
        #: What the logits of queries are divided by outside training; ``None`` where that was not asked for.
        self.temperature: Tensor | None
        self.register_buffer("temperature", torch.ones(()) if tempered else None)
        #: How that changes with the ways, where one learner takes any number of them, and with the shots.
        self.by_ways = ByWays() if tempered and self.shared else None
        self.by_shots = ByShots() if tempered else None
        self.train()

    @classmethod
    def from_facts(cls, facts: Facts, nets: Networks, **options: Any) -> Self:
        """On a network with one output for each target column, or a single one where the classes share it."""
        options["likelihood"] = options.get("likelihood") or default_likelihood(facts.objective)
        outputs = 1 if options.get("shared_head") else options["likelihood"].size(facts.targets)
        return cls(nets.classifier(facts.shape, outputs), **options)

    def backbone(self) -> nn.Module:  # noqa: D102
        return self.net

    #: Whether the body adapts in training by now. On the class, as no argument says it.
    whole = True

    def progress(self, used: float) -> None:  # noqa: D102
        self.whole = used >= self.body_from

    @property
    def stage(self) -> Hashable:
        """Whether the body adapts, where that changes."""
        return self.whole if self.body_from else None

    def adapt(self, support: Examples, state: Adapted | None = None) -> Adapted:  # noqa: D102
        body = self.body(support, state)
        found = self.state_of(self.descended(support, state, body), support, body and body.statistics)
        # A task that goes on has seen the shots before as well.
        before = state and state.shots
        return found if before is None or found.shots is None else found._replace(shots=before + found.shots)

    def state_of(self, parameters: Parameters, support: Examples, statistics: norm.Statistics | None = None) -> Adapted:
        """What a task predicts by: its parameters, and what its support set says beside them.

        Args:
            parameters: that it has of its own.
            support: of the task.
            statistics: of the support set under these parameters, where they are known.
        """
        if statistics is None:
            statistics = self.statistics_of(parameters, support)
        return Adapted(parameters, statistics, None if self.by_shots is None else shots_of(support))

    def descended(self, support: Examples, state: Adapted | None = None, body: Body | None = None) -> Parameters:
        """The parameters that a task has of its own after the inner loop."""
        # One after the other, so that the memory is that of one.
        for own, _ in self.walk(support, None, state, body=body):  # noqa: B007
            pass
        return own

    def path(
        self, support: Examples, steps: int, state: Adapted | None = None, first: Parameters | None = None
    ) -> Iterator[Parameters]:
        """The parameters that a task has of its own, before its first inner step and after each one: ``steps + 1``.

        Those after step j are where an inner loop of j steps ends, so one run shows every number of steps.

        Args:
            support: of one task.
            steps: inner steps k.
            state: what the task starts from; default the initial parameters.
            first: the gradient of the first step, where it is known.
        """
        body = self.body(support, state) if steps > 1 else None
        return (own for own, _ in self.walk(support, steps, state, first, body))

    def walk(
        self,
        support: Examples,
        steps: int | None,
        state: Adapted | None = None,
        first: Parameters | None = None,
        body: Body | None = None,
    ) -> Iterator[tuple[Parameters, Any]]:
        """As :meth:`path`, by what :meth:`body` said of this support set; without it by the network at each step.

        Beside the parameters stands the memory of the inner optimizer. ``steps=None`` is as many as this mode takes.
        """
        steps = self._now if steps is None else steps
        own = self.initial(support.y.shape[1]) if state is None else state.parameters
        phi = {k: own[k] for k in self.moving}
        memory = self.inner.init(phi)
        yield own, memory
        for step in range(steps):
            own = self.of_step(own, step)
            # No gradient is to be had with respect to nothing.
            if phi:
                gradients = first if step == 0 else None
                if gradients is None:
                    moved = self._moved_first(phi) if step == 0 and state is None else phi
                    if body is None:
                        found = self.inner_gradient(moved, own, turn(support, self.batch_size, step))
                    else:
                        found = self._gradient(self._head_loss, moved, own, Examples(body.features, support.y))
                    gradients = {k: found[k] if k in found else torch.zeros_like(p) for k, p in phi.items()}
                phi, memory = self.inner.update(gradients, phi, memory)
            yield {**own, **phi}, memory

    @property
    def moving(self) -> list[str]:
        """The names of what the inner loop changes now."""
        return self.adapts if self.whole or not self.training else self.head

    @property
    def constant_body(self) -> bool:
        """Whether what does not adapt is the same at each inner step."""
        return True

    def body(self, support: Examples, state: Adapted | None = None) -> Body | None:
        """What the last layer reads of the support set, where that is the same at each inner step.

        It is where that layer alone adapts, sees the whole support set at each step, and gives the predictions as they
        are: then one pass of the network serves all steps. Otherwise ``None``.

        Args:
            support: of one task.
            state: what the task starts from; default the initial parameters.
        """
        whole = turn(support, self.batch_size, 0) is support
        if not (self._now and self.moving and whole and self.constant_body and self._plain):
            return None
        last = self.shared_head or last_layer(self.net)[0]
        if not last or any(name.rpartition(".")[0] != last for name in self.moving):
            return None
        own = self.initial(support.y.shape[1]) if state is None else state.parameters
        unused = self.constant_gradients and self.norm != "support"
        with torch.no_grad() if unused else nullcontext():
            found = body_of(self.net, last, own, support.x)
        return found and found._replace(statistics=found.statistics if self.norm == "support" else [])

    @property
    def _now(self) -> int:
        """Inner steps in this mode."""
        return self.steps if self.training else self.test_steps

    @property
    def _plain(self) -> bool:
        """Whether the inner loss and its gradient are those of this class."""
        return all(
            getattr(type(self), name) is getattr(GradientLearner, name)
            for name in ("raw", "support_loss", "inner_gradient")
        )

    def _moved_first(self, phi: Parameters) -> Parameters:
        """What the first step moves.

        Where all classes start from one row, their probabilities are equal whatever the features are: the gradient with
        respect to the body is zero, for all of its weights, and need not be computed. A class that has an inner loss or
        gradient of its own may have one there.
        """
        plain = self._plain and self.inner_loss is None and type(self.likelihood) is Categorical
        if not self.shared or not plain:
            return phi
        return {k: p for k, p in phi.items() if k in self.shared}

    def of_step(self, own: Parameters, step: int) -> Parameters:
        """What a task has of its own at an inner step, beside what adapts: the same at each.

        Args:
            own: at the step before.
            step: from 0.
        """
        return own

    def predict(self, state: Adapted, x: Tensor) -> Tensor:  # noqa: D102
        with norm.replaying(state.statistics):
            raw = self.raw(state.parameters, x)
        if self.training or self.temperature is None:
            return raw
        temperature = self.temperature
        for by, size in ((self.by_ways, raw.shape[-1]), (self.by_shots, state.shots)):
            if by is not None and size is not None:
                temperature = temperature * by(size)
        return raw / temperature

    def calibrate(self, tasks: Iterable[Task]) -> None:
        """Find the temperature on meta-training tasks, where one was asked for (see :class:`Learner`).

        Args:
            tasks: batches of tasks, on the learner's device.
        """
        if self.temperature is None:
            return
        each = [take(batch, index) for batch in tasks for index in range(count(batch))]
        with evaluating(self), torch.no_grad():
            learn_temperature(self.temperature, [by for by in (self.by_ways, self.by_shots) if by], each, self._fitted)

    def _fitted(self, tasks: list[Task]) -> float | None:
        """The temperature of tasks, of which the queries' logits have none yet."""
        found = [(self.predict(self.adapt(task.support), task.query.x), task.query.y) for task in tasks]
        # Of meta-training tasks all may be told right; the prior keeps the learner from being sure of others.
        return fitted_temperature(self.likelihood, found, prior=1.0)

    def initial(self, targets: int) -> Parameters:
        """theta: what a task with ``targets`` columns has of its own at the start, which is what adapts."""
        theta = {k: p for k, p in self.net.named_parameters() if k in self.adapts or k in self.shared}
        # Contiguous, as a state that comes back from a file is: another layout rounds differently.
        return {k: p.expand(targets, *p.shape[1:]).contiguous() if k in self.shared else p for k, p in theta.items()}

    def train(self, mode: bool = True) -> GradientLearner:
        """Set the mode as usual, except that running statistics stay frozen: the inner loop must not move them."""
        super().train(mode)
        norm.freeze_running(self.net)
        return self

    def raw(self, parameters: Parameters, x: Tensor) -> Tensor:
        """Raw predictions of the network with other parameters: ``[N, *F] -> [1, N, P]``."""
        return call(self.net, parameters, x).unsqueeze(0)

    @property
    def constant_gradients(self) -> bool:
        """Whether the outer gradient takes the inner ones for constants, as it does from the start or for a time."""
        return self.first_order

    def inner_gradient(self, phi: Parameters, own: Parameters, batch: Examples) -> Parameters:
        """The gradient of the support loss with respect to phi alone."""
        return self._gradient(self.support_loss, phi, own, batch)

    def _gradient(self, loss: Callable[..., Tensor], phi: Parameters, own: Parameters, batch: Examples) -> Parameters:
        # First order: off before, not detached after, so that no graph of the inner gradient is built at all.
        with torch.no_grad() if self.constant_gradients else nullcontext():
            learned = self.inner_loss.parameters() if isinstance(self.inner_loss, nn.Module) else ()
            through = [*self.likelihood.parameters(), *learned]
            found = gradient(loss, phi, self.fixed(phi, own), batch, through=through)
        return self.of_ways(found, batch.y.shape[1])

    def of_ways(self, gradients: Parameters, ways: int) -> Parameters:
        """Gradients of the inner loss as a step takes them, those of a shared head's rows for the ways of the task."""
        if self.lr_ways is None:
            return gradients
        return {k: g * (ways / self.lr_ways) if k in self.shared else g for k, g in gradients.items()}

    def fixed(self, phi: Parameters, own: Parameters) -> Parameters:
        """All parameters that a task uses and does not adapt."""
        return {k: p for k, p in {**dict(self.net.named_parameters()), **own}.items() if k not in phi}

    def support_loss(self, phi: Parameters, fixed: Parameters, batch: Examples) -> Tensor:
        """What the inner loop descends on support examples, of the parameters that adapt and the others.

        Raises:
            InputError: for an inner loss of one's own that gives no scalar.
        """
        return self._loss_of(self.raw({**fixed, **phi}, batch.x), batch.y)

    def _head_loss(self, phi: Parameters, fixed: Parameters, features: Examples) -> Tensor:
        """The support loss of what the last layer reads, by its parameters."""
        (last,) = {name.rpartition(".")[0] for name in phi}
        own = {k.rpartition(".")[2]: p for k, p in {**fixed, **phi}.items() if k.rpartition(".")[0] == last}
        return self._loss_of(call(self.net.get_submodule(last), own, features.x).unsqueeze(0), features.y)

    def _loss_of(self, raw: Tensor, y: Tensor) -> Tensor:
        if self.inner_loss is None:
            return self.likelihood.nll(raw, y).mean()
        loss = self.inner_loss(raw[0], y)
        if not isinstance(loss, Tensor) or loss.ndim:
            shape = tuple(loss.shape) if isinstance(loss, Tensor) else type(loss).__name__
            raise InputError(f"the inner loss gives {shape}; it must give one number: take its mean or its sum")
        return loss

    def statistics_of(self, parameters: Parameters, support: Examples) -> norm.Statistics:
        """What the support set leaves to the queries' normalization, under the policy that keeps it."""
        if self.norm != "support":
            return []
        with norm.recording() as statistics:
            self.raw(parameters, support.x)
        return statistics
