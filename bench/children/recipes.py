"""What an expert would try with onnxruntime.quantization. Arguments: model, samples.npz, count, folder.

Writes a model per recipe that works, and prints as JSON what became of each: seconds, or the error.
"""

import json
import os
import sys
import time

import numpy as np
import onnx
from onnx import version_converter
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process

model, samples, count, folder = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]


class Reader(CalibrationDataReader):
    def __init__(self):
        self.left = iter(range(count))
        graph = onnx.load(model, load_external_data=False).graph
        known = {initializer.name for initializer in graph.initializer}
        ranks = {
            value.name: len(value.type.tensor_type.shape.dim) for value in graph.input if value.name not in known
        }
        arrays = np.load(samples)
        self.arrays = {name: (arrays[name], arrays[name].ndim > rank) for name, rank in ranks.items()}

    def get_next(self):
        index = next(self.left, None)
        if index is None:
            return None
        return {name: array[index] if stacked else array for name, (array, stacked) in self.arrays.items()}


def prepared():
    """Operator set 13 at least, shapes inferred, folded: what the tool's own documentation asks for before static."""
    ready = os.path.join(folder, "prepared.onnx")
    raised = os.path.join(folder, "raised.onnx")
    try:
        loaded = onnx.load(model)
        opset = next(entry.version for entry in loaded.opset_import if entry.domain in ("", "ai.onnx"))
        onnx.save(version_converter.convert_version(loaded, 13) if opset < 13 else loaded, raised)
    except Exception:
        raised = model
    for skip in (False, True):
        try:
            quant_pre_process(raised, ready, skip_symbolic_shape=skip)
            return ready
        except Exception:
            continue
    return raised


DEEP = {"activation_type": QuantType.QUInt8, "weight_type": QuantType.QInt8, "per_channel": True}
PERCENTILE = {
    "calibrate_method": CalibrationMethod.Percentile,
    "extra_options": {"CalibPercentile": 99.999},
}
LARGE = ["Conv", "MatMul", "Gemm"]


def dynamic(out, **options):
    quantize_dynamic(model, out, **options)


def static(out, **options):
    quantize_static(prepared(), out, Reader(), quant_format=QuantFormat.QDQ, **options)


RECIPES = {
    "dynamic": lambda out: dynamic(out),
    "static": lambda out: static(out),
    "dynamic, per channel": lambda out: dynamic(out, per_channel=True, weight_type=QuantType.QInt8),
    "dynamic, products only": lambda out: dynamic(
        out, per_channel=True, weight_type=QuantType.QInt8, op_types_to_quantize=["MatMul", "Gemm", "LSTM"]
    ),
    "static, minmax": lambda out: static(out, **DEEP),
    "static, percentile": lambda out: static(out, **DEEP, **PERCENTILE),
    "static, Conv, minmax": lambda out: static(out, **DEEP, op_types_to_quantize=["Conv"]),
    "static, Conv, percentile": lambda out: static(out, **DEEP, **PERCENTILE, op_types_to_quantize=["Conv"]),
    "static, Conv and products": lambda out: static(out, **DEEP, **PERCENTILE, op_types_to_quantize=LARGE),
}

results = []
for name, recipe in RECIPES.items():
    out = os.path.join(folder, f"python-{len(results)}.onnx")
    start = time.perf_counter()
    try:
        recipe(out)
        results.append({"form": name, "file": out, "seconds": time.perf_counter() - start})
    except BaseException as error:
        results.append({"form": name, "error": f"{type(error).__name__}: {error}"[:200] or "?"})
with open(os.path.join(folder, "recipes.json"), "w") as file:
    json.dump(results, file)
