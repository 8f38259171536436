"""Specimens that can be mounted, by name.

``cathode_pillar`` uses the instrument's own seed, ``cathode_pillar:7`` seed 7.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from xrm_sims.settings import Specimen
from xrm_sims.specimen import CathodePillar

SAMPLES: dict[str, Callable[[int, Specimen], Any]] = {"cathode_pillar": CathodePillar}


def check_sample(name: str) -> None:
    """Raise ValueError for an unknown specimen or a wrong seed."""
    kind, colon, seed = name.partition(":")
    if kind not in SAMPLES:
        raise ValueError(f"sample: there is no {name!r}; known are {', '.join(sorted(SAMPLES))}")
    if colon and not (seed.isascii() and seed.isdecimal()):
        raise ValueError(f"sample: {name!r} needs a whole number from 0 on after the colon, its seed")


@lru_cache(maxsize=4)
def make_specimen(name: str, seed: int, settings: Specimen) -> Any:
    """Return the specimen ``name``, drawn from ``seed`` unless the name contains one. Beams never change it."""
    check_sample(name)
    kind, _, own_seed = name.partition(":")
    return SAMPLES[kind](int(own_seed or seed), settings)
