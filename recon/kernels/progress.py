"""Types of the callables that long computations report their progress to."""

from collections.abc import Callable

Fraction = Callable[[float], None]  # called with the finished fraction, 0 to 1
Progress = Callable[[str, float], None]  # called with the name of the stage and the finished fraction of it
STAGES = ("reading", "alignment", "reconstruction")


def progress_of_stage(progress: Progress | None, stage: str) -> Fraction | None:
    """Return what reports the fractions of one stage to ``progress``; None when nothing is to be reported."""
    return None if progress is None else lambda fraction: progress(stage, fraction)
