"""C identifiers: the model's name checked, the names of values made fit and unique."""

from __future__ import annotations

import re

_WORDS = """\
auto break case char const continue default do double else enum extern float for goto if inline int long register
restrict return short signed sizeof static struct switch typedef union unsigned void volatile while alignas alignof
and and_eq asm atomic_cancel atomic_commit atomic_noexcept bitand bitor bool catch char8_t char16_t char32_t class
co_await co_return co_yield compl concept consteval constexpr constinit const_cast decltype delete dynamic_cast
explicit export false friend mutable namespace new noexcept not not_eq nullptr operator or or_eq private protected
public reflexpr reinterpret_cast requires static_assert static_cast synchronized template this thread_local throw
true try typeid typename using virtual wchar_t xor xor_eq typeof fortran main NULL
"""

KEYWORDS = frozenset(_WORDS.split())
"""Words of C and C++ that no name may be."""

_HEADER_WORDS = """\
assert complex ctype errno fenv inttypes iso646 limits locale math setjmp signal stdalign stdarg stdatomic stdbool
stddef stdint stdio stdlib string tgmath threads time uchar wchar wctype new version memory vector
"""
_HEADERS = frozenset(_HEADER_WORDS.split())

_STANDARD_TYPE = r"u?int(8|16|32|64|max|ptr|_\w+)?|s?size|ptrdiff|max_align|nullptr|char(8|16|32)|l?div|mbstate|off|pid"

_LONGEST = 40


def comment(text: str) -> str:
    """A C comment. Names in it may come from a foreign file: nothing they hold can end it or go beyond its line."""
    plain = re.sub(r"[^ -~]|[?\\]|[*]/|/[*]", "_", text)
    return f"/* {plain} */"


def check_model_name(name: str) -> str:
    """The name, when it can begin every public C name of a model. Raises ValueError that says why not."""
    reason = ""
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name, re.ASCII):
        reason = "a C name is made of letters, digits and _, and begins with a letter"
    elif name in KEYWORDS:
        reason = "it is a word of C or C++ itself"
    elif name.lower() in _HEADERS:
        reason = f"{name}.h is a header of the standard library"
    elif re.fullmatch(_STANDARD_TYPE, name):
        reason = f"{name}_t is a type of the standard library"
    elif name == "hiss" or name.startswith("hiss_"):
        reason = "names that begin with hiss_ belong to the runtime"
    elif "__" in name or name.endswith("_"):
        reason = "double and trailing underscores are reserved"
    elif len(name) > _LONGEST:
        reason = f"it is longer than {_LONGEST} characters"
    if reason:
        raise ValueError(f"{name!r} cannot name a model in C: {reason}; try for example 'fingertip_force'")
    return name


class Names:
    """Values' names as C identifiers, every one of them different.   `taken`: names that already mean something."""

    def __init__(self, taken: tuple[str, ...]):
        self._taken = set(taken) | KEYWORDS
        self._given: dict[str, str] = {}

    def __getitem__(self, value: str) -> str:
        """The identifier of a value: the same one each time."""
        if value not in self._given:
            self._given[value] = self.fresh(value)
        return self._given[value]

    def fresh(self, wanted: str) -> str:
        """A new identifier that reads like `wanted`."""
        stem = re.sub(r"_+", "_", re.sub(r"[^A-Za-z0-9_]", "_", wanted)).strip("_")
        stem = stem if stem[:1].isalpha() else f"v_{stem}".rstrip("_")
        name, count = stem, 1
        while name in self._taken:
            count += 1
            name = f"{stem}_{count}"
        self._taken.add(name)
        return name
