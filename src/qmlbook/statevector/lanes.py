"""Numbers side by side as a Numba type: 32 bytes, 8 in single and 4 in double precision.

LLVM turns each operation into the vector instructions of the processor at hand. The kernels are
written once: `load` and `store` move a register or a single number, as the type of their last
argument says.
"""

from __future__ import annotations

import operator
from typing import Any

from llvmlite import ir
from numba.core import types
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, models, register_model

from .lowering import REGISTER


class Lanes(types.Type):
    """The numbers of one register."""

    def __init__(self, scalar: types.Float) -> None:
        self.scalar = scalar
        super().__init__(name=f"Lanes({scalar})")


def _vector(scalar: types.Float) -> ir.VectorType:
    element = ir.FloatType() if scalar.bitwidth == 32 else ir.DoubleType()
    return ir.VectorType(element, 8 * REGISTER // scalar.bitwidth)


@register_model(Lanes)
class _Model(models.PrimitiveModel):
    def __init__(self, manager: Any, lanes: Lanes) -> None:
        super().__init__(manager, lanes, _vector(lanes.scalar))


def _operation(function: Any, instruction: str, count: int, *flags: str) -> None:
    """Let Numba know ``function`` of so many registers."""

    @infer_global(function)
    class _Template(AbstractTemplate):
        def generic(self, args: Any, kws: Any) -> Any:
            known = isinstance(args[0], Lanes) and args == (args[0],) * count
            return signature(args[0], *args) if known else None

    @lower_builtin(function, *[Lanes] * count)
    def _lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return getattr(builder, instruction)(*args, flags=flags)


# A product and a sum may become one instruction; nothing that hides a NaN is allowed.
_operation(operator.add, "fadd", 2, "contract")
_operation(operator.sub, "fsub", 2, "contract")
_operation(operator.mul, "fmul", 2, "contract")
_operation(operator.neg, "fneg", 1)


def _pointer(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    """Return where in an array a number or a register is, as the type of the last argument says."""
    data = context.make_array(sig.args[0])(context, builder, args[0]).data
    pointed = context.get_value_type(sig.args[2]).as_pointer()
    return builder.bitcast(builder.gep(data, [args[1]]), pointed)


@intrinsic
def load(typing: Any, array: Any, offset: Any, like: Any) -> Any:
    """Load what ``like`` is: a number or a register."""

    def code(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.load(_pointer(context, builder, sig, args), align=array.dtype.bitwidth // 8)

    return like(array, types.intp, like), code


@intrinsic
def store(typing: Any, array: Any, offset: Any, value: Any) -> Any:
    """Store a register or a number."""

    def code(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        pointer = _pointer(context, builder, sig, args)
        builder.store(args[2], pointer, align=array.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(array, types.intp, value), code


@intrinsic
def zeros(typing: Any, array: Any) -> Any:
    """Return a register of zeros, for the numbers of an array."""
    lanes = Lanes(array.dtype)

    def code(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return context.get_constant_null(lanes)

    return lanes(array), code
