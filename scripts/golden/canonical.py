"""What is recorded of a model, and what small models are made of.

For developers only: tests need the recorded files in test/quantize/golden/, never Python. The scripts of this folder
need onnxruntime==1.32.*, onnx and numpy; each records one method: `python scripts/golden/dynamic.py`.

Recorded are every tensor of a result (data type, dims, SHA-256 of its little-endian bytes) and a digest of the graph that
does not depend on names, order, value_info or unused initializers. canonical.ts beside the recorded files computes the
same digest: a value is the hash of what makes it, a graph the sorted hashes of its nodes and its outputs.
"""

import collections
import hashlib
import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

FOLDER = Path(__file__).parent.parent.parent / "test" / "quantize" / "golden"
MS = "com.microsoft"

# --- canonical form -------------------------------------------------------------------------------------------------


def digest(*parts):
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


def tensor_key(tensor):
    packed = tensor.data_type in (TensorProto.INT4, TensorProto.UINT4)
    raw = tensor.raw_data if packed else np.ascontiguousarray(numpy_helper.to_array(tensor)).tobytes()
    content = hashlib.sha256(raw).hexdigest()[:32]
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


# --- making models ---------------------------------------------------------------------------------------------------------


def weights(rng):
    """Makes weights from a seeded generator."""

    def weight(name, *dims, shift=0.0):
        return numpy_helper.from_array((rng.standard_normal(dims) * 0.5 + shift).astype(np.float32), name)

    return weight


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


# --- writing --------------------------------------------------------------------------------------------------------


def write(name, models, cases_of):
    """Records every case of every model: `cases_of(name, source)` yields a case's label and a function that makes it."""
    assert onnxruntime.__version__.startswith("1.32"), onnxruntime.__version__
    (FOLDER / "models").mkdir(parents=True, exist_ok=True)
    golden = {"onnxruntime": onnxruntime.__version__, "onnx": onnx.__version__, "models": {}}
    for each, source in models:
        onnx.checker.check_model(source)
        onnx.save(source, FOLDER / "models" / f"{each}.onnx")
        cases = golden["models"][each] = {}
        for label, make in cases_of(each, source):
            try:
                cases[label] = record(make())
            except Exception as error:  # What 1.32 cannot do is recorded as such.
                cases[label] = {"error": f"{type(error).__name__}: {error}".split("\n")[0]}
    text = json.dumps(golden, indent=1)
    (FOLDER / f"{name}.json").write_text(text + "\n")
    failed = [f"{each}: {case}: {found['error']}" for each, cases in golden["models"].items() for case, found in cases.items() if "error" in found]
    print(f"{len(golden['models'])} models, {sum(map(len, golden['models'].values()))} cases, {len(text)} bytes")
    print("\n".join(failed))
