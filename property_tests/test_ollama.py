"""Laws of what goes to Ollama: names, Modelfiles, prompts."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from tests.go_template import prompt_of
from tests.modelfile_text import modelfile_text

from backprop.plan.decision import Problem
from backprop.plan.export.modelfile import Modelfile, parse_modelfile
from backprop.plan.export.ollama_name import OllamaName, is_on_shelf, parse_name, part_from, shelf_name
from backprop.plan.export.turn_format import TurnFormat, derive_turns, go_template

TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\r"), max_size=30)
QUOTABLE = TEXTS.filter(lambda text: '"' not in text)
LITERALS = st.text(st.sampled_from('ab{}<>|\n -"'), min_size=1, max_size=8)


@given(st.text(max_size=120))
def test_any_text_can_be_made_a_name_that_ollama_takes(text: str) -> None:
    part = part_from(text)
    assert part_from(part) == part
    assert isinstance(parse_name(f"{part}:{part}"), OllamaName)


@given(st.text(max_size=40))
def test_a_name_reads_back_or_is_refused(text: str) -> None:
    name = parse_name(text)
    if not isinstance(name, Problem):
        again = parse_name(str(name))
        assert again == name


@given(st.text(max_size=30), st.text(max_size=30), st.text(max_size=30))
def test_an_adapter_is_on_the_shelf_of_its_base_and_never_the_base_itself(model: str, tag: str, adapter: str) -> None:
    base = parse_name(f"{part_from(model)}:{part_from(tag)}")
    assert isinstance(base, OllamaName)
    own = shelf_name(base, part_from(adapter))
    assert is_on_shelf(own, base) == (own.key != base.key)
    assert not is_on_shelf(base, base)


@given(
    st.builds(
        Modelfile,
        source=st.just("./m.gguf"),
        template=st.none() | QUOTABLE,
        system=st.none() | QUOTABLE,
        licenses=st.lists(QUOTABLE, max_size=2).map(tuple),
        messages=st.lists(st.tuples(st.sampled_from(["user", "assistant"]), QUOTABLE), max_size=3).map(tuple),
        parameters=st.fixed_dictionaries(
            {}, optional={"num_ctx": st.integers(1), "top_p": st.floats(0, 1), "use_mmap": st.booleans()}
        ).map(lambda parameters: tuple(parameters.items())),
    )
)
def test_a_modelfile_that_can_be_written_reads_back(modelfile: Modelfile) -> None:
    assert parse_modelfile(modelfile_text(modelfile), name="m") == modelfile


@given(st.text(max_size=200))
def test_no_text_breaks_the_reader(text: str) -> None:
    parse_modelfile(text, name="m")


@given(
    st.builds(
        TurnFormat,
        user_before=LITERALS,
        user_after=LITERALS,
        assistant_before=LITERALS,
        assistant_after=LITERALS,
        generation=LITERALS,
        prefix=LITERALS | st.just(""),
        system_before=LITERALS,
        system_after=LITERALS,
        folded=st.none() | LITERALS,
    ),
    st.none() | TEXTS.filter(bool),
    st.lists(st.tuples(TEXTS, TEXTS), max_size=2),
    TEXTS,
)
def test_the_template_for_ollama_writes_the_turns(
    turns: TurnFormat, system: str | None, exchanges: list[tuple[str, str]], question: str
) -> None:
    messages = [{"role": "system", "content": system}] if system is not None else []
    for asked, answered in exchanges:
        messages += [{"role": "user", "content": asked}, {"role": "assistant", "content": answered}]
    messages.append({"role": "user", "content": question})
    assert prompt_of(go_template(turns), messages) == turns.write(messages)


@given(LITERALS, LITERALS, LITERALS, LITERALS, LITERALS)
def test_what_is_derived_of_a_template_writes_what_the_template_writes(
    user: str, user_end: str, answer: str, answer_end: str, system: str
) -> None:
    befores = {"user": user, "assistant": answer, "system": system}
    afters = {"user": user_end, "assistant": answer_end, "system": user_end}

    def render(messages: object, generation: bool) -> str:
        assert isinstance(messages, (list, tuple))
        turns = (befores[m["role"]] + m["content"] + afters[m["role"]] for m in messages)
        return "".join(turns) + (answer if generation else "")

    found = derive_turns(render)
    if isinstance(found, TurnFormat):
        conversation = [
            {"role": "system", "content": "S"},
            {"role": "user", "content": "one"},
            {"role": "assistant", "content": "two"},
            {"role": "user", "content": "three"},
        ]
        assert found.write(conversation) == render(conversation, True)
