"""Molecules: small files written here, the metrics of a binary task, and the real sets where they are at hand."""

from __future__ import annotations

import json
import re
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score
from test_cli import Cli
from torch import Generator

import innerloop as il
from innerloop.core.metric import delta_auprc, roc_auc
from innerloop.data import Molecules, molecules

ASSAYS = tuple(f"assay{a}" for a in range(8))
MOLECULES = 240


def write(folder: Path, name: str = "small.npz", **changes: np.ndarray) -> Path:
    """240 molecules whose fingerprint is their number in 16 bits; a third of the labels is missing, 30 % are active."""
    random = np.random.default_rng(0)
    number = np.arange(MOLECULES, dtype=">u2").view(np.uint8).reshape(-1, 2)
    labels = (random.random((MOLECULES, len(ASSAYS))) < 0.3).astype(np.int8)
    labels[random.random(labels.shape) < 1 / 3] = -1
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **{"fp_packed": number, "labels": labels, "tasks": np.array(ASSAYS), **changes})
    return path


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    return Cli(monkeypatch, capsys)


@pytest.fixture
def small(tmp_path: Path) -> Molecules:
    """The small file, by its default split."""
    return Molecules.read(write(tmp_path))


def numbers(x: torch.Tensor) -> torch.Tensor:
    """Which molecules these fingerprints are."""
    return (x.long() * 2 ** torch.arange(15, -1, -1)).sum(-1)


def test_reading(small: Molecules) -> None:
    assert small.bits.shape == (MOLECULES, 16)
    assert small.bits.dtype == torch.uint8
    assert small.labels.shape == (MOLECULES, 8)
    assert small.assays == ASSAYS
    assert torch.equal(numbers(small.bits), torch.arange(MOLECULES))
    assert [len(small.splits[split]) for split in ("train", "val", "test")] == [5, 1, 2]
    assert [int(small.drawn[split].sum()) for split in ("train", "val", "test")] == [144, 48, 48]
    assert sorted(torch.cat(list(small.splits.values())).tolist()) == list(range(8))
    train = small.labels[small.drawn["train"]]
    assert small.counts("train")[3].tolist() == [int((train[:, 3] == 0).sum()), int((train[:, 3] == 1).sum())]


def test_a_molecule_belongs_to_one_split_with_its_twins(tmp_path: Path) -> None:
    """Molecules of one fingerprint cannot be told apart, so they stand on the same side; sharing must be asked for."""
    twins = np.arange(MOLECULES, dtype=np.uint8).reshape(-1, 1) // 2
    path = write(tmp_path, fp_packed=twins)
    apart = Molecules.read(path)
    sides = torch.stack(list(apart.drawn.values()))
    assert (sides.sum(0) == 1).all()
    assert torch.equal(sides[:, ::2], sides[:, 1::2])
    shared = Molecules.read(path, disjoint=False)
    assert all(bool(mask.all()) for mask in shared.drawn.values())
    assert all(torch.equal(apart.splits[s], shared.splits[s]) for s in apart.splits)


def test_splits_follow_the_seed_the_columns_or_the_names(tmp_path: Path) -> None:
    path = write(tmp_path)
    first, again, other = Molecules.read(path), Molecules.read(path), Molecules.read(path, seed=1)
    for one, two, same in ((first, again, True), (first, other, False)):
        assert torch.equal(one.drawn["test"], two.drawn["test"]) is same
        assert torch.equal(one.splits["train"], two.splits["train"]) is same
    ordered = Molecules.read(path, columns=(5, 1, 2))
    assert [ordered.splits[split].tolist() for split in ("train", "val", "test")] == [[0, 1, 2, 3, 4], [5], [6, 7]]
    assert torch.equal(ordered.drawn["test"], first.drawn["test"])
    named = Molecules.read(path, splits={"train": ["assay6"], "test": ["assay2", "assay1"]})
    assert torch.equal(named.drawn["test"], first.drawn["test"])
    assert {split: members.tolist() for split, members in named.splits.items()} == {
        "train": [6],
        "val": [],
        "test": [2, 1],
    }


@pytest.mark.parametrize("balanced", [True, False])
@pytest.mark.parametrize("split", ["train", "test"])
def test_tasks_are_of_one_assay_with_its_own_labels(small: Molecules, split: str, balanced: bool) -> None:
    """Right counts, the true labels, no -1, no molecule twice, none of another split."""
    shots, queries = 2, 4
    sampler = small.sampler(split, shots=shots, queries=queries, balanced=balanced)
    tasks = sampler.draw(Generator().manual_seed(0), 150)
    assert tasks.support.x.shape == (150, 2 * shots, 16)
    assert tasks.query.x.shape == (150, 2 * queries, 16)
    assert (tasks.support.y == torch.eye(2).repeat(shots, 1)).all()
    drawn = numbers(torch.cat((tasks.support.x, tasks.query.x), 1))
    assert all(len(set(row)) == 2 * (shots + queries) for row in drawn.tolist())
    assert bool(small.drawn[split][drawn].all())
    given_labels = torch.cat((tasks.support.y, tasks.query.y), 1)[..., 1].to(torch.int8)
    fits = (small.labels[drawn] == given_labels.unsqueeze(2)).all(1)
    assert bool(fits[:, sampler.members].any(1).all())
    active = tasks.query.y[..., 1].sum(1)
    if balanced:
        assert (tasks.query.y == torch.eye(2).repeat(queries, 1)).all()
    else:
        rates = small.counts(split)[sampler.members].double()
        wanted = (2 * queries * rates[:, 1] / rates.sum(1)).round().clamp(1, 2 * queries - 1)
        assert set(active.tolist()) <= set(wanted.tolist())
        assert float(active.mean()) < 4


def test_every_assay_and_molecule_is_drawn(small: Molecules) -> None:
    sampler = small.sampler("train", shots=1, queries=2)
    tasks = sampler.draw(Generator().manual_seed(0), 600)
    assert sampler.members.tolist() == small.splits["train"].tolist()
    measured = (small.labels[:, sampler.members] >= 0).any(1) & small.drawn["train"]
    assert set(numbers(tasks.query.x).flatten().tolist()) == set(measured.nonzero()[:, 0].tolist())


def test_one_assay_can_be_named(small: Molecules) -> None:
    member = int(small.splits["train"][2])
    sampler = small.sampler("train", shots=3, queries=0, only=[ASSAYS[member]])
    tasks = sampler.draw(Generator().manual_seed(0), 20)
    assert tasks.query.x.shape == (20, 0, 16)
    label = tasks.support.y[..., 1].to(torch.int8)
    assert torch.equal(small.labels[numbers(tasks.support.x), member], label)


@given(sizes=st.lists(st.integers(1, 6), min_size=1, max_size=4), seed=st.integers(0, 99), balanced=st.booleans())
def test_chunks_are_the_whole(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], seed: int, balanced: bool
) -> None:
    """Tasks drawn in turn are those drawn together, and a seed gives one draw."""
    small = Molecules.read(write(tmp_path_factory.mktemp("chunks")))
    sampler = small.sampler("train", shots=2, queries=3, balanced=balanced)
    generator = Generator().manual_seed(seed)
    parts = [sampler.draw(generator, size) for size in sizes]
    whole = sampler.draw(Generator().manual_seed(seed), sum(sizes))
    assert torch.equal(torch.cat([part.query.x for part in parts]), whole.query.x)
    assert torch.equal(torch.cat([part.support.x for part in parts]), whole.support.x)
    assert torch.equal(torch.cat([part.query.y for part in parts]), whole.query.y)


def test_rare_assays_are_left_out(tmp_path: Path) -> None:
    """Only assays with enough molecules of both classes are drawn; if none has, the message says how many there are."""
    labels = np.zeros((MOLECULES, 8), np.int8)
    for a in range(8):
        labels[: 4 * a, a] = 1
    path = write(tmp_path, labels=labels)
    every = Molecules.read(path, columns=(8, 0, 0), disjoint=False)
    assert every.sampler("train", shots=4, queries=8).members.tolist() == [3, 4, 5, 6, 7]
    # At the natural rate of 28 in 240 there are 2 active ones among 16 queries.
    natural = every.sampler("train", shots=8, queries=8, balanced=False)
    assert natural.members.tolist() == [3, 4, 5, 6, 7]
    assert float(natural.draw(Generator(), 50).query.y[..., 1].sum(1).max()) == 2
    with pytest.raises(il.InputError, match=r"any of the 8 train assays has \(at most 28 of its rarer class\)"):
        every.sampler("train", shots=20, queries=9)
    with pytest.raises(il.InputError, match="any of the 0 test assays"):
        every.sampler("test", shots=1, queries=1)


def test_without_goes_by_fingerprint(tmp_path: Path, small: Molecules) -> None:
    """Molecules of another set are not drawn, however they are written; the other set's split can be named."""
    part = Molecules.read(
        write(tmp_path, "part.npz", fp_packed=np.array([[0, 5], [0, 7]], np.uint8), labels=np.zeros((2, 8), np.int8))
    )
    left = small.without(part)
    assert {split: int(mask.sum()) for split, mask in left.drawn.items()} != {
        split: int(mask.sum()) for split, mask in small.drawn.items()
    }
    gone = torch.stack(list(small.drawn.values())).any(0) & ~torch.stack(list(left.drawn.values())).any(0)
    assert gone.nonzero()[:, 0].tolist() == [5, 7]
    assert not bool((small.without(small, "test").drawn["test"]).any())
    assert torch.equal(small.without(small, "test").drawn["train"], small.drawn["train"])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"labels": np.full((MOLECULES, 8), 2, np.int8)}, "has the label 2"),
        ({"labels": np.zeros((MOLECULES, 7), np.int8)}, "one name an assay"),
        ({"fp_packed": np.zeros((MOLECULES, 2))}, "fingerprints float64"),
        ({"tasks": np.array(["a"])}, "1 names"),
        ({"tasks": np.array("a")}, "does not hold fp_packed"),
        ({"tasks": np.array(["a"] * 8)}, "names an assay twice"),
        ({"labels": np.full((MOLECULES, 8), np.nan)}, "has the label nan"),
        ({"labels": np.full((MOLECULES, 8), "a")}, "has the label a"),
        ({"labels": np.full((MOLECULES, 8), None)}, "does not hold fp_packed"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(tmp_path: Path, changes: dict, words: str) -> None:
    with pytest.raises(il.InputError, match=words):
        Molecules.read(write(tmp_path, **changes))


def test_damaged_files_are_refused_by_name(tmp_path: Path) -> None:
    """Wherever the file is cut or a byte of it is another; and what is no such file at all."""
    path = write(tmp_path)
    data = path.read_bytes()
    damaged = [data[:length] for length in range(0, len(data) - 1, len(data) // 40)]
    for place in range(0, len(data), len(data) // 150):
        broken = bytearray(data)
        broken[place] ^= 0xFF
        damaged.append(bytes(broken))
    refused = []
    for content in damaged:
        path.write_bytes(content)
        try:
            Molecules.read(path)
        except il.InputError as error:
            refused.append(str(error))
    assert len(refused) > 100
    assert all("small.npz" in message for message in refused)
    np.save(tmp_path / "array.npy", np.zeros(3))
    with pytest.raises(il.InputError, match=r"array\.npy does not hold fp_packed"):
        Molecules.read(tmp_path / "array.npy")


def test_the_digest_follows_the_content_and_the_splits(tmp_path: Path) -> None:
    one, same = Molecules.read(write(tmp_path)), Molecules.read(write(tmp_path, "again.npz"))
    assert one.digest == same.digest
    others = [Molecules.read(write(tmp_path), seed=1), Molecules.read(write(tmp_path), disjoint=False)]
    others.append(one.without(same, "test"))
    others.append(Molecules.read(write(tmp_path, labels=np.zeros((MOLECULES, 8), np.int8))))
    assert len({one.digest, *(other.digest for other in others)}) == 5
    options = [{"shots": 2}, {"queries": 3}, {"balanced": False}]
    few = {"shots": 1, "queries": 4}
    samplers = [one.sampler("train", **few), one.sampler("test", **few)]
    samplers += [one.sampler("train", **{**few, **option}) for option in options]
    assert len({sampler.digest for sampler in samplers}) == 5


def test_bad_input_is_refused(tmp_path: Path, small: Molecules) -> None:
    path = write(tmp_path)
    (tmp_path / "text.npz").write_text("no archive")
    np.savez(tmp_path / "empty.npz", fp_packed=np.zeros((1, 1), np.uint8))
    for call, words in (
        (lambda: Molecules.read(tmp_path / "absent.npz"), "there is no file"),
        (lambda: Molecules.read(tmp_path / "text.npz"), "does not hold fp_packed"),
        (lambda: Molecules.read(tmp_path / "empty.npz"), "does not hold fp_packed"),
        (lambda: Molecules.read(path, shares=(0.5, 0.4, 0.4)), "sum to 1"),
        (lambda: Molecules.read(path, columns=(5, 1, 1)), "are 7 assays, the file has 8"),
        (lambda: Molecules.read(path, splits={"train": ["assey1"]}), "did you mean assay1"),
        (lambda: Molecules.read(path, splits={"dev": ["assay1"]}), "split 'dev' is unknown"),
        (lambda: Molecules.read(path, splits={"train": ["assay1"], "test": ["assay1"]}), "stands in two splits"),
        (lambda: small.sampler("dev"), "split 'dev' is unknown"),
        (lambda: small.sampler("train", shots=0), "shots is 0; it must be at least 1"),
        (lambda: small.sampler("train", queries=-1), "queries is -1; it must be at least 0"),
        (lambda: small.sampler("train", only=[ASSAYS[int(small.splits["test"][0])]]), "is not one of the train assays"),
        (lambda: molecules(tmp_path, "tox12"), "did you mean tox21"),
        (lambda: molecules(tmp_path, "tox21"), "there is no file"),
    ):
        with pytest.raises(il.InputError, match=words):
            call()


def test_areas_by_hand() -> None:
    """Perfect, reversed and tied rankings, and a case counted by hand."""
    positive = torch.tensor([[0, 0, 1, 1]])
    for score, area, precision in (
        ([1.0, 2, 3, 4], 1.0, 1.0),
        ([4.0, 3, 2, 1], 0.0, (1 / 3 + 2 / 4) / 2),
        ([5.0, 5, 5, 5], 0.5, 0.5),
        ([0.1, 0.4, 0.35, 0.8], 0.75, (1 + 2 / 3) / 2),
        ([1.0, 2, 2, 3], 0.875, (1 + 2 / 3) / 2),
    ):
        assert float(roc_auc(torch.tensor([score]), positive)) == pytest.approx(area, abs=1e-12)
        assert float(delta_auprc(torch.tensor([score]), positive)) == pytest.approx(precision - 0.5, abs=1e-12)
    assert torch.isnan(roc_auc(torch.ones(1, 3), torch.zeros(1, 3)))
    assert torch.isnan(delta_auprc(torch.ones(1, 3), torch.zeros(1, 3)))


@given(st.integers(0, 10_000))
def test_areas_are_those_of_scikit_learn(seed: int) -> None:
    """Several tasks at once, with ties, by an implementation that is not ours."""
    random = np.random.default_rng(seed)
    score = random.integers(0, 6, (4, 15)) / 4
    positive = random.random((4, 15)) < 0.4
    positive[:, 0], positive[:, 1] = True, False
    areas = roc_auc(torch.from_numpy(score), torch.from_numpy(positive))
    gains = delta_auprc(torch.from_numpy(score), torch.from_numpy(positive))
    for t in range(4):
        assert float(areas[t]) == pytest.approx(roc_auc_score(positive[t], score[t]), abs=1e-12)
        expected = average_precision_score(positive[t], score[t]) - positive[t].mean()
        assert float(gains[t]) == pytest.approx(expected, abs=1e-12)


@given(st.integers(0, 10_000))
def test_areas_see_only_the_ranking(seed: int) -> None:
    """An increasing function of the scores changes nothing, a decreasing one mirrors the ROC curve."""
    generator = Generator().manual_seed(seed)
    score = torch.randn(3, 20, generator=generator, dtype=torch.float64)
    positive = torch.arange(20).repeat(3, 1) % 3 == 0
    assert torch.equal(roc_auc(score, positive), roc_auc(score.exp(), positive))
    assert torch.equal(delta_auprc(score, positive), delta_auprc(score.exp(), positive))
    assert torch.allclose(roc_auc(-score, positive), 1 - roc_auc(score, positive))


def test_reports_of_assays_carry_the_areas(small: Molecules) -> None:
    """ROC-AUC is the metric; the values are those of scikit-learn on the learner's own probabilities."""
    sampler = small.sampler("train", shots=3, queries=5, balanced=False)
    learner = il.ProtoNet(il.nets.mlp(16, 8))
    report = il.evaluate(learner, sampler, tasks=60, seed=3)
    assert report.metric.name == "roc_auc"
    assert (report.ways, report.shots, report.queries) == (2, 3, 5)
    assert set(report.per_task) == {"accuracy", "nll", "roc_auc", "delta_auprc"}
    tasks = sampler.draw(Generator().manual_seed(3), 60)
    p = torch.func.vmap(learner.likelihood.mean)(il.lift(learner.eval(), "loop").predict(tasks))[..., 1].double()
    areas = [roc_auc_score(y, s) for y, s in zip(tasks.query.y[..., 1].numpy(), p.numpy(), strict=True)]
    assert report.per_task["roc_auc"] == pytest.approx(np.array(areas), abs=1e-6)
    assert report.score == pytest.approx(np.mean(areas), abs=1e-6)
    assert report.json()["delta_auprc"] == pytest.approx(float(report.per_task["delta_auprc"].mean()))
    assert "roc_auc 0." in str(report)


def test_saturated_probabilities_still_rank(small: Molecules) -> None:
    """Probabilities that round to 1 tie, their logits do not."""

    class Counting(il.Learner):
        def adapt(self, support: il.Examples, state: object = None) -> torch.Tensor:
            return support.y.sum(0)

        def predict(self, state: object, x: torch.Tensor) -> torch.Tensor:
            score = 1000 + numbers(x).to(x.dtype)
            return torch.stack((torch.zeros_like(score), score), 1).unsqueeze(0)

    labels = np.zeros((MOLECULES, 8), np.int8)
    labels[MOLECULES // 2 :] = 1
    ordered = Molecules(small.bits, torch.from_numpy(labels), small.assays, small.groups, small.splits, small.drawn)
    report = il.evaluate(Counting(il.Categorical()), ordered.sampler("train", shots=2, queries=5), tasks=5)
    assert report.per_task["roc_auc"].tolist() == [1.0] * 5
    assert report.per_task["accuracy"].tolist() == [0.5] * 5


def test_two_ways_of_images_carry_the_areas_beside_accuracy() -> None:
    pool = il.Pool.of(torch.randn(40, 3), [i % 4 for i in range(40)])
    two, three = (
        il.evaluate(il.ProtoNet(il.nets.mlp(3, 4)), il.FewShot(pool, ways=n, shots=1, queries=3), tasks=5, open=False)
        for n in (2, 3)
    )
    assert two.metric.name == "accuracy"
    assert set(two.per_task) == {"accuracy", "nll", "roc_auc", "delta_auprc"}
    assert set(three.per_task) == {"accuracy", "nll"}


def test_training_learns_what_all_assays_share(tmp_path: Path) -> None:
    """An assay is a vote of the same 6 of 96 bits, for or against: meta-training finds which, for new assays too."""
    random = np.random.default_rng(1)
    bits = random.integers(0, 2, (600, 96))
    votes = (bits[:, :6] - 0.5) @ random.choice([-1, 1], (6, 20))
    labels = (votes + random.normal(0, 0.1, votes.shape) > 0).astype(np.int8)
    path = write(
        tmp_path,
        fp_packed=np.packbits(bits, axis=1),
        labels=labels,
        tasks=np.array([f"a{i}" for i in range(20)]),
    )
    shared = Molecules.read(path, columns=(14, 2, 4))
    learner = il.ProtoNet(torch.nn.Linear(96, 16))
    test = shared.sampler("test", shots=8, queries=8)
    before = il.evaluate(learner, test, tasks=60, how="vmap")
    il.fit(learner, shared.sampler("train", shots=8, queries=8), steps=60, lr=3e-2, how="vmap", progress=False)
    after = il.evaluate(learner, test, tasks=60, how="vmap")
    assert il.paired(after.per_task["roc_auc"], before.per_task["roc_auc"]).interval[0] > 0.1


@pytest.mark.parametrize("learner", ["protonet", "maml"])
def test_the_command_line_trains_and_scores(learner: str, cli: Cli, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    labels = random.integers(0, 2, (300, 12)).astype(np.int8)
    write(
        tmp_path / "tox21",
        "tox21_ecfp4_2048.npz",
        fp_packed=random.integers(0, 256, (300, 4)).astype(np.uint8),
        labels=labels,
        tasks=np.array([f"a{i}" for i in range(12)]),
    )
    words = ["--data", "tox21", "--root", tmp_path, "--width", 8, "--shots", 2, "--queries", 2, "--tasks-per-step", 2]
    words += ["--set", "validation.tasks=2", "--set", "validation.shots=2", "--set", "validation.queries=2"]
    assert cli("train", learner, *words, "--steps", 2, "--out", tmp_path / "run", "--quiet")[0] == 0
    code, out, _ = cli("evaluate", tmp_path / "run", "--tasks", 10, "--json")
    assert code == 0
    report = json.loads(out)
    assert 0 <= report["roc_auc"] <= 1
    assert {"delta_auprc", "accuracy", "ways"} <= report.keys()
    assert cli("compare", tmp_path / "run", tmp_path / "run", "--tasks", 5)[0] == 0
    rows = json.loads(cli("data", "tox21", "--root", tmp_path, "--json")[1])
    assert [row["assays"] for row in rows] == [7, 2, 3]
    assert sum(row["molecules"] for row in rows) == 300


def test_what_does_not_fit_molecules_is_refused(cli: Cli, tmp_path: Path) -> None:
    write(tmp_path / "sider", "sider_ecfp4_2048.npz")
    for words, message in (
        (
            ("protonet", "--data", "tox21"),
            "needs its folder: give --root DIR (in Python: data.molecules(root, 'tox21')",
        ),
        (("protonet", "--data", "sider", "--root", tmp_path), "are 27 assays, the file has 8"),
        (("protonet", "--data", "tox22"), "did you mean tox21"),
        (("cnp", "--data", "tox21", "--root", tmp_path), "there is no file"),
    ):
        code, _, err = cli("train", *words, "--steps", 1, "--out", tmp_path / "run")
        assert code == 2
        assert message in err.replace("\n", " ")


@pytest.mark.parametrize(
    ("name", "size", "assays", "measured", "least", "most", "columns"),
    [
        ("tox21", 7823, 12, 77864, 186, 942, (7, 2, 3)),
        ("sider", 1427, 27, 38529, 22, 1318, (17, 4, 6)),
        ("toxcast", 8576, 617, 1533660, 19, 1761, (370, 124, 123)),
    ],
)
def test_the_real_sets_have_the_stated_counts(
    data_root: Path,
    name: str,
    size: int,
    assays: int,
    measured: int,
    least: int,
    most: int,
    columns: tuple[int, int, int],
) -> None:
    real = molecules(data_root, name, disjoint=False)
    assert real.bits.shape == (size, 2048)
    assert real.labels.shape == (size, assays)
    counts = real.counts("train")
    assert int(counts.sum()) == measured
    assert (int(counts[:, 1].min()), int(counts[:, 1].max())) == (least, most)
    assert tuple(len(real.splits[split]) for split in ("train", "val", "test")) == columns
    if name == "tox21":
        assert [real.assays[i] for i in real.splits["test"]] == ["SR-HSE", "SR-MMP", "SR-p53"]
    task = molecules(data_root, name).sampler("test", shots=5, queries=5).draw(Generator(), 3)
    assert task.support.x.shape == (3, 10, 2048)
    assert set(task.support.x.unique().tolist()) == {0.0, 1.0}


def test_the_examples_of_the_guide_run(
    data_root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As written, with the reader's folder and short budgets."""
    monkeypatch.setattr(il, "evaluate", partial(il.evaluate, tasks=5))
    page = (Path(__file__).resolve().parent.parent / "docs" / "guide.md").read_text()
    blocks = [block for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if '"DATA"' in block]
    assert len(blocks) == 2
    for block in blocks:
        short = re.sub(r"steps=(\d{3,})", "steps=2, progress=False", block.replace('"DATA"', f'"{data_root}"'))
        exec(short, {"il": il})
    out = capsys.readouterr().out
    assert "roc_auc" in out
    assert "mse" in out
