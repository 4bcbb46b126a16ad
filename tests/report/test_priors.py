"""Earlier studies of a patient: which compare, what pages and tables say, where slices lie."""

import csv
import dataclasses
import shutil

import numpy as np
import pytest

from medscan.report import ReportOptions, rank, write_csv, write_html, write_report
from medscan.report.beside import nearest_slices
from medscan.report.priors import new_since, priors_of, stack_new_since
from medscan.results import State
from tests import tiny
from tests.report import archived, make
from tests.report.markup import Page
from tests.report.test_placing import OBLIQUE

NOW = "20240131"


def made(key, date, peak=0.9, *, patient="p-1", **info):
    return make.study(key, [make.stack("s1", peak, 10, **info)], date=date, patient=patient)


def row_of(files, key="now"):
    return next(row for row in rank(files) if row.study.key == key)


def compared(row):
    return [prior.row.study.key for prior in priors_of(row, row.study.stacks[0])]


def history(folder):
    """Four studies of a patient, the last of which is flagged."""
    old = [("old", "20220310", 0.4), ("mid", "20230131", 0.35), ("last", "20230602", 0.5)]
    studies = [made("now", NOW), *(made(*which) for which in old)]
    return make.results(folder, studies)


def test_a_page_tells_the_history_of_a_score(tmp_path):
    write_report([history(tmp_path)], tmp_path / "out")
    page = Page(tmp_path / "out" / "studies" / "now.html")
    assert "flagged (new since 2023-06-02)" in page.text
    assert "New since 2023-06-02 : score 0.500, threshold 0.600 then, not flagged." in page.text
    assert (
        "Scores of 4 studies of the patient: 2022-03-10 0.400 (not flagged), 2023-01-31 0.350 "
        "(not flagged), 2023-06-02 0.500 (not flagged), 2024-01-31 0.900 (flagged)." in page.text
    )
    (drawing,) = [a for a in page.all("svg") if a.get("class") == "timeline"]
    assert drawing["role"] == "img"
    paths = {a["class"]: a.get("d") for a in page.all("path") if a.get("class")}
    assert paths["flagged"].count("M") == 1, "its form tells the flag, not a colour"
    assert paths["others"].count("M") == 3
    assert {"old.html", "mid.html", "last.html"} <= {a.get("href") for a in page.all("a")}
    first = Page(tmp_path / "out" / "studies" / "old.html")
    assert "timeline" not in first.source.replace(".timeline", "")
    index = Page(tmp_path / "out" / "index.html")
    assert index.text.count("new since 2023-06-02") == 1


def test_each_answer_has_a_form_of_its_own(tmp_path):
    then = [
        made("old", "20220310", 0.7),
        made("mid", "20230131", 0.5, uncertain_from=0.45),
        made("last", "20230602", 0.3, distance=9.0, unlike=["voxels"]),
    ]
    results = make.results(tmp_path, [made("now", NOW, 0.35), *then])
    write_report([results], tmp_path / "out")
    page = Page(tmp_path / "out" / "studies" / "now.html")
    paths = {a["class"]: a.get("d") for a in page.all("path") if a.get("class")}
    assert [paths[name].count("M") for name in ("flagged", "doubtful", "others")] == [1, 2, 1]
    assert "2022-03-10 0.700 (flagged), 2023-01-31 0.500 (uncertain)," in page.text
    assert "2023-06-02 0.300 (unlike), 2024-01-31 0.350 (not flagged)." in page.text
    assert "Not flagged now, nor on 2023-06-02: score 0.300" in page.text


def test_tables_name_the_last_earlier_study(tmp_path):
    write_csv([history(tmp_path)], tmp_path / "results.csv")
    write_csv([history(tmp_path)], tmp_path / "series.csv", "series")
    for name in ("results", "series"):
        with (tmp_path / f"{name}.csv").open(newline="") as stream:
            rows = {row["study"]: row for row in csv.DictReader(stream)}
        names = ("prior", "prior_date", "prior_score", "new_since")
        told = {key: [row[name] for name in names] for key, row in rows.items()}
        assert told["now"] == ["last", "20230602", "0.500000", "20230602"]
        assert told["last"] == ["mid", "20230131", "0.350000", ""]
        assert told["old"] == ["", "", "", ""]
    assert rows["now"]["prior_stack"] == "s1"


@pytest.mark.parametrize(
    "other",
    [
        {"detector_hash": "e" * 64},
        {"precision": "int8"},
        {"maker": "preprocessing before"},
        {"modality": "CT"},
        {"plane": "sagittal"},
    ],
)
def test_what_was_scored_in_another_way_is_no_history(tmp_path, other):
    studies = [made("now", NOW), made("last", "20230602", 0.4, **other), made("old", "20220310")]
    results = make.results(tmp_path, studies)
    assert compared(row_of([results])) == ["old"]
    write_report([results], tmp_path / "out")
    page = Page(tmp_path / "out" / "studies" / "now.html")
    assert "Flagged on 2022-03-10 too: score 0.900, threshold 0.600 then, flagged." in page.text
    assert "1 other earlier study is not compared" in page.text
    assert "new since" not in page.text.lower()


def test_only_earlier_days_of_the_same_patient_are_earlier(tmp_path):
    studies = [
        made("now", NOW),
        made("same-day", NOW),
        made("later", "20240201"),
        made("undated", ""),
        made("odd", "20239999"),
        made("other", "20230602", patient="p-2"),
    ]
    row = row_of([make.results(tmp_path, studies)])
    assert row.earlier == ()
    nobody = [made("now", NOW, patient=""), made("last", "20230602", patient="")]
    assert row_of([make.results(tmp_path, nobody)]).earlier == ()


def test_another_birth_or_sex_under_one_pseudonym_is_another_patient(tmp_path):
    persons = {"same": "a1/f0", "unknown": "", "half": "/f0", "born": "b2/f0", "sex": "a1/d9"}
    alone = [make.stack("s1", 0.4, 10)]
    studies = [
        make.study("now", [make.stack("s1", 0.9, 10)], date=NOW, person="a1/f0"),
        make.study("older", alone, date="20230101"),  # of a version that did not know
        *(make.study(key, alone, date="20230602", person=told) for key, told in persons.items()),
    ]
    row = row_of([make.results(tmp_path, studies)])
    assert sorted(one.study.key for one in row.earlier) == ["half", "older", "same", "unknown"]


@pytest.mark.parametrize(("others", "found"), [(9, ["own"]), (10, [])])
def test_among_many_people_with_one_pseudonym_the_last_studies_are_looked_at(
    tmp_path, monkeypatch, others, found
):
    monkeypatch.setattr("medscan.report.worklist.MOST_EARLIER", 1)
    alone = [make.stack("s1", 0.4, 4)]
    studies = [
        make.study(key, alone, date=day, person="a1/")
        for key, day in (("now", NOW), ("own", "20220101"))
    ]
    studies += [make.study(f"{n}", alone, date="20230602", person=f"{n}/") for n in range(others)]
    rows = rank([make.results(tmp_path, studies)])
    (now,) = [row for row in rows if row.study.key == "now"]
    assert [row.study.key for row in now.earlier] == found


def test_a_history_is_read_from_several_files_and_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr("medscan.report.worklist.MOST_EARLIER", 3)
    tonight = make.results(tmp_path, [made("now", NOW)], name="tonight.h5")
    days = [f"202201{day:02d}" for day in range(1, 6)]
    before = make.results(tmp_path, [made(f"a{day}", day) for day in days], name="before.h5")
    found = compared(row_of([tonight, before]))
    assert found == [f"a{day}" for day in reversed(days)][:3]


def test_new_is_only_what_was_flagged_nowhere_in_the_study_before(tmp_path):
    now = [make.stack("s1", 0.9, 10), make.stack("s2", 0.8, 10, plane="sagittal")]
    for second, since in ((0.4, "2023-06-02"), (0.7, "")):
        then = [make.stack("s1", 0.4, 10), make.stack("s2", second, 10, plane="sagittal")]
        studies = [
            make.study("now", now, date=NOW),
            make.study("last", then, date="20230602"),
        ]
        assert new_since(row_of([make.results(tmp_path, studies)])) == since
    calm = [made("now", NOW, 0.3), made("last", "20230602", 0.9)]
    assert new_since(row_of([make.results(tmp_path, calm)])) == ""


@pytest.mark.parametrize("state", [State.PASSED_OVER, State.FAILED])
def test_nothing_is_new_since_a_scan_that_did_not_look_at_every_slice(tmp_path, state):
    whole = make.stack("s1", 0.4, 10)
    unseen = dataclasses.replace(whole, state=np.where(np.arange(10) == 3, state, whole.state))
    studies = [made("now", NOW), make.study("last", [unseen], date="20230602", patient="p-1")]
    results = make.results(tmp_path, studies)
    assert compared(row_of([results])) == ["last"]
    assert new_since(row_of([results])) == ""
    write_report([results], tmp_path / "out")
    page = Page(tmp_path / "out" / "studies" / "now.html")
    assert "new since" not in page.text.lower()
    words = "score 0.400, threshold 0.600 then, not flagged; not every slice was scored then."
    assert f"Flagged now, not on 2023-06-02: {words}" in page.text


@pytest.mark.parametrize(
    ("told", "flag"), [({"uncertain_from": 0.3}, "uncertain"), ({"unlike": ["voxels"]}, "unlike")]
)
def test_nothing_is_new_since_a_study_that_a_person_had_to_look_at(tmp_path, told, flag):
    results = make.results(tmp_path, [made("now", NOW), made("last", "20230602", 0.4, **told)])
    assert new_since(row_of([results])) == ""
    write_report([results], tmp_path / "out")
    page = Page(tmp_path / "out" / "studies" / "now.html")
    assert "new since" not in page.text.lower()
    assert (
        f"Flagged now, not on 2023-06-02: score 0.400, threshold 0.600 then, {flag}." in page.text
    )


@pytest.mark.parametrize(("threshold", "since"), [(0.5, ""), (0.55, "2023-06-02")])
def test_nothing_is_new_by_a_lower_threshold_alone(tmp_path, threshold, since):
    studies = [made("now", NOW, threshold=threshold), made("last", "20230602", 0.5)]
    assert new_since(row_of([make.results(tmp_path, studies)])) == since


def test_a_study_is_not_new_where_a_flagged_series_was_not_seen_whole(tmp_path):
    now = [make.stack("s1", 0.9, 10), make.stack("s2", 0.8, 10, plane="sagittal")]
    then = [make.stack("s1", 0.4, 10), make.stack("s2", 0.4, 10, plane="sagittal")]
    then[1].state[3] = State.PASSED_OVER
    studies = [make.study("now", now, date=NOW), make.study("last", then, date="20230602")]
    row = row_of([make.results(tmp_path, studies)])
    assert [stack_new_since(row, stack) for stack in row.study.stacks] == ["2023-06-02", ""]
    assert new_since(row) == ""


def test_the_stack_of_the_same_frame_then_of_the_same_protocol_is_compared(tmp_path):
    device = ["", "", "", "", "MR BRAIN FLAIR TE 90"]
    other = [*device[:4], "MR BRAIN FLAIR TE 120"]
    now = made("now", NOW, device=device, frame_of_reference="1.2.7")
    then = [
        make.stack("s1", 0.5, 10, device=other),
        make.stack("s2", 0.3, 10, device=device),
        make.stack("s3", 0.2, 10, device=other, frame_of_reference="1.2.7"),
    ]
    for count, chosen in ((3, "s3"), (2, "s2"), (1, "s1")):
        last = make.study("last", then[:count], date="20230602", patient="p-1")
        row = row_of([make.results(tmp_path, [now, last])])
        (prior,) = priors_of(row, row.study.stacks[0])
        assert prior.stack.key == chosen


def oblique(first, step, count, **info):
    """A stack along an oblique normal, from `first` millimetres on."""
    row, column = OBLIQUE[0][0], OBLIQUE[0][1]
    normal = np.cross(row, column)
    along = first + step * np.arange(count)
    made = make.stack(
        "s1",
        n=count,
        orientation=[*row, *column],
        origin=(along[0] * normal).tolist(),
        last=(along[-1] * normal).tolist(),
        slice_spacing=step,
        **info,
    )
    return dataclasses.replace(made, position_mm=along)


def test_slices_of_one_frame_of_reference_lie_beside_the_nearest():
    now = oblique(0.0, 3.0, 12, frame_of_reference="1.2.7")
    then = oblique(-10.0, 5.0, 10, frame_of_reference="1.2.7")
    nearest, apart = nearest_slices(now, then)
    gaps = np.abs(now.position_mm[:, None] - then.position_mm[None])
    np.testing.assert_allclose(apart, gaps.min(axis=1), atol=1e-6)
    np.testing.assert_allclose(gaps[np.arange(12), nearest], gaps.min(axis=1), atol=1e-6)


@pytest.mark.parametrize("stated", [{}, {"frame_of_reference": "1.2.8"}])
def test_without_a_common_frame_the_share_of_the_stack_decides(stated):
    now = oblique(0.0, 3.0, 10, frame_of_reference="1.2.7")
    then = oblique(-100.0, 5.0, 4, **stated)
    nearest, apart = nearest_slices(now, then)
    assert nearest.tolist() == [0, 0, 1, 1, 1, 2, 2, 2, 3, 3]
    assert np.isnan(apart).all()
    row_and_column = then.info["orientation"]
    back = then.info | {"orientation": row_and_column[3:] + row_and_column[:3]}
    turned = dataclasses.replace(then, info=back)
    assert nearest_slices(now, turned)[0].tolist() == [3, 3, 2, 2, 2, 1, 1, 1, 0, 0]
    single = make.stack("s1", n=1)
    assert nearest_slices(now, single)[0].tolist() == [0] * 10
    assert nearest_slices(single, then)[0].item() in (1, 2)


@pytest.fixture
def two_days(tmp_path):
    """An archive of two studies of a patient, and results in which the later ranks first."""
    for number, day in enumerate(("20230602", NOW), 1):
        uids = {"StudyInstanceUID": f"1.2.9.{number}", "SeriesInstanceUID": f"1.2.9.{number}.1"}
        tiny.write_series(tmp_path / "archive" / day, tiny.head_volume(number), **uids)
    made = archived.studies_of(tmp_path / "archive", size=48, grid=6)
    then, now = sorted(made, key=lambda s: s.stacks[0].info["SeriesInstanceUID"])
    calm = dataclasses.replace(then.stacks[0], score=0.3)
    return tmp_path, [
        make.study(now.key, now.stacks, date=NOW),
        make.study(then.key, [calm], date="20230602"),
    ]


def test_the_earlier_study_of_a_study_with_pictures_is_drawn_too(two_days):
    folder, (now, then) = two_days
    results = make.results(folder, [now, then])
    options = ReportOptions(archives=(folder / "archive",), most=1, full=1)
    assert write_report([results], folder / "out", options).studies == 1
    pictures = folder / "out" / "studies" / then.key
    assert len(list(pictures.glob("*.jpg"))) == 6
    worst = int(np.nanargmax(now.stacks[0].slice_score))
    assert [p.name[-7:-3] for p in pictures.glob("*.js")] == [f"{worst + 1:04d}"]
    page = Page(folder / "out" / "studies" / f"{now.key}.html")
    assert f"{then.key}/{then.stacks[0].key}-0001.jpg" in page.source
    # A later report that does not find them keeps what was drawn.
    shutil.rmtree(folder / "archive")
    write_report([results], folder / "out", ReportOptions(most=1))
    again = Page(folder / "out" / "studies" / f"{now.key}.html")
    assert f"{then.key}/{then.stacks[0].key}-0001.jpg" in again.source


def test_of_an_earlier_study_only_what_is_seen_beside_the_current_one_is_drawn(two_days):
    folder, (now, then) = two_days
    short = tiny.head_volume(2)[..., :3]
    tiny.write_series(
        folder / "archive" / "short", short, StudyInstanceUID="1.2.9.3", SeriesInstanceUID="1.2.9.4"
    )
    made = archived.studies_of(folder / "archive" / "short", size=48, grid=6)
    now = make.study(made[0].key, made[0].stacks, date=NOW)
    results = make.results(folder, [now, then])
    write_report([results], folder / "out", ReportOptions(archives=(folder / "archive",), most=1))
    pictures = folder / "out" / "studies"
    assert len(list((pictures / now.key).glob("*.jpg"))) == 3
    nearest = {int(n) for n in nearest_slices(now.stacks[0], then.stacks[0])[0]}
    names = sorted(path.stem[-4:] for path in (pictures / then.key).glob("*.jpg"))
    assert names == [f"{n + 1:04d}" for n in sorted(nearest)]
    assert len(names) == 3


def test_an_earlier_study_that_is_gone_is_not_missed(two_days):
    folder, (now, then) = two_days
    shutil.rmtree(folder / "archive" / "20230602")
    results = make.results(folder, [now, then])
    options = ReportOptions(archives=(folder / "archive",), most=1)
    drawn = write_report([results], folder / "out", options)
    assert (drawn.slices, drawn.studies, drawn.missing) == (6, 1, 0)
    page = Page(folder / "out" / "studies" / f"{now.key}.html")
    assert "Earlier: 2023-06-02" in page.text


def test_one_page_holds_the_earlier_slices_beside_its_own(two_days):
    folder, (now, then) = two_days
    options = ReportOptions(archives=(folder / "archive",), most=1)
    write_html([make.results(folder, [now, then])], folder / "single.html", options)
    page = Page(folder / "single.html")
    beside = page.source.partition('<div class="prior">')[2].partition("</div>\n<figcaption>")[0]
    assert beside.count("data:image/jpeg") >= 3
    assert "Earlier: 2023-06-02" in page.text


def test_identities_are_in_no_history(tmp_path):
    """Dates and addresses are all that it adds, and a page of another study is named by its key."""
    secret = {"patient_id": "SECRET-7", "accession_number": "SECRET-8"}
    last = make.study("last", [make.stack("s1", 0.3, 10)], date="20230602", **secret)
    results = make.results(
        tmp_path, [make.study("now", [make.stack("s1", 0.9, 10)], date=NOW), last]
    )
    write_report([results], tmp_path / "out")
    assert "SECRET" not in (tmp_path / "out" / "studies" / "now.html").read_text()
