"""Records what the block-wise quantizer of onnxruntime 1.32 makes of small models, for test/quantize/parity-blocks.test.ts.

Needs onnx_ir and ml_dtypes too.
"""

import copy
import logging

import numpy as np
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantFormat
from onnxruntime.quantization.matmul_nbits_quantizer import DefaultWeightOnlyQuantConfig, MatMulNBitsQuantizer

from canonical import ints, model, node, value, weights, write

rng = np.random.default_rng(21)
weight = weights(rng)


def models():
    yield "blocks-matmul", model(
        [node("MatMul", "x A", "h"), node("Relu", "h", "r"), node("MatMul", "r B", "y")],
        [value("x", "rows", 128)],
        [value("y", "rows", 20)],
        [weight("A", 128, 96), weight("B", 96, 20, shift=0.3)],
    )
    depths = (1, 16, 31, 33, 48, 63, 97, 300)
    yield "blocks-depths", model(
        [node("MatMul", f"x{depth} W{depth}", f"y{depth}") for depth in depths],
        [value(f"x{depth}", 2, depth) for depth in depths],
        [value(f"y{depth}", 2, 5) for depth in depths],
        [weight(f"W{depth}", depth, 5) for depth in depths],
    )
    kinds = {
        "zeros": np.zeros((64, 4)),
        "positive": rng.uniform(1, 2, (64, 4)),
        "negative": rng.uniform(-2, -1, (64, 4)),
        "ties": rng.integers(-16, 16, (64, 4)) / 2,
        "wide": rng.standard_normal((64, 4)) * 10.0 ** rng.integers(-20, 20, (64, 4)),
        "balanced": np.tile([[7.0, -7.0, 8.0, -8.0]], (64, 1)),
    }
    yield "blocks-edges", model(
        [node("MatMul", f"x {name}", f"y_{name}") for name in kinds],
        [value("x", 2, 64)],
        [value(f"y_{name}", 2, 4) for name in kinds],
        [numpy_helper.from_array(array.astype(np.float32), name) for name, array in kinds.items()],
    )
    yield "blocks-gather", model(
        [node("Gather", "E ids", "e"), node("Gather", "F ids", "f"), node("MatMul", "e A", "y")],
        [value("ids", 2, 6, dtype=TensorProto.INT64)],
        [value("y", 2, 6, 8), value("f", 2, 6, 96)],
        [weight("E", 30, 64, shift=0.2), weight("F", 9, 96), weight("A", 64, 8)],
    )
    branch = lambda name, weights: helper.make_graph(
        [node("MatMul", f"x {weights}", name, name=f"{name}_in"), node("MatMul", "x A", f"{name}2", name=f"{name}_out")],
        name,
        [],
        [value(name, 4, 6), value(f"{name}2", 4, 8)],
        [weight(weights, 32, 6)],
    )
    yield "blocks-if", model(
        [
            node("MatMul", "x C", "z"),
            node("If", "condition", "p q", then_branch=branch("yes", "Y"), else_branch=branch("no", "N")),
        ],
        [value("x", 4, 32), value("condition", dtype=TensorProto.BOOL)],
        [value("p", 4, 6), value("q", 4, 8), value("z", 4, 3)],
        [weight("A", 32, 8), weight("C", 32, 3)],
    )
    yield "blocks-leading-ones", model(
        [node("MatMul", "x W", "y")], [value("x", 1, 4, 64)], [value("y", 1, 4, 5)], [weight("W", 1, 64, 5)]
    )


def quantized(source, bits, block, symmetric, quant_format=QuantFormat.QOperator):
    config = DefaultWeightOnlyQuantConfig(
        block_size=block,
        bits=bits,
        is_symmetric=symmetric,
        accuracy_level=4,
        quant_format=quant_format,
        op_types_to_quantize=("MatMul", "Gather") if bits == 4 and quant_format == QuantFormat.QOperator else ("MatMul",),
    )
    quantizer = MatMulNBitsQuantizer(copy.deepcopy(source), algo_config=config)
    quantizer.process()
    return quantizer.model.model


def cases_of(name, source):
    for bits in (4, 8):
        for block in (16, 32, 128):
            for symmetric in (False, True):
                label = f"{bits} bits {block} {'symmetric' if symmetric else 'asymmetric'}"
                yield label, lambda: quantized(source, bits, block, symmetric)
                if bits == 4:
                    yield f"{label} qdq", lambda: quantized(source, bits, block, symmetric, QuantFormat.QDQ)


logging.disable(logging.WARNING)
write("blocks", models(), cases_of)
