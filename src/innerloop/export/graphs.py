"""The two forms of a classifier as a function of tensors: what was learned, and learning itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from innerloop.core.learner import State
from innerloop.core.task import Examples
from innerloop.learners.head import Head

#: Sizes that a graph is traced with, each another one, so that none is taken for another.
_EXAMPLES, _CLASSES, _QUERIES = 7, 3, 2


class Form(NamedTuple):
    """A function of tensors, with what it is called with."""

    module: nn.Module
    inputs: dict[str, Tensor]
    """Some of the right kind, by name."""
    axes: dict[str, dict[int, str]]
    """Which sizes may change, and what they are called."""


class Classify(nn.Module):
    """Queries to probabilities, by what a head has learned.

    Args:
        head: in evaluation mode, in float64.
        state: that it gave for the examples.
        temperature: what its logits are divided by.
        encoder: from the inputs to features ``[Q, H]``; ``None`` where these are the input.
    """

    def __init__(self, head: Head, state: State, temperature: float, encoder: nn.Module | None) -> None:
        super().__init__()
        self.head, self.encoder, self.temperature = head, encoder, temperature
        leaves, self._tree = pytree.tree_flatten(state)
        for number, leaf in enumerate(leaves):
            self.register_buffer(f"state{number}", leaf.detach().contiguous().clone())
        self._count = len(leaves)

    def forward(self, *queries: Tensor) -> Tensor:
        """Probabilities ``[Q, D]``, float32."""
        state = pytree.tree_unflatten([getattr(self, f"state{i}") for i in range(self._count)], self._tree)
        raw = self.head.predict(state, features_of(self.encoder, queries))[0]
        return (raw / self.temperature).softmax(1).float()


class Adapt(nn.Module):
    """Examples, their labels and queries to probabilities.

    Args:
        head: in evaluation mode, in float64.
        temperature: what its logits are divided by.
        encoder: from the inputs to features ``[N, H]``; ``None`` where these are the input.
    """

    def __init__(self, head: Head, temperature: float, encoder: nn.Module | None) -> None:
        super().__init__()
        self.head, self.encoder, self.temperature = head, encoder, temperature

    def forward(self, *inputs: Tensor) -> Tensor:
        """Probabilities ``[Q, D]``, float32, from the examples' inputs, their rows ``[N, D]`` and the queries'."""
        half = len(inputs) // 2
        support, rows, queries = inputs[:half], inputs[half], inputs[half + 1 :]
        state = self.head.adapt(Examples(features_of(self.encoder, support), rows.double()))
        raw = self.head.predict(state, features_of(self.encoder, queries))[0]
        return (raw / self.temperature).softmax(1).float()


def features_of(encoder: nn.Module | None, inputs: tuple[Tensor, ...]) -> Tensor:
    """Features in float64."""
    if encoder is None:
        (features,) = inputs
        return features.double()
    made: Tensor = encoder(*inputs)
    return made.flatten(1).double()


def classify(module: Classify, queries: Mapping[str, Tensor], changing: Mapping[int, str]) -> Form:
    """The form of what was learned.

    Args:
        module: the function.
        queries: some inputs by name, ``[P, ...]``.
        changing: axes beside the first that may change.
    """
    inputs = {name: many(pool, _QUERIES) for name, pool in queries.items()}
    return Form(module, inputs, {name: {0: "queries", **changing} for name in inputs})


def adapt(module: Adapt, queries: Mapping[str, Tensor], changing: Mapping[int, str]) -> Form:
    """The form that learns.

    Args:
        module: the function.
        queries: some inputs by name, ``[P, ...]``.
        changing: axes beside the first that may change.
    """
    alone = len(queries) == 1
    support = {"support_x" if alone else f"support_{name}": many(pool, _EXAMPLES) for name, pool in queries.items()}
    asked = {"query" if alone else f"query_{name}": many(pool, _QUERIES) for name, pool in queries.items()}
    rows = torch.eye(_CLASSES)[torch.arange(_EXAMPLES) % _CLASSES]
    axes = {
        **{name: {0: "examples", **changing} for name in support},
        "support_y": {0: "examples", 1: "classes"},
        **{name: {0: "queries", **changing} for name in asked},
    }
    return Form(module, {**support, "support_y": rows, **asked}, axes)


def many(pool: Tensor, count: int, seed: int = 0) -> Tensor:
    """So many inputs of a pool ``[P, ...]``, each another one while there are some."""
    order = torch.randperm(len(pool), generator=torch.Generator().manual_seed(seed))
    return pool[order.repeat(-(-count // len(pool)))[:count]]


def larger(form: Form, pools: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Inputs of other sizes than the graph was traced with.

    Args:
        form: the graph's.
        pools: some inputs by name, ``[P, ...]``.
    """
    sizes = {"examples": _EXAMPLES + 4, "classes": _CLASSES + 1, "queries": 1}
    found: dict[str, Tensor] = {}
    for name in form.inputs:
        if name == "support_y":
            found[name] = torch.eye(sizes["classes"])[torch.arange(sizes["examples"]) % sizes["classes"]]
        else:
            short = name.partition("_")[2] if name not in pools else name
            pool = pools[short] if short in pools else next(iter(pools.values()))
            found[name] = many(pool, sizes[form.axes[name][0]], seed=1)
    return found


def traced(form: Form) -> torch.export.ExportedProgram:
    """The function as a graph, for any of the sizes that may change, without the buffers that it does not use."""
    changing = tuple(dict.fromkeys(axes, torch.export.Dim.DYNAMIC) for axes in form.axes.values())

    def graph() -> torch.export.ExportedProgram:
        with torch.no_grad():
            return torch.export.export(
                form.module, tuple(form.inputs.values()), dynamic_shapes=(changing,), strict=False
            )

    program = graph()
    buffers = program.graph_signature.inputs_to_buffers
    idle = [buffers[node.name] for node in program.graph.nodes if node.name in buffers and not node.users]
    if not idle:
        return _stripped(program)
    for name in idle:
        # A head keeps its examples, which are nobody else's.
        place, _, leaf = name.rpartition(".")
        part = form.module.get_submodule(place)
        part._buffers[leaf] = torch.zeros(0)
    return _stripped(graph())


def _stripped(program: torch.export.ExportedProgram) -> torch.export.ExportedProgram:
    """Without where in our code each node comes from, which is nobody's business."""
    for part in program.graph_module.modules():
        if isinstance(part, torch.fx.GraphModule):
            for node in part.graph.nodes:
                node.meta.pop("stack_trace", None)
    return program


def run(form: Form, inputs: dict[str, Tensor]) -> Tensor:
    """What the function gives."""
    with torch.no_grad():
        found: Any = form.module(*inputs.values())
    return torch.as_tensor(found)
