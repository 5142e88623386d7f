"""A module as JSON, by the call that builds it, and back."""

from __future__ import annotations

import inspect
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from innerloop.bundle.names import callable_of, name_of, value_of
from innerloop.bundle.nest import Packer, unpack
from innerloop.bundle.verify import same
from innerloop.bundle.weights import fill, tensors_of
from innerloop.core.construction import Construction, Unknown, construction, record
from innerloop.core.task import InputError, did_you_mean

#: Before the names of tensors that are arguments and no weights.
ARGUMENT = "argument:"
_CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
_REMEDY = (
    "give a class or function that can be imported as package.module:Name, derive a module of your own from "
    "il.nets.Recorded (or keep each argument as an attribute of the same name); with anonymous=True the bundle keeps "
    "the weights alone, for il.load(path, learner=your_learner)"
)


def describe(module: nn.Module, what: str = "the learner") -> tuple[Any, dict[str, Tensor], set[str]]:
    """How to build a module: JSON, the tensors among the arguments, and the modules that are named.

    Raises:
        InputError: naming the part whose construction is not known.
    """
    writer = _Writer(module, what)
    node = writer.module(module, "")
    return node, writer.packer.tensors, writer.named


class _Writer:
    def __init__(self, root: nn.Module, what: str) -> None:
        self.places = {id(part): name for name, part in root.named_modules()}
        self.known = {(t.data_ptr(), t.shape, t.dtype): name for name, t in tensors_of(root).items() if t.numel()}
        self.what, self.packer = what, Packer(what, self._other, ARGUMENT)
        self.nodes: dict[int, dict[str, Any]] = {}
        self.named: set[str] = set()

    def module(self, module: nn.Module, where: str) -> Any:
        if id(module) in self.nodes:
            # Given twice: both places get the same object again.
            node = self.nodes[id(module)]
            node.setdefault("id", len([n for n in self.nodes.values() if "id" in n]))
            return {"same": node["id"]}
        made = construction(module)
        node = self._call(*(made or (type(module), (), {})), where) if made else self._read(module, where)
        if id(module) in self.places:
            node["at"] = self.places[id(module)]
        self.nodes[id(module)] = node
        return node

    def _call(self, make: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], where: str) -> dict[str, Any]:
        name = self._name(make)
        if name is None:
            raise self._refused(
                f"was built by {getattr(make, '__qualname__', make)}, which has no name in a module", where
            )
        signature = _signature(make)
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        values: dict[str, Any] = {}
        for key, value in bound.arguments.items():
            kind = signature.parameters[key].kind
            if kind is kind.VAR_KEYWORD:
                values |= {k: self._value(v, f"{where}.{k}") for k, v in value.items()}
            else:
                star = "*" if kind is kind.VAR_POSITIONAL else ""
                values[star + key] = self._value(value, f"{where}.{key}")
        return {"make": name, "with": values}

    def _read(self, module: nn.Module, where: str) -> dict[str, Any]:
        """The call, read off a module that does not keep it: its attributes have the names of the arguments."""
        kind = type(module)
        name = self._name(kind)
        if name is None:
            raise self._refused(f"is a {kind.__qualname__}, a class that cannot be found again by its name", where)
        if kind in _CONTAINERS:
            # Not named_children, which gives a part that stands twice only once.
            children = module._modules.items()
            parts = [[key, part and self.module(part, f"{where}.{key}")] for key, part in children]
            return {"make": name, "parts": parts}
        values = {}
        # Recurrent layers pass their arguments on by place.
        own = nn.RNNBase if issubclass(kind, nn.RNNBase) and name.startswith("torch.nn:") else kind
        for key, parameter in _signature(own).parameters.items():
            if own is not kind and key == "mode":
                continue
            if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD) or key in ("device", "dtype"):
                continue
            if hasattr(module, key):
                value = getattr(module, key)
                if key == "bias" and name.startswith("torch.nn:"):
                    # Layers of torch have their bias under the name of the flag that asks for it.
                    value = value is not None and value is not False
                if parameter.default is parameter.empty or not same(value, parameter.default):
                    values[key] = self._value(value, f"{where}.{key}")
            elif parameter.default is parameter.empty:
                raise self._refused(f"is a {kind.__qualname__}, whose argument {key!r} is not kept", where)
        return {"make": name, "with": values}

    def _value(self, value: Any, where: str) -> Any:
        if isinstance(value, Tensor) and (key := (value.data_ptr(), value.shape, value.dtype)) in self.known:
            return {"tensor": self.known[key]}
        return self.packer.pack(value, where.removeprefix("."))

    def _other(self, value: Any, where: str) -> Any:
        if isinstance(value, nn.Module):
            return self.module(value, f".{where}")
        if isinstance(value, Construction):
            return self._call(*value, f".{where}")
        if not (isinstance(value, Unknown | type) or inspect.isroutine(value)):
            return None
        name = None if isinstance(value, Unknown) else self._name(value)
        if name is None:
            what = value.what if isinstance(value, Unknown) else value.__qualname__
            raise self._refused(f"is {what}, which cannot be found again by its name", f".{where}")
        return {"name": name}

    def _name(self, thing: Any) -> str | None:
        name = name_of(thing)
        if name is not None:
            self.named.add(name.partition(":")[0])
        return name

    def _refused(self, why: str, where: str) -> InputError:
        return InputError(f"{self.what}{where} {why}: {_REMEDY}")


def build(node: Any, tensors: Mapping[str, Tensor], allow: Iterable[str] = ()) -> Any:
    """The module that :func:`describe` wrote down, its parts with their tensors in them as soon as they are made.

    Raises:
        InputError: for a call that is not trusted, or that this version's code does not take.
    """
    made: dict[int, nn.Module] = {}

    def other(node: dict[str, Any]) -> Any:
        if "same" in node:
            return made[node["same"]]
        if "name" in node:
            return value_of(node["name"], allow)
        if "make" not in node:
            raise InputError(f"{str(node)[:80]} is no part of a bundle: it is damaged, or of another version")
        module = _called(node)
        if isinstance(module, nn.Module) and "at" in node:
            inside = f"{node['at']}." if node["at"] else ""
            # An inner loop wants calibrated statistics before it takes a network: weights cannot wait for the whole.
            fill(module, {k.removeprefix(inside): t for k, t in tensors.items() if k.startswith(inside)})
        if "id" in node:
            made[node["id"]] = module
        return module

    def _called(node: dict[str, Any]) -> Any:
        name = node["make"]
        make = callable_of(name, allow)
        if "parts" in node:
            container = make()
            for key, part in node["parts"]:
                container.add_module(key, None if part is None else other(part))
            return container
        values = {key: unpack(value, tensors, allow, other) for key, value in node["with"].items()}
        try:
            bound = _bound(make, name, values)
            found = make(*bound.args, **bound.kwargs)
        except InputError:
            raise
        except Exception as error:
            raise InputError(
                f"{name} cannot be built from the bundle's arguments ({type(error).__name__}: {error}): use the "
                f"version that wrote it"
            ) from error
        # What somebody else's function gives does not say how it was called, and is to be kept again.
        unsaid = isinstance(found, nn.Module) and construction(found) is None
        return record(found, make, *bound.args, **bound.kwargs) if unsaid else found

    with torch.random.fork_rng(devices=[]):
        return other(node)


def _bound(make: Any, name: str, values: dict[str, Any]) -> inspect.BoundArguments:
    signature = _signature(make)
    rest = next((p.name for p in signature.parameters.values() if p.kind is p.VAR_KEYWORD), None)
    arguments: OrderedDict[str, Any] = OrderedDict()
    for key in signature.parameters:
        for word in (key, f"*{key}"):
            if word in values:
                arguments[key] = values.pop(word)
    if rest is not None:
        arguments[rest] = values
    elif values:
        unknown = next(iter(values))
        hint = did_you_mean(unknown, signature.parameters)
        raise InputError(
            f"{name} of this version has no argument {unknown!r}{hint}: use the version that wrote the bundle"
        )
    return inspect.BoundArguments(signature, arguments)


def _signature(make: Any) -> inspect.Signature:
    if not isinstance(make, type):
        return inspect.signature(make)
    signature = inspect.signature(make.__init__)  # type: ignore[misc]
    return signature.replace(parameters=list(signature.parameters.values())[1:])
