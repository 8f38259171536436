import re
import shlex

import pytest
import typer

from xrm_sims.app.cli.main import app

COMMANDS = typer.main.get_command(app).commands


@pytest.mark.parametrize("name", COMMANDS)
def test_help_shows_an_example_that_can_be_typed(name, command, tmp_path, monkeypatch):
    ended = command(name, "--help")
    assert ended.code == 0
    assert "Example: xrm-sims" in ended.out
    example = re.search(r"Example: xrm-sims (.*)$", COMMANDS[name].help.strip())
    (tmp_path / "demo" / "data" / "journal").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XRM_SIMS_DATA", str(tmp_path / "demo" / "data"))
    said, *words = shlex.split(example[1])
    assert said == name
    COMMANDS[name].make_context(name, words)  # parses every word


def test_version(command):
    ended = command("--version")
    assert (ended.code, ended.err) == (0, "")
    assert re.fullmatch(r"xrm-sims \d+\.\d+\.\d+\n", ended.out)


def test_the_doctor_says_what_is_wrong(data, command):
    healthy = command("doctor", "--data", data)
    assert "[ok] no instrument there yet" in healthy.out
    (data / "settings.toml").write_text("[detector]\nrows = 'many'\n")
    ill = command("doctor", "--data", data)
    assert ill.code == 1
    assert "[BAD] settings: settings file" in ill.out
