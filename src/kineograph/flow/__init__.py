"""The mathematics of rectified flow: paths, noise levels, solvers, guidance, loss; no model."""
