"""How a speed is measured on a machine that does other work too: in turns, until each ratio is known."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from scipy.stats import quantile_test

from innerloop.core.precision import computes

#: How far the ends of a ratio's interval may lie from its median, as a share of it.
WITHIN = 0.1


def interval(values: Sequence[float]) -> tuple[float, float]:
    """The 95 % interval of the median, by order statistics; infinite for fewer than six."""
    found = quantile_test(values).confidence_interval(0.95)
    low, high = float(found.low), float(found.high)
    return (-math.inf if math.isnan(low) else low), (math.inf if math.isnan(high) else high)


def ratios(seconds: Mapping[str, Sequence[float]], first: str) -> dict[str, list[float]]:
    """Of each turn, how many times as long as the first each one took."""
    return {name: [a / b for a, b in zip(took, seconds[first], strict=True)] for name, took in seconds.items()}


def settled(seconds: Mapping[str, Sequence[float]], first: str) -> bool:
    """Whether each ratio's interval lies within :data:`WITHIN` of its median."""
    for found in ratios(seconds, first).values():
        middle = sorted(found)[len(found) // 2]
        low, high = interval(found)
        if not (1 - WITHIN) * middle <= low <= high <= (1 + WITHIN) * middle:
            return False
    return True


def processor() -> str:
    """The processor's name, and the vector instructions that PyTorch uses on it."""
    told = Path("/proc/cpuinfo")
    lines = told.read_text().splitlines() if told.exists() else []
    name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "processor")
    vectors = torch.backends.cpu.get_cpu_capability()
    short = "with" if computes("bfloat16", torch.device("cpu")) else "without"
    return f"{name}, {vectors}, {short} bfloat16"
