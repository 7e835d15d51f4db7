"""`gradscope demo [NAME]`: a small sick network falls ill, is judged, and is healed, with numpy alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import click
from gradscope.errors import UsageError
from gradscope.reference.demonstrations import DEMONSTRATIONS, Demonstration
from gradscope.reference.healing import Course, best, courses
from gradscope.reporters.text import number, verdict_lines
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from gradscope_cli.doors import clear_errors

BAR = 28
FAR = 1e3
"""So many times more or less than where it is healthy, and a gradient is drawn as sick."""


@click.command(name="demo", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("name", required=False)
@click.option("--list", "listing", is_flag=True, help="List the demonstrations.")
@click.option("--steps", type=click.IntRange(20, 2000), default=120, show_default=True, help="Steps of each training.")
@clear_errors
def command(name: str | None, listing: bool, steps: int) -> None:
    """Train a small sick network, say what is wrong with it, try what may heal it, and show it healthy again.

    It needs numpy and no framework. NAME is one of those that --list shows; the first of them by default.
    """
    console = Console(width=None if Console().is_terminal else 100, highlight=False)
    if listing:
        for one in DEMONSTRATIONS.values():
            console.print(f"[bold]{one.name:<14}[/] {escape(one.story)}", soft_wrap=True)
        return
    chosen = demonstration(name)
    console.print(f"[bold]{chosen.name}[/]  {escape(chosen.story)}\n")
    with console.status("training"):
        found = courses(chosen, steps)
    show(console, found, steps)


def demonstration(name: str | None) -> Demonstration:
    """The one of that name, or the first. Raises UsageError naming those there are."""
    known = DEMONSTRATIONS
    if name is None:
        return next(iter(known.values()))
    if name not in known:
        raise UsageError(f"demo: no demonstration is called {name!r}; there are {', '.join(known)}")
    return known[name]


def show(console: Console, found: Sequence[Course], steps: int) -> None:
    """Everything, from the illness to the cure."""
    sick, chosen = found[0], best(found[1:])
    columns = [("as it is", sick.gradients)]
    if chosen is not None:
        columns.append((f"with {chosen.name}", chosen.gradients))
    console.print(depth(columns))
    console.print()
    verdicts = sick.report.verdicts
    for line in verdict_lines(verdicts[0], "numpy") if verdicts else ["nothing was found"]:
        console.print(escape(line), style="bold red" if line.startswith("ERROR") else None, soft_wrap=True)
    rest = ", ".join(f"{v.severity} {v.name}" for v in verdicts[1:])
    if rest:
        console.print(f"  and then  {rest}", soft_wrap=True)
    console.print()
    console.print(outcomes(found, steps))
    console.print()
    if chosen is None:
        console.print("None of them heals it.", style="bold red")
        return
    lost = f"{number(sick.before)} -> {number(sick.after)} without, {number(chosen.before)} -> {number(chosen.after)}"
    console.print(f"Healthy again with {escape(chosen.name)}: loss {lost} with it.", style="bold green", soft_wrap=True)


def depth(columns: Sequence[tuple[str, Mapping[str, float]]]) -> Table:
    """The gradient of every layer, as bars whose length is its logarithm, on one scale. The last column is healthy."""
    values = [v for _, column in columns for v in column.values() if v > 0 and math.isfinite(v)]
    low, high = (math.floor(math.log10(min(values))) - 1, math.log10(max(values))) if values else (0, 1)
    sound = sorted(v for v in columns[-1][1].values() if v > 0)
    usual = sound[len(sound) // 2] if sound and len(columns) > 1 else None
    table = Table(title="gradient RMS through depth, logarithmic", title_justify="left", box=None, padding=(0, 1))
    table.add_column("layer")
    for head, _ in columns:
        table.add_column(head, max_width=BAR + 12)
    for layer in columns[0][1]:
        table.add_row(layer, *(bar(column.get(layer, math.nan), low, high, usual) for _, column in columns))
    return table


def bar(value: float, low: float, high: float, usual: float | None) -> Text:
    """One bar with its number, red where it is far from usual."""
    told = f"{number(value):>10} "
    if not math.isfinite(value) or value <= 0:
        return Text(told, style="red")
    length = max(1, round(BAR * (math.log10(value) - low) / max(high - low, 1e-9)))
    far = usual is not None and not usual / FAR < value < usual * FAR
    return Text(told + "█" * length, style="red" if far else "green" if usual is not None else "yellow")


def outcomes(found: Sequence[Course], steps: int) -> Table:
    """What came of each training."""
    table = Table(title=f"{steps} steps each; the loss is that of batches held out", title_justify="left", box=None)
    for head in ("remedy", "loss before", "after", "found"):
        table.add_column(head, justify="right" if head in {"loss before", "after"} else "left")
    for one in found:
        names = [v.name for v in one.report.verdicts]
        told = ", ".join(names[:2]) + (f" and {len(names) - 2} more" if len(names) > 2 else "")
        style = "green" if one.healthy else "red"
        table.add_row(
            escape(one.name) or "none", number(one.before), number(one.after), Text(told or one.report.status, style)
        )
    return table
