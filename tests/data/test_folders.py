from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mascli.data.folders import labelled_folder, labels_for, list_images, task_folders
from mascli.errors import DataError


def touch(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def relative(files: tuple[Path, ...], root: Path) -> list[str]:
    return [file.relative_to(root).as_posix() for file in files]


def test_images_are_found_flat_and_nested_in_byte_order_of_their_paths(tmp_path: Path) -> None:
    touch(tmp_path, "b.PNG", "a/z.jpg", "a-b.jpg", "a/deep/er/1.tif", "B.jpeg", "notes.txt", "a/labels.csv", "jpg")
    found = list_images(tmp_path)
    # "-" (0x2d) sorts before "/" (0x2f), capitals before small letters
    assert relative(found.files, tmp_path) == ["B.jpeg", "a-b.jpg", "a/deep/er/1.tif", "a/z.jpg", "b.PNG"]
    assert found.others == 3


def test_hidden_files_and_folders_are_passed_over(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", ".b.jpg", "._a.jpg", ".cache/c.jpg", "__MACOSX/d.jpg", ".DS_Store", "x/.thumbs/e.jpg")
    found = list_images(tmp_path)
    assert relative(found.files, tmp_path) == ["a.jpg"]
    assert found.others == 0


def test_links_are_followed_but_never_in_circles(tmp_path: Path) -> None:
    images = touch(tmp_path / "images", "a.jpg", "sub/b.jpg")
    touch(tmp_path / "elsewhere", "c.jpg")
    (images / "more").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (images / "sub" / "up").symlink_to(images, target_is_directory=True)
    (images / "d.jpg").symlink_to(images / "a.jpg")
    found = list_images(images)
    assert relative(found.files, images) == ["a.jpg", "d.jpg", "more/c.jpg", "sub/b.jpg"]


def test_what_is_called_an_image_and_is_no_file_is_listed_for_the_reader_to_refuse(tmp_path: Path) -> None:
    touch(tmp_path, "cat/a.jpg")
    (tmp_path / "cat" / "broken.jpg").symlink_to(tmp_path / "missing")
    (tmp_path / "cat" / "circle.jpg").symlink_to(tmp_path / "cat" / "circle.jpg")
    (tmp_path / "cat" / "broken").symlink_to(tmp_path / "missing")
    os.mkfifo(tmp_path / "cat" / "pipe.png")
    os.mkfifo(tmp_path / "cat" / "pipe")
    (tmp_path / "stray.png").symlink_to(tmp_path / "missing")
    (tmp_path / "round").symlink_to(tmp_path / "round")
    found = list_images(tmp_path)
    odd = ["cat/a.jpg", "cat/broken.jpg", "cat/circle.jpg", "cat/pipe.png"]
    assert relative(found.files, tmp_path) == [*odd, "stray.png"]
    assert found.others == 0
    folder = labelled_folder(tmp_path)
    assert (folder.classes, relative(folder.files, tmp_path)) == (("cat",), odd)
    assert relative(folder.strays, tmp_path) == ["stray.png"]


def test_names_that_are_not_utf8_are_found(tmp_path: Path) -> None:
    name = os.fsdecode(b"\xff.jpg")
    try:
        touch(tmp_path, name, "\u00e4.jpg")
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    assert [file.name for file in list_images(tmp_path).files] == ["\u00e4.jpg", name]


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.lists(st.text("aAb-_.", min_size=1, max_size=3).filter(lambda s: s[0] != "."), min_size=1, max_size=3),
        min_size=1,
    )
)
def test_the_order_is_that_of_the_paths_whatever_they_are(
    tmp_path_factory: pytest.TempPathFactory, paths: list[list[str]]
) -> None:
    root = tmp_path_factory.mktemp("images")
    names = {"/".join(parts) + ".png" for parts in paths}
    touch(root, *names)
    assert relative(list_images(root).files, root) == sorted(names, key=os.fsencode)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "no images (it is empty)"),
        (["a.txt", "b/c.csv"], "no images (only 2 other files)"),
        ([".hidden.jpg"], "no images (it is empty)"),
    ],
)
def test_a_folder_without_images_says_what_it_holds(tmp_path: Path, names: list[str], message: str) -> None:
    with pytest.raises(DataError) as caught:
        list_images(touch(tmp_path, *names))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("read", [list_images, labelled_folder, lambda root: task_folders(root, ["a"])])
def test_what_is_not_a_folder_is_refused(tmp_path: Path, read: object) -> None:
    assert callable(read)
    with pytest.raises(DataError, match=r"nowhere: no such folder"):
        read(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"a\.jpg: this is a file"):
        read(touch(tmp_path, "a.jpg") / "a.jpg")


def test_a_name_with_control_characters_cannot_break_the_line(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        list_images(tmp_path / "a\nb\x1b[31m")
    assert "a\\nb\\x1b[31m: no such folder" in str(caught.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_read_is_named(tmp_path: Path) -> None:
    locked = touch(tmp_path, "locked/a.jpg") / "locked"
    locked.chmod(0)
    try:
        with pytest.raises(DataError, match="Permission denied"):
            list_images(tmp_path)
    finally:
        locked.chmod(0o700)


def test_classes_are_the_subfolders_in_order(tmp_path: Path) -> None:
    touch(tmp_path, "dog/1.jpg", "cat/2.jpg", "cat/deep/1.jpg", "Zebra/1.png", "stray.jpg", "readme.txt", ".git/x.jpg")
    folder = labelled_folder(tmp_path)
    assert folder.classes == ("Zebra", "cat", "dog")
    assert relative(folder.files, tmp_path) == ["Zebra/1.png", "cat/2.jpg", "cat/deep/1.jpg", "dog/1.jpg"]
    assert folder.labels == (0, 1, 1, 2)
    assert relative(folder.strays, tmp_path) == ["stray.jpg"]


def test_a_folder_without_classes_says_how_it_must_look(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no class folders; put the images of each class in a folder of its own"):
        labelled_folder(touch(tmp_path, "a.jpg", "b.jpg"))


def test_empty_class_folders_are_named(tmp_path: Path) -> None:
    touch(tmp_path, "cat/1.jpg", "dog/notes.txt", "eel/.hidden.jpg")
    with pytest.raises(DataError, match=r"no images in the class folders dog, eel"):
        labelled_folder(tmp_path)


def test_train_and_test_folders_are_not_taken_for_classes(tmp_path: Path) -> None:
    touch(tmp_path, "train/cat/1.jpg", "test/cat/2.jpg")
    with pytest.raises(DataError, match=r"its folders are test, train, not classes; give one of them"):
        labelled_folder(tmp_path)
    touch(tmp_path, "plane/1.jpg")
    assert labelled_folder(tmp_path).classes == ("plane", "test", "train")


def test_labels_follow_the_order_in_which_the_task_learned_its_classes(tmp_path: Path) -> None:
    folder = labelled_folder(touch(tmp_path, "cat/1.jpg", "cat/2.jpg", "dog/1.jpg"))
    assert folder.labels == (0, 0, 1)
    assert labels_for(folder, ("dog", "bird", "cat"), "animals") == (2, 2, 0)


def test_a_class_unseen_in_training_is_named(tmp_path: Path) -> None:
    folder = labelled_folder(touch(tmp_path, "cat/1.jpg", "emu/1.jpg"))
    with pytest.raises(DataError, match=r"task 'animals' never learned emu; its classes are cat, dog"):
        labels_for(folder, ("cat", "dog"), "animals")


def test_task_folders_prefer_test_then_val_then_the_folder_itself(tmp_path: Path) -> None:
    touch(tmp_path, "a/test/x/1.jpg", "a/val/x/1.jpg", "b/val/x/1.jpg", "b/train/x/1.jpg", "c/x/1.jpg", "e")
    found = task_folders(tmp_path, ["c", "b", "a", "d", "e"])
    assert found == {"c": tmp_path / "c", "b": tmp_path / "b" / "val", "a": tmp_path / "a" / "test"}
    assert list(found) == ["c", "b", "a"]
