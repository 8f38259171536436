"""Night sheets: specimens, their steps, and what happens when a step fails."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from plans.validation import did_you_mean, in_words, shortened

Where = tuple[str | int, ...]
OnFailure = Literal["skip", "next_sample", "stop"]
When = Literal["always", "roi_found", "nothing_failed"]
MAX_RETRIES = 10
Retries = Annotated[int, Field(ge=0, le=MAX_RETRIES)]
Words = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")]


class SheetError(ValueError):
    """A mistake on a night sheet; ``where`` is the path to it, for example ``("samples", 0, "steps", 2, "num")``."""

    def __init__(self, where: Where, sentence: str) -> None:
        super().__init__(f"{place(where)}: {sentence}" if where else sentence)
        self.where = where
        self.sentence = sentence


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Step(_Table, extra="allow"):
    """One step. Further keys are arguments of the plan or computation ``do``.

    retries : number of repetitions before the step counts as failed.
    on_failure : continue with the next step ("skip") or the next specimen ("next_sample"), or end the night ("stop").
    when : "always", "roi_found", or "nothing_failed" (on this specimen so far).
    at : "roi" takes place and size from the ROI.
    """

    do: str
    retries: Retries | None = None
    on_failure: OnFailure | None = None
    when: When = "always"
    at: Literal["roi"] | None = None

    @property
    def arguments(self) -> dict[str, Any]:
        return dict(self.__pydantic_extra__ or {})


class Sample(_Table):
    """A specimen: its name, its name on the instrument (default: the mounted specimen), and its steps."""

    name: Words
    specimen: Words | None = None
    steps: Annotated[tuple[Step, ...], Field(strict=False)] = ()


class Sheet(_Table):
    """A night sheet; ``steps`` are for all samples without steps of their own."""

    title: Words = "Night"
    operator: Words | None = None
    retries: Retries = 0
    on_failure: OnFailure = "next_sample"
    steps: Annotated[tuple[Step, ...], Field(strict=False)] = ()
    samples: Annotated[tuple[Sample, ...], Field(strict=False, min_length=1)]

    def steps_of(self, sample: Sample) -> tuple[Step, ...]:
        return sample.steps or self.steps

    def where(self, sample: int, step: int) -> Where:
        """Return the path to a step of a sample."""
        own: Where = ("samples", sample) if self.samples[sample].steps else ()
        return (*own, "steps", step)

    def retries_of(self, step: Step, repeatable: bool) -> int:
        return (step.retries if step.retries is not None else self.retries) if repeatable else 0

    def on_failure_of(self, step: Step) -> OnFailure:
        return step.on_failure or self.on_failure


def read_sheet(table: Sheet | Mapping[str, Any]) -> Sheet:
    """Return the sheet in a table, for example of a TOML file. SheetError for the first mistake."""
    if isinstance(table, Sheet):
        return table
    if not isinstance(table, Mapping):
        raise SheetError((), f"a night sheet needs a table with samples and steps, got {type(table).__name__}")
    try:
        sheet = Sheet.model_validate(dict(table))
    except ValidationError as error:
        raise _first(error) from None
    for number, sample in enumerate(sheet.samples):
        if not sheet.steps_of(sample):
            raise SheetError(
                ("samples", number), f"{sample.name!r} has no steps, and the sheet has no steps for all samples"
            )
    _check_unique(sheet, "name")
    _check_unique(sheet, "specimen")
    return sheet


def _check_unique(sheet: Sheet, field: str) -> None:
    count = Counter(getattr(sample, field) for sample in sheet.samples)
    for number, sample in enumerate(sheet.samples):
        value = getattr(sample, field)
        if value is not None and count[value] > 1:
            raise SheetError(
                ("samples", number, field),
                f"{count[value]} samples have the {field} {value!r}; list all steps under one sample",
            )


def _first(error: ValidationError) -> SheetError:
    """Return the first of pydantic's errors as one sentence."""
    found = error.errors(include_url=False)[0]
    where, kind = tuple(found["loc"]), found["type"]
    if kind == "missing":
        return SheetError(where[:-1], f"needs {where[-1]!r}, which is not there")
    if kind == "extra_forbidden":
        known = list((Sample if "samples" in where else Sheet).model_fields)
        return SheetError(where, f"there is no such entry{did_you_mean(str(where[-1]), known)}")
    return SheetError(where, f"needs {in_words(found)}, got {shortened(found['input'])}")


def place(where: Where) -> str:
    """Return a path as text, for example ``samples[0].steps[2].num``."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in where).lstrip(".")
