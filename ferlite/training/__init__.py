"""From pictures with labels to a model folder. Imports the runtime, never the reverse."""

from __future__ import annotations

import os
from importlib.util import find_spec

from ferlite.errors import FerliteError

INSTALL = "pip install 'ferlite[train,quantize]'"
_BACKENDS = ("tensorflow", "jax", "torch")


def require(*modules: str) -> None:
    """FerliteError with the remedy when a package of the training extras is missing."""
    missing = [name for name in modules if find_spec(name) is None]
    if missing:
        raise FerliteError(f"{', '.join(missing)} not installed; {INSTALL}")


def require_keras() -> None:
    """Check for Keras and a backend, choose the one there is, and keep its start-up quiet.

    TensorFlow unless KERAS_BACKEND says otherwise or only JAX is installed.
    """
    require("keras")
    if backend := os.environ.get("KERAS_BACKEND"):
        if backend not in _BACKENDS:
            raise FerliteError(
                f"KERAS_BACKEND={backend} is none of {', '.join(_BACKENDS)}; unset it"
            )
        if find_spec(backend) is None:
            raise FerliteError(
                f"KERAS_BACKEND={backend} is not installed; install it, or unset that"
            )
    elif find_spec("tensorflow") is None:
        os.environ["KERAS_BACKEND"] = "jax"
        if find_spec("jax") is None:
            raise FerliteError(f"Keras has no backend here; {INSTALL}")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
