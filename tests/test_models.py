"""Cards of the models that come with the package or in packages of their own, and the command that shows them."""

from __future__ import annotations

import hashlib
import json
import sys
from importlib import metadata

import pytest

import innerloop as il
from innerloop.bundle import folder
from innerloop.bundle.model_cards import card, cards
from innerloop.cli.app import main
from innerloop.encoders import names
from innerloop.encoders.letters import SHIPPED


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Runs the command line in this process: exit code, standard output, standard error."""

    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["innerloop", *words])
        with pytest.raises(SystemExit) as stop:
            main()
        return int(stop.value.code or 0), *capsys.readouterr()

    return run


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine on which no package of models is installed."""

    def absent(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", absent)


def test_there_is_a_card_for_each_encoder_and_each_bundle_that_is_shipped() -> None:
    encoders = {name for name, one in cards().items() if one.kind == "encoder"}
    # Tables go through the in-context networks.
    assert encoders == set(names()) - {"table"}
    bundles = {path.parent.name for path in SHIPPED.parent.glob("*/bundle.json")}
    assert bundles == {name for name, one in cards().items() if one.install is None}


@pytest.mark.parametrize("name", sorted(cards()))
def test_a_card_says_everything(name: str) -> None:
    one = card(name)
    for field in ("takes", "what", "data", "license", "limits", "use", "measured", "package"):
        assert getattr(one, field).strip(), field
    assert one.license.startswith("Apache-2.0")
    assert one.figures
    assert len(one.digest) == 64
    assert one.bytes > 100_000


@pytest.mark.parametrize("name", [name for name, one in cards().items() if one.install is None])
def test_what_is_shipped_is_what_its_card_says(name: str) -> None:
    one, place = card(name), SHIPPED.parent / name
    assert one.installed
    assert one.version == il.__version__
    file = place / folder.record(place)["files"]["weights"]["name"]
    assert (file.stat().st_size, hashlib.sha256(file.read_bytes()).hexdigest()) == (one.bytes, one.digest)


@pytest.mark.parametrize("name", [name for name, one in cards().items() if one.install is not None])
def test_what_is_installed_is_what_its_card_says(name: str) -> None:
    one = card(name)
    if not one.installed:
        pytest.skip(f"{one.package} is not installed")
    located = [metadata.distribution(one.package).locate_file(file) for file in metadata.files(one.package) or ()]
    weights = [path for path in located if path.stat().st_size == one.bytes]
    assert [hashlib.sha256(path.read_bytes()).hexdigest() for path in weights] == [one.digest]


def test_models_lists_what_is_at_hand(cli) -> None:
    code, out, err = cli("models")
    assert (code, err) == (0, "")
    for name in cards():
        assert name in out
    assert "in the package" in out
    code, out, _ = cli("models", "--json")
    rows = json.loads(out)
    assert [row["name"] for row in rows] == list(cards())
    assert next(row for row in rows if row["name"] == "letters")["installed"] is True


@pytest.mark.usefixtures("bare")
def test_what_is_not_installed_names_the_command_that_installs_it(cli) -> None:
    code, out, _ = cli("models")
    assert code == 0
    assert "pip install 'innerloop[images]'" in out
    assert "pip install 'innerloop[text]'" in out
    assert card("letters").installed
    assert not card("photographs").installed
    assert "no: pip install 'innerloop[images]'" in cli("models", "photographs")[1]


def test_models_shows_one_card(cli) -> None:
    code, out, _ = cli("models", "letters")
    assert code == 0
    for part in ("Omniglot", "Apache-2.0", "FewShotClassifier", "letters_figures.py", "±"):
        assert part in out
    facts = json.loads(cli("models", "letters", "--json")[1])
    assert facts["bytes"] <= 3_000_000
    assert all({"on", "value", "interval", "unit"} == set(figure) for figure in facts["figures"])


def test_an_unknown_model_is_refused_with_the_nearest(cli) -> None:
    code, out, err = cli("models", "letter")
    assert (code, out) == (2, "")
    assert "did you mean letters?" in err
    with pytest.raises(il.InputError, match=r"no model '\.\./letters'"):
        card("../letters")
