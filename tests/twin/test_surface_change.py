"""X-rays through a milled and coated specimen: Beer-Lambert along the remaining material."""

import numpy as np
import pytest

from tests.twin.conftest import DEFAULTS, Slab, for_sims, small
from xrm_sims.patterns import Rectangle
from xrm_sims.settings import Source
from xrm_sims.specimen.materials import Material, attenuation_per_um
from xrm_sims.twin import Microscope
from xrm_sims.twin.milling import deposit_pass
from xrm_sims.twin.spectrum import detection_efficiency, pixel_rate
from xrm_sims.twin.surface import Surface
from xrm_sims.twin.surface_change import UNCHANGED, find_surface_change
from xrm_sims.twin.xray import XrayModel

SHARP = DEFAULTS.ion.model_copy(update={"core_fwhm_nm": 1e-3, "tail_fraction": 0.0})
SETTINGS = small(
    ion=SHARP,
    surface=DEFAULTS.surface.model_copy(update={"pitch_um": 0.1}),
    source=Source(spot_core_sigma_nm=1e-3, spot_tail_sigma_nm=1e-3),
)  # everything ends where it is told; pixels of 0.4 um
STRAIGHT = np.eye(2, 3)
BOX = Rectangle((8.0, 8.0), 0.5, passes=1)
RADIUS_UM = 10.0


def row_at(z_um):
    return round(z_um / SETTINGS.voxel_um + 0.5 * (SETTINGS.detector.rows - 1))


def counts_behind(**path_um):
    """Return the counts of a pixel in 90 s behind given lengths of each material."""
    energies, rate = pixel_rate(SETTINGS, "W", 30.0, 400.0)
    detected = 90 * rate * detection_efficiency(energies, SETTINGS.detector, SETTINGS.detector.threshold_kev)
    exponent = sum(length * attenuation_per_um(Material[name], energies) for name, length in path_um.items())
    return (detected * np.exp(-exponent)).sum()


@pytest.fixture(scope="module")
def milled():
    """A cylinder of LCO with a box 8 um wide and 3 um deep in its top: X-ray model and surface change."""
    slab = Slab(Material.LCO, radius_um=RADIUS_UM)
    slab.settings = SETTINGS.specimen
    surface = Surface.fresh(slab, SETTINGS)
    surface.cut_plane(slab, STRAIGHT, BOX, 1.5, SETTINGS)
    return XrayModel(slab, SETTINGS), find_surface_change(surface, Surface.fresh(slab, SETTINGS))


@pytest.mark.parametrize(("angle_deg", "gone_um"), [(0.0, 8.0), (45.0, 8.0 * np.sqrt(2)), (90.0, 8.0)])
def test_a_milled_box_is_missing_from_the_path(milled, angle_deg, gone_um):
    model, surface_change = milled
    image = model.expected_counts(angle_deg=angle_deg, surface_change=surface_change)
    middle = image[row_at(3.0), 79:81].mean()
    # the box ends within half a cell at both sides, and rays beside the axis pass 0.2 um off the square's corners
    room = 0.1 + (0.4 if angle_deg == 45.0 else 0.0)
    least, most = (counts_behind(LCO=2 * RADIUS_UM - gone_um + d) for d in (room, -room))
    assert least < middle < most


def test_below_and_beside_the_hole_nothing_changes(milled):
    model, surface_change = milled
    whole, image = (model.expected_counts(angle_deg=30.0, surface_change=c) for c in (UNCHANGED, surface_change))
    below, above = row_at(1.5) - 1, row_at(4.5) + 2
    assert np.array_equal(image[:below], whole[:below])
    assert np.array_equal(image[above:], whole[above:])
    assert np.array_equal(image[:, :60], whole[:, :60])
    assert (image[row_at(3.0), 70:90] > 1.1 * whole[row_at(3.0), 70:90]).all()


def test_a_deposit_stands_in_the_way():
    slab = Slab(Material.LCO, radius_um=RADIUS_UM)
    slab.settings = SETTINGS.specimen
    surface = Surface.fresh(slab, SETTINGS)
    deposit_pass(
        surface,
        scan_to_specimen=STRAIGHT,
        pattern=Rectangle((8.0, 8.0), 1.0, passes=1),
        current_pa=100.0,
        fraction=1.0,
        settings=SETTINGS,
    )
    surface_change = find_surface_change(surface, Surface.fresh(slab, SETTINGS))
    image = XrayModel(slab, SETTINGS).expected_counts(angle_deg=0.0, surface_change=surface_change)
    seen = image[row_at(5.0), 79:81].mean()
    assert counts_behind(DEPOSIT=8.1) < seen < counts_behind(DEPOSIT=7.9)
    assert image[row_at(5.0) + 3, 80] == pytest.approx(counts_behind(), rel=1e-3)


def test_a_frame_shows_what_was_milled_before_also_in_the_next_process(tmp_path):
    still = DEFAULTS.motion.model_copy(update={"drift_nm_per_h": 0.0, "thermal_drift_um": 0.0, "move_drift_um": 0.0})
    settings = small(motion=still)

    def radiograph(scope):
        scope.target.put("x_um", -400.0)
        scope.widepix.put("exposure_s", 90.0)
        scope.beam.put("blanked", False)
        frame = scope.widepix.expose().counts.astype(float)
        scope.beam.put("blanked", True)
        return frame[row_at(3.5), 60:100].mean()

    slab = Slab(Material.LCO, radius_um=RADIUS_UM)
    slab.settings = settings.specimen
    with Microscope(tmp_path, settings=settings, specimen=slab) as scope:
        before = radiograph(scope)
        scope.target.put("x_um", settings.target.park_x_um)
        for_sims(scope)
        scope.fib.put("current_pa", 1000.0)
        scope.fib.mill_pass(Rectangle((16.0, 16.0), 2.0, passes=1).as_dict())
        scope.fib.put("blanked", True)
        scope.stage.put("bias_v", 0.0)
        scope.instrument.put("mode", "xray")
        after = radiograph(scope)
    with Microscope(tmp_path, settings=settings, specimen=slab) as scope:
        again = radiograph(scope)
    assert after > 1.3 * before
    # means of 40 pixels; the current decays by a per cent in an hour
    assert again == pytest.approx(after, rel=5 / np.sqrt(40 * after) + 0.01)
