"""What a call passes before more than the first piece of its message is taken: a limit of bytes, and a place."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from privinf.parties.rpc.admission import Admission
from privinf.parties.rpc.incoming import AnyRequests
from privinf.parties.rpc.parts import WHOLE_LIMIT


@dataclass(frozen=True)
class Entrance:
    """Of one method: how large a message may be, and who decides on places, if they are bounded."""

    limit: int = WHOLE_LIMIT
    admission: Admission | None = None

    @property
    def waits(self) -> bool:
        """Whether a call may wait here, with the rest of its message left where it is."""
        return self.admission is not None

    @contextmanager
    def place(self, requests: AnyRequests) -> Iterator[None]:
        """Hold a place from the first piece on: a caller that says nothing takes none."""
        if self.admission is None:
            yield
            return
        requests.begin()
        with self.admission.place(requests.client, requests.life):
            yield


OPEN: Final = Entrance()
