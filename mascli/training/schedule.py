"""How learning rates fall: a factor for each epoch that depends on its number alone."""

from __future__ import annotations

import math


def rate_factor(schedule: str, epoch: int, epochs: int) -> float:
    """The factor of all learning rates in epoch `epoch` of `epochs`, counted from 1.

    `constant`: 1. `step`: 1/10 after half of the epochs, 1/100 after three quarters. `cosine`:
    (1 + cos(pi (epoch - 1) / epochs)) / 2, which starts at 1 and would reach 0 after the last epoch.

    Raises:
        ValueError: no such schedule.
    """
    done = (epoch - 1) / epochs
    if schedule == "constant":
        return 1.0
    if schedule == "step":
        return float(f"1e-{(done >= 0.5) + (done >= 0.75)}")
    if schedule == "cosine":
        return (1 + math.cos(math.pi * done)) / 2
    raise ValueError(f"no schedule is called {schedule}")
