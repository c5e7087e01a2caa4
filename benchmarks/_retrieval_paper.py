"""What the thesis reports, in percent."""

# Tables 5.1 (a) and (b): mAP on Oxford5k and Paris6k; one search, and a second one with the best five matches.
INSTANCES: dict[tuple[str, str, str], tuple[float, float]] = {
    ("vgg16", "oxford5k", "mac"): (55.7, 60.2),
    ("vgg16", "oxford5k", "rmac"): (67.8, 72.1),
    ("vgg16", "oxford5k", "crow"): (65.4, 68.5),
    ("vgg16", "oxford5k", "cam"): (71.2, 73.0),  # of a fully convolutional relative of VGG-16
    ("vgg16", "oxford5k", "nmf_v"): (71.9, 73.8),
    ("vgg16", "oxford5k", "nmf_vtu"): (73.4, 74.2),
    ("vgg16", "paris6k", "mac"): (68.0, 77.6),
    ("vgg16", "paris6k", "rmac"): (77.4, 82.4),
    ("vgg16", "paris6k", "crow"): (74.3, 77.1),
    ("vgg16", "paris6k", "cam"): (80.5, 83.6),
    ("vgg16", "paris6k", "nmf_v"): (81.3, 82.3),
    ("vgg16", "paris6k", "nmf_vtu"): (83.0, 83.8),
    ("resnet50", "oxford5k", "mac"): (57.2, 66.5),
    ("resnet50", "oxford5k", "rmac"): (71.0, 77.5),
    ("resnet50", "oxford5k", "crow"): (63.3, 68.0),
    ("resnet50", "oxford5k", "cam"): (69.9, float("nan")),  # none given
    ("resnet50", "oxford5k", "nmf_v"): (67.7, 69.2),
    ("resnet50", "oxford5k", "nmf_vtu"): (74.8, 78.8),
    ("resnet50", "paris6k", "mac"): (69.9, 81.2),
    ("resnet50", "paris6k", "rmac"): (81.4, 85.5),
    ("resnet50", "paris6k", "crow"): (71.7, 76.4),
    ("resnet50", "paris6k", "cam"): (80.4, 80.4),
    ("resnet50", "paris6k", "nmf_v"): (77.5, 81.4),
    ("resnet50", "paris6k", "nmf_vtu"): (83.2, 86.2),
}

# Table 5.2: IoU of boxes, and those of the method it compares with: exhaustive R-MAC.
BOXES: dict[tuple[str, str], float] = {
    ("vgg16", "oxford5k"): 49.3,
    ("vgg16", "paris6k"): 67.6,
    ("resnet50", "oxford5k"): 53.2,
    ("resnet50", "paris6k"): 68.7,
}
RMAC_BOXES = {"oxford5k": 52.6, "paris6k": 52.9}

# Table 5.3: mAP@30 on PASCAL VOC 2010, in the order of its classes.
VOC_CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog",
    "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
CATEGORIES: dict[tuple[str, str], tuple[float, ...]] = {
    ("resnet50", "mac"): (
        13.5, 22.4, 10.3, 6.7, 5.6, 9.6, 14.8, 7.7, 5.6, 4.6, 3.9, 18.1, 9.2, 9.5, 24.8, 9.0, 10.1, 3.5, 6.9, 13.9,
    ),
    ("resnet50", "crow"): (
        32.5, 37.3, 17.6, 12.9, 11.2, 23.6, 36.8, 16.3, 11.3, 7.6, 10.5, 27.6, 19.2, 25.0, 43.3, 16.9, 8.6, 10.0, 7.7,
        21.6,
    ),
    ("resnet50", "rmac"): (
        38.1, 48.4, 30.8, 14.8, 15.2, 27.0, 21.6, 26.9, 13.2, 6.5, 7.2, 33.2, 28.1, 24.7, 38.4, 23.3, 21.4, 10.3, 11.6,
        22.9,
    ),
    ("resnet50", "nmf_vtu"): (
        71.3, 56.4, 46.4, 43.5, 37.8, 57.6, 72.7, 40.0, 25.3, 13.3, 20.0, 43.9, 39.9, 33.3, 60.0, 30.5, 31.5, 32.7,
        34.2, 41.6,
    ),
    ("resnet50", "nmf_v"): (
        91.9, 83.4, 54.2, 53.1, 53.2, 72.8, 85.4, 58.0, 31.6, 11.9, 26.0, 53.7, 47.2, 60.3, 89.1, 34.7, 38.2, 42.3,
        35.8, 43.5,
    ),
    ("vgg16", "mac"): (
        43.4, 42.9, 42.5, 24.0, 30.8, 49.5, 46.9, 38.9, 14.4, 11.1, 5.9, 57.6, 22.7, 22.9, 48.1, 23.8, 31.0, 11.3, 24.4,
        29.3,
    ),
    ("vgg16", "crow"): (
        76.5, 69.0, 58.8, 38.6, 35.6, 64.9, 64.0, 52.6, 29.1, 22.3, 17.1, 64.8, 54.3, 56.4, 71.1, 33.6, 49.1, 41.2,
        37.8, 54.9,
    ),
    ("vgg16", "rmac"): (
        83.5, 82.5, 70.3, 49.3, 49.2, 69.4, 71.9, 57.0, 28.1, 19.0, 14.6, 59.9, 53.6, 54.7, 74.7, 55.2, 62.9, 39.5,
        53.7, 64.6,
    ),
    ("vgg16", "nmf_vtu"): (
        96.4, 67.6, 64.3, 62.9, 64.6, 80.7, 87.9, 84.1, 29.3, 25.2, 28.6, 74.4, 71.8, 67.4, 76.7, 52.8, 70.7, 43.8,
        42.8, 81.5,
    ),
    ("vgg16", "nmf_v"): (
        100.0, 97.5, 83.5, 82.6, 72.5, 92.5, 95.3, 90.1, 44.6, 31.0, 29.4, 86.0, 82.6, 94.2, 81.2, 71.9, 86.8, 51.1,
        56.0, 95.8,
    ),
}  # fmt: skip
CATEGORY_MEANS: dict[tuple[str, str], float] = {
    ("resnet50", "mac"): 10.5,
    ("resnet50", "crow"): 19.9,
    ("resnet50", "rmac"): 23.2,
    ("resnet50", "nmf_vtu"): 41.6,
    ("resnet50", "nmf_v"): 53.3,
    ("vgg16", "mac"): 31.1,
    ("vgg16", "crow"): 49.6,
    ("vgg16", "rmac"): 55.7,
    ("vgg16", "nmf_vtu"): 63.7,
    ("vgg16", "nmf_v"): 76.2,
}
