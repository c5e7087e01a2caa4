"""What the thesis reports, in percent, as far as the copy at hand is legible."""

from typing import NamedTuple


class Groups(NamedTuple):
    """Table 4.2: IoU of objects, one-shot and not."""

    pattern: str
    vgg19: int
    resnet50: int
    vgg19_one_shot: int
    resnet50_one_shot: int


# Table 4.2; the pattern is found in the name of the group.
ICOSEG = (
    Groups("elephant", 65, 77, 62, 77),
    Groups("taj mahal", 41, 63, 48, 73),
    Groups("pyramid", 49, 30, 57, 74),
    Groups("gymnastics.?1", 43, 44, 46, 66),
    Groups("liberty", 49, 81, 36, 88),
)

# Table 4.3: CorLoc of VGG-19 and ResNet-50; those of chairs are not legible.
VOC: dict[str, tuple[int, int]] = {
    "aeroplane": (63, 72),
    "bicycle": (49, 45),
    "bird": (54, 60),
    "boat": (20, 42),
    "bottle": (10, 11),
    "bus": (62, 53),
    "car": (51, 57),
    "cat": (79, 78),
    "cow": (51, 60),
    "diningtable": (32, 36),
    "dog": (67, 66),
    "horse": (67, 68),
    "motorbike": (73, 74),
    "person": (19, 26),
    "pottedplant": (15, 18),
    "sheep": (43, 46),
    "sofa": (35, 55),
    "train": (66, 65),
    "tvmonitor": (24, 16),
}
VOC_MEAN = (44.20, 47.98)

# Table 4.4: IoU of every factor of VGG-19, by class and number of factors.
PARTS: dict[str, tuple[tuple[int, ...], ...]] = {
    "aeroplane": ((42,), (2, 49), (2, 47, 35), (1, 44, 21, 32)),
    "bird": ((40,), (13, 39), (2, 43, 30), (3, 44, 30, 2)),
    "car": ((29,), (10, 22), (10, 24, 20), (9, 31, 8, 22)),
    "motorbike": ((30,), (38, 9), (30, 1, 29), (33, 10, 17, 13)),
    "cat": ((31,), (24, 36), (32, 30, 38), (31, 5, 35, 27)),
}

# Table 4.5: head, neck and torso, leg; the best of three supervised methods, VGG-19, ResNet-50.
ANIMALS: dict[str, dict[str, tuple[float, float, float]]] = {
    "cow": {"head": (41.55, 40.53, 42.34), "neck+torso": (60.98, 59.48, 63.36), "leg": (30.98, 21.57, 36.45)},
    "horse": {"head": (47.21, 20.21, 34.31), "neck+torso": (66.74, 54.77, 64.49), "leg": (38.18, 28.94, 40.72)},
}

# The names of parts in table 4.4, in terms of PASCAL-Part; both sides of an animal are one.
PART_GROUPS: dict[str, dict[str, list[str]]] = {
    "aeroplane": {name: [name] for name in ("body", "stern", "tail", "engine", "wheel")} | {"wing": ["?wing"]},
    "bird": {name: [name] for name in ("head", "beak", "neck", "torso", "tail")}
    | {name: [f"?{name}"] for name in ("eye", "wing", "leg", "foot")},
    "car": {name: [name] for name in ("door", "window", "wheel", "headlight")}
    | {"roof": ["roofside"], "front": ["frontside"], "licenseplate": ["?liplate"], "mirror": ["*mirror"]},
    "motorbike": {name: [name] for name in ("handlebar", "saddle", "headlight")} | {"wheel": ["?wheel"]},
    "cat": {name: [name] for name in ("head", "nose", "neck", "torso", "tail")}
    | {"eye": ["?eye"], "ear": ["?ear"], "leg": ["??leg"], "paw": ["??pa"]},
} | {name: {"head": ["head"], "neck+torso": ["neck", "torso"], "leg": ["*leg"]} for name in ANIMALS}
