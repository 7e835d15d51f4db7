"""A small GAN draws points on an orbit: generator and critic with optimizers of their own."""
import os

import jax
import jax.numpy as jnp
import numpy as np
import optax

SEED = int(os.environ.get("SEED", 0))
NOISE, BATCH = 4, 128
rng = np.random.default_rng(SEED)


def real_points(n):
    angle = rng.uniform(0, 2 * np.pi, n)
    return (np.stack([2 + np.cos(angle), 0.5 * np.sin(angle) - 1], 1) + rng.normal(0, 0.05, (n, 2))).astype(np.float32)


def mlp_init(key, sizes):
    keys = jax.random.split(key, len(sizes) - 1)
    return [{"w": jax.random.normal(k, (m, n)) * (2 / m) ** 0.5, "b": jnp.zeros(n)} for k, m, n in zip(keys, sizes, sizes[1:])]


def mlp(params, x):
    for layer in params[:-1]:
        x = jax.nn.leaky_relu(x @ layer["w"] + layer["b"], 0.2)
    return x @ params[-1]["w"] + params[-1]["b"]


def generate(gen, key, n):
    return mlp(gen, jax.random.normal(key, (n, NOISE)))


def critic_loss(critic, gen, key, real):
    fake = jax.lax.stop_gradient(generate(gen, key, len(real)))
    real_logit, fake_logit = mlp(critic, real)[:, 0], mlp(critic, fake)[:, 0]
    return jnp.mean(jax.nn.softplus(-real_logit)) + jnp.mean(jax.nn.softplus(fake_logit))


def generator_loss(gen, critic, key):
    fake = generate(gen, key, BATCH)
    return jnp.mean(jax.nn.softplus(-mlp(critic, fake)[:, 0]))


gen_opt, critic_opt = optax.adam(1e-3, b1=0.5), optax.adam(2e-3, b1=0.5)


@jax.jit
def critic_step(critic, state, gen, key, real):
    loss, grads = jax.value_and_grad(critic_loss)(critic, gen, key, real)
    updates, state = critic_opt.update(grads, state)
    return optax.apply_updates(critic, updates), state, loss


@jax.jit
def generator_step(gen, state, critic, key):
    loss, grads = jax.value_and_grad(generator_loss)(gen, critic, key)
    updates, state = gen_opt.update(grads, state)
    return optax.apply_updates(gen, updates), state, loss


key, k1, k2 = jax.random.split(jax.random.key(SEED), 3)
gen, critic = mlp_init(k1, [NOISE, 48, 48, 2]), mlp_init(k2, [2, 48, 48, 1])
gen_state, critic_state = gen_opt.init(gen), critic_opt.init(critic)
for step in range(1000):
    key, k1, k2 = jax.random.split(key, 3)
    critic, critic_state, d_loss = critic_step(critic, critic_state, gen, k1, real_points(BATCH))
    gen, gen_state, g_loss = generator_step(gen, gen_state, critic, k2)
    if step % 200 == 0:
        print(f"step {step} critic {d_loss:.3f} generator {g_loss:.3f}")

fake, real = np.asarray(generate(gen, key, 1000)), real_points(1000)
nearest = np.linalg.norm(fake[:, None] - real[None], axis=-1)
print("METRIC chamfer_distance", float(nearest.min(1).mean() + nearest.min(0).mean()))
