"""`gradscope rule`, `gradscope plugins`, --help and --version: pages that cost no framework."""

from __future__ import annotations

import json
import subprocess
import sys

import gradscope as package
import pytest
from gradscope.plugins import plugins

from tests.cli.programs import gradscope

FRAMEWORKS = ("torch", "tensorflow", "jax", "keras", "mxnet")


@pytest.mark.parametrize("key", ["GS012", "gs012", "stale-gradient"])
def test_a_rule_is_explained_by_code_and_by_name(key: str) -> None:
    result = gradscope("rule", key)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.startswith("GS012 stale-gradient\n\nGradients carry over from the step before")


@pytest.mark.parametrize("part", ["What it does", "Why is this bad", "Thresholds", "Not flagged"])
@pytest.mark.parametrize("code", [r.code for r in plugins().rules()])
def test_the_page_of_every_rule_has_all_parts(code: str, part: str) -> None:
    assert f"{part}:" in gradscope("rule", code).stdout


@pytest.mark.parametrize("code", [r.code for r in plugins().rules() if r.thresholds])
def test_the_page_of_a_rule_shows_how_to_set_each_threshold(code: str) -> None:
    page = gradscope("rule", code).stdout
    assert f"Set with [tool.gradscope.rules.{code}] or --set:" in page
    assert all(f"  {code}.{name} = {value}" in page for name, value in plugins().rule(code).thresholds.items())


def test_all_rules_are_listed_with_code_name_and_summary() -> None:
    lines = gradscope("rule").stdout.splitlines()
    assert [line.split()[:2] for line in lines] == [[r.code, r.name] for r in plugins().rules()]


@pytest.mark.parametrize(
    ("key", "near"),
    [
        ("stale-gradients", "stale-gradient"),
        ("GS01", "GS012"),
        ("vanishing", "vanishing-gradient"),
    ],
)
def test_an_unknown_rule_suggests_near_names(key: str, near: str) -> None:
    result = gradscope("rule", key)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(f"gradscope: rule: no rule has the code or name {key!r}; did you mean ")
    assert near in result.stderr


@pytest.mark.parametrize("key", ["zzz", "GS999"])
def test_an_unknown_rule_that_is_near_none_suggests_the_list(key: str) -> None:
    result = gradscope("rule", key)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == (
        f"gradscope: rule: no rule has the code or name {key!r}; `gradscope rule` lists them all\n"
    )


def test_the_help_of_check_lists_the_exit_codes() -> None:
    page = gradscope("check", "--help").stdout
    told = page.partition("Exit codes\n")[2].splitlines()[:3]
    assert [line.split()[0] for line in told] == ["0", "1", "2"]
    assert "--fail-on" in told[0]


def test_plugins_lists_frameworks_formats_and_rules() -> None:
    result = gradscope("plugins")
    assert result.exit_code == 0
    lines = {line.split()[0]: line for line in result.stdout.splitlines()}
    assert "gradscope" in lines["plugins"]
    assert "torch" in lines["plugins"]
    assert lines["framework"] == "framework   torch (installed)"
    assert {"text", "json"} <= {x.strip(",") for x in lines["formats"].split()[1:]}
    assert lines["rules"].startswith(f"rules       {len(plugins().rules())}: GS001 non-finite-loss")
    assert "FAILED" not in lines


@pytest.mark.parametrize("option", ["--help", "-h"])
@pytest.mark.parametrize("command", [[], ["check"], ["rule"], ["plugins"]])
def test_help_of_every_command(command: list[str], option: str) -> None:
    result = gradscope(*command, option)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.startswith("Usage: ")


def test_help_lists_every_command() -> None:
    page = gradscope("--help").stdout
    assert all(f"\n  {name} " in page for name in ("check", "rule", "plugins"))


def test_an_unknown_command_is_refused() -> None:
    result = gradscope("chekc")
    assert result.exit_code == 2
    assert "No such command 'chekc'" in result.stderr


def test_the_version_is_that_of_the_package() -> None:
    result = gradscope("--version")
    assert (result.exit_code, result.stdout) == (0, f"gradscope, version {package.__version__}\n")


@pytest.mark.parametrize(
    "arguments", [["--help"], ["check", "--help"], ["rule"], ["rule", "GS012"], ["plugins"], ["check", "missing.py"]]
)
def test_pages_import_no_framework(arguments: list[str]) -> None:
    code = (
        "import json, sys\n"
        "from gradscope_cli.main import main\n"
        "try:\n    main()\n"
        "except SystemExit:\n    pass\n"
        f"print(json.dumps([m for m in {FRAMEWORKS!r} if m in sys.modules]), file=sys.stderr)\n"
    )
    result = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    assert json.loads(result.stderr.splitlines()[-1]) == []


def test_importing_the_package_imports_no_framework() -> None:
    code = f"import sys, gradscope; print([m for m in {FRAMEWORKS!r} if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "[]\n"
