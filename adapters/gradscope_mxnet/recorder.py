"""Recorder: hears of every backward pass and every step of a Trainer, and tells the right Objective."""

from __future__ import annotations

from collections.abc import Callable
from types import FrameType
from typing import Any

from gradscope.competition import belongs, note_competition
from gradscope.guard import guarded
from gradscope.schedule import Schedule
from gradscope.scope import Scope
from mxnet import autograd, nd

from gradscope_mxnet import measure, patches
from gradscope_mxnet.forward import Forward
from gradscope_mxnet.names import Names
from gradscope_mxnet.objective import Objective, is_trained

STEPS = "mxnet trainers"


class Recorder:
    """One observation: its objectives, its forward notes, and the events between steps."""

    def __init__(
        self,
        scope: Scope,
        names: Names,
        schedule: Schedule,
        wanted: Callable[[Any], bool],
        *,
        eager: bool = False,
        everywhere: bool = False,
    ):
        """wanted: whose steps count. eager: hybridized blocks run as if they were not, to be seen. everywhere: blocks
        that are no part of a known root become roots."""
        self.scope = scope
        self.names = names
        self.schedule = schedule
        self.wanted = wanted
        self.eager = eager
        self.everywhere = everywhere
        self.forward = Forward(names, scope.limits, eager)
        self.forward.active = schedule(0)
        self.order: list[Objective] = []
        self.losses: list[tuple[Any, Any]] = []
        self.passes = 0
        self.shared: tuple[list[tuple[Any, Any]], int] = ([], 0)
        self.missed = 0
        self.on_step: Callable[[int], None] = lambda _steps: None
        self._clip: tuple[Any, Any] | None = None
        self._scale: float | None = None
        failures = scope.failures
        self.made = guarded("mxnet sources", failures, names.sources.note)
        self.enter = guarded("mxnet blocks", failures, self._enter)
        self.leave = guarded("mxnet blocks", failures, self._leave)
        self.noted = guarded("mxnet functions", failures, self._noted)
        self.backward_begins = guarded("mxnet backward", failures, self._backward_begins)
        self.backward_ended = guarded("mxnet backward", failures, self._backward_ended)
        self.clipped = guarded("mxnet clipping", failures, self._clipped)
        self.flush = guarded("mxnet rows", failures, self._flush)
        self.refresh = guarded("mxnet rows", failures, self._refresh)
        self._look = guarded(STEPS, failures, self._looks)
        self._begin = guarded(STEPS, failures, self._begins)
        self._end = guarded(STEPS, failures, self._ended)
        self._raise = guarded(STEPS, failures, self._raised)

    # -- forward and backward --------------------------------------------------------------------------------------

    def _enter(self, block: Any, args: Any) -> None:
        if not self.forward.stack and self.everywhere and not self.names.known(block):
            self.names.add_root(block)
        self.forward.enter(block, args)

    def _leave(self, block: Any, args: Any, output: Any, frame: FrameType) -> None:
        with autograd.pause():
            self.forward.leave(block, args, output, frame)

    def _noted(self, action: Callable[..., None], *args: Any) -> None:
        with autograd.pause():
            action(self.forward, *args)

    def _backward_begins(self) -> None:
        if not self.passes:
            for objective in self.order:
                objective.first_pass_begins()

    def _backward_ended(self, heads: Any) -> None:
        """Counts a pass, if it left a gradient on a parameter that is ours, and notes its loss."""
        self.forward.forget_origins()
        if self.order:
            reached = any(o.reached() for o in self.order)
        else:
            known = [p for p in self.names.all_parameters() if p._grad is not None]
            reached = not known or any(d._fresh_grad for p in known for d in p._data)
        if not reached:
            return
        self.passes += 1
        with autograd.pause():
            loss = loss_of(heads)
        if loss is not None:
            self.losses.append((loss, None))

    def _clipped(self, arrays: Any, norm: Any, limit: Any) -> None:
        given = {id(a) for a in arrays}
        ours = [p for o in self.order for p in o.own] or list(self.names.all_parameters())
        if any(id(g) in given for p in ours for g in p._grad or ()):
            self._clip = (norm, limit)

    # -- steps -----------------------------------------------------------------------------------------------------

    def step_begins(self, trainer: Any) -> None:
        """A step begins. Arrays are waited for where no guard stands: an error of the user's own that an operation
        has left behind is theirs to see."""
        if not self.wanted(trainer):
            return
        waiting: list[Any] = []
        self._look(trainer, waiting)
        for array in waiting:
            array.wait_to_read()
        self._begin(trainer)

    def _looks(self, trainer: Any, waiting: list[Any]) -> None:
        waiting += self.objective(trainer).present()

    def _begins(self, trainer: Any) -> None:
        objective = self.objective(trainer)
        self._scale = scale_of(trainer)
        objective.before_step(self.schedule(objective.step), patches.on_kvstore(trainer))

    def step_ended(self, trainer: Any) -> None:
        """The step returned."""
        if not self.wanted(trainer):
            return
        self._end(trainer)
        if STEPS in self.scope.failures:
            self.missed += 1
            self.forward.active = False
            self.forward.reset()
        self.on_step(max((o.step for o in self.order), default=0) + self.missed)

    def step_raised(self, trainer: Any) -> None:
        """The step raised, as MXNet's own does when backward did not reach a parameter: its gradients are noted."""
        if self.wanted(trainer):
            self._raise(trainer)

    def _raised(self, trainer: Any) -> None:
        self._finish(self.objective(trainer), skipped=False)

    def _ended(self, trainer: Any) -> None:
        objective = self.objective(trainer)
        scaled = getattr(trainer, "_amp_loss_scaler", None) is not None
        self._finish(objective, skipped=scaled and not patches.on_kvstore(trainer) and objective.reached())

    def _finish(self, objective: Objective, *, skipped: bool) -> None:
        fresh = self.passes > 0
        if fresh:
            self.shared = (self.losses, self.passes)
            note_competition(self.scope, objective)
        losses, passes = self.shared
        if not losses:
            logged = self.scope.take_logged()
            losses = [(logged, None)] if logged is not None else []
        losses = [(loss, self._scale) for loss, _ in losses]
        values: dict[str, Any] = {"skipped": skipped, "backward_passes": passes, "loss_scale": self._scale}
        if self._clip is not None:
            values["clip_before"], values["clip_limit"] = (one_number(v) * objective.scale for v in self._clip)
        full = self.schedule(objective.step)
        notes = [n for n in self.forward.notes if belongs(n, objective, self.order)] if full else []
        direction = full or self.schedule(objective.step + 1)
        classes = self.forward.classes if full and fresh else []
        objective.after_step(full, direction, losses, values, notes, classes)
        self.losses, self.passes, self._clip = [], 0, None
        if full:
            objective.history.facts["called"] = sorted(self.forward.called)
        self.forward.spent = True
        self.forward.active = any(self.schedule(o.step) for o in self.order)

    def objective(self, trainer: Any) -> Objective:
        """The Objective of a trainer; one over the same parameters continues that of its predecessor."""
        found = next((o for o in self.order if o.trainer is trainer), None)
        if found is None:
            mine = {id(p) for p in trainer._params if is_trained(p)}
            found = next((o for o in self.order if {id(p) for p in o.own} == mine), None)
        if found is None:
            kind = type(trainer._optimizer).__name__
            history = self.scope.new_history(
                f"{kind} {len(self.order) + 1}", framework="mxnet", optimizer=kind, settings=described(trainer)
            )
            found = Objective(trainer, history, self.names)
            self.order.append(found)
            self.names.refresh()
            self.survey()
        elif found.outdated:
            self.survey()
        found.trainer = trainer
        return found

    def survey(self) -> None:
        """Lets every objective find its parameters and names anew."""
        for one in self.order:
            one.survey({id(p) for o in self.order if o is not one for p in o.own})

    # -- beginning and end -----------------------------------------------------------------------------------------

    def listen(self) -> None:
        """From now on everything is heard."""
        patches.listen(self)

    def close(self) -> None:
        """Hears nothing any more, and writes what waited."""
        patches.unlisten(self)
        self.forward.active = False
        self.refresh()
        self.forward.reset()

    def _flush(self) -> None:
        for objective in self.order:
            objective.flush()

    def _refresh(self) -> None:
        self._flush()
        self.names.refresh()
        self.survey()


def loss_of(heads: Any) -> Any:
    """The loss that backward began with: the mean over a batch. Heads on one device add up, devices share a batch."""
    given = list(heads) if isinstance(heads, list | tuple) else [heads]
    by_device: dict[Any, list[Any]] = {}
    for head in given:
        if isinstance(head, nd.NDArray) and head.size and head.stype == "default":
            mean = measure.total(measure.double(head)) / head.size
            by_device.setdefault(head.ctx, []).append(mean)
    if not by_device:
        return None
    first = next(iter(by_device))
    sums = [nd.add_n(*losses).as_in_context(first) for losses in by_device.values()]
    return nd.add_n(*sums) / len(sums)


def scale_of(trainer: Any) -> float | None:
    """The scale of the loss in this step; None when nothing scales it."""
    if getattr(trainer, "_amp_loss_scaler", None) is None or not trainer._scale:
        return None
    return float(trainer._amp_original_scale / trainer._scale)


def one_number(value: Any) -> float:
    """A number, or an array of one, as a float."""
    return float(value.asscalar() if isinstance(value, nd.NDArray) else value)


def described(trainer: Any) -> dict[str, Any]:
    """The numbers of an optimizer: learning rate, momentum, weight decay ..."""
    optimizer = trainer._optimizer
    found = {"lr": optimizer.lr, "weight_decay": optimizer.wd, "momentum": getattr(optimizer, "momentum", None)}
    return {k: float(v) for k, v in found.items() if isinstance(v, int | float)}


def is_anything_trained(parameters: Any) -> bool:
    """Whether any of the parameters is meant to be trained."""
    return any(is_trained(p) and p.grad_req != "null" for p in parameters)
