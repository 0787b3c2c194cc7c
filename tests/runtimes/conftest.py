"""An engine and an image for the few tests here that need them."""

from tests.docker.conftest import engine, image

__all__ = ["engine", "image"]
