"""One page that shows a run: an episode, the learning curves, the results with their intervals, the recipe.

The page is a single file. It fetches nothing and runs no script, so it can be mailed, archived and opened anywhere.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
import torch

from innerloop.core.files import write_atomically
from innerloop.core.folder import prepare_folder
from innerloop.core.version import VERSION
from innerloop.evaluation.reports import plain
from innerloop.report import tables
from innerloop.report.picture import Picture, tiles
from innerloop.report.plots import curves
from innerloop.report.section import Section
from innerloop.report.tables import Results
from innerloop.training.history import History


def write_report(
    path: str | Path,
    *,
    title: str,
    results: Results,
    histories: Mapping[str, History] | None = None,
    episode: Picture | None = None,
    recipe: Mapping[str, Any] | None = None,
    seeds: Sequence[int] = (),
    command: str = "",
) -> Path:
    """Write one self-contained HTML page, or leave what is there untouched.

    Args:
        path: the file; its folder is made if missing.
        title: of the page.
        results: reports by learner and protocol; the first learner is compared with the others.
        histories: of training, by learner; for the learning curves.
        episode: to show, from :func:`picture`.
        recipe: what was run, as values that JSON takes.
        seeds: that the runs depend on.
        command: that makes this page again.

    Returns:
        The path.

    Raises:
        InputError: if learners were not evaluated on the same tasks, or the folder cannot be written.

    Example:
        >>> import innerloop as il, tempfile
        >>> maml = il.MAML(il.nets.mlp(1, 8, 1), lr=0.01, likelihood=il.Gaussian(scale=1.0))
        >>> results = {"untrained": {"10-shot": il.evaluate(maml, il.data.Sinusoid(), tasks=10)}}
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     page = write_report(f"{folder}/report.html", title="Sines", results=results).read_text()
        >>> "<h1>Sines</h1>" in page
        True
    """
    compared = tables.pairs(results)
    histories = {name: history for name, history in (histories or {}).items() if history.rows}
    sections = [Section("episode", "One test episode", tiles(episode))] if episode else []
    sections += [curves_section(histories)] if histories else []
    sections += [tables.results_section(results, compared)]
    sections += [Section("recipe", "Recipe", _recipe(recipe or {}, histories, seeds, command))]
    return write_page(path, title, tables.summary(results), sections)


def write_page(path: str | Path, title: str, summary: str, sections: Sequence[Section]) -> Path:
    """Write sections as one self-contained HTML page, or leave what is there untouched.

    Args:
        path: the file; its folder is made if missing.
        title: of the page.
        summary: the result in a sentence.
        sections: in their order.

    Raises:
        InputError: if the folder cannot be written.
    """
    path, body = Path(path), "\n".join(section.html() for section in sections)
    page = Template(_PAGE).substitute(title=escape(title), summary=escape(summary), body=body)
    # Class names come from folders, whose names need not be valid Unicode.
    content = page.encode("utf-8", "xmlcharrefreplace")
    prepare_folder(path.parent)
    write_atomically(path, lambda temporary: _write(Path(temporary), content))
    return path


def curves_section(histories: Mapping[str, History]) -> Section:
    """The learning curves of runs that have some."""
    plots = curves(histories)
    facts = {
        name: {"losses": history.losses, "scores": [[step, score] for step, score in history.scores]}
        for name, history in histories.items()
    }
    return Section("curves", "Learning curves", "", plain(facts), tuple(plots))


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def _recipe(recipe: Mapping[str, Any], histories: Mapping[str, History], seeds: Sequence[int], command: str) -> str:
    facts = {
        "Command": f"<code>{escape(command)}</code>" if command else "not recorded",
        "Seeds": ", ".join(str(int(seed)) for seed in seeds) or "not recorded",
        "Date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "Versions": f"innerloop {VERSION}, PyTorch {torch.__version__}, NumPy {np.__version__}, "
        f"Python {platform.python_version()}",
        "CPU threads": str(torch.get_num_threads()),
    }
    for name, history in histories.items():
        how = f"{history.stopped}; tasks lifted by {history.how} ({history.why})"
        facts[f"Training of {escape(name)}"] = f"{history.step} steps in {history.seconds:.0f} s, {escape(how)}"
    entries = "".join(f"<dt>{name}</dt><dd>{text}</dd>\n" for name, text in facts.items())
    block = f"<pre>{escape(json.dumps(recipe, indent=2, ensure_ascii=False))}</pre>" if recipe else ""
    return f"<dl>{entries}</dl>\n{block}"


_PAGE = """<!DOCTYPE html>
<html lang="en"><head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<link rel="icon" href="data:,">
<title>$title</title>
<style>
:root { color-scheme: light dark; --ink: #1b1f24; --paper: #fff; --soft: #56606c; --line: #d3d9e0; --tint: #f3f5f8;
  --right: #15744a; --wrong: #b3261e; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ed; --paper: #14171c; --soft: #a5aeb9; --line: #3b434d;
  --tint: #1d2229; --right: #5dd39e; --wrong: #ff8a7a; } }
body { max-width: 60rem; margin: 0 auto; padding: 1.5rem 1rem; color: var(--ink); background: var(--paper);
  font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: anywhere; font-variant-numeric: tabular-nums; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0; }
h2 { font-size: 1.25rem; margin: 2.5rem 0 .5rem; border-bottom: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 1rem 0 .3rem; }  p, ul { max-width: 46rem; margin: .5rem 0; }
p.summary, .tile b { font-size: 1.1rem; }
small, figcaption, dt, thead th { font-size: .85rem; font-weight: normal; color: var(--soft); }
td small, th small, .tile b, .tile img, svg { display: block; }
ul { display: grid; grid-template-columns: repeat(7, 1fr); gap: .5rem; padding: 0; list-style: none; }
.tile { padding: 5px; text-align: center; font-size: .85rem; border-radius: .3rem; border: 1px solid var(--line); }
.tile img, svg { width: 100%; height: auto; }
.support, pre { background: var(--tint); }
.right b { color: var(--right); }  .wrong b { color: var(--wrong); }
.wrong { padding: 3px; border: 3px dashed var(--wrong); }
.figures { display: flex; flex-wrap: wrap; gap: 1rem 2rem; }
figure { flex: 1 1 20rem; max-width: 32rem; margin: .5rem 0; min-width: 0; }
.scroll { overflow-x: auto; }  table { border-collapse: collapse; overflow-wrap: normal; }
th, td { padding: .45rem 1.5rem .45rem 0; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line); }
strong { white-space: nowrap; }  dd { margin: 0; }
dl { display: grid; grid-template-columns: minmax(7rem, auto) 1fr; gap: .3rem 1rem; }
pre { padding: .8rem; border-radius: .3rem; font-size: .85rem; white-space: pre-wrap; }
.evidence td { padding: .3rem .6rem; text-align: right; vertical-align: middle; }
.evidence tbody th { padding: .3rem .6rem .3rem 0; vertical-align: middle; white-space: nowrap; }
.evidence th small { font-weight: normal; }  .evidence tbody th small { display: inline; }
.evidence thead th { text-align: right; vertical-align: bottom; padding: .3rem .6rem; }
.evidence thead th:first-child { text-align: left; padding-left: 0; }
.evidence img, .pair img { height: 2.2rem; width: auto; vertical-align: middle; margin-right: .3rem; }
.evidence thead img { display: block; margin: 0 0 .2rem auto; }
td small { overflow-wrap: anywhere; }  .confused > span:last-child { min-width: 11rem; overflow-wrap: anywhere; }
.confused { display: flex; align-items: center; gap: .5rem; margin-bottom: .3rem; }
.pair { white-space: nowrap; }  .pair span { padding-right: .3rem; }
details pre { margin-top: 0; }  summary { cursor: pointer; padding: .3rem 0; }
@media print { :root { color-scheme: light; --ink: #000; --paper: #fff; --soft: #444; --line: #bbb; --tint: #f3f3f3;
  --right: #0b5c38; --wrong: #9b1c14; }
  body { max-width: none; padding: 0; font-size: 10pt; }  .scroll { overflow: visible; }
  figure, tr, .tile, h2, h3 { break-inside: avoid; }  h2, h3, thead { break-after: avoid; }
  ul { grid-template-columns: repeat(10, 1fr); }  figure { flex-basis: 40%; }
  details::details-content { content-visibility: visible; block-size: auto; }
  td { print-color-adjust: exact; -webkit-print-color-adjust: exact; } }
@media (max-width: 34rem) { ul { grid-template-columns: repeat(4, 1fr); } table { font-size: .8rem; }
  dl { display: block; } th, td { padding-right: .5rem; } .evidence td { padding: .2rem .3rem; }
  .evidence tbody th small { display: none; } td small, th small { font-size: .7rem; } }
</style>
</head><body><main><h1>$title</h1>
<p class="summary">$summary</p>
$body
</main></body>
</html>
"""
