"""Remedies applied to workloads of torch: each does what it says, changes nothing that was given, and trains."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest

torch = pytest.importorskip("torch")

import numpy as np  # noqa: E402
from gradscope.errors import CannotApply  # noqa: E402
from gradscope.recipe import Recipe  # noqa: E402
from gradscope.scope import Scope  # noqa: E402
from gradscope.settings import Settings  # noqa: E402
from gradscope.treatment import treated  # noqa: E402
from gradscope.verdict import Remedy  # noqa: E402
from gradscope.workload import Workload  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from gradscope_torch.anatomy import anatomy  # noqa: E402
from gradscope_torch.plugin import TorchAdapter  # noqa: E402
from gradscope_torch.surgery import REMEDIES, treat  # noqa: E402

ADAPTER = TorchAdapter()


def regression(*, features: int = 8, batches: int = 10, size: int = 32, seed: int = 0) -> list[Any]:
    """Batches of standard normal inputs and a linear map of them, shape (size, 1)."""
    random = torch.Generator().manual_seed(seed)
    line = torch.randn(features, 1, generator=random) / features**0.5
    given = [torch.randn(size, features, generator=random) for _ in range(batches)]
    return [(x, x @ line) for x in given]


def classes(count: int = 2, *, seed: int = 0) -> list[Any]:
    """Batches of standard normal inputs and the class that is largest in a linear map of them."""
    random = torch.Generator().manual_seed(seed)
    line = torch.randn(8, count, generator=random)
    given = [torch.randn(32, 8, generator=random) for _ in range(10)]
    return [(x, (x @ line).argmax(1)) for x in given]


def as_columns(batches: list[Any]) -> list[Any]:
    """Classes 0 and 1 as numbers of shape (size, 1)."""
    return [(x, y[:, None].float()) for x, y in batches]


def perceptron(*hidden: int, activation: type = nn.ReLU, output: type | None = None, units: int = 1) -> nn.Module:
    """Dense layers with an activation each but the last."""
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    before = 8
    for width in hidden:
        layers += [nn.Linear(before, width), activation()]
        before = width
    layers.append(nn.Linear(before, units))
    if output is not None:
        layers.append(output(1) if output in {nn.Softmax, nn.LogSoftmax} else output())
    return nn.Sequential(*layers)


class Functional(nn.Module):
    """Two dense layers whose activations are calls; the last one too when that is asked for."""

    def __init__(self, *, closing: bool = False):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second, self.closing = nn.Linear(8, 16), nn.Linear(16, 1), closing

    def forward(self, x):
        y = self.second(torch.relu(self.first(x)))
        return torch.sigmoid(y) if self.closing else y


class Hidden(nn.Module):
    """A layer in a plain list, which no optimizer sees."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.inner, self.last = [nn.Linear(8, 16), nn.ReLU()], nn.Linear(16, 1)

    def forward(self, x):
        for layer in self.inner:
            x = layer(x)
        return self.last(x)


class Images(nn.Module):
    """A convolution over images of 8 x 8."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 1))

    def forward(self, x):
        return self.layers(x)


class Sequence(nn.Module):
    """A recurrent layer over five steps."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.rnn, self.last = nn.GRU(8, 6, batch_first=True), nn.Linear(6, 1)

    def forward(self, x):
        return self.last(self.rnn(x[:, None, :].repeat(1, 5, 1))[0][:, -1])


def sgd(rate: float = 0.05, **more: Any) -> Callable[[Any], Any]:
    """A maker of gradient descent."""
    return lambda parameters: torch.optim.SGD(parameters, lr=rate, **more)


def workload(model: Any = None, batches: Any = None, loss: Any = F.mse_loss, **more: Any) -> Workload:
    """A regression by a perceptron, but for what is given."""
    chosen = perceptron(16, 16) if model is None else model
    return Workload(chosen, loss, regression() if batches is None else batches, **({"optimizer": sgd()} | more))


def images() -> list[Any]:
    """Batches of images and the mean of their left half."""
    random = torch.Generator().manual_seed(3)
    given = [torch.randn(16, 1, 8, 8, generator=random) for _ in range(5)]
    return [(x, x[..., :4].mean((1, 2, 3))[:, None]) for x in given]


def run(given: Workload, steps: int = 60, seed: int = 0) -> tuple[float, Any]:
    """(loss afterwards, model) of a training that starts from a seed."""
    ready = ADAPTER.fresh(given, seed)
    ADAPTER.train(Scope(Settings(steps=steps)), ready)
    return ADAPTER.evaluate(ready).loss, ready.model


def model_of(given: Workload, seed: int = 0) -> nn.Module:
    """The fresh model of a workload."""
    return ADAPTER.fresh(given, seed).model


def half(batches: list[Any]) -> list[Any]:
    """Batches in bfloat16."""
    return [(x.bfloat16(), y.bfloat16()) for x, y in batches]


@dataclass(frozen=True)
class Case:
    """A remedy, and a workload that it fits."""

    remedy: str
    make: Callable[[], Workload]
    settings: tuple[tuple[str, Any], ...] = ()

    def treated(self) -> Workload:
        """The workload with the remedy."""
        return treat(self.make(), self.remedy, dict(self.settings))


def lacking(parameters: Any) -> Any:
    """Gradient descent that holds but the last two parameters."""
    return torch.optim.SGD(list(parameters)[-2:], lr=0.05)


CASES = [
    Case("batch-normalization", workload),
    Case("layer-normalization", workload),
    Case("rms-normalization", workload),
    Case("he-initialization", workload),
    Case("glorot-initialization", workload),
    Case("orthogonal-initialization", workload, (("gain", 1.0),)),
    Case("lsuv-initialization", workload),
    Case("replace-activation", lambda: workload(perceptron(16, activation=nn.Sigmoid)), (("activation", "relu"),)),
    Case("residual-connection", workload),
    Case("dropout", workload, (("probability", 0.1),)),
    Case(
        "correct-output",
        lambda: workload(perceptron(16, output=nn.Softmax), as_columns(classes()), F.binary_cross_entropy),
        (("output", "sigmoid"),),
    ),
    Case("open-output", lambda: workload(perceptron(16, output=nn.Sigmoid)), (("output", "linear"),)),
    Case("standardize-input", lambda: workload(batches=[(50 + 9 * x, y) for x, y in regression()])),
    Case("input-noise", workload, (("deviation", 0.1),)),
    Case("random-crops", lambda: workload(Images(), images()), (("padding", 1),)),
    Case("register-parameter", lambda: workload(Hidden())),
    Case("connect-parameter", lambda: workload(optimizer=lacking)),
    Case(
        "full-precision-weights",
        lambda: workload(perceptron(16).bfloat16(), half(regression())),
        (("precision", "float32"),),
    ),
    Case(
        "full-precision-loss",
        lambda: workload(perceptron(16).bfloat16(), half(regression())),
        (("precision", "float32"),),
    ),
    Case("replace-optimizer", workload, (("optimizer", "Adam"), ("rate", 1e-3))),
    Case(
        "scale-target",
        lambda: workload(batches=[(x, 1000 + 200 * y) for x, y in regression()]),
        (("mean", 1000.0), ("deviation", 200.0)),
    ),
    Case("match-shapes", lambda: workload(batches=[(x, y[:, 0]) for x, y in regression()], loss=plain)),
    Case("loss-scaling", workload, (("scale", 1024.0),)),
    Case("reduce-on-plateau", workload, (("factor", 0.5), ("patience", 3))),
    Case("weaken-penalty", lambda: workload(optimizer=sgd(weight_decay=1.0)), (("factor", 0.01),)),
    Case("stop-before-poison", workload),
    Case("shuffle-data", workload),
    Case("check-data", lambda: workload(batches=poisoned())),
    Case("clip-gradient-norm", workload, (("max_norm", 0.5),)),
    Case("clip-gradient-value", workload, (("max_value", 0.5),)),
    Case("adaptive-clipping", workload, (("limit", 0.01),)),
    Case("loosen-clipping", lambda: workload(recipe=Recipe(clip_norm=1e-6)), (("max_norm", 1.0),)),
    Case("weight-decay", workload, (("decay", 0.01),)),
    Case("l2-penalty", workload, (("l2", 2e-4),)),
    Case("l1-penalty", workload, (("l1", 1e-5),)),
    Case("lower-learning-rate", workload, (("factor", 0.1),)),
    Case("raise-learning-rate", workload, (("factor", 2.0),)),
    Case("warm-up", workload, (("steps", 10),)),
    Case("cosine-schedule", workload, (("steps", 60),)),
    Case("larger-batch", workload, (("accumulate", 2), ("batch_size", 64))),
    Case("accumulate-gradients", workload, (("accumulate", 2),)),
    Case("growing-batch", workload, (("accumulate", 4), ("every", 10))),
    Case("full-batch", workload),
]


def plain(output: Any, target: Any) -> Any:
    """A squared error by hand, which broadcasts without a word."""
    return (output - target).square().mean()


def poisoned() -> list[Any]:
    """A regression one of whose samples is NaN."""
    batches = regression()
    batches[3][0][5, 2] = torch.nan
    return batches


def state(model: nn.Module) -> dict[str, Any]:
    """Everything that a model holds."""
    return {k: v.clone() for k, v in model.state_dict().items()}


def same(first: dict[str, Any], second: dict[str, Any]) -> bool:
    """Whether both hold the same, bit for bit."""
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


def test_every_remedy_that_is_known_has_a_case():
    assert {c.remedy for c in CASES} == set(REMEDIES)


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.remedy)
def test_what_was_given_stays_as_it_was_bit_for_bit(case):
    given = case.make()
    kept, modules, training = state(given.model), str(given.model), given.model.training
    batches = [(x.clone(), y.clone()) for x, y in given.batches]
    run(treat(given, case.remedy, dict(case.settings)), steps=5)
    assert same(state(given.model), kept)
    assert (str(given.model), given.model.training) == (modules, training)
    assert not any(p._backward_hooks for p in given.model.parameters())
    for (x, y), (x_kept, y_kept) in zip(given.batches, batches, strict=True):
        assert torch.equal(x.nan_to_num(7.0), x_kept.nan_to_num(7.0))
        assert torch.equal(y, y_kept)


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.remedy)
def test_a_treated_workload_trains(case):
    loss, model = run(case.treated(), steps=20)
    assert np.isfinite(loss)
    before = model_of(case.treated())
    assert not all(torch.equal(a, b) for a, b in zip(before.parameters(), model.parameters(), strict=True))


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.remedy)
def test_the_random_streams_are_left_where_they_were(case):
    given = case.make()
    torch.manual_seed(5)
    kept = torch.get_rng_state()
    treat(given, case.remedy, dict(case.settings))
    assert torch.equal(torch.get_rng_state(), kept)


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.remedy)
def test_the_same_seed_gives_the_same_model_and_training(case):
    assert run(case.treated(), steps=5)[0] == run(case.treated(), steps=5)[0]


def test_a_model_that_a_function_builds_is_built_anew_for_each_seed():
    def build():
        return nn.Sequential(nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 1))

    given = treat(workload(build), "batch-normalization", {})
    assert not same(state(model_of(given, 0)), state(model_of(given, 1)))
    assert same(state(model_of(given, 1)), state(model_of(given, 1)))


# -- what each does ----------------------------------------------------------------------------------------------------


def kinds(model: nn.Module) -> list[str]:
    """The types of the modules without children, in order."""
    return [type(m).__name__ for m in model.modules() if not any(m.children())]


@pytest.mark.parametrize(
    ("remedy", "kind"),
    [("batch-normalization", "BatchNorm1d"), ("layer-normalization", "LayerNorm"), ("rms-normalization", "RMSNorm")],
)
def test_a_normalization_stands_before_each_hidden_activation(remedy, kind):
    made = model_of(treat(workload(), remedy, {}))
    assert kinds(made) == ["Linear", kind, "ReLU", "Linear", kind, "ReLU", "Linear"]


def test_a_normalization_finds_activations_that_are_calls():
    made = model_of(treat(workload(Functional()), "batch-normalization", {}))
    assert kinds(made) == ["Linear", "BatchNorm1d", "Linear"]
    assert made.first[1].num_features == 16


@pytest.mark.parametrize(
    ("remedy", "kind"), [("batch-normalization", "BatchNorm2d"), ("layer-normalization", "GroupNorm")]
)
def test_a_normalization_of_images_has_their_dimensions(remedy, kind):
    assert kinds(model_of(treat(workload(Images(), images()), remedy, {})))[:3] == ["Conv2d", kind, "ReLU"]


def test_a_network_that_is_normalized_is_not_normalized_again():
    normalized = model_of(treat(workload(), "batch-normalization", {}))
    with pytest.raises(CannotApply, match=r"^layer-normalization: no layer \(Linear, Conv\) without a normalization"):
        treat(workload(normalized), "layer-normalization", {})


def test_no_batch_normalization_over_single_samples():
    with pytest.raises(CannotApply, match="the batches hold one sample each"):
        treat(workload(batches=regression(size=1)), "batch-normalization", {})


def deviation_over_scale(remedy: str, scale: Callable[[nn.Linear], float]) -> list[float]:
    """Deviation of the weights of a wide network, over what the remedy says it should be."""
    made = model_of(treat(workload(perceptron(400, 300)), remedy, {}))
    layers = [m for m in made.modules() if isinstance(m, nn.Linear)][:-1]
    assert not any(bool(m.bias.any()) for m in layers)
    return [float(m.weight.detach().std()) / scale(m) for m in layers]


def test_he_draws_by_the_fan_in():
    ratios = deviation_over_scale("he-initialization", lambda m: (2 / m.in_features) ** 0.5)
    assert ratios == pytest.approx([1, 1], rel=0.05)


def test_glorot_draws_by_both_fans():
    ratios = deviation_over_scale("glorot-initialization", lambda m: (2 / (m.in_features + m.out_features)) ** 0.5)
    assert ratios == pytest.approx([1, 1], rel=0.05)


def test_recurrent_matrices_become_orthogonal_gate_by_gate_and_others_stay():
    given = workload(Sequence())
    made = model_of(treat(given, "orthogonal-initialization", {"gain": 2.0}))
    for gate in made.rnn.weight_hh_l0.detach().split(6):
        assert torch.allclose(gate @ gate.T, 4 * torch.eye(6), atol=1e-5)
    assert torch.equal(made.rnn.weight_ih_l0, given.model.rnn.weight_ih_l0)
    assert torch.equal(made.last.weight, given.model.last.weight)


def test_layer_by_layer_every_layer_gives_variance_one():
    given = workload(perceptron(64, 64, 64, activation=nn.Tanh))
    made = model_of(treat(given, "lsuv-initialization", {}))
    seen = anatomy(made, given.batches[0][0])
    assert [float(r.made.std()) for r in seen.layers] == pytest.approx([1, 1, 1, 1], rel=1e-4)


def test_hidden_activations_are_replaced_and_that_of_the_output_stays():
    given = workload(perceptron(16, 16, activation=nn.Sigmoid, output=nn.Sigmoid))
    made = model_of(treat(given, "replace-activation", {"activation": "leaky_relu"}))
    assert kinds(made) == ["Linear", "LeakyReLU", "Linear", "LeakyReLU", "Linear", "Sigmoid"]
    assert made[1].negative_slope == 0.1


def test_a_path_leads_around_layers_that_keep_the_width():
    given = workload(perceptron(16, 16, 16))
    made = model_of(treat(given, "residual-connection", {}))
    assert kinds(made) == ["Linear", "ReLU", "Linear", "ReLU", "Identity", "Linear", "ReLU", "Identity", "Linear"]
    x = given.batches[0][0]
    first = given.model[:2](x)
    assert torch.allclose(made[:4](x), first + given.model[2:4](first))


@pytest.mark.parametrize(
    ("ending", "output", "expected"),
    [
        (nn.Softmax, "linear", ["Linear", "Identity"]),
        (nn.Softmax, "sigmoid", ["Linear", "Sigmoid"]),
        (None, "sigmoid", ["Linear", "Sigmoid"]),
        (None, "log_softmax", ["Linear", "LogSoftmax"]),
    ],
)
def test_the_output_ends_as_the_loss_wants_it(ending, output, expected):
    given = workload(perceptron(16, output=ending))
    assert kinds(model_of(treat(given, "correct-output", {"output": output})))[2:] == expected


def test_an_activation_before_a_reshape_is_the_last_one():
    given = workload(nn.Sequential(perceptron(16, output=nn.Softmax), nn.Flatten(0)), loss=plain)
    made = model_of(treat(given, "correct-output", {"output": "sigmoid"}))
    assert kinds(made) == ["Linear", "ReLU", "Linear", "Sigmoid", "Flatten"]


def test_the_loss_is_corrected_where_it_is_the_wrong_one():
    given = workload(perceptron(16), [(x, y) for x, y in classes()], F.cross_entropy)
    settings = {"output": "linear", "loss": "binary_cross_entropy_with_logits"}
    loss, model = run(treat(given, "correct-output", settings), steps=200)
    assert loss < 0.45
    assert kinds(model) == ["Linear", "ReLU", "Linear"]


def test_inputs_are_standardized_by_the_moments_of_all_batches():
    batches = [(50 + 9 * x, y) for x, y in regression()]
    made = model_of(treat(workload(batches=batches), "standardize-input", {}))
    x = made[0](torch.cat([x for x, _ in batches]))
    assert torch.allclose(x.mean(0), torch.zeros(8), atol=1e-4)
    assert torch.allclose(x.std(0, unbiased=False), torch.ones(8), atol=1e-4)


def test_a_constant_feature_is_not_divided_by_zero():
    batches = [(torch.cat([x[:, :7], torch.full((32, 1), 3.0)], 1), y) for x, y in regression()]
    made = model_of(treat(workload(batches=batches), "standardize-input", {}))
    assert float(made[0](batches[0][0])[:, 7].abs().max()) == 0


def test_indices_are_not_standardized():
    embedded = nn.Sequential(nn.Embedding(10, 4), nn.Flatten(), nn.Linear(32, 1))
    batches = [(torch.randint(0, 10, (32, 8)), y) for _, y in regression()]
    with pytest.raises(CannotApply, match=r"the inputs are torch.int64: indices, not measurements"):
        treat(workload(embedded, batches), "standardize-input", {})


def test_noise_and_crops_are_there_only_while_it_trains():
    x = images()[0][0]
    for remedy, settings in (("input-noise", {"deviation": 0.1}), ("random-crops", {"padding": 2})):
        first = model_of(treat(workload(Images(), images()), remedy, settings))[0]
        changed = first(x)
        assert changed.shape == x.shape
        assert not torch.equal(changed, x)
        assert torch.equal(first.eval()(x), x)


def test_noise_has_the_size_that_was_asked_for():
    given = workload(batches=[(100 * x, y) for x, y in regression()])
    first = model_of(treat(given, "input-noise", {"deviation": 0.1}))[0]
    assert float(first(torch.zeros(1000, 8)).std()) == pytest.approx(10, rel=0.1)


def test_crops_move_every_image_by_itself():
    first = model_of(treat(workload(Images(), images()), "random-crops", {"padding": 1}))[0]
    marked = torch.zeros(200, 1, 8, 8)
    marked[:, :, 4, 4] = 1
    places = {tuple(one.nonzero()[0].tolist()[1:]) for one in first(marked)}
    assert places == {(r, c) for r in (3, 4, 5) for c in (3, 4, 5)}


def test_layers_of_a_plain_list_are_registered_and_then_trained():
    given = workload(Hidden())
    made = model_of(treat(given, "register-parameter", {}))
    assert (len(list(given.model.parameters())), len(list(made.parameters()))) == (2, 4)
    _, trained = run(treat(given, "register-parameter", {}), steps=3)
    assert not torch.equal(trained.inner[0].weight, made.inner[0].weight)


def test_parameters_that_the_optimizer_lacks_are_added_to_it():
    optimizer = treat(workload(optimizer=lacking), "register-parameter", {}).optimizer
    parameters = [nn.Parameter(torch.ones(1)) for _ in range(5)]
    assert sorted(len(g["params"]) for g in optimizer(iter(parameters)).param_groups) == [2, 3]


def test_where_no_parameter_is_missing_none_is_connected():
    with pytest.raises(CannotApply, match="every parameter is registered and held by the optimizer"):
        treat(workload(), "connect-parameter", {})


def test_weights_inputs_and_targets_come_to_float32():
    given = workload(perceptron(16).bfloat16(), half(regression()))
    made = treat(given, "full-precision-weights", {"precision": "float32"})
    model = model_of(made)
    output = model(given.batches[0][0])
    assert {p.dtype for p in model.parameters()} | {output.dtype} == {torch.float32}
    assert made.loss(output, given.batches[0][1]).dtype == torch.float32


def test_weights_of_float32_are_left_alone():
    with pytest.raises(CannotApply, match="the weights are in float32 already"):
        treat(workload(), "full-precision-weights", {"precision": "float32"})


def test_eps_and_rate_of_the_optimizer_are_changed():
    made = treat(workload(optimizer=None), "full-precision-weights", {"eps": 1e-4, "factor": 0.1})
    assert [g["eps"] for g in made.optimizer([nn.Parameter(torch.ones(1))]).param_groups] == [1e-4]
    assert made.recipe.factor(3) == 0.1


def test_the_optimizer_is_replaced_by_name():
    made = treat(workload(), "replace-optimizer", {"optimizer": "AdamW", "rate": 0.01})
    optimizer = made.optimizer([nn.Parameter(torch.ones(1))])
    assert (type(optimizer).__name__, optimizer.param_groups[0]["lr"]) == ("AdamW", 0.01)
    with pytest.raises(CannotApply, match="the optimizer is Adam already"):
        treat(workload(optimizer=None), "replace-optimizer", {"optimizer": "Adam", "rate": 0.01})


def test_a_scaled_target_keeps_the_value_of_the_loss_and_standardizes_its_gradient():
    batches = [(x, 1000 + 200 * y) for x, y in regression()]
    made = treat(workload(batches=batches), "scale-target", {"mean": 1000.0, "deviation": 200.0})
    model, (x, y) = model_of(made), batches[0]
    output = model(x)
    loss = made.loss(output, y)
    assert loss.item() == pytest.approx(F.mse_loss(output, y).item())
    loss.backward()
    found = model[0][0].weight.grad.clone()
    other = copy.deepcopy(model[0])
    other.zero_grad()
    F.mse_loss(other(x), (y - 1000) / 200).backward()
    assert torch.allclose(found, other[0].weight.grad, rtol=1e-3)


def test_a_target_takes_the_shape_of_the_output():
    made = treat(workload(batches=[(x, y[:, 0]) for x, y in regression()], loss=plain), "match-shapes", {})
    output, target = torch.zeros(4, 1), torch.tensor([1.0, 2.0, 3.0, 4.0])
    assert float(made.loss(output, target)) == 7.5
    with pytest.raises(CannotApply, match=r"output and target of \(32, 1\) and \(32, 1\) are alike"):
        treat(workload(), "match-shapes", {})


def test_a_scaled_loss_keeps_value_and_gradients():
    given = workload()
    made = treat(given, "loss-scaling", {"scale": 1024.0})
    (x, y), model = given.batches[0], model_of(made)
    seen = []
    model[-1].register_full_backward_hook(lambda _m, _inputs, outputs: seen.append(float(outputs[0].norm())))
    loss = made.loss(model(x), y)
    loss.backward()
    other = copy.deepcopy(given.model)
    output = other(x)
    output.retain_grad()
    F.mse_loss(output, y).backward()
    assert loss.item() == F.mse_loss(output, y).item()
    assert seen == pytest.approx([1024 * float(output.grad.norm())])
    for p, q in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.allclose(p.grad, q.grad)


def test_the_rate_falls_where_the_loss_stands_still():
    constant = [(x, torch.randn(32, 1)) for x, _ in regression(batches=1)]
    given = workload(batches=constant, optimizer=sgd(1e-9))
    made = treat(given, "reduce-on-plateau", {"factor": 0.5, "patience": 2})
    run(made, steps=61)
    assert made.recipe.factor(61) == 0.25
    run(made, steps=1)
    assert made.recipe.factor(1) == 1


def test_penalties_of_optimizer_and_recipe_are_weakened():
    given = workload(optimizer=sgd(weight_decay=1.0), recipe=Recipe(l1=0.5, decay=2.0))
    made = treat(given, "weaken-penalty", {"factor": 0.01})
    assert (made.recipe.l1, made.recipe.l2, made.recipe.decay) == (0.005, 0, 0.02)
    assert [g["weight_decay"] for g in made.optimizer([nn.Parameter(torch.ones(1))]).param_groups] == [0.01]
    with pytest.raises(CannotApply, match="neither optimizer nor recipe has a penalty"):
        treat(workload(), "weaken-penalty", {"factor": 0.01})


def test_no_step_is_taken_along_what_is_not_finite():
    sick, (_, poisoned_model) = workload(batches=poisoned()), run(workload(batches=poisoned()), steps=10)
    assert not all(bool(torch.isfinite(p).all()) for p in poisoned_model.parameters())
    _, model = run(treat(sick, "stop-before-poison", {}), steps=10)
    assert all(bool(torch.isfinite(p).all()) for p in model.parameters())


def test_samples_that_are_not_finite_are_dropped():
    made = treat(workload(batches=poisoned()), "check-data", {})
    assert [len(x) for x, _ in made.batches] == [32, 32, 32, 31, *[32] * 6]
    with pytest.raises(CannotApply, match="every number of the batches is finite"):
        treat(workload(), "check-data", {})


def test_batches_are_shuffled_anew_in_each_pass_and_hold_the_same_samples():
    given = workload()
    made = treat(given, "shuffle-data", {})
    torch.manual_seed(0)
    first, second = ([x for x, _ in made.batches()] for _ in range(2))
    assert not torch.equal(first[0], second[0])
    every = torch.cat([x for x, _ in given.batches])
    assert torch.equal(torch.cat(first).sort(0).values, every.sort(0).values)


@pytest.mark.parametrize(
    ("remedy", "settings", "reads"),
    [
        ("clip-gradient-norm", {"max_norm": 0.5}, lambda r: r.clip_norm == 0.5),
        ("clip-gradient-value", {"max_value": 0.5}, lambda r: r.clip_value == 0.5),
        ("adaptive-clipping", {"limit": 0.01}, lambda r: r.clip_adaptive == 0.01),
        ("weight-decay", {"decay": 0.02}, lambda r: r.decay == 0.02),
        ("l2-penalty", {"l2": 0.02}, lambda r: r.l2 == 0.02),
        ("l1-penalty", {"l1": 0.02}, lambda r: r.l1 == 0.02),
        ("lower-learning-rate", {"factor": 0.1}, lambda r: r.factor(7) == 0.1),
        ("raise-learning-rate", {"factor": 10.0}, lambda r: r.factor(7) == 10),
        ("warm-up", {"steps": 10}, lambda r: [r.factor(s) for s in (0, 4, 9, 50)] == [0.1, 0.5, 1, 1]),
        ("cosine-schedule", {"steps": 10}, lambda r: r.factor(5) == pytest.approx(0.5)),
        ("accumulate-gradients", {"accumulate": 4}, lambda r: r.count(3) == 4),
        ("larger-batch", {"accumulate": 8, "batch_size": 256}, lambda r: r.count(3) == 8),
        (
            "growing-batch",
            {"accumulate": 4, "every": 10},
            lambda r: [r.count(s) for s in (0, 10, 20, 90)] == [1, 2, 4, 4],
        ),
        ("full-batch", {}, lambda r: r.full_batch),
    ],
)
def test_what_a_recipe_can_say_is_said_there(remedy, settings, reads):
    assert reads(treat(workload(), remedy, settings).recipe)


def test_remedies_follow_one_another():
    given = workload(batches=[(50 + 9 * x, 1000 + 200 * y) for x, y in regression()])
    made = treat(given, "standardize-input", {})
    made = treat(made, "scale-target", {"mean": 1000.0, "deviation": 200.0})
    made = treat(made, "batch-normalization", {})
    made = treat(made, "dropout", {"probability": 0.1})
    found = kinds(model_of(made))
    expected = ["Standardize", *["Linear", "BatchNorm1d", "ReLU", "Dropout"] * 2, "Linear", "Rescale"]
    assert found == expected
    assert run(made, 100)[0] < 0.3 * 200**2


# -- what does not fit -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("remedy", "given", "settings", "text"),
    [
        ("replace-activation", workload(Functional()), {"activation": "gelu"}, "forward() calls the activations as"),
        ("replace-activation", workload(), {"activation": "relu"}, "no hidden activation is other than relu"),
        ("replace-activation", workload(), {"activation": "cube"}, "no activation is called 'cube'; there are elu,"),
        ("correct-output", workload(Functional(closing=True)), {"output": "linear"}, "ends in a call of sigmoid: it"),
        ("open-output", workload(), {"output": "linear"}, "the model ends in no activation that could be dropped"),
        ("residual-connection", workload(perceptron(16, 8)), {}, "no layer keeps the width"),
        ("residual-connection", workload(Functional()), {}, "followed by its activation in one Sequential"),
        ("random-crops", workload(), {"padding": 4}, "inputs of shape (32, 8) are no images [N, C, H, W]"),
        ("loosen-clipping", workload(), {"max_norm": 1.0}, "the recipe of this workload clips no norm"),
        ("clip-gradient-norm", workload(), {}, "needs max_norm as a number above 0, got None"),
        ("add-zero-grad", workload(), {}, "the trainer of a workload clears the gradients before every step"),
        ("leech", workload(), {}, "not known to the trainer of torch; it knows accumulate-gradients, "),
        ("dropout", workload(Functional()), {"probability": 0.1}, "no hidden activation is a module of its own"),
        ("he-initialization", workload(nn.Bilinear(8, 8, 1)), {}, "the model has no Linear and no Conv"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_reason(remedy, given, settings, text):
    with pytest.raises(CannotApply) as caught:
        treat(given, remedy, settings)
    assert str(caught.value).startswith(f"{remedy}: ")
    assert text in str(caught.value)


def test_batches_that_a_look_would_use_up_are_not_looked_at():
    given = iter(regression())
    with pytest.raises(CannotApply, match="batches is an iterator that a look at them would use up"):
        treat(workload(batches=given), "batch-normalization", {})
    assert len(list(given)) == 10


def test_a_model_that_does_not_run_with_a_remedy_is_refused():
    class Reads(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.last = nn.Linear(8, 4), nn.Linear(4, 1)

        def forward(self, x):
            return self.last(torch.relu(self.first(x))) * self.first.weight.sum()

    with pytest.raises(CannotApply, match="the model does not run with it: AttributeError"):
        treat(workload(Reads()), "batch-normalization", {})


def test_layers_inside_a_transformer_are_found_and_its_attention_is_left_alone():
    class Reader(nn.Module):
        def __init__(self):
            super().__init__()
            self.block, self.last = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), nn.Linear(8, 1)

        def forward(self, x):
            return self.last(self.block(x[:, None].repeat(1, 3, 1)).mean(1))

    given = treat(workload(Reader()), "layer-normalization", {})
    made = model_of(given)
    assert [type(m).__name__ for m in made.block.linear1] == ["Linear", "LayerNorm"]
    assert type(made.block.self_attn.out_proj).__name__ == "NonDynamicallyQuantizableLinear"
    with pytest.raises(CannotApply, match=r"no layer \(Linear, Conv\) without a normalization is followed by"):
        treat(workload(Reader()), "batch-normalization", {})


def test_a_layer_that_is_used_twice_is_normalized_once():
    shared = nn.Linear(8, 8)
    given = workload(nn.Sequential(shared, nn.ReLU(), shared, nn.ReLU(), nn.Linear(8, 1)))
    made = model_of(treat(given, "layer-normalization", {}))
    assert made[0] is made[2]
    assert kinds(made) == ["Linear", "LayerNorm", "ReLU", "ReLU", "Linear"]


def test_a_model_that_fails_by_itself_is_refused():
    with pytest.raises(CannotApply, match="the model does not run with it: RuntimeError: mat1 and mat2"):
        treat(workload(nn.Linear(5, 1)), "batch-normalization", {})


def test_a_remedy_with_an_apply_of_its_own_needs_no_adapter():
    own = Remedy("tea", "Tea", "it is four", apply=lambda w: replace(w, recipe=Recipe(l1=0.4)))
    assert treated(workload(), own, ADAPTER).recipe.l1 == 0.4
    known = Remedy("clip-gradient-norm", "Clip", "it is long", settings={"max_norm": 2.0})
    assert treated(workload(), known, ADAPTER).recipe.clip_norm == 2


# -- known cures -------------------------------------------------------------------------------------------------------


def deep_sigmoid() -> Workload:
    """Eight sigmoid layers: nothing is learnt."""
    return workload(lambda: perceptron(*[16] * 8, activation=nn.Sigmoid), optimizer=None)


def too_large_kernels() -> Workload:
    """Five layers whose weights are eight times too large."""

    def build() -> nn.Module:
        made = perceptron(32, 32, 32, 32)
        with torch.no_grad():
            for p in made.parameters():
                p.mul_(8)
        return made

    return workload(build, optimizer=sgd(1e-3))


CURES = [
    ("batch-normalization", {}, deep_sigmoid),
    ("layer-normalization", {}, deep_sigmoid),
    ("he-initialization", {}, too_large_kernels),
    ("lsuv-initialization", {}, too_large_kernels),
    ("lower-learning-rate", {"factor": 0.01}, lambda: workload(optimizer=sgd(5.0))),
    ("raise-learning-rate", {"factor": 1e4}, lambda: workload(optimizer=sgd(1e-5))),
    ("standardize-input", {}, lambda: workload(batches=[(500 + 90 * x, y) for x, y in regression()])),
    (
        "scale-target",
        {"mean": 1e4, "deviation": 2e3},
        lambda: workload(batches=[(x, 1e4 + 2e3 * y) for x, y in regression()]),
    ),
    ("weaken-penalty", {"factor": 1e-4}, lambda: workload(optimizer=sgd(weight_decay=5.0))),
    ("loosen-clipping", {"max_norm": 1.0}, lambda: workload(recipe=Recipe(clip_norm=1e-5))),
    ("clip-gradient-norm", {"max_norm": 0.1}, lambda: workload(too_large_kernels().model, optimizer=sgd(0.01))),
    ("clip-gradient-value", {"max_value": 0.01}, lambda: workload(too_large_kernels().model, optimizer=sgd(0.01))),
    ("adaptive-clipping", {"limit": 0.01}, lambda: workload(too_large_kernels().model, optimizer=sgd(0.01))),
    ("check-data", {}, lambda: workload(batches=poisoned())),
    ("register-parameter", {}, lambda: workload(Hidden())),
    (
        "correct-output",
        {"output": "sigmoid"},
        lambda: workload(perceptron(16, output=nn.Softmax), as_columns(classes()), F.binary_cross_entropy),
    ),
    ("open-output", {"output": "linear"}, lambda: workload(perceptron(16, output=nn.Sigmoid))),
    ("match-shapes", {}, lambda: workload(batches=[(x, y[:, 0]) for x, y in regression()], loss=plain)),
    ("replace-optimizer", {"optimizer": "Adam", "rate": 0.01}, lambda: workload(optimizer=sgd(1e-4))),
]


@pytest.mark.parametrize(("remedy", "settings", "make"), CURES, ids=[c[0] for c in CURES])
def test_a_known_cure_cures(remedy, settings, make):
    sick, cured = (np.mean([run(w, 150, s)[0] for s in range(2)]) for w in (make(), treat(make(), remedy, settings)))
    assert np.isfinite(cured)
    assert not sick <= 1.5 * cured, (sick, cured)


def test_sorted_classes_are_learnt_once_they_are_shuffled():
    x = torch.cat([x for x, _ in classes()])
    y = torch.cat([y for _, y in classes()])
    order = y.argsort()
    batches = [(x[k], y[k]) for k in order.split(32)]
    given = workload(perceptron(16, units=2), batches, F.cross_entropy, optimizer=sgd(0.5))
    assert run(given, 150)[0] > 1.5 * run(treat(given, "shuffle-data", {}), 150)[0]
