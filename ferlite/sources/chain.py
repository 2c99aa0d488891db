"""Several inputs, one after another."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from ferlite.errors import SourceError
from ferlite.sources.base import Source, SourceBase, SourceOptions
from ferlite.types import Frame, SourceInfo


@dataclass(frozen=True, slots=True)
class Item:
    """An input that is opened when its turn comes; `info` holds what is known until then."""

    info: SourceInfo
    open: Callable[[], Source]


class Chain(SourceBase):
    """Reads its items in order; one that cannot be opened or read is a frame with `error`."""

    def __init__(self, items: Sequence[Item], options: SourceOptions | None = None) -> None:
        super().__init__(items[0].info, options or SourceOptions())
        self._chained = tuple(items)
        self._current: Source | None = None

    @property
    def items(self) -> int:  # type: ignore[override]
        return len(self._chained)

    @property
    def info(self) -> SourceInfo:
        return self._info if self._current is None else self._current.info

    def close(self) -> None:
        super().close()
        if (current := self._current) is not None:
            current.close()

    def __iter__(self) -> Iterator[Frame]:
        for item in self._chained:
            if self._closed.is_set():
                return
            self._info, self._current = item.info, None
            try:
                source = item.open()
            except SourceError as error:
                yield self.error_frame(str(error))
                continue
            with source:
                self._info, self._current = source.info, source
                if self._closed.is_set():  # while it was being opened
                    return
                index, t = 0, 0.0
                try:
                    for frame in source:
                        index, t = frame.index + 1, frame.t
                        yield frame
                except SourceError as error:  # read, it is opened once more
                    yield self.error_frame(str(error), index, t)
