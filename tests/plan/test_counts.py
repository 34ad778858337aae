"""What is counted in compiled programs, against programs whose counts are known by hand."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from expert_iter.plan.counts import Traffic, count

ONE = {"data": 1}
MESH = {"data": 2, "tensor": 4}
PRODUCT = 2 * 4 * 16 * 8  # FLOPs of [4, 8] @ [8, 16]


def optimised(function, *arguments) -> str:
    return jax.jit(function).lower(*arguments).compile().as_text()


def product(x, w):
    """[4, 8] @ [8, 16], brought back to [4, 8]."""
    return jnp.tanh(x @ w)[:, :8]


X, W = jnp.ones((4, 8)), jnp.ones((8, 16))


def test_a_product():
    text = optimised(lambda x, w: x @ w, X, W)
    assert count(text, ONE).flops == PRODUCT
    batch = optimised(
        lambda x, w: jnp.einsum("bij,bjk->bik", x, w), jnp.ones((3, 4, 8)), jnp.ones((3, 8, 16))
    )
    assert count(batch, ONE).flops == 3 * PRODUCT


def test_bodies_of_loops_count_as_often_as_they_run():
    def inner(x):
        return jax.lax.fori_loop(2, 7, lambda i, x: product(x, W + i), x)

    def outer(x):
        return jax.lax.scan(lambda x, _: (inner(x), None), x, None, length=3)[0]

    found = count(optimised(outer, X), ONE)
    assert found.flops == 3 * 5 * PRODUCT and found.assumed == 0


def test_a_loop_that_may_end_early_counts_to_its_bound():
    def early(x):
        return jax.lax.while_loop(
            lambda carry: (carry[0] < 9) & ~jnp.all(carry[1] > 0.5),
            lambda carry: (carry[0] + 1, product(carry[1], W)),
            (0, x),
        )

    found = count(optimised(early, X), ONE)
    assert found.flops == 9 * PRODUCT and found.assumed == 0


def test_loops_without_a_bound_take_the_trips_that_are_assumed():
    def until(x):
        return jax.lax.while_loop(lambda x: jnp.any(x < 0.5), lambda x: product(x, W), x)

    def both(x):
        return jax.lax.while_loop(lambda x: jnp.any(x < 0.9), lambda x: until(x) + x, x)

    text = optimised(both, X)
    found = count(text, ONE, (11, 3))
    assert found.flops == 11 * 3 * PRODUCT and found.assumed == 2
    assert count(text, ONE).flops == PRODUCT


def test_slices_and_updates_in_place_count_as_what_they_move():
    rows, width = 64, 4096

    def scaled(xs):
        return jax.lax.map(lambda x: jnp.sin(x) * 2, xs)

    whole = rows * width * 4
    found = count(optimised(scaled, jnp.ones((rows, width))), ONE)
    # Read and written once or twice, not once a trip (which is 64 times).
    assert 2 * whole <= found.bytes <= 6 * whole


def test_collectives_by_kind_axis_and_bytes():
    mesh = jax.make_mesh((2, 4), ("data", "tensor"), axis_types=(jax.sharding.AxisType.Auto,) * 2)

    @functools.partial(
        jax.shard_map,
        mesh=mesh,
        in_specs=P("data", "tensor"),
        out_specs=P("data", "tensor"),
        check_vma=False,
    )
    def program(x):
        x = jax.lax.fori_loop(0, 5, lambda i, x: jax.lax.psum(x, "tensor") / 4, x)
        return x + jnp.sum(jax.lax.all_gather(x, "data"), 0)

    found = count(optimised(program, jnp.ones((8, 64))), MESH)
    size = 4 * 16 * 4  # bytes of a device's part
    # A sum of parts: each device receives 3/4 of it twice.
    assert found.collectives["all-reduce", "tensor"] == Traffic(5, 5 * 2 * size * 3 / 4)
    assert found.collectives["all-gather", "data"] == Traffic(1, size)
    assert found.collective_bytes == 5 * 2 * size * 3 / 4 + size


def module(*lines: str, functions: str = "") -> str:
    body = "\n".join(f"  {line}" for line in lines)
    return f"HloModule made_up\n\n{functions}\nENTRY %main (p: f32[8]) -> f32[8] {{\n{body}\n}}\n"


GATHER = "%g = f32[32]{0} all-gather(%p), channel_id=1, dimensions={0}, replica_groups="


@pytest.mark.parametrize(
    "groups, axis, size",
    [
        ("{{0,1,2,3},{4,5,6,7}}", "tensor", 4),
        ("{{0,4},{1,5},{2,6},{3,7}}", "data", 2),
        ("[2,4]<=[8]", "tensor", 4),
        ("[4,2]<=[2,4]T(1,0)", "data", 2),
        ("[1,8]<=[8]", "data+tensor", 8),
        ("mesh['axis_0'=2,'axis_1'=4] {'axis_1'}", "tensor", 4),
        ("mesh['axis_0'=2,'axis_1'=4] {'axis_0'}", "data", 2),
        ("mesh['a'=4,'b'=2], device_ids=([2,4]T(1,0)) {'b'}", "data", 2),
    ],
)
def test_every_way_to_write_groups(groups, axis, size):
    text = module("%p = f32[8]{0} parameter(0)", "ROOT " + GATHER + groups)
    assert count(text, MESH).collectives == {("all-gather", axis): Traffic(1, 8 * 4 * (size - 1))}


def test_a_permutation_moves_what_it_is_given():
    move = "collective-permute(%p), channel_id=1, source_target_pairs={{0,1},{1,0},{2,2}}"
    text = module("%p = f32[8]{0} parameter(0)", f"ROOT %m = f32[8]{{0}} {move}")
    assert count(text, MESH).collectives == {("collective-permute", "tensor"): Traffic(1, 32)}


BATCHED = "window={size=4 stride=3 lhs_dilate=4}, dim_labels=0bf_0oi->0bf"
SHIFTED = "window={size=4 stride=4 pad=3_3 lhs_dilate=3 rhs_reversal=1}, dim_labels=0bf_0oi->0bf"


@pytest.mark.parametrize(
    "left, right, out, how, flops",
    [
        ("64,32", "32,16", "64,16", "dim_labels=bf_io->bf", 2 * 64 * 32 * 16),
        ("4,64,32", "4,16,32", "4,64,16", BATCHED, 4 * 2 * 64 * 32 * 16),
        ("4,64,32", "4,16,32", "4,64,16", SHIFTED, 4 * 2 * 64 * 32 * 16),
        # A row of 10 under a window of 3, as a convolution: 8 places.
        (
            "2,10,5",
            "3,5,7",
            "2,8,7",
            "window={size=3}, dim_labels=b0f_0io->b0f",
            2 * 2 * 8 * 3 * 5 * 7,
        ),
    ],
)
def test_products_that_the_tpu_writes_as_convolutions(left, right, out, how, flops):
    """A batch of products is a convolution whose dilated input is mostly zeros: not counted."""
    text = module(
        f"%p = bf16[{left}]{{1,0}} parameter(0)",
        f"%w = bf16[{right}]{{1,0}} parameter(1)",
        f"ROOT %c = bf16[{out}]{{1,0}} convolution(%p, %w), {how}",
    )
    assert count(text, ONE).flops == flops


def test_arrays_kept_on_the_chip_are_no_traffic():
    text = module(
        "%p = f32[8]{0:T(128)} parameter(0)",
        "%near = f32[8]{0:T(128)S(1)} copy(%p)",
        "%twice = f32[8]{0:T(128)S(1)} add(%near, %near)",
        "ROOT %out = f32[8]{0:T(128)} multiply(%twice, %twice)",
    )
    assert count(text, ONE).bytes == 2 * 8 * 4


ASYNC = """
%start (a: f32[8]) -> (f32[8], f32[32]) {
  %a = f32[8]{0} parameter(0)
  %g.1 = f32[32]{0} all-gather(%a), channel_id=1, replica_groups=[2,4]<=[8], dimensions={0}
  ROOT %s = (f32[8]{0}, f32[32]{0}) custom-call(%g.1), custom_call_target="AsyncCollectiveStart"
}

%async_collective_fusion.7 (a: f32[8], b: f32[8,8]) -> (f32[8,8], f32[8]) {
  %a = f32[8]{0} parameter(0)
  %b = f32[8,8]{1,0} parameter(1)
  %g.2 = f32[32]{0} all-gather(%a), channel_id=1, replica_groups=[2,4]<=[8], dimensions={0}
  %d = f32[8,8]{1,0} dot(%b, %b), lhs_contracting_dims={1}, rhs_contracting_dims={0}
  ROOT %t = (f32[8,8]{1,0}, f32[8]{0}) tuple(%d, %a)
}

%done (a: f32[8]) -> f32[32] {
  %a = f32[8]{0} parameter(0)
  %g.3 = f32[32]{0} all-gather(%a), channel_id=1, replica_groups=[2,4]<=[8], dimensions={0}
  ROOT %e = f32[32]{0} custom-call(%a, %g.3), custom_call_target="AsyncCollectiveDone"
}
"""


def test_a_collective_beside_a_product_is_one():
    text = module(
        "%p = f32[8]{0} parameter(0)",
        "%q = f32[8,8]{1,0} parameter(1)",
        "%s = (f32[8]{0}, f32[32]{0}) fusion(%p), kind=kCustom, calls=%start",
        "%x = f32[8]{0} get-tuple-element(%s), index=0",
        "%m = (f32[8,8]{1,0}, f32[8]{0}) fusion(%x, %q), kind=kCustom, "
        "calls=%async_collective_fusion.7",
        "%y = f32[8]{0} get-tuple-element(%m), index=1",
        "ROOT %e = f32[32]{0} fusion(%y), kind=kCustom, calls=%done",
        functions=ASYNC,
    )
    found = count(text, MESH)
    assert found.collectives == {("all-gather", "tensor"): Traffic(1, 8 * 4 * 3)}
    assert found.flops == 2 * 8**3


def test_of_branches_the_one_that_does_most():
    def either(x):
        return jax.lax.cond(x[0, 0] > 0, lambda x: product(product(x, W), W), lambda x: x, x)

    assert count(optimised(either, X), ONE).flops == 2 * PRODUCT


def test_xla_agrees_where_there_are_no_loops():
    def network(x, w):
        return jnp.tanh(jax.nn.relu(x @ w) @ w.T)

    compiled = jax.jit(network).lower(X, W).compile()
    flops = compiled.cost_analysis()["flops"]
    assert count(compiled.as_text(), ONE).flops == pytest.approx(flops, rel=0.2)
    assert np.isclose(count(compiled.as_text(), ONE).flops, 2 * PRODUCT)
