"""How far runs carry: other data, ways, shots, labels, inputs and functions, beside a baseline in each cell.

    python benchmarks/generalization.py images           drawings and photographs, ProtoNet beside a fine-tuned network
    python benchmarks/generalization.py functions        neural processes on other kernels, MAML on waves out of range

Runs are those of `benchmarks/efficiency.py` at the full share, and of the lines below; one that is there is not trained
again. Test classes are 100 characters of Omniglot without their turns, the 20 classes of CIFAR-FS with 100 photographs
each, all test letters of glyphs, 81 kinds of groceries with 12 photographs each. What is of another size or in color is
brought to the run's size and channels. Nothing is chosen on these tasks.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from pathlib import Path

import torch
from efficiency import image_test, trained
from page import DATA, RUNS, record, run

import innerloop as il
from innerloop.core.learner import Learner
from innerloop.data import GaussianProcess, Pool, class_folders
from innerloop.data.episodes import Sampler
from innerloop.data.fitted import fitted
from innerloop.data.fixed import nested
from innerloop.evidence.domains import Matrix, conditions, matrix, sinusoids
from innerloop.recipes import load
from innerloop.report.evidence_figures import matrix_figure, write_svg

QUERIES = 5
#: An error beyond which a number says nothing.
DIVERGED = 1e6
FUNCTIONS = {
    "sinusoid-maml": "maml --data sinusoid --steps 10000",
    "sinusoid-joint": "maml --data sinusoid --inner-steps 0 --steps 10000",
    "gp_rbf-cnp": "cnp --data gp_rbf --steps 20000",
    "gp_rbf-tnp": "tnp --data gp_rbf --steps 12000",
}


def groceries() -> Pool:
    """81 kinds, 12 photographs each, in color."""
    found = class_folders(DATA / "groceries" / "images")
    return Pool.from_files({name: paths[:12] for name, paths in found.items()}, size=32, channels=3, fit="crop")


def others(shape: tuple[int, ...], tasks: int) -> dict[str, Sampler]:
    """5-way 1-shot tasks of other data sets, in the form of a run's examples."""
    pools = {
        "Omniglot": image_test("omniglot").test,
        "glyphs": il.data.glyphs().test,
        "CIFAR-FS": image_test("cifar_fs").test,
        "groceries": groceries(),
    }
    return {
        f"5-way 1-shot, {name}": nested(fitted(pool, shape), [1], ways=5, queries=QUERIES, tasks=tasks)[1]
        for name, pool in pools.items()
        if pool.shape != shape or name in ("glyphs", "groceries")
    }


def images(tasks: int, seed: int, train: bool) -> dict[str, Matrix]:
    """One matrix for runs on drawings, one for runs on photographs."""
    found = {}
    for data in ("omniglot", "cifar_fs"):
        given = image_test(data)
        learners = {
            name: load(trained(data, kind, "all", seed, train=train))
            for name, kind in (("ProtoNet", "protonet"), ("fine-tuned", "finetune"))
        }
        domains: Mapping[str, Sampler] = {
            **conditions(given.test, queries=QUERIES, tasks=tasks), **others(given.test.shape, tasks),
        }  # fmt: skip
        title = {"omniglot": "Omniglot", "cifar_fs": "CIFAR-FS"}[data]
        found[title] = matrix(learners, domains, {"ProtoNet": "fine-tuned"}, tasks=tasks)
    return found


def function_run(name: str, train: bool) -> Path:
    """A run on functions."""
    out = RUNS / f"curves-{name}"
    if train and not out.exists():
        run(["train", *FUNCTIONS[name].split(), "--seed", "0", "--quiet", "--out", str(out)])
    return out


def functions(tasks: int, train: bool) -> dict[str, Matrix]:
    """Neural processes beside Gaussian-process regression, MAML beside a network of all waves, fine-tuned."""
    kernels: dict[str, Sampler] = {
        f"{kernel} draws": GaussianProcess(kernel) for kernel in ("rbf", "matern52", "periodic")
    }
    plain = "GP regression, RBF, hyperparameters inferred"
    processes: dict[str, Learner] = {
        "CNP": load(function_run("gp_rbf-cnp", train)),
        "TNP-D": load(function_run("gp_rbf-tnp", train)),
        plain: il.learners.MarginalGP("rbf"),
    }
    waves: dict[str, Learner] = {
        f"MAML, {steps} inner step{'s' if steps > 1 else ''}": load(
            function_run("sinusoid-maml", train), test_steps=steps
        )
        for steps in (1, 10)
    }
    joint = [load(function_run("sinusoid-joint", train), test_steps=steps) for steps in (0, 10, 100)]
    # Chosen on validation waves, which are others of the same range.
    scores = [il.evaluate(one, sinusoids()["sinusoids"], tasks=200, seed=1).value for one in joint]
    waves["one network of all waves, fine-tuned"] = joint[min(range(3), key=scores.__getitem__)]
    return {
        "RBF draws": matrix(processes, kernels, {"CNP": plain, "TNP-D": plain}, tasks=tasks),
        "sine waves": matrix(waves, sinusoids(), dict.fromkeys(list(waves)[:2], list(waves)[2]), tasks=10 * tasks),
    }


def lines(found: Mapping[str, Matrix]) -> list[str]:
    """The rows of a table: a domain and a learner each."""
    rows = ["| trained on | judged on | learner | score | baseline | gap |", "|" + "---|" * 6]
    for trained_on, one in found.items():
        for cell in one.cells():
            if cell.gap is None:
                continue
            metric = cell.metric
            low, high = (metric.shown(end, sign=True) for end in cell.gap.interval)
            gap = f"{metric.shown(cell.gap.mean, sign=True)} ({low} to {high})"
            bold = f"**{gap}**" if cell.verdict == "worse" else gap
            score = f"{metric.shown(cell.value)}{' ' + metric.unit if metric.unit else ''}"
            if abs(cell.value) > DIVERGED:
                score, bold = "diverges", "**worse**"
            rows.append(
                f"| {trained_on} | {cell.domain} | {cell.learner} | {score} | {metric.shown(cell.beside)} | {bold} |"
            )
    return rows


def main() -> None:
    """Train what is not there, evaluate, print, and put the table into the page."""
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("table", choices=("images", "functions"))
    ask.add_argument("--seed", type=int, default=0, help="of the trainings")
    ask.add_argument("--tasks", type=int, default=100)
    ask.add_argument("--print-only", action="store_true", help="from the runs that are there")
    ask.add_argument("--plot", type=Path, help="folder for the pictures")
    ask.add_argument("--write", action="store_true", help="keep the record and put the table into docs/evidence.md")
    asked = ask.parse_args()
    torch.set_num_threads(1)
    train = not asked.print_only
    found = images(asked.tasks, asked.seed, train) if asked.table == "images" else functions(asked.tasks, train)
    text = "\n".join(lines(found))
    print(text)
    for name, one in found.items():
        if asked.plot:
            os.makedirs(asked.plot, exist_ok=True)
            write_svg(matrix_figure(one), asked.plot / f"generalization-{name.lower().replace(' ', '_')}.svg")
    if asked.write:
        record(f"generalization-{asked.table}", text)


if __name__ == "__main__":
    main()
