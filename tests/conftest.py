"""The machine the tests see: eight CPU devices. This must be said before JAX is imported."""

import getpass
import os
import tempfile
from pathlib import Path

import numpy as np
import pytest

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = " ".join(
    [
        os.environ.get("XLA_FLAGS", ""),
        "--xla_force_host_platform_device_count=8",
        # The tests compile more than they compute.
        "--xla_cpu_use_fusion_emitters=false",
        "--xla_backend_optimization_level=0",
        "--xla_llvm_disable_expensive_passes=true",
        "--xla_cpu_parallel_codegen_split_count=1",
        "--xla_disable_hlo_passes=while-loop-invariant-code-motion,simplify-while-loops,"
        "while-loop-constant-sinking",
    ]
).strip()
# Programs compiled once serve every worker, and the next run of the tests.
os.environ.setdefault(
    "JAX_COMPILATION_CACHE_DIR",
    os.path.join(tempfile.gettempdir(), f"expert_iter-tests-{getpass.getuser()}"),
)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")

# The files that take longest, longest first. They begin first: begun last, one of them would keep
# one process busy when the other has nothing left.
SLOWEST = (
    "pod/test_pod_runs.py",
    "test_resume.py",
    "pod/test_mesh.py",
    "measure/comparison/test_comparison.py",
    "search/test_experts.py",
    "search/test_experts_reference.py",
    "test_loop.py",
    "test_readme.py",
    "test_configs.py",
    "pod/test_faults.py",
    "test_from_weights.py",
)


def pytest_addoption(parser):
    parser.addoption("--slow", action="store_true", help="also run the tests that take longest")


def pytest_configure(config):
    config.addinivalue_line("markers", "slow: long, or one more variant; only run with --slow")


def pytest_collection_modifyitems(config, items):
    if not config.getoption("--slow"):
        for item in items:
            if item.get_closest_marker("slow"):
                item.add_marker(pytest.mark.skip(reason="takes long: --slow runs it"))
    rank = {Path(__file__).parent / name: i for i, name in enumerate(SLOWEST)}
    items.sort(key=lambda item: rank.get(item.path, len(SLOWEST)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """A file's tests are run by one process, which makes their fixtures once."""
    if config.option.dist == "load":  # what -n means by itself
        from xdist.scheduler import LoadFileScheduling

        config.option.loadscopereorder = False
        return LoadFileScheduling(config, log)


@pytest.fixture(scope="module")
def network():
    """Two layers over a vocabulary of 12."""
    from expert_iter.model.transformer import Network  # here: it imports JAX
    from expert_iter.model.transformer_config import TransformerConfig

    shape = dict(num_layers=2, width=16, num_heads=2, num_kv_heads=1, head_dim=8, mlp_width=32)
    return Network(TransformerConfig(**shape), 12)


@pytest.fixture(scope="session")
def random_params():
    """Parameters with noise everywhere: at their start norms and value head would show nothing."""

    import jax

    def make(network, seed=0):
        leaves, shape = jax.tree.flatten(network.init(jax.random.key(seed)))
        keys = jax.random.split(jax.random.key(seed + 1), len(leaves))
        noisy = [
            x + 0.3 * jax.random.normal(key, x.shape) for x, key in zip(leaves, keys, strict=True)
        ]
        return jax.tree.unflatten(shape, noisy)

    return make


@pytest.fixture(scope="module")
def params(network, random_params):
    return random_params(network)


@pytest.fixture
def written_tree():
    """Row 0 is empty. In row 1 "4 3" leads from the root to node 1, "6 3" from there to node 2.

    Finished are candidate 1 of the root, 0 of node 1 (candidate 1 repeats it), and 2 of node 2.
    """
    from expert_iter.search.bill import Bill  # here, for they import JAX
    from expert_iter.search.candidates import Candidates
    from expert_iter.search.tree import SearchTree

    B, N, K, L = 2, 3, 3, 3
    zeros = lambda *shape: np.zeros(shape)  # noqa: E731
    tree = SearchTree(
        live=np.array([[True, False, False], [True] * 3]),
        parent=np.array([[-1] * 3, [-1, 0, 1]]),
        action=np.array([[-1] * 3, [-1, 0, 2]]),
        path_log_pi=zeros(B, N),
        candidates=Candidates(
            token=np.zeros((B, N, K, L), int),
            length=np.full((B, N, K), 2),
            log_pi=zeros(B, N, K),
            log_beta=zeros(B, N, K),
            prior_logit=zeros(B, N, K),
            count=np.ones((B, N, K), int),
            valid=np.ones((B, N, K), bool),
            finished=np.zeros((B, N, K), bool),
            model_value=zeros(B, N, K),
            token_value=zeros(B, N, K, L),
        ),
        value=zeros(B, N, K),
        won=np.zeros((B, N, K), bool),
        child=np.full((B, N, K), -1),
        visits=np.zeros((B, N, K), int),
        q=zeros(B, N, K),
        answerable=np.ones((B, N, K), bool),
        bill=Bill(*zeros(4, B)),
    )
    drawn = Candidates(*(x if x is None else x[1] for x in tree.candidates))
    drawn.token[0] = [[4, 3, 0], [5, 2, 0], [7, 3, 0]]
    drawn.token[1] = [[5, 2, 0], [5, 2, 0], [6, 3, 0]]
    drawn.token[2] = [[4, 3, 0], [4, 3, 0], [8, 9, 2]]
    drawn.length[2, 2] = 3
    drawn.finished[[0, 1, 1, 2], [1, 0, 1, 2]] = True
    drawn.valid[1, 1], drawn.count[1] = False, [2, 0, 1]
    drawn.token_value[0, 0, :2], drawn.token_value[0, 1, :2] = (0.2, 0.3), (0.4, 0.5)
    drawn.token_value[1, 0, :2], drawn.token_value[1, 2, :2] = (0.7, 0.9), (0.5, 0.6)
    drawn.token_value[2, 2] = 0.0, 0.1, 0.8
    drawn.model_value[[0, 1, 1, 2], [1, 0, 1, 2]] = 0.5, 0.9, 0.9, 0.8
    drawn.log_pi[[0, 1, 2], [1, 0, 2]] = -1.0, -2.0, -0.5
    tree.path_log_pi[1] = 0, -3.0, -3.25
    tree.child[1, 0, 0], tree.child[1, 1, 2] = 1, 2
    return tree
