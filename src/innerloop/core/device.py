"""Devices by name."""

from __future__ import annotations

from itertools import chain

import torch
from torch import nn

from innerloop.core.task import InputError


def find_device(name: torch.device | str) -> torch.device:
    """The device of a name, which is there and can hold numbers.

    Raises:
        InputError: for a word that is no device, or one that this machine or this PyTorch does not have.

    Example:
        >>> find_device("cpu")
        device(type='cpu')
        >>> find_device("gpu")
        Traceback (most recent call last):
            ...
        innerloop.core.task.InputError: the device 'gpu' is not there (no such kind of device); here is: cpu
    """
    try:
        device = torch.device(name)
    except (RuntimeError, TypeError):
        raise InputError(_refusal(name, "no such kind of device")) from None
    if device.type == "meta":
        raise InputError(_refusal(name, "it holds shapes, no numbers"))
    if device.type == "cpu" and device.index:
        raise InputError(_refusal(name, "all processors are one device"))
    try:
        torch.zeros(1, device=device).cpu()
    except (RuntimeError, AssertionError, ImportError) as error:
        raise InputError(_refusal(name, str(error).strip().splitlines()[0].split(". ")[0][:80])) from None
    return device


def device_of(module: nn.Module) -> torch.device:
    """Where a module's parameters are, or its buffers; the CPU for one without any."""
    return next(chain(module.parameters(), module.buffers()), torch.zeros(0)).device


def device_name(device: torch.device) -> str:
    """What a device is called where figures are kept: the card's name, ``"CPU"``, or the kind of device.

    Example:
        >>> device_name(torch.device("cpu"))
        'CPU'
    """
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return device.type.upper()


def _refusal(name: torch.device | str, reason: str) -> str:
    there = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
    there += ["mps"] if torch.backends.mps.is_available() else []
    return f"the device {str(name)!r} is not there ({reason}); here is: {', '.join(there)}"
