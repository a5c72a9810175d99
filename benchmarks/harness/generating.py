"""Generations over three server processes for a measurement: every pass's costs, and the memory of each process."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from unittest import mock

from benchmarks.harness.deployment import Deployment, of_model
from benchmarks.harness.pass_costs import Pace, Pass, passes_of
from benchmarks.harness.rows import MeasureError
from privinf.config import ClientConfig
from privinf.drafts.draft import Draft
from privinf.models.sharing import bundle
from privinf.models.sharing.bundle import Bundle
from privinf.protocols.contract import Advance
from privinf.sdk.decoding import Decoding, PassTokens
from privinf.sdk.options import GenerationOptions
from privinf.sdk.outcomes import Stats
from privinf.sdk.passes import Generation
from privinf.sdk.transport import Link

PASSES_AHEAD = 2  # the parties' default
DEADLINE, LONGEST = 300.0, 3600.0
LOOK, IDLE_TICKS, IDLE_LOOKS = 0.1, 1, 3  # idle: no more processor time in so many looks in a row
PAUSE = 9.0  # seconds a stopped dealer is left alone: the parties drop one that is silent for 15


class Servers(Deployment):
    """Dealer and parties of a shared decoder, whose processor time and memory are watched."""

    def __init__(
        self, shared: Path, work: Path, *, network: str = "loopback", ahead: int = PASSES_AHEAD
    ) -> None:
        super().__init__(of_model(shared), work, network=network)
        self._environment = {"PRIVINF_PASSES_AHEAD": str(ahead)}

    def _launch(self, role: str, *options: str) -> str:
        with mock.patch.dict(os.environ, self._environment):
            return super()._launch(role, *options)

    def resident(self) -> dict[str, int]:
        """Bytes of memory that each process holds now."""
        page = os.sysconf("SC_PAGE_SIZE")
        return {
            role: int(Path(f"/proc/{process.pid}/statm").read_text("ascii").split()[1]) * page
            for role, process in self._running.items()
        }

    def settle(self, seconds: float = DEADLINE) -> None:
        """Wait until no server has anything to do: all preparations that are to be ready are."""
        until, quiet, before = time.monotonic() + seconds, 0, self._ticks()
        while quiet < IDLE_LOOKS:
            time.sleep(LOOK)
            now = self._ticks()
            quiet, before = quiet + 1 if now - before <= IDLE_TICKS else 0, now
            if time.monotonic() > until:
                raise MeasureError(f"the servers did not come to rest within {seconds:.0f} s")

    @contextmanager
    def without_dealer(self) -> Iterator[None]:
        """Stop the dealer for the time of one pass, for `PAUSE` seconds at most."""
        dealer = self._running["dealer"]
        timer = threading.Timer(PAUSE, _signal, (dealer, signal.SIGCONT))
        _signal(dealer, signal.SIGSTOP)
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            _signal(dealer, signal.SIGCONT)

    def _ticks(self) -> int:
        return sum(_ticks(process.pid) for process in self._running.values())


def _signal(process: subprocess.Popen[str], number: signal.Signals) -> None:
    if process.poll() is None:
        process.send_signal(number)


def _ticks(pid: int) -> int:
    """Processor time of a process in clock ticks."""
    fields = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


@dataclass(frozen=True)
class Generated:
    """A generation that was measured: its tokens, the passes over the prompt, the later ones.

    seconds, first_seconds: of all and until the first token, by the client's clock, its own work included; with the
    pace `online` the waits between passes are left out.
    """

    tokens: tuple[int, ...] = field(repr=False)
    prompt: tuple[Pass, ...]
    later: tuple[Pass, ...]
    drafted: int
    accepted: int
    seconds: float
    first_seconds: float
    before_close: dict[str, int]
    after_close: dict[str, int]
    series: tuple[dict[str, int], ...] = ()  # memory after every `every` passes

    @property
    def token_seconds(self) -> float:
        """Of one token after the first, all in."""
        return (self.seconds - self.first_seconds) / max(len(self.tokens) - 1, 1)


class _Paced:
    """A generation whose passes are asked at a pace."""

    def __init__(self, passes: Generation, servers: Servers, pace: Pace) -> None:
        self._passes, self._servers, self._pace = passes, servers, pace
        self.waited = 0.0

    def step(
        self, advance: Advance, shares: tuple[bytes, bytes], timeout: float | None = None
    ) -> tuple[bytes, bytes, Stats]:
        if self._pace == "sustained":
            return self._passes.step(advance, shares, timeout)
        began = time.monotonic()
        self._servers.settle()
        self.waited += time.monotonic() - began
        with self._servers.without_dealer():
            return self._passes.step(advance, shares, timeout)


class Decoder:
    """A shared decoder that is being served."""

    def __init__(self, bundle: Bundle, servers: Servers, link: Link) -> None:
        self.bundle, self.servers, self.link = bundle, servers, link

    def write(
        self,
        prompt: Sequence[int],
        tokens: int,
        pace: Pace,
        *,
        draft: Draft | None = None,
        drafts: int = 0,
        every: int = 0,
        to_end: bool = False,
    ) -> Generated:
        """Continue a prompt greedily by so many tokens or, with drafts, a few more.

        every: passes between two looks at the memory. to_end: stop with the token that ends the text.
        """
        options = GenerationOptions(max_new_tokens=tokens, draft=draft, drafts=drafts)
        layout, found, series = self.bundle.layout, list[PassTokens](), list[dict[str, int]]()
        decoding = Decoding(self.bundle, [prompt], [options])
        with self.link.generate(decoding.shape) as generation:
            passes = _Paced(generation, self.servers, pace)
            began, first = time.monotonic(), 0.0
            for (written,) in decoding.steps(partial(passes.step, timeout=DEADLINE)):
                found.append(written)
                first = first or time.monotonic() - began - passes.waited
                if every and len(found) % every == 0:
                    series.append({"passes": len(found), **self.servers.resident()})
                if to_end and set(written.tokens) & set(layout.spec.generator.eos):
                    break
            seconds = time.monotonic() - began - passes.waited
            before = self.servers.resident()
        self.servers.settle()
        answer = [token for written in found for token in written.tokens]
        if to_end:
            answer = answer[
                : 1
                + next((i for i, token in enumerate(answer) if token in layout.spec.generator.eos), tokens)
            ]
        elif len(answer) < tokens:
            raise MeasureError(f"the session was full after {len(answer)} tokens")
        costs = passes_of(layout, decoding.shape, [one for written in found for one in written.stats])
        split = layout.passes(decoding.shape)
        return Generated(
            tuple(answer),
            costs[:split],
            costs[split:],
            sum(written.drafted for written in found),
            sum(written.accepted for written in found),
            seconds,
            first,
            before,
            self.servers.resident(),
            tuple(series),
        )


@contextmanager
def served(shared: Path, *, network: str = "loopback", ahead: int = PASSES_AHEAD) -> Iterator[Decoder]:
    """Serve a shared decoder by three fresh processes with TLS."""
    facts = bundle.read_sessions(shared / "client")
    with (
        tempfile.TemporaryDirectory(prefix="privinf-bench-") as folder,
        Servers(shared, Path(folder), network=network, ahead=ahead) as servers,
        Link(
            ClientConfig(servers.addresses, tls=servers.tls(), deadline=DEADLINE, session_deadline=LONGEST),
            facts.identity,
        ) as link,
    ):
        servers.settle()
        yield Decoder(facts, servers, link)
