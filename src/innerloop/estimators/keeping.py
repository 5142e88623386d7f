"""How an estimator's encoder is kept in a bundle: the library's by name and digest of weights, one's own whole."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from innerloop.core.learner import Learner
from innerloop.core.task import InputError
from innerloop.encoders.base import Encoder
from innerloop.encoders.find import ENCODERS, find
from innerloop.encoders.own import Module
from innerloop.learners.embedded import Embedded
from innerloop.learners.head import Head


def kept(encoder: Encoder | None) -> dict[str, Any] | None:
    """What a bundle says of an encoder: its name, its options, and which weights it had.

    Raises:
        InputError: for an encoder that could not be found again.
    """
    if encoder is None:
        return None
    if encoder.name not in (*ENCODERS, Module.name):
        raise InputError(
            f"the encoder {type(encoder).__name__} is no encoder of the library, so a bundle could not find it again: "
            f"keep its features, or wrap its network in innerloop.encoders.Module"
        )
    # Where it runs and where it keeps features is not the task's.
    options = {name: value for name, value in encoder.get_params(deep=False).items() if name not in ("cache", "device")}
    options.pop("module", None)
    return {"name": encoder.name, "options": options, "fingerprint": encoder.fingerprint(), "state": encoder.state()}


def with_encoder(head: Head, encoder: Encoder | None) -> Learner:
    """The learner that a bundle keeps: the head, behind one's own network where there is one."""
    return Embedded(encoder.module, head).eval() if isinstance(encoder, Module) else head


def brought(learner: Learner | None, said: Mapping[str, Any] | None, path: Path) -> tuple[Head, Encoder | None]:
    """Head and encoder of a bundle.

    Raises:
        InputError: if it holds something else, or the encoder has other weights here.
    """
    module = None
    if said is not None and said["name"] == Module.name and isinstance(learner, Embedded):
        module, learner = learner.encoder, learner.head
    if not isinstance(learner, Head):
        raise InputError(f"{path} holds a {type(learner).__name__}, and this estimator takes a head")
    if said is None:
        return learner, None
    found = find(said["name"], None).encoder if module is None else Module(module)
    assert found is not None
    encoder: Encoder = found.set_params(**said["options"]).restore(said["state"])
    if encoder.fingerprint() != said["fingerprint"]:
        raise InputError(
            f"{path} was made with other weights of the encoder {said['name']!r} than those that are installed: "
            f"install the version that it was made with, or learn the task again from its examples"
        )
    return learner, encoder
