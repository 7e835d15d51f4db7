"""[tool.gradscope], --set, and the codes and names that stand for rules."""

import pytest
from gradscope.builtin import gradscope_rules
from gradscope.errors import SettingsError, UnknownRule
from gradscope.settings import (
    Settings,
    find_pyproject,
    load_settings,
    match_rules,
    parse_override,
    parse_settings,
)

RULES = gradscope_rules()


def test_a_table_becomes_settings():
    table = {
        "select": ["GS1"],
        "ignore": ["stalled-loss"],
        "fail-on": "warning",
        "steps": 50,
        "format": "json",
        "rules": {"GS201": {"limit": 0.5}},
    }
    assert parse_settings(table, where="here") == Settings(
        ("GS1",), ("stalled-loss",), "warning", 50, "json", {"GS201": {"limit": 0.5}}
    )


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ([], "here: expected a table, got []"),
        ({"select": "GS1"}, "here: select must be a list of rule codes or names, got 'GS1'"),
        ({"select": []}, "here: select must name at least one rule, got []; leave it out for all"),
        ({"ignore": [1]}, "here: ignore must be a list of rule codes or names, got [1]"),
        ({"fail-on": "fatal"}, "here: fail-on must be one of error, warning, info, never, got 'fatal'"),
        ({"steps": 0}, "here: steps must be a whole number from 1, got 0"),
        ({"steps": True}, "here: steps must be a whole number from 1, got True"),
        ({"steps": 1.5}, "here: steps must be a whole number from 1, got 1.5"),
        ({"format": 3}, "here: format must be the name of a format, got 3"),
        ({"rules": 3}, "here: rules must hold one table per rule, such as [tool.gradscope.rules.GS101]"),
        ({"rules": {"GS1": 3}}, "here: rules must hold one table per rule, such as [tool.gradscope.rules.GS101]"),
        (
            {"selekt": []},
            "here: unknown key 'selekt'; known keys: select, ignore, fail-on, steps, format, rules",
        ),
    ],
)
def test_a_wrong_table_is_refused_with_key_value_and_what_was_expected(table, message):
    with pytest.raises(SettingsError) as caught:
        parse_settings(table, where="here")
    assert str(caught.value) == message


@pytest.mark.parametrize("value", [[], {}])
def test_a_fail_on_that_is_no_text_is_refused(value):
    with pytest.raises(SettingsError, match="fail-on must be one of"):
        parse_settings({"fail-on": value}, where="here")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("GS201.limit=0.3", ("GS201", "limit", 0.3)),
        ("oversized-update.limit=1e-3", ("oversized-update", "limit", 1e-3)),
        ("GS401.nearly-all=1", ("GS401", "nearly_all", 1.0)),
        (" GS201 . limit = 2 ", ("GS201", "limit", 2.0)),
    ],
)
def test_an_override_is_a_rule_a_threshold_and_a_number(text, expected):
    assert parse_override(text) == expected


@pytest.mark.parametrize("text", ["", "GS201", "GS201.limit", "GS201=3", ".limit=3", "GS201.=3", "GS201.limit=x"])
def test_a_wrong_override_is_refused(text):
    with pytest.raises(SettingsError) as caught:
        parse_override(text)
    assert str(caught.value) == f"--set {text!r}: expected RULE.threshold=number, such as GS201.limit=0.3"


@pytest.mark.parametrize(
    ("keys", "names"),
    [
        (["GS102"], {"exploding-gradient"}),
        (["gs102"], {"exploding-gradient"}),
        (["Exploding-Gradient"], {"exploding-gradient"}),
        (["GS70", "GS604"], {"gradient-underflow", "loss-scale-collapse", "broadcast-loss"}),
        (["GS30"], {"diverging-loss", "stalled-loss", "oscillating-loss", "slow-convergence"}),
        ([], set()),
    ],
)
def test_keys_are_code_prefixes_or_names(keys, names):
    assert match_rules(keys, RULES, where="select") == names


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("GS999", "`gradscope rule` lists them all"),
        ("", "`gradscope rule` lists them all"),
        ("explod", "did you mean exploding-gradient"),
    ],
)
def test_an_unknown_key_is_refused(key, hint):
    with pytest.raises(UnknownRule, match=f"select: no rule has the code or name {key!r}; {hint}"):
        match_rules([key], RULES, where="select")


def test_an_unknown_key_names_what_is_near():
    with pytest.raises(UnknownRule, match=r"did you mean .*vanishing-gradient"):
        match_rules(["vanishing-gradiant"], RULES, where="select")


def test_a_prefix_is_no_exact_code():
    with pytest.raises(UnknownRule, match="rule: no rule has the code or name 'GS10'"):
        match_rules(["GS10"], RULES, where="rule", exact=True)


def test_what_is_given_replaces_and_thresholds_are_joined():
    settings = Settings(select=("GS1",), thresholds={"GS201": {"limit": 1.0, "typical": 2.0}, "GS1": {"a": 1.0}})
    merged = settings.merged(select=(), fail_on=None, steps=7, thresholds={"GS201": {"limit": 3.0}})
    assert (merged.select, merged.fail_on, merged.steps) == (("GS1",), "error", 7)
    assert merged.thresholds == {"GS201": {"limit": 3.0, "typical": 2.0}, "GS1": {"a": 1.0}}
    assert settings.thresholds["GS201"]["limit"] == 1.0


def test_the_nearest_pyproject_is_found(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "pyproject.toml").write_text("")
    assert find_pyproject(tmp_path / "a" / "b") == tmp_path / "pyproject.toml"


def test_settings_are_read_from_a_file(tmp_path):
    (tmp_path / "pyproject.toml").write_text("[tool.gradscope]\nsteps = 9\n[tool.gradscope.rules.GS201]\nlimit = 1\n")
    assert load_settings(tmp_path / "pyproject.toml") == Settings(steps=9, thresholds={"GS201": {"limit": 1}})


@pytest.mark.parametrize("text", ["", "[tool]\n", "[tool.other]\nx = 1\n"])
def test_without_a_table_the_defaults_hold(tmp_path, text):
    (tmp_path / "pyproject.toml").write_text(text)
    assert load_settings(tmp_path / "pyproject.toml") == Settings() == load_settings(None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[tool.gradscope\n", "pyproject.toml: not valid TOML: "),
        ("[tool]\ngradscope = 3\n", r"pyproject.toml \[tool.gradscope\]: expected a table, got 3"),
        ("tool = 3\n", "pyproject.toml"),
        ("[tool.gradscope]\nstepps = 3\n", r"pyproject.toml \[tool.gradscope\]: unknown key 'stepps'"),
    ],
)
def test_a_broken_file_is_refused_by_its_name(tmp_path, text, message):
    (tmp_path / "pyproject.toml").write_text(text)
    with pytest.raises(SettingsError, match=message):
        load_settings(tmp_path / "pyproject.toml")


def test_a_file_that_is_no_text_is_refused_by_its_name(tmp_path):
    (tmp_path / "pyproject.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(SettingsError, match=r"pyproject\.toml"):
        load_settings(tmp_path / "pyproject.toml")
