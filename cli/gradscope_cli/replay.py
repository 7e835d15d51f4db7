"""`gradscope replay BUNDLE MODEL`: runs a failing step that was saved again, elsewhere, and says where it fails."""

from __future__ import annotations

import json
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import click
from gradscope.check import parse_target
from gradscope.errors import BundleError
from gradscope.gate import FAILED, PASSED
from gradscope.plugins import plugins
from gradscope.scope import installed
from gradscope.script import silenced

from gradscope_cli.check import check_output, deliver
from gradscope_cli.child import death_of, is_child, run_in_child
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
    if not is_child():
        sys.exit(in_child(bundle, model, numbers=numbers, quiet=quiet, form=form, output=output))
    aside = output is None and form != "text"
    adapter: Any = next(a for a in plugins().adapters() if a.replays)
    installed(adapter)
    with silenced(quiet, aside=aside):
        done = import_module(f"{adapter.package}.bundle.replay").replay(bundle, file, name, numbers=numbers)
    deliver(json.dumps(done.as_dict(), indent=2) if form == "json" else told(done), output)
    sys.exit(PASSED if done.finite else FAILED)


def in_child(bundle: Path, model: str, *, numbers: bool, quiet: bool, form: str, output: Path | None) -> int:
    """The exit code of the command in a process of its own. Raises BundleError where that died."""
    options = [*["--numbers"] * numbers, *["--quiet"] * quiet, "--format", form]
    options += [] if output is None else ["--output", str(output)]
    code = run_in_child(["replay", *options, "--", str(bundle), model])
    how = death_of(code)
    if how:
        raise BundleError(f"{bundle}: running its step again with {model} brought the process down ({how})")
    return code


def told(done: Any) -> str:
    """The result as text."""
    parts = [("where", [where(done)]), ("origin", done.origin.told()) if done.origin else ("origin", [])]
    parts += [("saved as", [then(done)]), ("note", done.notes)]
    lines = [f"{head(done)} (step {done.step} of {done.bundle})"]
    for name, texts in parts:
        lines += [f"  {name if not at else '':<9} {printable(text)}" for at, text in enumerate(t for t in texts if t)]
    return "\n".join(lines)


def printable(text: str) -> str:
    """The text, without what could do more to a terminal than be shown: some of it a stranger may have written."""
    return "".join(c if c.isprintable() else "?" for c in text)


def head(done: Any) -> str:
    """The verdict."""
    if done.finite:
        return "FINITE: the loss and all gradients are finite with this model"
    return f"NOT FINITE: {done.origin}" if done.origin else "NOT FINITE: the origin was not found"


def where(done: Any) -> str:
    """The place of the origin."""
    origin = done.origin
    if origin is None:
        return ""
    kind = f"({origin.module_class})" if origin.module_class else ""
    at = f"at {origin.source}" if origin.source else ""
    return " ".join(part for part in (origin.module, kind, at) if part)


def then(done: Any) -> str:
    """What the bundle says of the origin."""
    saved = done.saved
    if saved is None:
        return "not finite; the origin was not found then"
    source = f" at {saved['source']}" if saved.get("source") else ""
    if done.same:
        return f"the same origin{source}"
    said = [f"{key} {saved[key]!r}" for key in done.differing or ("phase", "op", "module") if saved.get(key)]
    return f"{'another origin' if done.differing else 'not finite'}: {', '.join(said)}{source}"
