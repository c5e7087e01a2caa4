"""Interpretability inside training: callbacks for PyTorch Lightning, and the same maths as plain functions.

Import what you need from the room it lives in: ``lightning_interp.callbacks``, ``.functional``, ``.hooks``,
``.metrics``, ``.datamodules``, ``.models``, ``.modules`` or ``.plots``.
"""

__version__ = "0.1.0"
