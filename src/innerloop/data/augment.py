"""Augmentation of image batches, a pure function of the images and of uniform numbers."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from innerloop.core.numbers import check_number
from innerloop.data.digest import digest_of


class Augment:
    """A random affine change and mirror of each image.

    Args:
        shift: largest translation, in pixels.
        rotate: largest rotation, in degrees.
        scale: largest relative change of size, 0.1 for 0.9 to 1.1.
        shear: largest shear, in degrees.
        flip: mirror left and right with probability 1/2.
        probability: share of images that are changed, mirrored or moved; the rest stay as they are at test time.

    Raises:
        InputError: if an amount is negative, or the probability not in 0 to 1.

    Example:
        >>> same = Augment()(torch.ones(2, 1, 8, 8), torch.rand(2, Augment.size))
        >>> bool(same.allclose(torch.ones(2, 1, 8, 8)))
        True
    """

    #: Uniform numbers that one image consumes.
    size = 7

    def __init__(
        self,
        shift: float = 0.0,
        rotate: float = 0.0,
        scale: float = 0.0,
        shear: float = 0.0,
        flip: bool = False,
        probability: float = 1.0,
    ) -> None:
        for name, value in (("shift", shift), ("rotate", rotate), ("scale", scale), ("shear", shear)):
            check_number(f"augmentation {name}", value, "[0, inf)")
        check_number("augmentation probability", probability, "[0, 1]")
        self.probability = probability
        self.shift, self.rotate, self.scale, self.shear, self.flip = shift, rotate, scale, shear, flip

    @property
    def digest(self) -> str:
        """Of its options."""
        return digest_of("Augment", vars(self))

    def __call__(self, x: Tensor, u: Tensor) -> Tensor:
        """Change images ``x [B, C, H, W]`` by the uniform numbers ``u [B, 7]``."""
        change = u[:, 6] < self.probability
        if self.flip:
            x = torch.where((change & (u[:, 5] < 0.5)).view(-1, 1, 1, 1), x.flip(-1), x)
        if not (self.shift or self.rotate or self.scale or self.shear):
            return x
        height, width = x.shape[-2:]
        signed = 2 * u - 1
        angle = signed[:, 0] * math.radians(self.rotate)
        factor = 1 + signed[:, 1] * self.scale
        shear = torch.tan(signed[:, 2] * math.radians(self.shear))
        cos, sin = angle.cos() / factor, angle.sin() / factor
        move_x, move_y = 2 * signed[:, 3] * self.shift / width, 2 * signed[:, 4] * self.shift / height
        # Places run from -1 to 1 on either axis, so a turn of an image that is not square stretches them.
        across, down = height / width, width / height
        theta = torch.stack(
            (
                torch.stack((cos, across * (cos * shear - sin), move_x), 1),
                torch.stack((down * sin, sin * shear + cos, move_y), 1),
            ),
            1,
        )
        # Half precision has too few digits for places, and no kernel everywhere.
        precise = x if x.dtype == torch.float64 else x.float()
        grid = F.affine_grid(theta.to(precise.dtype), list(x.shape), align_corners=False)
        padding = "zeros" if x.shape[1] == 1 else "reflection"
        moved = F.grid_sample(precise, grid, padding_mode=padding, align_corners=False).to(x.dtype)
        return torch.where(change.view(-1, 1, 1, 1), moved, x)
