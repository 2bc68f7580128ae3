"""MSE, PSNR and SSIM against what their definitions give by hand."""

import numpy as np
import pytest

from armillary.errors import UsageError
from armillary.studies.quality import over_episodes, quality


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*shape, 3), np.uint8)


def grey(value: int) -> np.ndarray:
    return np.full((64, 64, 3), value, np.uint8)


def similarity(true: np.ndarray, predicted: np.ndarray) -> float:
    """SSIM of Wang et al. (2004), Eq. 6 and 13 to 17, window by window."""
    x = np.arange(-5, 6)
    window = np.exp(-(x[:, None] ** 2 + x**2) / (2 * 1.5**2))
    window /= window.sum()
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    values = []
    for channel in range(3):
        for row in range(true.shape[0] - 10):
            for column in range(true.shape[1] - 10):
                cut = np.s_[row : row + 11, column : column + 11, channel]
                a, b = true[cut].astype(float), predicted[cut].astype(float)
                mu_a, mu_b = (window * a).sum(), (window * b).sum()
                var_a, var_b = (window * (a - mu_a) ** 2).sum(), (window * (b - mu_b) ** 2).sum()
                cov = (window * (a - mu_a) * (b - mu_b)).sum()
                top = (2 * mu_a * mu_b + c1) * (2 * cov + c2)
                values.append(top / ((mu_a**2 + mu_b**2 + c1) * (var_a + var_b + c2)))
    return float(np.mean(values))


def test_flat_pictures_by_hand() -> None:
    values = quality(grey(100), grey(120))
    assert values["mse"] == pytest.approx(400)
    assert values["psnr"] == pytest.approx(10 * np.log10(255**2 / 400))
    c1 = (0.01 * 255) ** 2
    expected = (2 * 100 * 120 + c1) / (100**2 + 120**2 + c1)
    assert values["ssim"] == pytest.approx(expected)


def test_one_channel_of_one_pixel() -> None:
    picture = grey(100)
    picture[10, 20, 1] += 1
    values = quality(grey(100), picture)
    assert values["mse"] == pytest.approx(1 / (64 * 64 * 3))
    assert values["psnr"] == pytest.approx(10 * np.log10(255**2 * 64 * 64 * 3))
    assert values["psnr"] < 90
    assert 0.99 < values["ssim"] < 1


def test_black_and_white_is_the_whole_range() -> None:
    values = quality(grey(0), grey(255))
    assert values["mse"] == 255**2
    assert values["psnr"] == pytest.approx(0)


def test_similarity_is_that_of_its_paper() -> None:
    true = noise(24, 20)
    predicted = (0.6 * true + 0.4 * noise(24, 20, seed=1)).astype(np.uint8)
    assert quality(true, predicted)["ssim"] == pytest.approx(similarity(true, predicted), abs=1e-7)


def test_equal_pictures_have_finite_numbers() -> None:
    values = quality(noise(2, 3, 16, 16), noise(2, 3, 16, 16))
    assert (values["mse"] == 0).all()
    assert (values["psnr"] == 100).all()
    np.testing.assert_allclose(values["ssim"], 1)


def test_each_picture_keeps_its_place() -> None:
    true = np.stack([np.stack([grey(10 * e + t) for t in range(4)]) for e in range(3)])
    predicted = np.zeros_like(true)
    expected = [[(10 * e + t) ** 2 for t in range(4)] for e in range(3)]
    np.testing.assert_allclose(quality(true, predicted)["mse"], expected)


def test_mean_and_percentiles_over_episodes() -> None:
    values = np.random.default_rng(0).normal(size=(21, 3))
    table = over_episodes(values)
    np.testing.assert_allclose(table["mean"], values.mean(0))
    ordered = np.sort(values, axis=0)  # of 21 values the percentiles 5, 50, 95 are members
    np.testing.assert_allclose([table[p] for p in ("p5", "p50", "p95")], ordered[[1, 10, 19]])


def test_what_cannot_be_compared() -> None:
    wrong = [
        (noise(16, 16), noise(16, 17)),
        (noise(16, 16), noise(16, 16).astype(np.float32)),
        (noise(16, 10), noise(16, 10)),
        (noise(16, 16)[..., :1], noise(16, 16)[..., :1]),
    ]
    for true, predicted in wrong:
        with pytest.raises(UsageError, match="both must be uint8 of the same shape"):
            quality(true, predicted)
