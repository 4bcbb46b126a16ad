import pytest

from medscan.choices import Precision
from medscan.runtimes import lower_precisions
from medscan.runtimes.openvino import supports

needs_int8 = pytest.mark.skipif(
    Precision.INT8 not in lower_precisions(), reason="this CPU does not add up products of bytes"
)
needs_bf16 = pytest.mark.skipif(
    not supports(Precision.BF16), reason="OpenVINO has no bfloat16 on this CPU"
)
