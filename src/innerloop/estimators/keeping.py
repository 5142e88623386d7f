"""How an estimator's encoder is kept in a bundle: the library's by name and digest of weights, one's own whole."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from innerloop.core.learner import Learner
from innerloop.core.task import InputError
from innerloop.encoders.base import Encoder
from innerloop.encoders.find import ENCODERS, OPENED, class_of
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
    if encoder.name not in (*ENCODERS, *OPENED, Module.name):
        raise InputError(
            f"the encoder {type(encoder).__name__} is no encoder of the library, so a bundle could not find it again: "
            f"keep its features, or wrap its network in innerloop.encoders.Module"
        )
    # Where it runs and where it keeps features is not the task's.
    options = {name: value for name, value in encoder.get_params(deep=False).items() if name not in ("cache", "device")}
    options.pop("module", None)
    if isinstance(options.get("model"), Path):
        options["model"] = str(options["model"])
    return {"name": encoder.name, "options": options, "fingerprint": encoder.fingerprint(), "state": encoder.state()}


def with_encoder(head: Head, encoder: Encoder | None) -> Learner:
    """The learner that a bundle keeps: the head, behind one's own network where there is one."""
    return Embedded(encoder.module, head).eval() if isinstance(encoder, Module) else head


def brought(learner: Learner | None, said: Mapping[str, Any] | None, path: Path) -> tuple[Head, Encoder | None]:
    """Head and encoder of a bundle.

    Raises:
        InputError: if it holds something else, or the encoder has other weights here.
    """
    head = learner.head if isinstance(learner, Embedded) else learner
    if not isinstance(head, Head):
        raise InputError(f"{path} holds a {type(head).__name__}, and this estimator takes a head")
    return head, brought_encoder(learner, said, path)


def brought_encoder(learner: Learner | None, said: Mapping[str, Any] | None, path: Path) -> Encoder | None:
    """The encoder of a bundle.

    Args:
        learner: of the bundle, in which one's own network is.
        said: what :func:`kept` said of it.
        path: of the bundle.

    Raises:
        InputError: if the encoder is not here, or has other weights here.
    """
    if said is None:
        return None
    if said["name"] == Module.name:
        assert isinstance(learner, Embedded)
        encoder: Encoder = Module(learner.encoder, **said["options"])
    else:
        encoder = class_of(said["name"])(**_located(said["options"], path)).restore(said["state"])
    if encoder.fingerprint() != said["fingerprint"]:
        raise InputError(
            f"{path} was made with other weights of the encoder {said['name']!r} than those that are {_where(said)}: "
            f"bring back those that it was made with, or learn the task again from its examples"
        )
    return encoder


def _located(options: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Options with the network's file or folder where it is here: at its place, or beside the bundle.

    Raises:
        InputError: if it is at neither.
    """
    model = options.get("model")
    if model is None:
        return dict(options)
    beside = path.absolute().parent / Path(model).name
    if not Path(model).expanduser().exists() and beside.exists():
        return {**options, "model": str(beside)}
    if str(model).lower().endswith(".onnx") and not Path(model).expanduser().is_file():
        raise InputError(
            f"{path} needs the network {model}, which is neither there nor {beside}: put it at one of these places"
        )
    return dict(options)


def _where(said: Mapping[str, Any]) -> str:
    model = said["options"].get("model")
    return f"in {model}" if model is not None else "installed"
