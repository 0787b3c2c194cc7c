"""Container images: made from containers/, found again by their labels."""

from harness.images.command import images_command
from harness.images.image import Image, ensure_image, find_image
from harness.images.recipe import content_digest, image_names

__all__ = ["Image", "content_digest", "ensure_image", "find_image", "image_names", "images_command"]
