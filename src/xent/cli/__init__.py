"""The command line: `xent` with the name of one of `COMMANDS`, or `--version`.

A command is a module with `add_arguments(parser)` and `run(namespace) -> exit status`. It is imported when it is
chosen, so that no command needs what another one needs.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from .. import __version__

if TYPE_CHECKING:
    from _typeshed import SupportsWrite


class Command(NamedTuple):
    """Where a command lives, what it does, and the extra of the package that brings what it imports."""

    module: str
    purpose: str
    extra: str


COMMANDS = {
    "demo": Command("xent.demo", "train small models with the losses; print the results and write plots", "demo"),
    "bench": Command("xent.bench", "time and check the losses on this machine", "bench"),
    "choose": Command(
        "xent.cli.choose", "say which loss a problem needs, from a few facts or sample arrays", "advisor"
    ),
    "check": Command("xent.cli.check", "find out what is wrong with a loss, from its logits and labels", "advisor"),
    "report": Command(
        "xent.cli.report", "write a page on what logits are worth: loss, calibration, findings", "advisor"
    ),
    "lint": Command("xent.cli.lint", "find what is wrong with losses in source code and notebooks", "advisor"),
}


class OneLineParser(argparse.ArgumentParser):
    """A parser that reports a mistake in one line, without repeating the usage."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}. See {self.prog} --help.\n")

    def _print_message(self, message: str, file: SupportsWrite[str] | None = None) -> None:
        (file or sys.stderr).write(message)  # argparse's own keeps silent where that fails


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command that `argv` names (by default, the arguments of this process).

    Returns:
        The exit status: 0 done, 1 the command failed, 2 the arguments or the installation do not fit or the
        output cannot be written, 130 interrupted.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that cannot show a sign shows another one
    arguments = sys.argv[1:] if argv is None else list(argv)
    try:
        status = _run_to_its_status(arguments)
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read the output has seen enough
        _drop_output()
        return 1
    except OSError as error:
        _drop_output()
        chosen = _chosen(arguments)
        place = error.filename or "cannot write the output"
        command = f"xent {chosen}" if chosen in COMMANDS else "xent"
        print(f"{command}: {place}: {error.strerror or error}", file=sys.stderr)
        return 2
    return status


def _run_to_its_status(arguments: list[str]) -> int:
    try:
        return _run(arguments)
    except SystemExit as stop:  # argparse has printed the help, the version or an error
        return stop.code if isinstance(stop.code, int) else 0
    except KeyboardInterrupt:
        return 130


def _drop_output() -> None:
    """Sends what standard output still holds nowhere, so that Python does not fail on it once more at the end."""
    with suppress(OSError, ValueError):  # a stream that stands in for it may have no descriptor
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _chosen(arguments: list[str]) -> str | None:
    """The command: the first word without a dash, since the options of xent itself take no value."""
    return next((word for word in arguments if not word.startswith("-")), None)


def _run(arguments: list[str]) -> int:
    parser = OneLineParser(prog="xent", description="Cross-entropy losses and their gradients.")
    parser.add_argument("--version", action="version", version=f"xent {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    parsers = {name: commands.add_parser(name, help=c.purpose, description=c.purpose) for name, c in COMMANDS.items()}

    chosen = _chosen(arguments)
    try:
        if chosen in COMMANDS:
            import_module(COMMANDS[chosen].module).add_arguments(parsers[chosen])
        namespace = parser.parse_args(arguments)
        return int(import_module(COMMANDS[namespace.command].module).run(namespace))
    except ModuleNotFoundError as error:
        package = (error.name or "xent").split(".")[0]
        if chosen not in COMMANDS or package == "xent":
            raise
        print(
            f"xent {chosen}: the Python package {package!r} is not installed. "
            f'Run: pip install "xent[{COMMANDS[chosen].extra}]"',
            file=sys.stderr,
        )
        return 2
