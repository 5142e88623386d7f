"""Nests of named tuples, dicts, lists and tensors as JSON beside named tensors, and back: the schema of a state."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy
import torch
from torch import Tensor

from innerloop.bundle.names import name_of, record_of
from innerloop.core.task import InputError

#: Encodes what the nest holds beside plain values; ``None`` where it does not know it either.
Other = Callable[[Any, str], Any]


class Packer:
    """Takes nests apart.

    Args:
        what: what is packed, for messages.
        other: encodes further kinds of values.
        prefix: of the tensors' names.
    """

    def __init__(self, what: str, other: Other | None = None, prefix: str = "") -> None:
        self.what, self.other, self.prefix = what, other, prefix
        self.tensors: dict[str, Tensor] = {}

    def pack(self, value: Any, where: str = "") -> Any:
        """JSON for a nest; its tensors are kept by their places.

        Raises:
            InputError: for what can be no part of it, by its place.
        """
        if value is None or isinstance(value, bool | int | str):
            return value if type(value) in (type(None), bool, int, str) else _bare(value)
        if isinstance(value, float):
            return float(value) if math.isfinite(value) else {"float": str(float(value))}
        if isinstance(value, Tensor):
            return self._tensor("tensor", value, where)
        if isinstance(value, numpy.ndarray) and value.dtype.kind in "biuf":
            return self._tensor("array", torch.from_numpy(numpy.array(value, order="C")), where)
        if isinstance(value, numpy.ndarray) and value.dtype.kind in "OU":
            return {"strings" if value.dtype.kind == "U" else "objects": self.pack(value.tolist(), where)}
        if isinstance(value, numpy.generic):
            return self.pack(value.item(), where)
        if isinstance(value, torch.dtype):
            return {"dtype": str(value).removeprefix("torch.")}
        encoded = self.other(value, where) if self.other is not None else None
        if encoded is not None:
            return encoded
        if isinstance(value, tuple) and hasattr(value, "_fields"):
            return self._record(value, dict(zip(value._fields, value, strict=True)), where)
        if is_dataclass(value) and not isinstance(value, type):
            return self._record(value, {f.name: getattr(value, f.name) for f in fields(value)}, where)
        if isinstance(value, list | tuple):
            items = [self.pack(item, _at(where, i)) for i, item in enumerate(value)]
            return items if isinstance(value, list) else {"tuple": items}
        if isinstance(value, Mapping):
            return {"dict": [[self.pack(k), self.pack(item, _at(where, k))] for k, item in value.items()]}
        raise InputError(
            f"{self.what} holds a {type(value).__qualname__} at {where or 'its root'}, which a bundle cannot keep: it "
            f"takes named tuples, dicts, lists, tensors, arrays, numbers, words and None"
        )

    def _record(self, value: Any, items: dict[str, Any], where: str) -> Any:
        name = name_of(type(value))
        if name is None:
            raise InputError(
                f"{self.what} has a {type(value).__qualname__} at {where or 'its root'}, a class that cannot be found "
                f"again by its name: define it at the top of a module"
            )
        return {"record": name, "fields": {k: self.pack(item, _at(where, k)) for k, item in items.items()}}

    def _tensor(self, kind: str, value: Tensor, where: str) -> Any:
        value = value.detach()
        if value.layout != torch.strided or value.is_quantized:
            raise InputError(f"{self.what} has a {value.layout} tensor at {where or 'its root'}: make it dense first")
        name = unique(f"{self.prefix}{where}" or "value", self.tensors)
        # Axes from the longest step to the shortest: the layout is part of how kernels round.
        steps = value.stride()
        order = sorted(range(value.ndim), key=lambda axis: -steps[axis])
        dense = value.permute(order).is_contiguous() and not value.is_contiguous()
        self.tensors[name] = (value.permute(order) if dense else value).cpu().contiguous().clone()
        return {kind: name, "axes": order} if dense else {kind: name}


def unpack(
    tree: Any, tensors: Mapping[str, Tensor], allow: Iterable[str] = (), other: Callable[[Any], Any] | None = None
) -> Any:
    """The nest that a :class:`Packer` took apart.

    Args:
        tree: its JSON.
        tensors: by name.
        allow: modules that may be imported for its named tuples.
        other: decodes further kinds of values.

    Raises:
        InputError: for JSON that is no nest, or a class that is not trusted.
    """

    def back(node: Any) -> Any:
        if isinstance(node, list):
            return [back(item) for item in node]
        if not isinstance(node, dict):
            return node
        kind = next(iter(node), None)
        if kind in ("tensor", "array"):
            tensor = _of(tensors, node[kind])
            if "axes" in node:
                tensor = tensor.permute([node["axes"].index(axis) for axis in range(tensor.ndim)])
            return tensor if kind == "tensor" else tensor.numpy()
        if kind == "tuple":
            return tuple(back(item) for item in node["tuple"])
        if kind == "dict":
            return {back(key): back(item) for key, item in node["dict"]}
        if kind == "float":
            return float(node["float"])
        if kind in ("strings", "objects"):
            return numpy.array(back(node[kind]), dtype=object if kind == "objects" else str)
        if kind == "dtype" and isinstance(getattr(torch, str(node["dtype"]), None), torch.dtype):
            return getattr(torch, node["dtype"])
        if kind == "record":
            return _made(record_of(node["record"], allow), {k: back(item) for k, item in node["fields"].items()})
        if other is None:
            raise InputError(f"{str(node)[:80]} is no part of a state: the bundle is damaged, or of another version")
        return other(node)

    return back(tree)


def unique(name: str, taken: Iterable[str]) -> str:
    """The name, with a number behind it where it is taken."""
    return next(n for i in range(len(list(taken)) + 1) if (n := name if i == 0 else f"{name}#{i}") not in taken)


def _made(kind: Any, values: dict[str, Any]) -> Any:
    """An instance of a named tuple or data class, by the builtin constructors alone."""
    known = kind._fields if issubclass(kind, tuple) else tuple(f.name for f in fields(kind))
    # A field that has a default may have come later than the file.
    full = {**(kind._field_defaults if issubclass(kind, tuple) else {}), **values}
    if set(known) != set(full):
        raise InputError(
            f"the bundle has a {kind.__qualname__} of {', '.join(values)}, this version's has {', '.join(known)}: use "
            f"the version that wrote it"
        )
    if issubclass(kind, tuple):
        return tuple.__new__(kind, (full[name] for name in known))
    made = object.__new__(kind)
    for name in known:
        object.__setattr__(made, name, values[name])
    return made


def _of(tensors: Mapping[str, Tensor], name: Any) -> Tensor:
    if name not in tensors:
        raise InputError(f"the bundle has no tensor {name!r}: it is damaged")
    return tensors[name]


def _bare(value: Any) -> Any:
    """A plain value of a subclass (an enumeration, a NumPy word) without the class."""
    return str(value) if isinstance(value, str) else int(value)


def _at(where: str, key: Any) -> str:
    return f"{where}.{key}" if where else str(key)
