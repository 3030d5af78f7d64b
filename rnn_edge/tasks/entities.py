"""Sentences with people, places and organisations: templates, and names to stand in them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from importlib.resources import files

import numpy as np

from rnn_edge.text_file import decode_text

OUTSIDE = "O"
Sentence = tuple[str, list[str]]
# Sentences to train, to validate and to test, and which templates and names they are made of.
SENTENCES = (4000, 300, 600)
SHARES = (0.72, 0.08, 0.2)
# Lists whose entries are no names by themselves: every part may use them.
SHARED = ("english kind", "chinese kind", "chinese family")
# How many people in English have their given name alone.
GIVEN_ALONE = 0.2
Names = Mapping[str, Sequence[str]]


def entity_parts(chance: np.random.Generator) -> list[list[Sentence]]:
    """Sentences in English and Chinese, for training, validation and test.

    No two parts share a template, a place, a given name, a family name in English, or a name of an
    organisation; they share Chinese family names, and what kinds of organisations there are.
    """
    templates = _lines("entity_templates.txt")
    lists = dict(_listed(line) for line in _lines("entity_names.txt"))
    scripts = (
        [line for line in templates if line.isascii()],
        [line for line in templates if not line.isascii()],
    )
    divided = [_divided(script, chance) for script in scripts]
    names = {key: _divided(entries, chance) for key, entries in lists.items() if key not in SHARED}
    parts = []
    for part, count in enumerate(SENTENCES):
        own = {**lists, **{key: entries[part] for key, entries in names.items()}}
        frames = [template for script in divided for template in script[part]]
        parts.append(_filled(frames, own, count, chance))
    return parts


def filled(template: str, names: Names, chance: np.random.Generator) -> Sentence:
    """``"[PER] sang."`` with a name of ``names``, and BIO labels of its characters."""
    language = "english" if template.isascii() else "chinese"

    def marked(slot: re.Match[str]) -> str:
        name = NAMING[language, slot[1]](names, chance)
        return f"[{slot[1]} {name}]"

    return bracketed(re.sub(r"\[([A-Z]+)\]", marked, template))


def bracketed(line: str) -> Sentence:
    """``"[PER Ada] sang."`` -> the text without marks, and BIO labels of its characters."""
    text, labels = "", []
    for part in re.split(r"(\[[A-Z]+ [^]]*\])", line):
        kind, _, name = part[1:-1].partition(" ") if part.startswith("[") else ("", "", part)
        text += name
        labels += [f"B-{kind}", *[f"I-{kind}"] * (len(name) - 1)] if kind else [OUTSIDE] * len(name)
    return text, labels


def _english_person(names: Names, chance: np.random.Generator) -> str:
    given = str(chance.choice(names["english given"]))
    if chance.random() < GIVEN_ALONE:
        return given
    return f"{given} {chance.choice(names['english family'])}"


def _chinese_person(names: Names, chance: np.random.Generator) -> str:
    given = chance.choice(names["chinese given"], chance.integers(1, 3), replace=False)
    return str(chance.choice(names["chinese family"])) + "".join(given)


def _of(*keys: str, between: str = "") -> Callable[[Names, np.random.Generator], str]:
    """Names that are an entry of each list, one after the other."""
    return lambda names, chance: between.join(str(chance.choice(names[key])) for key in keys)


NAMING = {
    ("english", "PER"): _english_person,
    ("english", "LOC"): _of("english place"),
    ("english", "ORG"): _of("english stem", "english kind", between=" "),
    ("chinese", "PER"): _chinese_person,
    ("chinese", "LOC"): _of("chinese place"),
    ("chinese", "ORG"): _of("chinese stem", "chinese kind"),
}


def _filled(
    templates: Sequence[str], names: Names, count: int, chance: np.random.Generator
) -> list[Sentence]:
    """``count`` sentences, each template about as often; those without names come once."""
    found: dict[str, list[str]] = {}
    while len(found) < count:
        for place in chance.permutation(len(templates)):
            text, labels = filled(templates[place], names, chance)
            found[text] = labels
    return list(found.items())[:count]


def _divided(entries: Sequence[str], chance: np.random.Generator) -> list[list[str]]:
    """``entries`` in random parts of SHARES."""
    ends = np.round(np.cumsum(SHARES)[:-1] * len(entries)).astype(int)
    order = np.split(chance.permutation(len(entries)), ends)
    return [[entries[place] for place in part] for part in order]


def _lines(name: str) -> list[str]:
    content = (files("rnn_edge.tasks") / "data" / name).read_bytes()
    return decode_text(content, name).splitlines()


def _listed(line: str) -> tuple[str, list[str]]:
    key, _, entries = line.partition(": ")
    return key, entries.split()
