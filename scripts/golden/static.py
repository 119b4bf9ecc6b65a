"""Records what onnxruntime.quantization computes of static quantization, for test/quantize/parity-static.test.ts.

Run by hand with the release's Python: `python scripts/golden/static.py`. Ranges: values of several shapes of distribution,
and what its calibrators make of them. Observed: what its MinMax calibrator sees of a model at work. Products: models of one convolution or Gemm, and the numbers in their QDQ form.
"""

import base64
import contextlib
import io
import json
import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.calibrate import CalibrationMethod, HistogramCollector, create_calibrator

TARGET = Path(__file__).resolve().parents[2] / "test" / "quantize" / "golden" / "static.json"
random = np.random.default_rng(16)


def encoded(array):
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()


def distributions():
    normal = lambda *shape: random.standard_normal(shape).astype(np.float32)
    yield "normal", [normal(3000), normal(3000) * np.float32(2)]
    yield "relu", [np.maximum(normal(2048), 0), np.maximum(normal(2048), 0)]
    yield "tails", [(normal(4000) ** 3).astype(np.float32)]
    yield "positive", [(np.abs(normal(1000)) + np.float32(3)).astype(np.float32)]
    yield "negative", [(-np.abs(normal(1000)) - np.float32(0.25)).astype(np.float32)]
    yield "one value", [np.full(64, 2.5, np.float32)]
    yield "zeros", [np.zeros(64, np.float32)]
    yield "tiny", [(normal(500) * np.float32(1e-30)).astype(np.float32)]


CASES = [
    ("percentile", dict(symmetric=True, num_bins=2048, percentile=99.999)),
    ("percentile", dict(symmetric=True, num_bins=2048, percentile=99.0)),
    ("entropy", dict(symmetric=False, num_bins=128)),
    ("entropy", dict(symmetric=False, num_bins=512)),
]


def ranges():
    for name, samples in distributions():
        found = []
        for method, options in CASES:
            arguments = {"num_quantized_bins": 128, "percentile": 99.999, "scenario": "same", **options}
            collector = HistogramCollector(method, **arguments)
            with contextlib.redirect_stdout(io.StringIO()):
                collector.collect({"x": samples})
                low, high = collector.compute_collection_result()["x"][:2]
            counts = collector.get_histogram_dict()["x"][0]
            entry = {"method": method, **options, "low": float(low), "high": float(high)}
            found.append({**entry, "counts": encoded(np.asarray(counts, np.uint32))})
        yield {"name": name, "samples": [encoded(each) for each in samples], "ranges": found}


class Reader(CalibrationDataReader):
    def __init__(self, feeds):
        self.feeds = iter(feeds)

    def get_next(self):
        return next(self.feeds, None)


def products():
    def conv(name, weight, bias, attributes, shape):
        inputs = ["x", "w"] + ([] if bias is None else ["b"])
        initializers = [numpy_helper.from_array(weight, "w")]
        if bias is not None:
            initializers.append(numpy_helper.from_array(bias, "b"))
        return name, helper.make_node("Conv", inputs, ["y"], "conv", **attributes), initializers, shape

    f32 = lambda *shape: random.standard_normal(shape).astype(np.float32)
    yield conv("conv", f32(6, 3, 3, 3), f32(6), {"pads": [1, 1, 1, 1]}, (1, 3, 8, 8))
    yield conv("depthwise", f32(4, 1, 3, 3), f32(4), {"group": 4}, (1, 4, 8, 8))
    yield conv("conv 1d", f32(5, 2, 3), f32(5), {}, (1, 2, 16))
    yield conv("bias that does not fit", f32(3, 2, 1, 1) * np.float32(1e-7), f32(3) * np.float32(1e3), {}, (1, 2, 4, 4))
    yield conv("zero channel", np.concatenate([np.zeros((1, 2, 1, 1), np.float32), f32(2, 2, 1, 1)]), f32(3), {}, (1, 2, 4, 4))
    for transposed in (0, 1):
        weight = f32(7, 12) if transposed else f32(12, 7)
        node = helper.make_node("Gemm", ["x", "w", "b"], ["y"], "gemm", transB=transposed)
        initializers = [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(f32(7), "b")]
        yield f"gemm {transposed}", node, initializers, (5, 12)


def quantized(node, initializers, shape):
    value = lambda name, dims: helper.make_tensor_value_info(name, TensorProto.FLOAT, dims)
    graph = helper.make_graph([node], "g", [value("x", shape)], [value("y", None)], initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    feed = {"x": random.standard_normal(shape).astype(np.float32)}
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "source.onnx", Path(folder) / "target.onnx"
        onnx.save(model, source)
        with contextlib.redirect_stdout(io.StringIO()):
            quantize_static(
                source,
                target,
                Reader([feed]),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
            )
        found = {each.name: numpy_helper.to_array(each) for each in onnx.load(target).graph.initializer}
    return feed["x"], found


def observed():
    """A model whose operators round nothing, on samples of different ranges."""
    value = lambda name, dims: helper.make_tensor_value_info(name, TensorProto.FLOAT, dims)
    nodes = [
        helper.make_node("Relu", ["x"], ["positive"]),
        helper.make_node("Add", ["x", "positive"], ["sum"]),
        helper.make_node("MaxPool", ["sum"], ["pooled"], kernel_shape=[2, 2]),
        helper.make_node("Concat", ["pooled", "pooled"], ["y"], axis=1),
    ]
    graph = helper.make_graph(nodes, "g", [value("x", ["n", 2, 5, 5])], [value("y", ["n", 4, 4, 4])])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    samples = [random.standard_normal((1, 2, 5, 5)).astype(np.float32) * np.float32(scale) for scale in (1, 3, 0.5)]
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "source.onnx"
        onnx.save(model, source)
        calibrator = create_calibrator(
            source,
            ["Relu", "Add", "MaxPool", "Concat"],
            augmented_model_path=str(Path(folder) / "augmented.onnx"),
            calibrate_method=CalibrationMethod.MinMax,
        )
        calibrator.collect_data(Reader([{"x": sample} for sample in samples]))
        found = {name: [float(np.ravel(each)[0]) for each in data.range_value] for name, data in calibrator.compute_data().items()}
    return {"model": encoded(np.frombuffer(model.SerializeToString(), np.uint8)), "samples": [encoded(each) for each in samples], "ranges": found}


def main():
    recorded = []
    for name, node, initializers, shape in products():
        x, found = quantized(node, initializers, shape)
        kept = {key: found[key] for key in found if key.startswith(("x_", "w_", "b_"))}
        entry = {"name": name, "operator": node.op_type, "x": {"min": float(x.min()), "max": float(x.max())}}
        entry["transB"] = int(next((each.i for each in node.attribute if each.name == "transB"), 0))
        entry["inputs"] = {each.name: {"dims": list(each.dims), "data": encoded(numpy_helper.to_array(each))} for each in initializers}
        entry["initializers"] = {key: {"dtype": str(each.dtype), "data": encoded(each)} for key, each in kept.items()}
        recorded.append(entry)
    golden = {"onnxruntime": onnxruntime.__version__, "ranges": list(ranges()), "products": recorded, "observed": observed()}
    TARGET.write_text(json.dumps(golden, indent=1) + "\n")
    print(len(golden["ranges"]), len(recorded), TARGET.stat().st_size, {e["name"]: list(e["initializers"]) for e in recorded})


if __name__ == "__main__":
    main()
