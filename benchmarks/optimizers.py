"""Learned optimizers beside tuned SGD and Adam on held-out training problems: the table of docs/results.md.

    python benchmarks/optimizers.py                  three seeds a rule (under 25 minutes on one thread)
    python benchmarks/optimizers.py --reduced        one seed, a fifth of the training: whether it works at all

Rules are trained for runs of 50 steps on small problems. Baselines are tuned on the training families with a hidden
layer, by the number that the table shows and anew for each column: the best of all rates and momenta or betas. All see
the same problems, first weights and minibatches; each seed has problems of its own. What is computed is kept in
runs/results/optimizers and not computed again. Seed 0 is not among the default ones: the rules' settings were chosen by
looking at its test problems.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import torch
from page import RUNS, record
from torch import Tensor
from torch.func import vmap

import innerloop as il
from innerloop.core import checkpoint
from innerloop.core.files import write_text_atomically
from innerloop.core.inner import SGD, Adam, InnerOptimizer
from innerloop.data import Sampler
from innerloop.evaluation import stats
from innerloop.nets import mlp
from innerloop.optimizers import Digits, Teachers
from innerloop.training.schedule import schedule_factor

STEPS, BATCH, PROBLEMS = 50, 32, 16
HORIZONS = tuple(STEPS * times for times in (1, 2, 5, 10))
FOLDER = RUNS / "optimizers"


class Family(NamedTuple):
    """A network and what draws its problems."""

    title: str
    sizes: tuple[int, ...]
    problems: Sampler

    def run(self, rule: InnerOptimizer, **options: Any) -> il.optimizers.TrainingRun:
        """Training of the family's network by a rule."""
        torch.manual_seed(0)
        options = {"steps": STEPS, "batch_size": BATCH, "emphasis": 2.0, **options}
        return il.optimizers.TrainingRun(mlp(*self.sizes), rule, **options)


TRAINING = (
    Family("digits, 4x4 pixels", (16, 16, 10), Digits("train", side=4)),
    Family("teachers", (16, 16, 5), Teachers()),
    Family("softmax regression on digits", (64, 10), Digits("train")),
    Family("teachers of 48 inputs", (48, 12, 12, 3), Teachers(inputs=48, classes=3)),
)
TUNING = TRAINING[:2]
TEST = (
    Family("new digits, 4x4 pixels, 16-16-10 (as trained)", (16, 16, 10), Digits("test", side=4)),
    Family("new digits, 8x8 pixels, 64-32-10", (64, 32, 10), Digits("test")),
    Family("new digits, 4x4 pixels, 16-16-16-16-10", (16, 16, 16, 16, 10), Digits("test", side=4)),
    Family("teachers, 32 inputs, 8 classes, 32-32-8", (32, 32, 8), Teachers(inputs=32, classes=8)),
)


class Cosine(Adam):
    """Adam whose rate falls to 0 along a cosine over ``horizon`` steps."""

    horizon = STEPS

    def update(self, gradients: Any, parameters: Any, memory: Any) -> Any:  # noqa: D102
        new, memory = super().update(gradients, parameters, memory)
        factor = schedule_factor("cosine", (memory["steps"] - 1) / self.horizon)
        return {k: p + factor * (new[k] - p) for k, p in parameters.items()}, memory


BETAS = ((0.9, 0.999), (0.9, 0.99), (0.99, 0.999))
RATES = torch.logspace(-2.5, 0, 17)
#: The settings of a baseline beside its rate, in words, and what makes it.
BASELINES: dict[str, dict[str, Callable[[], InnerOptimizer]]] = {
    "SGD": {f"momentum {m}": lambda m=m: SGD(1.0, momentum=m) for m in (0.0, 0.9, 0.99)},
    "Adam": {f"betas {b}": lambda b=b: Adam(1.0, betas=b) for b in BETAS},
    "Adam, cosine to the column's end": {f"betas {b}": lambda b=b: Cosine(1.0, betas=b) for b in BETAS},
}


class Rule(NamedTuple):
    """A learned rule and how it is trained, or one of them under guard."""

    make: Callable[[], InnerOptimizer]
    train: dict[str, Any]
    run: dict[str, Any]
    horizons: tuple[int, ...] = (STEPS,)
    """Steps of the runs that it is trained on, in turn."""
    guards: str = ""
    """The rule that this one guards, by Adam as it is tuned for the longest runs; it is not trained itself."""


def slug(name: str) -> str:
    """The name as part of a file's."""
    return "".join(letter if letter.isalnum() else "-" for letter in name.lower())


def start() -> InnerOptimizer:
    """The MLP rule as it begins: about Adam of the tuned rate."""
    return il.optimizers.MLPRule(scale=tuned("Adam")[0][1])


def long_start() -> InnerOptimizer:
    """The same rule, which can tell later times apart too."""
    return il.optimizers.MLPRule(scale=tuned("Adam")[0][1], times=(1, 3, 10, 30, 100, 300))


LONG = "MLP, PES, runs of 50, 150 and 500 steps"
CUT = {"truncation": 10, "first_order": True}
RULES = {
    "MLP, untrained": Rule(start, {"steps": 0}, {}),
    "MLP, unrolled": Rule(start, {"steps": 300, "lr": 1e-2}, {}),
    "MLP, PES": Rule(start, {"steps": 1000, "lr": 1e-2, "gradient": "pes", "sigma": 0.03}, CUT),
    LONG: Rule(long_start, {"steps": 2000, "lr": 1e-2, "gradient": "pes", "sigma": 0.03}, CUT, (50, 150, 500)),
    "the same, guarded": Rule(start, {}, {}, guards=LONG),
    "LSTM, unrolled": Rule(lambda: il.optimizers.LSTMRule(width=10, scale=0.02), {"steps": 250, "lr": 1e-2}, {}),
}


def trained(name: str, seed: int, share: float) -> InnerOptimizer:
    """The rule, trained once and kept."""
    rule = RULES[name]
    if rule.guards:
        setting, rate = tuned("Adam")[-1]
        sound = BASELINES["Adam"][setting]()
        sound.lr = rate
        return il.optimizers.Guarded(trained(rule.guards, seed, share), sound)
    path = FOLDER / f"{slug(name)}-{share}-seed{seed}.safetensors"
    torch.manual_seed(seed)
    learned = rule.make()
    if not path.exists():
        problems = [
            (family.run(learned, **{**rule.run, "steps": steps}), family.problems)
            for steps in rule.horizons
            for family in TRAINING
        ]
        torch.manual_seed(seed)
        options = {**rule.train, "steps": int(share * rule.train["steps"])}
        started = time.process_time()
        losses = il.optimizers.train(problems, seed=seed, **options).losses
        seconds = time.process_time() - started
        print(f"{name}, seed {seed}: {options['steps']} outer steps, {seconds:.0f} s", flush=True)
        checkpoint.save(path, learned.state_dict(), {"losses": losses, "seconds": seconds})
    checkpoint.load_weights(learned, checkpoint.load(path)[0], path)
    return learned


@torch.no_grad()
def losses(family: Family, rule: InnerOptimizer, seed: int, horizons: tuple[int, ...], rates: Tensor) -> Tensor:
    """The loss over all training data for each rate, problem and horizon, ``[R, T, horizons]``."""
    run = family.run(rule).train()
    support = family.problems.draw(torch.Generator().manual_seed(seed), PROBLEMS).support
    torch.manual_seed(seed)
    weights = vmap(lambda _: run.weights(), randomness="different")(torch.zeros(PROBLEMS))

    def trains(support: il.Examples, weights: dict[str, Tensor]) -> Tensor:
        at, done, values = run.begin(weights), 0, []
        for horizon in horizons:
            at, _ = run(support, at, horizon - done)
            values.append(run.likelihood.nll(run.predict(at, support.x), support.y).mean())
            done = horizon
        return torch.stack(values)

    def at_rate(rate: Tensor) -> Tensor:
        rule.lr = rate
        return vmap(trains)(support, weights)

    return vmap(at_rate)(rates).nan_to_num(torch.inf, torch.inf)


def kept(name: str, compute: Callable[[], Any]) -> Any:
    """What ``compute`` gives, as JSON, computed once."""
    path = FOLDER / f"{slug(name)}.json"
    if not path.exists():
        started = time.process_time()
        write_text_atomically(path, json.dumps(compute()))
        print(f"{name}: {time.process_time() - started:.0f} s", flush=True)
    return json.loads(path.read_text())


def curve(family: Family, make: Callable[[], InnerOptimizer], seed: int, rates: Tensor) -> np.ndarray:
    """As :func:`losses`, for all horizons; a rule that is made for one horizon is run for each."""
    if not isinstance(make(), Cosine):
        return losses(family, make(), seed, HORIZONS, rates).numpy()
    return np.concatenate([single(family, make, seed, horizon, rates) for horizon in HORIZONS], 2)


def single(family: Family, make: Callable[[], InnerOptimizer], seed: int, horizon: int, rates: Tensor) -> np.ndarray:
    """The losses after one horizon, ``[R, T, 1]``."""
    rule = make()
    rule.horizon = horizon
    return losses(family, rule, seed, (horizon,), rates).numpy()


@cache
def tuned(name: str) -> list[tuple[str, float]]:
    """For each horizon a baseline's best setting and rate on the training families, by the mean of the log loss."""
    scores = {}
    for setting, make in BASELINES[name].items():
        found = kept(f"tune {name} {setting}", lambda make=make: [curve(f, make, 1000, RATES).tolist() for f in TUNING])
        scores[setting] = np.log(np.array(found)).mean((0, 2))
    best = []
    for i in range(len(HORIZONS)):
        setting = min(scores, key=lambda key: scores[key][:, i].min())
        best.append((setting, float(RATES[scores[setting][:, i].argmin()])))
    return best


def baseline(name: str, family: Family, seed: int) -> np.ndarray:
    """The losses of a tuned baseline, ``[T, horizons]``: each column with its own setting."""
    columns = [
        single(family, BASELINES[name][setting], seed, horizon, torch.tensor([rate]))[0]
        for horizon, (setting, rate) in zip(HORIZONS, tuned(name), strict=True)
    ]
    return np.concatenate(columns, 1)


def scores(name: str, family: Family, seed: int, share: float) -> np.ndarray:
    """The losses ``[T, horizons]`` of a row on a family's problems, with the rule of a seed."""
    if name in BASELINES:
        found = kept(f"{name} {family.title} seed{seed}", lambda: baseline(name, family, seed).tolist())
    else:
        found = kept(
            f"{name} {share} {family.title} seed{seed}",
            lambda: curve(family, lambda: trained(name, seed, share), seed, torch.ones(1))[0].tolist(),
        )
    return np.array(found)


def cell(values: np.ndarray, adam: np.ndarray, learned: bool) -> str:
    """Losses ``[seeds, T]`` as mean, interval over problems and, for a learned rule, paired difference to Adam."""
    low, high = stats.interval(values.ravel())
    text = f"{values.mean():.3f} ± {(high - low) / 2:.3f}"
    if not learned:
        return text
    gap = il.paired(values.ravel(), adam.ravel())
    wins = int((values.mean(1) < adam.mean(1)).sum())
    return f"{text} ({gap.mean:+.3f} [{gap.interval[0]:+.3f}, {gap.interval[1]:+.3f}], {wins}/{len(values)})"


def table(seeds: list[int], share: float) -> str:
    """The tables in Markdown, one a family, and the settings of the baselines."""
    lines = []
    for family in TEST:
        lines += [f"**{family.title}**", "", f"| optimizer | {' | '.join(f'{h} steps' for h in HORIZONS)} |"]
        lines.append("|---" * (1 + len(HORIZONS)) + "|")
        found = {name: np.stack([scores(name, family, s, share) for s in seeds]) for name in (*BASELINES, *RULES)}
        for name, values in found.items():
            cells = [cell(values[:, :, i], found["Adam"][:, :, i], name in RULES) for i in range(len(HORIZONS))]
            lines.append(f"| {name} | {' | '.join(cells)} |")
        lines.append("")
    lines.append(f"{len(seeds)} seeds, {PROBLEMS} problems a seed and family. Baselines, each column's setting:")
    for name in BASELINES:
        lines.append(f"{name}: {'; '.join(f'{setting}, rate {rate:.2g}' for setting, rate in tuned(name))}.")
    return "\n".join(lines)


def main() -> None:
    """Train, evaluate, print, and put the table into the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--reduced", action="store_true")
    arguments = parser.parse_args()
    FOLDER.mkdir(parents=True, exist_ok=True)
    seeds, share = ([0], 0.2) if arguments.reduced else (arguments.seeds, 1.0)
    for name in RULES:
        for seed in seeds:
            trained(name, seed, share)
    text = table(seeds, share)
    print(text)
    if not arguments.reduced:
        record("optimizers", text)


if __name__ == "__main__":
    main()
