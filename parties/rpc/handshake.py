"""Why a TLS handshake failed, read from what OpenSSL says of it, in words that tell which side can mend it."""

from __future__ import annotations

import re
from typing import Final, NamedTuple


class Reason(NamedTuple):
    """A word for machines, and a sentence for people."""

    kind: str
    text: str


_SHOWN: Final = "the certificate that the other side showed"
# What OpenSSL says, and what it means: the first that is found holds.
# A failed signature is that of an authority of the same name with another key.
_REASONS: Final = {
    "certificate has expired": Reason("expired", f"{_SHOWN} has expired: it needs a new one"),
    "certificate is not yet valid": Reason("early", f"{_SHOWN} is not valid yet: compare both clocks"),
    "certificate signature failure|issuer certificate|self[ -]signed certificate": Reason(
        "authority", f"{_SHOWN} is of an authority unknown here"
    ),
    "certificate purpose": Reason("purpose", f"{_SHOWN} is not for this use"),
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": Reason("none", "the other side showed no certificate"),
    "No match found for server name|Hostname Verification": Reason(
        "role", "the certificate that the server showed is of another role"
    ),
    "WRONG_VERSION_NUMBER|HTTP_REQUEST": Reason(
        "plain",
        "the other side does not use TLS: was it started with --insecure-no-tls, or is it no server of ours?",
    ),
    "(?i)handshake|peer name|certificate": Reason("failed", "the handshake failed"),
}


def reason(text: str) -> Reason | None:
    """What a failed handshake means; None where the text speaks of none."""
    return next((meaning for words, meaning in _REASONS.items() if re.search(words, text)), None)
