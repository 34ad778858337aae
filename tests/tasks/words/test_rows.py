import pytest

from expert_iter.tasks.records import WrittenNumber
from expert_iter.tasks.words.rows import number_text, whole_number


@pytest.mark.parametrize(
    ("written", "text"),
    [
        ("18", "18"),
        ("8.0", "8"),
        ("8.000", "8"),
        ("-2.0", "-2"),
        ("2.50", "2.50"),
        ("100", "100"),
        ("0.00001", "0.00001"),
        ("12345678901234567890.0", "12345678901234567890"),
        ("12345678901234567890.5", "12345678901234567890.5"),
        ("1e3", "1e3"),
    ],
)
def test_a_number_is_taken_as_written_but_for_a_needless_fraction(written, text):
    for value in (WrittenNumber(written), written, f" {written} "):
        assert number_text({"x": value}, "x") == text


@pytest.mark.parametrize(
    "value",
    [None, True, "", "NaN", "inf", "-Infinity", "1_000", "1,000", "three", "1 2", [3], float("nan")]
    + [WrittenNumber("1e999"), WrittenNumber("9" * 5000)],
)
def test_what_is_no_number_or_too_long_to_compare_is_refused(value):
    with pytest.raises(ValueError, match="no number in `x`|the answer '"):
        number_text({"x": value}, "x")


def test_whole_numbers_are_told_from_others():
    assert [whole_number({"x": v}, "x") for v in (WrittenNumber("17"), 17, "17")] == [17] * 3
    for value in (None, True, 1.5, WrittenNumber("17.0"), -1, "\u0661", WrittenNumber("9" * 5000)):
        with pytest.raises(ValueError, match="no whole number in `x`"):
            whole_number({"x": value}, "x")
