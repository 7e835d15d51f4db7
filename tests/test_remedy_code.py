"""The code of remedies: each is told for every framework, with the same numbers; that of JAX runs as it stands."""

import ast
import importlib
import re
import types
from collections.abc import Iterator
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from gradscope.builtin import gradscope_rules, remedy_sources
from gradscope.history import History
from gradscope.origin import Origin
from gradscope.remedies.correct_output import CORRECTIONS, EXCEPTIONS, GENERAL
from gradscope.reporters.text import text
from gradscope.verdict import Remedy

from tests.advice import BY_NAME, half_precision, large_updates, poisoned, swollen, vanishing
from tests.rules.test_output_loss_mismatch import sick as mismatched
from tests.rules.test_unchanged_parameter import cleared, fixed, replaced
from tests.specimens import CALL, WEIGHTS, healthy_run, judged, stuck

RULES = [r.name for r in gradscope_rules()]
OWN_WORDS = re.compile(
    r"torch|autograd|autocast|zero_grad|detach|\.data\b|\.item|no_grad|ModuleList|maximize|nll_loss|kl_div|"
    r"cross_entropy|backward\(|step\(|keras|tensorflow|\btf\b|jax|optax|nn\.|GradientTape",
    re.IGNORECASE,
)
"""Words that belong to one framework."""


def with_kinds(history: History, **kinds: str) -> History:
    """The history with some modules of another type."""
    for name, kind in kinds.items():
        at = history["module"].index(name.replace("_", ": "))
        history["module"].rename(at, replace(history["module"].subjects[at], type=kind))
    return history


def specimens(**facts: str) -> Iterator[History]:
    """Histories that call for every remedy, in each of its forms."""
    for name in RULES:
        yield importlib.import_module(f"tests.rules.test_{name.replace('-', '_')}").sick()
    collapsed = importlib.import_module("tests.rules.test_collapsed_output")
    yield collapsed.blind()
    yield from (fixed(), cleared(), replaced(), vanishing("Tanh"), vanishing("GELU"))
    yield with_kinds(vanishing("ReLU"), first="Conv2d")
    exploding = importlib.import_module("tests.rules.test_exploding_gradient")
    yield with_kinds(exploding.sick(), second="LSTM")
    norms = dict.fromkeys(WEIGHTS, 0.0) | {WEIGHTS[0]: np.where(np.arange(100) == 50, 1e5, 5.0)}
    yield healthy_run(loss=stuck(100), gradients=norms)
    yield from (poisoned("float16", 1.0), poisoned("float32", 1.0))
    yield from (large_updates(2.0, 0.6), swollen(), half_precision(0.5))
    masked = Origin("forward", 3, "softmax", reason="a row that is masked entirely")
    overflown = Origin("forward", 3, "pow", reason="overflow: 1e6, beyond the largest float16, 6.55e4")
    for origin in (None, masked, overflown):
        accident = poisoned("float32", np.where(np.arange(100) >= 3, np.nan, 1.0))
        accident.facts |= {"origin": origin} if origin is not None else {}
        yield accident
    yield healthy_run(loss=9.0 ** np.arange(100), run={"learning_rate": 0.1}, parameters={"update_norm": None})
    for function in ("cross_entropy", "nll_loss", "binary_cross_entropy_with_logits", "kl_div", "ctc_loss"):
        yield healthy_run(
            loss=np.where(np.arange(100) < 40, 1.0, 20.0),
            traits={CALL: {"function": function, "classes": True}},
            classes=[50, 50],
        )
    yield from (
        mismatched(),
        mismatched("binary_cross_entropy_with_logits", "sigmoid"),
        mismatched("binary_cross_entropy", "", low=-4.0, high=6.0),
        mismatched("categorical_cross_entropy", "", low=-4.0, high=6.0, margin=np.inf),
        mismatched("nll_loss", "softmax"),
        mismatched("kl_div", "softmax"),
        mismatched("mse_loss", "softmax", one_unit_softmax=True),
        mismatched("nll_loss", "log_softmax over the batch", high=0),
        mismatched(operation="relu", high=9.0),
        mismatched(operation="", low=-5.0, high=5.0, prediction_shape=(32, 1)),
        healthy_run(
            loss=stuck(100),
            call={"prediction_min": 0.0, "prediction_max": 1.0, "target_mean": 0.2},
            traits={CALL: {"function": "binary_cross_entropy", "operation": "softmax", "prediction_shape": (32, 10)}},
        ),
    )


@cache
def remedies(optimizer: str) -> tuple[Remedy, ...]:
    """All remedies of the specimens, each form once; optimizer: what the runs call theirs."""
    found: dict[str, Remedy] = {}
    for history in specimens():
        history.facts["optimizer"] = optimizer
        for verdict in judged(history).verdicts:
            found |= {f"{r.name} {r.title} {r.reason} {r.code}": r for r in verdict.remedies}
    found |= {s.name: s.suggest(None, healthy_run(optimizer=optimizer)) for s in BY_NAME}
    return tuple(found.values())


def all_forms() -> list[Remedy]:
    """The remedies of runs whose steps optax makes, and of those that make them by hand."""
    return [*remedies("Adam"), *remedies("by hand")]


def test_the_specimens_call_for_every_remedy():
    assert {r.name for r in all_forms()} == {s.name for s in remedy_sources()}


@pytest.mark.parametrize("corrected", [GENERAL, *CORRECTIONS.values(), *EXCEPTIONS.values()], ids=lambda c: c[0])
def test_the_specimens_call_for_every_correction_of_an_output(corrected):
    codes = {r.code["jax"] for r in remedies("Adam") if r.name == "correct-output"}
    assert any(corrected[3].replace("{}", word) in codes for word in ("softmax", "sigmoid", "relu", "activation"))


@pytest.mark.parametrize("framework", ["torch", "tensorflow", "jax"])
def test_every_remedy_has_code_that_is_python(framework):
    for r in all_forms():
        assert ast.parse(r.code[framework]).body, r.name


def test_titles_and_reasons_name_no_framework():
    assert [
        (r.name, w) for r in all_forms() for w in OWN_WORDS.findall(f"{r.title} {r.reason} {r.cost} {r.risk}")
    ] == []


OWN_NUMBERS = {
    ("check-labels", "tensorflow"): {500.0},
    ("standardize-input", "tensorflow"): {1e-8},
    ("stop-before-poison", "tensorflow"): {1e9},
    ("stop-before-poison", "jax"): {100.0, 1e9},
}
"""Numbers that one of two frameworks needs and the other does not: epochs, what stands for no limit."""


def numbers(code: str) -> set[float]:
    """The numbers of a piece of code, comments included; 0, 1 and 2 are indices and axes."""
    found = {float(x) for x in re.findall(r"(?<![\w.])\d+\.?\d*(?:e-?\d+)?(?![\w.]*\w)", code)}
    return found - {0.0, 1.0, 2.0}


@pytest.mark.parametrize("framework", ["tensorflow", "jax"])
def test_numbers_are_those_of_torch(framework):
    different = {
        (r.name, n)
        for r in all_forms()
        for n in numbers(r.code[framework]) ^ numbers(r.code["torch"])
        if n not in OWN_NUMBERS.get((r.name, framework), set())
    }
    assert different == set()


def test_the_numbers_of_code_are_read_as_they_stand():
    code = "optax.adam(5e-05, eps=1e-4)  # x = 0.25; float32, Conv2d(n, 3), y[:20], 10 ** 9"
    assert numbers(code) == {5e-5, 1e-4, 0.25, 3.0, 20.0, 10.0, 9.0}


@pytest.fixture(scope="module")
def libraries() -> dict[str, types.ModuleType]:
    """What the code of JAX calls its libraries."""
    jax, optax, linen = (pytest.importorskip(m) for m in ("jax", "optax", "flax.linen"))
    return {"jax": jax, "jnp": jax.numpy, "optax": optax, "nn": linen, "np": np}


def test_every_name_in_code_of_jax_exists(libraries):
    named = {n for r in all_forms() for n in re.findall(r"(?<![\w.])(?:jax|jnp|optax|nn|np)(?:\.\w+)+", r.code["jax"])}
    missing = set()
    for name in named:
        first, *rest = name.split(".")
        found = libraries[first]
        for word in rest:
            found = getattr(found, word, None)
        missing |= {name} if found is None else set()
    assert missing == set()
    assert {n.partition(".")[0] for n in named} == set(libraries)


def names_of_a_program(libraries) -> dict:
    """What a program of JAX has at hand: data, a network of flax, its parameters, gradients and optimizer."""
    jax, jnp, optax, nn = (libraries[n] for n in ("jax", "jnp", "optax", "nn"))
    key = jax.random.key(0)
    x = jax.random.normal(key, (SAMPLES, 8))
    model = nn.Sequential([nn.Dense(4), nn.relu, nn.Dense(1)])
    params = model.init(key, x)
    grads = jax.tree.map(jnp.ones_like, params)
    optimizer = optax.adam(0.1)
    score = jax.random.normal(key, (SAMPLES, 5))
    return libraries | {
        "key": key,
        "x": x,
        "y": x.sum(1, keepdims=True),
        "x_train": x,
        "y_train": x.sum(1),
        "h": x,
        "p": jax.nn.sigmoid(x),
        "a": x,
        "b": jnp.abs(x),
        "soft": jax.nn.sigmoid(x),
        "hard": jnp.round(jax.nn.sigmoid(x)),
        "z1": x,
        "z2": x + 1,
        "logits": score,
        "scores": score,
        "mask": score > 1,
        "output": x[:, :1],
        "prediction": x[:, 0],
        "target": jnp.zeros(SAMPLES, int),
        "model": model,
        "params": params,
        "encoder_params": params,
        "head_params": params,
        "grads": grads,
        "optimizer": optimizer,
        "state": optimizer.init(params),
        "loss_fn": lambda *given: sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(given)),
        "encoder": lambda _params, given: given,
        "block": lambda given: given * 0.5,
        "train": True,
        "rate": 0.1,
        "learning_rate": 0.1,
        "n_in": 8,
        "n_out": 4,
        "units": 4,
        "hidden": 4,
        "classes": 5,
    }


SAMPLES = 64
SHAPES = {
    "labels per sample": ("each label for itself", "target", (SAMPLES, 5)),
    "one score": ("one score a sample", "scores", (SAMPLES, 1)),
    "one unit": ("no softmax before it", "scores", (SAMPLES, 1)),
    "raw scores": ("binary_cross_entropy(scores, target).mean()  # raw", "scores", (SAMPLES,)),
    "divergence": ("kl_divergence", "target", (SAMPLES, 5)),
    "images": ("nn.Conv(n_out", "h", (2, 8, 8, 3)),
    "crops": ("dynamic_slice", "h", (2, 8, 8, 3)),
    "sign of a divergence": ("kl_divergence(output", "output", (SAMPLES, 5)),
    "sign of classes": ("integer_labels(output", "output", (SAMPLES, 5)),
    "sign of one class": ("sigmoid_binary_cross_entropy(output", "output", (SAMPLES,)),
}
"""A piece of code -> the shape that it takes one of the names to have."""


def run(code: str, libraries) -> dict:
    """The names after the code ran inside a module of flax, where layers can be made. Raises what the code raises."""
    names = names_of_a_program(libraries)
    for part, name, shape in SHAPES.values():
        if part in code:
            names[name] = libraries["jnp"].full(shape, 0.2)

    class Program(libraries["nn"].Module):
        @libraries["nn"].compact
        def __call__(self):
            exec(compile(code, "remedy", "exec"), names)

    Program().init(names["key"])
    return names


@pytest.mark.parametrize("optimizer", ["Adam", "by hand"])
def test_code_of_jax_runs(libraries, optimizer):
    debugs = libraries["jax"].config.jax_debug_nans
    try:
        for r in remedies(optimizer):
            code = r.code["jax"]
            try:
                run(code.replace("(...)", "(0.1)"), libraries)
            except Exception as error:  # noqa: BLE001 - the message says which
                pytest.fail(f"{r.name}: {code}\n{type(error).__name__}: {error}")
    finally:
        libraries["jax"].config.update("jax_debug_nans", debugs)


def shown(framework: str, history: History) -> list[str]:
    """The lines of code in the text report of a run of a framework."""
    history.facts["framework"] = framework
    return [x for x in text.render(judged(history)).splitlines() if x.startswith("            | ")]


def test_the_text_report_shows_the_code_of_jax_in_a_run_of_jax():
    lines = shown("jax", mismatched(classes=True))
    assert "            | loss = optax.softmax_cross_entropy_with_integer_labels(scores, target).mean()" in lines
    assert [x for x in lines if "torch" in x or "keras" in x] == []


def test_a_run_of_mxnet_is_told_what_to_do_without_code_of_others():
    for history in specimens():
        assert shown("mxnet", history) == []
        told = [(v.name, r.as_dict("mxnet")) for v in judged(history).verdicts for r in v.remedies]
        assert all(r["title"] and r["reason"] and r["code"] == "" for _, r in told)
