"""`xent choose`: which loss, from facts on the command line, from sample arrays, or by a few questions."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.prompt import Prompt
from rich.syntax import Syntax
from rich.text import Text

from ..advisor.choose import Choice, decided
from ..advisor.choose.deduce import Deduced, deduce
from ..advisor.choose.facts import DTYPES, FRAMEWORKS, KNOWLEDGE, TASKS, Facts, facts_of, in_words
from ..advisor.choose.tree import assume
from ..advisor.files import EXTENSIONS, read_arrays
from ..errors import value_error
from ..labels import Positives
from .refusal import refuse

# What labels are called on the command line, and the facts that this says.
LABELS: dict[str, dict[str, bool]] = {
    "index": {"exclusive": True, "soft": False},
    "soft": {"exclusive": True, "soft": True},
    "multi": {"exclusive": False},
    "signed": {"signed": True},
}
WIDTH = 80
STYLES = {"title": "bold", "heading": "bold cyan", "library": "bold", "note": "dim", "text": "", "code": ""}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `xent choose` to a parser.

    Example:
        >>> import argparse
        >>> from xent.cli import choose
        >>> parser = argparse.ArgumentParser()
        >>> choose.add_arguments(parser)
        >>> parser.parse_args(["--classes", "50,000", "--memory", "8GB"]).memory
        8000000000
    """
    tasks = "; ".join(f"{name}: {meaning}" for name, meaning in TASKS.items())
    _add(parser, "task", f"what the model is to do. {tasks} (default: classification)", metavar="TASK")
    _add(parser, "classes", "how many classes there are; 1 or 2 for a yes or no")
    parser.add_argument(
        "--labels",
        choices=LABELS,
        help="index: the number of the one right class; soft: a probability for each class; multi: several classes may "
        "be right; signed: -1 and 1",
    )
    parser.add_argument(
        "--probabilities",
        action="store_const",
        const=True,
        help="the model gives probabilities, and its logits cannot be had",
    )
    _add(parser, "imbalance", "how many times as frequent the most frequent class is as the rarest", metavar="RATIO")
    _add(parser, "rows", "rows in a batch: examples, tokens or pixels")
    _add(parser, "width", "the hidden size, the width of the input of the output layer")
    _add(parser, "memory", "what is free for the loss: 8GB, 500MiB", metavar="BYTES")
    _add(parser, "dtype", f"of the logits: {', '.join(DTYPES)} (default: float32)", metavar="DTYPE")
    _add(parser, "framework", f"whose call is shown next to xent's: {', '.join(FRAMEWORKS)}", metavar="NAME")
    parser.add_argument(
        "--file",
        type=Path,
        metavar="FILE",
        help=f"sample arrays called labels, logits or both: {', '.join(EXTENSIONS)}",
    )
    parser.add_argument("--json", action="store_true", help="print the answer as JSON")


def run(namespace: argparse.Namespace) -> int:
    """Prints which loss the facts ask for; asks for them on a terminal where there are none.

    Args:
        namespace: what a parser with `add_arguments` returned.

    Returns:
        The exit status: 0, or 2 if there is nothing to decide from.
    """
    try:
        choice = _choice(namespace)
    except EOFError:
        return refuse("choose", "the questions ended before the answer")
    except (OSError, TypeError, ValueError, IndexError, MemoryError) as error:
        return refuse("choose", error)
    if namespace.json:
        print(choice.to_json())
    else:
        show(choice, Console(highlight=False))
    return 0


def show(choice: Choice, console: Console) -> None:
    """Prints a choice, in colour on a terminal."""
    highlighter = Syntax("", "python", theme="ansi_dark")
    for style, text in choice.lines(min(WIDTH, console.width)):
        line = highlighter.highlight(text) if style == "code" and console.is_terminal else Text(text, STYLES[style])
        line.rstrip()
        console.print(line, soft_wrap=True)


def _add(parser: argparse.ArgumentParser, name: str, meaning: str, metavar: str = "N") -> None:
    parser.add_argument(f"--{name}", type=_reader(name), metavar=metavar, help=meaning)


def _reader(name: str) -> Callable[[str], Any]:
    """How argparse reads a fact."""

    def read(text: str) -> Any:
        try:
            return KNOWLEDGE[name].read(name, text)
        except (TypeError, ValueError) as error:
            # the parser ends the sentence
            raise argparse.ArgumentTypeError(str(error).partition(": ")[2].removesuffix(".")) from None

    return read


def _choice(namespace: argparse.Namespace) -> Choice:
    """The choice that the options ask for.

    Raises:
        ValueError: no facts and nobody to ask, facts and arrays that do not fit, or a file that cannot be used.
    """
    named = {name: getattr(namespace, name, None) for name in KNOWLEDGE}
    given = facts_of(**{**named, **LABELS.get(namespace.labels, {})})
    if namespace.file is not None:
        return decided(given, _told_by(namespace.file))
    if given.decides():
        return decided(given, Deduced({}, ()))
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        remedy = "Say for example --classes 10 --labels index, name a --file, or run it in a terminal, where it asks."
        raise value_error("facts", "at least one option", "none", remedy)
    console = Console(highlight=False, stderr=True)
    console.print("Which loss? Enter takes the answer in brackets.\n")
    if given.framework is None:
        given = replace(given, framework=ask("framework", given, console))
    return decided(given, Deduced({}, ()), lambda name, facts: ask(name, facts, console))


def ask(name: str, facts: Facts, console: Console) -> Any:
    """Asks for one fact until the answer is one that it can have."""
    fact, default = KNOWLEDGE[name], assume(name, facts)
    console.print(Text(fact.question, "bold"))
    console.print(Text(fact.meaning, "dim"))
    choices = {"task": TASKS, "framework": FRAMEWORKS}.get(name, {})
    for number, (choice, meaning) in enumerate(choices.items(), 1):
        console.print(Text(f"  {number} {choice:<15} {meaning}"), soft_wrap=True)
    shown = in_words(name, default).partition(": ")[2]
    while True:
        answer = Prompt.ask("  answer", default=shown, console=console).strip()
        if answer == shown:
            console.print()
            return default
        if answer.isdecimal() and 1 <= int(answer) <= len(choices):
            answer = list(choices)[int(answer) - 1]
        try:
            value = fact.read(name, answer)
        except (TypeError, ValueError) as error:
            console.print(Text(f"  {error}", "red"))
        else:
            console.print()
            return value


def _told_by(path: Path) -> Deduced:
    """The facts that the arrays of a file tell.

    Raises:
        ValueError: a file that cannot be used, or arrays that do not belong together.
    """
    arrays = read_arrays(path, required=())
    stored, logits = arrays.get("labels"), arrays.get("logits")
    labels: Any = None if stored is None else np.asarray(stored)
    if stored is not None and stored.padded:
        labels = Positives(labels)
    told = deduce(labels, None if logits is None else np.asarray(logits))
    if logits is not None and logits.stored_dtype in DTYPES:
        told.facts["dtype"] = logits.stored_dtype  # bfloat16 is read as float32
    return told
