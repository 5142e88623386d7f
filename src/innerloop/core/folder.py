"""Folders that are written: looked at first, made, and locked while a run is written into them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from innerloop.core.task import InputError

#: The lock of a run folder while a process writes into it.
LOCK = ".run.lock"


def prepare_folder(folder: Path) -> None:
    """Make a folder and see that it can be written.

    Raises:
        InputError: if it cannot.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".writable"
        probe.touch()
        # Another process that looks at the same time may have been faster.
        probe.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(_refusal(folder, error.strerror or str(error))) from None


def check_folder(folder: Path) -> None:
    """Refuse a folder that could not be made or written, as far as that shows without writing anything.

    Raises:
        InputError: if it could not.
    """
    if str(folder) in ("", "."):
        raise InputError("the folder has no name: give one of its own, not the folder that you are in")
    try:
        folder.lstat()
    except FileNotFoundError:
        pass
    except (OSError, ValueError) as error:
        raise InputError(_refusal(folder, getattr(error, "strerror", None) or str(error))) from None
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    reason = None if there.is_dir() else f"{there} is a file"
    if reason is None and not os.access(there, os.W_OK | os.X_OK):
        reason = f"no right to write in {there}"
    if reason is not None:
        raise InputError(_refusal(folder, reason))


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Within, no other process writes a run into this folder.

    Raises:
        InputError: if another process holds the lock, or it cannot be made.
    """
    lock = FileLock(folder / LOCK, blocking=False)
    try:
        lock.acquire()
    except NotImplementedError:
        # A file system without locks: whoever starts two processes there is on their own.
        yield
        return
    except Timeout:
        raise InputError(
            f"another process is writing the run in {folder} ({LOCK} is locked): wait until it is done, or stop it"
        ) from None
    except OSError as error:
        raise InputError(_refusal(folder, error.strerror or str(error))) from None
    try:
        yield
    finally:
        # While it is still held: whoever opened it meanwhile finds that the file is gone, and starts anew.
        (folder / LOCK).unlink(missing_ok=True)
        lock.release()


def _refusal(folder: Path, reason: str) -> str:
    return f"the folder {folder} cannot be written ({reason}): give one that can be, or change its rights"
