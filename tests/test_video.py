"""Videos and pictures hold the frames that they were given."""

import os
import tempfile

import imageio.v3 as imageio
import numpy as np
import pytest

from armillary.errors import EncodingError, StorageError, UsageError
from armillary.video import comparison, difference, side_by_side, strip, write_video


def moving(frames: int = 12, height: int = 16, width: int = 24) -> np.ndarray:
    """A bright block that moves one pixel each frame, on blue."""
    video = np.zeros((frames, height, width, 3), np.uint8)
    video[...] = (60, 90, 140)
    for t in range(frames):
        video[t, 4:10, t : t + 6] = (230, 200, 40)
    return video


@pytest.mark.parametrize("size", [(16, 24), (15, 23)])
@pytest.mark.parametrize("scale", [1, 3, 4])
def test_mp4_plays_the_frames(tmp_path, size, scale):
    frames = moving(12, *size)
    path = write_video(tmp_path / "new" / "video.mp4", frames, fps=20, scale=scale)
    played = imageio.imread(path, plugin="FFMPEG")
    height, width = (scale * n for n in size)
    assert played.shape == (12, height + height % 2, width + width % 2, 3)
    assert imageio.immeta(path, plugin="FFMPEG")["fps"] == 20
    expected = frames.repeat(scale, 1).repeat(scale, 2).astype(float)
    error = np.abs(played[:, :height, :width] - expected)
    assert error.mean() < (4 if scale > 1 else 14)  # colours have half the resolution
    assert os.listdir(path.parent) == ["video.mp4"]


def test_gif_plays_the_frames(tmp_path):
    frames = moving()
    path = write_video(tmp_path / "video.GIF", frames, fps=25, scale=2)
    np.testing.assert_array_equal(imageio.imread(path, index=...), frames.repeat(2, 1).repeat(2, 2))
    assert imageio.immeta(path)["duration"] == 40


def test_bad_videos(tmp_path):
    with pytest.raises(UsageError, match=r"must end in \.mp4 or \.gif"):
        write_video(tmp_path / "video.avi", moving(), 20)
    for wrong in (moving()[:0], moving()[0], moving()[..., :1], moving().astype(np.float32)):
        with pytest.raises(UsageError, match=r"needs uint8 frames of shape \(T, H, W, 3\)"):
            write_video(tmp_path / "video.mp4", wrong, 20)
    with pytest.raises(UsageError, match="greater than zero"):
        write_video(tmp_path / "video.mp4", moving(), 0)
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match="could not write"):
        write_video(tmp_path / "file" / "video.gif", moving(), 20)


def test_no_ffmpeg_is_said(tmp_path, monkeypatch):
    import imageio_ffmpeg

    def missing():
        raise RuntimeError("No ffmpeg exe could be found.")

    monkeypatch.setattr(imageio_ffmpeg, "get_ffmpeg_exe", missing)
    with pytest.raises(EncodingError, match=r"No ffmpeg exe.*imageio-ffmpeg.*write a \.gif"):
        write_video(tmp_path / "video.mp4", moving(), 20)


def ffmpeg(tmp_path, body):
    """A program in place of ffmpeg; `$last` is the file that it is to write."""
    program = tmp_path / "ffmpeg"
    program.write_text(f'#!/bin/sh\nfor last; do :; done; last="${{last#file:}}"\n{body}\n')
    program.chmod(0o755)
    return str(program)


@pytest.mark.parametrize(
    ("body", "error", "words"),
    [
        (None, EncodingError, "IMAGEIO_FFMPEG_EXE.*/none"),
        ("exit 0", EncodingError, "wrote 0 of 12 frames"),
        ("cat >/dev/null; echo rubbish >$last", EncodingError, "wrote 0 of 12 frames"),
        ("cat >/dev/null; head -c 900 $OLD >$last", EncodingError, "wrote 0 of 12 frames"),
        ("cat >/dev/null; cat $SHORT >$last", EncodingError, "wrote 7 of 12 frames"),
        ("echo no such codec >&2; exit 8", EncodingError, "ended with 8: no such codec"),
        ("kill -9 $$", EncodingError, "ended with -9"),
        ("echo write: No space left on device >&2; exit 1", StorageError, "No space.*make room"),
        ("kill -XFSZ $$", StorageError, "File too large"),
    ],
)
def test_a_failing_ffmpeg_is_said_and_the_old_video_stays(
    tmp_path, monkeypatch, body, error, words
):
    path = write_video(tmp_path / "runs" / "video.mp4", moving(), 20)
    good = path.read_bytes()
    monkeypatch.setenv("OLD", str(path))
    monkeypatch.setenv("SHORT", str(write_video(tmp_path / "short.mp4", moving(7), 20)))
    program = ffmpeg(tmp_path, body) if body else str(tmp_path / "none")
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", program)
    with pytest.raises(error, match=words) as caught:
        write_video(path, moving(), 20)
    assert ("IMAGEIO_FFMPEG_EXE" in str(caught.value)) == (error is EncodingError)
    assert path.read_bytes() == good
    assert os.listdir(path.parent) == ["video.mp4"]
    gif = write_video(path.with_suffix(".gif"), moving(), 20)  # needs no ffmpeg
    assert gif.stat().st_size > 100


def test_a_video_needs_no_folder_for_temporary_files(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    monkeypatch.chdir(tmp_path)
    for name in ("a b.mp4", "a%d.mp4", "-y.mp4", "x:y.mp4"):
        assert len(imageio.imread(write_video(name, moving(), 20), plugin="FFMPEG")) == 12
    with pytest.raises(StorageError, match="could not write"):
        write_video(tmp_path / "a b.mp4" / "video.mp4", moving(), 20)


def test_difference_is_grey_where_right():
    true = np.array([0, 0, 255, 100, 7], np.uint8)[:, None, None, None].repeat(3, -1)
    predicted = np.array([0, 255, 0, 120, 7], np.uint8)[:, None, None, None].repeat(3, -1)
    assert difference(true, predicted)[:, 0, 0, 0].tolist() == [127, 255, 0, 137, 127]
    with pytest.raises(UsageError, match="the same shape"):
        difference(true, predicted[:3])
    with pytest.raises(UsageError, match="the same shape"):
        difference(true, predicted.astype(np.float32))


def test_side_by_side():
    true, predicted = moving(), moving()[::-1].copy()
    frames = side_by_side(true, predicted, gap=2)
    assert frames.shape == (12, 16, 3 * 24 + 4, 3)
    np.testing.assert_array_equal(frames[:, :, :24], true)
    np.testing.assert_array_equal(frames[:, :, 26:50], predicted)
    np.testing.assert_array_equal(frames[:, :, 52:], difference(true, predicted))
    assert (frames[:, :, 24:26] == 255).all()


def test_comparison_is_labelled_above_the_frames():
    true, predicted = moving(7, 64, 64), moving(7, 64, 64)[::-1].copy()
    frames = comparison(true, predicted, context=3)
    plain = side_by_side(true, predicted).repeat(4, 1).repeat(4, 2)
    high = frames.shape[1] - plain.shape[1]
    assert high > 20
    np.testing.assert_array_equal(frames[:, high:], plain)
    labels = [frames[:, :high, left : left + 256] for left in (0, 264, 528)]
    for label in labels:
        assert (label.min(axis=(1, 2, 3)) < 100).all()  # something is written there
        assert (label[:, :2] == 255).all()  # and it is not cut off
    truth, model, difference = ([x.tobytes() for x in label] for label in labels)
    assert len(set(truth)) == 7  # each with its time step
    assert len(set(model[:3])) == len(set(model[3:])) == 1
    assert model[2] != model[3]  # from here it predicts
    assert len(set(difference)) == 1


def colours(picture: np.ndarray) -> set[tuple[int, ...]]:
    values, counts = np.unique(picture.reshape(-1, 3), axis=0, return_counts=True)
    return {tuple(v) for v, c in zip(values.tolist(), counts, strict=True) if c > 2000}


def test_strip_shows_three_rows_of_the_chosen_steps(tmp_path):
    true = np.zeros((30, 64, 64, 3), np.uint8)
    true[..., 0] = (8 * np.arange(30))[:, None, None]
    predicted = true.copy()
    predicted[..., 1] = 100
    path = tmp_path / "strip.png"
    picture = strip(true, predicted, path, steps=[0, 10, 29], context=5)
    high = picture.shape[0]
    top, middle, bottom = (picture[high * i // 3 + 20 : high * (i + 1) // 3 - 5] for i in range(3))
    white = (255, 255, 255)
    assert colours(top) == {(0, 0, 0), (80, 0, 0), (232, 0, 0), white}
    assert colours(middle) == {(0, 100, 0), (80, 100, 0), (232, 100, 0), white}
    assert colours(bottom) == {(127, 177, 127), white}
    np.testing.assert_array_equal(imageio.imread(path)[..., :3], picture)


def test_strip_chooses_steps_and_refuses_others():
    assert strip(moving(40), moving(40)).shape == strip(moving(10), moving(10)).shape
    one = strip(moving(1), moving(1))
    assert one.shape[1] < strip(moving(2), moving(2)).shape[1]
    for steps in ([], [12], [-1]):
        with pytest.raises(UsageError, match="but there are 12 frames"):
            strip(moving(), moving(), steps=steps)
    with pytest.raises(UsageError, match="the same shape"):
        strip(moving(), moving(10))
