"""Where the time goes: busy and waiting stages, and which of them is named."""

import pytest

from medscan.profile import DECODE, MODEL, RESULTS, Clock, Profile, profile_of
from medscan.scanning import scan
from tests import tiny
from tests.options import changed


@pytest.fixture
def clock_of(monkeypatch):
    """Makes a clock that was told so many seconds."""
    now = [0.0]
    monkeypatch.setattr("medscan.profile.time.perf_counter", lambda: now[0])

    def make(decode, model, waited):
        clock = Clock()
        clock.add(DECODE, decode)
        with clock.busy(MODEL):
            now[0] += model
        for stage, seconds in zip((DECODE, MODEL), waited, strict=True):
            with clock.waiting(stage):
                now[0] += seconds
        return clock

    return make


@pytest.mark.parametrize(
    ("decode", "model", "waited", "said"),
    [
        (98, 130, (60, 10), "Decoding is the bottleneck, busy 98% of the time: the model waits"),
        (10, 198, (5, 90), "The model is the bottleneck, busy 99%"),
        (9, 90, (1, 2), "Putting results together and writing them is the bottleneck, busy 97%"),
    ],
)
def test_the_busiest_stage_is_named(clock_of, decode, model, waited, said):
    profile = profile_of(clock_of(decode, model, waited), seconds=100, workers=1, lanes=2)
    assert profile.bottleneck().startswith(said)
    spans = {stage.name: stage.busy_s + stage.waiting_s for stage in profile.stages}
    assert spans == {DECODE: 100, MODEL: 200, RESULTS: 100}
    assert len(profile.lines({"walk": 1.0})) == 6


def test_without_workers_one_process_decodes_all_the_same(clock_of):
    profile = profile_of(clock_of(30, 50, (0, 40)), seconds=100, workers=0, lanes=1)
    assert [stage.busy_s for stage in profile.stages] == [30, 50, 60]
    assert [stage.hands for stage in profile.stages] == [1, 1, 1]


def test_nothing_scored_has_no_bottleneck():
    assert Profile().lines({}) == ["", "Nothing was scored."]


@pytest.mark.parametrize("workers", [0, 1])
def test_a_scan_tells_how_long_its_stages_took(options, root, workers):
    tiny.write_series(root / "a", tiny.head_volume(1), study="1.1")
    summary = scan(changed(options, workers=workers))
    decode, model, results = summary.profile.stages
    assert decode.busy_s > 0
    assert model.busy_s > 0
    assert 0 < results.busy_fraction <= 1
    assert summary.as_dict()["profile"][0]["name"] == "decode"
