"""HTML pages from Jinja2 templates: every value is escaped, pictures lie inside the page."""

from __future__ import annotations

import base64
import hashlib
import time
from functools import cache
from typing import TYPE_CHECKING, Any

from plans.preflight import duration

if TYPE_CHECKING:
    from jinja2 import Environment


def render(template: str, **values: object) -> str:
    """Return the page of a template, for example ``report/report.html.j2``, named from the folder ``xrm_sims/app``."""
    page = _environment().get_template(template).render(values)
    return page.encode("utf-8", "replace").decode()  # JSON can hold half a surrogate pair, which is not text


def render_macro(template: str, macro: str, **values: object) -> Any:
    """Return the markup that one macro of a template makes of these values."""
    return getattr(_environment().get_template(template).module, macro)(**values)


def local_time(at_s: float, form: str = "%Y-%m-%d %H:%M") -> str:
    """Return seconds since the epoch as date and time of this computer's time zone."""
    return time.strftime(form, time.localtime(at_s))


@cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined  # here, because most commands write no page

    environment = Environment(
        loader=PackageLoader("xrm_sims.app", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"duration": duration, "local_time": local_time, "data_url": _data_url, "sha256": _sha256}
    return environment


def _data_url(image: bytes, kind: str = "png") -> str:
    return f"data:image/{kind};base64,{base64.b64encode(image).decode()}"


def _sha256(script: str) -> str:
    """Return the hash by which a content-security policy allows a script."""
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
