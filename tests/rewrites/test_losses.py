"""Remedies written into losses: into that of the training, and into no other number."""

from dataclasses import replace

import pytest
from gradscope.errors import CannotApply

from tests.rewrites.writing import FILE, changes, treated
from tests.specimens import CALL, healthy_run


def seen_at(line):
    """A run whose loss was computed at a line of the program."""
    history = healthy_run(20)
    table = history["loss"]
    at = table.index(CALL)
    table.rename(at, replace(table.subjects[at], source=f"{FILE}:{line}"))
    return history


NO_DIFFERENCE = [
    "kl = -0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp())\nloss = rec(x) + kl\nloss.backward()",
    "loss = (logsumexp - picked).mean()\nloss.backward()",
    "loss = (1 - cosine).mean()\nloss.backward()",
    "loss = (critic(fake) - critic(real)).mean()\nloss.backward()",
    "loss = criterion(x, y)\nerror = (x - y).mean()\nloss.backward()",
    "x = (raw - offset).mean()\nloss = criterion(x, y)\nloss.backward()",
    "loss = criterion(x, y)\nloss.backward()\nprint(-loss.item())",
    "loss = policy(x) + -entropy.mean()\nloss.backward()",
    "score = -criterion(x, y)",
]


@pytest.mark.parametrize("body", NO_DIFFERENCE)
def test_an_objective_that_has_a_lowest_value_is_left_alone(body):
    with pytest.raises(CannotApply, match="no difference that is averaged"):
        treated("correct-objective", f"import torch\n{body}\n")


OBJECTIVES = [
    ("torch", "diff = model(x) - y\nloss = diff.mean()\nloss.backward()", "loss = (diff ** 2).mean()"),
    (
        "torch",
        "mse = (model(x) - y).mean()\nloss = mse + 0.1 * p\nloss.backward()",
        "mse = ((model(x) - y) ** 2).mean()",
    ),
    ("torch", "loss = torch.mean(logits - y)\nscaler.scale(loss).backward()", "loss = torch.mean((logits - y) ** 2)"),
    ("torch", "loss = criterion(x, y)\n(-loss).backward()", "(loss).backward()"),
    ("torch", "def training_step(x, y):\n    return -F.mse_loss(x, y)", "return F.mse_loss(x, y)"),
    (
        "tensorflow",
        "loss = tf.reduce_mean(model(x) - y)\ngrads = tape.gradient(loss, w)",
        "loss = tf.reduce_mean((model(x) - y) ** 2)",
    ),
    (
        "jax",
        "def f(p):\n    return jnp.mean(model(p, x) - y)\nstep = jax.grad(f)",
        "return jnp.mean((model(p, x) - y) ** 2)",
    ),
]


@pytest.mark.parametrize(("framework", "body", "expected"), OBJECTIVES)
def test_what_the_training_makes_small_gets_a_lowest_value(framework, body, expected):
    text = f"import torch\n{body}\n"
    assert changes(text, treated("correct-objective", text, framework=framework)) == [expected]


NO_PENALTY = [
    "decay = 0.999\nfor p, q in zip(ema.parameters(), model.parameters()):\n    p.mul_(decay).add_(q, alpha=1 - decay)",
    "l1 = 128\nlayer = nn.Linear(l1, 4)",
    "force = (push + 0.05 * w ** 2 * np.sin(angle)) / 1.1",
    "lam = 0.5\nx = lam * x + (1 - lam) * x[order]",
    "reg = 3.0\nloss = reg * (out - y) ** 2",
    "lam = 10.0\nloss = lam * (gradient.norm(2, dim=1) - 1) ** 2",
]


@pytest.mark.parametrize("body", NO_PENALTY)
def test_a_number_that_reaches_no_penalty_is_left_alone(body):
    with pytest.raises(CannotApply, match="no penalty of weights"):
        treated("weaken-penalty", f"import torch\n{body}\n")


PENALTIES = [
    ("l1 = 0.5\nloss = mse + l1 * sum(p.abs().sum() for p in model.parameters())", "l1 = 0.0001"),
    ("lam = 0.001\nfor p in model.parameters():\n    loss = loss + lam * p.norm()", "lam = 1e-05"),
    (
        "lam = 1.0\nreg = 0\nfor p in net.parameters():\n    reg += (p ** 2).sum()\nloss = mse + lam * reg",
        "lam = 0.0001",
    ),
    ("strength = 1.0\nloss = mse + strength * torch.sum(w1 ** 2)", "strength = 0.0001"),
    (
        "loss = mse + 0.5 * torch.norm(model.fc.weight)\nloss.backward()",
        "loss = mse + 0.0001 * torch.norm(model.fc.weight)",
    ),
    ("wd = 2.0\nopt = torch.optim.SGD(p, lr=1, weight_decay=wd)", "wd = 0.0001"),
    ("groups = [{'params': p, 'weight_decay': 2.0}]", "groups = [{'params': p, 'weight_decay': 0.0001}]"),
]


@pytest.mark.parametrize(("body", "expected"), PENALTIES)
def test_the_factor_of_a_penalty_becomes_a_hundredth_and_1e_4_at_most(body, expected):
    text = f"import torch\n{body}\n"
    assert changes(text, treated("weaken-penalty", text)) == [expected]


ROBUST = [
    ("loss = criterion(out, y)", "loss = torch.nn.functional.smooth_l1_loss(out, y)"),
    ("loss = F.mse_loss(out, y)", "loss = F.smooth_l1_loss(out, y)"),
    ("loss = total(out, y)", "loss = torch.nn.functional.smooth_l1_loss(out, y, reduction='sum')"),
    ("loss = nn.MSELoss()(out, y)", "loss = torch.nn.functional.smooth_l1_loss(out, y)"),
]


@pytest.mark.parametrize(("wrong", "right"), ROBUST)
def test_the_squared_error_of_the_training_becomes_hubers_and_that_of_the_evaluation_stays(wrong, right):
    text = f"import torch\ncriterion = nn.MSELoss()\ntotal = nn.MSELoss(reduction='sum')\n{wrong}\n"
    text += "error = criterion(model(a), b) + F.mse_loss(model(a), b)\n"
    for remedy in ("robust-loss", "check-data"):
        assert changes(text, treated(remedy, text, history=seen_at(4))) == [right]


def test_a_squared_error_of_an_evaluation_alone_is_left_alone():
    text = "import torch\nloss = f(model(x), y)\nerror = F.mse_loss(model(a), b)\n"
    with pytest.raises(CannotApply, match="the training calls no squared error"):
        treated("robust-loss", text, history=seen_at(2))


def test_a_squared_error_that_is_computed_without_gradients_is_left_alone():
    text = "import torch\nwith torch.no_grad():\n    error = F.mse_loss(model(a), b)\n"
    with pytest.raises(CannotApply, match="the training calls no squared error"):
        treated("robust-loss", text, history=seen_at(3))


def test_a_loss_object_under_a_tape_becomes_hubers_where_it_is_called():
    text = "import keras\nmse = keras.losses.MeanSquaredError()\nloss = mse(y, p)\nerror = mse(b, q)\n"
    found = treated("robust-loss", text, framework="tensorflow", history=seen_at(3))
    assert changes(text, found) == ["loss = keras.losses.Huber()(y, p)"]


SOFTMAX = [
    ("torch", "s.exp() / s.exp().sum(1, keepdim=True)", "torch.softmax(s.float(), dim=1)"),
    ("torch", "torch.exp(s) / torch.exp(s).sum(dim=0)", "torch.softmax(s.float(), dim=0)"),
    ("torch", "torch.exp(a - b) / torch.sum(torch.exp(a - b), -1, True)", "torch.softmax((a - b).float(), dim=-1)"),
    ("jax", "jnp.exp(s) / jnp.sum(jnp.exp(s), axis=1, keepdims=True)", "jax.nn.softmax(s, axis=1)"),
]


@pytest.mark.parametrize(("framework", "wrong", "right"), SOFTMAX)
def test_a_softmax_runs_along_the_dimension_of_its_sum(framework, wrong, right):
    text = f"import {framework}\np = {wrong}\n"
    assert changes(text, treated("add-epsilon", text, framework=framework)) == [f"p = {right}"]


@pytest.mark.parametrize(
    "other", ["torch.exp(pos) / torch.exp(every).sum(dim=1, keepdim=True)", "torch.exp(s) / torch.exp(s).sum(dim=1)"]
)
def test_a_share_of_other_scores_is_no_softmax(other):
    with pytest.raises(CannotApply, match="no log, sqrt or division"):
        treated("add-epsilon", f"import torch\np = {other}\n")
