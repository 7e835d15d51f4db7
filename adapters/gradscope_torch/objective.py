"""Objective: one optimizer, its parameters, and what is written into its History at each of its steps."""

from __future__ import annotations

import math
import weakref
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from gradscope.history import History, Subject
from gradscope.parameters import name_parameters, parameter
from gradscope.row import Note, Row, write
from torch import Tensor
from torch.nn.parameter import is_lazy

from gradscope_torch import measure
from gradscope_torch.clearing import Clearing
from gradscope_torch.names import Names
from gradscope_torch.optimizer import found_inf, kind_of, learning_rate_of

SNAPSHOT_LIMIT = 512 * 2**20
"""Bytes of weights that are copied to measure an update; parameters beyond it are not measured."""
SMALLEST = 1e-18
"""Norms below it may have lost squares to underflow in float32, and are found anew."""
WAITING_ROWS = 16
"""Rows that may wait before they are written together."""

GONE = torch.empty(0)
"""Stands where a parameter was that neither the optimizer nor a model holds any more; so nothing keeps it alive."""
LEFT = " (replaced)"
"""Behind the name of such a parameter."""


@dataclass(slots=True)
class Between:
    """What happened since the last step of an optimizer."""

    losses: list[Any] = field(default_factory=list)
    passes: int = 0
    clip: tuple[Any, Any] | None = None
    scale: Any = None
    half: bool | None = False
    """Whether numbers of float16 were seen on the way forward; None: it could not be looked at."""


class Objective:
    """The recorder of one optimizer's steps. It does not keep the optimizer alive."""

    def __init__(self, optimizer: torch.optim.Optimizer, history: History, names: Names, number: int):
        self.optimizer = optimizer
        self.history = history
        self.names = names
        self.number = number
        self.kind = kind_of(optimizer)
        self.step = 0
        self.parameters: list[Tensor] = []
        self.optimized: list[bool] = []
        self.outdated = True
        self.plain = True
        self.scattered = False
        self.between = Between()
        self.clearing = Clearing()
        self.skipped: Any = False
        self.withheld = False
        self._own: list[Tensor] = []
        self._lazy: list[Tensor] = []
        self._before: dict[int, Tensor] = {}
        self._direction: Tensor | None = None
        self._row: Row | None = None
        self._rows: list[Row] = []
        self._size: tuple[int, ...] = (-1,)

    @property
    def optimizer(self) -> Any:
        """The optimizer, or None when it is gone."""
        return self._optimizer()

    @optimizer.setter
    def optimizer(self, optimizer: torch.optim.Optimizer) -> None:
        self._optimizer = weakref.ref(optimizer)

    # -- subjects --------------------------------------------------------------------------------------------------

    def survey(self, elsewhere: set[int]) -> None:
        """Finds the parameters: the optimizer's own, and those of the known modules that no optimizer holds. One that
        has no shape yet comes in when it has; one that nobody holds any more is let go, and keeps its column."""
        own = self.own()
        mine = {id(p) for p in own}
        named = list(self.names.all_parameters())
        free = [p for p in named if id(p) not in mine and id(p) not in elsewhere]
        alive = mine.union(map(id, named))
        self.parameters = [p if id(p) in alive or not self.names.roots else GONE for p in self.parameters]
        if id(self.clearing.probe) not in alive:
            self.clearing.probe = None
        self._size = self._size_now()
        known = {id(p) for p in self.parameters}
        found = [*own, *(p for p in free if p.requires_grad)]
        self._lazy = [p for p in found if is_lazy(p)]
        for p in found:
            if id(p) not in known and not is_lazy(p):
                known.add(id(p))
                self.parameters.append(p)
        self.optimized = [id(p) in mine for p in self.parameters]
        self._own = [p for p in self.parameters if id(p) in mine]
        self.plain = all(measure.is_plain(p) for p in self.parameters)
        self.scattered = len({p.device for p in self.parameters if p is not GONE}) > 1
        self.outdated = False
        self._name(elsewhere)

    def own(self) -> list[Tensor]:
        """The parameters that the optimizer holds, or held while it was there."""
        optimizer = self.optimizer
        return self._own if optimizer is None else [p for group in optimizer.param_groups for p in group["params"]]

    def _name(self, elsewhere: set[int]) -> None:
        known = self.history["gradient"].subjects
        subjects = [
            gone(known[at]) if p is GONE else self._subject(at, p, mine, id(p) in elsewhere)
            for at, (p, mine) in enumerate(zip(self.parameters, self.optimized, strict=True))
        ]
        name_parameters(self.history, subjects)

    def _subject(self, at: int, p: Tensor, optimized: bool, elsewhere: bool) -> Subject:
        known = self.history["gradient"].subjects
        before = f"{known[at].name.removesuffix(LEFT)}{LEFT}" if at < len(known) else f"parameter {at}"
        name, module = self.names.parameter(p, before)
        owner = self.names.owner(p)
        return parameter(
            name,
            module,
            shape=p.shape,
            fan_in=math.prod(p.shape[1:]),
            dtype=str(p.dtype).removeprefix("torch."),
            optimized=optimized,
            elsewhere=elsewhere,
            trainable=p.requires_grad,
            owner=owner,
            source=self.names.source(owner) if owner is not None else None,
            library=owner is not None and self.names.in_library(owner),
            training=owner.training if owner is not None else True,
            reachable=owner is not None or not self.names.roots,
        )

    @property
    def unknown(self) -> bool:
        """Whether parameters may have come since the last survey."""
        return self.outdated or self._size != self._size_now() or any(not is_lazy(p) for p in self._lazy)

    def _size_now(self) -> tuple[int, ...]:
        groups = getattr(self.optimizer, "param_groups", ())
        return tuple(hash(tuple(map(id, g["params"]))) for g in groups)

    # -- passes ----------------------------------------------------------------------------------------------------

    def backward_begins(self) -> None:
        """A backward pass begins, of this optimizer or another."""
        self.clearing.backward_begins()

    def backward_ended(self) -> None:
        """A backward pass ended."""
        self.clearing.backward_ended(self._own)

    def look_for_delivery(self) -> None:
        """Did a pass leave a gradient on any parameter of this optimizer? Asked at the first step, before which nobody
        knew of it."""
        self.clearing.look_for_delivery(self._own)

    def abandoned(self) -> bool | None:
        """Whether the gradients since the last step were thrown away; None when nobody knows."""
        return self.clearing.abandoned(self._own)

    # -- a step ----------------------------------------------------------------------------------------------------

    def before_step(self, full: bool) -> None:
        """Weights are as they were, gradients are what the optimizer will use."""
        if full:
            self._snapshot()

    def _snapshot(self) -> None:
        budget = SNAPSHOT_LIMIT
        self._before = {}
        for p in self.parameters:
            size = p.numel() * p.element_size()
            if p is not GONE and not p.is_sparse and size <= budget:
                budget -= size
                self._before[id(p)] = measure.dense_values(p).clone()

    def gradients(self) -> None:
        """Begins the row of this step with the gradient norm of every parameter."""
        present = [at for at, p in enumerate(self.parameters) if p.grad is not None]
        width = len(self.parameters)
        absent = set(range(width)).difference(present) if len(present) < width else ()
        frozen = [at for at in absent if not self.parameters[at].requires_grad]
        gradients = [self.parameters[at].grad for at in present]
        self.skipped = self.skipped or found_inf(self.optimizer)
        self._row = Row(self.step, width, present, frozen, self._unscaled(self._norms(gradients)))

    def _norms(self, gradients: list[Any]) -> Tensor | list[float]:
        if not gradients:
            return []
        try:
            norms = measure.norms(gradients, self.plain, self.scattered)
        except (RuntimeError, NotImplementedError, TypeError):
            self.plain = False
            norms = measure.norms(gradients, False)
        if isinstance(norms, Tensor) and norms.device.type != "cpu":
            return norms
        found = norms.tolist() if isinstance(norms, Tensor) else norms
        return [
            n if SMALLEST <= n < math.inf else float(measure.exact_norm(g))
            for n, g in zip(found, gradients, strict=True)
        ]

    def _unscaled(self, norms: Tensor | list[float]) -> Tensor | list[float]:
        """The norms without the scale that a fused optimizer takes away itself, inside of its step."""
        scale = getattr(self.optimizer, "grad_scale", None)
        if not isinstance(scale, Tensor):
            return norms
        if isinstance(norms, Tensor):
            return norms / scale.to(norms.device)
        factor = scale.item()
        return [n / factor if factor else math.nan for n in norms]

    def own_norms(self) -> list[Any]:
        """The gradient norms of the running step, of the parameters that the optimizer holds."""
        if self._row is None:
            return []
        norms, own = self._row.norms, [at for at, k in enumerate(self._row.present) if self.optimized[k]]
        if isinstance(norms, Tensor):
            return [norms[own]] if own else []
        return [norms[at] for at in own]

    def confirms_bad(self, losses: list[tuple[Any, Any]]) -> bool:
        """Whether the values bear out norms that are not finite: off the host, float32 norms may have overflowed."""
        if all(p.device.type == "cpu" for p in self._own):
            return True
        gradients = [p.grad for p in self._own if p.grad is not None]
        bad = [~torch.isfinite(measure.dense_values(g)).all() for g in gradients]
        bad += [~torch.isfinite(torch.as_tensor(loss)).all() for loss, _ in losses]
        return any(bool(b) for b in bad)

    def after_step(self, full: bool, direction: bool, notes: list[Note], classes: list[tuple[str, Tensor]]) -> None:
        """Completes the row: loss, rate, and on full steps updates, gradients in detail, and notes."""
        row, between = self._row, self.between
        if row is None:
            return
        cleared_early = self.clearing.cleared_early(self.parameters, row.norms)
        row.losses = between.losses
        row.values = {
            "learning_rate": learning_rate_of(self.optimizer),
            "skipped": self.skipped,
            "withheld": self.withheld,
            "carried_over": self.clearing.carried_over() if self.step else None,
            "cleared_early": cleared_early if self.step else None,
            "backward_passes": between.passes,
        }
        if between.clip is not None:
            row.values["clip_before"], row.values["clip_limit"] = between.clip
        if between.scale is not None:
            row.values["loss_scale"] = between.scale
        if full:
            row.parameters = self._parameter_statistics(row.width)
            if between.half:
                self.history.facts["half"] = True
            row.notes, row.classes = list(notes), list(classes)
        if direction:
            row.values["gradient_cosine"] = self._cosine()
        else:
            self._direction = None
        self._rows.append(row)
        self._row = None
        self.between = Between()
        self.skipped = self.withheld = False
        self.step += 1
        if full or len(self._rows) >= WAITING_ROWS:
            self.flush()
        self.clearing.step_ended()

    def flush(self) -> None:
        """Writes the rows that wait."""
        rows, self._rows = self._rows, []
        if not rows:
            return
        write(self.history, rows, measure.fetch)
        if self.clearing.probe is None:
            self._choose_probe(rows[-1])

    def _choose_probe(self, row: Row) -> None:
        """Picks the smallest parameter that gets a gradient, to see whether gradients are cleared between steps."""
        norms = self.history["gradient"].column("gradient_norm")[-1]
        moving = [self.parameters[at] for at in row.present if norms[at] > 0 and self.optimized[at]]
        if moving:
            self.clearing.probe = min(moving, key=Tensor.numel)

    def _parameter_statistics(self, width: int) -> Tensor | None:
        """PARAMETER_QUANTITIES of the first parameters, shape (width, 8): others may have come during the step."""
        rows: list[Tensor] = []
        nothing = torch.full((3,), math.nan)
        unseen = torch.full((5,), math.nan)
        before, self._before = self._before, {}
        for p in self.parameters[:width]:
            old = before.get(id(p))
            gradient = self._gradient_statistics(p.grad) if p.grad is not None else nothing.to(p.device)
            moved = measure.parameter_statistics(old, p) if old is not None else unseen.to(p.device)
            rows.append(torch.cat([gradient, moved]))
        return torch.stack([r.to(rows[0].device) for r in rows]) if rows else None

    def _gradient_statistics(self, gradient: Tensor) -> Tensor:
        return measure.gradient_statistics(gradient, self.between.half, self.between.scale)

    def _cosine(self) -> Tensor | None:
        """Cosine of the angle between the gradients of this step and the last, on a sample of their elements."""
        gradients = [p.grad for p in self._own if p.grad is not None]
        last, self._direction = self._direction, measure.sample(gradients) if gradients else None
        if last is None or self._direction is None or last.shape != self._direction.shape:
            return None
        return torch.nn.functional.cosine_similarity(last, self._direction, dim=0, eps=0.0)


def gone(subject: Subject) -> Subject:
    """The subject of a parameter that nobody holds any more."""
    if subject.name.endswith(LEFT):
        return subject
    traits = dict(subject.traits) | {"optimized": False, "trainable": False, "reachable": False}
    return replace(subject, name=f"{subject.name}{LEFT}", traits=traits)
