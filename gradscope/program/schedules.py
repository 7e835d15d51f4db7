"""Schedules: a learning rate that follows the number of the step, by the framework's own classes."""

from __future__ import annotations

from gradscope.errors import CannotApply
from gradscope.program.names import calls_of, keras_word, optimizer_calls, rate_of, step_calls, target_of, torch_word
from gradscope.program.numbers import number_of
from gradscope.program.source import Source


def scheduled(source: Source, torch: str, keras: str) -> Source:
    """The source with a schedule. torch: a class of torch.optim.lr_scheduler and its arguments behind the optimizer.
    keras: one of keras.optimizers.schedules and its arguments, where {rate} is the learning rate."""
    made = optimizer_calls(source)[0]
    if source.framework != "torch":
        given = rate_of(made)
        if given is None or number_of(source, given) is None:
            raise CannotApply("its optimizer is not given a number as learning rate in this file")
        word = keras_word(source, "optimizers")
        return source.edited([source.instead(given, f"{word}.schedules.{keras.replace('{rate}', source.of(given))}")])
    name = target_of(source, made)
    if name is None:
        raise CannotApply("its optimizer has no name in this file")
    if any(c for c in calls_of(source, "step") if "sched" in source.of(c).lower()):
        raise CannotApply("it has a schedule already")
    kind, _, arguments = torch.partition("(")
    schedule = "self.schedule" if name.startswith("self.") else "schedule"
    word = torch_word(source, "optim")
    line = f"{schedule} = {word}.lr_scheduler.{kind}({name}, {arguments}"
    steps = {source.span(s): s for s in (source.statement_of(c) for c in step_calls(source))}
    edits = [source.after(s, f"{schedule}.step()") for s in steps.values()]
    return source.edited([source.after(source.statement_of(made), line), *edits])
