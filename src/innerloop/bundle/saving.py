"""What is kept, written as a bundle."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace as replaced
from pathlib import Path
from typing import Any, cast

from torch import Tensor, nn

from innerloop.bundle import folder
from innerloop.bundle.adapted import AdaptedTask
from innerloop.bundle.build import build, describe
from innerloop.bundle.bundle import CARD, Bundled, Contents
from innerloop.bundle.names import name_of
from innerloop.bundle.nest import Packer
from innerloop.bundle.verify import difference
from innerloop.bundle.weights import fill, tensors_of
from innerloop.core.facts import Facts
from innerloop.core.learner import Learner, State
from innerloop.core.task import InputError, did_you_mean
from innerloop.core.version import versions


def save(
    path: str | Path,
    thing: Learner | AdaptedTask | Bundled,
    state: State | None = None,
    *,
    facts: Facts | None = None,
    classes: Sequence[str] | None = None,
    preprocessing: Sequence[Mapping[str, Any]] = (),
    origin: Mapping[str, Any] | None = None,
    card: Mapping[str, str] | None = None,
    weights: Mapping[str, Tensor] | None = None,
    replace: bool = False,
    anonymous: bool = False,
) -> Path:
    """Keep a learner, a task that it adapted to, or an estimator, as a folder that :func:`load` reads anywhere.

    Args:
        path: the folder, which is made.
        thing: a learner; or an estimator or adapted task, which says itself what belongs to it.
        state: of the task that the learner adapted to.
        facts: what the learner was built from.
        classes: the names of the state's target columns.
        preprocessing: steps from what a person has to what the learner sees, each ``{"step": name, ...}``.
        origin: where it comes from: data set, digest of its content, command, seed, digest of a parent bundle.
        card: what people should know: any of ``what``, ``data``, ``license``, ``figures`` and ``limits``.
        weights: in place of the learner's own ones, by their names in it (an average, the best of a run).
        replace: whether a bundle that is there gives way, whole, at one moment.
        anonymous: keep the weights of a learner that cannot be built again from the bundle alone too.

    Returns:
        the folder.

    Raises:
        InputError: for a learner whose construction is not known (the part is named), a state that holds something else
            than tensors and plain values, or a folder that is taken or cannot be written.

    Example:
        >>> import tempfile, torch, innerloop as il
        >>> learner = il.ProtoNet(il.nets.mlp(8, 16, 4)).eval()
        >>> state = learner.adapt(il.Examples(torch.rand(2, 8), torch.eye(2)))
        >>> with tempfile.TemporaryDirectory() as place:
        ...     path = il.save(f"{place}/fruit", learner, state, classes=["apple", "pear"])
        ...     task = il.load(path)
        >>> task.predict(torch.rand(3, 8))[0] in ("apple", "pear")
        True
    """
    path = Path(path)
    if isinstance(thing, Learner):
        kind = "learner" if state is None else "adapted"
        contents = Contents(thing, state, facts, classes, preprocessing, origin or {}, card or {})
    else:
        kind, contents = _said(thing)
        given = {"state": state, "facts": facts, "classes": classes, "preprocessing": preprocessing or None}
        for name, value in given.items():
            if value is not None:
                raise InputError(f"a {type(thing).__qualname__} says its {name} itself: leave {name}= out")
        where, text = {**contents.origin, **(origin or {})}, {**contents.card, **(card or {})}
        contents = replaced(contents, origin=where, card=text)
    record, parts = _written(contents, kind, weights, anonymous)
    folder.write(path, record, parts, replace=replace)
    return path


def _said(thing: AdaptedTask | Bundled) -> tuple[str, Contents]:
    """The kind of what is no learner, and what it says that it is made of."""
    if isinstance(thing, AdaptedTask):
        return "adapted", Contents(
            thing.learner, thing.state, thing.facts, thing.classes, thing.preprocessing, card=thing.card
        )
    if not callable(getattr(thing, "to_bundle", None)):
        raise InputError(f"a {type(thing).__qualname__} cannot be kept: give a learner, or an object with to_bundle()")
    kind = name_of(type(thing))
    if kind is None:
        raise InputError(f"{type(thing).__qualname__} cannot be found again by its name: define it in a module")
    return kind, thing.to_bundle()


def _written(
    contents: Contents, kind: str, weights: Mapping[str, Tensor] | None, anonymous: bool
) -> tuple[dict[str, Any], dict[str, dict[str, Tensor]]]:
    facts, classes = contents.facts, contents.classes
    if classes is None and facts is not None:
        classes = facts.classes
    record: dict[str, Any] = {"kind": kind}
    parts: dict[str, dict[str, Tensor]] = {}
    if contents.learner is not None:
        described, parts["weights"] = _described(contents.learner, weights, anonymous)
        record |= described
    if contents.state is not None:
        packer = Packer("the state")
        record["state"] = packer.pack(contents.state)
        parts["state"] = packer.tensors
    return record | {
        "facts": facts.json() if facts is not None else None,
        "classes": [str(name) for name in classes] if classes is not None else None,
        "preprocessing": _steps(contents.preprocessing),
        "versions": versions(),
        "origin": _plain(contents.origin, "origin"),
        "card": _card(contents.card),
    }, parts


def _described(
    learner: Learner, weights: Mapping[str, Tensor] | None, anonymous: bool
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """How a learner is built and what is filled in, tried out before it is believed."""
    tensors = tensors_of(learner)
    for name in weights or {}:
        if name not in tensors:
            raise InputError(f"the learner has no weight {name!r}: give those of its state dict")
    tensors |= weights or {}
    record: dict[str, Any] = {"learner": _learner_name(learner), "build": None}
    try:
        node, arguments, named = describe(learner)
        node = json.loads(json.dumps(node))
        built = build(node, tensors | arguments, named)
        problem = fill(built, tensors)
        other = (problem and f"it {problem} that its arguments build") or difference(learner, built)
        if other is not None:
            raise InputError(
                f"the learner was changed after it was built, and a bundle builds it from its arguments: {other}; "
                f"build it as it is, or keep it with anonymous=True for il.load(path, learner=your_learner)"
            )
        record["build"] = node
        tensors |= arguments
    except InputError as error:
        if not anonymous:
            raise
        record["unbuilt"] = str(error)
    record |= {
        "norm": learner.norm,
        "transductive": learner.transductive,
        "likelihood": repr(learner.likelihood),
        "frozen": [name for name, parameter in learner.named_parameters() if not parameter.requires_grad],
    }
    return record, tensors


def _learner_name(learner: nn.Module) -> str:
    name = name_of(type(learner)) or f"{type(learner).__module__}:{type(learner).__qualname__}"
    module, _, short = name.partition(":")
    return short.lower() if module == "innerloop.learners" else name


def _steps(steps: Sequence[Mapping[str, Any]]) -> list[Any]:
    for step in steps:
        if not isinstance(step, Mapping) or not isinstance(step.get("step"), str):
            raise InputError(f'{step!r} is no step of preprocessing: give {{"step": name, ...}} with plain values')
    return cast("list[Any]", _plain(list(steps), "preprocessing"))


def _card(card: Mapping[str, str]) -> dict[str, str]:
    for name, text in card.items():
        if name not in CARD:
            raise InputError(f"a card has no {name!r}{did_you_mean(name, CARD)}: choose of {', '.join(CARD)}")
        if not isinstance(text, str):
            raise InputError(f"the card's {name} is {text!r}; it must be text")
    return dict(card)


def _plain(value: Any, what: str) -> Any:
    try:
        return json.loads(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise InputError(f"{what} must be plain values that JSON takes ({error})") from None
