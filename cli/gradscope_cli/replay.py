"""`gradscope replay BUNDLE MODEL`: runs a failing step that was saved again, elsewhere, and says where it fails."""

from __future__ import annotations

import json
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import click
from gradscope.check import parse_target
from gradscope.gate import FAILED, PASSED
from gradscope.plugins import plugins
from gradscope.scope import installed
from gradscope.script import silenced

from gradscope_cli.check import check_output, deliver
from gradscope_cli.doors import clear_errors


@click.command(name="replay", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument("model")
@click.option("--numbers", is_flag=True, help="Set attributes of modules that are numbers to what they were.")
@click.option("--quiet", is_flag=True, help="Silence what the file prints.")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Write the result to a file.")
@clear_errors
def command(bundle: Path, model: str, numbers: bool, quiet: bool, form: str, output: Path | None) -> None:
    """Run the failing step that BUNDLE holds again, and say where what is not finite is born.

    BUNDLE is a folder that gradscope.watch(..., on_nonfinite_save=DIR) made. Reading it runs no code.

    \b
    MODEL says what to build; the weights come from the bundle.
      model.py          what workload() trains, else `model` or what build_model() returns, else the saved class
      model.py::NAME    a class, a function that returns the model (of several: a dict of them), or the model itself

    \b
    Exit codes
      0  the step stays finite with this model
      1  it is not finite; where that is born is told, and whether it is where it was
      2  the bundle cannot be read or does not fit the model, or the input is wrong
    """
    check_output(output)
    file, name = parse_target(model)
    aside = output is None and form != "text"
    adapter: Any = next(a for a in plugins().adapters() if a.replays)
    installed(adapter)
    with silenced(quiet, aside=aside):
        done = import_module(f"{adapter.package}.bundle_replay").replay(bundle, file, name, numbers=numbers)
    deliver(json.dumps(done.as_dict(), indent=2) if form == "json" else told(done), output)
    sys.exit(PASSED if done.finite else FAILED)


def told(done: Any) -> str:
    """The result as text."""
    lines = [f"step {done.step} of {done.bundle}", *verdict(done), *(f"  note      {note}" for note in done.notes)]
    return "\n".join(lines)


def verdict(done: Any) -> list[str]:
    """Where it fails, and whether that is where it did."""
    if done.finite:
        return ["FINITE: the loss and all gradients are finite with this model", *then(done)]
    if done.origin is None:
        return ["NOT FINITE: where that is born was not found", *then(done)]
    origin = done.origin
    where = " ".join(
        part for part in (origin.module, f"({origin.module_class})" if origin.module_class else "") if part
    )
    where += f" at {origin.source}" if origin.source else ""
    lines = [f"NOT FINITE: {origin}", f"  where     {where}" if where else "", *(f"  {told}" for told in origin.told())]
    return [line for line in lines if line] + then(done)


def then(done: Any) -> list[str]:
    """What the bundle says."""
    if done.saved is None:
        return ["  saved as  not finite, with an origin that was not found"]
    if done.same:
        return ["  saved as  the same origin"]
    said = ", ".join(f"{k} {done.saved.get(k)!r}" for k in done.differing or ("phase", "op", "module"))
    return [f"  saved as  another origin: {said}" if done.differing else f"  saved as  not finite: {said}"]
