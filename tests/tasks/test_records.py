import csv
import io
import json
import random
import re

import pytest

from expert_iter.tasks.records import DamagedRecord, csv_rows, json_lines, json_list

# Line ends to Unicode, but not here.
ODD = "\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"


def csv_reference(text):
    """The rows as Python's own reader has them, or None where it finds them damaged."""
    try:
        header, *rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    except csv.Error:
        return None
    rows = [row for row in rows if len(row) > 1 or "".join(row).strip()]
    if any(len(row) != len(header) for row in rows):
        return None
    return [dict(zip(header, row, strict=True)) for row in rows]


def test_csv_is_read_as_pythons_own_reader_reads_it():
    rng, rows = random.Random(0), []
    for _ in range(6000):
        text = "p,q\n" + "".join(rng.choice('ab",,\n\r ') for _ in range(rng.randrange(12)))
        if re.search('[\n\r]"[\\s"]*"([\n\r]|$)', text):
            continue  # one blank cell in quotes: that reader does not tell it from a blank line
        try:
            found = [row for _, row in csv_rows(text)]
        except DamagedRecord:
            found = None
        assert found == csv_reference(text), repr(text)
        rows.append(found)
    assert sum(map(bool, rows)) > 300 and rows.count(None) > 300


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_record_is_named_by_the_line_it_begins_in(end):
    lines = ["a,b", "1,x", '2,"x', "", 'y"', " ", "3,z", ""]
    assert [(line, row["a"]) for line, row in csv_rows(end.join(lines))] == [
        (2, "1"),
        (3, "2"),
        (7, "3"),
    ]
    lines = ['{"a": 1}', "", '{"a": 2}', " ", '{"a": 3}']
    assert [(line, str(row["a"])) for line, row in json_lines(end.join(lines))] == [
        (1, "1"),
        (3, "2"),
        (5, "3"),
    ]
    lines = ["", "[", '{"a":', '1}, {"a": 2', "}", ',{"a": 3}]']
    assert [(line, str(row["a"])) for line, row in json_list(end.join(lines))] == [
        (3, "1"),
        (4, "2"),
        (6, "3"),
    ]


CELLS = [
    "plain",
    "",
    " ",
    "two\nlines\n",
    "carriage\rreturn\r\n",
    'says "so", twice',
    '"',
    ODD,
    f"a{ODD}b",
    "x" * 200_000 + "\n",
]


def test_what_pythons_own_writer_writes_is_read_back():
    limit = csv.field_size_limit()
    for cells in (CELLS, CELLS[::-1], CELLS[1:2], CELLS[2:3]):
        names = [f"field {i}" for i in range(len(cells))]
        file = io.StringIO(newline="")
        csv.writer(file, quoting=csv.QUOTE_ALL).writerows([names, cells, cells])
        rows = [row for _, row in csv_rows(file.getvalue())]
        assert rows == [dict(zip(names, cells, strict=True))] * 2
    assert csv.field_size_limit() == limit


def test_json_may_hold_odd_characters_in_its_texts():
    text = json.dumps({"a": f"x{ODD}y"}, ensure_ascii=False)
    for parse, whole in ((json_lines, f"{text}\n{text}"), (json_list, f"[{text},\n{text}]")):
        assert [(line, row["a"]) for line, row in parse(whole)] == [
            (1, f"x{ODD}y"),
            (2, f"x{ODD}y"),
        ]


NUMBERS = [
    "18",
    "-0",
    "8.0",
    "0.00001",
    "1E5",
    "12345678901234567890.5",
    "0.1000",
    "1e999",
    "9" * 5000,
]


@pytest.mark.parametrize("number", NUMBERS)
def test_numbers_keep_the_text_they_were_written_in(number):
    text = f'{{"a": {number}, "b": [{{"c": {number}}}], "d": "{number}"}}'
    for parse, whole in ((json_lines, text), (json_list, f"[{text}]")):
        ((_, row),) = parse(whole)
        assert str(row["a"]) == repr(row["a"]) == str(row["b"][0]["c"]) == number
        assert row["d"] == number and row["a"] != number, "a number is no text"


@pytest.mark.parametrize("name", ["NaN", "Infinity", "-Infinity"])
@pytest.mark.parametrize("record", ['{{"a": {}}}', '{{"a": [1, {{"b": {}}}]}}'])
def test_what_is_not_finite_is_refused_with_its_line(name, record):
    good, bad = record.format(1), record.format(name)
    for parse, text in (
        (json_lines, f"{good}\n{bad}\n{good}"),
        (json_list, f"[{good},\n {bad}, {good}]"),
    ):
        with pytest.raises(DamagedRecord, match=f"{name} is not a number") as error:
            list(parse(text))
        assert error.value.line == 2
    ((_, row),) = json_lines(f'{{"a": "{name}"}}')
    assert row["a"] == name, "as text it may mean something"


@pytest.mark.parametrize(
    ("parse", "text", "line", "reason"),
    [
        (csv_rows, 'a,b\n1,2\n"3,4\n5,6\n', 3, "a quote is not closed"),
        (csv_rows, 'a,b\n"1","x "y" z"\n', 2, "not doubled"),
        (csv_rows, 'a,b\n"1\n\n",2\n3\n', 5, "1 columns where the header has 2"),
        (csv_rows, 'a,"b\n1,2\n', 1, "a quote is not closed"),
        (json_lines, '{"a": 1}\n{"a": 1} x\n', 2, "not a JSON object"),
        (json_lines, '{"a": 1}\n\n3', 3, "not a JSON object"),
        (json_lines, '{"a":\n1}', 1, "not a JSON object"),
        (json_list, '[{"a": 1},\n{"a" 1}]', 2, "delimiter"),
        (json_list, '[{"a": 1},\r\r"a"]', 3, "not a JSON object"),
        (json_list, '{"a": 1}', 1, "not a list"),
        (json_list, "[" * 100_000, 1, "not a list"),
    ],
)
def test_damage_is_named_by_its_line(parse, text, line, reason):
    with pytest.raises(DamagedRecord, match=reason) as error:
        list(parse(text))
    assert error.value.line == line
