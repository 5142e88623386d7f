"""Learning to act: bandits and navigation, two tables of docs/results.md.

    python benchmarks/acting.py                      both tables, seeds 0 1 2, in one thread
    python benchmarks/acting.py bandits              one of them (bandits, navigation)
    python benchmarks/acting.py --print-only         the tables from the runs that are there
    python benchmarks/acting.py --wide               also 10 arms

Every player meets the same arms, and the same luck of every arm at every pull; every navigator the same goals. What
each one got on each task is kept in runs/results/acting, one JSON file a training seed, and a run that is there is not
trained again. Hyperparameters are those of this file for every seed; no test task is ever trained on.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable

import numpy as np
import torch
from page import RUNS, record
from torch import Generator

import innerloop as il
from innerloop import acting
from innerloop.core.checkpoint import save
from innerloop.core.files import write_text_atomically
from innerloop.evaluation.stats import interval

HOME = RUNS / "acting"
PULLS = 100
BANDITS, GOALS = 10_000, 400
#: Seeds of test tasks, of goals that a fine-tuning rate is chosen on, and of the actions.
TEST, CHOICE, ACTIONS = 10_001, 10_002, 10_003

PUBLISHED = {
    5: {"gittins": 78.3, "ucb1-tuned": 78.0, "greedy": 74.8, "thompson": 74.7, "rl2": 78.7},
    10: {"gittins": 82.8, "ucb1-tuned": 82.4, "greedy": 77.1, "thompson": 76.7, "rl2": 83.5},
}
PLAYERS: dict[str, tuple[str, Callable[[], acting.IndexPlayer]]] = {
    "gittins": ("Gittins index, pulls left", lambda: acting.Gittins(PULLS)),
    "gittins-discounted": ("Gittins index, discount 0.99", lambda: acting.Gittins(PULLS, discount=0.99)),
    "ucb1-tuned": ("UCB1, c = 0.2", lambda: acting.UCB1(0.2)),
    "greedy": ("greedy (posterior mean)", acting.Greedy),
    "epsilon": ("epsilon-greedy, 0.02", lambda: acting.Greedy(0.02)),
    "thompson": ("Thompson sampling", acting.Thompson),
    "ucb1": ("UCB1, c = 1 (published rule)", acting.UCB1),
    "random": ("random", acting.Random),
}
#: Outer steps of RL^2 and tasks a step.
UPDATES, TASKS = 2000, 256

NAVIGATORS: dict[str, tuple[str, dict[str, object], str]] = {
    "maml": ("MAML, second order, learned rates", {"learn_lr": True}, "-20.3 ± 3.2"),
    "maml-fixed": ("MAML, second order, rate 0.1", {}, "-20.3 ± 3.2"),
    "maml-first": ("MAML, first order, learned rates", {"learn_lr": True, "first_order": True}, ""),
    "anil": ("ANIL (head only), learned rates", {"learn_lr": True, "adapts": "head"}, "-20.1 ± 2.3"),
    "pretrained": ("pre-trained, then fine-tuned", {}, ""),
}
NAVIGATION_UPDATES = 300
RATES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)


def kept(name: str, print_only: bool, make: Callable[..., dict], *arguments: object) -> dict | None:
    """A result from its file; made and kept where it is not there, or ``None`` where nothing is to be made."""
    path = HOME / f"{name}.json"
    if not path.exists():
        if print_only:
            return None
        write_text_atomically(path, json.dumps(make(*arguments)))
    return json.loads(path.read_text())


def finished(history: il.training.History) -> None:
    """Stop the program where a run was stopped: half a run is no result."""
    if history.stopped != "finished":
        raise SystemExit("interrupted; the seeds that are done are kept")


def seeded(seed: int) -> Generator:
    return Generator().manual_seed(seed)


def bandit_tasks(arms: int) -> acting.Bandits:
    return acting.Bandits.draw(seeded(TEST), BANDITS, arms=arms, pulls=PULLS)


def play_baseline(name: str, arms: int) -> dict:
    """Sums of rewards of a player that needs no training."""
    return {"sums": PLAYERS[name][1]()(bandit_tasks(arms), seeded(ACTIONS)).sum(0).tolist()}


def play_rl2(arms: int, seed: int) -> dict:
    """Train RL^2 and play the test tasks."""
    print(f"RL^2, {arms} arms, seed {seed}", flush=True)
    torch.manual_seed(seed)
    rl2, start = acting.RL2(arms=arms, pulls=PULLS), time.process_time()
    finished(acting.train_rl2(rl2, pulls=PULLS, updates=UPDATES, tasks=TASKS, seed=seed, progress=True))
    minutes = (time.process_time() - start) / 60
    save(
        HOME / f"rl2-{arms}x{PULLS}-{UPDATES}-seed{seed}.safetensors", rl2.state_dict(), {"arms": arms, "pulls": PULLS}
    )
    return {"minutes": minutes, "sums": rl2(bandit_tasks(arms), seeded(ACTIONS)).sum(0).tolist()}


def plus_minus(values: np.ndarray, sign: str = "") -> str:
    """Mean and the half width of its 95 % interval."""
    low, high = interval(values)
    return f"{values.mean():{sign}.2f} ± {(high - low) / 2:.2f}"


def bandit_table(widths: list[int], seeds: list[int], print_only: bool) -> str:
    """The sum of 100 rewards by player, and the paired difference to the Gittins player."""
    lines = []
    for arms in widths:
        lines += [
            f"| {arms} arms, {PULLS} pulls | sum of rewards | less Gittins, paired | each seed | minutes | published |",
            "|---|---|---|---|---|---|",
        ]
        best = bandit_tasks(arms).best.numpy()
        sums = {}
        for name in PLAYERS:
            made = kept(f"{name}-{arms}x{PULLS}", print_only, play_baseline, name, arms)
            if made is not None:
                sums[name] = np.array(made["sums"])
        runs = [kept(f"rl2-{arms}x{PULLS}-{UPDATES}-seed{seed}", print_only, play_rl2, arms, seed) for seed in seeds]
        runs = [one for one in runs if one is not None]
        each, minutes = "", ""
        if runs:
            sums = {"rl2": np.mean([one["sums"] for one in runs], 0), **sums}
            each = " / ".join(f"{np.mean(one['sums']):.2f}" for one in runs)
            minutes = f"{np.mean([one['minutes'] for one in runs]):.1f}"
        for name, values in sums.items():
            title = PLAYERS[name][0] if name in PLAYERS else f"**RL^2**, {UPDATES:,} updates of {TASKS} tasks"
            gap = plus_minus(values - sums["gittins"], "+") if name != "gittins" and "gittins" in sums else ""
            extra = f"{each} | {minutes}" if name == "rl2" else " | "
            lines.append(f"| {title} | {plus_minus(values)} | {gap} | {extra} | {PUBLISHED[arms].get(name, '')} |")
        lines += [f"| the best arm, known | {plus_minus(best)} | | | | |", ""]
    return "\n".join(lines).rstrip()


def navigator(options: dict[str, object], lr: float = 0.1) -> acting.PolicyMAML:
    return acting.PolicyMAML(acting.GaussianPolicy(width=64), lr=lr, **options)


def train_navigator(name: str, seed: int) -> dict:
    """Train one, and its returns on the test goals before and after one inner step."""
    print(f"navigation, {name}, seed {seed}", flush=True)
    torch.manual_seed(seed)
    maml, start = navigator(NAVIGATORS[name][1]), time.process_time()
    steps = 0 if name == "pretrained" else 1
    finished(acting.train_navigation(maml, updates=NAVIGATION_UPDATES, steps=steps, seed=seed, progress=True))
    minutes = (time.process_time() - start) / 60
    save(HOME / f"navigation-{name}-{NAVIGATION_UPDATES}-seed{seed}.safetensors", maml.state_dict(), {"row": name})
    rate = None
    if name == "pretrained":
        goals, scores = acting.draw_goals(seeded(CHOICE), 100), {}
        for lr in RATES:
            tuned = navigator({}, lr)
            tuned.load_state_dict(maml.state_dict())
            scores[lr] = float(tuned.returns(goals, seeded(ACTIONS))[1].mean())
        rate = max(scores, key=scores.__getitem__)
        tuned = navigator({}, rate)
        tuned.load_state_dict(maml.state_dict())
        maml = tuned
    before, after = maml.returns(acting.draw_goals(seeded(TEST), GOALS), seeded(ACTIONS))
    return {"minutes": minutes, "rate": rate, "before": before.tolist(), "after": after.tolist()}


def random_returns(goals: torch.Tensor) -> np.ndarray:
    """Uniformly random steps, 20 episodes a goal."""
    steps = 2 * torch.rand(len(goals), acting.navigation.HORIZON, 20, 2, generator=seeded(ACTIONS)) - 1
    seen = torch.func.vmap(lambda goal, step: acting.navigate(lambda x, z: z, goal, step))(goals, steps)
    return seen.returns.mean(1).numpy()


def navigation_table(seeds: list[int], print_only: bool) -> str:
    """Returns before and after one inner step of 20 episodes, on the same goals."""
    goals = acting.draw_goals(seeded(TEST), GOALS)
    lines = [
        "| navigator | before | after one step | each seed | less second-order MAML, paired | minutes | published |",
        "|---|---|---|---|---|---|---|",
    ]
    means = {}
    for name, (title, _, published) in NAVIGATORS.items():
        runs = [
            kept(f"navigation-{name}-{NAVIGATION_UPDATES}-seed{seed}", print_only, train_navigator, name, seed)
            for seed in seeds
        ]
        runs = [one for one in runs if one is not None]
        if not runs:
            continue
        before, means[name] = (np.mean([one[when] for one in runs], 0) for when in ("before", "after"))
        gap = plus_minus(means[name] - means["maml"], "+") if name != "maml" and "maml" in means else ""
        each = " / ".join(f"{np.mean(one['after']):.2f}" for one in runs)
        if runs[0]["rate"]:
            title += f" (rates {', '.join(str(one['rate']) for one in runs)})"
        minutes = f"{np.mean([one['minutes'] for one in runs]):.1f}"
        lines.append(
            f"| {title} | {plus_minus(before)} | {plus_minus(means[name])} | {each} | {gap} | {minutes} | {published} |"
        )
    for title, values in (
        ("random steps", random_returns(goals)),
        ("stays where it is (exact)", -100 * goals.norm(dim=1).numpy()),
        ("knows the goal (exact)", acting.best_return(goals).numpy()),
    ):
        lines.append(f"| {title} | {plus_minus(values)} | | | | | |")
    return "\n".join(lines)


def main() -> None:
    """Train, play, print, and put the tables into the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", nargs="*", help="bandits, navigation; default both")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--wide", action="store_true", help="also bandits of 10 arms")
    parser.add_argument("--print-only", action="store_true")
    arguments = parser.parse_args()
    unknown = set(arguments.tables) - {"bandits", "navigation"}
    if unknown:
        parser.error(f"unknown tables {sorted(unknown)}")
    torch.set_num_threads(1)
    HOME.mkdir(parents=True, exist_ok=True)
    tables = {
        "bandits": lambda: bandit_table([5, 10] if arguments.wide else [5], arguments.seeds, arguments.print_only),
        "navigation": lambda: navigation_table(arguments.seeds, arguments.print_only),
    }
    for name in arguments.tables or tables:
        text = tables[name]()
        print(text, end="\n\n")
        record(name, text)


if __name__ == "__main__":
    main()
