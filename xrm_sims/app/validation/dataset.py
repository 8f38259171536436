"""Export a labelled data set for training: volumes and maps of several runs, with the twin's true labels.

``dataset.json`` describes every item and its split for programs, ``README.md`` for people; each item is an OME-Zarr
with its labels (:mod:`xrm_sims.exchange.ome_zarr`). All items of one specimen are in one split.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage.measure import block_reduce

from xrm_sims.app.validation.truth import (
    CLASSES,
    MIN_CORRELATION,
    Labelled,
    height_and_correlation,
    specimen_name,
    specimen_of,
)
from xrm_sims.data import find_run, results
from xrm_sims.data.catalog import as_catalog, results_beside
from xrm_sims.exchange.images import Image, read_image
from xrm_sims.exchange.ome_zarr import write_ome_zarr
from xrm_sims.exchange.writing import Progress, atomic_path
from xrm_sims.scan_type import ScanType

VERSION = 1
SPLITS = ("train", "validation", "test")
HELD_BACK = 0.15  # share of the specimens in each of the last two splits; at least one of three or more
HEIGHT_VOXELS = 8e6  # enough to find a specimen's height
_PYRAMID = 4 / 3  # size of an OME-Zarr with its smaller scales over the full scale


@dataclass
class Item:
    """One image of the set; ``why_not`` is the reason if it has no true labels."""

    image: Image
    specimen: str
    truth: Labelled | None = None
    likeness: float | None = None
    why_not: str = ""
    place: dict[str, Any] = field(default_factory=dict)
    split: str = SPLITS[0]

    @property
    def name(self) -> str:
        return f"{self.image.provenance.run_uids[0][:8]}-{self.image.provenance.scan_type}"

    @property
    def path(self) -> str:
        return f"{self.split}/{self.name}.ome.zarr"

    @property
    def nbytes(self) -> int:
        voxels = int(np.prod(self.image.shape, dtype=np.int64))
        return int(_PYRAMID * (self.image.nbytes + (9 * voxels if self.truth is not None else 0)))

    def as_dict(self) -> dict[str, Any]:
        image = self.image
        labels = {name: "computed" for name in image.labels}
        if self.truth is not None:
            labels |= dict.fromkeys(self.truth.arrays(), "truth")
        return {
            "path": self.path,
            "split": self.split,
            "kind": image.provenance.scan_type,
            "specimen": self.specimen,
            "axes": image.axes,
            "shape": list(image.shape),
            "pixel_um": image.pixel_um,
            "centre_um": list(image.centre_um),
            "units": image.units,
            "channels": [{"label": one.label, "mass_u": one.mass_u} for one in image.channels],
            "labels": labels,
            "defects": None if self.truth is None else f"{self.split}/{self.name}-defects.csv",
            "raised_um": None if self.truth is None else round(self.truth.raised_um, 3),
            "likeness": self.likeness,
            "no_truth_because": self.why_not or None,
            **self.place,
            "about": image.provenance.as_dict(),
        }


def export_dataset(
    uids: Sequence[str],
    out: Path,
    data: Path,
    *,
    labels: bool | None = None,
    licence: str | None = None,
    overwrite: bool = False,
    progress: Progress = lambda stage, share: None,
) -> Path:
    """Write volumes and maps of runs as one data set, and return its folder.

    Parameters
    ----------
    uids : of tomographies that were reconstructed, rasters, SE images, EDS maps.
    labels : True requires true labels for every run, False leaves them out, None adds them where they are known.
    licence : under which the data may be used; replaces that of the runs.
    progress : called with the stage and its finished share.

    Raises
    ------
    ValueError when a run has no image or lacks required labels, the folder exists or the disk is too full;
    RuntimeError when writing fails. In both cases nothing is left under the final name.
    """
    items: dict[tuple[str, ...], Item] = {}
    for done, uid in enumerate(uids, 1):
        item = _item(uid, data, labels, licence)
        items.setdefault(item.image.provenance.run_uids[:1], item)
        progress("looking", done / len(uids))
    chosen = list(items.values())
    _split(chosen)
    with atomic_path(out, sum(item.nbytes for item in chosen), overwrite=overwrite) as beside:
        beside.mkdir()
        for item in chosen:
            _write(item, beside, progress)
        (beside / "dataset.json").write_text(json.dumps(_card(chosen), indent=1))
        (beside / "README.md").write_text(_readme(chosen), encoding="utf-8")
    return out


def _item(uid: str, data: Path, labels: bool | None, licence: str | None) -> Item:
    image = read_image(uid, data, licence)
    first = image.provenance.run_uids[0]
    item = Item(image, _named(first, data), place=_place(first, data))
    if labels is False:
        item.why_not = "labels were switched off"
        return item
    try:
        if image.provenance.scan_type != ScanType.TOMOGRAPHY:
            specimen_name(first, data)
            item.why_not = "the true material at each pixel is not stored"
            return item
        specimen = specimen_of(first, data)
        coarse, voxel_um, middle_um = _coarse(image)
        raised_um, correlation = height_and_correlation(coarse, voxel_um, specimen)
        if correlation < MIN_CORRELATION:
            raise ValueError(
                f"run {first[:8]}: its volume does not match {item.specimen} (correlation {correlation:.2f})"
            )
    except ValueError as why:
        if labels:
            raise ValueError(f"--labels: {why}; leave --labels out to export without true labels") from None
        item.why_not = str(why)
        return item
    shape = (image.shape[0], image.shape[1], image.shape[2])
    item.truth, item.likeness = Labelled(specimen, raised_um + middle_um, shape, image.pixel_um), round(correlation, 3)
    return item


def _named(uid: str, data: Path) -> str:
    """Return the specimen of a run: the twin's, else the sample's name."""
    try:
        return specimen_name(uid, data)
    except ValueError:
        return str(find_run(uid, data).metadata["start"].get("sample_name") or uid[:8])


def _place(uid: str, data: Path) -> dict[str, Any]:
    """Return the registration of an image to the specimen frame of its tomogram, if there is one."""
    of_run = results_beside(as_catalog(data)).get(uid, {})
    if "registration" not in of_run:
        return {}
    about = results.find(data, uid, "registration").metadata
    known = ("scan_to_specimen", "exposed_z_um", "sigma_nm", "parent_uids")
    return {"registration": {name: about[name] for name in known if name in about}}


def _coarse(image: Image) -> tuple[NDArray[np.float32], float, float]:
    """Average a volume to at most ``HEIGHT_VOXELS``; return it, its voxels' edge, and its shift along z."""
    step = int(np.ceil((np.prod(image.shape) / HEIGHT_VOXELS) ** (1 / 3)))
    sizes = [n // step for n in image.shape]
    fronts = [(n - m * step) // 2 for n, m in zip(image.shape, sizes, strict=True)]
    rows, columns = (slice(f, f + m * step) for f, m in zip(fronts[1:], sizes[1:], strict=True))
    coarse = np.empty(sizes, np.float32)
    for k in range(sizes[0]):
        slab = np.asarray(image.data[fronts[0] + k * step : fronts[0] + (k + 1) * step])[:, rows, columns]
        coarse[k] = block_reduce(slab, step, np.mean)[0]
    middle = fronts[0] + 0.5 * (sizes[0] * step - 1) - 0.5 * (image.shape[0] - 1)
    return coarse, image.pixel_um * step, middle * image.pixel_um


def _split(items: Sequence[Item]) -> None:
    """Assign specimens to splits in the order of a digest of their names: random, but the same every time."""
    specimens = sorted({item.specimen for item in items}, key=lambda name: hashlib.sha256(name.encode()).digest())
    held = max(1, round(HELD_BACK * len(specimens)))
    test = specimens[:held] if len(specimens) > 1 else []
    validation = specimens[held : 2 * held] if len(specimens) > 2 else []
    for item in items:
        item.split = "test" if item.specimen in test else "validation" if item.specimen in validation else "train"


def _write(item: Item, folder: Path, progress: Progress) -> None:
    (folder / item.split).mkdir(exist_ok=True)
    image = item.image
    if item.truth is not None:
        image = replace(image, labels={**image.labels, **item.truth.arrays()})
        with open(folder / item.split / f"{item.name}-defects.csv", "w", newline="", encoding="utf-8") as file:
            rows = item.truth.defects()
            writer = csv.DictWriter(file, rows[0] if rows else ["number"])
            writer.writeheader()
            writer.writerows(rows)
    write_ome_zarr(image, folder / item.path, lambda stage, share: progress(item.name, share))


def _card(items: Sequence[Item]) -> dict[str, Any]:
    return {
        "format": "xrm-sims dataset",
        "version": VERSION,
        "licences": sorted({item.image.provenance.licence for item in items}),
        "written_by": items[0].image.provenance.written_by,
        "splits": {split: [item.path for item in items if item.split == split] for split in SPLITS},
        "classes": CLASSES,
        "items": [item.as_dict() for item in items],
    }


def _readme(items: Sequence[Item]) -> str:
    provenance = items[0].image.provenance
    rows = [
        f"| `{item.path}` | {item.specimen} | {' × '.join(map(str, item.image.shape))} ({item.image.axes}) | "
        f"{item.image.pixel_um:g} µm | {item.image.units} | "
        f"{'truth' if item.truth is not None else f'no truth: {item.why_not}'} |"
        for item in items
    ]
    runs = [f"- `{item.name}`: {' '.join(item.image.provenance.run_uids)}, measured {_with(item)}" for item in items]
    licences = ", ".join(sorted({item.image.provenance.licence for item in items}))
    classes = ", ".join(f"{code} {name}" for name, code in CLASSES.items())
    return _README.format(
        licences=licences, written_by=provenance.written_by, rows="\n".join(rows), classes=classes, runs="\n".join(runs)
    )


def _with(item: Item) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in item.image.provenance.measured_with.items())
    return f"{item.image.provenance.measured} with {versions or 'unknown software'}"


_README = """# Volumes and maps of battery cathodes

Licence: {licences}. Written by {written_by}. `dataset.json` holds the same for programs.

| item | specimen | shape | pixel | units | labels |
|---|---|---|---|---|---|
{rows}

Every item is an OME-Zarr 0.5 with smaller scales; all items of one specimen are in one split. Volumes (z, y, x) are in
the specimen frame: voxel (k, j, i) is centred at ((i, j, k) - (n - 1)/2) times its edge, z upwards. Maps of a raster
are (frame, channel, row, column); where they were registered, `registration` in `dataset.json` has the affine from scan
(u, v) to specimen (x, y) in µm.

Below `labels` of a volume:

- `truth_material`: material at the centre of the voxel: {classes}.
- `truth_particle`: number of the particle from 1, 0 for none (pores and cracks do not belong to it).
- `truth_defect`: number of the pore or crack, as in the table `-defects.csv` beside it, which gives positions in the
  volume's frame and true sizes.

Other labels (`phases`, `particles`) were computed from the data. The truth is that of the simulated
specimen, placed at the height where it agrees best with the volume (`raised_um`; `likeness` is the correlation there);
objects smaller than a voxel may appear only in the table.

## Runs

{runs}
"""
