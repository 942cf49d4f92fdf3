"""How the engine's functions become operators of torch.

An operator is what ``torch.compile``, ``torch.export`` and ``torch.jit.trace`` write into a graph:
they see its name and the shapes of its results and not its inside, so that what it does may depend
on values (how many events there are, which weights are zero). ``snnbreg::axonal`` and its like have
gradients: they are an ``autograd.Function``, which calls operators that have none.

``torch.library.register_autograd`` would be shorter, but ``torch.func.grad`` does not know it
(https://github.com/pytorch/pytorch/issues/168393).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ...functional import LIFParameters
from ..select import backward_may_follow
from .lif import Neuron

NEURON = "float leak, float threshold, bool soft, bool detach, bool triangle, float alpha"
"""Arguments of an operator, as ``scalars`` gives them."""
_library = torch.library.Library("snnbreg", "FRAGMENT")


def scalars(neuron: LIFParameters) -> Neuron:
    """The neurons' parameters for the compiled loops, and as arguments of operators."""
    return Neuron(
        float(neuron.leak),
        float(neuron.threshold),
        neuron.reset == "soft",
        bool(neuron.detach_reset),
        neuron.surrogate == "triangle",
        float(neuron.alpha),
    )


def arrays(*tensors: Tensor) -> list[Any]:
    """The tensors as contiguous numpy arrays, detached."""
    return [tensor.detach().contiguous().numpy() for tensor in tensors]


def apply(function: type[torch.autograd.Function], *arguments: Any) -> Any:
    """``function.apply`` of all arguments.

    Outside of ``torch.func`` without the search for arguments that have a default value, which
    took a fifth of a small network's training step.
    """
    if torch._C._are_functorch_transforms_active():
        return function.apply(*arguments)
    plain: Any = super(torch.autograd.Function, function)
    return plain.apply(*arguments)


def run_steps(
    function: type[torch.autograd.Function], steps: Any, tensors: int, arguments: tuple[Any, ...]
) -> Any:
    """All results of a layer's steps, recorded where a backward pass may follow.

    Args:
        function: records them.
        steps: the operator; its last argument says whether what ``function`` saves is wanted.
        tensors: how many arguments, the first ones, may have gradients.
        arguments: of ``function``.
    """
    if backward_may_follow(*arguments[:tensors]):
        return apply(function, *arguments)
    return steps(*arguments, False)


def operator(schema: str, run: Callable[..., Any], fake: Callable[..., Any]) -> Any:
    """An operator without gradients.

    Args:
        schema: name, arguments and results, see ``torch.library.define``.
        run: computes the results, which are new tensors.
        fake: makes empty tensors of the same shapes, strides and types.

    Returns:
        The operator. ``torch.vmap`` calls it once for every entry of the mapped dimension.
    """
    name = schema.partition("(")[0]
    defined = _define(name, schema, run, fake)

    def one_by_one(info: Any, dims: tuple[int | None, ...], *arguments: Any) -> Any:
        pairs = list(zip(arguments, dims, strict=True))
        results = [
            defined(*(x if dim is None else x.select(dim, i) for x, dim in pairs))
            for i in range(info.batch_size)
        ]
        if isinstance(results[0], Tensor):
            return torch.stack(results), 0
        return tuple(map(torch.stack, zip(*results, strict=True))), (0,) * len(results[0])

    torch.library.register_vmap(f"snnbreg::{name}", one_by_one, lib=_library)
    return defined


def differentiable(
    schema: str, run: Callable[..., Any], fake: Callable[..., Any]
) -> Callable[..., Any]:
    """An operator with gradients.

    Args:
        schema: as of ``operator``.
        run: computes the results by an ``autograd.Function``.
        fake: as of ``operator``.

    Returns:
        ``run``, that is the operator where torch writes a graph.
    """
    name = schema.partition("(")[0]

    def in_graph(*arguments: Any) -> Any:
        if torch._C._are_functorch_transforms_active():
            raise RuntimeError(
                "torch.func (grad, vmap, ...) cannot go through a graph with snnbreg's operators. "
                "Leave torch.compile out, or call loss.backward() instead of torch.func."
            )
        return run(*arguments)

    defined = _define(name, schema, in_graph, fake)
    _library.impl(name, in_graph, "Autograd")

    def call(*arguments: Any) -> Any:
        graph = torch.compiler.is_compiling() or torch.jit.is_tracing()
        return (defined if graph else run)(*arguments)

    return call


def of_two(
    name: str, run: Callable[..., Tensor], fake: Callable[..., Tensor], backward: Callable[..., Any]
) -> Callable[..., Any]:
    """An operator with gradients, of events and the kernel that they meet.

    Args:
        name: of the operator; those that compute it and its gradients end in ``_forward`` and
            ``_backward``.
        run: events and kernel to the result.
        fake: makes an empty result.
        backward: gradients of the result, events, kernel, and whether the gradient of each of the
            two is wanted; returns both, empty where not wanted.

    Returns:
        As ``differentiable``.
    """
    two = "Tensor events, Tensor kernel"

    def fake_backward(
        grad: Tensor, events: Tensor, kernel: Tensor, need_events: bool, need_kernel: bool
    ) -> tuple[Tensor, ...]:
        return tuple(
            x.new_empty(x.shape if needed else (0,) * x.ndim)
            for x, needed in ((events, need_events), (kernel, need_kernel))
        )

    forward_operator = operator(f"{name}_forward({two}) -> Tensor", run, fake)
    backward_operator = operator(
        f"{name}_backward(Tensor grad, {two}, bool need_events, bool need_kernel) "
        "-> (Tensor, Tensor)",
        backward,
        fake_backward,
    )

    class OfTwo(torch.autograd.Function):
        generate_vmap_rule = True

        @staticmethod
        def forward(events: Tensor, kernel: Tensor) -> Tensor:
            result: Tensor = forward_operator(events, kernel)
            return result

        @staticmethod
        def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
            ctx.save_for_backward(*inputs)

        @staticmethod
        @once_differentiable
        def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
            need = ctx.needs_input_grad
            found = backward_operator(grad, *ctx.saved_tensors, *need)
            return tuple(x if needed else None for x, needed in zip(found, need, strict=True))

    return differentiable(f"{name}({two}) -> Tensor", lambda *xs: apply(OfTwo, *xs), fake)


def _define(name: str, schema: str, run: Callable[..., Any], fake: Callable[..., Any]) -> Any:
    _library.define(schema, tags=(torch.Tag.pt2_compliant_tag,))
    _library.impl(name, run, "CPU")
    torch.library.register_fake(f"snnbreg::{name}", fake, lib=_library)
    return getattr(torch.ops.snnbreg, name).default
