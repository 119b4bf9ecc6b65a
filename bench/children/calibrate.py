"""Percentile calibration by onnxruntime.quantization. Arguments: model, samples.npz, how many, folder."""

import json
import os
import sys
import time

import numpy as np
import onnx
from onnx import version_converter
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod
from onnxruntime.quantization.calibrate import create_calibrator
from onnxruntime.quantization.shape_inference import quant_pre_process

model, samples, count, folder = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
ready = os.path.join(folder, "ready.onnx")
onnx.save(version_converter.convert_version(onnx.load(model), 13), ready)
quant_pre_process(ready, ready, skip_symbolic_shape=True)


class Reader(CalibrationDataReader):
    def __init__(self):
        arrays = np.load(samples)
        self.left = iter([{name: arrays[name][index] for name in arrays.files} for index in range(count)])

    def get_next(self):
        return next(self.left, None)


start = time.perf_counter()
calibrator = create_calibrator(
    ready,
    augmented_model_path=os.path.join(folder, "tapped.onnx"),
    calibrate_method=CalibrationMethod.Percentile,
    extra_options={"symmetric": True, "num_bins": 2048, "percentile": 99.999},
)
calibrator.collect_data(Reader())
calibrator.compute_data()
seconds = time.perf_counter() - start
with open("/proc/self/status") as status:
    peak = next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))
print(json.dumps({"ms": 1000 * seconds, "peakBytes": peak}))
