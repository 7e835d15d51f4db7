"""The first cause: the operation, the layer and the line where a value stopped being finite, forward and backward."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("jax")
pytest.importorskip("optax")

from gradscope.origin import Origin

from tests.adapters.jax.programs import loop, run

NET = "mlp(params, x)[:, 0]"
BORN = {
    "forward": (
        loop(loss=f"jnp.mean((mlp(params[1:], jnp.log(x @ params[0]['w'])) - y[:, None]) ** 2) + 0 * {NET}.sum()"),
        "log",
    ),
    "loss": (loop(loss=f"jnp.mean(jnp.log({NET} - 1e3) * y)"), "log"),
    "backward": (loop(loss=f"jnp.mean(jnp.sqrt(jnp.maximum({NET}, 0.0) * 0.0) + ({NET} - y) ** 2)"), "sqrt"),
    "input": (loop(x="np.where(np.arange(8) == 3, np.nan, x)"), ""),
}


@pytest.mark.parametrize("phase", BORN)
def test_the_birth_of_a_nan_is_named(tmp_path: Path, phase: str) -> None:
    body, op = BORN[phase]
    outcome = run(tmp_path, body, steps=10)
    assert outcome.scope is not None
    origin = outcome.scope.histories[0].facts["origin"]
    assert isinstance(origin, Origin)
    assert (origin.phase, origin.op, origin.step) == (phase, op, 0)
    if op:
        assert origin.source is not None and "train.py:" in origin.source


def test_a_mask_of_minus_infinity_is_no_origin(tmp_path: Path) -> None:
    outcome = run(
        tmp_path,
        loop(
            loss="jnp.mean((jax.nn.softmax(jnp.where(x > 0.5, mlp(params, x), -jnp.inf), axis=0)"
            " * jnp.log(x - 1)).sum(1))"
        ),
        steps=10,
    )
    assert outcome.scope is not None
    assert outcome.scope.histories[0].facts["origin"].op == "log"


def test_a_sound_run_has_none(tmp_path: Path) -> None:
    outcome = run(tmp_path, loop(epochs=1))
    assert outcome.scope is not None
    assert "origin" not in outcome.scope.histories[0].facts
