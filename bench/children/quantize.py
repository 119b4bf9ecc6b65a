"""onnxruntime.quantization on the same model. Arguments: model, output. Prints seconds and peak bytes as JSON."""

import json
import sys
import time

from onnxruntime.quantization import QuantType, quantize_dynamic

start = time.perf_counter()
quantize_dynamic(
    sys.argv[1], sys.argv[2], per_channel=True, weight_type=QuantType.QInt8, use_external_data_format=True
)
seconds = time.perf_counter() - start
try:
    with open("/proc/self/status") as status:
        peak = next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))
except FileNotFoundError:
    peak = None
print(json.dumps({"seconds": seconds, "peak": peak}))
