"""`gradscope plugins`"""

from __future__ import annotations

import click
from gradscope.plugins import plugins

from gradscope_cli.doors import clear_errors


@click.command(name="plugins", context_settings={"help_option_names": ["-h", "--help"]})
@clear_errors
def command() -> None:
    """List the plugins that are loaded, and those that could not be."""
    loaded = plugins()
    rules = loaded.rules()
    click.echo("plugins     " + ", ".join(loaded.names()))
    for adapter in loaded.adapters():
        state = "installed" if adapter.available() else f"not installed: {adapter.install}"
        click.echo(f"framework   {adapter.name} ({state})")
    click.echo("formats     " + ", ".join(sorted(loaded.reporters())))
    click.echo(f"rules       {len(rules)}: " + ", ".join(f"{r.code} {r.name}" for r in rules))
    for name, why in loaded.failures.items():
        click.echo(f"FAILED      {name}: {why}")
