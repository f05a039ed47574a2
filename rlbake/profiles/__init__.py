"""How the trajectories of a window are distributed, taken on Spark once they are built."""
