"""Reading GGUF files."""

import numpy as np
import pytest

from expert_iter.errors import UserError
from expert_iter.model.weights.gguf_file import TYPES, GgufFile

gguf = pytest.importorskip("gguf")

TYPE, ROWS, COLUMNS = gguf.GGMLQuantizationType, 3, 512


def raw(kind):
    """A matrix's bytes by row in a type: random ones, where the package does not quantise to it."""
    rng = np.random.default_rng(0)
    try:
        return gguf.quantize(rng.standard_normal((ROWS, COLUMNS)).astype(np.float32), TYPE[kind])
    except NotImplementedError:
        block, size = gguf.GGML_QUANT_SIZES[TYPE[kind]]
        return rng.integers(0, 256, (ROWS, COLUMNS // block * size), np.uint8)


@pytest.fixture
def path(tmp_path):
    """A small file: metadata of several types, two tensors."""
    writer = gguf.GGUFWriter(tmp_path / "model.gguf", "llama")
    writer.add_array("tokens", ["one", "two"])
    writer.add_float32("llama.epsilon", 1e-5)
    writer.add_bool("llama.flag", True)
    for name in ("first", "last"):
        writer.add_tensor(name, raw("Q4_1"), raw_dtype=TYPE.Q4_1)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return tmp_path / "model.gguf"


@pytest.mark.parametrize("kind", TYPES)
def test_each_type_is_dequantised_as_the_package_does(kind, tmp_path):
    writer, data = gguf.GGUFWriter(tmp_path / "model.gguf", "llama"), raw(kind)
    writer.add_tensor("matrix", data, raw_dtype=TYPE[kind])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    file = GgufFile(tmp_path / "model.gguf")
    assert file.shapes == {"matrix": (ROWS, COLUMNS)}
    with np.errstate(all="ignore"):  # random bytes may be NaN
        np.testing.assert_array_equal(file.tensor("matrix"), gguf.dequantize(data, TYPE[kind]))


def test_metadata_are_typed(path):
    file = GgufFile(path)
    assert file.value("tokens", list) == ["one", "two"]
    assert file.own("epsilon", float) == 1e-5
    assert file.own("flag", bool) is True
    assert file.own("other", int, 7) == 7
    with pytest.raises(UserError, match="does not say llama.other"):
        file.own("other", int)
    with pytest.raises(UserError, match="tokens must be of type str, got"):
        file.value("tokens", str)


def test_a_file_that_is_cut_off_is_one_line(path):
    whole = path.read_bytes()
    for size in [*range(4, len(whole) - 64, 7), len(whole) - 64]:
        path.write_bytes(whole[:size])
        with pytest.raises(UserError, match="model.gguf is cut off, damaged or"):
            GgufFile(path)


def test_what_is_no_gguf_is_one_line(tmp_path):
    for name, content in (("empty", b""), ("text", b"GGML, or a text")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match=f"{name} is no GGUF file"):
            GgufFile(tmp_path / name)
    with pytest.raises(UserError, match="missing cannot be read: No such file"):
        GgufFile(tmp_path / "missing")


def test_a_type_that_is_not_dequantised_is_one_line(tmp_path):
    writer = gguf.GGUFWriter(tmp_path / "model.gguf", "llama")
    writer.add_tensor("numbers", np.zeros((2, 2), np.int8))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(UserError, match="numbers is of the type I8, .*; there are F32, F16, BF16"):
        GgufFile(tmp_path / "model.gguf")


def test_a_type_of_the_future_is_one_line(path):
    whole = bytearray(path.read_bytes())
    at = whole.index(b"first") + len(b"first") + 4 + 2 * 8  # behind the number of sizes, and those
    assert whole[at : at + 4] == bytes([TYPE.Q4_1, 0, 0, 0])
    whole[at] = 200
    path.write_bytes(whole)
    with pytest.raises(UserError, match="of an unknown type .*200.*; there are F32, F16, BF16"):
        GgufFile(path)
