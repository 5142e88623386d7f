"""What ``innerloop continual`` does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from innerloop.continual.matrix import METRICS, orders, plot, summary
from innerloop.continual.named import maker, stream
from innerloop.core.files import write_text_atomically
from innerloop.core.plain import json_of
from innerloop.core.task import InputError

_WORDS = {
    "acc": "score on all tasks at the end (ACC)",
    "bwt": "backward transfer (BWT)",
    "fwt": "forward transfer (FWT)",
    "forgetting": "forgetting",
}


def report(
    learner: str,
    name: str,
    root: str | None,
    seeds: Sequence[int],
    *,
    sizes: dict[str, Any],
    after: Sequence[int] | None,
    init: str | Path | None,
    options: dict[str, Any],
    out: Path | None,
) -> dict[str, Any]:
    """Run a learner over a stream's orders; a summary, the matrices, and the same in words.

    Args:
        learner: name of an online learner, or a run folder.
        name: of the stream.
        root: folder (or file) of its data.
        seeds: one a stream order.
        sizes: options of the stream; those that are ``None`` are left out.
        after: measure after these numbers of tasks only.
        init: a run folder whose encoder an online learner starts from.
        options: of the online learner.
        out: folder for ``continual.json`` and ``continual.png``.

    Raises:
        InputError: for names, options or sizes that cannot work.

    Example:
        >>> sizes = {"classes": 4}
        >>> found = report("naive", "split_digits", None, [0], sizes=sizes, after=None, init=None, options={}, out=None)
        >>> found["orders"], found["memory"]
        (1, 68016)
    """
    if not seeds:
        raise InputError("no stream order was asked for: give --orders 1 or more")
    family = stream(name, root, **{key: value for key, value in sizes.items() if value is not None})
    results = orders(maker(learner, family, init=init, options=options), family, seeds, after=after or None)
    found: dict[str, Any] = {"learner": learner, "stream": name, "seeds": list(seeds), **summary(results)}
    found["results"] = [result.json() for result in results]
    found["text"] = _text(found)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        write_text_atomically(out / "continual.json", json_of(found) + "\n")
        plot({learner: results}, out / "continual.png")
    return found


def _text(found: dict[str, Any]) -> str:
    lines = [f"{found['learner']} on {found['stream']}, {found['orders']} orders, 95 % intervals over orders"]
    shown = [metric for metric in METRICS if metric in found]
    lines += [f"{_WORDS[m]}: {found[m]['mean']:.4f}{_half(found[m]['interval'])}" for m in shown]
    curve = found["curve"]
    steps = range(0, len(curve["seen"]), max(1, len(curve["seen"]) // 10))
    points = ", ".join(f"{curve['seen'][i]}: {curve['mean'][i]:.3f}" for i in steps)
    lines.append(f"score on the tasks so far, by classes (or tasks) seen: {points}")
    lines.append(f"memory of the state: {found['memory']:,} bytes")
    return "\n".join(lines)


def _half(interval: list[float] | None) -> str:
    return f" ± {(interval[1] - interval[0]) / 2:.4f}" if interval is not None else ""
