"""Comparing images under many views of both, by one network or several: what helps where each class has one example.

The network sees every image as it is and slightly moved, and each of these turned by quarters and mirrored. The moved
views make up for how two people place the same letter: of them the best match counts. The turned and mirrored ones are
other pictures to a network that learned from such classes too, so they are an ensemble for the price of a pass: their
similarities are added up, as are those of several networks.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from innerloop.core.construction import Recorded
from innerloop.core.layout import fast_layout
from innerloop.core.likelihood import Categorical, Likelihood
from innerloop.core.task import Examples, InputError, transformed
from innerloop.learners.head import Head, distance_scale
from innerloop.learners.heads.prototypes import ClassSums
from innerloop.learners.under_views import Looks


class ManyViews(Recorded):
    """The features of images under views, by each of several networks: ``[N, C, S, S] -> [N, V, M, H]``.

    V are the moved views, the first the image as it is; then one for each amount and direction that is given. M are
    networks times symmetries.

    Args:
        networks: trained encoders of the same number of features H.
        symmetries: turn each view by 0, 90, 180 and 270 degrees, and mirror it: eight forms. Without it there is one.
        shift: of moved views, in pixels: to the left, right, up and down.
        rotate: in degrees, to either side.
        scale: relative change of size, smaller and larger.
        shear: in degrees, to either side.

    Raises:
        InputError: without a network, or for an amount that :class:`innerloop.data.Augment` refuses.

    Example:
        >>> import innerloop as il
        >>> encoder = ManyViews([il.nets.conv4(width=8)], rotate=10, scale=0.1).eval()
        >>> encoder(torch.rand(3, 1, 28, 28)).shape
        torch.Size([3, 5, 8, 8])
    """

    def __init__(
        self,
        networks: Sequence[nn.Module],
        *,
        symmetries: bool = True,
        shift: float = 0.0,
        rotate: float = 0.0,
        scale: float = 0.0,
        shear: float = 0.0,
    ) -> None:
        super().__init__()
        if not networks:
            raise InputError("there is no network to see the views: give at least one encoder")
        self.networks, self.symmetries = nn.ModuleList(networks), symmetries
        self.looks = Looks(shift=shift, rotate=rotate, scale=scale, shear=shear)

    def forward(self, x: Tensor) -> Tensor:
        """Of images ``[N, C, S, S]``."""
        views = self.looks(x).unbind(1)
        return torch.stack(
            [torch.stack([self._seen(n, v) for n in self.networks for v in self._forms(view)], 1) for view in views], 1
        )

    def _forms(self, x: Tensor) -> list[Tensor]:
        if not self.symmetries:
            return [x]
        return [form.rot90(turn, (-2, -1)) for form in (x, x.flip(-1)) for turn in range(4)]

    def _seen(self, network: nn.Module, x: Tensor) -> Tensor:
        # Strides of one's own are nothing that a transform takes.
        z: Tensor = network(x.contiguous() if transformed() else fast_layout(x))
        return z.flatten(1)


class NearestView(Head):
    """Prototypes under views, by cosines: the best match of any view of a query with a prototype, and the other way.

    A class's prototype is the mean of its support features, of unit length, view by view. Of each pair the cosines of
    the M features of a view are averaged; then the largest over the query's views with the prototype as it is, and over
    the prototype's views with the query as it is, are averaged. A query is judged alone.

    Args:
        scale: factor of the logits; default 10.
        likelihood: default :class:`~innerloop.Categorical`.

    Raises:
        InputError: for a scale that is not positive, or features that are no views ``[N, V, M, H]``.

    Example:
        >>> still, moved = [[1.0, 0.0]], [[0.0, 1.0]]
        >>> head, y = NearestView(), torch.eye(2)
        >>> state = head.adapt(Examples(torch.tensor([[still, moved], [moved, moved]]), y))
        >>> head.predict(state, torch.tensor([[still, still]]))
        tensor([[[10.,  0.]]])
    """

    def __init__(self, *, scale: float | None = None, likelihood: Likelihood | None = None) -> None:
        super().__init__(likelihood or Categorical())
        self.scale = distance_scale("cosine", scale)

    def adapt(self, support: Examples, state: ClassSums | None = None) -> ClassSums:  # noqa: D102
        z = _units(support.x)
        found = ClassSums.of(z.flatten(1), support.y)
        sums = found.sums.view(-1, *z.shape[1:])
        return (
            ClassSums(sums, found.counts)
            if state is None
            else ClassSums(state.sums + sums, state.counts + found.counts)
        )

    def predict(self, state: ClassSums, x: Tensor) -> Tensor:
        """Logits ``[1, Q, D]``."""
        queries, known = _units(x), F.normalize(state.sums, dim=-1)
        forms = queries.shape[2]
        moved = torch.einsum("qvmh,dmh->vqd", queries, known[:, 0]).amax(0)
        still = torch.einsum("qmh,dvmh->vqd", queries[:, 0], known).amax(0)
        logits = self.scale * (moved + still) / (2 * forms)
        # A class that has no support example cannot be the answer.
        return logits.masked_fill(state.counts == 0, -torch.inf).unsqueeze(0)

    def extra_repr(self) -> str:  # noqa: D102
        return f"scale={self.scale}"


def _units(x: Tensor) -> Tensor:
    if x.dim() != 4:
        raise InputError(
            f"the features have shape {tuple(x.shape)}: NearestView takes views [N, V, M, H], as ManyViews gives them"
        )
    return F.normalize(x, dim=-1)
