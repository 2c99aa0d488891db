"""Kinds of option values that several commands take."""

from __future__ import annotations

from typing import Any

import click


class Name(click.Path):
    """A name or path; an empty one, as of an unset shell variable, is no working folder."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not str(value).strip():
            self.fail("it is empty; give a name or path", param, ctx)
        return super().convert(value, param, ctx)
