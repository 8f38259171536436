"""What is planned: a tomography and a map, the paper's own, and faster ones beside it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from plans.ions import SimsRaster, sims_request
from plans.tomography import TomographyScan
from xrm_sims.settings import Settings

PAPER_VIEWS, PAPER_EXPOSURE_S = 1200, 90.0
PAPER_FOV_UM = 11.8


@dataclass(frozen=True)
class Protocol:
    """A tomography with so much current on the target, and a map."""

    name: str
    scan: TomographyScan
    current_na: float
    sims: SimsRaster

    def commands(self, settings: Settings) -> tuple[str, ...]:
        """What to type for it; the current, when it is not the settings' own, goes into ``settings.toml``."""
        scan, sims = self.scan, self.sims
        target = "" if scan.target == "W" else f" --target {scan.target}"
        lines = [
            f"xrm-sims tomography --num {scan.num} --step-deg {scan.step_deg:.6g} --exposure-s {scan.exposure_s:.6g} "
            f"--binning {scan.binning}{target}",
            f"xrm-sims sims --fov-um {sims.raster.fov_um:.6g} --pixels {sims.raster.shape[0]} "
            f"--dwell-ms {sims.raster.dwell_ms:.6g} --frames {sims.frames}",
        ]
        settled = []
        if self.current_na != settings.electron.current_na:
            probe_nm = probe_at(settings, self.current_na)
            settled.append(f"electron = {{ current_na = {self.current_na:.6g}, probe_nm = {probe_nm:.4g} }}")
        if sims.current_pa != settings.ion.current_pa:
            settled.append(f"ion = {{ current_pa = {sims.current_pa:.6g} }}")
        return (*(f"settings.toml: {line}" for line in settled), *lines)


def full_turn(num: int, exposure_s: float, binning: int = 1, target: str = "W") -> TomographyScan:
    return TomographyScan(num=num, step_deg=360.0 / num, exposure_s=exposure_s, binning=binning, target=target)


def probe_at(settings: Settings, current_na: float) -> float:
    """Width (FWHM) in nm of the best probe of this current: it grows with the power 3/8 of the current where spherical
    aberration limits it (J. I. Goldstein et al., Scanning Electron Microscopy and X-Ray Microanalysis, 2018, ch. 2)."""
    electron = settings.electron
    return electron.probe_nm * float((current_na / electron.current_na) ** electron.probe_growth)


def paper(settings: Settings, fov_um: float = PAPER_FOV_UM, target: str = "W") -> Protocol:
    """1,200 views of 90 s in single pixels, 30 h; 512 x 512 pixels of 0.55 ms, 144 s."""
    scan = full_turn(PAPER_VIEWS, PAPER_EXPOSURE_S, target=target)
    return Protocol("the paper's", scan, settings.electron.current_na, sims_request(settings, fov_um=fov_um))


def faster_ones(settings: Settings, fov_um: float = PAPER_FOV_UM, target: str = "W") -> list[Protocol]:
    """What the paper names as its outlook, one at a time: fewer projections, shorter exposure, higher current, fewer
    pixels; for both measurements."""
    of = paper(settings, fov_um, target)
    highest_na = settings.electron.current_limits_na[1]
    scan, sims = of.scan, of.sims
    dwell_ms = sims.raster.dwell_ms

    def map_of(pixels: int = 512, dwell: float = 1.0, current: float = 1.0) -> SimsRaster:
        return replace(
            sims,
            raster=replace(sims.raster, shape=(pixels, pixels), dwell_ms=dwell * dwell_ms),
            current_pa=current * sims.current_pa,
        )

    half = full_turn(scan.num // 2, scan.exposure_s, target=target)
    third = replace(scan, exposure_s=scan.exposure_s / 3)
    sooner = replace(scan, exposure_s=scan.exposure_s * of.current_na / highest_na)
    wide = full_turn(scan.num * 9 // 10, scan.exposure_s / 4, 2, target)  # as many counts per pixel
    shorter = 1 / 3
    return [
        replace(of, name="half the views", scan=half, sims=map_of(pixels=362)),
        replace(of, name="a third of the exposure", scan=third, sims=map_of(dwell=shorter)),
        replace(
            of, name="highest current", scan=sooner, current_na=highest_na, sims=map_of(dwell=shorter, current=3.0)
        ),
        replace(of, name="fewer pixels", scan=wide, sims=map_of(pixels=256)),
    ]
