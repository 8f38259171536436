"""Resampling of whole columns: the inner loops of every projector kernel.

The rotation axis is vertical, so a ray (or a voxel) of one detector column needs one pair of columns of the volume (or
the detector), and the position along them is linear in its own index. Both are therefore stored with that direction
last and unit stride, one zero-padded column after the other, and the inner loop interpolates runs of 16 or 8
neighbours at once: the two pitches differ by a few percent only, so a run reads a window a little longer than itself.
The runs are explicit vectors because the compiler does not vectorise the short loops.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import float32, njit, types
from numba.extending import intrinsic
from numpy.typing import NDArray

PAD = 20  # zeros between columns; a run of 16 with its window reaches at most 19 beyond either end
_FAST = ("fast",)
_I32 = ir.IntType(32)


def allocate(count: int, length: int) -> NDArray[np.float32]:
    """Return flat zeros for ``count`` columns of PAD + ``length``, and one more pad after the last."""
    return np.zeros(count * (length + PAD) + PAD, np.float32)


def columns_view(flat: NDArray[np.float32], shape: tuple[int, ...], length: int) -> NDArray[np.float32]:
    """Return the data of a flat column store as a view of ``shape + (length,)``, without the pads."""
    return flat[:-PAD].reshape(*shape, length + PAD)[..., PAD:]


class _Lanes:
    """Vector arithmetic on ``lanes`` floats for the code generators below."""

    def __init__(self, builder: Any, lanes: int) -> None:
        self.builder, self.lanes = builder, lanes
        self.vector = ir.VectorType(ir.FloatType(), lanes)

    def constant(self, values: list[float]) -> Any:
        return ir.Constant(self.vector, values)

    def splat(self, scalar: Any) -> Any:
        one = self.builder.insert_element(ir.Constant(self.vector, ir.Undefined), scalar, ir.Constant(_I32, 0))
        mask = ir.Constant(ir.VectorType(_I32, self.lanes), [0] * self.lanes)
        return self.builder.shuffle_vector(one, ir.Constant(self.vector, ir.Undefined), mask)

    def add(self, a: Any, b: Any) -> Any:
        return self.builder.fadd(a, b, flags=_FAST)

    def sub(self, a: Any, b: Any) -> Any:
        return self.builder.fsub(a, b, flags=_FAST)

    def mul(self, a: Any, b: Any) -> Any:
        return self.builder.fmul(a, b, flags=_FAST)

    def positive(self, a: Any) -> Any:
        zero = self.constant([0.0] * self.lanes)
        return self.builder.select(self.builder.fcmp_ordered(">", a, zero, flags=_FAST), a, zero)

    def magnitude(self, a: Any) -> Any:
        return self.builder.select(
            self.builder.fcmp_ordered(">", a, self.constant([0.0] * self.lanes), flags=_FAST),
            a,
            self.sub(self.constant([0.0] * self.lanes), a),
        )

    def load(self, pointer: Any, offset: int = 0) -> Any:
        moved = self.builder.gep(pointer, [ir.Constant(ir.IntType(64), offset)])
        value = self.builder.load(self.builder.bitcast(moved, self.vector.as_pointer()))
        value.align = 4
        return value

    def accumulate(self, pointer: Any, value: Any) -> None:
        where = self.builder.bitcast(pointer, self.vector.as_pointer())
        old = self.builder.load(where)
        old.align = 4
        self.builder.store(self.add(old, value), where).align = 4


def _element(context: Any, builder: Any, array_type: Any, array: Any, index: Any) -> Any:
    return builder.gep(context.make_array(array_type)(context, builder, array).data, [index])


_SCALARS = (types.float32,) * 4


def _make_lerp_run(lanes: int) -> Any:
    @intrinsic
    def lerp_run(typingctx: Any, dst: Any, at: Any, src: Any, a: Any, b: Any, mix: Any, weight: Any, d: Any, e: Any):
        """dst[at + l] += weight * blend(d + e l), blend(x) between a and b by mix, linear in x, 0 <= d + e l <= 2."""

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            v = _Lanes(builder, lanes)
            target = _element(context, builder, signature.args[0], args[0], args[1])
            pa, pb = (_element(context, builder, signature.args[2], args[2], args[n]) for n in (3, 4))
            mix, weight, start, excess = (v.splat(x) for x in args[5:9])
            position = v.add(start, v.mul(excess, v.constant([float(n) for n in range(lanes)])))
            beyond = v.positive(v.sub(position, v.constant([1.0] * lanes)))
            node = [v.add(v.load(pa, m), v.mul(mix, v.sub(v.load(pb, m), v.load(pa, m)))) for m in range(3)]
            first, second = v.sub(node[1], node[0]), v.sub(node[2], node[1])
            value = v.add(v.add(node[0], v.mul(first, position)), v.mul(v.sub(second, first), beyond))
            v.accumulate(target, v.mul(weight, value))
            return context.get_dummy_value()

        return types.void(dst, types.intp, src, types.intp, types.intp, *_SCALARS), codegen

    return lerp_run


def _make_spread_run(lanes: int) -> Any:
    @intrinsic
    def spread_run(typingctx: Any, dst: Any, a: Any, b: Any, src: Any, at: Any, mix: Any, d: Any, e: Any, g: Any):
        """dst[a + l], dst[b + l] += (1 - mix, mix) * sum over m of src[at + l + m] * (1 - |d + e l + g m|)+."""

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            v = _Lanes(builder, lanes)
            pa, pb = (_element(context, builder, signature.args[0], args[0], args[n]) for n in (1, 2))
            source = _element(context, builder, signature.args[3], args[3], args[4])
            mix, start, excess, pitch = (v.splat(x) for x in args[5:9])
            one = v.constant([1.0] * lanes)
            position = v.add(start, v.mul(excess, v.constant([float(n) for n in range(lanes)])))
            total = None
            for m in range(4):
                term = v.mul(v.positive(v.sub(one, v.magnitude(position))), v.load(source, m))
                total = term if total is None else v.add(total, term)
                position = v.add(position, pitch)
            upper = v.mul(mix, total)
            v.accumulate(pa, v.sub(total, upper))
            v.accumulate(pb, upper)
            return context.get_dummy_value()

        return types.void(dst, types.intp, types.intp, src, types.intp, *_SCALARS), codegen

    return spread_run


_lerp_16, _lerp_8 = _make_lerp_run(16), _make_lerp_run(8)
_spread_16, _spread_8 = _make_spread_run(16), _make_spread_run(8)
_LOWEST = -19.0  # 16 lanes and their window of 18 lie in the pad from here on


@njit(fastmath=True, forceinline=True)
def resample(dst, at, n, src, a, b, length, mix, weight, k0, g):
    """dst[at + r] += weight * column(k0 + g r) for r < n, the column between those at a and b, zero outside.

    All float32; up to 15 elements behind dst[at + n - 1] are overwritten, which is the next column's pad.
    """
    e = g - float32(1.0)
    if abs(e) * float32(15.0) <= float32(1.0):
        back = min(e * float32(15.0), float32(0.0))
        for run in range((n + 15) // 16):
            k = k0 + g * float32(run * 16)
            low = min(max(k + back, float32(_LOWEST)), float32(length))
            base = int(low + float32(PAD)) - PAD
            _lerp_16(dst, at + run * 16, src, a + base, b + base, mix, weight, k - float32(base), e)
    elif abs(e) * float32(7.0) <= float32(1.0):
        back = min(e * float32(7.0), float32(0.0))
        for run in range((n + 7) // 8):
            k = k0 + g * float32(run * 8)
            low = min(max(k + back, float32(_LOWEST)), float32(length))
            base = int(low + float32(PAD)) - PAD
            _lerp_8(dst, at + run * 8, src, a + base, b + base, mix, weight, k - float32(base), e)
    else:
        for r in range(n):
            k = k0 + g * float32(r)
            if float32(-1.0) < k < float32(length):
                base = int(k + float32(1.0)) - 1
                f = k - float32(base)
                low = src[a + base] + mix * (src[b + base] - src[a + base])
                high = src[a + base + 1] + mix * (src[b + base + 1] - src[a + base + 1])
                dst[at + r] += weight * (low + f * (high - low))


@njit(fastmath=True, forceinline=True)
def spread(dst, a, b, n, src, at, length, mix, k0, g):
    """The transpose of :func:`resample` with weight 1: src[at + r] for r < length into the columns at a and b."""
    e = g - float32(1.0)
    if abs(e) * float32(15.0) <= float32(1.0):
        ahead = max(e * float32(15.0), float32(0.0))
        for run in range((n + 15) // 16):
            k = float32(run * 16) - k0
            low = min(max((k + e - ahead) / g, float32(_LOWEST)), float32(length))
            base = int(low + float32(PAD)) - PAD
            start = g * float32(base) - k
            _spread_16(dst, a + run * 16, b + run * 16, src, at + base, mix, start, e, g)
    elif abs(e) * float32(7.0) <= float32(1.0):
        ahead = max(e * float32(7.0), float32(0.0))
        for run in range((n + 7) // 8):
            k = float32(run * 8) - k0
            low = min(max((k + e - ahead) / g, float32(_LOWEST)), float32(length))
            base = int(low + float32(PAD)) - PAD
            start = g * float32(base) - k
            _spread_8(dst, a + run * 8, b + run * 8, src, at + base, mix, start, e, g)
    else:
        for r in range(length):
            k = k0 + g * float32(r)
            if float32(-1.0) < k < float32(n):
                base = int(k + float32(1.0)) - 1
                f = k - float32(base)
                low, high = src[at + r] * (float32(1.0) - f), src[at + r] * f
                dst[a + base] += low * (float32(1.0) - mix)
                dst[a + base + 1] += high * (float32(1.0) - mix)
                dst[b + base] += low * mix
                dst[b + base + 1] += high * mix
