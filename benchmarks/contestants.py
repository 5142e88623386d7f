"""One contestant of benchmarks/speed.py in a process of its own: built once, run whenever a line comes in.

    python benchmarks/contestants.py NAME        then a line "TIMES" on standard input runs it so often

A builder returns a function without arguments: one unit of the work that is timed. All of a group get the same
tensors, the same initial weights where they can, and nothing of another one's process.
"""

from __future__ import annotations

import importlib
import io
import os
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

Step = Callable[[], object]
CONTESTANTS: dict[str, Callable[[], Step]] = {}
DATA = Path(os.environ.get("INNERLOOP_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))


def contestant(build: Callable[[], Step]) -> Callable[[], Step]:
    CONTESTANTS[build.__name__] = build
    return build


Loss = Callable[[Tensor, Tensor], Tensor]


def backward_of(learner: nn.Module, tasks: tuple, **options: object) -> Step:
    """The outer gradient as innerloop has it."""
    import innerloop as il

    lifted = il.lift(learner, **options)

    def step() -> None:
        learner.zero_grad()
        lifted.backward(tasks)

    return step


def by_hand(net: nn.Module, batches: tuple[Tensor, ...], loss: Loss, steps: int, lr: float) -> Step:
    """Second-order MAML as one writes it without a library."""

    def step() -> None:
        net.zero_grad()
        for xs, ys, xq, yq in zip(*batches, strict=True):
            phi = dict(net.named_parameters())
            for _ in range(steps):
                inner = loss(functional_call(net, phi, (xs,)), ys)
                slopes = torch.autograd.grad(inner, list(phi.values()), create_graph=True)
                phi = {name: p - lr * g for (name, p), g in zip(phi.items(), slopes, strict=True)}
            (loss(functional_call(net, phi, (xq,)), yq) / len(batches[0])).backward()

    return step


def with_higher(net: nn.Module, batches: tuple[Tensor, ...], loss: Loss, steps: int, lr: float) -> Step:
    import higher

    inner = torch.optim.SGD(net.parameters(), lr=lr)

    def step() -> None:
        net.zero_grad()
        for xs, ys, xq, yq in zip(*batches, strict=True):
            with higher.innerloop_ctx(net, inner, copy_initial_weights=False) as (fast, optimizer):
                for _ in range(steps):
                    optimizer.step(loss(fast(xs), ys))
                (loss(fast(xq), yq) / len(batches[0])).backward()

    return step


# MAML on images: conv-4, 5 ways, 1 shot, 15 queries, 16 tasks, one second-order step.


def image_tasks(tasks: int = 16, ways: int = 5, shots: int = 1, queries: int = 15) -> tuple[Tensor, ...]:
    """Support and query images and labels, ``[T, N, 1, 28, 28]`` and ``[T, N]``."""
    g = torch.Generator().manual_seed(0)
    xs, xq = (torch.rand(tasks, ways * n, 1, 28, 28, generator=g) for n in (shots, queries))
    ys, yq = (torch.arange(ways).repeat(n).expand(tasks, -1) for n in (shots, queries))
    return xs, ys, xq, yq


def textbook_net(out: int | None = 5, width: int = 64) -> nn.Module:
    """Conv-4 as it is usually written: convolution, batch norm, ReLU, pooling."""
    layers: list[nn.Module] = []
    for a, b in ((1, width), (width, width), (width, width), (width, width)):
        layers += [nn.Conv2d(a, b, 3, padding=1, bias=False), nn.BatchNorm2d(b, track_running_stats=False)]
        layers += [nn.ReLU(), nn.MaxPool2d(2)]
    head = nn.Linear(width, out) if out is not None else nn.Identity()
    return nn.Sequential(*layers, nn.Flatten(), head)


def lifted_images(**options: object) -> Step:
    import innerloop as il
    from innerloop.core.allocator import keep_memory

    keep_memory()
    torch.manual_seed(0)
    maml = il.MAML(il.nets.conv4((1, 28, 28), out=5, norm="batch"), steps=1, lr=0.4)
    xs, ys, xq, yq = image_tasks()
    tasks = il.Task(il.Examples(xs, F.one_hot(ys, 5).float()), il.Examples(xq, F.one_hot(yq, 5).float()))
    return backward_of(maml, tasks, **options)


@contestant
def maml_innerloop() -> Step:
    return lifted_images(how="loop")


@contestant
def maml_innerloop_vmap() -> Step:
    return lifted_images(how="vmap")


@contestant
def maml_innerloop_compiled() -> Step:
    return lifted_images(how="loop", compiled=True)


@contestant
def maml_by_hand() -> Step:
    torch.manual_seed(0)
    return by_hand(textbook_net(), image_tasks(), F.cross_entropy, steps=1, lr=0.4)


@contestant
def maml_higher() -> Step:
    torch.manual_seed(0)
    return with_higher(textbook_net(), image_tasks(), F.cross_entropy, steps=1, lr=0.4)


@contestant
def maml_higher_our_net() -> Step:
    """The same with innerloop's network, memory layout and allocator."""
    import innerloop as il
    from innerloop.core.allocator import keep_memory
    from innerloop.core.layout import fast_layout

    class Fast(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = il.nets.conv4((1, 28, 28), out=5, norm="batch")

        def forward(self, x: Tensor) -> Tensor:
            return self.net(fast_layout(x))

    keep_memory()
    torch.manual_seed(0)
    return with_higher(Fast(), image_tasks(), F.cross_entropy, steps=1, lr=0.4)


# MAML on sinusoids: 1-40-40-1, 25 tasks, 10 shots, 10 queries, 5 second-order steps.


def sinusoids() -> tuple[Tensor, ...]:
    import innerloop as il

    (xs, ys), (xq, yq) = il.data.Sinusoid(shots=10, queries=10).draw(torch.Generator().manual_seed(0), 25)
    return xs, ys, xq, yq


def small_net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(1, 40), nn.ReLU(), nn.Linear(40, 40), nn.ReLU(), nn.Linear(40, 1))


def lifted_sinusoids(**options: object) -> Step:
    import innerloop as il

    maml = il.MAML(small_net(), steps=5, lr=0.01, likelihood=il.Gaussian(scale=1.0))
    xs, ys, xq, yq = sinusoids()
    tasks = il.Task(il.Examples(xs, ys), il.Examples(xq, yq))
    return backward_of(maml, tasks, **options)


@contestant
def sines_innerloop() -> Step:
    return lifted_sinusoids(how="vmap")


@contestant
def sines_innerloop_loop() -> Step:
    return lifted_sinusoids(how="loop")


@contestant
def sines_innerloop_compiled() -> Step:
    return lifted_sinusoids(how="vmap", compiled=True)


@contestant
def sines_by_hand() -> Step:
    return by_hand(small_net(), sinusoids(), F.mse_loss, steps=5, lr=0.01)


@contestant
def sines_higher() -> Step:
    return with_higher(small_net(), sinusoids(), F.mse_loss, steps=5, lr=0.01)


@contestant
def sines_torchopt() -> Step:
    import torchopt

    net, batches = small_net(), sinusoids()
    inner = torchopt.MetaSGD(net, lr=0.01)

    def step() -> None:
        net.zero_grad()
        start = torchopt.extract_state_dict(net, by="reference")
        start_of_inner = torchopt.extract_state_dict(inner, by="reference")
        for xs, ys, xq, yq in zip(*batches, strict=True):
            for _ in range(5):
                inner.step(F.mse_loss(net(xs), ys))
            (F.mse_loss(net(xq), yq) / len(batches[0])).backward()
            torchopt.recover_state_dict(net, start)
            torchopt.recover_state_dict(inner, start_of_inner)

    return step


@contestant
def sines_jax() -> Step:
    import jax
    from jax import numpy as jnp

    net = small_net()
    theta = [jnp.array(p.detach().numpy()) for p in net.parameters()]
    batch = [jnp.array(part.numpy()) for part in sinusoids()]

    def forward(p: list, x: object) -> object:
        for w, b in zip(p[:-2:2], p[1:-2:2], strict=True):
            x = jax.nn.relu(x @ w.T + b)
        return x @ p[-2].T + p[-1]

    def error(p: list, x: object, y: object) -> object:
        return ((forward(p, x) - y) ** 2).mean()

    def task_loss(p: list, xs: object, ys: object, xq: object, yq: object) -> object:
        for _ in range(5):
            p = [w - 0.01 * g for w, g in zip(p, jax.grad(error)(p, xs, ys), strict=True)]
        return error(p, xq, yq)

    def loss(p: list, *batch: object) -> object:
        return jax.vmap(task_loss, (None, 0, 0, 0, 0))(p, *batch).mean()

    compiled = jax.jit(jax.value_and_grad(loss))
    return lambda: jax.block_until_ready(compiled(theta, *batch))


# ProtoNet: 60 ways, 1 shot, 5 queries; forward, backward and a step of Adam.


def lifted_protonet(precision: str | None) -> Step:
    import innerloop as il
    from innerloop.core.allocator import keep_memory

    keep_memory()
    torch.manual_seed(0)
    learner = il.ProtoNet(il.nets.conv4((1, 28, 28)), scale=0.1)
    xs, ys, xq, yq = image_tasks(1, 60, 1, 5)
    tasks = il.Task(il.Examples(xs, F.one_hot(ys, 60).float()), il.Examples(xq, F.one_hot(yq, 60).float()))
    lifted, optimizer = (
        il.lift(learner, "loop", precision=precision),
        torch.optim.Adam(learner.parameters(), lr=1e-3, fused=True),
    )

    def step() -> None:
        optimizer.zero_grad()
        lifted.backward(tasks)
        optimizer.step()

    return step


@contestant
def protonet_innerloop() -> Step:
    return lifted_protonet(None)


@contestant
def protonet_innerloop_bfloat16() -> Step:
    return lifted_protonet("bfloat16")


@contestant
def protonet_easyfsl() -> Step:
    # Its methods import all its networks, and those torchvision, which nothing here uses.
    resnet = types.ModuleType("torchvision.models.resnet")
    for name in ("BasicBlock", "Bottleneck", "conv1x1", "conv3x3"):
        setattr(resnet, name, nn.Module)
    for name in ("torchvision", "torchvision.models"):
        sys.modules.setdefault(name, types.ModuleType(name))
    sys.modules["torchvision.models.resnet"] = resnet
    methods = importlib.import_module("easyfsl.methods")
    torch.manual_seed(0)
    model = methods.PrototypicalNetworks(textbook_net(out=None))
    (xs,), (ys,), (xq,), (yq,) = image_tasks(1, 60, 1, 5)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)

    def step() -> None:
        optimizer.zero_grad()
        model.process_support_set(xs, ys)
        F.cross_entropy(model(xq), yq).backward()
        optimizer.step()

    return step


# Drawing a 20-way 5-shot 15-query episode; evaluating 5-way 5-shot episodes.


def pools() -> object:
    import innerloop as il

    return il.data.omniglot(DATA / "omniglot") if (DATA / "omniglot").is_dir() else il.data.glyphs()


@contestant
def draw_innerloop() -> Step:
    import innerloop as il

    sampler, generator = il.FewShot(pools().test, ways=20, shots=5, queries=15), torch.Generator().manual_seed(0)
    return lambda: sampler.draw(generator, 1)


@contestant
def draw_files() -> Step:
    """A loader that opens and decodes one PNG an example, from memory: a disk would only be slower."""
    from PIL import Image

    pool, generator = pools().test, np.random.default_rng(0)
    files = []
    for image in pool.x[:, 0].numpy():
        buffer = io.BytesIO()
        Image.fromarray(image).resize((105, 105)).save(buffer, "png")
        files.append(buffer.getvalue())
    starts = np.concatenate([[0], pool.sizes.cumsum(0)])

    def load(index: int) -> Tensor:
        image = Image.open(io.BytesIO(files[index])).convert("L").resize((28, 28))
        return torch.from_numpy(np.asarray(image, dtype=np.float32) / 255)[None]

    def step() -> tuple[Tensor, Tensor]:
        classes = generator.choice(pool.classes, 20, replace=False)
        chosen = [starts[c] + generator.choice(int(pool.sizes[c]), 20, replace=False) for c in classes]
        images = torch.stack([torch.stack([load(i) for i in each]) for each in chosen])
        return images[:, :5], images[:, 5:]

    return step


def trained_protonet() -> object:
    import innerloop as il
    from innerloop.core.allocator import keep_memory

    keep_memory()
    torch.manual_seed(0)
    return il.ProtoNet(il.nets.conv4((1, 28, 28), width=64)).eval()


@contestant
def evaluate_innerloop() -> Step:
    import innerloop as il

    learner, sampler = trained_protonet(), il.FewShot(pools().test, ways=5, shots=5, queries=15)
    return lambda: il.evaluate(learner, sampler, tasks=10_000, open=False)


@contestant
def evaluate_episodes() -> Step:
    """One hundredth of it, every episode embedded by itself, as the usual loop does."""
    import innerloop as il

    learner, sampler = trained_protonet(), il.FewShot(pools().test, ways=5, shots=5, queries=15)
    generator = torch.Generator().manual_seed(0)

    def step() -> None:
        with torch.no_grad():
            for _ in range(100):
                lifted = il.lift(learner, "loop")
                task = sampler.draw(generator, 1)
                (lifted.predict(task)[0, 0].argmax(-1) == task.query.y[0].argmax(-1)).float().mean()

    return step


def main() -> None:
    step = CONTESTANTS[sys.argv[1]]()
    step()
    step()
    print("ready", flush=True)
    for line in sys.stdin:
        times = int(line)
        start = time.perf_counter()
        for _ in range(times):
            step()
        print((time.perf_counter() - start) / times, flush=True)


if __name__ == "__main__":
    main()
