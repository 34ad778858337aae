"""FLOPs of products of matrices in HLO.

They are a `dot`, a `convolution` (which the TPU's compiler makes of it), or a call of a GPU's
library.
"""

import json
import math
import re

import numpy as np

from expert_iter.plan.hlo import Computation, Instruction

_GEMM = re.compile(r'"dot_dimension_numbers":(\{.*?\})')  # of a GPU library's product


def product_flops(of: Computation, i: Instruction) -> float:
    """0 for what is no product."""
    if i.opcode == "dot":
        left = of.operands(i)[0].arrays[0].dims
        contracted = re.search(r"lhs_contracting_dims=\{([\d,]*)\}", i.attributes)
        axes = [int(axis) for axis in contracted[1].split(",") if axis] if contracted else []
        return 2.0 * math.prod(i.arrays[0].dims) * math.prod(left[axis] for axis in axes)
    if i.opcode == "convolution":
        left, right = (operand.arrays[0].dims for operand in of.operands(i))
        return _convolution(left, right, i.arrays[0].dims, i.attributes)
    if i.opcode == "custom-call" and (gemm := _GEMM.search(i.attributes)):
        left = of.operands(i)[0].arrays[0].dims
        axes = json.loads(gemm[1]).get("lhs_contracting_dimensions", ())
        return 2.0 * math.prod(i.arrays[0].dims) * math.prod(left[int(axis)] for axis in axes)
    return 0.0


def _convolution(left, right, out, attributes: str) -> float:
    """Of the products with numbers that are there: with dilated inputs most are not, and so the
    TPU's compiler writes a batch of products.
    """
    labels = re.search(r"dim_labels=(\w+)_(\w+)->(\w+)", attributes)
    of_left, of_right, of_out = (
        dict(zip(label, dims, strict=True))
        for label, dims in zip(labels.groups(), (left, right, out), strict=True)
    )
    found = re.search(r"window=\{([^}]*)\}", attributes)
    window = dict(part.split("=") for part in found[1].split()) if found else {}
    batch_groups = re.search(r"batch_group_count=(\d+)", attributes)

    def along(key: str, axis: int, default: int) -> int:
        return int(window[key].split("x")[axis]) if key in window else default

    products = 1
    for axis in range(len(left) - 2):
        inside, outside = of_left[str(axis)], of_out[str(axis)]
        before = int(window["pad"].split("x")[axis].split("_")[0]) if "pad" in window else 0
        dilation = along("lhs_dilate", axis, 1)
        at = (
            np.arange(outside)[:, None] * along("stride", axis, 1)
            + np.arange(along("size", axis, 1))[None] * along("rhs_dilate", axis, 1)
            - before
        )
        there = (at >= 0) & (at % dilation == 0) & (at // dilation < inside)
        products *= int(there.sum())
    batch = of_out["b"] / (int(batch_groups[1]) if batch_groups else 1)
    return 2.0 * batch * of_out["f"] * of_right["i"] * products
