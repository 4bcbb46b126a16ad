from medscan.export import ExportJob, exporter
from medscan.report import write_csv
from tests.report import make


def test_it_is_the_table_of_the_report(tmp_path):
    results = make.results(tmp_path, make.few_studies())
    (path,) = exporter("csv")(ExportJob([results], tmp_path / "out" / "deep"))
    write_csv([results], tmp_path / "slices.csv", "slices")
    assert path.read_bytes() == (tmp_path / "slices.csv").read_bytes()
    assert ",0.500000," in path.read_text("utf-8"), "the threshold is that of slices"
