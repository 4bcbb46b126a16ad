"""Hold what an image says that it is against what a detector was fitted for."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple

from medscan.archive import DESCRIBING, Facts, Stack, age_group
from medscan.detector import Domain
from medscan.routing.regions import REGIONS, Region
from medscan.routing.rules import (
    CLASSES,
    KINDS,
    MODALITY_WORDS,
    MR_ONLY,
    SAME_MODALITY,
    VIEWS,
    Conditions,
    Kind,
    Range,
    Values,
    Without,
)
from medscan.routing.words import OPEN, found


class Answer(StrEnum):
    """What an image says of being what a detector is for."""

    FITS = "fits"
    SILENT = "does not say"
    CONTRADICTS = "contradicts"


class Finding(NamedTuple):
    """The answer to one part of a domain.

    Parameters
    ----------
    part : str
        modality, body part, sequence, plane or age.
    wanted : str
        What the domain asks for; empty where it asks for nothing, but the image is of no use.
    answer : Answer
    because : str
        Values of the header that decided, such as 'EchoTime 4.6'; empty where it is silent.
    """

    part: str
    wanted: str
    answer: Answer
    because: str = ""


_OTHERS = re.compile(r"[^A-Z0-9*+]+")
_ENOUGH = 3
"""Body parts that a reason names at most."""


def judge(domain: Domain, stack: Stack) -> tuple[Finding, ...]:
    """Find for each part of a domain whether a stack fits it, does not say, or contradicts it.

    A modality that contradicts is the only finding then: the other rules do not apply.
    """
    return judge_facts(domain, tuple(stack.facts.items()), stack.plane or "")


def judge_left_out(facts: Facts, left_out: Iterable[tuple[str, str]]) -> tuple[Finding, ...]:
    """Find what the user leaves out, by whole words in any case; empty for other images."""
    return tuple(
        Finding("site", "", Answer.CONTRADICTS, f"{keyword} {word}, which is left out")
        for keyword, word in left_out
        if _in_words(word).strip() and _in_words(word) in _in_words(facts.get(keyword, ""))
    )[:1]


def _in_words(text: str) -> str:
    """Text in capitals with a space before and after each word."""
    return f" {' '.join(_OTHERS.sub(' ', text.upper()).split())} "


def verdict(findings: Iterable[Finding]) -> Answer:
    """Return the answer to a whole domain: it fits only if every part does."""
    answers = {finding.answer for finding in findings}
    if Answer.CONTRADICTS in answers:
        return Answer.CONTRADICTS
    return Answer.SILENT if Answer.SILENT in answers else Answer.FITS


@lru_cache(maxsize=1 << 14)
def judge_facts(
    domain: Domain, pairs: tuple[tuple[str, str], ...], plane: str
) -> tuple[Finding, ...]:
    """`judge` of the facts of a stack, as pairs, and its plane."""
    facts = dict(pairs)
    modality = _modality(domain.modality, facts)
    if modality.answer is Answer.CONTRADICTS:
        return (modality,)
    findings = [modality, _body_part(domain.body_part, facts), _sequence(domain, facts)]
    findings += [_plane(domain.plane, plane, facts), _age(domain.age, facts)]
    # What a domain does not ask for is no finding, unless the image is of no use to anybody.
    return tuple(f for f in findings if f.wanted or f.answer is Answer.CONTRADICTS)


def _modality(wanted: str, facts: Facts) -> Finding:
    stated = modalities_said(facts) if wanted else {}
    if wanted and not stated and _usual(wanted) != "MR" and (kind := _mr_only(facts)):
        return Finding("modality", wanted, Answer.CONTRADICTS, kind)
    if not wanted or not stated or (len(stated) > 1 and _usual(wanted) in stated):
        return Finding("modality", wanted, Answer.SILENT if wanted else Answer.FITS)
    answer = Answer.FITS if _usual(wanted) in stated else Answer.CONTRADICTS
    return Finding("modality", wanted, answer, _listed(stated))


def modalities_said(facts: Facts) -> dict[str, str]:
    """Modalities that a header names, each with what names it: its words only if nothing else."""
    if stated := facts.get("Modality"):
        return {_usual(stated): f"Modality {stated}"}
    uid = facts.get("SOPClassUID", "")
    if uid in CLASSES:
        return {CLASSES[uid]: f"SOPClassUID {uid}"}
    return {
        modality: f'{keyword} "{word}"'
        for modality, words in MODALITY_WORDS.items()
        for keyword in reversed(DESCRIBING)
        if (word := found(words, facts.get(keyword, "").upper()))
    }


def _mr_only(facts: Facts) -> str:
    """What names a kind of image that only MR makes; empty if nothing does."""
    kinds = (kind for kind in KINDS["MR"] if kind.name in MR_ONLY)
    return next(iter(kinds_said(kinds, facts).values()), "")


def _usual(modality: str) -> str:
    return SAME_MODALITY.get(modality.upper(), modality.upper())


# --- body part -----------------------------------------------------------------------------------


def _body_part(wanted: str, facts: Facts) -> Finding:
    """Body Part Examined counts most; then the series' descriptions, then the study's.

    A series' description that names other parts only contradicts Body Part Examined, which many
    scanners set for the whole study.
    """
    goal, stated = _region(wanted), facts.get("BodyPartExamined", "")
    series = _named(goal, facts, DESCRIBING) or _typed(goal, facts)
    examined = _region(stated) if stated and (_is_known(stated) or _same(stated, wanted)) else None
    if not wanted:
        return Finding("body part", "", Answer.FITS)
    if examined and not (_shows(examined, goal) or examined.name in goal.within):
        return Finding("body part", wanted, Answer.CONTRADICTS, f"BodyPartExamined {stated}")
    if series and goal.name not in series:
        because = _listed(series)
        return Finding("body part", wanted, Answer.CONTRADICTS, because)
    if examined and _shows(examined, goal):
        return Finding("body part", wanted, Answer.FITS, f"BodyPartExamined {stated}")
    if series:
        return Finding("body part", wanted, Answer.FITS, series[goal.name])
    return _by_study(goal, wanted, facts)


def _by_study(goal: Region, wanted: str, facts: Facts) -> Finding:
    """A study may show several parts: only one that it names alone is known to be there."""
    study = _named(goal, facts, ("StudyDescription",))
    if not study or (goal.name in study and len(study) > 1):
        return Finding("body part", wanted, Answer.SILENT)
    answer = Answer.FITS if goal.name in study else Answer.CONTRADICTS
    return Finding("body part", wanted, answer, _listed(study))


def _named(goal: Region, facts: Facts, keywords: Iterable[str]) -> dict[str, str]:
    """Parts of the body that descriptions name, and the words that do."""
    every = REGIONS if goal in REGIONS else (*REGIONS, goal)
    texts = [(keyword, facts[keyword].upper()) for keyword in keywords if keyword in facts]
    named: dict[str, str] = {}
    for region in every:
        name = goal.name if _shows(region, goal) else region.name
        for keyword, text in texts:
            if name not in named and (word := found(region.words, text)):
                named[name] = f'{keyword} "{word}"'
    return named


def _typed(goal: Region, facts: Facts) -> dict[str, str]:
    """Parts of the body that the image type of an ultrasound image names."""
    types = {_plain(part) for part in facts.get("ImageType", "").split("\\")}
    if "US" not in modalities_said(facts):
        return {}
    return {
        goal.name if _shows(region, goal) else region.name: f"ImageType {term}"
        for region in REGIONS
        for term in region.ultrasound
        if term in types
    }


def _shows(region: Region, goal: Region) -> bool:
    """Whether an image of a part of the body is one of another: that, or a larger one."""
    return region.name == goal.name or goal.name in region.within


def _listed(named: Mapping[str, str]) -> str:
    return ", ".join(list(dict.fromkeys(named.values()))[:_ENOUGH])


def _region(name: str) -> Region:
    """Part of the body with that name; a new one where the rules do not know it."""
    plain = _plain(name)
    known = (r for r in REGIONS if plain == r.name or plain in r.terms)
    return next(known, Region(plain, (), (f"{OPEN}{plain}{OPEN}",) if plain else ()))


def _is_known(name: str) -> bool:
    return _region(name) in REGIONS


def _same(one: str, other: str) -> bool:
    return _plain(one) == _plain(other)


# --- sequence ------------------------------------------------------------------------------------


def _sequence(domain: Domain, facts: Facts) -> Finding:
    modality = next(iter(modalities_said(facts)), _usual(domain.modality))
    table = KINDS.get(modality, KINDS[""])
    said, wanted = kinds_said(table, facts), _wanted(table, domain.sequence)
    told = domain.sequence
    if not wanted:
        useless = [k.name for k in table if k.useless and k.name in said]
        because = f"{said[useless[0]]} ({useless[0]})" if useless else ""
        return Finding("sequence", "", Answer.CONTRADICTS if useless else Answer.FITS, because)
    said |= kinds_said([kind for kind in wanted if kind not in table], facts)
    because = _alien(table, wanted, said) or _ruled_out(wanted, facts)
    if because:
        return Finding("sequence", told, Answer.CONTRADICTS, because)
    named = {kind.name for kind in wanted} & said.keys()
    if len(named) == len(wanted):
        return Finding("sequence", told, Answer.FITS, ", ".join(said[k.name] for k in wanted))
    others = [
        name for name in said if name not in named and not any(name in k.bears for k in wanted)
    ]
    if others:  # it says what it is, and that is not all that is asked for
        because = f"{said[others[0]]} ({others[0]} alone)"
        return Finding("sequence", told, Answer.CONTRADICTS, because)
    return Finding("sequence", told, Answer.SILENT)


def kinds_said(kinds: Iterable[Kind], facts: Facts) -> dict[str, str]:
    """Kinds of image that a header names, each with what names it."""
    texts = [(keyword, facts[keyword].upper()) for keyword in DESCRIBING if keyword in facts]
    said: dict[str, str] = {}
    for kind in kinds:
        by_word = (f'{key} "{w}"' for key, text in texts if (w := found(kind.words, text)))
        by_code = (told for rule in kind.says if (told := _holds(rule, facts)))
        if told := next(by_word, "") or next(by_code, ""):
            said[kind.name] = told
    return said


def _wanted(table: Iterable[Kind], sequence: str) -> list[Kind]:
    """Kinds that a domain asks for; one of its own where the rules do not know the word."""
    text = sequence.upper()
    if not text:
        return []
    named = [kind for kind in table if text == kind.name or found(kind.words, text)]
    others = {name for kind in named for name in implied(table, kind)}
    weightings = tuple(kind.name for kind in table if not kind.apart)
    own = Kind(text, (f"{OPEN}{text}{OPEN}",), implies=weightings)
    return [kind for kind in named if kind.name not in others] or [own]


def implied(table: Iterable[Kind], kind: Kind) -> set[str]:
    """Kinds that a kind is too, also by way of others."""
    by_name = {k.name: k for k in table}
    names = set(kind.implies)
    for name in kind.implies:
        names |= implied(table, by_name[name])
    return names


def _alien(table: Iterable[Kind], wanted: list[Kind], said: Mapping[str, str]) -> str:
    """What names a kind that is not what is wanted, such as a field map; empty if nothing does."""
    allowed = {name for kind in wanted for name in (kind.name, *kind.bears)}
    for kind in wanted:
        allowed |= implied(table, kind)
    others = sorted((k for k in table if k.name in said and k.name not in allowed), key=_plainness)
    return f"{said[others[0].name]} ({others[0].name})" if others else ""


def _plainness(kind: Kind) -> bool:
    return not kind.apart


def _ruled_out(wanted: Iterable[Kind], facts: Facts) -> str:
    """Stated value that none of the kind has; empty if there is none."""
    for kind in wanted:
        for keyword, values in kind.needs.items():
            if _is_stated(facts.get(keyword, ""), values) and not _match(facts[keyword], values):
                among = values if isinstance(values, (Range, Without)) else " or ".join(values)
                return f"{keyword} {_shown(facts[keyword])} ({kind.name}: {among})"
    return ""


# --- values --------------------------------------------------------------------------------------


def _holds(conditions: Conditions, facts: Facts) -> str:
    """What a header states that meets all conditions; empty if it does not."""
    told = []
    for keyword, values in conditions.items():
        match = _match(facts.get(keyword, ""), values)
        if not match:
            return ""
        told.append(f"{keyword} {match}")
    return ", ".join(told)


def _is_stated(value: str, values: Values) -> bool:
    return bool(value) and not (isinstance(values, Range) and not _number(value))


def _match(value: str, values: Values) -> str:
    """Part of a value that is among those asked for; empty if none is."""
    if isinstance(values, Range):
        return value if value and values.low <= _number(value) <= values.high else ""
    if isinstance(values, Without):
        none = value and not any(_plain(part) in values.terms for part in value.split("\\"))
        return _shown(value) if none else ""
    if value and values == (OPEN,):
        return value
    return next((part for part in value.split("\\") if _plain(part) in values), "")


def _number(value: str) -> float:
    try:
        return float(value)
    except ValueError:
        return 0.0


def _plain(text: str) -> str:
    """Return text in capitals with one space for anything between letters and digits."""
    return _OTHERS.sub(" ", text.upper()).strip()


def _shown(value: str) -> str:
    return value.replace("\\", ", ")


# --- plane ---------------------------------------------------------------------------------------


def _plane(wanted: str, stated: str, facts: Facts) -> Finding:
    if not wanted:
        return Finding("plane", "", Answer.FITS)
    if stated:
        view = facts.get("ViewPosition", "")
        because = f"plane {stated}" + f", ViewPosition {view}" * bool(view)
        answer = Answer.FITS if wanted.casefold() == stated.casefold() else Answer.CONTRADICTS
        return Finding("plane", wanted, answer, because)
    if next(iter(modalities_said(facts)), "") != "CR":
        return Finding("plane", wanted, Answer.SILENT)
    named = {plane: told for plane, told in _views(facts)}
    if len(named) != 1:
        return Finding("plane", wanted, Answer.SILENT)
    ((plane, told),) = named.items()
    answer = Answer.FITS if plane == wanted.casefold() else Answer.CONTRADICTS
    return Finding("plane", wanted, answer, told)


def _age(wanted: str, facts: Facts) -> Finding:
    """By the group alone: a reason is shown to people who may not know the age itself."""
    group = age_group(facts.get("PatientAge", ""))
    if not wanted or not group:
        return Finding("age", wanted, Answer.SILENT if wanted else Answer.FITS)
    answer = Answer.FITS if group.casefold() == wanted.casefold() else Answer.CONTRADICTS
    return Finding("age", wanted, answer, f"PatientAge {group.lower()}")


def _views(facts: Facts) -> Iterator[tuple[str, str]]:
    for plane, words in VIEWS.items():
        for keyword in DESCRIBING:
            if word := found(words, facts.get(keyword, "").upper()):
                yield plane, f'{keyword} "{word}"'
                break
