"""torchmetrics shells over the functions: they hold the state and reduce it over ranks."""

from lightning_interp.metrics.compression import CompressionAUC

__all__ = ["CompressionAUC"]
