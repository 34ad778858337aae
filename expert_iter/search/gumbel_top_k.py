"""Gumbel-top-k over whole sequences, from the top down: draws without replacement.

Add Gumbel noise to the log-probability of every sequence, and the K largest are K draws without
replacement. There is no need to list the sequences: the largest perturbed value below a prefix is
distributed as the prefix's own, so a beam search that perturbs each token given its parent finds
them (Kool, van Hoof and Welling 2019, "Stochastic Beams and Where to Find Them").

Shape suffixes: B rows, K candidates, V vocabulary.
"""

import jax
import jax.numpy as jnp

from expert_iter.search.behaviour import DEAD, top_k

_LOG_2 = 0.6931472


def row_gumbel(keys_B, number, shape=()):
    """Gumbel noise [B, *shape]; `number` tells apart the noise of one key."""
    noise = lambda key: jax.random.gumbel(jax.random.fold_in(key, number), shape)  # noqa: E731
    return jax.vmap(noise)(keys_B)


def best_children(log_beta_BxK, perturbed_BxK, done_BxK, token_log_beta_BxKxV, noise_BxKxV):
    """The K perturbed-best sequences among all one-token continuations of K parents.

    Args:
      log_beta_BxK: float32. Log-probability of each parent.
      perturbed_BxK: float32. The same with its noise; `DEAD` where there is no parent.
      done_BxK: bool. The parent is complete: it is its own only child.
      token_log_beta_BxKxV: float32. Of each next token given the parent.
      noise_BxKxV: float32. Gumbel noise; 0 finds the K likeliest.

    Returns:
      parent_BxK, token_BxK: int32. Which parents go on, and with which token.
      perturbed_BxK: float32. The children's perturbed log-probability, largest first.
      left_out_B: float32. The largest one that was left out; `DEAD` if there is none.
    """
    (B, K), V = log_beta_BxK.shape, token_log_beta_BxKxV.shape[-1]
    # A parent can place no more than its best K children, and leave out no better one than the
    # next.
    N = min(K + 1, V)
    free, child = top_k(log_beta_BxK[..., None] + token_log_beta_BxKxV + noise_BxKxV, N)
    # The largest is known because `top_k` orders: conditioning needs the maximum over all V.
    score = condition_on_parent(perturbed_BxK, free, free[..., :1])
    score = jnp.where(free > DEAD / 2, score, DEAD)
    only_child = jnp.where(jnp.arange(N) == 0, perturbed_BxK[..., None], DEAD)
    score = jnp.where(done_BxK[..., None], only_child, score)
    score = jnp.where((perturbed_BxK > DEAD / 2)[..., None], score, DEAD).reshape(B, K * N)
    # With one token in the vocabulary there are but K children: a dead one is the one left out.
    best, index = top_k(jnp.pad(score, ((0, 0), (0, 1)), constant_values=DEAD), K + 1)
    # That one has no parent. Whatever it is given for one, it stays dead.
    parent = jnp.minimum(index[:, :K] // N, K - 1)
    token = child[jnp.arange(B)[:, None], parent, index[:, :K] % N]
    return parent, token, best[:, :K], best[:, K]


def condition_on_parent(parent_perturbed, free, largest):
    """Perturbed log-probabilities of children, given that their maximum is the parent's.

    Kool et al. 2019, equation 23, in the stable form of appendix B.3.

    Args:
      parent_perturbed: [...] float.
      free: [..., N] float. Log-probability plus Gumbel noise of (some) children.
      largest: [..., 1] float. The maximum of `free` over all children.

    Returns:
      [..., N] float, in the order of `free`.
    """
    parent = parent_perturbed[..., None]
    v = parent - free + _log1mexp(free - largest)
    return jnp.where(
        free == largest, parent, parent - jax.nn.relu(v) - jnp.log1p(jnp.exp(-jnp.abs(v)))
    )


def log_inclusion(log_beta, threshold):
    """log q = log(1 − exp(−exp(log β − κ))): the probability to be among the draws, given κ.

    κ is the largest perturbed log-probability that was left out (Kool et al. 2019, section 4.2).
    """
    return _log1mexp(-jnp.exp(jnp.clip(log_beta - threshold, -80.0, 80.0)))


def _log1mexp(x):
    """log(1 − exp(x)) for x ≤ 0 (Mächler 2012)."""
    x = jnp.minimum(x, -1e-20)
    return jnp.where(x > -_LOG_2, jnp.log(-jnp.expm1(x)), jnp.log1p(-jnp.exp(x)))
