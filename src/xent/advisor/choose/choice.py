"""The answer to "which loss?": as an object, as text and as JSON."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple

from .cost import Cost
from .facts import FRAMEWORKS, in_words
from .recipe import IMPORTS, LIBRARIES, Array, Avoid, Call, Recipe


class Line(NamedTuple):
    """A line of the printed answer, and what it is."""

    style: Literal["title", "heading", "text", "library", "code", "note"]
    text: str


@dataclass(frozen=True)
class Choice:
    """Which loss, how to call it, why, at what cost, and what not to use.

    Attributes:
        answer: the name of this answer among all.
        title: the problem it answers.
        loss: the function in `xent`.
        calls: by library, the call; its code is None where the library has no such loss, and its note says why.
        arrays: what the names in the calls stand for.
        why: reasons.
        cost: bytes and operations of one forward and backward pass.
        avoid: what not to use, and why.
        also: further losses for the same problem, or what goes with this one.
        remarks: what else the facts say.
        facts: what was given.
        deduced: what the sample arrays told.
        assumed: what was taken for granted, for want of a fact.
    """

    answer: str
    title: str
    loss: str
    calls: Mapping[str, Call]
    arrays: Mapping[str, Array]
    why: tuple[str, ...]
    cost: Cost
    avoid: tuple[Avoid, ...]
    also: tuple[Recipe, ...]
    remarks: tuple[str, ...]
    facts: Mapping[str, Any]
    deduced: tuple[str, ...]
    assumed: Mapping[str, Any]

    def to_json(self) -> str:
        """The choice as a JSON object with the attributes as names."""
        return json.dumps(asdict(self), indent=2, ensure_ascii=False)

    def lines(self, width: int = 80) -> Iterator[Line]:
        """The answer, line by line, none longer than `width` but for code."""

        def item(text: str, style: Literal["text", "note"] = "text") -> Iterator[Line]:
            wrapped = textwrap.wrap(text, width, initial_indent="  • ", subsequent_indent="    ")
            return (Line(style, line) for line in wrapped)

        def part(heading: str, *items: str) -> Iterator[Line]:
            if items:
                yield Line("heading", heading)
                for text in items:
                    yield from item(text)
                yield Line("text", "")

        for line in textwrap.wrap(f"{self.title}: xent.{self.loss}", width):
            yield Line("title", line)
        yield Line("text", "")
        yield from part("From your arrays", *self.deduced)
        yield from part("Given", *_together(self.facts))
        yield from part("Assumed", *_together(self.assumed))
        yield from part("Why", *self.why, *self.remarks)
        yield Line("heading", "The call")
        yield from self._calls(self.calls, width)
        yield from part("Where", *(f"{name}: {array}" for name, array in self.arrays.items()))
        yield from part("What it costs", *self.cost.lines)
        yield from part("What not to use", *(f"{avoid.what}: {avoid.because}" for avoid in self.avoid))
        for recipe in self.also:
            yield Line("heading", f"Also: {recipe.purpose}")
            yield from self._calls(recipe.calls, width)

    def _calls(self, calls: Mapping[str, Call], width: int) -> Iterator[Line]:
        """The calls, xent's first, then that of the framework in use."""
        own = FRAMEWORKS.get(self.facts.get("framework", ""), "xent")
        for library in dict.fromkeys(("xent", own, *LIBRARIES)):
            call = calls[library]
            yield Line("library", f"  {library}" + (f" ({IMPORTS[library]})" if call.code else ": —"))
            if call.code:
                yield from (Line("code", f"    {line}") for line in call.code.splitlines())
            if call.note:
                yield from (Line("note", f"    {line}") for line in textwrap.wrap(call.note, width - 4))
        yield Line("text", "")

    def __str__(self) -> str:
        return "\n".join(line.text.rstrip() for line in self.lines()).rstrip()


def _together(facts: Mapping[str, Any]) -> list[str]:
    """Facts as one item, or none."""
    return [", ".join(in_words(*fact) for fact in facts.items())] if facts else []
