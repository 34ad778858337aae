"""Evaluation, and the proof that it cannot reach the verifier: see the guarded task below."""

import dataclasses
from collections import Counter
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from expert_iter import loop
from expert_iter.assembly import Parts
from expert_iter.errors import UserError
from expert_iter.measure.evaluator import EvaluationConfig, Evaluator, evaluated
from expert_iter.measure.scores import scored
from expert_iter.model.step_ends import StepEnds
from expert_iter.model.transformer import Network
from expert_iter.pod.mesh import one_device
from expert_iter.run import Place
from expert_iter.search.bill import Bill, flops_per_token
from expert_iter.search.experts import ExpertSettings
from expert_iter.search.host_verifier import HostVerifier
from expert_iter.tasks import Question
from expert_iter.tasks.verifier.pool import InProcessVerifier
from tests.guarded import EVALUATION, MAX_TOKENS, GuardedTask, Letters, fresh_params, settings


def score(verdict, problems, one):
    [row] = scored(InProcessVerifier(SimpleNamespace(verdict=verdict)), problems, [one])
    return row


@pytest.fixture(scope="module")
def network():
    return Network(settings().model, Letters.vocab_size)


@pytest.fixture(scope="module")
def params(network):
    return fresh_params(network)


@pytest.fixture(scope="module")
def task():
    return GuardedTask()


@pytest.fixture(scope="module")
def evaluator(task, network):
    """As every command gets it, but that whoever makes a verifier for a search fails."""
    with pytest.MonkeyPatch.context() as patch:

        def no_verifier(*_):
            raise AssertionError("evaluation has no verifier")

        patch.setattr(HostVerifier, "__init__", no_verifier)
        task.closed = True
        evaluator = Parts(settings(), task, Letters(), network, objectives={}).evaluator()
        task.closed = False
        yield evaluator


@pytest.fixture(scope="module")
def problems(task):
    return task.problems("test")


def answers(evaluator, params, problems):
    """All answered of all methods, with the task closed."""
    questions = [problem.question for problem in problems]
    evaluator.propose.__self__.closed = True
    answered = [
        one
        for method in ("greedy", "samples", "mcts")
        for one in evaluator.answer(params, questions, method, evaluator.budgets(method))
    ]
    evaluator.propose.__self__.closed = False
    return {(one.method, one.budget): one for one in answered}


@pytest.fixture(scope="module")
def answered(evaluator, params, problems):
    return answers(evaluator, params, problems)


def test_questions_hold_no_answer(problems):
    assert {field.name for field in dataclasses.fields(Question)} == {"id", "prompt", "begun"}
    question = problems[0].question
    assert type(question) is Question and not hasattr(question, "answer")


def test_all_methods_answer_without_the_verifier(answered, problems):
    """`answered` was made with the task closed and with no way to make a verifier."""
    samples = [(m, n) for m in ("majority", "value_vote", "best_of_n") for n in (2, 4, 8)]
    oracle = [("pass_at_n", n) for n in (2, 4, 8)]
    assert set(answered) == {("greedy", 1), *samples, *oracle, ("mcts", 1), ("mcts", 3)}
    for one in answered.values():
        assert len(one.texts) == len(problems) and one.seconds > 0
        assert any(text is not None for text in one.texts) or one.readout == "oracle"
        assert all(np.shape(cost) == (len(problems),) for cost in one.bill)


def test_the_programs_of_evaluation_never_call_the_host(evaluator, params, problems):
    """Traced anew, none of them has a callback: nothing outside the device is asked."""
    programs = {}

    def tracing(name, run):
        def traced(*arguments):
            programs[name] = str(run.trace(*arguments).jaxpr)
            return run(*arguments)

        return traced

    with pytest.MonkeyPatch.context() as patch:
        for name, player in evaluator._players.items():
            patch.setattr(player, "_search", tracing(name, player._search))
        answers(evaluator, params, problems)
    assert len(programs) == 3
    assert not any("callback" in program for program in programs.values())


def test_answers_do_not_depend_on_the_problems_answers(evaluator, params, problems, answered):
    other = [dataclasses.replace(p, answer="dcba"[i % 4]) for i, p in enumerate(problems)]
    again = answers(evaluator, params, other)
    moved, verdict = 0, evaluator.propose.__self__.verdict
    for key, one in answered.items():
        assert again[key].texts == one.texts and again[key].candidates == one.candidates
        jax.tree.map(np.testing.assert_array_equal, again[key].bill, one.bill)
        rows = [score(verdict, asked, one) for asked in (problems, other)]
        moved += rows[0]["correct"] != rows[1]["correct"]
    assert moved, "the test wants answers that matter to the verdicts"


def test_the_loop_asks_the_verifier_only_about_what_was_answered(evaluator, params, task):
    handed = []

    class Closing:
        """The evaluator, with the task closed for as long as it works on answers."""

        budgets = staticmethod(evaluator.budgets)
        round_budget = staticmethod(evaluator.round_budget)

        def answer(self, params, questions, method, budgets, readouts=()):
            handed.extend(questions)
            found = evaluator.answer(params, questions, method, budgets, readouts)
            while True:
                task.closed = True
                one = next(found, None)
                task.closed = False
                if one is None:
                    return
                task.judged.clear()
                yield one
                texts = one.texts if one.candidates is None else sum(one.candidates, [])
                assert set(task.judged) <= set(texts)

    run = SimpleNamespace(
        parts=SimpleNamespace(task=task, verifier=InProcessVerifier(task)),
        settings=settings(),
        params=params,
        place=Place(),
        phase=lambda name, total, unit, round=0: range(total),
        note=lambda **figures: None,
    )
    loop.evaluate(run, Closing(), "after")
    loop.check(run, Closing(), 1)
    assert len(run.place.results) == 1 + 4 * 3 + 2 + 2
    assert {type(question) for question in handed} == {Question}


def generated(text):
    """Tokens written for a text: its letters and the end mark, or all that there is room for."""
    return MAX_TOKENS if text is None else len(text) + 1


def test_smaller_sample_budgets_are_part_of_larger_ones(answered):
    for small, large in ((2, 4), (4, 8)):
        texts = [answered["pass_at_n", n].candidates for n in (small, large)]
        for few, many in zip(*texts, strict=True):
            assert len(few) <= small and Counter(few) <= Counter(many)
    assert any(0 < len(texts) < 8 for texts in answered["pass_at_n", 8].candidates)
    assert any(len(set(texts)) < len(texts) for texts in answered["pass_at_n", 8].candidates)


def test_samples_cost_what_they_wrote(answered, problems, network):
    """Tokens and FLOPs worked out from the texts: prompts once, every sample to its end mark."""
    trunk, heads = flops_per_token(network.config, network.vocab_size, 0)
    attention = flops_per_token(network.config, network.vocab_size, 1)[0] - trunk
    for n in EVALUATION.samples:
        for method in ("majority", "value_vote", "best_of_n", "pass_at_n"):
            bill = answered[method, n].bill
            for i, texts in enumerate(answered["pass_at_n", n].candidates):
                written = [*map(generated, texts + [None] * (n - len(texts)))]
                prompt = 1 + len(problems[i].prompt)
                assert round(float(bill.generated[i]), 3) == sum(written)
                assert bill.prefilled[i] == prompt
                flops = prompt * (trunk + attention * prompt) + sum(
                    tokens * (trunk + attention * (prompt + tokens / 2) + heads)
                    for tokens in written
                )
                np.testing.assert_allclose(bill.flops[i], flops, rtol=1e-5)
                assert bill.lockstep[i] >= sum(written)


def test_bills_grow_with_the_budget(answered):
    for method in ("majority", "value_vote", "best_of_n", "mcts"):
        bills = [one.bill for (name, _), one in sorted(answered.items()) if name == method]
        for small, large in zip(bills, bills[1:], strict=False):
            for cost in ("generated", "flops", "lockstep"):
                assert (getattr(large, cost) >= getattr(small, cost)).all()
            assert large.generated.sum() > small.generated.sum()
            assert large.flops.sum() > small.flops.sum()


@pytest.fixture(scope="module")
def heads(network, params, problems):
    """(value, log π) of a solution to problem i, its text read in one pass."""

    @jax.jit
    def read(tokens):
        length = tokens.shape[1]
        causal = jnp.tril(jnp.ones((1, length, length), bool))
        hidden, _ = network.hidden(params, tokens, jnp.arange(length)[None], causal)
        # Padding and the begin-of-text mark are never written.
        logits = network.logits(params, hidden).at[..., :2].set(-jnp.inf)
        return jax.nn.log_softmax(logits), network.value_logit(params, hidden)

    def value_of(i, text):
        prompt = Letters().encode_prompt(problems[i].prompt)
        tokens = [*prompt, *Letters().encode(text), Letters.ids.eos]
        padded = np.zeros((1, 16), np.int32)
        padded[0, : len(tokens)] = tokens
        log_probs, values = read(padded)
        at = np.arange(len(prompt), len(tokens))
        return (
            1 / (1 + np.exp(-float(values[0, at[-1]]))),
            float(np.sum(log_probs[0, at - 1, padded[0, at]])),
        )

    return value_of


def test_votes_and_best_of_n_by_hand(answered, task, heads):
    for n in EVALUATION.samples:
        for i, texts in enumerate(answered["pass_at_n", n].candidates):
            found = {method: answered[method, n].texts[i] for method in ("majority", "value_vote")}
            best = answered["best_of_n", n].texts[i]
            if not texts:
                assert {best, *found.values()} == {None}
                continue
            values, log_pis = zip(*(heads(i, text) for text in texts), strict=True)
            scores = np.log(values) + EVALUATION.prior_weight * np.array(log_pis)
            assert best == texts[int(np.argmax(scores))]
            for method, weights in (("majority", np.ones(len(texts))), ("value_vote", values)):
                total = {}
                for text, weight in zip(texts, weights, strict=True):
                    proposal = task.answer(None, text)
                    if proposal is not None:
                        total[proposal] = total.get(proposal, 0) + weight
                if not total:
                    assert found[method] is None
                else:
                    winner = task.answer(None, found[method])
                    assert total[winner] == max(total.values())
                    assert found[method] in texts


def test_greedy_takes_the_likeliest_token_at_each_place(answered, network, params, problems):
    for problem, text in zip(problems, answered["greedy", 1].texts, strict=True):
        tokens, written = Letters().encode_prompt(problem.prompt), []
        for _ in range(MAX_TOKENS):
            length = len(tokens)
            padded = np.zeros((1, 16), np.int32)
            padded[0, :length] = tokens
            causal = jnp.tril(jnp.ones((1, 16, 16), bool))
            hidden, _ = network.hidden(params, padded, jnp.arange(16)[None], causal)
            logits = network.logits(params, hidden[0, length - 1])
            token = 2 + int(jnp.argmax(logits[2:]))
            if token == Letters.ids.eos:
                break
            tokens.append(token)
            written.append(token)
        ended = len(written) < MAX_TOKENS
        assert text == (Letters().decode(written) if ended else None)


def test_the_oracle_is_never_worse_than_a_pick_from_the_same_samples(answered, problems, task):
    for n in EVALUATION.samples:
        oracle = score(task.verdict, problems, answered["pass_at_n", n])["correct"]
        for method in ("majority", "value_vote", "best_of_n"):
            picked = score(task.verdict, problems, answered[method, n])["correct"]
            assert all(a >= b for a, b in zip(oracle, picked, strict=True))


def test_a_search_without_an_end_falls_back_to_greedy_and_pays_for_it(
    evaluator, params, problems, answered, monkeypatch
):
    questions, greedy = [p.question for p in problems], answered["greedy", 1]
    usual = answered["mcts", 1]
    with monkeypatch.context() as patch:
        found = evaluator.solutions
        blind = lambda tree, b: [] if tree.live.shape[1] > 1 else found(tree, b)  # noqa: E731
        patch.setattr(evaluator, "solutions", blind)
        (nothing,) = evaluator.answer(params, questions, "mcts", (1,))
    assert nothing.texts == greedy.texts
    search = Bill(*(a - b for a, b in zip(nothing.bill, greedy.bill, strict=True)))
    fell_back = 0
    for i in range(len(problems)):
        extra = usual.bill.generated[i] - search.generated[i]
        if extra:
            fell_back += 1
            assert usual.texts[i] == greedy.texts[i]
            for name in ("generated", "prefilled", "flops"):
                paid = getattr(usual.bill, name)[i] - getattr(search, name)[i]
                np.testing.assert_allclose(paid, getattr(greedy.bill, name)[i], rtol=1e-5)
    assert 0 < fell_back < len(problems), "the test wants searches with and without an end"


def test_a_budget_is_answered_alike_alone_and_among_others(evaluator, params, problems, answered):
    questions = [p.question for p in problems]
    (alone,) = evaluator.answer(params, questions, "mcts", (3,))
    assert alone.texts == answered["mcts", 3].texts
    for one in evaluator.answer(params, questions, "samples", (2,)):
        among = answered[one.method, 2]
        assert one.texts == among.texts
        for ours, theirs in zip(one.bill, among.bill, strict=True):
            np.testing.assert_array_equal(ours, theirs)
    tree, solution = evaluator.search_one(params, questions[0], 3)
    assert tree.live.shape[0] == 1
    if solution is not None:
        assert Letters().decode(solution.tokens) == alone.texts[0]


def test_samples_are_drawn_once_for_all_budgets(evaluator, params, problems, answered, monkeypatch):
    questions, player, calls = [p.question for p in problems], evaluator._players["samples"], []
    draw = player._search
    monkeypatch.setattr(player, "_search", lambda *given: calls.append(given) or draw(*given))
    found = list(evaluator.answer(params, questions, "samples", (1, 2)))
    assert {one.budget for one in found} == {1, 2}
    assert len(calls) == -(-len(questions) // player.batch_size)


def test_a_budget_beyond_the_compiled_programs_is_an_error(evaluator, params, problems):
    for expert, most in (("samples", 8), ("mcts", 3)):
        with pytest.raises(UserError, match=f"{most + 1} is beyond .* {expert} .* {most}"):
            list(evaluator.answer(params, [problems[0].question], expert, (most + 1,)))


def test_evaluation_searches_as_search_does_unless_it_is_set_otherwise():
    s = settings()
    search = dataclasses.replace(s.search, num_candidates=3, root_candidates=7)
    experts = ExpertSettings(search, s.sampler, s.guess)
    for given, wanted in (((0, 0), (3, 7)), ((5, 0), (5, 7)), ((0, 4), (3, 4)), ((2, 9), (2, 9))):
        found = evaluated(
            experts, EvaluationConfig(num_candidates=given[0], root_candidates=given[1])
        ).search
        assert (found.num_candidates, found.root_candidates) == wanted
    with pytest.raises(UserError, match="evaluation.root_candidates .* 7 and 8"):
        evaluated(experts, EvaluationConfig(num_candidates=8))


def test_programs_are_made_for_the_largest_budget():
    s = settings()
    experts = ExpertSettings(s.search, s.sampler, s.guess)
    config = EvaluationConfig(
        samples=(2, 4), simulations=(6,), round_simulations=9, round_samples=3
    )
    found = evaluated(experts, config)
    assert (found.search.num_simulations, found.guess.num_samples) == (9, 4)


def test_a_check_spends_what_its_expert_counts_in(evaluator):
    """Simulations of a tree search, samples of a guess, of which greedy has but one."""
    budgets = {name: evaluator.round_budget(name) for name in ("greedy", "guess", "mcts")}
    c = evaluator.config
    assert budgets == {"greedy": 1, "guess": c.round_samples, "mcts": c.round_simulations}


def test_an_unknown_method_is_an_error(evaluator, params, problems):
    with pytest.raises(UserError, match="'mtcs'.*greedy.*samples.*mcts"):
        list(evaluator.answer(params, [problems[0].question], "mtcs", (1,)))


@pytest.mark.parametrize("empty", ["samples", "simulations"])
def test_a_method_may_have_no_budgets_at_all(network, params, problems, task, empty):
    config = dataclasses.replace(EVALUATION, **{empty: ()})
    s = settings()
    experts = ExpertSettings(s.search, s.sampler, s.guess)
    evaluator = Evaluator(
        network,
        Letters(),
        StepEnds(Letters(), "line"),
        config,
        settings=experts,
        propose=task.answer,
        layout=one_device(),
    )
    method = {"samples": "samples", "simulations": "mcts"}[empty]
    questions = [problems[0].question]
    assert list(evaluator.answer(params, questions, method, evaluator.budgets(method))) == []
