"""The loops that people write: closures, several models and optimizers, mixed precision, checkpointing."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import gradscope
import numpy as np
import pytest
import torch
from gradscope import Scope
from gradscope.history import MISSING
from torch import nn
from torch.utils.checkpoint import checkpoint

from tests.adapters.torch.training import batches, in_session, mlp, names_of, sgd, train, untroubled, watched

OBSERVERS = pytest.mark.parametrize("observer", ["watch", "session"])


def observed(observer: str, model: Any, optimizer: Any, loop: Callable[[], Any]) -> Scope:
    """The closed scope of a loop under one of both observers."""
    return watched(model, optimizer, loop) if observer == "watch" else in_session(loop)


def subjects(scope: Scope, table: str = "gradient", objective: int = 0) -> list[str]:
    """The names in a table."""
    return [s.name for s in scope.histories[objective][table].subjects]


# -- optimizers --------------------------------------------------------------------------------------------------------


@OBSERVERS
def test_a_closure_is_one_step_however_often_it_is_called(observer: str) -> None:
    model = nn.Linear(4, 1)
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=5)
    x, y = next(batches(1))
    calls = []

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(x), y)
        loss.backward()
        calls.append(loss.item())
        return loss

    def loop() -> None:
        for _ in range(6):
            optimizer.step(closure)

    scope = observed(observer, model, optimizer, loop)
    report = untroubled(scope)
    history = scope.histories[0]
    assert report.watched["steps"] == 6
    assert history.run("backward_passes").sum() == len(calls) > 6
    assert not names_of(report) & {"stale-gradient", "missing-gradient"}
    assert (history["gradient"].column("gradient_norm") >= 0).all()


@OBSERVERS
def test_a_closure_given_to_plain_sgd_is_measured_after_its_backward(observer: str) -> None:
    model = nn.Linear(4, 1)
    optimizer = sgd(model)

    def loop() -> None:
        for x, y in batches(6):

            def closure(x: Any = x, y: Any = y) -> torch.Tensor:
                optimizer.zero_grad()
                loss = nn.functional.mse_loss(model(x), y)
                loss.backward()
                return loss

            optimizer.step(closure=closure)

    history = observed(observer, model, optimizer, loop).histories[0]
    assert (history["gradient"].column("gradient_norm") > 0).all()
    assert np.isfinite(history.run("loss")).all()


@OBSERVERS
def test_a_parameter_group_added_later_is_named_and_measured_from_then_on(observer: str) -> None:
    model = mlp()
    head = model[3]
    optimizer = torch.optim.SGD(model[0].parameters(), lr=0.01)

    def loop() -> None:
        train(model, optimizer, 3)
        optimizer.add_param_group({"params": list(head.parameters()), "lr": 0.1})
        train(model, optimizer, 3)

    scope = observed(observer, model, optimizer, loop)
    untroubled(scope)
    assert len(scope.histories) == 1
    assert sorted(subjects(scope)) == ["0.bias", "0.weight", "3.bias", "3.weight"]
    assert scope.histories[0]["gradient"].subject("3.weight").traits["optimized"]
    assert list(scope.histories[0].run("learning_rate")) == [0.01] * 3 + [0.1] * 3


@OBSERVERS
def test_an_optimizer_made_anew_over_the_same_parameters_continues_the_history(observer: str) -> None:
    model = mlp()

    def loop() -> None:
        for _ in range(3):
            train(model, sgd(model), 2)

    scope = observed(observer, model, None, loop)
    assert [h.steps for h in scope.histories] == [6]


@OBSERVERS
def test_schedulers_that_wrap_step_are_heard(observer: str) -> None:
    model = mlp()
    optimizer = sgd(model, lr=1.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=8)
    rates = []

    def loop() -> None:
        for x, y in batches(7):
            optimizer.zero_grad()
            nn.functional.mse_loss(model(x), y).backward()
            rates.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            schedule.step()

    history = observed(observer, model, optimizer, loop).histories[0]
    assert list(history.run("learning_rate")) == pytest.approx(rates)


def test_without_an_optimizer_every_one_that_holds_a_parameter_is_heard_and_no_other() -> None:
    model, other = mlp(), mlp(seed=1)
    with gradscope.watch(model) as scope:
        train(model, sgd(model), 3)
        train(other, sgd(other), 5)
    assert [h.steps for h in scope.histories] == [3]


def test_an_optimizer_that_steps_inside_another_counts_once() -> None:
    model = mlp()
    inner = sgd(model)

    class Outer(torch.optim.Optimizer):
        def __init__(self) -> None:
            super().__init__(list(model.parameters()), {})

        def step(self, closure: Any = None) -> None:
            inner.step()

    outer = Outer()
    scope = in_session(lambda: train(model, outer, 4))
    assert [h.steps for h in scope.histories] == [4]


# -- several objectives ------------------------------------------------------------------------------------------------


@OBSERVERS
def test_the_two_optimizers_of_a_gan_compete(observer: str) -> None:
    torch.manual_seed(0)
    generator = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 2))
    critic = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 1))
    ours, theirs = torch.optim.Adam(generator.parameters()), torch.optim.Adam(critic.parameters())
    judge = nn.functional.binary_cross_entropy_with_logits
    one, zero = torch.ones(16, 1), torch.zeros(16, 1)

    def loop() -> None:
        for _ in range(8):
            fake = generator(torch.randn(16, 2))
            theirs.zero_grad()
            (judge(critic(torch.randn(16, 2) + 2), one) + judge(critic(fake.detach()), zero)).backward()
            theirs.step()
            ours.zero_grad()
            judge(critic(fake), one).backward()
            ours.step()

    scope = observed(observer, [generator, critic], [ours, theirs], loop)
    untroubled(scope)
    assert [h.facts.get("competing") for h in scope.histories] == [True, True]
    assert [h.steps for h in scope.histories] == [8, 8]
    assert subjects(scope, objective=0)[0] == "critic.0.weight"
    assert subjects(scope, objective=1)[0] == "generator.0.weight"


@OBSERVERS
def test_the_two_optimizers_of_an_encoder_and_a_decoder_step_together(observer: str) -> None:
    torch.manual_seed(0)
    encoder, decoder = nn.Linear(4, 3), nn.Linear(3, 4)
    first, second = sgd(encoder, 0.01), sgd(decoder, 0.01)

    def loop() -> None:
        for x, _ in batches(8):
            first.zero_grad()
            second.zero_grad()
            nn.functional.mse_loss(decoder(encoder(x)), x).backward()
            first.step()
            second.step()

    scope = observed(observer, [encoder, decoder], [first, second], loop)
    untroubled(scope)
    assert [bool(h.facts.get("competing")) for h in scope.histories] == [False, False]
    assert list(scope.histories[0].run("loss")) == list(scope.histories[1].run("loss"))
    assert [list(h.run("carried_over")[1:]) for h in scope.histories] == [[0] * 7, [0] * 7]


@OBSERVERS
def test_several_models_under_one_optimizer_are_named_by_their_variables(observer: str) -> None:
    body, head = nn.Linear(4, 8), nn.Linear(8, 1)
    optimizer = torch.optim.SGD([*body.parameters(), *head.parameters()], lr=0.01)
    scope = observed(observer, [body, head], optimizer, lambda: train(lambda x: head(body(x).relu()), optimizer, 3))
    assert subjects(scope) == ["body.weight", "body.bias", "head.weight", "head.bias"]


def test_the_loss_of_an_unwatched_model_is_not_taken_for_that_of_the_watched_one() -> None:
    model, other = nn.Linear(4, 1), nn.Linear(4, 1)
    optimizer, another = sgd(model), sgd(other)
    losses = []
    with gradscope.watch(model, optimizer) as scope:
        for x, y in batches(5):
            another.zero_grad()
            (nn.functional.mse_loss(other(x), y) + 1000).backward()
            another.step()
            optimizer.zero_grad()
            loss = nn.functional.mse_loss(model(x), y)
            losses.append(loss.item())
            loss.backward()
            optimizer.step()
    assert list(scope.histories[0].run("loss")) == pytest.approx(losses, rel=1e-6)


# -- mixed precision ---------------------------------------------------------------------------------------------------


def amp_loop(
    model: nn.Module, optimizer: Any, scaler: Any, steps: int, *, unscale: bool = False, size: float = 1.0
) -> None:
    """A loop under a gradient scaler."""
    for x, y in batches(steps):
        optimizer.zero_grad()
        loss = size * nn.functional.mse_loss(model(x), y)
        scaler.scale(loss).backward()
        if unscale:
            scaler.unscale_(optimizer)
        scaler.step(optimizer)
        scaler.update()


@OBSERVERS
@pytest.mark.parametrize("unscale", [False, True])
def test_first_steps_that_a_scaler_skips_are_benign(observer: str, unscale: bool) -> None:
    model = mlp()
    optimizer = sgd(model, lr=5e-4)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**127, backoff_factor=2.0**-40)

    def loop() -> None:
        amp_loop(model, optimizer, scaler, 40, unscale=unscale, size=100)

    scope = observed(observer, model, optimizer, loop)
    report = untroubled(scope)
    skipped = scope.histories[0].run("skipped")
    assert 1 <= skipped.sum() <= 3
    assert skipped[-30:].sum() == 0
    assert not names_of(report) & {
        "non-finite-gradient",
        "non-finite-loss",
        "non-finite-parameter",
        "loss-scale-collapse",
    }


@OBSERVERS
def test_the_loss_under_a_scaler_is_the_unscaled_one(observer: str) -> None:
    plain, scaled = mlp(), mlp()
    expected = watched(plain, optimizer := sgd(plain), lambda: train(plain, optimizer, 5)).histories[0].run("loss")
    twin = sgd(scaled)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    scope = observed(observer, scaled, twin, lambda: amp_loop(scaled, twin, scaler, 5))
    assert list(scope.histories[0].run("loss")) == pytest.approx(list(expected), rel=1e-5)
    assert list(scope.histories[0].run("loss_scale")) == [1024.0] * 5


@OBSERVERS
def test_gradients_under_a_scaler_are_measured_unscaled(observer: str) -> None:
    norms = []
    for scale in (1.0, 1024.0):
        model = mlp()
        optimizer = sgd(model)
        scaler = torch.amp.GradScaler("cpu", init_scale=scale)
        scope = observed(observer, model, optimizer, lambda s=scaler, m=model, o=optimizer: amp_loop(m, o, s, 3))
        norms.append(scope.histories[0]["gradient"].column("gradient_norm").copy())
    assert norms[0] == pytest.approx(norms[1], rel=1e-4)


@OBSERVERS
def test_an_overflow_that_persists_is_a_verdict(observer: str) -> None:
    model = mlp()
    model[0].weight.register_hook(lambda g: g * math.inf)
    optimizer = sgd(model)
    scaler = torch.amp.GradScaler("cpu")
    scope = observed(observer, model, optimizer, lambda: amp_loop(model, optimizer, scaler, 40))
    report = untroubled(scope)
    assert list(scope.histories[0].run("skipped")) == [1] * 40
    assert "loss-scale-collapse" in names_of(report)


@OBSERVERS
def test_bfloat16_autocast_is_observed(observer: str) -> None:
    model = mlp()
    optimizer = sgd(model)

    def loop() -> None:
        for x, y in batches(6):
            optimizer.zero_grad()
            with torch.autocast("cpu", dtype=torch.bfloat16):
                loss = nn.functional.mse_loss(model(x).float(), y)
            loss.backward()
            optimizer.step()

    assert untroubled(observed(observer, model, optimizer, loop)).watched["steps"] == 6


# -- checkpointing and sharing -----------------------------------------------------------------------------------------


class Checkpointed(nn.Module):
    """Two blocks, each run through activation checkpointing or not."""

    def __init__(self, reentrant: bool | None):
        super().__init__()
        torch.manual_seed(0)
        self.blocks = nn.ModuleList([nn.Sequential(nn.Linear(4, 4), nn.ReLU()) for _ in range(2)])
        self.out = nn.Linear(4, 1)
        self.reentrant = reentrant

    def forward(self, x: torch.Tensor) -> Any:
        x = x.clone().requires_grad_()
        for block in self.blocks:
            x = block(x) if self.reentrant is None else checkpoint(block, x, use_reentrant=self.reentrant)
        return self.out(x)


@OBSERVERS
@pytest.mark.parametrize("reentrant", [True, False])
def test_checkpointing_changes_no_gradient_and_notes_no_module_twice(observer: str, reentrant: bool) -> None:
    scopes = []
    for mode in (None, reentrant):
        model = Checkpointed(mode)
        optimizer = sgd(model)
        scope = observed(observer, model, optimizer, lambda m=model, o=optimizer: train(m, o, 5))
        untroubled(scope)
        scopes.append(scope)
    plain, recomputed = (s.histories[0]["gradient"].column("gradient_norm") for s in scopes)
    assert np.array_equal(plain, recomputed)
    assert set(subjects(scopes[1], "module")) <= set(subjects(scopes[0], "module"))


class Tied(nn.Module):
    """An embedding whose weight is that of the output layer."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(11, 6)
        self.out = nn.Linear(6, 11, bias=False)
        self.out.weight = self.embed.weight

    def forward(self, tokens: torch.Tensor) -> Any:
        return self.out(self.embed(tokens))


@OBSERVERS
def test_a_shared_parameter_is_one_subject(observer: str) -> None:
    model = Tied()
    optimizer = sgd(model)

    def loop() -> None:
        for _ in range(5):
            tokens = torch.arange(11)
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(tokens), tokens).backward()
            optimizer.step()

    scope = observed(observer, model, optimizer, loop)
    untroubled(scope)
    assert subjects(scope) == ["embed.weight"]


class Listed(nn.Module):
    """Layers in a plain list, which torch does not register."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = [nn.Linear(4, 4) for _ in range(2)]
        self.out = nn.Linear(4, 1)

    def forward(self, x: torch.Tensor) -> Any:
        for layer in self.layers:
            x = layer(x).relu()
        return self.out(x)


def test_modules_in_a_python_list_get_a_name() -> None:
    model = Listed()
    scope = in_session(lambda: train(model, sgd(model), 6))
    found = {s.name: s.traits["optimized"] for s in scope.histories[0]["gradient"].subjects}
    assert found == {
        "out.weight": True,
        "out.bias": True,
        "layers.0.weight": False,
        "layers.0.bias": False,
        "layers.1.weight": False,
        "layers.1.bias": False,
    }


def test_modules_in_a_python_list_are_a_verdict() -> None:
    model = Listed()
    report = untroubled(in_session(lambda: train(model, sgd(model), 12)))
    verdict = next(v for v in report.verdicts if v.name == "unchanged-parameter")
    assert verdict.module == "layers.0"


@OBSERVERS
def test_parameters_in_no_optimizer_are_known_and_judged(observer: str) -> None:
    model = mlp()
    optimizer = sgd(model[3])
    scope = observed(observer, model, optimizer, lambda: train(model, optimizer, 12))
    report = untroubled(scope)
    found = {s.name: s.traits["optimized"] for s in scope.histories[0]["gradient"].subjects}
    assert found == {"3.weight": True, "3.bias": True, "0.weight": False, "0.bias": False}
    assert "unchanged-parameter" in names_of(report)


@OBSERVERS
def test_frozen_parameters_are_no_verdict(observer: str) -> None:
    model = mlp()
    model[0].requires_grad_(False)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.05)
    report = untroubled(observed(observer, model, optimizer, lambda: train(model, optimizer, 12)))
    assert not names_of(report) & {"unchanged-parameter", "missing-gradient"}


@OBSERVERS
def test_a_stale_copy_in_the_optimizer_is_a_verdict(observer: str) -> None:
    model = mlp()
    optimizer = sgd(model)
    model[3] = nn.Linear(16, 1)
    scope = observed(observer, model, optimizer, lambda: train(model, optimizer, 12))
    report = untroubled(scope)
    traits = {s.name: s.traits for s in scope.histories[0]["gradient"].subjects}
    assert not traits["3.weight"]["optimized"]
    assert [t["reachable"] for t in traits.values() if t["optimized"]] == [True, True, False, False]
    assert names_of(report) & {"unchanged-parameter", "missing-gradient"}


@OBSERVERS
def test_a_model_moved_to_new_parameters_after_the_optimizer_was_made_is_a_verdict(observer: str) -> None:
    model = mlp()
    optimizer = sgd(model)
    for module in model:
        if isinstance(module, nn.Linear):
            module.weight = nn.Parameter(module.weight.detach().clone())
    report = untroubled(observed(observer, model, optimizer, lambda: train(model, optimizer, 12)))
    assert names_of(report) & {"unchanged-parameter", "missing-gradient"}


# -- modules -----------------------------------------------------------------------------------------------------------


class DictOutput(nn.Module):
    """Takes keywords, gives a dict."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(4, 8)
        self.out = nn.Linear(8, 1)

    def forward(self, *, inputs: torch.Tensor) -> dict[str, Any]:
        hidden = self.body(inputs).relu()
        return {"hidden": hidden, "prediction": self.out(hidden), "nothing": None}


@OBSERVERS
def test_dict_outputs_and_keyword_inputs_are_taken(observer: str) -> None:
    model = DictOutput()
    optimizer = sgd(model)
    scope = observed(
        observer, model, optimizer, lambda: train(lambda x: model(inputs=x)["prediction"], optimizer, steps=6)
    )
    untroubled(scope)
    assert {"body", "out"} <= set(subjects(scope, "module"))


class Last(nn.Module):
    """The last output of a recurrent layer, through a linear one."""

    def __init__(self, layer: nn.Module, features: int):
        super().__init__()
        self.layer, self.out = layer, nn.Linear(features, 1)

    def forward(self, x: torch.Tensor) -> Any:
        x = x[:, :, None].expand(-1, -1, 4)
        found = self.layer(x, x, x) if isinstance(self.layer, nn.MultiheadAttention) else self.layer(x)
        return self.out((found[0] if isinstance(found, tuple) else found)[:, -1])


class Packed(nn.Module):
    """An LSTM over packed sequences."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.out = nn.LSTM(1, 5, batch_first=True), nn.Linear(5, 1)

    def forward(self, x: torch.Tensor) -> Any:
        packed = nn.utils.rnn.pack_padded_sequence(x[:, :, None], torch.full((len(x),), 4), batch_first=True)
        return self.out(self.layer(packed)[1][0][-1])


def convolutional() -> nn.Module:
    """Convolution, batch norm, pooling, over four values as an image."""
    return nn.Sequential(
        nn.Unflatten(1, (1, 2, 2)),
        nn.Conv2d(1, 3, 2, padding=1),
        nn.BatchNorm2d(3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(3, 1),
    )


MODULES: dict[str, Callable[[], nn.Module]] = {
    "LSTM": lambda: Last(nn.LSTM(4, 5, num_layers=2, dropout=0.1, batch_first=True), 5),
    "bidirectional GRU": lambda: Last(nn.GRU(4, 5, bidirectional=True, batch_first=True), 10),
    "RNN": lambda: Last(nn.RNN(4, 5, batch_first=True), 5),
    "packed LSTM": Packed,
    "MultiheadAttention": lambda: Last(nn.MultiheadAttention(4, 2, batch_first=True), 4),
    "TransformerEncoderLayer": lambda: Last(nn.TransformerEncoderLayer(4, 2, 8, batch_first=True), 4),
    "convolutions": convolutional,
    "LayerNorm": lambda: nn.Sequential(nn.Linear(4, 6), nn.LayerNorm(6), nn.GELU(), nn.Linear(6, 1)),
    "PReLU": lambda: nn.Sequential(nn.Linear(4, 6), nn.PReLU(), nn.Linear(6, 1)),
    "weight norm": lambda: nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(4, 6)), nn.Linear(6, 1)),
    "spectral norm": lambda: nn.utils.parametrizations.spectral_norm(nn.Linear(4, 1)),
    "in-place activations": lambda: nn.Sequential(nn.Linear(4, 6), nn.ReLU(inplace=True), nn.Linear(6, 1)),
    "float64": lambda: nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 1)).double(),
}


@OBSERVERS
@pytest.mark.parametrize("kind", MODULES)
def test_modules_of_all_kinds_are_observed_without_a_failure(observer: str, kind: str) -> None:
    torch.manual_seed(0)
    model = MODULES[kind]()
    optimizer = sgd(model, lr=0.01)

    def call(x: torch.Tensor) -> Any:
        return model(x.to(next(model.parameters()).dtype)).float()

    scope = observed(observer, model, optimizer, lambda: train(call, optimizer, 6))
    assert untroubled(scope).watched["steps"] == 6
    assert len(subjects(scope)) == len(list(model.parameters()))


@OBSERVERS
def test_an_evaluation_between_steps_leaves_no_note(observer: str) -> None:
    model = mlp()
    optimizer = sgd(model)

    def loop() -> None:
        for x, y in batches(3):
            model.eval()
            with torch.no_grad():
                model(1e6 * x)
            model.train()
            optimizer.zero_grad()
            nn.functional.mse_loss(model(x), y).backward()
            optimizer.step()

    history = observed(observer, model, optimizer, loop).histories[0]
    assert history["input"].column("abs_max").max() < 100


@OBSERVERS
def test_a_module_called_with_no_sample_is_no_failure(observer: str) -> None:
    model = mlp()
    optimizer = sgd(model)

    def loop() -> None:
        for x, y in batches(6):
            optimizer.zero_grad()
            (nn.functional.mse_loss(model(x), y) + model(x[:0]).sum()).backward()
            optimizer.step()

    untroubled(observed(observer, model, optimizer, loop))


@OBSERVERS
def test_a_loop_that_never_calls_backward_is_not_called_healthy(observer: str) -> None:
    model = mlp()
    optimizer = sgd(model)

    def loop() -> None:
        for _ in range(6):
            optimizer.zero_grad()
            model(torch.zeros(2, 4))
            optimizer.step()

    scope = observed(observer, model, optimizer, loop)
    report = untroubled(scope)
    assert (scope.histories[0]["gradient"].column("gradient_norm") == MISSING).all()
    assert report.status != "healthy"
