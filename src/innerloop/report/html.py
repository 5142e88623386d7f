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

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image
from torch import Tensor

from innerloop.core.files import write_atomically
from innerloop.core.folder import prepare_folder
from innerloop.core.learner import Learner
from innerloop.core.lifting import lift
from innerloop.core.task import InputError, Task, take
from innerloop.data.episodes import Episodes, FewShot
from innerloop.evaluation import stats
from innerloop.evaluation.evaluate import Report
from innerloop.training.history import History

#: Reports by learner, then by protocol: ``results["ProtoNet"]["5-way 1-shot"]``. The first learner is the one compared.
Results = Mapping[str, Mapping[str, Report]]

_METRICS = {
    "accuracy": "an accuracy",
    "log_likelihood": "a log likelihood per point",
    "mse": "a mean squared error",
    "roc_auc": "an area under the ROC curve",
}


class Comparison(NamedTuple):
    """The first learner and another on the same tasks; a positive difference is in favor of the first."""

    protocol: str
    first: str
    second: str
    metric: str
    difference: stats.Difference


class Picture(NamedTuple):
    """One episode to look at."""

    names: tuple[str, ...]
    """The classes, ``[ways]``."""
    task: Task
    """Images in 0 to 1, ``[N, C, H, W]``, and one-hot rows ``[N, ways]``."""
    probabilities: Tensor
    """What the learner answers, ``[Q, ways]``."""


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
    raw = lift(copy.deepcopy(learner).to(task.query.x.device).eval(), "loop").predict(task)[0]
    names = tuple(sampler.pool.names[c] for c in episode.classes[0].tolist())
    return Picture(names, take(task, 0), learner.likelihood.mean(raw))


def compare(results: Results) -> list[Comparison]:
    """The first learner against each other one, task by task.

    Raises:
        InputError: if two learners differ in their protocols or saw different tasks.
    """
    if not results or not all(results.values()):
        raise InputError("a report needs at least one learner with at least one protocol")
    (first, own), *others = results.items()
    found = []
    for protocol, a in own.items():
        for second, theirs in others:
            b = theirs.get(protocol)
            if b is None or (a.episodes, a.metric) != (b.episodes, b.metric) or theirs.keys() != own.keys():
                raise InputError(
                    f"{first!r} and {second!r} were not evaluated on the same {protocol!r} tasks: give both the same "
                    f"samplers, seed and number of tasks"
                )
            sign = -1 if a.metric == "mse" else 1
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
    body = [_episode(episode)] if episode else []
    body += [_curves(histories)] if histories else []
    body += [_results(results, comparisons), _recipe(recipe or {}, histories, seeds, command)]
    page = Template(_PAGE).substitute(title=escape(title), summary=escape(summary(results)), body="\n".join(body))
    # Class names come from folders, whose names need not be valid Unicode.
    content = page.encode("utf-8", "xmlcharrefreplace")
    prepare_folder(path.parent)
    write_atomically(path, lambda temporary: _write(Path(temporary), content))
    return path


def score_text(report: Report) -> str:
    """The metric's mean with half of its closed 95 % interval: ``"97.86 ± 0.21 %"``, or ``"0.0123 ± 0.0010"``."""
    low, high = report.interval
    mean, half = report.value, (high - low) / 2
    return f"{100 * mean:.2f} ± {100 * half:.2f} %" if report.metric == "accuracy" else f"{mean:.4f} ± {half:.4f}"


def cell_text(report: Report) -> list[str]:
    """The lines of a table cell: the score, its open 95 % interval and the calibration error, if there are any."""
    lines = [score_text(report)]
    if report.open_interval is not None:
        low, high = report.open_interval
        accuracy = report.metric == "accuracy"
        lines += [f"open {100 * low:.2f} to {100 * high:.2f} %" if accuracy else f"open {low:.4f} to {high:.4f}"]
    if report.calibration_error is not None:
        lines += [f"ECE {report.calibration_error:.3f}"]
    return lines


def policy_text(report: Report) -> str:
    """The norm policy and whether the score is transductive: ``"norm running, not transductive"``."""
    return f"norm {report.norm}, {'' if report.transductive else 'not '}transductive"


def difference_text(comparison: Comparison) -> tuple[str, str, str, str]:
    """Mean difference, its 95 % interval, the p value, and wins/ties/losses, as shown in tables."""
    gap, accuracy = comparison.difference, comparison.metric == "accuracy"
    scale, digits = (100, 2) if accuracy else (1, 4)
    mean, low, high = (f"{scale * x:+.{digits}f}".replace("-", "\N{MINUS SIGN}") for x in (gap.mean, *gap.interval))
    p = f"{gap.p_value:.3f}" if gap.p_value >= 0.001 else "<0.001"
    counts = f"{gap.wins}/{gap.tasks - gap.wins - gap.losses}/{gap.losses}"
    return f"{mean}{' points' if accuracy else ''}", f"{low} to {high}", p, counts


def summary(results: Results) -> str:
    """The result in one sentence, by the first protocol."""
    (first, own), *others = results.items()
    protocol, report = next(iter(own.items()))
    rest = " and ".join(f"{other} {score_text(theirs[protocol])}" for other, theirs in others)
    metric = _METRICS[report.metric]
    text = f"{first} reaches {metric} of {score_text(report)} on {report.tasks} unseen {protocol} tasks"
    return f"{text} (mean and 95 % interval{f'; on the same tasks {rest}' if rest else ''})."


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def _image(x: Tensor, alt: str) -> str:
    pixels = (x.detach().cpu().float().clamp(0, 1) * 255).round().byte().permute(1, 2, 0).squeeze(2).numpy()
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", optimize=True)
    data = base64.b64encode(buffer.getvalue()).decode()
    return f'<img src="data:image/png;base64,{data}" alt="{escape(alt)}" width="{x.shape[2]}" height="{x.shape[1]}">'


def _letter(index: int) -> str:
    return (_letter(index // 26 - 1) if index >= 26 else "") + chr(ord("A") + index % 26)


def _section(key: str, heading: str, body: str) -> str:
    return f'<section aria-labeledby="{key}">\n<h2 id="{key}">{heading}</h2>\n{body}</section>'


def _episode(shown: Picture, most: int = 6) -> str:
    """The support images by class, and the first ``most`` queries of each with the answers."""
    (support, query), parts = shown.task, []
    ways, (confidence, answer) = len(shown.names), shown.probabilities.max(1)
    right = answer == query.y.argmax(1)
    for i, name in enumerate(shown.names):
        items = [
            f'<li class="tile support">{_image(x, f"support example of class {_letter(i)}, {name}")}support</li>'
            for x in support.x[support.y[:, i] == 1]
        ]
        for j in query.y[:, i].nonzero()[:most, 0].tolist():
            kind, mark = ("right", "✓") if right[j] else ("wrong", "✗")
            said, share = int(answer[j]), f"{100 * float(confidence[j]):.0f} %"
            alt = f"query of class {_letter(i)}, taken for class {_letter(said)}, {shown.names[said]}: {kind}"
            image = _image(query.x[j], alt)
            items.append(f'<li class="tile {kind}">{image}<b>{mark} {_letter(said)}</b> {share}</li>')
        parts.append(f"<h3>{_letter(i)} <small>{escape(name)}</small></h3>\n<ul>{''.join(items)}</ul>\n")
    shots, queries = len(support.x) // ways, len(query.x) // ways
    some = f"the first {most} of {queries}" if queries > most else f"all {queries}"
    text = (
        f"<p>Each row is a class that was never trained on. The learner sees its {shots} labeled support "
        f"image{'s' if shots > 1 else ''}; then come {some} queries of the class, each with its answer and the "
        f"probability. ✓ in a thin frame: right; ✗ in a thick dashed frame: wrong. Of all {len(right)} queries of this "
        f"episode {int(right.sum())} are right.</p>\n"
    )
    return _section("episode", "One test episode", text + "".join(parts))


def _curves(histories: Mapping[str, History]) -> str:
    losses = {name: _blocks(history) for name, history in histories.items()}
    scores = {name: tuple(zip(*history.scores, strict=True)) for name, history in histories.items() if history.scores}
    ends = "; ".join(f"{name} from {y[0]:.3f} to {y[-1]:.3f}" for name, (_, y) in losses.items())
    best = "; ".join(f"{name} {max(y):.4f} at best" for name, (_, y) in scores.items())
    note = f"Training loss, smoothed over blocks of steps: {ends}. Two learners' losses need not measure the same."
    figures = _figure("loss", losses, note) + (_figure("score", scores, f"Validation score: {best}.") if scores else "")
    return _section("curves", "Learning curves", f'<div class="figures">{figures}</div>')


def _blocks(history: History, most: int = 50) -> tuple[list[float], list[float]]:
    """Steps and losses, each the mean over a block of steps."""
    parts = np.array_split(np.array([(row["step"], row["loss"]) for row in history.rows]), min(most, history.step))
    return [float(part[:, 0].mean()) for part in parts], [float(part[:, 1].mean()) for part in parts]


def _figure(name: str, lines: Mapping[str, Sequence[Sequence[float]]], caption: str) -> str:
    """A line chart as inline SVG, in the color of the page's text."""
    ink, styles, colors = "#010203", ("-", "--", "-.", ":"), ("#2f7de1", "#d9730d", "#1a9a5c", "#b05ccc")
    figure = Figure(figsize=(5.0, 3.2), layout="constrained")
    axes = figure.add_subplot()
    for i, (label, (x, y)) in enumerate(lines.items()):
        # A label that starts with an underscore would be left out of the legend, and $ starts a formula.
        text = label.lstrip("_").replace("$", r"\$")
        axes.plot(x, y, styles[i % 4], color=colors[i % 4], label=text, marker="o" if len(x) < 20 else None)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    axes.set_xlabel("outer step", color=ink)
    axes.set_ylabel(name, color=ink)
    axes.spines[:].set_color(ink)
    axes.tick_params(colors=ink)
    axes.legend(frameon=False, labelcolor=ink)
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True)
    _, box, drawing = re.split(r'(viewBox="[^"]*")', buffer.getvalue(), maxsplit=1)
    drawing = drawing.partition("</metadata>")[2].replace(ink, "currentColor")
    # Names within a page are shared by all of its drawings.
    drawing = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", drawing)
    text = escape(caption)
    return f'<figure><svg {box} role="img" aria-label="{text}">{drawing}<figcaption>{text}</figcaption></figure>'


def _results(results: Results, comparisons: Sequence[Comparison]) -> str:
    protocols = next(iter(results.values()))
    report = next(iter(protocols.values()))
    rows = []
    for name, reports in results.items():
        about = policy_text(next(iter(reports.values())))
        rows.append([_name(name, about), *(_cell(*cell_text(each)) for each in reports.values())])
    metric = _METRICS[report.metric].split(" ", 1)[1].capitalize()
    error = " ECE: expected calibration error, 0 is best." if report.calibration_error is not None else ""
    text = (
        f"<p>{metric} over {report.tasks} tasks, the same for every row, ± its closed 95 % interval (other tasks from "
        f"this test set). Open: the 95 % interval over tasks that share no class (other classes too).{error} "
        f"A row is one training run: no interval covers the training seed.</p>\n"
        f"{_table('results', ['Learner', *map(escape, protocols)], rows)}"
    )
    if comparisons:
        first, rows = escape(comparisons[0].first), []
        for one in comparisons:
            mean, ends, p, counts = difference_text(one)
            cells = (_cell(mean, ends), f"<td>{escape(p)}</td>", f"<td>{counts}</td>")
            rows.append([_name(one.second, one.protocol), *cells])
        columns = ["Against", "Difference, 95 % interval", "p", "Wins/<wbr>ties/<wbr>losses"]
        text += (
            f'<h3 id="paired">{first} against each baseline, task by task</h3>\n<p>Paired differences on the same '
            f"tasks; above 0 is better for {first}. p: two-sided paired t test.</p>\n{_table('paired', columns, rows)}"
        )
    return _section("results", "Results", text)


def _table(heading: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f'<th scope="col">{column}</th>' for column in columns)
    body = "".join(f"<tr>{''.join(row)}</tr>\n" for row in rows)
    table = f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody></table>"
    return f'<div class="scroll" role="region" aria-labeledby="{heading}" tabindex="0">{table}</div>\n'


def _name(name: str, about: str) -> str:
    return f'<th scope="row">{escape(name)}<small>{escape(about)}</small></th>'


def _cell(score: str, *more: str) -> str:
    return f"<td><strong>{escape(score)}</strong>{''.join(f'<small>{escape(line)}</small>' for line in more)}</td>"


def _recipe(recipe: Mapping[str, Any], histories: Mapping[str, History], seeds: Sequence[int], command: str) -> str:
    import innerloop

    facts = {
        "Command": f"<code>{escape(command)}</code>" if command else "not recorded",
        "Seeds": ", ".join(str(int(seed)) for seed in seeds) or "not recorded",
        "Date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "Versions": f"innerloop {innerloop.__version__}, PyTorch {torch.__version__}, NumPy {np.__version__}, "
        f"Python {platform.python_version()}",
        "CPU threads": str(torch.get_num_threads()),
    }
    for name, history in histories.items():
        how = f"{history.stopped}; tasks lifted by {history.how} ({history.why})"
        facts[f"Training of {escape(name)}"] = f"{history.step} steps in {history.seconds:.0f} s, {escape(how)}"
    entries = "".join(f"<dt>{name}</dt><dd>{text}</dd>\n" for name, text in facts.items())
    block = f"<pre>{escape(json.dumps(recipe, indent=2, ensure_ascii=False))}</pre>" if recipe else ""
    return _section("recipe", "Recipe", f"<dl>{entries}</dl>\n{block}")


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
figure { flex: 1 1 20rem; margin: .5rem 0; min-width: 0; }
.scroll { overflow-x: auto; }  table { border-collapse: collapse; overflow-wrap: normal; }
th, td { padding: .45rem 1.5rem .45rem 0; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line); }
strong { white-space: nowrap; }  dd { margin: 0; }
dl { display: grid; grid-template-columns: minmax(7rem, auto) 1fr; gap: .3rem 1rem; }
pre { padding: .8rem; border-radius: .3rem; font-size: .85rem; white-space: pre-wrap; }
@media (max-width: 34rem) { ul { grid-template-columns: repeat(4, 1fr); } table { font-size: .8rem; }
  dl { display: block; } th, td { padding-right: .5rem; } td small, th small { font-size: .7rem; } }
</style>
</head><body><main><h1>$title</h1>
<p class="summary">$summary</p>
$body
</main></body>
</html>
"""
