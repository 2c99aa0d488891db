"""Everything ferlite raises on purpose.

FerliteError
├── UsageError      a wrong argument or option; exit status 2 on the command line
├── SourceError     an input that cannot be opened or read
├── ModelError      a model file that is missing, damaged, or not what it claims to be
├── ProviderError   an execution provider asked for by name that does not work here
├── SinkError       an output that cannot be written
└── DataError       training data that is missing or unusable
"""


class FerliteError(Exception):
    """Base of all errors that ferlite raises on purpose; the message is one line for a person."""


class UsageError(FerliteError, ValueError):
    """A wrong argument or option."""


class SourceError(FerliteError):
    """An input that cannot be opened or read."""


class ModelError(FerliteError):
    """A model file that is missing, damaged, or not what it claims to be."""


class ProviderError(FerliteError):
    """An execution provider asked for by name that does not work on this machine."""


class SinkError(FerliteError):
    """An output that cannot be written."""


class DataError(FerliteError):
    """Training data that is missing or unusable."""
