"""Night sheets as files: a refusal names the line."""

import pytest

from xrm_sims.app.night.sheet_file import SheetFile, line_of, lines_of

SHEET = '''\
# a night
title = "Two"   # [not a header]
on_failure = "skip"

[[samples]]
name = """
Kokam
A"""
[[samples.steps]]
do = "correlative"
sims.shape = [
  16, # [[steps]]
  16,
]
[samples.steps.tomography]
num = 3

[[samples]]
name = "B"
[[samples.steps]]
do = "se_image"
[[samples.steps]]
do = "tomography"
"num" = 5
'''


@pytest.mark.parametrize(
    ("where", "line"),
    [
        ((), 1),
        (("title",), 2),
        (("samples", 0), 5),
        (("samples", 0, "name"), 6),
        (("samples", 0, "steps", 0), 9),
        (("samples", 0, "steps", 0, "sims", "shape", 1), 11),
        (("samples", 0, "steps", 0, "tomography"), 15),
        (("samples", 0, "steps", 0, "tomography", "num"), 16),
        (("samples", 0, "steps", 0, "tomography", "nothing there"), 15),
        (("samples", 1), 18),
        (("samples", 1, "steps", 1, "num"), 24),
    ],
)
def test_where_things_stand(where, line):
    assert line_of(where, lines_of(SHEET)) == line


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (b"title = ", "line 1: invalid value"),
        (b"title = 'a'\ntitle = 'b'\n", "line 2: this key or table exists already"),
        (b"title = 'a'\n\xff\n", "line 2: is not UTF-8 text"),
        (b"title = 'a'\n", "line 1: needs 'samples', which is not there"),
        (b"title = 'a'\n[[samples]]\nname = 'x'\n[[steps]]\ndo = 'tomography'\nretries = -1\n", "line 6: .*at least 0"),
        (b"[[samples]]\nname = 'x'\nspecimen = 'y'\nseed = 3\n", "line 4: samples.0..seed: there is no such entry"),
        (b"samples = [\n" * 3000, "are nested too deeply|line"),
        (b"#" * (1 << 21), "is larger than 1 MiB"),
    ],
)
def test_what_is_no_sheet(tmp_path, text, told):
    path = tmp_path / "sheet.toml"
    path.write_bytes(text)
    with pytest.raises(ValueError, match=told) as refused:
        SheetFile(path)
    assert str(refused.value).startswith(f"night sheet {path}")
    assert "\n" not in str(refused.value)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ValueError, match=r"cannot be read \(No such file or directory\)"):
        SheetFile(tmp_path / "none.toml")
    with pytest.raises(ValueError, match=r"cannot be read \(Is a directory\)"):
        SheetFile(tmp_path)
