"""The command `audit`."""

import importlib
import sys
import traceback

import click

from audit import __version__
from audit.core.errors import AuditError

COMMANDS = {
    "init": "init",
    "validate": "validate",
    "lock": "lock",
    "run": "run",
    "render": "render",
    "diff": "diff",
    "verify": "verify",
    "sign": "sign",
    "list": "list_kinds",
    "explain": "explain",
    "schema": "schema",
    "doctor": "doctor",
}
"""Command to the module of this folder that defines it as `command`, in the order of the help text."""


class Commands(click.Group):
    """Commands that are imported when they are asked for, so that help is quick."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All commands, in the order in which they are used."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"audit.cli.{COMMANDS[cmd_name]}")
        command: click.Command = module.command
        return command


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="audit (auditspec)")
def group() -> None:
    """One YAML file to a model audit that can be read, checked and recomputed.

    Start with `audit init german --example german_credit`, then `audit run german/spec.yaml`.
    """


def main() -> None:
    """Runs the command line; errors of the user end in one message each and no traceback."""
    try:
        code = group(standalone_mode=False)
    except AuditError as error:
        from audit.report.text import line

        for problem in error.problems:  # which may name what stands in a foreign file
            sys.stderr.write(f"{line(problem)}\n")
        code = error.exit_code
    except click.ClickException as error:
        error.show()
        code = 2
    except (click.Abort, KeyboardInterrupt) as error:
        if isinstance(error.__cause__, EOFError):  # which click takes for a person who leaves
            traceback.print_exception(error.__cause__)
            sys.exit(3)
        sys.stderr.write("interrupted; run the same command again to go on\n")
        code = 130
    except Exception:  # noqa: BLE001 - a fault of ours: all is shown, under a code that no verdict has
        traceback.print_exc()
        code = 3
    sys.exit(code if isinstance(code, int) else 0)
