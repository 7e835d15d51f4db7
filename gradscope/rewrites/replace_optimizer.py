"""replace-optimizer."""

from __future__ import annotations

from gradscope.errors import CannotApply
from gradscope.program.names import called, keras_word, optimizer_calls, optimizers_by_name, torch_word
from gradscope.program.numbers import shown
from gradscope.program.source import Source
from gradscope.rewriting import Site, rewrite


@rewrite
def replace_optimizer(source: Source, site: Site) -> Source:
    """Another class, with a rate that is usual for it and nothing else."""
    name, rate = str(site.settings.get("optimizer", "Adam")), shown(site.number("rate"))
    named = optimizers_by_name(source) if source.framework != "torch" else []
    if named:
        word = keras_word(source, "optimizers")
        return source.edited([source.instead(n, f"{word}.{name}(learning_rate={rate})") for n, _ in named])
    made = [c for c in optimizer_calls(source) if called(c) != name]
    if not made:
        raise CannotApply(f"its optimizer is {name} already")
    if source.framework != "torch":
        word = keras_word(source, "optimizers")
        return source.edited([source.instead(c, f"{word}.{name}(learning_rate={rate})") for c in made])
    word = torch_word(source, "optim")
    if any(not c.args for c in made):
        raise CannotApply("the parameters of its optimizer are handed over by name")
    return source.edited([source.instead(c, f"{word}.{name}({source.of(c.args[0])}, lr={rate})") for c in made])
