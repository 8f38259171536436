"""Drivers of the counting detectors: the pixel detector, and the four collectors of the magnetic sector."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xrm_sims.feasibility import check_photons
from xrm_sims.settings import Settings
from xrm_sims.twin.beams import GalliumFIB
from xrm_sims.twin.charge_sharing import CrossTalk
from xrm_sims.twin.driver import Driver, Frame, Quantity, Readings
from xrm_sims.twin.ions import Analyser, Scan, raster_frame
from xrm_sims.twin.sector import collector_radii
from xrm_sims.twin.simulator import Simulator
from xrm_sims.twin.xray import binned_shape


class WidePix(Driver):
    """Photon-counting pixel detector. With the beam blanked or the target away it takes dark frames."""

    name = "widepix"

    def quantities(self, settings: Settings) -> Mapping[str, Quantity]:
        detector = settings.detector
        return {
            "exposure_s": Quantity(1.0, "s", (detector.min_exposure_s, detector.max_exposure_s)),
            "threshold_kev": Quantity(detector.threshold_kev, "keV", detector.threshold_limits_kev),
            "counter_depth_bits": Quantity(detector.counter_depth_bits, "bit", choices=(12, 24)),
            "binning": Quantity(1, choices=detector.binnings),
        }

    def readings(self) -> Readings:
        simulator = self._simulator
        celsius = simulator.settings.detector.temperature_c
        return {
            "rows": lambda: self._shape[0],
            "columns": lambda: self._shape[1],
            "temperature_c": lambda: simulator.disturbed("temperature_c", celsius, simulator.time_s),
        }

    def check(self, name: str, value: Any) -> None:
        detector, state = self._simulator.settings.detector, self._simulator.state
        if name == "binning":
            binned_shape(detector.rows, detector.columns, value)
        elif name == "threshold_kev" and state.values["instrument"]["mode"] == "xray":
            check_photons(self._simulator.settings, state.values["beam"]["voltage_kv"], value)

    def expose(self) -> Frame:
        """Return one frame, (rows, columns) uint32, with all moving parts at their positions at mid-exposure.

        Raises ValueError outside X-ray mode, with the stage tilted, with a threshold above the spectrum, and when the
        open beam would overflow a counter; RuntimeError when stopped.
        """
        simulator = self._simulator
        self.require("xray", "an exposure")
        with self.command():
            values, started_s = self.values, simulator.state.time_s
            middle_s = started_s + 0.5 * values["exposure_s"]
            expected, crosstalk = self._expected(middle_s)
            self._require_room(expected)
            counts = simulator.detector.read(
                expected,
                exposure_s=values["exposure_s"],
                counter_depth_bits=values["counter_depth_bits"],
                binning=values["binning"],
                rng=simulator.rng("exposure"),
                crosstalk=crosstalk,
            )
            self.wait(values["exposure_s"])
            return Frame(counts, started_s, simulator.state.time_s, simulator.current_na(middle_s))

    def bad_pixels(self) -> NDArray[np.bool_]:
        """Return the mask of unusable pixels, (rows, columns) after binning."""
        return self._simulator.detector.bad_pixels(self.values["binning"])

    @property
    def _shape(self) -> tuple[int, int]:
        detector = self._simulator.settings.detector
        return binned_shape(detector.rows, detector.columns, self.values["binning"])

    def _require_room(self, expected: NDArray[np.float32]) -> None:
        """Raise ValueError when the counters of the brightest pixels would overflow."""
        bits, exposure_s = self.values["counter_depth_bits"], self.values["exposure_s"]
        brightest, end = float(expected.max()) / self.values["binning"] ** 2, 2**bits - 1
        if brightest > end:
            raise ValueError(
                f"widepix.exposure_s: {exposure_s:.4g} s would bring {brightest:,.0f} counts to a pixel, and its "
                f"{bits}-bit counter ends at {end:,}; expose {exposure_s * end / brightest:.3g} s at most"
                + (" or set counter_depth_bits to 24" if bits < 24 else "")
            )

    def _expected(self, time_s: float) -> tuple[NDArray[np.float32], CrossTalk]:
        """Return mean counts and the exchange of counts between pixels; without X-rays none."""
        simulator, values = self._simulator, self.values
        beam = simulator.state.values["beam"]
        if beam["blanked"] or not simulator.target_in_place:
            return np.zeros(self._shape, np.float32), CrossTalk()
        spectrum: dict[str, Any] = {
            "material": str(simulator.state.values["target"]["material"]),
            "voltage_kv": float(beam["voltage_kv"]),
            "threshold_kev": values["threshold_kev"],
        }
        expected = simulator.xray.expected_counts(
            angle_deg=simulator.angle_deg,
            specimen_um=simulator.specimen_um,
            source_um=simulator.source_um(time_s),
            current_na=simulator.current_na(time_s) * simulator.target_flux,
            exposure_s=values["exposure_s"],
            probe_nm=float(beam["probe_nm"]),
            binning=values["binning"],
            surface_change=simulator.surface_change,
            **spectrum,
        )
        return expected, simulator.xray.crosstalk(**spectrum)


class MagneticSector(Driver):
    """Magnetic sector with four collectors; it counts ions that the FIB's raster sputters."""

    name = "sector"
    collectors = (1, 2, 3, 4)

    def __init__(self, simulator: Simulator, fib: GalliumFIB):
        super().__init__(simulator)
        self._fib = fib

    def quantities(self, settings: Settings) -> Mapping[str, Quantity]:
        sector = settings.sector
        radii = collector_radii(sector.channels, settings)
        return {
            "field_t": Quantity(sector.field_t, "T", sector.field_limits_t),
            "extraction_v": Quantity(sector.extraction_v, "V", sector.extraction_limits_v),
            "slit_mm": Quantity(sector.slit_mm, "mm", sector.slit_limits_mm),
            **{
                f"collector_{n}_radius_mm": Quantity(radius, "mm", sector.radius_limits_mm)
                for n, radius in zip(self.collectors, radii, strict=True)
            },
        }

    def readings(self) -> Readings:
        sector = self._simulator.settings.sector
        return {
            f"collector_{n}_{constant}": partial(getattr, sector, constant)
            for n in self.collectors
            for constant in ("dead_time_ns", "dark_rate_cps")
        }

    def check(self, name: str, value: Any) -> None:
        """Raise ValueError when two collectors would be closer in the focal plane than their width."""
        if not name.startswith("collector"):
            return
        apart_mm = self._simulator.settings.sector.min_collector_spacing_mm
        for n in self.collectors:
            other = f"collector_{n}_radius_mm"
            if other != name and abs(self.values[other] - value) < apart_mm:
                raise ValueError(
                    f"sector.{name}: {value:.6g} mm lies closer than {apart_mm:.4g} mm "
                    f"to collector {n} at {self.values[other]:.6g} mm; move that one first"
                )

    def raster_frame(self) -> Frame:
        """Draw one raster of the FIB's scan generator; return counts (channel, row, column) uint32.

        The raster erodes the surface. With the FIB blanked it does not, and the collectors count their darks.
        Raises ValueError outside FIB mode, with the stage tilted or without bias, or with a raster beyond the scan
        field; RuntimeError when stopped (what was sputtered until then is gone).
        """
        raster = self._fib.raster()
        self.require("fib", "a SIMS raster")
        self._require_bias()

        def count(scan: Scan) -> NDArray[np.uint32]:
            s = self._simulator
            rng = s.rng("raster")
            return raster_frame(s.specimen, s.surface, scan, self._analyser(), settings=s.settings, rng=rng)

        return self.draw_frame("raster_frame", raster, count, ions=True)

    def _analyser(self) -> Analyser:
        return Analyser(
            bias_v=float(self._simulator.state.values["stage"]["bias_v"]),
            extraction_v=self.values["extraction_v"],
            field_t=self.values["field_t"],
            collector_radii_mm=[self.values[f"collector_{n}_radius_mm"] for n in self.collectors],
            slit_mm=self.values["slit_mm"],
        )

    def _require_bias(self) -> None:
        bias_v, least_v = self._simulator.state.values["stage"]["bias_v"], self._simulator.settings.sector.min_bias_v
        if bias_v < least_v:
            raise ValueError(
                f"stage.bias_v: a SIMS raster needs at least {least_v:.4g} V to extract ions, it is at {bias_v:.4g} V"
            )
