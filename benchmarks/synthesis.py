"""What synthesised images cost and how good they are, beside torch-lucent, captum and bare loops of torch.

    python -m benchmarks.synthesis [--quick] [--part maximization|deconvnet|inversion] [--side 224] [--device cuda]

- ``maximization``: seconds of activation maximisation over those of the bare steps, ours and torch-lucent's, and the
  activation each reaches.
- ``deconvnet``: seconds over those of the backward passes it needs, ours and captum's, and their difference.
- ``inversion``: errors of features and pixels, layer by layer.

Peers come with ``pip install lightning-interp[bench]``; one that is not there takes no part, and the notes say why.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks import _synthesis_deconvnet as projection
from benchmarks import _synthesis_inversion as inversion
from benchmarks import _synthesis_maximization as maximization
from benchmarks._results import RESULTS, write_results
from benchmarks._synthesis_peers import CAPTUM, LUCENT, SEED, takes_part

PARTS = ("maximization", "deconvnet", "inversion")


@dataclass(frozen=True)
class Preset:
    """Sizes.

    Attributes:
        networks: how many of them.
        steps: of a maximisation.
        batch: units that are maximised together.
        units: that are projected.
        images: onto which.
        repeats: of what is timed; the best counts.
        width: of the network whose layers are inverted.
        scenes: it is trained on.
        epochs: of its training.
        inverted: images.
        inversion_steps: of each inversion.
    """

    networks: int = 5
    steps: int = 32
    batch: int = 16
    units: int = 16
    images: int = 9
    repeats: int = 2
    width: int = 16
    scenes: int = 3000
    epochs: int = 12
    inverted: int = 4
    inversion_steps: int = 400


QUICK = Preset(
    1, steps=8, batch=3, units=3, images=2, repeats=1, width=4, scenes=64, epochs=1, inverted=2, inversion_steps=10
)


def run_maximization(preset: Preset, side: int, device: torch.device, out: Path) -> Path:
    which = maximization.subjects(side)[: preset.networks]
    found = maximization.rows(which, steps=preset.steps, batch=preset.batch, repeats=preset.repeats, device=device)
    notes = (
        f"{_where(device)}, whole calls, the best of {preset.repeats}, in turns. One image per unit, those that a"
        f" start excites most; Fourier spectra, decorrelated colours, no transforms, Adam {maximization.LR}, the same"
        " starts for all. 'Bare': spectra to images, forward to the layer, gradient, Adam, nothing else. lucent:"
        " `render_vis` without enlarging to 224; it always runs the whole network and, unless its user freezes the"
        " weights, computes their gradients too. Activations by one plain forward pass, mean over images: our best"
        f" iterate, lucent's last. {takes_part(LUCENT, device)[1]}"
    )
    return write_results("synthesis", list(found), seeds=[SEED], notes=notes, folder=out)


def run_deconvnet(preset: Preset, side: int, device: torch.device, out: Path) -> Path:
    which = projection.subjects(side)[: preset.networks]
    sizes = {"n_units": preset.units, "n_images": preset.images, "repeats": preset.repeats}
    found = projection.rows(which, **sizes, device=device)
    notes = (
        f"{_where(device)}, untrained weights, toy scenes, the best of {preset.repeats}, in turns. 'Bare': one forward"
        f" pass to the layer and a plain backward pass for each unit. Budget: {projection.BUDGET}. captum:"
        " NeuronDeconvolution from the same positions, a call for each unit; it rectifies the signal at modules of"
        " nn.ReLU only, so that on networks with ReLU as a function it is another method. Difference: the largest of"
        f" a projection over its largest value, the worst of all. {takes_part(CAPTUM, device)[1]}"
    )
    return write_results("synthesis_deconvnet", list(found), seeds=[SEED], notes=notes, folder=out)


def run_inversion(preset: Preset, side: int, device: torch.device, out: Path) -> Path:
    net, accuracy = inversion.trained(width=preset.width, n=preset.scenes, epochs=preset.epochs, device=device)
    found = inversion.rows(net, n_images=preset.inverted, steps=preset.inversion_steps, device=device)
    notes = (
        f"CIFAR10CNN(width={preset.width}), {preset.epochs} epochs on {preset.scenes} toy scenes, test accuracy"
        f" {accuracy:.0%}. {preset.inverted} test images, defaults of `invert`. Errors are relative, means over images;"
        f" a pixel error of 1 is a grey image. Asked of the first layer: a feature error below {inversion.TARGET}."
    )
    return write_results("synthesis_inversion", list(found), seeds=[SEED], notes=notes, folder=out)


def _where(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU time"


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=PARTS, help="all by default")
    parser.add_argument("--quick", action="store_true", help="one small network, a few steps")
    parser.add_argument("--side", type=int, default=112, help="of the images of ImageNet's networks")
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"))
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    work = dict(zip(PARTS, (run_maximization, run_deconvnet, run_inversion), strict=True))
    for part in [args.part] if args.part else PARTS:
        path = work[part](QUICK if args.quick else Preset(), args.side, args.device, args.out)
        print(path.read_text(), flush=True)


if __name__ == "__main__":
    main()
