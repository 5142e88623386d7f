"""A network of the ``timm`` library as an encoder of pictures."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from innerloop.core.device import find_device
from innerloop.core.task import InputError
from innerloop.encoders.base import Each
from innerloop.encoders.items import Picture
from innerloop.encoders.own import weights_digest


class _Opened(NamedTuple):
    model: Any
    prepare: Any
    digest: str


class Timm(Each):
    """A network for pictures by its name in ``timm``, with its weights and its preparation of pictures.

    It goes by ``"timm:NAME"`` too.

    Args:
        model: the name, such as ``"resnet18.a1_in1k"``; weights are fetched once.
        cache: the folder that features are kept in beside memory.
        device: what the network runs on.

    Raises:
        InputError: at ``transform``: if ``timm`` is not installed, or does not have the network.
    """

    name = "timm"
    kind = "images"

    def __init__(self, model: str, *, cache: str | Path | None = None, device: str = "cpu") -> None:
        super().__init__(cache=cache, device=device)
        self.model = model

    @property
    def features(self) -> int:  # noqa: D102
        return int(_read(self.model).model.num_features)

    def _fingerprint(self) -> str:
        return _read(self.model).digest

    def _prepare(self, item: Picture) -> Tensor:
        return _read(self.model).prepare(item.image().convert("RGB"))

    def _encode(self, prepared: list[Any]) -> Tensor:
        device = find_device(self.device)
        return _read(self.model).model.to(device)(torch.stack(prepared).to(device))


@lru_cache(maxsize=2)
def _read(name: str) -> _Opened:
    try:
        import timm
    except ImportError:
        raise InputError(f"the encoder timm:{name} needs timm: pip install timm") from None
    try:
        with torch.random.fork_rng(devices=[]):
            # Without classes it gives the pooled features.
            model = timm.create_model(name, pretrained=True, num_classes=0)
    except Exception as error:
        line = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise InputError(
            f"timm cannot load {name!r} ({line}): choose of timm.list_models(pretrained=True), while there is a "
            f"network connection"
        ) from None
    model = model.float().eval().requires_grad_(False)
    config = timm.data.resolve_model_data_config(model)
    prepare = timm.data.create_transform(**config, is_training=False)
    return _Opened(model, prepare, f"{weights_digest(model)} {sorted(config.items())}")
