"""The rules hang together, and pseudonyms keep every word and term that they look for."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medscan.archive import FACTS, FILE_NAME, TERMS, ArchiveFile, Header, Kind
from medscan.detector import Domain
from medscan.planning import scan_pseudonyms
from medscan.routing import KINDS, PATTERN, REGIONS, Range, Without, judge
from medscan.routing.words import ALL, expression, found
from tests.options import scan_options

from .make import FLAIR, brain, detector, stack

KEYWORDS = {fact.keyword for fact in FACTS} | {FILE_NAME}
EVERY = [(modality, kind) for modality, kinds in KINDS.items() for kind in kinds]


@pytest.mark.parametrize(("modality", "kind"), EVERY, ids=lambda v: getattr(v, "name", v))
def test_a_kind_names_only_what_there_is(modality, kind):
    names = [k.name for k in KINDS[modality]]
    assert len(names) == len(set(names))
    if modality:
        assert {*kind.implies, *kind.bears} <= {*names}
    conditions = [*kind.says, kind.needs]
    for keyword, values in (pair for rule in conditions for pair in rule.items()):
        assert keyword in KEYWORDS
        if not isinstance(values, Range):
            terms = values.terms if isinstance(values, Without) else values
            words = {w for value in terms if value != "..." for w in value.split()}
            assert words <= TERMS, "pseudonyms would replace it"
    assert all(word == word.upper() for word in kind.words)


def test_no_kind_implies_itself():
    for kinds in KINDS.values():
        by_name = {kind.name: kind for kind in kinds}
        for kind in kinds:
            seen, left = set(), list(kind.implies)
            while left:
                name = left.pop()
                seen.add(name)
                left += [n for n in by_name[name].implies if n not in seen]
            assert kind.name not in seen


def test_regions_lie_within_regions():
    names = [region.name for region in REGIONS]
    assert len(names) == len(set(names))
    terms = [term for region in REGIONS for term in (region.name, *region.terms)]
    assert len(terms) == len(set(terms))
    assert {name for region in REGIONS for name in region.within} <= set(names)
    types = [word for region in REGIONS for t in region.ultrasound for word in t.split()]
    assert set(types) <= TERMS


@pytest.mark.parametrize(
    ("word", "text", "expected"),
    [
        ("LOC", "LOC", "LOC"),
        ("LOC", "a_LOC_b".upper(), "LOC"),
        ("LOC", "BLOCK", ""),
        ("LOC", "LOCAL", ""),
        ("LOC", "3DLOC", "LOC"),
        ("LOCALI...", "LOCALIZER2", "LOCALI"),
        ("T1...", "T1W", "T1"),
        ("T1...", "T10", ""),
        ("T1...", "HEADT1", ""),
        ("T1...", "SAGT1", "T1"),
        ("...FLAIR...", "T2FLAIR3D", "FLAIR"),
        ("FIELD MAP...", "GRE_FIELD-MAPPING", "FIELD-MAP"),
        ("FIELD MAP...", "FIELDMAP", "FIELDMAP"),
        ("FIELD MAP...", "FIELD  MAP", ""),
        ("T2*", "AX T2* GRE", "T2*"),
        ("C+", "T1 C+ FS", "C+"),
    ],
)
def test_words_are_found_as_wholes(word, text, expected):
    assert found((word,), text).startswith(expected)
    assert bool(found((word,), text)) == bool(expected)


def hidden(facts):
    """Facts as a scan keeps them."""
    domains = (FLAIR, Domain("MR", "PAW", "OWN WORD"))
    detectors = tuple((Path(str(d)), detector("d", d)) for d in domains)
    options = scan_options(out=Path("o.h5"), detectors=detectors)
    header = Header(ArchiveFile("a", Path("/"), 1, 1), Kind.DICOM, facts=facts)
    return scan_pseudonyms(options.inputs, options.privacy, b"key").record(header).facts


WORDS = st.lists(
    st.sampled_from([*(w.replace("...", "") for w in ALL), "Doe", "Jane", "12", "x", "own word"]),
    max_size=4,
)


@given(WORDS, st.sampled_from([" ", "_", "", "-"]), WORDS)
def test_pseudonyms_keep_what_routing_asks_for(words, between, study):
    """A series goes to the same detector whether or not its descriptions were cut down."""
    facts = {
        "Modality": "MR",
        "SeriesDescription": between.join(words),
        "StudyDescription": " ".join(study),
        "ImageType": "DERIVED\\SECONDARY\\DOE",
        "ContrastBolusAgent": "11 ml for Jane",
    }
    cut = hidden(facts)
    shown = [v for k, v in cut.items() if k != "StudyDescription"]
    if between == " ":
        assert not re.search(r"\b(DOE|JANE)\b", " ".join(shown).upper())
    for domain in (FLAIR, Domain("MR", "PAW", "OWN WORD"), Domain("CT", "CHEST", "CE")):
        before, after = judge(domain, stack(**facts)), judge(domain, stack(**cut))
        assert [f.answer for f in before] == [f.answer for f in after]


def test_every_word_survives_pseudonyms():
    for word in ALL:
        text = word.replace("...", "")
        assert found(
            (word,), hidden({"SeriesDescription": f"Doe {text} Jane"})["SeriesDescription"]
        )
    assert re.compile(PATTERN).search("FIELD MAP")[1] == "FIELD MAP"
    assert re.compile(expression("A B")).fullmatch("A-B")


def test_a_hidden_reason_is_as_good_as_the_header():
    given = brain("Jane Doe gre_field_mapping")
    cut = stack(**hidden(given.facts))
    told = [f.because for f in judge(FLAIR, cut)]
    assert 'SeriesDescription "FIELD_MAP" (FIELD MAP)' in told
    assert not any("JANE" in text.upper() for text in told)
