"""The paper's measurements on the twin, row by row: statement, figure with its uncertainty, limits, pass or fail.

Every figure comes out of runs that the RunEngine recorded, as it would on an instrument; the specimen's truth serves
for labels, paths and places alone. Nothing but the validation and the tests may read that truth.
"""

from xrm_sims.app.validation.report import markdown
from xrm_sims.app.validation.rows import Row
from xrm_sims.app.validation.run import ROWS, validate

__all__ = ["ROWS", "Row", "markdown", "validate"]
