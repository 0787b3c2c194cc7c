"""The models. One folder a model: card.yaml (data) and adapter.py (code). Adding a model touches only its folder."""
