"""Sentences and commands of studies, as the page says them."""

import re
import shlex

from attributome.studies.catalogue import CATALOGUE

BESIDE = {"dremi": {"spatial"}}
"""Sections of a job that a study reads beside its own and `groups`."""
ENDS = re.compile(r"(?<=[.?!]) (?=[A-Z0-9])")
"""Where a sentence ends and another begins."""


def own(command: str, name: str) -> str:
    """The command of one study, where it was made with all others: settings of theirs are left."""
    words = shlex.split(command)
    if words[1:3] != ["study", "all"]:
        return command
    foreign = {*CATALOGUE} - {name, "groups"} - BESIDE.get(name, set())
    kept = [*words[:2], name]
    rest = iter(words[3:])
    for word in rest:
        if word != "--set":
            kept.append(word)
        elif (setting := next(rest)).partition(".")[0] not in foreign:
            kept += [word, setting]
    return shlex.join(kept)


def first(sentences: list[str]) -> str:
    """The first sentence of all."""
    return ENDS.split(sentences[0], maxsplit=1)[0] if sentences else ""


def sentence(text: str) -> str:
    """Words with a large letter at the beginning and a full stop at the end."""
    text = text.strip()
    return f"{text[0].upper()}{text[1:]}{'' if text[-1] in '.?!' else '.'}" if text else ""
