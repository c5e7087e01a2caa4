"""The inverse set of a neuron: all kinds of images that excite it to a given level."""

from lightning_interp.functional.inverse_set.diversity import mean_pairwise_distance, nearest_images
from lightning_interp.functional.inverse_set.generators import CodeGenerator, as_generator
from lightning_interp.functional.inverse_set.intervals import activation_quantiles
from lightning_interp.functional.inverse_set.langevin import langevin_codes
from lightning_interp.functional.inverse_set.problem import problem
from lightning_interp.functional.inverse_set.result import InverseSet
from lightning_interp.functional.inverse_set.sample import sample_inverse_set

__all__ = [
    "CodeGenerator",
    "InverseSet",
    "activation_quantiles",
    "as_generator",
    "langevin_codes",
    "mean_pairwise_distance",
    "nearest_images",
    "problem",
    "sample_inverse_set",
]
