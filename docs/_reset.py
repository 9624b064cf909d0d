"""What is put back before each example of the gallery."""

import jax


def precision(gallery_conf, name):
    """Single precision, JAX's default: double precision that an example asks for ends with it."""
    jax.config.update("jax_enable_x64", False)
