"""Named parts of pictures: label maps beside them and rectangles, prepared as the pictures are."""

import io

import numpy as np
import pytest
from PIL import Image

from audit.core.errors import DataError, SpecError
from audit.core.images import ImageSettings
from audit.engine import picture_files
from audit.engine.images import read_images


class Spec:
    """As much of a loaded spec as the reading of pictures looks at."""

    def __init__(self, folder):
        self.folder, self.path = folder, folder / "spec.yaml"

    def file(self, name):
        return self.folder / name

    def line_of(self, problem):
        return f"spec.yaml: {'.'.join(map(str, problem.path))}: {problem.text}"


def png(array, **more):
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG", **more)
    return buffer.getvalue()


def labels(height=6, width=8):
    """0 on top, 2 at the left below, 7 at the right below."""
    answer = np.zeros((height, width), dtype=np.uint8)
    answer[height // 2 :, : width // 2] = 2
    answer[height // 2 :, width // 2 :] = 7
    return answer


@pytest.fixture
def folder(tmp_path):
    for name in ("cat/a.jpg", "cat/b.png", "dog/a.png"):
        for place, content in (("pictures", np.full((6, 8, 3), 90, dtype=np.uint8)), ("masks", labels())):
            path = tmp_path / place / (name if place == "pictures" else name.replace(".jpg", ".png"))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(png(content))
    return tmp_path


def read(folder, name="pictures", **settings):
    parts = settings.pop("parts", {"masks": "masks", "names": {"tail": 7, "body": 2}})
    given = ImageSettings.model_validate({"parts": parts, **settings}, strict=False)
    return read_images(Spec(folder), "evaluate", name, given)


def test_a_label_map_lies_under_the_path_of_its_picture(folder):
    got = read(folder)
    parts = got.images.parts
    assert parts.names == ("tail", "body")
    expected = np.where(labels() == 7, 1, np.where(labels() == 2, 2, 0))
    for row in range(3):
        np.testing.assert_array_equal(parts.labels(row), expected)
    assert (got.masks.role, got.masks.name, got.masks.rows) == ("parts", "masks", 3)
    assert got.notes == ()


def test_label_maps_are_resized_without_mixing_and_cropped_as_the_picture_is(folder):
    got = read(folder, resize=[12, 16], crop=8, interpolation="bicubic")
    assert got.images.read(np.array([0])).shape == (1, 3, 8, 8)
    whole = np.kron(np.where(labels() == 7, 1, np.where(labels() == 2, 2, 0)), np.ones((2, 2), dtype=int))
    np.testing.assert_array_equal(got.images.parts.labels(0), whole[2:10, 4:12])
    padded = read(folder, crop=10, parts={"masks": "masks", "names": {"sky": 0, "body": 2, "tail": 7}})
    own = padded.images.parts.labels(0)
    assert own.shape == (10, 10)
    assert (own[0] == 0).all(), "what was added around the picture is no part, even where 0 has a name"
    assert own[2, 1] == 1


def test_a_picture_that_is_turned_is_met_by_a_map_of_what_people_see(folder):
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned by 90 degrees: 8 wide and 6 high become 6 wide and 8 high
    (folder / "pictures" / "dog" / "a.png").unlink()
    (folder / "pictures" / "dog" / "a.jpg").write_bytes(png(np.zeros((6, 8, 3), dtype=np.uint8), exif=exif))
    (folder / "masks" / "dog" / "a.png").write_bytes(png(labels(8, 6)))
    got = read(folder)
    assert got.images.parts.labels(2).shape == (8, 6)


def test_palettes_and_sixteen_bits_are_read_as_numbers(folder):
    image = Image.fromarray(labels())
    image.putpalette([255, 0, 0, 0, 255, 0] * 128)
    assert image.mode == "P"
    image.save(folder / "masks" / "cat" / "a.png")
    (folder / "masks" / "cat" / "b.png").write_bytes(png(np.where(labels() == 7, 3000, labels().astype(np.uint16))))
    (folder / "masks" / "dog" / "a.png").unlink()
    got = read(folder, parts={"masks": "masks", "names": {"tail": 7, "body": 2, "far": 3000}})
    assert set(np.unique(got.images.parts.labels(0))) == {0, 1, 2}
    assert set(np.unique(got.images.parts.labels(1))) == {0, 2, 3}


def test_pictures_without_a_map_have_no_parts_and_are_counted(folder):
    (folder / "masks" / "cat" / "b.png").unlink()
    got = read(folder)
    assert got.images.parts.labels(1) is None
    assert got.images.parts.labels(2) is not None
    (note,) = got.notes
    assert (note.code, note.args) == ("images_without_parts", {"without": 1, "total": 3})


def test_what_does_not_fit_is_told_in_one_message(folder):
    (folder / "masks" / "cat" / "a.png").write_bytes(png(labels(8, 6)))
    (folder / "masks" / "cat" / "b.png").write_bytes(png(np.where(labels() == 7, 9, labels()).astype(np.uint8)))
    (folder / "masks" / "dog" / "a.png").write_bytes(png(np.zeros((6, 8, 3), dtype=np.uint8)))
    with pytest.raises(DataError) as error:
        read(folder)
    assert str(error.value) == (
        "spec.yaml: data.images.parts.masks: 3 of 3 label maps of masks do not fit: cat/a.jpg (6 x 8, its picture is "
        "8 x 6); cat/b.png (holds 9, which has no name); dog/a.png (is a picture in RGB; a label map has one number "
        "for each pixel, as grey values). A label map is as large as its picture before it is resized, and holds 0 and "
        "2 (body), 7 (tail)"
    )


def test_a_map_that_is_no_picture_is_named(folder):
    (folder / "masks" / "cat" / "a.png").write_bytes(b"none")
    with pytest.raises(DataError, match=r"1 of 3 label maps of masks do not fit: cat/a.jpg \(cannot identify"):
        read(folder)


def test_a_folder_with_no_map_for_any_picture_says_where_one_would_be(folder):
    (folder / "empty").mkdir()
    with pytest.raises(SpecError, match=r"that of cat/a\.jpg would be cat/a\.png in it"):
        read(folder, parts={"masks": "empty", "names": {"tail": 7}})
    with pytest.raises(SpecError, match="there is no file 'nothing'"):
        read(folder, parts={"masks": "nothing", "names": {"tail": 7}})


def test_a_link_out_of_the_folder_is_not_followed(folder, tmp_path_factory):
    secret = tmp_path_factory.mktemp("elsewhere") / "secret.png"
    secret.write_bytes(png(labels()))
    (folder / "masks" / "cat" / "b.png").unlink()
    (folder / "masks" / "cat" / "b.png").symlink_to(secret)
    with pytest.raises(DataError, match=r"the label map of cat/b\.png is a link that leads out of masks"):
        read(folder)


def test_another_map_is_another_digest(folder):
    before = read(folder).masks.sha256
    assert read(folder).masks.sha256 == before
    (folder / "masks" / "cat" / "a.png").write_bytes(png(np.zeros((6, 8), dtype=np.uint8)))
    assert read(folder).masks.sha256 != before


@pytest.fixture
def arrays(tmp_path):
    pixels = np.arange(3 * 6 * 8, dtype=np.uint8).reshape(3, 6, 8)
    np.savez(tmp_path / "pictures.npz", images=pixels, labels=np.array(["a", "b", "a"]))
    maps = np.stack([labels(), np.roll(labels(), 1, axis=0), np.zeros((6, 8), dtype=np.uint8)]).astype(np.int64)
    np.savez(tmp_path / "masks.npz", masks=maps)
    return tmp_path


def test_maps_of_an_array_stand_in_the_order_of_its_pictures(arrays):
    got = read(arrays, "pictures.npz", channels="grey", parts={"masks": "masks.npz", "names": {"tail": 7, "body": 2}})
    np.testing.assert_array_equal(got.images.parts.labels(1) == 1, np.roll(labels(), 1, axis=0) == 7)
    assert got.masks.rows == 3


@pytest.mark.parametrize(
    ("masks", "said"),
    [
        (np.zeros((2, 6, 8), dtype=np.uint8), "whole numbers of shape (3, height, width), one map for each picture"),
        (np.zeros((3, 6, 8)), "are float64 of shape (3, 6, 8)"),
        (np.zeros((3, 5, 8), dtype=np.uint8), "0 (8 x 5, its picture is 8 x 6)"),
        (np.full((3, 6, 8), -1), "holds -1, which has no name"),
    ],
)
def test_arrays_that_do_not_fit(arrays, masks, said):
    np.savez(arrays / "masks.npz", masks=masks)
    with pytest.raises(DataError) as error:
        read(arrays, "pictures.npz", channels="grey", parts={"masks": "masks.npz", "names": {"tail": 7}})
    assert said in str(error.value)


def test_no_array_of_masks_is_said(arrays):
    np.savez(arrays / "masks.npz", other=np.zeros(3))
    with pytest.raises(DataError, match="it holds no `masks`"):
        read(arrays, "pictures.npz", channels="grey", parts={"masks": "masks.npz", "names": {"tail": 7}})
    (arrays / "list.csv").write_text("x", encoding="utf-8")
    with pytest.raises(DataError, match=r"neither a folder nor an \.npz"):
        read(arrays, "pictures.npz", channels="grey", parts={"masks": "list.csv", "names": {"tail": 7}})


def bent(data, at, new):
    return data[:at] + new + data[at + len(new) :]


BROKEN = {
    "nothing": lambda data: b"",
    "cut off": lambda data: data[: len(data) // 2],
    "other bytes": lambda data: bent(data, 60, b"\xff" * 400),
    "an array alone": lambda data: b"\x93NUMPY\x01\x00v\x00{'descr': '<i8', 'fortran_order': False, 'shape': (3,), }",
    "no file of arrays": lambda data: b"none",
}


@pytest.mark.parametrize("name", ["pictures.npz", "masks.npz"])
@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_file_of_arrays_is_one_message(arrays, name, kind):
    for file in ("pictures.npz", "masks.npz"):
        with np.load(arrays / file) as found:
            np.savez_compressed(arrays / file, **dict(found))
    (arrays / name).write_bytes(BROKEN[kind]((arrays / name).read_bytes()))
    with pytest.raises(DataError, match=rf"{name} cannot be read: "):
        read(arrays, "pictures.npz", channels="grey", parts={"masks": "masks.npz", "names": {"tail": 7, "body": 2}})


def test_a_label_map_that_unpacks_to_too_much_is_refused_before(arrays, folder, monkeypatch):
    monkeypatch.setattr(picture_files, "LARGEST_ARRAY", 1000)
    with pytest.raises(DataError, match=r"masks\.npz cannot be read: it unpacks to more than"):
        read(arrays, "pictures.npz", channels="grey", parts={"masks": "masks.npz", "names": {"tail": 7, "body": 2}})
    (folder / "masks" / "cat" / "a.png").write_bytes(png(np.zeros((20_000, 20_000), dtype=np.uint8)))
    with pytest.raises(DataError, match=r"1 of 3 label maps .* \(has too many pixels\)"):
        read(folder)


def test_rectangles_are_shares_of_what_the_model_is_given(folder):
    boxes = {"left": [0, 0, 1, 0.5], "corner": [0.75, 0.5, 1, 1]}
    got = read(folder, crop=4, parts={"boxes": boxes})
    np.testing.assert_array_equal(got.images.parts.labels(0), [[1, 1, 0, 0]] * 3 + [[1, 1, 2, 2]])
    assert got.masks is None


def test_training_pictures_need_no_maps(folder):
    settings = ImageSettings.model_validate({"parts": {"masks": "none", "names": {"a": 1}}}, strict=False)
    assert read_images(Spec(folder), "train", "pictures", settings).images.parts is None
