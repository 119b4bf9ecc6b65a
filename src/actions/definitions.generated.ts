// Written by scripts/generate.mjs from the action.yml files; do not edit.
const output = {
  "type": "path",
  "description": "The quantized model. Empty: `<stem>_int8.onnx` beside the model. External data goes to `<output>.data`."
} as const;
const method = {
  "type": "choice",
  "values": [
    "dynamic",
    "weight-only",
    "static",
    "fp16",
    "auto"
  ],
  "description": "`dynamic` quantizes activations at run time; `weight-only` stores weights in fewer bits and dequantizes them at load; `static` needs `calibration-data`; `fp16` halves; `auto` tries them, measures them here and takes the best that passes.",
  "default": "dynamic"
} as const;
const bits = {
  "type": "choice",
  "values": [
    8,
    4
  ],
  "description": "Width of a quantized weight; 4 is for `weight-only`.",
  "default": "8"
} as const;
const block_size = {
  "type": "integer",
  "unit": "weights",
  "description": "Weights that share a scale, for `weight-only`: 16, 32, 64, 128 or 256. Empty: a whole channel for 8 bits, 32 for 4."
} as const;
const algorithm = {
  "type": "choice",
  "values": [
    "rtn"
  ],
  "description": "How blocks find their scale, for `weight-only`: `rtn` takes their range."
} as const;
const quant_format = {
  "type": "choice",
  "values": [
    "qoperator",
    "qdq"
  ],
  "description": "How blocks are kept: `qoperator` is ONNX Runtime's MatMulNBits and GatherBlockQuantized; `qdq` is DequantizeLinear of the standard, from operator set 21."
} as const;
const compute = {
  "type": "boolean",
  "description": "Whether `fp16` computes in FP16 too, for GPUs. Otherwise it halves the file, and weights are FP32 once loaded. Empty: false."
} as const;
const keep_io = {
  "type": "boolean",
  "description": "Whether inputs and outputs stay FP32 where `fp16` computes. Empty: true."
} as const;
const weight_type = {
  "type": "choice",
  "values": [
    "int8",
    "uint8"
  ],
  "description": "Type of 8-bit weights.",
  "default": "int8"
} as const;
const weight_symmetric = {
  "type": "boolean",
  "description": "Keep the zero point of weights at the middle. Empty: true for int8, false for uint8 and for blocks."
} as const;
const per_channel = {
  "type": "boolean",
  "description": "One scale per output channel instead of one per tensor.",
  "default": "true"
} as const;
const reduce_range = {
  "type": "boolean",
  "description": "Quantize to 7 bits, for x86 CPUs without VNNI, where 8 bits can saturate. Empty: false."
} as const;
const op_types = {
  "type": "list",
  "description": "Operators to quantize. Empty: those the method handles well (Conv becomes ConvInteger only when named)."
} as const;
const include_nodes = {
  "type": "list",
  "description": "Names or globs of the only nodes to quantize. Empty: all."
} as const;
const exclude_nodes = {
  "type": "list",
  "description": "Names or globs of nodes to leave as they are."
} as const;
const overrides = {
  "type": "path",
  "description": "YAML file of names or globs of nodes, each with `keep` or with a method, bits and block size of its own. Empty: none."
} as const;
const allow_non_finite = {
  "type": "boolean",
  "description": "Leave weights with NaN as they are, with a warning, instead of refusing the model. Infinite weights always stay so.",
  "default": "false"
} as const;
const allow_nothing = {
  "type": "boolean",
  "description": "Copy the model where nothing in it can be quantized, with a warning, instead of refusing it.",
  "default": "false"
} as const;
const calibration_data = {
  "type": "path",
  "description": "Inputs that `static`, and `fp16` with `compute`, watch the model at work on, like those of production, in the forms that `samples` of validate takes; `generated` makes some up, for a trial only."
} as const;
const calibration_count = {
  "type": "integer",
  "unit": "samples",
  "description": "Samples of `calibration-data` that `static` calibrates on, the first ones. Empty: all."
} as const;
const calibration_method = {
  "type": "choice",
  "values": [
    "percentile",
    "minmax",
    "entropy",
    "mse"
  ],
  "description": "How `static` turns what it saw of an activation into a range. Empty: percentile."
} as const;
const calibration_percentile = {
  "type": "number",
  "unit": "50 to 100",
  "description": "Share of an activation's magnitudes that its range holds, for `percentile`. Empty: 99.999."
} as const;
const activation_type = {
  "type": "choice",
  "values": [
    "uint8",
    "int8"
  ],
  "description": "Type of `static` activations; int8 is slower on x86. Empty: uint8."
} as const;
const fold = {
  "type": "boolean",
  "description": "Simplify the graph first, for `static`: BatchNormalization and constants into convolutions, what changes nothing out. Empty: true."
} as const;
const max_slowdown = {
  "type": "number",
  "unit": "×",
  "description": "Time of an inference ÷ that of the FP32 model that `auto` may take. Empty: 1."
} as const;
const max_size_ratio = {
  "type": "number",
  "unit": "0 to 1",
  "description": "Bytes ÷ bytes of the FP32 model that `auto` may take. Empty: no limit."
} as const;
const prefer = {
  "type": "choice",
  "values": [
    "speed",
    "size",
    "memory"
  ],
  "description": "What counts among the models of `auto` that pass; within 5 % of the best the smaller is taken, for `size` the faster. Empty: speed."
} as const;
const max_seconds = {
  "type": "number",
  "unit": "s",
  "description": "Time that `auto` may take for its trials. An interrupted search goes on by its journal. Empty: 600."
} as const;
const threads = {
  "type": "integer",
  "unit": "threads",
  "description": "Worker threads. Empty: one per core."
} as const;
const cache = {
  "type": "boolean",
  "description": "Keep what method static measures in the cache service, by SHA-256 of model, samples, all options, runtime and tool version. Models are never cached. Does nothing for other methods.",
  "default": "false"
} as const;
const ort_path = {
  "type": "path",
  "description": "Folder of an onnxruntime-node to use instead of looking for one. Empty: node_modules, the tool cache, the cache service, then the package registry."
} as const;
const registry_url = {
  "type": "text",
  "unit": "URL",
  "description": "Package registry (mirror) to download onnxruntime-node from. Empty: the one npm is configured for."
} as const;
const report = {
  "type": "path",
  "description": "Folder for the receipt and reports. Empty: beside the model."
} as const;
const model = {
  "type": "path",
  "description": "Path of the quantized model."
} as const;
const data = {
  "type": "path",
  "description": "Path of its external data; empty where all weights are in the graph file."
} as const;
const root = {
  "type": "text",
  "unit": "hex",
  "description": "Root digest of the quantized model: SHA-256 over the SHA-256 of its 64 MiB chunks."
} as const;
const compression_ratio = {
  "type": "number",
  "description": "Bytes of the source ÷ bytes of the result."
} as const;
const nodes_quantized = {
  "type": "integer",
  "description": "Nodes whose weights were quantized."
} as const;
const manifest = {
  "type": "path",
  "description": "Path of the manifest."
} as const;
const samples = {
  "type": "path",
  "description": "Inputs to run the model on: a `.npz`, `.npy`, `.wav` or `.json` file, or a folder of them or of ONNX `test_data_set_*`. Empty: generated from the model's signature and `seed`."
} as const;
const dims = {
  "type": "text",
  "unit": "name=size",
  "description": "Sizes of symbolic dimensions, as `batch=1,seq=16`. Empty: read off metadata and graph or taken from what is usual, tried on the model, and said."
} as const;
const ranges = {
  "type": "text",
  "unit": "input=low..high",
  "description": "Ranges of generated inputs, as `audio_codes=0..1023`. Empty: inferred where the graph tells, such as token ids."
} as const;
const seed = {
  "type": "integer",
  "description": "Seed of the generated samples.",
  "default": "0"
} as const;
const warmup = {
  "type": "integer",
  "unit": "runs",
  "description": "Runs before anything is timed.",
  "default": "3"
} as const;
const runs = {
  "type": "integer",
  "unit": "runs",
  "description": "Timed runs; a P95 needs 100.",
  "default": "100"
} as const;
const execution_provider = {
  "type": "choice",
  "values": [
    "auto",
    "cpu",
    "cuda",
    "dml"
  ],
  "description": "Execution provider of ONNX Runtime. An absent one is an error that lists those present; `auto` takes the best that is there.",
  "default": "auto"
} as const;
const threads_ = {
  "type": "integer",
  "unit": "threads",
  "description": "Threads of an operator (ONNX Runtime's intra-op). Empty: as many as the runtime chooses."
} as const;
const arena = {
  "type": "choice",
  "values": [
    "auto",
    "on",
    "off"
  ],
  "description": "ONNX Runtime's CPU memory arena; `auto` switches it off where an inference has outputs of 256 MiB and more, which it would keep.",
  "default": "auto"
} as const;
const timeout_seconds = {
  "type": "number",
  "unit": "s",
  "description": "Longest time that loading the model, or one run of it, may take.",
  "default": "600"
} as const;
const tune = {
  "type": "boolean",
  "description": "Look for session options with which the model is faster (threads, arena, graph level, prepacking), for `max-seconds` at most, and print the best with code for Python and Node.js.",
  "default": "false"
} as const;
const rtol = {
  "type": "number",
  "description": "Largest error relative to the `output_K.pb` that ONNX test data bring along; 0.001 where only `atol` is given. Empty: no limit."
} as const;
const atol = {
  "type": "number",
  "description": "Largest error beyond `rtol`; 1e-7 where only `rtol` is given. Empty: no limit."
} as const;
const gates = {
  "type": "path",
  "description": "File of limits with the levels `error` and `warn`, such as `model-gates.yaml` (docs/integration.md). A limit given here goes before the file's. Empty: none."
} as const;
const max_load_ms = {
  "type": "number",
  "unit": "ms",
  "description": "Longest load time. Empty: no limit."
} as const;
const max_latency_p50_ms = {
  "type": "number",
  "unit": "ms",
  "description": "Highest P50 latency after warm-up. Empty: no limit."
} as const;
const max_latency_p95_ms = {
  "type": "number",
  "unit": "ms",
  "description": "Highest P95 latency after warm-up. Empty: no limit."
} as const;
const max_memory_mb = {
  "type": "number",
  "unit": "MB of 10^6 bytes",
  "description": "Most memory that stays resident after warm-up with the outputs released. Empty: no limit."
} as const;
const max_peak_memory_mb = {
  "type": "number",
  "unit": "MB of 10^6 bytes",
  "description": "Highest peak of resident memory. Empty: no limit."
} as const;
const max_size_mb = {
  "type": "number",
  "unit": "MB of 10^6 bytes",
  "description": "Most bytes on disk, external data included. Empty: no limit."
} as const;
const report_ = {
  "type": "path",
  "description": "Folder for the receipt and `report.html`, a page about all receipts of this model there. Empty: the receipt alone, beside the model."
} as const;
const verdict = {
  "type": "choice",
  "values": [
    "pass",
    "fail",
    "inconclusive"
  ],
  "description": "Outcome of the gates."
} as const;
const load_ms = {
  "type": "number",
  "unit": "ms",
  "description": "Load time."
} as const;
const latency_p50_ms = {
  "type": "number",
  "unit": "ms",
  "description": "P50 latency after warm-up."
} as const;
const latency_p95_ms = {
  "type": "number",
  "unit": "ms",
  "description": "P95 latency after warm-up."
} as const;
const memory_mb = {
  "type": "number",
  "unit": "MB of 10^6 bytes",
  "description": "Resident memory after warm-up with the outputs released."
} as const;
const peak_memory_mb = {
  "type": "number",
  "unit": "MB of 10^6 bytes",
  "description": "Peak of resident memory."
} as const;
const size_mb = {
  "type": "number",
  "unit": "MB of 10^6 bytes",
  "description": "Size on disk, external data included."
} as const;
const reference = {
  "type": "path",
  "description": "The FP32 model.",
  "required": true
} as const;
const count = {
  "type": "integer",
  "unit": "samples",
  "description": "Number of samples to compare on.",
  "default": "8"
} as const;
const min_similarity = {
  "type": "number",
  "unit": "0 to 1",
  "description": "Lowest cosine similarity: the minimum over outputs of the mean over samples. Empty: no limit.",
  "default": "0.98",
  "emptyIsNone": true
} as const;
const min_channel_similarity = {
  "type": "number",
  "unit": "0 to 1",
  "description": "Lowest channel similarity: the cosine of each channel (index of axis 1, at rank 3 of the last axis too) over all samples, their mean, the minimum over outputs and axes. The default is a gate only where an output has channels. Empty: no limit.",
  "default": "0.9",
  "emptyIsNone": true
} as const;
const min_agreement = {
  "type": "number",
  "unit": "0 to 1",
  "description": "Lowest share of equal top-1 answers of the outputs whose rows are scores (`agreement-outputs`); where none looks like it, of the rows of all float outputs. Empty: no limit."
} as const;
const agreement_outputs = {
  "type": "list",
  "description": "Outputs whose rows are scores of classes, for the agreement. Empty: those whose rows sum to 1 in the reference, else those that the graph makes as scores."
} as const;
const max_mse = {
  "type": "number",
  "description": "Highest mean squared error. Empty: no limit."
} as const;
const max_mae = {
  "type": "number",
  "description": "Highest mean absolute error. Empty: no limit."
} as const;
const metric_command = {
  "type": "text",
  "unit": "command",
  "description": "Program that measures what both models answered, such as mAP or a word error rate, run without a shell as `<command> <reference> <model> <samples>`: folders with a folder per sample and a `.npy` per tensor. Its last line is a number, or JSON with `metric`. Empty: none."
} as const;
const min_metric = {
  "type": "number",
  "description": "Lowest figure of `metric-command`. Empty: no limit."
} as const;
const min_speedup = {
  "type": "number",
  "description": "Lowest speed-up, time of the reference ÷ time of the model. Empty: no limit."
} as const;
const baseline = {
  "type": "path",
  "description": "Folder of stored reference outputs and timings, by content; filled when empty. Timings of another CPU are refused. Where there is a cache service, it keeps the folder between runs. Empty: none."
} as const;
const max_regression_percent = {
  "type": "number",
  "unit": "%",
  "description": "With `baseline`: how much worse than the stored figures the model may be. Empty: no limit."
} as const;
const diagnose = {
  "type": "boolean",
  "description": "When the outputs are not alike, rank layers by the error they introduce and print the `exclude-nodes` to try.",
  "default": "true"
} as const;
const similarity = {
  "type": "number",
  "unit": "−1 to 1",
  "description": "Cosine similarity: the minimum over outputs of the mean over samples."
} as const;
const channel_similarity = {
  "type": "number",
  "unit": "−1 to 1",
  "description": "Channel similarity, which sees a small channel lost beside large ones; empty where no output has channels."
} as const;
const agreement = {
  "type": "number",
  "unit": "0 to 1",
  "description": "Share of equal top-1 answers; empty where no output has rows of scores."
} as const;
const mse = {
  "type": "number",
  "description": "Mean squared error."
} as const;
const mae = {
  "type": "number",
  "description": "Mean absolute error."
} as const;
const sqnr_db = {
  "type": "number",
  "unit": "dB",
  "description": "Signal to quantization noise."
} as const;
const metric = {
  "type": "number",
  "description": "Figure of `metric-command`; empty without one."
} as const;
const speedup = {
  "type": "number",
  "description": "Time of the reference ÷ time of the model, median of pairs."
} as const;
const project_root = {
  "type": "path",
  "description": "Folder that holds the live config and models, outside the workspace. Empty: the working directory."
} as const;
const model_path_key = {
  "type": "text",
  "description": "Dotted key of the model path; a unique deeper match is found.",
  "default": "audio_omni.model_path"
} as const;
const memory_key = {
  "type": "text",
  "description": "Dotted key of the memory limit.",
  "default": "audio_omni.max_memory_mb"
} as const;
const config_memory_mb = {
  "type": "number or auto",
  "unit": "MB of 10^6 bytes",
  "description": "Memory limit to write: a number, or `auto` for the resident memory in the receipts plus `headroom-percent`, rounded up to 50. Empty: left as it is."
} as const;
const headroom_percent = {
  "type": "number",
  "unit": "%",
  "description": "What `auto` adds to the measured memory.",
  "default": "10"
} as const;
const set = {
  "type": "lines",
  "description": "Further edits, one `key=value` per line."
} as const;
const update_comment = {
  "type": "boolean",
  "description": "Replace a trailing comment that names the old value instead of only reporting it.",
  "default": "false"
} as const;
const force = {
  "type": "boolean",
  "description": "Promote without passing receipts. Loud, and recorded.",
  "default": "false"
} as const;
const reason = {
  "type": "text",
  "description": "Why, for the history."
} as const;
const delivery = {
  "type": "choice",
  "values": [
    "file",
    "commit",
    "pull-request"
  ],
  "description": "`file` edits the live config; `commit` also commits and pushes the edit once health is proved; `pull-request` only proposes it.",
  "default": "file"
} as const;
const token = {
  "type": "text",
  "unit": "secret",
  "description": "Token for `commit` and `pull-request`."
} as const;
const branch = {
  "type": "text",
  "description": "Branch to push to or propose. Empty: the current one, or `promote/<model>`."
} as const;
const restart_command = {
  "type": "text",
  "unit": "command",
  "description": "Command that restarts the service, run without a shell. Empty: no restart."
} as const;
const health_command = {
  "type": "text",
  "unit": "command",
  "description": "Command that exits 0 when the service is healthy, run without a shell."
} as const;
const health_url = {
  "type": "text",
  "unit": "URL",
  "description": "Address that answers 2xx when the service is healthy."
} as const;
const health_json_path = {
  "type": "text",
  "description": "Dotted path into the JSON answer of `health-url`."
} as const;
const health_expected = {
  "type": "text",
  "description": "Value that must stand there, such as the model path."
} as const;
const health_timeout = {
  "type": "number",
  "unit": "s",
  "description": "How long health is asked for after a restart. Empty: three times what this model is known to take to load, and 30 s; at least 60."
} as const;
const watch_seconds = {
  "type": "number",
  "unit": "s",
  "description": "How long to keep asking once healthy.",
  "default": "0"
} as const;
const changed = {
  "type": "boolean",
  "description": "Whether the config changed."
} as const;
const previous_model_path = {
  "type": "text",
  "description": "Model path before."
} as const;
const previous_memory_mb = {
  "type": "number",
  "unit": "MB of 10^6 bytes",
  "description": "Memory limit before."
} as const;
const commit = {
  "type": "text",
  "unit": "hex",
  "description": "Commit that carries the edit; empty without one."
} as const;
const pull_request = {
  "type": "text",
  "unit": "URL",
  "description": "Address of the pull request; empty without one."
} as const;
export const definitions = {
  'quantize': {
    description: "Quantize an ONNX model of any size to INT8 in less memory than a browser tab.",
    inputs: {
      'model': {"type":"path","description":"The FP32 model to quantize.","required":true},
      'output': output,
      'method': method,
      'bits': bits,
      'block-size': block_size,
      'algorithm': algorithm,
      'quant-format': quant_format,
      'compute': compute,
      'keep-io': keep_io,
      'weight-type': weight_type,
      'weight-symmetric': weight_symmetric,
      'per-channel': per_channel,
      'reduce-range': reduce_range,
      'op-types': op_types,
      'include-nodes': include_nodes,
      'exclude-nodes': exclude_nodes,
      'overrides': overrides,
      'allow-non-finite': allow_non_finite,
      'allow-nothing': allow_nothing,
      'calibration-data': calibration_data,
      'calibration-count': calibration_count,
      'calibration-method': calibration_method,
      'calibration-percentile': calibration_percentile,
      'activation-type': activation_type,
      'fold': fold,
      'dims': {"type":"text","unit":"name=size","description":"Sizes of open dimensions where calibration inputs are generated, as `batch=1,seq=16`."},
      'ranges': {"type":"text","unit":"input=low..high","description":"Ranges of generated calibration inputs, as `audio_codes=0..1023`."},
      'min-similarity': {"type":"number","unit":"0 to 1","description":"Cosine similarity that `auto` must keep; an error with any other method. Empty: 0.98 for `auto`."},
      'min-channel-similarity': {"type":"number","unit":"0 to 1","description":"Channel similarity that `auto` must keep. Empty: 0.9, where an output has channels."},
      'max-slowdown': max_slowdown,
      'max-size-ratio': max_size_ratio,
      'prefer': prefer,
      'metric-command': {"type":"text","description":"Program that measures what the FP32 model and one of `auto` answered: called with three folders (see compare), it prints a number. Empty: none."},
      'min-metric': {"type":"number","description":"Lowest number that `metric-command` may print. Empty: no limit."},
      'max-seconds': max_seconds,
      'seed': {"type":"integer","description":"Seed of the inputs that `auto` generates where there is no `calibration-data`. Empty: 0."},
      'threads': threads,
      'source-digest': {"type":"boolean","description":"Name the source by its SHA-256 in the receipt, which takes longer than quantizing where cores are few.","default":"true"},
      'dry-run': {"type":"boolean","description":"Print the plan (what happens to each node and why, sizes, memory) and write nothing.","default":"false"},
      'cache': cache,
      'ort-path': ort_path,
      'registry-url': registry_url,
      'report': report,
    },
    outputs: {
      'model': model,
      'data': data,
      'root': root,
      'compression-ratio': compression_ratio,
      'nodes-quantized': nodes_quantized,
      'report': {"type":"path","description":"Path of the receipt, `<model stem>.quantize.json`."},
    },
  },
  'checksum': {
    description: "Write or verify the SHA-256 manifest of models, external data included.",
    inputs: {
      'mode': {"type":"choice","values":["create","verify"],"description":"`create` writes the manifest, `verify` checks files against it.","default":"verify"},
      'path': {"type":"lines","description":"Files, folders or globs, one per line; a model brings its external data along. Empty with `verify`: all that the manifest lists."},
      'manifest': {"type":"path","description":"The manifest. `<manifest>.json` with chunk digests stands beside it.","default":"SHA256SUMS"},
      'install-to': {"type":"path","description":"`verify`: folder to install what `path` names into, and nothing else that the manifest lists, once every one of those files matches; the graph of a model comes last, and the manifest is written there. Empty: nothing is installed."},
      'if-exists': {"type":"choice","values":["refuse","replace"],"description":"Whether another model or file that stands under a name to be installed is refused or replaced. The same bytes are left alone.","default":"refuse"},
      'root': {"type":"text","description":"`verify`: root that the one model named in `path` must have, as quantize said it. Empty: whichever the manifest lists."},
      'threads': threads,
      'receipts': {"type":"lines","description":"Receipts, or folders of them, whose chunk digests `create` takes over instead of hashing again. Empty: those beside the files."},
      'report': report,
    },
    outputs: {
      'manifest': manifest,
      'files': {"type":"integer","description":"Number of files listed or checked."},
      'verified': {"type":"boolean","description":"Whether every file is as the manifest says."},
      'mismatched': {"type":"lines","description":"Files that are missing or differ, one per line."},
      'report': {"type":"path","description":"Path of the receipt, `<model stem>.checksum.json`."},
    },
  },
  'validate': {
    description: "Check that a model loads, answers, and keeps its limits of latency, memory and size.",
    inputs: {
      'model': {"type":"path","description":"The model to check.","required":true},
      'manifest': {"type":"path","description":"Manifest that the files must match. Empty: not checked."},
      'samples': samples,
      'dims': dims,
      'ranges': ranges,
      'seed': seed,
      'warmup': warmup,
      'runs': runs,
      'max-seconds': {"type":"number","unit":"s","description":"Time cap of the measurement. Where noise could turn a limit it is measured until then, in several windows; fewer runs than asked are reported.","default":"60"},
      'execution-provider': execution_provider,
      'threads': threads_,
      'arena': arena,
      'ort-path': ort_path,
      'registry-url': registry_url,
      'timeout-seconds': timeout_seconds,
      'tune': tune,
      'rtol': rtol,
      'atol': atol,
      'gates': gates,
      'max-load-ms': max_load_ms,
      'max-latency-p50-ms': max_latency_p50_ms,
      'max-latency-p95-ms': max_latency_p95_ms,
      'max-memory-mb': max_memory_mb,
      'max-peak-memory-mb': max_peak_memory_mb,
      'max-size-mb': max_size_mb,
      'allow-inconclusive': {"type":"boolean","description":"Let an inconclusive verdict end with exit 0: noise or throttling that could turn a limit. Times that a cache seems to have answered are never excused.","default":"false"},
      'report': report_,
    },
    outputs: {
      'verdict': verdict,
      'passed': {"type":"boolean","description":"Whether the verdict is `pass`."},
      'load-ms': load_ms,
      'latency-p50-ms': latency_p50_ms,
      'latency-p95-ms': latency_p95_ms,
      'memory-mb': memory_mb,
      'peak-memory-mb': peak_memory_mb,
      'size-mb': size_mb,
      'report': {"type":"path","description":"Path of the receipt, `<model stem>.validate.json`."},
    },
  },
  'compare': {
    description: "Compare a quantized model with its reference: similarity, error, agreement, speed.",
    inputs: {
      'reference': reference,
      'model': {"type":"path","description":"The quantized model.","required":true},
      'samples': samples,
      'dims': dims,
      'ranges': ranges,
      'seed': seed,
      'count': count,
      'max-seconds': {"type":"number","unit":"s","description":"Time cap; a speed-up that its limit leaves open collects more pairs of blocks until then.","default":"120"},
      'execution-provider': execution_provider,
      'threads': threads_,
      'ort-path': ort_path,
      'registry-url': registry_url,
      'timeout-seconds': timeout_seconds,
      'gates': gates,
      'min-similarity': min_similarity,
      'min-channel-similarity': min_channel_similarity,
      'min-agreement': min_agreement,
      'agreement-outputs': agreement_outputs,
      'max-mse': max_mse,
      'max-mae': max_mae,
      'metric-command': metric_command,
      'min-metric': min_metric,
      'min-speedup': min_speedup,
      'baseline': baseline,
      'history': {"type":"path","description":"JSON Lines file that this run appends its figures to; the summary shows the trend, and `max-regression-percent` also holds against the median of past runs. Empty: none."},
      'max-regression-percent': max_regression_percent,
      'diagnose': diagnose,
      'allow-inconclusive': {"type":"boolean","description":"Let an inconclusive verdict end with exit 0: a speed-up whose interval holds its limit.","default":"false"},
      'report': report_,
    },
    outputs: {
      'verdict': verdict,
      'similarity': similarity,
      'channel-similarity': channel_similarity,
      'agreement': agreement,
      'mse': mse,
      'mae': mae,
      'sqnr-db': sqnr_db,
      'metric': metric,
      'speedup': speedup,
      'regression': {"type":"lines","description":"Figures that are worse than the limit allows, one per line; empty where none is."},
      'report': {"type":"path","description":"Path of the receipt, `<model stem>.compare.json`."},
    },
  },
  'promote-config': {
    description: "Check a config, promote a proved model into it, or roll it back.",
    inputs: {
      'mode': {"type":"choice","values":["check","promote","rollback","history"],"description":"`check` looks at a config, `promote` writes a model into it, `rollback` returns it to what it was, `history` says what is live and what can be returned to.","default":"check"},
      'config': {"type":"path","description":"The YAML config; a relative path starts at `project-root`.","required":true},
      'model': {"type":"path","description":"`promote`: the model to put into the config. `rollback`: the model to return to. A relative path starts at `project-root`."},
      'project-root': project_root,
      'model-path-key': model_path_key,
      'memory-key': memory_key,
      'config-memory-mb': config_memory_mb,
      'headroom-percent': headroom_percent,
      'set': set,
      'update-comment': update_comment,
      'receipts': {"type":"lines","description":"Receipts of checksum, validate and compare, or folders of them, one per line. Empty: beside the model."},
      'budget': {"type":"path","description":"Rules of the memory budget for `check`. Empty: `model-budget.yaml` beside the config, where there is one."},
      'base-ref': {"type":"text","description":"Git ref to compare the budget with, for `check` of a pull request. Empty: no comparison."},
      'to': {"type":"text","description":"`rollback`: id of the state to return to, or `previous` for one state down. Empty: undoes what the last promotion, or somebody by hand, put live; after a rollback it changes nothing."},
      'full-verify': {"type":"boolean","description":"`rollback`: digest the whole model files instead of their size and a sample of chunks.","default":"false"},
      'dry-run': {"type":"boolean","description":"Print what would change and change nothing.","default":"false"},
      'allow-inconclusive': {"type":"boolean","description":"Promote although a receipt is inconclusive. Loud, and recorded.","default":"false"},
      'force': force,
      'reason': reason,
      'delivery': delivery,
      'token': token,
      'branch': branch,
      'restart-command': restart_command,
      'health-command': health_command,
      'health-url': health_url,
      'health-json-path': health_json_path,
      'health-expected': health_expected,
      'health-timeout': health_timeout,
      'watch-seconds': watch_seconds,
      'report': report,
    },
    outputs: {
      'changed': changed,
      'previous-model-path': previous_model_path,
      'previous-memory-mb': previous_memory_mb,
      'commit': commit,
      'pull-request': pull_request,
      'summary': {"type":"text","description":"`check`: findings and memory budget as Markdown, for a comment."},
      'states': {"type":"text","unit":"JSON","description":"What is live and what can be returned to, as JSON: for `history`, and where a rollback changed nothing."},
      'report': {"type":"path","description":"Path of the receipt, `<model stem>.promote-config.json`."},
    },
  },
  'model-check': {
    description: "Measure what a pull request does to the ONNX models of a repository, under the limits of its base branch.",
    inputs: {
      'base-ref': {"type":"text","description":"Git ref of the base branch. HEAD is the pull request; both are read from git (fetch-depth: 0).","required":true},
      'gates': {"type":"path","description":"File of limits with the levels `error` and `warn`, as the base branch has it; where it has none, the defaults hold.","default":"model-gates.yaml"},
      'samples': {"type":"path","description":"Inputs to run the models on, a file or a folder as the base branch has it. Empty: generated from each model's signature and `seed`."},
      'dims': dims,
      'ranges': ranges,
      'seed': seed,
      'count': count,
      'threads': threads_,
      'max-seconds': {"type":"number","unit":"s","description":"Time cap of each measurement; a changed model has two.","default":"30"},
      'timeout-seconds': timeout_seconds,
      'ort-path': ort_path,
      'registry-url': registry_url,
      'allow-inconclusive': {"type":"boolean","description":"Let what noise leaves open be a warning. Times that a cache seems to have answered are never excused.","default":"false"},
      'token': {"type":"text","unit":"secret","description":"Token that may read the repository's Git LFS objects."},
      'report': {"type":"path","description":"Folder for the receipts, one folder per model. Empty: none are kept."},
    },
    outputs: {
      'verdict': {"type":"choice","values":["pass","warn","inconclusive","fail"],"description":"The worst of all models."},
      'models': {"type":"integer","description":"Number of models that change."},
      'summary': {"type":"text","description":"What changes as Markdown, for a comment."},
    },
  },
  'pipeline': {
    description: "Take an ONNX model from FP32 to INT8 and into production: quantize, checksum, validate, compare, promote. No Python, no GPU.",
    inputs: {
      'model': reference,
      'output': output,
      'method': method,
      'bits': bits,
      'block-size': block_size,
      'algorithm': algorithm,
      'quant-format': quant_format,
      'compute': compute,
      'keep-io': keep_io,
      'weight-type': weight_type,
      'weight-symmetric': weight_symmetric,
      'per-channel': per_channel,
      'reduce-range': reduce_range,
      'op-types': op_types,
      'include-nodes': include_nodes,
      'exclude-nodes': exclude_nodes,
      'overrides': overrides,
      'allow-non-finite': allow_non_finite,
      'allow-nothing': allow_nothing,
      'calibration-data': calibration_data,
      'calibration-count': calibration_count,
      'calibration-method': calibration_method,
      'calibration-percentile': calibration_percentile,
      'activation-type': activation_type,
      'fold': fold,
      'max-slowdown': max_slowdown,
      'max-size-ratio': max_size_ratio,
      'prefer': prefer,
      'search-seconds': max_seconds,
      'manifest': {"type":"path","description":"Manifest to write and verify. Empty: `SHA256SUMS` beside the output."},
      'samples': samples,
      'dims': dims,
      'ranges': ranges,
      'seed': seed,
      'count': count,
      'warmup': warmup,
      'runs': runs,
      'max-seconds': {"type":"number","unit":"s","description":"Time cap of each measurement: one for validate, one for compare.","default":"60"},
      'execution-provider': execution_provider,
      'threads': {"type":"integer","unit":"threads","description":"Threads of an operator when the models run (ONNX Runtime's intra-op). Empty: as many as the runtime chooses."},
      'arena': arena,
      'ort-path': ort_path,
      'registry-url': registry_url,
      'timeout-seconds': timeout_seconds,
      'tune': tune,
      'rtol': rtol,
      'atol': atol,
      'max-load-ms': max_load_ms,
      'max-latency-p50-ms': max_latency_p50_ms,
      'max-latency-p95-ms': max_latency_p95_ms,
      'max-memory-mb': max_memory_mb,
      'max-peak-memory-mb': max_peak_memory_mb,
      'max-size-mb': max_size_mb,
      'gates': gates,
      'min-similarity': min_similarity,
      'min-channel-similarity': min_channel_similarity,
      'min-agreement': min_agreement,
      'agreement-outputs': agreement_outputs,
      'max-mse': max_mse,
      'max-mae': max_mae,
      'metric-command': metric_command,
      'min-metric': min_metric,
      'min-speedup': min_speedup,
      'baseline': baseline,
      'max-regression-percent': max_regression_percent,
      'diagnose': diagnose,
      'allow-inconclusive': {"type":"boolean","description":"Let an inconclusive verdict (noise, throttling, too few runs) end with exit 0, and promote the model in spite of it. Loud, and recorded.","default":"false"},
      'cache': cache,
      'config': {"type":"path","description":"The YAML config to promote the model into; a relative path starts at `project-root`. Empty: no promotion."},
      'project-root': project_root,
      'model-path-key': model_path_key,
      'memory-key': memory_key,
      'config-memory-mb': config_memory_mb,
      'headroom-percent': headroom_percent,
      'set': set,
      'update-comment': update_comment,
      'force': force,
      'reason': reason,
      'delivery': delivery,
      'token': token,
      'branch': branch,
      'restart-command': restart_command,
      'health-command': health_command,
      'health-url': health_url,
      'health-json-path': health_json_path,
      'health-expected': health_expected,
      'health-timeout': health_timeout,
      'watch-seconds': watch_seconds,
      'report': {"type":"path","description":"Folder for all receipts and reports.","default":"report"},
    },
    outputs: {
      'verdict': verdict,
      'model': model,
      'data': data,
      'root': root,
      'compression-ratio': compression_ratio,
      'nodes-quantized': nodes_quantized,
      'manifest': manifest,
      'load-ms': load_ms,
      'latency-p50-ms': latency_p50_ms,
      'latency-p95-ms': latency_p95_ms,
      'memory-mb': memory_mb,
      'peak-memory-mb': peak_memory_mb,
      'size-mb': size_mb,
      'similarity': similarity,
      'channel-similarity': channel_similarity,
      'agreement': agreement,
      'mse': mse,
      'mae': mae,
      'sqnr-db': sqnr_db,
      'metric': metric,
      'speedup': speedup,
      'changed': changed,
      'previous-model-path': previous_model_path,
      'previous-memory-mb': previous_memory_mb,
      'commit': commit,
      'pull-request': pull_request,
      'report': {"type":"path","description":"Folder with all receipts and reports."},
    },
  },
} as const;
