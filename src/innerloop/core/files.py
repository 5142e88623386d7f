"""Files that readers see whole or not at all, whatever happens to the process that writes them."""

from __future__ import annotations

import os
import platform
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from innerloop.core.task import InputError

#: Seconds after which a temporary file of another machine is taken for one that nobody writes any more.
_STALE = 24 * 3600


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Within, errors of the operating system become one line that names the path.

    Raises:
        InputError: for a full disk, a folder that cannot be written, a name that is too long.
    """
    try:
        yield
    except OSError as error:
        raise _cannot(path, error.strerror or str(error)) from None
    except SafetensorError as error:
        raise _cannot(path, str(error)) from None


def _cannot(path: Path, why: str) -> InputError:
    return InputError(f"{path} cannot be written ({why}): free some space, change its rights or give another place")


def temporary_beside(path: Path) -> Path:
    """A name for what is being written and will be moved to ``path``; those of killed processes are swept up first."""
    sweep(path)
    return path.parent / f"{_prefix(path)}{os.getpid()}.{secrets.token_hex(4)}"


def sweep(path: Path) -> None:
    """Remove what killed processes left of their attempts to write ``path``."""
    for left in path.parent.glob(f".{_escaped(path.name)}.*.writing.*"):
        if _abandoned(left, left.name.startswith(_prefix(path))):
            remove(left)


def remove(path: Path) -> None:
    """Remove a file, or a folder of files; it is no error if another process was faster."""
    if path.is_dir() and not path.is_symlink():
        for part in path.iterdir():
            part.unlink(missing_ok=True)
        path.rmdir()
    else:
        path.unlink(missing_ok=True)


def write_atomically(path: Path, write: Callable[[str], None]) -> None:
    """Call ``write(temporary path)``, then move the file into place: readers see the old file or the new one.

    Raises:
        InputError: for what the operating system refuses; the old file is left as it was.
    """
    path = Path(path)
    with writing(path):
        temporary = temporary_beside(path)
        try:
            write(str(temporary))
            sync(temporary)
            os.chmod(temporary, 0o644)
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        sync(path.parent)


def write_text_atomically(path: Path, text: str) -> None:
    """Write a text file so that readers see the old text or the new one."""
    write_atomically(path, lambda temporary: _write_text(temporary, text))


def sync(path: Path) -> None:
    """Wait until a file, or a folder's list of names, is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _write_text(path: str, text: str) -> None:
    Path(path).write_text(text, encoding="utf-8")


def _prefix(path: Path) -> str:
    return f".{path.name}.{platform.node()}.writing."


def _escaped(name: str) -> str:
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in name)


def _abandoned(left: Path, here: bool) -> bool:
    """Whether nobody writes it any more: its process is gone or, on another machine, it has been there for long."""
    number = left.name.split(".")[-2]
    try:
        if not here or not number.isdigit():
            return time.time() - left.stat().st_mtime > _STALE
        os.kill(int(number), 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False
