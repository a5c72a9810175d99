"""Times a BERT encoder layer and its operators in SecretFlow SPU."""

import sys
from typing import Any

from bert_layer import GELUS, functions
from spu_run import arguments, print_rows, run
from workloads import LAYER, WORKLOADS, Workload


def measure(protocol: str, work: Workload, gelu: str, network: str, repeat: int) -> dict[str, Any]:
    """Runs and checks a workload; returns its row."""
    note = f"; GELU: {gelu}" if work.name == LAYER or work.name.startswith("gelu") else ""
    ran = run(protocol, functions(gelu)[work.name], work, network=network, repeat=repeat)
    return ran.row(work, note)


def main() -> int:
    """Entry point: 0 when everything ran and every answer is right."""
    parser = arguments(__doc__, GELUS)
    parser.add_argument("--workload", nargs="+", choices=list(WORKLOADS), default=[LAYER])
    args = parser.parse_args()

    def measured() -> list[dict[str, Any]]:
        works = [WORKLOADS[name]() for name in args.workload]
        each = ((work, network) for work in works for network in args.network)
        return [measure(args.protocol, work, args.gelu, network, args.repeat) for work, network in each]

    return print_rows(measured, args.json)


if __name__ == "__main__":
    sys.exit(main())
