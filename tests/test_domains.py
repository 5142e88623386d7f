"""How far a run carries: conditions of a pool, functions out of range, and a matrix beside a baseline."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from test_cli import Cli
from torch import Generator

import innerloop as il
from innerloop.data import Pool, Sinusoid, write_pool
from innerloop.evaluation import stats
from innerloop.evidence.domains import Matrix, conditions, grouped, matrix, sinusoids


def images(classes: int = 24, examples: int = 12, groups: int = 3) -> Pool:
    generator = torch.Generator().manual_seed(0)
    base = torch.rand(classes, 1, 1, 6, 6, generator=generator)
    x = (base + 0.2 * torch.rand(classes, examples, 1, 6, 6, generator=generator)).clamp(0, 1).flatten(0, 1)
    names = tuple(f"G{i % groups}/c{i}" for i in range(classes))
    return Pool((255 * x).to(torch.uint8), torch.full((classes,), examples), names)


def test_conditions_are_those_that_the_pool_can_give() -> None:
    found = conditions(images(), tasks=6, queries=4)
    assert list(found) == [
        "5-way 1-shot", "5-way 5-shot", "20-way 1-shot", "20-way 5-shot", "5-way 5-shot, 10% wrong labels",
        "5-way 5-shot, 20% wrong labels", "5-way 5-shot, 40% wrong labels", "5-way 1-shot, one group a task",
        "5-way 1-shot, negatives", "5-way 1-shot, turned by 90 degrees",
    ]  # fmt: skip
    plain = Pool.of(torch.rand(60, 3), [i % 6 for i in range(60)])
    assert list(conditions(plain, tasks=4, queries=4)) == [
        "5-way 1-shot", "5-way 5-shot", *(f"5-way 5-shot, {share} wrong labels" for share in ("10%", "20%", "40%")),
    ]  # fmt: skip


def test_turned_and_negative_tasks_are_the_same_tasks() -> None:
    found = conditions(images(), tasks=3, queries=4)
    tasks = {name: one.draw(Generator(), 3).support.x for name, one in found.items() if name.startswith("5-way 1-shot")}
    plain = tasks["5-way 1-shot"]
    torch.testing.assert_close(tasks["5-way 1-shot, negatives"], 1 - plain)
    torch.testing.assert_close(tasks["5-way 1-shot, turned by 90 degrees"], torch.rot90(plain, 1, (-2, -1)))


def test_groups_are_by_the_beginnings_of_names_without_turns() -> None:
    pool = images(8).rotated()
    assert sum(map(len, grouped(pool.names))) == 8
    assert grouped(["owl", "cat"]) == []


def test_a_cell_is_the_paired_gap_to_the_baseline_on_the_same_tasks() -> None:
    heads = {
        "prototypes": il.learners.Embedded(torch.nn.Flatten(), il.learners.Prototypes()),
        "logistic": il.learners.Embedded(torch.nn.Flatten(), il.learners.LogisticRegression()),
    }
    kept = ("5-way 1-shot", "5-way 5-shot", "5-way 5-shot, 40% wrong labels", "5-way 1-shot, negatives")
    domains = {name: one for name, one in conditions(images(), tasks=8, queries=4).items() if name in kept}
    found = matrix(heads, domains, {"prototypes": "logistic"}, tasks=8)
    assert found.learners == ("prototypes", "logistic")
    for name, sampler in domains.items():
        cell = found.cell("prototypes", name)
        own, other = (il.evaluate(one, sampler, tasks=8, open=False).per_task["accuracy"] for one in heads.values())
        assert cell.value == pytest.approx(float(np.mean(own)))
        assert cell.beside == pytest.approx(float(np.mean(other)))
        assert cell.gap is not None
        assert cell.gap.mean == pytest.approx(stats.paired(own, other).mean)
        low, high = cell.gap.interval
        assert cell.verdict == ("alike" if low <= 0 <= high else "better" if cell.gap.mean > 0 else "worse")
    assert found.cell("logistic", "5-way 1-shot").gap is None
    # Wrong labels and more ways are harder.
    value = {name: found.cell("prototypes", name).value for name in domains}
    assert value["5-way 5-shot, 40% wrong labels"] < value["5-way 5-shot"]
    with pytest.raises(il.InputError, match="did you mean logistic"):
        Matrix(found.reports, {"prototypes": "logistics"})
    with pytest.raises(il.InputError, match="2 tasks or more"):
        matrix(heads, domains, {}, tasks=1)


def test_sinusoids_out_of_range_are_out_of_it_in_one_thing() -> None:
    drawn = {name: one.draw(Generator().manual_seed(1), 50) for name, one in sinusoids(shots=5, queries=45).items()}
    assert float(drawn["sinusoids"].query.y.abs().max()) <= 5
    assert float(drawn["amplitude 5 to 10"].query.y.abs().amax(1).min()) > 4
    assert 5 <= float(drawn["x from 5 to 10"].query.x.min()) <= float(drawn["x from 5 to 10"].query.x.max()) <= 10
    # A phase later by pi is the wave's negative.
    torch.testing.assert_close(drawn["phase pi to 2 pi"].query.y, -drawn["sinusoids"].query.y, rtol=1e-4, atol=1e-4)


def test_the_range_of_meta_training_is_as_the_paper_has_it() -> None:
    u = torch.rand(4, 2 + 5, generator=Generator().manual_seed(3))
    task = Sinusoid(shots=2, queries=3).draw(Generator().manual_seed(3), 4)
    x = 10 * u[:, 2:] - 5
    y = (0.1 + 4.9 * u[:, :1]) * torch.sin(x - math.pi * u[:, 1:2])
    assert torch.equal(torch.cat((task.support.y, task.query.y), 1).squeeze(2), y)
    with pytest.raises(il.InputError, match="amplitude of a sinusoid"):
        Sinusoid(amplitude=(2.0, 1.0))


def test_the_command_judges_drawings_and_functions(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    cli = Cli(monkeypatch, capsys)
    for split in ("train", "val", "test"):
        write_pool(tmp_path / split, [(f"{split}{i}", torch.rand(8, 1, 8, 8)) for i in range(6)])
    run = ["train", "protonet", "--data", "mapped", "--root", tmp_path, "--width", "4", "--set", "net.pools=1"]
    run += ["--steps", "0", "--quiet", "--set", "validation.tasks=2", "--ways", "3", "--queries", "2"]
    assert cli(*run, "--out", tmp_path / "a")[0] == 0
    words = ["matrix", tmp_path / "a", "--ways", "3", "--queries", "2", "--tasks", "4"]
    code, out, said = cli(*words, "--on", f"mapped={tmp_path}", "--json", "--plot", tmp_path / "m.svg")
    assert code == 0, said
    cells = json.loads(out)["cells"]
    assert {cell["domain"] for cell in cells} >= {"3-way 1-shot", "3-way 1-shot, mapped", "3-way 1-shot, negatives"}
    assert {cell["baseline"] for cell in cells} == {None, "logistic regression on inputs"}
    assert (tmp_path / "m.svg").read_text().startswith("<?xml")
    waves = ["train", "maml", "--data", "sinusoid", "--steps", "0", "--quiet", "--set", "validation.tasks=2"]
    for seed in ("0", "1"):
        assert cli(*waves, "--seed", seed, "--out", tmp_path / seed)[0] == 0
    code, _, said = cli("matrix", tmp_path / "0", "--tasks", "4")
    assert code == 2
    assert "--baseline" in said
    code, out, said = cli("matrix", tmp_path / "0", "--baseline", tmp_path / "1", "--tasks", "4")
    assert code == 0, said
    assert "phase pi to 2 pi" in out
