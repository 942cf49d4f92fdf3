"""SIMD vectors of ``LANES`` numbers as values inside numba code.

The engine stores ``LANES`` samples of a batch next to each other and treats them as one value.
LLVM maps such a vector to the registers of the processor (one AVX-512 register of float32, two of
AVX2, four of NEON), so that the speed does not depend on automatic vectorisation of loops.

``+ - * /`` work between vectors of one type and between a vector and a scalar; a product that is
added becomes a fused multiply-add if the processor has one.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.core.datamodel import models
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import lower_builtin, register_model

from .compile import intrinsic

LANES = 16
"""Samples per vector; also rows and columns of the blocks of ``transpose`` and ``product``."""


class LanesType(types.Type):
    """Numba's type of a vector of ``LANES`` numbers."""

    def __init__(self, dtype: types.Type) -> None:
        self.dtype = dtype
        super().__init__(name=f"Lanes({dtype})")


@register_model(LanesType)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, dmm: Any, fe_type: LanesType) -> None:
        element = dmm.lookup(fe_type.dtype).get_value_type()
        super().__init__(dmm, fe_type, ir.VectorType(element, LANES))


def _broadcast(builder: Any, value: Any) -> Any:
    """A vector with the scalar in every lane; a vector is returned unchanged."""
    if isinstance(value.type, ir.VectorType):
        return value
    empty = ir.Constant(ir.VectorType(value.type, LANES), ir.Undefined)
    first = builder.insert_element(empty, value, ir.IntType(32)(0))
    return builder.shuffle_vector(first, empty, _indices([0] * LANES))


def _indices(values: list[int]) -> Any:
    return ir.Constant(ir.VectorType(ir.IntType(32), len(values)), values)


def _number(context: Any, builder: Any, value: Any, found: types.Type, dtype: types.Type) -> Any:
    """An operand as a vector of ``dtype``."""
    if not isinstance(found, LanesType) and found != dtype:
        value = context.cast(builder, value, found, dtype)
    return _broadcast(builder, value)


def _define_operator(op: Callable[..., Any], instruction: str) -> None:
    """Define ``op`` for two vectors, and for a vector and a scalar."""

    class Template(AbstractTemplate):
        key = op

        def generic(self, args: Any, kws: Any) -> Any:
            vectors = [arg for arg in args if isinstance(arg, LanesType)]
            scalars = [arg for arg in args if isinstance(arg, types.Number)]
            if kws or not vectors or len(vectors) + len(scalars) != 2:
                return None
            return signature(vectors[0], *map(types.unliteral, args))

    infer_global(op)(Template)

    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        pair = [
            _number(context, builder, value, found, sig.return_type.dtype)
            for value, found in zip(args, sig.args, strict=True)
        ]
        return getattr(builder, instruction)(*pair, flags=("contract",))

    for pair in (
        (LanesType, LanesType),
        (LanesType, types.Number),
        (types.Number, LanesType),
    ):
        lower_builtin(op, *pair)(lower)


_define_operator(operator.add, "fadd")
_define_operator(operator.sub, "fsub")
_define_operator(operator.mul, "fmul")
_define_operator(operator.truediv, "fdiv")


def _data(context: Any, builder: Any, array_type: Any, array: Any, index: Any) -> Any:
    """Pointer to a vector that starts at an element of a C-contiguous array."""
    data = context.make_array(array_type)(context, builder, array).data
    element = context.get_value_type(array_type.dtype)
    pointer = builder.gep(data, [index])
    return builder.bitcast(pointer, ir.VectorType(element, LANES).as_pointer())


def _bytes(context: Any, array_type: Any) -> int:
    return context.get_abi_sizeof(context.get_value_type(array_type.dtype))


@intrinsic
def load(typing: Any, array: Any, index: Any) -> Any:
    """``LANES`` numbers from a contiguous array, starting at the flat index."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        pointer = _data(context, builder, sig.args[0], *args)
        return builder.load(pointer, align=_bytes(context, sig.args[0]))

    return LanesType(array.dtype)(array, types.intp), generate


@intrinsic
def store(typing: Any, array: Any, index: Any, value: Any) -> Any:
    """Write a vector to a contiguous array at the flat index, as bytes if it holds bytes."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        array, index, value = args
        element = context.get_value_type(sig.args[0].dtype)
        if isinstance(element, ir.IntType):
            value = builder.fptoui(value, ir.VectorType(element, LANES))
        pointer = _data(context, builder, sig.args[0], array, index)
        builder.store(value, pointer, align=_bytes(context, sig.args[0]))
        return context.get_dummy_value()

    return types.none(array, types.intp, value), generate


@intrinsic
def prefetch(typing: Any, array: Any, index: Any) -> Any:
    """Ask for a vector that will soon be loaded; the index may lie outside of the array."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        i32, pointer = ir.IntType(32), ir.IntType(8).as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [pointer, i32, i32, i32])
        function = builder.module.declare_intrinsic("llvm.prefetch", [pointer], kind)
        place = builder.bitcast(_data(context, builder, sig.args[0], *args), pointer)
        builder.call(function, [place, i32(0), i32(3), i32(1)])  # to read, into all caches, data
        return context.get_dummy_value()

    return types.none(array, types.intp), generate


@intrinsic
def load_where(typing: Any, array: Any, index: Any, valid: Any, like: Any) -> Any:
    """As ``load_as`` if ``valid``, otherwise zeros; without a branch.

    Where a loop has branches, numba may count references to its arrays in every turn, which waits
    each time for all that is being written.
    """

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        array, index, valid, _ = args
        index = builder.select(valid, index, ir.Constant(index.type, 0))
        value = _converted(context, builder, sig.args[0], sig.args[3], array, index)
        return builder.select(valid, value, ir.Constant(value.type, None))

    return LanesType(like)(array, types.intp, types.boolean, like), generate


@intrinsic
def load_as(typing: Any, array: Any, index: Any, like: Any) -> Any:
    """As ``load``, converted to the type of the scalar ``like``."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _converted(context, builder, sig.args[0], sig.args[2], *args[:2])

    return LanesType(like)(array, types.intp, like), generate


def _converted(
    context: Any, builder: Any, array: types.Array, like: types.Type, data: Any, index: Any
) -> Any:
    """Load a vector and convert its numbers."""
    pointer = _data(context, builder, array, data, index)
    value = builder.load(pointer, align=_bytes(context, array))
    wanted = ir.VectorType(context.get_value_type(like), LANES)
    if isinstance(value.type.element, ir.IntType):
        return builder.uitofp(value, wanted)
    return builder.fpext(value, wanted) if value.type != wanted else value


@intrinsic
def narrow(typing: Any, value: Any, like: Any) -> Any:
    """A vector of float64, rounded to the type of the scalar ``like``."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        wanted = ir.VectorType(context.get_value_type(sig.args[1]), LANES)
        return builder.fptrunc(args[0], wanted) if args[0].type != wanted else args[0]

    return LanesType(like)(value, like), generate


@intrinsic
def broadcast(typing: Any, value: Any) -> Any:
    """A vector with the scalar in every lane."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _broadcast(builder, args[0])

    return LanesType(value)(value), generate


@intrinsic
def heaviside(typing: Any, value: Any, threshold: Any) -> Any:
    """1 where the vector is at least the scalar threshold, else 0."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        vector = args[0]
        limit = _number(context, builder, args[1], sig.args[1], sig.args[0].dtype)
        one = ir.Constant(vector.type.element, 1.0)
        zero = ir.Constant(vector.type, None)
        return builder.select(
            builder.fcmp_ordered(">=", vector, limit), _broadcast(builder, one), zero
        )

    return value(value, threshold), generate


@intrinsic
def nonzero_lanes(typing: Any, array: Any, index: Any) -> Any:
    """Which of ``LANES`` numbers of a contiguous array are not zero, as the bits of an integer."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        pointer = _data(context, builder, sig.args[0], *args)
        vector = builder.load(pointer, align=_bytes(context, sig.args[0]))
        differs = builder.fcmp_unordered("!=", vector, ir.Constant(vector.type, None))
        return builder.zext(builder.bitcast(differs, ir.IntType(LANES)), ir.IntType(64))

    return types.int64(array, types.intp), generate


@intrinsic
def count_bits(typing: Any, bits: Any) -> Any:
    """How many bits of an integer are 1."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.ctpop(args[0])

    return types.int64(types.int64), generate


@intrinsic
def lowest_bit(typing: Any, bits: Any) -> Any:
    """Number of the lowest bit that is 1, of an integer that is not 0."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.int64), generate


@intrinsic
def triangle(typing: Any, value: Any) -> Any:
    """max(0, 1 - |x|) of a vector."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        (x,) = args
        zero = ir.Constant(x.type, None)
        one = _broadcast(builder, ir.Constant(x.type.element, 1.0))
        size = builder.select(builder.fcmp_ordered("<", x, zero), builder.fneg(x), x)
        left = builder.fsub(one, size)
        return builder.select(builder.fcmp_ordered("<", left, zero), zero, left)

    return value(value), generate


@intrinsic
def sum_lanes(typing: Any, value: Any) -> Any:
    """Sum of the lanes, always in the same order, a scalar."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        part, width = args[0], LANES
        while width > 1:
            width //= 2
            low, high = (
                builder.shuffle_vector(part, part, _indices(list(range(start, start + width))))
                for start in (0, width)
            )
            part = builder.fadd(low, high)
        return builder.extract_element(part, ir.IntType(32)(0))

    return value.dtype(value), generate
