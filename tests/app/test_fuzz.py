"""Fuzzed night sheets and command lines: each is accepted, or refused in one sentence that names the line."""

import contextlib
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer

import plans
from tests.app.conftest import make_data_root
from xrm_sims.app.cli.main import app
from xrm_sims.app.common.errors import in_one_line
from xrm_sims.app.night.computations import NightComputations
from xrm_sims.app.night.sheet_file import SheetFile
from xrm_sims.app.session.hardware import rehearsal

SOAK = (pytest.mark.soak, pytest.mark.timeout(3600))
COMMANDS = typer.main.get_command(app).commands
GOOD = re.search(r"```toml\n(.*?)```", (Path(__file__).parents[2] / "docs" / "night.md").read_text(), re.DOTALL)[1]
VALUES = [
    "0", "-1", "1", "3", "2.5", "nan", "inf", "-inf", "1e400", "1e308", "10000000000000000000000", "true", "''", "'x'",
    "'roi'", "'skip'", "'\\\\u0000'", '"""\n\n"""', "[]", "[1]", "[1, 2]", "[1, 'a']", "[[1, 2], [3, 4]]", "{}",
    "{num = 3}", "1979-05-27", "07:32:00", "0x10", "'cathode_pillar:2'", "'cathode_pillar:-2'", "'W'", "512",
]  # fmt: skip
KEYS = [
    "num", "step_deg", "exposure_s", "binning", "target", "order", "fov_um", "shape", "dwell_us", "dwell_ms", "frames",
    "centre_um", "current_pa", "size_um", "depth_um", "passes", "kind", "at", "when", "retries", "on_failure", "do",
    "name", "specimen", "title", "operator", "sweeps", "voxel_um", "kinds", "elements", "channels", "colour", "md",
    "scope", "enough", "sims", "se", "tomography", "'strange key'", "source", "bias_v", "vertices_um", "solid_fraction",
]  # fmt: skip
KINDS = [*plans.steps.KINDS, "dig"]
NAMED = re.compile(r"^night sheet \S+, line (\d+): \S")


def fuzzed_sheet(seed):
    """A valid sheet with a few lines changed, dropped, doubled, swapped or cut; sometimes only noise."""
    rng = random.Random(seed)
    lines = GOOD.splitlines()
    if rng.random() < 0.02:
        return bytes(rng.randrange(256) for _ in range(rng.randrange(300)))
    for _ in range(rng.choice([1, 1, 1, 2, 3, 6])):
        at = rng.randrange(len(lines)) if lines else 0
        change = rng.randrange(8)
        if not lines or change == 0:
            lines.insert(at, f"{rng.choice(KEYS)} = {rng.choice(VALUES)}")
        elif change == 1:
            del lines[at]
        elif change == 2:
            lines.insert(at, lines[at])
        elif change == 3 and "=" in lines[at]:
            lines[at] = f"{lines[at].partition('=')[0]}= {rng.choice(VALUES)}"
        elif change == 4:
            lines[at] = lines[at][: rng.randrange(len(lines[at]) + 1)]
        elif change == 5:
            other = rng.randrange(len(lines))
            lines[at], lines[other] = lines[other], lines[at]
        elif change == 6:
            lines += ["[[steps]]", f"do = '{rng.choice(KINDS)}'"]
            lines += [f"{key} = {rng.choice(VALUES)}" for key in rng.sample(KEYS, rng.randrange(4))]
        else:
            lines.insert(at, rng.choice(["[[samples]]", "[steps]", "[[steps.mill]]", "[a.b]", "]", "\t", "= 3", "\\x"]))
    return "\n".join(lines).encode()


def fuzzed_words(seed):
    """A command line with one or more options, most of them with an invalid value."""
    rng = random.Random(seed)
    name = rng.choice([*COMMANDS, *COMMANDS, "", "fly", "--nothing"])
    options = [option for parameter in getattr(COMMANDS.get(name), "params", []) for option in parameter.opts]
    words = [name] if name else []
    for _ in range(rng.randrange(4)):
        option = rng.choice([*options, "--nothing", "-x", "run", "extra"])
        words += [option] if rng.random() < 0.3 else [option, rng.choice(WORDS)]
    return words


WORDS = ["", "0", "-1", "nan", "inf", "1e999", "many", "W", "\x00", "ü", "-", "--", "deadbeef", "/", "'", "9" * 400]


@pytest.fixture(scope="module")
def bench_and_scope(tmp_path_factory):
    data = make_data_root(tmp_path_factory.mktemp("fuzz") / "data")
    with rehearsal(data) as (scope, check_specimen):
        yield NightComputations(data, scope.settings, data / "nights"), scope, check_specimen


def ask_for(path, bench, scope, check_specimen):
    file = SheetFile(path)
    return file.locate_errors(lambda: plans.check_sheet(scope, file.sheet, bench, check_specimen))


def check_sheets(seeds, folder, bench, scope, check_specimen):
    """Return how many were accepted; check that all others were refused correctly."""
    accepted = 0
    for seed in seeds:
        path, content = folder / "sheet.toml", fuzzed_sheet(seed)
        path.write_bytes(content)
        try:
            assert str(ask_for(path, bench, scope, check_specimen))
            accepted += 1
        except ValueError as refused:
            sentence = in_one_line(refused)
            found = NAMED.match(sentence)
            assert found, f"seed {seed}: {sentence}"
            assert 1 <= int(found[1]) <= max(1, len(content.splitlines())), f"seed {seed}: {sentence}"
            assert len(sentence) < 700, f"seed {seed}: {sentence}"
            assert "Traceback" not in sentence
    return accepted


def test_the_sheet_in_the_docs_is_a_good_one(tmp_path, bench_and_scope):
    (tmp_path / "sheet.toml").write_text(GOOD)
    assert ask_for(tmp_path / "sheet.toml", *bench_and_scope).ok


def test_a_thousand_sheets(tmp_path, bench_and_scope):
    assert 50 < check_sheets(range(1000), tmp_path, *bench_and_scope) < 950  # some are harmless, most are not


def refused_in_one_sentence(code, out, err, words):
    """Check for exit code 0, or one line of this project or click's usage with its line on stderr."""
    assert "Traceback" not in out + err, words
    if code == 0:
        return
    lines = [line for line in err.splitlines() if line]
    own = [line for line in lines if line.startswith("xrm-sims: ")]
    usage = [line for line in lines if line.startswith("Error: ")]
    assert code in (1, 2), (words, code, err)
    help_page = words == [] and err.startswith("Usage: ")
    assert len(own) + len(usage) == 1 or help_page or "[BAD]" in out, (words, err)


# what would go on for long, or sits down at a terminal, is only parsed; the same words reach the rest in processes
PARSED = ("demo", "console", "serve", "watch", "queue", "validate", "ioc", "live")


def run_words(words, command, data):
    name = words[0] if words else ""
    if name in PARSED and name in COMMANDS:
        with contextlib.suppress(SystemExit):
            COMMANDS[name].make_context(name, list(words[1:]), resilient_parsing=True)
        return
    ended = command(*words, "--preflight") if name in ("tomography", "sims") else command(*words)
    refused_in_one_sentence(ended.code if isinstance(ended.code, int) else 1, ended.out, ended.err, words)


@pytest.mark.parametrize("block", [range(40), pytest.param(range(1000, 2000), marks=SOAK)])
def test_command_lines(block, command, data, monkeypatch, tmp_path):
    monkeypatch.setenv("XRM_SIMS_DATA", str(data))
    monkeypatch.chdir(tmp_path)
    for seed in block:
        run_words(fuzzed_words(seed), command, data)


@pytest.mark.parametrize("count", [2, pytest.param(25, marks=SOAK)])
def test_real_processes(count, tmp_path):
    data = make_data_root(tmp_path / "data")
    for seed in range(count):
        (tmp_path / "sheet.toml").write_bytes(fuzzed_sheet(seed))
        words = ["night", str(tmp_path / "sheet.toml"), "--dry-run", "--data", str(data)]
        ended = subprocess.run([sys.executable, "-m", "xrm_sims.app.cli.main", *words], capture_output=True, text=True)
        refused_in_one_sentence(ended.returncode, ended.stdout, ended.stderr, words)
        assert ended.returncode == 0 or NAMED.match(ended.stderr.removeprefix("xrm-sims: ")), ended.stderr
