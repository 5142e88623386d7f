"""Which lower precisions a device computes in, rather than emulates."""

from __future__ import annotations

import platform

import torch


def computes(dtype: str, device: torch.device) -> bool:
    """Whether a device has instructions for ``"bfloat16"`` or ``"float16"``; without them it is many times slower.

    Example:
        >>> computes("float32", torch.device("cpu"))
        True
    """
    if dtype not in ("bfloat16", "float16"):
        return True
    if device.type == "cuda":
        return dtype == "float16" or torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type != "cpu":
        return True
    if dtype == "float16" or platform.machine().lower() not in ("x86_64", "amd64", "i386"):
        return _asked(
            torch.ops.mkldnn, "_is_mkldnn_fp16_supported" if dtype == "float16" else "_is_mkldnn_bf16_supported"
        )
    # oneDNN says yes to bfloat16 wherever there is AVX-512, and then emulates it.
    return _asked(torch.cpu, "_is_avx512_bf16_supported") or _asked(torch.cpu, "_is_amx_tile_supported")


def _asked(module: object, name: str) -> bool:
    try:
        return bool(getattr(module, name)())
    except (AttributeError, RuntimeError):
        return False
