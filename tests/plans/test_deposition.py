import pytest

from plans import deposit, eds_map, mill, preflight, sims_raster
from xrm_sims.patterns import Raster, Rectangle
from xrm_sims.settings import Settings

SQUARE = Rectangle((8.0, 8.0), 0.4, passes=4)
RATE = Settings().deposition.rate_um3_per_nc


def test_deposition_goes_pass_by_pass(scope, RE, run, twin, is_safe):
    (uid,) = RE(deposit(scope, SQUARE)).run_start_uids
    start = run.start
    assert (start["uid"], start["plan_name"], start["scan_type"]) == (uid, "deposit", "deposition")
    assert (start["pattern"], start["material"], start["rate_um3_per_nc"]) == (SQUARE.as_dict(), "Pt20C80", RATE)
    assert start["current_pa"] == pytest.approx(6.0 * 64.0)
    doses = [event["data"]["fib_dose_nc"] for event in run.events("primary")]
    assert doses == pytest.approx([SQUARE.volume_um3 / RATE * share for share in (0.25, 0.5, 0.75, 1.0)])
    assert twin.truth().surface.deposited_um3 == pytest.approx(SQUARE.volume_um3, rel=0.1)  # cells of 0.4 um
    assert is_safe()


def test_platinum_is_mapped_milled_and_gone(scope, RE, run, twin):
    """SIMS and EDS see the layer, and milling removes it first."""
    field = {"fov_um": 4.0, "shape": (32, 32)}
    RE(sims_raster(scope, **field))
    bare = run.frames("primary", "sector_counts")[0, 0].mean()
    RE(deposit(scope, Rectangle((24.0, 24.0), 0.3, passes=1)))
    run.documents.clear()
    RE(eds_map(scope, elements=("Pt",), dwell_ms=20.0, **field))
    assert run.frames("primary", "eds_counts").mean() > 1.0
    run.documents.clear()
    RE(sims_raster(scope, **field))
    assert run.frames("primary", "sector_counts")[0, 0].mean() < 0.02 * bare
    RE(mill(scope, Rectangle((20.0, 20.0), 1.5, passes=1), current_pa=65000.0))
    run.documents.clear()
    RE(sims_raster(scope, **field))
    assert run.frames("primary", "sector_counts")[0, 0].mean() > 0.2 * bare


@pytest.mark.parametrize("command", ["prepare", "trigger", "checkpoint", "save"])
def test_a_hard_pause_never_deposits_a_pass_twice(scope, RE, run, interrupt, twin, command):
    interrupt(deposit(scope, SQUARE), lambda msg: msg.command == command, nth=4)
    assert twin.fib.get("blanked") is True
    RE.resume()
    assert len(run.events("primary")) == 4
    assert twin.fib.get("dose_nc") == pytest.approx(SQUARE.volume_um3 / RATE)


def test_an_exception_leaves_the_instrument_safe(scope, RE, raises_at, is_safe):
    with pytest.raises(RuntimeError, match="a cable came off"):
        RE(raises_at(deposit(scope, SQUARE), lambda msg: msg.command == "trigger" and msg.obj is scope.fib, nth=2))
    assert is_safe()


def test_a_deposit_is_weighed_before_it_grows(scope, state):
    before = state()
    flight = preflight(scope, deposit, pattern=SQUARE)
    assert flight.ok
    assert flight.estimate.time_s == pytest.approx(SQUARE.volume_um3 / RATE / (6e-3 * 64.0))
    assert (flight.estimate.deposited_nm, flight.estimate.eroded_nm) == (400.0, 0.0)
    assert "grown   400 nm" in str(flight)
    assert state() == before


@pytest.mark.parametrize(
    ("pattern", "arguments", "sentence"),
    [
        (Rectangle((300.0, 5.0), 1.0), {}, "reaches 300 um"),
        (Raster((16, 16), 10.0, 1.0), {}, "deposition needs a Rectangle, Polygon, Annulus or CrossSection, got Raster"),
        (SQUARE, {"current_pa": 65000.0}, r"65000 pA on 64 um\^2 use up the precursor gas"),
        (Rectangle((8.0, 8.0), 0.4, solid_fraction=0.7), {}, "solid_fraction: a deposit is solid"),
        (SQUARE, {"current_pa": 1.0}, "fib_current_pa: 1 pA is outside 1.5 to 65000 pA"),
    ],
)
def test_bad_deposits_are_one_sentence_and_nothing_moves(scope, RE, run, state, pattern, arguments, sentence):
    before = state()
    with pytest.raises(ValueError, match=sentence):
        RE(deposit(scope, pattern, **arguments))
    assert state() == before
    assert run.documents == []
