"""Tox21, SIDER and ToxCast: which molecules are active in which assay, or have which side effects."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from innerloop.core.task import InputError, did_you_mean
from innerloop.data.molecules import Molecules


class Customary(NamedTuple):
    """The split of a set's columns that papers use, in the order of the columns; ``None``: a seeded one."""

    columns: tuple[int, int, int] | None
    what: str


#: The validation columns are the last of those that are customarily for training.
KNOWN = {
    "tox21": Customary((7, 2, 3), "12 toxicity assays of 7,823 molecules"),
    "sider": Customary((17, 4, 6), "27 groups of side effects of 1,427 drugs"),
    "toxcast": Customary(None, "617 toxicity assays of 8,576 molecules"),
}


def molecules(root: str | Path, name: str, **options: Any) -> Molecules:
    """Tox21, SIDER or ToxCast.

    Args:
        root: the folder of the sets (``root/tox21/tox21_ecfp4_2048.npz``), one that has it as ``molecules``, or the
            folder of the set itself.
        name: ``tox21`` (the first 9 assays are customarily for training, here 7 and 2 for validation; 3 test),
            ``sider`` (21, here 17 and 4; 6 test) or ``toxcast`` (by ``shares``, shuffled by ``seed``).
        options: of :meth:`Molecules.read`.

    Raises:
        InputError: for an unknown name or a file that is not there.
    """
    if name not in KNOWN:
        hint = did_you_mean(name, KNOWN)
        raise InputError(f"there are no molecules {name!r}{hint}; choose one of {', '.join(KNOWN)}")
    file = f"{name}_ecfp4_2048.npz"
    places = [Path(root) / "molecules" / name / file, Path(root) / name / file, Path(root) / file]
    path = next((place for place in places if place.is_file()), places[1])
    return Molecules.read(path, **{"columns": KNOWN[name].columns, **options})
