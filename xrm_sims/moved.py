"""Import modules under their old paths, for one release, with a DeprecationWarning that names the new path."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_file_location
from types import ModuleType

# old package: {package inside it: modules that moved there, as "old>new" where the name changed}
_MOVES = {
    "recon": {
        "kernels": "columns rays roll projector differences total_variation guided_variation support "
        "checks>argument_checks",
        "algorithms": "solver fdk redundancy sart checkpoint beam_hardening focal_spot",
        "frames": "documents preparation>flat_field prepared>prepare outliers rings screening>view_selection "
        "reports>data_warnings",
        "alignment": "moments references reprojection axis outline",
        "live": "following>run_follower arrivals growing>live_volume tracking>shift_prediction",
        "quality": "resolution>edge_resolution fourier_shell",
    },
    "xrm_sims.correlate": {
        "volume": "segment defects ranking",
        "registration": "align>pillar_outline affine_fit appearance>active_material information>mutual_information "
        "register anywhere>global_search volume_fit",
        "maps": "counting drift isotopes depth",
        "phases": "profiles particles phase_statistics interference chemistry elements two_target",
        "figures": "drawing phase_figures picture tomogram_figures two_target_figure",
    },
    "xrm_sims.app": {
        "cli": "analysing>analyse exchanging>exchange planning>plan services serving>services options doctor demo",
        "console": "words>commands prompt plots>plot_run live_picture",
        "night": "sheets>sheet_file bench>computations queue>queue_server status_page",
        "correlative": "experiment>workflow closed_loop finding>rois consumed>milled_away links>transform_chain "
        "placing>place_map elements>eds pictures>figures",
        "validation": "truth dataset",
        "maps": "sims_maps phases",
        "session": "leftovers>recovery metadata suspenders>suspender resuming>resume ioc night_record "
        "morning>night_summary",
        "tomography": "reconstruction>tomogram machines>cluster sharpness>resolution live two_target",
        "common": "rasters page>html glance>last_frame progress errors stopping>signals",
    },
    "xrm_sims.app.planner": {
        "": "outlook>predict wishes>search picture>figure",
    },
    "xrm_sims.exchange": {
        "": "keepsake>round_trip about>provenance",
    },
    "xrm_sims": {
        "": "whole>atomic_write",
    },
}
MOVED = {
    f"{package}.{module.partition('>')[0]}": ".".join(filter(None, (package, room, module.rpartition(">")[2])))
    for package, rooms in _MOVES.items()
    for room, modules in rooms.items()
    for module in modules.split()
}


class _MovedModules(MetaPathFinder, Loader):
    """Find a module that was moved; it is the same object under both paths."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return ModuleSpec(fullname, self) if fullname in MOVED else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        new = MOVED[spec.name]
        warnings.warn(f"{spec.name} has moved: import {new}", DeprecationWarning, stacklevel=2)
        return import_module(new)

    def exec_module(self, module: ModuleType) -> None:
        """The module has run already; give it back the spec that the import of the alias has replaced."""
        module.__spec__ = spec_from_file_location(module.__name__, module.__file__)


def accept_old_paths() -> None:
    """Let Python find moved modules; called once, by ``xrm_sims``."""
    sys.meta_path.append(_MovedModules())
