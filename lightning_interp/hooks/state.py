"""Borrow a model and put everything back: training flags, random states, compiled forwards."""

import random
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn

from lightning_interp._checks import check_int


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluate without gradients; the training flag of every single module comes back, after exceptions too.

    Uses ``no_grad`` and not ``inference_mode``: inference tensors could never be used in a backward pass afterwards,
    and a model may keep some (caches, buffers made on the first call).

    Args:
        model: any module; frozen batch norms (``eval`` inside a training model) stay frozen afterwards.

    Example:
        >>> model = torch.nn.Sequential(torch.nn.Dropout(), torch.nn.BatchNorm1d(2).eval())
        >>> with evaluating(model):
        ...     model.training, torch.is_grad_enabled()
        (False, False)
        >>> [module.training for module in model.modules()]
        [True, True, False]
    """
    flags = [(module, module.training) for module in model.modules()]
    try:
        model.eval()
        with torch.no_grad():
            yield
    finally:
        for module, flag in flags:
            module.training = flag


@contextmanager
def differentiable(model: nn.Module) -> Iterator[None]:
    """Evaluate with gradients for the input alone: eval mode, parameters constant; all flags come back.

    Works on frozen models and inside ``no_grad`` and ``inference_mode``.

    Args:
        model: any module whose parameters are ordinary tensors.

    Raises:
        RuntimeError: a parameter or buffer was made in ``torch.inference_mode()``: nothing can be differentiated then.

    Example:
        >>> model = torch.nn.Linear(2, 1)
        >>> image = torch.ones(1, 2, requires_grad=True)
        >>> with torch.no_grad(), differentiable(model):
        ...     model(image).sum().backward()
        >>> torch.equal(image.grad, model.weight), model.weight.grad, model.weight.requires_grad
        (True, None, True)
    """
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if tensor.is_inference():
            raise RuntimeError(
                f"The model cannot be differentiated: {name!r} was made in torch.inference_mode(). "
                "Build or load the model outside of it, or use copy.deepcopy(model) outside of it."
            )
    wanted = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    with torch.inference_mode(False), evaluating(model):
        try:
            for parameter, _ in wanted:
                parameter.requires_grad_(False)
            with torch.enable_grad():
                yield
        finally:
            for parameter, flag in wanted:
                parameter.requires_grad_(flag)


@contextmanager
def preserved_rng(seed: int | None = None) -> Iterator[None]:
    """Give back the global random states of Python, NumPy, torch and all CUDA devices as they were.

    CUDA is left alone while it is not initialised: asking for its state would start it.

    Args:
        seed: when given, seeds all of them inside the context.

    Raises:
        ValueError: ``seed`` is not in ``[0, 2**32)``.
        TypeError: ``seed`` is not an int.

    Example:
        >>> state = torch.get_rng_state()
        >>> with preserved_rng(seed=0):
        ...     noise = torch.rand(3)
        >>> torch.equal(torch.get_rng_state(), state)
        True
    """
    cuda = torch.cuda.is_initialized()
    # The legacy NumPy generator is the one user code may draw from, hence the one to protect.
    python, numpy, cpu = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    gpus = torch.cuda.get_rng_state_all() if cuda else []
    try:
        if seed is not None:
            _seed_all(check_int(seed, "seed", "preserved_rng", low=0, high=2**32 - 1), cuda=cuda)
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002
        torch.set_rng_state(cpu)
        if cuda:
            torch.cuda.set_rng_state_all(gpus)


def _seed_all(seed: int, *, cuda: bool) -> None:
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    # Not torch.manual_seed: it would queue a CUDA seed that acts long after the context.
    torch.default_generator.manual_seed(seed)
    if cuda:
        torch.cuda.manual_seed_all(seed)


@contextmanager
def eager(model: nn.Module) -> Iterator[None]:
    """Run what ``torch.compile`` compiled as plain Python: compiled code ignores hooks set after its first run."""
    with ExitStack() as stack:
        if "torch._dynamo" in sys.modules:  # else nothing is compiled, and importing it takes seconds
            if hasattr(torch.compiler, "set_stance"):
                stack.enter_context(torch.compiler.set_stance("force_eager"))
            else:
                stack.enter_context(_originals(model))
        yield


@contextmanager
def _originals(model: nn.Module) -> Iterator[None]:
    # torch < 2.6 has no stance: put the original callables back for a while.
    swapped: list[tuple[dict[str, Any], str, Any]] = []
    for module in model.modules():
        compiled = [key for key, value in vars(module).items() if hasattr(value, "_torchdynamo_orig_callable")]
        swapped += [(vars(module), key, vars(module)[key]) for key in compiled]
    try:
        for attributes, key, value in swapped:
            # In place (`module.compile()`), the absence of this attribute means "not compiled".
            attributes[key] = None if key == "_compiled_call_impl" else value._torchdynamo_orig_callable
        yield
    finally:
        for attributes, key, value in swapped:
            attributes[key] = value
