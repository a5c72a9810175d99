"""Who follows a run: bars, curves, tests; and what an epoch came to."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol, Self

from privinf.errors import FileError, MissingExtra


@dataclass(frozen=True)
class Epoch:
    """One epoch: its mean loss and last rate; accuracy on what is validated on, where that was measured."""

    epoch: int
    loss: float
    rate: float
    accuracy: float | None = None

    def document(self) -> dict[str, Any]:
        return asdict(self)


class Watcher(Protocol):
    """Told what happens; it decides nothing."""

    def begin(self, name: str, total: int) -> None:
        """What begins, of so many steps."""

    def tick(self, done: int) -> None:
        """So many steps more."""

    def epoch(self, epoch: Epoch) -> None:
        """An epoch is over."""


class Nobody:
    """Watches nothing."""

    def begin(self, name: str, total: int) -> None: ...

    def tick(self, done: int) -> None: ...

    def epoch(self, epoch: Epoch) -> None: ...


class Curves(Nobody):
    """Writes TensorBoard's event files; after a resume, what came after its checkpoint is not shown."""

    def __init__(self, folder: Path, after: int) -> None:
        try:
            from tensorboardX import SummaryWriter
        except ImportError as error:
            raise MissingExtra('event files need tensorboardX: pip install "privinf[tensorboard]"') from error
        try:
            self._writer = SummaryWriter(str(folder), purge_step=after or None)
        except OSError as error:
            raise FileError.unwritten(folder, error) from None

    def epoch(self, epoch: Epoch) -> None:
        for name in ("loss", "rate", "accuracy"):
            if (value := getattr(epoch, name)) is not None:
                self._writer.add_scalar(name, value, epoch.epoch)
        self._writer.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        self._writer.close()


class Several(Nobody):
    """Several at once."""

    def __init__(self, *watchers: Watcher) -> None:
        self._watchers = watchers

    def begin(self, name: str, total: int) -> None:
        for watcher in self._watchers:
            watcher.begin(name, total)

    def tick(self, done: int) -> None:
        for watcher in self._watchers:
            watcher.tick(done)

    def epoch(self, epoch: Epoch) -> None:
        for watcher in self._watchers:
            watcher.epoch(epoch)
