"""
Dataset distillation: ten images that stand for a thousand
==========================================================

The outer variable is the training set itself: one image for each digit, from which a kernel ridge
regression is fitted whose predictions on 1,200 real images are judged. Published for MNIST (28 × 28
pixels, not these 8 × 8), ten images: 79.5 % with a network (Wang, Zhu, Torralba, Efros 2018). The
method is that of kernel inducing points (Nguyen, Chen, Lee 2021).
"""

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import kbo

jax.config.update("jax_enable_x64", True)
pixels, digits = load_digits(return_X_y=True)
X, X_test, y, y_test = train_test_split(
    pixels / 16.0, digits, test_size=597, stratify=digits, random_state=0
)
TARGETS = 2.0 * np.eye(10) - 1.0


def problem_of(images):
    """What is learned from ten images, an array or a function of ω, judged on 1,200 real ones."""
    of = images if callable(images) else lambda w: images
    return kbo.BilevelProblem(
        inner_loss=kbo.losses.Squared(), outer_loss=kbo.losses.Squared(),
        inner_data=lambda w: kbo.Sample(of(w), TARGETS), outer_data=kbo.Sample(X, TARGETS[y]),
        space=lambda w: kbo.RKHS(kbo.kernels.Gaussian(jnp.exp(w["log_lengthscale"]))),
        ridge=1e-3, n_outputs=10,
    )


rng = np.random.default_rng(0)
drawn = np.stack([X[rng.choice(np.flatnonzero(y == k))] for k in range(10)])
means = np.stack([X[y == k].mean(0) for k in range(10)])
results = {
    name: (images, kbo.minimize(problem_of(images), {"log_lengthscale": 0.5}))
    for name, images in {"ten real images": drawn, "ten means": means}.items()
}
start = {"images": means, "log_lengthscale": 0.5}
found = kbo.minimize(
    problem_of(lambda w: w["images"]), start, throw=False,
    bounds=({"images": 0.0, "log_lengthscale": -3.0}, {"images": 1.0, "log_lengthscale": 4.0}),
)
results["ten distilled"] = found.omega["images"], found

figure, axes = plt.subplots(3, 10, figsize=(10, 3.6))
for (name, (images, result)), row in zip(results.items(), axes, strict=True):
    share = np.mean(np.argmax(np.asarray(result.function(X_test)), 1) == y_test)
    print(f"{name}: accuracy on 597 test images {share:.3f}")
    for image, ax in zip(np.asarray(images), row, strict=True):
        ax.imshow(image.reshape(8, 8), cmap="gray_r")
        ax.set_axis_off()
    row[0].set_title(f"{name}: {share:.1%}", loc="left", fontsize=10)
figure.tight_layout()
plt.show()
