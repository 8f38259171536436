"""The report of a small experiment on the twin: its content, that the file is self-contained, and refusals."""

import base64
import io
import re
import shutil
from html.parser import HTMLParser
from types import SimpleNamespace
from urllib.parse import unquote

import numpy as np
import pytest
from matplotlib.image import imread

import plans
from plans import Aim, Correlative
from tests.app.browser import Browser
from tests.app.conftest import make_data_root, own_lines
from tests.app.planted import SHAPE, VOXEL_UM, planted
from tests.programs import installed
from xrm_sims.app.correlative.findings import Findings
from xrm_sims.app.correlative.transform_chain import keep_chain, links_of
from xrm_sims.app.correlative.workflow import Analysis
from xrm_sims.app.maps.phases import load_phases, make_phases
from xrm_sims.app.maps.sims_maps import make_maps
from xrm_sims.app.report.holdings import open_holdings
from xrm_sims.app.session.session import open_session
from xrm_sims.app.tomography.tomogram import Tomogram, keep
from xrm_sims.correlate.registration.active_material import chain, pixel_to_scan
from xrm_sims.correlate.registration.register import Registration
from xrm_sims.data import find_run, results
from xrm_sims.data.catalog import disconnect
from xrm_sims.geometry import ConeGeometry
from xrm_sims.patterns import Raster, Rectangle
from xrm_sims.settings import Settings

SAMPLE, OPERATOR = "<script>alert('pillar')</script> & 7", 'Ada "<b>" & Bob'
RASTER = Raster((24, 24), 9.0, 0.5, (1.0, 0.5))
VOID = {"meta", "img", "input", "link", "br", "hr"}


class Page(HTMLParser):
    """A parsed page: its elements with attributes in order, and the text inside each kind of element."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.texts, self._within, self.unbalanced = [], {}, [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._within.append(tag)

    def handle_endtag(self, tag):
        if not self._within or self._within.pop() != tag:
            self.unbalanced.append(tag)

    def handle_data(self, data):
        for tag in dict.fromkeys(self._within):
            self.texts.setdefault(tag, []).append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]

    def said(self, tag="body"):
        return re.sub(r"[ \n]+", " ", "".join(self.texts.get(tag, [])))  # as a browser shows it


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """A data root with three experiments.

    One is complete: tomography with volume, ROIs and drift; images; milling; registered map. One is sparse: the file
    of its volume is deleted, its map is not registered. One is a single tomography.
    """
    data = make_data_root(tmp_path_factory.mktemp("report") / "data")
    md = {"sample_name": SAMPLE, "operator": OPERATOR, "experiment_uid": "e0e0e0e0-whole"}
    short = {"num": 3, "step_deg": 120, "binning": 8, "num_dark": 1, "num_flat": 1}
    field = {"fov_um": RASTER.fov_um, "centre_um": RASTER.centre_um}
    with open_session(data, seed=1) as session:
        scope, run = session.scope, session.run
        alone = run(plans.tomography(scope, **short))
        sparse = {
            "tomography": run(plans.tomography(scope, **short, md={"experiment_uid": "sparse"})),
            "sims": run(plans.sims_raster(scope, shape=(8, 8), fov_um=9.0, md={"experiment_uid": "sparse"})),
        }
        ct = run(plans.tomography(scope, **short, md=md))
        before = run(plans.se_image(scope, fov_um=50.0, shape=(16, 16), md=md | {"parent_uids": [ct]}))
        box = Rectangle((11.0, 11.0), 0.05, RASTER.centre_um)
        milling = run(plans.mill(scope, box, md=md | {"parent_uids": [ct, before]}))
        after = run(plans.se_image(scope, shape=(16, 16), md=md, **field | {"fov_um": 12.0}))
        sims = run(plans.sims_raster(scope, shape=RASTER.shape, dwell_ms=0.5, md=md, **field))
        built = find_run(ct, data).metadata["start"]["geometry"]
        shifts = np.array([[0.0, 0.1], [0.2, -0.1], [0.1, 0.0]])
        geometry = ConeGeometry.from_dict(
            {**built, "volume_shape": SHAPE, "voxel_um": VOXEL_UM, "view_shifts_px": shifts}
        )
        tomogram = Tomogram(ct, planted(), geometry, np.array([0.02, 0.01]), np.array([0.0, 90.0, 180.0]), None)
        keep(tomogram, data, {})
        analysis = Analysis(data, session.settings)
        segmentation, rois = analysis.find(tomogram)
        instrument = session.settings
    affine = np.array([[1.0, 0.01, 0.4], [-0.01, 1.0, 0.2]])
    placed = Registration(chain(affine, pixel_to_scan(RASTER)), affine, 1.1, 0.03, 81.0, 57.0, 0.91, 0.4, 0.6, 1.0)
    about = placed.as_dict() | {"defect": rois[0].defect.as_dict()}
    results.save(data, sims, "registration", metadata=about, parents=[ct, milling])
    chemistry = make_phases(make_maps(sims, data, instrument), placed, segmentation, data, instrument, [ct, milling])
    uids = {"tomography": ct, "se_before": before, "milling": milling, "se_after": after, "sims": sims}
    found = Findings(tomogram, segmentation, rois, rois[0])
    outline = {"scan_to_specimen": affine.tolist(), "sigma_um": 0.2, "scatter_um": 0.1, "seen": 0.9}
    results.save(data, before, "alignment", metadata=outline)
    plane = placed.as_dict() | {"surface_z_um": 1.1, "surface_sigma_um": 0.04, "wanted_z_um": 1.0}
    results.save(data, after, "plane", metadata=plane)
    aim = Aim(Rectangle((9.0, 9.0), 1.0), 9.0, about=found)
    result = Correlative(md["experiment_uid"], uids, tomogram, aim, placed)
    keep_chain(result, data, instrument)
    links = list(links_of(result, data, instrument))
    nowhere = {"volume": np.ones((4, 8, 8), np.float32)}
    results.save(data, sparse["tomography"], "volume", nowhere, {"voxel_um": 0.2})
    shutil.rmtree(data / "tiled" / "results" / sparse["tomography"])
    return SimpleNamespace(
        data=data,
        uids=uids,
        alone=alone,
        sparse=sparse,
        rois=rois,
        experiment=md["experiment_uid"],
        placed=placed,
        chemistry=chemistry,
        links=links,
    )


@pytest.fixture(scope="module")
def report(measured, tmp_path_factory):
    """The file that the command writes."""
    from typer.testing import CliRunner

    from xrm_sims.app.cli.main import app

    path = tmp_path_factory.mktemp("page") / "report.html"
    ended = CliRunner().invoke(app, ["report", "latest", "--out", str(path), "--data", str(measured.data)])
    assert ended.exit_code == 0, ended.output
    assert ended.output.strip().endswith(str(path))
    return path


@pytest.fixture(scope="module")
def page(report):
    return Page(report.read_text())


def test_it_tells_the_whole_experiment(measured, page):
    said = page.said()
    for uid in (measured.experiment, *measured.uids.values()):
        assert uid in said
    assert measured.alone not in said
    assert f"{len(measured.uids)}, from " in said
    for words in (
        "57 nm",
        "81 nm",
        "z = 1.100 ± 0.030 µm",
        "mC of electrons on the target",
        "nC of ions on the specimen",
    ):
        assert words in said
    assert "3 pores and 1 cracks, 3 within the rule; ROI 1 was chosen for milling." in said
    for roi in measured.rois:
        assert ", ".join(f"{coordinate:.2f}" for coordinate in roi.defect.centre_um) in said.replace(
            "\N{NO-BREAK SPACE}", " "
        )
    headings = page.said("h2")
    for title in ("Timeline", "Regions of interest", "Drift", "Registration", "Morphology", "SIMS map"):
        assert title in headings
    for title in ("Volume of run", "Phases", "Settings", "Software", "Runs and results"):
        assert title in headings
    assert "Missing" not in headings
    assert "surface.pitch_um" in said  # what this data root has otherwise than the default
    assert "xrm-sims" in page.said("table")


def test_the_chain_leads_from_a_voxel_to_a_pixel(measured, page):
    first, stage, outline, plane, last = measured.links
    assert [link.to for link in measured.links] == ["specimen", "stage", "specimen", "specimen", "specimen"]
    assert [link.sigma_nm for link in (plane, last)] == [81.0, 81.0]
    turned_um = np.radians(Settings().mode_change.rotation_deg) * np.hypot(*measured.rois[0].defect.centre_um[:2])
    assert outline.sigma_nm == pytest.approx(1e3 * np.hypot(0.2, turned_um))
    assert stage.sigma_nm == 1e3 * max(Settings().mode_change.offset_um)
    assert stage.beside["stage_tilt_deg"] == 0.0
    middle = (np.array(SHAPE[::-1]) - 1) / 2
    to_specimen = np.array(first.matrix)
    np.testing.assert_allclose(to_specimen @ [*middle, 1.0], 0.0, atol=1e-9)
    np.testing.assert_allclose(to_specimen @ [*(middle + np.eye(3)[0]), 1.0], [VOXEL_UM, 0, 0], atol=1e-9)
    np.testing.assert_array_equal(last.matrix, measured.placed.sims_to_specimen)
    kept = results.load(measured.data, measured.uids["sims"], "chain").metadata["links"]
    assert [link["run"] for link in kept] == [link.run for link in measured.links]
    told = page.said("table")
    assert "image of the plane" in told
    assert "81 nm" in told


def test_it_needs_nothing_else(page, report):
    assert not page.unbalanced
    assert len(page.all("script")) == 1
    assert not any(page.all(tag) for tag in ("link", "iframe", "object", "embed", "form", "base"))
    assert "url(" not in report.read_text()
    assert "@import" not in report.read_text()
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    for tag, attributes in page.elements:
        assert not {"srcset", "data", "action", "poster", "style"} & set(attributes)
        assert not any(name.startswith("on") for name in attributes)
        if "src" in attributes:
            assert tag == "img"
            assert attributes["src"].startswith(("data:image/png;base64,", "data:image/jpeg;base64,"))
        if "href" in attributes:
            assert attributes["href"].startswith("#")
            assert unquote(attributes["href"][1:]) in ids
    assert report.stat().st_size < 20e6


def test_every_image_can_be_seen_and_is_described(page):
    images = page.all("img")
    assert len(images) == SHAPE[0] + 6  # slices; overview, drift, registration, overlay, counts, phases
    for image in images:
        kind, _, text = image["src"].partition(";base64,")
        pixels = imread(io.BytesIO(base64.b64decode(text)), format=kind.rpartition("/")[2])
        assert min(pixels.shape[:2]) > 50
        assert len(image["alt"]) > 10
    assert len({image["alt"] for image in images}) == len(images)
    assert all(drawing.keys() & {"aria-label", "aria-hidden"} for drawing in page.all("svg"))
    assert len(page.all("figcaption")) == len(page.all("figure")) == 7
    assert {head["scope"] for head in page.all("th")} == {"col", "row"}
    assert page.elements[0] == ("html", {"lang": "en"})
    assert len(page.all("h1")) == 1


def test_rois_and_the_field_are_marked_where_they_are(measured, page):
    rings = {(float(ring["cx"]), float(ring["cy"])) for ring in page.all("circle")}
    expected = {(round(r.defect.centre_um[0], 3), round(-r.defect.centre_um[1], 3)) for r in measured.rois}
    assert rings == expected
    groups = [group for group in page.all("g") if "data-first" in group]
    (chosen,) = [group for group in groups if group.get("class") == "chosen"]
    middle = round(measured.rois[0].defect.centre_um[2] / VOXEL_UM + (SHAPE[0] - 1) / 2)
    assert int(chosen["data-first"]) <= middle <= int(chosen["data-last"])
    (seen,) = [image for image in page.all("img") if image["alt"].startswith("slice") and "hidden" not in image]
    assert seen["alt"].startswith(f"slice {middle + 1} of {SHAPE[0]}, z = ")
    (polygon,) = page.all("polygon")
    corners = np.array([corner.split(",") for corner in polygon["points"].split()], dtype=float)
    sides_um = np.linalg.norm(corners - np.roll(corners, 1, axis=0), axis=1)
    np.testing.assert_allclose(
        sides_um, RASTER.fov_um, rtol=1e-3
    )  # the affine turns by 0.6 degrees and stretches by 5e-5
    middle_um = measured.placed.scan_to_specimen @ (*RASTER.centre_um, 1.0)
    np.testing.assert_allclose(corners.mean(axis=0) * (1, -1), middle_um, atol=2e-3)


def test_phases_are_read_back_as_they_were_told(measured, page):
    """Every stored number is read back unchanged; the volume is synthetic, so the particles have no meaning."""
    told, kept = measured.chemistry, load_phases(measured.uids["sims"], measured.data)
    for name in ("probabilities", "nca_share", "particle_labels"):
        np.testing.assert_array_equal(getattr(kept, name), getattr(told, name))
    assert kept.particles == told.particles
    assert (kept.unseen, len(kept.profiles)) == (told.unseen, len(told.profiles))
    np.testing.assert_equal([vars(row) for row in kept.statistics], [vars(row) for row in told.statistics])
    np.testing.assert_equal(kept.binder.as_dict(), told.binder.as_dict())
    about = results.load(measured.data, measured.uids["sims"], "phases").metadata
    assert about["parent_uids"] == [measured.uids["tomography"], measured.uids["milling"]]
    said = page.said("table")
    for particle in told.particles:
        assert f"{particle.nickel} ({particle.nickel_low:.0f} to {particle.nickel_high:.0f})" in said


def test_names_are_text_and_nothing_more(page, report):
    assert SAMPLE in page.said("h1")
    assert SAMPLE in page.said("title")
    assert OPERATOR in page.said("dd")
    assert "<script>alert" not in report.read_text()
    assert page.said("pre").count("alert") == 5  # in each run's start document


def test_an_experiment_is_known_by_its_uid_and_by_any_of_its_runs(measured):
    for word in ("e0e0e0e0-whole", "e0e0e", measured.uids["milling"][:8], "latest"):
        held = open_holdings(word, measured.data)
        assert (held.uid, [run.uid for run in held.runs]) == (measured.experiment, list(measured.uids.values()))


def test_what_is_missing_is_said(measured, command, tmp_path):
    """A deleted volume and an unregistered map are named; the rest is shown."""
    ended = command("report", "sparse", "--out", tmp_path / "sparse.html", "--data", measured.data)
    assert ended.code == 0, ended.err
    page = Page((tmp_path / "sparse.html").read_text())
    assert f"volume of {measured.sparse['tomography'][:8]}: cannot be shown (" in page.said("aside")
    assert f"Run {measured.sparse['sims'][:8]} has no registration yet." in page.said("aside")
    assert f"SIMS map {measured.sparse['sims'][:8]}" in page.said("h2")
    assert "Regions of interest" not in page.said("h2")


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["deadbeef"], "run 'deadbeef' is not in the catalogue .*; latest is "),
        (["{alone}"], "has no results, maps or images to show; begin with xrm-sims reconstruct"),
        (["latest", "--out", "{folder}"], "is a folder; name a file"),
        (["latest", "--out", "{folder}/taken.html"], "already exists; choose another name or add --overwrite"),
    ],
)
def test_what_is_refused(measured, command, tmp_path, args, told):
    (tmp_path / "taken.html").write_text("mine")
    words = [word.format(alone=measured.alone[:8], folder=tmp_path) for word in args]
    ended = command("report", *words, "--data", measured.data)
    assert ended.code == 1
    (line,) = own_lines(ended.err)
    assert re.search(told, line), line
    assert [path.name for path in tmp_path.iterdir()] == ["taken.html"]
    assert (tmp_path / "taken.html").read_text() == "mine"


def test_an_empty_root_is_refused(measured, data, command):
    ended = command("report", "latest", "--data", data)
    assert ended.code == 1
    assert "has no runs in its catalogue; measure something first" in ended.err
    disconnect(measured.data)  # a second catalogue in one process takes its key from the first


def test_a_browser_shows_it_without_complaint(report, tmp_path):
    browser = Browser(installed("chromium", "chromium", "chromium-browser", "google-chrome"), tmp_path / "profile")
    try:
        browser.open(report)
        assert browser.evaluate("[...document.images].every(image => image.complete && image.naturalWidth > 50)")
        shown = "[...document.querySelectorAll('.stack img')].filter(i => i.checkVisibility()).map(i => i.alt)"
        slide = "const s = document.querySelector('.steer input'); s.value = 9; s.dispatchEvent(new Event('input'));"
        browser.evaluate(f"{{ {slide} }}")
        (alt,) = browser.evaluate(shown)
        assert alt.startswith("slice 10 of 64, z = ")
        assert browser.evaluate("document.querySelector('.steer output').value") == alt
        assert browser.evaluate("document.querySelectorAll('g[data-first]:not([hidden])').length") == 0  # none so deep
        for width in (1280, 400):
            browser.screenshot(tmp_path / f"{width}.png", width)
            assert imread(tmp_path / f"{width}.png").std() > 0.05
            assert browser.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), width
        assert browser.complaints() == []
        assert all(url.startswith(("file:", "data:")) for url in browser.requests())
    finally:
        browser.close()
