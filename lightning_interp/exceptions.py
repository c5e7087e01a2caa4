"""Exceptions and warnings a caller may want to catch.

The tree::

    Exception
    +-- ValueError            a wrong value: unknown layer, k out of range, negative activations
    |   +-- NegativeActivationsError
    +-- TypeError             a wrong type
    +-- RuntimeError          calls in the wrong order: a captured layer that never ran
    |   +-- LayerNotReachedError
    |   +-- DatasetNotFoundError
    +-- UserWarning
        +-- ConvergenceWarning
        +-- MeasurementWarning
"""


class NegativeActivationsError(ValueError):
    """A non-negative factorisation was asked for, and the matrix has negative entries."""


class LayerNotReachedError(RuntimeError):
    """A hooked layer did not run in the forward pass."""


class DatasetNotFoundError(RuntimeError):
    """The files of a dataset are missing or damaged; the message says what was looked for, where, and the ways out."""


class ConvergenceWarning(UserWarning):
    """An iterative solver reached ``max_iter`` before its tolerance."""


class MeasurementWarning(UserWarning):
    """A callback could not measure, draw or log something and went on without it."""
