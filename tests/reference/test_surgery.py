"""Remedies applied to workloads of the reference: what they change, what they leave alone, where they do not fit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gradscope.errors import CannotApply
from gradscope.recipe import Recipe
from gradscope.reference.activations import GELU, ReLU
from gradscope.reference.model import Model
from gradscope.reference.network import Network
from gradscope.reference.normalization import BatchNorm, LayerNorm
from gradscope.reference.optimizers import Adam
from gradscope.reference.plans import convnet
from gradscope.reference.surgery import REMEDIES, treat
from gradscope.reference.training import evaluate, fresh, optimizer_of, steps
from gradscope.scope import adapter_for
from gradscope.statistics import deviation

from tests.reference.workloads import BATCHES, trained, workload

SETTINGS: dict[str, dict[str, Any]] = {
    "clip-gradient-norm": {"max_norm": 0.5},
    "clip-gradient-value": {"max_value": 0.1},
    "adaptive-clipping": {"limit": 0.01},
    "loosen-clipping": {"max_norm": 5.0},
    "weight-decay": {"decay": 0.1},
    "l1-penalty": {"l1": 0.01},
    "l2-penalty": {"l2": 0.01},
    "lower-learning-rate": {"factor": 0.1},
    "raise-learning-rate": {"factor": 3.0},
    "warm-up": {"steps": 10},
    "cosine-schedule": {"steps": 20},
    "larger-batch": {"accumulate": 3},
    "accumulate-gradients": {"accumulate": 3},
    "growing-batch": {"accumulate": 4, "every": 2},
    "replace-activation": {"activation": "gelu"},
    "replace-optimizer": {"optimizer": "Adam", "rate": 0.01},
    "dropout": {"probability": 0.2},
}


@pytest.mark.parametrize("remedy", sorted(REMEDIES))
@pytest.mark.parametrize("built", [False, True])
def test_every_remedy_changes_the_training_and_leaves_what_it_was_given(remedy: str, built: bool) -> None:
    base = workload(recipe=Recipe(clip_norm=0.2) if remedy == "loosen-clipping" else Recipe())
    given = base.model
    one = workload(model=given.copy, recipe=base.recipe) if built else base
    before = {k: w.copy() for k, w in given.weights.items()}
    treated = adapter_for(given).treat(one, remedy, SETTINGS.get(remedy, {}))
    losses = []
    for w in (one, treated):
        model = w.model if isinstance(w.model, Model) else w.model()
        losses.append([s.loss for s in steps(workload(model=model, recipe=w.recipe, optimizer=w.optimizer), 8)])
    assert losses[0] != losses[1]
    assert np.isfinite(losses[1]).all()
    assert not built or all((given.weights[k] == w).all() for k, w in before.items())
    assert base.recipe.schedule is None


def test_normalization_stands_before_every_hidden_activation_and_takes_the_bias() -> None:
    for remedy, kind in (("batch-normalization", BatchNorm), ("layer-normalization", LayerNorm)):
        made = treat(workload(16, 8), remedy, {}).model
        names = [at.name for at in made.network.layers]
        assert names == ["dense1", "norm_dense1", "relu1", "dense2", "norm_dense2", "relu2", "dense3"]
        assert sum(isinstance(at, kind) for at in made.network.layers) == 2
        assert "dense1.bias" not in made.weights
        assert "dense3.bias" in made.weights


def test_a_second_normalization_is_refused() -> None:
    once = treat(workload(), "batch-normalization", {})
    with pytest.raises(CannotApply, match="layer-normalization: the network is normalized already"):
        treat(once, "layer-normalization", {})


def test_a_convolutional_net_takes_the_remedies() -> None:
    plan = convnet("SGD", 0.05)
    model = Model(plan.network, plan.weights)
    one = workload(model=model, loss="softmax_cross_entropy", batches=plan.batches)
    for remedy in ("glorot-initialization", "orthogonal-initialization", "lsuv-initialization", "dropout"):
        report = trained(treat(one, remedy, SETTINGS.get(remedy, {})), 30).report()
        assert not report.failures
    layers = tuple(at for at in plan.network.layers if not isinstance(at, BatchNorm))
    bare = workload(model=Model(Network(layers), seed=0), loss="softmax_cross_entropy", batches=plan.batches)
    names = [at.name for at in treat(bare, "batch-normalization", {}).model.network.layers]
    assert names[:6] == ["conv1", "norm_conv1", "relu1", "conv2", "norm_conv2", "relu2"]


def test_initialization_draws_kernels_and_zeroes_biases() -> None:
    one = workload(64, 64)
    one.model.weights["dense1.bias"] = np.full(64, -50, "f4")
    for remedy, wanted in (("he-initialization", np.sqrt(2 / 64)), ("glorot-initialization", np.sqrt(2 / 128))):
        made = treat(one, remedy, {}).model.weights
        assert deviation(made["dense2.kernel"]) == pytest.approx(wanted, rel=0.05)
        assert not made["dense1.bias"].any()
        assert made["dense2.kernel"].dtype == np.float32
    made = treat(one, "orthogonal-initialization", {"gain": 2.0}).model.weights["dense2.kernel"]
    assert made.T @ made == pytest.approx(4 * np.eye(64), abs=1e-5)
    assert (one.model.weights["dense1.bias"] == -50).all()


def test_what_is_drawn_follows_the_seed_of_the_model_or_of_the_settings() -> None:
    one = workload()
    built = treat(workload(model=lambda: Model(one.model.network)), "he-initialization", {})
    first, second, other = (fresh(built, seed).model.weights["dense1.kernel"] for seed in (1, 1, 2))
    assert (first == second).all()
    assert (first != other).any()
    fixed = [treat(one, "he-initialization", {"seed": s}).model.weights["dense1.kernel"] for s in (3, 3, 4)]
    assert (fixed[0] == fixed[1]).all()
    assert (fixed[0] != fixed[2]).any()


def test_unit_variance_leaves_every_layer_with_deviation_one() -> None:
    made = treat(workload(32, 32), "lsuv-initialization", {}).model
    given, spreads = BATCHES[0][0], []
    for layer in made.network.layers:
        given, _ = layer.forward(made.network.weights_of(layer, made.weights), given)
        if layer.shapes():
            spreads.append(deviation(given))
    assert spreads == pytest.approx([1, 1, 1], rel=1e-5)


def test_an_activation_is_replaced_where_it_is_hidden() -> None:
    layers = treat(workload(8, 8), "replace-activation", {"activation": "gelu"}).model.network.layers
    assert [type(at) for at in layers if not at.shapes()] == [GELU, GELU]
    layers = treat(workload(8, 8, activation="tanh"), "replace-activation", {"activation": "relu"}).model.network.layers
    assert [type(at) for at in layers if not at.shapes()] == [ReLU, ReLU]


def test_another_optimizer_is_made() -> None:
    made = treat(workload(), "replace-optimizer", {"optimizer": "Adam", "rate": 0.02})
    assert optimizer_of(made, made.model) == Adam(0.02)


def test_a_treated_workload_is_scored_as_well() -> None:
    treated = treat(workload(), "batch-normalization", {})
    before = evaluate(treated).loss
    trained(treated, 40)
    assert evaluate(treated).loss < before


@pytest.mark.parametrize(
    ("remedy", "settings", "text"),
    [
        ("no-such-remedy", {}, "no-such-remedy: not known to the trainer of the reference"),
        ("add-epsilon", {}, "add-epsilon: the operation"),
        ("replace-activation", {"activation": "relu"}, "no hidden activation is other than relu"),
        ("replace-activation", {"activation": "swish"}, "no activation is called 'swish'"),
        ("replace-optimizer", {"optimizer": "Lion", "rate": 1.0}, "there is no 'Lion' here; there are SGD, Adam"),
        ("clip-gradient-norm", {}, "needs max_norm as a number above 0, got None"),
        ("lower-learning-rate", {"factor": 2.0}, "factor must be below 1, got 2"),
        ("dropout", {}, "dropout: needs probability as a number above 0"),
    ],
)
def test_what_does_not_fit_says_why(remedy: str, settings: dict[str, Any], text: str) -> None:
    with pytest.raises(CannotApply, match=text):
        treat(workload(), remedy, settings)


def test_batches_of_one_sample_take_no_batch_normalization() -> None:
    single = workload(batches=[(x[:1], y[:1]) for x, y in BATCHES])
    with pytest.raises(CannotApply, match="hold one sample each"):
        treat(single, "batch-normalization", {})
    assert treat(single, "layer-normalization", {})
    with pytest.raises(CannotApply, match="batches is an iterator that a look at them would use up"):
        treat(workload(batches=iter(BATCHES)), "batch-normalization", {})


def test_a_network_without_hidden_layers_takes_no_normalization_and_no_dropout() -> None:
    one = workload(model=Model(Network(workload(4).model.network.layers[-1:])))
    for remedy, text in (("batch-normalization", "no hidden layer"), ("dropout", "no hidden activation")):
        with pytest.raises(CannotApply, match=text):
            treat(one, remedy, SETTINGS.get(remedy, {}))
