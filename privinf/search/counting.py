"""What an architecture costs, exactly: planned as when it is shared, its rounds and bytes are counted."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from privinf.models.fold import fold
from privinf.models.programs.layout import ImageLayout
from privinf.models.sharing.calibrate import calibrate_images
from privinf.models.sharing.schemes import SCHEMES
from privinf.models.source.tensors import Array
from privinf.models.spec import ModelSpec
from privinf.protocols.contract import QueryShape
from privinf.protocols.cost import Cost
from privinf.protocols.masked import NAME
from privinf.train.building import Images

SEEN = 128  # images that ranges are measured on


def counted(spec: ModelSpec, weights: Mapping[str, Array], images: Images) -> Cost:
    """Rounds and bytes of one image; ModelError where a value fits no ring."""
    plan = calibrate_images(spec, fold(spec, weights), some(images), images.scale.most)
    layout = ImageLayout(spec, plan, public=False, embedded=False)
    return SCHEMES[NAME].count_query(layout, QueryShape(spec.task, 1, spec.max_tokens)).total()


def some(images: Images) -> Array:
    """The first training images, as a model takes them."""
    pixels = images.train.train.images[:SEEN].transpose(0, 3, 1, 2)
    mean, deviation = (
        np.array(part, np.float32)[:, None, None] for part in (images.scale.mean, images.scale.deviation)
    )
    made: Array = ((pixels / np.float32(255) - mean) / deviation).astype(np.float32)
    return made
