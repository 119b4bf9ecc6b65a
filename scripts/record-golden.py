"""Records what onnxruntime.quantization 1.32 makes of small models, for test/quantize/parity.test.ts.

For developers only: tests need the recorded files, never Python. Needs onnxruntime==1.32.*, onnx and numpy.
Run: python scripts/record-golden.py   (writes test/quantize/golden/)

Per case it records every tensor of the result (data type, dims, SHA-256 of its little-endian bytes) and a digest of the
graph that does not depend on names, order, value_info or unused initializers. canonical.ts in the same folder computes
the same digest: a value is the hash of what makes it, a graph the sorted hashes of its nodes and its outputs.
"""

import collections
import hashlib
import itertools
import json
import logging
import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic

FOLDER = Path(__file__).parent.parent / "test" / "quantize" / "golden"
MS = "com.microsoft"


# --- canonical form -------------------------------------------------------------------------------------------------


def digest(*parts):
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


def tensor_key(tensor):
    array = numpy_helper.to_array(tensor)
    content = hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()[:32]
    return f"{tensor.data_type} [{','.join(map(str, tensor.dims))}] {content}"


class Canonical:
    """One graph; `outer` finds the values that it captures."""

    def __init__(self, graph, outer=None):
        self.graph, self.outer = graph, outer
        self.initializers = {each.name: each for each in graph.initializer}
        self.inputs = {each.name: i for i, each in enumerate(graph.input) if each.name not in self.initializers}
        self.producers = {name: node for node in graph.node for name in node.output if name}
        self.values, self.nodes = {}, {}

    def value(self, name):
        if name not in self.values:
            self.values[name] = self.find(name)
        return self.values[name]

    def find(self, name):
        if name == "":
            return "-"
        if name in self.initializers:
            return digest("tensor", tensor_key(self.initializers[name]))
        if name in self.producers:
            node = self.producers[name]
            if is_constant(node):
                return digest("tensor", tensor_key(node.attribute[0].t))
            return digest(self.node(node), str(list(node.output).index(name)))
        if name in self.inputs:
            return digest("input", str(self.inputs[name]) if self.outer else name)
        if self.outer is None:
            raise ValueError(f"nothing makes {name}")
        return self.outer.value(name)

    def node(self, node):
        key = id(node)
        if key not in self.nodes:
            inputs = [self.value(name) for name in node.input]
            while inputs and inputs[-1] == "-":
                inputs.pop()
            attributes = sorted(f"{each.name}={self.attribute(each)}" for each in node.attribute)
            domain = "" if node.domain == "ai.onnx" else node.domain
            self.nodes[key] = digest(domain, node.op_type, *attributes, *inputs)
        return self.nodes[key]

    def attribute(self, attribute):
        kind = attribute.type
        if kind == onnx.AttributeProto.FLOAT:
            return f"float {np.float32(attribute.f).tobytes().hex()}"
        if kind == onnx.AttributeProto.INT:
            return f"int {attribute.i}"
        if kind == onnx.AttributeProto.STRING:
            return f"string {attribute.s.hex()}"
        if kind == onnx.AttributeProto.FLOATS:
            return f"floats {np.array(attribute.floats, dtype='<f4').tobytes().hex()}"
        if kind == onnx.AttributeProto.INTS:
            return f"ints {','.join(map(str, attribute.ints))}"
        if kind == onnx.AttributeProto.STRINGS:
            return f"strings {','.join(each.hex() for each in attribute.strings)}"
        if kind == onnx.AttributeProto.TENSOR:
            return f"tensor {tensor_key(attribute.t)}"
        if kind == onnx.AttributeProto.GRAPH:
            return f"graph {Canonical(attribute.g, self).digest()}"
        raise ValueError(f"attribute type {kind}")

    def digest(self):
        nodes = sorted(self.node(node) for node in self.graph.node if not is_constant(node))
        outputs = [f"{'' if self.outer else each.name} {self.value(each.name)}" for each in self.graph.output]
        return digest(*nodes, "outputs", *outputs)


def is_constant(node):
    return node.op_type == "Constant" and len(node.attribute) == 1 and node.attribute[0].name == "value"


def record(model):
    opsets = sorted(f"{'' if each.domain == 'ai.onnx' else each.domain} {each.version}" for each in model.opset_import)
    tensors = {}
    for graph in graphs_of(model.graph):
        for each in graph.initializer:
            tensors[each.name] = tensor_key(each)
    counts = collections.Counter(node.op_type for graph in graphs_of(model.graph) for node in graph.node)
    operators = {name: counts[name] for name in sorted(counts)}
    return {
        "graph": digest(Canonical(model.graph).digest(), *opsets),
        "opsets": opsets,
        "operators": operators,
        "tensors": tensors,
    }


def graphs_of(graph):
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in [attribute.g] if attribute.type == onnx.AttributeProto.GRAPH else attribute.graphs:
                yield from graphs_of(inner)


# --- models ---------------------------------------------------------------------------------------------------------

rng = np.random.default_rng(20)


def weight(name, *dims, shift=0.0):
    return numpy_helper.from_array((rng.standard_normal(dims) * 0.5 + shift).astype(np.float32), name)


def ints(name, *values, dtype=np.int64):
    return numpy_helper.from_array(np.array(values, dtype=dtype), name)


def value(name, *dims, dtype=TensorProto.FLOAT):
    return helper.make_tensor_value_info(name, dtype, list(dims))


def node(op, inputs, outputs, name=None, **attributes):
    return helper.make_node(op, inputs.split() if isinstance(inputs, str) else inputs, outputs.split(), name or outputs.split()[0] + "_node", **attributes)


def model(nodes, inputs, outputs, initializers, opset=17, ms=False):
    imports = [helper.make_opsetid("", opset)] + ([helper.make_opsetid(MS, 1)] if ms else [])
    graph = helper.make_graph(nodes, "main", inputs, outputs, initializers)
    return helper.make_model(graph, opset_imports=imports, ir_version=8 if opset < 21 else 10)


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


# --- recording ------------------------------------------------------------------------------------------------------

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


def main():
    logging.disable(logging.WARNING)
    assert onnxruntime.__version__.startswith("1.32"), onnxruntime.__version__
    (FOLDER / "models").mkdir(parents=True, exist_ok=True)
    golden = {"onnxruntime": onnxruntime.__version__, "onnx": onnx.__version__, "models": {}}
    for name, source in models():
        onnx.checker.check_model(source)
        onnx.save(source, FOLDER / "models" / f"{name}.onnx")
        cases = golden["models"][name] = {}
        # One pass over the operator sets is enough for what does not depend on them.
        switches = itertools.product(*SWITCHES)
        if "-opset" in name and not name.endswith(("opset9", "opset13")):
            switches = [("int8", False, True, False), ("int8", True, True, False), ("uint8", False, False, False)]
        for switch in switches:
            try:
                cases[case_name(*switch)] = record(quantized(source, *switch))
            except Exception as error:  # What 1.32 cannot do is recorded as such.
                cases[case_name(*switch)] = {"error": f"{type(error).__name__}: {error}".split("\n")[0]}
    text = json.dumps(golden, indent=1)
    (FOLDER / "golden.json").write_text(text + "\n")
    failed = [f"{name}: {case}: {each['error']}" for name, cases in golden["models"].items() for case, each in cases.items() if "error" in each]
    print(f"{len(golden['models'])} models, {sum(map(len, golden['models'].values()))} cases, {len(text)} bytes")
    print("\n".join(failed))


main()
