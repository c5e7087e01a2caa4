"""Image retrieval: descriptors of images, search, query expansion, measures of rankings."""
