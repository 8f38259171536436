"""Raw numbers with headers, in one folder.

Fiji, 3D Slicer and ParaView read NRRD's ``.nhdr``, Avizo and Amira the ``.hx`` script. The numbers are
little-endian; x varies fastest.
"""

from __future__ import annotations

from pathlib import Path

from xrm_sims.exchange.images import Image
from xrm_sims.exchange.writing import Progress

_NRRD = {
    "uint8": "uint8", "int8": "int8", "uint16": "uint16", "int16": "int16", "uint32": "uint32", "int32": "int32",
    "uint64": "uint64", "int64": "int64", "float32": "float", "float64": "double",
}  # fmt: skip
_AMIRA = {
    "uint8": "byte", "int16": "short", "uint16": "ushort", "int32": "int", "float32": "float", "float64": "double",
}  # fmt: skip


def write_raw(image: Image, folder: Path, progress: Progress) -> None:
    """Write ``volume.raw`` or ``image.raw`` and its headers into a new folder.

    Raises ValueError for a number type that NRRD does not have.
    """
    if image.dtype.name not in _NRRD:
        raise ValueError(f"raw: NRRD has no number type {image.dtype.name}; choose another format")
    stem = "volume" if image.axes == "zyx" else "image"
    folder.mkdir()
    with open(folder / f"{stem}.raw", "wb") as file:
        for place, block in image.blocks():
            file.write(block.astype(image.dtype.newbyteorder("<"), copy=False).tobytes())
            progress("raw", place.stop / image.shape[0])
    (folder / f"{stem}.nhdr").write_text(_nrrd(image, f"{stem}.raw"), "utf-8")
    if image.axes == "zyx" and image.dtype.name in _AMIRA:
        (folder / f"{stem}.hx").write_text(_amira(image, f"{stem}.raw"), "utf-8")


def _nrrd(image: Image, raw: str) -> str:
    spacings = [f"{image.pixel_um:g}" if axis in "zyx" else "nan" for axis in reversed(image.axes)]
    units = ['"um"' if axis in "zyx" else '""' for axis in reversed(image.axes)]
    kinds = ["space" if axis in "zyx" else "list" for axis in reversed(image.axes)]
    lines = [
        "NRRD0004",
        f"# {image.provenance.title}",
        f"type: {_NRRD[image.dtype.name]}",
        f"dimension: {len(image.shape)}",
        f"sizes: {' '.join(str(n) for n in reversed(image.shape))}",
        f"spacings: {' '.join(spacings)}",
        f"units: {' '.join(units)}",
        f"kinds: {' '.join(kinds)}",
        "endian: little",
        "encoding: raw",
        f"data file: {raw}",
        *(line.replace(": ", ":=", 1) for line in image.provenance.as_text().splitlines()),
        f"sample units:={image.units}",
        *(f"channel {n}:={one.name_and_mass}" for n, one in enumerate(image.channels)),
    ]
    return "\n".join(lines) + "\n"


def _amira(image: Image, raw: str) -> str:
    """Return a script that loads the raw file; the bounding box goes from voxel centre to voxel centre."""
    depth, height, width = image.shape
    box = " ".join(f"{-half:g} {half:g}" for half in (0.5 * (n - 1) * image.pixel_um for n in (width, height, depth)))
    kind = _AMIRA[image.dtype.name]
    comments = "\n".join(f"# {line}" for line in [*image.provenance.as_text().splitlines(), f"units: {image.units}"])
    return (
        "# Amira Script\n"
        f"{comments}\n# lengths in micrometres\n"
        f"[ load -unit um -raw ${{SCRIPTDIR}}/{raw} little xfastest {kind} 1 {width} {height} {depth} {box} ] "
        f"setLabel {{{raw}}}\n"
    )
