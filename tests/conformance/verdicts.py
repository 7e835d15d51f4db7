"""What gradscope says of each sick specimen: severity, rule, subject and first step, causes before consequences."""

EXPECTED = {
    "deep-sigmoid": [
        "error vanishing-gradient: dense1, step 0",
        "error undersized-update: dense1, step 0",
        "error collapsed-output: the model, step 0",
        "error stalled-loss: dense11",
    ],
    "exploding-start": [
        "error poor-initialization: dense2, step 0",
        "error oversized-update: dense5, step 0",
        "error non-finite-loss: dense2, step 2",
        "error non-finite-gradient: dense1, step 2",
        "error non-finite-parameter: dense1, step 2",
    ],
    "dead-relu": [
        "error dead-units: dense1, step 0",
        "error zero-gradient: dense1, step 0",
        "error collapsed-output: the model, step 0",
        "error stalled-loss: dense3",
    ],
    "nan-in-a-batch": [
        "error non-finite-loss: dense1, step 20",
        "error non-finite-gradient: dense1, step 20",
        "error non-finite-parameter: dense1, step 20",
    ],
    "nan-of-log": [
        "error non-finite-loss: the model, step 25",
        "error non-finite-gradient: dense1, step 25",
        "error non-finite-parameter: dense1, step 25",
    ],
    "near-log-of-zero": [
        "warning non-finite-loss: dense2, step 25",
    ],
    "rate-too-high": [
        "error oversized-update: dense1, step 0",
        "error diverging-loss: the model, step 3",
        "error exploding-gradient: dense1, step 59",
        "error stalled-loss: dense1",
    ],
    "rate-too-low": [
        "error undersized-update: dense1, step 0",
        "error stalled-loss: dense2",
    ],
    "constant-start": [
        "error poor-initialization: dense1, step 0",
        "error stalled-loss: dense3",
    ],
    "softmax-twice": [
        "error output-loss-mismatch: dense2, step 0",
    ],
    "broadcast": [
        "error broadcast-loss: dense2, step 0",
        "error stalled-loss: dense2",
    ],
    "raw-input": [
        "error unscaled-input: dense1, step 0",
        "error diverging-loss: the model, step 7",
        "error oversized-update: dense2, step 15",
        "error exploding-gradient: dense2, step 59",
        "error saturated-units: dense1, step 0",
        "error stalled-loss: dense2",
    ],
    "raw-target": [
        "error unscaled-target: dense2, step 0",
        "error stalled-loss: dense2",
    ],
    "stuck-layer": [
        "error unchanged-parameter: dense1, step 0",
    ],
    "clipped-away": [
        "error always-clipped: the model, step 0",
        "error undersized-update: dense1, step 0",
        "error stalled-loss: dense2",
    ],
    "dead-convolution": [
        "error dead-units: conv1, step 0",
        "error zero-gradient: conv1, step 0",
        "error collapsed-output: the model, step 0",
        "error stalled-loss: dense2",
    ],
}

FROM_ARRAYS: dict[str, list[str]] = {
    "deep-sigmoid": [
        "error undersized-update: dense1, step 0",
    ],
    "exploding-start": [
        "error oversized-update: dense1, step 1",
        "error non-finite-loss: the model, step 2",
        "error non-finite-gradient: dense1, step 2",
        "error non-finite-parameter: dense1, step 2",
    ],
    "dead-relu": [
        "error zero-gradient: dense1, step 0",
    ],
    "nan-in-a-batch": [
        "error non-finite-loss: the model, step 20",
        "error non-finite-gradient: dense1, step 20",
        "error non-finite-parameter: dense1, step 20",
    ],
    "nan-of-log": [
        "error non-finite-loss: the model, step 25",
        "error non-finite-gradient: dense1, step 25",
        "error non-finite-parameter: dense1, step 25",
    ],
    "near-log-of-zero": [],
    "rate-too-high": [
        "error oversized-update: dense1, step 1",
        "error diverging-loss: the model, step 3",
        "error exploding-gradient: dense1, step 59",
    ],
    "rate-too-low": [
        "error undersized-update: dense1, step 0",
    ],
    "constant-start": [],
    "softmax-twice": [],
    "broadcast": [],
    "raw-input": [
        "error diverging-loss: the model, step 7",
        "error oversized-update: dense2, step 15",
        "error exploding-gradient: dense2, step 59",
    ],
    "raw-target": [],
    "stuck-layer": [
        "error unchanged-parameter: dense1, step 0",
    ],
    "clipped-away": [
        "error undersized-update: dense1, step 0",
    ],
    "dead-convolution": [
        "error zero-gradient: conv1, step 0",
    ],
}
"""The same where only plain arrays of gradients and weights were seen, and the loss: nothing is known of layers, of
what enters a loss, or of the update that the very first step made."""

LOCATED = {
    ("jax", "nan-of-log"): (0, "error non-finite-loss: dense2, step 25"),
    ("tensorflow", "nan-of-log"): (0, "error non-finite-loss: sigmoid2, step 25"),
    ("torch", "nan-of-log"): (0, "error non-finite-loss: sigmoid2, step 25"),
    ("torch", "exploding-start"): (2, "error non-finite-loss: dense5, step 2"),
}
"""The verdict where the framework ran the broken step again and found where it broke (gradscope.origin): of a
logarithm in the loss, the layer whose output it got; of sums that overflow, the layer whose infinities reach the loss,
while those of layers before it are negative, and ReLU lets none of them by."""
