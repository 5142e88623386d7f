"""A task as a file: a bundle with its examples beside it, a graph of ONNX; and a task from such a bundle again."""

from __future__ import annotations

import io
import json
import re
import tempfile
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from lzma import LZMAError
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from pydantic import TypeAdapter, ValidationError
from sqlalchemy import Row

from innerloop.bundle import read
from innerloop.bundle.names import class_with
from innerloop.core.plain import json_of
from innerloop.core.task import InputError
from innerloop.estimators.fewshot import FewShotClassifier
from innerloop.export import write
from innerloop.serve.inputs import Reader
from innerloop.serve.kinds import KINDS
from innerloop.serve.models import Options, TaskIn, Word
from innerloop.serve.settings import Settings

#: What may be in a file that is imported; anything else is left where it is.
_NAMES = re.compile(r"bundle\.json|task\.json|(?:weights|state)-[0-9a-f]{12}\.safetensors|contents/[0-9]{1,6}")
_WORD = TypeAdapter(Word)
#: How often larger a file may become when it is unpacked.
_GROWS = 8


class Kept(NamedTuple):
    """A task from a file."""

    name: str
    kind: str
    options: Options
    labels: list[str]
    contents: list[Any] | None
    """As they were sent; ``None`` where the file has features alone."""
    features: Any = None
    """``[N, H]``, and by which weights of the encoder they are."""
    encoder: str | None = None


def bundle_of(model: FewShotClassifier, row: Row[Any], examples: Sequence[Row[Any]]) -> bytes:
    """A task as a zip file, which is a bundle for :func:`innerloop.load` when it is unpacked.

    Args:
        model: of the task.
        row: of the task.
        examples: of the task, with their contents.
    """
    made = io.BytesIO()
    with tempfile.TemporaryDirectory() as place, zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as file:
        folder = model.save(Path(place) / "task")
        for path in sorted(folder.iterdir()):
            file.write(path, path.name)
        listed = []
        for number, one in enumerate(examples):
            whole = one.content is not None
            listed.append({"label": one.label, "content": f"contents/{number}" if whole else None})
            if whole:
                file.writestr(f"contents/{number}", one.content)
        task = {"name": row.name, "kind": row.kind, "options": row.options, "examples": listed}
        file.writestr("task.json", json_of(task))
    return made.getvalue()


def graph_of(model: FewShotClassifier) -> bytes:
    """A task as a graph of ONNX that classifies.

    Raises:
        InputError: for an encoder or a head that no graph is made of, or where the extra is not installed.
    """
    with tempfile.TemporaryDirectory() as place:
        return write(model, Path(place) / "task.onnx").path.read_bytes()


def parts_of(content: bytes, limit: int) -> dict[str, bytes]:
    """What a zip file holds of a task, by name.

    Args:
        content: of the file.
        limit: bytes that it may have, of which it may unpack to eight times as many.

    Raises:
        InputError: for no zip file, or one that is damaged or too large.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as file:
            infos = [one for one in file.infolist() if _NAMES.fullmatch(one.filename)]
            if sum(one.file_size for one in infos) > _GROWS * limit:
                raise InputError(f"the file has more than {_GROWS * limit} bytes when unpacked, which is the limit")
            # What a file says of its sizes may be wrong: it is unpacked no further, and its sums tell.
            return {one.filename: file.open(one).read(one.file_size) for one in infos}
    except InputError:
        raise
    except (zipfile.BadZipFile, zlib.error, LZMAError, LookupError, RuntimeError, EOFError, OSError, ValueError):
        raise InputError("the file is no zip file, or damaged: give one that was exported with format=bundle") from None


def parts_in(folder: Path) -> dict[str, bytes]:
    """What a folder holds of a task, by name."""
    files = {str(one.relative_to(folder)): one for one in folder.rglob("*") if one.is_file()}
    return {name: file.read_bytes() for name, file in files.items() if _NAMES.fullmatch(name)}


def task_of(parts: Mapping[str, bytes], settings: Settings) -> Kept:
    """A task from the parts of what :func:`bundle_of` made, or of the bundle of a classifier.

    Nothing of it is run: contents are read as if they had been sent, features and labels are numbers and words.

    Raises:
        InputError: for anything else.
    """
    try:
        return _with_contents(parts, settings) if "task.json" in parts else _bare(parts)
    except InputError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError, AssertionError, ValidationError):
        raise InputError("the file holds no task: give one that was exported with format=bundle") from None


def _with_contents(parts: Mapping[str, bytes], settings: Settings) -> Kept:
    said = json.loads(parts["task.json"])
    task = TaskIn(name=said["name"], kind=said["kind"], options=said["options"])
    listed = said["examples"]
    labels = [_WORD.validate_python(one["label"]) for one in listed]
    if any(one["content"] is None for one in listed):
        return _bare(parts)._replace(name=task.name or task.kind, options=task.options)
    reader = Reader(task.kind, settings)
    contents = [parts[one["content"]] for one in listed]
    values = contents if reader.field == "image" else [reader.parsed(one) for one in contents]
    return Kept(task.name or task.kind, task.kind, task.options, labels, list(values))


def _bare(parts: Mapping[str, bytes]) -> Kept:
    """Of a bundle alone: features and labels."""
    with tempfile.TemporaryDirectory() as place:
        for name, part in parts.items():
            if "/" not in name:
                (Path(place) / name).write_bytes(part)
        try:
            bundle = read(place)
        except InputError:
            raise InputError("the file holds no whole bundle: export it again") from None
        if bundle.kind in ("learner", "adapted") or class_with("from_bundle", bundle.kind) is not FewShotClassifier:
            raise InputError(f"the bundle holds a {bundle.kind[:80]}: give that of a FewShotClassifier")
        state = bundle.state
    said, asked = state["encoder"], state["asked"]
    encoder = "features" if said is None else said["name"]
    kind = next((name for name, one in KINDS.items() if one.encoder == encoder and encoder != "table"), None)
    if kind is None or len(state["unlabeled"]):
        raise InputError(f"tasks of {str(encoder)[:40]} need their examples: make the task from these")
    features, labels = np.asarray(state["X"], np.float64), [_WORD.validate_python(str(one)) for one in state["y"]]
    if features.ndim != 2 or len(features) != len(labels) or not np.isfinite(features).all():
        raise InputError("the bundle is damaged: its features are no matrix of numbers")
    options = Options(head=asked["head"] or "auto", class_names=asked["class_names"])
    if kind == "vectors":
        return Kept(kind, kind, options, labels, features.tolist())
    return Kept(kind, kind, options, labels, None, features, str(said["fingerprint"]))
