"""The folder of a bundle: readable JSON and safetensors, every file with its checksum, whole at every moment."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from innerloop.core.checkpoint import read_tensors, write_tensors
from innerloop.core.files import remove, sync, temporary_beside, write_text_atomically, writing
from innerloop.core.task import InputError

#: Version of the layout of bundles.
FORMAT = 1
RECORD = "bundle.json"
_TENSORS = re.compile(r"(weights|state)-[0-9a-f]{12}\.safetensors")


def write(path: Path, record: Mapping[str, Any], parts: Mapping[str, Mapping[str, Tensor]], *, replace: bool) -> None:
    """Write a bundle, whole or not at all.

    Args:
        path: the folder; what is there must be a bundle to replace, or empty.
        record: plain values; format, files and digest are added.
        parts: named tensors by part, ``weights`` and ``state``.
        replace: whether a bundle that is there gives way. Who reads meanwhile sees the old one or the new one.

    Raises:
        InputError: for a folder that holds something else, or that cannot be written; it is left as it was.
    """
    check_place(path, replace)
    with writing(path):
        if (path / RECORD).is_file():
            _write_files(path, record, parts)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = temporary_beside(path)
        try:
            temporary.mkdir()
            _write_files(temporary, record, parts)
            sync(temporary)
            os.rename(temporary, path)
        except BaseException:
            if temporary.exists():
                remove(temporary)
            raise
        sync(path.parent)


def check_place(path: Path, replace: bool) -> None:
    """Refuse a folder that a bundle cannot be written to.

    Args:
        path: the folder.
        replace: whether a bundle that is there gives way.

    Raises:
        InputError: for a bundle that is not to be replaced, or something else that is there.
    """
    try:
        if (path / RECORD).is_file():
            if not replace:
                raise InputError(
                    f"{path} already holds a bundle: give another folder, or replace it (replace=True, --replace)"
                )
        elif path.exists() and not (path.is_dir() and not any(path.iterdir())):
            raise InputError(f"{path} exists and is no bundle: give a folder that does not exist yet")
    except OSError as error:
        raise InputError(f"{path} cannot be written ({error.strerror}): give another folder") from None


def _write_files(folder: Path, record: Mapping[str, Any], parts: Mapping[str, Mapping[str, Tensor]]) -> None:
    """The tensors under names of their content, and last the record that names them."""
    files = {part: _write_tensors(folder, part, tensors) for part, tensors in parts.items()}
    whole = {"format": FORMAT, **record, "files": files}
    write_text_atomically(folder / RECORD, _serialized(whole))
    named = {file["name"] for file in files.values()}
    for old in folder.iterdir():
        if _TENSORS.fullmatch(old.name) and old.name not in named:
            old.unlink(missing_ok=True)


def _write_tensors(folder: Path, part: str, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    flat = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    temporary = temporary_beside(folder / part)
    try:
        write_tensors(temporary, flat, {"format": "pt"})
        sync(temporary)
        os.chmod(temporary, 0o644)
        digest = _hashed(temporary)
        name = f"{part}-{digest[:12]}.safetensors"
        os.replace(temporary, folder / name)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return {"name": name, "bytes": (folder / name).stat().st_size, "sha256": digest}


def read(path: Path) -> tuple[dict[str, Any], dict[str, dict[str, Tensor]]]:
    """The record and the tensors of each part, every checksum verified.

    Raises:
        InputError: if there is no bundle, or one of another version, or any file is not what was written.
    """
    while True:
        seen = _seen(path)
        record = _checked(seen.text, path)
        try:
            return record, {part: _read_part(path, part, file) for part, file in record["files"].items()}
        except InputError:
            # The bundle was replaced while it was read, maybe twice, by the same again: the next look sees the new one.
            if _seen(path) == seen:
                raise


class _Seen(NamedTuple):
    """A record's text, and which file it was: one that is written anew is another, with the same text too."""

    text: str
    file: tuple[int, int]


def _text(path: Path) -> str:
    return _seen(path).text


def _seen(path: Path) -> _Seen:
    try:
        with (path / RECORD).open(encoding="utf-8") as file:
            found = os.fstat(file.fileno())
            return _Seen(file.read(), (found.st_ino, found.st_mtime_ns))
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(_absent(path)) from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path / RECORD} cannot be read ({error}): it is damaged, or not yours to read") from None


def _absent(path: Path) -> str:
    if path.suffix == ".safetensors" or (path / "best.safetensors").is_file():
        return f"{path} is no bundle but of an earlier version of innerloop, which wrote no {RECORD}: train again"
    if path.is_file():
        return f"{path} is a file, and a bundle is a folder: give one that il.save or a run wrote"
    if path.is_dir():
        return f"{path} holds no bundle ({RECORD} is missing): give a folder that il.save or a run wrote"
    return f"there is no bundle at {path}: give a folder that il.save or a run wrote"


def _checked(text: str, path: Path) -> dict[str, Any]:
    try:
        record = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path / RECORD} is no JSON ({error}): it is damaged; copy the bundle again") from None
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        written = record.get("format") if isinstance(record, dict) else None
        versions = record.get("versions") if isinstance(record, dict) else None
        version = versions.get("innerloop", "?") if isinstance(versions, dict) else "?"
        raise InputError(
            f"the bundle {path} has format {written}, written by innerloop {version}; this version reads {FORMAT}: use "
            f"that version, or make the bundle again"
        )
    record.pop("digest", None)
    # Not the digests alone: a number that is written another way is a change too.
    if text != _serialized(record):
        raise InputError(
            f"{path / RECORD} is not what was written (its digest differs): it was edited or damaged; copy the bundle "
            f"again, or load and save it to change it"
        )
    if not isinstance(record.get("files"), dict):
        raise InputError(f"{path / RECORD} names no files: it is damaged; copy the bundle again")
    return record


def _read_part(path: Path, part: str, file: Any) -> dict[str, Tensor]:
    name = file.get("name") if isinstance(file, dict) else None
    # No name may lead out of the folder.
    if not isinstance(name, str) or not _TENSORS.fullmatch(name):
        raise InputError(f"{path / RECORD} names {name!r} as its {part}: it is damaged; copy the bundle again")
    try:
        digest = _hashed(path / name)
    except FileNotFoundError:
        raise InputError(f"the bundle {path} lacks its file {name}: copy the whole folder again") from None
    except OSError as error:
        raise InputError(f"{path / name} cannot be read ({error.strerror}): change its rights") from None
    if digest != file.get("sha256"):
        raise InputError(
            f"{path / name} is not what was written (its checksum differs): it is corrupt or truncated; copy the "
            f"bundle again"
        )
    return read_tensors(path / name)[0]


def record(path: str | Path) -> dict[str, Any]:
    """What a bundle's record says, without its tensors, which are neither read nor verified.

    Raises:
        InputError: if there is no bundle, or its record is damaged.
    """
    return _checked(_text(Path(path)), Path(path))


def digest_of(path: str | Path) -> str:
    """The digest of a bundle, as its record states it: what another bundle names as its parent.

    Raises:
        InputError: if there is no bundle, or its record is damaged.
    """
    text = _text(Path(path))
    return _digest(_checked(text, Path(path)))


def _serialized(record: Mapping[str, Any]) -> str:
    """The record as it stands in the file: readable, with its digest behind it."""
    return json.dumps({**record, "digest": _digest(record)}, indent=2, ensure_ascii=False) + "\n"


def _digest(record: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(record, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _hashed(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
