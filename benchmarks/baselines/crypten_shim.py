"""Lets CrypTen 0.4.1 import the module of PyTorch that has moved since; to be imported before it."""

import sys

import torch.onnx._internal.torchscript_exporter.registration as registration

sys.modules.setdefault("torch.onnx._internal.registration", registration)
