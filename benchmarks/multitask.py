"""Multi-task, meta-learned and single-task learners on the same few examples: two tables of docs/results.md.

    python benchmarks/multitask.py molecules         12 Tox21 assays, 16 + 16 training molecules, 10 draws
    python benchmarks/multitask.py tables            new tasks of three tables, 10 training rows, 3 seeds
    python benchmarks/multitask.py                   both; what is in runs/results/multitask is not computed again

Molecules. A draw halves the Tox21 molecules by fingerprint and takes 16 active and 16 inactive ones of each assay from
the test half; queries are all others of that half, without those that some assay trains on (or their twins by
fingerprint). Every method is scored on the same queries. Meta-training never sees a molecule of the test half, nor the
test assay: on ToxCast the columns TOX21_*, which are these very assays, are left out; on Tox21 the 12 assays are meta-
trained on in three groups, each tested by the network that was trained on the other eight.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable

import numpy as np
import torch
from page import DATA, RUNS, record
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.linear_model import LogisticRegression, RidgeCV
from torch import Tensor
from torch.nn import functional as F

import innerloop as il
from innerloop.core import metric as metrics
from innerloop.core.task import Task, take
from innerloop.data import KnownTasks, Molecules, molecules, multitask
from innerloop.evaluation import stats

FOLDER = RUNS / "multitask"
SHOTS = 16
Scores = dict[str, list[float]]

#: Single-task methods: what the others must beat.
SINGLE = ("logistic regression", "random forest", "network")
ROWS = {
    "logistic regression": "",
    "random forest": "",
    "network": "",
    "multi-task network": "the 12 assays' own 16 + 16",
    "multi-task pre-training, logistic head": "ToxCast",
    "ANIL": "ToxCast",
    "ProtoNet": "ToxCast",
    "ProtoNet + logistic regression": "ToxCast",
    "ProtoNet, other assays": "8 Tox21 assays, other half of the molecules",
    "ProtoNet, other assays + logistic regression": "8 Tox21 assays, other half of the molecules",
}


def encoder(*outputs: int) -> torch.nn.Module:
    """One body for all networks: 2,048 bits to 128 features."""
    return il.nets.mlp(2048, 256, 128, *outputs, dropout=0.5)


def train(learner: il.Learner, sampler: il.data.Sampler, seed: int, steps: int, tasks: int) -> il.Learner:
    options = {"optimizer": "AdamW", "lr": 1e-3, "weight_decay": 1e-4, "how": "vmap", "progress": False}
    il.fit(learner, sampler, steps=steps, tasks_per_step=tasks, seed=seed, **options)
    return learner


def joint(examples: list[il.Examples], seed: int, steps: int = 100) -> il.MultiTask:
    """One head a task on a shared body, trained together (for a single task: an ordinary network)."""
    torch.manual_seed(seed)
    learner = il.MultiTask(encoder(), targets=2, tasks=len(examples), features=128)
    train(learner, KnownTasks(examples, queries=2 * SHOTS, named=True), seed, steps, len(examples))
    return learner


def pretrained(source: Molecules, seed: int, steps: int = 500, batch: int = 256) -> Callable[[Tensor], np.ndarray]:
    """Features of a network with a head for each training assay; a molecule's unmeasured labels do not count."""
    torch.manual_seed(seed)
    rows, known = source.drawn["train"].nonzero()[:, 0], source.splits["train"]
    labels = source.labels[rows][:, known[(source.counts("train")[known] >= 2 * SHOTS).all(1)]]
    bits = source.bits[rows]
    body, head = encoder(), torch.nn.Linear(128, labels.shape[1])
    optimizer = torch.optim.AdamW([*body.parameters(), *head.parameters()], lr=1e-3, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    balance = (labels == 0).sum(0) / (labels == 1).sum(0)
    for _ in range(steps):
        index = torch.randint(len(rows), (batch,))
        y = labels[index]
        logits = head(body(bits[index].float()))
        each = F.binary_cross_entropy_with_logits(logits, (y == 1).float(), pos_weight=balance, reduction="none")
        optimizer.zero_grad()
        each[y >= 0].mean().backward()
        optimizer.step()
        schedule.step()
    body.eval()
    known_features = body(bits.float()).detach()
    center, scale = known_features.mean(0), known_features.std(0)
    return lambda x: ((body(x).detach() - center) / scale).numpy()


def metalearned(kind: str, source: Molecules, seed: int, steps: int = 400) -> il.Learner:
    """A ProtoNet or an ANIL on few-shot tasks of the source's training assays."""
    torch.manual_seed(seed)
    learner = il.ANIL(encoder(2), steps=5, lr=0.1) if kind == "anil" else il.ProtoNet(encoder())
    return train(learner, source.sampler("train", shots=SHOTS, queries=SHOTS), seed, steps, 8)


@torch.no_grad()
def log_odds(learner: il.Learner, support: il.Examples, x: Tensor) -> np.ndarray:
    learner.eval()
    raw = learner.predict(learner.adapt(support), x)[0].log_softmax(1)
    return (raw[:, 1] - raw[:, 0]).numpy()


def molecule_draw(seed: int) -> dict[str, Scores]:
    """ROC-AUC and delta-AUPRC of every method on each of the 12 assays."""
    every = molecules(DATA, "tox21", columns=(0, 0, 12), shares=(0.5, 0.0, 0.5), seed=seed)
    names = every.assays
    half = every.drawn["test"]
    random = np.random.default_rng(seed)
    support = []
    for a in range(len(names)):
        of_class = [(half & (every.labels[:, a] == value)).nonzero()[:, 0].numpy() for value in (0, 1)]
        support.append(torch.from_numpy(np.stack([random.permutation(rows)[:SHOTS] for rows in of_class], 1).ravel()))
    rest = half & ~torch.isin(every.groups, every.groups[torch.cat(support)])
    targets = il.one_hot((every.labels == 1).long(), 2)
    examples = [il.Examples(every.bits[rows].float(), targets[rows, a]) for a, rows in enumerate(support)]

    cast = molecules(DATA, "toxcast", disjoint=False)
    others = [name for name in cast.assays if not name.startswith("TOX21_")]
    cast = molecules(DATA, "toxcast", disjoint=False, splits={"train": others}).without(every, "test")
    groups = [names[start::3] for start in range(3)]
    apart = [
        molecules(
            DATA, "tox21", splits={"train": [n for n in names if n not in group]}, shares=(0.5, 0.0, 0.5), seed=seed
        )
        for group in groups
    ]
    together = joint(examples, seed)
    features = pretrained(cast, seed)
    anil, proto = metalearned("anil", cast, seed, 200), metalearned("protonet", cast, seed)
    own = [metalearned("protonet", source, seed, 200) for source in apart]

    found: dict[str, Scores] = {name: {"roc_auc": [], "delta_auprc": []} for name in ROWS}
    for a, (x, y) in enumerate(examples):
        rows = (rest & (every.labels[:, a] >= 0)).nonzero()[:, 0]
        query, positive = every.bits[rows].float(), targets[rows, a, 1]
        logistic = LogisticRegression(max_iter=2000).fit(x, y[:, 1]).decision_function(query)
        forest = RandomForestClassifier(100, random_state=seed).fit(x, y[:, 1]).predict_proba(query)[:, 1]
        on_features = LogisticRegression(C=0.01, max_iter=2000).fit(features(x), y[:, 1])
        near, own_near = (log_odds(net, examples[a], query) for net in (proto, own[a % 3]))
        scores = {
            "logistic regression": logistic,
            "random forest": forest,
            "network": known_head(joint([examples[a]], seed), query, 0),
            "multi-task network": known_head(together, query, a),
            "multi-task pre-training, logistic head": on_features.decision_function(features(query)),
            "ANIL": log_odds(anil, examples[a], query),
            "ProtoNet": near,
            "ProtoNet + logistic regression": near + logistic,
            "ProtoNet, other assays": own_near,
            "ProtoNet, other assays + logistic regression": own_near + logistic,
        }
        for name, score in scores.items():
            for metric in ("roc_auc", "delta_auprc"):
                value = getattr(metrics, metric)(torch.from_numpy(score).unsqueeze(0), positive.unsqueeze(0))
                found[name][metric].append(float(value))
    return found


@torch.no_grad()
def known_head(learner: il.MultiTask, x: Tensor, task: int) -> np.ndarray:
    learner.eval()
    logits = learner.head.classifier(learner.encoder(x)).unflatten(1, (-1, 2))[:, task]
    return (logits[:, 1] - logits[:, 0]).numpy()


def kept(name: str, compute: Callable[[], dict]) -> dict:
    """Computed once and kept beside the runs."""
    path = FOLDER / f"{name}.json"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(compute(), indent=1) + "\n")
        print(f"{path.stem} done", flush=True)
    return json.loads(path.read_text())


def half_width(values: np.ndarray) -> float:
    low, high = stats.interval(values)
    return (high - low) / 2


def molecules_table(draws: list[dict[str, Scores]]) -> str:
    """Means over assays and draws, and wins against each assay's best single-task method."""
    auc, gain = (
        {name: np.array([draw[name][metric] for draw in draws]) for name in ROWS}
        for metric in ("roc_auc", "delta_auprc")
    )
    best = np.max([auc[name].mean(0) for name in SINGLE], 0)
    rival = max(SINGLE, key=lambda name: auc[name].mean())
    lines = [
        f"| method | learned before from | ROC-AUC | delta-AUPRC | ROC-AUC minus that of {rival} | assays better "
        f"(clearly) / worse (clearly) than {rival} | assays above all three single-task methods |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, source in ROWS.items():
        over = auc[name] - auc[rival]
        ends = np.array([stats.interval(column) for column in over.T])
        better, worse = (over.mean(0) > 0, ends[:, 0] > 0), (over.mean(0) < 0, ends[:, 1] < 0)
        counts = " / ".join(f"{some.sum()} ({clearly.sum()})" for some, clearly in (better, worse))
        compared = ["", ""] if name == rival else [f"{over.mean():+.3f} ± {half_width(over.mean(1)):.3f}", counts]
        above = "" if name in SINGLE else f"{(auc[name].mean(0) > best).sum()} of {over.shape[1]}"
        cells = [f"{v[name].mean():.3f} ± {half_width(v[name].mean(1)):.3f}" for v in (auc, gain)]
        lines.append(f"| {name} | {source} | {' | '.join([*cells, *compared, above])} |")
    names = molecules(DATA, "tox21").assays
    combined = ("ProtoNet + logistic regression", "ProtoNet, other assays + logistic regression")
    shown = tuple(dict.fromkeys((rival, "network", "multi-task network", *combined)))
    lines += ["", f"| ROC-AUC by assay | {' | '.join(shown)} |", "|---|" + "---|" * len(shown)]
    for a, assay in enumerate(names):
        cells = [f"{auc[name][:, a].mean():.3f} ± {half_width(auc[name][:, a]):.3f}" for name in shown]
        lines.append(f"| {assay} | {' | '.join(cells)} |")
    return "\n".join(lines)


#: Training rows, queries and outer steps of the networks for each table.
TABLES = {"parkinsons": (10, 20, 2000), "storms": (10, 10, 2000), "nyc_weather": (10, 9, 2000)}
TASKS = 200
ALPHAS = (0.01, 0.1, 1.0, 10.0, 100.0)
#: Methods that know a task's own rows only, and the others.
ALONE = ("mean of the support set", "ridge regression", "random forest")
OTHERS = (
    *ALONE,
    "ridge regression, all training tasks pooled",
    "random forest, all training tasks pooled",
    "multi-task, new head",
    "MAML",
    "CNP",
)


class Fixed(il.data.Sampler):
    """Tasks that were drawn before."""

    classifies = False

    def __init__(self, tasks: Task) -> None:
        self.tasks = tasks

    def draw(self, generator: torch.Generator, tasks: int) -> Task:  # noqa: D102
        return take(self.tasks, slice(tasks))


def column(y: Tensor) -> np.ndarray:
    """Targets as scikit-learn wants them: a single one is a vector."""
    return (y.squeeze(1) if y.shape[1] == 1 else y).numpy()


def table_seed(name: str, seed: int) -> dict[str, list[float]]:
    """Squared error of every method on the same new tasks; targets have unit variance over the training rows."""
    shots, queries, steps = TABLES[name]
    table = multitask(DATA, name, seed=seed)
    tasks = table.sampler("test", shots=shots, queries=queries).draw(torch.Generator().manual_seed(seed), TASKS)
    sampler = table.sampler("train", shots=shots, queries=queries)
    inputs, targets = table.x.shape[1], table.y.shape[1]
    squared = il.Gaussian(scale=1.0)
    member = torch.repeat_interleave(torch.arange(len(table.names)), table.sizes)
    rows = torch.isin(member, table.splits["train"])
    ridge = RidgeCV(ALPHAS).fit(table.x[rows], column(table.y[rows]))
    trees = RandomForestRegressor(100, min_samples_leaf=5, random_state=seed).fit(table.x[rows], column(table.y[rows]))
    known = KnownTasks.table(table, queries=shots, named=True)
    torch.manual_seed(seed)
    body = il.nets.mlp(inputs, 64, 64, 64)
    joint_heads = il.MultiTask(body, targets=targets, tasks=known.tasks, features=64, likelihood=squared)
    maml = il.MAML(il.nets.mlp(inputs, 64, 64, targets), steps=5, lr=0.02, learn_lr=True, likelihood=squared)
    networks: dict[str, tuple[il.Learner, il.data.Sampler, int]] = {
        "multi-task, new head": (joint_heads, known, 25),
        "MAML": (maml, sampler, 16),
        "CNP": (il.CNP(inputs, targets, width=64), sampler, 16),
    }
    found: dict[str, list[float]] = {name: [] for name in OTHERS}
    for title, (learner, source, together) in networks.items():
        options = {"lr": 2e-3, "clip": 1.0, "average": 0.99, "how": "vmap", "progress": False}
        il.fit(learner, source, steps=steps, tasks_per_step=together, seed=seed, **options)
        report = il.evaluate(learner, Fixed(tasks), tasks=TASKS, how="vmap")
        found[title] = report.per_task["mse"].tolist()
    for (xs, ys), (xq, yq) in ((take(tasks, t)) for t in range(TASKS)):
        guesses = {
            "mean of the support set": ys.mean(0).expand_as(yq).numpy(),
            "ridge regression": RidgeCV(ALPHAS).fit(xs, column(ys)).predict(xq),
            "random forest": RandomForestRegressor(50, random_state=seed).fit(xs, column(ys)).predict(xq),
            "ridge regression, all training tasks pooled": ridge.predict(xq),
            "random forest, all training tasks pooled": trees.predict(xq),
        }
        for title, guess in guesses.items():
            found[title].append(float(((guess.reshape(yq.shape) - yq.numpy()) ** 2).mean()))
    return found


def tables_table(found: dict[str, list[dict[str, list[float]]]]) -> str:
    """Squared errors, and each method against the best one that knows a task's own rows only."""
    merged = {name: {t: np.concatenate([run[t] for run in runs]) for t in OTHERS} for name, runs in found.items()}
    rivals = {name: min(ALONE, key=lambda t: values[t].mean()) for name, values in merged.items()}
    lines = [f"| method | {' | '.join(f'{name}, against {rivals[name]}' for name in merged)} |"]
    lines.append("|---|" + "---|" * len(merged))
    for title in OTHERS:
        cells = []
        for name, values in merged.items():
            text = f"{values[title].mean():.4f} ± {half_width(values[title]):.4f}"
            if title != rivals[name]:
                gap = stats.paired(values[title], values[rivals[name]])
                low, high = gap.interval
                text += f"; {gap.mean:+.4f} ({low:+.4f} to {high:+.4f}), better on {100 * gap.losses / gap.tasks:.0f} %"
            cells.append(text)
        lines.append(f"| {title} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Compute what is not there, print, and put the tables into the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", help="molecules, tables; default both")
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    unknown = set(given.parts) - {"molecules", "tables"}
    if unknown:
        parser.error(f"unknown parts {sorted(unknown)}")
    torch.set_num_threads(1)
    parts = given.parts or ["molecules", "tables"]
    if "molecules" in parts:
        draws = [kept(f"molecules-draw{seed}", lambda seed=seed: molecule_draw(seed)) for seed in range(given.draws)]
        text = molecules_table(draws)
        print(text, end="\n\n")
        record("molecules", text)
    if "tables" in parts:
        seeds = list(range(given.seeds))
        found = {
            name: [kept(f"{name}-seed{s}", lambda name=name, s=s: table_seed(name, s)) for s in seeds]
            for name in TABLES
        }
        text = tables_table(found)
        print(text)
        record("multitask_tables", text)


if __name__ == "__main__":
    main()
