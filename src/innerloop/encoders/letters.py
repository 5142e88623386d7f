"""Letters, signs and drawings: a small network of our own that was meta-trained on handwriting."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from innerloop.bundle import read
from innerloop.core.device import find_device
from innerloop.core.task import InputError
from innerloop.encoders.base import Each, Network
from innerloop.encoders.drawing import Form, drawing
from innerloop.encoders.items import Picture

#: The weights that come with the package, a bundle.
SHIPPED = Path(__file__).parents[1] / "weights" / "letters"

# Steps of preprocessing that are carried out here, and what each one says.
_OPTIONS = {"drawing": Form._fields, "turns": ("degrees",)}


class Letters(Each):
    """Drawings, one sign each, to features: for letters, signs, symbols and sketches of few strokes.

    The drawing is found by itself: dark on light or light on dark, of any color, size, place and stroke width
    (:func:`innerloop.encoders.drawing.drawing`). What turns a sign into another one stays: a turn, a mirror, its
    proportions. What is lost: its size, its place, its colors, how thick the pen was. Features are the mean of unit
    vectors over three views, as it is and turned by 10 degrees either way.

    Args:
        weights: a bundle whose learner has an encoder of drawings; default the package's own.
        cache: the folder that features are kept in beside memory.
        device: what the network runs on.

    Raises:
        InputError: at ``transform``, for a picture that cannot be read or on which nothing is drawn, by its name.

    Example:
        >>> import numpy as np
        >>> page = np.full((40, 40), 255, dtype=np.uint8)
        >>> page[10:30, 18:21] = 0
        >>> features = Letters().transform([page, 255 - page])
        >>> features.shape, bool((features[0] == features[1]).all())
        ((2, 256), True)

    References:
        Snell, Swersky, Zemel, *Prototypical Networks for Few-shot Learning*, NeurIPS 2017,
        https://arxiv.org/abs/1703.05175. Lake, Salakhutdinov, Tenenbaum, *Human-level concept learning through
        probabilistic program induction*, Science 2015, https://doi.org/10.1126/science.aab3050.
    """

    name = "letters"
    kind = "images"

    def __init__(
        self, *, weights: str | Path | None = None, cache: str | Path | None = None, device: str = "cpu"
    ) -> None:
        super().__init__(cache=cache, device=device)
        self.weights = weights

    @property
    def form(self) -> Form:
        """What drawings are brought to, as the weights' bundle says."""
        return self._kept().form

    @property
    def features(self) -> int:  # noqa: D102
        kept = self._kept()
        with torch.inference_mode():
            blank = torch.zeros(1, 1, kept.form.side, kept.form.side, device=find_device(self.device))
            return kept.network(blank).flatten(1).shape[1]

    def network(self) -> Network:
        """The network, on drawings that were found already."""
        kept = self._kept()
        form = kept.form
        drawings = {"drawing": torch.zeros(1, 1, form.side, form.side)}
        return Network(kept.network, drawings, ({"step": "drawing", **form._asdict()},))

    def _kept(self) -> _Kept:
        folder = Path(self.weights).expanduser() if self.weights is not None else SHIPPED
        record = folder / "bundle.json"
        return _read(folder, record.stat().st_mtime_ns if record.exists() else 0, str(find_device(self.device)))

    def _fingerprint(self) -> str:
        kept = self._kept()
        return f"{kept.digest} {kept.form} {kept.turns}"

    def _prepare(self, item: Picture) -> Tensor:
        return drawing(item.pixels(channels=3), self.form, item.name)

    def _encode(self, prepared: list[Any]) -> Tensor:
        return self._kept().network(torch.stack(prepared).to(find_device(self.device)))


class Views(nn.Module):
    """The mean of a network's unit features over turned views of images ``[N, C, S, S]``, zeros where they were not.

    Args:
        network: from images to features.
        degrees: of the turns, counterclockwise.
        side: S, in pixels.
    """

    grids: Tensor

    def __init__(self, network: nn.Module, degrees: Sequence[float], side: int) -> None:
        super().__init__()
        self.network = network
        angles = [math.radians(turn) for turn in degrees]
        turns = torch.tensor([[[math.cos(a), -math.sin(a), 0.0], [math.sin(a), math.cos(a), 0.0]] for a in angles])
        self.register_buffer("grids", F.affine_grid(turns, [len(angles), 1, side, side], align_corners=False))

    def forward(self, x: Tensor) -> Tensor:
        """``[N, C, S, S] -> [N, H]``."""
        # Not len(x), which a trace takes for a constant: a graph takes any number of images.
        places = [grid.expand(x.shape[0], -1, -1, -1) for grid in self.grids.unbind()]
        views = torch.cat([F.grid_sample(x, place, align_corners=False) for place in places])
        return F.normalize(self.network(views).flatten(1)).unflatten(0, (len(places), -1)).mean(0)


class _Kept(NamedTuple):
    """What a bundle of weights holds for drawings."""

    form: Form
    turns: tuple[float, ...]
    """Degrees of the views over which features are averaged."""
    network: nn.Module
    digest: str
    """Of the weights alone: the card beside them may change."""


@lru_cache(maxsize=4)
@torch.inference_mode(False)
def _read(folder: Path, written: int, device: str) -> _Kept:
    """``written``: when, so that weights that were replaced are read again."""
    bundle = read(folder, device=device)
    steps = {str(step.get("step")): {k: v for k, v in step.items() if k != "step"} for step in bundle.preprocessing}
    if list(steps) not in (["drawing"], ["drawing", "turns"]):
        named = ", ".join(steps) or "nothing"
        raise InputError(f"{folder} learned from pictures prepared by {named}: give weights for 'drawing'")
    for name, options in steps.items():
        if set(options) != set(_OPTIONS[name]):
            raise InputError(
                f"{folder} has the step {name!r} with {options}, this version takes {', '.join(_OPTIONS[name])}: use "
                f"the version that wrote it"
            )
    # A network draws its weights before they are filled in: nobody else's random numbers may change by that.
    with torch.random.fork_rng(devices=[]):
        learner = bundle.learner
    encoder = getattr(learner, "encoder", None)
    if not isinstance(encoder, nn.Module):
        raise InputError(f"{folder} holds a {type(learner).__name__}, which has no encoder: give that of a ProtoNet")
    turns = tuple(float(degrees) for degrees in steps.get("turns", {"degrees": ()})["degrees"])
    digest = str(bundle.record["files"]["weights"]["sha256"])
    form = Form(**steps["drawing"])
    # Kernels in the order that convolutions on the CPU are fast in make all layers run in it.
    encoder = encoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    network = Views(encoder, turns, form.side).to(device) if turns else encoder
    return _Kept(form, turns, network.eval().requires_grad_(False), digest)
