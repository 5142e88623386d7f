"""Encoders of anybody's networks: ONNX files, the Hugging Face library's, timm's; kept by name and digest."""

from __future__ import annotations

import json
import shutil
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.base import clone
from torch import nn

import innerloop as il
from innerloop.encoders import ONNX, HuggingFace, Module, Timm, find


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2)).eval()


def exported(path: Path, module: nn.Module, *shape: int, **options: Any) -> Path:
    """A network in an ONNX file."""
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(module, (torch.rand(shape),), str(path), input_names=["x"], dynamo=False, **options)
    return path


@pytest.fixture(scope="module")
def onnx(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exported(tmp_path_factory.mktemp("onnx") / "net.onnx", net(), 2, 3, 16, 16, dynamic_axes={"x": {0: "n"}})


def pictures(count: int, height: int = 20, width: int = 24) -> list[np.ndarray]:
    random = np.random.default_rng(0)
    found = random.integers(0, 99, (count, height, width, 3), dtype=np.uint8)
    found[::2, :, : width // 2] += 140
    return list(found)


def test_an_onnx_file_is_the_network_that_it_was(onnx: Path) -> None:
    options = {"mean": (0.4, 0.5, 0.6), "std": (0.2, 0.3, 0.25)}
    made = ONNX(onnx, **options).transform(pictures(5))
    expected = Module(net(), size=16, **options).transform(pictures(5))
    np.testing.assert_allclose(made, expected, atol=1e-5)
    assert made.shape == (5, ONNX(onnx).features) == (5, 16)
    assert not np.allclose(ONNX(onnx).transform(pictures(5)), made)
    assert find(str(onnx), None).encoder.model == str(onnx)  # type: ignore[union-attr]
    assert find(onnx, None).encoder.kind == "images"  # type: ignore[union-attr]


def test_the_declared_input_is_what_it_gets(tmp_path: Path) -> None:
    """Gray, not square, one picture at a time, and sizes that are left open."""
    gray = exported(tmp_path / "gray.onnx", nn.Flatten(), 1, 1, 6, 10)
    rows = ONNX(gray).transform([np.full((12, 20), 255, np.uint8), np.zeros((5, 5), np.uint8), np.ones((6, 10))])
    assert rows.shape == (3, 60)
    assert [(row.min(), row.max()) for row in rows] == [(1, 1), (0, 0), (1, 1)]
    pooled = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1)).eval()
    open_size = exported(
        tmp_path / "open.onnx", pooled, 2, 3, 16, 16, dynamic_axes={"x": {0: "n", 2: "height", 3: "width"}}
    )
    with pytest.raises(il.InputError, match="give size="):
        ONNX(open_size).transform(pictures(1))
    np.testing.assert_allclose(
        ONNX(open_size, size=32).transform(pictures(2)), Module(pooled, size=32).transform(pictures(2)), atol=1e-5
    )


def test_weights_beside_the_file_belong_to_its_digest(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    path = exported(tmp_path / "whole.onnx", net(), 2, 3, 16, 16)
    for name, shift in (("a", 0.0), ("b", 0.5)):
        model = onnx.load(str(path))
        first = model.graph.initializer[0]
        values = onnx.numpy_helper.to_array(first) + np.float32(shift)
        first.CopyFrom(onnx.numpy_helper.from_array(values, first.name))
        (tmp_path / name).mkdir()
        onnx.save(model, str(tmp_path / name / "net.onnx"), save_as_external_data=True, location="w", size_threshold=0)
    graphs = [(tmp_path / name / "net.onnx").read_bytes() for name in "ab"]
    assert graphs[0] == graphs[1]
    a, b = (ONNX(tmp_path / name / "net.onnx") for name in "ab")
    assert a.fingerprint() != b.fingerprint()
    np.testing.assert_allclose(a.transform(pictures(2)), ONNX(path).transform(pictures(2)), atol=1e-6)


@pytest.mark.parametrize(
    ("shape", "options", "words"),
    [
        ((2, 3, 16, 16), {"size": 20}, "size=20, and .* takes pictures of 16 x 16"),
        ((2, 3, 16, 16), {"mean": (0.5, 0.5)}, r"mean=\(0.5, 0.5\): .* has 3 channels"),
        ((2, 3, 16, 16), {"std": (0.0,)}, "above 0"),
        ((2, 3, 16, 16), {"device": "nowhere"}, "device='nowhere'"),
        ((2, 16, 16, 3), {}, r"channels first"),
        ((2, 8), {}, r"x tensor\(float\) \[2, 8\]"),
    ],
)
def test_what_an_onnx_file_cannot_be(shape: tuple[int, ...], options: Any, words: str, tmp_path: Path) -> None:
    path = exported(tmp_path / "net.onnx", nn.Flatten(), *shape)
    with pytest.raises(il.InputError, match=words):
        ONNX(path, **options).transform(pictures(1))


def test_what_is_no_onnx_file(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    with pytest.raises(il.InputError, match="there is no file"):
        il.FewShotClassifier(str(tmp_path / "none.onnx")).fit(pictures(2), [0, 1])
    (tmp_path / "bad.onnx").write_bytes(b"not a model")
    with pytest.raises(il.InputError, match="cannot be read as an ONNX model"):
        ONNX(tmp_path / "bad.onnx").transform(pictures(1))


def test_a_bundle_finds_its_onnx_file_or_says_that_it_is_gone(onnx: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    path = Path(shutil.copy(onnx, home / "mine.onnx"))
    labels = ["bright", "dark"] * 3
    few = il.FewShotClassifier(ONNX(path, mean=(0.5,), std=(0.5,))).fit(pictures(6), labels)
    bundle = few.save(tmp_path / "tasks")
    again = il.load(bundle)
    np.testing.assert_array_equal(again.predict_proba(pictures(8)), few.predict_proba(pictures(8)))
    assert again.encoder_ == "onnx"
    again.partial_fit(pictures(2), ["bright", "dark"])
    # Beside the bundle it is found too.
    shutil.move(path, tmp_path / "mine.onnx")
    np.testing.assert_array_equal(il.load(bundle).predict(pictures(6)), labels)
    (tmp_path / "mine.onnx").unlink()
    with pytest.raises(il.InputError, match=r"needs the network .*mine\.onnx, which is neither there nor"):
        il.load(bundle)
    exported(path, nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(2)), 1, 3, 16, 16)
    with pytest.raises(il.InputError, match=r"other weights of the encoder 'onnx' than those that are in .*mine\.onnx"):
        il.load(bundle)


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    transformers = pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("hf") / "bert"
    folder.mkdir()
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "bad", "day", "night", "##s"]
    (folder / "vocab.txt").write_text("\n".join(words))
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=len(words),
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=8,
        max_position_embeddings=12,
    )
    transformers.BertModel(config).save_pretrained(folder)
    transformers.BertTokenizer(str(folder / "vocab.txt")).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def vit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    transformers = pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("hf") / "vit"
    torch.manual_seed(0)
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    config = transformers.ViTConfig(image_size=16, patch_size=8, **sizes)
    transformers.ViTModel(config).save_pretrained(folder)
    reader = {
        "image_processor_type": "ViTImageProcessor",
        "size": {"height": 16, "width": 16},
        "image_mean": [0.5] * 3,
        "image_std": [0.5] * 3,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(reader))
    return folder


SENTENCES = ["good day", "bad nights night", "good good days", "bad day bad night"]


def test_sentences_by_a_network_of_the_library(bert: Path, tmp_path: Path) -> None:
    import transformers

    encoder = find(f"hf:{bert}", SENTENCES).encoder
    assert isinstance(encoder, HuggingFace)
    assert encoder.kind == "text"
    made = encoder.transform([*SENTENCES, "good " * 40])
    tokenizer, model = transformers.AutoTokenizer.from_pretrained(bert), transformers.AutoModel.from_pretrained(bert)
    for sentence, row in zip([*SENTENCES, "good " * 40], made, strict=True):
        given = tokenizer([sentence], return_tensors="pt", truncation=True, max_length=12)
        with torch.no_grad():
            states = model.eval()(**given).last_hidden_state[0]
        # Alone it has no padding, and in the batch the padding has no part.
        np.testing.assert_allclose(row, states.mean(0), atol=1e-5)
    assert encoder.features == made.shape[1] == 8
    first = HuggingFace(bert, pooling="first")
    assert not np.allclose(first.transform(SENTENCES), made[:4], atol=1e-3)
    few = il.FewShotClassifier(f"hf:{bert}").fit(SENTENCES, ["up", "down", "up", "down"])
    assert few.encoder_ == f"hf:{bert}"
    again = il.load(few.save(tmp_path / "task"))
    np.testing.assert_array_equal(again.predict_proba(SENTENCES), few.predict_proba(SENTENCES))


def test_pictures_by_a_network_of_the_library(vit: Path, tmp_path: Path) -> None:
    import transformers

    encoder = clone(HuggingFace(vit))
    assert encoder.kind == "images"
    paths = []
    for number, picture in enumerate(pictures(3)):
        paths.append(tmp_path / f"{number}.png")
        Image.fromarray(picture).save(paths[-1])
    made = encoder.transform(paths)
    reader, model = transformers.AutoImageProcessor.from_pretrained(vit), transformers.AutoModel.from_pretrained(vit)
    with torch.no_grad():
        given = reader(images=[Image.fromarray(picture) for picture in pictures(3)], return_tensors="pt")
        expected = model.eval()(**given).last_hidden_state.mean(1)
    np.testing.assert_allclose(made, expected, atol=1e-5)
    assert encoder.features == 8


def test_a_folder_of_a_network_that_is_gone_or_none_is_refused(bert: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(bert, tmp_path / "away" / "mine"))
    few = il.FewShotClassifier(f"hf:{folder}").fit(SENTENCES, ["up", "down", "up", "down"])
    bundle, labels = few.save(tmp_path / "task"), few.predict(SENTENCES)
    shutil.move(folder, tmp_path / "mine")
    np.testing.assert_array_equal(il.load(bundle).predict(SENTENCES), labels)
    shutil.rmtree(tmp_path / "mine")
    with pytest.raises(il.InputError, match=r"there is no folder .*mine"):
        il.load(bundle)
    (tmp_path / "empty").mkdir()
    with pytest.raises(il.InputError, match="cannot be loaded"):
        HuggingFace(tmp_path / "empty").transform(SENTENCES)
    with pytest.raises(il.InputError, match="pooling='last'"):
        HuggingFace(bert, pooling="last").transform(SENTENCES)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("encoder", "library", "command"),
    [
        (HuggingFace("some/name"), "transformers", "pip install transformers"),
        (Timm("resnet18"), "timm", "pip install timm"),
        (ONNX(__file__), "onnxruntime", r"pip install 'innerloop\[export\]'"),
    ],
)
def test_a_library_that_is_not_installed_is_said_with_its_command(
    encoder: Any, library: str, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(il.InputError, match=command):
        encoder.transform(["a"])


def test_prefixes_are_names() -> None:
    assert find("timm:resnet18", None).name == "timm:resnet18"
    with pytest.raises(il.InputError, match=r"encoder 'hg:x' is unknown.*hf:NAME, timm:NAME"):
        find("hg:x", None)
