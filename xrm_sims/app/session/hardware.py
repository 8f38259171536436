"""Choose the hardware behind the devices: the digital twin of a data root, or an IOC over EPICS.

Here, and nowhere else, the twin is opened.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from devices import Instrument
from devices.drivers import Drivers
from xrm_sims.data.layout import Layout
from xrm_sims.settings import Settings
from xrm_sims.settings.section import read_toml, validated

TWIN = "twin"
HARDWARE = "XRM_SIMS_HARDWARE"
_LOOPBACK = {
    "EPICS_CA_ADDR_LIST": "127.0.0.1",
    "EPICS_CA_AUTO_ADDR_LIST": "NO",
    "EPICS_CAS_INTF_ADDR_LIST": "127.0.0.1",
    "EPICS_CAS_BEACON_ADDR_LIST": "127.0.0.1",
    "EPICS_CAS_AUTO_BEACON_ADDR_LIST": "NO",
}
DEFAULT_SAMPLE = "cathode_pillar"


def open_twin(
    root: Path,
    settings: Settings,
    *,
    seed: int | None = None,
    sample: str | None = None,
    clock: str | float = "fast",
    fresh: bool = False,
) -> tuple[Any, Callable[[str], object]]:
    """The twin of a data root, and the check of a specimen's name. Raises as :func:`open_session`."""
    from xrm_sims.twin import Microscope, check_sample

    pace = clock_pace(clock)
    return Microscope(root / TWIN, settings=settings, seed=seed, clock=pace, sample=sample, reset=fresh), check_sample


def open_epics(hardware: str) -> Drivers:
    """Drivers over Channel Access from "epics:PREFIX"; on the loopback interface unless the environment says more.

    Raises ValueError for another word, RuntimeError when nobody serves the prefix or pyepics is missing.
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
    """Channel Access stays on this machine, whichever side of it we are, unless EPICS' own variables say otherwise."""
    for name, value in _LOOPBACK.items():
        os.environ.setdefault(name, value)


@contextmanager
def rehearsal(data: Path | str | None = None) -> Iterator[tuple[Instrument, Callable[[str], object]]]:
    """An instrument with the data root's settings on a twin of its own, to ask what the real one would refuse while
    another process holds it; and the check of a specimen's name. Nothing of it stays."""
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


def clock_pace(text: str | float) -> str | float:
    """ "fast", "real" or a factor; ValueError for anything else."""
    if text in ("fast", "real"):
        return text
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"clock: needs fast, real or a factor such as 3600, got {text!r}") from None
