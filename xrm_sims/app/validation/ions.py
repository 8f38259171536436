"""Rows about SIMS: which isotopes are found where, counts per pixel, and erosion."""

from __future__ import annotations

from collections.abc import Iterator
from math import nan

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from xrm_sims.app.validation import pictures
from xrm_sims.app.validation.fields import Field, fields_of
from xrm_sims.app.validation.laboratory import Laboratory
from xrm_sims.app.validation.rows import Measured, at_least, at_most, detection_limit, mean_with_sigma, row
from xrm_sims.app.validation.truth import ACTIVE
from xrm_sims.settings import Settings
from xrm_sims.specimen.materials import Material

REMOTE_UM = 1.0  # distance from active material that the beam's tail and redeposition do not reach
MAP, LONG = (20.7, 0.55), (20.7, 1.20)  # most rows read these frames: (field of view in um, dwell in ms) of the paper
FORMATS = (MAP, LONG, (11.8, 0.55), (11.8, 1.20))  # the wider fields first, on ground that no raster has eroded
EXPECTED_AL = 0.005  # atomic fraction of Al in binder that the table below assumes

# Counts per pixel and frame at 50 pA for 0.55 and 1.20 ms: (I t / e) x sputter yield x atomic fraction x useful yield.
EXPECTED_COUNTS: dict[tuple[Material, str], tuple[float, float]] = {
    (Material.LCO, "7Li"): (460.0, 1003.0),
    (Material.LCO, "59Co"): (7.9, 17.0),
    (Material.NCA, "7Li"): (454.0, 990.0),
    (Material.NCA, "27Al"): (9.1, 20.0),
    (Material.NCA, "58Ni"): (6.3, 14.0),
    (Material.NCA, "59Co"): (1.2, 2.5),
    (Material.NCA_BOUNDARY, "27Al"): (46.0, 100.0),
    (Material.BINDER, "27Al"): (2.0, 4.5),
}
# Depth in nm that a frame of 512 x 512 pixels takes from LCO at 50 pA, by field of view in um and dwell in ms.
EXPECTED_EROSION_NM = {(11.8, 0.55): 7.5, (11.8, 1.20): 16.5, (20.7, 0.55): 2.45, (20.7, 1.20): 5.35}
HYDROCARBON_SHARE = 1 / 3  # of one C2H3 per binder pixel at 0.55 ms: a slit centred on aluminium transmits a third

Fields = dict[tuple[float, float], Field]


def _settings(lab: Laboratory, *, hydrocarbon: bool = True, redeposition: bool = False) -> Settings:
    sector = lab.settings.sector.model_copy(update={"hydrocarbon_on_al": hydrocarbon})
    sputtering = lab.settings.sputtering
    if not redeposition:
        sputtering = sputtering.model_copy(update={"redeposited_fraction": 0.0})
    return lab.settings.model_copy(update={"sector": sector, "sputtering": sputtering})


def maps(lab: Laboratory) -> Fields:
    """Take all formats with C2H3 in the aluminium channel and without redeposition."""
    return fields_of(lab, "sims", _settings(lab), FORMATS, boundaries=(MAP, LONG))


def maps_without_hydrocarbon(lab: Laboratory) -> Fields:
    return fields_of(lab, "sims_without_hydrocarbon", _settings(lab, hydrocarbon=False), (MAP, LONG))


def maps_with_redeposition(lab: Laboratory) -> Fields:
    return fields_of(lab, "sims_with_redeposition", _settings(lab, redeposition=True), (MAP,))


@row("Li in all active material: its pixels above the detection limit", at_least(99.0), "%", seconds=30)
def lithium_in_active(lab: Laboratory) -> Measured:
    field = lab.once(maps)[MAP]
    lab.picture("sims", pictures.sims_figure(field))
    active = np.isin(field.material, ACTIVE)
    counts = field.channel("7Li")[active]
    limit = detection_limit(_dark(lab, field))
    share = float((counts > limit).mean())
    return Measured(
        100 * share,
        100 * float(np.sqrt((1 - share) * share / len(counts))),
        f"{len(counts)} pixels of {field.raster.fov_um:g} um at {field.raster.dwell_ms:g} ms, pore walls and bottoms "
        f"included; {counts.mean():.0f} counts per pixel, limit {limit:.1f}",
    )


@row(f"no Li in binder {REMOTE_UM:g} um from active material: counts over detection limit", at_most(1.0), seconds=12)
def lithium_in_binder(lab: Laboratory) -> Measured:
    field = lab.once(maps)[MAP]
    there = _remote_binder(field)
    net, limit, rate = _net(lab, field, there, "7Li")
    floor = lab.once(maps_with_redeposition)[MAP]
    far = _remote_binder(floor)
    onto, _, per_pixel = _net(lab, floor, far, "7Li")
    chance = np.sqrt(max(onto, 1.0)) / max(far.sum(), 1)
    return Measured(
        net / limit,
        float(np.sqrt(max(net + limit, 1.0)) / limit),
        f"{there.sum()} pixels, redeposition off: {rate:.4f} net counts per pixel, limit "
        f"{limit / max(there.sum(), 1):.4f}; with redeposition a floor of {per_pixel:.3f} ± "
        f"{chance:.3f} counts per pixel",
    )


def _remote_binder(field: Field) -> NDArray[np.bool_]:
    return np.asarray((field.material == Material.BINDER) & (field.away_from(ACTIVE) >= REMOTE_UM))


def _dark(lab: Laboratory, field: Field) -> float:
    """Return the dark counts per pixel."""
    return lab.settings.sector.dark_rate_cps * field.raster.dwell_ms * 1e-3


def _net(lab: Laboratory, field: Field, there: NDArray[np.bool_], label: str) -> tuple[float, float, float]:
    """Return counts less darks over an area, their detection limit, and net counts per pixel; nan for an empty area."""
    if not there.any():
        return nan, nan, nan
    dark = _dark(lab, field) * there.sum()
    net = float(field.channel(label)[there].sum() - dark)
    return net, detection_limit(dark), net / there.sum()


@row("Al at NCA grain boundaries: counts over those inside the grains", (3.0, 6.0))
def aluminium_at_boundaries(lab: Laboratory) -> Measured:
    field = lab.once(maps)[LONG]
    (grain, boundary), (grain_sigma, sigma) = _grain_and_boundary(lab, field)
    ratio = boundary / grain
    return Measured(
        ratio,
        ratio * float(np.hypot(sigma / boundary, grain_sigma / grain)),
        f"{boundary:.1f} ± {sigma:.1f} counts per pixel of boundary, {grain:.2f} ± {grain_sigma:.2f} of grain at "
        f"{field.raster.dwell_ms:g} ms, from a fit of the true shares of both, blurred by the beam, to the map",
    )


def _grain_and_boundary(lab: Laboratory, field: Field) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return aluminium counts per pixel of pure grain and pure boundary (2,), and their standard errors."""
    ion, pixel_um = lab.settings.ion, field.raster.pixel_um
    share = field.boundary_share
    assert share is not None, "the field needs its boundary shares"
    core = gaussian_filter(share, ion.core_fwhm_nm * 1e-3 / 2.355 / pixel_um, mode="nearest")
    tail = gaussian_filter(share, ion.tail_sigma_nm * 1e-3 / pixel_um, mode="nearest")
    seen = (1 - ion.tail_fraction) * core + ion.tail_fraction * tail
    nca = np.isin(field.material, (Material.NCA, Material.NCA_BOUNDARY))
    other = tuple(m for m in Material if m not in (Material.NCA, Material.NCA_BOUNDARY))
    here = nca & field.flat & (field.away_from(other) > 0.3)
    counts = field.channel("27Al")[here] - _dark(lab, field)
    design = np.column_stack([1 - seen[here], seen[here]])
    variance = np.maximum(design @ np.linalg.lstsq(design, counts, rcond=None)[0], 0.1)
    weighted = design / np.sqrt(variance)[:, None]
    found, *_ = np.linalg.lstsq(weighted, counts / np.sqrt(variance), rcond=None)
    return found, np.sqrt(np.diag(np.linalg.inv(weighted.T @ weighted)))


@row("Al in the binder: net counts over their standard error", at_least(5.0), seconds=16)
def aluminium_in_binder(lab: Laboratory) -> Measured:
    field = lab.once(maps_without_hydrocarbon)[MAP]
    there = field.well_inside(Material.BINDER)
    net, _, rate = _net(lab, field, there, "27Al")
    sigma = np.sqrt(max(net, 1.0) + 2 * _dark(lab, field) * there.sum())
    return Measured(
        net / sigma,
        1.0,
        f"{rate:.3f} ± {sigma / max(there.sum(), 1):.3f} counts per pixel in {there.sum()} pixels of binder, "
        "C2H3 switched off",
    )


@row("no Al on LCO: net counts over the detection limit", at_most(1.0))
def aluminium_on_lco(lab: Laboratory) -> Measured:
    field = lab.once(maps)[MAP]
    there = field.well_inside(Material.LCO, 0.6)  # four standard deviations of the beam's tail
    net, limit, rate = _net(lab, field, there, "27Al")
    return Measured(
        net / limit,
        float(np.sqrt(max(net + limit, 1.0)) / limit),
        f"{there.sum()} pixels at least 0.6 um inside; {rate:.4f} net counts per pixel",
    )


@row("impact energy of the ions", (29.499, 29.501), "keV")
def impact_energy(lab: Laboratory) -> Measured:
    energies = {field.impact_kev for field in lab.once(maps).values()}
    return Measured(
        max(energies, key=lambda e: abs(e - 29.5)),
        0.0,
        "beam voltage less stage bias, read from the start documents of the rasters",
    )


@row("counts per pixel over those expected: the largest deviation", (0.8, 1.2))
def counts_per_pixel(lab: Laboratory) -> Measured:
    ratios = list(_count_ratios(lab))
    remark = ", ".join(f"{label} {ratio:.2f} ± {sigma:.2f}" for label, ratio, sigma in ratios)
    _, ratio, sigma = max(ratios, key=lambda entry: np.nan_to_num(abs(entry[1] - 1), nan=np.inf))
    return Measured(ratio, sigma, remark)


def _count_ratios(lab: Laboratory) -> Iterator[tuple[str, float, float]]:
    """Yield name, measured over expected, and its standard error; binder is scaled by its true aluminium content."""
    for number, (fov_um, dwell_ms) in enumerate((MAP, LONG)):
        field = lab.once(maps)[(fov_um, dwell_ms)]
        plain = lab.once(maps_without_hydrocarbon)[(fov_um, dwell_ms)]
        pure, pure_sigma = _grain_and_boundary(lab, field)
        for (material, label), expected in EXPECTED_COUNTS.items():
            name = f"{label} {material.name.lower().replace('_', ' ')} {dwell_ms:g} ms"
            if label == "27Al" and material in (Material.NCA, Material.NCA_BOUNDARY):
                n = int(material == Material.NCA_BOUNDARY)
                yield name, float(pure[n] / expected[number]), float(pure_sigma[n] / expected[number])
                continue
            source = plain if material == Material.BINDER else field
            there = source.well_inside(material)
            wanted = expected[number]
            if material == Material.BINDER and there.any():
                wanted *= float(lab.specimen.binder_al_fraction(source.points_um[there]).mean()) / EXPECTED_AL
            _, _, rate = _net(lab, source, there, label)
            total = max(float(source.channel(label)[there].sum()), 1.0)
            yield name, rate / wanted, float(np.sqrt(total)) / max(there.sum(), 1) / wanted


@row("erosion of LCO by a frame over the expected depth: the largest deviation", (0.9, 1.1))
def erosion(lab: Laboratory) -> Measured:
    ratios = []  # an 11.8 um field may show no LCO
    area = (
        2 * lab.settings.mode_change.scale / np.sqrt(3)
    )  # standard deviation of a uniformly distributed scale, twice for an area
    for key, expected_nm in EXPECTED_EROSION_NM.items():
        field = lab.once(maps)[key]
        depth_nm = field.eroded_nm[field.well_inside(Material.LCO)]
        ratio, sigma = mean_with_sigma(depth_nm / expected_nm)
        ratios.append((key, ratio, float(np.hypot(sigma, area)), ratio * expected_nm))
    known = [entry for entry in ratios if np.isfinite(entry[1])]
    _, ratio, sigma, _ = max(known, key=lambda entry: abs(entry[1] - 1))
    return Measured(
        ratio,
        sigma,
        ", ".join(f"{fov:g} um {dwell:g} ms: {depth:.2f} nm ({r:.3f})" for (fov, dwell), r, _, depth in ratios)
        + "; the uncertainty is that of the scan's scale",
    )


@row("C2H3 share of the binder's Al signal", unit="%")
def hydrocarbon(lab: Laboratory) -> Measured:
    """Compare binder of the same field with and without C2H3 in the aluminium channel."""
    with_it, without = (lab.once(each)[MAP] for each in (maps, maps_without_hydrocarbon))
    there = with_it.well_inside(Material.BINDER) & without.well_inside(Material.BINDER)
    net, _, rate = _net(lab, with_it, there, "27Al")
    plain, _, plain_rate = _net(lab, without, there, "27Al")
    n = max(int(there.sum()), 1)
    true = _true_al_counts(lab, without, there)
    expected = 100 * HYDROCARBON_SHARE / (true + HYDROCARBON_SHARE)
    sigma = float(np.sqrt(max(net + plain, 1.0))) / n
    left, left_sigma = (100 * part / plain_rate for part in (plain_rate - true, np.sqrt(max(plain, 1.0)) / n))
    return Measured(
        100 * (rate - plain_rate) / rate,
        100 * sigma / rate,
        f"{rate:.3f} counts per pixel with C2H3, {plain_rate:.3f} without, {true:.3f} expected from the true "
        f"aluminium: {left:.1f} ± {left_sigma:.1f} % of the signal without C2H3 is unexplained; "
        f"{n} pixels of binder; limits from a third of one C2H3 per pixel, within 30 %",
        (0.7 * expected, 1.3 * expected),
    )


def _true_al_counts(lab: Laboratory, field: Field, there: NDArray[np.bool_]) -> float:
    """Return the counts per pixel that the table predicts for the true aluminium."""
    if not there.any():
        return nan
    fraction = float(lab.specimen.binder_al_fraction(field.points_um[there]).mean())
    return EXPECTED_COUNTS[(Material.BINDER, "27Al")][0] * fraction / EXPECTED_AL
