from medscan.export import ExportJob, exporter
from medscan.report import write_csv
from tests.report import make


def test_they_are_the_tables_of_the_report(tmp_path):
    results = make.results(tmp_path, make.few_studies())
    paths = list(exporter("csv")(ExportJob([results], tmp_path / "out" / "deep")))
    assert [path.name for path in paths] == ["slices.csv", "regions.csv"]
    for path in paths:
        write_csv([results], tmp_path / path.name, path.stem)
        assert path.read_bytes() == (tmp_path / path.name).read_bytes()
        assert len(path.read_text("utf-8").splitlines()) > 2
    text = paths[0].read_text("utf-8")
    assert ",0.500000," in text, "the threshold is that of slices"
