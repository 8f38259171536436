"""The planner of protocols: formulas against known figures, requirements, refusals, and the command."""

import math
import re
from dataclasses import replace

import numpy as np
import pytest

from recon.algorithms.focal_spot import FocalSpot
from xrm_sims.app.planner import Planner, Requirements, faster_protocols, find_protocol, paper_protocol
from xrm_sims.app.planner.blur import Blur
from xrm_sims.app.planner.noise import Noise, pore_snr, smallest_pore_um, voxel_noise
from xrm_sims.app.planner.predict import sampled_diameter_um, views_for
from xrm_sims.app.planner.protocols import full_turn, probe_at
from xrm_sims.settings import Settings

SETTINGS = Settings()
SPOT = FocalSpot.from_dict(SETTINGS.source.focal_spot)
FWHM = math.sqrt(8 * math.log(2))


@pytest.fixture(scope="module")
def planner():
    return Planner(SETTINGS)


@pytest.fixture(scope="module")
def papers(planner):
    return planner.predict(paper_protocol(SETTINGS))


@pytest.mark.parametrize(("motion_nm", "width_nm"), [(35, 223), (60, 237), (100, 271)])
def test_width_of_an_edge_behind_the_focal_spot(motion_nm, width_nm):
    """Electron Monte Carlo's spot, 50 nm pixels, and motion of so much at half maximum; read to the nanometre."""
    blur = Blur(SPOT, 0.05, 1e-3 * motion_nm / FWHM, "sharp")
    assert 1e3 * blur.edge_width_um() == pytest.approx(width_nm, abs=1)


def test_interpolation_and_pixels_widen_an_edge():
    narrow = FocalSpot((1.0,), (1e-3,))
    assert Blur(narrow, 0.2, window="sharp").edge_width_um() < Blur(narrow, 0.2).edge_width_um() < 0.4
    widths = [Blur(SPOT, pitch, window="ramp").edge_width_um() for pitch in (0.05, 0.1, 0.2, 0.4)]
    assert widths == sorted(widths)
    with pytest.raises(ValueError, match=r"^window: needs one of ramp, .*got 'blunt'$"):
        Blur(SPOT, 0.05, window="blunt").edge_width_um()


def test_noise_of_back_projection_of_white_rays():
    """The plain ramp's mean square is 1/12; interpolation leaves (2/3 + 1/3 cos) of it, integrated by hand."""
    noise = voxel_noise(0.01, 600, 0.1)
    ramp_and_interpolation = 2 / 3 / 12 + 1 / 3 * (-1 / (2 * math.pi**2))  # mean of nu^2 cos over a cycle: -1 / 2 pi^2
    wanted = (math.pi / 0.1) ** 2 / 600 * 0.01 * ramp_and_interpolation * 2 / 3
    assert noise.per_voxel**2 == pytest.approx(wanted, rel=0.01)
    assert voxel_noise(0.01, 2400, 0.1).per_voxel == pytest.approx(0.5 * noise.per_voxel)
    assert (
        voxel_noise(0.01, 600, 0.1, "hann").per_voxel < noise.per_voxel < voxel_noise(0.01, 600, 0.1, "sharp").per_voxel
    )


def test_noise_of_back_projection_as_recon_does_it():
    """White noise through recon.fdk itself; seeded, 2 % by the number of voxels."""
    import recon
    from xrm_sims.geometry import ConeGeometry

    n, views = 64, 180
    rng = np.random.default_rng(1)
    geometry = ConeGeometry(
        0.4, 440.0, 0.055, (32, n), np.arange(views) * 360 / views, (16, 44, 44), 0.05,
        view_shifts_px=rng.uniform(-0.5, 0.5, (views, 2)),
    )  # fmt: skip
    p = rng.normal(0.0, 0.1, (views, 32, n)).astype(np.float32)
    for window in ("ramp", "sharp"):
        measured = recon.fdk(p, geometry, window=window)[:, 14:30, 14:30].std()
        assert measured == pytest.approx(voxel_noise(0.01, views, 0.05, window).per_voxel, rel=0.05)


def test_pores_in_noise():
    blur = Blur(SPOT, 0.05)
    noise = voxel_noise(0.01, 1200, 0.05)
    snr = [pore_snr(d, blur, noise) for d in (0.2, 0.4, 0.8)]
    assert snr == sorted(snr)
    assert pore_snr(0.4, blur, Noise(0.0, 4 * noise.density_um3)) == pytest.approx(snr[1] / 2)
    assert pore_snr(smallest_pore_um(blur, noise, 5.0), blur, noise) == pytest.approx(5.0, rel=0.05)
    assert smallest_pore_um(blur, Noise(1.0, 1e12), 5.0) == math.inf


def test_the_papers_tomogram(papers):
    ct = papers.ct
    assert ct.projections_s == 30 * 3600
    assert ct.open_counts == pytest.approx(1453, rel=0.05)
    assert ct.dark_counts / ct.open_counts == pytest.approx(0.297, rel=0.02)
    assert ct.edge_um == pytest.approx(0.224, abs=0.023)
    assert 0.2 < ct.pore_um < 0.4
    assert ct.sampled_um == 0.5 * SETTINGS.specimen.diameter_um
    assert views_for(0.224, 40.0) == 2 * 561
    assert sampled_diameter_um(views_for(0.224, 40.0), 0.224) == pytest.approx(40.0, rel=1e-3)


def test_the_papers_map(papers):
    sims = papers.sims
    assert sims.time_s == pytest.approx(144, abs=0.5)
    assert sims.eroded_nm == pytest.approx(7.5, rel=0.02)
    for material, channel, wanted in [
        ("LCO", "7Li", 460),
        ("LCO", "59Co", 7.9),
        ("NCA", "27Al", 9.1),
        ("NCA", "58Ni", 6.3),
        ("NCA", "59Co", 1.2),
    ]:
        assert sims.counts[material][channel] == pytest.approx(wanted, rel=0.03)
    pixels = (1e3 / sims.pixel_nm) ** 2
    assert sims.ratio_error == pytest.approx(math.sqrt((1 / 6.31 + 1 / 1.172) / pixels), rel=0.01)


def test_what_faster_protocols_cost(planner, papers):
    half, third, brighter, fewer = (planner.predict(each) for each in faster_protocols(SETTINGS))
    usual = papers.ct
    for each in (half, third, brighter, fewer):
        assert each.ct.time_s < usual.time_s
    # twice the noise for a quarter of the counts, but for the beam that decays by 1 % an hour
    assert half.ct.noise / usual.noise == pytest.approx(math.sqrt(2), rel=0.05)
    assert third.ct.noise / usual.noise == pytest.approx(math.sqrt(3), rel=0.07)
    assert half.ct.sampled_um < third.ct.sampled_um
    assert brighter.ct.edge_um > usual.edge_um
    assert fewer.ct.edge_um > usual.edge_um
    assert brighter.ct.open_counts == pytest.approx(usual.open_counts)
    assert fewer.sims.counts == papers.sims.counts
    assert fewer.sims.eroded_nm == pytest.approx(papers.sims.eroded_nm / 4)


def test_a_probe_widens_with_its_current(planner):
    assert probe_at(SETTINGS, 400.0) == 90.0
    assert probe_at(SETTINGS, 3200.0) == pytest.approx(90.0 * 8 ** (3 / 8))
    widths = [
        planner.blur(replace(paper_protocol(SETTINGS), current_na=c)).edge_width_um() for c in (100, 200, 400, 500)
    ]
    assert widths == sorted(widths)


@pytest.mark.parametrize("hours", [1.0, 20.0])
def test_a_time_is_kept_and_used(planner, hours):
    found = find_protocol(planner, Requirements(hours=hours))
    assert 0.97 * hours < found.ct.time_s / 3600 <= hours
    assert found.ct.dark_counts >= SETTINGS.planning.least_counts
    assert found.ct.sampled_um == 20.0


def test_more_time_shows_more(planner):
    shown = [find_protocol(planner, Requirements(hours=h)).ct for h in (0.5, 30.0)]
    worth = [each.edge_um * each.pore_um for each in shown]
    assert worth == sorted(worth, reverse=True)


def test_a_resolution_is_kept_in_the_shortest_time(planner, papers):
    times = []
    for wanted_nm in (230, 300, 420):
        found = find_protocol(planner, Requirements(resolution_nm=wanted_nm)).ct
        assert 1e3 * found.edge_um <= wanted_nm
        assert 1e3 * found.pore_um <= 1.01 * wanted_nm * papers.ct.pore_um / papers.ct.edge_um
        times.append(found.time_s)
    assert times == sorted(times, reverse=True)


def test_counts_are_brought(planner):
    found = find_protocol(planner, Requirements(counts=2000, resolution_nm=300))
    assert found.ct.open_counts >= 2000
    per_frame = planner.open_counts(replace(found.protocol, scan=full_turn(600, 1.0, found.protocol.scan.binning)))
    assert found.ct.open_counts == pytest.approx(per_frame * found.protocol.scan.exposure_s)


def test_a_map_has_its_counts_within_its_depth(planner):
    found = find_protocol(planner, Requirements(sims_counts=50, map_depth_nm=20)).sims
    assert found.counts["NCA"]["58Ni"] >= 50
    assert found.eroded_nm <= 20
    finer = find_protocol(planner, Requirements(sims_counts=50, map_depth_nm=80)).sims
    assert finer.pixel_nm < found.pixel_nm


@pytest.mark.parametrize(
    ("required", "reason"),
    [
        ({"resolution_nm": 150}, r"finer than the focal spot.*scattering in the target.*ask for that or more"),
        ({"hours": 1, "resolution_nm": 240, "counts": 1000}, r"need \d+ nA .* column gives 0.001 to 500 nA"),
        ({"hours": 5, "counts": 1e6}, r"need .* nA to be bright enough within 5 h; beam: .* and W melts there above"),
        ({"hours": 1e-3}, r"^hours: the moves of .* even without exposure"),
        ({"current_na": 2000}, r"column gives 0.001 to 500 nA$"),
        ({"current_na": 9000}, r"W melts there"),
        ({"sims_counts": 1e5}, r"^sims_counts: .* erode \d+ nm even in 32 x 32 pixels .* may erode 50 nm"),
        ({"hours": 5, "target": "Ag"}, r"^target: needs one of W, Cu, Cr, got 'Ag'"),
    ],
)
def test_what_physics_does_not_give_is_refused(planner, required, reason):
    with pytest.raises(ValueError, match=reason) as refused:
        find_protocol(planner, Requirements(**required))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf])
def test_requirements_are_positive(value):
    with pytest.raises(ValueError, match=r"^hours: needs a positive number"):
        Requirements(hours=value)


def test_the_command(data, command, tmp_path):
    page = tmp_path / "plans" / "protocols.md"
    ended = command("plan", "--hours", "8", "--sims-counts", "20", "--out", page, "--data", data)
    assert (ended.code, ended.err) == (0, "")
    printed = re.search(r"xrm-sims tomography --num (\d+) --step-deg ([\d.]+) --exposure-s ([\d.]+)", ended.out)
    num, step_deg, exposure_s = map(float, printed.groups())
    assert num * step_deg == pytest.approx(360.0)
    assert num * exposure_s < 8 * 3600
    page_text = page.read_text()
    for name in ("the paper's", "half the views", "a third of the exposure", "highest current", "fewer pixels"):
        assert name in ended.out
        assert name in page_text
    assert "(30.0 h)" in page_text
    assert "![" in page_text
    assert page.with_suffix(".png").stat().st_size > 10_000


def test_the_command_refuses(data, command, tmp_path):
    page = tmp_path / "protocols.md"
    ended = command("plan", "--resolution-nm", "100", "--out", page, "--data", data)
    assert ended.code == 1
    assert ended.out == ""
    assert re.fullmatch(r"xrm-sims: resolution: 100 nm are finer than the focal spot.*\n", ended.err)
    assert not page.exists()
