"""Trials of scripts: real programs, changed and run."""

import json

import pytest
from gradscope.errors import UsageError
from gradscope.settings import Settings
from gradscope.trials.outcome import Result
from gradscope.trials.plan import Plan
from gradscope.trials.scripts import try_script
from gradscope.trials.table import rendered

from tests.trials.programs import HEALTHY, SILENT, STALE, TOO_FAST

SHORT = Settings(steps=60)
PLAN = Plan(budget_s=300, seeds=2, jobs=2)


@pytest.fixture
def held(tmp_path):
    """Tries the remedies of a text."""

    def hold(text, plan=PLAN):
        file = tmp_path / "train.py"
        file.write_text(text)
        found = try_script(file, (), SHORT, plan)
        assert file.read_text() == text
        return found

    return hold


def test_the_cure_is_found_and_measured(held):
    trial = held(STALE)
    best = trial.outcomes[0]
    assert trial.before[0] == "stale-gradient"
    assert (best.name, best.result, best.verdict) == ("add-zero-grad", Result.CURES, "stale-gradient")
    assert trial.measure.name == "test error"
    assert best.effect.seeds == (0, 1)
    assert best.effect.better
    assert best.after == ()
    json.dumps(trial.as_dict(), allow_nan=False)


def test_a_learning_rate_is_tried_at_several_strengths(held):
    trial = held(TOO_FAST)
    tried = [o.name for o in trial.outcomes if o.name.startswith("lower-learning-rate")]
    assert len(tried) >= 2
    assert trial.best.result is Result.CURES
    assert trial.best.effect.gain > 0.1
    table = rendered(trial)
    assert table.splitlines()[1].startswith("cures        lower-learning-rate (")
    assert "compared by test accuracy (printed; more is better)" in table


def test_a_program_that_prints_nothing_is_compared_by_its_training(held):
    trial = held(SILENT, Plan(budget_s=300, seeds=2, jobs=2, only=("lower-learning-rate",)))
    assert trial.measure.occurrence == "training"
    assert trial.measure.name == "error / that of a constant prediction"
    assert trial.best.result is Result.CURES
    assert "the program printed no number with a name" in trial.notes[0]


def test_a_healthy_program_has_nothing_to_try(held):
    trial = held(HEALTHY)
    assert (trial.outcomes, trial.cannot) == ((), "nothing was found: there is nothing to cure")
    assert rendered(trial) == "nothing to try: nothing was found: there is nothing to cure"


def test_a_metric_that_is_not_printed_is_refused(held):
    with pytest.raises(UsageError, match="--metric 'f1': the program printed no such number"):
        held(TOO_FAST, Plan(metric="f1"))


def test_a_spent_budget_leaves_the_rest_untried(held):
    trial = held(TOO_FAST, Plan(budget_s=0.01, jobs=1))
    assert {o.result for o in trial.outcomes} <= {Result.NOT_TRIED, Result.NOT_APPLIED}
    assert trial.best is None


def test_a_program_that_is_broken_by_a_remedy_is_told(held):
    text = TOO_FAST.replace("torch.optim.SGD(model.parameters(), lr=300.0)", "SGD(model, 300.0)").replace(
        "criterion =",
        "def SGD(m, lr):\n    assert lr > 100\n    return torch.optim.SGD(m.parameters(), lr)\ncriterion =",
    )
    lines = text.splitlines(keepends=True)
    moved = next(i for i, x in enumerate(lines) if x.startswith("optimizer = "))
    optimizer = lines.pop(moved)
    at = next(i for i, x in enumerate(lines) if x.startswith("criterion ="))
    lines.insert(at, optimizer)
    trial = held("".join(lines), Plan(budget_s=300, seeds=1, jobs=2, only=("lower-learning-rate",)))
    assert [o.result for o in trial.outcomes] == [Result.NOT_APPLIED] * len(trial.outcomes)
    assert any("the changed program AssertionError" in o.why for o in trial.outcomes)


def test_a_module_beside_the_script_is_changed_too(tmp_path):
    (tmp_path / "rates.py").write_text(
        "import torch\n\n\ndef make(model):\n    return torch.optim.SGD(model.parameters(), lr=300.0)\n"
    )
    file = tmp_path / "train.py"
    file.write_text(
        TOO_FAST.replace(
            "optimizer = torch.optim.SGD(model.parameters(), lr=300.0)", "optimizer = make(model)"
        ).replace("import torch\n", "import torch\nfrom rates import make\n", 1)
    )
    trial = try_script(file, (), SHORT, Plan(budget_s=300, seeds=1, jobs=2, only=("lower-learning-rate",)))
    assert trial.best is not None
    assert trial.best.result is Result.CURES
    assert "lr=300.0" not in trial.best.files.sources[1].text
    assert trial.best.files.script.text == file.read_text()


def test_a_remedy_that_nobody_told_is_not_tried(held):
    trial = held(TOO_FAST, Plan(only=("add-zero-grad",)))
    assert (trial.outcomes, trial.cannot) == ((), "its verdicts have no such remedy")


def test_a_program_that_fails_as_it_is_says_so(held):
    trial = held(
        SILENT + "raise RuntimeError('the disk is full')\n", Plan(budget_s=300, seeds=1, only=("lower-learning-rate",))
    )
    assert trial.cannot == "the program as it is fails: RuntimeError: the disk is full"
