"""The fields of a model's description, each checked: whoever wrote it is not trusted."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar

from ferlite.errors import ModelError

# Bound on what is read into memory.
MAX_DESCRIPTION_BYTES = 1 << 20

_Word = TypeVar("_Word", bound=str)


def shows(text: str, longest: int) -> bool:
    """Whether a text can be printed as it is: an escape sequence would command the terminal."""
    return 0 < len(text) <= longest and text.isprintable()


@dataclass(frozen=True, slots=True)
class Facts:
    """One JSON object of a description; reads typed fields and names what is wrong with one."""

    where: str
    values: Mapping[str, Any]
    prefix: str = ""

    @classmethod
    def parse(cls, where: str, text: bytes) -> Facts:
        if len(text) > MAX_DESCRIPTION_BYTES:
            raise ModelError(f"{where}: over {MAX_DESCRIPTION_BYTES >> 20} MiB, no description")
        try:
            values = json.loads(text)
        # RecursionError: brackets nested thousands deep.
        except (ValueError, RecursionError) as error:
            raise ModelError(f"{where}: not valid JSON: {error}") from None
        if not isinstance(values, dict):
            raise ModelError(f"{where}: a JSON object is needed, not {type(values).__name__}")
        return cls(where, values)

    def fail(self, name: str, value: object, wanted: str) -> NoReturn:
        shown = "missing" if value is None else f"{value!r:.80}"
        raise ModelError(f"{self.where}: field {self.prefix}{name} is {shown}; needed: {wanted}")

    def section(self, name: str) -> dict[str, Any]:
        value = self.values.get(name)
        if not isinstance(value, dict):
            self.fail(name, value, "a JSON object")
        return value

    def within(self, name: str) -> Facts:
        return Facts(self.where, self.section(name), f"{self.prefix}{name}.")

    def text(self, name: str, longest: int = 200) -> str:
        value = self.values.get(name)
        if not isinstance(value, str) or not shows(value, longest):
            self.fail(name, value, f"a text of 1 to {longest} printable characters")
        return value

    def choice(self, name: str, *allowed: _Word) -> _Word:
        value = self.values.get(name)
        same = [word for word in allowed if word == value]
        if not same:
            self.fail(name, value, " or ".join(allowed))
        return same[0]

    def number(self, name: str, low: float, high: float) -> float:
        value = self.values.get(name)
        # bool is an int to Python; NaN fails the comparison.
        if isinstance(value, bool) or not isinstance(value, int | float):
            self.fail(name, value, f"a number from {low:g} to {high:g}")
        if not low <= value <= high or not math.isfinite(value):
            self.fail(name, value, f"a number from {low:g} to {high:g}")
        return float(value)

    def integer(self, name: str, low: int, high: int) -> int:
        value = self.values.get(name)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            self.fail(name, value, f"an integer from {low} to {high}")
        return value

    def boolean(self, name: str) -> bool:
        value = self.values.get(name)
        if not isinstance(value, bool):
            self.fail(name, value, "true or false")
        return value

    def strings(self, name: str, longest: int) -> tuple[str, ...]:
        value = self.values.get(name)
        if not isinstance(value, list):
            self.fail(name, value, "a list of texts")
        for item in value:
            if not isinstance(item, str) or not shows(item, longest):
                self.fail(name, item, f"texts of 1 to {longest} printable characters")
        return tuple(value)
