"""Why a TLS handshake failed, read from what OpenSSL says of it, in words that tell which side can mend it."""

from __future__ import annotations

import re
from typing import Final, NamedTuple


class Reason(NamedTuple):
    """A word for machines, and a sentence for people."""

    kind: str
    text: str


EXPIRED: Final = Reason(
    "expired", "the certificate that the other side showed has expired: it needs a new one"
)
_EARLY: Final = Reason(
    "early", "the certificate that the other side showed is not valid yet: compare both clocks"
)
_UNKNOWN: Final = Reason(
    "authority", "the certificate that the other side showed is of an authority unknown here"
)
_ROLE: Final = Reason("role", "the certificate that the server showed is of another role")
_PLAIN: Final = Reason("plain", "the other side does not use TLS")
_NONE: Final = Reason("none", "the other side showed no certificate")
_PURPOSE: Final = Reason("purpose", "the certificate that the other side showed is not for this use")
_FAILED: Final = Reason("failed", "the handshake failed")
_REASONS: Final = (
    ("certificate has expired", EXPIRED),
    ("certificate is not yet valid", _EARLY),
    ("certificate signature failure", _UNKNOWN),  # an authority of the same name with another key
    ("issuer certificate", _UNKNOWN),
    ("self signed certificate", _UNKNOWN),
    ("self-signed certificate", _UNKNOWN),
    ("certificate purpose", _PURPOSE),
    ("PEER_DID_NOT_RETURN_A_CERTIFICATE", _NONE),
    ("No match found for server name", _ROLE),
    ("Hostname Verification", _ROLE),
    ("WRONG_VERSION_NUMBER", _PLAIN),
    ("HTTP_REQUEST", _PLAIN),
)
_HANDSHAKE: Final = re.compile("handshake|peer name|certificate", re.IGNORECASE)


def reason(text: str) -> Reason | None:
    """What a failed handshake means; None where the text speaks of none."""
    for word, meaning in _REASONS:
        if word in text:
            return meaning
    return _FAILED if _HANDSHAKE.search(text) else None
