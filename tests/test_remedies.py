"""Every rule has a remedy, and every remedy is told with numbers that are numbers and code that is Python."""

import ast
import importlib
import re
from dataclasses import replace

import numpy as np
import pytest
from gradscope.builtin import gradscope_rules, remedy_sources
from gradscope.hookspecs import hookimpl
from gradscope.origin import Origin
from gradscope.plugins import Plugins
from gradscope.regimen import STEPPING
from gradscope.remedy import remedy
from gradscope.scope import Scope
from gradscope.verdict import Remedy
from gradscope.workload import Workload

from tests.specimens import CALL, PARAMETERS, WEIGHTS, healthy_run, judged, stuck

RULES = [r.name for r in gradscope_rules()]
SOURCES = {s.name: s for s in remedy_sources()}


def verdict_of(name: str):
    """The verdict that a rule gives of its own specimen."""
    history = importlib.import_module(f"tests.rules.test_{name.replace('-', '_')}").sick()
    return next(v for v in judged(history).verdicts if v.name == name)


def told(history, rule: str, remedy_name: str) -> Remedy | None:
    """What one remedy says of a verdict in a history."""
    verdict = next(v for v in judged(history).verdicts if v.name == rule)
    return next((r for r in verdict.remedies if r.name == remedy_name), None)


@remedy("stalled-loss", "dead-units", rank=3)
def try_tea(_verdict, _history):
    """Tea."""


def test_a_remedy_takes_its_name_from_its_function():
    assert (try_tea.name, try_tea.rules, try_tea.rank) == ("try-tea", ("stalled-loss", "dead-units"), 3)


@pytest.mark.parametrize("name", RULES)
def test_every_verdict_comes_with_a_remedy(name):
    assert verdict_of(name).remedies


@pytest.mark.parametrize("name", RULES)
def test_every_rule_is_answered_by_a_remedy(name):
    assert any(name in s.rules for s in SOURCES.values())


@pytest.mark.parametrize("name", SOURCES)
def test_a_remedy_answers_rules_that_exist(name):
    assert set(SOURCES[name].rules) <= set(RULES)


@pytest.mark.parametrize("name", RULES)
def test_remedies_say_all_that_is_needed(name):
    for r in verdict_of(name).remedies:
        assert r.title, r.name
        assert r.reason, r.name
        assert r.reference, r.name
        assert r.cost, r.name
        assert r.risk, r.name
        assert all(isinstance(v, float | int | str) for v in r.settings.values()), r.name
        assert not re.search(r"\b(nan|inf)\b", f"{r.title} {r.reason}"), r.name
        assert {"torch", "tensorflow", "jax"} <= set(r.code), r.name
        for code in r.code.values():
            ast.parse(code)


@pytest.mark.parametrize("name", RULES)
def test_remedies_come_by_rank(name):
    ranks = [SOURCES[r.name].rank for r in verdict_of(name).remedies]
    assert ranks == sorted(ranks)


def test_the_learning_rate_is_lowered_to_what_moves_weights_by_a_hundredth():
    large = {"update_norm": dict.fromkeys(WEIGHTS, 2.0), "parameter_norm": dict.fromkeys(WEIGHTS, 1.0)}
    history = healthy_run(loss=stuck(100), parameters=large)
    assert told(history, "oversized-update", "lower-learning-rate").title == (
        "lower the learning rate from 0.1 to about 0.0005"
    )


def test_the_learning_rate_is_raised_to_what_moves_weights_by_a_thousandth():
    small = {"update_norm": dict.fromkeys(WEIGHTS, 1e-6), "parameter_norm": dict.fromkeys(WEIGHTS, 1.0)}
    history = healthy_run(loss=stuck(100), parameters=small, run={"learning_rate": 1e-5})
    assert told(history, "undersized-update", "raise-learning-rate").code["torch"] == (
        "optimizer = torch.optim.SGD(model.parameters(), lr=0.01)"
    )


def test_the_clipping_limit_is_twice_the_usual_gradient():
    norms = dict.fromkeys(PARAMETERS, 0.0) | {WEIGHTS[0]: np.where(np.arange(100) == 50, 1e5, 5.0)}
    history = healthy_run(loss=stuck(100), gradients=norms)
    assert told(history, "gradient-spike", "clip-gradient-norm").title == "clip the gradient at a global norm of 10"


def test_a_remedy_whose_numbers_are_unknown_is_not_told():
    large = {"update_norm": dict.fromkeys(WEIGHTS, 2.0), "parameter_norm": dict.fromkeys(WEIGHTS, 1.0)}
    history = healthy_run(loss=stuck(100), parameters=large, run={"learning_rate": None})
    assert told(history, "oversized-update", "lower-learning-rate") is None


def test_a_remedy_that_raises_is_named():
    class Stranger:
        @hookimpl
        def gradscope_suggest_remedies(self, verdict, history):
            raise KeyError("leech")

    report = judged(healthy_run(loss=stuck(100)), plugins=Plugins([("barber", Stranger())]))
    assert dict(report.failures) == {"barber": "gradscope_suggest_remedies: KeyError: 'leech'"}
    assert report.verdicts[0].remedies


def names_of(history, rule: str) -> list[str]:
    """The remedies of one verdict in a history."""
    return [r.name for r in next(v for v in judged(history).verdicts if v.name == rule).remedies]


def vanishing(kind: str):
    """A run whose first layer starves, with activations of a kind."""
    norms = {"first.weight": 1e-6, "second.weight": 1.0, "output.weight": 1.0}
    history = healthy_run(loss=stuck(100), gradients=norms)
    for at, s in enumerate(history["module"].subjects):
        if s.type == "ReLU":
            history["module"].rename(at, replace(s, type=kind))
    return history


@pytest.mark.parametrize(("kind", "by"), [("ReLU", "he-initialization"), ("Tanh", "glorot-initialization")])
def test_the_initialization_is_that_of_the_activation(kind, by):
    named = [
        n
        for n in names_of(vanishing(kind), "vanishing-gradient")
        if n in {"he-initialization", "glorot-initialization"}
    ]
    assert named == [by]


def test_where_sigmoids_starve_the_first_layers_no_initialization_and_no_sum_of_them_is_told():
    wanted = ["replace-activation", "batch-normalization", "replace-optimizer"]
    assert names_of(vanishing("Sigmoid"), "vanishing-gradient") == wanted


def test_batch_normalization_has_the_dimensions_of_the_layers():
    history = vanishing("ReLU")
    dense = told(history, "vanishing-gradient", "batch-normalization").code["torch"]
    at = history["module"].index("first")
    history["module"].rename(at, replace(history["module"].subjects[at], type="Conv2d"))
    assert (
        "BatchNorm1d" in dense,
        "BatchNorm2d" in told(history, "vanishing-gradient", "batch-normalization").code["torch"],
    ) == (True, True)


def test_a_recurrent_initialization_is_for_recurrent_networks():
    history = importlib.import_module("tests.rules.test_poor_initialization").sick()
    assert "orthogonal-initialization" not in names_of(history, "poor-initialization")


def test_a_loop_over_time_is_recurrent_whatever_its_weights_are_called():
    history = vanishing("Tanh")
    history["module"].rename(0, replace(history["module"].subjects[0], type="Recurrent"))
    wanted = ["replace-activation", "residual-connection", "replace-optimizer"]
    assert names_of(history, "vanishing-gradient") == wanted


@pytest.mark.parametrize("renamed", [{"type": "BatchNorm1d"}, {"type": "Scale", "name": "BatchNorm_0"}])
def test_a_normalization_that_is_there_by_type_or_by_name_is_not_told_again(renamed):
    history = vanishing("ReLU")
    assert "batch-normalization" in names_of(history, "vanishing-gradient")
    history["module"].rename(1, replace(history["module"].subjects[1], **renamed))
    assert "batch-normalization" not in names_of(history, "vanishing-gradient")


def test_a_contrastive_loss_is_not_for_predictions_with_targets():
    sick = importlib.import_module("tests.rules.test_collapsed_output")
    assert "repel-outputs" not in names_of(sick.sick(), "collapsed-output")
    assert "repel-outputs" in names_of(sick.blind(), "collapsed-output")


def test_the_first_layer_whose_outputs_are_alike_is_told():
    history = importlib.import_module("tests.rules.test_collapsed_output").sick()
    history["module"].series("batch_variation", "second")[:] = 0
    assert "here second is the first" in told(history, "collapsed-output", "find-constant-layer").title


def test_no_straight_through_estimator_where_dead_units_make_the_zeros():
    dead = {"dead_fraction": 1.0, "zero_fraction": {"first: relu": 1.0, "second: relu": 1.0}}
    history = healthy_run(loss=stuck(100), gradients=dict.fromkeys(PARAMETERS, 0.0), modules=dead)
    zero = next(v for v in judged(history).verdicts if v.name == "zero-gradient")
    assert (zero.consequence_of, zero.remedies) == ("dead-units", ())


def poisoned(dtype: str, gradient):
    """Weights that are not finite from step 3 on, and a gradient."""
    history = healthy_run(
        loss=stuck(100),
        parameters={"nonfinite": {WEIGHTS[0]: 1.0 * (np.arange(100) >= 3)}},
        gradients={WEIGHTS[0]: gradient},
    )
    for table in ("gradient", "parameter"):
        history[table].rename(0, replace(history[table].subjects[0], type=dtype))
    return history


@pytest.mark.parametrize(
    ("dtype", "gradient", "expected"),
    [
        ("float16", 1.0, "keep the weights in float32"),
        ("float32", 1.0, "look at the step itself"),
        ("float16", np.where(np.arange(100) >= 3, np.nan, 1.0), "skip the step when a gradient is not finite"),
    ],
)
def test_weights_that_break_before_any_gradient_need_precision(dtype, gradient, expected):
    verdict = next(v for v in judged(poisoned(dtype, gradient)).verdicts if v.name == "non-finite-parameter")
    assert [r.title.startswith(expected) for r in verdict.remedies] == [True]


def least_squares(vectors: int) -> Scope:
    """Gradient descent on a line, by numpy alone, with a step beyond 2 / curvature."""
    scope, w = Scope(), np.ones((vectors, 3))
    for step in range(40):
        gradient = 2 * w
        w = w - 1.3 * gradient
        names = [f"w{i}" for i in range(vectors)]
        scope.observe(
            step=step,
            gradients=dict(zip(names, gradient, strict=True)),
            parameters=dict(zip(names, w, strict=True)),
            loss=float((gradient**2).sum() / 4),
            learning_rate=1.3,
        )
    return scope


@pytest.mark.parametrize("vectors", [1, 2])
def test_a_few_vectors_get_no_advice_for_networks(vectors):
    titles = [r.title for v in least_squares(vectors).report().verdicts for r in v.remedies]
    assert titles[0] == "lower the step size from 1.3 to about 0.5"
    assert not [t for t in titles if re.search("initial|normal|residual|activation|clip", t)]


def test_no_clipping_limit_is_drawn_from_a_run_that_diverges_from_the_start():
    norms = dict.fromkeys(PARAMETERS, 3.0 ** np.arange(100))
    history = healthy_run(loss=9.0 ** np.arange(100), gradients=norms)
    assert all(r.name != "clip-gradient-norm" for v in judged(history).verdicts for r in v.remedies)


def test_the_sign_of_a_cross_entropy_is_told_in_its_own_words():
    history = healthy_run(
        loss=np.where(np.arange(100) < 40, 1.0, 20.0),
        traits={CALL: {"function": "cross_entropy", "classes": True}},
        classes=[50, 50],
    )
    assert (
        told(history, "diverging-loss", "correct-objective")
        .code["torch"]
        .startswith("loss = F.cross_entropy(output, target)")
    )


def test_clearing_in_the_wrong_place_has_a_title_of_its_own():
    history = healthy_run(loss=stuck(100), run={"cleared_early": 1})
    assert told(history, "unchanged-parameter", "register-parameter").title.startswith(
        "clear the gradients before the backward pass"
    )


def test_an_activation_before_the_loss_is_called_by_its_name():
    history = healthy_run(
        loss=stuck(100),
        traits={CALL: {"function": "cross_entropy", "operation": "relu", "classes": True, "prediction_shape": (32, 3)}},
        call={"prediction_min": 0.0},
    )
    assert (
        told(history, "output-loss-mismatch", "correct-output").code["torch"]
        == "return self.output(h)  # raw scores, no relu"
    )


def large_updates(first: float, later: float, **numbers):
    """A run of too long steps that does not learn; first: update over weights in the first ten steps."""
    share = np.where(np.arange(100) < 10, first, later)
    updates = {"update_norm": dict.fromkeys(WEIGHTS, share), "parameter_norm": dict.fromkeys(WEIGHTS, 1.0)}
    return healthy_run(loss=stuck(100), parameters=updates, **numbers)


def swollen():
    """The same, whose weights grow to four times their norm."""
    grown = {
        "update_norm": dict.fromkeys(WEIGHTS, 2.0),
        "parameter_norm": dict.fromkeys(WEIGHTS, 1 + np.arange(100) / 33),
    }
    return healthy_run(loss=stuck(100), parameters=grown)


def half_precision(underflow: float, **run):
    """A run that stands still in float16, and how much of its gradients underflows."""
    history = healthy_run(loss=stuck(100), parameters={"gradient_underflow_fraction": underflow}, run=run)
    for at, s in enumerate(history["parameter"].subjects):
        history["parameter"].rename(at, replace(s, type="float16"))
    return history


def test_a_warm_up_is_for_updates_that_are_largest_at_the_beginning():
    assert told(large_updates(2.0, 0.6), "oversized-update", "warm-up").settings == {"steps": 10}
    assert told(large_updates(2.0, 2.0), "oversized-update", "warm-up") is None


@pytest.mark.parametrize(("optimizer", "name"), [("SGD", "l2-penalty"), ("Adam", "weight-decay")])
def test_weights_that_have_grown_get_the_decay_of_their_optimizer(optimizer, name):
    history, steady = swollen(), large_updates(2.0, 2.0)
    history.facts["optimizer"] = steady.facts["optimizer"] = optimizer
    assert "4 times their norm" in told(history, "oversized-update", name).reason
    assert {"l2-penalty", "weight-decay"} & set(names_of(history, "oversized-update")) == {name}
    assert not {"l2-penalty", "weight-decay"} & set(names_of(steady, "oversized-update"))


def test_a_loss_is_scaled_where_gradients_of_half_precision_underflow():
    assert "50% of the entries" in told(half_precision(0.5), "stalled-loss", "loss-scaling").reason
    assert told(half_precision(0.01), "stalled-loss", "loss-scaling") is None
    assert told(half_precision(0.5, loss_scale=1024.0), "stalled-loss", "loss-scaling") is None


def test_gradients_of_full_precision_need_no_scale():
    history = healthy_run(loss=stuck(100), parameters={"gradient_underflow_fraction": 0.5})
    assert told(history, "stalled-loss", "loss-scaling") is None


@pytest.mark.parametrize(("optimizer", "advised"), [("SGD", True), ("Adam", False)])
def test_plain_gradient_descent_alone_is_replaced(optimizer, advised):
    history = vanishing("ReLU")
    history.facts["optimizer"] = optimizer
    assert (told(history, "vanishing-gradient", "replace-optimizer") is not None) is advised


def test_batches_grow_to_the_measured_noise_scale():
    history = importlib.import_module("tests.rules.test_noisy_gradient").sick()
    size, scale = history.run("batch_size")[0], verdict_of("noisy-gradient").evidence[0].value
    count = told(history, "noisy-gradient", "accumulate-gradients").settings["accumulate"]
    assert min(scale, 64) / 1.5 <= count <= min(scale, 64) * 1.5
    assert told(history, "noisy-gradient", "larger-batch").settings["batch_size"] == size * count


def test_units_are_clipped_by_their_weights_only_where_gradients_exceed_these():
    growing = importlib.import_module("tests.rules.test_exploding_gradient").growing
    assert told(growing(1e4), "exploding-gradient", "adaptive-clipping").settings == {"limit": 0.01}
    small = growing(1e4)
    small["gradient"].column("gradient_norm")[:] *= 1e-9
    assert told(small, "exploding-gradient", "adaptive-clipping") is None


def test_entries_are_clipped_at_twice_the_usual_largest():
    norms = dict.fromkeys(PARAMETERS, 0.0) | {WEIGHTS[0]: np.where(np.arange(100) == 50, 1e5, 5.0)}
    history = healthy_run(loss=stuck(100), gradients=norms, parameters={"gradient_abs_max": 2.5})
    assert told(history, "gradient-spike", "clip-gradient-value").settings == {"max_value": 5.0}


BY_NAME = [s for s in SOURCES.values() if not s.rules]


def test_remedies_of_a_gap_answer_to_no_rule():
    assert {s.name for s in BY_NAME} == {"dropout", "input-noise", "l1-penalty", "random-crops"}


@pytest.mark.parametrize("source", BY_NAME, ids=lambda s: s.name)
def test_a_remedy_without_rules_tells_the_gap_where_it_was_measured(source):
    unknown = source.suggest(None, healthy_run())
    known = source.suggest(None, healthy_run(gap={"training": 0.1, "held_out": 0.9}))
    assert unknown.reason.endswith("; whether that helps, held-out data must tell")
    assert known.reason.endswith("; the loss is 0.1 in training and 0.9 on held-out data")


@pytest.mark.parametrize("name", RULES)
def test_every_setting_is_a_finite_number_or_a_word(name):
    for r in verdict_of(name).remedies:
        for key, value in r.settings.items():
            assert isinstance(value, str) or np.isfinite(value), (r.name, key)


@pytest.mark.parametrize("op", ["exp", "log"])
@pytest.mark.parametrize("kind", [Origin, dict])
def test_an_exponential_that_overflowed_in_a_layer_is_replaced(kind, op):
    history = poisoned("float32", np.where(np.arange(100) >= 3, np.nan, 1.0))
    history.facts["origin"] = kind(direction="forward", step=3, op=op, module="first")
    found = told(history, "non-finite-gradient", "replace-activation")
    assert (found is not None) == (op == "exp")


def test_a_last_step_whose_update_is_unknown_leaves_the_warm_up_to_the_others():
    ratios = 0.001 * np.where(np.arange(100) < 5, 100.0, 1.0)
    ratios[-1] = np.nan
    history = healthy_run(parameters={"update_norm": ratios, "parameter_norm": 1.0})
    (source,) = [s for s in remedy_sources() if s.name == "warm-up"]
    assert source.suggest(verdict_of("oversized-update"), history) is not None


def test_a_remedy_that_is_asked_for_by_name_has_its_usual_numbers():
    assert SOURCES["dropout"].asked().settings == {"probability": 0.1}
    assert SOURCES["lower-learning-rate"].asked().settings == {"factor": 0.1}


@pytest.mark.parametrize("source", BY_NAME, ids=lambda s: s.name)
def test_usual_numbers_are_those_of_the_remedy_that_is_told(source):
    assert dict(source.suggest(None, healthy_run()).settings) == dict(source.usual)


RECIPES = [s for s in SOURCES.values() if s.name in STEPPING and s.name != "loosen-clipping"]


@pytest.mark.parametrize("source", RECIPES, ids=lambda s: s.name)
def test_a_remedy_of_the_recipe_applies_with_its_usual_numbers(source):
    given = Workload(None, None, [])
    assert STEPPING[source.name](given, source.usual).recipe != given.recipe
