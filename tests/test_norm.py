"""Normalization policies: named, convertible, and never changed behind one's back."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import innerloop as il
from innerloop.core import norm


def block(layer: nn.Module) -> nn.Sequential:
    """A convolution, the layer, an activation."""
    return nn.Sequential(nn.Conv2d(1, 8, 3), layer, nn.ReLU())


@pytest.mark.parametrize("policy", norm.POLICIES)
def test_a_layer_follows_its_policy(policy: str) -> None:
    """``layer`` makes what ``policy`` names, and its output has the input's shape."""
    layer = norm.layer(policy, 8)
    assert norm.policy(block(layer)) == policy
    x = torch.randn(4, 8, 3, 3)
    assert layer(x).shape == x.shape
    assert norm.folds(block(layer)) == (policy in ("group", "running", "none"))


def test_unknown_policy_is_refused() -> None:
    """The message lists the policies."""
    with pytest.raises(il.InputError, match="'layer' is unknown; choose one of group, support, running, batch, none"):
        norm.layer("layer", 8)


@pytest.mark.parametrize(
    ("layer", "policy"),
    [
        (nn.BatchNorm2d(8), "running"),
        (nn.BatchNorm1d(8), "running"),
        (nn.BatchNorm2d(8, track_running_stats=False), "batch"),
        (nn.GroupNorm(2, 8), "group"),
        (nn.LayerNorm(8), "group"),
        (nn.InstanceNorm2d(8), "group"),
        (nn.InstanceNorm2d(8, track_running_stats=True), "running"),
        (nn.Dropout(), "none"),
    ],
    ids=repr,
)
def test_torchs_own_layers_have_a_policy(layer: nn.Module, policy: str) -> None:
    """Any network gets the right name."""
    assert norm.policy(nn.Sequential(nn.Linear(8, 8), layer)) == policy


@pytest.mark.parametrize(
    ("layers", "policy"),
    [
        (["group", "running", "support", "batch"], "batch"),
        (["group", "running", "support"], "support"),
        (["group", "running"], "running"),
        (["none", "group"], "group"),
    ],
)
def test_the_most_revealing_policy_counts(layers: list[str], policy: str) -> None:
    """Where policies are mixed, the one that leaks most is named."""
    assert norm.policy(nn.Sequential(*(norm.layer(name, 8) for name in layers))) == policy


@pytest.mark.parametrize("groups", [(64, 8), (12, 4), (6, 2), (7, 1)])
def test_groups_divide_the_channels(groups: tuple[int, int]) -> None:
    """At most eight groups, as many as divide the channels."""
    assert norm.layer("group", groups[0]).num_groups == groups[1]


@pytest.mark.parametrize("old", [nn.BatchNorm2d, lambda c: norm.layer("batch", c), lambda c: norm.layer("support", c)])
@pytest.mark.parametrize("policy", norm.POLICIES)
def test_convert_keeps_scale_and_shift(old: type[nn.Module], policy: str) -> None:
    """Nested batch-norm layers are replaced in place; other layers are left alone."""
    inner = block(old(8))
    inner[1].weight.data.uniform_(0.5, 2)
    inner[1].bias.data.normal_()
    weight, bias = inner[1].weight.detach().clone(), inner[1].bias.detach().clone()
    net = nn.Sequential(nn.Identity(), inner, nn.GroupNorm(1, 8))
    assert norm.convert(net, policy) is net
    assert isinstance(net[2], nn.GroupNorm)
    assert norm.policy(inner) == policy
    if policy != "none":
        assert torch.equal(inner[1].weight, weight)
        assert torch.equal(inner[1].bias, bias)


def test_convert_keeps_dtype_mode_and_wanted_statistics() -> None:
    """The new layer has the old one's dtype and mode; running statistics are not thrown away where they are wanted."""
    net = block(nn.BatchNorm2d(8)).double().eval()
    norm.calibrate(net, [5 + torch.randn(4, 1, 6, 6, dtype=torch.float64)])
    mean = net[1].running_mean.clone()
    assert torch.equal(norm.convert(net, "running")[1].running_mean, mean)
    assert norm.convert(net, "support")[1].weight.dtype == torch.float64
    assert not net[1].training


def test_calibrate_gives_exact_averages() -> None:
    """Running statistics become the average over batches of each batch's mean and unbiased variance."""
    net = nn.Sequential(nn.BatchNorm2d(2, momentum=0.3), nn.Dropout(0.5)).train()
    # What it saw before plays no part.
    net(7 + torch.randn(4, 2, 3, 3))
    batches = [torch.randn(n, 2, 3, 3) + n for n in (4, 6, 5)]
    norm.calibrate(net, batches)
    means = torch.stack([x.mean((0, 2, 3)) for x in batches]).mean(0)
    variances = torch.stack([x.var((0, 2, 3)) for x in batches]).mean(0)
    torch.testing.assert_close(net[0].running_mean, means)
    torch.testing.assert_close(net[0].running_var, variances)
    assert int(net[0].num_batches_tracked) == 3
    assert net[0].momentum == 0.3
    assert [part.training for part in net.modules()] == [True, True, True]


def test_calibrate_leaves_the_rest_alone() -> None:
    """No parameter changes, nor a layer of another policy, nor a network without running statistics."""
    net = block(nn.BatchNorm2d(8)).eval()
    before = {name: p.clone() for name, p in net.named_parameters()}
    norm.calibrate(net, [torch.randn(4, 1, 6, 6)])
    assert all(torch.equal(p, before[name]) for name, p in net.named_parameters())
    assert not any(part.training for part in net.modules())
    grouped = block(nn.GroupNorm(2, 8))
    norm.calibrate(grouped, iter(()))
    assert grouped.training


def test_deep_calibration_sees_normalized_inputs() -> None:
    """A second layer is calibrated on what the first one, in training mode, hands on."""
    net = nn.Sequential(nn.BatchNorm2d(2), nn.BatchNorm2d(2)).train()
    norm.calibrate(net, [5 + 3 * torch.randn(64, 2, 4, 4)])
    torch.testing.assert_close(net[1].running_mean, torch.zeros(2), atol=1e-5, rtol=0)
    torch.testing.assert_close(net[1].running_var, torch.ones(2), atol=1e-2, rtol=0)


def test_inner_loop_refuses_uncalibrated_statistics() -> None:
    """The layer is named, before any training; once calibrated it is accepted."""
    net = nn.Sequential(nn.Identity(), block(nn.BatchNorm2d(8)), nn.Flatten(), nn.Linear(8, 2))
    with pytest.raises(il.InputError, match=r"layer '1\.1' \(BatchNorm2d\)"):
        il.MAML(net)
    norm.calibrate(net, [torch.randn(4, 1, 3, 3)])
    learner = il.MAML(net).train()
    assert learner.norm == "running"
    assert not net[1][1].training
    assert net[1][2].training
    assert il.MAML(norm.convert(net, "support")).norm == "support"


@pytest.mark.parametrize(
    ("layer", "named"),
    [
        (nn.BatchNorm2d(8, track_running_stats=False), "BatchNorm2d"),
        (nn.LayerNorm([8, 2, 2]), "LayerNorm"),
        (nn.InstanceNorm2d(8, affine=True), "InstanceNorm2d"),
        (nn.BatchNorm2d(8, affine=False, track_running_stats=False), None),
        (nn.InstanceNorm2d(8), None),
        (nn.GroupNorm(2, 8), None),
        (norm.layer("batch", 8), None),
        (norm.layer("support", 8), None),
    ],
    ids=repr,
)
def test_vmap_is_refused_where_its_second_order_gradient_is_wrong(layer: nn.Module, named: str | None) -> None:
    """Explicit vmap names the layer; a loop, and first order, run. The other layers are right: loop = vmap."""
    net = nn.Sequential(nn.Conv2d(1, 8, 2), layer, nn.Tanh(), nn.Conv2d(8, 8, 2), nn.Flatten(), nn.Linear(8, 2))
    net.double()
    y = torch.eye(2).repeat(2, 1).double().expand(3, 4, 2)
    tasks = il.Task(*(il.Examples(torch.randn(3, 4, 1, 3, 3).double(), y) for _ in range(2)))
    maml = il.MAML(net, steps=2)
    losses = il.lift(maml, "loop").backward(tasks)
    wanted = [p.grad for p in net.parameters()]
    net.zero_grad()
    lifted = il.lift(maml, "vmap")
    if named is not None:
        with pytest.raises(il.InputError, match=rf"layer 'net.1' \({named}\) has a wrong second-order gradient"):
            lifted.backward(tasks)
        auto = il.lift(maml)
        torch.testing.assert_close(auto.backward(tasks), losses)
        assert auto.how in ("loop", "patches")
        assert "vmap does not run this learner" in auto.why
        lifted = il.lift(il.MAML(net, steps=2, first_order=True), "vmap")
    torch.testing.assert_close(lifted.backward(tasks), losses)
    if named is None:
        for p, slope in zip(net.parameters(), wanted, strict=True):
            torch.testing.assert_close(p.grad, slope, rtol=1e-9, atol=1e-11)


def support_norm() -> norm.SupportNorm:
    """One with a scale and a shift of its own."""
    layer = norm.SupportNorm(3).double()
    layer.weight.data.uniform_(0.5, 2)
    layer.bias.data.normal_()
    return layer


def batch_norm(x: Tensor, layer: norm.SupportNorm) -> Tensor:
    """Torch's, with the statistics of x."""
    return nn.functional.batch_norm(x, None, None, layer.weight, layer.bias, training=True)


@pytest.mark.parametrize("shape", [(6, 3), (6, 3, 4), (6, 3, 4, 4)])
def test_support_norm_records_and_replays(shape: tuple[int, ...]) -> None:
    """Alone and while recording it is batch norm; while replaying it uses the recorded statistics on whatever comes."""
    layer = support_norm()
    support = 2 + 3 * torch.randn(shape, dtype=torch.float64)
    torch.testing.assert_close(layer(support), batch_norm(support, layer))
    with norm.recording() as statistics:
        recorded = layer(support)
    torch.testing.assert_close(recorded, batch_norm(support, layer))
    axes = [0, *range(2, len(shape))]
    torch.testing.assert_close(statistics[0][0], support.mean(axes))
    torch.testing.assert_close(statistics[0][1], support.var(axes, unbiased=False))
    with norm.replaying(statistics):
        replayed = layer(support)
    torch.testing.assert_close(replayed, recorded)
    with norm.replaying(statistics):
        one = layer(support[:1])
    torch.testing.assert_close(one, recorded[:1])


def test_layers_replay_in_the_order_of_recording() -> None:
    """Each layer gets its own statistics back; outside the blocks nothing is remembered."""
    net = nn.Sequential(support_norm(), nn.Tanh(), support_norm())
    support = torch.randn(6, 3, dtype=torch.float64)
    with norm.recording() as statistics:
        wanted = net(support)
    assert len(statistics) == 2
    with norm.replaying(statistics):
        torch.testing.assert_close(net(support[:2]), wanted[:2])
    other = torch.randn(6, 3, dtype=torch.float64)
    torch.testing.assert_close(net[0](other), batch_norm(other, net[0]))
    assert len(statistics) == 2


def test_recording_ends_with_an_error_too() -> None:
    """An exception inside the block leaves no recorder behind."""
    layer, x = support_norm(), torch.randn(6, 3, dtype=torch.float64)
    with pytest.raises(ZeroDivisionError), norm.recording() as statistics:
        1 / 0  # noqa: B018
    layer(x)
    assert statistics == []


@pytest.mark.parametrize("policy", ["support", "batch", "group"])
def test_policies_other_than_running_keep_no_buffers(policy: str) -> None:
    """Nothing about the data stays in such a layer: only scale and shift are saved."""
    assert sorted(norm.layer(policy, 8).state_dict()) == ["bias", "weight"]


@pytest.mark.parametrize("policy", ["batch", "support"])
def test_batch_statistics_in_either_kernel(policy: str) -> None:
    """The fused kernel and the one for vmap agree; training and evaluation mode agree."""
    layer = norm.layer(policy, 3).double()
    layer.weight.data.uniform_(0.5, 2)
    x = torch.randn(6, 3, 4, 4, dtype=torch.float64)
    with norm.fused():
        fused = layer(x)
    torch.testing.assert_close(layer(x), fused)
    torch.testing.assert_close(layer.eval()(x), fused)
    torch.testing.assert_close(fused, batch_norm(x, layer))


def test_convert_replaces_a_layer_that_is_the_module_itself() -> None:
    """The result is the policy's layer, with the scale of the old one; a flat layer stays flat."""
    old = nn.BatchNorm2d(8)
    nn.init.constant_(old.weight, 3.0)
    new = norm.convert(old, "support")
    assert isinstance(new, norm.SupportNorm)
    assert torch.equal(new.weight, torch.full((8,), 3.0))
    flat = norm.convert(nn.Sequential(nn.BatchNorm1d(4, track_running_stats=False)), "running")
    assert flat(torch.zeros(3, 4)).shape == (3, 4)


def conv(policy: str, shape: tuple[int, int, int], pool: str = "max") -> il.nets.Conv4:
    """A network whose layers scale and shift, some of them by a negative number."""
    net = il.nets.conv4(shape, width=32, norm=policy, pool=pool, pools=3).double()
    for p in net.parameters():
        p.data.add_(0.3 * torch.randn_like(p))
    for part in net.norms:
        part.weight.data[0] *= -1
    return net


def derivatives(net: nn.Module, x: Tensor) -> list[Tensor]:
    """The outputs, a gradient, and a derivative of it, the same for every network with such weights."""
    g = torch.Generator().manual_seed(0)
    like = lambda t: torch.randn(t.shape, generator=g, dtype=t.dtype)  # noqa: E731
    parameters, y = list(net.parameters()), net(x)
    first = torch.autograd.grad((y * like(y)).sum(), parameters, create_graph=True)
    second = torch.autograd.grad(sum((d * like(d)).sum() for d in first), parameters, allow_unused=True)
    return [y, *first, *(torch.zeros(()) if d is None else d for d in second)]


@pytest.mark.parametrize("pool", ["max", "stride"])
@pytest.mark.parametrize("shape", [(1, 12, 12), (3, 9, 9)], ids=["gray", "color"])
@pytest.mark.parametrize("policy", ["batch", "support", "running"])
def test_a_norm_within_the_kernel_is_the_norm_after_it(policy: str, shape: tuple[int, int, int], pool: str) -> None:
    """Outputs, both derivatives and running statistics; a hook on the layer makes it run by itself, and sees it."""
    net = conv(policy, shape, pool)
    plain, seen = copy.deepcopy(net), []
    for part in plain.norms:
        part.register_forward_hook(lambda layer, x, y: seen.append(y.shape))
    for mode in (True, False):
        x = torch.rand(6, *shape, dtype=torch.float64) + mode
        torch.testing.assert_close(derivatives(net.train(mode), x), derivatives(plain.train(mode), x))
        for buffer, wanted in zip(net.buffers(), plain.buffers(), strict=True):
            torch.testing.assert_close(buffer, wanted)
    assert len(seen) == 8


@pytest.mark.parametrize("mode", [True, False])
def test_momentum_none_averages_what_a_kernel_holds(mode: bool) -> None:
    """The running statistics of the first layer are the mean of the batches', as torch's own."""
    net = conv("running", (1, 12, 12)).train(mode)
    plain = copy.deepcopy(net)
    plain.norms[0].register_forward_hook(lambda layer, x, y: None)
    for part in (*net.norms, *plain.norms):
        part.momentum = None
    for _ in range(3):
        x = torch.rand(4, 1, 12, 12, dtype=torch.float64)
        torch.testing.assert_close(net(x), plain(x))
    for buffer, wanted in zip(net.buffers(), plain.buffers(), strict=True):
        torch.testing.assert_close(buffer, wanted)


def test_support_statistics_of_a_kernel_are_recorded_and_replayed() -> None:
    """One query through the recorded statistics gives what it gives among the support set; blank images are fine."""
    net, support = conv("support", (1, 12, 12)), torch.rand(6, 1, 12, 12, dtype=torch.float64)
    support[0] = 0
    with norm.recording() as statistics:
        wanted = net(support)
    first = net.convolutions[0](support)
    torch.testing.assert_close(statistics[0], (first.mean((0, 2, 3)), first.var((0, 2, 3), unbiased=False)))
    assert len(statistics) == 4
    with norm.replaying(statistics):
        torch.testing.assert_close(net(support[:1]), wanted[:1])
    blank = net(torch.zeros_like(support))
    assert blank.isfinite().all()


@pytest.mark.parametrize("mode", [True, False])
def test_a_kernel_that_holds_a_norm_in_mixed_precision(mode: bool) -> None:
    """Features in bfloat16, statistics in float32: close to those of single precision."""
    net, x = conv("running", (1, 12, 12)).float().train(mode), torch.rand(6, 1, 12, 12)
    wanted = copy.deepcopy(net)(x)
    with torch.autocast("cpu", torch.bfloat16):
        found = net(x)
    assert found.dtype == torch.bfloat16
    assert float((found - wanted).detach().abs().max() / wanted.detach().abs().max()) < 0.05
    assert net.norms[0].running_mean.dtype == torch.float32


@pytest.mark.parametrize("net", [conv("support", (1, 12, 12)), nn.Sequential(nn.Conv2d(1, 3, 3), norm.SupportNorm(3))])
def test_no_support_set_is_refused_by_its_name(net: nn.Module) -> None:
    """Statistics of nothing would be NaN: pre-training batches have no support set."""
    learner = il.FineTune(net.float(), classes=3, features=32 if isinstance(net, il.nets.Conv4) else 300)
    batch = il.Task(
        il.Examples(torch.rand(0, 1, 12, 12), torch.rand(0, 3)),
        il.Examples(torch.rand(4, 1, 12, 12), torch.eye(3)[[0, 1, 2, 0]]),
    )
    with pytest.raises(il.InputError, match="0 support examples: use the policy 'running'"):
        learner.loss(batch)


@pytest.mark.parametrize(
    "kind", [{"dilation": 2, "padding": 2}, {"padding_mode": "circular"}, {"padding": "same"}], ids=str
)
def test_other_convolutions_keep_their_norm_apart(kind: dict[str, object]) -> None:
    """The patches of a plain convolution would give the wrong statistics."""
    convolution = nn.Conv2d(1, 32, 3, bias=False, dtype=torch.float64, **{"padding": 1, **kind})
    layer, x = norm.layer("batch", 32).double(), torch.rand(6, 1, 12, 12, dtype=torch.float64)
    y, shift = norm.convolved(convolution, layer, x)
    assert shift is None
    torch.testing.assert_close(y, layer(convolution(x)))


def test_a_backward_hook_sees_the_layer() -> None:
    """What looks at gradients makes the layer run by itself too."""
    net, seen = conv("batch", (1, 12, 12)), []
    net.norms[0].register_full_backward_hook(lambda layer, inner, outer: seen.append(outer[0].shape))
    net(torch.rand(6, 1, 12, 12, dtype=torch.float64)).sum().backward()
    assert seen == [(6, 32, 12, 12)]


def test_one_number_has_no_variance() -> None:
    """Refused as by the layer alone; the running statistics stay finite."""
    net = il.nets.conv4((1, 1, 1), pools=0)
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        net(torch.rand(1, 1, 1, 1))
    assert all(buffer.isfinite().all() for buffer in net.buffers())


KINDS = [
    *(
        lambda kind=kind, **o: kind(8, **o)
        for kind in (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
    ),
    *(
        lambda kind=kind, **o: kind(8, track_running_stats=True, **{"affine": True, **o})
        for kind in (nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)
    ),
]


@pytest.mark.parametrize("through", [["support"], ["batch"], ["batch", "support"]], ids=str)
@pytest.mark.parametrize(
    "options", [{}, {"eps": 0.25, "momentum": 0.4}, {"affine": False, "eps": 0.5}, {"momentum": None}], ids=str
)
@pytest.mark.parametrize("make", KINDS, ids=lambda make: type(make()).__name__)
def test_convert_comes_back(make: Callable[..., nn.Module], options: dict[str, Any], through: list[str]) -> None:
    """Kind, eps, momentum, scale and shift, frozen or not, mode and type survive a way there and back."""
    old = make(**options).double().eval()
    if old.weight is not None:
        old.weight.data.uniform_(0.5, 2)
        old.bias.requires_grad_(False)
    net = nn.Sequential(old, nn.Linear(1, 1).double())
    for policy in through:
        assert norm.policy(norm.convert(net, policy)) == policy
        assert net[0].eps == old.eps
    new = norm.convert(net, "running")[0]
    assert type(new) is type(old)
    assert repr(new) == repr(old)
    assert not new.training
    assert new.running_mean.dtype == torch.float64
    if old.weight is not None:
        assert torch.equal(new.weight, old.weight)
        assert (new.weight.requires_grad, new.bias.requires_grad) == (True, False)


@pytest.mark.parametrize("policy", ["support", "batch", "group"])
@pytest.mark.parametrize("affine", [True, False])
def test_a_converted_layer_has_the_eps_of_the_old_one(policy: str, affine: bool) -> None:
    """Seen in what it computes: torch's own with that eps."""
    x = torch.randn(6, 8, 3, dtype=torch.float64)
    old = nn.BatchNorm1d(8, eps=2.0, affine=affine).double()
    wanted = nn.GroupNorm(8, 8, eps=2.0, affine=False)(x) if policy == "group" else old.train()(x)
    torch.testing.assert_close(norm.convert(old, policy)(x), wanted)


def test_instance_norm_becomes_groups_of_one_channel() -> None:
    """What it computes in training mode stays."""
    x = torch.randn(6, 8, 3, dtype=torch.float64)
    old = nn.InstanceNorm1d(8, affine=True, track_running_stats=True, eps=0.5).double()
    torch.testing.assert_close(norm.convert(old, "group")(x), old(x))


def test_a_layer_in_two_places_is_replaced_by_one() -> None:
    """In one module under two names, or in two modules."""
    layer = nn.BatchNorm2d(8)
    net = nn.Sequential(layer, block(layer), layer)
    norm.convert(net, "support")
    assert isinstance(net[0], norm.SupportNorm)
    assert net[0] is net[1][1] is net[2]


@pytest.mark.parametrize("kind", [nn.LazyBatchNorm1d, nn.LazyBatchNorm2d, nn.LazyBatchNorm3d])
def test_lazy_layers_are_converted_once_they_know_their_channels(kind: type[nn.Module]) -> None:
    """Before that they are refused by name, and nothing is changed."""
    net = nn.Sequential(nn.BatchNorm2d(8), kind(eps=0.5))
    with pytest.raises(il.InputError, match=r"layer '1' \(Lazy.*run one batch"):
        norm.convert(net, "support")
    assert norm.policy(net[0]) == "running"
    net[1](torch.rand(2, 3, *[4] * (int(kind.__name__[-2]) if kind is not nn.LazyBatchNorm1d else 1)))
    assert norm.convert(net, "support")[1].eps == 0.5


def test_a_policy_is_checked_before_anything_is_changed() -> None:
    """Also where there is nothing to convert."""
    with pytest.raises(il.InputError, match="'layer' is unknown"):
        norm.convert(nn.Linear(1, 1), "layer")


@pytest.mark.parametrize("momentum", [0.1, None])
def test_calibrate_averages_instance_norm_too(momentum: float | None) -> None:
    """Its running statistics are the averages over examples and batches; an inner loop then takes it."""
    net = nn.Sequential(nn.InstanceNorm1d(2, track_running_stats=True, momentum=momentum)).double()
    batches = [torch.randn(4, 2, 5).double() + n for n in range(3)]
    norm.calibrate(net, batches)
    means = torch.stack([x.mean((0, 2)) for x in batches]).mean(0)
    torch.testing.assert_close(net[0].running_mean, means)
    assert net[0].momentum == momentum
    norm.check_inner_loop(net)


def test_a_calibration_that_fails_leaves_modes_and_momenta() -> None:
    """What a pass over broken inputs leaves is the network as it was, but for the statistics."""
    net = nn.Sequential(nn.BatchNorm1d(2, momentum=0.3), nn.Linear(2, 2)).eval()
    with pytest.raises(RuntimeError):
        norm.calibrate(net, [torch.randn(4, 3)])
    assert net[0].momentum == 0.3
    assert not net[0].training
