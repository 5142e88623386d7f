"""Conditional Neural Processes (Garnelo et al., ICML 2018, https://arxiv.org/abs/1807.01613).

Each context point is encoded, the codes are averaged, and a decoder reads the average at each target point. The
cheapest of the family: adapting is one pass over the context, more points fold in exactly, and a prediction costs the
same whatever the size of the context. It blurs, as one average has to hold the whole function; CANP and TNP-D do not.
"""

from __future__ import annotations

from torch import Tensor

from innerloop.core.likelihood import Likelihood
from innerloop.core.task import Examples
from innerloop.learners.generative.process import NeuralProcess, PointDecoder
from innerloop.nets.sets import SetEncoder, SetSums


class CNP(NeuralProcess):
    """Conditional neural process: a mean over the encoded context, and a decoder.

    Args:
        inputs: columns of x.
        targets: columns D of y.
        width: of all hidden layers and of the code.
        depth: linear layers before the mean, after it, and in the decoder.
        likelihood: default :class:`~innerloop.Gaussian` with a learned deviation.

    Raises:
        InputError: for sizes or depths below 1.

    Example:
        >>> import torch, innerloop as il
        >>> learner = il.CNP(1, 1, width=32)
        >>> learner.predict(learner.adapt(il.Examples(torch.rand(5, 1), torch.rand(5, 1))), torch.rand(7, 1)).shape
        torch.Size([1, 7, 2])

    References:
        Garnelo et al., *Conditional Neural Processes*, ICML 2018, https://arxiv.org/abs/1807.01613.
    """

    def __init__(
        self,
        inputs: int,
        targets: int,
        *,
        width: int = 128,
        depth: tuple[int, int, int] = (4, 2, 3),
        likelihood: Likelihood | None = None,
    ) -> None:
        super().__init__(inputs, targets, likelihood)
        self.encoder = SetEncoder(inputs + targets, width, width=width, depth=(depth[0], depth[1]))
        self.decoder = PointDecoder(inputs, (width,), self.raws, width=width, depth=depth[2])

    def adapt(self, support: Examples, state: SetSums | None = None) -> SetSums:  # noqa: D102
        return self.encoder.sums(self.pairs(support)).plus(state)

    def predict(self, state: SetSums, x: Tensor) -> Tensor:  # noqa: D102
        return self.decoder(x, self.encoder(state)).unsqueeze(0)
