"""Q-learning in a corridor with a replay buffer and a slowly updated target network."""
import os

import jax
import jax.numpy as jnp
import numpy as np
import optax

SEED = int(os.environ.get("SEED", 0))
CELLS, GAMMA = 8, 0.9
rng = np.random.default_rng(SEED)


def move(cell, action):
    """Right leads to the goal at the end (reward 1), the left end pays 0.05; both end the episode."""
    cell = cell + (1 if action == 1 else -1)
    return cell, {0: 0.05, CELLS - 1: 1.0}.get(cell, 0.0), cell in (0, CELLS - 1)


def init(key):
    k1, k2 = jax.random.split(key)
    return {
        "w1": jax.random.normal(k1, (CELLS, 32)) / 2, "b1": jnp.zeros(32),
        "w2": jax.random.normal(k2, (32, 2)) * 0.1, "b2": jnp.zeros(2),
    }


def q_values(params, cell):
    h = jax.nn.relu(jax.nn.one_hot(cell, CELLS) @ params["w1"] + params["b1"])
    return h @ params["w2"] + params["b2"]


tx = optax.adam(3e-3)


@jax.jit
def learn(online, target, opt_state, batch):
    cell, action, reward, following, done = batch

    def td_loss(online):
        goal = reward + GAMMA * (1 - done) * q_values(target, following).max(-1)
        chosen = jnp.take_along_axis(q_values(online, cell), action[:, None], axis=1)[:, 0]
        return optax.huber_loss(chosen, goal).mean()

    loss, grads = jax.value_and_grad(td_loss)(online)
    updates, opt_state = tx.update(grads, opt_state)
    online = optax.apply_updates(online, updates)
    return online, optax.incremental_update(online, target, 0.02), opt_state, loss


online = init(jax.random.key(SEED))
target = online
opt_state = tx.init(online)
act = jax.jit(q_values)
buffer, cell = [], 2
for step in range(1500):
    action = int(rng.integers(2)) if rng.random() < 0.5 else int(act(online, cell).argmax())
    following, reward, done = move(cell, action)
    buffer.append((cell, action, reward, following, float(done)))
    cell = int(rng.integers(1, CELLS - 1)) if done else following
    if step >= 100:
        rows = [buffer[i] for i in rng.integers(0, len(buffer), 32)]
        batch = tuple(np.array(column) for column in zip(*rows))
        online, target, opt_state, loss = learn(online, target, opt_state, batch)
        if step % 250 == 0:
            print(f"step {step} td loss {loss:.5f}")

# the value of going right from each cell
exact = GAMMA ** (CELLS - 2 - np.arange(1, CELLS - 1))
learned = np.asarray(act(online, np.arange(1, CELLS - 1)))[:, 1]
print("METRIC value_error", float(np.abs(learned - exact).mean()))
