"""What the driver of a scan on a cluster gives to whom."""

import socket
from collections import deque
from types import SimpleNamespace

import pytest

from medscan.cluster import driver
from medscan.cluster import nodes as cluster
from medscan.cluster.driver import ATTEMPTS, LOT_SLICES, Driver
from medscan.cluster.nodes import LOTS_AT_ONCE, Need, ScannerSlot, needs
from medscan.errors import ClusterError, UsageError
from medscan.runtimes import Square
from medscan.scanning import Assignment, Stop, Watchdog
from tests.options import scan_options

NODES = [{"CPU": 16.0, "GPU": 2.0}, {"CPU": 8.0}, {"CPU": 1.0}, {}]


@pytest.fixture
def cut(tmp_path):
    """A driver of nothing as yet."""
    options = scan_options(out=tmp_path / "r.h5", named=True)
    found = Driver(None, Assignment(options, None, Stop(), Watchdog(), note=None))
    found.waiting, found.waiting_slices = deque(), 0
    return found


def task(number, slices):
    stack = SimpleNamespace(frames=range(slices))
    study = SimpleNamespace(key=str(number), files=list)
    return SimpleNamespace(study=study, stacks=[(None, stack, None)])


def seat(**more):
    scanner = SimpleNamespace()
    return ScannerSlot(
        Need(1, 0), group=None, scanner=scanner, loading=object(), ready=True, **more
    )


def keys(tasks):
    return [task.study.key for task in tasks]


def fill(cut, slices):
    cut.waiting = deque(task(number, count) for number, count in enumerate(slices))
    cut.waiting_slices = sum(slices)


def test_a_gpu_has_a_scanner_and_so_has_a_node_without(monkeypatch):
    monkeypatch.setattr(cluster, "_nodes", lambda: NODES)
    assert needs("cuda", workers=4) == [Need(1, 1)] * 2
    assert needs("cpu", workers=4) == [Need(12, 0), Need(4, 0)]
    assert needs("cpu", workers=0) == [Need(16, 0), Need(8, 0), Need(1, 0)]
    assert cluster.has_gpus()


def test_an_address_without_a_port_is_no_cluster():
    with pytest.raises(ClusterError, match="no Ray cluster answers at head:port"):
        cluster._check_reachable("head:port")


@pytest.mark.parametrize(
    ("answer", "is_ray"),
    [(bytes(3) + b"\x04" + bytes(5), True), (b"HTTP/1.1 505 no\r\n\r\n", False), (b"", False)],
)
def test_only_a_server_of_grpc_is_taken_for_ray(answer, is_ray):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(answer)
        theirs.shutdown(socket.SHUT_WR)
        assert cluster._speaks_http2(ours) == is_ray


def test_lots_shrink_towards_the_end(cut):
    cut.slots = [seat(), seat()]
    fill(cut, [10] * 1000)
    sizes = []
    while lot := cut._next_lot(cut.slots[0]):
        sizes.append(10 * len(lot))
    assert sum(sizes) == 10_000
    assert sizes[0] == LOT_SLICES // 10 * 10 + 10
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] == 10


def test_a_large_study_is_a_lot_of_its_own(cut):
    cut.slots = [seat()]
    fill(cut, [5000, 1, 1])
    assert keys(cut._next_lot(cut.slots[0])) == ["0"]


def test_nobody_is_given_more_than_a_few_lots(cut):
    full = seat(lots=dict.fromkeys(range(LOTS_AT_ONCE)))
    cut.slots = [full]
    fill(cut, [1] * 9)
    assert cut._next_lot(full) == []


def test_studies_of_a_lost_scanner_are_given_alone(cut, monkeypatch):
    monkeypatch.setattr(ScannerSlot, "release", lambda self: None)
    lost, busy, idle = (
        seat(lots={0: {"7": task(7, 1), "8": task(8, 1)}}),
        seat(lots={1: {}}),
        seat(),
    )
    cut.slots = [lost, busy, idle]
    fill(cut, [1] * 9)
    cut._lose_scanner(lost)
    assert cut.slots == [busy, idle]
    assert cut._next_lot(busy) == []
    assert keys(cut._next_lot(idle)) == ["7"]
    assert idle.holds_suspect
    idle.lots = {2: {}}
    assert cut._next_lot(idle) == []
    idle.finish_lot(2)
    assert not idle.holds_suspect
    assert keys(cut._next_lot(idle)) == ["8"]


def test_a_study_is_given_up_after_some_scanners(cut, monkeypatch):
    monkeypatch.setattr(ScannerSlot, "release", lambda self: None)
    given_up = []
    monkeypatch.setattr(cut, "_give_up", lambda task: given_up.append(task.study.key))
    for attempt in range(ATTEMPTS):
        assert given_up == []
        lost = seat(lots={0: {"7": task(7, 1)}})
        cut.slots.append(lost)
        cut._lose_scanner(lost)
        assert len(cut.suspects) == attempt + 1 - (attempt + 1 == ATTEMPTS)
    assert given_up == ["7"]


def test_scanners_that_never_begin_end_the_scan(cut, monkeypatch):
    monkeypatch.setattr(ScannerSlot, "release", lambda self: None)
    unborn = [seat() for _ in range(ATTEMPTS)]
    for one in unborn:
        one.ready = False
    cut.slots = list(unborn)
    for one in unborn[:-1]:
        cut._lose_scanner(one)
    with pytest.raises(ClusterError, match="lost before they are ready"):
        cut._lose_scanner(unborn[-1])


def test_a_cluster_without_room_is_not_waited_for(cut, monkeypatch):
    monkeypatch.setattr(driver, "JOIN_S", -1.0)
    fill(cut, [1])
    cut.last_ready_at = driver.time.monotonic()
    with pytest.raises(ClusterError, match="no node of the cluster has 2 cores for a scanner"):
        cut._check_alive(cut.options)


def test_a_node_that_cannot_scan_ends_a_scan_that_has_not_begun_and_no_other(cut, monkeypatch):
    monkeypatch.setattr(ScannerSlot, "release", lambda self: None)
    first, later = seat(), seat()
    with pytest.raises(UsageError, match="mount it"):
        cut._note_loaded(first, UsageError("mount it"))
    cut._note_loaded(first, {"d": Square(64, 4, 16, 64)})
    later.ready = False
    cut._note_loaded(later, UsageError("mount it"))
    assert (first.ready, later.ready, later.loading) == (True, False, None)
