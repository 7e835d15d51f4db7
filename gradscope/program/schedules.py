"""Schedules: a learning rate that follows the number of the step, by a class of torch.optim.lr_scheduler."""

from __future__ import annotations

import ast

from gradscope.errors import CannotApply
from gradscope.program.names import calls_of, dotted, optimizer_calls, receiver, step_calls, target_of, torch_word
from gradscope.program.source import Source


def scheduled(source: Source, kind: str, arguments: str) -> Source:
    """The source of a PyTorch program with a schedule of its first optimizer, behind that one's steps. arguments: those
    behind the optimizer."""
    made = optimizer_calls(source)[0]
    name = target_of(source, made)
    if name is None:
        raise CannotApply("its optimizer has no name in this file")
    if any(c for c in calls_of(source, "step") if "sched" in source.of(c).lower()):
        raise CannotApply("it has a schedule already")
    schedule = "self.schedule" if name.startswith("self.") else "schedule"
    line = f"{schedule} = {torch_word(source, 'optim')}.lr_scheduler.{kind}({name}, {arguments})"
    steps = {source.span(s): s for s in (source.statement_of(c) for c in _steps(source, name))}
    around = source.function_of(made)
    if isinstance(around, ast.FunctionDef) and schedule == "schedule":
        start, end = source.span(around)
        if any(not start <= at[0] < end for at in steps):
            raise CannotApply("its optimizer is made in one function and steps in another")
    edits = [source.after(s, f"{schedule}.step()") for s in steps.values()]
    return source.edited([source.after(source.statement_of(made), line), *edits])


def _steps(source: Source, name: str) -> list[ast.Call]:
    """The steps of one optimizer; all of them where there is only one, which has another name there."""
    found = step_calls(source)
    ours = [c for c in found if name in {receiver(c), *(dotted(a) for a in c.args)}]
    if not ours and len(optimizer_calls(source)) > 1:
        raise CannotApply(f"no {name}.step() stands in this file")
    return ours or found
