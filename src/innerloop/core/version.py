"""The version of innerloop, and of what its numbers depend on."""

from __future__ import annotations

import platform

import numpy
import torch

VERSION = "0.1.0"


def versions() -> dict[str, str]:
    """Of innerloop, Python, PyTorch and NumPy: what is kept beside whatever is written.

    Example:
        >>> list(versions())
        ['innerloop', 'python', 'torch', 'numpy']
    """
    return {
        "innerloop": VERSION,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
    }
