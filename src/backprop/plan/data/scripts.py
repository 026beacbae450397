"""Which script a text is mostly written in, told by its code points."""

from __future__ import annotations

import bisect
import enum
import re
from collections import Counter
from functools import lru_cache


class Script(enum.Enum):
    """Scripts by the blocks of Unicode; those that are rare in training data are ``OTHER``."""

    LATIN = "Latin"
    GREEK = "Greek"
    CYRILLIC = "Cyrillic"
    ARMENIAN = "Armenian"
    HEBREW = "Hebrew"
    ARABIC = "Arabic"
    INDIC = "Indic"
    THAI_LAO = "Thai and Lao"
    TIBETAN_BURMESE_KHMER = "Tibetan, Burmese, Khmer"
    GEORGIAN = "Georgian"
    ETHIOPIC = "Ethiopic"
    KANA = "Japanese kana"
    HAN = "Chinese characters"
    HANGUL = "Korean"
    OTHER = "other letters"
    NONE = "no letters"


_BLOCKS: tuple[tuple[int, Script | None], ...] = (
    (0x0000, None),
    (0x00C0, Script.LATIN),
    (0x0370, Script.GREEK),
    (0x0400, Script.CYRILLIC),
    (0x0530, Script.ARMENIAN),
    (0x0590, Script.HEBREW),
    (0x0600, Script.ARABIC),
    (0x0700, Script.OTHER),
    (0x0750, Script.ARABIC),
    (0x0780, Script.OTHER),
    (0x0870, Script.ARABIC),
    (0x0900, Script.INDIC),
    (0x0E00, Script.THAI_LAO),
    (0x0F00, Script.TIBETAN_BURMESE_KHMER),
    (0x10A0, Script.GEORGIAN),
    (0x1100, Script.HANGUL),
    (0x1200, Script.ETHIOPIC),
    (0x13A0, Script.OTHER),
    (0x1780, Script.TIBETAN_BURMESE_KHMER),
    (0x1800, Script.OTHER),
    (0x1C80, Script.CYRILLIC),
    (0x1C90, Script.GEORGIAN),
    (0x1CC0, Script.OTHER),
    (0x1E00, Script.LATIN),
    (0x1F00, Script.GREEK),
    (0x2000, None),
    (0x2C00, Script.OTHER),
    (0x2C60, Script.LATIN),
    (0x2C80, Script.OTHER),
    (0x2D00, Script.GEORGIAN),
    (0x2D30, Script.OTHER),
    (0x2DE0, Script.CYRILLIC),
    (0x2E00, None),
    (0x2E80, Script.HAN),
    (0x3000, None),
    (0x3040, Script.KANA),
    (0x3100, Script.HAN),
    (0x3130, Script.HANGUL),
    (0x3190, None),
    (0x31F0, Script.KANA),
    (0x3200, None),
    (0x3400, Script.HAN),
    (0x4DC0, None),
    (0x4E00, Script.HAN),
    (0xA000, Script.OTHER),
    (0xA640, Script.CYRILLIC),
    (0xA6A0, Script.OTHER),
    (0xA720, Script.LATIN),
    (0xA800, Script.OTHER),
    (0xA8E0, Script.INDIC),
    (0xA900, Script.OTHER),
    (0xA960, Script.HANGUL),
    (0xA980, Script.OTHER),
    (0xAB30, Script.LATIN),
    (0xAB70, Script.OTHER),
    (0xAC00, Script.HANGUL),
    (0xD800, None),
    (0xF900, Script.HAN),
    (0xFB00, Script.LATIN),
    (0xFB13, Script.ARMENIAN),
    (0xFB1D, Script.HEBREW),
    (0xFB50, Script.ARABIC),
    (0xFE00, None),
    (0xFE70, Script.ARABIC),
    (0xFF00, None),
    (0xFF21, Script.LATIN),
    (0xFF5B, None),
    (0xFF66, Script.KANA),
    (0xFFA0, Script.HANGUL),
    (0xFFE0, None),
    (0x10000, Script.OTHER),
    (0x1D000, None),
    (0x1E000, Script.OTHER),
    (0x1F000, None),
    (0x20000, Script.HAN),
    (0x32000, None),
)
"""(first code point, script of the block): what is no letter has none."""
_FIRSTS = [first for first, _ in _BLOCKS]
_SAMPLED = 256
_LETTER = re.compile("[A-Za-z]")


def main_script(text: str) -> Script:
    """The script of most of the text's letters; of a long text some 256 to 512 characters at equal distances count.

    Kana outweighs Chinese characters, which Japanese is written with too. Of scripts that tie, the first declared.
    """
    if text.isascii():
        return Script.LATIN if _LETTER.search(text) else Script.NONE
    counts = [0] * len(_SCRIPTS)
    for character, number in Counter(text[:: max(1, len(text) // _SAMPLED)]).items():
        counts[_place_of(character)] += number
    counts[_NO_LETTER] = 0
    if counts[_KANA] and counts[_KANA] * 10 >= counts[_HAN]:
        counts[_KANA] += counts[_HAN]
        counts[_HAN] = 0
    most = max(counts)
    return _SCRIPTS[counts.index(most)] if most else Script.NONE


# Members of an enumeration are slow to count by; their places in it are not.
_SCRIPTS = tuple(Script)
_NO_LETTER, _KANA, _HAN = (_SCRIPTS.index(script) for script in (Script.NONE, Script.KANA, Script.HAN))


@lru_cache(maxsize=1 << 14)
def _place_of(character: str) -> int:
    """The place of a character's script among all."""
    if character.isascii():
        return _SCRIPTS.index(Script.LATIN) if character.isalpha() else _NO_LETTER
    return _SCRIPTS.index(_BLOCKS[bisect.bisect(_FIRSTS, ord(character)) - 1][1] or Script.NONE)
