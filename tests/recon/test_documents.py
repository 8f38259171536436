"""Documents as a RunEngine emits them, with real frame files, and as a catalogue rebuilds them."""

import warnings

import numpy as np
import pytest
from event_model import StreamRange, compose_run, compose_stream_resource, pack_event_page

import recon
from benchmarks.recon_phantom import exact_projections, pillar_with_spheres, rms_error, scan_geometry, truth
from xrm_sims.data.frames import FrameWriter

WIDTH, HEIGHT, VIEWS = 48, 24, 60
OPEN_BEAM = 20000.0
BAD = (5, 20)


class Scan:
    """The documents and frame files of a tomography run; tests leave out or repeat some."""

    def __init__(self, folder, angles_deg, seed=1, nominal=None, spoil=None, **start):
        rng = np.random.default_rng(seed)
        self.geometry = scan_geometry(WIDTH, HEIGHT, VIEWS, angles_deg=angles_deg)
        told = self.geometry if nominal is None else scan_geometry(WIDTH, HEIGHT, VIEWS, angles_deg=nominal)
        phantom = pillar_with_spheres(WIDTH, HEIGHT, 3, count=60)
        self.truth = truth(phantom, self.geometry.volume_shape)
        current = np.linspace(400.0, 300.0, len(angles_deg))
        gain = rng.normal(1, 0.05, (HEIGHT, WIDTH))
        beam = OPEN_BEAM * gain
        open_views = beam * (current / 400)[:, None, None]
        self.frames = {
            "dark": rng.poisson(2.0, (3, HEIGHT, WIDTH)),
            "flat": rng.poisson(beam, (20, HEIGHT, WIDTH)) + 2,
            "primary": rng.poisson(open_views * np.exp(-exact_projections(phantom, self.geometry))) + 2,
        }
        for stack in self.frames.values():
            stack[:, BAD[0], BAD[1]] = 0
        if spoil is not None:
            spoil(self.frames, current)
        run = compose_run(metadata={"scan_type": "tomography", "geometry": told.as_dict(), **start}, validate=True)
        self.documents = [("start", run.start_doc)]
        for stream, stack in self.frames.items():
            self._stream(run, folder, stream, stack.astype(np.uint32), angles_deg, current)
        self.documents.append(("stop", run.compose_stop()))

    def _stream(self, run, folder, stream, stack, angles_deg, current):
        keys = {
            "widepix_image": {
                "source": "twin",
                "dtype": "array",
                "dtype_numpy": "<u4",
                "shape": [HEIGHT, WIDTH],
                "external": "STREAM:",
            }
        } | {
            key: {"source": "twin", "dtype": "number", "shape": []}
            for key in ("rotation_angle_deg", "beam_current_na", "instrument_time_s")
        }
        flat_index = BAD[0] * WIDTH + BAD[1]
        bundle = run.compose_descriptor(
            name=stream,
            data_keys=keys,
            configuration={
                "scope_widepix": {
                    "data": {"widepix_bad_pixels": [flat_index], "widepix_counter_depth_bits": 24},
                    "timestamps": {"widepix_bad_pixels": 0.0, "widepix_counter_depth_bits": 0.0},
                    "data_keys": {
                        "widepix_bad_pixels": {"source": "twin", "dtype": "array", "shape": [1]},
                        "widepix_counter_depth_bits": {"source": "twin", "dtype": "integer", "shape": []},
                    },
                }
            },
        )
        self.documents.append(("descriptor", bundle.descriptor_doc))
        with FrameWriter(
            folder / f"{run.start_doc['uid'][:8]}-{stream}.h5", "/entry/data", (HEIGHT, WIDTH), "u4"
        ) as file:
            resource = compose_stream_resource(
                mimetype="application/x-hdf5",
                uri=file.uri,
                data_key="widepix_image",
                parameters=file.parameters,
                start=run.start_doc,
            )
            self.documents.append(("stream_resource", resource.stream_resource_doc))
            for n, frame in enumerate(stack):
                file.append(frame)
                datum = resource.compose_stream_datum(
                    StreamRange(start=n, stop=n + 1),
                    StreamRange(start=n + 1, stop=n + 2),
                    bundle.descriptor_doc,
                )
                self.documents.append(("stream_datum", datum))
                data = {
                    "rotation_angle_deg": float(angles_deg[n]) if stream == "primary" else 0.0,
                    "beam_current_na": float(current[n]) if stream == "primary" else 400.0,
                    "instrument_time_s": 90.0 * n,
                }
                event = bundle.compose_event(data=data, timestamps=dict.fromkeys(data, 0.0), seq_num=n + 1)
                self.documents.append(("event", event))
            self.path = file.path


@pytest.fixture
def scan(tmp_path):
    return Scan(tmp_path, np.arange(VIEWS) * 6.0)


def without(documents, predicate):
    return [(name, doc) for name, doc in documents if not predicate(name, doc)]


def primary(documents):
    return next(doc["uid"] for name, doc in documents if name == "descriptor" and doc["name"] == "primary")


def test_a_run_is_reconstructed(scan):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made = recon.from_run(scan.documents)
    assert rms_error(made.volume, scan.truth) < 0.35 * rms_error(0 * scan.truth, scan.truth)
    assert np.abs(made.shifts_px).max() < 0.5
    assert made.uids == (scan.documents[0][1]["uid"],)


def test_live_and_replayed_documents_give_the_same_volume(scan):
    heard = []
    live = recon.LiveReconstruction(on_result=heard.append)
    for name, doc in scan.documents:
        live(name, doc)
    volume = live.result(timeout_s=120).volume
    assert rms_error(volume, scan.truth) < 1.05 * rms_error(recon.from_run(scan.documents).volume, scan.truth)
    assert len(heard) == 1


def test_pages_merged_datums_and_another_order_change_nothing(scan):
    """As a catalogue rebuilds a run: one event page and one merged datum per stream, datums last."""
    merged = [pair for pair in scan.documents if pair[0] in ("start", "descriptor", "stream_resource")]
    for stream in (doc["uid"] for name, doc in scan.documents if name == "descriptor"):
        events = [doc for name, doc in scan.documents if name == "event" and doc["descriptor"] == stream]
        datums = [doc for name, doc in scan.documents if name == "stream_datum" and doc["descriptor"] == stream]
        merged.append(("event_page", pack_event_page(*events)))
        whole = datums[0] | {
            "indices": {"start": 0, "stop": len(datums)},
            "seq_nums": {"start": 1, "stop": len(datums) + 1},
        }
        merged.append(("stream_datum", whole))
    merged.append(scan.documents[-1])
    options = {"correct": False, "sweeps": 1, "tv": 0}
    np.testing.assert_array_equal(
        recon.from_run(merged, **options).volume, recon.from_run(scan.documents, **options).volume
    )


def test_a_missing_frame_is_named_and_reconstructed_around(scan):
    stream = primary(scan.documents)
    documents = without(
        scan.documents,
        lambda name, doc: name == "stream_datum" and doc["descriptor"] == stream and doc["indices"]["start"] == 10,
    )
    with pytest.warns(UserWarning, match="no frame for 11"), pytest.warns(UserWarning, match="no projection at 60 deg"):
        made = recon.from_run(documents, correct=False, sweeps=1)
    assert made.geometry.num_views == VIEWS - 1
    assert 60.0 not in made.geometry.angles_deg


def test_a_scan_ended_early_on_purpose_has_no_missing_views(tmp_path):
    angles = np.arange(VIEWS) * 6.0
    every_other = np.concatenate([angles[::2], angles[1::2]])
    scan = Scan(tmp_path, every_other[: VIEWS // 2], nominal=every_other)
    options = {"correct": False, "sweeps": 1}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made = recon.from_run(scan.documents, **options)
    np.testing.assert_allclose(made.geometry.angles_deg, angles[::2])
    broken = [(name, doc | {"exit_status": "abort"} if name == "stop" else doc) for name, doc in scan.documents]
    with pytest.warns(UserWarning, match="no projection at 6, 18, 30"):
        recon.from_run(broken, **options)


def test_the_last_event_of_a_seq_num_counts(scan):
    """After a rewind the same seq_num comes again, with the right angle."""
    stream = primary(scan.documents)
    documents = list(scan.documents)
    place = next(
        n
        for n, (name, doc) in enumerate(documents)
        if name == "event" and doc["descriptor"] == stream and doc["seq_num"] == 4
    )
    name, doc = documents[place]
    documents.insert(place, (name, doc | {"uid": "earlier", "data": doc["data"] | {"rotation_angle_deg": 99.9}}))
    options = {"correct": False, "sweeps": 1}
    np.testing.assert_array_equal(
        recon.from_run(documents, **options).volume, recon.from_run(scan.documents, **options).volume
    )


def test_a_doubled_angle_is_used_once(tmp_path):
    angles = np.arange(VIEWS) * 6.0
    angles[31] = angles[30]
    scan = Scan(tmp_path, angles, nominal=np.arange(VIEWS) * 6.0)
    with (
        pytest.warns(UserWarning, match="more than one frame at 180 deg"),
        pytest.warns(UserWarning, match="no projection at 186 deg"),
    ):
        made = recon.from_run(scan.documents, correct=False, sweeps=1)
    assert made.geometry.num_views == VIEWS - 1


def test_parts_of_a_resumed_scan_are_one(tmp_path):
    angles = np.arange(VIEWS) * 6.0
    first = Scan(tmp_path, angles[:37], nominal=angles)
    second = Scan(tmp_path, angles[37:], seed=2, resumes_uid=first.documents[0][1]["uid"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made = recon.from_run([first.documents, second.documents], correct=False)
    np.testing.assert_allclose(made.geometry.angles_deg, angles)
    assert rms_error(made.volume, first.truth) < 0.35 * rms_error(0 * first.truth, first.truth)
    assert len(made.uids) == 2


def test_a_truncated_file_is_named(scan):
    with open(scan.path, "r+b") as file:
        file.truncate(scan.path.stat().st_size // 2)
    with pytest.raises(ValueError, match=rf"{scan.path.name}.*frames"):
        recon.from_run(scan.documents)


def test_a_missing_file_is_named(scan):
    scan.path.unlink()
    with pytest.raises(ValueError, match=rf"{scan.path.name} is missing"):
        recon.from_run(scan.documents)


@pytest.mark.parametrize(
    ("stream", "message"), [("flat", "no flats"), ("primary", "no projections")], ids=["flats", "projections"]
)
def test_missing_streams_are_refused(scan, stream, message):
    uid = next(doc["uid"] for name, doc in scan.documents if name == "descriptor" and doc["name"] == stream)
    with pytest.raises(ValueError, match=message):
        recon.from_run(without(scan.documents, lambda name, doc: doc.get("descriptor") == uid))


def test_other_runs_are_refused(scan):
    start = scan.documents[0][1]
    with pytest.raises(ValueError, match="is a sims_raster, needs a tomography"):
        recon.from_run([("start", start | {"scan_type": "sims_raster"}), *scan.documents[1:]])
    with pytest.raises(ValueError, match="no start document"):
        recon.from_run(scan.documents[1:])
    with pytest.raises(ValueError, match="got no part"):
        recon.from_run([])
