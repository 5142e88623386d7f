"""The pictures of the front page: what the library's own plots show of runs that are trained here, on embedded data.

``python docs/make/pictures.py [FOLDER]``, by default ``docs/images/gallery``; some minutes on one processor.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import torch
from matplotlib.figure import Figure
from sklearn.datasets import load_digits

import innerloop as il
from innerloop.report.build import build
from innerloop.report.plots import INK, Plot, drawing, label, lines, panel
from innerloop.report.subject import look_at

GALLERY = Path(__file__).resolve().parents[1] / "images" / "gallery"
SEED = 0


def main(folder: Path) -> None:
    """Make every picture and write it."""
    folder.mkdir(parents=True, exist_ok=True)
    for make in (letters, sinusoids, processes, optimizer, evidence):
        torch.manual_seed(SEED)
        for name, figure in make().items():
            # On white, so that it can be read on a dark page too.
            (folder / f"{name}.svg").write_text(drawing(figure).replace(INK, "#222222"), encoding="utf-8")
            print(f"{folder / name}.svg")


def picked(plots: Mapping[str, Plot], names: Mapping[str, str]) -> dict[str, Figure]:
    """Some plots of a report, by the names that they have in the gallery."""
    return {new: plots[old].figure for old, new in names.items()}


def letters() -> dict[str, Figure]:
    """A ProtoNet on letters of scripts that it never saw: the map of a task, and how sure it may be."""
    pools = il.data.glyphs()
    learner = il.ProtoNet(il.nets.conv4(width=16), scale=0.1)
    il.fit(learner, il.FewShot(pools.train, ways=20, shots=1, queries=5), steps=600, tasks_per_step=1, seed=SEED)
    test = il.FewShot(pools.test, ways=5, shots=3, queries=10)
    return picked(reported("ProtoNet", learner, test, 200), {"map-0": "map", "reliability": "reliability"})


def sinusoids() -> dict[str, Figure]:
    """MAML on sinusoids: a wave from ten points, and what each inner step is worth."""
    sines = il.data.Sinusoid(shots=10, queries=60)
    learner = il.MAML(il.nets.mlp(1, 40, 40, 1), steps=1, lr=0.01, test_steps=5, likelihood=il.Gaussian(scale=1.0))
    il.fit(
        learner, il.data.Sinusoid(shots=10, queries=10), steps=4000, tasks_per_step=25, lr=3e-3, how="vmap", seed=SEED
    )
    return picked(reported("MAML", learner, sines, 100), {"task-0": "wave", "steps": "inner"})


def processes() -> dict[str, Figure]:
    """A convolutional neural process and the exact posterior on one draw."""
    draws = il.data.GaussianProcess("rbf", lengthscale=0.25, scale=1.0, noise=0.02)
    learner = il.ConvCNP(1, 1)
    il.fit(learner, draws, steps=1500, tasks_per_step=16, lr=1e-3, how="vmap", seed=SEED)
    exact = il.learners.ExactGP("rbf", lengthscale=0.25, scale=1.0, noise=0.02)
    subjects = [look_at(name, one, draws, tasks=20) for name, one in (("ConvCNP", learner), ("exact posterior", exact))]
    return {"bands": plots_of(build(subjects, draws, title="Functions", protocol="draws"))["task-0"].figure}


def reported(name: str, learner: il.Learner, sampler: il.data.Sampler, tasks: int) -> dict[str, Plot]:
    """The plots of a report on one learner."""
    return plots_of(build([look_at(name, learner, sampler, tasks=tasks)], sampler, title=name, protocol="test"))


def plots_of(report: object) -> dict[str, Plot]:
    """All plots of a report, by name."""
    return {plot.name: plot for section in report.sections for plot in section.plots}


def optimizer() -> dict[str, Figure]:
    """A learned optimizer beside Adam, on a network and digits that it was not trained on."""
    rule = il.optimizers.MLPRule(scale=0.02)
    run = il.optimizers.TrainingRun(il.nets.mlp(16, 16, 10), rule, steps=50, batch_size=32, truncation=10)
    il.optimizers.train([(run, il.optimizers.Digits("train", side=4))], steps=120, lr=3e-3, seed=SEED)
    problem = il.optimizers.Digits("test").draw(torch.Generator().manual_seed(SEED), 1).support
    drawn = {}
    for name in ("learned", "Adam, rate 0.001", "Adam, rate 0.01"):
        torch.manual_seed(SEED)
        net = il.nets.mlp(64, 32, 10)
        rate = float(name.rpartition(" ")[2]) if name != "learned" else 0.0
        by = (
            torch.optim.Adam(net.parameters(), rate) if rate else il.optimizers.LearnedOptimizer(net.parameters(), rule)
        )
        losses = []
        for step in range(50):
            rows = torch.arange(32 * step, 32 * step + 32) % len(problem.x[0])
            loss = torch.nn.functional.cross_entropy(net(problem.x[0][rows]), problem.y[0][rows])
            by.zero_grad()
            loss.backward()
            by.step()
            losses.append(float(loss.detach()))
        drawn[name] = (range(50), losses)
    return {"optimizer": lines("loss", drawn, "", x="step", y="loss on the next batch").figure}


def evidence() -> dict[str, Figure]:
    """What each of twelve examples did to one answer, by refits without it."""
    images, digits = load_digits(return_X_y=True)
    chosen = [i for kind in (3, 5, 8) for i in (digits == kind).nonzero()[0][:4]]
    few = il.FewShotClassifier(encoder="letters").fit(images[chosen].reshape(-1, 8, 8) / 16, digits[chosen])
    query = (digits == 5).nonzero()[0][20]
    (reason,) = few.explain(images[query : query + 1].reshape(-1, 8, 8) / 16)
    figure, axes = panel(f"evidence for “{reason.answer}”, log odds", "", (5.0, 3.2))
    amounts = [float(amount) for amount in reason.evidence]
    axes.barh(range(len(amounts)), amounts, color=["#2f7de1" if amount > 0 else "#d9730d" for amount in amounts])
    axes.axvline(0, color=INK, linewidth=0.8)
    axes.set_yticks(range(len(amounts)), [label(f"a {digits[i]}") for i in chosen], fontsize=7)
    axes.invert_yaxis()
    return {"evidence": figure}


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else GALLERY)
