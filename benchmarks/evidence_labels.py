"""One wrong label in 25: which score finds it, on features of photographs and sentences, by the estimators' head.

    python benchmarks/evidence_labels.py               both tables of docs/evidence.md, about ten minutes on two cores
    python benchmarks/evidence_labels.py groceries --tasks 20
    python benchmarks/evidence_labels.py banking77 --half second      scores alone, which are kept for the table

Tasks are of 5 classes and 5 examples each, of which one has another class's label. The head and its temperature are
chosen on the faulty examples, as `FewShotClassifier` does. The classes of a data set are halves by a fixed seed
(`knowing.classes`): on the first halves of all data sets together a score of ours and one of cleanlab's are picked, on
the second halves they are compared, each task in pairs. cleanlab is given the same exact probabilities, each example by
all others.
"""

from __future__ import annotations

import argparse
import json
import sys
import time

import numpy as np
import torch
from cleanlab.filter import find_label_issues
from cleanlab.rank import get_label_quality_scores
from knowing_tasks import classes_of, decided, few, task
from page import HOME, record

from innerloop.core.files import write_text_atomically
from innerloop.core.task import Examples
from innerloop.evaluation.stats import interval, paired
from innerloop.evidence import leave_one_out
from innerloop.evidence.selective import auroc
from innerloop.evidence.suspicion import SUSPICIONS, mislabeled
from innerloop.learners.head import Head

WAYS, SHOTS = 5, 5
PLAIN = "self-confidence, each by all others"
INSIDE = "self-confidence, with the example itself"
#: What our scores are called in the table.
OURS = {"margin": "margin", "influence": "influence", "relabel": "relabeling"}
Scores = dict[str, list[float]]


def cleanlabs(y: np.ndarray, proba: np.ndarray) -> dict[str, np.ndarray]:
    """Cleanlab's scores, higher where a label is less to be believed."""
    found = {}
    for method in ("self_confidence", "normalized_margin", "confidence_weighted_entropy"):
        for adjusted in (False, True):
            if adjusted and method == "confidence_weighted_entropy":
                continue
            name = f"cleanlab {method}{', adjusted' if adjusted else ''}"
            found[name] = -get_label_quality_scores(y, proba, method=method, adjust_pred_probs=adjusted)
    first = find_label_issues(y, proba, return_indices_ranked_by="normalized_margin", n_jobs=1)
    # What it takes for an issue comes first, in its order; the rest by the same score.
    ranked = found["cleanlab normalized_margin"].copy()
    ranked[first] = 2 + np.arange(len(first), 0, -1)
    found["cleanlab find_label_issues"] = ranked
    return found


def suspicions(head: Head, support: Examples, temperature: float) -> dict[str, np.ndarray]:
    """Every score of a task, ``[N]`` each."""
    found = {
        OURS[name]: one(head, support, temperature).numpy()  # type: ignore[call-arg]
        for name, one in SUSPICIONS.items()
        if name in OURS
    }
    found[INSIDE] = SUSPICIONS["self-confidence"](head, support).numpy()
    proba = (leave_one_out(head, support) / temperature).softmax(1).numpy()
    y = support.y.argmax(1).numpy()
    found[PLAIN] = -proba[np.arange(len(y)), y]
    return found | cleanlabs(y, proba)


def scored(name: str, half: str, tasks: int, seed: int) -> tuple[Scores, dict[str, int]]:
    """The AUROC of every score, a value a task, and how often each head was chosen; kept in runs/evidence."""
    kept = HOME / "runs" / "evidence" / f"labels-{name}-{half}-{tasks}-{seed}.json"
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_text_atomically(kept, json.dumps(computed(name, half, range(tasks), seed)))
    found, heads = json.loads(kept.read_text())
    return found, heads


def computed(name: str, half: str, numbers: range, seed: int) -> tuple[Scores, dict[str, int]]:
    """Those of some of the tasks, each of which has its own random numbers."""
    found: Scores = {}
    heads: dict[str, int] = {}
    begun = time.monotonic()
    for number in numbers:
        random = np.random.default_rng((seed, number))
        x, y, *_ = task(classes_of(name, half), random, np.full(WAYS, SHOTS), 0)
        rows, wrong = mislabeled(few(x, y).y, 1, torch.Generator().manual_seed(int(random.integers(2**31))))
        at = wrong.numpy()
        faulty = rows.argmax(1).numpy()
        head, choice = decided("auto", x, faulty, name)
        heads[choice.name] = heads.get(choice.name, 0) + 1
        for score, values in suspicions(head, few(x, faulty), choice.temperature).items():
            found.setdefault(score, []).append(auroc(values[at], values[~at]))
        if sys.stderr.isatty():
            print(f"\r{number + 1} of {numbers.stop} tasks, {time.monotonic() - begun:.0f} s", end="", file=sys.stderr)
    return found, heads


def best(found: list[Scores], names: list[str]) -> str:
    """The one of the highest mean over data sets, the first of equals."""
    return max(names, key=lambda name: float(np.mean([np.mean(one[name]) for one in found])))


def table(name: str, tasks: int, seed: int, ours: str, theirs: str, before: Scores) -> list[str]:
    """Rows of a data set: the score that was picked, what others take, and the other scores."""
    found, heads = scored(name, "second", tasks, seed)
    rows = []
    for score in (ours, PLAIN, INSIDE, *(one for one in found if one not in (ours, PLAIN, INSIDE))):
        values = np.array(found[score])
        low, high = interval(values, bounds=(0, 1))
        chosen = {ours: " (picked of ours)", theirs: " (picked of cleanlab's)"}.get(score, "")
        gain = "" if score == ours else _gain(np.array(found[ours]), values)
        rows.append(
            f"| {name} | {score}{chosen} | {values.mean():.4f} ({low:.4f} to {high:.4f}) | {gain} | "
            f"{100 * float(np.mean(values == 1)):.1f} % | {np.mean(before[score]):.4f} |"
        )
    print(name, heads, file=sys.stderr)
    return rows


def _gain(ours: np.ndarray, other: np.ndarray) -> str:
    found = paired(ours, other)
    return f"{found.mean:+.4f} ({found.interval[0]:+.4f} to {found.interval[1]:+.4f})"


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("data", nargs="*", default=["groceries", "banking77"], help="groceries, banking77, clinc150")
    ask.add_argument("--tasks", type=int, default=100)
    ask.add_argument("--half", choices=["first", "second"], help="compute and keep the scores of one half")
    ask.add_argument("--seed", type=int, default=0)
    ask.add_argument("--write", action="store_true", help="keep the record and put the table into docs/evidence.md")
    asked = ask.parse_args()
    torch.set_num_threads(1)
    sizes = {"first": (asked.tasks // 2, asked.seed + 1), "second": (asked.tasks, asked.seed)}
    if asked.half is not None:
        for name in asked.data:
            scored(name, asked.half, *sizes[asked.half])
        return
    lines = [
        "| data | score | AUROC | paired gain of ours | found first | on the other classes |",
        "|---|---|---|---|---|---|",
    ]
    before = {name: scored(name, "first", *sizes["first"])[0] for name in asked.data}
    known = [*before.values()]
    ours = best(known, list(OURS.values()))
    theirs = best(known, [one for one in known[0] if one.startswith("cleanlab")])
    for name in asked.data:
        lines += table(name, asked.tasks, asked.seed, ours, theirs, before[name])
    lines += [
        "",
        f"{asked.tasks} tasks a data set, seed {asked.seed}; in parentheses 95 % intervals over tasks. The last column",
    ]
    lines += [f"is of {asked.tasks // 2} tasks of the classes that the scores were picked on."]
    print("\n".join(lines))
    if asked.write:
        record("wrong-labels", "\n".join(lines))


if __name__ == "__main__":
    main()
