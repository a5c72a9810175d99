"""The rate of learning, step by step: a line up, half a cosine down, and a rest."""

from __future__ import annotations

import math

from privinf.train.recipe import Optimisation


def rate(settings: Optimisation, step: int, steps: int) -> float:
    """At a step of a run of so many steps an epoch."""
    warm, whole = settings.warmup * steps, settings.epochs * steps
    if step < warm:
        return settings.first + (settings.rate - settings.first) * step / warm
    if step >= whole:
        return settings.last
    done = (step - warm) / (whole - warm)
    return settings.last + (settings.rate - settings.last) * (1 + math.cos(math.pi * done)) / 2
