"""Omniglot: 1,623 handwritten characters of 50 alphabets, each drawn by 20 people.

Lake, Salakhutdinov and Tenenbaum, *Human-level concept learning through probabilistic program induction*, Science 2015,
https://doi.org/10.1126/science.aab3050.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
import zlib
from collections.abc import Iterator
from importlib import resources
from os import PathLike
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from innerloop.core.task import InputError
from innerloop.data.cache import cached_pools
from innerloop.data.download import fetch
from innerloop.data.images import read_image
from innerloop.data.pool import Pool
from innerloop.data.pools import Pools

Split = Literal["vinyals", "background"]

_DRAWINGS = 20
_ORIGINAL = "https://raw.githubusercontent.com/brendenlake/omniglot/master/python/"
_MD5 = {
    "images_background": "68d2efa1b9178cc56df9314c21c6e718",
    "images_evaluation": "6b91aef0f799c5bb55b94e3f2daec811",
}


def omniglot(
    root: str | PathLike[str],
    *,
    split: Split = "vinyals",
    size: int = 28,
    rotations: bool = True,
    download: bool = False,
    cache: bool = True,
) -> Pools:
    """Omniglot's characters as pools of ``[N, 1, size, size]`` uint8 images, ink 255 on paper 0.

    Each class has 20 drawings and is named ``Alphabet/characterNN``, its rotations ``Alphabet/characterNN/rot090``
    and so on. Decoding takes some ten seconds and is cached; later calls take well under one.

    Args:
        root: the folder that holds ``images_background.zip`` and ``images_evaluation.zip``, or the folders
            ``images_background`` and ``images_evaluation`` extracted from them.
        split: ``"vinyals"``, 1,028 / 172 / 423 characters, which most published figures use; or ``"background"``, the
            authors' own: test on all 659 characters of the 20 evaluation alphabets, train on the background set
            (792 characters) less the five alphabets of Vinyals' validation set (172), which validate here too.
        size: height and width in pixels; the originals have 105.
        rotations: add each character turned by 90, 180 and 270 degrees as three more classes.
        download: fetch zips that are missing under ``root`` (14 MB, from the authors' repository).
        cache: keep the decoded images in the cache folder.

    Returns:
        The pools, named ``"omniglot"``.

    Raises:
        InputError: if the images are missing, damaged or incomplete, cannot be fetched, or an option is unknown.

    Example:
        >>> pools = omniglot("data/omniglot")  # doctest: +SKIP
        >>> pools.train.classes, pools.test.shape  # doctest: +SKIP
        (4112, (1, 28, 28))

    References:
        Lake et al., *Human-level concept learning through probabilistic program induction*, 2015,
        https://doi.org/10.1126/science.aab3050. Split: Vinyals et al., *Matching Networks for One Shot Learning*, 2016,
        https://arxiv.org/abs/1606.04080. Rotations: Santoro et al., *Meta-Learning with Memory-Augmented Neural
        Networks*, 2016, https://proceedings.mlr.press/v48/santoro16.html.
    """
    if split not in get_args(Split):
        raise InputError(f"split is {split!r}; it must be one of {', '.join(map(repr, get_args(Split)))}")
    if not 1 <= size <= 105:
        raise InputError(f"size is {size} pixels; it must be 1 to 105, the size of the original drawings")
    root = Path(root).expanduser()
    if download:
        for name, md5 in _MD5.items():
            if not (root / name).is_dir():
                fetch(f"{_ORIGINAL}{name}.zip", root / f"{name}.zip", md5)
    elif not root.is_dir():
        raise InputError(
            f"the Omniglot folder {root} does not exist: give the folder that holds images_background.zip and "
            f"images_evaluation.zip, or {_fetch(root)}"
        )
    parts = [_find(root, name) for name in _MD5]

    def build() -> Pools:
        names = [character for part in parts for character in part.drawings]
        x = torch.cat([_decode(part, size) for part in parts])
        everything = Pool(x, torch.full((len(names),), _DRAWINGS), tuple(names))
        train, val, test = (_take(everything, wanted) for wanted in _lists(split, *parts))
        return Pools(train, val, test, "omniglot")

    recipe = {"version": 1, "split": split, "size": size, "sources": [part.digest for part in parts]}
    pools = cached_pools("omniglot", recipe, build) if cache else build()
    if rotations:
        pools = Pools(pools.train.rotated(), pools.val.rotated(), pools.test.rotated(), pools.name)
    return pools


class _Part(NamedTuple):
    """One of the two image sets, zipped or extracted: the files of each character, and a digest of them all."""

    path: Path
    drawings: dict[str, list[str]]
    digest: str


def _find(root: Path, name: str) -> _Part:
    archive, extracted = root / f"{name}.zip", root / name
    if archive.is_file():
        path = archive
        with _open(archive) as file:
            found = [(i.filename, i.file_size, i.CRC) for i in file.infolist()]
    elif extracted.is_dir():
        path = extracted
        found = []
        for image in extracted.rglob("*.png"):
            stat = image.stat()
            found.append((image.relative_to(root).as_posix(), stat.st_size, stat.st_mtime_ns))
    else:
        raise InputError(
            f"Omniglot's {name} is missing, neither {archive} nor the folder {extracted} exists: "
            f"put one of them there, or {_fetch(root)}"
        )
    drawings: dict[str, list[str]] = {}
    found = sorted(entry for entry in found if entry[0].endswith(".png") and entry[0].startswith(f"{name}/"))
    for member, *_ in found:
        drawings.setdefault("/".join(member.split("/")[1:-1]), []).append(member)
    if not drawings:
        raise InputError(f"{path} holds no image {name}/ALPHABET/characterNN/*.png: it is not the Omniglot archive")
    for character, members in drawings.items():
        if len(members) != _DRAWINGS:
            raise InputError(
                f"character {character} has {len(members)} drawings in {path}, Omniglot has {_DRAWINGS}: "
                f"extract or fetch the archive again"
            )
    return _Part(path, drawings, hashlib.sha256(json.dumps(found).encode()).hexdigest())


def _fetch(root: Path) -> str:
    """What fetches the archives, on the command line and in Python."""
    return f"fetch it: innerloop data omniglot --root {root} --download (in Python, download=True)"


def _open(archive: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(archive)
    except (zipfile.BadZipFile, OSError) as error:
        raise InputError(
            f"{archive} ({archive.stat().st_size} bytes) cannot be read, it is truncated or no zip ({error}): "
            f"delete it and {_fetch(archive.parent)}"
        ) from error


def _contents(part: _Part) -> Iterator[tuple[str, Path | io.BytesIO]]:
    members = [member for drawings in part.drawings.values() for member in drawings]
    if part.path.is_dir():
        yield from ((member, part.path.parent / member) for member in members)
        return
    with _open(part.path) as file:
        for member in members:
            try:
                data = file.read(member)
            except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError) as error:
                raise InputError(
                    f"{part.path} is damaged at {member} ({error}): delete it and {_fetch(part.path.parent)}"
                ) from error
            yield member, io.BytesIO(data)


def _decode(part: _Part, size: int) -> Tensor:
    x = torch.empty(len(part.drawings) * _DRAWINGS, 1, size, size, dtype=torch.uint8)
    for i, (member, data) in enumerate(_contents(part)):
        x[i] = 255 - read_image(data, size=size, channels=1, name=f"{member} in {part.path}")
    return x


def _lists(split: Split, background: _Part, evaluation: _Part) -> Iterator[list[str]]:
    """The characters of train, val and test."""
    listed = json.loads(
        resources.files("innerloop.data.sets").joinpath("splits/omniglot_vinyals.json").read_text("utf-8")
    )
    vinyals = {
        part: [f"{alphabet}/character{n:02d}" for alphabet, numbers in listed[part].items() for n in numbers]
        for part in ("train", "val", "test")
    }
    if split == "vinyals":
        yield from vinyals.values()
    else:
        held_out = set(vinyals["val"])
        yield [character for character in background.drawings if character not in held_out]
        yield vinyals["val"]
        yield list(evaluation.drawings)


def _take(everything: Pool, wanted: list[str]) -> Pool:
    missing = sorted(set(wanted) - set(everything.names))
    if missing:
        raise InputError(
            f"the class list names {len(missing)} characters that the images lack, the first is {missing[0]}: "
            f"{everything.classes} of Omniglot's 1,623 characters are there, extract or fetch the archives again"
        )
    return everything.only(wanted)
