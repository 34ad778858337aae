"""How problems are drawn, by a stand-in for the package whose problems are their numbers."""

import importlib.util
import pickle
import sys
import textwrap

import pytest

from expert_iter.errors import UserError
from expert_iter.tasks.gym.entries import draw, draw_in_process, known_answer

installed = pytest.mark.skipif(
    importlib.util.find_spec("reasoning_gym") is None, reason="reasoning-gym is not installed"
)
SIZES = {"test": 3, "validation": 4, "train": 5}
FACTORY = """
    import dataclasses, os

    @dataclasses.dataclass
    class Config:
        modulus: int = 1 << 40
        fails: str = ""
        size: int = 0
        seed: int = 0

    class Numbers:
        def __init__(self, config):
            self.config = config

        def __getitem__(self, i):
            if self.config.fails == "raise":
                raise IndexError("there are\\n no more")
            if self.config.fails == "exit":
                os._exit(3)
            print("made", i)
            number = str((self.config.seed + i) % self.config.modulus)
            return {"question": number, "answer": number, "metadata": {}}

    DATASETS = {"numbers": (Numbers, Config)}

    def create_dataset(name, **settings):
        return Numbers(Config(**settings))
"""


@pytest.fixture
def numbers(monkeypatch, tmp_path):
    """The stand-in, for this process and new ones."""

    def loaded():
        return [name for name in sys.modules if name.partition(".")[0] == "reasoning_gym"]

    folder = tmp_path / "reasoning_gym"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "factory.py").write_text(textwrap.dedent(FACTORY))
    for name in loaded():
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    for name in loaded():
        del sys.modules[name]


def questions(found):
    return [entry.question for entries in found.values() for entry in entries]


def test_no_number_is_in_two_splits_or_seeds(numbers):
    drawn = [questions(draw("numbers", {}, seed, SIZES)) for seed in (0, 1, 1000)]
    everything = [number for found in drawn for number in found]
    assert len(set(everything)) == 3 * sum(SIZES.values())
    assert 0 <= min(map(int, everything)) and max(map(int, everything)) < 2**32


def test_a_split_is_drawn_again_until_it_has_enough_new_questions(numbers):
    found = draw("numbers", {"modulus": 12}, 0, SIZES)
    assert {split: len(entries) for split, entries in found.items()} == SIZES
    assert len(set(questions(found))) == 12
    with pytest.raises(
        UserError, match="task.train_size=5, but 20 problems of numbers held only 4"
    ):
        draw("numbers", {"modulus": 11}, 0, SIZES)


def test_a_record_is_kept_as_the_package_made_it(numbers):
    (entry,) = draw("numbers", {}, 0, {"test": 1})["test"]
    record = pickle.loads(entry.pickled)
    assert record == {"question": entry.question, "answer": entry.answer, "metadata": {}}


def test_a_new_process_draws_the_same_whatever_the_package_prints(numbers):
    given = "numbers", {}, 3, SIZES
    assert draw_in_process(*given) == draw(*given)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("number", {}, "reasoning-gym has no data set 'number': did you mean numbers"),
        ("numbers", {"modulo": 3}, "numbers has no setting 'modulo': did you mean modulus"),
        ("numbers", {"fails": "raise"}, "fails in problem 0 of numbers: there are no more$"),
        ("numbers", {"fails": "exit"}, "could not make problems of numbers: exit code 3$"),
    ],
)
def test_errors_of_the_new_process_are_one_line(numbers, name, options, message):
    with pytest.raises(UserError, match=message) as error:
        draw_in_process(name, options, 0, SIZES)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("answer", "metadata", "known"),
    [
        ("5 ", {"example_answer": "6"}, "5"),
        ("", {"example_answer": "6"}, ""),
        (None, {"example_answer": "P"}, "P"),
        (None, {"possible_answer": {0: 1, 1: 2}}, '{"0": 1, "1": 2}'),
        (None, {"solution": "7"}, ""),
    ],
)
def test_a_known_answer_is_the_answer_or_the_example_of_one(answer, metadata, known):
    assert known_answer({"question": "", "answer": answer, "metadata": metadata}) == known


@installed
@pytest.mark.slow
@pytest.mark.parametrize("name", ["isomorphic_strings", "ransom_note", "word_ladder"])
def test_problems_do_not_depend_on_the_hash_seed(name, monkeypatch):
    found = []
    for seed in "12":
        monkeypatch.setenv("PYTHONHASHSEED", seed)
        found.append(draw_in_process(name, {}, 0, SIZES))
    assert found[0] == found[1]
