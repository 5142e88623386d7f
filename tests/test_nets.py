"""Networks: shapes, options, and errors that name the remedy."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import innerloop as il
from innerloop import nets

FLAT: dict[str, Any] = {"pool": "stride", "flat": True}


@pytest.mark.parametrize("pool", ["max", "stride"])
@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (3, 84, 84)])
def test_conv4_says_its_features(shape: tuple[int, int, int], pool: Any) -> None:
    """``features`` is what comes out, as vectors and as maps, at the customary sizes."""
    x = torch.randn(2, *shape)
    for options in ({}, {"maps": True, "pools": 2}):
        net = nets.conv4(shape, width=8, norm="group", pool=pool, **options)
        assert net(x).shape == (2, *net.features)
    side = {28: 1, 32: 2, 84: 5}[shape[1]]
    assert nets.conv4(shape, width=8, pool="max").features == (8 * side * side,)
    assert nets.conv4(shape, width=8, pool="stride").features == (8,)
    flat, maps = (
        nets.conv4(shape, width=8, norm="none", **kind) for kind in (FLAT, FLAT | {"flat": False, "maps": True})
    )
    flat.load_state_dict(maps.state_dict())
    assert flat(x).equal(maps(x).flatten(1))
    assert flat.features == (8 * {28: 2, 32: 2, 84: 6}[shape[1]] ** 2,)


@pytest.mark.parametrize("options", [{"pool": "max"}, {"pool": "stride", "maps": True}], ids=str)
def test_flat_features_are_of_strides(options: dict[str, Any]) -> None:
    """Max pooling has no mean that could be left out, and maps are flat in no way."""
    with pytest.raises(il.InputError, match="set flat=False"):
        nets.conv4(**FLAT | options)


def test_conv4_poolings() -> None:
    """Max pooling rounds a side down, strides round it up; blocks without pooling keep it."""
    sides = {pools: nets.conv4((1, 28, 28), pools=pools, maps=True).features[1] for pools in range(5)}
    assert sides == {0: 28, 1: 14, 2: 7, 3: 3, 4: 1}
    sides = {pools: nets.conv4((1, 28, 28), pools=pools, maps=True, pool="stride").features[1] for pools in range(5)}
    assert sides == {0: 28, 1: 14, 2: 7, 3: 4, 4: 2}


def test_conv4_is_convolution_norm_relu_pool() -> None:
    """Pooling before the ReLU gives the numbers of the published order."""
    net = nets.conv4((1, 8, 8), width=(4, 6), norm="group", pools=1)
    x = torch.randn(3, 1, 8, 8)
    first = torch.relu(net.norms[0](net.convolutions[0](x)))
    second = torch.relu(net.norms[1](net.convolutions[1](nn.functional.max_pool2d(first, 2))))
    torch.testing.assert_close(net(x), second.flatten(1))


def test_conv4_classifier_widths_and_bias() -> None:
    """``out`` adds a linear layer; widths may differ; a bias stands where no normalization would cancel it."""
    net = nets.conv4((1, 28, 28), width=(4, 6, 8, 10), out=5)
    assert net(torch.randn(2, 1, 28, 28)).shape == (2, 5)
    assert [c.out_channels for c in net.convolutions] == [4, 6, 8, 10]
    assert all(c.bias is None for c in net.convolutions)
    assert all(c.bias is not None for c in nets.conv4(norm="none").convolutions)
    assert il.norm.policy(nets.conv4()) == "running"


def test_conv4_dropout_is_for_training() -> None:
    """Channels are dropped in training mode only."""
    net = nets.conv4((1, 8, 8), width=8, norm="group", pools=1, dropout=0.5)
    x = torch.randn(2, 1, 8, 8)
    assert not torch.equal(net(x), net(x))
    net.eval()
    assert torch.equal(net(x), net(x))


def test_published_conv4_has_the_published_size() -> None:
    """The embedding of the few-shot literature: 64 filters, batch norm, 64 features from 28 pixels."""
    # 9*64 + 3 * 9*64*64 weights, 4 * 2*64 scales and shifts.
    assert sum(p.numel() for p in nets.conv4().parameters()) == 576 + 3 * 36864 + 512


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shape": (1, 28, 20)}, "square images"),
        ({"shape": (28, 28)}, "square images"),
        ({"shape": (1, 8, 8)}, "8 pixels vanish after 4 poolings"),
        ({"pool": "mean"}, "pool is 'max' or 'stride'"),
        ({"pools": 5}, "pools lies in 0 to 4"),
        ({"maps": True, "out": 5}, "choose one"),
        ({"norm": "layer"}, "norm policy 'layer' is unknown"),
    ],
)
def test_conv4_refuses(options: dict[str, Any], message: str) -> None:
    """Options that cannot work are named."""
    with pytest.raises(il.InputError, match=message):
        nets.conv4(**options)


@pytest.mark.parametrize("make", [nets.conv4, nets.resnet12])
def test_images_of_another_shape_are_refused(make: Any) -> None:
    """The message holds both shapes and the call that would fit."""
    net = make((1, 28, 28), width=(4, 4, 4, 4))
    with pytest.raises(il.InputError, match=r"shape \(1, 28, 28\), it got \(3, 32, 32\).*shape=\(3, 32, 32\)"):
        net(torch.randn(2, 3, 32, 32))


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (3, 84, 84), (3, 16, 24)])
def test_resnet12(shape: tuple[int, int, int]) -> None:
    """Vectors as long as the last width, or outputs; twelve convolutions beside the shortcuts."""
    net = nets.resnet12(shape, width=(4, 6, 8, 10), norm="group")
    assert net.features == (10,)
    assert net(torch.randn(2, *shape)).shape == (2, 10)
    assert sum(isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3) for m in net.modules()) == 12
    assert nets.resnet12(shape, width=(4, 6, 8, 10), out=5)(torch.randn(2, *shape)).shape == (2, 5)


def test_resnet12_refuses_small_images() -> None:
    """Four poolings need 16 pixels."""
    with pytest.raises(il.InputError, match="at least 16 pixels"):
        nets.resnet12((3, 15, 32))


def test_mlp() -> None:
    """Linear layers with activations between them, none at the end."""
    net = nets.mlp(2, 5, 3, activation=nn.Tanh, dropout=0.1)
    assert [type(layer).__name__ for layer in net] == ["Linear", "Tanh", "Dropout", "Linear"]
    assert net(torch.randn(4, 2)).shape == (4, 3)
    assert len(nets.mlp(2, 3)) == 1
    for sizes, said in (((2,), "at least an input and an output width"), ((2, 0, 3), "whole numbers of at least 1")):
        with pytest.raises(il.InputError, match=said):
            nets.mlp(*sizes)


def test_feature_size_changes_nothing() -> None:
    """The trial run leaves mode and statistics alone, on any encoder."""
    net = nets.conv4((1, 8, 8), width=8, pools=1).train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    assert nets.feature_size(net, (1, 8, 8)) == (8 * 16,)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert net.training
    assert nets.feature_size(nn.Flatten(), (1, 8, 8)) == (64,)
    assert nets.feature_size(nn.Linear(3, 2).double(), (3,)) == (2,)


@pytest.mark.parametrize("side", [2, 3, 5, 7])
def test_relation_module_shapes(side: int) -> None:
    """A score for each pair; maps of any side from 2 on."""
    module = nets.RelationModule((4, side, side), width=8, norm="none")
    assert module(torch.randn(5, 4, side, side), torch.randn(3, 4, side, side)).shape == (5, 3)


def test_relation_module_refuses_vectors() -> None:
    """It compares maps; the message says how to get them."""
    for features in ((64,), (64, 1, 1)):
        with pytest.raises(il.InputError, match="conv4\\(maps=True, pools=2\\)"):
            nets.RelationModule(features)


def test_relation_network_asks_for_the_features() -> None:
    """An encoder that does not say its features needs a relation module of one's own; the published one does not."""
    with pytest.raises(il.InputError, match="shape of the feature maps is unknown"):
        il.RelationNet(nn.Conv2d(1, 8, 3))
    learner = il.RelationNet(nets.conv4(width=8, maps=True, pools=2))
    assert isinstance(learner.head.relation, nets.RelationModule)
    with pytest.raises(il.InputError, match="needs the size of a feature vector"):
        il.FineTune(nn.Identity(), classes=4)


@pytest.mark.parametrize("policy", ["support", "running"])
def test_relation_module_refuses_policies_that_pairs_do_not_have(policy: str) -> None:
    """Pairs are neither a support set nor anything to calibrate on."""
    with pytest.raises(il.InputError, match=f"norm='{policy}' does not fit the relation module"):
        nets.RelationModule((8, 4, 4), norm=policy)
