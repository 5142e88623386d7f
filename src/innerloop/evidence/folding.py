"""What of a learner need run only once for all refits: a part that sees each example alone and does not adapt."""

from __future__ import annotations

from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from innerloop.core import alone, norm
from innerloop.core.learner import Learner
from innerloop.evidence.layers import input_of_head
from innerloop.learners.optimization.adapting import last_layer
from innerloop.learners.optimization.gradient import Adapted, GradientLearner

#: What was found of a module, for inputs of such a shape.
_ALONE: WeakKeyDictionary[nn.Module, dict[tuple[object, ...], bool]] = WeakKeyDictionary()
#: The last layer of a learner as one of its own, and what it was made of.
_HEADS: WeakKeyDictionary[Learner, tuple[tuple[object, ...], GradientLearner]] = WeakKeyDictionary()


def sees_alone(module: nn.Module, x: Tensor) -> bool:
    """Whether a module gives an example the same whichever others come with it: tried once, then known of it.

    Args:
        module: in evaluation mode.
        x: some inputs ``[N, *F]``.
    """
    key = (norm.policy(module), len(list(module.modules())), x.shape[1:], x.dtype)
    known = _ALONE.setdefault(module, {})
    if key not in known:
        known[key] = alone.folds(module, x)
    return known[key]


def hidden(learner: GradientLearner, state: Adapted, x: Tensor) -> Tensor:
    """What the last layer that has parameters reads, in the adapted network: ``[N, *F]`` to ``[N, H]``.

    Args:
        learner: in evaluation mode.
        state: of a task.
        x: examples.
    """
    (read,) = input_of_head(learner, state, [x])
    return read.flatten(1) if read.shape[:1] == x.shape[:1] else x.flatten(1)


def head_alone(learner: GradientLearner, x: Tensor) -> tuple[GradientLearner, Tensor] | None:
    """The last layer as a learner of its own, where nothing else adapts, and its features of examples.

    ``None`` where that is another learner: where more adapts, or what follows the layer is no end.

    Args:
        learner: in evaluation mode.
        x: examples ``[N, *F]``.
    """
    name, last = last_layer(learner.net)
    own = {f"{name}.{part}" if name else part for part, _ in last.named_parameters(recurse=False)}
    plain = type(learner).adapt is GradientLearner.adapt and type(learner).path is GradientLearner.path
    shares = learner.shared or any(True for _ in learner.inner.parameters())
    if not (plain and name and isinstance(last, nn.Linear) and set(learner.adapts) == own) or shares:
        return None
    if not sees_alone(learner.net, x[:4]):
        return None
    z = hidden(learner, Adapted(learner.initial(last.out_features), []), x)
    # Up to the rounding of batches of another size.
    if z.shape[1] != last.in_features or not torch.allclose(last(z[:2]), learner.net(x[:2]), rtol=1e-3, atol=1e-5):
        return None
    temperature = None if learner.temperature is None else float(learner.temperature)
    key = (learner.inner, learner.test_steps, learner.batch_size, learner.likelihood, last, temperature)
    known = _HEADS.get(learner)
    if known is None or known[0] != key:
        options = {"first_order": True, "batch_size": learner.batch_size, "likelihood": learner.likelihood}
        head = GradientLearner(last, inner=learner.inner, steps=learner.test_steps, **options).eval()  # type: ignore[arg-type]
        head.temperature, head.by_shots = learner.temperature, learner.by_shots
        known = _HEADS[learner] = (key, head)
    return known[1].eval(), z
