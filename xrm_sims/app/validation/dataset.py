"""A labelled data set for those who train finders: volumes and maps of several runs, with the truth of the twin's.

``dataset.json`` says of every item what it is and in which split, ``README.md`` says it to people; each item is an
OME-Zarr with its labels (:mod:`xrm_sims.exchange.ome_zarr`). All items of one specimen are in one split.
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

from xrm_sims.app.validation.truth import (
    CLASSES,
    LEAST_LIKENESS,
    Labelled,
    height_and_likeness,
    specimen_name,
    specimen_of,
)
from xrm_sims.data import find_run, results
from xrm_sims.data.catalog import as_catalog, results_beside
from xrm_sims.exchange.images import Image, read_image
from xrm_sims.exchange.ome_zarr import write_ome_zarr
from xrm_sims.exchange.writing import Progress, appearing
from xrm_sims.scan_type import ScanType

VERSION = 1
SPLITS = ("train", "validation", "test")
HELD_BACK = 0.15  # share of the specimens in each of the last two splits; one at least, where there are enough
ENOUGH_VOXELS = 8e6  # to tell how high a specimen stands
_PYRAMID = 4 / 3


@dataclass
class Item:
    """One image of the set; ``why_not`` says why it has no truth."""

    image: Image
    specimen: str
    truth: Labelled | None = None
    likeness: float | None = None
    why_not: str = ""
    place: dict[str, Any] = field(default_factory=dict)
    split: str = SPLITS[0]

    @property
    def name(self) -> str:
        return f"{self.image.about.run_uids[0][:8]}-{self.image.about.scan_type}"

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
            "kind": image.about.scan_type,
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
            "about": image.about.as_dict(),
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
    """Write volumes and maps of runs as one data set; the path of its folder.

    Parameters
    ----------
    uids : of tomographies that were reconstructed, rasters, SE images, EDS maps.
    labels : True refuses what is not the twin's and volumes whose truth is not known, False leaves the truth out, None
        puts it in where it is.
    licence : under which the data may be used, over what the runs state.
    progress : called with the stage and the finished share of it.

    Raises
    ------
    ValueError in one sentence when a run has no image, or not the labels that were asked for, the name is taken or the
    disk too full; RuntimeError when writing fails. Nothing is left under the final name then.
    """
    items: dict[tuple[str, ...], Item] = {}
    for done, uid in enumerate(uids, 1):
        item = _item(uid, data, labels, licence)
        items.setdefault(item.image.about.run_uids[:1], item)
        progress("looking", done / len(uids))
    chosen = list(items.values())
    _split(chosen)
    with appearing(out, sum(item.nbytes for item in chosen), overwrite=overwrite) as beside:
        beside.mkdir()
        for item in chosen:
            _write(item, beside, progress)
        (beside / "dataset.json").write_text(json.dumps(_card(chosen), indent=1))
        (beside / "README.md").write_text(_readme(chosen), encoding="utf-8")
    return out


def _item(uid: str, data: Path, labels: bool | None, licence: str | None) -> Item:
    image = read_image(uid, data, licence)
    first = image.about.run_uids[0]
    item = Item(image, _named(first, data), place=_place(first, data))
    if labels is False:
        item.why_not = "it was not asked for"
        return item
    try:
        if image.about.scan_type != ScanType.TOMOGRAPHY:
            specimen_name(first, data)
            item.why_not = "what the beam met at each pixel is not kept"
            return item
        specimen = specimen_of(first, data)
        coarse, voxel_um, middle_um = _coarse(image)
        raised_um, likeness = height_and_likeness(coarse, voxel_um, specimen)
        if likeness < LEAST_LIKENESS:
            raise ValueError(
                f"run {first[:8]}: its volume does not look like {item.specimen} (likeness {likeness:.2f})"
            )
    except ValueError as why:
        if labels:
            raise ValueError(f"--labels: {why}; leave --labels out to have the data without them") from None
        item.why_not = str(why)
        return item
    shape = (image.shape[0], image.shape[1], image.shape[2])
    item.truth, item.likeness = Labelled(specimen, raised_um + middle_um, shape, image.pixel_um), round(likeness, 3)
    return item


def _named(uid: str, data: Path) -> str:
    """What specimen a run shows: the twin's, else by its sample's name."""
    try:
        return specimen_name(uid, data)
    except ValueError:
        return str(find_run(uid, data).metadata["start"].get("sample_name") or uid[:8])


def _place(uid: str, data: Path) -> dict[str, Any]:
    """Where a registered image lies in the specimen frame of the tomogram it was registered to."""
    of_run = results_beside(as_catalog(data)).get(uid, {})
    if "registration" not in of_run:
        return {}
    about = results.find(data, uid, "registration").metadata
    known = ("scan_to_specimen", "exposed_z_um", "sigma_nm", "parent_uids")
    return {"registration": {name: about[name] for name in known if name in about}}


def _coarse(image: Image) -> tuple[NDArray[np.float32], float, float]:
    """A volume in voxels that are averages, few enough to hold; their edge; how much higher its middle lies."""
    step = int(np.ceil((np.prod(image.shape) / ENOUGH_VOXELS) ** (1 / 3)))
    sizes = [n // step for n in image.shape]
    fronts = [(n - m * step) // 2 for n, m in zip(image.shape, sizes, strict=True)]
    rows, columns = (slice(f, f + m * step) for f, m in zip(fronts[1:], sizes[1:], strict=True))
    coarse = np.empty(sizes, np.float32)
    for k in range(sizes[0]):
        slab = np.asarray(image.data[fronts[0] + k * step : fronts[0] + (k + 1) * step])[:, rows, columns]
        coarse[k] = slab.reshape(step, sizes[1], step, sizes[2], step).mean(axis=(0, 2, 4))
    middle = fronts[0] + 0.5 * (sizes[0] * step - 1) - 0.5 * (image.shape[0] - 1)
    return coarse, image.pixel_um * step, middle * image.pixel_um


def _split(items: Sequence[Item]) -> None:
    """Specimens to splits, by chance that is the same every time: the order of a digest of their names."""
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
        "licences": sorted({item.image.about.licence for item in items}),
        "written_by": items[0].image.about.written_by,
        "splits": {split: [item.path for item in items if item.split == split] for split in SPLITS},
        "classes": CLASSES,
        "items": [item.as_dict() for item in items],
    }


def _readme(items: Sequence[Item]) -> str:
    about = items[0].image.about
    rows = [
        f"| `{item.path}` | {item.specimen} | {' × '.join(map(str, item.image.shape))} ({item.image.axes}) | "
        f"{item.image.pixel_um:g} µm | {item.image.units} | "
        f"{'truth' if item.truth is not None else f'no truth: {item.why_not}'} |"
        for item in items
    ]
    runs = [f"- `{item.name}`: {' '.join(item.image.about.run_uids)}, measured {_with(item)}" for item in items]
    licences = ", ".join(sorted({item.image.about.licence for item in items}))
    classes = ", ".join(f"{code} {name}" for name, code in CLASSES.items())
    return _README.format(
        licences=licences, written_by=about.written_by, rows="\n".join(rows), classes=classes, runs="\n".join(runs)
    )


def _with(item: Item) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in item.image.about.measured_with.items())
    return f"{item.image.about.measured} with {versions or 'what nobody told'}"


_README = """# Volumes and maps of battery cathodes

Licence: {licences}. Written by {written_by}. `dataset.json` says the same to programs.

| item | specimen | shape | pixel | units | labels |
|---|---|---|---|---|---|
{rows}

Every item is an OME-Zarr 0.5 with smaller scales; all items of one specimen are in one split. Volumes (z, y, x) are in
the specimen frame: voxel (k, j, i) is centred at ((i, j, k) - (n - 1)/2) times its edge, z upwards. Maps of a raster
are (frame, channel, row, column); where they were registered, `registration` in `dataset.json` has the affine from scan
(u, v) to specimen (x, y) in µm.

Below `labels` of a volume:

- `truth_material`: what is at the middle of the voxel: {classes}.
- `truth_particle`: number of the particle from 1, 0 for none (pores and cracks are no part of it).
- `truth_defect`: number of the pore or crack, as in the table `-defects.csv` beside it, whose places are in the
  volume's frame and whose sizes are the true ones.

Others (`phases`, `particles`) were computed from the data and are no truth. The truth is that of the simulated
specimen, placed at the height where it agrees best with the volume (`raised_um`; `likeness` is the correlation there);
what is smaller than a voxel may be in the table alone.

## Runs

{runs}
"""
