"""JSON: its fields are stable, and it never carries a bare NaN."""

import importlib
import json

import pytest
from gradscope.builtin import gradscope_rules
from gradscope.reporters.json import json as reporter

from tests.specimens import healthy_run, judged, stuck

VERDICT = {"code", "name", "severity", "module", "source", "step", "evidence", "remedies", "consequence_of"}
EVIDENCE = {"quantity", "value", "relation", "threshold", "step", "parameter"}
REMEDY = {"name", "title", "reason", "code", "reference"}


def refuse(constant: str):
    raise AssertionError(f"bare {constant} in JSON")


def rendered(*histories) -> dict:
    """The report on some histories, written as JSON and read back strictly."""
    return json.loads(reporter.render(judged(*histories)), parse_constant=refuse)


def test_a_healthy_run_has_all_fields():
    data = rendered(healthy_run())
    assert data == {
        "status": "healthy",
        "verdicts": [],
        "not_judged": [],
        "cannot": None,
        "failure": None,
        "watched": data["watched"],
        "failures": {},
    }
    assert data["watched"]["steps"] == 100


@pytest.mark.parametrize("name", [r.name for r in gradscope_rules()])
def test_the_verdict_of_every_rule_has_its_fields_and_no_bare_nan(name):
    data = rendered(importlib.import_module(f"tests.rules.test_{name.replace('-', '_')}").sick())
    assert data["status"] == "unhealthy"
    for verdict in data["verdicts"]:
        assert set(verdict) >= VERDICT
        assert verdict["severity"] in {"error", "warning", "info"}
        assert verdict["evidence"]
        assert all(set(e) >= EVIDENCE for e in verdict["evidence"])
        assert all(set(r) >= REMEDY for r in verdict["remedies"])


def test_a_value_that_is_not_finite_is_text():
    data = rendered(healthy_run(gradients={"first.weight": [1.0] * 50 + [float("inf")] * 50}))
    assert [e["value"] for v in data["verdicts"] if v["code"] == "GS002" for e in v["evidence"]] == ["inf"]


def test_verdicts_keep_the_order_of_the_report():
    history = healthy_run(loss=stuck(100), run={"carried_over": 1})
    assert [(v["name"], v["consequence_of"]) for v in rendered(history)["verdicts"]] == [
        ("stale-gradient", None),
        ("stalled-loss", "stale-gradient"),
    ]


def test_what_was_not_judged_has_rule_and_reason():
    data = rendered(healthy_run(call=None))
    assert {"rule": "over-regularized", "reason": "no prediction and target were seen at a loss"} in data["not_judged"]


def test_what_could_not_be_judged_says_why():
    data = rendered(healthy_run(2))
    assert (data["status"], data["cannot"]) == (
        "not-judged",
        "only 2 optimizer steps seen; at least 5 are needed",
    )
