"""Distribution calibration (Yang, Liu, Xu, ICLR 2021, https://arxiv.org/abs/2101.06395).

Classes that look alike spread alike: each support feature borrows mean and covariance from the nearest meta-training
classes, features are drawn from that Gaussian, and a softmax regression is fitted to support and drawn features
together. Nothing is meta-trained. Choose it on top of a good frozen encoder, for one or two examples a class.
"""

from __future__ import annotations

import math
from typing import Unpack

import torch
from torch import Tensor

from innerloop.core.numbers import check_count, check_number
from innerloop.core.task import Examples, InputError
from innerloop.learners.generative.draws import Draws
from innerloop.learners.heads.linear import Fitting, Linear, LinearHead


class DistributionCalibration(LinearHead):
    """A new linear head on the support features and on features drawn from their calibrated Gaussians.

    A learner on feature vectors, for :class:`~innerloop.learners.Embedded`. The Tukey transform ``sign(z) |z|^power``
    makes rectified features less skewed; means and covariances are those of untransformed features, as in the paper.

    Args:
        means: of the meta-training classes, ``[B, H]``, from :meth:`fit_base`.
        covariances: of the meta-training classes, ``[B, H, H]``.
        count: features drawn for each support feature; 0 draws none: the same head without generation.
        neighbors: k, how many of the nearest meta-training classes lend their statistics.
        alpha: added to every entry of the covariance, as in the paper's formula: it spreads draws along the diagonal
            of feature space.
        pull: how far a draw's mean lies from the support feature (0) towards its neighbors' (1); default the paper's
            k / (k + 1).
        power: of the Tukey transform, in (0, 1]; 1 leaves features as they are. The paper does not transform the
            classes' statistics; where features are far from 1, transform them all first and leave this at 1.

    Raises:
        InputError: for statistics that do not fit together, or an option out of its range.

    Example:
        >>> import torch, innerloop as il
        >>> base = il.learners.DistributionCalibration.fit_base(torch.rand(60, 16), torch.arange(60) % 6)
        >>> head = il.learners.DistributionCalibration(*base, count=20).eval()
        >>> state = head.adapt(il.Examples(torch.rand(5, 16), torch.eye(5)))
        >>> head.predict(state, torch.rand(7, 16)).shape
        torch.Size([1, 7, 5])

    References:
        Yang, Liu, Xu, *Free Lunch for Few-shot Learning: Distribution Calibration*, ICLR 2021,
        https://arxiv.org/abs/2101.06395.
    """

    means: Tensor
    roots: Tensor

    def __init__(
        self,
        means: Tensor,
        covariances: Tensor,
        *,
        count: int = 100,
        neighbors: int = 2,
        alpha: float = 0.21,
        pull: float | None = None,
        power: float = 0.5,
        **fitting: Unpack[Fitting],
    ) -> None:
        if means.ndim != 2 or covariances.shape != (*means.shape, means.shape[1]):
            raise InputError(
                f"the means {tuple(means.shape)} and covariances {tuple(covariances.shape)} must be [B, H] and "
                f"[B, H, H]: take both from DistributionCalibration.fit_base"
            )
        if not 1 <= neighbors <= len(means):
            raise InputError(f"neighbors is {neighbors}; there are 1 to {len(means)} meta-training classes to choose")
        check_count("count", count, 0)
        check_number("alpha", alpha, "[0, inf)")
        check_number("power", power, "(0, 1]")
        check_number("pull", pull, "[0, 1]", optional=True)
        size = means.shape[1]
        super().__init__(classes=len(means), features=size, **fitting)
        self.count, self.neighbors, self.alpha, self.power = count, neighbors, alpha, power
        self.pull = neighbors / (neighbors + 1) if pull is None else pull
        # One root a class, taken once: a sum of draws from the k nearest then needs no root of its own.
        values, vectors = torch.linalg.eigh(covariances.double())
        roots = vectors * values.clamp(min=0).sqrt().unsqueeze(1)
        self.register_buffer("means", means.clone())
        self.register_buffer("roots", roots.to(means))
        self.draws = Draws(neighbors * size + 1, train=count, test=count) if count else None

    @staticmethod
    def fit_base(features: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and covariance of each meta-training class.

        Args:
            features: of the meta-training pool, ``[N, H]``.
            labels: their classes, integers ``[N]``, at least two examples each.

        Returns:
            means ``[B, H]`` and (unbiased) covariances ``[B, H, H]``, classes in sorted order.

        Raises:
            InputError: if the two differ in length or a class has a single example.
        """
        if features.ndim != 2 or labels.shape != features.shape[:1]:
            raise InputError(
                f"features {tuple(features.shape)} and labels {tuple(labels.shape)} must be [N, H] and [N]: "
                f"flatten the features, give one label each"
            )
        classes, sizes = labels.unique(return_counts=True)
        if int(sizes.min()) < 2:
            raise InputError(
                f"class {int(classes[sizes.argmin()])} has one example, a covariance needs two: leave the class out"
            )
        groups = [features[labels == label] for label in classes]
        return torch.stack([z.mean(0) for z in groups]), torch.stack([z.mT.cov() for z in groups])

    def calibrated(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """The Gaussian that each transformed support feature ``[N, H]`` stands for.

        Returns:
            its mean ``[N, H]``, and the roots ``[N, k, H, H]`` of the covariances that it averages.
        """
        distances = (z.unsqueeze(1) - self.means).square().sum(2)
        nearest = distances.topk(self.neighbors, 1, largest=False).indices
        return torch.lerp(z, self.means[nearest].mean(1), self.pull), self.roots[nearest]

    def adapt(self, support: Examples, state: Linear | None = None) -> Linear:  # noqa: D102
        z, y = self._transformed(support.x), support.y
        if self.draws is not None:
            mean, roots = self.calibrated(z)
            noise = self.draws(z)
            each = noise[:, :-1].unflatten(1, (self.neighbors, -1))
            spread = torch.einsum("nkij,skj->sni", roots, each) / math.sqrt(self.neighbors)
            drawn = mean + spread + math.sqrt(self.alpha) * noise[:, -1:].unsqueeze(2)
            z, y = torch.cat((z, drawn.flatten(0, 1))), y.repeat(1 + self.count, 1)
        return super().adapt(Examples(z, y), state)

    def predict(self, state: Linear, x: Tensor) -> Tensor:  # noqa: D102
        return super().predict(state, self._transformed(x))

    def _transformed(self, x: Tensor) -> Tensor:
        z = x.flatten(1)
        return z.sign() * z.abs().pow(self.power) if self.power != 1 else z

    def extra_repr(self) -> str:  # noqa: D102
        return f"count={self.count}, neighbors={self.neighbors}, alpha={self.alpha}, power={self.power}"
