"""The C library's allocator, told to keep its memory."""

from __future__ import annotations

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


def keep_memory() -> bool:
    """Keep freed memory in the process instead of returning it to the system after every large tensor.

    Each training step frees and asks for the same large blocks; having the system clear them anew takes a good part
    of the time of a step on the CPU. The command line calls this; importing innerloop does not.

    Returns:
        whether the allocator took the setting (glibc on Linux only).
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, 1 << 30)) and bool(mallopt(_M_TRIM_THRESHOLD, 2**31 - 1))
