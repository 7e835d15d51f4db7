"""scale-target."""

from __future__ import annotations

from gradscope.errors import CannotApply
from gradscope.program.names import calls_of, keras_word
from gradscope.program.outputs import before_training
from gradscope.program.source import Source
from gradscope.rewriting import Site, rewrite


@rewrite
def scale_target(source: Source, site: Site) -> Source:
    """The model works in standard units and answers in those of the targets; the loss is divided by their variance."""
    mean, deviation = site.number("mean"), site.number("deviation")
    if not deviation > 0:
        raise CannotApply("all targets are the same number")
    scale, offset, share = f"{deviation:.6g}", f"{mean:.6g}", f"{deviation**-2:.6g}"
    if source.framework == "torch":
        hook = f"lambda _model, _given, output: output * {scale} + {offset}"
        changed = before_training(source, f"{{model}}.register_forward_hook({hook})  # in the units of the targets")
        passes = calls_of(changed, "backward")
        if site.history.facts.get("optimizer") == "SGD" and passes:
            loss = passes[0].func.value  # type: ignore[attr-defined]
            return changed.edited([changed.instead(loss, f"({changed.of(loss)} * {share})")])
        return changed
    layer = f"{keras_word(source, 'layers')}.Rescaling({scale}, {offset})"
    wrapped = f"{{model}} = {keras_word(source, 'Sequential')}([{{model}}, {layer}])  # in the units of the targets"
    changed = before_training(source, wrapped)
    compiled = calls_of(changed, "compile")
    if site.history.facts.get("optimizer") == "SGD" and compiled:
        return changed.edited([changed.with_argument(compiled[0], "loss_weights", share)])
    return changed
