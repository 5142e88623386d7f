"""A report of learners on one set of tasks: its sections, those that have something to say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from innerloop.core.task import InputError
from innerloop.data.episodes import Sampler
from innerloop.report import tables
from innerloop.report.budgets import budgets_section, recipe_section
from innerloop.report.calibration import calibration_section
from innerloop.report.embedding import embedding_section
from innerloop.report.episode import evidence_section
from innerloop.report.functions import functions_section
from innerloop.report.inner import inner_section
from innerloop.report.page import curves_section, write_page
from innerloop.report.picture import episode_section
from innerloop.report.section import Section
from innerloop.report.seeds import seeds_section
from innerloop.report.subject import Subject
from innerloop.report.worst import worst_section


@dataclass(frozen=True)
class Built:
    """A report before it is written: as a page, as facts, as plots."""

    title: str
    summary: str
    sections: tuple[Section, ...]

    def json(self) -> dict[str, Any]:
        """All facts of all sections, by their names."""
        return {
            "title": self.title,
            "summary": self.summary,
            **{section.key: section.facts for section in self.sections},
        }

    def write(self, path: str | Path) -> Path:
        """Write it as one self-contained page.

        Raises:
            InputError: if it cannot be written; a page that is there is then left as it was.
        """
        return write_page(path, self.title, self.summary, self.sections)

    def save_plots(self, folder: str | Path) -> list[Path]:
        """Write each plot as PNG and as SVG.

        Raises:
            InputError: if the folder cannot be written.
        """
        plots = [plot for section in self.sections for plot in section.plots]
        return [path for plot in plots for path in plot.save(Path(folder))]


def build(
    subjects: Sequence[Subject], sampler: Sampler, *, title: str, protocol: str, command: str = "", number: int = 0
) -> Built:
    """A report of one learner or several that were evaluated on the same tasks.

    Args:
        subjects: from :func:`innerloop.report.subject.look_at`; the first is compared with the others.
        sampler: that drew the tasks.
        title: of the page.
        protocol: what the tasks are called.
        command: that makes the report again.
        number: of the task that is looked at closely.

    Raises:
        InputError: for no learner, two of one name, or learners that saw different tasks.

    Example:
        >>> import innerloop as il
        >>> from innerloop.report.subject import look_at
        >>> sines = il.data.Sinusoid()
        >>> maml = il.MAML(il.nets.mlp(1, 8, 1), lr=0.01, likelihood=il.Gaussian(scale=1.0))
        >>> found = build([look_at("MAML", maml, sines, tasks=5)], sines, title="Sines", protocol="10-shot")
        >>> [section.key for section in found.sections]
        ['results', 'functions', 'inner', 'worst', 'budgets', 'recipe']
    """
    names = [one.name for one in subjects]
    if len(set(names)) < len(names):
        raise InputError(f"two learners have one name ({', '.join(names)}): a report tells them apart by it")
    results = {one.name: {protocol: one.report} for one in subjects}
    compared = tables.pairs(results)
    histories = {one.name: one.history for one in subjects if one.history is not None and one.history.rows}
    number = min(number, subjects[0].report.tasks - 1)
    found = [
        tables.results_section(results, compared),
        seeds_section(subjects),
        calibration_section(subjects),
        curves_section(histories) if histories else None,
        episode_section(subjects[0], sampler, number),
        functions_section(subjects, sampler),
        evidence_section(subjects, sampler, number),
        embedding_section(list(subjects), sampler, number),
        inner_section(subjects, sampler),
        worst_section(subjects, sampler),
        budgets_section(subjects),
        recipe_section(subjects, command),
    ]
    sections = tuple(section for section in found if section is not None)
    return Built(title, tables.summary(results), sections)
