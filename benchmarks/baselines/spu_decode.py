"""Times one decode step of GPT-2-small-shaped layers in SecretFlow SPU."""

import sys
from typing import Any

from gpt2_layer import GELUS, make_step
from gpt2_step import Step
from spu_run import arguments, print_rows, run

DEFAULT = [Step(1, 129).name, Step(2, 129).name]  # 128 keys in the cache, and the new one


def measure(protocol: str, step: Step, gelu: str, network: str, repeat: int) -> dict[str, Any]:
    """Runs and checks a step; returns its row, that of a token which is not the first."""
    function, work = make_step(step, GELUS[gelu]), step.workload
    ran = run(protocol, function, work, network=network, repeat=repeat, before=1)
    once = ran.traffic[0][0] - ran.traffic[-1][0]
    note = f"; output head; GELU: {gelu}"
    if protocol == "semi2k":
        note += f"; opening the masked weights at the first token, {once / 1e6:.1f} MB"
    return ran.row(work, note)


def main() -> int:
    """Entry point: 0 when everything ran and every answer is right."""
    parser = arguments(__doc__, GELUS)
    parser.add_argument("--workload", nargs="+", default=DEFAULT, metavar="gpt2-small-decode-lLAYERS-kKEYS")
    args = parser.parse_args()

    def measured() -> list[dict[str, Any]]:
        steps = [Step.of(name) for name in args.workload]
        each = ((step, network) for step in steps for network in args.network)
        return [measure(args.protocol, step, args.gelu, network, args.repeat) for step, network in each]

    return print_rows(measured, args.json)


if __name__ == "__main__":
    sys.exit(main())
