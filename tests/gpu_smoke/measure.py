"""Times a call on a device or on the CPU."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

WARM_UP = 2
Call = Callable[[], Any]


def seconds(call: Call, device: str, repeat: int) -> dict[str, float]:
    """Median and extremes of `repeat` runs after a warm-up."""
    for _ in range(WARM_UP):
        call()
    once = _events if device == "cuda" else _clock
    times = [once(call) for _ in range(repeat)]
    return {"median": statistics.median(times), "min": min(times), "max": max(times)}


def _clock(call: Call) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def _events(call: Call) -> float:
    """Seconds between two events of the stream, waited for: launches included, copies from the host not."""
    event: Any = torch.cuda.Event
    start, end = event(enable_timing=True), event(enable_timing=True)
    torch.cuda.synchronize()
    start.record()
    call()
    end.record()
    torch.cuda.synchronize()
    return float(start.elapsed_time(end)) / 1e3
