"""A data root with a short tomogram of the twin, a raster and an SE image, and a small volume with its results."""

from types import SimpleNamespace

import h5py
import numpy as np
import pytest

import plans
from benchmarks.recon_phantom import exact_projections
from tests.app.conftest import command, make_data_root  # noqa: F401 (a fixture)
from xrm_sims.app.session.session import open_session
from xrm_sims.data import documents, find_run, open_results, results
from xrm_sims.data.frames import resource_path
from xrm_sims.data.layout import Layout

VOLUME_SHAPE = (20, 260, 24)
VOXEL_UM = 0.4


@pytest.fixture(scope="package")
def measured(tmp_path_factory):
    data = make_data_root(tmp_path_factory.mktemp("exchange") / "data")
    with open_session(data, seed=1) as session:
        scope, md = session.scope, {"licence": "CC-BY-4.0", "sample_name": "cathode 7"}
        tomogram = session.run(
            plans.tomography(scope, num=9, step_deg=40, binning=8, num_dark=2, num_flat=2, flat_every=4, md=md)
        )
        raster = session.run(plans.sims_raster(scope, shape=(16, 16), fov_um=11.8, frames=2, md=md))
        interrupted = session.run(plans.sims_raster(scope, shape=(8, 8), fov_um=11.8, frames=3, md=md))
        start = find_run(interrupted, data).metadata["start"]
        resumed = session.run(plans.resume_sims_raster(scope, start, done_indices=[0, 2]))
        image = session.run(plans.se_image(scope, shape=(24, 32), fov_um=40.0, centre_um=(1.0, 2.0), md=md))
    rng = np.random.default_rng(5)
    volume = rng.normal(1.0, 0.1, VOLUME_SHAPE).astype(np.float32)
    phases = (volume > 1).astype(np.uint8)
    about = {"units": "1/um", "axes": ["z", "y", "x"], "voxel_um": VOXEL_UM}
    results.save(data, tomogram, "volume", {"volume": volume}, about)
    results.save(data, tomogram, "segmentation", {"phases": phases})
    defects = [{"kind": "pore", "centre_um": [0.1, 0.2, 0.3], "volume_um3": 0.5}]
    results.save(data, tomogram, "rois", tables={"defects": defects})
    shifts = {"view_shifts_px": np.ones((9, 2)), "angles_deg": 40.0 * np.arange(9), "times_s": 90.0 * np.arange(9)}
    results.save(data, tomogram, "drift", shifts)
    return SimpleNamespace(
        data=data,
        tomogram=tomogram,
        raster=raster,
        parts=(interrupted, resumed),
        image=image,
        volume=volume,
        phases=phases,
    )


@pytest.fixture
def nothing_new(measured):
    """Check that a test leaves frame files, journals and results unchanged."""

    def stored_files():
        layout = Layout(measured.data)
        files = {path for folder in (layout.frames, layout.journal) for path in folder.rglob("*") if path.is_file()}
        return files, len(open_results(measured.data))

    before = stored_files()
    yield
    assert stored_files() == before


def run_documents(uid, data):
    """Return a run read without the package's readers: start, event data, frames and configuration by stream."""
    run = SimpleNamespace(start={}, readings={}, frames={}, configuration={})
    streams, resources = {}, {}
    for name, doc in documents(uid, data):
        if name == "start":
            run.start = doc
        elif name == "descriptor":
            streams[doc["uid"]] = doc["name"]
            run.configuration[doc["name"]] = doc["configuration"]
        elif name == "event":
            run.readings.setdefault(streams[doc["descriptor"]], []).append(doc["data"])
        elif name == "stream_resource":
            resources[doc["uid"]] = doc
        elif name == "stream_datum":
            resource = resources[doc["stream_resource"]]
            with h5py.File(resource_path(resource), "r") as file:
                run.frames[streams[doc["descriptor"]]] = file[resource["parameters"]["dataset"]][...]
    return run


def write_synchrotron(path, geometry, phantom, **changes):
    """Write a parallel-beam scan like a beamline's: floats, without distances, times or currents."""
    flat = np.full((4, *geometry.detector_shape), 20_000.0)
    counts = 20_000 * np.exp(-exact_projections(phantom, geometry)) + 90
    datasets = {
        "data": np.random.default_rng(3).poisson(counts).astype(np.float32),
        "data_white": (flat + 90).astype(np.float32),
        "data_dark": np.full(flat.shape, 90, np.float32),
        "theta": np.radians(geometry.angles_deg),
    } | changes
    with h5py.File(path, "w") as file:
        for name, values in datasets.items():
            if values is not None:
                file[f"exchange/{name}"] = values
        if datasets["theta"] is not None:
            file["exchange/theta"].attrs["units"] = "rad"
    return path
