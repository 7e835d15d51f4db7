"""The same numbers with Gluon, but the loss is the mean of prediction - label: below zero without end.

gradscope check examples/articles/arrays_mean_difference_mxnet.py --quiet        # diverging-loss
"""

import os
import tempfile

import mxnet as mx
import numpy as np
from mxnet import autograd, gluon, nd

import arrays

SEED = int(os.environ.get("SEED", "0"))

mx.random.seed(SEED)
np.random.seed(SEED)
with tempfile.TemporaryDirectory() as folder:
    inputs, targets = (nd.array(np.load(path)) for path in arrays.write(folder, SEED))
batches = gluon.data.DataLoader(gluon.data.ArrayDataset(inputs[:200], targets[:200]), batch_size=2, shuffle=True)

net = gluon.nn.Sequential()
net.add(gluon.nn.Dense(64, "relu"), gluon.nn.Dense(64, "relu"), gluon.nn.Dense(2))
net.initialize(mx.init.Xavier())
trainer = gluon.Trainer(net.collect_params(), "adam", {"learning_rate": 1e-3})

for epoch in range(20):
    for x, y in batches:
        with autograd.record():
            loss = (net(x) - y).mean()
        loss.backward()
        trainer.step(1)
    print(f"epoch {epoch}  loss {loss.asscalar():.4f}")

error = ((net(inputs[200:]) - targets[200:]) ** 2).mean().asscalar() / targets[200:].asnumpy().var()
print(f"error {error:.3f}")
