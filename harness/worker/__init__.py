"""The process beside the model. Python 3.8 syntax, stdlib and torch only, because it also runs inside old images."""
