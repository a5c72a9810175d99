"""The calls that the server of this mode offers."""

from __future__ import annotations

from typing import Final

from privinf.parties.rpc.methods import CLIENT, Method
from privinf.v1 import equivariant_pb2 as pb

ROLE: Final = "equivariant"  # a DNS name of the server's certificate
SERVICE: Final = "privinf.v1.Equivariant"

ABOUT = Method(SERVICE, "About", pb.CoveredAboutRequest, pb.CoveredAbout, CLIENT)
EMBED = Method(SERVICE, "Embed", pb.CoveredQuery, pb.CoveredRows, CLIENT, parts=(True, True))
CLASSIFY = Method(SERVICE, "Classify", pb.CoveredQuery, pb.CoveredRows, CLIENT, parts=(True, True))
GENERATE = Method(SERVICE, "Generate", pb.CoveredPrompt, pb.CoveredTokens, CLIENT, (False, True))
SESSION = Method(SERVICE, "Session", pb.CoveredStep, pb.CoveredRows, CLIENT, (True, True), (True, True))
