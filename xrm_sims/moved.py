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

# new package: modules in it, each with its old name after ">" where that was another one
_ROOMS = {
    "recon.kernels": "columns rays roll projector differences total_variation guided_variation support "
    "argument_checks>checks",
    "recon.algorithms": "solver fdk redundancy sart checkpoint beam_hardening focal_spot",
    "recon.frames": "documents flat_field>preparation prepare>prepared outliers rings view_selection>screening "
    "data_warnings>reports",
    "recon.alignment": "moments references reprojection axis outline",
    "recon.live": "run_follower>following arrivals live_volume>growing shift_prediction>tracking",
    "recon.quality": "edge_resolution>resolution fourier_shell",
    "xrm_sims.correlate.volume": "segment defects ranking",
    "xrm_sims.correlate.registration": "pillar_outline>align affine_fit active_material>appearance "
    "mutual_information>information register global_search>anywhere volume_fit",
    "xrm_sims.correlate.maps": "counting drift isotopes depth",
    "xrm_sims.correlate.phases": "profiles particles phase_statistics interference chemistry elements two_target",
    "xrm_sims.correlate.figures": "drawing phase_figures picture tomogram_figures two_target_figure",
    "xrm_sims.app.cli": "analyse>analysing exchange>exchanging plan>planning services services>serving options doctor "
    "demo",
    "xrm_sims.app.console": "commands>words prompt plot_run>plots live_picture",
    "xrm_sims.app.night": "sheet_file>sheets computations>bench queue_server>queue status_page",
    "xrm_sims.app.correlative": "workflow>experiment closed_loop rois>finding milled_away>consumed "
    "transform_chain>links place_map>placing eds>elements figures>pictures",
    "xrm_sims.app.validation": "truth dataset",
    "xrm_sims.app.planner": "predict>outlook search>wishes figure>picture",
    "xrm_sims.app.maps": "sims_maps phases",
    "xrm_sims.app.session": "recovery>leftovers metadata suspender>suspenders resume>resuming ioc night_record "
    "night_summary>morning",
    "xrm_sims.app.tomography": "tomogram>reconstruction cluster>machines resolution>sharpness live two_target",
    "xrm_sims.app.common": "rasters html>page last_frame>glance progress errors signals>stopping",
    "xrm_sims.exchange": "round_trip>keepsake provenance>about",
    "xrm_sims": "atomic_write>whole",
}


_RENAMED_INSIDE = ("xrm_sims.app.planner", "xrm_sims.exchange", "xrm_sims")  # packages that existed before


def _old_paths() -> dict[str, str]:
    paths = {}
    for room, modules in _ROOMS.items():
        for module in modules.split():
            new, _, old = module.partition(">")
            parent = (
                room
                if old and room in ("xrm_sims.app.planner", "xrm_sims.exchange", "xrm_sims")
                else room.rpartition(".")[0]
            )
            paths[f"{parent}.{old or new}"] = f"{room}.{new}"
    return paths


MOVED = _old_paths()


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
