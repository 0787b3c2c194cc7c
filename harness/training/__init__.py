"""`tdbench train`: a small single-device trainer that writes a model's published layout."""
