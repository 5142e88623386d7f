"""The encoder of letters: what it takes for one and the same drawing, its weights, and real handwriting."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import innerloop as il
from innerloop.bundle import folder
from innerloop.data.pool import Pool
from innerloop.encoders.drawing import STANDARD, Form, drawing
from innerloop.encoders.letters import SHIPPED, Letters


def sign(side: int = 60, top: int = 12, left: int = 18, times: int = 1) -> Tensor:
    """An asymmetric sign in black on white, ``[1, side, side]``, its strokes 3 pixels wide, ``times`` as large."""
    ink = torch.zeros(27, 21)
    ink[0:27, 0:3] = ink[0:3, 0:21] = ink[12:15, 0:15] = 1
    ink[20:27, 17:20] = 1
    ink = ink.repeat_interleave(times, 0).repeat_interleave(times, 1)
    page = torch.full((1, side, side), 255, dtype=torch.uint8)
    page[0, top : top + len(ink), left : left + ink.shape[1]] = (255 * (1 - ink)).byte()
    return page


def test_a_drawing_is_its_ink_whatever_the_colors() -> None:
    page = sign()
    made = drawing(page)
    assert made.shape == (1, STANDARD.side, STANDARD.side)
    assert made.equal(drawing(255 - page))
    assert made.equal(drawing(page.float()))
    assert made.equal(drawing(page.expand(3, -1, -1)))
    # Red on green of one luminance has no gray contrast at all.
    red, green = torch.tensor([200, 40, 40]), torch.tensor([60, 112, 40])
    ink = (page == 0).expand(3, -1, -1)
    colored = torch.where(ink, red.view(3, 1, 1), green.view(3, 1, 1)).byte()
    assert made.equal(drawing(colored))
    # Fainter ink is the same ink.
    assert made.equal(drawing(255 - (255 - page) // 5))


def test_a_drawing_has_no_place_and_no_size() -> None:
    made = drawing(sign())
    for page in (sign(top=1, left=1), sign(top=32, left=38), sign(side=400, top=300, left=7)):
        assert made.equal(drawing(page))
    for times in (2, 3, 10):
        page = sign(side=60 * times, top=5 * times, left=9, times=times)
        torch.testing.assert_close(drawing(page), made, atol=0.35, rtol=0)
        assert float((drawing(page) - made).abs().mean()) < 0.01


def test_the_ink_is_fitted_by_its_longer_side_and_centered() -> None:
    page = torch.zeros(1, 50, 90, dtype=torch.uint8)
    page[0, 20:24, 10:80] = 255
    made = drawing(page, Form(side=32, margin=3))[0]
    rows, columns = (made > 0.5).any(1).nonzero().flatten(), (made > 0.5).any(0).nonzero().flatten()
    assert (int(columns[0]), int(columns[-1])) == (3, 28)
    assert int(rows[0]) + int(rows[-1]) == 31
    assert made.equal(made.flip(0))


@pytest.mark.parametrize("width", [1, 2, 4, 6])
def test_strokes_come_to_one_width(width: int) -> None:
    page = torch.zeros(1, 120, 120, dtype=torch.uint8)
    page[0, 10:110, 10 : 10 + width] = page[0, 110 - width : 110, 10:110] = 255
    made = drawing(page)[0]
    across = made[8:16].sum(1)
    torch.testing.assert_close(across, torch.full_like(across, 2 * STANDARD.pen), atol=0.35, rtol=0)


def test_a_turn_and_a_mirror_are_other_drawings() -> None:
    page = sign(top=15, left=15)
    made = drawing(page)
    for other in (page.rot90(1, (1, 2)), page.flip(2)):
        assert float((drawing(other) - made).abs().mean()) > 0.05


def test_shade_and_noise_of_a_photograph_are_no_ink() -> None:
    page = sign(side=100).float()
    made = drawing(page)
    shade = torch.linspace(0.95, 0.7, 100).view(1, 1, -1)
    seen = (page * 0.6 + 80) * shade + 4 * torch.randn(page.shape)
    assert float((drawing(seen) - made).abs().mean()) < 0.02


@pytest.mark.parametrize("value", [0, 127, 255])
def test_a_blank_picture_is_refused_by_its_name(value: int) -> None:
    with pytest.raises(il.InputError, match=r"nothing is drawn on picture 1: .* by 12 of 255"):
        Letters().transform([sign()[0], torch.full((20, 20), value, dtype=torch.uint8)])


def test_one_pixel_and_a_full_page_are_drawings() -> None:
    dot = torch.zeros(1, 9, 9, dtype=torch.uint8)
    dot[0, 4, 4] = 255
    assert float(drawing(dot).max()) == 1
    strip = torch.zeros(1, 1, 300, dtype=torch.uint8)
    strip[0, 0, 20:30] = 255
    assert drawing(strip).isfinite().all()
    large = torch.zeros(1, 3000, 40, dtype=torch.uint8)
    large[0, 100:2900, 15:25] = 255
    assert float(drawing(large).max()) == 1


def test_every_way_to_give_a_drawing_gives_the_same_features(tmp_path: Path) -> None:
    page = sign()[0].numpy()
    image = Image.fromarray(page)
    image.save(tmp_path / "a.png")
    image.convert("1").save(tmp_path / "b.png")
    image.convert("P").save(tmp_path / "c.gif")
    clear = Image.new("RGBA", image.size, (255, 255, 255, 0))
    clear.paste((10, 30, 90, 255), mask=Image.fromarray(255 - page))
    ways = [page, 255 - page, page / 255.0, page < 128, page > 128, page[..., None], torch.from_numpy(page)[None]]
    ways += [image, image.convert("RGB"), image.convert("1"), image.convert("LA"), image.convert("CMYK"), clear]
    ways += [tmp_path / "a.png", str(tmp_path / "b.png"), tmp_path / "c.gif"]
    made = Letters().transform(ways)
    assert made.shape == (len(ways), Letters().features)
    np.testing.assert_allclose(made, np.broadcast_to(made[:1], made.shape), atol=1e-4)


def test_the_weights_are_small_and_what_was_written() -> None:
    bundle = il.bundle.read(SHIPPED)
    assert sum(file.stat().st_size for file in SHIPPED.iterdir()) <= 3_000_000
    turns = {"step": "turns", "degrees": [-10.0, 0.0, 10.0]}
    assert bundle.preprocessing == ({"step": "drawing", **STANDARD._asdict()}, turns)
    assert bundle.name == "protonet"
    assert set(il.bundle.CARD) - {"figures"} <= set(bundle.card)
    assert Letters().form == STANDARD
    assert folder.record(SHIPPED)["files"]["weights"]["sha256"] == il.bundle.card("letters").digest


def test_the_fingerprint_follows_the_weights(tmp_path: Path) -> None:
    first = Letters().fingerprint()
    assert first == Letters(cache=tmp_path / "cache").fingerprint()
    other = il.ProtoNet(il.nets.conv4((1, 28, 28), width=8))
    step = {"step": "drawing", **STANDARD._asdict()}
    il.save(tmp_path / "own", other, preprocessing=[step])
    own = Letters(weights=tmp_path / "own")
    assert own.features == 8
    assert own.fingerprint() != first
    assert own.transform([sign()]).shape == (1, 8)
    il.save(tmp_path / "small", other, preprocessing=[{**step, "margin": 6}])
    assert Letters(weights=tmp_path / "small").fingerprint() != own.fingerprint()


def test_features_are_the_mean_over_turns(tmp_path: Path) -> None:
    step = {"step": "drawing", **STANDARD._asdict()}
    learner = il.ProtoNet(il.nets.conv4((1, 28, 28), width=8)).eval()
    made = {}
    for name, degrees in {"raw": None, "none": [0.0], "back": [-90.0], "both": [0.0, -90.0]}.items():
        steps = [step] if degrees is None else [step, {"step": "turns", "degrees": degrees}]
        il.save(tmp_path / name, learner, preprocessing=steps)
        made[name] = torch.from_numpy(Letters(weights=tmp_path / name).transform([sign()]))
    raw = learner.encoder(drawing(sign()).unsqueeze(0)).detach()
    torch.testing.assert_close(made["raw"], raw)
    torch.testing.assert_close(made["none"], torch.nn.functional.normalize(raw), atol=1e-4, rtol=0)
    turned = learner.encoder(drawing(sign()).rot90(-1, (1, 2)).unsqueeze(0)).detach()
    torch.testing.assert_close(made["back"], torch.nn.functional.normalize(turned), atol=1e-4, rtol=0)
    torch.testing.assert_close(made["both"], (made["none"] + made["back"]) / 2)


def test_weights_that_are_none_of_drawings_are_refused(tmp_path: Path) -> None:
    learner = il.ProtoNet(il.nets.conv4((1, 28, 28), width=8))
    il.save(tmp_path / "plain", learner)
    with pytest.raises(il.InputError, match="prepared by nothing"):
        Letters(weights=tmp_path / "plain").transform([sign()])
    il.save(tmp_path / "newer", learner, preprocessing=[{"step": "drawing", "side": 28, "tilt": 3}])
    with pytest.raises(il.InputError, match="tilt"):
        Letters(weights=tmp_path / "newer").transform([sign()])
    with pytest.raises(il.InputError, match="no bundle"):
        Letters(weights=tmp_path / "absent").transform([sign()])


@pytest.fixture(scope="module")
def handwriting(data_root: Path) -> dict[str, list[Image.Image]]:
    """Each 16th character of the evaluation alphabets, 20 drawings of each, black on white as they were drawn."""
    archive = data_root / "omniglot" / "images_evaluation.zip"
    if not archive.is_file():
        pytest.skip(f"no handwriting at {archive}")
    found: dict[str, list[str]] = {}
    with zipfile.ZipFile(archive) as file:
        for member in sorted(name for name in file.namelist() if name.endswith(".png")):
            found.setdefault(member.rsplit("/", 1)[0], []).append(member)
        chosen = list(found)[::16]
        return {name: [Image.open(io.BytesIO(file.read(member))) for member in found[name]] for name in chosen}


def test_new_alphabets_are_told_apart_by_one_example(handwriting: dict[str, list[Image.Image]]) -> None:
    z = Letters().transform([image for images in handwriting.values() for image in images])
    pool = Pool.of(z, np.repeat(np.arange(len(handwriting)), 20))
    tasks = il.FewShot(pool, ways=5, shots=1, queries=15)
    head = il.learners.Embedded(torch.nn.Identity(), il.learners.Prototypes(distance="cosine"))
    assert il.evaluate(head, tasks, tasks=100, open=False).per_task["accuracy"].mean() > 0.97


def test_a_classifier_learns_letters_from_files(handwriting: dict[str, list[Image.Image]], tmp_path: Path) -> None:
    taught: list[tuple[Path, str]] = []
    asked: list[tuple[Path, str]] = []
    for number, (name, images) in enumerate(list(handwriting.items())[:3]):
        for drawer, image in enumerate(images[:6]):
            image.save(path := tmp_path / f"{number}-{drawer}.png")
            (taught if drawer < 2 else asked).append((path, name))
    model = il.FewShotClassifier(encoder="letters").fit(*zip(*taught, strict=True))
    said = model.predict([path for path, _ in asked])
    assert np.mean(said == np.array([name for _, name in asked])) >= 11 / 12


def test_the_network_is_a_graph_for_any_number_of_drawings() -> None:
    network = Letters().network()[0]
    several = {0: torch.export.Dim("drawings", min=1, max=512)}
    program = torch.export.export(network, (torch.rand(3, 1, 28, 28),), dynamic_shapes=(several,))
    x = torch.rand(7, 1, 28, 28)
    torch.testing.assert_close(program.module()(x), network(x))
