"""An optimizer's line is one that its framework takes: each is run."""

import pytest
from gradscope.history import History
from gradscope.optimizers import IN_OPTAX, clipping_line, optimizer_lines, skipping_line

TORCH = ("Adam", "AdamW", "SGD", "RMSprop", "Adagrad", "Adadelta", "Adamax", "NAdam", "RAdam", "ASGD", "Rprop", "LBFGS")
KERAS = ("Adam", "AdamW", "SGD", "RMSprop", "Adagrad", "Adadelta", "Adamax", "Nadam", "Ftrl", "Lion", "Lamb")


@pytest.mark.parametrize("name", TORCH)
def test_an_optimizer_of_torch_takes_what_its_line_gives(name):
    torch = pytest.importorskip("torch")
    line = optimizer_lines(History(optimizer=name), "0.01", otherwise="Adam", eps="1e-6")["torch"]
    names = {"torch": torch, "model": torch.nn.Linear(1, 1)}
    exec(line, names)
    assert names["optimizer"].param_groups[0]["lr"] == 0.01


@pytest.mark.parametrize("name", KERAS)
def test_an_optimizer_of_keras_takes_what_its_line_gives(name):
    names = {"keras": pytest.importorskip("keras")}
    exec(optimizer_lines(History(optimizer=name), "0.01", otherwise="Adam", eps="1e-6")["tensorflow"], names)
    assert float(names["optimizer"].learning_rate) == pytest.approx(0.01)


@pytest.mark.parametrize("name", sorted(IN_OPTAX))
def test_an_optimizer_of_optax_takes_what_its_line_gives(name):
    optax, jnp = pytest.importorskip("optax"), pytest.importorskip("jax.numpy")
    line = optimizer_lines(History(optimizer=name), "0.01", otherwise="Adam", eps="1e-6")["jax"]
    assert line.startswith(f"optimizer = optax.{name}(0.01")
    exec(line, names := {"optax": optax})
    assert names["optimizer"].init({"w": jnp.ones(3)})


@pytest.mark.parametrize(
    ("called", "line"),
    [
        ("scale_by_adam", "optimizer = optax.adam(0.01, eps=1e-6)"),
        ("SGD", "optimizer = optax.sgd(0.01)"),
        ("custom", "optimizer = optax.adam(0.01, eps=1e-6)"),
        ("optimizer", "optimizer = optax.adam(0.01, eps=1e-6)"),
        ("by hand", "params = jax.tree.map(lambda p, g: p - 0.01 * g, params, grads)"),
        ("observed", "params = jax.tree.map(lambda p, g: p - 0.01 * g, params, grads)"),
    ],
)
def test_what_steps_are_made_by_is_told_in_the_words_of_jax(called, line):
    assert optimizer_lines(History(optimizer=called), "0.01", otherwise="Adam", eps="1e-6")["jax"] == line


def test_gradients_are_clipped_around_the_optimizer_or_before_a_step_by_hand():
    lines = {name: clipping_line(History(optimizer=name), "2") for name in ("RMSprop", "by hand")}
    assert lines == {
        "RMSprop": "optimizer = optax.chain(optax.clip_by_global_norm(2), optax.rmsprop(learning_rate))",
        "by hand": "grads = jax.tree.map(lambda g: g * jnp.minimum(1, 2 / optax.tree.norm(grads)), grads)",
    }


def test_a_step_by_hand_is_skipped_by_hand():
    optax, jax = pytest.importorskip("optax"), pytest.importorskip("jax")
    jnp = jax.numpy
    for gradient, expected in ((jnp.nan, 1.0), (0.5, 0.95)):
        names = {"optax": optax, "jax": jax, "jnp": jnp, "rate": 0.1}
        names |= {"params": {"w": jnp.ones(2)}, "grads": {"w": jnp.full(2, gradient)}}
        exec(skipping_line(History(optimizer="by hand")), names)
        assert names["params"]["w"].tolist() == pytest.approx([expected] * 2)
