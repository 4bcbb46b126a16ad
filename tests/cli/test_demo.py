"""`medscan demo` as a newcomer runs it, in a process of its own."""

import csv


def test_a_newcomer_sees_the_lesion_first(medscan, tmp_path):
    done = medscan("demo")
    assert (done.returncode, done.stderr) == (0, "")
    assert "Open medscan-demo/results.html in a browser." in done.stdout
    with (tmp_path / "medscan-demo" / "results.csv").open(newline="") as stream:
        first, *others = csv.DictReader(stream)
    assert (first["path"], first["flagged"], first["detector"]) == ("phantom", "1", "brain-flair")
    assert others
    reasons = [row["reason"] for row in others]
    assert all("out-of-scope" in why or "unstated" in why for why in reasons)


def test_a_folder_that_cannot_be_made_is_one_line(medscan, tmp_path):
    (tmp_path / "file").write_text("")
    done = medscan("demo", "--out", "file/below")
    assert done.returncode == 1
    assert done.stderr.splitlines() == ["medscan: file/below cannot be written to: Not a directory"]
