"""Figures stored beside the results that they show: ``/results/<run uid>/figures/<name>``."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from xrm_sims.data import results

KIND = "figures"


def keep_figures(data: Any, run_uid: str, paths: Iterable[Path]) -> None:
    """Store PNG files as arrays (row, column, RGB) for the web UI, named by stem; each replaces one of the same name.

    Parameters
    ----------
    data : data root, or a client of ``/runs``.
    run_uid : the run that they show.
    paths : files; others than PNG are skipped.
    """
    from matplotlib.image import imread

    images = {path.stem: np.asarray(imread(path)) for path in paths if path.suffix == ".png"}
    rgb = {name: np.rint(255 * image[..., :3]).astype(np.uint8) for name, image in images.items()}
    try:
        before = results.load(data, run_uid, KIND).arrays
    except ValueError:  # there are none yet, or their writer did not finish
        before = {}
    results.save(data, run_uid, KIND, before | rgb, {"axes": ["row", "column", "red, green, blue"]})
