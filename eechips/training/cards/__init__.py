"""Describe a run: data card, Croissant, Hugging Face."""
