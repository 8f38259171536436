"""The command maps: correct, align and sum the frames of a raster and its parts; save and draw the maps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xrm_sims.app.common.progress import stages
from xrm_sims.app.common.rasters import raster_of
from xrm_sims.app.session.hardware import session_settings
from xrm_sims.correlate.maps.counting import AlignedFrames, Counters, Ions, Summed
from xrm_sims.correlate.maps.depth import DepthProfile, depth_profiles, depth_scale
from xrm_sims.correlate.maps.drift import Drift, DriftSettings, measure_drift
from xrm_sims.correlate.maps.isotopes import Departures, RatioMap, channels_of, find_enriched, ratio_map
from xrm_sims.correlate.settings import load_analysis_settings
from xrm_sims.data import find_run, results
from xrm_sims.data.figures import keep_figures
from xrm_sims.data.layout import Layout
from xrm_sims.data.stored import StoredFrames, raster_doses_nc, stored_configuration, stored_raster
from xrm_sims.patterns import Raster
from xrm_sims.scan_type import ScanType
from xrm_sims.settings import Settings

KIND = "maps"
LITHIUM = "6Li/7Li"
Progress = Callable[[str, float], None]


@dataclass(frozen=True, eq=False)
class Maps:
    """The maps of one raster; ``start`` is the start document of its first part.

    ``counts`` (channel, row, column) are uncorrected, with the frames aligned to a pixel. ``drift`` is None for a
    single frame or without alignment, ``ratio`` and ``departures`` are None without a requested ratio; ``profiles`` is
    empty for a single frame.
    """

    start: dict[str, Any]
    raster: Raster
    counters: Counters
    counts: NDArray[np.float64]
    summed: Summed
    drift: Drift | None
    ratio_name: str | None
    ratio: RatioMap | None
    departures: Departures | None
    profiles: dict[str, DepthProfile]

    @property
    def uid(self) -> str:
        return str(self.start["uid"])

    @property
    def whole_raster(self) -> Raster:
        """The raster with the dwell of all frames together."""
        return replace(self.raster, dwell_ms=self.summed.frames * self.raster.dwell_ms)

    @property
    def image(self) -> NDArray[np.float64]:
        """Ions (channel, row, column) to display: not negative, and scaled up where frames are missing."""
        seen = np.maximum(self.summed.seen, 1e-6) / self.summed.frames
        return np.asarray(np.maximum(self.summed.ions.number / np.maximum(seen, 0.5), 0.0))

    @property
    def totals(self) -> Ions:
        """Sums (channel,) over the part of the field that every frame covers."""
        return self.summed.ions.over(self.summed.whole)


def make_maps(
    run: str,
    data: Path | None,
    settings: Settings,
    ratio: str | None = None,
    align: bool = True,
    progress: Progress = lambda name, share: None,
    *,
    uncorrected_too: bool = False,
    drift: DriftSettings = DriftSettings(),
) -> Maps:
    """Read a raster with all its parts and compute its maps.

    ``uncorrected_too`` : use counts without correction if the run has no calibration of its collectors (imported maps).

    Raises ValueError for an unknown run, a run that is not a raster, a ratio of channels that were not counted, counts
    that cannot be corrected, and frames that cannot be aligned.
    """
    names = None if ratio is None else channels_of(ratio)
    frames, start, counters = _stored(run, data, uncorrected_too)
    if names is not None and (missing := [name for name in names if name not in counters.labels]):
        raise ValueError(
            f"ratio: run {start['uid']} has no channel {' nor '.join(missing)}, its collectors were set to "
            f"{', '.join(counters.labels)}; measure again with sims --channels"
        )
    raster = raster_of(start)
    moved = _drift(AlignedFrames(frames, counters), progress, drift) if align and len(frames) > 1 else None
    aligned = AlignedFrames(frames, counters, None if moved is None else moved.shift_px)
    progress("maps", 0.0)
    summed = aligned.total()
    progress("maps", 0.5)
    found = departures = None
    masks = {"whole field": summed.whole}
    if names is not None:
        light, heavy = (summed.channel(name) for name in names)
        found = ratio_map(light, heavy, summed.whole)
        departures = find_enriched(light, heavy, summed.whole, raster)
        masks |= {f"region {region.number}": departures.numbers == region.number for region in departures.regions[:3]}
    profiles: dict[str, DepthProfile] = {}
    if len(frames) > 1:
        doses = raster_doses_nc(start["uid"], data)
        scale = depth_scale([doses[index] for index in start["frame_indices"]], raster, settings)
        profiles = depth_profiles(aligned, scale, masks)
    progress("maps", 1.0)
    name = None if names is None else "/".join(names)
    return Maps(start, raster, counters, aligned.counted(), summed, moved, name, found, departures, profiles)


def report_maps(
    run: str, *, data: Path | None, out: Path | None, ratio: str | None, align: bool, settings_file: Path | None = None
) -> Maps:
    """Run the command: compute and save the maps, print a summary, draw figures."""
    root = Layout.of(data).root
    settings, drift = session_settings(root), load_analysis_settings(root, settings_file).drift
    with stages() as progress:
        maps = make_maps(run, data, settings, ratio, align, progress, drift=drift)
    save_maps(maps, data)
    natural = settings.sector.natural_6li_per_7li if maps.ratio_name == LITHIUM else None
    print("\n".join(in_words(maps, natural)))
    if out is not None:
        pictures = draw(maps, natural, out)
        keep_figures(data, maps.uid, pictures)
        for path in pictures:
            print(path)
    print(f"maps kept at /results/{maps.uid}/{KIND}")
    return maps


def save_maps(maps: Maps, data: Path | None) -> None:
    """Save the maps as ``/results/<uid>/maps``."""
    summed = maps.summed
    arrays: dict[str, NDArray[Any]] = {
        "counts": summed.ions.number, "variance": summed.ions.variance, "frames_seen": summed.seen,
    }  # fmt: skip
    about: dict[str, Any] = {
        "channels": list(summed.labels),
        "frames": summed.frames,
        "fov_um": maps.raster.fov_um,
        "dead_time_ns": 1e9 * maps.counters.dead_time_s,
        "dark_rate_cps": maps.counters.dark_rate_cps,
        "aligned": maps.drift is not None,
    }
    totals = maps.totals
    tables: dict[str, Any] = {
        "totals": [
            {"channel": label, "ions": float(number), "error": float(error)}
            for label, number, error in zip(summed.labels, totals.number, totals.error, strict=True)
        ]
    }
    if maps.drift is not None:
        arrays |= {"drift_px": maps.drift.shift_px, "drift_sigma_px": maps.drift.sigma_px}
        about["drift_reference"] = maps.drift.reference
    for name, profile in maps.profiles.items():
        tables[f"profile_{name.replace(' ', '_')}"] = profile.as_rows()
    if maps.ratio is not None and maps.departures is not None:
        arrays |= {
            "ratio": maps.ratio.ratio, "ratio_sigma": maps.ratio.sigma, "departing": maps.departures.numbers,
        }  # fmt: skip
        about |= {"ratio": maps.ratio_name, "rest": vars(maps.departures.rest)}
        if maps.departures.regions:
            tables["regions"] = [region.as_row() for region in maps.departures.regions]
    results.save(data, maps.uid, KIND, arrays, about, tables=tables)


def load_ions(uid: str, data: Path | None) -> NDArray[np.float64]:
    """Return the saved ions (channel, row, column) of a run; ValueError if there are none."""
    return np.asarray(results.load(data, uid, KIND).arrays["counts"], dtype=float)


def in_words(maps: Maps, natural: float | None) -> list[str]:
    """Return a summary of the maps, line by line."""
    summed, raster, totals = maps.summed, maps.raster, maps.totals
    rows, columns = raster.shape
    frames = "1 frame" if summed.frames == 1 else f"{summed.frames} frames"
    lines = [f"{frames} of {rows} x {columns} pixels over {raster.fov_um:g} um; dead time and darks corrected"]
    if maps.drift is not None:
        reach_px = float(np.hypot(*np.ptp(maps.drift.shift_px, axis=0)))
        lines.append(
            f"drift of {reach_px:.2f} px ({1e3 * raster.pixel_um * reach_px:.0f} nm) corrected, with an uncertainty of "
            f"{maps.drift.sigma_px.max():.2f} px; every frame covers {summed.whole.mean():.1%} of the field"
        )
    lines += [
        f"{label:>6} {number:14,.0f} +- {error:,.0f} ions"
        for label, number, error in zip(summed.labels, totals.number, totals.error, strict=True)
    ]
    if maps.profiles:
        scale = next(iter(maps.profiles.values())).scale
        lines.append(f"depth: from {_nm(scale.depth_um[0], scale.sigma_um[0])} to "
                     f"{_nm(scale.depth_um[-1], scale.sigma_um[-1])} nm below the first frame's surface")  # fmt: skip
    if maps.departures is not None:
        rest, regions = maps.departures.rest, maps.departures.regions
        nature = "" if natural is None else f" (natural {natural:.4f})"
        found = f"deviating regions: {len(regions)}"
        lines.append(f"{maps.ratio_name} {rest.value:.5f} +- {rest.sigma:.5f}{nature}; {found}")
        lines += [
            f"  {one.number}: {one.kind}, {one.ratio:.4f} +- {one.sigma:.4f} over {one.area_um2:.3g} um2 "
            f"at u {one.u_um:.2f}, v {one.v_um:.2f} um"
            for one in regions
        ]
    return lines


def draw(maps: Maps, natural: float | None, out: Path) -> list[Path]:
    """Write ``maps.png``, ``profile.png`` for several frames, and ``ratio.png`` for a requested ratio."""
    from xrm_sims.correlate.figures import drawing, map_figures

    summed = maps.summed
    shown = np.where(summed.whole, summed.ions.number, 0.0)
    figure = map_figures.channels_figure(shown, summed.labels, maps.raster, maps.totals.error.tolist())
    drawn = {"maps": figure}
    if maps.profiles:
        drawn["profile"] = map_figures.profile_figure(maps.profiles)
    if maps.ratio is not None and maps.departures is not None and maps.ratio_name is not None:
        drawn["ratio"] = map_figures.ratio_figure(maps.ratio, maps.departures, maps.ratio_name, natural, maps.raster)
    return [drawing.save(figure, out / f"{name}.png") for name, figure in drawn.items()]


def _stored(run: str, data: Path | None, uncorrected_too: bool) -> tuple[StoredFrames, dict[str, Any], Counters]:
    start = find_run(run, data).metadata["start"]
    kind = start.get("scan_type", start.get("plan_name", "run of unknown kind"))
    if kind != ScanType.SIMS_RASTER:
        raise ValueError(f"run {start['uid']}: is a {kind}, but maps need a sims_raster; name such a run")
    frames, first = stored_raster(start["uid"], data)
    configuration = stored_configuration(first["uid"], data)
    if uncorrected_too and not any("_collector_" in key for key in configuration):
        return frames, first, Counters.unknown(first)
    return frames, first, Counters.from_documents(first, configuration)


def _drift(frames: AlignedFrames, progress: Progress, settings: DriftSettings) -> Drift:
    progress("drift", 0.0)

    def image(frame: int) -> NDArray[np.float64]:
        progress("drift", frame / len(frames))
        return np.asarray(frames.raw(frame).number.sum(axis=0))

    drift = measure_drift(image, len(frames), settings)
    progress("drift", 1.0)
    return drift


def _nm(value_um: float, sigma_um: float) -> str:
    return f"{1e3 * value_um:.1f} +- {1e3 * sigma_um:.1f}"
