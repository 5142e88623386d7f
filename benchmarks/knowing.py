"""Knowing what it does not know: the tables of docs/results.md "Knowing what it does not know".

    python benchmarks/knowing.py estimate     accuracy_ beside that on fresh queries: bias, cover of the interval
    python benchmarks/knowing.py sets         prediction sets: cover and size, beside MAPIE's split and cross
    python benchmarks/knowing.py unknown      none of these: AUROC, queries of known classes that are rejected
    python benchmarks/knowing.py proba        log loss and calibration error, before and after the temperature
    python benchmarks/knowing.py time         milliseconds of fit, predict, predict_set
    python benchmarks/knowing.py fit          the coefficients of estimators/estimate.py
    python benchmarks/knowing.py temperature  the constants of estimators/temperature.py

Features are those of the library's encoders, made once and kept in runs/knowing. Classes of each data set fall into
two halves by a fixed seed: what is tuned or fitted is so on the first (``fit``), and tables are of the second, except
where all classes are told apart. "±" is the 95 % interval over tasks.
"""

from __future__ import annotations

import argparse
import itertools
import math
import time
import warnings
from collections.abc import Callable

import numpy as np
import torch
from knowing_tasks import SETS, blobs, classes, classes_of, decided, few, sizes, task
from page import record
from scipy.stats import binom
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import normalize

import innerloop as il
from innerloop.estimators.choice import HEADS, countable, ready
from innerloop.evidence import leave_one_out
from innerloop.learners.head import Head

SEED = 11
#: Tasks on which MAPIE stands beside, the first ones: it takes five times as long.
BESIDE = 300
#: Of the table of the estimated accuracy, by which nothing was chosen.
FRESH = 2026


def mean(values: np.ndarray, digits: int = 1, scale: float = 100) -> str:
    """With its interval."""
    values = scale * np.asarray(values, dtype=float)
    return f"{values.mean():.{digits}f} ± {1.96 * values.std(ddof=1) / len(values) ** 0.5:.{digits}f}"


def estimate(tasks: int) -> list[str]:
    """How good it is said to be, and is."""
    rows = [
        "| data | shots | tasks | accuracy | `accuracy_` less accuracy | best head's leave-one-out less accuracy | "
        "interval covers | mean width |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name in (*SETS, "normal classes"):
        random, found = np.random.default_rng(FRESH), {}
        for _ in range(tasks):
            of = blobs(random, 15) if name == "normal classes" else classes_of(name)
            shots, counts = sizes(random, len(of))
            x, y, q, t, _ = task(of, random, counts, max(12, 500 // len(counts)))
            made, choice = decided("auto", x, y, name)
            if np.isnan(choice.accuracy):
                continue
            with torch.no_grad():
                raw = made.predict(made.adapt(few(x, y)), torch.from_numpy(q))[0]
            right = raw.argmax(1).numpy() == t
            truth = np.average([right[t == c].mean() for c in range(len(counts))], weights=counts)
            low, high = choice.interval
            found.setdefault(shots, []).append(
                (truth, choice.accuracy, plain(made, x, y), low - 1e-9 <= truth <= high + 1e-9, high - low)
            )
        for shots, each in sorted(found.items()):
            truth, said, apparent, held, width = np.array(each, dtype=float).T
            rows.append(
                f"| {name} | {shots} | {len(each)} | {100 * truth.mean():.1f} | {mean(said - truth)} | "
                f"{mean(apparent - truth)} | {100 * held.mean():.0f} % | {width.mean():.2f} |"
            )
        truth, said, apparent, held, width = np.concatenate([np.array(each, dtype=float) for each in found.values()]).T
        rows.append(
            f"| {name} | all | {len(truth)} | {100 * truth.mean():.1f} | {mean(said - truth)} | "
            f"{mean(apparent - truth)} | {100 * held.mean():.0f} % | {width.mean():.2f} |"
        )
    rows += ["", f"{tasks} tasks a data set, and of normal classes; seed {FRESH}."]
    return rows


def plain(head: Head, x: np.ndarray, y: np.ndarray) -> float:
    """The share of left-out examples that the chosen head tells right, without a correction."""
    support = few(x, y)
    raw, rows = leave_one_out(head, support), countable(support.y, {"": head})
    return float((raw.argmax(1) == support.y.argmax(1))[rows].double().mean())


def sets(tasks: int) -> list[str]:
    """One query a task, that is any of 26 examples of five classes."""
    from innerloop.estimators.choice import conformal, joining

    rows = [
        "| data | asked | full, head chosen anew | full, ridge | MAPIE split | MAPIE cross |",
        "|---|---|---|---|---|---|",
    ]
    for name in SETS:
        random, found = np.random.default_rng(SEED), {0.8: {}, 0.9: {}}
        for number in range(tasks):
            while True:
                labels = random.integers(0, 5, 26)
                if np.bincount(labels, minlength=5).min() >= 3:
                    break
            counts = np.bincount(labels, minlength=5)
            x, y, *_ = task(classes_of(name), random, counts, 0)
            last = int(random.integers(26))
            rest = np.arange(26) != last
            x = coordinates(x)
            x, y, q, t = x[rest], y[rest], x[[last]], int(y[last])
            support = il.Examples(torch.from_numpy(x), torch.eye(5, dtype=torch.float64)[torch.from_numpy(y)])
            heads = joining({head: ready(make()) for head, make in HEADS.items()}, support)
            for way, some in (("full", heads), ("ridge", {"ridge": heads["ridge"]})):
                ranks = conformal(some, support, torch.from_numpy(q))
                for asked, each in found.items():
                    each.setdefault(way, []).append(kept(ranks.sets(asked)[0].numpy(), t))
            others = mapie(normalize(x), y, normalize(q), tuple(found)) if number < BESIDE else {}
            for way, held in others.items():
                for asked, each in found.items():
                    each.setdefault(way, []).append(kept(held[asked], t))
        for asked, each in found.items():
            rows.append(f"| {name} | {100 * asked:.0f} % | " + " | ".join(covered(each[way]) for way in each) + " |")
    promises = []
    for asked in (0.9, 0.8):
        places = math.ceil(asked * 26 - 1e-9)
        low, high = 100 * binom.ppf([0.025, 0.975], tasks, places / 26) / tasks
        promises.append(f"{places} for {100 * asked:.0f} % ({100 * places / 26:.1f} %; {low:.1f} to {high:.1f})")
    rows.append("")
    rows.append(
        f"Cover and mean size of {tasks} tasks a row, 25 examples of five classes. Of 26 places the promise takes "
        f"{promises[0]} and {promises[1]}; in parentheses the 95 % binomial interval of so many tasks. "
        f"MAPIE on the first {min(tasks, BESIDE)} of them."
    )
    return rows


def coordinates(x: np.ndarray) -> np.ndarray:
    """The same vectors in axes of their own, as many as there are vectors: all that is asked of them is products."""
    return np.linalg.qr(x.T, mode="r").T


def kept(held: np.ndarray, truth: int) -> tuple[float, float]:
    """Whether the true class is in a set, and the size of the set."""
    return float(held[truth]), float(held.sum())


def covered(each: list[tuple[float, float]]) -> str:
    """Cover and size."""
    held, size = np.array(each).T
    return f"{100 * held.mean():.1f} %, {size.mean():.2f}"


def mapie(x: np.ndarray, y: np.ndarray, q: np.ndarray, levels: tuple[float, ...]) -> dict[str, dict[float, np.ndarray]]:
    """Sets of split (half of the examples each) and cross (3 folds) conformal prediction by logistic regression."""
    from mapie.classification import CrossConformalClassifier, SplitConformalClassifier
    from sklearn.model_selection import train_test_split

    found = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        one, two, y1, y2 = train_test_split(x, y, test_size=0.5, stratify=y, random_state=0)
        net = LogisticRegression(C=100, max_iter=1000).fit(one, y1)
        split = SplitConformalClassifier(net, confidence_level=list(levels), prefit=True).conformalize(two, y2)
        cross = CrossConformalClassifier(
            LogisticRegression(C=100, max_iter=1000), confidence_level=list(levels), cv=3, random_state=0
        ).fit_conformalize(x, y)
        for way, model in (("split", split), ("cross", cross)):
            held = model.predict_set(q)[1][0]
            found[way] = {level: held[:, i] for i, level in enumerate(levels)}
    return found


def unknown(tasks: int) -> list[str]:
    """Queries of the task's classes beside as many of others."""
    rows = [
        "| data | task | tasks | cosine to a prototype | `unknown_score` | gain | known rejected at 10 % | found |",
        "|---|---|---|---|---|---|---|---|",
    ]
    cells = [("groceries", 5, tasks), ("banking77", 5, tasks), ("clinc150", 15, tasks), ("clinc150", 150, 3)]
    for name, ways, count in cells:
        of, outside = classes(name, "second" if ways < 100 else "all")
        random, found = np.random.default_rng(SEED), []
        for _ in range(count):
            x, y, q, _, picked = task(of, random, np.full(ways, 5), 15 if ways < 100 else 10)
            if ways < 100:
                rest = np.concatenate([rows for c, rows in enumerate(of) if c not in set(picked)])
                outside = rest[random.choice(len(rest), len(q), replace=False)]
            else:
                q, outside = (some[random.choice(len(some), 400, replace=False)] for some in (q, outside))
            both, known = np.concatenate((q, outside)), np.repeat([0, 1], [len(q), len(outside)])
            means = normalize([normalize(x)[y == c].mean(0) for c in range(ways)])
            model = il.FewShotClassifier(head="prototypes").fit(x, y)
            score = model.unknown_score(both)
            gone = np.array([label is None for label in model.predict(both, unknown="reject", error=0.1)])
            base = roc_auc_score(known, -(normalize(both) @ means.T).max(1))
            found.append((base, roc_auc_score(known, score), gone[known == 0].mean(), gone[known == 1].mean()))
        base, mine, wrong, right = np.array(found).T
        rows.append(
            f"| {name} | {ways}-way 5-shot | {count} | {mean(base, 3, 1)} | {mean(mine, 3, 1)} | "
            f"{mean(mine - base, 3, 1)} | {mean(wrong)} % | {mean(right)} % |"
        )
    return rows


def proba(tasks: int) -> list[str]:
    """Log loss, and the calibration error of all answers together (15 bins): of ridge, of the head that is chosen."""
    rows = [
        "| data | task | head | log loss, as the head says | with the temperature | ECE before | ECE after |",
        "|---|---|---|---|---|---|---|",
    ]
    cells = [(5, 1), (15, 1), (5, 2), (15, 2), (5, 5), (15, 5)]
    for name, (ways, shots), head in itertools.product(SETS, cells, ("ridge", "auto")):
        if head == "auto" and ways > 5:
            continue
        random, losses, answers = np.random.default_rng(SEED), [], []
        for _ in range(tasks):
            x, y, q, t, _ = task(classes_of(name), random, np.full(ways, shots), 15)
            truth, support = torch.from_numpy(t), few(x, y)
            made, choice = decided(head, x, y, name)
            with torch.no_grad():
                raw = made.predict(made.adapt(support), torch.from_numpy(q))[0]
            pair = [(raw / divisor).log_softmax(1) for divisor in (1.0, choice.temperature)]
            losses.append([float(torch.nn.functional.nll_loss(log_p, truth)) for log_p in pair])
            answers.append([np.stack((log_p.exp().amax(1), log_p.argmax(1) == truth)) for log_p in pair])
        before, after = np.array(losses).T
        gaps = [calibration(np.concatenate([pair[i] for pair in answers], 1)) for i in (0, 1)]
        rows.append(
            f"| {name} | {ways}-way {shots}-shot | {head} | {mean(before, 3, 1)} | {mean(after, 3, 1)} | "
            f"{gaps[0]:.1f} % | {gaps[1]:.1f} % |"
        )
    rows += ["", f"{tasks} tasks a row."]
    return rows


def calibration(answers: np.ndarray) -> float:
    """The expected calibration error, in %, of confidences and whether they were right, ``[2, N]``."""
    bins = np.minimum((15 * answers[0]).astype(int), 14)
    gaps = [abs(np.diff(answers[:, bins == b].mean(1))[0]) * (bins == b).sum() for b in np.unique(bins)]
    return float(100 * sum(gaps) / answers.shape[1])


def times(_: int) -> list[str]:
    """Medians of the processor's milliseconds."""
    rows = [
        "| examples | numbers | fit, head chosen | predict 100 | predict_set 100 | unknown_score 100 |",
        "|---|---|---|---|---|---|",
    ]
    torch.set_num_threads(1)
    for ways, shots, size in ((5, 5, 384), (5, 5, 1280), (10, 5, 384), (81, 5, 1280)):
        random = np.random.default_rng(SEED)
        of = [random.normal(size=size) + 2.5 * random.normal(size=(40, size)) for _ in range(ways)]
        x, y, q, _, _ = task(of, random, np.full(ways, shots), 20)
        q = q[:100]
        model = il.FewShotClassifier().fit(x, y)
        repeats = 9 if ways < 50 else 3
        calls: tuple[Callable[[], object], ...] = (
            lambda x=x, y=y: il.FewShotClassifier().fit(x, y),
            lambda model=model, q=q: model.predict(q),
            lambda model=model, q=q: model.predict_set(q),
            lambda model=model, q=q: model.unknown_score(q),
        )
        found = [np.median([processor(call) for _ in range(repeats)]) for call in calls]
        rows.append(f"| {ways} x {shots} | {size} | " + " | ".join(f"{ms:.0f} ms" for ms in found) + " |")
    return rows


def processor(call: Callable[[], object]) -> float:
    """Milliseconds."""
    start = time.process_time()
    call()
    return 1e3 * (time.process_time() - start)


def put(name: str, rows: list[str]) -> None:
    """Print a table and keep it."""
    text = "\n".join(rows)
    print(text)
    record(f"knowing-{name}", text)


def main() -> None:
    """The command line."""
    tables = {"estimate": estimate, "sets": sets, "unknown": unknown, "proba": proba, "time": times}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", choices=(*tables, "fit", "temperature"))
    parser.add_argument(
        "--tasks", type=int, help="default 300; sets 1000; unknown, estimate 200; proba 40; temperature 80"
    )
    chosen = parser.parse_args()
    if chosen.table == "temperature":
        from knowing_temperature import fit as fit_temperature

        fit_temperature(chosen.tasks or 80)
        return
    if chosen.table == "fit":
        from knowing_fit import fit

        fit(chosen.tasks or 300)
        return
    count = chosen.tasks or {"sets": 1000, "unknown": 200, "estimate": 200, "proba": 40}.get(chosen.table, 300)
    put(chosen.table, tables[chosen.table](count))


if __name__ == "__main__":
    main()
