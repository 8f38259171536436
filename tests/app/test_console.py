"""The console as a person meets it, commands piped in."""

import subprocess
import sys

from tests.app.conftest import is_safe, last_journal

TYPED = """
RE(tomography(scope, num=3, step_deg=120, binning=8, num_dark=1, num_flat=1, reference_every=0))
db[-1].start["scan_type"], len(cat), db[-1].stop["exit_status"]
RE(tomography(scope, num=-3))
RE(bps.mv(target.x_um, 0))
RE(bp.scan([scope.chamber_pressure_pa], rotation.angle_deg, 0, 10, 2))
raise ValueError("my own")
help(tomography)
np.pi, recon.sart.__name__, sims_raster.__name__
RE(bps.mv(scope.beam.blanked, False))
exit
"""


def test_a_session_at_the_console(data):
    ended = subprocess.run(
        [sys.executable, "-m", "xrm_sims.app.cli", "console", "--data", str(data)],
        input=TYPED,
        capture_output=True,
        text=True,
    )
    out = ended.stdout
    assert ended.returncode == 0
    assert f"data in {data}" in out
    assert "cathode_pillar in xray mode; beams blanked" in out
    uid = last_journal(data)["start"][0]["uid"]
    assert uid in out  # what RE returns
    assert "Persistent Unique Scan ID" in out  # bluesky's commentary
    assert "generator scan" in out
    assert "3/3" in ended.stderr  # progress
    assert "('tomography', 1, 'success')" in out
    assert "num: needs a whole number of at least 1, got -3" in out
    assert "move the target back along x first" in out
    assert "Cone-beam tomography" in out
    assert "'sart', 'sims_raster'" in out
    assert out.count("Traceback") == 1  # of the user's own error
    assert f"the electron beam is still on; xrm-sims recover --data {data} blanks it" in out
    assert not is_safe(data)
