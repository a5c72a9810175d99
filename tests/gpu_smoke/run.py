"""Checks ring products and share arithmetic on a CUDA device against the CPU, and times both.

Needs Python, torch with CUDA and NumPy: nothing is installed, built or downloaded. Exits with 0 where every bit is
right, 1 where one is wrong, 77 with a reason where nothing could be checked.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from smoke_cases import Case

HERE = Path(__file__).resolve().parent
RIGHT, WRONG, SKIPPED = 0, 1, 77


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line asks for."""
    options = _options(arguments)
    reason = why_not(options.device)
    if reason is not None:
        print(f"skipped: {reason}")
        return SKIPPED
    import smoke_cases
    import torch

    torch.set_num_threads(options.threads)
    sizes = smoke_cases.SMALL if options.small else smoke_cases.BERT_BASE
    document = report(smoke_cases.every_case(sizes), options.device, options.repeat)
    text = json.dumps(document, indent=1)
    if options.json is None:
        print(text)
    else:
        options.json.write_text(text + "\n", encoding="utf-8")
    failed = [check["name"] for check in document["checks"] if not check["ok"]]
    print(
        f"{len(document['checks'])} checks on {options.device}, {len(failed)} failed",
        *failed,
        sep="\n  ",
        file=sys.stderr,
    )
    return WRONG if failed else RIGHT


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--json", type=Path, help="write the document here instead of printing it")
    parser.add_argument("--repeat", type=int, default=10, help="timed runs of each computation")
    parser.add_argument("--threads", type=int, default=1, help="of torch on the CPU; a party has one")
    parser.add_argument("--small", action="store_true", help="small shapes instead of BERT-base's")
    options = parser.parse_args(arguments)
    if min(options.repeat, options.threads) < 1:
        parser.error("--repeat and --threads must be at least 1")
    return options


def why_not(device: str) -> str | None:
    """Why nothing can be checked on this machine; None where it can."""
    for package in ("numpy", "torch"):
        if find_spec(package) is None:
            return f"{package} is not installed"
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        return "torch was built without CUDA" if torch.version.cuda is None else "torch sees no CUDA device"
    return None


def report(cases: Iterable[Case], device: str, repeat: int) -> dict[str, Any]:
    """The document: what was checked and how long it took, where, and with which versions."""
    from benchmarks.harness import machine

    checks, times = [], []
    for case in cases:
        check = _checked(case, device)
        checks.append(check)
        if check["ok"]:
            times.append(_timed(case, device, repeat))
    return {
        "device": _described(device),
        "checks": checks,
        "times": times,
        "repeat": repeat,
        **machine.about(),
    }


def _checked(case: Case, device: str) -> dict[str, Any]:
    shapes = ", ".join("x".join(map(str, x.shape)) for x in case.inputs)
    result: dict[str, Any] = {"name": case.name, "shapes": shapes}
    try:
        return result | {"ok": case.verdict(device)}
    except Exception as error:  # a missing kernel is a finding, and the other cases still count
        return result | {"ok": False, "error": f"{type(error).__name__}: {error}"}


def _timed(case: Case, device: str, repeat: int) -> dict[str, Any]:
    from measure import seconds

    tensors = case.on(device)
    there = seconds(lambda: case.device(*tensors), device, repeat)
    here = seconds(lambda: case.cpu(*case.inputs), "cpu", repeat)
    row = {
        "name": case.name,
        "device_s": there,
        "cpu_s": here,
        "cpu_over_device": here["median"] / there["median"],
    }
    if case.macs:
        row["gmacs_per_s"] = {
            "device": case.macs / there["median"] / 1e9,
            "cpu": case.macs / here["median"] / 1e9,
        }
    return row


def _described(device: str) -> dict[str, Any]:
    import torch

    described: dict[str, Any] = {"type": device, "torch_threads": torch.get_num_threads()}
    if device == "cuda":
        about = torch.cuda.get_device_properties(0)
        described |= {
            "name": about.name,
            "capability": [about.major, about.minor],
            "cuda": torch.version.cuda,
        }
        described["memory_gb"] = round(about.total_memory / 1e9, 1)
    return described


if __name__ == "__main__":
    sys.path.insert(0, str(HERE))
    import checkout

    checkout.attach()
    sys.exit(main())
