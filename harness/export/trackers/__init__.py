"""Records of a stored run in experiment trackers, after the fact. The run folder stays the source of truth.

Each tracker writes to a store on this machine (MLflow also to the server that the user names) and does nothing the
second time: what is there already is skipped, what has changed is updated, and the command says how many of each.
"""
