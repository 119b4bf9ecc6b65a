"""Records what dynamic quantization of onnxruntime 1.32 makes of small models, for test/quantize/parity.test.ts."""

import itertools
import logging
import tempfile
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic

from canonical import MS, ints, model, node, value, weights, write

rng = np.random.default_rng(20)
weight = weights(rng)


def models():
    for opset in (9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21):
        yield f"matmul-opset{opset}", model(
            [
                node("MatMul", "x A", "h"),
                node("Relu", "h", "r"),
                node("MatMul", "r B", "m"),
                node("Gemm", "m C c", "y", transB=1),
            ],
            [value("x", "rows", 24)],
            [value("y", "rows", 8)],
            [weight("A", 24, 20), weight("B", 20, 12, shift=0.3), weight("C", 8, 12), weight("c", 8)],
            opset,
        )
    yield "matmul-edges", model(
        [node("MatMul", f"x {name}", f"y_{name}") for name in ("zeros", "tiny", "positive", "negative", "ties", "wide")],
        [value("x", 2, 8)],
        [value(f"y_{name}", 2, 4) for name in ("zeros", "tiny", "positive", "negative", "ties", "wide")],
        [
            numpy_helper.from_array(np.zeros((8, 4), np.float32), "zeros"),
            numpy_helper.from_array((np.arange(32).reshape(8, 4) * 1e-40).astype(np.float32), "tiny"),
            numpy_helper.from_array(rng.uniform(1, 2, (8, 4)).astype(np.float32), "positive"),
            numpy_helper.from_array(rng.uniform(-2, -1, (8, 4)).astype(np.float32), "negative"),
            numpy_helper.from_array((np.arange(-16, 16).reshape(8, 4) / 2 * 127 / 8).astype(np.float32), "ties"),
            numpy_helper.from_array((rng.standard_normal((8, 4)) * 10.0 ** rng.integers(-30, 38, (8, 4))).astype(np.float32), "wide"),
        ],
    )
    yield "matmul-activations", model(
        [
            node("MatMul", "x A", "a"),
            node("MatMul", "x B", "b"),
            node("Transpose", "x", "t", perm=[0, 2, 1]),
            node("MatMul", "a b", "dynamic"),
            node("MatMul", "t S", "s"),
            node("Add", "dynamic x", "sum"),
            node("Sub", "x sum", "y"),
        ],
        [value("x", 2, 12, 12)],
        [value("y", 2, 12, 12), value("s", 2, 12, 3)],
        [weight("A", 12, 12), weight("B", 12, 12), weight("S", 12, 3)],
    )
    yield "matmul-shared", model(
        [
            node("MatMul", "x W", "a"),
            node("MatMul", "a W", "b"),
            node("Add", "b W", "y"),
        ],
        [value("x", 10, 10)],
        [value("y", 10, 10)],
        [weight("W", 10, 10)],
    )
    yield "gemm", model(
        [
            node("Gemm", "x A a", "h", transB=1),
            node("Gemm", "h B", "g"),
            node("Gemm", "x A b", "k", transB=1),
            node("Gemm", "g C c", "scaled", alpha=0.5),
            node("Add", "scaled k2", "y"),
            node("Gemm", "k D", "k2", transA=0, transB=0),
        ][:3]
        + [
            node("Gemm", "k D", "k2", transA=0, transB=0),
            node("Gemm", "g C c", "scaled", alpha=0.5),
            node("Add", "scaled k2", "y"),
        ],
        [value("x", 5, 12)],
        [value("y", 5, 6)],
        [weight("A", 9, 12), weight("a", 9), weight("b", 9), weight("B", 9, 7), weight("C", 7, 6), weight("c", 6), weight("D", 9, 6)],
    )
    yield "gather", model(
        [
            node("Gather", "E ids", "e"),
            node("Add", "e P", "p"),
            node("MatMul", "e A", "a"),
            node("Transpose", "e", "t", perm=[0, 2, 1]),
            node("MatMul", "t B", "b"),
            node("MatMul", "p C", "c"),
        ],
        [value("ids", 2, 6, dtype=TensorProto.INT64)],
        [value("a", 2, 6, 5), value("b", 2, 10, 3), value("c", 2, 6, 4)],
        [weight("E", 30, 10, shift=0.2), weight("P", 6, 10), weight("A", 10, 5), weight("B", 6, 3), weight("C", 10, 4)],
    )
    yield "gather-output", model(
        [node("Gather", "E ids", "y"), node("Gather", "E ids2", "z", axis=1)],
        [value("ids", 4, dtype=TensorProto.INT64), value("ids2", 3, dtype=TensorProto.INT64)],
        [value("y", 4, 10), value("z", 30, 3)],
        [weight("E", 30, 10)],
    )
    tied = [weight("E", 16, 16)]
    yield "tied-gather-first", model(
        [node("Gather", "E ids", "e"), node("Relu", "e", "r"), node("MatMul", "r E", "y")],
        [value("ids", 5, dtype=TensorProto.INT64)],
        [value("y", 5, 16)],
        tied,
    )
    yield "tied-head-first", model(
        [node("MatMul", "x E", "h"), node("Gather", "E ids", "e"), node("Add", "h e", "y")],
        [value("ids", 5, dtype=TensorProto.INT64), value("x", 5, 16)],
        [value("y", 5, 16)],
        tied,
    )
    yield "tied-gemm", model(
        [node("Gather", "E ids", "e"), node("Relu", "e", "r"), node("Gemm", "r E", "y", transB=1)],
        [value("ids", 5, dtype=TensorProto.INT64)],
        [value("y", 5, 20)],
        [weight("E", 20, 16)],
    )
    for direction, count in (("forward", 1), ("bidirectional", 2)):
        yield f"lstm-{direction}", model(
            [node("LSTM", ["x", "W", "R", "B", "", "h0", "c0"], "Y Yh Yc", hidden_size=6, direction=direction)],
            [value("x", 4, 3, 5)],
            [value("Y", 4, count, 3, 6), value("Yh", count, 3, 6), value("Yc", count, 3, 6)],
            [
                weight("W", count, 24, 5),
                weight("R", count, 24, 6),
                weight("B", count, 48),
                weight("h0", count, 3, 6),
                weight("c0", count, 3, 6),
            ],
        )
    yield "lstm-matmul", model(
        [
            node("MatMul", "x A", "a"),
            node("LSTM", "x W R", "Y", hidden_size=4),
            node("Squeeze", "Y axes", "s"),
            node("MatMul", "s C", "y"),
        ],
        [value("x", 4, 3, 5)],
        [value("a", 4, 3, 7), value("y", 4, 3, 2)],
        [weight("A", 5, 7), weight("W", 1, 16, 5), weight("R", 1, 16, 4), ints("axes", 1), weight("C", 4, 2)],
    )
    attention = helper.make_node("Attention", ["x", "W", "b", "mask"], ["h"], "attention", domain=MS, num_heads=2)
    yield "attention", model(
        [attention, node("MatMul", "h A", "y")],
        [value("x", 2, 5, 8), value("mask", 2, dtype=TensorProto.INT32)],
        [value("y", 2, 5, 3)],
        [weight("W", 8, 24), weight("b", 24), weight("A", 8, 3)],
        ms=True,
    )
    sizes = helper.make_node("Attention", ["x", "W", "b"], ["y"], "attention", domain=MS, num_heads=2, qkv_hidden_sizes=[8, 8, 8])
    yield "attention-kept", model(
        [sizes, node("MatMul", "x A", "z")],
        [value("x", 2, 5, 8)],
        [value("y", 2, 5, 8), value("z", 2, 5, 3)],
        [weight("W", 8, 24), weight("b", 24), weight("A", 8, 3)],
        ms=True,
    )
    for name, segments in (("embed", True), ("embed-no-segments", False)):
        embed = helper.make_node(
            "EmbedLayerNormalization",
            ["ids", "segments" if segments else "", "word", "position", "segment" if segments else "", "gamma", "beta", "mask"],
            ["h", "mask_index"],
            "embed",
            domain=MS,
            epsilon=1e-6,
        )
        tables = [weight("word", 30, 8), weight("position", 10, 8), weight("segment", 2, 8), weight("gamma", 8, shift=1.0), weight("beta", 8)]
        inputs = [value(each, 2, 6, dtype=TensorProto.INT32) for each in ("ids", "segments", "mask")]
        yield name, model(
            [embed, node("MatMul", "h A", "y")],
            [each for each in inputs if segments or each.name != "segments"],
            [value("y", 2, 6, 4), value("mask_index", 2, dtype=TensorProto.INT32)],
            [each for each in tables if segments or each.name != "segment"] + [weight("A", 8, 4)],
            ms=True,
        )
    yield "conv", model(
        [
            node("Conv", "x A a", "h", pads=[1, 1, 1, 1]),
            node("Relu", "h", "r"),
            node("Conv", "r D", "d", group=6, strides=[2, 2]),
            node("Conv", "d P p", "y"),
        ],
        [value("x", 1, 3, 12, 12)],
        [value("y", 1, 4, 5, 5)],
        [weight("A", 6, 3, 3, 3), weight("a", 6), weight("D", 6, 1, 3, 3), weight("P", 4, 6, 1, 1), weight("p", 4)],
    )
    yield "conv-1d", model(
        [node("Conv", "x A a", "y", pads=[1, 1]), node("Conv", "x B", "z")],
        [value("x", 1, 3, 20)],
        [value("y", 1, 6, 20), value("z", 1, 2, 20)],
        [weight("A", 6, 3, 3), weight("a", 6), weight("B", 2, 3, 1)],
    )
    yield "matmul-stack", model(
        [node("MatMul", "x W", "y")], [value("x", 3, 4, 8)], [value("y", 3, 4, 5)], [weight("W", 3, 8, 5)]
    )
    branch = lambda name, weights: helper.make_graph(
        [node("MatMul", f"x {weights}", name, name=f"{name}_in"), node("MatMul", f"outer {weights}", f"{name}2", name=f"{name}_out")],
        name,
        [],
        [value(name, 4, 6), value(f"{name}2", 4, 6)],
        [weight(weights, 8, 6)],
    )
    yield "if", model(
        [
            node("MatMul", "x A", "outer"),
            node("If", "condition", "p q", then_branch=branch("yes", "Y"), else_branch=branch("no", "N")),
        ],
        [value("x", 4, 8), value("condition", dtype=TensorProto.BOOL)],
        [value("p", 4, 6), value("q", 4, 6)],
        [weight("A", 8, 8)],
    )


SWITCHES = ("int8", "uint8"), (False, True), (True, False), (False, True)


def case_name(weight_type, per_channel, symmetric, reduce_range):
    parts = [weight_type, "channel" if per_channel else "tensor", "symmetric" if symmetric else "asymmetric"]
    return " ".join(parts + (["reduced"] if reduce_range else []))


def quantized(source, weight_type, per_channel, symmetric, reduce_range):
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "quantized.onnx"
        copy = Path(folder) / "source.onnx"
        onnx.save(source, copy)
        quantize_dynamic(
            copy,
            target,
            weight_type=QuantType.QInt8 if weight_type == "int8" else QuantType.QUInt8,
            per_channel=per_channel,
            reduce_range=reduce_range,
            extra_options={"WeightSymmetric": symmetric, "EnableSubgraph": True},
        )
        return onnx.load(target)


def cases_of(name, source):
    # One pass over the operator sets is enough for what does not depend on them.
    switches = itertools.product(*SWITCHES)
    if "-opset" in name and not name.endswith(("opset9", "opset13")):
        switches = [("int8", False, True, False), ("int8", True, True, False), ("uint8", False, False, False)]
    for switch in switches:
        yield case_name(*switch), lambda: quantized(source, *switch)


logging.disable(logging.WARNING)
write("dynamic", models(), cases_of)
