"""YuNet through OpenCV, with a model made here: it sees a face in every 8 x 8 cell as far as the cell is red."""

import numpy as np
import pytest
from PIL import Image

from faceloss.data.photographs.detector import choose_detector, open_detector
from faceloss.errors import BadInput

onnx = pytest.importorskip("onnx", reason="THE EXTRA detect IS ABSENT: not run")
cv2 = pytest.importorskip("cv2", reason="THE EXTRA yunet IS ABSENT: not run")

SIDE = 24.0  # of its boxes
POINTS = np.array([[-6, -5], [6, -5], [0, 1], [-4, 7], [5, 8]], float)  # from the center of the cell


@pytest.fixture
def model(tmp_path):
    """A network with the inputs and outputs of YuNet."""
    from onnx import TensorProto, helper, numpy_helper

    nodes, constants, outputs = [], [], []

    def constant(name, values):
        constants.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    red = constant("red", np.array([2], np.int64))  # of blue, green, red
    nodes.append(helper.make_node("Gather", ["input", red], ["only"], axis=1))
    for stride in (8, 16, 32):
        n = f"_{stride}"
        nodes.append(
            helper.make_node("AveragePool", ["only"], [f"cell{n}"], kernel_shape=[stride] * 2, strides=[stride] * 2)
        )
        flat = constant(f"shape{n}", np.array([1, -1, 1], np.int64))
        nodes.append(helper.make_node("Reshape", [f"cell{n}", flat], [f"flat{n}"]))
        share = constant(f"share{n}", np.array([1 / 255 if stride == 8 else 0], np.float32))
        box = np.array([0.5, 0.5, np.log(SIDE / stride), np.log(SIDE / stride)], np.float32).reshape(1, 1, 4)
        points = (POINTS / stride + 0.5).astype(np.float32).reshape(1, 1, 10)
        for name in ("cls", "obj"):
            nodes.append(helper.make_node("Mul", [f"flat{n}", share], [f"{name}{n}"]))
        for name, values in (("bbox", box), ("kps", points)):
            zeros = constant(f"zero_{name}{n}", np.zeros_like(values))
            nodes.append(helper.make_node("Mul", [f"flat{n}", zeros], [f"none_{name}{n}"]))
            nodes.append(
                helper.make_node("Add", [f"none_{name}{n}", constant(f"is_{name}{n}", values)], [f"{name}{n}"])
            )
    for name, width in (("cls", 1), ("obj", 1), ("bbox", 4), ("kps", 10)):
        for stride in (8, 16, 32):
            shape = [1, f"n{stride}", width]
            outputs.append(helper.make_tensor_value_info(f"{name}_{stride}", TensorProto.FLOAT, shape))
    given = helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, "h", "w"])
    graph = helper.make_graph(nodes, "yunet", [given], outputs, constants)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    path = tmp_path / "yunet.onnx"
    path.write_bytes(made.SerializeToString())
    return path


def picture(scale: int, *cells: tuple[int, int], color: tuple[int, int, int] = (255, 0, 0)) -> Image.Image:
    pixels = np.zeros((96 * scale, 160 * scale, 3), np.uint8)
    step = 8 * scale
    for column, row in cells:
        pixels[row * step : (row + 1) * step, column * step : (column + 1) * step] = color
    return Image.fromarray(pixels)


@pytest.mark.parametrize("scale", [1, 4])
def test_faces_come_in_pixels_of_the_picture(model, scale):
    chosen = choose_detector(str(model))
    assert chosen.facts["name"] == "yunet"
    assert len(chosen.facts["sha256"]) == 64
    detector = open_detector(chosen)
    two, none = detector.detect(
        [picture(scale, (3, 2), (14, 8)), picture(scale, (3, 2), color=(0, 0, 255))], [24.0 * scale] * 2
    )
    assert none == []  # blue is not red: the channels are not mixed up
    assert len(two) == 2
    for face, center in zip(sorted(two, key=lambda face: face.box[0]), ((28, 20), (116, 68)), strict=True):
        assert face.score > 0.99
        expected = (np.array(center) + POINTS + 0.5) * scale - 0.5
        np.testing.assert_allclose(face.landmarks, expected, atol=1e-3)
        left, top, right, bottom = face.box
        assert (right - left, bottom - top) == pytest.approx((SIDE * scale, SIDE * scale))
        assert ((left + right) / 2 + 0.5) / scale - 0.5 == pytest.approx(center[0], abs=1e-3)


def test_what_is_no_yunet_is_refused(tmp_path):
    (tmp_path / "other.onnx").write_bytes(b"no model")
    with pytest.raises(BadInput, match="OpenCV cannot use the model as a YuNet"):
        choose_detector(str(tmp_path / "other.onnx"))
    with pytest.raises(BadInput, match="give mtcnn, or the path of a YuNet model"):
        choose_detector(str(tmp_path / "missing.onnx"))
