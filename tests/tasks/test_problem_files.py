import pytest

from expert_iter.errors import UserError
from expert_iter.tasks import load_task

TASK = load_task("countdown")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.jsonl", '{"input": "30,100,93", "output": "23"}\n'),
        ("a.jsonl", '\n{"numbers": [30, 100, 93], "target": 23}'),
        ("a.jsonl", '{"numbers": "30 100 93", "target": "23", "note": "x"}\r\n\r\n'),
        ("a.csv", "numbers,target\n30 100 93,23\n"),
        ("a.csv", 'target,numbers\n23,"30,100,93"\n'),
        ("a.csv", '\ufeffinput,output\r\n"30, 100, 93",23\r\n'),
        ("a.csv", 'numbers,target\n"30\n100\r\n93",23'),
        ("a.json", '[\n {"numbers": [30, 100, 93], "target": 23}\n]'),
    ],
)
def test_fields_and_formats(tmp_path, name, text):
    (tmp_path / name).write_bytes(text.encode())
    (problem,) = TASK.read(tmp_path / name)
    assert problem.prompt == "30 100 93 -> 23\n"
    assert problem.answer == ((30, 100, 93), 23)


def test_ids(tmp_path):
    file = tmp_path / "a.jsonl"
    file.write_text('{"numbers": "1 2", "target": 3}\n{"numbers": "1 2", "target": 3, "id": "x"}')
    assert [problem.id for problem in TASK.read(file)] == ["a.jsonl:1", "x"]


GOOD = '{"numbers": "3 5", "target": 8}\n'


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", GOOD + "{oops", "a.jsonl, line 2: not a JSON object"),
        ("a.jsonl", GOOD + "\n[1, 2]", "a.jsonl, line 3: not a JSON object"),
        ("a.jsonl", GOOD + "[" * 100_000, "a.jsonl, line 2: not a JSON object"),
        ("a.jsonl", GOOD + "{}", "a.jsonl, line 2: there is neither"),
        ("a.jsonl", GOOD + '{"numbers": "3 5"}', "a.jsonl, line 2: there is no `target`"),
        ("a.jsonl", GOOD + '{"numbers": 3, "target": 5}', "line 2: there must be 2 to 8 numbers"),
        ("a.jsonl", GOOD + '{"numbers": [3, -5], "target": 5}', "line 2: '-5' is not a whole"),
        ("a.jsonl", GOOD + '{"numbers": [3, true], "target": 5}', "line 2: 'True' is not a whole"),
        ("a.jsonl", GOOD + '{"numbers": "3 5", "target": 2.5}', "line 2: '2.5' is not a whole"),
        ("a.jsonl", GOOD + '{"numbers": "3 5", "target": NaN}', "line 2: NaN is not a number"),
        ("a.jsonl", GOOD + f'{{"numbers": "3 5", "target": {"9" * 9000}}}', "line 2"),
        ("a.jsonl", GOOD.encode() + b"\xff\xfe", "a.jsonl, line 2: not UTF-8 text"),
        ("a.csv", "numbers,target\n3 5,8\n3 5\n", "a.csv, line 3: 1 columns where .* has 2"),
        ("a.csv", 'numbers,target\n3 5,8\n"3 5,8\n', "a.csv, line 3: "),
        ("a.csv", 'numbers,target\n"3\n5",8\n"3 5",8,1\n', "a.csv, line 4: 3 columns"),
        ("a.csv", b"numbers,target\n3 5,8\n\xff 5,8\n", "a.csv, line 3: not UTF-8 text"),
        ("a.csv", "a,b\n3 5,8\n", "a.csv, line 2: there is neither"),
        ("a.jsonl.gz", b"PK", "a.jsonl.gz: cannot be read: "),
        ("a.gz", GOOD, "must end in .jsonl, .csv or .json"),
        ("a.csv", "numbers,target\n", "the file has no problems"),
        ("a.jsonl", "", "the file has no problems"),
        ("a.txt", GOOD, "must end in .jsonl, .csv or .json"),
        ("a.jsonl", None, "a.jsonl: cannot be read: No such file"),
    ],
)
def test_damaged_files(tmp_path, name, content, message):
    if content is not None:
        data = content if isinstance(content, bytes) else content.encode()
        (tmp_path / name).write_bytes(data)
    with pytest.raises(UserError, match=message) as raised:
        TASK.read(tmp_path / name)
    assert "\n" not in str(raised.value) and len(str(raised.value)) < 300
