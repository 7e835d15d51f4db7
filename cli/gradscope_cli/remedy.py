"""`gradscope remedy TARGET`: the remedies of its verdicts, tried on the program itself."""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
from gradscope.check import parse_target
from gradscope.diagnosis import check_settings
from gradscope.errors import UsageError
from gradscope.gate import COULD_NOT
from gradscope.plugins import plugins
from gradscope.script import open_script
from gradscope.trials.outcome import Trial
from gradscope.trials.plan import Plan
from gradscope.trials.scripts import try_script
from gradscope.trials.table import rendered
from gradscope.trials.workloads import try_workload_of

from gradscope_cli.check import check_output, deliver, listed, settings_from
from gradscope_cli.doors import clear_errors

UNITS = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "": 1.0}


@click.command(name="remedy", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("target")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.option("--budget", default="60s", show_default=True, metavar="TIME", help="Begin no run after it: 90s, 5m.")
@click.option("--seeds", type=click.IntRange(1, 10), default=3, show_default=True, help="Runs of each program.")
@click.option("--jobs", type=click.IntRange(1), help="Runs at the same time.  [default: one for each core]")
@click.option("--metric", metavar="NAME", help="The printed number to compare by.  [default: found by its name]")
@click.option("--higher/--lower", default=None, help="Whether more of --metric is better.  [default: told by its name]")
@click.option("--only", multiple=True, metavar="NAMES", help="Try these remedies only, by commas.")
@click.option("--steps", type=click.IntRange(1), help="Judge by this many optimizer steps.  [default: 200]")
@click.option("--write-patch", type=click.Path(dir_okay=False, path_type=Path), help="Write the best as a diff.")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Write the result to a file.")
@clear_errors
def command(target: str, arguments: tuple[str, ...], form: str, output: Path | None, **options: Any) -> None:
    """Try the remedies of TARGET's verdicts on TARGET itself, and say which of them helped.

    \b
    TARGET is one of
      train.py          a script. It is run many times, as it is and with a remedy written into its source (its file is
                        left alone); compared by a number that it prints at its end, such as its test accuracy
      train.py          a file that defines workload(): trained afresh, compared by the loss on what it holds out

    The seed of a run is in the environment variable SEED; where the program does not ask for it, the numbers that it
    seeds torch, numpy, TensorFlow and Keras with are moved.

    \b
    Exit codes
      0  a remedy cures or helps
      1  none of those that were tried does
      2  there was nothing to try, the program failed, or the input is wrong
    """
    unused = {"select": (), "ignore": (), "fail_on": None, "form": None, "overrides": ()}
    settings = settings_from(target, unused | options)
    check_settings(settings, plugins())
    check_output(output)
    check_output(options["write_patch"])
    file, name = parse_target(target)
    if name is not None:
        raise UsageError(f"{target}: a class alone has nothing to train on; give the script that trains it")
    if options["write_patch"] and not file.resolve().is_relative_to(Path.cwd().resolve()):
        raise UsageError(f"--write-patch: {file} is not below the working directory, where the patch would be applied")
    with progress() as tell:
        plan = Plan(
            budget_s=seconds(options["budget"]),
            seeds=options["seeds"],
            jobs=options["jobs"] or os.cpu_count() or 1,
            metric=options["metric"],
            higher=options["higher"],
            only=listed(options["only"]),
            on_progress=tell,
        )
        if open_script(file).defines_workload:
            trial = try_workload_of(file, settings, plan)
        else:
            trial = try_script(file, arguments, settings, plan)
    deliver(json.dumps(trial.as_dict(), indent=2) if form == "json" else rendered(trial), output)
    write_patch(trial, options["write_patch"])
    if trial.cannot:
        sys.exit(COULD_NOT)
    sys.exit(0 if trial.best else 1)


def seconds(text: str) -> float:
    """90, 90s, 5m, 1h in seconds. Raises UsageError."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(s|m|min|h|)", text.strip())
    if match is None or not float(match[1]):
        raise UsageError(f"--budget {text!r}: expected a time such as 60s, 5m or 1h")
    return float(match[1]) * UNITS[match[2]]


def write_patch(trial: Trial, wanted: Path | None) -> None:
    """Writes the best change as a diff that `git apply` takes in the working directory."""
    if wanted is None:
        return
    best = trial.best
    if best is None or best.files is None or trial.files is None:
        why = "no remedy helped" if best is None else "a workload's remedies are applied to objects, not to its source"
        click.echo(f"gradscope: no patch was written to {wanted}: {why}", err=True)
        return
    wanted.write_bytes(trial.files.patch(best.files, Path.cwd()).encode())
    click.echo(f"gradscope: {best.name} as a patch: git apply {wanted}", err=True)


@contextlib.contextmanager
def progress() -> Iterator[Callable[[int, int], None] | None]:
    """A progress bar on a terminal, nothing elsewhere."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("trying remedies", total=None)
        yield lambda done, planned: bar.update(task, completed=done, total=planned)
