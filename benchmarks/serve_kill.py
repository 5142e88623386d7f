"""Servers and databases that are killed in the midst of writes: is all there that was acknowledged?"""

from __future__ import annotations

from collections.abc import Sequence

import httpx
from serve_processes import Server, database
from serve_promises import Found, Ledger, found_in, killed, tasks_of

TASKS = 8
_HEAD = "| what is killed | kills | acknowledged writes | sent again | lost | doubled | half | crooked | unread |"


def kill(stores: Sequence[str], kills: int, seed: int) -> bool:
    """Kill the server on each store, and then Postgres itself; print what was kept."""
    print(_HEAD, "|---|---:|---:|---:|---:|---:|---:|---:|---:|", sep="\n")
    well = True
    for store in stores:
        with database(store) as (address, postgres), Server(database=address) as server:
            ledger = Ledger()
            tasks = tasks_of(server.url, TASKS, ledger)

            def again(_: int, server: Server = server) -> None:
                server.kill()
                server.start()

            killed([server.url], ledger, tasks, kills, again, seed)
            well &= _said(f"the server, on {store}", kills, ledger, found_in(address, server.url, ledger))
            if postgres is None:
                continue

            def restart(_: int, postgres: object = postgres) -> None:
                postgres.stop()
                postgres.start()

            ledger, times = Ledger(), max(1, kills // 5)
            killed([server.url], ledger, tasks_of(server.url, TASKS, ledger), times, restart, seed)
            well &= _said("Postgres, under its server", times, ledger, found_in(address, server.url, ledger))
    return well


def replicas(kills: int, seed: int) -> bool:
    """Two replicas on one Postgres: the same answers as one, to the bit; and one is killed at a time."""
    with (
        database("postgres") as (address, _),
        database("sqlite") as (alone, _),
        Server(database=address) as first,
        Server(database=address) as second,
        Server(database=alone) as one,
    ):
        same = _answers([first.url, second.url]) == 2 * _answers([one.url])
        print(f"two replicas answer as one, to the bit: {'yes' if same else 'NO'}\n")
        print(_HEAD, "|---|---:|---:|---:|---:|---:|---:|---:|---:|", sep="\n")
        ledger = Ledger()
        pair = [first, second]

        def strike(number: int) -> None:
            pair[number % 2].kill()
            pair[number % 2].start()

        urls = [server.url for server in pair]
        killed(urls, ledger, tasks_of(first.url, TASKS, ledger), kills, strike, seed)
        seen = [found_in(address, url, ledger) for url in urls]
        return same and seen[0] == seen[1] and _said("one of two replicas, on postgres", kills, ledger, seen[0])


def _answers(urls: Sequence[str]) -> list[object]:
    """What each replica answers, after examples went to them in turn."""
    ledger = Ledger()
    (task,) = tasks_of(urls[0], 1, ledger)
    for number in range(12):
        body = {
            "examples": [{"label": f"c{number % 3}", "vector": [number % 3 + number / 7, number / 3, 1 / (1 + number)]}]
        }
        httpx.post(f"{urls[number % len(urls)]}/v1/tasks/{task}/examples", json=body, timeout=60).raise_for_status()
    asked = {"items": [{"vector": [n / 3, n / 7, 0.5]} for n in range(20)], "evidence": False}
    return [httpx.post(f"{u}/v1/tasks/{task}/predict", json=asked, timeout=60).json()["items"] for u in urls]


def _said(what: str, kills: int, ledger: Ledger, found: Found) -> bool:
    numbers = [kills, found.told, ledger.again, *found[1:]]
    print(f"| {what} | {' | '.join(map(str, numbers))} |", flush=True)
    for words in ledger.refused[:5]:
        print(f"refused: {words}")
    return found.well and not ledger.refused
