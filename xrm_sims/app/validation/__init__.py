"""The paper's measurements repeated on the twin, row by row: statement, figure with uncertainty, limits, pass or fail.

Every figure is computed from runs that the RunEngine recorded, as on an instrument. The true specimen gives only
labels, paths and positions. Only the validation, the labelled data set and the tests may read it.
"""

from xrm_sims.app.validation.report import markdown
from xrm_sims.app.validation.rows import Row
from xrm_sims.app.validation.run import ROWS, validate

__all__ = ["ROWS", "Row", "markdown", "validate"]
