"""Kineograph: an open text-to-video system, the model, its training and the service around it."""

__version__ = "0.1.0"
