"""Images seen under several views, by any learner: slightly moved, turned and mirrored copies beside each.

The views of a support example are further examples of its class, and the answers to the views of a query are averaged.
It takes no training, and a pass for each view. A head that pays for each pair of a query and an example gets the mean
of the views' features.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from innerloop.core.construction import Recorded
from innerloop.core.learner import Learner, State, check_learner_kind
from innerloop.core.task import Examples, InputError, Task
from innerloop.data.augment import Augment
from innerloop.learners.head import Head
from innerloop.learners.optimization.gradient import Adapted
from innerloop.learners.tempered import check_logits


class Looks(Recorded):
    """Views of images: ``[N, C, S, S] -> [N, V, C, S, S]``, the first the image as it is.

    Then one for each amount and direction that is given, and with ``flip`` each of all these mirrored.

    Args:
        shift: in pixels: to the left, right, up and down.
        rotate: in degrees, to either side.
        scale: relative change of size, smaller and larger.
        shear: in degrees, to either side.
        flip: also mirrored, left and right.

    Raises:
        InputError: for an amount that :class:`innerloop.data.Augment` refuses.

    Example:
        >>> Looks(shift=1.0, flip=True)(torch.rand(3, 1, 8, 8)).shape
        torch.Size([3, 10, 1, 8, 8])
    """

    changes: Tensor

    def __init__(
        self, *, shift: float = 0.0, rotate: float = 0.0, scale: float = 0.0, shear: float = 0.0, flip: bool = False
    ) -> None:
        super().__init__()
        self.change, self.flip = Augment(shift=shift, rotate=rotate, scale=scale, shear=shear), flip
        # The numbers that Augment reads: 0.5 is no change, 0 and 1 the largest either way.
        still = torch.tensor([0.5] * 5 + [1.0, 0.0])
        amounts = (rotate, scale, shear, shift, shift)
        ends = [(place, end) for place, amount in enumerate(amounts) if amount for end in (0.0, 1.0)]
        moved = [still.index_fill(0, torch.tensor(place), end) for place, end in ends]
        self.register_buffer("changes", torch.stack([still, *moved]), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Of images ``[N, C, S, S]``."""
        views = [x, *(self.change(x, look.expand(len(x), -1)) for look in self.changes[1:])]
        return torch.stack([*views, *(view.flip(-1) for view in views)] if self.flip else views, 1)


class OverViews(Learner):
    """Any learner of classes, on examples of which there are V views each: ``[N, V, *F]``.

    Its support set is all views, and its logits the mean over the views of a query.

    Args:
        learner: on single views ``[N, *F]``.

    Raises:
        InputError: for a learner of real targets.

    Example:
        >>> import innerloop as il
        >>> learner = OverViews(il.ProtoNet(nn.Identity()))
        >>> state = learner.adapt(Examples(torch.tensor([[[0.0], [1.0]], [[2.0], [3.0]]]), torch.eye(2)))
        >>> learner.predict(state, torch.tensor([[[0.0], [2.0]]]))
        tensor([[[-1.2500, -3.2500]]])
    """

    def __init__(self, learner: Learner) -> None:
        check_learner_kind(learner, "OverViews takes")
        super().__init__(learner.likelihood)
        check_logits(learner.likelihood)
        self.learner = learner
        self.missing = learner.missing  # type: ignore[misc]

    def adapt(self, support: Examples, state: State | None = None) -> State:  # noqa: D102
        views = support.x.shape[1]
        # View by view, so that the classes take turns as they do among the examples.
        seen = Examples(support.x.transpose(0, 1).flatten(0, 1), support.y.repeat(views, 1))
        found = self.learner.adapt(seen, state)
        # Many views of an example say no more of its class than one shot does.
        if isinstance(found, Adapted) and found.shots is not None:
            before = state.shots if isinstance(state, Adapted) and state.shots is not None else 0
            return found._replace(shots=before + (found.shots - before) / views)
        return found

    def predict(self, state: State, x: Tensor) -> Tensor:  # noqa: D102
        raw = self.learner.predict(state, x.flatten(0, 1))
        return raw.unflatten(1, x.shape[:2]).mean(2)

    def backbone(self) -> nn.Module:  # noqa: D102
        return self.learner.backbone()


class UnderViews(Learner):
    """Any learner of classes of images, asked under several views of each.

    Training is that of the learner within, without views. A query is judged alone. To prototypes by squared distance it
    is what averaged features are.

    Args:
        learner: of images.
        shift: in pixels: to the left, right, up and down.
        rotate: in degrees, to either side.
        scale: relative change of size, smaller and larger.
        shear: in degrees, to either side.
        flip: also mirrored, left and right.

    Raises:
        InputError: for a learner of real targets, no view beside the image as it is, or an amount that
            :class:`innerloop.data.Augment` refuses.

    Example:
        >>> import innerloop as il
        >>> learner = UnderViews(il.ProtoNet(il.nets.conv4(width=8)), shift=1.0, rotate=5.0)
        >>> learner.looks(torch.rand(3, 1, 28, 28)).shape
        torch.Size([3, 7, 1, 28, 28])
    """

    def __init__(
        self,
        learner: Learner,
        *,
        shift: float = 0.0,
        rotate: float = 0.0,
        scale: float = 0.0,
        shear: float = 0.0,
        flip: bool = False,
    ) -> None:
        check_learner_kind(learner, "UnderViews takes")
        super().__init__(learner.likelihood)
        if not (shift or rotate or scale or shear or flip):
            raise InputError("there is no view beside the image as it is: give a shift of 1 pixel, or flip=True")
        self.looks = Looks(shift=shift, rotate=rotate, scale=scale, shear=shear, flip=flip)
        self.over = OverViews(learner)

    def adapt(self, support: Examples, state: State | None = None) -> State:  # noqa: D102
        seen, over = self._parts()
        return over.adapt(Examples(seen(support.x), support.y), state)

    def predict(self, state: State, x: Tensor) -> Tensor:  # noqa: D102
        seen, over = self._parts()
        return over.predict(state, seen(x))

    def _parts(self) -> tuple[nn.Module, Learner]:
        """What makes the views, or their features, and what learns from them."""
        encoder, rest = self.split()
        return (self.looks, self.over) if encoder is None else (encoder, rest)

    def check(self, support: Examples) -> None:  # noqa: D102
        self.over.learner.check(support)

    def loss(self, task: Task) -> Tensor:
        """The outer objective of the learner within."""
        return self.over.learner.loss(task)

    def calibrate(self, tasks: Iterable[Task]) -> None:  # noqa: D102
        self.over.learner.calibrate(tasks)

    def split(self) -> tuple[nn.Module | None, Learner]:
        """The encoder of the learner within, of all views, and what it does with their features.

        A head that compares pairs by a network (:attr:`~innerloop.learners.Head.pairwise`) reads the mean of the
        features, in place of V times V as many pairs.
        """
        encoder, rest = self.over.learner.split()
        if encoder is None:
            return None, self
        if isinstance(rest, Head) and rest.pairwise:
            return _Averaged(encoder, self.looks), rest
        return _Seen(encoder, self.looks), OverViews(rest)

    def backbone(self) -> nn.Module:  # noqa: D102
        return self.over.learner.backbone()


class _Seen(nn.Module):
    """The features of all views of images: ``[N, C, S, S] -> [N, V, *H]``."""

    def __init__(self, encoder: nn.Module, looks: Looks) -> None:
        super().__init__()
        self.encoder, self.looks = encoder, looks

    def forward(self, x: Tensor) -> Tensor:
        views = self.looks(x)
        z: Tensor = self.encoder(views.flatten(0, 1))
        return z.unflatten(0, views.shape[:2])


class _Averaged(nn.Module):
    """The mean of the features of all views of images: ``[N, C, S, S] -> [N, *H]``."""

    def __init__(self, encoder: nn.Module, looks: Looks) -> None:
        super().__init__()
        self.encoder, self.looks = encoder, looks

    def forward(self, x: Tensor) -> Tensor:
        views = self.looks(x).unbind(1)
        # View by view: features may be whole maps.
        total: Tensor = self.encoder(views[0])
        for view in views[1:]:
            total = total + self.encoder(view)
        return total / len(views)
