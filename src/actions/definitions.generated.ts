// Written by scripts/generate.mjs from the action.yml files; do not edit.
export const definitions = {
  "quantize": {
    "description": "Quantize an ONNX model of any size to INT8 within 128 MiB of memory.",
    "inputs": {
      "model": {
        "type": "path",
        "description": "The FP32 model to quantize.",
        "required": true
      },
      "output": {
        "type": "path",
        "description": "The quantized model. Empty: `<stem>_int8.onnx` beside the model. External data goes to `<output>.data`."
      },
      "method": {
        "type": "choice",
        "values": [
          "dynamic",
          "weight-only",
          "static",
          "fp16",
          "auto"
        ],
        "description": "`dynamic` quantizes activations at run time; `weight-only` stores weights in fewer bits and unfolds them at load; `static` needs `calibration-data`; `fp16` halves; `auto` picks the smallest that keeps `min-similarity`.",
        "default": "dynamic"
      },
      "bits": {
        "type": "choice",
        "values": [
          8,
          4
        ],
        "description": "Width of a quantized weight.",
        "default": "8"
      },
      "weight-type": {
        "type": "choice",
        "values": [
          "int8",
          "uint8"
        ],
        "description": "Type of 8-bit weights.",
        "default": "int8"
      },
      "weight-symmetric": {
        "type": "boolean",
        "description": "Keep the zero point of weights at the middle. Empty: true for int8, false for uint8."
      },
      "per-channel": {
        "type": "boolean",
        "description": "One scale per output channel instead of one per tensor.",
        "default": "true"
      },
      "reduce-range": {
        "type": "boolean",
        "description": "Quantize to 7 bits, for x86 CPUs without VNNI, where 8 bits can saturate.",
        "default": "false"
      },
      "op-types": {
        "type": "list",
        "description": "Operators to quantize. Empty: those the method handles well (Conv becomes ConvInteger only when named)."
      },
      "include-nodes": {
        "type": "list",
        "description": "Names or globs of the only nodes to quantize. Empty: all."
      },
      "exclude-nodes": {
        "type": "list",
        "description": "Names or globs of nodes to leave as they are."
      },
      "allow-non-finite": {
        "type": "boolean",
        "description": "Leave weights with NaN or Inf as they are, with a warning, instead of refusing the model.",
        "default": "false"
      },
      "calibration-data": {
        "type": "path",
        "description": "Samples for `static`, in the forms that `samples` of validate takes."
      },
      "calibration-method": {
        "type": "choice",
        "values": [
          "minmax",
          "entropy",
          "percentile"
        ],
        "description": "How `static` turns observed activations into ranges.",
        "default": "minmax"
      },
      "min-similarity": {
        "type": "number",
        "unit": "0 to 1",
        "description": "Cosine similarity that `auto` must keep; an error with any other method. Empty: 0.98 for `auto`."
      },
      "threads": {
        "type": "integer",
        "unit": "threads",
        "description": "Worker threads. Empty: one per core."
      },
      "dry-run": {
        "type": "boolean",
        "description": "Print the plan (what happens to each node and why, sizes, memory) and write nothing.",
        "default": "false"
      },
      "cache": {
        "type": "boolean",
        "description": "Keep results in the cache service, by SHA-256 of the model, options and tool version.",
        "default": "false"
      },
      "ort-path": {
        "type": "path",
        "description": "Folder of an onnxruntime-node to use instead of looking for one. Empty: node_modules, the tool cache, the cache service, then the package registry."
      },
      "registry-url": {
        "type": "text",
        "unit": "URL",
        "description": "Package registry (mirror) to download onnxruntime-node from. Empty: the one npm is configured for."
      },
      "report": {
        "type": "path",
        "description": "Folder for the receipt and reports. Empty: beside the model."
      }
    },
    "outputs": {
      "model": {
        "type": "path",
        "description": "Path of the quantized model."
      },
      "data": {
        "type": "path",
        "description": "Path of its external data; empty where all weights are in the graph file."
      },
      "root": {
        "type": "text",
        "unit": "hex",
        "description": "Root digest of the quantized model: SHA-256 over the SHA-256 of its 64 MiB chunks."
      },
      "compression-ratio": {
        "type": "number",
        "description": "Bytes of the source ÷ bytes of the result."
      },
      "nodes-quantized": {
        "type": "integer",
        "description": "Nodes whose weights were quantized."
      },
      "report": {
        "type": "path",
        "description": "Path of the receipt, `<model stem>.quantize.json`."
      }
    }
  },
  "checksum": {
    "description": "Write or verify the SHA-256 manifest of models, external data included.",
    "inputs": {
      "mode": {
        "type": "choice",
        "values": [
          "create",
          "verify"
        ],
        "description": "`create` writes the manifest, `verify` checks files against it.",
        "default": "verify"
      },
      "path": {
        "type": "lines",
        "description": "Files, folders or globs, one per line; a model brings its external data along. Empty with `verify`: all that the manifest lists."
      },
      "manifest": {
        "type": "path",
        "description": "The manifest. `<manifest>.json` with chunk digests stands beside it.",
        "default": "SHA256SUMS"
      },
      "install-to": {
        "type": "path",
        "description": "`verify`: folder to install the files into once every one of them matches; the graph of a model comes last, and the manifest is written there. Empty: nothing is installed."
      },
      "threads": {
        "type": "integer",
        "unit": "threads",
        "description": "Worker threads. Empty: one per core."
      },
      "receipts": {
        "type": "lines",
        "description": "Receipts, or folders of them, whose chunk digests `create` takes over instead of hashing again. Empty: those beside the files."
      },
      "report": {
        "type": "path",
        "description": "Folder for the receipt and reports. Empty: beside the model."
      }
    },
    "outputs": {
      "manifest": {
        "type": "path",
        "description": "Path of the manifest."
      },
      "files": {
        "type": "integer",
        "description": "Number of files listed or checked."
      },
      "verified": {
        "type": "boolean",
        "description": "Whether every file is as the manifest says."
      },
      "mismatched": {
        "type": "lines",
        "description": "Files that are missing or differ, one per line."
      },
      "report": {
        "type": "path",
        "description": "Path of the receipt, `<model stem>.checksum.json`."
      }
    }
  },
  "validate": {
    "description": "Check that a model loads, answers, and keeps its limits of latency, memory and size.",
    "inputs": {
      "model": {
        "type": "path",
        "description": "The model to check.",
        "required": true
      },
      "manifest": {
        "type": "path",
        "description": "Manifest that the files must match. Empty: not checked."
      },
      "samples": {
        "type": "path",
        "description": "Inputs to run the model on: a `.npz`, `.npy`, `.wav` or `.json` file, or a folder of them or of ONNX `test_data_set_*`. Empty: generated from the model's signature and `seed`."
      },
      "dims": {
        "type": "text",
        "unit": "name=size",
        "description": "Sizes of symbolic dimensions, as `batch=1,seq=16`."
      },
      "ranges": {
        "type": "text",
        "unit": "input=low..high",
        "description": "Ranges of generated inputs, as `audio_codes=0..1023`. Empty: inferred where the graph tells, such as token ids."
      },
      "seed": {
        "type": "integer",
        "description": "Seed of the generated samples.",
        "default": "0"
      },
      "warmup": {
        "type": "integer",
        "unit": "runs",
        "description": "Runs before anything is timed.",
        "default": "3"
      },
      "runs": {
        "type": "integer",
        "unit": "runs",
        "description": "Timed runs; a P95 needs 100.",
        "default": "100"
      },
      "max-seconds": {
        "type": "number",
        "unit": "s",
        "description": "Time cap of the measurement; fewer runs than asked are reported.",
        "default": "60"
      },
      "execution-provider": {
        "type": "choice",
        "values": [
          "auto",
          "cpu",
          "cuda",
          "dml"
        ],
        "description": "Execution provider of ONNX Runtime. An absent one is an error that lists those present; `auto` takes the best that is there.",
        "default": "auto"
      },
      "threads": {
        "type": "integer",
        "unit": "threads",
        "description": "Threads of an operator (ONNX Runtime's intra-op). Empty: as many as the runtime chooses."
      },
      "arena": {
        "type": "choice",
        "values": [
          "auto",
          "on",
          "off"
        ],
        "description": "ONNX Runtime's CPU memory arena; `auto` switches it off where an inference has outputs of 256 MiB and more, which it would keep.",
        "default": "auto"
      },
      "ort-path": {
        "type": "path",
        "description": "Folder of an onnxruntime-node to use instead of looking for one. Empty: node_modules, the tool cache, the cache service, then the package registry."
      },
      "registry-url": {
        "type": "text",
        "unit": "URL",
        "description": "Package registry (mirror) to download onnxruntime-node from. Empty: the one npm is configured for."
      },
      "timeout-seconds": {
        "type": "number",
        "unit": "s",
        "description": "Longest time that loading the model, or one run of it, may take.",
        "default": "600"
      },
      "max-load-ms": {
        "type": "number",
        "unit": "ms",
        "description": "Longest load time. Empty: no limit."
      },
      "max-latency-p50-ms": {
        "type": "number",
        "unit": "ms",
        "description": "Highest P50 latency after warm-up. Empty: no limit."
      },
      "max-latency-p95-ms": {
        "type": "number",
        "unit": "ms",
        "description": "Highest P95 latency after warm-up. Empty: no limit."
      },
      "max-memory-mb": {
        "type": "number",
        "unit": "MB of 10^6 bytes",
        "description": "Most memory that stays resident after warm-up with the outputs released. Empty: no limit."
      },
      "max-peak-memory-mb": {
        "type": "number",
        "unit": "MB of 10^6 bytes",
        "description": "Highest peak of resident memory. Empty: no limit."
      },
      "max-size-mb": {
        "type": "number",
        "unit": "MB of 10^6 bytes",
        "description": "Most bytes on disk, external data included. Empty: no limit."
      },
      "allow-inconclusive": {
        "type": "boolean",
        "description": "Let an inconclusive verdict (noise, throttling, too few runs) end with exit 0.",
        "default": "false"
      },
      "report": {
        "type": "path",
        "description": "Folder for the receipt and reports. Empty: beside the model."
      }
    },
    "outputs": {
      "verdict": {
        "type": "choice",
        "values": [
          "pass",
          "fail",
          "inconclusive"
        ],
        "description": "Outcome of the gates."
      },
      "passed": {
        "type": "boolean",
        "description": "Whether the verdict is `pass`."
      },
      "load-ms": {
        "type": "number",
        "unit": "ms",
        "description": "Load time."
      },
      "latency-p50-ms": {
        "type": "number",
        "unit": "ms",
        "description": "P50 latency after warm-up."
      },
      "latency-p95-ms": {
        "type": "number",
        "unit": "ms",
        "description": "P95 latency after warm-up."
      },
      "memory-mb": {
        "type": "number",
        "unit": "MB of 10^6 bytes",
        "description": "Resident memory after warm-up with the outputs released."
      },
      "peak-memory-mb": {
        "type": "number",
        "unit": "MB of 10^6 bytes",
        "description": "Peak of resident memory."
      },
      "size-mb": {
        "type": "number",
        "unit": "MB of 10^6 bytes",
        "description": "Size on disk, external data included."
      },
      "report": {
        "type": "path",
        "description": "Path of the receipt, `<model stem>.validate.json`."
      }
    }
  },
  "compare": {
    "description": "Compare a quantized model with its reference: similarity, error, agreement, speed.",
    "inputs": {
      "reference": {
        "type": "path",
        "description": "The FP32 model.",
        "required": true
      },
      "model": {
        "type": "path",
        "description": "The quantized model.",
        "required": true
      },
      "samples": {
        "type": "path",
        "description": "Inputs to run the model on: a `.npz`, `.npy`, `.wav` or `.json` file, or a folder of them or of ONNX `test_data_set_*`. Empty: generated from the model's signature and `seed`."
      },
      "dims": {
        "type": "text",
        "unit": "name=size",
        "description": "Sizes of symbolic dimensions, as `batch=1,seq=16`."
      },
      "ranges": {
        "type": "text",
        "unit": "input=low..high",
        "description": "Ranges of generated inputs, as `audio_codes=0..1023`. Empty: inferred where the graph tells, such as token ids."
      },
      "seed": {
        "type": "integer",
        "description": "Seed of the generated samples.",
        "default": "0"
      },
      "count": {
        "type": "integer",
        "unit": "samples",
        "description": "Number of samples to compare on.",
        "default": "8"
      },
      "max-seconds": {
        "type": "number",
        "unit": "s",
        "description": "Time cap; an inconclusive speed-up collects more pairs until then.",
        "default": "120"
      },
      "execution-provider": {
        "type": "choice",
        "values": [
          "auto",
          "cpu",
          "cuda",
          "dml"
        ],
        "description": "Execution provider of ONNX Runtime. An absent one is an error that lists those present; `auto` takes the best that is there.",
        "default": "auto"
      },
      "threads": {
        "type": "integer",
        "unit": "threads",
        "description": "Threads of an operator (ONNX Runtime's intra-op). Empty: as many as the runtime chooses."
      },
      "ort-path": {
        "type": "path",
        "description": "Folder of an onnxruntime-node to use instead of looking for one. Empty: node_modules, the tool cache, the cache service, then the package registry."
      },
      "registry-url": {
        "type": "text",
        "unit": "URL",
        "description": "Package registry (mirror) to download onnxruntime-node from. Empty: the one npm is configured for."
      },
      "timeout-seconds": {
        "type": "number",
        "unit": "s",
        "description": "Longest time that loading the model, or one run of it, may take.",
        "default": "600"
      },
      "min-similarity": {
        "type": "number",
        "unit": "0 to 1",
        "description": "Lowest cosine similarity: the minimum over outputs of the mean over samples. Empty: no limit.",
        "default": "0.98",
        "emptyIsNone": true
      },
      "min-agreement": {
        "type": "number",
        "unit": "0 to 1",
        "description": "Lowest share of equal top-1 answers where an output looks like logits. Empty: no limit."
      },
      "max-mse": {
        "type": "number",
        "description": "Highest mean squared error. Empty: no limit."
      },
      "max-mae": {
        "type": "number",
        "description": "Highest mean absolute error. Empty: no limit."
      },
      "min-speedup": {
        "type": "number",
        "description": "Lowest speed-up, time of the reference ÷ time of the model. Empty: no limit."
      },
      "baseline": {
        "type": "path",
        "description": "Folder of stored reference outputs and timings, by content; filled when empty. Timings of another CPU are refused. Empty: none."
      },
      "history": {
        "type": "path",
        "description": "JSON Lines file that this run appends its figures to; the summary shows the trend, and `max-regression-percent` also holds against the median of past runs. Empty: none."
      },
      "max-regression-percent": {
        "type": "number",
        "unit": "%",
        "description": "With `baseline`: how much worse than the stored figures the model may be. Empty: no limit."
      },
      "diagnose": {
        "type": "boolean",
        "description": "When similarity falls short, rank layers by the error they introduce and print the `exclude-nodes` to try.",
        "default": "true"
      },
      "allow-inconclusive": {
        "type": "boolean",
        "description": "Let an inconclusive verdict (noise, throttling, too few runs) end with exit 0.",
        "default": "false"
      },
      "report": {
        "type": "path",
        "description": "Folder for the receipt and reports. Empty: beside the model."
      }
    },
    "outputs": {
      "verdict": {
        "type": "choice",
        "values": [
          "pass",
          "fail",
          "inconclusive"
        ],
        "description": "Outcome of the gates."
      },
      "similarity": {
        "type": "number",
        "unit": "−1 to 1",
        "description": "Cosine similarity: the minimum over outputs of the mean over samples."
      },
      "agreement": {
        "type": "number",
        "unit": "0 to 1",
        "description": "Share of equal top-1 answers; empty where no output looks like logits."
      },
      "mse": {
        "type": "number",
        "description": "Mean squared error."
      },
      "mae": {
        "type": "number",
        "description": "Mean absolute error."
      },
      "sqnr-db": {
        "type": "number",
        "unit": "dB",
        "description": "Signal to quantization noise."
      },
      "speedup": {
        "type": "number",
        "description": "Time of the reference ÷ time of the model, median of pairs."
      },
      "regression": {
        "type": "lines",
        "description": "Figures that are worse than the limit allows, one per line; empty where none is."
      },
      "report": {
        "type": "path",
        "description": "Path of the receipt, `<model stem>.compare.json`."
      }
    }
  },
  "promote-config": {
    "description": "Check a config, promote a proved model into it, or roll it back.",
    "inputs": {
      "mode": {
        "type": "choice",
        "values": [
          "check",
          "promote",
          "rollback"
        ],
        "description": "`check` looks at a config, `promote` writes a model into it, `rollback` returns it to what it was.",
        "default": "check"
      },
      "config": {
        "type": "path",
        "description": "The YAML config; a relative path starts at `project-root`.",
        "required": true
      },
      "model": {
        "type": "path",
        "description": "`promote`: the model to put into the config. `rollback`: an explicit model path. A relative path starts at `project-root`."
      },
      "project-root": {
        "type": "path",
        "description": "Folder that holds the live config and models, outside the workspace. Empty: the working directory."
      },
      "model-path-key": {
        "type": "text",
        "description": "Dotted key of the model path; a unique deeper match is found.",
        "default": "audio_omni.model_path"
      },
      "memory-key": {
        "type": "text",
        "description": "Dotted key of the memory limit.",
        "default": "audio_omni.max_memory_mb"
      },
      "config-memory-mb": {
        "type": "number or auto",
        "unit": "MB of 10^6 bytes",
        "description": "Memory limit to write: a number, or `auto` for the resident memory in the receipts plus `headroom-percent`, rounded up to 50. Empty: left as it is."
      },
      "headroom-percent": {
        "type": "number",
        "unit": "%",
        "description": "What `auto` adds to the measured memory.",
        "default": "10"
      },
      "set": {
        "type": "lines",
        "description": "Further edits, one `key=value` per line."
      },
      "update-comment": {
        "type": "boolean",
        "description": "Replace a trailing comment that names the old value instead of only reporting it.",
        "default": "false"
      },
      "receipts": {
        "type": "lines",
        "description": "Receipts of checksum, validate and compare, or folders of them, one per line. Empty: beside the model."
      },
      "budget": {
        "type": "path",
        "description": "Rules of the memory budget for `check`. Empty: `model-budget.yaml` beside the config, where there is one."
      },
      "base-ref": {
        "type": "text",
        "description": "Git ref to compare the budget with, for `check` of a pull request. Empty: no comparison."
      },
      "to": {
        "type": "text",
        "description": "`rollback`: history entry to return to. Empty: what stood before the last promotion."
      },
      "full-verify": {
        "type": "boolean",
        "description": "`rollback`: digest the whole model files instead of their size and a sample of chunks.",
        "default": "false"
      },
      "dry-run": {
        "type": "boolean",
        "description": "Print what would change and change nothing.",
        "default": "false"
      },
      "force": {
        "type": "boolean",
        "description": "Promote without passing receipts. Loud, and recorded.",
        "default": "false"
      },
      "reason": {
        "type": "text",
        "description": "Why, for the history."
      },
      "delivery": {
        "type": "choice",
        "values": [
          "file",
          "commit",
          "pull-request"
        ],
        "description": "`file` edits the live config; `commit` also commits and pushes the edit once health is proved; `pull-request` only proposes it.",
        "default": "file"
      },
      "token": {
        "type": "text",
        "unit": "secret",
        "description": "Token for `commit` and `pull-request`."
      },
      "branch": {
        "type": "text",
        "description": "Branch to push to or propose. Empty: the current one, or `promote/<model>`."
      },
      "restart-command": {
        "type": "text",
        "unit": "command",
        "description": "Command that restarts the service, run without a shell. Empty: no restart."
      },
      "health-command": {
        "type": "text",
        "unit": "command",
        "description": "Command that exits 0 when the service is healthy, run without a shell."
      },
      "health-url": {
        "type": "text",
        "unit": "URL",
        "description": "Address that answers 2xx when the service is healthy."
      },
      "health-json-path": {
        "type": "text",
        "description": "Dotted path into the JSON answer of `health-url`."
      },
      "health-expected": {
        "type": "text",
        "description": "Value that must stand there, such as the model path."
      },
      "health-timeout": {
        "type": "number",
        "unit": "s",
        "description": "How long health is asked for after a restart.",
        "default": "60"
      },
      "watch-seconds": {
        "type": "number",
        "unit": "s",
        "description": "How long to keep asking once healthy.",
        "default": "0"
      },
      "report": {
        "type": "path",
        "description": "Folder for the receipt and reports. Empty: beside the model."
      }
    },
    "outputs": {
      "changed": {
        "type": "boolean",
        "description": "Whether the config changed."
      },
      "previous-model-path": {
        "type": "text",
        "description": "Model path before."
      },
      "previous-memory-mb": {
        "type": "number",
        "unit": "MB of 10^6 bytes",
        "description": "Memory limit before."
      },
      "commit": {
        "type": "text",
        "unit": "hex",
        "description": "Commit that carries the edit; empty without one."
      },
      "pull-request": {
        "type": "text",
        "unit": "URL",
        "description": "Address of the pull request; empty without one."
      },
      "summary": {
        "type": "text",
        "description": "`check`: findings and memory budget as Markdown, for a comment."
      },
      "report": {
        "type": "path",
        "description": "Path of the receipt, `<model stem>.promote-config.json`."
      }
    }
  },
  "pipeline": {
    "description": "Take an ONNX model from FP32 to INT8 and into production: quantize, checksum, validate, compare, promote. No Python, no GPU, 128 MiB.",
    "inputs": {
      "model": {
        "type": "path",
        "description": "The FP32 model.",
        "required": true
      },
      "output": {
        "type": "path",
        "description": "The quantized model. Empty: `<stem>_int8.onnx` beside the model. External data goes to `<output>.data`."
      },
      "method": {
        "type": "choice",
        "values": [
          "dynamic",
          "weight-only",
          "static",
          "fp16",
          "auto"
        ],
        "description": "`dynamic` quantizes activations at run time; `weight-only` stores weights in fewer bits and unfolds them at load; `static` needs `calibration-data`; `fp16` halves; `auto` picks the smallest that keeps `min-similarity`.",
        "default": "dynamic"
      },
      "bits": {
        "type": "choice",
        "values": [
          8,
          4
        ],
        "description": "Width of a quantized weight.",
        "default": "8"
      },
      "weight-type": {
        "type": "choice",
        "values": [
          "int8",
          "uint8"
        ],
        "description": "Type of 8-bit weights.",
        "default": "int8"
      },
      "weight-symmetric": {
        "type": "boolean",
        "description": "Keep the zero point of weights at the middle. Empty: true for int8, false for uint8."
      },
      "per-channel": {
        "type": "boolean",
        "description": "One scale per output channel instead of one per tensor.",
        "default": "true"
      },
      "reduce-range": {
        "type": "boolean",
        "description": "Quantize to 7 bits, for x86 CPUs without VNNI, where 8 bits can saturate.",
        "default": "false"
      },
      "op-types": {
        "type": "list",
        "description": "Operators to quantize. Empty: those the method handles well (Conv becomes ConvInteger only when named)."
      },
      "include-nodes": {
        "type": "list",
        "description": "Names or globs of the only nodes to quantize. Empty: all."
      },
      "exclude-nodes": {
        "type": "list",
        "description": "Names or globs of nodes to leave as they are."
      },
      "allow-non-finite": {
        "type": "boolean",
        "description": "Leave weights with NaN or Inf as they are, with a warning, instead of refusing the model.",
        "default": "false"
      },
      "calibration-data": {
        "type": "path",
        "description": "Samples for `static`, in the forms that `samples` of validate takes."
      },
      "calibration-method": {
        "type": "choice",
        "values": [
          "minmax",
          "entropy",
          "percentile"
        ],
        "description": "How `static` turns observed activations into ranges.",
        "default": "minmax"
      },
      "manifest": {
        "type": "path",
        "description": "Manifest to write and verify. Empty: `SHA256SUMS` beside the output."
      },
      "samples": {
        "type": "path",
        "description": "Inputs to run the model on: a `.npz`, `.npy`, `.wav` or `.json` file, or a folder of them or of ONNX `test_data_set_*`. Empty: generated from the model's signature and `seed`."
      },
      "dims": {
        "type": "text",
        "unit": "name=size",
        "description": "Sizes of symbolic dimensions, as `batch=1,seq=16`."
      },
      "ranges": {
        "type": "text",
        "unit": "input=low..high",
        "description": "Ranges of generated inputs, as `audio_codes=0..1023`. Empty: inferred where the graph tells, such as token ids."
      },
      "seed": {
        "type": "integer",
        "description": "Seed of the generated samples.",
        "default": "0"
      },
      "count": {
        "type": "integer",
        "unit": "samples",
        "description": "Number of samples to compare on.",
        "default": "8"
      },
      "warmup": {
        "type": "integer",
        "unit": "runs",
        "description": "Runs before anything is timed.",
        "default": "3"
      },
      "runs": {
        "type": "integer",
        "unit": "runs",
        "description": "Timed runs; a P95 needs 100.",
        "default": "100"
      },
      "max-seconds": {
        "type": "number",
        "unit": "s",
        "description": "Time cap of each measurement: one for validate, one for compare.",
        "default": "60"
      },
      "execution-provider": {
        "type": "choice",
        "values": [
          "auto",
          "cpu",
          "cuda",
          "dml"
        ],
        "description": "Execution provider of ONNX Runtime. An absent one is an error that lists those present; `auto` takes the best that is there.",
        "default": "auto"
      },
      "threads": {
        "type": "integer",
        "unit": "threads",
        "description": "Threads of an operator when the models run (ONNX Runtime's intra-op). Empty: as many as the runtime chooses."
      },
      "arena": {
        "type": "choice",
        "values": [
          "auto",
          "on",
          "off"
        ],
        "description": "ONNX Runtime's CPU memory arena; `auto` switches it off where an inference has outputs of 256 MiB and more, which it would keep.",
        "default": "auto"
      },
      "ort-path": {
        "type": "path",
        "description": "Folder of an onnxruntime-node to use instead of looking for one. Empty: node_modules, the tool cache, the cache service, then the package registry."
      },
      "registry-url": {
        "type": "text",
        "unit": "URL",
        "description": "Package registry (mirror) to download onnxruntime-node from. Empty: the one npm is configured for."
      },
      "timeout-seconds": {
        "type": "number",
        "unit": "s",
        "description": "Longest time that loading the model, or one run of it, may take.",
        "default": "600"
      },
      "max-load-ms": {
        "type": "number",
        "unit": "ms",
        "description": "Longest load time. Empty: no limit."
      },
      "max-latency-p50-ms": {
        "type": "number",
        "unit": "ms",
        "description": "Highest P50 latency after warm-up. Empty: no limit."
      },
      "max-latency-p95-ms": {
        "type": "number",
        "unit": "ms",
        "description": "Highest P95 latency after warm-up. Empty: no limit."
      },
      "max-memory-mb": {
        "type": "number",
        "unit": "MB of 10^6 bytes",
        "description": "Most memory that stays resident after warm-up with the outputs released. Empty: no limit."
      },
      "max-peak-memory-mb": {
        "type": "number",
        "unit": "MB of 10^6 bytes",
        "description": "Highest peak of resident memory. Empty: no limit."
      },
      "max-size-mb": {
        "type": "number",
        "unit": "MB of 10^6 bytes",
        "description": "Most bytes on disk, external data included. Empty: no limit."
      },
      "min-similarity": {
        "type": "number",
        "unit": "0 to 1",
        "description": "Lowest cosine similarity: the minimum over outputs of the mean over samples. Empty: no limit.",
        "default": "0.98",
        "emptyIsNone": true
      },
      "min-agreement": {
        "type": "number",
        "unit": "0 to 1",
        "description": "Lowest share of equal top-1 answers where an output looks like logits. Empty: no limit."
      },
      "max-mse": {
        "type": "number",
        "description": "Highest mean squared error. Empty: no limit."
      },
      "max-mae": {
        "type": "number",
        "description": "Highest mean absolute error. Empty: no limit."
      },
      "min-speedup": {
        "type": "number",
        "description": "Lowest speed-up, time of the reference ÷ time of the model. Empty: no limit."
      },
      "baseline": {
        "type": "path",
        "description": "Folder of stored reference outputs and timings, by content; filled when empty. Timings of another CPU are refused. Empty: none."
      },
      "max-regression-percent": {
        "type": "number",
        "unit": "%",
        "description": "With `baseline`: how much worse than the stored figures the model may be. Empty: no limit."
      },
      "diagnose": {
        "type": "boolean",
        "description": "When similarity falls short, rank layers by the error they introduce and print the `exclude-nodes` to try.",
        "default": "true"
      },
      "allow-inconclusive": {
        "type": "boolean",
        "description": "Let an inconclusive verdict (noise, throttling, too few runs) end with exit 0.",
        "default": "false"
      },
      "cache": {
        "type": "boolean",
        "description": "Keep results in the cache service, by SHA-256 of the model, options and tool version.",
        "default": "false"
      },
      "config": {
        "type": "path",
        "description": "The YAML config to promote the model into; a relative path starts at `project-root`. Empty: no promotion."
      },
      "project-root": {
        "type": "path",
        "description": "Folder that holds the live config and models, outside the workspace. Empty: the working directory."
      },
      "model-path-key": {
        "type": "text",
        "description": "Dotted key of the model path; a unique deeper match is found.",
        "default": "audio_omni.model_path"
      },
      "memory-key": {
        "type": "text",
        "description": "Dotted key of the memory limit.",
        "default": "audio_omni.max_memory_mb"
      },
      "config-memory-mb": {
        "type": "number or auto",
        "unit": "MB of 10^6 bytes",
        "description": "Memory limit to write: a number, or `auto` for the resident memory in the receipts plus `headroom-percent`, rounded up to 50. Empty: left as it is."
      },
      "headroom-percent": {
        "type": "number",
        "unit": "%",
        "description": "What `auto` adds to the measured memory.",
        "default": "10"
      },
      "set": {
        "type": "lines",
        "description": "Further edits, one `key=value` per line."
      },
      "update-comment": {
        "type": "boolean",
        "description": "Replace a trailing comment that names the old value instead of only reporting it.",
        "default": "false"
      },
      "force": {
        "type": "boolean",
        "description": "Promote without passing receipts. Loud, and recorded.",
        "default": "false"
      },
      "reason": {
        "type": "text",
        "description": "Why, for the history."
      },
      "delivery": {
        "type": "choice",
        "values": [
          "file",
          "commit",
          "pull-request"
        ],
        "description": "`file` edits the live config; `commit` also commits and pushes the edit once health is proved; `pull-request` only proposes it.",
        "default": "file"
      },
      "token": {
        "type": "text",
        "unit": "secret",
        "description": "Token for `commit` and `pull-request`."
      },
      "branch": {
        "type": "text",
        "description": "Branch to push to or propose. Empty: the current one, or `promote/<model>`."
      },
      "restart-command": {
        "type": "text",
        "unit": "command",
        "description": "Command that restarts the service, run without a shell. Empty: no restart."
      },
      "health-command": {
        "type": "text",
        "unit": "command",
        "description": "Command that exits 0 when the service is healthy, run without a shell."
      },
      "health-url": {
        "type": "text",
        "unit": "URL",
        "description": "Address that answers 2xx when the service is healthy."
      },
      "health-json-path": {
        "type": "text",
        "description": "Dotted path into the JSON answer of `health-url`."
      },
      "health-expected": {
        "type": "text",
        "description": "Value that must stand there, such as the model path."
      },
      "health-timeout": {
        "type": "number",
        "unit": "s",
        "description": "How long health is asked for after a restart.",
        "default": "60"
      },
      "watch-seconds": {
        "type": "number",
        "unit": "s",
        "description": "How long to keep asking once healthy.",
        "default": "0"
      },
      "report": {
        "type": "path",
        "description": "Folder for all receipts and reports.",
        "default": "report"
      }
    },
    "outputs": {
      "verdict": {
        "type": "choice",
        "values": [
          "pass",
          "fail",
          "inconclusive"
        ],
        "description": "Outcome of the gates."
      },
      "model": {
        "type": "path",
        "description": "Path of the quantized model."
      },
      "data": {
        "type": "path",
        "description": "Path of its external data; empty where all weights are in the graph file."
      },
      "root": {
        "type": "text",
        "unit": "hex",
        "description": "Root digest of the quantized model: SHA-256 over the SHA-256 of its 64 MiB chunks."
      },
      "compression-ratio": {
        "type": "number",
        "description": "Bytes of the source ÷ bytes of the result."
      },
      "nodes-quantized": {
        "type": "integer",
        "description": "Nodes whose weights were quantized."
      },
      "manifest": {
        "type": "path",
        "description": "Path of the manifest."
      },
      "load-ms": {
        "type": "number",
        "unit": "ms",
        "description": "Load time."
      },
      "latency-p50-ms": {
        "type": "number",
        "unit": "ms",
        "description": "P50 latency after warm-up."
      },
      "latency-p95-ms": {
        "type": "number",
        "unit": "ms",
        "description": "P95 latency after warm-up."
      },
      "memory-mb": {
        "type": "number",
        "unit": "MB of 10^6 bytes",
        "description": "Resident memory after warm-up with the outputs released."
      },
      "peak-memory-mb": {
        "type": "number",
        "unit": "MB of 10^6 bytes",
        "description": "Peak of resident memory."
      },
      "size-mb": {
        "type": "number",
        "unit": "MB of 10^6 bytes",
        "description": "Size on disk, external data included."
      },
      "similarity": {
        "type": "number",
        "unit": "−1 to 1",
        "description": "Cosine similarity: the minimum over outputs of the mean over samples."
      },
      "agreement": {
        "type": "number",
        "unit": "0 to 1",
        "description": "Share of equal top-1 answers; empty where no output looks like logits."
      },
      "mse": {
        "type": "number",
        "description": "Mean squared error."
      },
      "mae": {
        "type": "number",
        "description": "Mean absolute error."
      },
      "sqnr-db": {
        "type": "number",
        "unit": "dB",
        "description": "Signal to quantization noise."
      },
      "speedup": {
        "type": "number",
        "description": "Time of the reference ÷ time of the model, median of pairs."
      },
      "changed": {
        "type": "boolean",
        "description": "Whether the config changed."
      },
      "previous-model-path": {
        "type": "text",
        "description": "Model path before."
      },
      "previous-memory-mb": {
        "type": "number",
        "unit": "MB of 10^6 bytes",
        "description": "Memory limit before."
      },
      "commit": {
        "type": "text",
        "unit": "hex",
        "description": "Commit that carries the edit; empty without one."
      },
      "pull-request": {
        "type": "text",
        "unit": "URL",
        "description": "Address of the pull request; empty without one."
      },
      "report": {
        "type": "path",
        "description": "Folder with all receipts and reports."
      }
    }
  }
} as const;
