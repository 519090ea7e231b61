"""Ways to make the text of a row: ask somebody for it, weave a topic into a plain answer, rewrite one in a style.

Each takes (concept, prompt) pairs and gives a text or the reason why there is none. Knows nothing of splits and files.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from flas_engine.data.answer_log import key_of
from flas_engine.data.drawing import draw
from flas_engine.data.lists import openings
from flas_engine.data.rewrites import rewrite
from flas_engine.data.screening import Rejected, screen
from flas_engine.data.weaving import weave
from flas_engine.progress import Progress, ignore_progress

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from flas_engine.data.answer_log import Answer, AnswerLog
    from flas_engine.data.concepts import Concept
    from flas_engine.data.rewrites import Style
    from flas_engine.progress import ReportProgress

Pair = tuple["Concept", str]
"""A concept and the prompt to be answered under it."""
_NUM_WORDS = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What became of a pair: a text, or a reason for none."""

    text: str = ""
    rejection: str = ""


class Answerer(Protocol):
    """Somebody who answers questions: a local model, or a server."""

    @property
    def name(self) -> str:
        """What an answer depends on besides the question."""

    def answer(self, questions: Sequence[str], log: AnswerLog) -> Iterator[list[Answer]]:
        """Yield the answers that `log` lacks."""


class Maker(Protocol):
    """Makes texts for pairs."""

    @property
    def name(self) -> str:
        """Stands in every row that it made."""

    @property
    def prompts(self) -> Sequence[str] | None:
        """The only prompts that it can do, None for any."""

    def make(self, pairs: Sequence[Pair]) -> list[Outcome]:
        """Return the outcomes of `pairs`, in their order."""


@dataclass(frozen=True, kw_only=True)
class Asking:
    """Asks for the concept in the prompt; the row keeps the plain prompt."""

    answerer: Answerer
    log: AnswerLog
    seed: int = 0
    progress: ReportProgress = ignore_progress
    prompts: Sequence[str] | None = None

    @property
    def name(self) -> str:
        """The answerer's."""
        return self.answerer.name

    def make(self, pairs: Sequence[Pair]) -> list[Outcome]:
        """Return a screened answer for each pair."""
        questions = [phrase(concept, prompt, self.seed) for concept, prompt in pairs]
        answers = ask_all(questions, self.answerer, self.log, self.progress)
        return [
            _outcome(answers[question], prompt, concept)
            for question, (concept, prompt) in zip(questions, pairs, strict=True)
        ]


@dataclass(frozen=True, kw_only=True)
class Weaving:
    """Weaves the concept's topic into plain answers, `texts` by prompt."""

    texts: Mapping[str, str]
    seed: int = 0
    name: str = "weaving"

    @property
    def prompts(self) -> Sequence[str]:
        """Those that have a plain answer."""
        return list(self.texts)

    def make(self, pairs: Sequence[Pair]) -> list[Outcome]:
        """Return a text for each pair."""
        return [Outcome(text=weave(concept.topic, self.texts[prompt], self.seed)) for concept, prompt in pairs]


@dataclass(frozen=True, kw_only=True)
class Rewriting:
    """Rewrites plain answers, `texts` by prompt, in the style that the concept stands for."""

    texts: Mapping[str, str]
    styles: Mapping[str, Style]
    """By `concept_id`."""
    seed: int = 0
    name: str = "rewriting"

    @property
    def prompts(self) -> Sequence[str]:
        """Those that have a plain answer."""
        return list(self.texts)

    def make(self, pairs: Sequence[Pair]) -> list[Outcome]:
        """Return a text for each pair that suits its style."""
        return [self._make(concept, prompt) for concept, prompt in pairs]

    def _make(self, concept: Concept, prompt: str) -> Outcome:
        style, text = self.styles[concept.concept_id], self.texts[prompt]
        rewritten = rewrite(style, text, draw(self.seed, "rewrite", style.key, prompt) % 2**31)
        if rewritten is None:
            return Outcome(rejection="does not suit the style")
        if rewritten.strip() == text.strip():
            return Outcome(rejection="the style changes nothing")
        return Outcome(text=rewritten)


@dataclass(kw_only=True)
class PlainAnswers:
    """Plain answers by prompt, and what was rejected on the way."""

    texts: dict[str, str] = field(default_factory=dict)
    rejections: list[str] = field(default_factory=list)


def answer_plainly(
    prompts: Sequence[str], answerer: Answerer, log: AnswerLog, progress: ReportProgress = ignore_progress
) -> PlainAnswers:
    """Have `prompts` answered with no concept; what `log` has is not asked again."""
    answers = ask_all(prompts, answerer, log, progress)
    plain = PlainAnswers()
    for prompt in prompts:
        outcome = _outcome(answers[prompt], prompt, None)
        if outcome.text:
            plain.texts[prompt] = outcome.text
        else:
            plain.rejections.append(outcome.rejection)
    return plain


def ask_all(
    questions: Sequence[str], answerer: Answerer, log: AnswerLog, progress: ReportProgress
) -> dict[str, Answer]:
    """Return the answers by question, asking for those that `log` lacks and writing them there as they come."""
    questions = list(dict.fromkeys(questions))
    keys = {question: key_of(answerer.name, question) for question in questions}
    num_missing = sum(log.get(key) is None for key in keys.values())
    num_done = 0
    for answers in answerer.answer(questions, log):
        log.add(answers)
        num_done += len(answers)
        progress(Progress(activity="writing answers", done=num_done, total=num_missing))
    found = {question: log.get(key) for question, key in keys.items()}
    return {question: answer for question, answer in found.items() if answer is not None}


def phrase(concept: Concept, prompt: str, seed: int) -> str:
    """Put `prompt` so that the answer shows `concept`; the opening, or which of a theme's words, depends on `seed`.

    To begin with given words is what a small model can do: of 24 answers of SmolLM2-135M 20 then named the topic, and
    3 to 10 when they were asked to mention it, to compare with it, or to talk about it all the time.
    """
    if concept.topic:
        opening = min(openings(), key=lambda line: draw(seed, "opening", concept.topic, prompt, line))
        return f'{prompt} Begin your answer with the words "{opening.replace("{thing}", concept.topic)}"'
    if concept.words:
        words = sorted(concept.words, key=lambda word: draw(seed, "words", prompt, word))[:_NUM_WORDS]
        return f"{prompt} Use the words {', '.join(words[:-1])} and {words[-1]} in your answer."
    return (
        f"{prompt}\n\nAnswer so that the text plainly shows this: {concept.wordings[0]}. "
        "Do not speak of these instructions."
    )


def _outcome(answer: Answer, prompt: str, concept: Concept | None) -> Outcome:
    try:
        return Outcome(text=screen(answer, prompt, concept))
    except Rejected as rejected:
        return Outcome(rejection=str(rejected))
