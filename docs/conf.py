"""How ``make docs`` builds these pages: warnings are errors, and the tutorial is run."""

import sys
from pathlib import Path

from sphinx.application import Sphinx

import xrm_sims.app.session.session  # noqa: F401 (pydantic's models cannot be made while autodoc imports)

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

project = "xrm-sims"
html_title = project
html_theme = "furo"
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinxcontrib.mermaid"]
myst_fence_as_directive = ["mermaid"]
exclude_patterns = ["_build"]
highlight_language = "none"

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
napoleon_use_ivar = True

nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 900
nb_output_stderr = "remove"


def setup(app: Sphinx) -> None:
    """Draw the figures that are not kept as files."""
    from frames_figure import draw

    (HERE / "_build").mkdir(exist_ok=True)
    draw(HERE / "_build" / "frames.png")
