"""A step that failed, saved and run again in another process and folder, fails at the same origin."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

from tests.adapters.torch.bundle.conftest import replay, replayed
from tests.adapters.torch.bundle.programs import PROGRAMS

EXACT = ("phase", "op", "module", "module_class", "count", "samples", "features", "shapes", "spread", "reason", "step")


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_origin_is_the_same_in_another_process(name: str, replays: dict[str, dict[str, Any]]) -> None:
    program, found = PROGRAMS[name], replays[name]
    assert found.get("same") is True, found
    assert not found["finite"]
    assert found["step"] == program.step
    origin: dict[str, Any] = found["origin"]
    exact = [k for k in EXACT if k != "reason" or origin["phase"] != "parameter"]  # since when: only the run knows
    assert {k: origin[k] for k in exact} == {k: found["saved_origin"][k] for k in exact}
    expected = dict(program.origin)
    assert (origin["source"] or "").endswith(expected.pop("source", ""))
    assert {k: origin[k] for k in expected} == expected
    if program.samples:
        assert origin["samples"] == program.samples


def test_the_text_names_origin_place_and_cause(elsewhere: Callable[[str], Path]) -> None:
    done = replay(elsewhere("forward"))
    assert done.returncode == 1
    assert done.stdout.startswith("NOT FINITE: first values that are not finite, made by sqrt in the forward pass")
    assert "model.py:12" in done.stdout
    assert "samples of the batch 5" in done.stdout
    assert "saved as  the same origin" in done.stdout


def test_a_mended_model_stays_finite(elsewhere: Callable[[str], Path]) -> None:
    folder = elsewhere("forward")
    text = (folder / "model.py").read_text()
    (folder / "model.py").write_text(text.replace("torch.sqrt(self.stem(x) + 100)", "self.stem(x).abs().sqrt()"))
    found = replayed(folder)
    assert found["code"] == 0
    assert found["finite"]
    assert found["origin"] is None
    assert found["saved_origin"]["op"] == "sqrt"


def test_another_fault_is_told_apart(elsewhere: Callable[[str], Path]) -> None:
    folder = elsewhere("forward")
    text = (folder / "model.py").read_text()
    (folder / "model.py").write_text(text.replace("torch.sqrt(self.stem(x) + 100)", "torch.log(self.stem(x) + 100)"))
    done = replay(folder)
    assert done.returncode == 1
    assert "made by log in the forward pass" in done.stdout
    assert "saved as  another origin: op 'sqrt'" in done.stdout
