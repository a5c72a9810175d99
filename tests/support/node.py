"""One role of a deployment with the dummy program, as a process: node.py ROLE CONFIG SETTINGS."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from dummy import DummyDealer, DummyParty, Settings

from privinf.config import DealerConfig, PartyConfig
from privinf.parties.serve import DealerServer, PartyServer, Server, serve_until_stopped
from privinf.protocols.contract import Identity
from privinf.settings import load


def main(role: str, config: str, settings_path: str) -> None:
    """Serve until told to stop."""
    fields = json.loads(Path(settings_path).read_text())
    settings = Settings(**fields | {"identity": Identity(**fields["identity"])})
    server: Server
    if role == "dealer":
        server = DealerServer(load(DealerConfig, config), DummyDealer(settings).program())
    else:
        party = int(role[-1])
        server = PartyServer(load(PartyConfig, config), DummyParty(party, settings).program())
    serve_until_stopped(server)


if __name__ == "__main__":
    main(*sys.argv[1:])
