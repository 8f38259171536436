import pytest

from plans import eds_map, se_image


@pytest.mark.parametrize(("source", "mode"), [("electron", "sem"), ("ion", "fib")])
def test_an_se_image(scope, RE, run, is_safe, source, mode):
    RE(se_image(scope, fov_um=48.0, shape=(24, 32), source=source))
    assert run.start["scan_type"] == "se_image"
    assert run.start["pixel_um"] == pytest.approx(1.5)
    frames = run.frames("primary", "se_image")
    assert frames.shape == (1, 24, 32)
    assert frames.mean() > 0
    assert set(run.events("primary")[0]["data"]) == {"instrument_time_s", "se_current_na"}
    assert scope.mode.get() == mode
    assert is_safe()


def test_an_eds_map_has_one_layer_per_element(scope, RE, run, is_safe):
    RE(eds_map(scope, elements=("Ni", "Co", "C"), fov_um=40.0, shape=(8, 8), dwell_ms=100.0))
    assert run.start["elements"] == ["Ni", "Co", "C"]
    frames = run.frames("primary", "eds_counts")
    assert frames.shape == (1, 3, 8, 8)
    assert frames.sum() > 0
    assert is_safe()


@pytest.mark.parametrize(
    ("plan", "arguments", "sentence"),
    [
        (se_image, {"fov_um": 900.0}, "fov_um: reaches 900 um"),
        (se_image, {"fov_um": 300.0, "source": "ion"}, "the field is 200 um"),
        (se_image, {"fov_um": -1.0}, "fov_um: needs a number above 0"),
        (se_image, {"fov_um": 10.0, "dwell_us": float("nan")}, "dwell"),
        (se_image, {"fov_um": 10.0, "source": "light"}, "source: needs one of electron, ion"),
        (se_image, {"fov_um": 10.0, "shape": (1, 10)}, "rows: needs a whole number of at least 2"),
        (se_image, {"fov_um": 10.0, "shape": (10,)}, "shape: needs two numbers"),
        (eds_map, {"fov_um": 10.0, "elements": ()}, "elements: needs chemical symbols"),
        (eds_map, {"fov_um": 10.0, "elements": ("N1",)}, "elements: needs chemical symbols"),
        (eds_map, {"fov_um": 10.0, "elements": ("Ni",), "centre_um": (float("inf"), 0.0)}, "centre_u_um"),
    ],
)
def test_bad_images_are_one_sentence_and_nothing_moves(scope, RE, state, plan, arguments, sentence):
    before = state()
    with pytest.raises(ValueError, match=sentence):
        RE(plan(scope, **arguments))
    assert state() == before
