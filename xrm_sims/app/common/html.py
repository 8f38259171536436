"""HTML pages that stand alone: text escaped by construction, one style for light and dark, pictures inside the file."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Sequence
from xml.etree import ElementTree

Element = ElementTree.Element
Node = Element | str

STYLE = """
:root { color-scheme: light dark; --ink: #1c1c1e; --paper: #fff; --faint: #5c5c63; --line: #d4d4d9; --bad: #fde8e6 }
@media (prefers-color-scheme: dark) {
  :root { --ink: #ececf0; --paper: #17171a; --faint: #a5a5ae; --line: #414147; --bad: #4d2522 } }
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem; color: var(--ink);
  background: var(--paper) }
table { border-collapse: collapse; width: 100% } th, td { text-align: left; vertical-align: top; padding: .35rem .6rem }
thead th { border-bottom: 2px solid var(--faint) } tbody th { font-weight: 600 }
tbody th, td { border-bottom: 1px solid var(--line) } caption { text-align: left; color: var(--faint) }
code { font-size: 90%; overflow-wrap: anywhere } .wide { overflow-x: auto } .wide table { min-width: 40rem }
.failed, .interrupted, .lost { background: var(--bad) } .skipped, .waiting { color: var(--faint) }
.running { font-weight: 600 } .verdict { font-size: 115% }
img { max-width: 100% } figure { margin: 1.5rem 0 } figure img { border: 1px solid var(--line) }
figcaption { color: var(--faint) } progress { width: 100%; height: 1.2rem }
"""


def element(tag: str, *children: Node, **attributes: object) -> Element:
    """``class_`` stands for class, an underscore within a name for a hyphen; an attribute that is None is left out."""
    named = {name.rstrip("_").replace("_", "-"): str(value) for name, value in attributes.items() if value is not None}
    made = Element(tag, named)
    for child in children:
        if not isinstance(child, str):
            made.append(child)
        elif len(made):
            made[-1].tail = (made[-1].tail or "") + child
        else:
            made.text = (made.text or "") + child
    return made


def document(title: str, *body: Node, style: str = "", script: str = "", refresh_s: int | None = None) -> str:
    """A whole page. Only its own script runs, and its policy lets a browser fetch nothing from elsewhere."""
    allowed = [
        "default-src 'none'",
        "img-src 'self' data:",
        "style-src 'unsafe-inline'",
        f"script-src 'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'",
    ]
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        Element("meta", {"http-equiv": "Content-Security-Policy", "content": "; ".join(allowed)}),
        *([] if refresh_s is None else [Element("meta", {"http-equiv": "refresh", "content": str(refresh_s)})]),
        element("title", title),
        element("style", STYLE + style),
    )
    scripts = [element("script", script)] if script else []
    page = element("html", head, "\n", element("body", "\n", *_lines([*body, *scripts])), lang="en")
    text = f"<!doctype html>\n{ElementTree.tostring(page, encoding='unicode', method='html')}\n"
    return text.encode("utf-8", "replace").decode()  # half a surrogate pair from a JSON file is no text


def table(
    head: Sequence[str],
    rows: Iterable[Sequence[Node]],
    *,
    caption: str = "",
    classes: Sequence[str | None] = (),
) -> Element:
    """Column heads, and the first cell of each row as the head of that row; ``classes`` are of the rows."""
    lines = []
    for number, (first, *rest) in enumerate(rows):
        cells = [element("th", first, scope="row"), *(element("td", cell) for cell in rest)]
        lines.append(element("tr", *cells, class_=classes[number] if classes else None))
    return element(
        "div",
        element(
            "table",
            *([element("caption", caption)] if caption else []),
            element("thead", element("tr", *(element("th", name, scope="col") for name in head))),
            element("tbody", *_lines(lines)),
        ),
        class_="wide",
        tabindex="0",  # so that keys can scroll it where it is wider than the window
    )


def picture(image: bytes, alt: str, caption: Node = "", kind: str = "png") -> Element:
    """A figure with the image inside the page."""
    shown = element("img", src=embedded(image, kind), alt=alt)
    return element("figure", shown, *([element("figcaption", caption)] if caption else []))


def embedded(image: bytes, kind: str = "png") -> str:
    """The address of an image that lies in the page itself."""
    return f"data:image/{kind};base64,{base64.b64encode(image).decode()}"


def _lines(nodes: Iterable[Node]) -> list[Node]:
    """Each on a line of its own."""
    return [part for node in nodes for part in (node, "\n")]
