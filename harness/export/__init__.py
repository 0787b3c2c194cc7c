"""A run for other tools: data files, LaTeX, YAML for the Hugging Face Hub, experiment trackers.

Nothing is computed here: every export is the table of the run (`harness.table`) in another form.
"""
