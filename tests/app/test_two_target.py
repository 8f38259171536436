"""two-target on the twin: both scans, the map and the table that are kept, and what is refused."""

import csv
import re

import numpy as np
import pytest

import plans
from tests.app.conftest import journal_starts, make_data_root, own_lines
from xrm_sims.app.session.session import open_session
from xrm_sims.correlate.phases.phases import Phase
from xrm_sims.data import results
from xrm_sims.data.catalog import open_results
from xrm_sims.specimen import CathodePillar
from xrm_sims.specimen.materials import Material

SEED = 3
SCAN = {"num": 40, "step_deg": 9.0, "binning": 8, "num_flat": 4, "flat_every": 0, "reference_every": 20}
SHORT = {"num": 3, "step_deg": 120, "binning": 8, "num_dark": 1, "num_flat": 1}
IS = {Material.LCO: Phase.LCO, Material.NCA: Phase.NCA, Material.NCA_BOUNDARY: Phase.NCA}


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """A data root and the uids in it: both scans of an experiment, scans that are no good for it, an image."""
    data = make_data_root(tmp_path_factory.mktemp("targets") / "data")
    with open_session(data, seed=SEED) as session:
        scope = session.scope
        uids = dict(zip(("W", "Cu"), session.run(plans.two_target_tomography(scope, **SCAN)), strict=True))
        uids |= {f"short {t}": session.run(plans.tomography(scope, **SHORT, target=t)) for t in ("W", "Cr")}
        with pytest.raises(RuntimeError, match="a cable came off"):
            session.run(plans.tomography(scope, **SHORT, target="Cu", order="interleaved", enough=_fail))
        uids["broken Cu"] = journal_starts(data)[-1]["uid"]
        uids["image"] = session.run(plans.se_image(scope, fov_um=50.0, shape=(16, 16)))
    return data, uids


def _fail():
    raise RuntimeError("a cable came off")


def test_particles_are_named_as_the_specimen_has_them(measured, command, tmp_path):
    data, uids = measured
    ended = command("two-target", uids["Cu"][:8], uids["W"][:8], "--out", tmp_path, "--data", data)
    assert ended.code == 0, ended.err
    assert re.search(r"registration: shift .* known to \d+ nm", ended.out)
    assert (tmp_path / "two_target.png").read_bytes().startswith(b"\x89PNG\r\n")
    kept = results.load(data, uids["W"], "two_target")
    assert kept.metadata["parent_uids"] == [uids["Cu"]]
    table = kept.tables["table"]
    classes, particles = kept.arrays["classes"], kept.arrays["particles"]
    assert set(np.unique(classes)) == {Phase.PORE, Phase.LCO, Phase.NCA}
    assert set(np.unique(particles)) == {0, *table["particle"]}
    specimen = CathodePillar(SEED)
    ball = np.random.default_rng(0).normal(0, 0.5, (200, 3))
    right = []
    for row in table[table["volume_um3"] > 30].itertuples():
        codes = specimen.material_at(np.array([row.x_um, row.y_um, row.z_um]) + ball)
        there = [IS[Material(code)].name for code in codes if Material(code) in IS]
        right.append(there.count(row.phase) > 0.5 * len(there))
    assert len(right) >= 10
    assert np.mean(right) >= 0.9
    with open(tmp_path / "particles.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["phase"] for row in rows] == table["phase"].tolist()
    np.testing.assert_allclose([float(row["ratio"]) for row in rows], table["ratio"], atol=6e-5)


@pytest.mark.parametrize(
    ("runs", "told"),
    [
        (("W", "W"), "was given twice"),
        (("W", "short W"), "both runs were taken with a W target; two different ones are needed"),
        (("W", "short Cr"), "W and Cr targets, which show no contrast between LCO and NCA; measure one with Cu"),
        (("W", "image"), "is a se_image; the uid of a tomography is needed here"),
        (("W", "deadbeef"), "run 'deadbeef'"),
        (("short W", "broken Cu"), r"has 1 of 3 views and no volume; xrm-sims resume \w{8} measures the rest"),
    ],
)
def test_what_is_refused(measured, command, runs, told):
    data, uids = measured
    refused(data, command, [uids.get(run, run) for run in runs], told)


@pytest.mark.parametrize(
    ("other", "told"),
    [
        (
            {"sample": "cathode_pillar:2"},
            "shows cathode_pillar:2, and the other cathode_pillar; two runs of one specimen",
        ),
        ({"seed": 2}, "of the instrument's clock, and the other ended at .*: another specimen was mounted"),
    ],
)
def test_runs_of_two_specimens_are_refused(measured, command, other, told):
    data, uids = measured
    with open_session(data, fresh=True, **other) as session:
        uid = session.run(plans.tomography(session.scope, **SHORT, target="Cu"))
    refused(data, command, [uids["W"], uid], told)


def refused(data, command, runs, told):
    """One sentence, and a result that is there stays as it is."""

    def kept():
        return [run for run in open_results(data) if "two_target" in open_results(data)[run]]

    before = kept()
    ended = command("two-target", *runs, "--data", data)
    assert ended.code == 1
    (line,) = own_lines(ended.err)
    assert re.search(told, line), line
    assert kept() == before
