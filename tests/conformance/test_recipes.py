"""Every switch of a recipe does the same in the trainer of every framework: the same networks, weights and batches,
ten steps of SGD and of Adam, and the weights agree with those of the reference to 1e-5.

A weight is known to float32's resolution of the largest of its array only, and so is the comparison: the difference of
two arrays is held against the norm of what ten steps changed in them, and against that resolution.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from gradscope import Scope, Settings, Workload
from gradscope.recipe import Recipe, constant, cosine, product, warm_up
from gradscope.reference.losses import LOSSES
from gradscope.reference.model import Model
from gradscope.reference.normalization import BatchNorm
from gradscope.reference.optimizers import SGD
from gradscope.reference.plans import DECAYS, Plan, convnet, perceptron
from gradscope.reference.training import train

from tests.conformance.doors import door

STEPS = 10
RELATIVE = 1e-5
RESOLUTION = 2.0**-23
RECIPES = {
    "plain": Recipe(),
    "schedule": Recipe(schedule=product(warm_up(4), cosine(12))),
    "constant": Recipe(schedule=constant(0.3)),
    "clip_norm": Recipe(clip_norm=0.5),
    "clip_value": Recipe(clip_value=0.04),
    "clip_adaptive": Recipe(clip_adaptive=0.05),
    "l1": Recipe(l1=0.02),
    "l2": Recipe(l2=0.1),
    "decay": Recipe(decay=0.5),
    "accumulate": Recipe(accumulate=3),
    "growing batches": Recipe(accumulate=lambda step: 1 + step // 3),
    "full_batch": Recipe(full_batch=True),
    "several": Recipe(
        schedule=warm_up(5), clip_norm=0.4, clip_value=0.2, clip_adaptive=0.2, l1=0.01, l2=0.1, decay=0.1, accumulate=2
    ),
    "penalties on full batches": Recipe(schedule=cosine(20), l1=0.01, decay=0.2, clip_norm=0.3, full_batch=True),
}
PLANS = {
    "perceptron-sgd": perceptron("SGD", 0.02, 7),
    "perceptron-adam": perceptron("Adam", 0.003, 7),
    "convnet-sgd": convnet("SGD", 0.05, 7),
}


def with_momentum(plan: Plan) -> Plan:
    """The network whose batch normalization keeps its averages as that of torch does by default."""
    layers = tuple(replace(at, unbiased=True) if isinstance(at, BatchNorm) else at for at in plan.network.layers)
    return replace(plan, network=replace(plan.network, layers=layers))


def reference(plan: Plan, recipe: Recipe, *, hat: bool, dtype: str = "f4", momentum: float = 0.0) -> Model:
    """The model after ten steps in numpy."""
    model = Model(plan.network, {k: w.astype(dtype) for k, w in plan.weights.items()})
    solver = SGD(plan.rate, momentum) if momentum else plan.solver(hat=hat)
    workload = Workload(model, LOSSES[plan.loss], plan.batches, lambda _weights: solver, recipe)
    train(Scope(Settings(steps=STEPS)), workload)
    return model


def in_torch(plan: Plan, recipe: Recipe, momentum: float = 0.0) -> dict[str, Any]:
    """Weights and moving averages after ten steps in torch, in the names and the order of the reference."""
    import torch

    from gradscope_torch.trainer import train as train_torch

    adapter = door("torch")
    model = adapter.model_of(plan)
    batches = []
    for given, target in plan.batches:
        x = torch.from_numpy(given)
        batches.append((x.permute(0, 3, 1, 2) if x.dim() == 4 else x, torch.from_numpy(target)))
    kinds: dict[str, Any] = {
        "SGD": lambda p: torch.optim.SGD(p, lr=plan.rate, momentum=momentum),
        "Adam": lambda p: torch.optim.Adam(p, lr=plan.rate, betas=DECAYS),
    }
    workload = Workload(model, lambda o, t: adapter.loss_of(plan, o, t), batches, kinds[plan.optimizer], recipe)
    train_torch(Scope(Settings(steps=STEPS)), workload)
    found = {}
    for name, p in model.named_parameters():
        array = p.detach().numpy()
        order = {2: (1, 0), 4: (2, 3, 1, 0)}.get(array.ndim)
        found[adapter.reference_name(name)] = array.transpose(order) if order else array
    states = [(k, state) for k, state in model.named_buffers() if not k.endswith("num_batches_tracked")]
    for name, state in states:
        found[name.replace("running_mean", "moving_mean").replace("running_var", "moving_variance")] = state.numpy()
    return found


def in_keras(plan: Plan, recipe: Recipe, momentum: float = 0.0) -> dict[str, Any]:
    """The same in TensorFlow."""
    import keras

    from gradscope_tensorflow.trainer import train as train_keras

    adapter = door("tensorflow")
    model = adapter.model_of(plan)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.9
    optimizer = keras.optimizers.SGD(plan.rate, momentum) if momentum else adapter.optimizer_of(plan)
    workload = Workload(model, lambda o, t: adapter.loss_of(plan, o, t), plan.batches, optimizer, recipe)
    train_keras(Scope(Settings(steps=STEPS)), workload)
    assert float(optimizer.learning_rate) == pytest.approx(plan.rate)
    assert optimizer.global_clipnorm is None
    return {f"{layer.name}.{v.name}": np.asarray(v) for layer in model.layers for v in layer.weights}


def agree(found: dict[str, Any], wanted: Model, before: Any) -> float:
    """Holds arrays to those of the reference; gives the largest difference as a share of what may be."""
    worst = 0.0
    assert set(found) == set(wanted.weights) | set(wanted.state)
    for name, array in {**wanted.weights, **wanted.state}.items():
        size = float(np.linalg.norm(array))
        moved = float(np.linalg.norm(array - before[name])) if name in before else size
        allowed = RELATIVE * moved + RESOLUTION * size
        difference = float(np.linalg.norm(found[name] - array))
        assert difference <= allowed, (name, difference / moved)
        worst = max(worst, difference / allowed)
    return worst


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("name", PLANS)
def test_torch_steps_as_the_reference_does(name: str, recipe: str) -> None:
    plan = with_momentum(PLANS[name])
    agree(in_torch(plan, RECIPES[recipe]), reference(plan, RECIPES[recipe], hat=False), plan.weights)


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("name", PLANS)
def test_tensorflow_steps_as_the_reference_does(name: str, recipe: str) -> None:
    plan = PLANS[name]
    agree(in_keras(plan, RECIPES[recipe]), reference(plan, RECIPES[recipe], hat=True), plan.weights)


@pytest.mark.parametrize("framework", [in_torch, in_keras])
def test_momentum_is_the_same_in_all(framework: Any) -> None:
    plan = PLANS["perceptron-sgd"] if framework is in_keras else with_momentum(PLANS["perceptron-sgd"])
    found = framework(plan, Recipe(clip_norm=0.5), 0.9)
    agree(found, reference(plan, Recipe(clip_norm=0.5), hat=False, momentum=0.9), plan.weights)


@pytest.mark.parametrize("recipe", [r for r in RECIPES if r != "plain"])
@pytest.mark.parametrize("name", PLANS)
def test_every_switch_changes_what_ten_steps_do(name: str, recipe: str) -> None:
    plan = PLANS[name]
    plain, switched = (reference(plan, RECIPES[r], hat=False) for r in ("plain", recipe))
    moved = sum(float(np.abs(switched.weights[k] - w).max()) for k, w in plain.weights.items())
    assert moved > 1e-3


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("name", PLANS)
def test_float32_holds_the_tolerance_itself(name: str, recipe: str) -> None:
    plan = PLANS[name]
    wide = reference(plan, RECIPES[recipe], hat=False, dtype="f8")
    narrow = reference(plan, RECIPES[recipe], hat=False)
    agree({**narrow.weights, **narrow.state}, wide, plan.weights)
