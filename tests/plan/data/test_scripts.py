"""The script that most of a text is written in."""

from __future__ import annotations

import unicodedata

import pytest

from backprop.plan.data.scripts import _BLOCKS, Script, main_script


@pytest.mark.parametrize(
    ("text", "script"),
    [
        ("Hello, world 42", Script.LATIN),
        ("café — “x”", Script.LATIN),
        ("Tiếng Việt", Script.LATIN),
        ("123 + 4 = 127 😀", Script.NONE),
        ("", Script.NONE),
        ("Привет, мир", Script.CYRILLIC),
        ("Ωμέγα", Script.GREEK),
        ("日本語のテキストです", Script.KANA),
        ("中文文本。", Script.HAN),
        ("한국어 텍스트", Script.HANGUL),
        ("اللغة العربية", Script.ARABIC),
        ("עברית", Script.HEBREW),
        ("नमस्ते", Script.INDIC),
        ("ภาษาไทย", Script.THAI_LAO),
        ("ქართული", Script.GEORGIAN),
        ("አማርኛ", Script.ETHIOPIC),
        ("Հայերեն", Script.ARMENIAN),
        ("ᏣᎳᎩ", Script.OTHER),
        ("def f(): return 'Привет, мир, как дела'", Script.CYRILLIC),
    ],
)
def test_the_script_of_most_letters_is_told(text: str, script: Script) -> None:
    assert main_script(text) is script


def test_blocks_are_in_order() -> None:
    firsts = [first for first, _ in _BLOCKS]
    assert firsts == sorted(set(firsts))


@pytest.mark.parametrize(
    ("word", "script"),
    [
        ("CYRILLIC", Script.CYRILLIC),
        ("GREEK", Script.GREEK),
        ("ARABIC", Script.ARABIC),
        ("HEBREW", Script.HEBREW),
        ("HANGUL SYLLABLE", Script.HANGUL),
        ("HIRAGANA", Script.KANA),
        ("THAI", Script.THAI_LAO),
    ],
)
def test_letters_of_the_basic_plane_are_in_the_block_that_unicode_names(word: str, script: Script) -> None:
    letters = [chr(code) for code in range(0xA0, 0xFFFF) if _is_letter_of(chr(code), word)]
    assert len(letters) > 50 or word == "HEBREW"
    wrong = [letter for letter in letters if main_script(letter) is not script]
    assert len(wrong) <= 0.04 * len(letters), wrong


def _is_letter_of(character: str, word: str) -> bool:
    named = unicodedata.name(character, "")
    return unicodedata.category(character).startswith("L") and named.startswith(word)


def test_a_long_text_is_looked_at_from_its_beginning_to_its_end() -> None:
    assert main_script("x = 1\n" * 500 + "Это длинное объяснение кода. " * 500) is Script.CYRILLIC
