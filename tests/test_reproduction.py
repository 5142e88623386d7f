"""The same figures again: names of rows, records and pages, figures compared, and the command that makes rows again."""

from __future__ import annotations

import json
import re
import shutil
import signal
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_cli import Cli

import innerloop as il
from innerloop.core import checkpoint
from innerloop.recipes import Published, defaults, learner_names, published
from innerloop.reproduction import Compared, Figure, Trained, chosen, compared, counterparts, figures, read_tables
from innerloop.reproduction.blocks import block, parts_of, put, text_of
from innerloop.training.callbacks import Callback

HOME = Path(__file__).resolve().parent.parent

TINY = """
data = "glyphs"
tasks = 40
page = "page.md"

[columns]
3w1s = { ways = 3, shots = 1, queries = 5 }
3w2s = { ways = 3, shots = 2, queries = 5 }

[rows.protonet]
title = "ProtoNet"
train = "protonet --ways 4 --queries 3 --steps 6 --set net.width=4 --set validation.tasks=4"

[rows.support]
title = "the same run, support statistics"
train = "protonet --ways 4 --queries 3 --steps 6 --set net.width=4 --set validation.tasks=4"
run = "protonet"
columns = ["3w1s"]
evaluate = { norm = "support" }
tasks = { 3w1s = 20 }

[rows.from]
title = "from that network"
train = "protonet --ways 4 --queries 3 --steps 0 --set net.width=4 --set validation.tasks=4"
init = "protonet"
columns = ["3w1s"]
"""


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    return Cli(monkeypatch, capsys)


@pytest.fixture
def records(tmp_path: Path) -> Path:
    folder = tmp_path / "records"
    folder.mkdir()
    (folder / "tiny.toml").write_text(TINY)
    (folder / "page.md").write_text("before\n<!-- tiny: begin -->\n<!-- tiny: end -->\nafter\n")
    return folder


def test_each_row_of_the_page_has_a_name_and_its_figures_are_those_of_the_record() -> None:
    tables = read_tables()
    shown = {name: table for name, table in tables.items() if table.file.exists()}
    pages = {name: (HOME / name).read_text() for name in {table.page for table in shown.values()}}
    left = pages["docs/results.md"]
    for name, table in shown.items():
        assert block(pages[table.page], name) == table.block(), f"{name}: its block is not that of its record"
        left = left.replace(table.block(), "")
        for row in table.names_of_rows() if not isinstance(table, Trained) else table.records():
            assert f"| `{row}` |" in table.block()
    assert block(pages["docs/results.md"], counterparts.NAME) == counterparts.block()
    rows = [line for line in left.replace(counterparts.block(), "").splitlines() if line.startswith("|")]
    assert rows == [], "rows of the page that no record holds"
    assert len([row for table in shown.values() for row in table.names_of_rows()]) > 400


def test_each_table_has_a_file_that_prints_it_and_what_it_says_of_rows_is_true() -> None:
    for name, table in read_tables().items():
        if isinstance(table, Trained):
            for row, one in table.rows.items():
                assert one.learner in learner_names()
                assert "--steps" in one.train, f"{name}/{row} has no budget in steps"
            continue
        assert (HOME / table.command.split()[1]).is_file(), table.command
        words = {cell for one in table.tables(table.record()) for cells in one.rows.values() for cell in cells}
        words |= {part for part in (table.record() or {"parts": []})["parts"] if isinstance(part, str)}
        if table.record() is not None:
            assert table.names.keys() <= words, f"{name}: names of what is not there"
            assert all(any(row.startswith(word) for row in table.names_of_rows()) for word in table.select)


def test_each_recipe_states_its_published_counterpart_and_where_it_differs() -> None:
    tables = read_tables()
    for name in learner_names():
        one = published(name)
        assert "http" in one.paper, name
        assert one.differs.endswith("."), name
        assert one.figures.keys() <= tables.keys(), name
    assert published("nosuch") == Published()
    assert defaults("anml").learner == "anml"


def test_the_command_of_a_table_is_given_the_parts_that_are_asked_for() -> None:
    tables = read_tables()
    processes, sets = tables["processes"], tables["knowing-sets"]
    assert not isinstance(processes, Trained)
    assert not isinstance(sets, Trained)
    base = ["python", "benchmarks/processes.py", "--tasks", "4800"]
    assert processes.words([], seeds=None, check=False) == [*base, "cnp", "np", "canp", "anp", "tnp", "convcnp"]
    asked = ["cnp-recalibrated", "cnp", "exact-alone", "tnp"]
    assert processes.words(asked, seeds=[3], check=True) == [*base, "cnp", "tnp", "--seed", "3", "--print-only"]
    with pytest.raises(il.InputError, match="takes one seed, not 2"):
        processes.words([], seeds=[1, 2], check=False)
    with pytest.raises(il.InputError, match="has no other seed than the recorded one"):
        sets.words([], seeds=[1], check=False)
    with pytest.raises(il.InputError, match="is computed anew each time"):
        sets.words([], seeds=None, check=True)


def test_names_of_rows_are_found() -> None:
    tables = read_tables()
    assert chosen(tables, ["omniglot/protonet"]) == {"omniglot": ["protonet"]}
    assert chosen(tables, ["maml-scratch"]) == {"omniglot": ["maml-scratch"]}
    assert chosen(tables, ["few-groceries/5w1s"])["few-groceries"][0] == "5w1s/innerloop"
    assert len(chosen(tables, ["few-groceries/5w1s"])["few-groceries"]) == 9
    assert set(chosen(tables, ["all"])) == {name for name, table in tables.items() if table.names_of_rows()}
    with pytest.raises(il.InputError, match=r"omniglot/protonet or bridge/protonet|several tables"):
        chosen(tables, ["protonet"])
    with pytest.raises(il.InputError, match=r"no row is called 'omniglot/protonett' \(did you mean omniglot/protonet"):
        chosen(tables, ["omniglot/protonett"])


@given(
    st.lists(
        st.tuples(*(st.decimals(0, 99, places=2, allow_nan=False) for _ in range(3)), st.sampled_from("+-")), min_size=1
    )
)
def test_figures_of_a_cell_are_read_back(numbers: list) -> None:
    for value, half, wide, sign in numbers:
        read = figures(f"{sign}{value} ± {half} ({wide}); {value} ± {half} % ({value - half} to {value + wide})")
        assert read[0] == Figure(float(f"{sign}{value}"), float(half), float(wide))
        assert read[1][:2] == (float(value), float(half))
        middle = float(f"{sign}{value}")
        (interval,) = figures(f"{sign}{value} ({middle - 1:+.2f} to {middle + 2:+.2f})")
        assert interval.closed == pytest.approx(2)


def test_figures_that_are_none_and_those_without_an_interval() -> None:
    assert figures("") == figures("running") == []
    assert figures("80,000") == [Figure(80_000)]
    assert [one.value for one in figures("98.8 / 99.7 / 96.0")] == [98.8, 99.7, 96.0]
    assert figures("2.93 ± 0.11 (2.87 to 2.97)") == [Figure(2.93, 0.11, None, pytest.approx(0.06))]
    assert [one.value for one in figures("0.26 ± 0.03 (56/90/94)")] == [0.26, 56, 90, 94]
    assert figures("diverges (median 2.43)") == [Figure(2.43)]
    drawn = figures("0.432 ± 0.031 (-0.076 [-0.098, -0.053], 3/3)")
    assert drawn[:2] == [Figure(0.432, 0.031), Figure(-0.076, pytest.approx(0.023))]


def test_a_figure_is_held_against_its_interval_and_the_spread_of_seeds() -> None:
    recorded = Figure(90.0, 0.5, 1.0)
    near, far, farther = (Compared("a", recorded, Figure(value)) for value in (90.4, 89.2, 91.1))
    assert [(one.within_closed, one.within_open) for one in (near, far, farther)] == [
        (True, True), (False, True), (False, False),
    ]  # fmt: skip
    assert [one.holds("closed") for one in (near, far, farther)] == [True, False, False]
    assert [one.holds("open") for one in (near, far, farther)] == [True, True, False]
    assert Compared("a", recorded._replace(spread=0.4), Figure(89.2)).holds("closed")
    alone, new = Compared("a", Figure(3.0), Figure(9.0)), Compared("a", None, near.found)
    gone = Compared("a", recorded, None)
    assert (alone.judged, alone.holds("closed")) == (False, True)
    assert (gone.holds("closed"), gone.holds("open")) == (False, False)
    assert (new.judged, new.holds("closed"), new.difference) == (False, True, None)


def test_a_cell_that_holds_something_else_is_not_found_again() -> None:
    pairs = compared(["a", "b", "c"], ["1.0 ± 0.1; +0.2 (+0.1 to +0.3)", "3", "words"], ["diverges", "3", "others"])
    assert [pair.found for pair in pairs] == [None, None, Figure(3)]
    assert [pair.what for pair in pairs] == ["a, 1", "a, 2", "b"]


def test_rows_are_named_by_what_stands_in_their_first_cells() -> None:
    head = "| m | 5 |\n|---|---|\n| a | 1 |\n"
    text = f"**first**\n\n{head}| 7 | 2 |\n\n**second**\n\n{head}\nend"
    parts = parts_of(text, names={"**second**": "two"})
    assert [list(part.rows) for part in parts if not isinstance(part, str)] == [["first/a", "first/m-7"], ["two/a"]]
    assert "| a | 1 | `two/a` |" in text_of(parts)
    with pytest.raises(il.InputError, match="two rows of a table are called a"):
        parts_of("| m | 5 |\n|---|---|\n| a | 1 |\n| A | 2 |")


def test_a_block_is_put_between_its_marks_and_nothing_else_changes(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("a\n<!-- t: begin -->\nold\n<!-- t: end -->\nb\n")
    assert put(page, "t", "new")
    assert page.read_text() == "a\n<!-- t: begin -->\nnew\n<!-- t: end -->\nb\n"
    assert not put(page, "u", "new")


def test_a_row_is_trained_recorded_found_again_bit_for_bit_and_missed_where_the_record_is_off(
    cli: Cli, records: Path, tmp_path: Path
) -> None:
    words = ["reproduce", "tiny", "--records", records, "--quiet"]
    code, said, _ = cli(*words, "--runs", tmp_path / "runs", "--update")
    assert code == 0
    assert "0 of 0 figures" in said
    table = read_tables(records)["tiny"]
    assert isinstance(table, Trained)
    page = (records / "page.md").read_text()
    assert page == f"before\n<!-- tiny: begin -->\n{table.block()}\n<!-- tiny: end -->\nafter\n"
    found = table.records()
    assert list(found) == ["protonet", "support", "from"]
    (one,) = found["protonet"]
    assert (one.device, one.seeds, one.steps, one.versions["innerloop"]) == ("CPU", [0], 6, il.__version__)
    # The row that starts from another's network and takes no step is that network.
    assert found["from"][0].figures["3w1s"] == one.figures["3w1s"]
    assert found["support"][0].figures["3w1s"].tasks == 20
    assert found["support"][0].norm == "support"

    # From nothing, elsewhere: the same to the last digit that is kept.
    kept = (records / "tiny.json").read_text()
    code, said, _ = cli(*words, "--runs", tmp_path / "others", "--json")
    again = json.loads(said)
    assert code == 0
    assert again["within"]
    assert [figure["difference"] for row in again["rows"] for figure in row["figures"]] == [0.0] * 7
    assert (records / "tiny.json").read_text() == kept

    # A record that is 20 points off: outside both intervals, whichever decides.
    off = json.loads(kept)
    off["protonet"][0]["figures"]["3w1s"]["value"] += 0.2
    (records / "tiny.json").write_text(json.dumps(off))
    for within in ("closed", "open"):
        code, said, _ = cli(*words, "--runs", tmp_path / "runs", "--check", "--within", within)
        assert code == 1
        line = next(line for line in said.splitlines() if re.match(r"tiny/protonet +3w1s", line))
        assert line.count("OUTSIDE") == 2
    # A record of another device stands beside, and is not what this one is held against.
    other = {**json.loads(kept)["protonet"][0], "device": "NVIDIA H100"}
    (records / "tiny.json").write_text(json.dumps({**off, "protonet": [json.loads(kept)["protonet"][0], other]}))
    assert cli("reproduce", "tiny/protonet", "--records", records, "--runs", tmp_path / "runs", "--check")[0] == 0


def test_what_was_interrupted_is_gone_on_with_and_another_run_is_refused(
    cli: Cli, records: Path, tmp_path: Path
) -> None:
    words = ["reproduce", "tiny/protonet", "--records", records, "--runs", tmp_path / "runs", "--quiet"]
    code, _, said = cli(*words, "--check")
    assert (code, said.count("\n")) == (2, 1)
    assert "holds no finished run" in said
    assert not (tmp_path / "runs").exists()
    assert cli(*words, "--update")[0] == 0
    folder = tmp_path / "runs" / "tiny-protonet-seed0"
    whole = il.bundle.read(folder).weights
    shutil.rmtree(folder)
    interrupted(folder, records)
    assert checkpoint.load(folder / "last.safetensors")[1]["step"] == 3
    code, _, said = cli(*words, "--check")
    assert (code, "holds no finished run" in said) == (2, True)
    code, said, _ = cli(*words, "--json")
    assert (code, json.loads(said)["within"]) == (0, True)
    assert all((il.bundle.read(folder).weights[name] == whole[name]).all() for name in whole)
    # As it comes from another machine, without its last checkpoint: scored here, and of where it was trained.
    (folder / "last.safetensors").unlink()
    facts = json.loads((folder / "recipe.json").read_text())
    (folder / "recipe.json").write_text(json.dumps({**facts, "device": "NVIDIA H100"}))
    code, said, _ = cli(*words, "--check", "--json")
    (row,) = json.loads(said)["rows"]
    assert (code, row["device"], row["recorded"]["device"], row["within"]) == (0, "NVIDIA H100", "CPU", True)
    code, _, said = cli(*words)
    assert (code, said.count("\n"), "was trained on NVIDIA H100" in said) == (2, 1, True)
    # The same folder for other words.
    (folder / "recipe.json").write_text(json.dumps(facts))
    (records / "tiny.toml").write_text(TINY.replace("net.width=4", "net.width=8"))
    code, _, said = cli(*words)
    assert (code, said.count("\n")) == (2, 1)
    assert "holds another run (its net differ)" in said


class Interrupt(Callback):
    """Sends the signal of Ctrl-C after three steps."""

    def on_step(self, step: int, metrics: Mapping[str, float]) -> None:
        if step == 3:
            signal.raise_signal(signal.SIGINT)


def interrupted(folder: Path, records: Path) -> None:
    """The first three steps of the row's run."""
    from innerloop.cli.train import asked_by
    from innerloop.recipes import RecipeWriter

    table = read_tables(records)["tiny"]
    assert isinstance(table, Trained)
    recipe = asked_by(table.rows["protonet"].train.split(), data="glyphs", seed=0)
    source = recipe.source()
    sampler = recipe.sampler(source)
    il.fit(
        recipe.build(sampler.facts), sampler, **recipe.fit_options(), validate=recipe.validation_sampler(source),
        validate_tasks=4, seed=0, out=folder, progress=False, origin={"data": "glyphs"},
        callbacks=[RecipeWriter(recipe, sampler.facts), Interrupt()],
    )  # fmt: skip


def test_a_table_that_a_command_prints_is_printed_again_and_compared(cli: Cli, tmp_path: Path) -> None:
    records, script = tmp_path / "records", tmp_path / "prints.py"
    records.mkdir()
    (records / "benchmarks.toml").write_text(
        f'[t]\ncommand = "python {script}"\nselect = ["a", "b"]\nseed = "--seeds"\npage = "page.md"\n'
        f'names = {{ "Method A" = "a" }}\n'
    )
    made = read_tables(records)["t"]
    assert not isinstance(made, Trained)
    text = "| m | % |\n|---|---|\n| Method A | VALUE ± 0.2 (0.5) |\n| b | 4.0 ± 1.0 |\n\nwords: WORDS"
    made.keep(made.made(text, {"date": "2026-11-26", "device": "CPU"}), tmp_path)
    record = (tmp_path / "t.json").read_text()
    # What each run of the command waits for is written without an import of the library.
    script.write_text(
        "import json, os, sys\nfrom pathlib import Path\n"
        f"record = {record!r}.replace('VALUE', '90.4' if '7' in sys.argv else '90')\n"
        "record = record.replace('WORDS', json.dumps(str(sys.argv[1:]))[1:-1])\n"
        "Path(os.environ['INNERLOOP_RECORDS'], 't.json').write_text(record)\n"
    )
    words = ["reproduce", "t", "--records", records, "--runs", tmp_path / "runs"]
    # Nothing is recorded yet.
    code, said, notes = cli(*words)
    assert (code, "nothing is recorded yet" in notes, read_tables(records)["t"].names_of_rows()) == (0, True, []), notes

    table = read_tables(records)["t"]
    assert not isinstance(table, Trained)
    text = "| m | % |\n|---|---|\n| Method A | 90.1 ± 0.2 (0.5) |\n| b | 4 ± 1 |"
    table.keep(table.made(text, {"date": "2026-11-25", "device": "CPU"}))
    assert cli(*words)[0] == 0
    code, said, _ = cli(*words[:1], "t/a", *words[2:], "--seed", 7, "--json")
    (row,) = json.loads(said)["rows"]
    (figure,) = row["figures"]
    assert (code, row["name"], figure["within_closed"], figure["within_open"]) == (1, "t/a", False, True)
    assert figure["difference"] == pytest.approx(0.3)
    printed = json.loads((tmp_path / "runs" / "printed" / "t.json").read_text())
    assert printed["parts"][-1] == "words: ['a', '--seeds', '7']"
    for more, says in (
        (["--check"], "is computed anew each time"),
        (["--update"], ""),
    ):
        code, _, said = cli(*words, *more)
        assert code == (2 if says else 0)
        assert says in said
    assert table.names_of_rows() == ["a", "b"]
    assert "90 ± 0.2" in (records / "t.json").read_text()


def test_the_rows_are_listed_with_their_minutes(cli: Cli) -> None:
    code, said, _ = cli("reproduce", "--list", "omniglot", "--json")
    rows = {row["name"]: row for row in json.loads(said)}
    assert code == 0
    assert rows["omniglot/protonet"]["minutes"] == "11"
    assert rows["omniglot/protonet"]["what"].startswith("innerloop train protonet --ways 40")
    assert "CPU, 2026-11-24" in rows["omniglot/protonet"]["recorded"]


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ("tasks = 'many'", "tasks"),
        ("taskss = 3", r"did you mean tasks\?"),
        ("[rows.a]\ntitle = 'a'\ntrain = 'protonet --steps 1'\nrun = 'b'", "there is no row 'b'"),
        ("[rows.a]\ntitle = 'a'\ntrain = 'protonet --steps 1'\ncolumns = ['5w1s']", "there is no column '5w1s'"),
        ("[rows.a]\ntitle = 'a'", "needs train"),
        ("rows = 3", "rows"),
        ("rows = { a = 3 }", "must be a table"),
        ("tasks = 3\ncolumns = 3", "cannot be read"),
        ("[rows", "cannot be read"),
    ],
)
def test_a_file_that_is_no_table_is_refused(wrong: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "t.toml").write_text(f"data = 'glyphs'\ncolumns = {{ 3w1s = {{ ways = 3 }} }}\n{wrong}\n")
    with pytest.raises(il.InputError, match=says):
        read_tables(tmp_path)


def test_a_folder_without_tables_is_refused(tmp_path: Path) -> None:
    with pytest.raises(il.InputError, match="holds no tables"):
        read_tables(tmp_path)
