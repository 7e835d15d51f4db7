"""Run by itself with KERAS_BACKEND=torch or jax: trains a model alone and watched, and prints what came of it."""

from __future__ import annotations

import json
import sys
from typing import Any

import gradscope
import keras
import numpy as np

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(256, 8)).astype("f4")
Y = X.sum(1, keepdims=True)
ADAM = keras.optimizers.Adam
CASES: dict[str, Any] = {
    "plain": (lambda: ADAM(1e-3), {}),
    "eager": (lambda: ADAM(1e-3), {"run_eagerly": True}),
    "overflowing": (lambda: keras.optimizers.LossScaleOptimizer(ADAM(1e-3), initial_scale=1e38), {}),
    "accumulating": (lambda: ADAM(1e-3, gradient_accumulation_steps=4), {}),
    "scaled": (lambda: keras.optimizers.SGD(1e-3, loss_scale_factor=8.0), {}),
    "clipped": (lambda: ADAM(1e-3, global_clipnorm=1e-4), {}),
}


def model(case: str) -> Any:
    """A compiled model with dropout and batch normalization, the same each time."""
    keras.backend.clear_session()
    keras.utils.set_random_seed(0)
    made = keras.Sequential(
        [
            keras.Input((8,)),
            keras.layers.Dense(32, activation="relu"),
            keras.layers.Dropout(0.2),
            keras.layers.BatchNormalization(),
            keras.layers.Dense(1),
        ]
    )
    optimizer, options = CASES[case]
    made.compile(optimizer=optimizer(), loss="mse", **options)
    return made


def fit(made: Any, epochs: int = 7) -> None:
    """Trains eight calls an epoch."""
    made.fit(X, Y, epochs=epochs, batch_size=32, verbose=0, shuffle=False)


def main(case: str) -> dict[str, Any]:
    """What the test asks for."""
    alone = model(case)
    fit(alone)
    watched = model(case)
    scope = gradscope.watch(watched)
    fit(watched)
    report, history = scope.report(), scope.histories[0]
    equal = all((a == b).all() for a, b in zip(alone.get_weights(), watched.get_weights(), strict=True))
    scope.close()
    fit(watched, 1)
    watched.train_on_batch(X[:32], Y[:32])
    update = history["parameter"].column("update_norm")
    return {
        "equal": equal,
        "status": report.status,
        "steps": report.watched["steps"],
        "after": scope.report().watched["steps"],
        "failures": scope.failures,
        "limits": report.watched["limits"],
        "verdicts": [v.name for v in report.verdicts],
        "objectives": len(scope.histories),
        "losses": history.run("loss")[:3].tolist(),
        "skipped": history.run("skipped").tolist(),
        "norms": history["gradient"].column("gradient_norm")[-1].tolist(),
        "measured": np.isfinite(update).all(1).sum().item(),
        "names": [s.name for s in history["gradient"].subjects],
        "modules": [s.name for s in history["module"].subjects],
    }


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1])))
