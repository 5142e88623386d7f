"""One page that shows a run: an episode, the learning curves, the results with their intervals, the recipe.

The page is a single file. It fetches nothing and runs no script, so it can be mailed, archived and opened anywhere.
"""

from __future__ import annotations

import base64
import copy
import io
import json
import platform
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from string import Template
from typing import Any, NamedTuple

import matplotlib
import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image
from torch import Tensor

from innerloop.data.episodes import Episodes, FewShot
from innerloop.evaluation import stats
from innerloop.evaluation.evaluate import Report
from innerloop.learner import Learner
from innerloop.lift import lift
from innerloop.task import InputError
from innerloop.training.checkpoint import write_atomically
from innerloop.training.store import History, prepare_folder

#: Reports by learner, then by protocol: ``results["ProtoNet"]["5-way 1-shot"]``. The first learner is the one compared.
Results = Mapping[str, Mapping[str, Report]]


class Comparison(NamedTuple):
    """Two learners on the same tasks of one protocol; the difference is signed so that more is better for the first."""

    protocol: str
    first: str
    second: str
    metric: str
    difference: stats.Difference


class Picture(NamedTuple):
    """One episode to look at."""

    names: tuple[str, ...]
    """The classes, ``[ways]``."""
    support: Tensor
    """Images in 0 to 1, ``[shots * ways, C, H, W]``."""
    support_class: Tensor
    """Index into ``names``, ``[shots * ways]``."""
    query: Tensor
    """Images in 0 to 1, ``[Q, C, H, W]``."""
    query_class: Tensor
    """The true class of each query, ``[Q]``."""
    probabilities: Tensor
    """The learner's, ``[Q, ways]``."""


def picture(learner: Learner, sampler: FewShot, report: Report, number: int = 0) -> Picture:
    """One of the episodes that a report was made from, with the learner's answers.

    Args:
        learner: the one that was evaluated.
        sampler: the one that it was evaluated on; its pool holds images of 1 or 3 channels.
        report: what :func:`innerloop.evaluate` gave.
        number: which episode, 0 to ``report.tasks - 1``.

    Raises:
        InputError: if the report holds no such episode, or the pool no images.
    """
    if report.indices is None or not 0 <= number < report.tasks:
        raise InputError(f"the report of {report.tasks} tasks keeps no few-shot episode number {number} to show")
    if len(sampler.pool.shape) != 3 or sampler.pool.shape[0] not in (1, 3):
        raise InputError(f"a picture needs images [1 or 3, H, W], the examples have shape {sampler.pool.shape}")
    episode = Episodes(*(part[number : number + 1] for part in report.indices))
    task = sampler.gather(episode)
    with torch.no_grad():
        raw = lift(copy.deepcopy(learner).cpu().eval(), "loop").predict(task)[0]
        probabilities = learner.likelihood.mean(raw)
    (support, query), classes = (task.support, task.query), episode.classes[0].tolist()
    return Picture(
        tuple(sampler.pool.names[c] for c in classes),
        support.x[0], support.y[0].argmax(1), query.x[0], query.y[0].argmax(1), probabilities,
    )  # fmt: skip


def compare(results: Results) -> list[Comparison]:
    """The first learner against each other one, task by task.

    Args:
        results: every learner has the same protocols, each evaluated on the same tasks.

    Raises:
        InputError: if two learners differ in their protocols or saw different tasks.
    """
    if not results or not all(results.values()):
        raise InputError("a report needs at least one learner with at least one protocol")
    (first, own), *others = results.items()
    found = []
    for protocol, a in own.items():
        for second, theirs in others:
            if theirs.keys() != own.keys():
                raise InputError(f"{second!r} has the protocols {[*theirs]}, {first!r} has {[*own]}: evaluate the same")
            b = theirs[protocol]
            if (a.episodes, a.metric) != (b.episodes, b.metric):
                raise InputError(
                    f"{first!r} and {second!r} saw different tasks of {protocol}: evaluate both on the same sampler "
                    f"with the same seed and number of tasks"
                )
            sign = 1 if a.metric == "accuracy" else -1
            gap = stats.paired(sign * a.per_task[a.metric], sign * b.per_task[b.metric])
            found.append(Comparison(protocol, first, second, a.metric, gap))
    return found


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
    path = Path(path)
    comparisons = compare(results)
    histories = {name: history for name, history in (histories or {}).items() if history.rows}
    page = Template(_PAGE).substitute(
        title=escape(title),
        summary=escape(summary(results)),
        episode=_episode(episode) if episode else "",
        curves=_curves(histories) if histories else "",
        results=_results(results) + _comparisons(comparisons),
        recipe=_recipe(recipe or {}, histories, seeds, command),
    )
    # Class names come from folders, whose names need not be valid Unicode.
    content = page.encode("utf-8", "xmlcharrefreplace")
    prepare_folder(path.parent)
    write_atomically(path, lambda temporary: Path(temporary).write_bytes(content))
    return path


def score_text(report: Report) -> str:
    """The metric's mean with half of its closed 95 % interval: ``"97.86 ± 0.21 %"``, or ``"0.0123 ± 0.0010"``."""
    low, high = report.interval
    if report.metric == "accuracy":
        return f"{100 * report.value:.2f} ± {50 * (high - low):.2f} %"
    return f"{report.value:.4f} ± {(high - low) / 2:.4f}"


def open_text(report: Report) -> str:
    """The open 95 % interval: ``"96.90 to 98.91 %"``; empty where there is none."""
    if report.open_interval is None:
        return ""
    low, high = report.open_interval
    return f"{100 * low:.2f} to {100 * high:.2f} %" if report.metric == "accuracy" else f"{low:.4f} to {high:.4f}"


def difference_text(comparison: Comparison) -> tuple[str, str, str, str]:
    """Mean difference, its 95 % interval, the p value, and wins/ties/losses, as shown in tables."""
    gap, accuracy = comparison.difference, comparison.metric == "accuracy"
    scale, digits = (100, 2) if accuracy else (1, 4)
    mean, low, high = (f"{scale * x:+.{digits}f}".replace("-", "−") for x in (gap.mean, *gap.interval))
    p = f"{gap.p_value:.3f}" if gap.p_value >= 0.001 else "< 0.001"
    ties = gap.tasks - gap.wins - gap.losses
    return f"{mean}{' points' if accuracy else ''}", f"{low} to {high}", p, f"{gap.wins}/{ties}/{gap.losses}"


def summary(results: Results) -> str:
    """The result in one sentence, by the first protocol."""
    (first, own), *others = results.items()
    protocol, report = next(iter(own.items()))
    rest = " and ".join(f"{other} {score_text(theirs[protocol])}" for other, theirs in others)
    metric = "an accuracy" if report.metric == "accuracy" else "a mean squared error"
    return (
        f"{first} reaches {metric} of {score_text(report)} on {report.tasks} unseen {protocol} tasks (mean and 95 % "
        f"interval{f'; on the same tasks {rest}' if rest else ''})."
    )


def _image(x: Tensor, alt: str) -> str:
    pixels = (x.detach().cpu().float().clamp(0, 1) * 255).round().byte().permute(1, 2, 0).squeeze(2).numpy()
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", optimize=True)
    data = base64.b64encode(buffer.getvalue()).decode()
    return f'<img src="data:image/png;base64,{data}" alt="{escape(alt)}" width="{x.shape[2]}" height="{x.shape[1]}">'


def _letter(index: int) -> str:
    """A, B, .., Z, AA, AB, .."""
    return (_letter(index // 26 - 1) if index >= 26 else "") + chr(ord("A") + index % 26)


def _episode(shown: Picture, most: int = 6) -> str:
    """The support images by class, and the first ``most`` queries of each with the answers."""
    confidence, answer = shown.probabilities.max(1)
    right = answer == shown.query_class
    parts = []
    for i, name in enumerate(shown.names):
        tiles = "".join(
            f'<li class="tile support">{_image(shown.support[j], f"support example of class {_letter(i)}, {name}")}'
            f"support</li>"
            for j in (shown.support_class == i).nonzero()[:, 0].tolist()
        )
        for j in (shown.query_class == i).nonzero()[:most, 0].tolist():
            kind, mark = ("right", "✓") if right[j] else ("wrong", "✗")
            said, percent = int(answer[j]), f"{100 * float(confidence[j]):.0f} %"
            alt = f"query of class {_letter(i)}, taken for class {_letter(said)}, {shown.names[said]}: {kind}"
            tiles += f'<li class="tile {kind}">{_image(shown.query[j], alt)}<b>{mark} {_letter(said)}</b> {percent}</li>'
        parts.append(f"<h3>{_letter(i)} <small>{escape(name)}</small></h3>\n<ul>{tiles}</ul>\n")
    shots, queries = len(shown.support) // len(shown.names), len(shown.query) // len(shown.names)
    some = f"the first {most} of {queries}" if queries > most else "all"
    return (
        f'<section aria-labelledby="episode">\n<h2 id="episode">One test episode</h2>\n'
        f"<p>Each row is a class that was never trained on: first the {shots} labelled "
        f"{'image' if shots == 1 else 'images'} that the learner sees (the support set), then {some} queries of that "
        f"class with the learner's answer and its probability. ✓ and a thin frame: right. ✗ and a thick dashed frame: "
        f"wrong. Of all {len(right)} queries of this episode {int(right.sum())} are right.</p>\n{''.join(parts)}</section>"
    )


def _curves(histories: Mapping[str, History]) -> str:
    losses = {name: _blocks(history) for name, history in histories.items()}
    scores = {name: tuple(zip(*history.scores, strict=True)) for name, history in histories.items() if history.scores}
    last = "; ".join(f"{name} {y[0]:.3f} at first, {y[-1]:.3f} at last" for name, (_, y) in losses.items())
    figures = _figure("loss", losses, f"Training loss by outer step, {last}", "Training loss, the mean of up to 100 "
                      "blocks of steps. Learners with different objectives do not compare here.")  # fmt: skip
    if scores:
        best = "; ".join(f"{name} {history.best:.4f} at best" for name, history in histories.items() if history.scores)
        figures += _figure("score", scores, f"Validation score by outer step, {best}", f"Validation score: {best}.")
    return f'<section aria-labelledby="curves">\n<h2 id="curves">Learning curves</h2>\n<div class="figures">{figures}' \
           "</div></section>"  # fmt: skip


def _blocks(history: History, most: int = 100) -> tuple[list[float], list[float]]:
    """Steps and losses, each the mean over a block of steps."""
    columns = (np.array([row["step"] for row in history.rows]), np.array(history.losses))
    x, y = ([float(part.mean()) for part in np.array_split(column, min(most, len(column)))] for column in columns)
    return x, y


def _figure(name: str, lines: Mapping[str, Sequence[Sequence[float]]], alt: str, caption: str) -> str:
    """A line chart as inline SVG, in the colour of the page's text."""
    ink = "#010203"
    figure = Figure(figsize=(5.0, 3.2), layout="constrained")
    axes = figure.add_subplot()
    styles = ("-", "--", "-.", ":")
    colours = ("#2f7de1", "#d9730d", "#1a9a5c", "#b05ccc")
    for i, (label, (x, y)) in enumerate(lines.items()):
        # A label that starts with an underscore would be left out of the legend, and $ starts a formula.
        text = label.lstrip("_").replace("$", r"\$")
        axes.plot(x, y, styles[i % 4], color=colours[i % 4], label=text, marker="o" if len(x) < 20 else None)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    axes.set_xlabel("outer step", color=ink)
    axes.set_ylabel(name, color=ink)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(ink)
    axes.tick_params(colors=ink)
    axes.legend(frameon=False, labelcolor=ink)
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True)
    drawing = buffer.getvalue()
    box = re.search(r'viewBox="[^"]*"', drawing)
    body = drawing[drawing.index("</metadata>") + len("</metadata>") :].replace(ink, "currentColor")
    # Names within a page are shared by all of its drawings.
    body = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", body)
    return (
        f'<figure><svg {box[0] if box else ""} role="img" aria-label="{escape(alt)}">{body}'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def _results(results: Results) -> str:
    first = next(iter(results.values()))
    report = next(iter(first.values()))
    head = "".join(f'<th scope="col">{escape(protocol)}</th>' for protocol in first)
    rows = ""
    for name, reports in results.items():
        kept = next(iter(reports.values()))
        kind = "transductive" if kept.transductive else "not transductive"
        rows += f'<tr><th scope="row">{escape(name)}<small>norm {escape(kept.norm)}, {kind}</small></th>'
        rows += "".join(f"<td>{_cell(each)}</td>" for each in reports.values()) + "</tr>\n"
    metric = "Accuracy" if report.metric == "accuracy" else "Mean squared error"
    error = "; ECE: expected calibration error, 0 is best" if report.calibration_error is not None else ""
    return (
        f'<section aria-labelledby="results">\n<h2 id="results">Results</h2>\n'
        f"<p>{metric} over {report.tasks} tasks that are the same for every row, with the closed 95 % interval (over "
        f"tasks from this test set). Open: the 95 % interval over tasks that share no class, as if the classes were "
        f"drawn anew{error}. A row is one training run: no interval covers the training seed.</p>\n"
        f'<div class="scroll" role="region" aria-labelledby="results" tabindex="0"><table>\n'
        f'<thead><tr><th scope="col">Learner</th>{head}</tr></thead>\n<tbody>\n{rows}</tbody></table></div>\n'
    )


def _cell(report: Report) -> str:
    parts = [f"<strong>{score_text(report)}</strong>"]
    if report.open_interval is not None:
        parts.append(f"<small>open {open_text(report)}</small>")
    if report.calibration_error is not None:
        parts.append(f"<small>ECE {report.calibration_error:.3f}</small>")
    return "".join(parts)


def _comparisons(comparisons: Sequence[Comparison]) -> str:
    if not comparisons:
        return "</section>"
    rows = ""
    for one in comparisons:
        mean, ends, p, counts = (escape(text) for text in difference_text(one))
        cells = f"<td><strong>{mean}</strong><small>{ends}</small></td><td>{p}</td><td>{counts}</td>"
        rows += f'<tr><th scope="row">{escape(one.second)}<small>{escape(one.protocol)}</small></th>{cells}</tr>\n'
    columns = ("Against", "Difference, 95 % interval", "p", "Wins/<wbr>ties/<wbr>losses")
    head = "".join(f'<th scope="col">{name}</th>' for name in columns)
    return (
        f'<h3 id="paired">{escape(comparisons[0].first)} against each baseline, task by task</h3>\n'
        f"<p>Paired differences on the same tasks; above 0 is better for {escape(comparisons[0].first)}. "
        f"p: two-sided paired t test.</p>\n"
        f'<div class="scroll" role="region" aria-labelledby="paired" tabindex="0"><table>\n'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}</tbody></table></div></section>"
    )


def _recipe(recipe: Mapping[str, Any], histories: Mapping[str, History], seeds: Sequence[int], command: str) -> str:
    import innerloop

    versions = f"innerloop {innerloop.__version__}, PyTorch {torch.__version__}, NumPy {np.__version__}, " \
               f"Matplotlib {matplotlib.__version__}, Python {platform.python_version()}"  # fmt: skip
    facts = {"Command": f"<code>{escape(command)}</code>" if command else "not recorded"}
    facts["Seeds"] = ", ".join(str(int(seed)) for seed in seeds) or "not recorded"
    facts |= {"Date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC", "Versions": escape(versions)}
    facts["CPU threads"] = str(torch.get_num_threads())
    for name, history in histories.items():
        facts[f"Training of {escape(name)}"] = escape(
            f"{history.step} steps in {history.seconds:.0f} s, {history.stopped}; tasks lifted by {history.how} "
            f"({history.why})"
        )
    entries = "".join(f"<dt>{name}</dt><dd>{text}</dd>\n" for name, text in facts.items())
    block = f"<pre>{escape(json.dumps(recipe, indent=2, ensure_ascii=False))}</pre>" if recipe else ""
    return f'<section aria-labelledby="recipe">\n<h2 id="recipe">Recipe</h2>\n<dl>{entries}</dl>\n{block}</section>'


_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
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
* { box-sizing: border-box; }
body { max-width: 60rem; margin: 0 auto; padding: 1.5rem 1rem 4rem; color: var(--ink); background: var(--paper);
  font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: anywhere; font-variant-numeric: tabular-nums; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .5rem; }
h2 { font-size: 1.25rem; margin: 2.5rem 0 .5rem; padding-bottom: .25rem; border-bottom: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 1rem 0 .3rem; }
p { max-width: 46rem; margin: .5rem 0; }
.summary { font-size: 1.1rem; }
small, figcaption, dt, thead th { color: var(--soft); font-size: .85rem; font-weight: normal; }
ul { display: grid; grid-template-columns: repeat(7, 1fr); gap: .5rem; max-width: 46rem; padding: 0; list-style: none; }
.tile { padding: .25rem; text-align: center; font-size: .8rem; line-height: 1.4; border-radius: .3rem;
  border: 1px solid var(--line); }
.tile img { display: block; width: 100%; height: auto; margin-bottom: .2rem; }
.tile b { display: block; font-size: 1rem; line-height: 1.2; }
.support { background: var(--tint); border-color: transparent; color: var(--soft); }
.right b { color: var(--right); }
.wrong b { color: var(--wrong); }
.wrong { border: 3px dashed var(--wrong); padding: calc(.25rem - 2px); }
.figures { display: flex; flex-wrap: wrap; gap: 1rem 2rem; }
figure { flex: 1 1 20rem; margin: .5rem 0; min-width: 0; }
svg { display: block; width: 100%; height: auto; }
.scroll { overflow-x: auto; margin: .75rem 0; }
table { border-collapse: collapse; overflow-wrap: normal; }
th, td { padding: .45rem 1.5rem .45rem 0; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line); }
strong { white-space: nowrap; }
td small, th small { display: block; }
dl { display: grid; grid-template-columns: minmax(7rem, auto) 1fr; gap: .3rem 1rem; }
dd { margin: 0; }
pre { padding: .8rem; background: var(--tint); border-radius: .3rem; font-size: .85rem; white-space: pre-wrap; }
@media (max-width: 34rem) { ul { grid-template-columns: repeat(4, 1fr); } dl { display: block; }
  dd { margin: 0 0 .5rem; } th, td { padding-right: .7rem; font-size: .9rem; } td small, th small { font-size: .75rem; } }
</style>
</head>
<body>
<header>
<h1>$title</h1>
<p class="summary">$summary</p>
</header>
<main>
$episode
$curves
$results
$recipe
</main>
</body>
</html>
"""
