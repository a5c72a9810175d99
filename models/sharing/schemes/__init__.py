"""What a protocol is to the owner of a model and to a client, a file each: how it splits weights and queries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from privinf.models.programs.layout import Layout, QueryLayout, SessionLayout
from privinf.models.programs.wire import Field, Form, Values
from privinf.protocols.contract import DealerProgram, PartyProgram, QueryShape, SessionShape, Topology
from privinf.protocols.cost import Tally
from privinf.protocols.registry import Registry
from privinf.protocols.ring import U64

if TYPE_CHECKING:
    from privinf.models.sharing.bundle import Bundle


class Scheme(Protocol):
    """One protocol; its name is attested by every role."""

    topology: Topology

    def split(self, weights: Mapping[str, U64], sharing: str, folders: Mapping[str, Path]) -> None:
        """Write private weights into the folders of the roles, under fresh seeds bound to the sharing's random id."""
        ...

    def opened(self, bundle: Bundle[Layout], folders: Mapping[str, Path]) -> dict[str, U64]:
        """Private weights put together again, as their owner can who has the folders of all roles."""
        ...

    def dealer(self, bundle: Bundle[Layout]) -> DealerProgram:
        """What the dealer runs; ModelError for a damaged folder. Never asked where the topology has none."""
        ...

    def party(self, bundle: Bundle[Layout], index: int, known: Mapping[str, U64]) -> PartyProgram:
        """What a party runs, which reads its private weights itself; ModelError for a damaged folder."""
        ...

    def share(self, form: Form, values: Values) -> tuple[bytes, ...]:
        """Each party's share of a query, under fresh seeds."""
        ...

    def add_up(self, field: Field, parts: Sequence[bytes]) -> U64:
        """The ring elements of an answer, of each party's share; ProtocolError for one of another size."""
        ...

    def count_query(self, layout: QueryLayout, shape: QueryShape) -> Tally:
        """Rounds and bytes of one query, layer by layer, exact."""
        ...

    def count_prompt(self, layout: SessionLayout, shape: SessionShape) -> list[Tally]:
        """The same of each pass that reads the prompt of a session. Never asked where the protocol has no sessions."""
        ...

    def count_session(
        self, layout: SessionLayout, shape: SessionShape, later: int
    ) -> tuple[list[Tally], Tally]:
        """The same, and of a pass that finds `later` further slots in the cache."""
        ...


SCHEMES: Final[Registry[Scheme]] = Registry("privinf.models.sharing.schemes", "protocol")
