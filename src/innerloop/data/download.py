"""Fetching a file over HTTP: resumed where it broke off, checked before it takes its name."""

from __future__ import annotations

import hashlib
import http.client
import os
import urllib.error
import urllib.request
from pathlib import Path

from innerloop.core.task import InputError

_CHUNK = 1 << 16
_PATIENCE = 30.0


def fetch(url: str, path: Path, md5: str) -> Path:
    """Fetch ``url`` into ``path``, unless ``path`` exists.

    The bytes gather in ``path`` with ``.part`` appended; a later call goes on from there if the server knows ranges.
    Only a complete file with the right checksum takes the name ``path``. Two processes must not fetch to the same
    path at once: their bytes would mix, and the checksum refuse them.

    Args:
        url: where the file is.
        path: where it shall be; its folder is made if need be.
        md5: its checksum, in hexadecimal.

    Returns:
        ``path``.

    Raises:
        InputError: if the server cannot be reached, the connection breaks off, or the checksum differs.
    """
    if path.exists():
        return path
    part = path.with_name(f"{path.name}.part")
    advice = f"fetch {url} by other means and put it at {path}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        missing = _append(url, part)
    except urllib.error.HTTPError as error:
        raise InputError(f"{url} answers {error.code} {error.reason}: {advice}") from error
    except (urllib.error.URLError, TimeoutError, ConnectionError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise InputError(f"{url} cannot be reached ({reason}): call again with a network, or {advice}") from error
    except OSError as error:
        raise InputError(f"{part} cannot be written ({error.strerror or error}): choose another folder") from error
    if missing:
        raise InputError(
            f"the connection to {url} broke off {missing} bytes before the end: call again to go on from there, "
            f"or {advice}"
        )
    found = _md5(part)
    if found != md5:
        part.unlink(missing_ok=True)
        raise InputError(f"what came from {url} has md5 {found}, not {md5}, and was deleted: call again, or {advice}")
    os.replace(part, path)
    return path


def _append(url: str, part: Path) -> int:
    """Append what ``part`` lacks, and count the bytes that are then still missing."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        response = urllib.request.urlopen(request, timeout=_PATIENCE)
    except urllib.error.HTTPError as error:
        if error.code != http.client.REQUESTED_RANGE_NOT_SATISFIABLE or not have:
            raise
        # Nothing lies beyond what is there: all of it came, or it is not of this file. The checksum tells.
        return 0
    with response:
        resumed = response.status == http.client.PARTIAL_CONTENT
        have = have if resumed else 0
        length = response.headers.get("Content-Length")
        total = None if length is None else have + int(length)
        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
        console = Console(stderr=True)
        with part.open("ab" if resumed else "wb") as file, Progress(*columns, console=console) as progress:
            task = progress.add_task(part.stem, total=total, completed=have)
            while chunk := response.read(_CHUNK):
                file.write(chunk)
                have += len(chunk)
                progress.update(task, completed=have)
            file.flush()
            os.fsync(file.fileno())
    return 0 if total is None else total - have


def _md5(path: Path) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
