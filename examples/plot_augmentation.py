"""
Data augmentation that is learned: how far to turn and to shift the digits
==========================================================================

Only 100 digits have known labels, and the digits to be classified are rotated and shifted. Copies
of the known ones are rotated by σ₁ε and shifted by σ₂ε', with normal ε that are drawn once. The
hypergradient tunes σ₁ and σ₂ together with the ridge and the lengthscale, through a kernel ridge
regression on all copies, by the loss on other digits. (Cubuk, Zoph, Mané, Vasudevan, Le 2019.)
"""

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from jax.scipy.ndimage import map_coordinates
from sklearn.datasets import load_digits

import kbo

jax.config.update("jax_enable_x64", True)
pixels, digits = load_digits(return_X_y=True)
rng = np.random.default_rng(0)
order = rng.permutation(len(digits))
images, digits = jnp.asarray(pixels[order] / 16), digits[order]
CODES, COPIES = 2.0 * np.eye(10) - 1.0, 4
rows, columns = jnp.meshgrid(jnp.arange(8.0), jnp.arange(8.0), indexing="ij")


def moved(image, angle, shift):
    """An image (64,), turned around its middle by an angle in radians and shifted by pixels."""
    y, x = rows - 3.5 - shift[0], columns - 3.5 - shift[1]
    c, s = jnp.cos(angle), jnp.sin(angle)
    at = [c * y - s * x + 3.5, s * y + c * x + 3.5]
    return map_coordinates(image.reshape(8, 8), at, order=1).ravel()


many = jax.vmap(moved)


def disturbed(rows):
    """Images as they will come: turned by some 20 degrees and shifted by half a pixel."""
    turn, shift = rng.normal(size=len(rows)), rng.normal(size=(len(rows), 2))
    return many(images[rows], 0.35 * turn, 0.5 * shift)


known, kept, test = np.arange(100), np.arange(100, 500), np.arange(500, 1500)
X_kept, X_test = disturbed(kept), disturbed(test)
turns, shifts = rng.normal(size=COPIES * len(known)), rng.normal(size=(COPIES * len(known), 2))
again, targets = np.tile(known, COPIES), CODES[digits[np.tile(known, COPIES + 1)]]


def training(w):
    copies = many(images[again], jnp.exp(w["turn"]) * turns, jnp.exp(w["shift"]) * shifts)
    return kbo.Sample(jnp.concatenate([images[known], copies]), targets)


def tuned(inner_data, **start):
    problem = kbo.BilevelProblem(
        kbo.losses.Squared(), kbo.losses.Squared(), inner_data,
        kbo.Sample(X_kept, CODES[digits[kept]]),
        lambda w: kbo.RKHS(kbo.kernels.Gaussian(jnp.exp(w["lengthscale"]))),
        lambda w: jnp.exp(w["ridge"]), n_outputs=10,
    )
    found = kbo.minimize(problem, {"lengthscale": 0.7, "ridge": -6.0, **start}, bounds=(-16.0, 4.0))
    return found, np.mean(np.argmax(np.asarray(found.function(X_test)), 1) == digits[test])


plain = tuned(kbo.Sample(images[known], CODES[digits[known]]))
augmented = tuned(training, turn=-3.0, shift=-3.0)
for name, (found, share) in {"as they are": plain, "augmented": augmented}.items():
    print(f"{name}: accuracy {share:.3f}", {k: round(float(v), 2) for k, v in found.omega.items()})

figure, axes = plt.subplots(2, 8, figsize=(9, 2.8))
made = training(augmented[0].omega).x[len(known) :]
for name, row, sets in (("copies", axes[0], made), ("to be judged", axes[1], X_test)):
    row[0].set_title(name, loc="left")
    for image, ax in zip(np.asarray(sets), row, strict=False):
        ax.imshow(image.reshape(8, 8), cmap="gray_r")
plt.show()
