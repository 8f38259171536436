"""The console in its own process, with commands on its standard input."""

import os
import re
import subprocess
import sys

import pytest
from bluesky.simulators import summarize_plan
from IPython.core.interactiveshell import InteractiveShell

from plans import tomography
from tests.app.conftest import is_safe, journal_starts
from xrm_sims.app.console.ipython import namespace, prompt_config
from xrm_sims.app.console.live_picture import LivePicture
from xrm_sims.app.console.prompt import set_up
from xrm_sims.app.session.session import open_session

PNG = b"\x89PNG"

TYPED = """
RE(tomography(scope, num=3, step_deg=120, binning=8, num_dark=1, num_flat=1, reference_every=0))
db[-1].start["scan_type"], len(cat), db[-1].stop["exit_status"]
RE(tomography(scope, num=-3))
RE(bps.mv(target.x_um, 0))
RE(bp.scan([scope.chamber_pressure_pa], rotation.angle_deg, 0, 10, 2))
raise ValueError("my own")
help(tomography)
np.pi, recon.sart.__name__, sims_raster.__name__
tomography(scope)
RE(tomography(num=3))
RE(tomography)
RE(mill(scope, Rectangle((5, 5))))
RE(count(beam))
RE.resume()
target.x_um = 0
plot("nonsense")
specimen("moon_rock")
preflight(scope, correlative)
specimen("cathode_pillar:2", name="Kokam B")
RE(count([beam]))
last()
plot()
park()
abort_all()
status()
RE(mv(mode, "sem"))
RE(bps.mv(scope.beam.blanked, False))
exit
"""


def test_a_session_at_the_console(data):
    ended = subprocess.run(
        [sys.executable, "-m", "xrm_sims.app.cli.main", "console", "--data", str(data)],
        input=TYPED,
        capture_output=True,
        text=True,
        timeout=200,
    )
    out = ended.stdout
    assert ended.returncode == 0
    assert f"data in {data}" in out
    assert "cathode_pillar in xray mode; beams blanked" in out
    uid = journal_starts(data)[0]["uid"]
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
    for told in (
        "tomography: a plan that has not run; RE(tomography(...)) runs it",
        "tomography() missing 1 required positional argument: 'scope'; help(tomography) shows an example",
        "RE needs a plan called with its arguments",
        "Rectangle.__init__() missing 1 required positional argument: 'depth_um'; help(Rectangle) shows an example",
        "The input argument must be either as a list or a tuple of Readable objects",
        "You can only resume for the paused state",
        "Do not use setattr with components",
        "run 'nonsense' is not in the catalogue",
        "there is no 'moon_rock'; known are cathode_pillar",
        "cathode_pillar:2, called Kokam B",
        "Kokam B, success",
        "nothing was on and the target was parked",
        "held by ",
        "1 of 1 points, success",
    ):
        assert told in out, told
    assert re.search(r"correlative: ready\n.*tomography .* h .*nC on target", out)
    (start,) = [start for start in journal_starts(data) if start["plan_name"] == "count"]
    assert start["sample_name"] == "Kokam B"
    assert (data / "pictures" / f"{start['uid'][:8]}.png").read_bytes().startswith(PNG)
    assert (data / "pictures" / "live.png").read_bytes().startswith(PNG)
    assert f"the electron beam is still on; xrm-sims recover --data {data} blanks it" in out
    assert not is_safe(data)


@pytest.fixture(scope="module")
def names(tmp_path_factory):
    with open_session(tmp_path_factory.mktemp("console")) as session:
        yield namespace(session)


@pytest.fixture
def complete(names):
    shell = InteractiveShell(config=prompt_config())
    shell.user_ns.update(names)
    set_up(shell, names)
    return lambda typed: shell.Completer.complete(line_buffer=typed, cursor_pos=len(typed))[1]


@pytest.mark.parametrize(
    ("typed", "offered", "not_offered"),
    [
        ("scope.", ".widepix", ".kind"),
        ("scope.stage.", ".z_um", ".walk_signals"),
        ("target.x_um.", ".limits", ".destroy"),
        ("tomography(scope, nu", "num_flat=", "md="),
        ("abo", "abort_all", "bps"),
    ],
)
def test_tab(complete, typed, offered, not_offered):
    words = complete(typed)
    assert offered in words
    assert not_offered not in words


def test_a_tab_calls_nothing(names, complete):
    called = []
    names["shutter"] = lambda: called.append("open")
    complete("shutter().")
    assert called == []


@pytest.mark.parametrize(
    "plan",
    [
        "tomography(scope, num=2)",
        "sims_raster(scope, fov_um=10.0)",
        "mill(scope, Rectangle((5.0, 5.0), 0.1))",
        "deposit(scope, Rectangle((5.0, 5.0), 0.1))",
        "se_image(scope, fov_um=10.0)",
        "eds_map(scope, elements=('Ni',), fov_um=10.0)",
    ],
)
def test_every_plan_can_be_summarised_and_has_an_example(names, plan, capsys):
    summarize_plan(eval(plan, dict(names)))
    assert "Open Run" in capsys.readouterr().out
    assert ">>> RE(" in names[plan.partition("(")[0]].__doc__


def test_the_console_starts_without_what_it_does_not_need():
    """Tiled's server, databroker and others take seconds to import; they are imported at the first use of data."""
    heavy = "{'tiled.server.app', 'databroker', 'dask.array', 'pandas', 'skimage'}"
    code = (
        "import sys, xrm_sims.app.console.ipython as c, xrm_sims.app.console.prompt\n"
        "import tempfile, xrm_sims.app.console.live_picture\n"
        "with c.open_session(tempfile.mkdtemp()) as session: c.namespace(session); c.banner(session)\n"
        f"print(sorted({heavy} & set(sys.modules)))"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    assert ended.stdout == "[]\n"


def short_tomography(session):
    return tomography(session.scope, num=3, step_deg=120, binning=8, num_dark=1, num_flat=2, reference_every=0)


def test_what_re_md_says_goes_into_every_run_and_the_live_picture_shows_its_last_frame(data, tmp_path):
    picture = LivePicture(tmp_path / "live.png", every_s=1.0)
    with open_session(data, operator="Ada") as session:
        session.run(short_tomography(session), picture)
        session.RE.md["sample_name"] = "Kokam cathode"
        session.run(short_tomography(session))
    first, second = journal_starts(data)
    assert (first["operator"], first["sample_name"]) == ("Ada", "cathode_pillar")
    assert (second["operator"], second["sample_name"]) == ("Ada", "Kokam cathode")
    picture.finish()
    assert (tmp_path / "live.png").read_bytes().startswith(PNG)
    assert picture._frame.datums[-1]["indices"] == {"start": 3, "stop": 4}  # of the four flats
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["live.png"]
