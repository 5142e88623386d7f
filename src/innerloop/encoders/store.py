"""Features once: what was encoded is kept under its content, in memory and, where a folder is given, on disk."""

from __future__ import annotations

import sqlite3
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import numpy.typing as npt

from innerloop.core.task import InputError

Floats = npt.NDArray[np.float32]

#: Bytes of features that a process keeps.
_KEPT = 2**28


class Memory:
    """The latest features, up to so many bytes."""

    def __init__(self, limit: int = _KEPT) -> None:
        self._limit, self._held = limit, 0
        self._rows: OrderedDict[bytes, Floats] = OrderedDict()

    def get(self, key: bytes) -> Floats | None:
        """A feature vector, if it is there."""
        row = self._rows.get(key)
        if row is not None:
            self._rows.move_to_end(key)
        return row

    def put(self, rows: Mapping[bytes, Floats]) -> None:
        """Keep feature vectors; the oldest give way."""
        for key, row in rows.items():
            if key not in self._rows:
                self._rows[key] = row
                self._held += row.nbytes
        while self._held > self._limit and self._rows:
            _, row = self._rows.popitem(last=False)
            self._held -= row.nbytes


class Folder:
    """Feature vectors in a file of SQLite within a folder; several processes may use it at once.

    Raises:
        InputError: for a folder that cannot be written, or a file there that is something else.
    """

    def __init__(self, path: str | Path) -> None:
        self._file = Path(path).expanduser() / "features.sqlite"
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with closing(self._open()) as database, database:
                database.execute("CREATE TABLE IF NOT EXISTS features (key BLOB PRIMARY KEY, row BLOB NOT NULL)")
        except (OSError, sqlite3.Error) as error:
            raise InputError(
                f"features cannot be kept in {self._file} ({error}): give cache= a folder that can be written, or "
                f"remove the file"
            ) from None

    def get(self, keys: Sequence[bytes]) -> dict[bytes, Floats]:
        """Those feature vectors that are there."""
        found = {}
        with closing(self._open()) as database:
            for key in keys:
                row = database.execute("SELECT row FROM features WHERE key = ?", (key,)).fetchone()
                if row:
                    found[key] = np.frombuffer(row[0], dtype="<f4").astype(np.float32)
        return found

    def put(self, rows: Mapping[bytes, Floats]) -> None:
        """Keep feature vectors."""
        with closing(self._open()) as database, database:
            database.executemany(
                "INSERT OR IGNORE INTO features VALUES (?, ?)",
                [(key, row.astype("<f4").tobytes()) for key, row in rows.items()],
            )

    def _open(self) -> sqlite3.Connection:
        return sqlite3.connect(self._file, timeout=60)
