"""Figure of a two-target tomography: slices of both volumes and of the phases, and every particle."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from xrm_sims.correlate.figures.drawing import caption, centred, colour_bar, image_in, new_figure, scale_bar
from xrm_sims.correlate.figures.phase_figures import PHASE_COLOURS
from xrm_sims.correlate.phases.phases import Phase
from xrm_sims.correlate.phases.two_target import TwoTarget
from xrm_sims.correlate.volume.segment import Segmentation, Volume

ACTIVE = Phase.LCO, Phase.NCA
CLASS_COLOURS = ListedColormap([PHASE_COLOURS[phase] for phase in Phase])


def two_target_figure(
    segmentation: Segmentation, second: Volume, found: TwoTarget, targets: tuple[str, str] = ("W", "Cu")
) -> Figure:
    """Draw horizontal and vertical slices through both volumes and the phases, and plot all particles.

    ``second`` is on the grid of the segmentation. Both volumes share one grey scale.
    """
    first = segmentation.normalised * np.float32(segmentation.level_per_um)
    shape, voxel_um = first.shape, segmentation.voxel_um
    half = [0.5 * n * voxel_um for n in shape]
    top = segmentation.pillar.top_z_um
    level = int(np.clip(round((0.5 * (top - half[0]) + half[0]) / voxel_um), 0, shape[0] - 1))
    middle = int(np.clip(round((segmentation.pillar.centre_um[1] + half[1]) / voxel_um), 0, shape[1] - 1))
    span = (0.0, float(max(np.nanpercentile(each[::2, ::2, ::2], 99.5) for each in (first, second))))
    figure = new_figure(13.0, 5.4)
    flat = max(0.3, half[0] / half[1])
    grid = figure.subplots(2, 4, height_ratios=(1, flat), width_ratios=(1, 1, 1, 0.9))
    titles = f"{targets[0]} target", f"{targets[1]} target", "LCO and NCA"
    volumes: tuple[NDArray[np.generic], ...] = (first, second, found.classes)
    for n, (volume, title) in enumerate(zip(volumes, titles, strict=True)):
        colours, limits = (CLASS_COLOURS, (-0.5, len(Phase) - 0.5)) if n == 2 else ("gray", span)
        for axes, image in zip(grid[:, n], (volume[level], volume[:, middle]), strict=True):
            drawn = image_in(axes, image, centred(voxel_um * shape[2], voxel_um * len(image)), colours, limits)
            scale_bar(axes)
        caption(grid[0, n], "abc"[n], title)
        if n == 1:
            place = {"orientation": "horizontal", "fraction": 0.05, "shrink": 0.4}
            colour_bar(drawn, grid[:, :2], "attenuation (1/µm)", **place)
    handles = [Patch(facecolor=PHASE_COLOURS[phase], edgecolor="black", lw=0.5, label=phase.name) for phase in ACTIVE]
    grid[1, 2].legend(
        handles=handles, loc="upper center", bbox_to_anchor=(0.5, -0.04), ncols=2, fontsize=8, frameon=False
    )
    _particles(grid[0, 3], found)
    grid[1, 3].axis("off")
    return figure


def _particles(axes: Axes, found: TwoTarget) -> None:
    """Plot each particle's diameter against its position between the levels of both phases."""
    for phase in ACTIVE:
        some = [p for p in found.particles if p.phase is phase]
        diameter: NDArray[np.float64] = np.array([(6 * p.volume_um3 / np.pi) ** (1 / 3) for p in some])
        sigma = [min(p.position_sigma, 0.5) for p in some]
        axes.errorbar(
            [p.position for p in some], diameter, xerr=sigma, fmt="o", ms=4, lw=0.8, color=PHASE_COLOURS[phase],
            mec="black", mew=0.5, ecolor="0.5", label=f"{len(some)} {phase.name}",
        )  # fmt: skip
    axes.axvline(0.5, color="0.7", lw=0.8, zorder=0)
    axes.set(xlim=(-0.6, 1.6), xlabel="ratio of attenuations: 0 NCA, 1 LCO", ylabel="diameter (µm)")
    axes.legend(fontsize=8, frameon=False)
    caption(axes, "d", f"{len(found.particles)} particles")
