"""A classifier written as one file that onnxruntime or torch runs, after it gave what ours gives."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import torch

from innerloop.core.files import write_atomically
from innerloop.core.task import InputError, did_you_mean
from innerloop.core.version import VERSION
from innerloop.export import graphs
from innerloop.export.graphs import Adapt, Classify, Form
from innerloop.export.networks import Network, network_of
from innerloop.learners.heads.primed import Primed

if TYPE_CHECKING:
    from innerloop.estimators.fewshot import FewShotClassifier

FORMS = ("classify", "adapt")
ENDINGS = (".onnx", ".pt2")
#: How far a probability may be from ours.
CLOSE = 1e-5


class Drift(NamedTuple):
    """How far the file is from ours on the inputs that it was tried on."""

    largest: float
    """The largest difference of a probability."""
    tried: int
    """On how many queries."""


class Written(NamedTuple):
    """What was written."""

    path: Path
    form: str
    inputs: dict[str, tuple[int | str, ...]]
    """Shape of each input; words for the sizes that may change."""
    bytes: int
    drift: Drift


def write(
    model: FewShotClassifier,
    path: str | Path,
    *,
    form: Literal["classify", "adapt"] = "classify",
    quantize: bool = False,
    replace: bool = False,
) -> Written:
    """Write a fitted classifier as a file that runs without innerloop.

    It is run before it is put in place, on other sizes than it was made with: a file whose probabilities are not within
    1e-5 of ours is not written (quantized ones differ; by how much is returned).

    Args:
        model: fitted.
        path: of the file: ``.onnx``, or ``.pt2`` for ``torch.export``.
        form: ``"classify"`` is what was learned, ``f(inputs) -> probabilities``; ``"adapt"`` learns anew in the graph,
            ``f(support_x, support_y, query) -> probabilities``, from any number of examples, classes and queries, the
            labels as one-hot rows.
        quantize: keep the weights of the encoder as whole numbers of 8 bits (ONNX).
        replace: whether a file that is there gives way.

    Returns:
        what was written, and how far it is from ours.

    Raises:
        InputError: for another ending, a file that is there, a model or head that no graph is made of, or an extra that
            is not installed.

    Example:
        >>> import tempfile
        >>> from sklearn.datasets import load_iris
        >>> from innerloop.export import write
        >>> few = il.FewShotClassifier(head="ridge").fit(*load_iris(return_X_y=True))
        >>> with tempfile.TemporaryDirectory() as place:
        ...     write(few, f"{place}/iris.pt2", form="adapt").inputs["support_x"]
        ('examples', 4)
    """
    path = Path(path)
    _check_model(model)
    if form not in FORMS:
        raise InputError(f"form={form!r} is unknown{did_you_mean(form, FORMS)}: give 'classify' or 'adapt'")
    if path.suffix not in ENDINGS:
        raise InputError(f"{path} ends in {path.suffix or 'nothing'}: give a file that ends in {' or '.join(ENDINGS)}")
    if quantize and path.suffix != ".onnx":
        raise InputError(f"{path} cannot be quantized, ONNX files alone can: give a file that ends in .onnx")
    if path.exists() and not replace:
        raise InputError(f"{path} is there already: give another file, or replace it (replace=True, --replace)")
    if not path.parent.is_dir():
        raise InputError(f"there is no folder {path.parent}: make it first, or give another file")
    network = network_of(model)
    if quantize and network.module is None:
        raise InputError("features have no encoder that could be quantized: leave it out")
    made = _form(model, network, form)
    program = _traced(model, made)
    said = _facts(model, network, form, quantize)
    if path.suffix == ".onnx":
        from innerloop.export.onnx_file import converted, quantized, runs, serialized

        graph = converted(program, made)
        content = serialized(quantized(graph) if quantize else graph, said)
        answer = runs(content)
    else:
        answer = lambda inputs: program.module()(*inputs.values())  # noqa: E731
    drift = Drift(0.0, 0)
    for inputs in (made.inputs, graphs.larger(made, network.inputs)):
        with torch.no_grad():
            ours, theirs = graphs.run(made, inputs), torch.as_tensor(answer(inputs))
        gap = float((ours - theirs).abs().max()) if ours.shape == theirs.shape else float("inf")
        drift = Drift(max(drift.largest, gap), drift.tried + len(ours))
    if not quantize and not drift.largest <= CLOSE:
        raise InputError(
            f"the graph of the head {model.head_!r} gives probabilities that are {drift.largest:.2g} from ours, more "
            f"than {CLOSE}: nothing was written; take another head, or the form 'classify'"
        )

    def put(place: str) -> None:
        if path.suffix == ".onnx":
            Path(place).write_bytes(content)
        else:
            with tempfile.TemporaryDirectory() as folder:
                # torch takes the ending for a part of the format.
                file = Path(folder) / "graph.pt2"
                torch.export.save(program, file, extra_files={"innerloop.json": json.dumps(said)})
                Path(place).write_bytes(file.read_bytes())

    write_atomically(path, put)
    shapes = {
        name: tuple(made.axes[name].get(axis, size) for axis, size in enumerate(given.shape))
        for name, given in made.inputs.items()
    }
    return Written(path, form, shapes, path.stat().st_size, drift)


def _check_model(model: object) -> None:
    from sklearn.utils.validation import check_is_fitted

    from innerloop.estimators.fewshot import FewShotClassifier

    if not isinstance(model, FewShotClassifier):
        raise InputError(f"a {type(model).__qualname__} cannot be written as a graph: give a FewShotClassifier")
    check_is_fitted(model)


def _form(model: FewShotClassifier, network: Network, form: str) -> Form:
    head = model.learner_
    if form == "adapt":
        # The labels' words, and examples without a label, are of one task.
        while isinstance(head, Primed):
            head = head.head
        learning = Adapt(head, model.temperature_, network.module).eval()
        return graphs.adapt(learning, network.inputs, network.changing)
    state = model.state_
    return graphs.classify(
        Classify(head, state, model.temperature_, network.module).eval(), network.inputs, network.changing
    )


def _traced(model: FewShotClassifier, form: Form) -> torch.export.ExportedProgram:
    try:
        return graphs.traced(form)
    except Exception as error:
        first = str(error).strip().splitlines()[0][:200]
        raise InputError(
            f"the head {model.head_!r} cannot be written as a graph of any number of examples "
            f"({type(error).__name__}: {first}): take the form 'classify', or another head"
        ) from error


def _facts(model: FewShotClassifier, network: Network, form: str, quantize: bool) -> Mapping[str, str]:
    """What the file says of itself, plain text by name."""
    labels = [value.item() if hasattr(value, "item") else value for value in model.classes_]
    said = {
        "version": VERSION,
        "form": form,
        "classes": json.dumps(labels, ensure_ascii=False) if form == "classify" else "",
        "encoder": model.encoder_,
        "fingerprint": network.fingerprint,
        "preprocessing": json.dumps(list(network.preprocessing), ensure_ascii=False),
        "head": model.head_,
        "temperature": repr(model.temperature_),
        "quantized": "8 bits" if quantize else "",
    }
    return {f"innerloop.{name}": text for name, text in said.items() if text}
