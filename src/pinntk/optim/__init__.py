"""Optimisers of second order that torch lacks: on a flat vector of parameters, all their state in ``state_dict``."""
