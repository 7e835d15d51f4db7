"""`gradscope rule [CODE|NAME]`"""

from __future__ import annotations

import click
from gradscope.plugins import plugins

from gradscope_cli.doors import clear_errors


@click.command(name="rule", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("key", required=False)
@clear_errors
def command(key: str | None) -> None:
    """Explain the rule with this code or name; without one, list all rules."""
    if key is None:
        for rule in plugins().rules():
            click.echo(f"{rule.code}  {rule.name:<22} {rule.summary}")
        return
    rule = plugins().rule(key)
    click.echo(f"{rule.code} {rule.name}\n\n{rule.documentation}")
    if rule.thresholds:
        click.echo("\nSet with [tool.gradscope.rules." + rule.code + "] or --set:")
        for name, value in rule.thresholds.items():
            click.echo(f"  {rule.code}.{name} = {value}")
    if rule.explains:
        click.echo("\nExplains: " + ", ".join(rule.explains))
    if rule.plugin != "gradscope":
        click.echo(f"\nFrom plugin {rule.plugin}")
