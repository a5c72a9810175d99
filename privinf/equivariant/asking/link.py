"""The client's way to the server of this mode: on connecting it must show that its model belongs to our key.

Every later request names the key. A server that was put in another's place since then refuses it, and is checked anew.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from privinf.config import EquivariantClientConfig
from privinf.equivariant.asking.replies import Replies
from privinf.equivariant.key import KeyAbout
from privinf.equivariant.methods import ABOUT, CLASSIFY, EMBED, GENERATE, ROLE, SESSION
from privinf.errors import ConnectError, MismatchError
from privinf.parties.rpc.credentials import dial, warn_insecure
from privinf.parties.rpc.deadline import Deadline, persist
from privinf.parties.rpc.methods import Method
from privinf.parties.rpc.outgoing import Outgoing
from privinf.sdk.call import Call
from privinf.sdk.patience import Patience
from privinf.v1 import equivariant_pb2 as pb

_QUERIES = {"embed": EMBED, "classify": CLASSIFY}


class Link:
    """A channel to the server, for any number of threads; nothing is dialled before `connect` or a call."""

    def __init__(self, config: EquivariantClientConfig, key: KeyAbout) -> None:
        if config.tls is None:
            warn_insecure()
        self._config, self._key = config, key
        self._peer = dial(config.server, ROLE, config.tls, "client")
        self._about: pb.CoveredAbout | None = None
        self._closed = False

    def connect(self) -> pb.CoveredAbout:
        """Reach the server, and check that its model was covered with our key."""
        self._require_open()
        if self._about is None:
            seconds = self._config.connect_seconds
            deadline = Deadline.after(seconds)
            ask = partial(self._ask, ABOUT, pb.CoveredAboutRequest(), deadline, Call())
            about: pb.CoveredAbout = persist(ask, seconds, deadline)
            require_ours(about, self._key)
            self._about = about
        return self._about

    def seconds(self, timeout: float | None) -> float:
        """For one query."""
        return self._config.deadline if timeout is None else timeout

    def query(self, task: str, query: pb.CoveredQuery, call: Call) -> pb.CoveredRows:
        """Embed or classify."""
        until = call.until(self._config.deadline, call.timeout)
        self.connect()
        rows: pb.CoveredRows = self._ask(_QUERIES[task], query, until, call)
        return rows

    def generate(self, prompt: pb.CoveredPrompt, call: Call) -> Replies[pb.CoveredTokens]:
        """Begin a continuation; the call's seconds are for all of it."""
        until = self.until(call, call.timeout)
        begin = partial(self._begin, GENERATE, prompt, until)
        return call.begun(Replies(self._peer, begin, self._forget, Patience(until)))

    def session(
        self, opened: pb.CoveredOpen, until: Deadline
    ) -> tuple[Outgoing[pb.CoveredStep], Replies[pb.CoveredRows]]:
        """Open a variant; all of the session is over by `until`."""
        outgoing: Outgoing[pb.CoveredStep] = Outgoing()
        outgoing.put(pb.CoveredStep(open=opened))
        return outgoing, Replies(
            self._peer, partial(self._begin, SESSION, iter(outgoing), until), self._forget
        )

    def close(self) -> None:
        """Release the channel; what is under way is dropped."""
        self._closed = True
        self._peer.close()

    def until(self, call: Call, timeout: float | None) -> Deadline:
        """For all of a session or generation that begins now, on a server that was found to be ours."""
        self.connect()
        return call.until(self._config.session_deadline, timeout)

    def _ask(self, method: Method, request: Any, until: Deadline, call: Call) -> Any:
        begin = partial(self._begin, method, request, until, whole=True)
        return call.begun(Replies(self._peer, begin, self._forget, Patience(until))).whole()

    def _begin(self, method: Method, request: Any, until: Deadline, whole: bool = False) -> Any:
        self._require_open()
        stub = method.on(self._peer)
        make = stub.future if whole else stub
        try:
            return make(request, timeout=until.left("connect"), metadata=self._peer.metadata)
        except ValueError:  # closed by another thread just now
            raise ConnectError("this client is closed") from None

    def _require_open(self) -> None:
        if self._closed:
            raise ConnectError("this client is closed")

    def _forget(self) -> None:
        """Ask the server anew who it is, before anything else is sent."""
        self._about = None


def require_ours(about: pb.CoveredAbout, key: KeyAbout) -> None:
    """Refuse a server whose model was not covered with this key, or says otherwise what it is."""
    if about.id != key.id:
        raise MismatchError(
            f"the server's model was covered with key {about.id[:8]}, ours is {key.id[:8]}: this is the key of "
            "another model, or of another conversion of it"
        )
    for name in ("level", "family", "task"):
        if getattr(about, name) != getattr(key, name):
            raise MismatchError(f"the server's model differs from our key in {name}: cover the model again")
