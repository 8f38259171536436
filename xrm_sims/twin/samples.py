"""The specimens that can be mounted, by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from xrm_sims.settings import Specimen
from xrm_sims.specimen import CathodePillar

SAMPLES: dict[str, Callable[[int, Specimen], Any]] = {"cathode_pillar": CathodePillar}


def check_sample(name: str) -> None:
    """ValueError naming the known ones when there is no such specimen."""
    if name not in SAMPLES:
        raise ValueError(f"sample: there is no {name!r}; known are {', '.join(sorted(SAMPLES))}")


def mount(name: str, seed: int, settings: Specimen) -> Any:
    """The specimen called ``name``, drawn from ``seed``."""
    check_sample(name)
    return SAMPLES[name](seed, settings)
