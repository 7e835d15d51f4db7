"""`check` of unchanged Keras and GradientTape scripts: the same rules, the same names, the layer and its line."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("tensorflow")
pytest.importorskip("keras")

from tests.adapters.tensorflow.programs import HEAD, check, names

FIT = """
model = keras.Sequential([keras.Input((8,)), {layers}])
model.compile(optimizer={optimizer}, loss={loss})
model.fit(x, {target}, epochs=7, batch_size=32, verbose=0)
"""
HIDDEN = 'layers.Dense(32, activation="relu")'
ADAM = "keras.optimizers.Adam(1e-2)"


def fit(layers: str, loss: str, target: str = "line", optimizer: str = ADAM) -> str:
    """A script that calls fit()."""
    return FIT.format(layers=layers, loss=repr(loss), target=target, optimizer=optimizer)


SICK = {
    "vanishing-gradient": fit(
        ", ".join(["layers.Dense(16, activation='sigmoid')"] * 10 + ["layers.Dense(1, activation='sigmoid')"]),
        "binary_crossentropy",
        "label",
        "keras.optimizers.SGD(0.01)",
    ),
    "dead-units": fit(
        "layers.Dense(32, activation='relu', bias_initializer=keras.initializers.Constant(-50.0)), layers.Dense(1)",
        "mse",
    ),
    "output-loss-mismatch": fit(f"{HIDDEN}, layers.Dense(1, activation='softmax')", "binary_crossentropy", "label"),
    "target-out-of-range": fit(f"{HIDDEN}, layers.Dense(1, activation='sigmoid')", "mse", "line * 50 + 100"),
    "unscaled-input": fit(f"{HIDDEN}, layers.Dense(1)", "mse").replace("model.fit(x,", "model.fit(x * 1e4 + 3e4,"),
    "undersized-update": fit(f"{HIDDEN}, layers.Dense(1)", "mse", optimizer="keras.optimizers.Adam(1e-7)"),
    "oversized-update": fit(f"{HIDDEN}, {HIDDEN}, layers.Dense(1)", "mse", optimizer="keras.optimizers.SGD(10.0)"),
}
LOOP = """
model = keras.Sequential([keras.Input((8,)), layers.Dense(32, activation="relu"), layers.Dense(1)])
optimizer = keras.optimizers.SGD(0.02, momentum=0.9)
data = tf.data.Dataset.from_tensor_slices((x, {target})).batch(64)

{decorator}
def step(inputs, target):
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(tf.square(model(inputs, training=True) - target))
    gradients = tape.gradient(loss, model.trainable_variables)
    optimizer.apply_gradients(zip(gradients, model.trainable_variables))

for epoch in range(12):
    for inputs, target in data:
        step(inputs, target)
"""


@pytest.mark.parametrize("illness", SICK)
def test_a_sick_script_is_named(illness: str, tmp_path: Path) -> None:
    assert illness in names(check(tmp_path, SICK[illness]))


@pytest.mark.parametrize(
    "body",
    [
        fit(f"{HIDDEN}, layers.Dense(1)", "mse"),
        fit(f"{HIDDEN}, layers.Dense(1, activation='sigmoid')", "binary_crossentropy", "label"),
        fit(f"{HIDDEN}, layers.Dense(2, activation='softmax')", "sparse_categorical_crossentropy", "label"),
        fit(f"{HIDDEN}, layers.BatchNormalization(), layers.Dropout(0.2), layers.Dense(1)", "mse"),
        LOOP.format(target="line", decorator=""),
        LOOP.format(target="line", decorator="@tf.function"),
        LOOP.format(target="line", decorator="@tf.function(jit_compile=True)"),
    ],
)
def test_a_sound_script_is_healthy(body: str, tmp_path: Path) -> None:
    report = check(tmp_path, body)
    assert names(report) == []
    assert report.status == "healthy"
    assert report.framework == "tensorflow"


@pytest.mark.parametrize("decorator", ["", "@tf.function"])
def test_shapes_that_broadcast_in_a_loss_written_by_hand(decorator: str, tmp_path: Path) -> None:
    report = check(tmp_path, LOOP.format(target="line[:, 0]", decorator=decorator))
    assert names(report)[0] == "broadcast-loss"


def test_a_verdict_names_the_layer_and_the_line_that_built_it(tmp_path: Path) -> None:
    body = """
model = keras.Sequential([
    keras.Input((8,)),
    layers.Dense(32, activation="relu", bias_initializer=keras.initializers.Constant(-50.0), name="hidden"),
    layers.Dense(1),
])
model.compile(optimizer="adam", loss="mse")
model.fit(x, line, epochs=7, batch_size=32, verbose=0)
"""
    verdict = next(v for v in check(tmp_path, body).verdicts if v.name == "dead-units")
    line = (HEAD + body).splitlines().index(next(s for s in body.splitlines() if "hidden" in s)) + 1
    assert (verdict.module, verdict.source) == ("hidden", f"{tmp_path / 'train.py'}:{line}")


def test_several_optimizers_have_a_history_each(tmp_path: Path) -> None:
    report = check(
        tmp_path,
        """
first = keras.Sequential([keras.Input((8,)), layers.Dense(1)])
second = keras.Sequential([keras.Input((8,)), layers.Dense(1)])
for model in (first, second):
    model.compile(optimizer=keras.optimizers.Adam(1e-2), loss="mse")
    model.fit(x, line, epochs=2, batch_size=32, verbose=0)
""",
    )
    assert [o["steps"] for o in report.watched["objectives"]] == [32, 32]


def test_frozen_layers_and_sparse_gradients_are_no_illness(tmp_path: Path) -> None:
    report = check(
        tmp_path,
        """
tokens = rng.integers(0, 50, (512, 6))
target = (tokens == 3).sum(1).astype("float32")
model = keras.Sequential([keras.Input((6,)), layers.Embedding(50, 16), layers.Flatten(),
                          layers.Dense(32, activation="relu", name="kept"), layers.Dense(1)])
model.get_layer("kept").trainable = False
model.compile(optimizer=keras.optimizers.Adam(1e-2), loss="mse")
model.fit(tokens, target, epochs=7, batch_size=32, verbose=0)
""",
    )
    assert names(report) == []


def test_a_variable_without_gradient_is_found(tmp_path: Path) -> None:
    report = check(
        tmp_path,
        """
class Net(keras.Model):
    def __init__(self):
        super().__init__()
        self.used, self.out = layers.Dense(16, activation="relu"), layers.Dense(1)
        self.forgotten = layers.Dense(16)
        self.forgotten.build((None, 8))

    def call(self, inputs):
        return self.out(self.used(inputs))

model = Net()
optimizer = keras.optimizers.Adam(1e-2)
for i in range(60):
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(tf.square(model(x) - line))
    variables = model.trainable_variables
    optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables))
""",
    )
    assert "missing-gradient" in names(report)


def test_everything_is_put_back_after_a_check(tmp_path: Path) -> None:
    import keras
    import tensorflow as tf

    before = (keras.Layer.__call__, keras.Loss.__call__, tf.GradientTape.gradient, tf.nn.relu, tf.Tensor.__sub__)
    check(tmp_path, fit(f"{HIDDEN}, layers.Dense(1)", "mse"), steps=5)
    after = (keras.Layer.__call__, keras.Loss.__call__, tf.GradientTape.gradient, tf.nn.relu, tf.Tensor.__sub__)
    assert after == before
    assert not tf.config.functions_run_eagerly()


@pytest.mark.parametrize("clip", ["clipnorm", "global_clipnorm", "clipvalue"])
def test_clipping_by_the_optimizer_is_seen(clip: str, tmp_path: Path) -> None:
    body = fit(f"{HIDDEN}, layers.Dense(1)", "mse", optimizer=f"keras.optimizers.SGD(0.01, {clip}=1e-5)")
    assert "always-clipped" in names(check(tmp_path, body))


def test_a_penalty_that_outweighs_the_error_is_named(tmp_path: Path) -> None:
    dense = "layers.Dense(32, activation='tanh', kernel_regularizer='l2')"
    strong = dense.replace("'l2'", "keras.regularizers.L2(10.0)")
    assert "over-regularized" in names(check(tmp_path, fit(f"{strong}, {strong}, layers.Dense(1)", "mse")))
    assert names(check(tmp_path, fit(f"{dense}, layers.Dense(1)", "mse"))) == []


def test_a_logarithm_of_clipped_probabilities_is_safe(tmp_path: Path) -> None:
    body = """
model = keras.Sequential([keras.Input((8,)), layers.Dense(32, "relu"), layers.Dense(1, "sigmoid")])
optimizer = keras.optimizers.Adam(0.05)
y = label[:, None].astype("float32")
for _ in range(100):
    with tf.GradientTape() as tape:
        p = tf.clip_by_value(model(x), 1e-7, 1 - 1e-7)
        loss = -tf.reduce_mean(y * tf.math.log(p) + (1 - y) * tf.math.log(1 - p))
    optimizer.apply_gradients(zip(tape.gradient(loss, model.trainable_variables), model.trainable_variables))
"""
    assert names(check(tmp_path, body)) == []


KINDS = {
    "accumulation": (
        fit(
            f"{HIDDEN}, layers.Dense(1)", "mse", optimizer="keras.optimizers.Adam(1e-2, gradient_accumulation_steps=2)"
        ),
        56,
    ),
    "loss scaler": (
        fit(
            f"{HIDDEN}, layers.Dense(1)",
            "mse",
            optimizer="keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(1e-2), initial_scale=2.0**126)",
        ),
        100,
    ),
    "fixed loss scale": (
        fit(f"{HIDDEN}, layers.Dense(1)", "mse", optimizer="keras.optimizers.SGD(1e-2, loss_scale_factor=4096.0)"),
        100,
    ),
    "XLA": (fit(f"{HIDDEN}, layers.Dense(1)", "mse").replace('loss="mse"', 'loss="mse", jit_compile=True'), 100),
    "train_on_batch": (
        """
model = keras.Sequential([keras.Input((8,)), layers.Dense(32, activation="relu"), layers.Dense(1)])
model.compile(optimizer=keras.optimizers.Adam(1e-2), loss="mse")
for i in range(80):
    at = i * 32 % 512
    model.train_on_batch(x[at : at + 32], line[at : at + 32])
""",
        80,
    ),
    "own train_step": (
        """
class Net(keras.Model):
    def __init__(self):
        super().__init__()
        self.first, self.second = layers.Dense(32, activation="relu", name="fc"), layers.Dense(1, name="fc")

    def call(self, inputs):
        return self.second(self.first(inputs))

    def train_step(self, data):
        inputs, target = data
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(self(inputs, training=True) - target))
        self.optimizer.apply(tape.gradient(loss, self.trainable_variables), self.trainable_variables)
        return {"loss": loss}

model = Net()
model.compile(optimizer=keras.optimizers.Adam(1e-2))
model.fit(x, line, epochs=6, batch_size=32, verbose=0)
""",
        96,
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_training_is_checked_at_its_steps(kind: str, tmp_path: Path) -> None:
    body, steps = KINDS[kind]
    report = check(tmp_path, body)
    assert (names(report), report.status, report.failures) == ([], "healthy", {})
    assert report.watched["steps"] == steps
