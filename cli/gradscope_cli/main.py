"""The command group. Commands are loaded when they are called, so that --help costs nothing."""

from __future__ import annotations

from importlib import import_module

import click

COMMANDS = {
    "check": "Run a training program under observation and say what is wrong with it.",
    "remedy": "Try the remedies of its verdicts on a training program, and say which of them help.",
    "replay": "Run a failing step that was saved again, and say where it fails.",
    "demo": "Watch a small network fall ill, be judged and be healed, with numpy alone.",
    "rule": "Explain a rule, or list all of them.",
    "plugins": "List the plugins, frameworks, rules and formats that are loaded.",
}


class Lazy(click.Group):
    """A group whose commands are imported when they are needed."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        """The commands, in the order they are taught."""
        return list(COMMANDS)

    def get_command(self, _ctx: click.Context, name: str) -> click.Command | None:
        """The command of that name."""
        if name not in COMMANDS:
            return None
        command: click.Command = import_module(f"gradscope_cli.{name}").command
        return command

    def format_commands(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of commands, without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="gradscope-diagnostics", prog_name="gradscope")
def main() -> None:
    """Tells you why your training fails.

    \b
    gradscope check train.py                 an ordinary script, unchanged
    gradscope check train.py -- --lr 0.1     with arguments of its own
    gradscope check model.py::Net --input-shape 1,28,28
    """
