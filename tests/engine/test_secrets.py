"""Secret parameters of a recipe are in no file of its run."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.commands import run_command
from tests.support.engine_recipes import run_script
from tests.support.engine_service import serving

_QUOTES = """
def get_requests(token="", password="", count=4):
    return list(range(count))

def get_result(index, unit, token="", password="", count=4):
    if index == 3:
        raise ValueError(f"the shop refused {token} of {password}")
    return b"bytes"
"""
_TOKEN, _PASSWORD = "5ecre7-7oken", "pa55 & word"


def test_no_file_of_a_run_has_the_secrets_that_its_recipe_was_given(tmp_path: Path) -> None:
    with serving() as service:
        secrets = {"token": _TOKEN, "password": _PASSWORD}
        command = f"eechips run quotes.py -p token={_TOKEN} -p 'password={_PASSWORD}'"
        run = run_script(tmp_path, _QUOTES, service.url, parameters=secrets, command=command)
    assert [error.count("***") for error in run.failures["error"]] == [2]
    kept = {path.name: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".py"}
    assert "run.json" in kept
    assert "run.log" in kept
    for name, content in kept.items():
        for secret in (_TOKEN, _PASSWORD, "& word"):
            assert secret.encode() not in content, name


def test_no_file_of_a_run_has_the_secrets_of_its_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_API_KEY", _TOKEN)
    for name, value in (("NEXT_TOKEN", "shop"), ("TOKEN_KIND", "ValueError"), ("OLDPWD", str(tmp_path))):
        monkeypatch.setenv(name, value)  # no secrets: a word of a switch, a longer one, a folder
    recipe = _QUOTES.replace("{token}", "{os.environ['SHOP_API_KEY']}")
    with serving() as service:
        run = run_script(tmp_path, f"import os\n{recipe}", service.url, parameters={"token": "none"}, command="eechips")
    assert list(run.failures["error"]) == ["ValueError: the shop refused *** of "]
    assert str(tmp_path) in run.units["traceback"].dropna().iloc[0]
    kept = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".py"]
    assert not any(_TOKEN.encode() in content for content in kept)


def test_a_plan_says_that_its_lines_have_a_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers need the command as it is; who writes the lines into a shared place should know."""
    monkeypatch.chdir(tmp_path)
    Path("quotes.py").write_text(f"NEEDS_SERVICE = False\n{_QUOTES}")
    open_plan = run_command("plan", "run", "quotes.py", "-p", "count=1", status=0)
    assert "secret" not in open_plan.stderr
    planned = run_command("plan", "run", "quotes.py", "-p", "count=1", "-p", f"token={_TOKEN}", status=0)
    assert _TOKEN in planned.stdout
    assert "each line has a secret of the command, for the workers alone" in planned.stderr
    assert "token=***" in planned.stderr
    assert _TOKEN not in planned.stderr
