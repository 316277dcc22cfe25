"""The three networks of MTCNN as ONNX models, from the weights that the package ``mtcnn`` 1.0.0 (MIT) ships.

Only its files are read: the package itself would import TensorFlow. They are the weights of the authors' Caffe model
as ported by D. Sandberg, equal to those of facenet-pytorch to the last bit. Their container is joblib's, which can run
code as any pickle can; so nothing is loaded whose SHA-256 is not the one written here.

What differs from the networks as published, none of it in what they compute:

* pictures enter as bytes, [N,H,W,3] uint8 RGB; the scaling (x - 127.5) / 128 is folded into the first convolution;
* two-class softmax becomes one logit, the difference of the two, and all heads of a network are one output;
* PReLU is written a·x + (1 - a)·max(x, 0), for which ONNX runtime has fast kernels (PRelu itself took two thirds of the
  time), and channels are padded with zeros to multiples of 16, so that its blocked convolutions apply.

Outputs: P [N,h,w,5], a cell of 12 pixels every 2 pixels; R [N,5]; O [N,15]. Columns: left, top, right, bottom of the
box as a correction in units of its side; for O then 5 x and 5 y of the landmarks, in units of the box; last the logit.

Source: Zhang, Zhang, Li, Qiao, "Joint Face Detection and Alignment using Multi-task Cascaded Convolutional Networks",
IEEE Signal Processing Letters 23(10), 2016.
"""

import hashlib
import importlib.util
import io
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from faceloss.errors import BadInput

_SHA256 = {
    "p": "ea6b0c3e685ebee3165326ad6484acc95f2ef78f1c94fbf40a55704fa989f7b5",
    "r": "cb00e6460f3c98b0bfafaba3c0a0ded4bdf6e62cee7174d969e8670d7e757fee",
    "o": "94f6ea2f4cf985275ee958cdd762d17b6009348a4fb9d8c6be39ba73ffd22ca3",
}
FACTS = {"name": "mtcnn", "weights": "mtcnn 1.0.0", "sha256": _SHA256}
# Kernel and stride of the pooling behind each convolution.
_POOLS: dict[str, list[tuple[int, int] | None]] = {
    "p": [(2, 2), None, None],
    "r": [(3, 2), (3, 2), None],
    "o": [(3, 2), (3, 2), (2, 2), None],
}
_LANES = 16
_INSTALL = "install what it needs: pip install 'faceloss[detect]'"

Array = npt.NDArray[np.float32]


def models() -> dict[str, bytes]:
    """{"p": ..., "r": ..., "o": ...}: the networks as serialized ONNX models.

    Raises:
        BadInput: a package of the extra ``detect`` is missing, or holds other weights.
    """
    weights = {name: _weights(name) for name in _SHA256}
    if importlib.util.find_spec("onnxruntime") is None:
        raise BadInput(f"ONNX runtime is not installed; {_INSTALL}.")
    try:
        return {name: _model(name, arrays) for name, arrays in weights.items()}
    except ImportError as error:
        raise BadInput(f"MTCNN cannot run here ({error}); {_INSTALL}.") from None


def _weights(name: str) -> list[Array]:
    """The arrays of one network in the order of its Keras model: kernel, bias, slopes, kernel, ..."""
    found = importlib.util.find_spec("mtcnn")  # finds, does not import
    if found is None or not found.submodule_search_locations:
        raise BadInput(f"The weights of MTCNN are not installed; {_INSTALL}.")
    path = Path(next(iter(found.submodule_search_locations)), "assets", "weights", f"{name}net.lz4")
    data = path.read_bytes() if path.is_file() else b""
    if hashlib.sha256(data).hexdigest() != _SHA256[name]:
        raise BadInput(f"{path} does not hold the weights of mtcnn 1.0.0; install that version: {_INSTALL}.")
    try:
        import joblib
    except ImportError as error:
        raise BadInput(f"MTCNN cannot run here ({error}); {_INSTALL}.") from None
    arrays: list[Array] = joblib.load(io.BytesIO(data))  # a known file, byte for byte
    return arrays


class _Graph:
    """Nodes of an ONNX graph, each reading the output of the one before."""

    def __init__(self) -> None:
        from onnx import helper, numpy_helper

        self.helper, self.numpy_helper = helper, numpy_helper
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.last = "picture"

    def constant(self, values: npt.NDArray[Any]) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(self.numpy_helper.from_array(np.ascontiguousarray(values, np.float32), name))
        return name

    def add(self, kind: str, *constants: str, source: str | None = None, **attributes: Any) -> str:
        name = f"n{len(self.nodes)}"
        inputs = [source or self.last, *constants]
        self.nodes.append(self.helper.make_node(kind, inputs, [name], **attributes))
        self.last = name
        return name

    def prelu(self, slopes: npt.NDArray[Any]) -> None:
        x = self.last
        scaled = self.add("Mul", self.constant(slopes))
        self.add("Relu", source=x)
        self.add("Mul", self.constant(1 - slopes))
        self.add("Add", scaled)

    def serialized(self, name: str, side: int | str) -> bytes:
        from onnx import TensorProto

        shape = ["n", side if side else "h", side if side else "w", 3]
        picture = self.helper.make_tensor_value_info("picture", TensorProto.UINT8, shape)
        output = self.helper.make_tensor_value_info(self.last, TensorProto.FLOAT, None)
        graph = self.helper.make_graph(self.nodes, name, [picture], [output], self.constants)
        model = self.helper.make_model(graph, opset_imports=[self.helper.make_opsetid("", 17)], ir_version=8)
        data: bytes = model.SerializeToString()
        return data


def _model(name: str, weights: list[Array]) -> bytes:
    from onnx import TensorProto

    graph, rest = _Graph(), iter(weights)
    graph.add("Transpose", perm=[0, 3, 1, 2])
    graph.add("Cast", to=TensorProto.FLOAT)
    channels = 3
    for number, pool in enumerate(_POOLS[name]):
        kernel = next(rest).transpose(3, 2, 0, 1).astype(np.float64)  # [out,in,h,w]
        bias, slopes = next(rest).astype(np.float64), next(rest).reshape(-1)
        if number == 0:
            bias = bias - kernel.sum((1, 2, 3)) * (127.5 / 128)
            kernel = kernel / 128
        more = -len(bias) % _LANES
        kernel = np.pad(kernel, ((0, more), (0, channels - kernel.shape[1]), (0, 0), (0, 0)))
        channels = len(kernel)
        graph.add("Conv", graph.constant(kernel), graph.constant(np.pad(bias, (0, more))))
        graph.prelu(np.pad(slopes, (0, more))[None, :, None, None])
        if pool:
            graph.add("MaxPool", kernel_shape=[pool[0]] * 2, strides=[pool[1]] * 2, ceil_mode=1)
    if name == "p":
        heads, biases = _joined(list(rest))
        padded = np.pad(heads[0, 0].T, ((0, 0), (0, channels - heads.shape[2])))[:, :, None, None]
        graph.add("Conv", graph.constant(padded), graph.constant(biases))
        graph.add("Transpose", perm=[0, 2, 3, 1])
        return graph.serialized(name, 0)
    # The dense layer was trained on features in the order width, height, channel; here they come as C, H, W.
    dense, shift, slopes = next(rest), next(rest), next(rest)
    dense = dense.reshape(3, 3, -1, dense.shape[1]).transpose(2, 1, 0, 3)  # [C,H,W,out]
    dense = np.pad(dense, ((0, channels - len(dense)), (0, 0), (0, 0), (0, 0)))
    graph.add("Flatten")
    graph.add("Gemm", graph.constant(dense.reshape(-1, dense.shape[3])), graph.constant(shift))
    graph.prelu(slopes[None])
    heads, biases = _joined(list(rest))
    graph.add("Gemm", graph.constant(heads), graph.constant(biases))
    return graph.serialized(name, 24 if name == "r" else 48)


def _joined(heads: list[Array]) -> tuple[Array, Array]:
    """All heads (kernel, bias, kernel, bias, ...) as one; of the last one, two classes, the difference."""
    kernels, biases = heads[0::2], heads[1::2]
    kernels[-1] = kernels[-1][..., 1:] - kernels[-1][..., :1]
    biases[-1] = biases[-1][1:] - biases[-1][:1]
    return np.concatenate(kernels, -1), np.concatenate(biases)
