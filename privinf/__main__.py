"""`python -m privinf` is the command line."""

import sys

from privinf.cli import main

if __name__ == "__main__":
    sys.exit(main())
