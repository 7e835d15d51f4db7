"""Remedies written into Keras and TensorFlow programs."""

import pytest
from gradscope.errors import CannotApply

from tests.rewrites.writing import changes, treated

FIT = """import keras
from keras import layers

model = keras.Sequential([
    layers.Dense(8, activation="sigmoid"),
    layers.Dense(1, activation="sigmoid"),
])
model.compile(optimizer=keras.optimizers.SGD(learning_rate=0.1), loss="mse")
model.fit(x_train, y_train, batch_size=4, shuffle=False)
"""
TAPE = """import tensorflow as tf
import keras

model = keras.Sequential([keras.layers.Dense(1)])
optimizer = keras.optimizers.Adam(0.1)
for x, y in data:
    h = encode(x)
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(tf.square(model(h) - y))
    grads = tape.gradient(loss, model.trainable_variables)
    optimizer.apply_gradients(zip(grads, model.trainable_variables))
"""
COMPILED = 'model.compile(optimizer=keras.optimizers.{}, loss="mse")'
HIDDEN, OUTPUT = 'layers.Dense(8, activation="{}"{}),', 'layers.Dense(1, activation="{}"{}),'
TABLE = [
    ("lower-learning-rate", {"rate": 0.01}, [COMPILED.format("SGD(learning_rate=0.01)")]),
    ("clip-gradient-norm", {"max_norm": 2.0}, [COMPILED.format("SGD(learning_rate=0.1, global_clipnorm=2)")]),
    ("clip-gradient-value", {"max_value": 0.5}, [COMPILED.format("SGD(learning_rate=0.1, clipvalue=0.5)")]),
    ("weight-decay", {"decay": 0.01}, [COMPILED.format("SGD(learning_rate=0.1, weight_decay=0.01)")]),
    ("replace-optimizer", {"optimizer": "Adam", "rate": 1e-3}, [COMPILED.format("Adam(learning_rate=0.001)")]),
    (
        "he-initialization",
        {},
        [
            HIDDEN.format("sigmoid", ', kernel_initializer="he_normal"'),
            OUTPUT.format("sigmoid", ', kernel_initializer="he_normal"'),
        ],
    ),
    ("replace-activation", {"activation": "relu"}, [HIDDEN.format("relu", "")]),
    ("batch-normalization", {}, ['layers.Dense(8, activation="sigmoid"), layers.BatchNormalization(),']),
    ("layer-normalization", {}, ['layers.Dense(8, activation="sigmoid"), layers.LayerNormalization(),']),
    ("open-output", {}, [OUTPUT.format("linear", "")]),
    ("correct-output", {"output": "softmax"}, [OUTPUT.format("softmax", "")]),
    ("robust-loss", {}, ['model.compile(optimizer=keras.optimizers.SGD(learning_rate=0.1), loss="huber")']),
    ("shuffle-data", {}, ["model.fit(x_train, y_train, batch_size=4, shuffle=True)"]),
    ("larger-batch", {"accumulate": 8}, ["model.fit(x_train, y_train, batch_size=32, shuffle=False)"]),
    (
        "scale-target",
        {"mean": 50.0, "deviation": 20.0},
        [
            "model = keras.Sequential([model, layers.Rescaling(20, 50)])  # in the units of the targets",
            'model.compile(optimizer=keras.optimizers.SGD(learning_rate=0.1), loss="mse", loss_weights=0.0025)',
        ],
    ),
]


@pytest.mark.parametrize(("name", "settings", "expected"), TABLE, ids=[row[0] for row in TABLE])
def test_a_remedy_changes_these_lines(name, settings, expected):
    assert changes(FIT, treated(name, FIT, settings, framework="tensorflow")) == expected


def test_a_rate_that_is_given_first_is_changed_where_it_is_written():
    text = "import keras\nCONFIG = {'rate': 3.0}\noptimizer = keras.optimizers.Adam(CONFIG['rate'])\n"
    found = treated("lower-learning-rate", text, {"rate": 0.1}, framework="tensorflow")
    assert changes(text, found) == ["CONFIG = {'rate': 0.1}"]
    text = "import keras\noptimizer = keras.optimizers.Adam(choose())\n"
    found = treated("lower-learning-rate", text, {"rate": 0.1}, framework="tensorflow")
    assert changes(text, found) == ["optimizer = keras.optimizers.Adam(0.1)"]


def test_an_optimizer_that_is_named_by_a_text_is_made():
    text = 'import keras\nmodel.compile(optimizer="adam", loss="mse")\nmodel.fit(x, y)\n'
    found = treated("lower-learning-rate", text, {"rate": 1e-4}, framework="tensorflow")
    assert changes(text, found) == ['model.compile(optimizer=keras.optimizers.Adam(learning_rate=0.0001), loss="mse")']


def test_an_optimizer_of_an_unknown_name_is_told():
    text = 'import keras\nmodel.compile(optimizer="sparkle", loss="mse")\n'
    with pytest.raises(CannotApply, match="no optimizer is called 'sparkle'"):
        treated("lower-learning-rate", text, {"rate": 1e-4}, framework="tensorflow")


def test_keras_is_imported_where_it_was_not():
    text = 'from keras.models import load_model\nmodel = load_model("a")\nmodel.compile(optimizer="sgd", loss="mse")\n'
    found = treated("lower-learning-rate", text, {"rate": 0.5}, framework="tensorflow")
    assert changes(text, found) == [
        "import keras",
        'model.compile(optimizer=keras.optimizers.SGD(learning_rate=0.5), loss="mse")',
    ]


def test_prediction_and_target_are_flattened_under_a_tape():
    found = treated("match-shapes", TAPE, framework="tensorflow", line=9)
    assert changes(TAPE, found) == [
        "loss = tf.reduce_mean(tf.square(tf.reshape(model(h), [-1]) - tf.reshape(y, [-1])))"
    ]


def test_what_was_computed_above_the_tape_is_computed_under_it():
    found = treated("connect-parameter", TAPE, framework="tensorflow")
    assert "    with tf.GradientTape() as tape:\n        h = encode(x)\n        loss" in found
    assert found.count("h = encode(x)") == 1


def test_an_ascent_becomes_a_descent():
    text = "import tensorflow as tf\nw.assign_add(rate * g)\ncount.assign_add(1)\n"
    found = treated("correct-objective", text, framework="tensorflow")
    assert changes(text, found) == ["w.assign_sub(rate * g)"]


def test_logarithms_are_kept_away_from_zero():
    text = "import tensorflow as tf\nloss = -tf.reduce_mean(tf.math.log(1.0 - p))\n"
    found = treated("add-epsilon", text, framework="tensorflow")
    assert changes(text, found) == ["loss = -tf.reduce_mean(tf.math.log(tf.maximum(1.0 - p, 1e-7)))"]


def test_a_regularizer_is_weakened_where_it_is_written():
    text = "from keras import regularizers\npenalty = regularizers.l2(1.0)\n"
    assert changes(text, treated("weaken-penalty", text, framework="tensorflow")) == [
        "penalty = regularizers.l2(0.0001)"
    ]


def test_layers_that_are_added_or_called_are_normalized():
    text = (
        'import keras\nfrom keras.layers import Dense\nm.add(Dense(4, activation="relu"))\n'
        'h = Dense(4, activation="relu")(x)\nout = Dense(1)(h)\nm.add(Dense(1))\nm.fit(x, y)\n'
    )
    assert changes(text, treated("batch-normalization", text, framework="tensorflow")) == [
        "m.add(keras.layers.BatchNormalization())",
        'h = keras.layers.BatchNormalization()(Dense(4, activation="relu")(x))',
    ]


def test_a_comparison_gives_way_to_what_is_compared():
    text = TAPE.replace("tf.square(model(h) - y)", "tf.square(tf.cast(model(h) > 0.5, tf.float32) - y)")
    found = treated("smooth-operation", text, framework="tensorflow")
    assert changes(text, found) == ["loss = tf.reduce_mean(tf.square(model(h) - y))"]


def test_an_embedding_is_not_given_the_initializer_of_a_kernel():
    text = "import keras\nlayers = [keras.layers.Embedding(9, 4), keras.layers.RNN(cell), keras.layers.Dense(1)]\n"
    found = treated("he-initialization", text, framework="tensorflow")
    assert changes(text, found) == [
        "layers = [keras.layers.Embedding(9, 4), keras.layers.RNN(cell), "
        'keras.layers.Dense(1, kernel_initializer="he_normal")]'
    ]
