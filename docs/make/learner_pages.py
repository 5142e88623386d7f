"""A page for each learner: when to choose it, its docstring, its figures in the results, its defaults."""

from __future__ import annotations

import inspect
import re
import tomllib
from collections import defaultdict
from pathlib import Path

from innerloop import learners
from innerloop.learners import Head

HOME = Path(__file__).resolve().parents[2]
#: How the tables of results call a learner, where its own name in words is not it.
CALLED = {
    "AGEM": ("A-GEM",),
    "InContext": ("in-context",),
    "LaMAML": ("La-MAML",),
    "CMAML": ("C-MAML",),
    "Naive": ("naive fine-tuning",),
    "FineTune": ("FineTune", "fine-tuned head"),
    "MultiTask": ("multi-task network", "heads of 50 known"),
    "Statistician": ("Neural Statistician",),
    "Head": (),
    "LearnedKernel": ("learned",),
    "MetaSGD": ("Meta-SGD",),
    "SoftMeans": ("soft-means",),
    "TNP": ("TNP-D",),
    "Prototypes": ("prototypes", "cosine prototypes"),
    "Recalibrated": (
        "CNP, recalibrated",
        "NP, recalibrated",
        "CANP, recalibrated",
        "ANP, recalibrated",
        "TNP, recalibrated",
    ),
}
#: Families, in the order of the docs; the folder of a learner is its family.
FAMILIES = {
    "optimization": "Optimization",
    "metric": "Metric",
    "heads": "Heads on features",
    "generative": "Generative",
    "transfer": "Transfer and multi-task",
    "continual": "Continual",
    "learners": "Parts that others are built from",
}
_BLOCK = re.compile(r"<!-- (?P<name>[\w-]+): begin -->(?P<body>.*?)<!-- (?P=name): end -->", re.DOTALL)
_ROLE = re.compile(r":\w+:`~?(?:[\w.]*\.)?(\w+)`")
_HEADING = re.compile(r"^(#{2,3}) (.*)$", re.MULTILINE)


def write(folder: Path) -> None:
    """Write ``learner/``, a page for each public learner, one of all of them, and the list of contents."""
    place = folder / "learner"
    place.mkdir(parents=True)
    guide = (HOME / "docs" / "learners.md").read_text(encoding="utf-8")
    results = (HOME / "docs" / "results.md").read_text(encoding="utf-8")
    families: dict[str, list[str]] = defaultdict(list)
    for name in sorted(learners.__all__, key=str.lower):
        thing = getattr(learners, name)
        (place / f"{name}.md").write_text(page(name, thing, guide, results), encoding="utf-8")
        families[family(thing)].append(name)
    contents, front = ["- [A page for each](index.md)"], ["# A page for each learner\n"]
    for key, title in FAMILIES.items():
        contents += [f"- {title}", *(f"    - [{name}]({name}.md)" for name in families[key])]
        rows = [f"| [`{name}`]({name}.md) | {summary(getattr(learners, name))} |" for name in families[key]]
        front += [f"## {title}\n", "| learner | what it is |", "|---|---|", *rows, ""]
    front.append("[When to choose which](../learners.md) · [how to write one](../tutorials/own_learner.md)\n")
    (place / "SUMMARY.md").write_text("\n".join(contents) + "\n", encoding="utf-8")
    (place / "index.md").write_text("\n".join(front), encoding="utf-8")


def page(name: str, thing: type, guide: str, results: str) -> str:
    """The page of one learner."""
    when, section = choice(name, guide), heading(name, guide)
    parts = [f"# {name}\n", f"{introduction(thing)}\n"]
    kind = "head on features" if issubclass(thing, Head) else FAMILIES[family(thing)].lower()
    parts.append(f"**Family**: {kind}." + (f" **Choose it when**: {when}." if when else "") + "\n")
    if section:
        parts.append(f"[More in the guide to learners](../learners.md#{slug(section)})\n")
    composed = getattr(thing.__init__, "__wrapped__", None) or "Embedded" in [base.__name__ for base in thing.__bases__]
    if composed:
        arguments = f"{name}{inspect.signature(thing)}".replace(", ", ",\n    ").replace("(", "(\n    ", 1)
        parts.append(f"Its arguments are those of its head, behind an encoder:\n\n```python\n{arguments}\n```\n")
    options = "    options:\n      show_root_heading: false\n      show_root_toc_entry: false\n      heading_level: 3\n"
    parts.append(f"## Reference\n\n::: {thing.__module__}.{name}\n{options}")
    parts += figures(name, results)
    parts += recipe(name)
    return "\n".join(parts)


def family(thing: type) -> str:
    """The folder of a learner: the name of its family."""
    parts = thing.__module__.split(".")
    return parts[2] if len(parts) > 3 else "learners"


def introduction(thing: type) -> str:
    """What the file of a learner opens with: citation, what it does, when to choose it."""
    return _ROLE.sub(r"`\1`", (inspect.getmodule(thing).__doc__ or "").strip())


def summary(thing: type) -> str:
    """The first sentence of a docstring, on one line, for a cell of a table."""
    words = " ".join((inspect.getdoc(thing) or "").partition("\n\n")[0].split())
    return _ROLE.sub(r"`\1`", words).replace("|", "\\|")


def choice(name: str, guide: str) -> str:
    """What the guide's table says of when to choose it."""
    for line in guide.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if line.startswith("|") and f"`{name}`" in cells[0] and len(cells) == 4:
            return re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", cells[3].removesuffix(" |"))
    return ""


def heading(name: str, guide: str) -> str:
    """The heading of the guide that names it."""
    return next((title for _, title in _HEADING.findall(guide) if name in re.split(r"[^\w]+", title)), "")


def slug(title: str) -> str:
    """The anchor of a heading."""
    return re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", title.lower()).strip())


def figures(name: str, results: str) -> list[str]:
    """The rows of the tables of results that are of this learner, under the heading where they stand."""
    found = []
    for block in _BLOCK.finditer(results):
        title = _HEADING.findall(results[: block.start()])[-1][1]
        for table in re.findall(r"(?:^\|.*\n)+", block["body"], re.MULTILINE):
            head, rule, *rows = table.strip().splitlines()
            own = [row for row in filled(rows) if is_of(name, row)]
            if own and block["name"] != "published":
                link = f"[{title}](../results.md#{slug(title)})"
                found.append("\n".join([f"### {link}\n", head, rule, *own, ""]))
    words = (
        "Rows of the [results](../results.md), where each column is explained. The last column names what trains it "
        "again: `innerloop reproduce NAME`."
    )
    return ["## Figures\n", f"{words}\n", *found] if found else []


def filled(rows: list[str]) -> list[str]:
    """Rows whose empty first cell is that of the row above."""
    made, first = [], ""
    for row in rows:
        cells = row.split("|")
        first = cells[1] if cells[1].strip() else first
        made.append("|".join(["", first, *cells[2:]]))
    return made


def is_of(name: str, row: str) -> bool:
    """Whether one of the first three cells of a row begins with what the learner is called."""
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    called = [*CALLED.get(name, (name, words)), f"**{name}"]
    cells = [cell.strip().lower() for cell in row.split("|")[1:4]]
    return any(re.match(rf"{re.escape(one.lower())}(?![\w-])", cell) for one in called for cell in cells)


def recipe(name: str) -> list[str]:
    """The committed defaults of its runs, and the published figures that they stand beside."""
    file = HOME / "src" / "innerloop" / "recipes" / f"{name.lower()}.toml"
    if not file.is_file():
        return []
    text = file.read_text(encoding="utf-8")
    published = tomllib.loads(text).get("published", {})
    parts = ["## Published\n"] if published else []
    if published:
        beside = [
            f"- {key.replace('_', ' ')}: {value}" for key, value in published.items() if key not in ("paper", "differs")
        ]
        parts += [f"{published.get('paper', '')}\n", f"{published.get('differs', '')}\n", *beside, ""]
    command = f"innerloop train {name.lower()} --data NAME --out RUN"
    kept = text.partition("[published]")[0].strip()
    return [*parts, "## Defaults\n", f"What `{command}` takes where nothing else is said:\n", f"```toml\n{kept}\n```\n"]
