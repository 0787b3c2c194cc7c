"""Any UTF-8 text file as a benchmark."""
