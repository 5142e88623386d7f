"""A traced graph as an ONNX file."""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from innerloop.core.task import InputError
from innerloop.export.graphs import Form

#: No file of this format is larger.
_LARGEST = 2**31
#: Numbers in a kernel from which on it is worth it.
_WORTH = 256


def converted(program: torch.export.ExportedProgram, form: Form) -> Any:
    """The graph in ONNX, its sizes that may change by their names.

    Raises:
        InputError: where the extra is not installed, or for an operator that ONNX lacks.
    """
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401

        from innerloop.export.algebra import inlined, translations
    except ImportError:
        raise InputError("ONNX files need an extra: pip install 'innerloop[export]'") from None
    try:
        with _quiet():
            made = torch.onnx.export(
                program, dynamo=True, verbose=False, input_names=list(form.inputs), output_names=["probabilities"],
                custom_translation_table=translations(),
            )  # fmt: skip
    except Exception as error:
        why = next((line for line in str(error).splitlines() if "No ONNX function" in line), str(error).strip()[-200:])
        raise InputError(
            f"the graph cannot be written as ONNX ({' '.join(why.split())[:240]}): write a .pt2 file, or take another "
            f"head"
        ) from error
    assert made is not None
    model = inlined(made.model_proto)
    _stripped(model.graph)
    names: dict[str, str] = {}
    for value in model.graph.input:
        for axis, size in enumerate(value.type.tensor_type.shape.dim):
            if size.dim_param:
                names[size.dim_param] = form.axes[value.name][axis]
    for value in (*model.graph.input, *model.graph.output):
        for size in value.type.tensor_type.shape.dim:
            if size.dim_param:
                size.dim_param = names.get(size.dim_param, size.dim_param)
    return model


def quantized(model: Any) -> Any:
    """The graph with the encoder's weights in 8 bits.

    Products of matrices are computed in 8 bits, their inputs rounded as they come. Kernels of convolutions are kept in
    8 bits and computed with as they were: activations of pictures would need others to be scaled by.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with tempfile.TemporaryDirectory() as folder, _quiet():
        before, after = Path(folder) / "before.onnx", Path(folder) / "after.onnx"
        onnx.save(model, str(before))
        quantize_dynamic(str(before), str(after), ["MatMul", "Gemm"], weight_type=QuantType.QInt8, per_channel=True)
        made = onnx.load(str(after))
    _small_kernels(made)
    return made


def _small_kernels(model: Any) -> None:
    """Kernels ``[O, I, h, w]`` as whole numbers of 8 bits with a scale for each of their outputs."""
    import onnx

    graph = model.graph
    for weight in [one for one in graph.initializer if len(one.dims) == 4]:
        values = onnx.numpy_helper.to_array(weight)
        if values.dtype != np.float32 or values.size < _WORTH:
            continue
        scale = (np.abs(values).max(axis=tuple(range(1, values.ndim))) / 127).clip(min=1e-12).astype(np.float32)
        small = np.round(values / scale.reshape(-1, *[1] * (values.ndim - 1))).astype(np.int8)
        names = [f"{weight.name}_{part}" for part in ("int8", "scale", "zero")]
        parts = (small, scale, np.zeros(len(scale), np.int8))
        for name, part in zip(names, parts, strict=True):
            graph.initializer.append(onnx.numpy_helper.from_array(part, name))
        # Before the first node, as it is needed by any.
        graph.node.insert(0, onnx.helper.make_node("DequantizeLinear", names, [weight.name], axis=0))
        graph.initializer.remove(weight)


def serialized(model: Any, said: Mapping[str, str]) -> bytes:
    """The bytes of the file.

    Args:
        model: the graph.
        said: what the file says of itself.
    """
    import onnx

    del model.metadata_props[:]
    onnx.helper.set_model_props(model, dict(said))
    if model.ByteSize() >= _LARGEST:
        raise InputError(f"the graph has {model.ByteSize()} bytes, an ONNX file at most {_LARGEST}: write a .pt2 file")
    content: bytes = model.SerializeToString()
    return content


def runs(content: bytes) -> Callable[[Mapping[str, Tensor]], npt.NDArray[np.float32]]:
    """What onnxruntime makes of a file: a function of the inputs by name."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])

    def answer(inputs: Mapping[str, Tensor]) -> npt.NDArray[np.float32]:
        found: npt.NDArray[np.float32] = session.run(None, {name: part.numpy() for name, part in inputs.items()})[0]
        return found

    return answer


def _stripped(graph: Any) -> None:
    """Take out where in our code each node comes from, which is nobody's business."""
    for node in graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
        for attribute in node.attribute:
            if attribute.HasField("g"):
                _stripped(attribute.g)
    for value in (*graph.input, *graph.output, *graph.initializer):
        del value.metadata_props[:]
    del graph.metadata_props[:]
    # The exporter does not know the shapes of what our functions give.
    del graph.value_info[:]


@contextmanager
def _quiet() -> Iterator[None]:
    """What the exporter says of itself is no news to whoever exports."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "root", "onnxscript", "onnx_ir")]
    levels = [one.level for one in loggers]
    for one in loggers:
        one.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for one, level in zip(loggers, levels, strict=True):
            one.setLevel(level)
