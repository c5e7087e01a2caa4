"""Fooling images, adversarial perturbations, what they do inside a network, and how to notice them."""

from lightning_interp.functional.adversarial.attacks import Norm, fgsm, pgd
from lightning_interp.functional.adversarial.change import ActivationChange, ChangedMap, LayerChange
from lightning_interp.functional.adversarial.comparison import compare_activations, equal_noise
from lightning_interp.functional.adversarial.detection import Detection, Squeeze, detection_auc, detection_scores
from lightning_interp.functional.adversarial.fooling import FoolingImages, fooling_images

__all__ = [
    "ActivationChange",
    "ChangedMap",
    "Detection",
    "FoolingImages",
    "LayerChange",
    "Norm",
    "Squeeze",
    "compare_activations",
    "detection_auc",
    "detection_scores",
    "equal_noise",
    "fgsm",
    "fooling_images",
    "pgd",
]
