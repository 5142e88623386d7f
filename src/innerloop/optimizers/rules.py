"""Update rules that are networks, applied to each number of the parameters by itself.

One small network serves tensors of every shape, so a rule that was trained on small problems runs on any other.
"""

from __future__ import annotations

import math
from typing import TypedDict

import torch
from torch import Tensor, nn

from innerloop.core.inner import InnerOptimizer, Parameters, decay, positive
from innerloop.core.numbers import check_count
from innerloop.core.task import InputError

_TINY = 1e-12
_BOUND = 2.0


class Averages(TypedDict):
    """What :class:`MLPRule` remembers of n numbers."""

    step: Tensor
    momenta: Tensor
    """Running means of the gradient, one a decay: ``[n, decays]``."""
    second: Tensor
    """Running means of its square: ``[n]``."""


class MLPRule(InnerOptimizer):
    """A small network from features of a number and its gradients to that number's step.

    The features are the gradient, its running means, the parameter and the root of the gradient's running mean square,
    each divided by its own root mean square over the tensor; the means and the gradient divided by the running root;
    and the time. The outputs are a direction and a log magnitude, both within -2 and 2, and the step is
    ``scale * (mean / root + direction) * exp(magnitude)``. The first term is Adam's direction: a rule whose outputs are
    zero is Adam, and training starts close to it. Nothing in the step depends on the units of the loss.

    Args:
        width: of the two hidden layers.
        decays: of the running means of the gradient; Adam's direction takes the first.
        second_decay: of the running mean of its square.
        times: numbers of steps that the time features tell apart. None should lie beyond the runs that the rule is
            trained on: what it does as such a time comes near was never seen.
        scale: of the steps, in the units of the parameters: the rate of that Adam.

    Raises:
        InputError: for a decay outside ``[0, 1)`` or a scale that is not positive.

    Example:
        >>> rule, w = MLPRule(), {"w": torch.ones(3, 2)}
        >>> w, memory = rule.update({"w": torch.ones(3, 2)}, w, rule.init(w))
        >>> w["w"].shape, memory["momenta"].shape
        (torch.Size([3, 2]), torch.Size([6, 3]))

    References:
        Metz et al., *Understanding and correcting pathologies in the training of learned optimizers*, ICML 2019,
        https://arxiv.org/abs/1810.10180; Metz et al., *Tasks, stability, architecture, and compute*, 2020,
        https://arxiv.org/abs/2009.11243. The first term: Harrison, Metz, Sohl-Dickstein, *A closer look at learned
        optimization*, NeurIPS 2022, https://arxiv.org/abs/2209.11208.
    """

    decays: Tensor
    times: Tensor

    def __init__(
        self,
        width: int = 16,
        decays: tuple[float, ...] = (0.9, 0.5, 0.99),
        second_decay: float = 0.99,
        times: tuple[float, ...] = (1, 3, 10, 30),
        scale: float = 0.01,
    ) -> None:
        super().__init__()
        check_count("width", width, 1)
        positive("scale", scale)
        if not decays:
            raise InputError("decays is empty: give at least one, such as 0.9")
        for value in (*decays, second_decay):
            decay("decay", value)
        for value in times:
            positive("time", value)
        self.register_buffer("decays", torch.tensor(decays), persistent=False)
        self.register_buffer("times", torch.tensor(times, dtype=torch.get_default_dtype()), persistent=False)
        self.second_decay, self.scale = second_decay, scale
        self.time = nn.Linear(len(times), width, bias=False)
        self.first = nn.Linear(2 * len(decays) + 4, width)
        self.rest = nn.Sequential(nn.ReLU(), nn.Linear(width, width), nn.ReLU())
        self.output = nn.Linear(width, 2)
        with torch.no_grad():
            self.output.weight.mul_(0.1)
            self.output.bias.zero_()

    def init(self, parameters: Parameters) -> Averages:  # noqa: D102
        second = torch.zeros_like(_flat(parameters, self.output.weight))
        momenta = second.new_zeros(*second.shape, len(self.decays))
        return {"step": torch.zeros((), device=second.device), "momenta": momenta, "second": second}

    def update(  # noqa: D102
        self, gradients: Parameters, parameters: Parameters, memory: Averages
    ) -> tuple[Parameters, Averages]:
        step = memory["step"] + 1
        like = self.output.weight
        gradient = _flat({k: gradients[k] for k in parameters}, like).unsqueeze(-1)
        numbers = _flat(parameters, like).unsqueeze(-1)
        momenta = torch.lerp(gradient, memory["momenta"], self.decays)
        second = self.second_decay * memory["second"] + (1 - self.second_decay) * gradient.squeeze(-1) ** 2
        root = (second / (1 - self.second_decay**step) + _TINY).sqrt().unsqueeze(-1)
        slopes = torch.cat((momenta / (1 - self.decays**step), gradient), -1)
        sizes = [p.numel() for p in parameters.values()]
        columns = torch.cat((slopes, root, numbers), -1)
        sized = torch.cat([_sized(part) for part in columns.split(sizes)])
        ratios = slopes / root
        time = self.time(torch.tanh(step / self.times - 1).to(gradient))
        outputs = self.output(self.rest(self.first(torch.cat((sized, ratios), -1)) + time))
        # Bounded, since what a network says of what it never saw must not make a parameter run away.
        direction, magnitude = (_BOUND * torch.tanh(outputs / _BOUND)).unbind(-1)
        steps = self.scale * (ratios[:, 0] + direction) * magnitude.exp()
        return _moved(parameters, -steps), {"step": step, "momenta": momenta, "second": second}

    def extra_repr(self) -> str:  # noqa: D102
        return f"scale={self.scale}"


class Cells(TypedDict):
    """What :class:`LSTMRule` remembers of n numbers: hidden values and cells, each ``[n, layers, width]``."""

    hidden: Tensor
    cell: Tensor


class LSTMRule(InnerOptimizer):
    """A recurrent network on the gradients of one number, the same for all numbers; its output is that number's step.

    Args:
        width: of a layer.
        layers: on top of each other.
        scale: factor of the output, in the units of the parameters.
        bound: p of the preprocessing: a gradient g is seen as ``(log |g| / p, sign g)`` or, where its size is below
            ``exp(-p)``, as ``(-1, exp(p) g)``.

    Raises:
        InputError: for a scale or a bound that is not positive.

    Example:
        >>> rule, w = LSTMRule(), {"w": torch.ones(3)}
        >>> w, memory = rule.update({"w": torch.ones(3)}, w, rule.init(w))
        >>> memory["cell"].shape
        torch.Size([3, 2, 20])

    References:
        Andrychowicz et al., *Learning to learn by gradient descent by gradient descent*, NeurIPS 2016,
        https://arxiv.org/abs/1606.04474.
    """

    def __init__(self, width: int = 20, layers: int = 2, scale: float = 0.1, bound: float = 10.0) -> None:
        super().__init__()
        check_count("width", width, 1)
        check_count("layers", layers, 1)
        positive("scale", scale)
        positive("bound", bound)
        self.width, self.layers, self.scale, self.bound = width, layers, scale, bound
        self.input = nn.ModuleList(nn.Linear(2 if i == 0 else width, 4 * width) for i in range(layers))
        self.recurrent = nn.ModuleList(nn.Linear(width, 4 * width, bias=False) for _ in range(layers))
        self.output = nn.Linear(width, 1)

    def init(self, parameters: Parameters) -> Cells:  # noqa: D102
        numbers = _flat(parameters, self.output.weight)
        zeros = numbers.new_zeros(*numbers.shape, self.layers, self.width)
        return {"hidden": zeros, "cell": zeros}

    def update(  # noqa: D102
        self, gradients: Parameters, parameters: Parameters, memory: Cells
    ) -> tuple[Parameters, Cells]:
        x = self._seen(_flat({k: gradients[k] for k in parameters}, self.output.weight))
        hidden, cells = [], []
        for i in range(self.layers):
            gates = self.input[i](x) + self.recurrent[i](memory["hidden"][:, i])
            take, keep, new, show = gates.chunk(4, -1)
            # With the 1 a cell holds on to what it has before the rule is trained.
            cell = (keep + 1).sigmoid() * memory["cell"][:, i] + take.sigmoid() * new.tanh()
            x = show.sigmoid() * cell.tanh()
            hidden.append(x)
            cells.append(cell)
        steps = self.scale * self.output(x).squeeze(-1)
        return _moved(parameters, steps), {"hidden": torch.stack(hidden, 1), "cell": torch.stack(cells, 1)}

    def _seen(self, gradient: Tensor) -> Tensor:
        """The gradients ``[n]`` as the network sees them, ``[n, 2]``: size and sign."""
        size, edge = gradient.abs(), math.exp(-self.bound)
        large = size >= edge
        logs = torch.where(large, size.clamp(min=edge).log() / self.bound, -1.0)
        return torch.stack((logs, torch.where(large, gradient.sign(), gradient / edge)), -1)

    def extra_repr(self) -> str:  # noqa: D102
        return f"scale={self.scale}"


def _flat(parameters: Parameters, like: Tensor) -> Tensor:
    """All numbers of all tensors, ``[n]``, in the type of the rule's own weights."""
    return torch.cat([p.reshape(-1) for p in parameters.values()]).to(like.dtype)


def _moved(parameters: Parameters, steps: Tensor) -> Parameters:
    """The parameters after ``steps [n]``, each in its own type."""
    parts = steps.split([p.numel() for p in parameters.values()])
    return {k: p + part.view(p.shape).to(p.dtype) for (k, p), part in zip(parameters.items(), parts, strict=True)}


def _sized(columns: Tensor) -> Tensor:
    """Each column of a tensor's features ``[n, F]`` divided by its root mean square."""
    return columns * (columns.square().mean(0) + _TINY).rsqrt()
