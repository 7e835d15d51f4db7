"""`gradscope check TARGET`: a script, a workload, or a model class that was never trained."""

from __future__ import annotations

import atexit
import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
from gradscope.check import check_cold, check_script, parse_target
from gradscope.diagnosis import check_settings
from gradscope.errors import UsageError
from gradscope.gate import COULD_NOT, exit_code
from gradscope.plugins import plugins
from gradscope.settings import FAIL_ON, Settings, find_pyproject, load_settings, parse_override

from gradscope_cli.doors import clear_errors, to_stderr, to_stdout


@click.command(name="check", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("target")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.option("--steps", type=click.IntRange(1), help="Stop after this many optimizer steps.  [default: 200]")
@click.option("--quiet", is_flag=True, help="Silence what the script prints.")
@click.option("--format", "form", metavar="NAME", help="text, json, or a format of a plugin.  [default: text]")
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Write the report to a file.")
@click.option("--select", multiple=True, metavar="RULES", help="Judge these only: code prefixes or names, by commas.")
@click.option("--ignore", multiple=True, metavar="RULES", help="Leave these out: code prefixes or names, by commas.")
@click.option("--fail-on", type=click.Choice(FAIL_ON), help="Mildest severity for exit code 1.  [default: error]")
@click.option("--set", "overrides", multiple=True, metavar="RULE.THRESHOLD=VALUE", help="Another threshold.")
@click.option("--input-shape", metavar="N,N,...", help="Cold check: shape of one input, without the batch.")
@click.option("--classes", type=click.IntRange(2), help="Cold check: number of classes of the output.")
@clear_errors
def command(target: str, arguments: tuple[str, ...], quiet: bool, output: Path | None, **options: Any) -> None:
    """Run TARGET under observation and say what is wrong with its training.

    \b
    TARGET is one of
      train.py          a script: run unchanged, as `python train.py ARGUMENTS` (put them after --)
      train.py          a file that defines workload(): trained afresh
      model.py::Net     a model class: judged at initialization, needs --input-shape

    \b
    Exit codes
      0  healthy, or nothing found that is as grave as --fail-on (warnings alone pass by default)
      1  unhealthy: a verdict at or above --fail-on
      2  nothing could be judged, the program failed, or the input is wrong
    """
    settings = settings_from(target, options)
    loaded = plugins()
    check_settings(settings, loaded)
    reporter = loaded.reporter(settings.format)
    check_output(output)
    aside = output is None and settings.format != "text"
    file, name = parse_target(target)
    if name is None:
        if options["input_shape"] or options["classes"]:
            raise click.UsageError("--input-shape and --classes belong to a model class: FILE.py::CLASS")
        with progress(settings.steps) as tell:
            outcome = check_script(file, arguments, settings, quiet=quiet, aside=aside, on_progress=tell)
    else:
        shape = shape_from(options["input_shape"])
        outcome = check_cold(file, name, shape, options["classes"], settings, quiet=quiet, aside=aside)
    deliver(reporter.render(outcome.report), output)
    if aside:
        atexit.register(to_stderr)  # what the script has registered prints after the report
    if outcome.failure:
        click.echo(f"gradscope: the program failed before the end of the check\n{outcome.failure}", err=True)
        sys.exit(COULD_NOT)
    sys.exit(exit_code(outcome.report, settings.fail_on))


def check_output(output: Path | None) -> None:
    """Raises UsageError, before anything is run, for a report that could not be written."""
    if output is None:
        return
    folder = output.absolute().parent
    if not folder.exists():
        raise UsageError(f"--output {output}: there is no folder {folder}; create it first")
    if not folder.is_dir():
        raise UsageError(f"--output {output}: {folder} is a file, not a folder")
    if output.exists() and not output.is_file():
        return  # a pipe or a device: to open it here could block
    there = output.exists() or output.is_symlink()
    try:
        with output.open("a"):
            pass
        if not there:
            output.unlink()
    except OSError as error:
        raise UsageError(f"--output {output}: cannot be written there: {error.strerror or error}") from error


def deliver(rendered: str, output: Path | None) -> None:
    """Writes the report to its file or to stdout. Raises UsageError when it does not arrive, unless nobody reads on.

    A report that its file did not take is printed instead: the run may have been long.
    """
    if output is not None:
        try:
            output.write_text(rendered + "\n", "utf-8")
        except OSError as error:
            to_stdout(rendered)
            raise UsageError(f"--output {output}: could not be written: {error.strerror or error}") from error
        return
    to_stdout(rendered)


def settings_from(target: str, options: dict[str, Any]) -> Settings:
    """[tool.gradscope] of the nearest pyproject.toml above the target, then the options of the command."""
    thresholds: dict[str, dict[str, float]] = {}
    for text in options["overrides"]:
        rule, threshold, value = parse_override(text)
        thresholds.setdefault(rule, {})[threshold] = value
    start = Path(target.partition("::")[0]).resolve().parent
    base = load_settings(find_pyproject(start if start.is_dir() else Path.cwd()))
    selected = listed(options["select"])
    if options["select"] and not selected:
        raise UsageError("--select names no rule; expected codes or names by commas, such as --select GS2,dead-units")
    return base.merged(
        select=selected,
        ignore=listed(options["ignore"]),
        fail_on=options["fail_on"],
        steps=options["steps"],
        format=options["form"],
        thresholds=thresholds,
    )


def listed(values: tuple[str, ...]) -> tuple[str, ...]:
    """`--select A,B --select C` as (A, B, C)."""
    return tuple(part.strip() for value in values for part in value.split(",") if part.strip())


def shape_from(text: str | None) -> tuple[int, ...]:
    """The numbers of --input-shape."""
    if text is None:
        raise click.UsageError("a model class needs --input-shape, such as --input-shape 1,28,28 (without the batch)")
    try:
        shape = tuple(int(part) for part in text.split(","))
    except ValueError:
        shape = ()
    if not shape or min(shape) < 1:
        raise click.UsageError(f"--input-shape {text!r}: expected whole numbers by commas, such as 1,28,28")
    return shape


@contextlib.contextmanager
def progress(steps: int) -> Iterator[Callable[[int], None] | None]:
    """A progress bar on a terminal, nothing elsewhere."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("observing", total=steps)
        yield lambda done: bar.update(task, completed=done)
