"""The frames of reference as a picture, drawn from the same functions that everything computes with."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Arc, Circle, Rectangle

from xrm_sims.correlate.figures.drawing import new_figure, save
from xrm_sims.geometry import rotation_z

LABORATORY, SPECIMEN, SCAN, BEAM = "black", "#0072b2", "#d55e00", "#999999"
SOURCE, DETECTOR, HALF = -3.0, 4.0, 2.0  # not to scale: the source stands 0.4 mm away, the detector 440 mm
TURNED_DEG = 30.0


def draw(path: Path) -> Path:
    """Four views: from the side, from above, of the detector, of the ions' scan."""
    figure = new_figure(10.0, 8.0)
    (side, above), (detector, scan) = figure.subplots(2, 2)
    _side(side)
    _above(above)
    _detector(detector)
    _scan(scan)
    for axes in (side, above, detector, scan):
        axes.set_aspect("equal")
        axes.set_axis_off()
    return save(figure, path)


def _arrow(axes: Axes, start: tuple[float, float], along: np.ndarray, label: str, colour: str) -> None:
    end = np.asarray(start) + along[:2]
    axes.annotate("", end, start, arrowprops={"arrowstyle": "-|>", "color": colour, "lw": 1.6})
    ahead = np.sign(np.round(along[:2], 1))
    sides = {
        "ha": {-1: "right", 0: "center", 1: "left"}[ahead[0]],
        "va": {-1: "top", 0: "center", 1: "bottom"}[ahead[1]],
    }
    axes.text(*(np.asarray(start) + along[:2] + 0.1 * ahead), label, color=colour, **sides)


def _rays(axes: Axes) -> None:
    for at in (-HALF, 0.0, HALF):
        axes.plot([SOURCE, DETECTOR], [0.0, at], color=BEAM, lw=0.8, zorder=0)
    axes.plot([SOURCE], [0.0], "o", color=BEAM, ms=7)
    axes.text(SOURCE, -0.5, "source", color=BEAM, ha="center")
    axes.plot([DETECTOR] * 2, [-HALF, HALF], color=BEAM, lw=4)
    axes.set(xlim=(SOURCE - 0.8, DETECTOR + 1.2), ylim=(-2.8, 2.8))


def _side(axes: Axes) -> None:
    _rays(axes)
    axes.set_title("from the side: y points away from you")
    axes.add_patch(Rectangle((-0.4, -1.2), 0.8, 1.9, facecolor=SPECIMEN, alpha=0.25))
    axes.plot([0, 0], [-2.4, 2.4], color=LABORATORY, lw=0.8, ls="-.")
    axes.text(0.12, -2.5, "rotation axis", fontsize=8)
    _arrow(axes, (0, 0), np.array([1.6, 0.0]), "x", LABORATORY)
    _arrow(axes, (0, 0), np.array([0.0, 1.6]), "z", LABORATORY)
    axes.annotate("", (-0.9, 0.75), (-0.9, 2.2), arrowprops={"arrowstyle": "-|>", "color": SCAN, "lw": 1.6})
    axes.text(-1.0, 1.6, "FIB, SIMS, SEM\nlook down −z", color=SCAN, ha="right", fontsize=8)
    axes.text(DETECTOR + 0.15, HALF, "rows\nalong +z", va="top", fontsize=8)


def _above(axes: Axes) -> None:
    _rays(axes)
    axes.set_title("from above (seen from +z)")
    axes.add_patch(Circle((0, 0), 0.9, facecolor=SPECIMEN, alpha=0.25))
    turn = rotation_z(TURNED_DEG)
    for axis, name in ((0, "x"), (1, "y")):
        along = 1.7 * np.eye(3)[axis]
        _arrow(axes, (0, 0), along, name, LABORATORY)
        _arrow(axes, (0, 0), turn @ along, f"{name} (specimen)", SPECIMEN)
    axes.add_patch(Arc((0, 0), 2.4, 2.4, theta1=0, theta2=TURNED_DEG, color=SPECIMEN, lw=1.2))
    axes.text(1.3, 0.2, "rotation > 0", color=SPECIMEN, fontsize=8)
    axes.text(DETECTOR + 0.15, HALF, "columns\nalong +y", va="top", fontsize=8)


def _detector(axes: Axes) -> None:
    axes.set_title('projection (angle, row, column), origin="lower"')
    columns, rows = 7, 5
    for c in range(columns + 1):
        axes.plot([c, c], [0, rows], color=BEAM, lw=0.6)
    for r in range(rows + 1):
        axes.plot([0, columns], [r, r], color=BEAM, lw=0.6)
    axes.text(0.5, 0.5, "0, 0", ha="center", va="center", fontsize=8)
    _arrow(axes, (0, -0.5), np.array([3.0, 0.0]), "column, y", LABORATORY)
    _arrow(axes, (-0.5, 0), np.array([0.0, 3.0]), "row, z", LABORATORY)
    axes.plot([columns / 2], [rows / 2], "+", color=LABORATORY, ms=10)
    axes.text(columns / 2 + 0.2, rows / 2 + 0.2, "central ray", fontsize=8)
    axes.set(xlim=(-1.6, columns + 0.6), ylim=(-1.2, rows + 0.6))


def _scan(axes: Axes) -> None:
    axes.set_title("scan of FIB, SIMS or SEM (frame, isotope, v, u)")
    axes.add_patch(Circle((0, 0), 2.0, facecolor=SPECIMEN, alpha=0.25))
    turn, origin = rotation_z(4.0), (-0.9, -0.8)
    corners = np.array([[-1.2, -1.2, 0], [1.2, -1.2, 0], [1.2, 1.2, 0], [-1.2, 1.2, 0], [-1.2, -1.2, 0]]) @ turn.T
    axes.plot(*(corners[:, :2] + [0.15, 0.1]).T, color=SCAN, lw=1.4)
    for axis, name, specimen in ((0, "u", "x"), (1, "v", "y")):
        along = np.eye(3)[axis]
        _arrow(axes, origin, 1.2 * turn @ along, name, SCAN)
        _arrow(axes, (0, 0), 2.4 * along, specimen, SPECIMEN)
    axes.text(0, -2.4, "u ∥ x and v ∥ y as built; registration finds the rest", ha="center", fontsize=8)
    axes.set(xlim=(-3.0, 3.0), ylim=(-2.8, 2.8))
