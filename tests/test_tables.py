"""Tables of text are read whatever program wrote them, and broken ones are refused in a line."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medscan import tables
from medscan.errors import UsageError
from medscan.tables import read_table

COLUMNS = {"studyinstanceuid": "study", "label": "label"}
ADVICE = "it must name the columns study and label"


@pytest.fixture
def read(tmp_path):
    def write_and_read(data):
        path = tmp_path / "table.csv"
        path.write_bytes(data if isinstance(data, bytes) else data.encode())
        return list(read_table(path, COLUMNS, lambda names: len(set(names)) == 2, ADVICE))

    return write_and_read


PLAIN = "Study Instance UID,Label,Größe\n1.2,ok,3\n,,\n1.3, nicht ok ,4\n"


@pytest.mark.parametrize(
    "data",
    [
        PLAIN,
        PLAIN.replace(",", ";"),
        PLAIN.replace(",", "\t"),
        PLAIN.replace(",", "|"),
        PLAIN.replace("\n", "\r\n"),
        PLAIN.encode("utf-8-sig"),
        PLAIN.encode("cp1252"),
        PLAIN.encode("utf-16"),
        PLAIN.replace("1.2,", '"1.2",'),
    ],
)
def test_any_program_may_have_written_it(read, data):
    rows = [(row.number, row.line, row.cells) for row in read(data)]
    assert rows == [
        (2, 2, {"study": "1.2", "label": "ok"}),
        (4, 4, {"study": "1.3", "label": "nicht ok"}),
    ]


def test_a_cell_in_quotes_may_have_several_lines_and_dividers(read):
    rows = read('label,note,studyinstanceuid\n"a,\nb",x,1.2\nc,y,1.3\n')
    assert [(row.number, row.line, row.cells["label"]) for row in rows] == [
        (2, 3, "a,\nb"),
        (3, 4, "c"),
    ]


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", f"row 1: {ADVICE}"),
        ("label,label,studyinstanceuid\n", f"row 1: {ADVICE}"),
        ("study_instance_uid\n1.2\n", f"row 1: {ADVICE}"),
        ("label,study_instance_uid\na,1.2,x\n", "row 2: it has more cells"),
        ('label,study_instance_uid\na,1.2\n"a,1.3\n', "row 3: invalid CSV"),
        (f"label,study_instance_uid\n{'a' * 200_000},1\n", "row 2: invalid CSV"),
    ],
)
def test_a_broken_table_is_refused(read, data, why):
    with pytest.raises(UsageError, match=why):
        read(data)


def test_a_table_that_is_too_large_is_not_read(read, monkeypatch):
    monkeypatch.setattr(tables, "MOST_BYTES", 20)
    with pytest.raises(UsageError, match="divide it"):
        read(PLAIN)


@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda t: f"label;study\n{t}".encode()))
def test_any_bytes_are_read_or_refused_in_a_line(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "any.csv"
    path.write_bytes(data)
    try:
        list(read_table(path, COLUMNS | {"study": "study"}, lambda names: len(names) == 2, ADVICE))
    except UsageError as told:
        assert "\n" not in str(told)  # noqa: PT017
