"""Two numbers from arrays of 2x2x2 in .npy files with MXNet's Gluon, and the gradient of each layer on the way.

Xavier initialization, L2 (weight decay) and clipping by the global norm keep the gradients of batches of two in order.

gradscope check examples/articles/arrays_regression_mxnet.py --quiet
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
trainer = gluon.Trainer(net.collect_params(), "adam", {"learning_rate": 1e-3, "wd": 1e-5})
l2 = gluon.loss.L2Loss()

for epoch in range(20):
    for x, y in batches:
        with autograd.record():
            loss = l2(net(x), y)
        loss.backward()
        gradients = [parameter.grad() for parameter in net.collect_params().values()]
        norms = [gradient.norm().asscalar() for gradient in gradients[::2]]
        gluon.utils.clip_global_norm(gradients, 10.0)
        trainer.step(len(x))
    print(f"epoch {epoch}  loss {loss.mean().asscalar():.4f}  gradients of the layers", *(f"{n:.3f}" for n in norms))

error = ((net(inputs[200:]) - targets[200:]) ** 2).mean().asscalar() / targets[200:].asnumpy().var()
print(f"error {error:.3f}")
