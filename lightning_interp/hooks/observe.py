"""Look at the outputs of layers while a model runs, without keeping them."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from torch import Tensor, nn

from lightning_interp.hooks.replace import replace


@contextmanager
def observe(model: nn.Module, functions: Mapping[str, Callable[[Tensor], None]]) -> Iterator[None]:
    """Show the outputs of layers to functions in the forward passes run inside the context.

    The cheap way to reduce activations to a few numbers: unlike :func:`capture`, nothing is copied or held.

    Args:
        model: any module, wrapped or not.
        functions: layer name -> function of the layer's output ``(N, C, ...)``. It must not change the tensor, and must
            copy what it keeps: later layers may change it in place.

    Raises:
        LayerNotReachedError: a forward pass ran, and one of the layers never took part in it.
        ValueError: a name matches no layer.

    Example:
        >>> import torch
        >>> model, seen = nn.Sequential(nn.Linear(4, 3), nn.ReLU()), []
        >>> with observe(model, {"1": lambda output: seen.append(output.detach().min())}):
        ...     output = model(torch.rand(2, 4))
        >>> bool(seen[0] >= 0)
        True
    """

    def unchanged(look: Callable[[Tensor], None]) -> Callable[[Tensor], Tensor]:
        def show(output: Tensor) -> Tensor:
            look(output)
            return output

        return show

    with replace(model, {name: unchanged(look) for name, look in functions.items()}):
        yield
