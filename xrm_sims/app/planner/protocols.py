"""Protocols of a tomography and a map: the paper's, and faster ones."""

from __future__ import annotations

from dataclasses import dataclass, replace

from plans.ions import SimsRaster, sims_request
from plans.tomography import TomographyScan
from xrm_sims.settings import Settings

PAPER_VIEWS, PAPER_EXPOSURE_S = 1200, 90.0
PAPER_FOV_UM = 11.8


@dataclass(frozen=True)
class Protocol:
    """A tomography with a current on the target, and a map."""

    name: str
    scan: TomographyScan
    current_na: float
    sims: SimsRaster

    def commands(self, settings: Settings) -> tuple[str, ...]:
        """Return the commands to type; a current other than the settings' goes into ``settings.toml``."""
        scan, sims = self.scan, self.sims
        target = "" if scan.target == "W" else f" --target {scan.target}"
        lines = [
            f"xrm-sims tomography --num {scan.num} --step-deg {scan.step_deg:.6g} --exposure-s {scan.exposure_s:.6g} "
            f"--binning {scan.binning}{target}",
            f"xrm-sims sims --fov-um {sims.raster.fov_um:.6g} --pixels {sims.raster.shape[0]} "
            f"--dwell-ms {sims.raster.dwell_ms:.6g} --frames {sims.frames}",
        ]
        changed = []
        if self.current_na != settings.electron.current_na:
            probe_nm = probe_at(settings, self.current_na)
            changed.append(f"electron = {{ current_na = {self.current_na:.6g}, probe_nm = {probe_nm:.4g} }}")
        if sims.current_pa != settings.ion.current_pa:
            changed.append(f"ion = {{ current_pa = {sims.current_pa:.6g} }}")
        return (*(f"settings.toml: {line}" for line in changed), *lines)


def full_turn(num: int, exposure_s: float, binning: int = 1, target: str = "W") -> TomographyScan:
    return TomographyScan(num=num, step_deg=360.0 / num, exposure_s=exposure_s, binning=binning, target=target)


def probe_at(settings: Settings, current_na: float) -> float:
    """Return the width (FWHM) in nm of the best probe of this current.

    It grows with the power 3/8 of the current if spherical aberration limits it (J. I. Goldstein et al., Scanning
    Electron Microscopy and X-Ray Microanalysis, 2018, ch. 2).
    """
    electron = settings.electron
    return electron.probe_nm * float((current_na / electron.current_na) ** electron.probe_growth)


def paper_protocol(settings: Settings, fov_um: float = PAPER_FOV_UM, target: str = "W") -> Protocol:
    """Return the paper's protocol: 1,200 views of 90 s without binning, 30 h; 512 x 512 pixels of 0.55 ms, 144 s."""
    scan = full_turn(PAPER_VIEWS, PAPER_EXPOSURE_S, target=target)
    return Protocol("the paper's", scan, settings.electron.current_na, sims_request(settings, fov_um=fov_um))


def faster_protocols(settings: Settings, fov_um: float = PAPER_FOV_UM, target: str = "W") -> list[Protocol]:
    """Return the paper's ideas to save time: fewer views, shorter exposure, higher current, fewer pixels."""
    base = paper_protocol(settings, fov_um, target)
    highest_na = settings.electron.current_limits_na[1]
    scan, sims = base.scan, base.sims
    dwell_ms = sims.raster.dwell_ms

    def map_of(pixels: int = 512, dwell: float = 1.0, current: float = 1.0) -> SimsRaster:
        return replace(
            sims,
            raster=replace(sims.raster, shape=(pixels, pixels), dwell_ms=dwell * dwell_ms),
            current_pa=current * sims.current_pa,
        )

    half = full_turn(scan.num // 2, scan.exposure_s, target=target)
    third = replace(scan, exposure_s=scan.exposure_s / 3)
    sooner = replace(scan, exposure_s=scan.exposure_s * base.current_na / highest_na)
    wide = full_turn(scan.num * 9 // 10, scan.exposure_s / 4, 2, target)  # as many counts per pixel
    shorter = 1 / 3
    return [
        replace(base, name="half the views", scan=half, sims=map_of(pixels=362)),
        replace(base, name="a third of the exposure", scan=third, sims=map_of(dwell=shorter)),
        replace(
            base, name="highest current", scan=sooner, current_na=highest_na, sims=map_of(dwell=shorter, current=3.0)
        ),
        replace(base, name="fewer pixels", scan=wide, sims=map_of(pixels=256)),
    ]
