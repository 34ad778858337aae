import errno
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from expert_iter.errors import UserError
from expert_iter.pod.mesh import Layout, MeshConfig, put
from expert_iter.storage import checkpoints as lib
from expert_iter.storage import manifest, orbax_arrays
from expert_iter.storage.checkpoints import Checkpoints

META = {"round": 3, "phase": "search", "loss": 0.1, "name": "ü", "list": [1, None]}


def small(seed=0):
    rng = np.random.default_rng(seed)
    return {
        "params": {"w": rng.normal(size=(4, 3)).astype(np.float32), "b": jnp.full(3, seed)},
        "replay": {"tokens": rng.integers(0, 9, (seed + 1, 5))},
    }


def assert_same(tree, other):
    assert jax.tree.structure(tree) == jax.tree.structure(other)
    for old, new in zip(jax.tree.leaves(tree), jax.tree.leaves(other), strict=True):
        old = np.asarray(old)
        assert type(new) is np.ndarray
        assert (old.dtype, old.shape) == (new.dtype, new.shape)
        assert old.tobytes() == new.tobytes()


def damage(path, how):
    content = bytearray(path.read_bytes())
    if how == "missing":
        return path.unlink()
    if how == "truncated":
        del content[len(content) // 2 :]
    elif how == "flipped":
        content[len(content) // 2] ^= 1
    path.write_bytes(content)


def files_of(directory, position):
    (newest,) = Path(directory).glob(f"{position:06d}.*")
    return sorted(path for path in newest.rglob("*") if path.is_file())


def test_every_kind_of_array_comes_back_bit_for_bit(tmp_path):
    rng = np.random.default_rng(0)
    arrays = {"kinds": {}, "nothing": {}, "scalar": np.int64(2**40), "empty": np.zeros((0,))}
    for dtype in ("bool", "uint8", "int32", "uint32", "int64", "float16", "float32", "float64"):
        raw = rng.integers(0, 2 if dtype == "bool" else 256, 6 * 8, dtype=np.uint8)
        arrays["kinds"][dtype] = raw.view(dtype)[:6].reshape(2, 1, 3)
    raw = rng.integers(0, 1 << 16, 7, dtype=np.uint16)  # with nan, inf and subnormal numbers
    arrays["bf16"] = {"x": raw.view(ml_dtypes.bfloat16), "empty": jnp.zeros((0, 5), jnp.bfloat16)}
    arrays["special"] = np.array([np.nan, -0.0, np.inf, 1e-45], np.float32)
    arrays["key"] = jax.random.key_data(jax.random.key(7))
    arrays["zero_d"] = {"a": jnp.float32(3), "deep": {"b": np.array(True)}, "none": {"in": {}}}
    arrays["strided"] = np.arange(12).reshape(3, 4).T[::2]
    arrays["odd names"] = {"a.b": np.arange(2), "c/d e": np.arange(3)}

    checkpoints = Checkpoints(tmp_path)
    assert checkpoints.restore() is None and checkpoints.positions() == []
    checkpoints.save(5, arrays, META)
    restored = checkpoints.restore()
    assert restored.position == 5 and restored.meta == META
    assert_same(arrays, restored.arrays)


def test_arrays_sharded_over_devices_come_back_whole(tmp_path):
    mesh = jax.make_mesh((4,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    x = np.arange(24, dtype=np.float32).reshape(8, 3)
    Checkpoints(tmp_path).save(0, {"params": {"x": jax.device_put(x, sharding)}}, {})
    # Another process, which has one device only.
    code = """if True:
        import sys, jax
        from expert_iter.storage.checkpoints import Checkpoints
        print(jax.device_count(), Checkpoints(sys.argv[1]).restore().arrays["params"]["x"].sum())
    """
    environment = {**os.environ, "XLA_FLAGS": ""}
    command = [sys.executable, "-c", code, tmp_path]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert result.stdout == f"1 {x.sum()}\n"
    assert result.stderr == ""


def test_nothing_but_empty_arrays(tmp_path):
    arrays = {"a": np.zeros((0,), np.int32), "b": {}}
    Checkpoints(tmp_path).save(0, arrays, {})
    assert_same(arrays, Checkpoints(tmp_path).restore().arrays)


def test_shapes_may_change_and_the_newest_two_are_kept(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    for position in (1, 2, 10):
        checkpoints.save(position, small(position), {"at": position})
    assert checkpoints.positions() == [2, 10]
    assert len(os.listdir(tmp_path)) == 2
    assert_same(small(10), checkpoints.restore().arrays)
    older = checkpoints.restore(2)
    assert older.meta == {"at": 2}
    assert_same(small(2), older.arrays)
    with pytest.raises(UserError, match="no checkpoint 1 .* there are: 2, 10"):
        checkpoints.restore(1)


@pytest.mark.parametrize("keep", [1, 3, 9])
def test_keep(tmp_path, keep):
    checkpoints = Checkpoints(tmp_path, keep=keep)
    for position in range(6):
        checkpoints.save(position, {"x": np.arange(position)}, {})
    assert checkpoints.positions() == list(range(6))[-keep:]


def test_saving_a_position_again_replaces_it(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    for seed in (1, 2, 3):
        checkpoints.save(7, small(seed), {"seed": seed})
    assert checkpoints.positions() == [7]
    assert len(os.listdir(tmp_path)) == 1
    assert checkpoints.restore().meta == {"seed": 3}
    assert_same(small(3), checkpoints.restore().arrays)


def test_a_save_voids_later_positions(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=2)
    checkpoints.save(4, small(), {})
    checkpoints.save(8, small(), {})
    damage(files_of(tmp_path, 8)[0], "truncated")
    checkpoints.save(6, small(), {})
    assert checkpoints.positions() == [4, 6]


def test_reading_one_entry_alone(tmp_path, capsys):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(0, small(), META, share={"x": np.arange(3)})
    for path in files_of(tmp_path, 0):
        if "/arrays/replay/" in str(path) or "/shares/" in str(path):
            path.unlink()
    restored = checkpoints.restore(only="params")
    assert restored.meta == META and restored.shares == []
    assert_same({"params": small()["params"]}, restored.arrays)
    assert capsys.readouterr().err == ""
    with pytest.raises(UserError, match="damaged"):
        checkpoints.restore()


def test_damage_to_any_file_is_seen_and_the_last_good_one_used(tmp_path, capsys):
    checkpoints = Checkpoints(tmp_path / "good")
    checkpoints.save(1, small(1), {"at": 1}, share={"x": np.arange(1)})
    checkpoints.save(2, small(2), {"at": 2}, share={"x": np.arange(2)})
    names = [path.relative_to(tmp_path / "good") for path in files_of(tmp_path / "good", 2)]
    assert {"manifest.json", "0.npz"} < {name.name for name in names}
    for name in names:
        for how in ("missing", "truncated", "flipped"):
            shutil.rmtree(tmp_path / "bad", ignore_errors=True)
            shutil.copytree(tmp_path / "good", tmp_path / "bad")
            damage(tmp_path / "bad" / name, how)
            restored = Checkpoints(tmp_path / "bad").restore()
            assert restored.position == 1 and restored.meta == {"at": 1}, (name, how)
            assert [share["x"].tolist() for share in restored.shares] == [[0]]
            said = capsys.readouterr().err
            assert said.count("\n") == 1
            assert "checkpoint 2" in said and "going back to checkpoint 1" in said


def test_a_file_that_orbax_cannot_read_is_damage_too(tmp_path, monkeypatch, capsys):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, small(1), {})
    checkpoints.save(2, small(2), {})
    for path in files_of(tmp_path, 2):
        if "_METADATA" in path.name:
            path.write_text("{}")
    monkeypatch.setattr(lib.manifest, "check", lambda *_, **__: None)
    assert checkpoints.restore().position == 1
    assert "going back to checkpoint 1" in capsys.readouterr().err


def test_all_damaged_never_starts_afresh(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    for position in (1, 2):
        checkpoints.save(position, small(), {})
        damage(files_of(tmp_path, position)[-1], "flipped")
    with pytest.raises(UserError) as error:
        checkpoints.restore()
    assert "checkpoint 2" in str(error.value) and "checkpoint 1" in str(error.value)
    with pytest.raises(UserError, match="damaged: checkpoint 1 .*; name another one.*: 1, 2$"):
        checkpoints.restore(1)
    for path in tmp_path.iterdir():  # an emptied directory is damage as well
        shutil.rmtree(path)
        path.mkdir()
    with pytest.raises(UserError, match="damaged"):
        checkpoints.restore()


def test_what_is_no_array_is_refused_before_anything_is_written(tmp_path):
    for arrays, meta in (({1: np.ones(2)}, {}), ({"a": [np.ones(2)]}, {}), ({}, {"x": object()})):
        with pytest.raises(TypeError):
            Checkpoints(tmp_path / "new").save(0, arrays, meta)
    assert not (tmp_path / "new").exists()


def test_no_room_on_the_disk(tmp_path, monkeypatch):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, small(1), {})
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=100))
    with pytest.raises(UserError, match="No space left on device; checkpoint 1 stays"):
        checkpoints.save(2, small(2), {})
    assert os.listdir(tmp_path) == ["000001.0"]
    assert_same(small(1), checkpoints.restore().arrays)


def test_a_failure_in_the_middle_of_writing(tmp_path):
    # In a process whose files may not grow: the write fails after Orbax has begun.
    code = """if True:
        import resource, sys, numpy as np
        from expert_iter.errors import UserError
        from expert_iter.storage.checkpoints import Checkpoints
        checkpoints = Checkpoints(sys.argv[1])
        checkpoints.save(1, {"x": np.arange(3)}, {})
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        try:
            checkpoints.save(2, {"x": np.random.default_rng(0).normal(size=100_000)}, {})
        except UserError as error:
            print(error)
    """
    command = [sys.executable, "-c", code, tmp_path]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert os.strerror(errno.EFBIG) in result.stdout and "checkpoint 1 stays" in result.stdout
    assert result.stdout.count("\n") == 1
    assert os.listdir(tmp_path) == ["000001.0"]
    assert Checkpoints(tmp_path).restore().position == 1


def test_a_share_comes_back_beside_the_arrays(tmp_path):
    share = {"number": np.arange(4, dtype=np.int64), "token": np.zeros(0, np.int32)}
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(0, small(), {}, share=share)
    checkpoints.save(1, small(), {})
    (restored,) = checkpoints.restore(0).shares
    assert_same(share, restored)
    assert checkpoints.restore(1).shares == []


LAYOUTS = [MeshConfig(data=2, fsdp=4), MeshConfig(fsdp=2, tensor=2), MeshConfig(data=1)]


@pytest.mark.parametrize("config", LAYOUTS, ids=["the same", "another", "one device"])
def test_arrays_come_back_onto_whatever_devices_are_asked_for(tmp_path, config):
    """From eight devices, cut along two axes; with no host array between."""
    rng = np.random.default_rng(0)
    host = {
        "embedding": rng.normal(size=(12, 8)).astype(np.float32),
        "blocks": {"gate": rng.normal(size=(2, 8, 16)).astype(ml_dtypes.bfloat16)},
        "value_bias": np.float32(3),
    }
    saved = put(host, Layout(LAYOUTS[0]).learning(host))
    assert saved["embedding"].sharding.shard_shape((12, 8)) == (12, 2)
    Checkpoints(tmp_path).save(0, {"params": saved, "others": {"x": np.arange(3)}}, {})

    shardings = Layout(config).learning(host)
    like = jax.tree.map(
        lambda x, where: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=where), host, shardings
    )
    restored = Checkpoints(tmp_path).restore(like={"params": like}).arrays
    found = restored["params"]
    assert jax.tree.map(lambda x: x.sharding, found) == shardings
    cut = shardings["embedding"].shard_shape((12, 8))
    assert {shard.data.shape for shard in found["embedding"].addressable_shards} == {cut}
    assert_same(host, jax.device_get(found))
    assert_same({"x": np.arange(3)}, restored["others"])


class Hold:
    """Keeps a save from ending: stands before what its thread does first."""

    def __init__(self, monkeypatch):
        self.began, self.go_on = threading.Event(), threading.Event()
        start = orbax_arrays.start_writing

        def held(*arguments):
            write = start(*arguments)

            def waiting():
                self.began.set()
                assert self.go_on.wait(60)
                write()

            return waiting

        monkeypatch.setattr(orbax_arrays, "start_writing", held)


def test_the_caller_goes_on_while_a_save_is_written(tmp_path, monkeypatch):
    """And may change or give away its arrays; the next save waits for this one."""
    checkpoints, hold = Checkpoints(tmp_path), Hold(monkeypatch)
    arrays = {"params": {"w": jnp.arange(8.0)}, "host": np.arange(5)}
    checkpoints.start_saving(0, arrays, {}, share=(share := {"x": np.arange(2)}))
    assert hold.began.wait(60)
    assert checkpoints.positions() == [] and checkpoints.restore() is None
    jax.jit(lambda x: x + 1, donate_argnums=0)(arrays["params"]["w"])
    arrays["host"][:] = -1
    ended = threading.Thread(target=checkpoints.finish)
    ended.start()
    ended.join(0.05)
    assert ended.is_alive(), "finish waits"
    hold.go_on.set()
    ended.join()
    restored = checkpoints.restore()
    kept = {"params": {"w": np.arange(8, dtype=np.float32)}, "host": np.arange(5)}
    assert_same(kept, restored.arrays)
    assert_same(share, restored.shares[0])

    checkpoints.start_saving(1, small(1), {})
    checkpoints.start_saving(2, small(2), {})
    assert checkpoints.positions()[:2] == [0, 1], "the second began when the first was done"
    checkpoints.finish()
    checkpoints.finish()  # nothing is under way any more
    assert checkpoints.positions() == [1, 2]


@pytest.mark.parametrize("in_place", (True, False))
def test_donation_waits_for_a_save_that_reads_the_arrays_in_place(tmp_path, monkeypatch, in_place):
    checkpoints, hold = Checkpoints(tmp_path), Hold(monkeypatch)
    monkeypatch.setattr(orbax_arrays, "reads_in_place", lambda: in_place)
    checkpoints.start_saving(0, small(0), {})
    assert hold.began.wait(60)
    free = threading.Thread(target=checkpoints.before_donation)
    free.start()
    free.join(0.05 if in_place else 60)
    assert free.is_alive() == in_place
    hold.go_on.set()
    free.join()
    checkpoints.finish()
    assert checkpoints.positions() == [0]


@pytest.mark.parametrize("next_call", ["finish", "start_saving"])
def test_a_failure_behind_the_callers_back_is_said_at_the_next_call(
    tmp_path, monkeypatch, next_call
):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, small(1), {})

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(manifest, "seal", full)
        checkpoints.start_saving(2, small(2), {})
        with pytest.raises(
            UserError, match="checkpoint 2 .*: No space left on device; checkpoint 1"
        ):
            checkpoints.finish() if next_call == "finish" else checkpoints.save(3, small(), {})
    assert os.listdir(tmp_path) == ["000001.0"]
    checkpoints.finish()  # it is said once
    checkpoints.save(3, small(3), {})
    assert checkpoints.positions() == [1, 3]


def test_the_best_is_kept_however_old_it_gets(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=2)
    for position in range(6):
        checkpoints.save(position, {"x": np.arange(position)}, {}, best=min(position, 1))
    assert checkpoints.positions() == [1, 4, 5]
    checkpoints.save(6, {}, {})
    assert checkpoints.positions() == [5, 6]


def test_the_newest_meta_needs_no_arrays(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    assert checkpoints.newest_meta() is None and checkpoints.listed() == "none"
    for position in (3, 12):
        checkpoints.save(position, small(), {"at": position})
    assert checkpoints.listed() == "3, 12"
    manifest_file, *others = sorted(files_of(tmp_path, 12), key=lambda x: x.name != "manifest.json")
    for path in others:
        path.unlink()
    assert checkpoints.newest_meta() == {"at": 12}
    damage(manifest_file, "flipped")
    assert checkpoints.newest_meta() == {"at": 3}


def test_where_nothing_can_be_renamed_the_manifest_makes_a_checkpoint(tmp_path, monkeypatch):
    """As in an object store: what is being written, or half removed, has its final name."""
    monkeypatch.setattr(lib, "is_local", lambda _: False)
    checkpoints = Checkpoints(tmp_path, keep=1)
    with monkeypatch.context() as patch:
        hold = Hold(patch)
        checkpoints.start_saving(0, small(0), {})
        assert hold.began.wait(60)
        assert os.listdir(tmp_path) == ["000000.0"] and checkpoints.positions() == []
        hold.go_on.set()
        checkpoints.finish()
    assert_same(small(0), checkpoints.restore().arrays)

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:  # between the manifest's removal and the rest's
        patch.setattr(type(lib.absolute(tmp_path)), "rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            checkpoints._remove(lib.absolute(tmp_path / "000000.0"))
    assert os.listdir(tmp_path) == ["000000.0"] and Checkpoints(tmp_path).restore() is None
    checkpoints.save(1, small(1), {})
    assert os.listdir(tmp_path) == ["000001.0"]
    assert_same(small(1), checkpoints.restore().arrays)


SAVER = """
import sys, numpy as np
from expert_iter.storage.checkpoints import Checkpoints
checkpoints = Checkpoints(sys.argv[1])
restored = checkpoints.restore()
position = restored.position + 1 if restored else 0
print("from", position, flush=True)
while True:
    x = np.random.default_rng(position).normal(size=200_000)
    print("saving", position, flush=True)
    checkpoints.save(position, {"params": {"x": x}, "replay": {"n": np.arange(position)}}, {})
    print("saved", position, flush=True)
    position += 1
"""


def test_kill_at_any_moment_of_a_save_loses_nothing(tmp_path):
    rng = random.Random(0)
    saved = -1
    leftovers = 0
    for _ in range(6):
        process = subprocess.Popen(
            [sys.executable, "-c", SAVER, tmp_path],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        start = int(process.stdout.readline().split()[1])
        # What was reported as saved is there; the one under way when the kill came may be.
        assert start in (saved + 1, saved + 2)
        while not process.stdout.readline().startswith("saving"):
            pass
        time.sleep(rng.uniform(0, 0.15))  # a save takes about as long
        process.send_signal(signal.SIGKILL)
        out, err = process.communicate()
        assert err == ""
        saved = max([start - 1, *(int(s.split()[1]) for s in out.splitlines() if "saved" in s)])
        leftovers += any(path.name.startswith("tmp.") for path in tmp_path.iterdir())
    assert leftovers  # some kills did come in the middle

    checkpoints = Checkpoints(tmp_path)
    restored = checkpoints.restore()
    if restored is None:
        assert saved == -1
        position = 0
    else:
        position = restored.position
        assert position in (saved, saved + 1)
        x = np.random.default_rng(position).normal(size=200_000)
        assert_same({"params": {"x": x}, "replay": {"n": np.arange(position)}}, restored.arrays)
    checkpoints.save(position + 1, small(), {})
    assert not list(tmp_path.glob("tmp.*"))


def test_a_save_of_ten_megabytes_is_quick(tmp_path):
    arrays = {"params": {"w": np.random.default_rng(0).normal(size=(10, 128, 1024))}}
    checkpoints = Checkpoints(tmp_path)
    times = []
    for position in range(4):
        start = time.monotonic()
        checkpoints.save(position, arrays, {})
        times.append(time.monotonic() - start)
    assert min(times) < 1  # the least of them, for the machine may be busy
