"""The line at the end of a scan."""

from medscan.scanning.summary import Summary


def test_a_results_file_is_named_only_if_it_exists(tmp_path):
    out = tmp_path / "results.h5"
    summary = Summary(
        studies=2, scanned=1, left=1, stopped="disk full", files={"scanned": 1}, out=str(out)
    )
    assert summary.line().endswith("; no results written")
    out.touch()
    assert summary.line().endswith(f"; results in {out}")
