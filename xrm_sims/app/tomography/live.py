"""Reconstruct a scan while another process measures it, from its journal and frame files alone."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from recon import LiveReconstruction
from xrm_sims.app.common.progress import RunProgress
from xrm_sims.correlate.figures.drawing import image_in, new_figure, save, scale_bar
from xrm_sims.data.journal import find_journal, follow_journal, interrupted_runs, read_start
from xrm_sims.data.layout import Layout
from xrm_sims.geometry import ConeGeometry
from xrm_sims.scan_type import ScanType

LATEST = "latest"
POLL_S = 0.5
PICTURE = "live.png"
BRIGHTEST = 0.999  # quantile of the slice that is drawn white


def watch(run: str, data: Path | None, out: Path, *, every_s: float = 2.0, announce: Callable[[str], object]) -> Path:
    """Reconstruct a tomography run while another process measures it; return the path of its last picture.

    The central slice is drawn at most every ``every_s`` seconds, and the file is replaced as a whole.

    Parameters
    ----------
    run : uid or its first characters, or "latest" for the running scan, or else for the next one to start.

    Raises ValueError for an unknown run and for one that is no tomography.
    """
    folder = Layout.of(data).journal
    path = _running(folder, announce) if run == LATEST else find_journal(folder, run)
    announce(f"watching run {path.stem}; Ctrl-C stops the watching, not the scan")
    picture, pause = out / PICTURE, threading.Event()
    live, progress = LiveReconstruction(), RunProgress()
    voxel_um, drawn, since_s = 0.0, 0, 0.0
    for documents in follow_journal(path):
        for name, doc in documents:
            live(name, doc)
            progress(name, doc)
            if name == "start":
                voxel_um = _geometry(doc).voxel_um
        views = live.progress.views
        if views > drawn and since_s >= every_s:
            save(_figure(live.slice, voxel_um, f"{views} of {live.progress.expected} views"), picture)
            drawn, since_s = views, 0.0
        pause.wait(POLL_S)
        since_s += POLL_S
    done = live.result()
    middle = done.volume[len(done.volume) // 2]
    return save(_figure(middle, voxel_um, f"all {done.geometry.num_views} views, run {path.stem[:8]}"), picture)


def _running(folder: Path, announce: Callable[[str], object]) -> Path:
    """Return the journal of the running tomography; wait for one to start."""
    pause, announced = threading.Event(), False
    while True:
        open_runs = interrupted_runs(folder) if folder.is_dir() else []
        for path in reversed(open_runs):
            if read_start(path).get("scan_type") == ScanType.TOMOGRAPHY:
                return path
        if not announced:
            announce(f"no tomography is running in {folder.parent}; waiting for one to start")
            announced = True
        pause.wait(POLL_S)


def _geometry(start: dict[str, Any]) -> ConeGeometry:
    if start.get("scan_type") != ScanType.TOMOGRAPHY:
        raise ValueError(
            f"run {start['uid']}: is a {start.get('scan_type', 'run of unknown type')}, needs a tomography"
        )
    return ConeGeometry.from_dict(start["geometry"])


def _figure(image: Any, voxel_um: float, title: str) -> Figure:
    """Draw the central slice with axes in um."""
    figure = new_figure(6.0, 6.2)
    axes = figure.subplots()
    half_y, half_x = (0.5 * n * voxel_um for n in image.shape)
    white = float(np.quantile(image, BRIGHTEST))
    image_in(axes, image, (-half_x, half_x, -half_y, half_y), "gray", (0.0, white))
    scale_bar(axes)
    axes.set_title(title, fontsize=9, loc="left")
    return figure
