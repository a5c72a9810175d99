"""Random faults under clients that ask: no answer may be wrong, and service comes back within seconds."""

from __future__ import annotations

import argparse
import json
import random
import resource
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.harness import machine
from benchmarks.harness.site import ROLES, TEXTS, Site
from privinf.errors import PrivinfError
from privinf.sdk.client import Client

CLIENTS = 3
DEADLINE = 10.0  # seconds that a query under faults may take
BACK = 5.0  # seconds after the last fault within which an answer must come
SETTLE = 60.0  # seconds in which places, disk and descriptors come back to their start
LONGEST = 2.0  # seconds that a fault lasts
TOGETHER = 3  # faults at a time, at most
SPARE = 8  # descriptors more than at the start that are no leak: gRPC's own for connections that come and go
KINDS = ("kill", "stop", "cut", "full disk", "slow link")


@dataclass(frozen=True)
class Fault:
    """What goes wrong, where, from when on and for how long, in seconds of its burst."""

    kind: str
    where: str
    begins: float
    lasts: float

    def happen(self, site: Site) -> None:
        """Break it, and mend it."""
        time.sleep(self.begins)
        {
            "kill": self._kill,
            "stop": self._stop,
            "cut": self._cut,
            "full disk": self._fill,
            "slow link": self._slow,
        }[self.kind](site)

    def _kill(self, site: Site) -> None:
        server = site.servers[self.where]
        server.end()
        time.sleep(self.lasts)
        server.start()

    def _stop(self, site: Site) -> None:
        server = site.servers[self.where]
        server.tell(signal.SIGSTOP)
        time.sleep(self.lasts)
        server.tell(signal.SIGCONT)

    def _cut(self, site: Site) -> None:
        site.wires[self.where].cut()
        time.sleep(self.lasts)
        site.wires[self.where].mend()

    def _fill(self, site: Site) -> None:
        site.servers[self.where].room(0)
        time.sleep(self.lasts)
        site.servers[self.where].room(resource.RLIM_INFINITY)

    def _slow(self, site: Site) -> None:
        site.wires[self.where].crawl(self.lasts)


def draw(seed: int, wires: Sequence[str], most: int = TOGETHER) -> list[Fault]:
    """Draw one burst: up to so many faults, at different places."""
    rng, taken, faults = random.Random(seed), set[str](), list[Fault]()
    for _ in range(rng.randint(1, most)):
        kind = rng.choice(KINDS)
        places = {"full disk": ("party0", "party1"), "cut": wires, "slow link": wires}.get(kind, ROLES)
        where = rng.choice(places)
        if where not in taken:
            taken.add(where)
            faults.append(Fault(kind, where, rng.uniform(0, 0.5), rng.uniform(0.1, LONGEST)))
    return faults


@dataclass
class Asked:
    """What came of all that was asked."""

    right: int = 0
    wrong: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)  # what was no error of ours
    lock: threading.Lock = field(default_factory=threading.Lock)

    def ask(self, site: Site, client: Client, text: int, deadline: float = DEADLINE) -> bool:
        """Ask once; return whether the answer is right."""
        try:
            right = site.right(text, client.embed([TEXTS[text]], timeout=deadline).vectors)
        except PrivinfError as error:
            with self.lock:
                self.failed[type(error).__name__] += 1
            return False
        except Exception as error:
            with self.lock:
                self.broken.append(repr(error))
            return False
        with self.lock:
            self.right, self.wrong = self.right + right, self.wrong + (not right)
        return right


def burst(site: Site, seed: int, most: int, asked: Asked) -> dict[str, Any]:
    """Let a burst of faults happen while clients ask, then wait for a right answer."""
    faults, over = draw(seed, sorted(site.wires), most), threading.Event()
    asking = [_thread(_ask_on, site, site.client(n), n, asked, over) for n in range(CLIENTS)]
    try:
        with ThreadPoolExecutor(len(faults)) as pool:
            list(pool.map(lambda fault: fault.happen(site), faults))
        back = _recover(site, asked, time.monotonic())
    finally:
        over.set()
        for thread in asking:
            thread.join()
    named = [asdict(fault) for fault in faults]
    print(f"seed {seed}: back after {back:.2f} s: {_brief(faults)}", file=sys.stderr, flush=True)
    return {"seed": seed, "faults": named, "back_after": round(back, 3)}


def _recover(site: Site, asked: Asked, ended: float) -> float:
    """Ask anew until an answer is right; return the seconds since the faults were over."""
    with site.client(CLIENTS) as client:
        while not asked.ask(site, client, 0, 5.0):
            if time.monotonic() - ended > 2 * SETTLE:
                break
            time.sleep(0.05)
    return time.monotonic() - ended


def _ask_on(site: Site, client: Client, number: int, asked: Asked, over: threading.Event) -> None:
    text = number
    while not over.is_set():
        if not asked.ask(site, client, text % len(TEXTS)):
            time.sleep(0.02)
        text += 1
    client.close()


def _thread(call: Callable[..., None], *given: Any) -> threading.Thread:
    thread = threading.Thread(target=call, args=given)
    thread.start()
    return thread


def _brief(faults: Sequence[Fault]) -> str:
    return ", ".join(f"{fault.kind} {fault.where} {fault.lasts:.1f} s" for fault in faults)


def settled(
    site: Site, client: Client, start: dict[str, dict[str, int]], seconds: float = SETTLE
) -> dict[str, Any]:
    """Wait until places, disk and descriptors are what they were; return what they are, and whether that is so."""
    until = time.monotonic() + seconds
    while True:
        now, places = site.state(), _places(client)
        back = places == [0, 0] and all(
            now[role]["disk"] <= start[role]["disk"]
            and now[role]["descriptors"] <= start[role]["descriptors"] + SPARE
            for role in now
        )
        if back or time.monotonic() > until:
            held = {role: server.held() for role, server in site.servers.items()}
            return {"back": back, "places": places, "state": now, "held": held}
        time.sleep(0.5)


def _places(client: Client) -> list[int] | None:
    try:
        return [status.sessions for status in client.status()]
    except PrivinfError:
        return None


def campaign(
    site: Site,
    events: int,
    seed: int,
    most: int,
    done: dict[str, Any],
    save: Callable[[dict[str, Any]], None],
) -> dict[str, Any]:
    """Run bursts until so many faults have happened; what is `done` already is not done again."""
    bursts: list[dict[str, Any]] = done.get("bursts", [])
    failed = Counter(done.get("failed", {}))
    asked = Asked(done.get("right", 0), done.get("wrong", 0), failed, done.get("broken", []))
    _recover(site, asked, time.monotonic())
    watch = site.client(CLIENTS)
    start = settled(site, watch, site.state(), 5.0)["state"]
    while True:
        count = sum(len(one["faults"]) for one in bursts)
        found = {
            "events": count,
            "kinds": dict(Counter(fault["kind"] for one in bursts for fault in one["faults"])),
            "right": asked.right,
            "wrong": asked.wrong,
            "failed": dict(asked.failed),
            "broken": asked.broken,
            "longest_back": max((one["back_after"] for one in bursts), default=0.0),
            "late": [one["seed"] for one in bursts if one["back_after"] > BACK],
            "start": start,
            "end": settled(site, watch, start) if count >= events else None,
            "bursts": bursts,
        }
        save(found)
        if count >= events:
            watch.close()
            return found
        bursts.append(burst(site, seed + len(bursts), most, asked))


def passed(found: dict[str, Any]) -> bool:
    """Whether nothing was wrong, service was always back in time, and nothing is left over."""
    return not (found["wrong"] or found["broken"] or found["late"]) and bool(found["end"]["back"])


def main() -> int:
    """Write benchmarks/results/faults.json; run again with --resume, it goes on where it was ended."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.measure.faults", description=__doc__)
    parser.add_argument("--events", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1, help="of the first burst; each next one has the next")
    parser.add_argument("--together", type=int, default=TOGETHER, help="faults at a time, at most")
    parser.add_argument("--resume", action="store_true", help="go on from the file of results")
    parser.add_argument("--json", type=Path, default=machine.RESULTS / "faults.json")
    given = parser.parse_args()
    about = {"benchmark": "faults", **machine.about(), "seed": given.seed}
    resumed = given.resume and given.json.exists()
    done = json.loads(given.json.read_text("utf-8")) if resumed else {}
    first = int(done.get("seed", given.seed))

    def save(found: dict[str, Any]) -> None:
        machine.write(given.json, {**about, "seed": first, **found})

    with (
        tempfile.TemporaryDirectory(prefix="privinf-faults-") as folder,
        Site(Path(folder), CLIENTS + 1, ahead=1) as site,
    ):
        found = campaign(site, given.events, first, given.together, done, save)
    print(
        f"{found['events']} faults: {found['right']} answers right, {found['wrong']} wrong, "
        f"{sum(found['failed'].values())} failed, back within {found['longest_back']:.1f} s, "
        f"back to the start: {found['end']['back']}"
    )
    return 0 if passed(found) else 1


if __name__ == "__main__":
    sys.exit(main())
