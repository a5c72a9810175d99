"""`python -m privinf` is the command line."""

import sys
from importlib.util import find_spec

if __name__ == "__main__":
    # -m takes the current folder's privinf/ for the installed package
    if find_spec("privinf.protocols") is None:
        sys.exit(
            "privinf: this is a folder of sources, of which only a half is imported: "
            "use the command `privinf`, `python -P -m privinf`, or another folder"
        )
    from privinf.cli import main

    sys.exit(main())
