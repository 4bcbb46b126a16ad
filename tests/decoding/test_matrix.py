"""Every encoding that medscan decodes gives one picture: see matrix.py."""

from pathlib import Path

import pytest

from medscan.decoding import syntaxes

from .encoders import encoders
from .matrix import combinations, outcome, table

ENCODED = sorted({syntax for syntax, _ in encoders()})


def test_all_that_doctor_says_is_decoded_is_encoded_here():
    if not any(name == "DCMTK" for _, name in encoders()):
        pytest.skip("needs DCMTK to encode JPEG")
    decoded = {syntax.uid for syntax in syntaxes() if syntax.decoders}
    assert decoded == set(ENCODED)


@pytest.mark.parametrize("syntax", ENCODED)
def test_every_combination_comes_back_as_the_same_picture(tmp_path: Path, syntax):
    found = {c: outcome(c, tmp_path) for c in combinations() if c.syntax == syntax}
    assert found
    lines = list(table(found))
    assert all(what.startswith(("equal", "refused")) for what in found.values()), lines


def test_the_matrix_tells_what_differs(tmp_path, monkeypatch):
    """A decoder that keeps the bits around the pixel is found out."""
    monkeypatch.setattr("medscan.decoding.dicom.significant", lambda values, *_, **__: values)
    some = [c for c in combinations() if c.syntax == "1.2.840.10008.1.2.5" and c.overlay][:2]
    found = {c: outcome(c, tmp_path) for c in some}
    assert [what.split()[0] for what in found.values()] == ["off", "off"]
    assert list(table(found))[-1].endswith("2 made, 0 equal, 0 refused, 2 unequal")
