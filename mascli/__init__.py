"""mascli: fine-tune a vision model on something new without losing what it knows."""

__version__ = "0.1.0"
