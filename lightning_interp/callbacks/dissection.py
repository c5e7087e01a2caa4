"""Watch, during training, which concepts the units of a network come to detect."""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from torch import Tensor
from torch.utils.data import Dataset

from lightning_interp._checks import check_choice, check_int, check_number, message
from lightning_interp._lightning import LightningDataModule, LightningModule, Trainer, rank_zero_info
from lightning_interp.callbacks.concept_data import concept_picture, find_concepts, shard_concepts
from lightning_interp.callbacks.logs import log_figure, snapshot_name
from lightning_interp.callbacks.periodic import PeriodicCallback
from lightning_interp.exceptions import MeasurementWarning
from lightning_interp.functional.dissection import (
    Concepts,
    NetworkDissection,
    concept_areas,
    dissected,
    unit_statistics,
)
from lightning_interp.functional.dissection.passes import ConceptBatch, UnitStatistics
from lightning_interp.functional.dissection.regions import UnitRegions, best_units, unit_regions
from lightning_interp.hooks import LayerSpec, evaluating, select_layers
from lightning_interp.metrics.dissection import ConceptIoU, UnitActivations
from lightning_interp.plots.dissection import plot_detector_history, plot_detectors, plot_unit_grid

__all__ = ["NetworkDissectionMonitor"]

_OWN_NAMES = ("epoch", "step", "total", "seconds", "overhead", "bytes")


class NetworkDissectionMonitor(PeriodicCallback):
    """Dissects the network in training every few epochs: how many concepts do its units detect?

    One line in ``Trainer(callbacks=[NetworkDissectionMonitor(concepts)])``. Training is bit-identical with and without
    it. With several processes each takes its share of the images; the result is the same. Logged, and usable in
    ``ModelCheckpoint(monitor=...)``:

    - ``dissection/<category>``, such as ``dissection/color``, ``object``, ``part``, ``texture``, ``scene``: different
      concepts of the category that units of any of the layers detect; ``dissection/total`` of all categories
    - ``dissection/<layer>/<category>`` of each layer alone, on request
    - ``dissection/seconds`` of the last check, ``dissection/overhead`` (measuring / training time so far),
      ``dissection/bytes`` held between checks
    - figures ``dissection/detectors``, ``dissection/units`` (the best units, the images that excite them most and the
      active regions) and, at the end, ``dissection/history``

    Every check writes a row per unit to ``<log_dir>/dissection/epoch_005.csv``, where the Trainer has a logger. The
    last result stays in ``dissection_``.

    Args:
        concepts: A concept dataset, see :func:`lightning_interp.functional.dissection.network_dissection`, its images
            being as the network expects them; or an object with ``concept_dataset``, such as a datamodule; that of the
            Trainer by default.
        layers: Layers to dissect, see :func:`lightning_interp.hooks.select_layers`; the choice is logged.
        every_n_epochs: Dissect at the end of every n-th epoch.
        quantile: Share of positions where a unit counts as active.
        iou_threshold: A unit detects its best concept when their intersection over union is above this.
        n_top: Best images to keep of every unit.
        batch_size: Images per forward pass.
        num_workers: Processes that load images.
        n_pictures: Units in the figure ``dissection/units``; 0 for none.
        table: ``"csv"``, ``"parquet"`` (needs pyarrow), or None for no tables.
        log_per_layer: Log the numbers of each layer too.
        name: First part of the logged names, and folder of the tables.
        **kwargs: What all periodic callbacks take: ``every_n_train_steps``, ``max_overhead``, ``log_figures``; see
            :class:`lightning_interp.callbacks.periodic.PeriodicCallback`.

    Raises:
        ValueError: If a number is out of range.
        ModuleNotFoundError: If parquet is asked for without pyarrow.

    Example:
        >>> from lightning_interp.datasets import ToyConcepts, ToyScenes
        >>> monitor = NetworkDissectionMonitor(ToyConcepts(ToyScenes(600)), every_n_epochs=5)
        >>> monitor.history.empty
        True

    Reference:
        Bau et al., CVPR 2017; survey, section 6 and figure 17.
    """

    def __init__(
        self,
        concepts: Dataset[Any] | LightningDataModule | None = None,
        *,
        layers: LayerSpec = "last_block",
        every_n_epochs: int = 5,
        quantile: float = 0.005,
        iou_threshold: float = 0.04,
        n_top: int = 9,
        batch_size: int = 32,
        num_workers: int = 0,
        n_pictures: int = 8,
        table: Literal["csv", "parquet"] | None = "csv",
        log_per_layer: bool = False,
        name: str = "dissection",
        **kwargs: Any,
    ) -> None:
        super().__init__(name=name, every_n_epochs=every_n_epochs, **kwargs)
        owner = type(self).__name__
        self.concepts, self.layers, self.log_per_layer = concepts, layers, log_per_layer
        self.quantile = check_number(quantile, "quantile", owner, high=1.0)
        self.iou_threshold = check_number(iou_threshold, "iou_threshold", owner, high=1.0)
        self.n_top = check_int(n_top, "n_top", owner)
        self.batch_size = check_int(batch_size, "batch_size", owner)
        self.num_workers = check_int(num_workers, "num_workers", owner, low=0)
        self.n_pictures = check_int(n_pictures, "n_pictures", owner, low=0)
        self.table = None if table is None else check_choice(table, "table", owner, ("csv", "parquet"))
        if table == "parquet" and find_spec("pyarrow") is None:
            raise ModuleNotFoundError(f"`table='parquet'` of {owner} needs pyarrow. Run: pip install pyarrow")
        self.dissection_: NetworkDissection | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Forget an earlier run; a checkpoint being resumed is loaded after this."""
        super().setup(trainer, pl_module, stage)
        if stage == "fit":
            self.dissection_ = None

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the numbers of detectors over the run."""
        super().on_train_end(trainer, pl_module)
        if self.history_ and self.log_figures:
            columns = ["epoch", *self._names.categories, "total"]
            log_figure(trainer, f"{self.name}/history", lambda: plot_detector_history(self.history[columns]))

    def _plan(self, trainer: Trainer, module: LightningModule) -> None:
        """Find dataset and layers, and dissect with one image: what does not work must be told now."""
        self._data = find_concepts(self.concepts, trainer)
        self._names = Concepts.of(self._data.concepts)
        if taken := set(_OWN_NAMES) & set(self._names.categories):
            must = f"about categories named otherwise than {', '.join(_OWN_NAMES)}"
            raise ValueError(message("concepts", type(self).__name__, must, sorted(taken)))
        image = list(self._batches(trainer, module, range(1)))
        with trainer.precision_plugin.forward_context(), evaluating(module):
            layers = select_layers(module, self.layers, example_input=image[0][1])
            trial = unit_statistics(module, image, layers, n_top=1)
            concept_areas(module, image, self._levels(trial), self._names)
        self._sizes = {name: len(part.top.values) for name, part in trial.items()}
        text = f"{len(self._data)} images, {len(self._names.names)} concepts, layers {', '.join(layers)}"
        rank_zero_info(f"{type(self).__name__}: {text}")

    def _measure(self, trainer: Trainer, pl_module: LightningModule, epoch: float) -> None:
        before = self.schedule.measuring_seconds
        found = self._dissect(trainer, pl_module)
        if found is None:
            return
        self.dissection_ = found
        regions = self._regions(trainer, pl_module, found)
        self.schedule.last_seconds = self.schedule.measuring_seconds - before
        counts = {category: float(count) for category, count in found.detected_concepts().items()}
        values = {**counts, "total": sum(counts.values())}
        if self.log_per_layer:
            for layer, row in found.unique_detectors().iterrows():
                values |= {f"{layer}/{category}": float(count) for category, count in row.items()}
        self._record(trainer, pl_module, epoch, values)
        self._write(trainer, found, epoch)
        if self.log_figures:
            log_figure(trainer, f"{self.name}/detectors", lambda: plot_detectors(found))
        if regions:
            log_figure(trainer, f"{self.name}/units", lambda: plot_unit_grid(regions))

    def _dissect(self, trainer: Trainer, module: LightningModule) -> NetworkDissection | None:
        statistics = self._statistics(trainer, module, floors=True)
        if statistics is not None and any(bool(level.isnan().any()) for level in self._levels(statistics).values()):
            statistics = self._statistics(trainer, module, floors=False)
        if statistics is None:
            return None
        levels = self._levels(statistics)

        def update() -> ConceptIoU:
            metric = ConceptIoU(self._names, *self._layers()).to(module.device)
            metric.update(module, self._share(trainer, module), levels)
            return metric

        areas = self._attempt(trainer, update, ConceptIoU.areas)
        return None if areas is None else dissected(statistics, levels, areas, self._names, self.iou_threshold)

    def _statistics(
        self, trainer: Trainer, module: LightningModule, *, floors: bool
    ) -> dict[str, UnitStatistics] | None:
        def update() -> UnitActivations:
            metric = UnitActivations(*self._layers(), n_top=self.n_top, quantile=self.quantile, floors=floors)
            metric.to(module.device).update(module, self._share(trainer, module))
            return metric

        return self._attempt(trainer, update, UnitActivations.statistics)

    def _levels(self, statistics: dict[str, UnitStatistics]) -> dict[str, Tensor]:
        return {name: part.histogram.exceeded(self.quantile) for name, part in statistics.items()}

    def _layers(self) -> tuple[list[str], list[int]]:
        return list(self._sizes), list(self._sizes.values())

    def _share(self, trainer: Trainer, module: LightningModule) -> Iterator[ConceptBatch]:
        """This rank's images."""
        return self._batches(trainer, module, range(trainer.global_rank, len(self._data), trainer.world_size))

    def _batches(self, trainer: Trainer, module: LightningModule, positions: Sequence[int]) -> Iterator[ConceptBatch]:
        options = {"batch_size": self.batch_size, "num_workers": self.num_workers}
        for indices, images, targets in shard_concepts(self._data, positions, **options):
            yield indices, self._converted(images, trainer, module), targets

    def _regions(self, trainer: Trainer, module: LightningModule, found: NetworkDissection) -> list[UnitRegions] | None:
        """What the best units see, where it will be drawn; on all ranks, because a sharded network runs on all."""
        if not (self.log_figures and self.n_pictures and trainer.loggers):
            return None
        units = best_units(found, self.n_pictures)

        def measure() -> list[UnitRegions]:
            return unit_regions(module, self._data, found, units, batch_size=self.batch_size)

        regions = self._attempt(trainer, measure, lambda result: result)
        sources = (self.concepts, self._data)
        return regions and [
            replace(each, images=tuple(concept_picture(image, *sources) for image in each.images)) for each in regions
        ]

    def _write(self, trainer: Trainer, found: NetworkDissection, epoch: float) -> None:
        if self.table is None or not trainer.loggers or vars(trainer)["fast_dev_run"]:
            return
        folder = Path(trainer.log_dir or trainer.default_root_dir) / self.name  # `log_dir` asks all ranks
        if not trainer.is_global_zero:
            return
        path, rows = folder / f"{snapshot_name(trainer, epoch)}.{self.table}", found.to_dataframe()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            rows.to_csv(path, index=False) if self.table == "csv" else rows.to_parquet(path, index=False)
        except OSError as error:
            warnings.warn(f"The table {path} was left out: {error}", MeasurementWarning, stacklevel=2)

    def _held_bytes(self) -> int:
        if self.dissection_ is None:
            return 0
        layers = self.dissection_.layers.values()
        parts = [part for each in layers for part in (each.levels, each.iou, each.top.values, each.top.indices)]
        return sum(part.nbytes for part in parts)
