"""Fit models: time-series segmentation, classifiers, distributions, eigenvectors."""
