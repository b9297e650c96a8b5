"""The residual function of a network and all that is derived from it: loss, kernel, Hessian."""
