import numpy as np
import pytest
import xarray
from IPython.core.formatters import DisplayFormatter

from xrm_sims.correlate.figures.picture import picture

UM = {"units": "um"}


def _array(name, dims, shape, **coords):
    axes = {dim: (dim, np.arange(n) * 0.5, UM) for dim, n in zip(dims, shape, strict=True)}
    values = np.random.default_rng(3).poisson(5.0, shape)
    return xarray.DataArray(values, axes | coords, dims, name, {"units": "counts", "uid": "abcdefghij"})


ISOTOPES = ("isotope", ["7Li", "59Co"])
MAPS = _array("sims", ("frame", "isotope", "v", "u"), (3, 2, 8, 10), isotope=ISOTOPES)
VIEWS = xarray.DataArray(
    np.ones((7, 4, 20)),
    {"angle": np.arange(7) * 50.0, "z": ("row", np.arange(4.0), UM), "y": ("column", np.arange(20.0), UM)},
    ("angle", "row", "column"),
    "projections",
)


@pytest.mark.parametrize(
    ("array", "titles"),
    [
        (_array("volume", ("z", "y", "x"), (6, 8, 10)), ["z = 1.50 µm", "y = 2.00 µm", "x = 2.50 µm"]),
        (VIEWS, ["angle 0.0°", "angle 100.0°", "angle 200.0°"]),
        (MAPS, ["7Li", "59Co"]),
        (MAPS.sel(isotope="7Li"), [""]),
        (_array("se_image", ("v", "u"), (8, 10)), [""]),
    ],
)
def test_every_panel_is_to_scale_and_has_its_bar(array, titles):
    figure = picture(array)
    panels = [axes for axes in figure.axes if axes.get_images()]
    assert [axes.get_title() for axes in panels] == titles
    for axes in panels:
        assert any("µm" in text.get_text() for text in axes.texts)
    assert DisplayFormatter().format(figure)[0]["image/png"].startswith(b"\x89PNG"), "a notebook shows it"


def test_maps_are_drawn_as_the_sum_of_their_frames_over_their_field():
    image = picture(MAPS.sel(isotope="59Co")).axes[0].get_images()[0]
    np.testing.assert_array_equal(image.get_array(), MAPS.sel(isotope="59Co").sum("frame"))
    assert image.get_extent() == [-0.25, 4.75, -0.25, 3.75]
    assert image.origin == "lower"


def test_what_has_no_scale_is_refused():
    with pytest.raises(ValueError, match="no coordinate in um along u"):
        picture(MAPS.sel(isotope="7Li").drop_vars("u"))
    with pytest.raises(ValueError, match="has the axes time, isotope"):
        picture(MAPS.drop_vars("frame").rename(frame="time"))
