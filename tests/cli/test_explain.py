"""`medscan scan --explain`: what headers say, each detector's answer, and why."""

import json

import pytest

from tests import tiny


@pytest.fixture
def asked(tmp_path, detector_file, inside):
    """Explain a name in an archive of a FLAIR series, a field map and a volume."""
    root = tmp_path / "archive"
    volume = tiny.head_volume(1, slices=2)
    tiny.write_series(root / "flair", volume, study="1.2.1", description="AX FLAIR Doe")
    tiny.write_series(root / "map", volume, study="1.2.2", description="gre_field_mapping Doe")
    tiny.write_nifti(root / "brain.nii.gz", volume)
    (root / "notes.txt").write_text("no image")

    def ask(name, *options):
        words = ("scan", root, "--explain", name, "--detector", detector_file, *options)
        code, out, err = inside(*words)
        assert list((tmp_path / "work").iterdir()) == []
        return code, out, err

    return ask


def test_a_series_that_fits(asked, tmp_path):
    code, out, _ = asked(tmp_path / "archive" / "flair")
    assert code == 0
    assert "1.2.1" in out
    assert "it says: " in out
    assert 'sequence FLAIR: fits, SeriesDescription "FLAIR"' in out
    assert "-> scored by tiny-flair\n" in out
    assert "DOE" not in out.upper()
    assert "1.2.2" not in out


def test_a_field_map_is_contradicted_by_a_header_value(asked):
    _, out, _ = asked("1.2.2")
    assert 'sequence FLAIR: contradicts, SeriesDescription "FIELD_MAP"' in out
    assert '-> not scored: SeriesDescription "FIELD_MAP" (FIELD MAP), not for' in out


def test_what_a_volume_does_not_say_is_assumed(asked, tmp_path):
    _, out, _ = asked(tmp_path / "archive" / "brain.nii.gz")
    assert "-> scored by tiny-flair, assumed: modality MR, sequence FLAIR" in out


def test_the_same_as_json(asked):
    (study,) = json.loads(asked("1.2.2", "--json")[1])["studies"]
    (stack,) = study["stacks"]
    assert (study["study_instance_uid"], stack["scored_by"]) == ("1.2.2", "")
    assert stack["says"]["SeriesDescription"] == "FIELD_MAP | MAPPING"
    (answer,) = stack["answers"]
    assert answer["answer"] == "contradicts"
    again = json.loads(asked(study["key"], "--json")[1])
    assert again["studies"] == [study]


def test_a_file_that_is_no_image_is_named_with_its_reason(asked, tmp_path):
    _, out, _ = asked(tmp_path / "archive" / "notes.txt")
    assert ": not-an-image" in out


def test_a_name_of_nothing_is_an_error_of_one_line(asked):
    code, _, err = asked("no such\nstudy")
    assert code == 2
    assert err.count("\n") == 1
    assert "--explain no such" in err


def test_what_a_site_leaves_out_is_explained_and_not_scored(asked, tmp_path, monkeypatch):
    settings = tmp_path / "site.toml"
    settings.write_text('[scan]\nleave-out = ["SequenceName=none", "SeriesDescription=flair"]\n')
    monkeypatch.setenv("MEDSCAN_CONFIG", str(settings))
    _, out, _ = asked("1.2.1")
    assert "-> not scored: SeriesDescription flair, which is left out, not for tiny-flair" in out


@pytest.mark.parametrize(
    ("word", "advice"),
    [
        ("ImageTyp=LOCALIZER", "no such keyword; did you mean ImageType?"),
        ("ImageType", "write KEYWORD=WORD, such as ImageType=LOCALIZER"),
        ("ImageType= ", "write KEYWORD=WORD"),
        ("?=x", "no such keyword; choose one of SOPClassUID, Modality, "),
    ],
)
def test_a_wrong_word_to_leave_out_is_one_line(asked, word, advice):
    code, out, err = asked("1.2.1", "--leave-out", word)
    assert (code, out) == (2, "")
    assert advice in err
