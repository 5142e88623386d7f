"""Hundreds of varied command lines: each ends with code 2 and one line, or succeeds and is right."""

from __future__ import annotations

import json
from pathlib import Path

import pandas
import pytest
import torch
from test_cli import Cli

import innerloop as il

#: A training of no length on functions, and one on small images; each bad word below is put at its end.
FUNCTIONS = ["train", "maml", "--data", "sinusoid", "--steps", "0", "--quiet", "--set", "validation.tasks=2"]
IMAGES = [
    "train",
    "protonet",
    "--data",
    "mapped",
    "--root",
    "POOLS",
    "--ways",
    "3",
    "--shots",
    "1",
    "--queries",
    "2",
    "--steps",
    "0",
    "--quiet",
    "--width",
    "4",
    "--set",
    "net.pools=1",
    "--set",
    "validation.tasks=2",
    "--set",
    "validation.ways=3",
]

NUMBERS = ["abc", "", "nan", "inf", "-inf", "1e999", "-1", "1.5.2", "0x10", "None", "true"]
WORDS = ["", "nosuch", "PROTONET", "a b", "../..", "\u00e9\u4e2d", "a" * 300, "%s", "--", "\n"]

OPTIONS: list[tuple[list[str], str, list[str]]] = [
    *((FUNCTIONS, option, NUMBERS) for option in ("--steps", "--minutes", "--seed", "--shots", "--queries")),
    *((FUNCTIONS, option, NUMBERS) for option in ("--tasks-per-step", "--lr", "--inner-steps", "--inner-lr")),
    *((FUNCTIONS, option, [*NUMBERS, "0", "1.5"]) for option in ("--width", "--chunk")),
    *((FUNCTIONS, option, WORDS) for option in ("--how", "--norm", "--device", "--freeze", "--init", "--root")),
    (IMAGES, "--ways", [*NUMBERS, "0", "1", "7", "1.5"]),
    (IMAGES, "--shots", ["0", "100", "1.5"]),
    (IMAGES, "--seed", [str(2**64), str(-(2**64)), "1.5"]),
    (IMAGES, "--device", ["gpu", "cuda:99", "cuda:-1", "CPU0", "cpu:x", "meta", "mps:7", "xla", "cuda"]),
    (IMAGES, "--norm", ["batchnorm", "running "]),
]

SETS = {
    "": ["", "=", "a=b", "training", "training=", "training.=1", ".lr=1", "learner.name=x", "nosuch.x=1", "seed=3"],
    "training": [
        "lr=nan", "lr=0", "lr=-1", "lr='x'", "lr=[1]", "lr=true", "lr=inf", "stepps=1", "steps=1.5", "steps=-1",
        "steps='ten'", "clip=0", "clip=-1", "clip='x'", "average=1.5", "average=-0.1", "reduction='avg'", "warmup=2",
        "warmup=-1", "validate_every=-1", "validate_every=0", "optimizer='Adma'", "optimizer='LBFGS'", "optimizer=3",
        "schedule='cosin'", "how='vamp'", "precision='float8'", "compiled='maybe'", "compiled=3", "memory=0",
        "memory=-2", "aggregate='pcgrads'", "weighting='dw'", "tasks_per_step=0", "tasks_per_step=1.5",
        "save_seconds=-1", "weight_decay=-1", "minutes=0", "minutes=-3", "chunk=0", "device='nosuch'", "out='x'",
        "resume=true", "seed=1", "sampler=1", "learner=1",
    ],
    "options": ["nosuch=1", "steps=1.5", "steps=-1", "lr='x'", "lr=true", "test_steps=-1", "first_order=2", "adapts=3",
                "adapts='nosuch.*'", "shared_head='nosuch'", "net=1", "likelihood=1", "steps=[1]"],
    "episodes": ["nosuch=1", "shots=1.5", "shots=-1", "shots='x'", "kind='episode'", "kind=3", "ways=5", "queries=-1"],
    "validation": ["nosuch=1", "tasks=0", "tasks=1.5", "tasks='x'", "shots=-1", "queries=0", "ways='x'"],
    "net": ["nosuch=1", "width=0", "width=-1", "width='x'", "width=1.5", "name='conv5'", "name=3", "dropout=2",
            "dropout=-1", "dropout='x'", "name='a:b'", "name='torch.nn:Linaer'", "width=[]", "width=[0, 1]"],
    "likelihood": ["smothing=0.1", "smoothing=2", "smoothing='x'", "name='poisson'", "scale=0", "scale=-1", "scale=[]"],
    "augment": ["flipp=true", "flip=3", "shift=-1", "shift='x'", "probability=2"],
    "pool": ["nosuch=1", "rotations=3"],
    "share": ["nosuch=1", "classes=0", "classes=1.5", "classes='x'", "examples=-0.1", "seed=-1", "seed=1.5",
              "classes=0.01", "examples=0.01"],
}  # fmt: skip

#: Words that name what is not there, or too few or too many of them.
OTHERS = """
trian protonet
train
train nosuch --out OUT
train protonet
train protonet --data nosuch --out OUT
train a:b --out OUT
train torch.nn:Linear --out OUT
train os:getcwd --out OUT
train :x --out OUT
train protonet --data torch.nn:Linear --out OUT
train protonet --data omniglot --out OUT
train protonet --data omniglot --root NOSUCH --out OUT
train cnp --data mapped --root NOSUCH --out OUT
train cnp --data omniglot --root POOLS --out OUT
train protonet --data sinusoid --out OUT
train protonet --data gp_rbf --root POOLS --out OUT
train finetune --data sinusoid --out OUT
train maml --data sinusoid --ways 5 --steps 0 --out OUT
train relationnet --data tox21 --root POOLS --out OUT
train maml --data sinusoid --steps 0
train maml protonet --out OUT
train maml --out OUT --nosuch 1
train maml --data sinusoid --steps 0 --out FILE
train maml --data sinusoid --steps 0 --out FILE/run
train maml --data sinusoid --steps 0 --out LONG
train maml --data sinusoid --init NOSUCH --out OUT
train maml --data sinusoid --init POOLS --out OUT
train maml --data sinusoid --first-order=3 --out OUT
train maml --data sinusoid --set share.classes=0.5 --steps 0 --out OUT
pretrain nosuch --out OUT
pretrain rotatoin --out OUT
pretrain classifier --data sinusoid --out OUT
pretrain
resume
resume NOSUCH
resume POOLS
resume FILE
resume RUN --root NOSUCH
resume RUN --track nosuch
train maml --data sinusoid --steps 0 --track tensorbord --out OUT
train maml --data sinusoid --steps 0 --track --out OUT
watch
watch NOSUCH
watch POOLS
watch FILE
watch TASK
watch RUN
watch RUN --once
watch RUN --json
watch RUN --every 0
watch RUN --every nan
watch RUN --nosuch
watch RUN RUN
report
report NOSUCH
report POOLS
report FILE
report RUN NOSUCH
report RUN RUN --tasks 2
report RUN --tasks 0
report RUN --tasks 2 --out POOLS
report RUN --tasks 2 --out FILE/page.html
report RUN --tasks 2 --out LONG
report RUN --tasks 2 --plots FILE --out OUT
report RUN --tasks 2 --episode 2 --out OUT
report RUN --tasks 2 --ways 5 --out OUT
report RUN --tasks 2 --data glyphs --out OUT
report RUN --tasks 2 --split nosuch --out OUT
report RUN --tasks 2 --device nosuch --out OUT
report RUN --tasks 2 --json
report RUN --tasks 2 --out OUT
evaluate
evaluate NOSUCH
evaluate POOLS
evaluate FILE
evaluate RUN --tasks 0
reproduce
reproduce nosuch
reproduce omniglot/protonett
reproduce maml
reproduce all omniglot/nosuch
reproduce --list nosuch
reproduce omniglot --within wide
reproduce omniglot --seed x
reproduce sinusoid --seed 1 --seed 1
reproduce sinusoid --seed -1 --check
reproduce sinusoid --device gpu
reproduce sinusoid --device cuda:99 --check
reproduce sinusoid --check --runs NOSUCH
reproduce sinusoid --check --runs FILE
reproduce sinusoid --check --runs LONG
reproduce omniglot/untrained --root NOSUCH --runs OUT
reproduce omniglot/untrained --root FILE --runs OUT
reproduce omniglot --records NOSUCH
reproduce omniglot --records FILE
reproduce omniglot --records RUN
reproduce knowing-sets --seed 1 --runs OUT
reproduce few-groceries --seed 1 --seed 2 --runs OUT
reproduce molecules --check --runs OUT
reproduce processes/cnp --check --update --runs OUT
evaluate RUN --tasks -1
evaluate RUN --tasks x
evaluate RUN --split nosuch
evaluate RUN --shots 0
evaluate RUN --queries 0
evaluate RUN --ways 5
evaluate RUN --data nosuch
evaluate RUN --data glyphs
evaluate RUN --seed x
evaluate RUN --device nosuch
evaluate RUN --norm nosuch
evaluate RUN --inner-steps -1
evaluate RUN --data mapped
evaluate RUN --data mapped --root NOSUCH
evaluate RUN RUN
evaluate RUN --root POOLS
compare
compare RUN
compare RUN NOSUCH
compare NOSUCH RUN
compare RUN RUN --tasks 0
compare RUN RUN --tasks 1
compare RUN RUN --split nosuch
compare RUN RUN --data glyphs
evidence
evidence NOSUCH
evidence POOLS
evidence FILE
evidence RUN
evidence RUN --tasks 0
evidence RUN --tasks x
evidence RUN --wrong 0
evidence RUN --removals -1
evidence RUN --split nosuch
evidence RUN --data nosuch
evidence RUN --data mapped --root POOLS --wrong nan
evidence RUN --data glyphs --device nosuch
evidence RUN --against NOSUCH
evidence RUN RUN
matrix
matrix RUN
matrix NOSUCH
matrix FILE
matrix POOLS
matrix RUN RUN
matrix RUN --baseline RUN
matrix RUN --baseline NOSUCH
matrix RUN --tasks 1
matrix RUN --on nosuch
matrix RUN --plot FILE
curve
curve RUN
curve NOSUCH
curve FILE
curve POOLS
curve RUN RUN
curve RUN --shots 1,x
curve RUN --shots 0
curve RUN --tasks 0
curve RUN --over nosuch
curve RUN --plot FILE
curve RUN --plot NOSUCH/a.svg
curve RUN --data mapped --root POOLS
curve RUN --split nosuch
continual
continual naive
continual nosuch --stream split_digits
continual naive --stream nosuch
continual naive --stream sinusoid
continual naive --stream split_digits --orders -1
continual naive --stream split_digits --classes 0
continual naive --stream split_digits --classes 3
continual naive --stream split_digits --set lr=nan
continual naive --stream split_digits --set lr=-1
continual naive --stream split_digits --set glances=0
continual RUN --stream split_digits
continual naive --stream split_omniglot
continual naive --stream split_digits --init RUN
sweep
sweep maml --out OUT
sweep maml --try training.lr --out OUT
sweep nosuch --try training.lr=1..2 --out OUT
sweep maml --data sinusoid --try training.lr=2..1 --out OUT
sweep maml --data sinusoid --try nosuch.x=1..2 --out OUT
sweep maml --data sinusoid --try options.nosuch=1..2 --out OUT
sweep maml --data sinusoid --try training.lr=1e-4..1e-2 --trials 0 --out OUT
sweep maml --data sinusoid --try training.lr=0..1:log --out OUT
sweep maml --data sinusoid --try training.lr=[] --out OUT
learners nosuch
learners --nosuch
data nosuch
data omniglot
data omniglot --root NOSUCH
data glyphs --root POOLS
data sinusoid --download
data mapped --root POOLS/train
check
check NOSUCH
check FILE
check LONG
check RUN
check POOLS
check POOLS --json
check FILE --label nosuch
check FILE --shots x
check TABLE --shots 0
check TABLE --shots -1
check TABLE --shots nan
check TABLE --label nosuch
check TABLE --label
check TABLE --inputs nosuch
check TABLE --inputs label
check TABLE --task nosuch
check TABLE --group nosuch
check TABLE --encoding nosuch
check TABLE --encoding utf-16
check TABLE --sheet nosuch
check TABLE --nosuch
check TABLE TABLE
check TABLE --json
learn
learn TABLE
learn --out OUT
learn NOSUCH --out OUT
learn FILE --out OUT
learn LONG --out OUT
learn RUN --out OUT
learn POOLS --out OUT
learn TABLE --out FILE
learn TABLE --out FILE/task
learn TABLE --out LONG
learn TABLE --out TASK
learn TABLE --out POOLS
learn TABLE --out POOLS --replace
learn TABLE --out OUT --head nosuch
learn TABLE --out OUT --head rigde
learn TABLE --out OUT --encoder nosuch
learn TABLE --out OUT --encoder photographs
learn TABLE --out OUT --encoder sentences
learn TABLE --out OUT --label nosuch
learn TABLE --out OUT --label size
learn TABLE --out OUT --inputs nosuch
learn TABLE --out OUT --inputs label
learn TABLE --out OUT --nosuch
learn TABLE TABLE --out OUT
predict
predict TASK
predict NOSUCH TABLE
predict FILE TABLE
predict POOLS TABLE
predict RUN TABLE
predict TASK NOSUCH
predict TASK FILE
predict TASK POOLS
predict TASK LONG
predict TASK TABLE
predict TASK TABLE --json
predict TASK TABLE --csv
predict TASK TABLE --json --csv
predict TASK TABLE --text hello
predict TASK TABLE --coverage 0
predict TASK TABLE --coverage 1
predict TASK TABLE --coverage -1
predict TASK TABLE --coverage 0.99
predict TASK TABLE --coverage nan
predict TASK TABLE --coverage x
predict TASK TABLE --unknown nosuch
predict TASK TABLE --unknown reject --error 0
predict TASK TABLE --unknown reject --error 1
predict TASK TABLE --unknown reject --error nan
predict TASK TABLE --unknown reject --error x
predict TASK TABLE --nosuch
add
add TASK
add TASK TABLE
add NOSUCH TABLE --label 1
add RUN TABLE --label 1
add TASK NOSUCH --label 1
add TASK FILE --label 1
add TASK TABLE --label x
add TASK TABLE --label nan
add TASK TABLE --label
add TASK --label 1
add TASK --forget nosuch
add TASK --forget 7
add TASK --forget 1
add TASK TABLE --forget 1
add TASK --forget 1 --label 1
add TASK --text hello --label 1
test
test TASK
test NOSUCH TABLE
test RUN TABLE
test TASK NOSUCH
test TASK FILE
test TASK POOLS
test TASK TABLE
test TASK TABLE --json
test TASK TABLE --worst -1
test TASK TABLE --worst x
test TASK TABLE --label nosuch
test TASK TABLE --inputs nosuch
export
export TASK
export TASK --to OUT
export NOSUCH --to OUT.pt2
export RUN --to OUT.pt2
export FILE --to OUT.pt2
export TASK --to OUT.pt2 --form nosuch
export TASK --to OUT.pt2 --form adpat
export TASK --to OUT.pt2 --quantize
export TASK --to OUT.pt2 --nosuch
export TASK --to NOSUCH/a.pt2
export TASK --to FILE/a.pt2
export TASK --to LONG
demo --minutes -1 --out OUT
demo --minutes nan --out OUT
demo --minutes 0 --out OUT
demo --seed x
"""


def lines() -> list[list[str]]:
    """All of them."""
    found = [[*base, option, value] for base, option, values in OPTIONS for value in values]
    for part, changes in SETS.items():
        base = IMAGES if part in ("augment", "pool", "net", "share") else FUNCTIONS
        found += [[*base, "--set", f"{part}.{change}" if part else change] for change in changes]
    found = [[*words, "--out", "OUT"] for words in found]
    return found + [words.split() for words in OTHERS.strip().splitlines()]


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A mapped pool, a trained run, a file, and what is not there."""
    folder = tmp_path_factory.mktemp("fuzz")
    generator = torch.Generator().manual_seed(0)
    for split in ("train", "val", "test"):
        classes = [(f"{split}{c}", torch.rand(6, 1, 8, 8, generator=generator)) for c in range(4)]
        il.data.write_pool(folder / "pools" / split, classes)
    (folder / "file").write_text("not a folder")
    (folder / "table.csv").write_text("size,label\n" + "".join(f"{row},{row % 2}\n" for row in range(8)))
    frame = pandas.DataFrame({"size": range(8)})
    il.FewShotClassifier(head="ridge").fit(frame, [0, 1] * 4).save(folder / "task")
    return {
        "POOLS": folder / "pools",
        "TASK": folder / "task",
        "RUN": folder / "run",
        "FILE": folder / "file",
        "TABLE": folder / "table.csv",
        "NOSUCH": folder / "nosuch",
        "LONG": folder / ("x" * 300),
    }


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    return Cli(monkeypatch, capsys)


def _within(word: str, names: dict[str, str]) -> str:
    """A word with the places that it begins with."""
    for name in ("FILE/", "POOLS/", "NOSUCH/", "OUT."):
        word = word.replace(name, f"{names[name[:-1]]}{name[-1]}")
    return word


def snapshot(folder: Path) -> dict[str, bytes]:
    """All files below a folder with their content."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_there_are_enough() -> None:
    assert len(lines()) >= 300
    assert len({tuple(words) for words in lines()}) == len(lines())


@pytest.mark.parametrize("part", range(8))
def test_a_command_line_is_refused_with_one_line_or_is_right(
    part: int, cli: Cli, places: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit 2, one line that says what is wrong, no traceback, no file left; or a success that is whole."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    if not places["RUN"].exists():
        run = [
            "train",
            "maml",
            "--data",
            "sinusoid",
            "--steps",
            "1",
            "--quiet",
            "--set",
            "validation.tasks=2",
            "--set",
            "net.width=4",
        ]
        assert cli(*run, "--out", places["RUN"])[0] == 0
    before = snapshot(places["RUN"].parent)
    wrong = []
    for number, words in enumerate(lines()[part::8]):
        out = tmp_path / f"out{number}"
        names = {name: str(path) for name, path in {**places, "OUT": out}.items()}
        filled = [names.get(word, _within(word, names)) for word in words]
        try:
            code, _, said = cli(*filled)
        except BaseException as error:
            wrong.append((words, f"{type(error).__name__}: {error}"))
            continue
        if code == 0:
            # Then it did what it says: a training leaves a run that is scored.
            if "--out" in words and words[0] in ("train", "pretrain") and not (out / "best" / "bundle.json").exists():
                wrong.append((words, "said nothing and did nothing"))
        elif code != 2:
            wrong.append((words, f"exit {code}: {said[-200:]}"))
        elif said.count("\n") != 1 or "Traceback" in said or not said.startswith("innerloop: "):
            wrong.append((words, f"not one line: {said[-300:]!r}"))
        elif out.exists():
            wrong.append((words, f"left {sorted(p.name for p in out.rglob('*'))}"))
        if list(Path.cwd().iterdir()):
            wrong.append((words, f"left {[p.name for p in Path.cwd().iterdir()]} in the current folder"))
            break
    assert not wrong, "\n".join(f"{' '.join(words)}\n    {why}" for words, why in wrong)
    after = snapshot(places["RUN"].parent)
    added = {name for name in after if name not in before and "evaluations" not in name}
    assert not added
    assert {name: after.get(name) for name in before} == before
    assert json.loads((places["RUN"] / "recipe.json").read_text())["recipe"]["learner"] == "maml"
