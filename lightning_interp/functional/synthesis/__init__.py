"""Images that show what units, layers and classes respond to."""
