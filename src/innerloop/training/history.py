"""What happened in a run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from innerloop.core.lifting import How


@dataclass
class History:
    """What happened in a run: one row a step, and the validation scores."""

    rows: list[dict[str, float]] = field(default_factory=list)
    """``step``, ``loss`` and ``lr`` of each outer step."""
    scores: list[tuple[int, float]] = field(default_factory=list)
    """Step and score of each validation: accuracy, say, or minus the squared error; NaN where there was none."""
    best: float | None = None
    """The best score, of the weights that are kept; ``None`` where no validation gave one: the last weights are."""
    best_step: int = 0
    """The step of the weights that are kept."""
    unscored: str = ""
    """Why the last validation that gave no score gave none."""
    seconds: float = 0.0
    """Wall-clock time of training, over all resumptions."""
    how: How = "auto"
    """How the tasks were lifted."""
    chunk: int | None = None
    """Tasks at a time."""
    compiled: bool = False
    """Whether through ``torch.compile``."""
    why: str = ""
    """Why so."""
    stopped: Literal["finished", "stopped", "interrupted"] = "finished"
    """``"finished"`` with the budget, ``"stopped"`` early by a callback, ``"interrupted"`` by a signal."""
    signal: int | None = None
    """The number of the signal that interrupted it."""
    mark: int = 0
    """The last mark at which a validation was due."""
    resumed: int = 0
    """The step at which this process began."""

    @property
    def losses(self) -> list[float]:
        """The outer loss of every step."""
        return [row["loss"] for row in self.rows]

    @property
    def step(self) -> int:
        """Outer steps done."""
        return len(self.rows)

    @property
    def steps_here(self) -> int:
        """Outer steps done by this process."""
        return self.step - self.resumed
