"""The analysis sections of settings files: which file wins, and what is refused by name."""

import tomllib
from pathlib import Path

import pytest

from xrm_sims.app.session.hardware import session_settings
from xrm_sims.correlate.settings import AnalysisSettings, load_analysis_settings
from xrm_sims.settings import Settings


def test_without_a_file_all_keys_have_their_defaults(tmp_path):
    assert load_analysis_settings(tmp_path) == AnalysisSettings()


def test_instrument_and_analysis_share_the_file_of_the_data_root(tmp_path):
    assert not AnalysisSettings.model_fields.keys() & Settings.model_fields.keys()
    (tmp_path / "settings.toml").write_text("[detector]\nrows = 128\n[defects]\nslit_um = 0.5\n")
    assert session_settings(tmp_path).detector.rows == 128
    assert load_analysis_settings(tmp_path).defects.slit_um == 0.5


def test_a_named_file_wins_key_by_key_and_a_rule_file_over_both(tmp_path):
    (tmp_path / "settings.toml").write_text(
        "[defects]\nslit_um = 0.5\nleast_contrast = 0.2\n[rois]\nleast_edge_um = 1\n"
    )
    (tmp_path / "mine.toml").write_text("[defects]\nslit_um = 0.6\n[drift]\nblur_px = 2\n")
    (tmp_path / "rule.toml").write_text("least_diameter_um = 0.7\n")
    read = load_analysis_settings(tmp_path, tmp_path / "mine.toml")
    assert (read.defects.slit_um, read.defects.least_contrast, read.drift.blur_px) == (0.6, 0.2, 2.0)
    assert read.rois.least_edge_um == 1
    ruled = load_analysis_settings(tmp_path, tmp_path / "mine.toml", tmp_path / "rule.toml")
    assert (ruled.rois.least_diameter_um, ruled.rois.least_edge_um, ruled.defects) == (0.7, 3.0, read.defects)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[segmentation]\nneck = 0.3\n", "segmentation.neck: unknown key; the keys are least_voxel_um, denoise_um"),
        ("[segments]\nneck_um = 0.3\n", "segments is no section; the sections are segmentation, defects, rois"),
        ("[segmentation]\nneck_um = -1\n", "segmentation.neck_um: Input should be greater than 0"),
        ("[segmentation]\nneck_um = inf\n", "segmentation.neck_um: Input should be a finite number"),
        ("[rois]\ndepth_um = [6, 1]\n", "rois.*the lesser first"),
        ('[phases]\nlco_start = {"7Li" = 1.0}\n', "phases.lco_start: needs a positive share of each of 7Li, 27Al"),
        ("segmentation = 3\n", "segmentation: Input should be a valid"),
    ],
)
@pytest.mark.parametrize("name", ["settings.toml", "mine.toml"])
def test_what_is_wrong_is_said_with_the_file_and_the_key(tmp_path, text, message, name):
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(ValueError, match=f"settings file .*{name}: {message}") as refused:
        load_analysis_settings(tmp_path, path)
    assert "\n" not in str(refused.value)
    if name == "settings.toml":
        with pytest.raises(ValueError, match=f"settings file .*{name}: {message}"):
            session_settings(tmp_path)


def test_a_named_file_does_not_change_the_instrument(tmp_path):
    (tmp_path / "mine.toml").write_text("[detector]\nrows = 128\n")
    with pytest.raises(ValueError, match="detector describes the instrument; write it into settings"):
        load_analysis_settings(tmp_path, tmp_path / "mine.toml")
    with pytest.raises(ValueError, match=r"settings file .*none.toml: cannot be read"):
        load_analysis_settings(tmp_path, tmp_path / "none.toml")


def test_the_documentation_lists_every_key_with_its_default():
    page = Path(__file__).parents[2] / "docs" / "settings.md"
    rows = [line.split("|")[1:-1] for line in page.read_text().splitlines() if line.startswith("| `[")]
    listed: dict[str, dict[str, object]] = {}
    for section, key, _unit, default, _meaning in (row for row in rows if len(row) == 5):
        name = section.strip(" `[]")
        listed.setdefault(name, {})[key.strip(" `")] = tomllib.loads(f"value = {default.strip(' `')}")["value"]
    assert listed == AnalysisSettings().model_dump(mode="json")
