"""How much this server takes in: bytes of a message, as its model can take them, and calls that hold such messages."""

from __future__ import annotations

from typing import Final

from privinf.config import EquivariantConfig
from privinf.equivariant.about import ServerAbout
from privinf.equivariant.methods import ABOUT, CLASSIFY, EMBED, GENERATE, SESSION
from privinf.parties.metrics import Meters
from privinf.parties.rpc.admission import Queue, Room
from privinf.parties.rpc.guard import Entrance
from privinf.parties.rpc.methods import Method
from privinf.parties.rpc.seats import share_of

MOST: Final = 32 << 20  # of one message; a client of ours asks in parts of half of it
HELD: Final = 256 << 20  # of the messages of all calls under way
_HEADER: Final = 4096  # what is no id and no row: names of keys, shapes, how tokens are chosen
_TEXT, _ID, _NUMBER = 16, 6, 4  # bytes of a text beside its ids, of an id or a length, of a row's number


def room(about: ServerAbout, config: EquivariantConfig) -> int:
    """How many tokens a prompt and its answer may have."""
    return min(about.context, config.max_tokens or about.context)


def limits(about: ServerAbout, config: EquivariantConfig, image: int = 0) -> dict[Method, int]:
    """Bytes of a message of each call; `image` is how many numbers one takes."""
    texts = config.max_rows * (_TEXT + _ID)
    images = max(1, config.max_rows // about.context) * image * _NUMBER
    rows = room(about, config) if about.task == "generate" else config.max_rows
    needed = {
        ABOUT: 0,
        EMBED: texts,
        CLASSIFY: images or texts,
        GENERATE: room(about, config) * _ID,
        SESSION: rows * (about.width * _NUMBER + _ID) if about.what.local else 0,
    }
    return {method: min(_HEADER + size, MOST) for method, size in needed.items()}


class Entrances:
    """Where calls wait for a place before their messages are taken: one queue for each kind of them."""

    def __init__(self, about: ServerAbout, config: EquivariantConfig, meters: Meters, image: int = 0) -> None:
        self._config, self._meters = config, meters
        self._limits = limits(about, config, image)
        fit = max(1, HELD // max(self._limits[EMBED], self._limits[CLASSIFY]))
        self.queries = self._queue(min(config.max_calls, fit), config.max_calls_each)
        self.sessions = self._queue(config.max_sessions, config.max_sessions_each)

    def ways(self) -> dict[Method, Entrance]:
        """What each call passes."""
        queues = {
            EMBED: self.queries,
            CLASSIFY: self.queries,
            GENERATE: self.sessions,
            SESSION: self.sessions,
        }
        return {method: Entrance(limit, queues.get(method)) for method, limit in self._limits.items()}

    def close(self) -> None:
        """Admit nothing more, and send away those that wait."""
        self.queries.close()
        self.sessions.close()

    def _queue(self, places: int, each: int) -> Queue:
        config = self._config
        waiting = share_of(config.max_waiting, config.max_waiting_each)
        most = Room(places, share_of(places, each), config.max_waiting, waiting)
        return Queue(most, config.wait_seconds, self._meters.waited, self._meters.refused)


def calls_of_one(config: EquivariantConfig) -> int:
    """How many calls one client may have: a model is asked queries, or for sessions, never both."""
    calls = share_of(config.max_calls, config.max_calls_each)
    sessions = share_of(config.max_sessions, config.max_sessions_each)
    return share_of(config.max_waiting, config.max_waiting_each) + max(calls, sessions)
