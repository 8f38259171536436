"""Rows about SEM and EDS of the fresh surface."""

from __future__ import annotations

import numpy as np
from bluesky.utils import FailedStatus
from numpy.typing import NDArray

import plans
from xrm_sims.app.common.errors import root_cause
from xrm_sims.app.validation import pictures
from xrm_sims.app.validation.fields import look_at
from xrm_sims.app.validation.laboratory import Laboratory, truth_of
from xrm_sims.app.validation.measured import Image
from xrm_sims.app.validation.rows import (
    Measured,
    at_least,
    at_most,
    best_split,
    grouped_sigma,
    overlap,
    row,
    share_with_sigma,
)
from xrm_sims.app.validation.truth import ACTIVE
from xrm_sims.data import read_counts
from xrm_sims.patterns import Raster
from xrm_sims.specimen.materials import Material
from xrm_sims.twin.ions import Scan
from xrm_sims.twin.microscope import Truth
from xrm_sims.twin.sem_signals import electron_range_um

SE_FIELD_UM, SE_SHAPE, SE_DWELL_US = 44.0, (768, 768), 10.0
EDS_FIELD_UM, EDS_SHAPE, EDS_DWELL_MS = 28.0, (128, 128), 20.0
ELEMENTS = ("Ni", "Co", "C", "O", "Al")


def secondary_electrons(lab: Laboratory) -> Image:
    """Take an SE image of the pillar's top."""
    with lab.session("se") as session:
        uid = session.run(plans.se_image(session.scope, fov_um=SE_FIELD_UM, shape=SE_SHAPE, dwell_us=SE_DWELL_US))
        counts, _ = read_counts(uid, "se_image", session.data)
        return _labelled(counts[0], Raster(SE_SHAPE, SE_FIELD_UM, 1e-3 * SE_DWELL_US), truth_of(session))


def element_maps(lab: Laboratory) -> Image:
    """Take EDS maps of the pillar's top."""
    with lab.session("eds") as session:
        uid = session.run(
            plans.eds_map(session.scope, elements=ELEMENTS, fov_um=EDS_FIELD_UM, shape=EDS_SHAPE, dwell_ms=EDS_DWELL_MS)
        )
        counts, _ = read_counts(uid, "eds_counts", session.data)
        return _labelled(counts[0], Raster(EDS_SHAPE, EDS_FIELD_UM, EDS_DWELL_MS), truth_of(session))


def _labelled(counts: NDArray[np.uint32], raster: Raster, truth: Truth) -> Image:
    material, points, flat = look_at(truth.specimen, truth.surface, Scan(raster, truth.scan_to_specimen, 0.0))
    material[material == Material.NCA_BOUNDARY] = Material.NCA
    grain = truth.specimen.grain_id(points.reshape(-1, 3)).reshape(raster.shape)
    return Image(counts.astype(float), material, flat, grain, raster.pixel_um)


@row("binder visible in SE: contrast to active material over a pixel's standard deviation", at_least(3.0), seconds=10)
def binder_in_se(lab: Laboratory) -> Measured:
    image = lab.once(secondary_electrons)
    lab.picture("secondary_electrons", pictures.se_figure(image))
    binder = image.counts[image.well_inside((Material.BINDER,), 0.1)]
    active = image.counts[image.well_inside(ACTIVE, 0.1)]
    scatter = float(np.sqrt(0.5 * (binder.var() + active.var())))
    figure = float(active.mean() - binder.mean()) / scatter
    return Measured(
        figure,
        float(np.sqrt(1 / max(len(binder), 1) + 1 / max(len(active), 1) + figure**2 / 4 / max(len(binder), 1))),
        f"{binder.mean():.0f} counts per pixel of binder, {active.mean():.0f} of active material, scatter "
        f"{scatter:.0f} (grains and counting)",
    )


@row("LCO and NCA not distinguished in SE: pixels that the best threshold classifies rightly", at_most(75.0), "%")
def grey_se(lab: Laboratory) -> Measured:
    image = lab.once(secondary_electrons)
    inside = [image.well_inside((m,), 0.1) for m in (Material.LCO, Material.NCA)]
    lco, nca = (image.counts[there] for there in inside)
    crystals = [image.grain[there] for there in inside]
    numbers = [len(np.unique(c)) for c in crystals]
    return Measured(
        100 * best_split(lco, nca),
        100 * grouped_sigma(best_split, lco, nca, *crystals),
        f"chance gives a half; the threshold is chosen with the labels. The paper gives no limit: histograms that "
        f"overlap by 80 % would give 60 %, by 30 % 85 %. These overlap by {overlap(lco, nca):.0%} ± "
        f"{grouped_sigma(overlap, lco, nca, *crystals):.0%}, because crystals differ in brightness and few of LCO are "
        f"cut; {lco.mean():.0f} ± {lco.std():.0f} counts per pixel in {numbers[0]} crystals of LCO, "
        f"{nca.mean():.0f} ± {nca.std():.0f} in {numbers[1]} grains of NCA",
    )


@row("EDS separates LCO and NCA by Ni and Co: active pixels classified rightly", at_least(95.0), "%", seconds=10)
def nickel_and_cobalt(lab: Laboratory) -> Measured:
    image = lab.once(element_maps)
    lab.picture("eds", pictures.eds_figure(image, ELEMENTS))
    range_um = electron_range_um(Material.LCO, lab.settings.electrons.voltage_kv, lab.settings)
    guard_um = 2 * lab.settings.electrons.eds_blur_per_range * range_um  # two standard deviations
    lco, nca = (image.well_inside((m,), guard_um) for m in (Material.LCO, Material.NCA))
    nickel, cobalt = image.counts[ELEMENTS.index("Ni")], image.counts[ELEMENTS.index("Co")]
    share = nickel / np.maximum(nickel + cobalt, 1)
    right = int((share[lco] < 0.5).sum() + (share[nca] >= 0.5).sum())
    figure, sigma = share_with_sigma(right, int(lco.sum() + nca.sum()))
    return Measured(
        100 * figure,
        100 * sigma,
        f"Ni / (Ni + Co) above 0.5 is taken for NCA: {share[lco].mean():.2f} on LCO, {share[nca].mean():.2f} on NCA; "
        f"pixels at least {guard_um:.2f} um from other materials at the surface; electron range {range_um:.2f} um",
    )


@row("no Li by EDS: refused requests", (1.0, 1.0), "of 1", seconds=5)
def no_lithium(lab: Laboratory) -> Measured:
    with lab.session("eds") as session:
        try:
            session.run(plans.eds_map(session.scope, elements=("Li",), fov_um=EDS_FIELD_UM, shape=(8, 8)))
            refused, answer = 0.0, "a map was taken"
        except (ValueError, FailedStatus) as error:
            refused, answer = 1.0, str(root_cause(error))
    return Measured(refused, 0.0, answer)
