"""How many examples a meta-learner saves, on three data sets, and how it learns from less data.

    python benchmarks/efficiency.py saved                   curves against shots, and what the best baseline needs
    python benchmarks/efficiency.py shares                  shares of the meta-training classes
    python benchmarks/efficiency.py drawings                shares of the drawings of a class
    python benchmarks/efficiency.py saved --seeds 0 1 2     means over several trainings; --print-only trains nothing

Omniglot is drawings and CIFAR-FS photographs; the third, banking77, was chosen before this comparison was run, since
its inputs are no images and its baseline is what practitioners do: logistic regression on features of a large
sentence encoder. Learner and fine-tuned baseline have the same network, the same augmentation and see as many training
images. Every free number of a baseline (the penalty of a logistic regression, the recipe of a network trained from
scratch) is chosen on validation classes. Test classes of Omniglot are 100 characters without their turns, of CIFAR-FS
all 20 with 100 photographs each, of banking77 all 77 intents with 40 sentences each; the
head for it is meta-trained on clinc150's 150 intents, 30 sentences each, which the baselines' penalty is chosen on too.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from page import DATA, RUNS, record, run
from torch import Tensor, nn
from torch.nn import functional as F

import innerloop as il
from innerloop.core.cache import folder
from innerloop.core.learner import Learner
from innerloop.data import Pool, Shares
from innerloop.data.fixed import Fixed, nested
from innerloop.encoders import Sentences
from innerloop.evidence.baselines import PENALTIES, from_scratch, on_features, on_inputs
from innerloop.evidence.efficiency import Curve, Over
from innerloop.evidence.several import judged
from innerloop.recipes import load

#: Data sets, and their tasks where no number is given.
DATA_SETS = {"omniglot": 100, "cifar_fs": 100, "banking77": 200}
TITLES = {"omniglot": "Omniglot, 10-way", "cifar_fs": "CIFAR-FS, 5-way", "banking77": "banking77, 10-way"}
LARGE = "features of ImageNet, logistic head"
OVER: tuple[Over, ...] = ("tasks", "classes")
QUERIES = 5
#: Tasks by which a penalty, or a recipe, is chosen.
CHOOSE = 20
#: A network is trained from scratch on so many of the test tasks.
FEW = 10
SCRATCH = tuple({"steps": steps, "lr": lr, "width": 16} for steps, lr in ((30, 3e-3), (80, 3e-3), (30, 1e-2)))
AUGMENT = {
    "omniglot": {"shift": 2, "rotate": 10, "scale": 0.12, "shear": 8, "probability": 0.7},
    "cifar_fs": {"shift": 3, "flip": "true"},
}


@dataclass(frozen=True)
class Test:
    """Classes to be judged on and to choose by, and the sizes of tasks."""

    title: str
    test: Pool
    val: Pool
    ways: int
    shots: tuple[int, ...]

    def tasks(self, number: int, split: str = "test") -> dict[int, Fixed]:
        """The same tasks at all numbers of shots."""
        pool = self.test if split == "test" else self.val
        return nested(pool, self.shots, ways=self.ways, queries=QUERIES, tasks=number, seed=0)


def image_test(data: str) -> Test:
    """Omniglot, or CIFAR-FS."""
    if data == "omniglot":
        pools = il.data.omniglot(DATA / "omniglot", rotations=False)
        test, val = (Shares(classes=100 / pool.classes).of_pool(pool) for pool in (pools.test, pools.val))
        return Test(TITLES[data], test, val, 10, (1, 2, 5, 10, 15))
    pools = il.data.cifar_fs(DATA / "cifar_fs")
    test, val = (Shares(examples=share).of_pool(pool) for share, pool in ((1 / 6, pools.test), (1 / 12, pools.val)))
    return Test(TITLES[data], test, val, 5, (1, 2, 5, 10, 20))


def trained(data: str, learner: str, part: str, seed: int, *, train: bool = True) -> Path:
    """The folder of a run; ``part`` is ``"all"``, or ``"classes25"`` for a share of the meta-training data."""
    kind, share = part.rstrip("0123456789"), int(part.lstrip("abcdefghijklmnopqrstuvwxyz") or 100)
    out = RUNS / f"curves-{data}-{learner}-{part}-seed{seed}"
    if out.exists() or not train:
        return out
    sizes: dict[str, tuple[int, int, int, int]] = {"omniglot": (20, 1, 5, 1), "cifar_fs": (20, 5, 15, 1)}
    # A few classes give fewer ways, a few drawings fewer queries: more tasks a step make up for it.
    fewer = {
        ("omniglot", "examples10"): (20, 1, 1, 3), ("omniglot", "examples25"): (20, 1, 4, 1),
        ("cifar_fs", "classes10"): (5, 5, 15, 4), ("cifar_fs", "classes25"): (10, 5, 15, 2),
    }  # fmt: skip
    ways, shots, queries, together = fewer.get((data, part), sizes[data])
    steps = {"omniglot": (2500, 1200), "cifar_fs": (3000, 4700)}[data]
    words = ["train", learner, "--data", data, "--root", str(DATA / data), "--width", "64", "--seed", str(seed)]
    words += ["--set", f"share.{kind}={share / 100}"] if kind != "all" else []
    if learner == "protonet":
        words += ["--ways", str(ways), "--shots", str(shots), "--queries", str(queries)]
        words += ["--tasks-per-step", str(together)]
    else:
        words += [word for name, value in AUGMENT[data].items() for word in ("--set", f"augment.{name}={value}")]
    number = steps[learner != "protonet"]
    words += ["--steps", str(number), "--set", f"training.validate_every={number // 2}", "--out", str(out)]
    run([*words, "--device", "cuda" if torch.cuda.is_available() else "cpu", "--quiet"])
    return out


def accuracies(learners: Mapping[str, Learner], tasks: Mapping[int, Fixed]) -> dict[str, np.ndarray]:
    """Of each learner, ``[S, T]``."""
    number = len(next(iter(tasks.values())).given.classes)
    found = judged(learners, {str(shots): one for shots, one in tasks.items()}, number=number)
    return {name: np.stack([one.per_task["accuracy"] for one in reports.values()]) for name, reports in found.items()}


def on(pool: Pool, tasks: Mapping[int, Fixed]) -> dict[int, Fixed]:
    """The same tasks over other features of the same examples."""
    return {shots: Fixed(pool, one.given) for shots, one in tasks.items()}


def penalty(make: Callable[[float], Learner], tasks: Mapping[int, Fixed]) -> float:
    """The penalty that does best on validation tasks of one and five shots."""
    some = {shots: one for shots, one in tasks.items() if shots in (1, 5)}
    found = accuracies({str(C): make(C) for C in PENALTIES}, some)
    best = max(found, key=lambda name: float(found[name].mean()))
    print(f"  penalty {best} of {', '.join(f'{n} {v.mean():.3f}' for n, v in found.items())}", file=sys.stderr)
    return float(best)


def logistic(test: Pool, val: Pool, tasks: Mapping[int, Fixed], choose: Mapping[int, Fixed]) -> np.ndarray:
    """Logistic regression on features as they are."""
    best = penalty(on_inputs, on(val, choose))
    return accuracies({"": on_inputs(best)}, on(test, tasks))[""]


def pretrained(pool: Pool, name: str) -> Pool:
    """Features of a network that was trained on ImageNet (EfficientNet-lite0), images enlarged to 128 pixels."""
    from innerloop.encoders.photographs import network

    kept = folder() / "efficiency" / f"{name}-{pool.digest}.npy"
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        net = network()

        def features(x: Tensor) -> Tensor:
            large = F.interpolate(x.expand(-1, 3, -1, -1), (128, 128), mode="bicubic", align_corners=False)
            return net((large.clamp(0, 1) * 255 - 127) / 128)["head"].mean((2, 3))

        with torch.inference_mode():
            rows = [features(pool.get(part)) for part in torch.arange(pool.examples).split(16)]
        np.save(kept, torch.cat(rows).numpy())
    return Pool(torch.from_numpy(np.load(kept)), pool.sizes, pool.names)


def images(data: str, seeds: list[int], number: int, train: bool, alone: bool) -> tuple[Curve, dict[str, np.ndarray]]:
    """The curve of a data set of images, and the network from scratch on fewer tasks."""
    given = image_test(data)
    tasks, choose = given.tasks(number), given.tasks(CHOOSE, "val")
    values: dict[str, list[np.ndarray]] = {}
    for seed in seeds:
        print(f"{data}, seed {seed}", file=sys.stderr)
        proto, tuned = (load(trained(data, name, "all", seed, train=train)) for name in ("protonet", "finetune"))
        best = penalty(lambda C, tuned=tuned: on_features(tuned, C), choose)  # type: ignore[misc]
        learners = {
            "ProtoNet": proto, "fine-tuned, its own head": tuned, "fine-tuned, logistic head": on_features(tuned, best),
        }  # fmt: skip
        for name, found in accuracies(learners, tasks).items():
            values.setdefault(name, []).append(found)
    means = {name: np.mean(found, 0) for name, found in values.items()}
    print("  pre-trained on ImageNet", file=sys.stderr)
    large = [pretrained(pool, f"{data}-{what}") for what, pool in (("test", given.test), ("val", given.val))]
    means[LARGE] = logistic(*large, tasks, choose)
    print("  pixels", file=sys.stderr)
    means["pixels, logistic head"] = logistic(given.test, given.val, tasks, choose)
    curve = Curve(given.shots, means, tuple(list(means)[1:]), tasks[1].given.classes.numpy())
    return curve, scratch(given) if alone else {}


def scratch(given: Test) -> dict[str, np.ndarray]:
    """A network trained on each support set alone, on a few of the test tasks."""
    facts = given.tasks(2)[1].facts
    some = {shots: one for shots, one in given.tasks(3, "val").items() if shots in (1, 5)}
    found = accuracies({str(i): from_scratch(facts, **one) for i, one in enumerate(SCRATCH)}, some)
    best = SCRATCH[int(max(found, key=lambda name: float(found[name].mean())))]
    print(f"  from scratch: {best}", file=sys.stderr)
    return accuracies({"network from scratch": from_scratch(facts, **best)}, given.tasks(FEW))


def sentences(number: int) -> tuple[Curve, dict[str, np.ndarray]]:
    """banking77, by a head that was meta-trained on clinc150's intents."""
    sys.path.insert(0, str(Path(__file__).resolve().parent / "few"))
    from corpora import part_of
    from learned_head import train as train_head

    pools = []
    for name, most in (("banking77", 40), ("clinc150", 30)):
        sentences, intents = part_of(name, "test")
        # Chosen before they are embedded: the encoder takes most of the time.
        pool = Pool.of(torch.arange(len(intents)).double().unsqueeze(1), intents)
        pool = Shares(examples=most / int(pool.sizes.max())).of_pool(pool)
        x = Sentences(cache=folder() / "few").transform([sentences[int(i)] for i in pool.x[:, 0]])
        pools.append(Pool(torch.from_numpy(x), pool.sizes, pool.names))
    other = pools[1]
    head = train_head(other.x, [other.names[int(c)] for c in other.labels(torch.arange(other.examples))])
    given = Test(TITLES["banking77"], *pools, 10, (1, 2, 5, 10, 20))
    tasks, choose = given.tasks(number), given.tasks(CHOOSE, "val")
    best = penalty(on_inputs, choose)
    heads: dict[str, Learner] = {
        "head meta-trained on other intents": head,
        "logistic regression": on_inputs(best),
        "ridge": il.learners.Embedded(nn.Identity(), il.learners.Ridge()).eval(),
        "cosine prototypes": il.learners.Embedded(nn.Identity(), il.learners.Prototypes(distance="cosine")).eval(),
    }
    values = accuracies(heads, tasks)
    return Curve(given.shots, values, tuple(list(values)[1:]), tasks[1].given.classes.numpy()), {}


def percent(values: np.ndarray) -> str:
    """The mean over tasks with its interval."""
    low, high = il.evaluation.stats.interval(values, bounds=(0, 1))
    return f"{100 * values.mean():.1f} ± {50 * (high - low):.1f}"


def block(title: str, curve: Curve, more: Mapping[str, np.ndarray]) -> list[str]:
    """The rows of a data set."""
    columns = [1, 2, 5, 10, 15, 20]

    def line(name: str, cells: Mapping[int, str]) -> str:
        return f"| {title} | {name} | {' | '.join(cells.get(shots, '') for shots in columns)} |"

    rows = [line(name, {shots: percent(curve.at(name, shots)) for shots in curve.shots}) for name in curve.values]
    for name, values in more.items():
        cells = dict(zip(curve.shots, map(percent, values), strict=True))
        rows.append(line(f"{name} ({values.shape[1]} tasks)", cells))
    own = curve.learners[0]
    against = {"any baseline": curve}
    if LARGE in curve.values:
        same = {name: values for name, values in curve.values.items() if name != LARGE}
        against = {
            "baselines of the same data": replace(curve, values=same, baselines=tuple(list(same)[1:])),
            **against,
        }
    for what, one in against.items():
        for over in OVER:
            found = {shots: one.saved(own, shots, over=over).cell() for shots in curve.shots}
            rows.append(line(f"**as good as the learner: {what} with**, over {over}", found))
        print(
            f"{title}, {what}: {one.saved(own)}; over classes {one.saved(own, over='classes').cell()}", file=sys.stderr
        )
    return rows


def keep(path: Path, curve: Curve, more: Mapping[str, np.ndarray]) -> None:
    """Write a curve's values beside the runs."""
    assert curve.classes is not None
    path.parent.mkdir(parents=True, exist_ok=True)
    few = {f"few {name}": values for name, values in more.items()}
    np.savez(path, shots=np.array(curve.shots), classes=curve.classes, **curve.values, **few)


def kept(path: Path) -> tuple[Curve, dict[str, np.ndarray]]:
    """The curve that was kept, the learner first, and what was judged on fewer tasks."""
    found = dict(np.load(path))
    shots, classes = tuple(found.pop("shots").tolist()), found.pop("classes")
    more = {name.removeprefix("few "): found.pop(name) for name in list(found) if name.startswith("few ")}
    return Curve(shots, found, tuple(list(found)[1:]), classes), more


def saved(data: list[str], seeds: list[int], tasks: int | None, train: bool, alone: bool) -> str:
    """Curves of the data sets; what was computed is kept beside the runs."""
    rows = ["| data | learner | 1 shot | 2 shots | 5 shots | 10 shots | 15 shots | 20 shots |", "|" + "---|" * 8]
    for name in data:
        number = tasks or DATA_SETS[name]
        path = RUNS / "efficiency" / f"{name}-{'-'.join(map(str, seeds))}-{number}{'-scratch' * alone}.npz"
        if not path.exists():
            keep(path, *(sentences(number) if name == "banking77" else images(name, seeds, number, train, alone)))
        rows += block(TITLES[name], *kept(path))
    return "\n".join(rows)


def shares(data: list[str], parts: list[str], seeds: list[int], number: int, train: bool) -> str:
    """Scores against the share of the meta-training data, one and five shots."""
    rows = [
        "| data | share | ProtoNet, 1 shot | fine-tuned, 1 shot | gap | ProtoNet, 5 shots | fine-tuned, 5 shots | gap "
        "| 1 shot of ProtoNet equals, fine-tuned |",
        "|" + "---|" * 9,
    ]
    for name in data:
        given = image_test(name)
        tasks, choose = given.tasks(number), given.tasks(CHOOSE, "val")
        for part in parts:
            found: dict[str, list[np.ndarray]] = {}
            for seed in seeds:
                places = [trained(name, one, part, seed, train=train) for one in ("protonet", "finetune")]
                if not all((place / "best").exists() for place in places):
                    continue
                proto, tuned = map(load, places)
                best = penalty(lambda C, tuned=tuned: on_features(tuned, C), choose)  # type: ignore[misc]
                learners = {"ProtoNet": proto, "own head": tuned, "logistic head": on_features(tuned, best)}
                for what, values in accuracies(learners, tasks).items():
                    found.setdefault(what, []).append(values)
            if not found:
                continue
            means = {what: np.mean(values, 0) for what, values in found.items()}
            curve = Curve(given.shots, means, ("own head", "logistic head"), tasks[1].given.classes.numpy())
            cells: list[Any] = []
            for shots in (1, 5):
                gap = curve.gap("ProtoNet", shots)
                cells += [percent(curve.at("ProtoNet", shots)), percent(curve.at(curve.best(shots), shots))]
                cells.append(f"{100 * gap.mean:+.1f} ({100 * gap.interval[0]:+.1f} to {100 * gap.interval[1]:+.1f})")
            share = part.lstrip("abcdefghijklmnopqrstuvwxyz") or "100"
            many = f", {len(found['ProtoNet'])} seeds" if len(found["ProtoNet"]) > 1 else ""
            rows.append(f"| {given.title} | {share} %{many} | {' | '.join(cells)} | {curve.saved('ProtoNet').cell()} |")
            print(rows[-1], file=sys.stderr, flush=True)
    return "\n".join(rows)


def main() -> None:
    """Train what is not there, evaluate, print, and put the table into the page."""
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("table", choices=("saved", "shares", "drawings"))
    ask.add_argument("--data", nargs="+", default=list(DATA_SETS), choices=list(DATA_SETS))
    ask.add_argument("--seeds", type=int, nargs="+", default=[0])
    ask.add_argument("--tasks", type=int, help="of each data set; default 100, of banking77 200")
    ask.add_argument("--print-only", action="store_true", help="from the runs that are there")
    ask.add_argument("--scratch", action="store_true", help="also a network trained on each task alone (minutes)")
    ask.add_argument("--write", action="store_true", help="keep the record and put the table into docs/evidence.md")
    asked = ask.parse_args()
    torch.set_num_threads(1)
    train = not asked.print_only
    if asked.table == "saved":
        text = saved(asked.data, asked.seeds, asked.tasks, train, asked.scratch)
    elif asked.table == "shares":
        parts = ["classes10", "classes25", "classes50", "all"]
        text = shares([one for one in asked.data if one != "banking77"], parts, asked.seeds, asked.tasks or 100, train)
    else:
        parts = ["examples10", "examples25", "examples50", "all"]
        text = shares(["omniglot"], parts, asked.seeds, asked.tasks or 100, train)
    print(text)
    if asked.write:
        record(f"efficiency-{asked.table}", text)


if __name__ == "__main__":
    main()
