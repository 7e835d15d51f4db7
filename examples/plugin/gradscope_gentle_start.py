"""gentle-start: a remedy for gradscope that no rule calls for by name. It answers every error that nothing explains."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from gradscope.errors import CannotApply
from gradscope.history import History
from gradscope.hookspecs import hookimpl
from gradscope.recipe import product, warm_up
from gradscope.usual import usual_gradient
from gradscope.verdict import Remedy, Severity, Verdict
from gradscope.workload import Workload

STEPS = 20


@hookimpl
def gradscope_suggest_remedies(verdict: Verdict, history: History) -> list[Remedy]:
    """The gradient clipped at its median in this run, and a learning rate that grows over the first steps."""
    usual = usual_gradient(history)
    if usual is None or verdict.severity is not Severity.ERROR or verdict.consequence_of is not None:
        return []
    limit = float(f"{usual:.2g}")
    return [
        Remedy(
            "gentle-start",
            f"clip the gradient at {limit:g} and let the learning rate grow over {STEPS} steps",
            f"the median gradient norm of this run is {usual:.3g}; the first steps are taken before anything is known",
            {
                "torch": (
                    f"warm_up = torch.optim.lr_scheduler.LinearLR(optimizer, {1 / STEPS:g}, total_iters={STEPS})\n"
                    f"torch.nn.utils.clip_grad_norm_(model.parameters(), max_norm={limit:g})\n"
                    "optimizer.step()\nwarm_up.step()"
                ),
                "tensorflow": (
                    f"rates = keras.optimizers.schedules.PolynomialDecay(rate / {STEPS}, {STEPS}, rate)\n"
                    f"optimizer = keras.optimizers.Adam(rates, global_clipnorm={limit:g})"
                ),
                "jax": (
                    f"rates = optax.linear_schedule(rate / {STEPS}, rate, {STEPS})\n"
                    f"optimizer = optax.chain(optax.clip_by_global_norm({limit:g}), optax.adam(rates))"
                ),
            },
            "Goyal et al. (2017) arXiv:1706.02677; Pascanu et al. (2013) arXiv:1211.5063",
            cost=f"{STEPS} steps that count less, and one norm a step",
            risk="a median of zero or of a sick run says little",
            settings={"max_norm": limit, "steps": STEPS},
            apply=partial(gently, limit=limit),
        )
    ]


def gently(workload: Workload, *, limit: float) -> Workload:
    """The workload with both. Raises CannotApply where the recipe clips already."""
    recipe = workload.recipe
    if recipe.clip_norm is not None:
        raise CannotApply(f"gentle-start: the recipe clips at {recipe.clip_norm:g} already")
    return replace(workload, recipe=replace(recipe, clip_norm=limit, schedule=product(recipe.schedule, warm_up(STEPS))))
