"""Choose the hardware behind the devices: the digital twin of a data root, or an IOC over EPICS.

This is the only module that opens the twin for measurements.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from devices import Instrument
from devices.drivers import Drivers
from xrm_sims.data.layout import Layout
from xrm_sims.settings import Settings
from xrm_sims.settings.section import read_toml, validated

CheckSpecimen = Callable[[str], object]  # raises ValueError for a specimen that cannot be mounted

TWIN = "twin"
HARDWARE = "XRM_SIMS_HARDWARE"
_LOOPBACK = {
    "EPICS_CA_ADDR_LIST": "127.0.0.1",
    "EPICS_CA_AUTO_ADDR_LIST": "NO",
    "EPICS_CAS_INTF_ADDR_LIST": "127.0.0.1",
    "EPICS_CAS_BEACON_ADDR_LIST": "127.0.0.1",
    "EPICS_CAS_AUTO_BEACON_ADDR_LIST": "NO",
}


def open_hardware(
    root: Path,
    settings: Settings,
    hardware: str | None = None,
    *,
    seed: int | None = None,
    sample: str | None = None,
    clock: str | float = "fast",
    fresh: bool = False,
) -> tuple[Drivers, CheckSpecimen]:
    """Return the drivers of the chosen hardware, and the check of a specimen's name. Arguments and errors as for
    :func:`~xrm_sims.app.session.session.open_session`."""
    if hardware is None:
        hardware = os.environ.get(HARDWARE, TWIN)
    if hardware == TWIN:
        from xrm_sims.twin import Microscope, check_sample

        twin = Microscope(
            root / TWIN, settings=settings, seed=seed, clock=_clock_pace(clock), sample=sample, reset=fresh
        )
        return twin, check_sample
    options = {"seed": seed is not None, "sample": sample is not None, "fresh": fresh, "clock": clock != "fast"}
    if given := [name for name, is_given in options.items() if is_given]:
        raise ValueError(
            f"{', '.join(given)}: is for the twin, and this session controls {hardware}; give it to xrm-sims ioc"
        )
    drivers = _open_epics(hardware)
    root.mkdir(parents=True, exist_ok=True)
    return drivers, lambda specimen: None


def _open_epics(hardware: str) -> Drivers:
    """Return drivers over Channel Access for "epics:PREFIX".

    Raises ValueError for other text, and RuntimeError when no server has the prefix or pyepics is not installed.
    """
    kind, _, prefix = hardware.partition(":")
    if kind != "epics" or not prefix:
        raise ValueError(f"hardware: needs twin or epics:PREFIX, such as epics:XRM:, got {hardware!r}")
    loopback_by_default()
    try:
        from xrm_sims.epics.drivers import EpicsDrivers

        return EpicsDrivers(prefix)
    except ModuleNotFoundError as missing:
        raise RuntimeError(f"hardware: {missing.name} is not installed; pip install 'xrm-sims[epics]'") from None


def loopback_by_default() -> None:
    """Restrict Channel Access to this machine, unless EPICS' own environment variables are set."""
    for name, value in _LOOPBACK.items():
        os.environ.setdefault(name, value)


@contextmanager
def rehearsal(data: Path | str | None = None) -> Iterator[tuple[Instrument, CheckSpecimen]]:
    """Open a temporary twin with the data root's settings, and the check of a specimen's name.

    Plans can be checked on it while another process uses the real instrument.
    """
    from xrm_sims.twin import Microscope, check_sample

    layout = Layout.of(data)
    settings = session_settings(layout.root)
    with TemporaryDirectory() as folder, Microscope(folder, settings=settings) as twin:
        scope = Instrument(twin, settings, layout.frames)
        try:
            yield scope, check_sample
        finally:
            scope.close()


def session_settings(root: Path) -> Settings:
    """Return the instrument's sections of ``settings.toml`` in a data root, else the defaults.

    The other sections must be those of the analysis. Raises ValueError naming the file and the wrong section or key.
    """
    path = root / "settings.toml"
    if not path.exists():
        return Settings()
    table = read_toml(path)
    if not table.keys() <= Settings.model_fields.keys():
        from xrm_sims.correlate.settings import load_analysis_settings

        load_analysis_settings(root)
    own = {name: value for name, value in table.items() if name in Settings.model_fields}
    return validated(Settings, own, f"settings file {path}")


def _clock_pace(text: str | float) -> str | float:
    """Return "fast", "real" or a factor. ValueError for anything else."""
    if text in ("fast", "real"):
        return text
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"clock: needs fast, real or a factor such as 3600, got {text!r}") from None
