"""What each learner was given, and the recipe that gives it again."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from datetime import UTC, datetime
from html import escape
from typing import Any

from innerloop.core.version import versions
from innerloop.evaluation.reports import plain
from innerloop.report.section import Section, cell, plain_cell, row_name, table
from innerloop.report.subject import Subject

#: Outer tasks of a step where a recipe leaves them open, as in :func:`innerloop.fit`.
_TASKS = 4


def budgets_section(subjects: Sequence[Subject]) -> Section:
    """Steps, tasks, minutes and device of each learner's training."""
    found = [budget_of(one) for one in subjects]
    rows = []
    for one, row in zip(subjects, found, strict=True):
        best = "" if row["best_step"] is None else f"best at step {row['best_step']:,}"
        how = f"by {row['how']}" if row["how"] else ""
        minutes = "not recorded" if row["seconds"] is None else f"{row['seconds'] / 60:.1f}"
        rows.append(
            [
                row_name(one.name, row["about"]),
                cell(_number(row["steps"]), *[line for line in (row["ended"], best) if line]),
                cell(_number(row["tasks_seen"]), *[f"{row['tasks_per_step']} a step"] * bool(row["tasks_seen"])),
                cell(minutes, *[line for line in (how,) if line]),
                plain_cell(row["device"] or "not recorded"),
                plain_cell(f"{row['parameters']:,}"),
            ]
        )
    heads = ["Learner", "Outer steps", "Tasks seen", "Minutes", "Device", "Parameters"]
    text = "<p>Minutes are those of training with its validations, over all resumptions.</p>\n"
    return Section("budgets", "What each was given", text + table("budgets", heads, rows), plain(found))


def budget_of(one: Subject) -> dict[str, Any]:
    """What a learner was given, as plain values; ``None`` for what nobody wrote down."""
    training, history = one.recipe.get("training", {}), one.history
    # A run that was carried away without its last checkpoint does not know its time, nor how it ended.
    timed = history is not None and history.seconds > 0
    each = training.get("tasks_per_step", _TASKS) if one.recipe else None
    steps = history.step if history is not None else None
    about = f"{one.recipe['learner']} on {one.recipe['data']}, seed {one.recipe['seed']}" if one.recipe else ""
    return {
        "learner": one.name,
        "about": about or type(one.learner).__name__,
        "steps": steps,
        "tasks_per_step": each,
        "tasks_seen": steps * each if steps is not None and each is not None else None,
        "seconds": history.seconds if history is not None and timed else None,
        "ended": history.stopped if history is not None and timed else "",
        "best": history.best if history is not None else None,
        "best_step": history.best_step if history is not None and history.best is not None else None,
        "how": history.how if history is not None and timed else "",
        "device": one.about.get("device"),
        "threads": one.about.get("versions", {}).get("threads"),
        "parameters": sum(p.numel() for p in one.learner.parameters()),
    }


def recipe_section(subjects: Sequence[Subject], command: str) -> Section:
    """The command of this page, and the recipe, versions and command of each run."""
    here = versions()
    parts = [
        _facts(
            {
                "This page": f"<code>{escape(command)}</code>",
                "Made": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC with {escape(_versions(here))}",
            }
        )
    ]
    facts = []
    for one in subjects:
        said = {name: one.about[name] for name in ("recipe", "versions", "device", "command") if name in one.about}
        facts.append({"learner": one.name, **said})
        if not said:
            continue
        words = said.get("command") or []
        # What ran it stands first: a path that says nothing elsewhere.
        text = shlex.join(["innerloop", *map(str, words[1:])]) if words else "not recorded"
        about = {"Trained by": f"<code>{escape(text)}</code>", "With": escape(_versions(said.get("versions", {})))}
        recipe = json.dumps(said.get("recipe", {}), indent=2, ensure_ascii=False)
        opened = " open" if len(subjects) == 1 else ""
        parts.append(
            f"<h3>{escape(one.name)}</h3>\n{_facts(about)}<details{opened}><summary>Recipe</summary>"
            f"<pre>{escape(recipe)}</pre></details>"
        )
    found = {"command": command, "versions": here, "runs": facts}
    return Section("recipe", "Recipe and versions", "\n".join(parts), plain(found))


def _facts(found: dict[str, str]) -> str:
    return f"<dl>{''.join(f'<dt>{name}</dt><dd>{text}</dd>' for name, text in found.items())}</dl>\n"


def _versions(found: dict[str, Any]) -> str:
    called = {"innerloop": "innerloop", "python": "Python", "torch": "PyTorch", "numpy": "NumPy"}
    parts = [f"{called.get(name, name)} {version}" for name, version in found.items() if name != "threads"]
    threads = f", {found['threads']} threads" if "threads" in found else ""
    return f"{', '.join(parts)}{threads}" if parts else "not recorded"


def _number(value: int | None) -> str:
    return "not recorded" if value is None else f"{value:,}"
