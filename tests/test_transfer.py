"""Pre-training without labels, starting from a run, and freezing."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import laws
import pytest
import torch
from cases import MOVES, conv, episodes, pool, turned
from test_cli import Cli
from torch import Tensor

import innerloop as il
from innerloop.core.task import InputError
from innerloop.data import Augment, Batches, Turned, Views
from innerloop.recipes import defaults, load

QUIET = {"how": "loop", "tasks_per_step": 1, "progress": False}
SMALL = ["--set", "net.width=8", "--set", "validation.tasks=4", "--quiet"]


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    return Cli(monkeypatch, capsys)


def weights(folder: Path) -> dict[str, Tensor]:
    """The best weights of a run."""
    return dict(il.bundle.read(folder).weights)


def moved(after: dict[str, Tensor], before: dict[str, Tensor]) -> set[str]:
    """The names of what changed."""
    return {name for name, value in after.items() if not torch.equal(value, before[name])}


def test_each_image_is_turned_four_ways() -> None:
    sampler = Turned(pool("pictures", "train"), size=5)
    drawn = sampler.draw(torch.Generator().manual_seed(3), 2)
    upright = sampler.plain(torch.Generator().manual_seed(3), 2).query.x
    assert drawn.support.x.shape == (2, 0, 1, 8, 8)
    assert torch.equal(drawn.query.y.argmax(2), torch.arange(4).repeat(5).expand(2, -1))
    for example, turn in ((0, 0), (6, 2), (11, 3)):
        assert torch.equal(drawn.query.x[:, example], upright[:, example // 4].rot90(turn, (-2, -1)))


def test_views_are_two_independent_changes_of_the_same_images() -> None:
    images = pool("moved", "train")
    sampler = Views(images, size=6, augment=MOVES)
    plain = sampler.plain(torch.Generator().manual_seed(3), 2).query.x
    one, other = sampler.draw(torch.Generator().manual_seed(3), 2)
    assert torch.equal(one.y, torch.eye(6).expand(2, -1, -1))
    assert torch.equal(one.y, other.y)
    assert not torch.equal(one.x, other.x)
    # A change that changes nothing leaves the same images on both sides.
    same = Views(images, size=6, augment=Augment(shift=1, probability=0.0)).draw(torch.Generator().manual_seed(3), 2)
    assert torch.equal(same.support.x, plain)
    assert torch.equal(same.query.x, plain)


def test_the_draws_of_plain_batches_are_what_they_were() -> None:
    images = pool("pictures", "train")
    drawn = Batches(images, size=4, augment=MOVES).draw(torch.Generator().manual_seed(5), 3)
    u = torch.rand(3, 4 + 4 * MOVES.size, generator=torch.Generator().manual_seed(5))
    chosen = images.get((u[:, :4].double() * len(images.x)).long())
    wanted = MOVES(chosen.flatten(0, 1), u[:, 4:].reshape(12, -1))
    assert torch.equal(drawn.query.x.flatten(0, 1), wanted)


def test_contrastive_loss_is_nt_xent() -> None:
    """Against the definition, pair by pair (Chen et al. 2020, equation 1)."""
    torch.manual_seed(0)
    head = il.learners.ContrastiveHead(features=5, projection=3, temperature=0.3).double()
    views = [torch.randn(4, 5, dtype=torch.float64) for _ in range(2)]
    z = [head.project(view) for view in views]
    every = [vector / vector.norm() for part in z for vector in part]

    def pair(i: int, j: int) -> Tensor:
        similar = [math.exp(float((every[i] @ other).detach()) / 0.3) for other in every]
        return -math.log(similar[j] / sum(similar[k] for k in range(8) if k != i))

    wanted = sum(pair(k, k + 4) + pair(k + 4, k) for k in range(4)) / 8
    task = il.Task(*(il.Examples(view, torch.eye(4, dtype=torch.float64)) for view in views))
    assert float(head.loss(task).detach()) == pytest.approx(wanted, rel=1e-12)


def test_rotation_is_a_classifier_of_turns() -> None:
    torch.manual_seed(0)
    learner, tasks = il.learners.Rotation(conv("group")), turned().draw(torch.Generator().manual_seed(0), 1)
    logits = learner.head.classifier(learner.encoder(tasks.query.x[0]))
    wanted = torch.nn.functional.cross_entropy(logits, torch.arange(4).repeat(8))
    torch.testing.assert_close(il.lift(learner, "loop").loss(tasks)[0], wanted)


def test_the_head_judges_features_alike_folded_or_not() -> None:
    """With statistics of the batch at hand the encoder cannot run folded; the objective is the same one."""
    torch.manual_seed(0)
    learner = il.FineTune(conv("batch"), classes=40).double()
    x, y = Batches(pool("pictures", "train"), size=8).draw(torch.Generator(), 1).query
    tasks = il.Task(il.Examples(x[:, :0].double(), y[:, :0].double()), il.Examples(x.double(), y.double()))
    logits = learner.head.classifier(learner.encoder(x[0].double()))
    wanted = torch.nn.functional.cross_entropy(logits, y[0].double())
    torch.testing.assert_close(il.lift(learner, "loop").loss(tasks)[0], wanted)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Turned(il.Pool.of(torch.rand(4, 8), [0, 1, 0, 1]), size=2), "square images"),
        (lambda: Views(pool("moved", "train"), size=1, augment=MOVES), "at least 2 images"),
        (lambda: Views(pool("moved", "train"), size=8, augment=None), "both views are the same"),
        (lambda: il.learners.ContrastiveHead(features=4, temperature=0.0), "temperature is 0.0"),
        (lambda: il.freeze(il.ProtoNet(conv("group")), "encoder.norm.*"), "did you mean encoder.norms"),
        (lambda: il.unfreeze(conv("group"), "head"), "matches no parameter of Conv4"),
        (lambda: il.fit(il.learners.Rotation(conv("group")), episodes("pictures", "train")(), steps=1), "data.Turned"),
        (
            lambda: il.fit(il.learners.Contrastive(conv("group")), episodes("pictures", "train")(), steps=1),
            "data.Views",
        ),
    ],
)
def test_bad_input_is_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make()


def test_frozen_parameters_and_statistics_stay_and_the_others_move() -> None:
    torch.manual_seed(0)
    learner = il.FineTune(conv("running"), classes=40)
    frozen = il.freeze(learner, "encoder.*.0.*")
    assert frozen == ["encoder.convolutions.0.weight", "encoder.norms.0.weight", "encoder.norms.0.bias"]
    before = {name: value.clone() for name, value in learner.state_dict().items()}
    batches = Batches(pool("pictures", "train"), size=16)
    il.fit(learner, batches, steps=3, average=0.9, weight_decay=0.1, **QUIET)
    kept = {*frozen, *(f"encoder.norms.0.{name}" for name in ("running_mean", "running_var", "num_batches_tracked"))}
    assert moved(learner.state_dict(), before) == before.keys() - kept
    assert not learner.train().encoder.norms[0].training
    assert learner.encoder.norms[1].training
    il.unfreeze(learner)
    assert learner.train().encoder.norms[0].training
    assert all(p.requires_grad for p in learner.parameters())


def test_nothing_is_frozen_when_one_pattern_fits_nothing() -> None:
    net = conv("group")
    with pytest.raises(InputError):
        il.freeze(net, "norms.*", "no_such_layer.*")
    assert all(p.requires_grad for p in net.parameters())


def test_any_module_is_frozen_and_a_frozen_one_still_adapts_within_a_task() -> None:
    net = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.Tanh(), torch.nn.Linear(16, 3))
    learner = il.MAML(net, steps=2, lr=0.5)
    il.freeze(learner, "net.0.*")
    before = {name: value.clone() for name, value in learner.state_dict().items()}
    il.fit(learner, episodes("blobs", "train")(), steps=2, how="vmap", progress=False)
    assert moved(learner.state_dict(), before) == {"net.2.weight", "net.2.bias"}
    task = laws.one(episodes("blobs", "test")().draw(torch.Generator(), 1), 0)
    own = learner.adapt(task.support).parameters
    assert not torch.equal(own["0.weight"], net[0].weight)


def test_a_frozen_learner_trains_alike_whatever_the_lifting() -> None:
    torch.manual_seed(0)
    learner = il.RelationNet(conv("group", maps=True, pools=1), il.nets.RelationModule((16, 4, 4), 8, 8, norm="none"))
    il.freeze(learner.double(), "encoder.*")
    tasks = il.Task(
        *(
            il.Examples(*(leaf.double() for leaf in part))
            for part in episodes("pictures", "train")().draw(torch.Generator(), 3)
        )
    )
    laws.assert_lifting_changes_no_loss(learner, tasks)
    laws.assert_backward_is_the_gradient(learner, tasks)


@pytest.mark.parametrize(("method", "batch"), [("classifier", 16), ("rotation", 4), ("contrastive", 16)])
def test_pretrain_then_meta_train(cli: Cli, method: str, batch: int, tmp_path: Path) -> None:
    first = ["pretrain", method, "--steps", 3, "--set", f"episodes.size={batch}", *SMALL, "--out", tmp_path / "first"]
    assert cli(*first)[0] == 0
    words = ["--ways", 5, "--shots", 1, "--queries", 2, "--tasks", 4, "--json"]
    assert 0 <= json.loads(cli("evaluate", tmp_path / "first", *words)[1])["accuracy"] <= 1
    start = {n.partition(".")[2]: v for n, v in weights(tmp_path / "first").items() if n.startswith("encoder.")}
    others = [("protonet", "encoder."), ("maml", "net."), ("finetune", "encoder.")]
    if method == "classifier":
        # The network that they share with it stands within another.
        others += [("statistician", "encoder.encoder."), ("anml", "encoder.encoder.")]
    for learner, at in others:
        words = ["--init", tmp_path / "first", "--steps", 0, *SMALL, "--out", tmp_path / learner]
        assert cli("train", learner, *words)[0] == 0
        own = weights(tmp_path / learner)
        taken = {n: v for n, v in own.items() if n.startswith(f"{at}convolutions.")}
        assert taken
        assert all(torch.equal(v, start[n.removeprefix(at)]) for n, v in taken.items())


def test_unknown_pretraining_is_refused(cli: Cli, tmp_path: Path) -> None:
    code, _, err = cli("pretrain", "rotations", "--steps", 1, "--out", tmp_path / "run")
    assert code == 2
    assert "did you mean rotation?" in err
    assert not (tmp_path / "run").exists()


def test_freeze_on_the_command_line_holds_on_resume_and_evaluation(cli: Cli, tmp_path: Path) -> None:
    small = [*SMALL, "--ways", 3, "--queries", 2]
    first = ["pretrain", "classifier", "--steps", 2, "--set", "episodes.size=8", *SMALL, "--out", tmp_path / "a"]
    assert cli(*first)[0] == 0
    words = ["--init", tmp_path / "a", "--freeze", "encoder.*.0.*", "--freeze", "encoder.*.1.*"]
    assert cli("train", "protonet", *words, "--steps", 4, *small, "--out", tmp_path / "whole")[0] == 0
    before, after = weights(tmp_path / "a"), weights(tmp_path / "whole")
    early = {name for name in after if ".0." in name or ".1." in name}
    assert all(torch.equal(after[name], before[name]) for name in early)
    late = {name for name in after.keys() - early if not name.endswith("num_batches_tracked")}
    assert moved({name: after[name] for name in late}, before) == late
    # The recipe says what is frozen: a resumed run goes on as the whole one does.
    facts = json.loads((tmp_path / "whole" / "recipe.json").read_text())
    assert facts["recipe"]["freeze"] == ["encoder.*.0.*", "encoder.*.1.*"]
    learner = load(tmp_path / "whole")
    assert {name for name, p in learner.named_parameters() if not p.requires_grad} == early & dict(
        learner.named_parameters()
    ).keys()
    facts["recipe"]["training"]["steps"] = 6
    (tmp_path / "whole" / "recipe.json").write_text(json.dumps(facts))
    assert cli("resume", tmp_path / "whole", "--quiet")[0] == 0
    again = weights(tmp_path / "whole")
    assert all(torch.equal(again[name], before[name]) for name in early)
    code, out, _ = cli("evaluate", tmp_path / "whole", "--ways", 3, "--queries", 2, "--tasks", 4, "--json")
    assert code == 0
    assert json.loads(out)["tasks"] == 4


def test_freezing_what_is_not_there_names_the_nearest(cli: Cli, tmp_path: Path) -> None:
    code, _, err = cli("train", "protonet", "--freeze", "net.*", "--steps", 1, *SMALL, "--out", tmp_path / "run")
    assert code == 2
    assert "'net.*' matches no parameter of ProtoNet" in err
    assert not (tmp_path / "run").exists()


def test_recipes_of_pretraining() -> None:
    assert defaults("rotation", "omniglot").pool == {"rotations": False}
    assert defaults("contrastive", "cifar_fs").augment["flip"]
