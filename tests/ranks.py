"""What holds over several ranks, checked on all of them: ``python ranks.py FOLDER`` writes what each check found.

Processes are costly to start, so four are, once, for all checks; two of them go on as a smaller group. A check is a
function that every rank runs; what stands before its ``yield`` runs in one process, what follows in the group.
"""

from __future__ import annotations

import copy
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torch._dynamo  # Every optimizer imports it: once, before there are several processes.
import torch.distributed as dist
import torch.multiprocessing as mp
from cases import CASES, conv, episodes
from laws import accumulated, assert_same
from torch import Generator, Tensor, nn
from torch.utils import _pytree as pytree

import innerloop as il
from innerloop.data import Sampler, Sinusoid
from innerloop.training import ranks as shares
from innerloop.training.aggregate import Uncertainty, backward_aggregated, backward_weighted, make_aggregator
from innerloop.training.outer import NonFiniteLoss

CLOSE = {"rtol": 1e-10, "atol": 1e-12}
QUIET: dict[str, Any] = {"how": "vmap", "progress": False}
#: One of each kind: gradients through steps, folded encoders with and without statistics over tasks, heads on pairs,
#: plain batches without a support set, functions, a model with heads for its tasks.
LAWFUL = (
    "maml",
    "maml-support",
    "maml-running",
    "reptile",
    "protonet-euclidean",
    "protonet-group",
    "protonet-running",
    "protonet-batch",
    "relationnet-scores",
    "relationnet-features",
    "finetune-running",
    "cnp",
    "tnp",
    "multitask",
)
#: No multiple of the ranks.
TASKS = 6

Check = Callable[[Path], Iterator[None]]


class Changed(Sampler):
    """The tasks of a sampler, changed by a function of them and the number of the draw."""

    def __init__(self, sampler: Sampler, change: Callable[[il.Task, int], il.Task]) -> None:
        self.sampler, self.change, self.draws = sampler, change, 0
        self.classifies = sampler.classifies

    def draw(self, generator: Generator, tasks: int) -> il.Task:
        self.draws += 1
        return self.change(self.sampler.draw(generator, tasks), self.draws)


def double(tasks: il.Task, draw: int = 0) -> il.Task:
    return pytree.tree_map(lambda leaf: leaf.double(), tasks)


def case(name: str) -> tuple[il.Learner, Sampler]:
    """A learner in float64, the same on every rank, and what it is trained on."""
    row = next(row for row in CASES if row.name == name)
    torch.manual_seed(0)
    return row.make().double(), Changed(row.train(), double)


def maml() -> il.MAML:
    torch.manual_seed(0)
    return il.MAML(il.nets.mlp(1, 8, 1), lr=0.01, likelihood=il.Gaussian(scale=1.0))


def protonet(norm: str = "running") -> il.ProtoNet:
    torch.manual_seed(0)
    return il.ProtoNet(conv(norm))


def weights(learner: nn.Module) -> Tensor:
    return nn.utils.parameters_to_vector(learner.parameters()).detach().clone()


def assert_same_everywhere(thing: Any) -> None:
    """Each rank has the same thing, to the bit."""
    found: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(found, thing.tolist() if isinstance(thing, Tensor) else thing)
    assert all(other == found[0] for other in found), found


def refused(function: Callable[[], Any], kind: type[Exception], words: str) -> None:
    """Every rank gets the same error."""
    with pytest.raises(kind) as found:
        function()
    assert words in str(found.value), found.value
    assert_same_everywhere(str(found.value))


def gradients(folder: Path, name: str, reduction: Any = "mean", tasks: int = TASKS) -> Iterator[None]:
    """Losses, gradients and buffers after a step are those of one process, though slices are unequal."""
    lonely, sampler = case(name)
    learner = copy.deepcopy(lonely)
    drawn = sampler.draw(Generator().manual_seed(3), tasks)
    losses = il.lift(lonely.train(), "loop").backward(drawn, reduction)
    wanted = accumulated(lonely)
    yield
    lifted = il.lift(learner, "loop")
    shares.begin(lifted, tasks, False)
    got = shares.backward(lifted, shares.own(drawn, tasks), tasks, reduction)
    torch.testing.assert_close(got, losses, **CLOSE)
    gradient = accumulated(learner)
    for key, value in wanted.items():
        torch.testing.assert_close(gradient[key], value, **CLOSE, msg=lambda text, key=key: f"{key}: {text}")
    for key, value in lonely.named_buffers():
        torch.testing.assert_close(dict(learner.named_buffers())[key], value, **CLOSE)
    assert_same_everywhere(torch.cat([value.flatten() for value in gradient.values()]))


def unused_parameters(folder: Path) -> Iterator[None]:
    """A parameter without a gradient has none after the exchange: an optimizer passes over it."""
    learner, sampler = case("protonet-euclidean")
    learner.unused = nn.Parameter(torch.zeros(3, dtype=torch.float64))
    yield
    drawn = sampler.draw(Generator().manual_seed(3), TASKS)
    shares.backward(il.lift(learner, "vmap"), shares.own(drawn, TASKS), TASKS, "mean")
    assert learner.unused.grad is None
    assert learner.encoder[0].weight.grad is not None


def aggregated(folder: Path) -> Iterator[None]:
    """Every rank combines the Jacobian of all tasks."""
    lonely, sampler = case("maml")
    learner, drawn = copy.deepcopy(lonely), sampler.draw(Generator().manual_seed(3), TASKS)
    combine = make_aggregator("upgrad", TASKS)
    assert combine is not None
    losses = backward_aggregated(il.lift(lonely, "vmap"), drawn, combine)
    wanted = accumulated(lonely)
    yield
    own = shares.own(drawn, TASKS)
    got = backward_aggregated(il.lift(learner, "vmap"), own, combine, TASKS)
    torch.testing.assert_close(got, losses, **CLOSE)
    for key, value in accumulated(learner).items():
        # The solver stops at a tolerance of its own.
        torch.testing.assert_close(value, wanted[key], rtol=1e-6, atol=1e-8)
    assert_same_everywhere(got)


def weighted(folder: Path, name: str) -> Iterator[None]:
    """Learned weights see all losses; their gradient and the learner's are those of one process."""
    lonely, sampler = case(name)
    learner, drawn = copy.deepcopy(lonely), sampler.draw(Generator().manual_seed(3), TASKS)
    one, many = Uncertainty(TASKS).double(), Uncertainty(TASKS).double()
    for weighting in (one, many):
        weighting.log_variance.data += torch.linspace(-1, 1, TASKS)
    losses = backward_weighted(il.lift(lonely.train(), "vmap"), drawn, one)
    wanted = accumulated(lonely)
    yield
    lifted = il.lift(learner.train(), "vmap")
    got = backward_weighted(lifted, shares.own(drawn, TASKS), many, TASKS)
    torch.testing.assert_close(got, losses, **CLOSE)
    torch.testing.assert_close(many.log_variance.grad, one.log_variance.grad, **CLOSE)
    for key, value in accumulated(learner).items():
        torch.testing.assert_close(value, wanted[key], **CLOSE)


def whole_runs(folder: Path) -> Iterator[None]:
    """A run with clipping, average, schedule and validation ends as one process's; rank 0 alone writes."""
    options: dict[str, Any] = {"steps": 5, "tasks_per_step": TASKS, "clip": 0.5, "average": 0.8, "lr": 0.01, **QUIET}
    options |= {"validate": episodes("pictures", "test")(), "validate_every": 2, "validate_tasks": 30}
    samplers = [Changed(episodes("pictures", "train")(), double) for _ in range(2)]
    options["validate"] = Changed(options["validate"], double)
    lonely, learner = protonet().double(), protonet().double()
    wanted = il.fit(lonely, samplers[0], **options)
    yield
    # Weights of its own: those of rank 0 count.
    if dist.get_rank() > 0:
        torch.nn.init.normal_(learner.encoder.convolutions[0].weight)
    out = folder / "run" if dist.get_rank() == 0 else folder / "nothing"
    history = il.fit(learner, samplers[1], out=out, **options)
    torch.testing.assert_close(torch.tensor(history.losses), torch.tensor(wanted.losses))
    torch.testing.assert_close(history.scores, wanted.scores)
    for key, value in lonely.state_dict().items():
        torch.testing.assert_close(learner.state_dict()[key], value, rtol=1e-7, atol=1e-9)
    assert_same_everywhere(weights(learner))
    assert_same_everywhere(history.rows)
    assert len((folder / "run" / "metrics.jsonl").read_text().splitlines()) == 5
    assert not (folder / "nothing").exists()
    again = protonet().double()
    second = il.fit(again, samplers[1], out=out, resume=True, **{**options, "steps": 5})
    assert (second.resumed, second.rows) == (5, history.rows)
    assert_same(again.state_dict(), learner.state_dict())
    refused(lambda: il.fit(protonet(), samplers[1], out=out, **options), il.InputError, "already holds a run")


def reports(folder: Path) -> Iterator[None]:
    """A sharded evaluation is one process's, to the bit: of an encoder that is embedded once, of MAML, of functions."""
    samplers = {
        "protonet": (protonet(), episodes("pictures", "test")(), 90),
        "maml": (case("maml-group")[0].float(), episodes("pictures", "test")(), 230),
        "cnp": (case("cnp")[0].float(), Sinusoid(), 600),
        "few": (case("maml")[0].float(), episodes("blobs", "test")(), 2),
    }
    alone = {key: il.evaluate(who, what, tasks=n, how="vmap") for key, (who, what, n) in samplers.items()}
    yield
    for key, (who, what, n) in samplers.items():
        shared = il.evaluate(who, what, tasks=n, how="vmap")
        for metric, values in alone[key].per_task.items():
            assert shared.per_task[metric].tolist() == values.tolist(), (key, metric)
        assert shared.json() == alone[key].json(), key


def interrupted(folder: Path) -> Iterator[None]:
    """Ctrl-C on the last rank stops all of them after the same step, and rank 0 saves."""
    yield

    def press(tasks: il.Task, draw: int) -> il.Task:
        if draw == 3 and dist.get_rank() == dist.get_world_size() - 1:
            os.kill(os.getpid(), signal.SIGINT)
        return tasks

    history = il.fit(maml(), Changed(Sinusoid(), press), steps=9, out=folder / "interrupted", **QUIET)
    assert (history.stopped, history.step) == ("interrupted", 3)
    assert len((folder / "interrupted" / "metrics.jsonl").read_text().splitlines()) == 3


def minutes(folder: Path) -> Iterator[None]:
    """Rank 0's clock ends the run of all, and drives the schedule."""
    yield
    history = il.fit(maml(), Sinusoid(), minutes=0.003, validate=Sinusoid(), validate_tasks=4, **QUIET)
    assert history.step >= 1
    assert_same_everywhere(history.rows)
    assert_same_everywhere(history.scores)


def settled(folder: Path) -> Iterator[None]:
    """Rank 0 chooses how tasks are lifted; whatever it is, statistics over all tasks stay those of all tasks."""
    yield
    learner = protonet()
    history = il.fit(learner, episodes("pictures", "train")(), steps=2, tasks_per_step=TASKS, progress=False)
    assert history.how in ("vmap", "loop", "chunk")
    assert_same_everywhere((history.how, history.why))
    assert_same_everywhere(weights(learner))


def stochastic(folder: Path) -> Iterator[None]:
    """Ranks draw dropout of their own for their tasks, and end with the same weights."""
    yield
    torch.manual_seed(0)
    learner, masks = il.ProtoNet(il.nets.mlp(8, 32, 16, dropout=0.5)), list[Tensor]()
    dropout = next(part for part in learner.modules() if isinstance(part, nn.Dropout))
    dropout.register_forward_hook(lambda module, x, y: masks.append(y == 0))
    il.fit(learner, episodes("blobs", "train")(), steps=2, tasks_per_step=4, **QUIET)
    assert_same_everywhere(weights(learner))
    found: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(found, masks[-1].tolist())
    assert found[0] != found[1]


def not_finite(folder: Path) -> Iterator[None]:
    """A loss that is not finite on one rank stops all with the same error; the checkpoint before it stays."""
    yield

    def spoil(tasks: il.Task, draw: int) -> il.Task:
        if draw == 3:
            tasks.query.y[-1] = torch.inf
        return tasks

    run = partial(il.fit, maml(), Changed(Sinusoid(), spoil), steps=9, out=folder / "spoilt", save_seconds=0.0, **QUIET)
    refused(run, NonFiniteLoss, "at step 3")
    assert len((folder / "spoilt" / "metrics.jsonl").read_text().splitlines()) == 2


def refusals(folder: Path) -> Iterator[None]:
    """What ranks cannot share is refused on all of them, with the remedy, before anything is written."""
    yield
    pictures, ranks = episodes("pictures", "train")(), dist.get_world_size()
    out = folder / "refused"

    def run(learner: il.Learner, sampler: Sampler, **options: Any) -> Callable[[], il.training.History]:
        return lambda: il.fit(learner, sampler, steps=1, out=out, **{"tasks_per_step": TASKS, **QUIET, **options})

    few = run(maml(), Sinusoid(), tasks_per_step=ranks - 1)
    refused(few, il.InputError, f"(--tasks-per-step) to at least {ranks}")
    refused(run(protonet(), pictures, chunk=2), il.InputError, "chunk=2 cannot be shared")
    refused(
        run(protonet(), pictures, aggregate=lambda rows: rows.mean(0)), il.InputError, "aggregate= cannot be shared"
    )
    odd = protonet("group")
    odd.head.norm_ = nn.BatchNorm1d(3)
    refused(run(odd, pictures), il.InputError, "layer 'head.norm_' (BatchNorm1d)")

    def spoil(tasks: il.Task, draw: int) -> il.Task:
        tasks.support.x[-1, 0] = torch.nan
        return tasks

    assert not out.exists()
    refused(run(maml(), Changed(Sinusoid(), spoil)), il.InputError, "are not finite")


CHECKS: dict[str, Check] = {
    **{f"gradients-{name}": partial(gradients, name=name) for name in LAWFUL},
    "gradients-sum": partial(gradients, name="protonet-running", reduction="sum", tasks=5),
    "weighted-maml": partial(weighted, name="maml"),
    "weighted-protonet": partial(weighted, name="protonet-running"),
    **{
        function.__name__.replace("_", "-"): function
        for function in (unused_parameters, aggregated, whole_runs, reports, interrupted, minutes, settled, stochastic)
    },
    "not-finite": not_finite,
    "refusals": refusals,
}
SIZES = (4, 2)


def session(rank: int, size: int, folder: Path) -> None:
    """All checks in a group of ``size``; the first one that fails ends it, since ranks may then wait for each other."""
    place = folder / str(size)
    place.mkdir(exist_ok=True)
    found = dict.fromkeys(CHECKS, "not run: another check failed before it")
    running = {name: check(place) for name, check in CHECKS.items()}
    try:
        for name, check in running.items():
            found[name] = ""
            next(check)
        dist.init_process_group(
            "gloo", init_method=f"file://{folder}/meet{size}", rank=rank, world_size=size, timeout=timedelta(seconds=60)
        )
        for name, check in running.items():
            found[name] = ""
            next(check, None)
    except BaseException:
        found[name] = traceback.format_exc()
    if dist.is_initialized():
        dist.destroy_process_group()
    (folder / f"{size}-{rank}.json").write_text(json.dumps(found))


def run(rank: int, folder: Path) -> None:
    for size in SIZES:
        if rank < size:
            session(rank, size, folder)


if __name__ == "__main__":
    # Forked before any computation, so that imports are paid for once.
    mp.start_processes(run, (Path(sys.argv[1]),), nprocs=max(SIZES), start_method="fork")
