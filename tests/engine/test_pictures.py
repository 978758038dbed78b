"""Pictures: where they come from, how they are prepared, and what is said of those that cannot be read."""

import io
import re

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageFile

from audit.core.errors import DataError, SpecError
from audit.core.images import ImageSettings
from audit.engine.images import read_images


class Spec:
    """As much of a loaded spec as the reading of pictures looks at."""

    def __init__(self, folder):
        self.folder = folder
        self.path = folder / "spec.yaml"

    def file(self, name):
        return self.folder / name

    def line_of(self, problem):
        return f"spec.yaml: {'.'.join(map(str, problem.path))}: {problem.text}"


def png(pixels):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def gradient(height, width):
    return (np.arange(height * width * 3).reshape(height, width, 3) % 256).astype(np.uint8)


@pytest.fixture
def folder(tmp_path):
    for name, label in (("b.png", "dog"), ("a.png", "dog"), ("a.png", "cat")):
        (tmp_path / "pictures" / label).mkdir(parents=True, exist_ok=True)
        (tmp_path / "pictures" / label / name).write_bytes(png(gradient(6, 8)))
    return tmp_path


def test_a_folder_per_class_gives_ids_and_labels_in_order(folder):
    got = read_images(Spec(folder), "evaluate", "pictures", ImageSettings())
    assert list(got.frame["image"]) == ["cat/a.png", "dog/a.png", "dog/b.png"]
    assert list(got.frame["label"]) == ["cat", "dog", "dog"]
    assert got.images.ids == ("cat/a.png", "dog/a.png", "dog/b.png")
    assert len(set(got.images.digests)) == 1, "the same bytes three times"
    assert got.notes == ()
    batch = got.images.read(np.array([0, 2]))
    assert batch.shape == (2, 3, 6, 8)
    assert batch.dtype == np.float32
    np.testing.assert_array_equal(batch[1], (gradient(6, 8) / np.float32(255)).transpose(2, 0, 1))
    np.testing.assert_array_equal(got.images.picture(1), gradient(6, 8))


def test_a_table_of_paths_keeps_its_columns_and_may_not_leave_its_folder(folder):
    pd.DataFrame({"file": ["pictures/dog/b.png", "../outside.png"], "breed": ["x", "y"]}).to_csv(folder / "list.csv")
    (folder.parent / "outside.png").write_bytes(png(gradient(3, 3)))
    got = read_images(Spec(folder), "evaluate", "list.csv", ImageSettings(column="file"))
    assert list(got.frame["breed"]) == ["x"]
    (note,) = got.notes
    assert note.args["files"] == ["../outside.png (lies outside the folder)"]


def test_an_array_of_pictures(tmp_path):
    images = np.arange(5 * 4 * 4, dtype=np.uint8).reshape(5, 4, 4)
    np.savez(tmp_path / "digits.npz", images=images, labels=np.arange(5))
    got = read_images(Spec(tmp_path), "evaluate", "digits.npz", ImageSettings(channels="grey", mean=(0.5,), std=(0.5,)))
    assert list(got.frame["label"]) == [0, 1, 2, 3, 4]
    expected = (images[3].astype(np.float32) / np.float32(255) - np.float32(0.5)) / np.float32(0.5)
    np.testing.assert_array_equal(got.images.read(np.array([3]))[0, 0], expected)
    assert got.images.picture(3).shape == (4, 4, 3)


@pytest.mark.parametrize("tolerant", [False, True])
def test_what_is_no_whole_picture_is_left_out_and_named(folder, tolerant, monkeypatch):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", tolerant)  # WeasyPrint sets it when it is imported
    good = png(np.random.default_rng(0).integers(0, 255, (40, 40, 3), dtype=np.uint8))
    for name, content in {
        "text.png": b"not a picture",
        "empty.png": b"",
        "cut.png": good[: len(good) // 2],
        "large.png": png(np.zeros((60, 60), dtype=np.uint8)),
    }.items():
        (folder / "pictures" / "dog" / name).write_bytes(content)
    got = read_images(Spec(folder), "evaluate", "pictures", ImageSettings(max_pixels=2000))
    assert len(got.images) == 3
    (note,) = got.notes
    assert (note.code, note.severity, note.args["count"], note.args["total"]) == ("images_unreadable", "minor", 4, 7)
    assert [text.split(" ")[0] for text in note.args["files"]] == [
        f"dog/{name}.png" for name in ("cut", "empty", "large", "text")
    ]
    assert "has 60 x 60 pixels; `max_pixels` is 2000" in note.args["files"][2]


def test_pictures_are_turned_as_their_exif_data_say(tmp_path):
    (tmp_path / "p" / "x").mkdir(parents=True)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    Image.fromarray(gradient(4, 7)).save(tmp_path / "p" / "x" / "turned.png", exif=exif)
    got = read_images(Spec(tmp_path), "evaluate", "p", ImageSettings())
    np.testing.assert_array_equal(got.images.picture(0), np.rot90(gradient(4, 7), -1))


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "1", "LA", "I;16"])
def test_every_kind_of_colour_becomes_what_the_model_is_given(tmp_path, mode):
    (tmp_path / "p" / "x").mkdir(parents=True)
    grey = np.full((5, 5), 200, dtype=np.uint8)
    if mode == "I;16":
        image = Image.fromarray(grey.astype(np.uint16) * 257)
    else:
        colours = Image.fromarray(np.repeat(grey[:, :, None], 3, axis=2))
        image = colours.quantize() if mode == "P" else colours.convert(mode)
    image.save(tmp_path / "p" / "x" / ("a.tif" if mode == "CMYK" else "a.png"))
    for channels, count in (("rgb", 3), ("grey", 1)):
        got = read_images(Spec(tmp_path), "evaluate", "p", ImageSettings(channels=channels))
        batch = got.images.read(np.array([0]))
        assert batch.shape == (1, count, 5, 5)
        if mode == "1":  # black and white dots
            assert set(np.unique(batch)) == {0.0, 1.0}
        else:
            assert np.abs(batch * 255 - 200).max() <= 1


@pytest.mark.parametrize(
    ("settings", "shape"),
    [
        ({"resize": 10}, (10, 20)),
        ({"resize": (7, 9)}, (7, 9)),
        ({"resize": 10, "crop": 8}, (8, 8)),
        ({"crop": 50}, (50, 50)),
        ({"crop": 31}, (31, 31)),
    ],
)
def test_sizes(tmp_path, settings, shape):
    (tmp_path / "p" / "x").mkdir(parents=True)
    Image.fromarray(gradient(30, 60)).save(tmp_path / "p" / "x" / "a.png")
    got = read_images(Spec(tmp_path), "evaluate", "p", ImageSettings(**settings))
    assert got.images.read(np.array([0])).shape[2:] == shape


def test_the_crop_is_the_middle_and_the_padding_is_around_it(tmp_path):
    (tmp_path / "p" / "x").mkdir(parents=True)
    Image.fromarray(gradient(6, 9)).save(tmp_path / "p" / "x" / "a.png")
    cut = read_images(Spec(tmp_path), "evaluate", "p", ImageSettings(crop=4)).images.picture(0)
    np.testing.assert_array_equal(cut, gradient(6, 9)[1:5, 2:6])
    wide = read_images(Spec(tmp_path), "evaluate", "p", ImageSettings(crop=10)).images.picture(0)
    np.testing.assert_array_equal(wide[2:8, 0:9], gradient(6, 9))
    assert not wide[:2].any()


def test_messages_say_what_is_missing(folder, tmp_path):
    with pytest.raises(SpecError, match="there is no file 'nothing'"):
        read_images(Spec(tmp_path), "evaluate", "nothing", ImageSettings())
    pd.DataFrame({"file": ["x.png"]}).to_csv(tmp_path / "list.csv")
    with pytest.raises(SpecError, match="name the column with the paths"):
        read_images(Spec(tmp_path), "evaluate", "list.csv", ImageSettings())
    with pytest.raises(SpecError, match="no column 'path'"):
        read_images(Spec(tmp_path), "evaluate", "list.csv", ImageSettings(column="path"))
    with pytest.raises(SpecError, match=re.escape("remove `data.images.column`")):
        read_images(Spec(folder), "evaluate", "pictures", ImageSettings(column="path"))
    (tmp_path / "none" / "x").mkdir(parents=True)
    with pytest.raises(DataError, match="holds no picture that can be read; known kinds"):
        read_images(Spec(tmp_path), "evaluate", "none", ImageSettings())
    np.savez(tmp_path / "floats.npz", images=np.zeros((2, 3, 3)))
    with pytest.raises(DataError, match="`images` are float64 of shape"):
        read_images(Spec(tmp_path), "evaluate", "floats.npz", ImageSettings())
    np.savez(tmp_path / "objects.npz", images=np.array([object()]))
    with pytest.raises(DataError, match="cannot be read"):
        read_images(Spec(tmp_path), "evaluate", "objects.npz", ImageSettings())


def test_the_digest_covers_every_byte(folder):
    before = read_images(Spec(folder), "evaluate", "pictures", ImageSettings()).record.sha256
    assert read_images(Spec(folder), "evaluate", "pictures", ImageSettings()).record.sha256 == before
    changed = gradient(6, 8)
    changed[0, 0, 0] += 1
    (folder / "pictures" / "dog" / "b.png").write_bytes(png(changed))
    assert read_images(Spec(folder), "evaluate", "pictures", ImageSettings()).record.sha256 != before
