"""What does not belong to a value: one rule for every setting, credential and secret file.

Env files, YAML files and copied text put blanks, a carriage return or a pair of quotes around a value.
`trimmed` removes them. What is still wrong then is an error that names one character, never the value.
"""

import unicodedata

_QUOTES = {'"': '"', "'": "'", "“": "”", "‘": "’"}
_ALL_QUOTES = frozenset(_QUOTES) | frozenset(_QUOTES.values())
# No white space for Python, but as invisible: a byte order mark, joiners and direction marks.
_INVISIBLE = "\ufeff\u200b\u200c\u200d\u200e\u200f\u2060"
_NAMES = {
    "\0": "zero byte",
    "\t": "tab",
    "\n": "line break",
    "\r": "carriage return",
    "\x1b": "escape character",
    '"': "double quote",
    "'": "single quote",
    "\ufeff": "byte order mark",
}


def trimmed(text: str) -> str:
    """The text without white space at its ends, and without one pair of quotes around it."""
    bare = _without_blanks(text)
    if len(bare) > 1 and _QUOTES.get(bare[0]) == bare[-1]:
        return _without_blanks(bare[1:-1])
    return bare


def stray_in_value(text: str) -> str | None:
    """The first character that no value holds, described: a quote at one end, or one that is not visible."""
    for end in {text[:1], text[-1:]} & _ALL_QUOTES:
        return described(end)
    return next((described(one) for one in text if not one.isprintable()), None)


def stray_in_word(text: str) -> str | None:
    """The same for a credential or an address, which is one word of visible ASCII characters."""
    return stray_in_value(text) or next((described(one) for one in text if not "!" <= one <= "~"), None)


def described(character: str) -> str:
    r"""The name of a character with its article, and how it is written: `a carriage return (\r)`."""
    if character == " ":
        return "a blank"
    if "\udc80" <= character <= "\udcff":  # how Python keeps what it cannot decode in the environment
        return rf"a byte that is not UTF-8 (\x{ord(character) - 0xDC00:02x})"
    name = _NAMES.get(character) or unicodedata.name(character, "control character").lower()
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name} ({visible(character)})"


def visible(text: str) -> str:
    r"""The text with every character that a terminal obeys or hides written as an escape: `\n`, `\x1b`."""
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text)


def _without_blanks(text: str) -> str:
    return text.strip().strip(_INVISIBLE).strip()
