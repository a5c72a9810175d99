"""The tree of exceptions; a message names party, session and round, never a value.

PrivinfError
├── ConfigError              before anything starts: a bad option, file or environment
│   ├── ModelError           a model directory that cannot be used, or an unsupported architecture
│   ├── MissingExtra         an optional dependency is not installed
│   ├── ListenError          a server cannot listen where it is told to: in use, not permitted, not of this machine
│   └── FileError            a file or folder cannot be read or written; the message names it
├── InputError               the caller's query cannot be used as it is
│   └── OptionError          an option of it cannot: unknown, out of its range, or not for this model
├── RangeError               a value left the ranges that the model was shared with: there is no answer
├── ConnectError             a party or the dealer cannot be reached
│   └── PeerLost             the other party dropped the session: its own report says why
├── DeadlineExceeded         time ran out; names the phase
├── PartyError               a party or the dealer answered with an error
│   ├── Unauthenticated      a certificate is missing, unknown, or of another role
│   ├── Overloaded           no room now; try again later
│   └── MismatchError        version, model, plan or preparation differ between the parties
├── ProtocolError            a message out of place: size, shape, order, session, sender
└── IntegrityError           a check failed; never retried
    └── DamagedPreparation   a preparation was changed in store or on its way; nothing was computed with it
"""

from __future__ import annotations

import os
from typing import Self


class PrivinfError(Exception):
    """Base of all errors that privinf raises on purpose; `party` and `session_id` where they are known."""

    exit_code = 1
    party: str | None = None  # "party0", "party1" or "dealer"
    session_id: str | None = None


class ConfigError(PrivinfError):
    """An option, file or environment variable cannot be used."""

    exit_code = 78


class ModelError(ConfigError):
    """A model directory cannot be used: what is wrong with it, and what would be accepted."""


class MissingExtra(ConfigError):
    """An optional dependency is not installed; the message holds the exact pip command."""


class ListenError(ConfigError):
    """A server cannot listen where it is told to; the message says why."""

    exit_code = 71


class FileError(ConfigError):
    """A file or folder cannot be read or written, whatever it is for; the message names it.

    What a file holds is another matter: InputError, ConfigError or ModelError.
    """

    exit_code = 74

    @classmethod
    def unread(cls, path: str | os.PathLike[str], error: OSError) -> Self:
        """Of a path that the system does not let us read."""
        return cls(f"{os.fspath(path)} cannot be read: {_why(error)}")

    @classmethod
    def unwritten(cls, path: str | os.PathLike[str], error: OSError) -> Self:
        """Of a path that the system does not let us write."""
        return cls(f"{os.fspath(path)} cannot be written: {_why(error)}")

    @classmethod
    def of(cls, error: OSError) -> Self:
        """Of what the system refused amid other work, such as a full disk; it says itself which path that was."""
        path = error.filename2 or error.filename
        return cls(str(error) if path is None else f"{path} cannot be used: {_why(error)}")


def _why(error: OSError) -> str:
    return error.strerror or type(error).__name__


class InputError(PrivinfError):
    """The caller's query cannot be used: empty, too long, not text."""

    exit_code = 65


class OptionError(InputError):
    """An option of a query cannot be used: unknown, out of its range, or not for this model or mode."""

    exit_code = 78


class RangeError(PrivinfError):
    """A value of this query left the ranges that the model was shared with, so that its answer would be wrong.

    The same query fails again. The model's owner can look where with `privinf check`, and share it again with texts
    like this one.
    """

    exit_code = 79


class ConnectError(PrivinfError):
    """A party or the dealer cannot be reached; the message names it."""

    exit_code = 69


class PeerLost(ConnectError):
    """The other party dropped the session or died in it; what it reports itself comes first."""


class DeadlineExceeded(PrivinfError):
    """The deadline passed; `phase` is connect, offline or online."""

    exit_code = 75

    def __init__(self, message: str, *, phase: str = "online") -> None:
        super().__init__(message)
        self.phase = phase


class PartyError(PrivinfError):
    """A party or the dealer answered with an error."""

    exit_code = 70


class Unauthenticated(PartyError):
    """A certificate is missing, of another authority, or of another role than claimed."""

    exit_code = 77


class Overloaded(PartyError):
    """No room for another session or preparation now.

    `retry_after` is set where nothing was started: so many seconds later there may be room.
    """

    exit_code = 75

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class MismatchError(PartyError):
    """Version, model, plan or preparation differ between two of the roles."""

    exit_code = 76


class ProtocolError(PrivinfError):
    """A message out of place: its size, shape, order, session or sender is not what was expected."""

    exit_code = 76


class IntegrityError(PrivinfError):
    """A check of integrity failed; the session is dropped and never retried."""

    exit_code = 76


class DamagedPreparation(IntegrityError):
    """A preparation was changed in its store or on its way, and both parties have dropped it.

    Ask again. If it happens often, the disk of the party that says so is failing.
    """
