"""Kinds of option values that several commands take."""

from __future__ import annotations

from typing import Any

import click

from ferlite.bundles import LARGEST_SIZE, SMALLEST_SIZE


class Name(click.Path):
    """A name or path; an empty one, as of an unset shell variable, is no working folder."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not str(value).strip():
            self.fail("it is empty; give a name or path", param, ctx)
        return super().convert(value, param, ctx)


class Size(click.IntRange):
    """Pixels of the longest side that a detector searches, or "auto"."""

    def __init__(self) -> None:
        super().__init__(SMALLEST_SIZE, LARGEST_SIZE)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "auto":
            return value
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter:
            wanted = f"use auto, or pixels from {SMALLEST_SIZE} to {LARGEST_SIZE}"
            self.fail(f"{value!r}; {wanted}", param, ctx)
