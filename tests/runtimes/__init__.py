import pytest

from medscan.choices import Precision
from medscan.runtimes.openvino import supports

needs_bf16 = pytest.mark.skipif(
    not supports(Precision.BF16), reason="OpenVINO has no bfloat16 on this CPU"
)
