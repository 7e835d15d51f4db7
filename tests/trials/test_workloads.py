"""gradscope.trial: remedies applied to a workload."""

from pathlib import Path

import gradscope
import pytest
import torch
from gradscope.errors import CannotApply, UsageError
from gradscope.settings import Settings
from gradscope.trials.outcome import Result
from gradscope.trials.plan import Plan
from gradscope.trials.workloads import try_workload_of

from tests.trials.programs import WORKLOAD


@pytest.fixture
def made():
    """What the workload() of the program gives."""
    names: dict = {"__name__": "train"}
    exec(WORKLOAD, names)
    return names["workload"]()


def test_remedies_are_tried_from_the_same_weights(made):
    trial = gradscope.trial(made, ["replace-activation", "batch-normalization"], seeds=2, budget=300, steps=120)
    assert trial.before[0] == "vanishing-gradient"
    assert trial.measure.name == "accuracy"
    assert trial.measure.occurrence == "held-out"
    assert {o.result for o in trial.outcomes} <= {Result.CURES, Result.HELPS}
    assert trial.best.effect.gain > 0.2
    assert trial.best.effect.seeds == (0, 1)


def test_a_model_that_is_an_object_stays_as_it_is(made):
    model = made.model()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    given = gradscope.Workload(model, made.loss, made.batches, made.optimizer, held_out=made.held_out)
    trial = gradscope.trial(given, ["replace-activation"], seeds=1, budget=300, steps=60)
    assert trial.runs >= 2
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_a_remedy_of_ones_own_is_tried(made):
    def apply(workload):
        return gradscope.Workload(
            lambda: torch.nn.Linear(8, 2),
            workload.loss,
            workload.batches,
            held_out=workload.held_out,
            metric=workload.metric,
        )

    mine = gradscope.Remedy("smaller", "a smaller model", "it is enough", apply=apply)
    trial = gradscope.trial(made, [mine], seeds=1, budget=300, steps=120)
    assert trial.outcomes[0].name == "smaller"
    assert trial.outcomes[0].effect.better


def test_a_remedy_that_does_not_fit_says_why(made):
    def apply(_workload):
        raise CannotApply("it is raining")

    mine = gradscope.Remedy("umbrella", "stay dry", "rain", apply=apply)
    trial = gradscope.trial(made, [mine], seeds=1, budget=300, steps=30)
    assert (trial.outcomes[0].result, trial.outcomes[0].why) == (Result.NOT_APPLIED, "it is raining")


def test_an_unknown_remedy_is_refused_with_those_that_are_known(made):
    with pytest.raises(UsageError, match="unknown remedy 'tea'; known remedies: accumulate-gradients, "):
        gradscope.trial(made, ["tea"], seeds=1, steps=30)


def test_a_workload_without_held_out_batches_says_what_was_compared(made):
    given = gradscope.Workload(made.model, made.loss, made.batches)
    trial = gradscope.trial(given, ["replace-activation"], seeds=1, budget=300, steps=60)
    assert (trial.measure.name, trial.measure.occurrence) == ("loss", "training")
    assert trial.notes == ("nothing is held out: compared on the batches of the training",)


def test_the_workload_of_a_file_is_made_anew_for_each_run(tmp_path: Path):
    file = tmp_path / "train.py"
    file.write_text(WORKLOAD)
    plan = Plan(budget_s=300, seeds=2, only=("replace-activation",))
    trial = try_workload_of(file, Settings(steps=80), plan)
    assert [o.name for o in trial.outcomes] == ["replace-activation"]
    assert trial.best.effect.better
