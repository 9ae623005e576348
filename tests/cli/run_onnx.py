"""Checks ONNX files and runs them in onnxruntime: run_onnx.py MODEL INPUTS.npy OUTPUTS.npy [MODEL …]. For an interpreter that has both."""
import sys

import numpy as np
import onnx
import onnxruntime


def run(model, inputs, outputs):
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    (value,) = session.get_inputs()
    np.save(outputs, session.run(None, {value.name: np.load(inputs)})[0])


for start in range(1, len(sys.argv), 3):
    run(*sys.argv[start:start + 3])
