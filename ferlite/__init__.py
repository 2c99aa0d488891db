"""ferlite reads facial emotion from video on small CPUs.

The public names are loaded on first use, so that `import ferlite` costs nothing.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

# Builds of ONNX Runtime report to their maker which networks run where, unless they are told not
# to before they start. Who wants that sets it to 0.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

if TYPE_CHECKING:
    from ferlite.analyzer import Analyzer
    from ferlite.errors import (
        DataError,
        FerliteError,
        ModelError,
        ProviderError,
        SinkError,
        SourceError,
        UsageError,
    )
    from ferlite.types import Emotion, Face, Frame, FrameResult, SourceInfo

__version__ = "0.1.0"

_HOMES = {
    "Analyzer": "ferlite.analyzer",
    "Emotion": "ferlite.types",
    "Face": "ferlite.types",
    "Frame": "ferlite.types",
    "FrameResult": "ferlite.types",
    "SourceInfo": "ferlite.types",
    "DataError": "ferlite.errors",
    "FerliteError": "ferlite.errors",
    "ModelError": "ferlite.errors",
    "ProviderError": "ferlite.errors",
    "SinkError": "ferlite.errors",
    "SourceError": "ferlite.errors",
    "UsageError": "ferlite.errors",
}

__all__ = [
    "Analyzer",
    "DataError",
    "Emotion",
    "Face",
    "FerliteError",
    "Frame",
    "FrameResult",
    "ModelError",
    "ProviderError",
    "SinkError",
    "SourceError",
    "SourceInfo",
    "UsageError",
    "__version__",
]


# A type checker that saw it would take every misspelt name for one that exists.
if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        if name in _HOMES:
            from importlib import import_module

            return getattr(import_module(_HOMES[name]), name)
        raise AttributeError(f"module 'ferlite' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
