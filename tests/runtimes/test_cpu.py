"""What a CPU says that it can multiply."""

import pytest

from medscan.runtimes import cpu


@pytest.fixture
def said(monkeypatch, tmp_path):
    """Lets the CPU say its maker and flags."""

    def say(maker, flags):
        text = (
            f"processor\t: 0\nvendor_id\t: {maker}\nflags\t\t: {flags}\n"
            "bugs\t\t: avx512_bf16 avx_vnni\n"
        )
        (tmp_path / "cpuinfo").write_text(text)
        monkeypatch.setattr(cpu, "INFO", tmp_path / "cpuinfo")
        cpu._said.cache_clear()

    yield say
    cpu._said.cache_clear()


@pytest.mark.parametrize(
    ("maker", "flags", "bf16", "int8"),
    [
        ("AuthenticAMD", "fpu avx512f avx512_bf16", True, False),
        ("GenuineIntel", "fpu avx512f avx512_bf16 avx512_vnni", False, True),
        ("GenuineIntel", "avx512_bf16 amx_bf16 amx_int8 fpu", True, True),
        ("AuthenticAMD", "fpu avx512f bf16x avx512_vnni", False, True),
        ("GenuineIntel", "avx2 avx_vnni", False, True),
        ("AuthenticAMD", "avx2", False, False),
    ],
)
def test_what_the_cpu_says_of_itself(said, maker, flags, bf16, int8):
    said(maker, flags)
    assert (cpu.computes_bf16(), cpu.computes_int8()) == (bf16, int8)


def test_a_machine_that_does_not_say_computes_in_single_precision(said, monkeypatch, tmp_path):
    said("AuthenticAMD", "avx512_bf16 avx512_vnni")
    monkeypatch.setattr(cpu, "INFO", tmp_path / "none")
    assert not cpu.computes_bf16()
    assert not cpu.computes_int8()
