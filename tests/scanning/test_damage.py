"""Bytes that change between two scans: what they hit is named, set aside and scanned again."""

import random

import h5py
import pytest

from medscan import results
from medscan.scanning import scan
from tests import tiny
from tests.content import content
from tests.options import changed
from tests.results.test_seal import flip


@pytest.fixture
def six(root):
    for number in range(6):
        volume = tiny.head_volume(number, slices=8)
        tiny.write_series(root / f"{number}", volume, study=f"1.{number}")
    return root


def heal(options, expected):
    """The next scan has the results again, and the one after it finds nothing new."""
    healed, quiet = scan(options), scan(options)
    assert content(options.outputs.out) == expected
    assert quiet.line().startswith("nothing new: 6 studies unchanged")
    assert quiet.damage == []
    return healed


def test_results_that_somebody_reads_are_not_damaged(options, six):
    scan(changed(options, max_studies=4))
    with h5py.File(options.outputs.out, "r") as before:
        summary = scan(options)
        assert len(before["studies"]) == 4
    assert (summary.damage, summary.scanned, summary.unchanged) == ([], 2, 4)


@pytest.mark.parametrize("ledger", ["kept", "lost"])
def test_damaged_results_are_scanned_again(options, six, ledger):
    scan(options)
    out, before = options.outputs.out, content(options.outputs.out)
    flip(out, out.stat().st_size // 2)
    broken = out.read_bytes()
    lost = results.open(out).damaged()
    assert 0 < len(lost) < 6
    if ledger == "lost":
        options.outputs.ledger_path.unlink()
    healed = heal(options, before)
    assert (healed.scanned, healed.unchanged) == (len(lost), 6 - len(lost))
    (line,) = healed.damage
    assert line.startswith(f"results.h5 was damaged: {'studies' if len(lost) > 1 else 'study'} ")
    assert all(key in line for key in lost)
    assert (options.outputs.damaged / out.name).read_bytes() == broken


def test_damage_beside_the_studies_is_repaired(options, six):
    scan(options)
    out, before = options.outputs.out, content(options.outputs.out)
    flip(out, 3)
    healed = heal(options, before)
    assert healed.scanned == 0
    assert "damaged, but no study in it: it is written anew" in healed.damage[0]


@pytest.mark.parametrize("left", [0, 1000])
def test_results_of_which_nothing_is_left_are_scanned_again(options, six, left):
    scan(options)
    out, before = options.outputs.out, content(options.outputs.out)
    out.write_bytes(out.read_bytes()[:left])
    healed = heal(options, before)
    assert (healed.scanned, len(healed.damage)) == (6, 1)
    assert (options.outputs.damaged / out.name).stat().st_size == left


@pytest.mark.parametrize("seed", range(6))
def test_a_damaged_ledger_costs_no_result(options, six, seed):
    scan(options)
    before, ledger = content(options.outputs.out), options.outputs.ledger_path
    draw = random.Random(seed)
    for _ in range(20):
        flip(ledger, draw.randrange(ledger.stat().st_size))
    heal(options, before)
